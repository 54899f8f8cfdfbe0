/* price.h - what a request costs: prices by model, in nano-dollars for a million tokens. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_PRICE_H
#define VALET_GATE_PRICE_H

#include "base/str.h"

/* All 0 and known: free. Not known: all 0 as well, and only budgets in money care. No member is negative. */
struct price {
	bool known;
	int64_t input, cached, output; /* nano-dollars for a million tokens; cached: input tokens that the target had in its cache */
	int64_t per_second;            /* nano-dollars for each second that the target works on it (electricity); 0: none */
};

/* The most that any usage of at most so many tokens and so much time can cost; rounded up; saturates at INT64_MAX. */
int64_t price_bound(const struct price *p, int64_t input, int64_t output, int64_t seconds);
/* What this usage costs, rounded up to a nano-dollar; never more than price_bound() of the same numbers. cached is part of input. */
int64_t price_cost(const struct price *p, int64_t input, int64_t cached, int64_t output, int64_t micros);
/* The most output tokens that `nanos` still buy after `input` and `seconds`: price_bound() of so many is at most `nanos`, of one more it is not.
 * 0: none; INT64_MAX: output costs nothing, and the rest is affordable. */
int64_t price_buys(const struct price *p, int64_t nanos, int64_t input, int64_t seconds);

/* The built-in list of cloud prices, a row for each pattern; facts of the day PRICES_AS_OF. */
#define PRICES_AS_OF "2026-09-23"
struct price_row {
	const char *vendor;  /* "openai", "openrouter" … ; as in price_vendor() */
	const char *pattern; /* glob on the model's name at that vendor, small letters */
	struct price price;
};
extern const struct price_row price_rows[]; /* ends with vendor NULL; the first that matches counts */
/* Open models, for price_reference(): `pattern` is a family and a size, "qwen3-32b". A row whose price is not known says that what matches it is
 * another model. */
extern const struct price_row price_open_rows[]; /* the same */
/* The vendor whose API answers at that host ("api.openai.com"); NULL: none that is known. */
const char *price_vendor(struct str host);
/* The vendor's price of that model; known false where the list has none. Models that carry a date count as the one without; what else a name may
 * say (":extended", "-audio-preview", a fine-tuned model) does not, since it may cost more. At "openrouter" the closed models of the vendors above
 * have their makers' prices, and open ones none: who serves them, and at what price, differs from request to request. */
struct price price_listed(const char *vendor, struct str model);
/* What a comparable model costs in the cloud, for "what would this have cost": the vendor's own price for a cloud model, else the price of the
 * same open model, found by family and size in its name ("Qwen/Qwen3-32B-AWQ", "qwen3:32b", "Qwen3-32B-Q4_K_M.gguf"). */
struct price price_reference(struct str model);

#endif
