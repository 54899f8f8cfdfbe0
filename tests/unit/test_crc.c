/* test_crc.c - checksums: known answers, and every way to compute one gives the same.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The definition, a bit at a time. */
static uint32_t by_bits(uint32_t polynomial, uint32_t before, const uint8_t *p, size_t len)
{
	uint32_t crc = ~before;
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
	}
	return ~crc;
}

static void test_known(void **state)
{
	(void)state;
	uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
	memset(ones, 0xff, sizeof(ones));
	for (int i = 0; i < 32; i++) {
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	assert_int_equal(crc32_of("", 0), 0);
	assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
	assert_int_equal(crc32_of("IEND", 4), 0xae426082); /* the end of every PNG file */
	assert_int_equal(crc32c_of(0, "", 0), 0);
	assert_int_equal(crc32c_of(0, "123456789", 9), 0xe3069283);
	/* RFC 3720, B.4 */
	assert_int_equal(crc32c_of(0, zeros, sizeof(zeros)), 0x8a9136aa);
	assert_int_equal(crc32c_of(0, ones, sizeof(ones)), 0x62a8ab43);
	assert_int_equal(crc32c_of(0, up, sizeof(up)), 0x46dd794e);
	assert_int_equal(crc32c_of(0, down, sizeof(down)), 0x113fdb5c);
}

static void test_twins(void **state)
{
	(void)state;
	static const size_t lengths[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 57, 63, 64, 65, 127, 255, 1024, 4099};
	static uint8_t bytes[8192];
	srandom(7);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random();
	for (size_t at = 0; at < 16; at++) {
		for (size_t i = 0; i < COUNT(lengths); i++) {
			const uint8_t *p = bytes + at;
			uint32_t before = (uint32_t)random();
			uint32_t want = by_bits(0x82f63b78, before, p, lengths[i]);
			assert_int_equal(crc32c_of(before, p, lengths[i]), want);
			assert_int_equal(crc32c_portable(before, p, lengths[i]), want);
			assert_int_equal(crc32_of(p, lengths[i]), by_bits(0xedb88320, 0, p, lengths[i]));
		}
	}
}

static void test_continues(void **state)
{
	(void)state;
	uint8_t bytes[100];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 5);
	uint32_t whole = crc32c_of(0, bytes, sizeof(bytes));
	for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
		uint32_t first = crc32c_of(0, bytes, cut);
		assert_int_equal(crc32c_of(first, bytes + cut, sizeof(bytes) - cut), whole);
		assert_int_equal(crc32c_portable(first, bytes + cut, sizeof(bytes) - cut), whole);
	}
}

static void test_each_bit_counts(void **state)
{
	(void)state;
	uint8_t bytes[64] = "vk_0123456789_abc";
	uint32_t ieee = crc32_of(bytes, sizeof(bytes)), castagnoli = crc32c_of(0, bytes, sizeof(bytes));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(crc32_of(bytes, sizeof(bytes)), ieee);
		assert_int_not_equal(crc32c_of(0, bytes, sizeof(bytes)), castagnoli);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_twins),
		cmocka_unit_test(test_continues),
		cmocka_unit_test(test_each_bit_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
