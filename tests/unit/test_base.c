/* test_base.c - views, buffers, memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "text_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- str ---- */

static void test_compare(void **state)
{
	(void)state;
	assert_true(str_eq(STR_NONE, STR("")));
	assert_true(str_eq(str_from(NULL), STR_NONE));
	assert_false(str_eq(STR("a"), STR("A")));
	assert_false(str_eq(STR("a"), STR("ab")));
	assert_true(str_ieq(STR("Content-TYPE"), STR("content-type")));
	assert_false(str_ieq(STR("a"), STR("b")));
	assert_false(str_ieq(STR("["), STR("{"))); /* 0x20 apart, but no letters */
	assert_true(str_ieq(STR_NONE, STR("")));
	assert_true(str_starts(STR("abc"), STR("ab")));
	assert_true(str_starts(STR("abc"), STR_NONE));
	assert_false(str_starts(STR("ab"), STR("abc")));
	assert_false(str_starts(STR("abc"), STR("AB")));
	assert_true(str_istarts(STR("Bearer x"), STR("bearer ")));
	assert_false(str_istarts(STR("Bear"), STR("bearer ")));
	assert_true(str_ends(STR("abc"), STR("bc")));
	assert_true(str_ends(STR("abc"), STR("")));
	assert_false(str_ends(STR("bc"), STR("abc")));
}

static void test_find(void **state)
{
	(void)state;
	assert_int_equal(str_find(STR("a=b=c"), '='), 1);
	assert_int_equal(str_find(STR("abc"), '='), 3);
	assert_int_equal(str_find(STR_NONE, '='), 0);
	assert_int_equal(str_find(STR("a\xff"), '\xff'), 1);
	assert_int_equal(str_search(STR("hello"), STR("ll")), 2);
	assert_int_equal(str_search(STR("hello"), STR("lll")), 5);
	assert_int_equal(str_search(STR("hello"), STR("")), 0);
	assert_int_equal(str_search(STR_NONE, STR("x")), 0);
	assert_int_equal(str_search(STR("x"), STR("xy")), 1);
}

static void test_cut(void **state)
{
	(void)state;
	assert_str(str_skip(STR("abc"), 1), "bc");
	assert_str(str_skip(STR("abc"), 9), "");
	assert_str(str_skip(STR_NONE, 9), "");
	assert_str(str_head(STR("abc"), 2), "ab");
	assert_str(str_head(STR("abc"), 9), "abc");
	assert_str(str_trim(STR(" \t\r\n a b \n")), "a b");
	assert_str(str_trim(STR(" \n ")), "");
	assert_str(str_trim(STR_NONE), "");
}

static void test_split(void **state)
{
	struct str rest = STR("a,,b,"), part;
	(void)state;
	assert_true(str_split(&rest, ',', &part));
	assert_str(part, "a");
	assert_true(str_split(&rest, ',', &part));
	assert_str(part, "");
	assert_true(str_split(&rest, ',', &part));
	assert_str(part, "b");
	assert_true(str_split(&rest, ',', &part));
	assert_str(part, "");
	assert_false(str_split(&rest, ',', &part));
	assert_false(str_split(&rest, ',', &part));
	rest = STR("one");
	assert_true(str_split(&rest, ',', &part));
	assert_str(part, "one");
	assert_false(str_split(&rest, ',', &part));
}

static void test_to_i64(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {
		{"0", 0},
		{"-0", 0},
		{"007", 7},
		{"-17", -17},
		{"9223372036854775807", INT64_MAX},
		{"-9223372036854775808", INT64_MIN},
	};
	static const char *const bad[] = {"",
					  "-",
					  "+1",
					  " 1",
					  "1 ",
					  "1.0",
					  "1e1",
					  "--1",
					  "9223372036854775808",
					  "0x1",
					  "a",
					  "-9223372036854775809",
					  "99999999999999999999999"};
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		int64_t n = 99;
		assert_true(str_to_i64(str_from(good[i].text), &n));
		assert_true(n == good[i].value);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		int64_t n = 99;
		if (str_to_i64(str_from(bad[i]), &n) || n != 99)
			fail_msg("accepted \"%s\"", bad[i]);
	}
}

static void test_glob(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool match;
	} cases[] = {
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "anything", true},
		{"gpt-*", "gpt-4o", true},
		{"gpt-*", "gpt-", true},
		{"gpt-*", "gpt", false},
		{"*-mini", "a-mini", true},
		{"*-mini", "a-mini-x", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"?", "", false},
		{"*a*b*", "xxaxxbxx", true},
		{"*a*b*", "xxbxxa", false},
		{"a**b", "ab", true},
		{"*ab", "aab", true},
		{"*ab", "abab", true},
		{"A", "a", false},
		{"*aaaaaaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (str_glob(str_from(cases[i].pattern), str_from(cases[i].text)) != cases[i].match)
			fail_msg("%s against %s", cases[i].pattern, cases[i].text);
}

static void test_distance(void **state)
{
	char lengthy[300];
	(void)state;
	memset(lengthy, 'x', sizeof(lengthy));
	assert_int_equal(str_distance(STR("model"), STR("model"), 2), 0);
	assert_int_equal(str_distance(STR("model"), STR("MODEL"), 2), 0);
	assert_int_equal(str_distance(STR("model"), STR("modle"), 2), 2);
	assert_int_equal(str_distance(STR("model"), STR("models"), 2), 1);
	assert_int_equal(str_distance(STR("odel"), STR("model"), 2), 1);
	assert_int_equal(str_distance(STR("kitten"), STR("sitting"), 5), 3);
	assert_int_equal(str_distance(STR("kitten"), STR("sitting"), 2), 3);
	assert_int_equal(str_distance(STR("abc"), STR("xyz"), 1), 2);
	assert_int_equal(str_distance(STR(""), STR("abc"), 5), 3);
	assert_int_equal(str_distance(STR_NONE, STR_NONE, 0), 0);
	assert_int_equal(str_distance(STR("a"), str_of(lengthy, 300), 3), 4);
	assert_int_equal(str_distance(str_of(lengthy, 299), str_of(lengthy, 300), 3), 4);
	assert_int_equal(str_distance(str_of(lengthy, 300), str_of(lengthy, 300), 3), 0);
}

/* ---- buf ---- */

static void test_buf_grows(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, 1000);
	assert_null(b.ptr);
	assert_true(buf_add(&b, NULL, 0));
	assert_true(buf_addc(&b, 'x'));
	assert_int_equal(b.cap, 256);
	assert_true(buf_reserve(&b, 256));
	assert_int_equal(b.cap, 512);
	assert_true(buf_reserve(&b, 999)); /* exactly the ceiling */
	assert_int_equal(b.cap, 1000);
	assert_false(b.over);
	assert_false(buf_reserve(&b, 1000));
	assert_true(b.over);
	assert_str(buf_str(&b), "x");
	buf_clear(&b);
	assert_false(b.over);
	assert_int_equal(b.cap, 1000);
	buf_release(&b);
	assert_int_equal(b.cap, 0);
	assert_int_equal(b.max, 1000);
	assert_true(BUF_ADD(&b, "again"));
	assert_str(buf_str(&b), "again");
	buf_release(&b);
}

static void test_buf_ceiling(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, 5);
	assert_true(BUF_ADD(&b, "abc"));
	assert_int_equal(b.cap, 5);
	assert_false(BUF_ADD(&b, "def"));
	assert_str(buf_str(&b), "abc");
	assert_true(BUF_ADD(&b, "de"));
	assert_str(buf_str(&b), "abcde");
	assert_true(b.over); /* stays until looked at */
	assert_false(buf_addc(&b, 'f'));
	assert_false(buf_reserve(&b, SIZE_MAX));
	assert_false(buf_addu(&b, 1));
	assert_false(buf_addf(&b, "%s", "x"));
	assert_true(buf_addf(&b, "%s", ""));
	assert_str(buf_str(&b), "abcde");
	buf_release(&b);
	buf_init(&b, 0);
	assert_true(buf_adds(&b, STR_NONE));
	assert_false(buf_addc(&b, 'x'));
	buf_release(&b);
}

static void test_buf_format(void **state)
{
	char lengthy[1001];
	struct buf b;
	(void)state;
	memset(lengthy, 'y', 1000);
	lengthy[1000] = '\0';
	buf_init(&b, 1010);
	assert_true(buf_addf(&b, "%d-%s", -5, "x"));
	assert_str(buf_str(&b), "-5-x");
	assert_true(buf_addf(&b, "%s", lengthy));
	assert_int_equal(b.len, 1004);
	assert_false(buf_addf(&b, "%s", lengthy));
	assert_int_equal(b.len, 1004);
	assert_true(buf_addf(&b, "%s", "123456")); /* to the last byte, without room for a NUL */
	assert_int_equal(b.len, 1010);
	buf_clear(&b);
	assert_true(buf_addu(&b, 0) && buf_addc(&b, ' ') && buf_addu(&b, UINT64_MAX));
	assert_str(buf_str(&b), "0 18446744073709551615");
	buf_release(&b);
}

static void test_buf_drop(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, 100);
	buf_drop(&b, 3);
	BUF_ADD(&b, "abcdef");
	buf_drop(&b, 2);
	assert_str(buf_str(&b), "cdef");
	buf_drop(&b, 0);
	assert_str(buf_str(&b), "cdef");
	buf_drop(&b, 9);
	assert_int_equal(b.len, 0);
	buf_release(&b);
}

/* ---- mem ---- */

static void test_mem(void **state)
{
	(void)state;
	char *copy = mem_str(STR("abc"));
	assert_string_equal(copy, "abc");
	copy = mem_grow(copy, 100);
	assert_string_equal(copy, "abc");
	free(copy);
	copy = mem_str(STR_NONE);
	assert_string_equal(copy, "");
	free(copy);
	int *zeros = mem_array(100, sizeof(*zeros));
	for (int i = 0; i < 100; i++)
		assert_int_equal(zeros[i], 0);
	free(zeros);
	free(mem_alloc(0));
	free(mem_zero(0));
}

static void test_arena(void **state)
{
	struct arena a;
	size_t total = 0;
	(void)state;
	arena_init(&a, 0);
	assert_non_null(arena_alloc(&a, 0));
	total += 16;
	for (size_t i = 0; i < 3000; i++) {
		size_t size = i % 97 == 0 ? i * 50 : i % 300;
		unsigned char *p = arena_alloc(&a, size);
		assert_int_equal((uintptr_t)p % 16, 0);
		memset(p, (int)i, size); /* a sanitizer sees what overlaps or sticks out */
		total += size ? (size + 15) / 16 * 16 : 16;
	}
	assert_int_equal(a.used, total);
	unsigned char *zeros = arena_zero(&a, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(zeros[i], 0);
	arena_release(&a);
	assert_int_equal(a.used, 0);
	assert_int_equal(a.block_size, 256);
	assert_null(a.blocks);
	assert_non_null(arena_alloc(&a, 1000000));
	assert_non_null(arena_alloc(&a, 1));
	arena_release(&a);
	arena_release(&a);
}

static void test_arena_keeps(void **state)
{
	struct arena a;
	struct str parts[200];
	char text[64];
	(void)state;
	arena_init(&a, 512);
	for (int i = 0; i < 200; i++)
		parts[i] = arena_printf(&a, "%d:%0*d", i, i, 0);
	for (int i = 1; i < 200; i++) {
		int n = snprintf(text, sizeof(text), "%d:", i);
		assert_true(str_starts(parts[i], str_of(text, (size_t)n)));
		assert_int_equal(parts[i].len, n + i);
		assert_int_equal(parts[i].ptr[parts[i].len], 0);
	}
	struct str lengthy = arena_printf(&a, "%0*d", 5000, 0);
	assert_int_equal(lengthy.len, 5000);
	assert_int_equal(lengthy.ptr[5000], 0);
	struct str copy = arena_dup(&a, STR("a\0b"));
	assert_int_equal(copy.len, 3);
	assert_memory_equal(copy.ptr, "a\0b", 4);
	assert_str(arena_dup(&a, STR_NONE), "");
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),     cmocka_unit_test(test_find),
		cmocka_unit_test(test_cut),         cmocka_unit_test(test_split),
		cmocka_unit_test(test_to_i64),      cmocka_unit_test(test_glob),
		cmocka_unit_test(test_distance),    cmocka_unit_test(test_buf_grows),
		cmocka_unit_test(test_buf_ceiling), cmocka_unit_test(test_buf_format),
		cmocka_unit_test(test_buf_drop),    cmocka_unit_test(test_mem),
		cmocka_unit_test(test_arena),       cmocka_unit_test(test_arena_keeps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
