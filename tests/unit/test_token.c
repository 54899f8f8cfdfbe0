/* test_token.c - API keys: what is made is taken, and nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "gate/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DIGITS       "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define SECRET       "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

static bool taken(const char *ptr, size_t len)
{
	struct token t;
	char *exact = malloc(len ? len : 1); /* a sanitizer then sees reads past the end */
	memcpy(exact, ptr, len);
	bool ok = token_parse(str_of(exact, len), &t);
	free(exact);
	return ok;
}

/* Appends the right checksum, by other means than token.c. */
static void seal(char *text, size_t len)
{
	static const uint64_t powers[] = {916132832, 14776336, 238328, 3844, 62, 1};
	uint64_t crc = crc32_of(text, len);
	text[len++] = '_';
	for (size_t i = 0; i < COUNT(powers); i++)
		text[len++] = DIGITS[crc / powers[i] % 62];
	text[len] = 0;
}

static void test_round_trip(void **state)
{
	(void)state;
	char text[TOKEN_LENGTH + 1], again[TOKEN_LENGTH + 1];
	struct token t, u;
	for (int i = 0; i < 1000; i++) {
		token_make(NULL, text);
		assert_int_equal(strlen(text), TOKEN_LENGTH);
		assert_true(token_parse(str_from(text), &t));
		assert_memory_equal(t.id, text + 3, TOKEN_ID);
		assert_ptr_equal(t.secret, text + 3 + TOKEN_ID + 1);
		token_make(t.id, again);
		assert_true(token_parse(str_from(again), &u));
		assert_memory_equal(t.id, u.id, TOKEN_ID);
		assert_memory_not_equal(t.secret, u.secret, TOKEN_SECRET);
		memcpy(again, text, 3 + TOKEN_ID + 1 + TOKEN_SECRET);
		seal(again, 3 + TOKEN_ID + 1 + TOKEN_SECRET);
		assert_string_equal(again, text);
	}
}

/* The form must never change: keys that people have would stop to work. */
static void test_fixed(void **state)
{
	(void)state;
	static const char text[] = "vk_Valet00001_" SECRET "_2miipU";
	static const uint8_t want[DIGEST_SIZE] = {
		0x27, 0x46, 0x5e, 0x06, 0x2f, 0x68, 0xa6, 0x0b, 0x15, 0xa8, 0xf9, 0xa7, 0x26, 0xdb, 0xd3, 0xe2,
		0xec, 0x0a, 0xb2, 0x6f, 0x83, 0x81, 0x7e, 0x74, 0xef, 0x23, 0xa1, 0xc8, 0x61, 0x79, 0xc8, 0xa3,
	};
	struct token t;
	struct hmac_key pepper;
	uint8_t got[DIGEST_SIZE];
	assert_true(token_parse(str_from(text), &t));
	assert_memory_equal(t.id, "Valet00001", TOKEN_ID);
	assert_memory_equal(t.secret, SECRET, TOKEN_SECRET);
	hmac_key_init(&pepper, "pepper", 6);
	token_hash(&pepper, &t, got);
	hmac_key_wipe(&pepper);
	assert_memory_equal(got, want, DIGEST_SIZE);
}

static void test_each_change_is_refused(void **state)
{
	(void)state;
	char text[TOKEN_LENGTH + 1];
	token_make(NULL, text);
	for (size_t i = 0; i < TOKEN_LENGTH; i++) {
		char right = text[i];
		for (int c = 0; c < 256; c++) {
			text[i] = (char)c;
			assert_true(taken(text, TOKEN_LENGTH) == (text[i] == right));
		}
		text[i] = right;
	}
}

static void test_swaps_are_refused(void **state)
{
	(void)state;
	char text[TOKEN_LENGTH + 1];
	token_make(NULL, text);
	for (size_t i = 0; i + 1 < TOKEN_LENGTH; i++) {
		char first = text[i], second = text[i + 1];
		text[i] = second;
		text[i + 1] = first;
		assert_true(taken(text, TOKEN_LENGTH) == (first == second));
		text[i] = first;
		text[i + 1] = second;
	}
}

static void test_lengths(void **state)
{
	(void)state;
	char text[2 * TOKEN_LENGTH + 1];
	token_make(NULL, text);
	token_make(NULL, text + TOKEN_LENGTH);
	for (size_t len = 0; len <= 2 * TOKEN_LENGTH; len++)
		assert_true(taken(text, len) == (len == TOKEN_LENGTH));
	struct token t;
	assert_false(token_parse(STR_NONE, &t));
}

/* Wrong in form, but with the right checksum. */
static void test_shapes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool ok;
	} cases[] = {
		{"vk_Valet00001_" SECRET, true},
		{"vk_0000000000_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", true},
		{"VK_Valet00001_" SECRET, false},
		{"sk_Valet00001_" SECRET, false},
		{"vk-Valet00001_" SECRET, false},
		{"vk_Valet00001-" SECRET, false},
		{"vk_Valet0000_1" SECRET, false},
		{"vk_Valet000_01" SECRET, false},
		{"vk_Valet_0001_" SECRET, false},
		{"vk_Valet 0001_" SECRET, false},
		{"vk_Valet000\xc3\xa4_" SECRET, false},
		{"vk_Valet000001_123456789abcdefghijklmnopqrstuvwxyzABCDEFG", false},
		{"vk_Valet00001_0123456789abcdefghijklm/opqrstuvwxyzABCDEFG", false},
		{"vk_Valet00001_0123456789abcdefghijklm opqrstuvwxyzABCDEFG", false},
		{"vk_Valet00001_0123456789abcdefghijklm_opqrstuvwxyzABCDEFG", false},
		{"vk_Valet00001_[123456789abcdefghijklmnopqrstuvwxyzABCDEF@", false},
		{"vk_Valet00001_`123456789abcdefghijklmnopqrstuvwxyzABCDEF{", false},
		{"vk_Valet00001_:123456789abcdefghijklmnopqrstuvwxyzABCDEF/", false},
	};
	char text[2 * TOKEN_LENGTH];
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t len = strlen(cases[i].text);
		assert_int_equal(len, TOKEN_LENGTH - 1 - TOKEN_CHECKSUM);
		memcpy(text, cases[i].text, len);
		seal(text, len);
		if (taken(text, TOKEN_LENGTH) != cases[i].ok)
			fail_msg("%s should be %s", text, cases[i].ok ? "taken" : "refused");
	}
}

/* All digits come equally often, but for the first of a secret: 2^256 is less than 61 * 62^42, so it is never 61 and more seldom 60. */
static void test_random(void **state)
{
	(void)state;
	enum { ROUNDS = 20000 };
	static unsigned seen[TOKEN_LENGTH][256];
	char text[TOKEN_LENGTH + 1];
	for (int i = 0; i < ROUNDS; i++) {
		token_make(NULL, text);
		for (size_t at = 0; at < TOKEN_LENGTH; at++)
			seen[at][(uint8_t)text[at]]++;
	}
	/* 20000 / 62 = 323, of which one standard deviation is 18: seven of them are no chance. */
	for (size_t at = 3; at < 3 + TOKEN_ID + 1 + TOKEN_SECRET; at++) {
		bool fixed = at == 3 + TOKEN_ID, first = at == 3 + TOKEN_ID + 1;
		for (size_t d = 0; d < 62 && !fixed; d++) {
			unsigned n = seen[at][(uint8_t)DIGITS[d]];
			if (n > 323 + 7 * 18 || (n < 323 - 7 * 18 && !(first && d >= 60)))
				fail_msg("byte %zu is %u times %c", at, n, DIGITS[d]);
			assert_false(first && d == 61 && n > 0);
		}
	}
}

static void test_hash(void **state)
{
	(void)state;
	char text[TOKEN_LENGTH + 1], other[TOKEN_LENGTH + 1];
	uint8_t a[DIGEST_SIZE], b[DIGEST_SIZE];
	struct hmac_key pepper, salt;
	struct token t, u;
	hmac_key_init(&pepper, "pepper", 6);
	hmac_key_init(&salt, "salt", 4);
	token_make(NULL, text);
	token_make(text + 3, other);
	assert_true(token_parse(str_from(text), &t) && token_parse(str_from(other), &u));
	token_hash(&pepper, &t, a);
	token_hash(&pepper, &t, b);
	assert_true(digest_same(a, b, DIGEST_SIZE));
	token_hash(&pepper, &u, b);
	assert_false(digest_same(a, b, DIGEST_SIZE));
	token_hash(&salt, &t, b);
	assert_false(digest_same(a, b, DIGEST_SIZE));
	hmac_key_wipe(&pepper);
	hmac_key_wipe(&salt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_each_change_is_refused),
		cmocka_unit_test(test_swaps_are_refused),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_hash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
