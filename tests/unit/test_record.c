/* test_record.c - records of the journal: all fields there and back, texts that are too long, bytes that are no record.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static char bytes[RECORD_MAX];

static const struct record_begin begin = {
	.began_us = 1732233600000001, .hold_tokens = 5000, .hold_nanos = INT64_MAX, .input_tokens = 1200, .key = 4000000000u,
	.id = "0123456789abcdefghijklm", .model = STR_INIT("qwen-72b"), .target = STR_INIT("local"), .op = STR_INIT("chat"),
};

static const struct record_settle settle = {
	.begin = UINT64_MAX, .began_us = 1, .ended_us = -2, .input = 3, .cached = 4, .output = 5, .cost = 6, .reference = INT64_MIN,
	.bytes_in = 8, .bytes_out = UINT64_MAX - 1, .key = 10, .total_ms = 11, .first_ms = 12, .queue_ms = 13, .status = 499,
	.source = SOURCE_ABORTED, .attempts = 255, .flags = FLAG_STREAM | FLAG_STOPPED, .id = "abcdefghijklmnopqrstuvw",
	.model = STR_INIT("m"), .target = STR_INIT(""), .op = STR_INIT("embeddings"), .error = STR_INIT("upstream_disconnect"),
};

static const struct record_lease lease = {
	.leased = 123456789012345, .window_s = 1730419200, .key = 7, .unit = 1, .period = 3, .pattern = STR_INIT("qwen*"),
};

static void same_text(struct str a, struct str b)
{
	assert_true(str_eq(a, b));
}

static void test_begin(void **state)
{
	struct record_begin got;
	size_t n = record_put_begin(bytes, &begin);
	assert_true(record_get_begin(str_of(bytes, n), &got));
	assert_true(got.began_us == begin.began_us && got.hold_tokens == 5000 && got.hold_nanos == INT64_MAX && got.input_tokens == 1200);
	assert_int_equal(got.key, 4000000000u);
	assert_memory_equal(got.id, begin.id, RECORD_ID);
	same_text(got.model, begin.model);
	same_text(got.target, begin.target);
	same_text(got.op, begin.op);
}

static void test_settle(void **state)
{
	struct record_settle got;
	size_t n = record_put_settle(bytes, &settle);
	assert_true(record_get_settle(str_of(bytes, n), &got));
	assert_true(got.begin == UINT64_MAX && got.began_us == 1 && got.ended_us == -2);
	assert_true(got.input == 3 && got.cached == 4 && got.output == 5 && got.cost == 6 && got.reference == INT64_MIN);
	assert_true(got.bytes_in == 8 && got.bytes_out == UINT64_MAX - 1 && got.key == 10);
	assert_true(got.total_ms == 11 && got.first_ms == 12 && got.queue_ms == 13 && got.status == 499);
	assert_true(got.source == SOURCE_ABORTED && got.attempts == 255 && got.flags == (FLAG_STREAM | FLAG_STOPPED));
	assert_memory_equal(got.id, settle.id, RECORD_ID);
	same_text(got.model, settle.model);
	same_text(got.target, settle.target);
	same_text(got.op, settle.op);
	same_text(got.error, settle.error);
}

static void test_lease(void **state)
{
	struct record_lease got;
	size_t n = record_put_lease(bytes, &lease);
	assert_true(record_get_lease(str_of(bytes, n), &got));
	assert_true(got.leased == lease.leased && got.window_s == lease.window_s && got.key == 7 && got.unit == 1 && got.period == 3);
	same_text(got.pattern, lease.pattern);
}

static void test_long_texts(void **state)
{
	static char text[1000];
	struct record_settle r = settle, got;
	memset(text, 'x', sizeof(text));
	r.model = r.target = r.op = r.error = str_of(text, sizeof(text));
	size_t n = record_put_settle(bytes, &r);
	assert_true(n <= RECORD_MAX);
	assert_true(record_get_settle(str_of(bytes, n), &got));
	assert_int_equal(got.model.len, RECORD_TEXT);
	assert_int_equal(got.error.len, RECORD_TEXT);
	r.model = str_of(text, RECORD_TEXT);
	memcpy(text + RECORD_TEXT - 2, "\xf0\x9f\x98\x80", 4); /* a character over the edge goes as a whole */
	r.op = str_of(text, sizeof(text));
	n = record_put_settle(bytes, &r);
	assert_true(record_get_settle(str_of(bytes, n), &got));
	assert_int_equal(got.model.len, RECORD_TEXT);
	assert_int_equal(got.op.len, RECORD_TEXT - 2);
	r.op = str_of(text + RECORD_TEXT - 2, 4);
	n = record_put_settle(bytes, &r);
	assert_true(record_get_settle(str_of(bytes, n), &got));
	assert_int_equal(got.op.len, 4);
}

/* Every length but the right one is refused, from memory of exactly that size. */
static void expect_only(size_t n, bool (*get)(struct str bytes))
{
	bytes[n] = 0;
	for (size_t len = 0; len <= n + 1; len++) {
		char *copy = malloc(len ? len : 1);
		memcpy(copy, bytes, len);
		assert_int_equal(get(str_of(copy, len)), len == n);
		free(copy);
	}
}

static bool get_begin(struct str b)
{
	struct record_begin r;
	return record_get_begin(b, &r);
}

static bool get_settle(struct str b)
{
	struct record_settle r;
	return record_get_settle(b, &r);
}

static bool get_lease(struct str b)
{
	struct record_lease r;
	return record_get_lease(b, &r);
}

static void test_refused(void **state)
{
	struct record_settle r = settle;
	expect_only(record_put_begin(bytes, &begin), get_begin);
	expect_only(record_put_settle(bytes, &settle), get_settle);
	expect_only(record_put_lease(bytes, &lease), get_lease);
	r.source = SOURCE_COUNT;
	assert_false(get_settle(str_of(bytes, record_put_settle(bytes, &r))));
	size_t n = record_put_lease(bytes, &lease);
	memset(bytes + n, 0, 250);
	bytes[n - lease.pattern.len - 1] = (char)(RECORD_TEXT + 1); /* longer than any text may be, though the bytes are there */
	assert_false(get_lease(str_of(bytes, n - lease.pattern.len + RECORD_TEXT + 1)));
}

static void test_names(void **state)
{
	for (int i = 0; i < SOURCE_COUNT; i++)
		assert_true(source_names[i] && source_names[i][0]);
	assert_null(source_names[SOURCE_COUNT]);
	assert_string_equal(source_names[SOURCE_UPSTREAM], "upstream");
	assert_string_equal(source_names[SOURCE_ABORTED], "aborted");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_begin), cmocka_unit_test(test_settle), cmocka_unit_test(test_lease),
		cmocka_unit_test(test_long_texts), cmocka_unit_test(test_refused), cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
