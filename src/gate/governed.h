/* governed.h - what governs a request: the scopes that it claims in, and in which words it is refused. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_GOVERNED_H
#define VALET_GATE_GOVERNED_H

#include "base/error.h"
#include "gate/catalog.h"

/* Scopes in the order: the key's own, its rules for models, the model's, the gateway's. */
struct governed {
	const struct key *key;             /* NULL: none is needed */
	const struct catalog_model *model;
	struct scope *scopes[CLAIM_SCOPES];
	uint32_t count;
	uint32_t rules;                    /* of the key for models, among them */
};
/* `asked`: the name or alias that the client used. False: there are more than a claim can keep; rather refuse than forget one. */
bool governed_find(struct governed *g, const struct catalog *c, const struct catalog_model *m, const struct key *k, struct str asked);
/* Why a claim that was not granted is refused: the error and its sentence, appended to `why`. *retry_ms: when to ask again; unchanged where that does not
 * help. */
enum error governed_refusal(const struct governed *g, const struct claim_answer *a, struct buf *why, int64_t *retry_ms);

/* Tokens that a prompt of so many bytes most likely has, by what the model's first place has taught. */
static inline int64_t governed_tokens(const struct catalog_model *m, uint64_t bytes)
{
	return (int64_t)bytes * 256 / bytes_per_token(m->places[0].learned) + 1;
}

#endif
