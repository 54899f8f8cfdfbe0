/* test_digest.c - HMAC-SHA-256 against RFC 4231 and against OpenSSL's own, and the comparison.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
		out[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return n;
}

static void check(const void *key, size_t key_len, const void *text, size_t len, const char *want_hex)
{
	struct hmac_key k;
	uint8_t got[DIGEST_SIZE], want[DIGEST_SIZE];
	size_t bytes = from_hex(want_hex, want);
	hmac_key_init(&k, key, key_len);
	hmac_sha256(&k, text, len, got);
	assert_memory_equal(got, want, bytes);
	hmac_sha256(&k, text, len, got); /* the key is as it was */
	assert_memory_equal(got, want, bytes);
	hmac_key_wipe(&k);
}

static void test_rfc4231(void **state)
{
	(void)state;
	static const char larger[] = "This is a test using a larger than block-size key and a larger than block-size data. "
				     "The key needs to be hashed before being used by the HMAC algorithm.";
	static const char hash_first[] = "Test Using Larger Than Block-Size Key - Hash Key First";
	uint8_t key[131], text[50];
	memset(key, 0x0b, 20);
	check(key, 20, "Hi There", 8, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	check("Jefe", 4, "what do ya want for nothing?", 28, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	memset(text, 0xdd, sizeof(text));
	check(key, 20, text, 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	check(key, 131, hash_first, strlen(hash_first), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	check(key, 131, larger, strlen(larger), "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
	for (int i = 0; i < 25; i++)
		key[i] = (uint8_t)(i + 1);
	memset(text, 0xcd, sizeof(text));
	check(key, 25, text, 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
	memset(key, 0x0c, 20);
	check(key, 20, "Test With Truncation", 20, "a3b6167473100ee06e0c796c2955552b");
}

/* All lengths around the borders of a block, for keys and for texts. */
static void test_lengths(void **state)
{
	(void)state;
	static const size_t key_lengths[] = {0, 1, 31, 32, 63, 64, 65, 200};
	uint8_t key[200], text[200], got[DIGEST_SIZE], want[DIGEST_SIZE];
	for (size_t i = 0; i < sizeof(text); i++) {
		key[i] = (uint8_t)(i * 11 + 3);
		text[i] = (uint8_t)(i * 7 + 1);
	}
	for (size_t i = 0; i < COUNT(key_lengths); i++) {
		struct hmac_key k;
		hmac_key_init(&k, key, key_lengths[i]);
		for (size_t len = 0; len <= sizeof(text); len++) {
			unsigned size = 0;
			assert_non_null(HMAC(EVP_sha256(), key, (int)key_lengths[i], text, len, want, &size));
			hmac_sha256(&k, text, len, got);
			assert_memory_equal(got, want, DIGEST_SIZE);
		}
		hmac_key_wipe(&k);
	}
}

static void test_wipe(void **state)
{
	(void)state;
	struct hmac_key k;
	static const struct hmac_key zero;
	hmac_key_init(&k, "secret", 6);
	assert_memory_not_equal(&k, &zero, sizeof(k));
	hmac_key_wipe(&k);
	assert_memory_equal(&k, &zero, sizeof(k));
}

static void test_same(void **state)
{
	(void)state;
	uint8_t a[DIGEST_SIZE] = {1, 2, 3}, b[DIGEST_SIZE] = {1, 2, 3};
	assert_true(digest_same(a, b, sizeof(a)));
	assert_true(digest_same(a, b, 0));
	for (size_t bit = 0; bit < sizeof(a) * 8; bit++) {
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(digest_same(a, b, sizeof(a)));
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc4231),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_wipe),
		cmocka_unit_test(test_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
