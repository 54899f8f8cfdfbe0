/* token.h - an API key as a client sends it: vk_<id>_<secret>_<checksum>, all base62.
 *
 * The prefix is for scanners of leaked secrets, the id finds the key, the secret has 256 bits, the checksum (CRC-32 of all before it) refuses
 * typing errors without a look-up. Pure but for token_make(), which asks the system for random bytes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_TOKEN_H
#define VALET_GATE_TOKEN_H

#include "base/str.h"
#include "net/digest.h"

#define TOKEN_ID       10
#define TOKEN_SECRET   43
#define TOKEN_CHECKSUM 6
#define TOKEN_LENGTH   (3 + TOKEN_ID + 1 + TOKEN_SECRET + 1 + TOKEN_CHECKSUM)

struct token {
	char id[TOKEN_ID];
	const char *secret; /* TOKEN_SECRET bytes, in the text that was parsed */
};

/* A new token for a new id, or for `id` (TOKEN_ID bytes) where it is not NULL; NUL-terminated. */
void token_make(const char *id, char out[TOKEN_LENGTH + 1]);
/* False: not a token, or mistyped. Looks at nothing but the text. */
bool token_parse(struct str text, struct token *out);
/* What is stored of it: HMAC-SHA-256 of the secret under the pepper. */
void token_hash(const struct hmac_key *pepper, const struct token *t, uint8_t out[DIGEST_SIZE]);

#endif
