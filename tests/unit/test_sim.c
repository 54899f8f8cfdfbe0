/* test_sim.c - the parts of valet-sim that compute: the rule of tokens, the text of answers, the prompt cache, faults, gzip.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"
#include "faults.h"
#include "gzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static size_t bytes_of(const char *json, bool counts)
{
	struct text_taker taker = {0};
	text_walk(str_from(json), counts, &taker);
	return taker.bytes;
}

static void test_tokens(void **state)
{
	assert_int_equal(text_tokens(0), 0);
	assert_int_equal(text_tokens(1), 1);
	assert_int_equal(text_tokens(4), 1);
	assert_int_equal(text_tokens(5), 2);
}

static void test_text_that_counts(void **state)
{
	assert_int_equal(bytes_of("[{\"role\":\"user\",\"content\":\"abc\"}]", false), 3);
	assert_int_equal(bytes_of("[{ \"content\" : [ {\"type\":\"text\", \"text\" : \"abc\"}, "
				  "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\"}} ] }, "
				  "{\"content\":\"de\"}]",
				  false),
			 5);
	assert_int_equal(bytes_of("\"abcd\"", true), 4);
	assert_int_equal(bytes_of("[\"abcd\",\"e\"]", true), 5);
	assert_int_equal(bytes_of("[1,22,333]", true), 12);
	assert_int_equal(bytes_of("[{\"name\":\"x\",\"n\":1}]", false), 0);
	assert_int_equal(bytes_of("{\"content\":{\"a\":\"b\"},\"x\":[\"y\"]}", false), 0);
}

static void test_escapes_count_decoded(void **state)
{
	assert_int_equal(bytes_of("\"\\n\\\"\\\\\"", true), 3);
	assert_int_equal(bytes_of("\"\\u0041\\u00e9\\u6f22\"", true), 1 + 2 + 3);
	assert_int_equal(bytes_of("\"\\ud83d\\ude42\"", true), 4);
	assert_int_equal(bytes_of("\"\\ud83d\"", true), 3);
	assert_int_equal(bytes_of("\"\\ud83d\\n\"", true), 4);
	assert_int_equal(bytes_of("\"ends in a slash \\\\\"", true), 17);
}

static void test_words_repeat(void **state)
{
	uint64_t a = text_hash(STR("a prompt"), 1), b = text_hash(STR("a prompt"), 2);
	int same = 0;
	assert_true(a != b && a != text_hash(STR("a prompT"), 1));
	assert_true(a == text_hash(STR("a prompt"), 1));
	for (uint64_t i = 0; i < 100; i++) {
		struct str word = text_word(a, i);
		assert_true(str_eq(word, text_word(a, i)));
		assert_true(i == 0 ? word.ptr[0] != ' ' : word.ptr[0] == ' ');
		assert_true(word.len <= 8);
		same += str_eq(word, text_word(b, i));
	}
	assert_true(same < 10);
}

static void test_pieces_cover_the_text(void **state)
{
	static const char text[] =
		"one two  three 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字 end";
	struct str rest = STR(text), piece;
	size_t at = 0;
	uint32_t n = 0;
	while (text_piece(&rest, &piece)) {
		assert_ptr_equal(piece.ptr, text + at);
		assert_true(piece.len > 0 && piece.len <= PIECE_MAX);
		assert_true(((unsigned char)piece.ptr[0] & 0xc0) != 0x80);
		at += piece.len;
		n++;
	}
	assert_int_equal(at, sizeof(text) - 1);
	assert_int_equal(n, text_pieces(STR(text)));
	assert_int_equal(text_pieces(STR("")), 0);
	assert_int_equal(text_pieces(STR("a b")), 2);
}

static void test_cache(void **state)
{
	char text[CACHE_BLOCK * 4 + 10];
	memset(text, 'x', sizeof(text));
	struct prompt_cache *c = cache_new(4);
	struct str whole = str_of(text, sizeof(text));
	assert_int_equal(cache_use(c, whole, 1), 0);
	assert_int_equal(cache_use(c, whole, 1), 4);
	assert_int_equal(cache_use(c, whole, 2),
			 0); /* another model; all places are taken by it now */
	assert_int_equal(cache_use(c, whole, 1), 0);
	text[CACHE_BLOCK * 2] = 'y';
	assert_int_equal(cache_use(c, whole, 1), 2);
	assert_int_equal(cache_used(c), 4);
	cache_clear(c);
	assert_int_equal(cache_used(c), 0);
	assert_int_equal(cache_use(c, str_of(text, CACHE_BLOCK - 1), 1), 0);
	cache_free(c);
}

static void test_fault_spelling(void **state)
{
	struct fault_rule r;
	struct fault f;
	assert_true(fault_parse(STR("status=429,7"), &f));
	assert_true(f.kind == FAULT_STATUS && f.arg == 429 && f.second == 7);
	assert_true(fault_parse(STR("reset-after"), &f));
	assert_true(f.kind == FAULT_RESET_AFTER && f.arg == 2 && f.second == -1);
	assert_false(fault_parse(STR("nonsense"), &f));
	assert_false(fault_parse(STR("status=x"), &f));
	assert_true(fault_rule_parse(STR("slow-head=5@all:0.25"), &r));
	assert_true(r.fault.kind == FAULT_SLOW_HEAD && r.fault.arg == 5 && r.on == ON_ALL &&
		    r.rate == 0.25);
	assert_false(fault_rule_parse(STR("hang:x"), &r));
	assert_false(fault_rule_parse(STR("hang@nobody"), &r));
}

static void test_fault_rate_is_exact(void **state)
{
	struct fault_rules rules;
	const char *why;
	int struck = 0;
	assert_true(fault_rules_read(
		&rules, STR("{\"faults\":[\"hang:0.1\",{\"fault\":\"no-done\",\"count\":3}]}"),
		&why));
	for (int i = 0; i < 1000; i++)
		struck += fault_pick(&rules, true).kind == FAULT_HANG;
	assert_int_equal(struck, 100);
	assert_int_equal(rules.list[1].left, 0);
	assert_int_equal(fault_pick(&rules, false).kind, FAULT_NONE);
	assert_false(fault_rules_read(&rules, STR("{\"faults\":[\"what\"]}"), &why));
	assert_false(fault_rules_read(&rules, STR("[]"), &why));
}

static void test_gzip_has_its_form(void **state)
{
	struct buf out;
	buf_init(&out, 1 << 20);
	gzip_with_spaces(&out, STR("{}"), 1 << 20);
	assert_memory_equal(out.ptr, "\x1f\x8b\x08", 3);
	assert_true(out.len < 10000);
	assert_memory_equal(out.ptr + out.len - 4, "\x02\x00\x10\x00",
			    4); /* the size, low byte first */
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_text_that_counts),
		cmocka_unit_test(test_escapes_count_decoded),
		cmocka_unit_test(test_words_repeat),
		cmocka_unit_test(test_pieces_cover_the_text),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_fault_spelling),
		cmocka_unit_test(test_fault_rate_is_exact),
		cmocka_unit_test(test_gzip_has_its_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
