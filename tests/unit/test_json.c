/* test_json.c - JSON: what is accepted, what is refused and where.
 *
 * The scanner's portable twin is compiled into this file, so that one program compares both.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lex.h"

#include <setjmp.h>

#include <cmocka.h>

#include "random_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the portable twin ---- */

static const char *twin_special(const char *p, const char *end);
static const char *twin_utf8(const char *p, const char *end);
static int twin_unit(const char *p, const char *end);
static const char *twin_number(const char *p, const char *end);
static const char *twin_string(const char *p, const char *end, bool *escaped);
static void twin_init(struct json_lex *l, struct str text);
static enum json_event twin_next(struct json_lex *l);
static bool twin_scan(struct str text, struct json_want *wants, size_t n, struct json_scan *out,
		      struct json_fail *fail);

#ifndef VALET_JSON_PORTABLE
#define VALET_JSON_PORTABLE
#endif
#define json_lex_special twin_special
#define json_lex_utf8    twin_utf8
#define json_lex_string  twin_string
#define json_lex_unit    twin_unit
#define json_lex_number  twin_number
#define json_lex_init    twin_init
#define json_lex_next    twin_next
#define json_scan(...)   twin_scan(__VA_ARGS__)
#include "base/json_lex.c"
#include "base/json_scan.c"
#undef json_lex_special
#undef json_lex_utf8
#undef json_lex_string
#undef json_lex_unit
#undef json_lex_number
#undef json_lex_init
#undef json_lex_next
#undef json_scan

/* ---- helpers ---- */

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random_next(&random_state) >> 32) % n;
}

static void assert_same_fail(struct json_fail a, struct json_fail b)
{
	assert_int_equal(a.at, b.at);
	assert_string_equal(a.what, b.what);
}

static void assert_same_want(const struct json_want *a, const struct json_want *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->count, b->count);
	assert_ptr_equal(a->value.ptr, b->value.ptr);
	assert_int_equal(a->value.len, b->value.len);
	assert_ptr_equal(a->key.ptr, b->key.ptr);
	assert_int_equal(a->key.len, b->key.len);
}

/* The tree shows the same member as the want. */
static void assert_want_in_tree(const struct json_want *w, const struct json *root)
{
	const struct json *j = json_get(root, w->name);
	size_t quote = j && j->type == JSON_STRING;
	assert_int_equal(w->type, j ? j->type : JSON_NONE);
	if (!j)
		return;
	assert_ptr_equal(w->value.ptr, j->raw.ptr - quote);
	assert_int_equal(w->value.len, j->raw.len + 2 * quote);
	assert_ptr_equal(w->key.ptr, j->key.ptr - 1);
	assert_int_equal(w->key.len, j->key.len + 2);
}

/* Scanner, twin and tree on an exact copy of the text; all must agree. True: accepted. */
static bool agreed(struct str text, struct json_fail *fail)
{
	char *copy = mem_alloc(text.len);
	if (text.len)
		memcpy(copy, text.ptr, text.len);
	text = str_of(copy, text.len);
	struct json_want a[] = {{.name = STR_INIT("a")}, {.name = STR_INIT("model")}}, b[2];
	struct json_scan scan, scan2;
	struct json_fail fail2 = {0, ""}, fail3 = {0, ""};
	struct arena arena;
	arena_init(&arena, 1024);
	memcpy(b, a, sizeof(a));
	*fail = fail2;
	bool ok = json_scan(text, a, 2, &scan, fail);
	assert_int_equal(twin_scan(text, b, 2, &scan2, &fail2), ok);
	struct json *root = json_parse(&arena, text, &fail3);
	assert_int_equal(root != NULL, ok);
	assert_same_fail(*fail, fail2);
	assert_same_fail(*fail, fail3);
	for (int i = 0; i < 2 && ok; i++) {
		assert_same_want(&a[i], &b[i]);
		assert_want_in_tree(&a[i], root);
	}
	if (root) {
		size_t quotes = root->type == JSON_STRING ? 2 : 0;
		assert_int_equal(scan.type, root->type);
		assert_int_equal(scan.members, root->type == JSON_OBJECT ? root->count : 0);
		assert_int_equal(scan.whole.len, root->raw.len + quotes);
		assert_int_equal(scan2.whole.len, scan.whole.len);
		assert_ptr_equal(scan2.whole.ptr, scan.whole.ptr);
	}
	arena_release(&arena);
	free(copy);
	return ok;
}

/* ---- the grammar ---- */

#define TEN(x) x x x x x x x x x x

static const struct str accepted[] = {
	/* structure */
	STR_INIT("{}"), STR_INIT("[]"), STR_INIT(" [ ] "), STR_INIT("\t\n\r {\t\n\r }\t\n\r "),
	STR_INIT("[[]   ]"), STR_INIT("[{},[],{},[]]"),
	STR_INIT("{\"a\":{\"b\":{\"c\":[1,{\"d\":null}]}}}"), STR_INIT("{\"a\":1,\"a\":2}"),
	STR_INIT("{\"\":0}"), STR_INIT("{\"a\" : 1 , \"b\" : [ 1 , 2 ] }"),
	STR_INIT("\xef\xbb\xbf{}"), STR_INIT("\xef\xbb\xbf 1"),
	/* top-level scalars and words */
	STR_INIT("null"), STR_INIT("true"), STR_INIT("false"), STR_INIT(" true "), STR_INIT("\"\""),
	STR_INIT("[true,false,null]"),
	/* numbers */
	STR_INIT("0"), STR_INIT("-0"), STR_INIT("-1"), STR_INIT("10"), STR_INIT("0.0"),
	STR_INIT("0e1"), STR_INIT("0e+1"), STR_INIT("0E-1"), STR_INIT("1.5e300"), STR_INIT("1e400"),
	STR_INIT("-1e-999999999999999999999"), STR_INIT("[123.456e78, 0.1, 20e1, -0.0]"),
	STR_INIT("123456789012345678901234567890123456789012345678901234567890."
		 "123456789012345678901"),
	STR_INIT("[" TEN("1234567890") "]"),
	/* strings */
	STR_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uABCD\\uabcd\""), STR_INIT("\"\\u0000\""),
	STR_INIT("\"\\ud83d\\ude00\""), STR_INIT("\"\\ud83d\""), STR_INIT("\"\\ude00\\ud83d x\""),
	STR_INIT("\"\\\\u12\""), STR_INIT("\"/ \x7f '\""),
	STR_INIT(
		"\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80"
		"\xf4\x8f\xbf\xbf\""),
	STR_INIT("\"\xef\xbb\xbf\""), STR_INIT("\"\xe2\x80\xa8\xe2\x80\xa9\""),
	STR_INIT("\"" TEN("long and plain, ") "\""),
	STR_INIT("\"" TEN("with \\\" quotes \\\\\\n ") "\\\\\""),
	STR_INIT("\"" TEN(TEN("\\\\")) "\""), STR_INIT("\"" TEN(TEN("\\u00e4\xc3\xa4")) "\"")};

/* clang-format off */
#define AT(offset, literal) {offset, STR_INIT(literal)}
/* clang-format on */

static const struct {
	size_t at;
	struct str text;
} refused[] = {
	/* structure */
	AT(0, ""), AT(1, " "), AT(3, "\xef\xbb\xbf"), AT(1, "["), AT(1, "{"), AT(0, "]"),
	AT(0, "}"), AT(0, ","), AT(0, ":"), AT(1, "[}"), AT(1, "{]"), AT(2, "[1"), AT(3, "[1,"),
	AT(3, "[1,]"), AT(1, "[,]"), AT(1, "[,1]"), AT(3, "[1,,2]"), AT(3, "[1 2]"),
	AT(3, "[\"\"\"\"]"), AT(2, "[1:2]"), AT(2, "[]]"), AT(2, "{}}"), AT(3, "{} x"),
	AT(2, "1 2"), AT(2, "[][]"), AT(1, "{1:1}"), AT(1, "{a:1}"), AT(1, "{'a':1}"), AT(1, "{,}"),
	AT(4, "{\"a\"}"), AT(5, "{\"a\" 1}"), AT(5, "{\"a\":}"), AT(5, "{\"a\":"),
	AT(4, "{\"a\",1}"), AT(5, "{\"a\"::1}"), AT(7, "{\"a\":1,}"), AT(6, "{\"a\":1]"),
	AT(6, "{\"a\":1:2}"), AT(7, "{\"a\":1 \"b\":2}"), AT(7, "{\"a\":1,1}"), AT(1, "[/* no */]"),
	AT(2, "1 //"), AT(0, "\xef\xbb"), AT(3, "\xef\xbb\xbf\xef\xbb\xbf{}"),
	AT(1, " \xef\xbb\xbf{}"), AT(0, "\xff\xfe{\0}\0"), AT(1, "[\xc2\xa0]"), AT(1, "[\f]"),
	AT(1, "[\v]"), AT(1, "[\0]"), AT(2, "[]\0"),
	/* words */
	AT(0, "nul"), AT(0, "True"), AT(0, "NULL"), AT(4, "nulll"), AT(4, "true1"), AT(1, "[tru]"),
	AT(1, "[fals"), AT(0, "undefined"), AT(0, "NaN"), AT(0, "Infinity"), AT(1, "-Infinity"),
	AT(1, "[nan]"),
	/* numbers */
	AT(1, "-"), AT(0, "+1"), AT(1, "--1"), AT(1, "-a"), AT(1, "01"), AT(2, "-01"), AT(1, "00"),
	AT(0, ".5"), AT(1, "-.5"), AT(2, "1."), AT(2, "1.e1"), AT(2, "1.-1"), AT(2, "1e"),
	AT(3, "1e+"), AT(3, "1E-"), AT(3, "1e+-1"), AT(3, "1e1.5"), AT(1, "0x10"), AT(1, "1_000"),
	AT(1, "1a"), AT(3, "1.5.5"), AT(2, "[1a]"), AT(0, "\xef\xbc\x91"),
	/* strings */
	AT(1, "\""), AT(2, "\"a"), AT(0, "'a'"), AT(0, "a"), AT(1, "\"\\"), AT(3, "\"\\\""),
	AT(1, "\"\\a\""), AT(1, "\"\\'\""), AT(1, "\"\\x41\""), AT(1, "\"\\U0041\""),
	AT(1, "\"\\u\""), AT(1, "\"\\u12\""), AT(1, "\"\\u123\""), AT(1, "\"\\u123g\""),
	AT(1, "\"\\u 123\""), AT(1, "\"\\u+123\""), AT(7, "\"\\ud83d\\u\""), AT(2, "\"a\nb\""),
	AT(1, "\"\t\""), AT(1, "\"\0\""), AT(1, "\"\x1f\""), AT(2, "{\"\x01\":1}"),
	AT(1, "\"\\\n\""), AT(1, "\"\\\xc3\xa4\""), AT(2, "\"\"\""),
	AT(101, "\"" TEN("0123456789")),
	AT(101, "\"" TEN("0123456789") "\x1f" TEN("0123456789") "\""),
	AT(101, "\"" TEN("0123456789") "\\q" TEN("0123456789") "\""),
	/* UTF-8 */
	AT(1, "\"\x80\""), AT(1, "\"\xbf\""), AT(1, "\"\xc0\x80\""), AT(1, "\"\xc1\xbf\""),
	AT(1, "\"\xc3\""), AT(1, "\"\xc3\x28\""), AT(1, "\"\xe0\x9f\xbf\""), AT(1, "\"\xe2\x82\""),
	AT(1, "\"\xed\xa0\x80\""), AT(1, "\"\xed\xbf\xbf\""), AT(1, "\"\xf0\x8f\xbf\xbf\""),
	AT(1, "\"\xf4\x90\x80\x80\""), AT(1, "\"\xf5\x80\x80\x80\""),
	AT(1, "\"\xf8\x88\x80\x80\x80\""), AT(1, "\"\xfe\""), AT(1, "\"\xff\""),
	AT(3, "\"\xc3\xa4\xa4\""), AT(101, "\"" TEN("0123456789") "\xe4" TEN("0123456789") "\""),
	AT(102, "[\"" TEN("0123456789") "\xf0\x9f\x98" TEN("0123456789") "\"]"),
	AT(3, "{\"a\xff\":1}")};

static void test_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct json_fail fail;
		if (!agreed(accepted[i], &fail))
			fail_msg("refused %zu: %s at %zu in %.*s", i, fail.what, fail.at,
				 STR_ARG(accepted[i]));
	}
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++) {
		struct json_fail fail;
		if (agreed(refused[i].text, &fail))
			fail_msg("accepted %zu: %.*s", i, STR_ARG(refused[i].text));
		if (fail.at != refused[i].at)
			fail_msg("%.*s: %s at %zu, expected at %zu", STR_ARG(refused[i].text),
				 fail.what, fail.at, refused[i].at);
	}
}

static void test_reasons(void **state)
{
	static const struct {
		struct str text;
		const char *what;
	} cases[] = {
		{STR_INIT("[1"), "expected ',' or ']'"},
		{STR_INIT("{\"a\":1"), "expected ',' or '}'"},
		{STR_INIT("{\"a\" 1}"), "expected ':'"},
		{STR_INIT("{1}"), "expected a member name in quotes"},
		{STR_INIT("[x]"), "expected a value"},
		{STR_INIT("-"), "expected a digit"},
		{STR_INIT("1 1"), "expected the end of the text"},
		{STR_INIT("\"x"), "the text ends inside a string"},
		{STR_INIT("\"\\x\""), "invalid escape in a string"},
		{STR_INIT("\"\n\""), "control character in a string"},
		{STR_INIT("\"\xff\""), "invalid UTF-8"},
		{STR_INIT("1\xff"), "invalid UTF-8"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json_fail fail;
		assert_false(agreed(cases[i].text, &fail));
		assert_string_equal(fail.what, cases[i].what);
	}
}

static bool nested(const char *open, const char *close, int depth, struct json_fail *fail)
{
	struct buf b;
	buf_init(&b, SIZE_MAX);
	for (int i = 0; i < depth; i++)
		buf_adds(&b, str_from(open));
	for (int i = 0; i < depth; i++)
		buf_adds(&b, str_from(close));
	bool ok = agreed(buf_str(&b), fail);
	buf_release(&b);
	return ok;
}

static void test_depth(void **state)
{
	struct json_fail fail;
	(void)state;
	assert_true(nested("[", "]", JSON_MAX_DEPTH, &fail));
	assert_false(nested("[", "]", JSON_MAX_DEPTH + 1, &fail));
	assert_int_equal(fail.at, JSON_MAX_DEPTH);
	assert_string_equal(fail.what, "nested too deeply");
	assert_true(nested("{\"a\":[", "]}", JSON_MAX_DEPTH / 2, &fail));
	assert_false(nested("{\"a\":[", "]}", JSON_MAX_DEPTH / 2 + 1, &fail));
	assert_int_equal(fail.at, JSON_MAX_DEPTH / 2 * 6);
	assert_false(nested("[", "", 1000000, &fail));
	/* siblings do not add up */
	struct buf b;
	buf_init(&b, SIZE_MAX);
	for (int i = 0; i < 1000; i++)
		BUF_ADD(&b, "[[[]],{\"a\":[[]]}],");
	assert_false(agreed(buf_str(&b), &fail));
	assert_int_equal(fail.at, 17);
	buf_clear(&b);
	buf_addc(&b, '[');
	for (int i = 0; i < 1000; i++)
		BUF_ADD(&b, "[[[]],{\"a\":[[]]}],");
	BUF_ADD(&b, "1]");
	assert_true(agreed(buf_str(&b), &fail));
	buf_release(&b);
}

/* ---- every prefix, and noise ---- */

static const struct str documents[] = {
	STR_INIT("\xef\xbb\xbf {\"model\":\"m\",\"a\":[1,2.5e-3,{\"b\":null}],\"stream\":true}\n"),
	STR_INIT("{\"mod\\u0065l\" : \"gr\xc3\xb6\xc3\x9f"
		 "e \xf0\x9f\x98\x80 \\ud83d\\ude00\",\n\"a\":"
		 "\"" TEN("some text \\n with \\\"escapes\\\" \xe6\xa8\xa1 ") "\",\"a\":{\"a\":-0."
									      "0}}"),
	STR_INIT("[\"" TEN("\\\\\\\"") TEN("0123456") "\", [[{}]], false , 1E+2]"),
	STR_INIT("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
		 "\"hi\"},"
		 "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/"
		 "png;base64,iVBORw0KGgo="
		 "\"}}]}],\"n\":1,\"model\":\"x\",\"max_tokens\":16,\"stop\":[\"\\u0000\"]}"),
};

static void test_prefixes(void **state)
{
	struct json_fail fail;
	(void)state;
	for (size_t i = 0; i < COUNT(documents); i++) {
		struct str text = documents[i], whole = str_trim(text);
		for (size_t n = 0; n < whole.len; n++) {
			assert_false(agreed(str_head(text, n), &fail));
			assert_true(fail.at <= n);
		}
		assert_true(agreed(text, &fail));
	}
}

static void test_changed_bytes(void **state)
{
	static const char noise[] = "\"\\{}[]:,0e.-u\x1f \x80\xbf\xc3\xe0\xed\xf0\xf4\xff\0";
	struct json_fail fail;
	(void)state;
	for (int round = 0; round < 60000; round++) {
		struct str text = documents[random_below(COUNT(documents))];
		char *copy = mem_str(text);
		for (uint32_t k = 0; k <= random_below(3); k++)
			copy[random_below((uint32_t)text.len)] = noise[random_below(sizeof(noise))];
		agreed(str_of(copy, text.len), &fail);
		free(copy);
	}
}

static const char *const soup[] = {
	"{",
	"}",
	"[",
	"]",
	",",
	":",
	"\"a\"",
	"\"model\"",
	"\"\\u0061\"",
	"1",
	"-0.5e3",
	"true",
	"null",
	" ",
	"\n",
	"\"",
	"\\",
	"\"a\":",
	"{\"a\":",
	"[1,",
	"1]",
	"\"x\\n\xc3\xa4\"",
	"\"0123456789012345678901234567890123456789012345678901234567890123456789\"",
};

static void test_soup(void **state)
{
	struct json_fail fail;
	struct buf b;
	int good = 0;
	(void)state;
	buf_init(&b, SIZE_MAX);
	for (int round = 0; round < 100000; round++) {
		buf_clear(&b);
		for (uint32_t k = 0; k <= random_below(9); k++)
			buf_adds(&b, str_from(soup[random_below(COUNT(soup))]));
		good += agreed(buf_str(&b), &fail);
	}
	assert_true(good > 1000);
	buf_release(&b);
}

/* ---- UTF-8 against a slow and simple reader ---- */

static size_t slow_utf8(const unsigned char *u, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = u[0] < 0x80 ? 1 : u[0] < 0xc0 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (len == 0 || u[0] >= 0xf8 || len > left)
		return 0;
	uint32_t c = len == 1 ? u[0] : u[0] & (0xff >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if (u[i] >> 6 != 2)
			return 0;
		c = c << 6 | (u[i] & 0x3f);
	}
	return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

static size_t slow_valid(const char *text, size_t len)
{
	size_t at = 0, step;
	while (at < len && (step = slow_utf8((const unsigned char *)text + at, len - at)) > 0)
		at += step;
	return at;
}

static void test_utf8(void **state)
{
	static const unsigned char edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
					      0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
					      0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
	enum { N = sizeof(edges), LEN = 150 };
	char text[LEN];
	(void)state;
	for (int i = 0; i < N * N * N * N; i++) {
		size_t at = random_below(LEN - 3),
		       len = at + 4 + random_below((uint32_t)(LEN - 3 - at));
		memset(text, 'x', LEN);
		for (int k = 0, n = i; k < 4; k++, n /= N)
			text[at + (size_t)k] = (char)edges[n % N];
		size_t valid = slow_valid(text, len);
		if ((size_t)(json_lex_utf8(text, text + len) - text) != valid ||
		    (size_t)(twin_utf8(text, text + len) - text) != valid)
			fail_msg("bytes %d at %zu of %zu", i, at, len);
	}
}

static void test_utf8_dense(void **state)
{
	static const char *const parts[] = {"a", "\xc3\xa4", "\xe6\xa8\xa1", "\xf0\x9f\x98\x80",
					    "0123456789012345"};
	struct buf b;
	(void)state;
	buf_init(&b, SIZE_MAX);
	for (int round = 0; round < 30000; round++) {
		buf_clear(&b);
		for (uint32_t k = random_below(120); k > 0; k--)
			buf_adds(&b, str_from(parts[random_below(COUNT(parts))]));
		buf_addc(&b, 'z');
		if (round % 4)
			b.ptr[random_below((uint32_t)b.len)] = (char)random_below(256);
		size_t valid = slow_valid(b.ptr, b.len);
		assert_int_equal(json_lex_utf8(b.ptr, b.ptr + b.len) - b.ptr, valid);
		assert_int_equal(twin_utf8(b.ptr, b.ptr + b.len) - b.ptr, valid);
	}
	buf_release(&b);
}

static void test_special(void **state)
{
	char text[200];
	(void)state;
	for (int c = 0; c < 256; c++) {
		size_t len = 64 + random_below(136), at = random_below((uint32_t)len);
		memset(text, 'x', sizeof(text));
		text[at] = (char)c;
		size_t want = c < 0x20 || c == '"' || c == '\\' ? at : len;
		assert_int_equal(json_lex_special(text, text + len) - text, want);
		assert_int_equal(twin_special(text, text + len) - text, want);
	}
}

/* ---- size: would not end if anything were quadratic ---- */

static void repeat(struct buf *b, const char *open, const char *item, int n, const char *close)
{
	buf_clear(b);
	buf_adds(b, str_from(open));
	for (int i = 0; i < n; i++)
		buf_adds(b, str_from(item));
	buf_adds(b, str_from(close));
}

static void test_large(void **state)
{
	struct json_fail fail;
	struct buf b;
	(void)state;
	buf_init(&b, SIZE_MAX);
	repeat(&b, "", "[", 1000000, "");
	assert_false(agreed(buf_str(&b), &fail));
	repeat(&b, "{", "\"a\":1,", 1000000, "\"model\":2}");
	assert_true(agreed(buf_str(&b), &fail));
	repeat(&b, "{\"x\":{", "\"\\u0061\":[],", 1000000, "\"b\":2}}");
	assert_true(agreed(buf_str(&b), &fail));
	repeat(&b, "[", "9", 3000000, "]");
	assert_true(agreed(buf_str(&b), &fail));
	int64_t n;
	assert_false(json_raw_i64(str_head(str_skip(buf_str(&b), 1), 3000000), &n));
	repeat(&b, "0.", "0", 3000000, "1e3000001");
	assert_true(agreed(buf_str(&b), &fail));
	assert_true(json_raw_i64(buf_str(&b), &n));
	assert_int_equal(n, 1);
	repeat(&b, "", " ", 3000000, "1");
	assert_true(agreed(buf_str(&b), &fail));
	repeat(&b, "{\"", "\\u0061", 1000000, "\":1}");
	assert_true(agreed(buf_str(&b), &fail));
	repeat(&b, "\"", "\xff", 1000000, "\"");
	assert_false(agreed(buf_str(&b), &fail));
	struct buf quoted;
	buf_init(&quoted, SIZE_MAX);
	json_quote(&quoted, buf_str(&b));
	assert_int_equal(quoted.len, 3000000 + 6);
	buf_release(&quoted);
	buf_release(&b);
}

static void test_number_end(void **state)
{
	static const char *const numbers[] = {"0", "-12", "1.25", "1e5",
					      "12345678901234567890.5E-12"};
	(void)state;
	for (size_t i = 0; i < COUNT(numbers); i++) {
		const char *p = numbers[i], *end = p + strlen(p);
		assert_ptr_equal(json_lex_number(p, end), end);
		assert_ptr_equal(twin_number(p, end), end);
	}
	const char *minus = "-";
	assert_null(json_lex_number(minus, minus + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_reasons),    cmocka_unit_test(test_depth),
		cmocka_unit_test(test_prefixes),   cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_soup),       cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_utf8_dense), cmocka_unit_test(test_special),
		cmocka_unit_test(test_large),      cmocka_unit_test(test_number_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
