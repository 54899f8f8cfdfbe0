/* digest.c - HMAC-SHA-256 with a key that is prepared once.
 *
 * Owns nothing; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* The old SHA256_ calls are the ones without an allocation or a lock; through EVP a short text costs several times as much. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/digest.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

static_assert(DIGEST_SIZE == SHA256_DIGEST_LENGTH, "");
static_assert(sizeof(SHA256_CTX) <= sizeof(((struct hmac_key *)0)->inner), "");
static_assert(sizeof(SHA256_CTX) <= sizeof(((struct hmac_key *)0)->outer), "");

/* Goes on from `state`, or from the beginning where that is NULL. Nothing here can fail: the calls return 1. */
static void sha256(const void *state, const void *text, size_t len, uint8_t out[DIGEST_SIZE])
{
	SHA256_CTX c;
	if (state)
		memcpy(&c, state, sizeof(c));
	else
		SHA256_Init(&c);
	SHA256_Update(&c, text, len);
	SHA256_Final(out, &c);
}

/* The state after one block of the key and `pad`. */
static void prepare(uint64_t *state, const uint8_t key[SHA256_CBLOCK], uint8_t pad)
{
	SHA256_CTX c;
	uint8_t block[SHA256_CBLOCK];
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = key[i] ^ pad;
	SHA256_Init(&c);
	SHA256_Update(&c, block, sizeof(block));
	memcpy(state, &c, sizeof(c));
	OPENSSL_cleanse(block, sizeof(block));
	OPENSSL_cleanse(&c, sizeof(c));
}

void hmac_key_init(struct hmac_key *k, const void *key, size_t len)
{
	uint8_t block[SHA256_CBLOCK] = {0};
	if (len > sizeof(block))
		sha256(NULL, key, len, block);
	else if (len)
		memcpy(block, key, len);
	memset(k, 0, sizeof(*k));
	prepare(k->inner, block, 0x36);
	prepare(k->outer, block, 0x5c);
	OPENSSL_cleanse(block, sizeof(block));
}

void hmac_key_wipe(struct hmac_key *k)
{
	OPENSSL_cleanse(k, sizeof(*k));
}

void hmac_sha256(const struct hmac_key *k, const void *text, size_t len, uint8_t out[DIGEST_SIZE])
{
	uint8_t inner[DIGEST_SIZE];
	sha256(k->inner, text, len, inner);
	sha256(k->outer, inner, sizeof(inner), out);
}

bool digest_same(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
