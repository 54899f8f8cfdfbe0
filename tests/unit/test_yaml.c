/* test_yaml.c - YAML: which tree a text gives, what is refused and where, and the ceilings.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The tree as one line: {name:"text",list:[null]}. */
static void show(struct buf *out, const struct json *j)
{
	if (j->key.ptr)
		buf_addf(out, "%.*s:", STR_ARG(j->key));
	if (j->type == JSON_NULL)
		BUF_ADD(out, "null");
	if (j->type == JSON_STRING)
		json_quote(out, j->raw);
	if (j->type != JSON_ARRAY && j->type != JSON_OBJECT)
		return;
	buf_addc(out, j->type == JSON_ARRAY ? '[' : '{');
	uint32_t n = 0;
	for (const struct json *c = j->first; c; c = c->next) {
		if (n++)
			buf_addc(out, ',');
		show(out, c);
	}
	buf_addc(out, j->type == JSON_ARRAY ? ']' : '}');
	assert_int_equal(n, j->count);
}

static void expect(const char *text, const char *tree)
{
	struct arena a;
	struct buf out;
	struct yaml_fail fail;
	arena_init(&a, 256);
	buf_init(&out, 4096);
	struct json *j = yaml_parse(&a, str_from(text), &fail);
	if (!j)
		fail_msg("refused: %u:%u: %s", fail.line, fail.column, fail.what);
	show(&out, j);
	buf_addc(&out, '\0');
	assert_string_equal(out.ptr, tree);
	buf_release(&out);
	arena_release(&a);
}

static void refuse_bytes(struct str text, const char *expected)
{
	struct arena a;
	struct yaml_fail fail;
	char said[300];
	arena_init(&a, 256);
	if (yaml_parse(&a, text, &fail))
		fail_msg("taken: %.*s", STR_ARG(text));
	snprintf(said, sizeof(said), "%u:%u: %s", fail.line, fail.column, fail.what);
	assert_string_equal(said, expected);
	arena_release(&a);
}

static void refuse(const char *text, const char *expected)
{
	refuse_bytes(str_from(text), expected);
}

static void trees(void **state)
{
	expect("", "null");
	expect("# only a comment\n", "null");
	expect("---\n...\n", "null");
	expect("a: 1\nb: on\nc: 'x'\nd: \"y\\n\"\n", "{a:\"1\",b:\"on\",c:\"x\",d:\"y\\n\"}");
	expect("a:\nb: ~\nc: null\nd: \"null\"\ne: ''\nf: NULL\n",
	       "{a:null,b:null,c:null,d:\"null\",e:\"\",f:null}");
	expect("- a\n- [b, {c: d}]\n-\n", "[\"a\",[\"b\",{c:\"d\"}],null]");
	expect("a: |\n  two\n  lines\nb: >\n  one\n  line\n",
	       "{a:\"two\\nlines\\n\",b:\"one line\\n\"}");
	expect("{\"json\": [1, true, null], \"u\": \"\\u00e9\"}",
	       "{json:[\"1\",\"true\",null],u:\"\xc3\xa9\"}");
	expect("\xef\xbb\xbf"
	       "a: b\n",
	       "{a:\"b\"}");
	expect("\"<<\": a\n", "{<<:\"a\"}");
	expect("a:b: c\n", "{a:b:\"c\"}");
	expect("word\n", "\"word\"");
}

static void places(void **state)
{
	struct arena a;
	struct yaml_fail fail;
	arena_init(&a, 256);
	struct json *j =
		yaml_parse(&a, STR("a: 1\nlist:\n  - x\n  - name: y\n    url:\n      z\n"), &fail);
	assert_non_null(j);
	const struct json *list = json_get(j, STR("list"));
	const struct json *second = list->first->next, *url = json_get(second, STR("url"));
	assert_int_equal(j->line, 1);
	assert_int_equal(j->column, 1);
	assert_int_equal(list->line, 2);
	assert_int_equal(list->column, 1);
	assert_int_equal(list->first->line, 3);
	assert_int_equal(list->first->column, 5);
	assert_int_equal(second->line, 4);
	assert_int_equal(second->column, 5);
	assert_int_equal(url->line, 5);
	assert_int_equal(url->column, 5);
	arena_release(&a);
}

static void refusals(void **state)
{
	refuse("a: &x 1\n", "1:4: anchors (&name) are not supported");
	refuse("a: *x\n", "1:4: aliases (*name) are not supported");
	refuse("a: &x [1]\n", "1:4: anchors and tags are not supported");
	refuse("a: !!str 1\n", "1:4: tags (!name) are not supported");
	refuse("a: !x {}\n", "1:4: anchors and tags are not supported");
	refuse("<<: {a: b}\n", "1:1: merge keys (<<) are not supported");
	refuse("a: 1\n---\nb: 2\n", "2:1: a second document begins here; expected one only");
	refuse("a: 1\nb: 2\na: 3\n",
	       "3:1: \"a\" stands here a second time; it is in line 1 already");
	refuse("x:\n  - {b: 1, a: 1, b: 2}\n",
	       "2:18: \"b\" stands here a second time; it is in line 2 already");
	refuse("? [a]\n: b\n", "1:3: expected a plain name before the ':'");
	refuse("{a: 1}: b\n", "1:1: expected a plain name before the ':'");
	refuse("? \n: b\n", "1:2: expected a name before the ':'");
	refuse("\"\": b\n", "1:1: expected a name before the ':'");
	refuse("~: b\n", "1:1: expected a name before the ':'");
	refuse("a: 1\n\tb: 2\n", "2:1: found a tab; expected spaces for indentation");
	refuse("a: [1, 2\nb: 3\n", "2:2: did not find expected ',' or ']' while parsing a flow "
				   "sequence (which begins in "
				   "line 1)");
	refuse("a: \"x\n", "2:1: found unexpected end of stream while scanning a quoted scalar "
			   "(which begins in line 1)");
	refuse("a: b: c\n", "1:5: mapping values are not allowed in this context");
	refuse("a: 1\n b: 2\n", "2:3: mapping values are not allowed in this context");
	refuse("a: 1\nb: \xff\n", "2:4: invalid leading UTF-8 octet (expected UTF-8 text)");
	refuse("a: \xc3\n", "1:5: invalid trailing UTF-8 octet (expected UTF-8 text)");
	refuse("a: \xed\xa0\x80\n", "1:4: invalid Unicode character (expected UTF-8 text)");
	refuse("a: \x01\n", "1:4: control characters are not allowed (expected UTF-8 text)");
	refuse_bytes(str_of("a: \0b\n", 6),
		     "1:4: control characters are not allowed (expected UTF-8 text)");
	refuse_bytes(str_of("\xff\xfe"
			    "a\0",
			    4),
		     "1:1: invalid leading UTF-8 octet (expected UTF-8 text)");
}

/* Many times the same piece, then another. */
static struct str repeated(struct buf *b, const char *piece, size_t n, const char *end)
{
	buf_init(b, 2 * YAML_MAX_BYTES);
	for (size_t i = 0; i < n; i++)
		buf_adds(b, str_from(piece));
	buf_adds(b, str_from(end));
	return buf_str(b);
}

static void hostile(void **state)
{
	struct buf b;
	refuse_bytes(repeated(&b, "[", 32, "x"),
		     "2:1: did not find expected ',' or ']' while parsing a "
		     "flow sequence (which begins in line 1)");
	buf_release(&b);
	refuse_bytes(repeated(&b, "[", 100000, ""),
		     "1:33: nested too deep: expected at most 32 levels");
	buf_release(&b);
	refuse_bytes(repeated(&b, "- ", 100000, "x"),
		     "1:65: nested too deep: expected at most 32 levels");
	buf_release(&b);
	refuse_bytes(repeated(&b, "-\n", 200000, ""),
		     "200000:2: too much: expected at most 200000 values");
	buf_release(&b);
	refuse_bytes(repeated(&b, "a: b # more\n", 100000, ""),
		     "1:1: too long: expected at most 1 MiB");
	buf_release(&b);
	refuse("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
	       "1:4: anchors and tags are not supported");
}

/* A mapping with very many members is checked for twins in less than quadratic time. */
static void many_members(void **state)
{
	struct buf b;
	buf_init(&b, YAML_MAX_BYTES);
	for (int i = 0; i < 80000; i++)
		buf_addf(&b, "k%d: v\n", i);
	struct arena a;
	struct yaml_fail fail;
	arena_init(&a, 4096);
	struct json *j = yaml_parse(&a, buf_str(&b), &fail);
	assert_non_null(j);
	assert_int_equal(j->count, 80000);
	buf_adds(&b, STR("k777: again\n"));
	refuse_bytes(buf_str(&b),
		     "80001:1: \"k777\" stands here a second time; it is in line 778 already");
	buf_release(&b);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trees),        cmocka_unit_test(places),
		cmocka_unit_test(refusals),     cmocka_unit_test(hostile),
		cmocka_unit_test(many_members),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
