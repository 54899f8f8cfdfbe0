/* test_json_values.c - JSON: wants, the tree, text, integers, the writer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lex.h"

#include <setjmp.h>

#include <cmocka.h>

#include "text_fixture.h"
#include "random_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEN(x)       x x x x x x x x x x

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random_next(&random_state) >> 32) % n;
}

/* ---- wants ---- */

static void test_wants(void **state)
{
	struct str text = STR(" {\"model\" : \"gpt\", \"n\":3,\"messages\":[{\"model\":\"no\"}],"
			      "\"o\":{\"n\":[]} , \"t\":true,\"z\":null,\"model2\":1} ");
	struct json_want w[] = {
		{.name = STR_INIT("model")},
		{.name = STR_INIT("n")},
		{.name = STR_INIT("messages")},
		{.name = STR_INIT("o")},
		{.name = STR_INIT("t")},
		{.name = STR_INIT("z")},
		{.name = STR_INIT("mode")},
		{.name = STR_INIT("n"), .type = JSON_BOOL, .count = 7},
	};
	static const struct {
		enum json_type type;
		const char *value, *key;
	} want[] = {
		{JSON_STRING, "\"gpt\"", "\"model\""},
		{JSON_NUMBER, "3", "\"n\""},
		{JSON_ARRAY, "[{\"model\":\"no\"}]", "\"messages\""},
		{JSON_OBJECT, "{\"n\":[]}", "\"o\""},
		{JSON_BOOL, "true", "\"t\""},
		{JSON_NULL, "null", "\"z\""},
		{JSON_NONE, "", ""},
		{JSON_NUMBER, "3", "\"n\""},
	};
	struct json_scan scan;
	struct json_fail fail;
	(void)state;
	assert_true(json_scan(text, w, COUNT(w), &scan, &fail));
	for (size_t i = 0; i < COUNT(w); i++) {
		assert_int_equal(w[i].type, want[i].type);
		assert_int_equal(w[i].count, want[i].type != JSON_NONE);
		assert_str(w[i].value, want[i].value);
		assert_str(w[i].key, want[i].key);
	}
	assert_int_equal(scan.type, JSON_OBJECT);
	assert_int_equal(scan.members, 7);
	assert_int_equal(scan.whole.len, text.len - 2);
	assert_ptr_equal(scan.whole.ptr, text.ptr + 1);
}

static void test_duplicates(void **state)
{
	struct str text =
		STR("{\"model\":[1],\"mod\\u0065l\":{\"x\":1},\"\\u006d\\u006Fdel\":\"last\"}");
	struct json_want w = {.name = STR_INIT("model")};
	struct json_fail fail;
	struct arena a;
	(void)state;
	assert_true(json_scan(text, &w, 1, NULL, &fail));
	assert_int_equal(w.count, 3);
	assert_int_equal(w.type, JSON_STRING);
	assert_str(w.value, "\"last\"");
	assert_str(w.key, "\"\\u006d\\u006Fdel\"");
	arena_init(&a, 0);
	const struct json *root = json_parse(&a, text, &fail);
	assert_int_equal(root->count, 3);
	assert_str(json_text(&a, json_get(root, STR("model"))), "last");
	arena_release(&a);
}

static void test_escaped_names(void **state)
{
	static const struct {
		struct str text, name;
		bool same;
	} cases[] = {
		{STR_INIT("{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":1}"), STR_INIT("\"\\/\b\f\n\r\t"), true},
		{STR_INIT("{\"\\u00e4\":1}"), STR_INIT("\xc3\xa4"), true},
		{STR_INIT("{\"\\u6a21\":1}"), STR_INIT("\xe6\xa8\xa1"), true},
		{STR_INIT("{\"\\uD83D\\uDE00\":1}"), STR_INIT("\xf0\x9f\x98\x80"), true},
		{STR_INIT("{\"\\ud83d\":1}"), STR_INIT("\xef\xbf\xbd"), true},
		{STR_INIT("{\"a\\u0000b\":1}"), STR_INIT("a\0b"), true},
		{STR_INIT("{\"\\u0061\":1}"), STR_INIT("ab"), false},
		{STR_INIT("{\"\\u0061b\":1}"), STR_INIT("a"), false},
		{STR_INIT("{\"\\u0041\":1}"), STR_INIT("a"), false},
		{STR_INIT("{\"\\\\u0061\":1}"), STR_INIT("a"), false},
		{STR_INIT("{\"\":1}"), STR_INIT(""), true},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json_want w = {.name = cases[i].name};
		struct arena a;
		arena_init(&a, 0);
		assert_true(json_scan(cases[i].text, &w, 1, NULL, NULL));
		assert_int_equal(w.count, cases[i].same);
		const struct json *root = json_parse(&a, cases[i].text, NULL);
		assert_int_equal(json_get(root, w.name) != NULL, cases[i].same);
		assert_int_equal(str_eq(json_key(&a, root->first), w.name), cases[i].same);
		arena_release(&a);
	}
}

static void test_other_tops(void **state)
{
	struct json_want w = {.name = STR_INIT("a"), .type = JSON_BOOL, .count = 9};
	struct json_scan scan;
	(void)state;
	assert_true(json_scan(STR("[{\"a\":1},{\"a\":[2]}] "), &w, 1, &scan, NULL));
	assert_int_equal(w.type, JSON_NONE);
	assert_int_equal(w.count, 0);
	assert_int_equal(scan.type, JSON_ARRAY);
	assert_int_equal(scan.members, 0);
	assert_int_equal(scan.whole.len, 19);
	assert_true(json_scan(STR(" \"a\" "), &w, 1, &scan, NULL));
	assert_int_equal(scan.type, JSON_STRING);
	assert_str(scan.whole, "\"a\"");
	assert_false(json_scan(STR_NONE, NULL, 0, &scan, NULL));
}

/* ---- the tree ---- */

static void test_tree(void **state)
{
	struct str text = STR("{\"s\":\"x\\ty\",\"p\":\"plain\",\"l\":[1,[],{\"k\":null}],\"t\":"
			      "true,\"f\":false}");
	struct json_fail fail;
	struct arena a;
	(void)state;
	arena_init(&a, 0);
	const struct json *root = json_parse(&a, text, &fail), *list = json_get(root, STR("l"));
	const struct json *s = json_get(root, STR("s")), *p = json_get(root, STR("p"));
	assert_int_equal(root->type, JSON_OBJECT);
	assert_int_equal(root->count, 5);
	assert_true(str_eq(root->raw, text));
	assert_true(s->escaped && !p->escaped);
	assert_str(json_text(&a, s), "x\ty");
	assert_ptr_equal(json_text(&a, p).ptr, p->raw.ptr);
	assert_str(json_text(&a, p), "plain");
	assert_int_equal(list->count, 3);
	assert_str(list->raw, "[1,[],{\"k\":null}]");
	assert_str(list->first->raw, "1");
	assert_null(list->first->key.ptr);
	assert_int_equal(list->first->next->count, 0);
	assert_null(list->first->next->first);
	assert_int_equal(json_get(list->first->next->next, STR("k"))->type, JSON_NULL);
	assert_null(list->first->next->next->next);
	assert_true(json_get(root, STR("t"))->boolean);
	assert_false(json_get(root, STR("f"))->boolean);
	assert_null(json_get(root, STR("none")));
	assert_null(json_get(list, STR("k")));
	assert_null(json_get(NULL, STR("k")));
	assert_int_equal(json_text(&a, list).len, 0);
	assert_int_equal(json_text(&a, NULL).len, 0);
	assert_int_equal(json_key(&a, list->first).len, 0);
	arena_release(&a);
}

static void test_unescape(void **state)
{
	static const struct {
		struct str inside, text;
	} cases[] = {
		{STR_INIT(""), STR_INIT("")},
		{STR_INIT("abc"), STR_INIT("abc")},
		{STR_INIT("\\u0000\\u007f\\u0080\\u07ff\\u0800\\uffff"),
		 STR_INIT("\0\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf")},
		{STR_INIT("\\ud800\\udc00\\uDBFF\\uDFFF"),
		 STR_INIT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
		{STR_INIT("\\ud83dx"), STR_INIT("\xef\xbf\xbdx")},
		{STR_INIT("\\ud83d\\ud83d\\ude00"), STR_INIT("\xef\xbf\xbd\xf0\x9f\x98\x80")},
		{STR_INIT("\\ude00\\n"), STR_INIT("\xef\xbf\xbd\n")},
		{STR_INIT("\\ud83d\\u0041"), STR_INIT("\xef\xbf\xbd"
						      "A")},
		{STR_INIT("\\\\n\\/\\\""), STR_INIT("\\n/\"")},
		/* no literals: nothing is promised but that nothing is read behind them */
		{STR_INIT("\\"), STR_INIT("\\")},
		{STR_INIT("a\\u12"), STR_INIT("au12")},
		{STR_INIT("\\ud83d\\ud"), STR_INIT("\xef\xbf\xbdud")},
	};
	struct buf b;
	(void)state;
	buf_init(&b, 100);
	for (size_t i = 0; i < COUNT(cases); i++) {
		buf_clear(&b);
		assert_true(json_unescape(cases[i].inside, &b));
		assert_true(str_eq(buf_str(&b), cases[i].text));
	}
	buf_release(&b);
	buf_init(&b, 4);
	buf_adds(&b, STR("12"));
	assert_true(json_unescape(STR("\\n"), &b));
	assert_false(json_unescape(STR("\\n34"), &b));
	assert_str(buf_str(&b), "12\n");
	assert_true(b.over);
	buf_release(&b);
}

/* ---- integers ---- */

static const struct {
	const char *text;
	int64_t value;
} integers[] = {
	{"0", 0},
	{"-0", 0},
	{"-0.0e5", 0},
	{"0e999999999999999999999", 0},
	{"0.000e-400", 0},
	{"3", 3},
	{"3.0", 3},
	{"3.000000000000000000000000000000", 3},
	{"3e0", 3},
	{"3E+0", 3},
	{"30e-1", 3},
	{"0.3e1", 3},
	{"-3", -3},
	{"1e18", 1000000000000000000},
	{"10.50e2", 1050},
	{"0.00000000000000000000000000000000007e35", 7},
	{"700000000000000000000000000000000000e-35", 7},
	{"9223372036854775807", INT64_MAX},
	{"-9223372036854775808", INT64_MIN},
	{"9223372036854775807.0", INT64_MAX},
	{"922337203685477580.7e1", INT64_MAX},
};
static const char *const no_integers[] = {
	"1.5",
	"3e-1",
	"15e-2",
	"1e19",
	"1e400",
	"9223372036854775808",
	"-9223372036854775809",
	"1e-99999999999999999999",
	"1e99999999999999999999",
	"18446744073709551616",
	"99999999999999999999999999",
	"0.1",
	"",
	"-",
	"+1",
	"01",
	"1.",
	"1 ",
	"\"1\"",
	"null",
	"true",
	"[1]",
	"0x1",
};

static void test_i64(void **state)
{
	int64_t n;
	(void)state;
	for (size_t i = 0; i < COUNT(integers); i++) {
		n = 99;
		if (!json_raw_i64(str_from(integers[i].text), &n) || n != integers[i].value)
			fail_msg("%s gave %lld", integers[i].text, (long long)n);
	}
	for (size_t i = 0; i < COUNT(no_integers); i++) {
		n = 99;
		if (json_raw_i64(str_from(no_integers[i]), &n) || n != 99)
			fail_msg("%s gave %lld", no_integers[i], (long long)n);
	}
	struct json string = {.type = JSON_STRING, .raw = STR_INIT("1")};
	struct json number = {.type = JSON_NUMBER, .raw = STR_INIT("17")};
	assert_false(json_i64(NULL, &n));
	assert_false(json_i64(&string, &n));
	assert_true(json_i64(&number, &n));
	assert_int_equal(n, 17);
	assert_false(json_raw_i64(STR_NONE, &n));
}

/* ---- the writer ---- */

static void test_writer(void **state)
{
	struct json_writer w;
	struct buf b;
	(void)state;
	buf_init(&b, SIZE_MAX);
	json_writer_init(&w, &b);
	json_open_object(&w);
	json_member_str(&w, STR("a"), STR("x\"y"));
	json_member_i64(&w, STR("b"), INT64_MIN);
	json_member_i64(&w, STR("c"), INT64_MAX);
	json_member_bool(&w, STR("d"), true);
	json_put_key(&w, STR("e\n"));
	json_open_array(&w);
	json_put_null(&w);
	json_put_bool(&w, false);
	json_open_array(&w);
	json_close_array(&w);
	json_open_object(&w);
	json_close_object(&w);
	json_put_raw(&w, STR("1.5"));
	json_put_i64(&w, 0);
	json_put_str(&w, STR(""));
	json_close_array(&w);
	json_member_str(&w, STR("f"), STR_NONE);
	json_close_object(&w);
	assert_str(buf_str(&b),
		   "{\"a\":\"x\\\"y\",\"b\":-9223372036854775808,\"c\":9223372036854775807,"
		   "\"d\":true,\"e\\n\":[null,false,[],{},1.5,0,\"\"],\"f\":\"\"}");
	assert_int_equal(w.depth, 0);
	buf_release(&b);
}

static void test_writer_depth(void **state)
{
	struct json_writer w;
	struct buf b;
	(void)state;
	buf_init(&b, SIZE_MAX);
	json_writer_init(&w, &b);
	for (int i = 0; i < 63; i++) {
		json_open_array(&w);
		json_put_i64(&w, i);
	}
	for (int i = 0; i < 63; i++)
		json_close_array(&w);
	assert_true(json_scan(buf_str(&b), NULL, 0, NULL, NULL));
	buf_release(&b);
}

static void test_quote(void **state)
{
	static const struct {
		struct str text;
		const char *quoted;
	} cases[] = {
		{STR_INIT(""), "\"\""},
		{STR_INIT("plain"), "\"plain\""},
		{STR_INIT("\b\f\n\r\t\"\\/"), "\"\\b\\f\\n\\r\\t\\\"\\\\/\""},
		{STR_INIT("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\""},
		{STR_INIT("\xc3\xa4\xf0\x9f\x98\x80"), "\"\xc3\xa4\xf0\x9f\x98\x80\""},
		{STR_INIT("a\xff"
			  "b"),
		 "\"a\xef\xbf\xbd"
		 "b\""},
		{STR_INIT("\xff\xfe"), "\"\xef\xbf\xbd\xef\xbf\xbd\""},
		{STR_INIT("x\xc3"), "\"x\xef\xbf\xbd\""},
		{STR_INIT("\xc3\n"), "\"\xef\xbf\xbd\\n\""},
		{STR_INIT(TEN("0123456789") "\n" TEN("0123456789")),
		 "\"" TEN("0123456789") "\\n" TEN("0123456789") "\""},
	};
	struct buf b;
	(void)state;
	buf_init(&b, SIZE_MAX);
	for (size_t i = 0; i < COUNT(cases); i++) {
		buf_clear(&b);
		json_quote(&b, cases[i].text);
		assert_str(buf_str(&b), cases[i].quoted);
	}
	buf_release(&b);
}

/* Whatever is quoted parses again and decodes to what it was, if that was UTF-8. */
static void test_quote_round_trip(void **state)
{
	struct buf b;
	(void)state;
	buf_init(&b, SIZE_MAX);
	for (int round = 0; round < 20000; round++) {
		char text[180];
		size_t len = random_below(sizeof(text));
		for (size_t i = 0; i < len; i++)
			text[i] = (char)random_below(round % 3 ? 128 : 256);
		buf_clear(&b);
		json_quote(&b, str_of(text, len));
		struct arena a;
		arena_init(&a, 0);
		const struct json *j = json_parse(&a, buf_str(&b), NULL);
		assert_non_null(j);
		if (json_lex_utf8(text, text + len) == text + len)
			assert_true(str_eq(json_text(&a, j), str_of(text, len)));
		arena_release(&a);
	}
	buf_release(&b);
}

static void test_writer_ceiling(void **state)
{
	struct json_writer w;
	struct buf b;
	(void)state;
	buf_init(&b, 10);
	json_writer_init(&w, &b);
	json_open_object(&w);
	json_member_str(&w, STR("name"), STR("too long for it"));
	json_close_object(&w);
	assert_true(b.over);
	assert_true(b.len <= 10);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wants),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_escaped_names),
		cmocka_unit_test(test_other_tops),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_unescape),
		cmocka_unit_test(test_i64),
		cmocka_unit_test(test_writer),
		cmocka_unit_test(test_writer_depth),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_quote_round_trip),
		cmocka_unit_test(test_writer_ceiling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
