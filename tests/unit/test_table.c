/* test_table.c - the hash table of texts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define MANY 20000

static void *number(size_t n)
{
	return (void *)(uintptr_t)n;
}

static void test_put_and_get(void **state)
{
	struct table t;
	table_init(&t, 0);
	assert_null(table_get(&t, STR("a")));
	assert_null(table_put(&t, STR("a"), number(1)));
	assert_ptr_equal(table_get(&t, STR("a")), number(1));
	assert_ptr_equal(table_put(&t, STR("a"), number(2)), number(1));
	assert_int_equal(t.count, 1);
	assert_ptr_equal(table_get(&t, STR("a")), number(2));
	assert_null(table_get(&t, STR("A")));
	assert_null(table_get(&t, STR("ab")));
	table_release(&t);
	assert_null(table_get(&t, STR("a")));
}

/* The empty text is a key like others, with or without a pointer; so are bytes that are no text. */
static void test_odd_keys(void **state)
{
	struct table t;
	table_init(&t, 4);
	assert_null(table_get(&t, STR_NONE));
	table_put(&t, STR_NONE, number(1));
	assert_ptr_equal(table_get(&t, STR("")), number(1));
	assert_ptr_equal(table_put(&t, STR(""), number(2)), number(1));
	table_put(&t, STR("\0"), number(3));
	table_put(&t, STR("\0\0"), number(4));
	table_put(&t, STR("a\0b"), number(5));
	table_put(&t, STR("\xff\xfe"), number(6));
	assert_int_equal(t.count, 5);
	assert_ptr_equal(table_get(&t, STR_NONE), number(2));
	assert_ptr_equal(table_get(&t, STR("\0")), number(3));
	assert_ptr_equal(table_get(&t, STR("\0\0")), number(4));
	assert_ptr_equal(table_get(&t, STR("a\0b")), number(5));
	assert_null(table_get(&t, STR("a\0c")));
	assert_null(table_get(&t, STR("a")));
	assert_ptr_equal(table_get(&t, STR("\xff\xfe")), number(6));
	table_release(&t);
}

static void test_growth(void **state)
{
	struct arena a;
	struct table t;
	struct str *keys = mem_array(MANY, sizeof(*keys));
	arena_init(&a, 4096);
	table_init(&t, 3);
	for (size_t i = 0; i < MANY; i++) {
		keys[i] = arena_printf(&a, "model-%zu", i);
		assert_null(table_put(&t, keys[i], number(i + 1)));
		assert_true(t.count == i + 1 && t.count * 2 <= t.mask + 1);
	}
	for (size_t i = 0; i < MANY; i++) {
		struct str copy = arena_dup(&a, keys[i]);
		assert_ptr_equal(table_get(&t, copy), number(i + 1));
		assert_null(table_get(&t, arena_printf(&a, "model-%zux", i)));
	}
	table_release(&t);
	arena_release(&a);
	free(keys);
}

/* Keys that differ little lie far apart: no long chains. */
static void test_spread(void **state)
{
	struct arena a;
	unsigned filled[256] = {0};
	arena_init(&a, 4096);
	for (size_t i = 0; i < MANY; i++)
		filled[siphash(arena_printf(&a, "%zu", i)) & 255]++;
	for (size_t i = 0; i < 256; i++)
		assert_in_range(filled[i], MANY / 256 / 2, MANY / 256 * 2);
	arena_release(&a);
}

static void test_hash(void **state)
{
	char bytes[64];
	uint64_t seen[64];
	memset(bytes, 'x', sizeof(bytes));
	for (size_t n = 0; n < sizeof(bytes); n++) {
		char *copy = mem_alloc(n); /* exact, so that a sanitizer sees reads past the end */
		memcpy(copy, bytes, n);
		seen[n] = siphash(str_of(copy, n));
		assert_true(seen[n] == siphash(str_of(bytes, n)));
		free(copy);
		for (size_t i = 0; i < n; i++)
			assert_true(seen[i] != seen[n]);
	}
	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		assert_true(siphash(str_of(bytes, 63)) != seen[63] || bit >= (size_t)8 * 63);
		bytes[bit / 8] ^= (char)(1 << bit % 8);
	}
}

static void test_random_bytes(void **state)
{
	unsigned char a[1000] = {0}, b[1000] = {0};
	size_t zeros = 0;
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		zeros += a[i] == 0;
	assert_true(zeros < 50);
	random_bytes(a, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_get), cmocka_unit_test(test_odd_keys),
		cmocka_unit_test(test_growth),      cmocka_unit_test(test_spread),
		cmocka_unit_test(test_hash),        cmocka_unit_test(test_random_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
