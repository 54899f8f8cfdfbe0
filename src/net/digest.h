/* digest.h - HMAC-SHA-256 with a key that is prepared once. Any thread; no allocation.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_NET_DIGEST_H
#define VALET_NET_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32

/* The states after the inner and the outer pad; digest.c knows what is inside. Holds a secret: wipe it with hmac_key_wipe(). */
struct hmac_key {
	uint64_t inner[16], outer[16];
};

void hmac_key_init(struct hmac_key *k, const void *key, size_t len);
void hmac_key_wipe(struct hmac_key *k);
/* Two compressions for texts below 56 bytes. */
void hmac_sha256(const struct hmac_key *k, const void *text, size_t len, uint8_t out[DIGEST_SIZE]);
/* In a time that does not depend on where they differ. */
bool digest_same(const void *a, const void *b, size_t len);

#endif
