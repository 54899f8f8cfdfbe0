/* books.h - limits and budgets as they stand now: who may still do what, and what is held by whom. The one place that says yes or no.
 *
 * A *scope* is what limits are put on: the gateway, a model, a key, a key's use of the models that match a pattern. A request *claims* in all its scopes
 * at once, all or nothing, before anything goes upstream, and *settles* exactly once. For each scope the books keep what is settled in the running
 * windows (total, day, week, month; tokens and nano-dollars), what is held, how many requests are in flight, and two token buckets.
 *
 * Strict: settled + held + the new hold never exceeds a budget, and never exceeds what of that budget has been leased, that is, written to disk before;
 * so no crash makes the books generous. Invariant of each budget, checked by books_audit(): settled + held + lease remainder == leased. The remainder is
 * kept apart, entry by entry, and is below 0 only by what no lease can have covered: holds from before the window or from before the budget was set, what
 * a target used beyond its hold, and the last request of a soft budget.
 *
 * All functions may be called by any thread, but where it says otherwise; one mutex inside, held for well below a microsecond, never together with
 * another lock. The callbacks are called without it. Times are arguments: mono_us is the monotonic clock (rates), book_us the book time (windows): the
 * wall clock, but it never goes back (books_now_us()), so a window that was left is never entered again. A request belongs to the windows of the
 * moment it was claimed in.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_BOOKS_H
#define VALET_GATE_BOOKS_H

#include "gate/budget.h"
#include "gate/price.h"
#include "store/record.h"

#include <stdbool.h>
#include <stdint.h>

#define BUDGETS_MAX (UNIT_COUNT * PERIOD_COUNT) /* one of each kind: a unit and a period stand once at most */

/* What a scope may use. All 0: everything. */
struct limits {
	int64_t rpm, tpm, concurrency; /* requests and tokens a minute; requests at a time; 0: no limit */
	struct budget budgets[BUDGETS_MAX];
	uint8_t budget_count;
	bool soft;                     /* a request is let in while settled + held is below the budget, however large it may be */
};

struct books;
struct scope; /* lives as long as the books */

struct books_events {
	void (*leases)(void *user);    /* a lease is wanted: wake the ledger */
	void (*freed)(void *user);     /* something was given back while somebody waits (books_wait()) */
	void (*warning)(void *user);   /* books_next_warning() has something */
	void *user;
};

/* events may be NULL, and any of them. Without `leases` there is no ledger: what a claim needs counts as leased at once. */
struct books *books_new(const struct books_events *events);
void books_free(struct books *b);
/* The book time: max of the wall clock and all it gave before. */
int64_t books_now_us(struct books *b);
/* It is never before this from now on. */
void books_set_clock(struct books *b, int64_t us);

/* The scope of a key (serial; pattern empty), a key and models (pattern), models (key 0), the gateway (0 and empty); made where there is none. */
struct scope *books_scope(struct books *b, uint32_t key, struct str pattern);
/* The same, or NULL where there is none yet. */
struct scope *books_find(struct books *b, uint32_t key, struct str pattern);
/* All scopes in the order they were made: 0, 1 … ; NULL at the end. The pattern lives as long as the books. */
struct scope *books_scope_at(struct books *b, size_t i, uint32_t *key, struct str *pattern);
/* New limits; what was settled and held stays. NULL: none. */
void books_set_limits(struct books *b, struct scope *s, const struct limits *l);
/* Adds what the database says was settled in the window of `period` that holds book time now. At the start, or for a scope that is new. */
void books_load(struct books *b, struct scope *s, enum period period, int64_t tokens, int64_t nanos);

/* ---- claiming ---- */

#define CLAIM_SCOPES 12 /* the gateway, models, a key, and its rules for models: KEY_GLOBS_MAX (key_conf.h), and two for the very name and alias */
#define OUTPUT_UNKNOWN 16384 /* tokens that an answer is taken to have at most where nobody says */
#define OUTPUT_NONE    (-1)  /* as output_default: such an answer has no tokens (embeddings) */
#define HOLD_MAX ((int64_t)1 << 44) /* tokens or nano-dollars: a budget never lets a larger request in */

struct ask {
	int64_t mono_us, book_us;
	int64_t input_bound;     /* tokens of the prompt at most */
	int64_t input_guess;     /* tokens of the prompt, most likely: for the rate of tokens */
	int64_t output;          /* tokens of the answer at most; 0: the client did not say */
	int64_t output_default;  /* where it did not say: the most that it may be (the model's cap); 0: not known; OUTPUT_NONE */
	int64_t max_wait_us;     /* how long the request may wait for a rate; 0: not at all */
	int64_t seconds;         /* the request takes at most so long, for prices by time */
	const struct price *price; /* known false: budgets in money refuse it */
};

enum verdict {
	CLAIM_GRANTED,  /* wait_us > 0: begin that much later */
	CLAIM_LATER,    /* something must be given back, or leased, first: books_wait(), or refuse with 429 */
	CLAIM_RATE,     /* over a rate, and the wait would be too long: wait_us says how long */
	CLAIM_SPENT,    /* a budget is used up, or can never hold this request: waiting does not help before `resets_s` */
	CLAIM_UNPRICED, /* a budget in money, and a model without a price */
};

enum limit_kind { LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_CONCURRENCY, LIMIT_BUDGET, LIMIT_LEASE };

struct rate_view {
	int64_t limit, remaining, reset_us; /* limit 0: none; reset: until it is full again */
};

struct claim_answer {
	enum verdict verdict;
	enum limit_kind by;         /* unless granted: what said no. What waiting does not help comes first, then budgets, places, rates, leases; each
				       in the order of the scopes */
	uint32_t scope;             /* index of the scope that said no */
	struct budget budget;       /* by LIMIT_BUDGET */
	int64_t left;               /* of it: amount - settled (may be negative) */
	int64_t limit;              /* of a rate or of concurrency */
	int64_t wait_us;            /* GRANTED, RATE */
	int64_t resets_s;           /* SPENT: when the window ends; INT64_MAX: never */
	bool budgeted;              /* GRANTED: at least one budget covers the request */
	int64_t output;             /* GRANTED: what the answer may have; to be told upstream where budgets or ask.output say so; 0: no cap needed */
	struct rate_view requests, tokens; /* the tightest of the scopes, after this claim: for x-ratelimit-* */
};

/* What a request holds. Zeroed: nothing. Embedded in its request, and touched by its thread alone. */
struct claim {
	struct scope *scopes[CLAIM_SCOPES];
	uint32_t count;             /* of scopes; 0: holds nothing */
	uint32_t epochs[PERIOD_COUNT]; /* which windows it belongs to */
	int64_t hold_tokens, hold_nanos, input_guess;
	bool capped;                /* the answer's length was limited, so the hold is a bound */
};

/* Asks all scopes (NULL ones are skipped, as are ones that stand there twice). Granted: `claim`, which must hold nothing, holds from now on. A request
 * that costs no money passes any budget in money. `claim` NULL: only asks; nothing is taken, and leases are not looked at. */
void books_claim(struct books *b, struct scope *const *scopes, uint32_t count, const struct ask *ask, struct claim *claim, struct claim_answer *out);
/* Replaces the hold by what was used. Exactly once for each granted claim; does nothing for one that holds nothing. Returns true where more was used than
 * was held although the answer's length was limited (claim.capped). A request that was given up before anything was sent settles with 0: its tokens
 * go back to the rate, the request does not. */
bool books_settle(struct books *b, struct claim *claim, int64_t tokens, int64_t nanos, int64_t mono_us);
/* Announces somebody who waits for `freed`; taken back by books_wait_over(). Whoever waits claims once more after books_wait(): what was given back
 * between its claim and this call was told to nobody. */
void books_wait(struct books *b);
void books_wait_over(struct books *b);

/* ---- leases: the ledger's sync thread ---- */

/* Leases that are wanted, at most `max`; they count once books_leases_synced() has said so for all that were given out before. After a failure they are
 * wanted again: `leases` is called for the next claims that need them, a moment apart. */
size_t books_leases_wanted(struct books *b, struct record_lease *out, size_t max);
void books_leases_synced(struct books *b, bool fine);

/* ---- looking ---- */

struct budget_view {
	struct budget budget;
	int64_t settled, held, leased, from_s, resets_s;
};
struct scope_view {
	uint32_t key;
	struct str pattern;                             /* lives as long as the books */
	struct limits limits;
	int64_t settled[PERIOD_COUNT][UNIT_COUNT], held[UNIT_COUNT];
	int64_t in_flight;
	struct budget_view budgets[BUDGETS_MAX];
};
void books_view(struct books *b, struct scope *s, int64_t book_us, struct scope_view *out);
/* The scopes one after the other: 0, 1 … ; false at the end. */
bool books_view_at(struct books *b, size_t i, int64_t book_us, struct scope_view *out);

struct budget_warning {
	uint32_t key;
	struct str pattern;
	struct budget budget;
	int64_t settled;
	int percent;             /* 50, 80, 100: crossed upwards; once in a window */
};
bool books_next_warning(struct books *b, struct budget_warning *out);
/* The identity of every budget; appends a line for each that does not hold, and returns how many. */
size_t books_audit(struct books *b, struct buf *report);

#endif
