/* price_of.h - which price holds for a model at a place: what the settings say, the built-in list, or none. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_PRICE_OF_H
#define VALET_GATE_PRICE_OF_H

#include "dialect/engine.h"
#include "gate/price.h"
#include "gate/settings.h"

/* The price of `public_model`, which a target at `host` (NULL: one that was found, not configured) knows as `engine_model`. The first of:
 * models[].price; targets[].price; at the host of a vendor the built-in list; at a local engine prices.local with prices.electricity (either is
 * enough); prices.ceiling, and then *ceiling (may be NULL) is true. Known false: there is none. */
struct price price_for(const struct settings *s, const struct target_conf *target, bool local, struct str host, struct str public_model,
		       struct str engine_model, bool *ceiling);

/* The two halves of it, for who has found models[] already: a price as it is written there, and what holds where none is. */
struct price price_written(const struct price_conf *conf);
struct price price_at(const struct settings *s, const struct target_conf *target, bool local, struct str host, struct str engine_model, bool *ceiling);

/* Whether what answers at that host is an engine of one's own: its kind is one of a program that people run themselves, or its host is this one,
 * a private address, or a name that no public name server knows ("gpu1", "gpu1.local"). Never at the host of a vendor. */
bool price_is_local(enum engine_kind kind, struct str host);

/* For `valet check`: a warning for each configured model, each target beyond one's own network, and each model that is named in its `include`, that
 * would have no price. `tree`: what the settings were read from, for the places. */
void price_check(const struct settings *s, const struct json *tree, struct field_reader *r);

#endif
