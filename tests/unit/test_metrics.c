/* test_metrics.c - counters and histograms, and their exposition, which promtool judges where it is installed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct series_labels labels[] = {
	{STR_INIT("gpu1"), STR_INIT("Qwen/Qwen3")},
	{STR_INIT("odd \"quoted\" \\ back"), STR_INIT("two\nlines {a=\"b\"} \xc3\xa9")},
	{STR_INIT("gone"), STR_INIT("gone")},
	{STR_INIT("silent"), STR_INIT("silent")},
};

static bool label_of(void *user, uint32_t id, struct series_labels *out)
{
	assert_true(id < COUNT(labels));
	*out = labels[id];
	return id != 2; /* that one is not known any more */
}

/* Two threads' blocks, with numbers in them. */
struct blocks {
	struct metrics *metrics[2];
	struct series_table *tables[2];
};

static void blocks_init(struct blocks *b)
{
	for (int i = 0; i < 2; i++) {
		b->metrics[i] = aligned_alloc(64, sizeof(struct metrics));
		assert_non_null(b->metrics[i]);
		memset(b->metrics[i], 0, sizeof(struct metrics));
		b->tables[i] = mem_zero(sizeof(struct series_table));
	}
}

static void blocks_release(struct blocks *b)
{
	for (int i = 0; i < 2; i++) {
		series_release(b->tables[i]);
		free(b->tables[i]);
		free(b->metrics[i]);
	}
}

static void print(struct blocks *b, struct buf *out)
{
	struct metrics_source from = {b->metrics, b->tables, 2, COUNT(labels), label_of, NULL, 1.5};
	buf_init(out, 1 << 20);
	metrics_print(&from, out);
	assert_false(out->over);
}

static void assert_line(const struct buf *out, const char *line)
{
	struct str rest = buf_str(out), part;
	while (str_split(&rest, '\n', &part))
		if (str_eq(part, str_from(line)))
			return;
	fail_msg("no line: %s", line);
}

static void assert_no(const struct buf *out, const char *text)
{
	assert_true(str_search(buf_str(out), str_from(text)) == out->len);
}

/* ---- counting ---- */

static void test_counting(void **state)
{
	_Atomic uint64_t n = 0;
	count(&n);
	count_add(&n, 41);
	assert_int_equal(atomic_load(&n), 42);
	count_down(&n);
	assert_int_equal(atomic_load(&n), 41);
}

static void test_histogram(void **state)
{
	struct histogram h = {0};
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		assert_true(i == 0 || histogram_bounds_us[i] > histogram_bounds_us[i - 1]);
		histogram_add(&h, histogram_bounds_us[i]);     /* a bound belongs to its bucket */
		histogram_add(&h, histogram_bounds_us[i] + 1); /* and the next number to the next */
	}
	histogram_add(&h, 0);
	histogram_add(&h, -5);
	histogram_add(&h, INT64_MAX / 4);
	assert_int_equal(atomic_load(&h.buckets[0]), 3);
	for (int i = 1; i < HISTOGRAM_BUCKETS; i++)
		assert_int_equal(atomic_load(&h.buckets[i]), 2);
	assert_int_equal(atomic_load(&h.buckets[HISTOGRAM_BUCKETS]), 2);
}

static void test_series(void **state)
{
	struct series_table *t = mem_zero(sizeof(*t));
	const uint32_t ids[] = {0, 1, SERIES_PAGE - 1, SERIES_PAGE, SERIES_MAX - 1};
	for (size_t i = 0; i < COUNT(ids); i++) {
		assert_null(series_peek(t, ids[i]));
		struct series *s = series_get(t, ids[i]);
		assert_true((uintptr_t)s % 64 == 0);
		assert_int_equal(atomic_load(&s->requests), 0);
		assert_ptr_equal(series_get(t, ids[i]), s);
		assert_ptr_equal(series_peek(t, ids[i]), s);
	}
	assert_null(series_peek(t, 2));
	series_release(t);
	free(t);
}

/* ---- printing ---- */

static void fill(struct blocks *b)
{
	count_add(&b->metrics[0]->http_requests, 5);
	count_add(&b->metrics[1]->http_requests, 7);
	count(&b->metrics[1]->errors[ERROR_MODEL_NOT_FOUND]);
	count_add(&b->metrics[0]->connections_open, UINT64_MAX);
	for (int i = 0; i < 2; i++) {
		struct series *s = series_get(b->tables[i], 0);
		count_add(&s->tokens_out, 100);
		histogram_add(&s->duration, 1500);      /* le 0.005 */
		histogram_add(&s->duration, 400000000); /* +Inf */
	}
	count(&series_get(b->tables[1], 1)->requests);
	count(&series_get(b->tables[1], 2)->requests);
}

static void test_exposition(void **state)
{
	struct blocks b;
	struct buf out;
	blocks_init(&b);
	fill(&b);
	print(&b, &out);
	assert_line(&out, "# TYPE valet_http_requests_total counter");
	assert_line(&out, "valet_http_requests_total 12");
	assert_line(&out, "valet_errors_total{code=\"model_not_found\"} 1");
	assert_line(&out, "valet_errors_total{code=\"internal_error\"} 0");
	assert_line(&out, "valet_output_tokens_total{target=\"gpu1\",model=\"Qwen/Qwen3\"} 200");
	assert_line(&out, "valet_requests_total{target=\"odd \\\"quoted\\\" \\\\ "
			  "back\",model=\"two\\nlines {a=\\\"b\\\"} \xc3\xa9\"} 1");
	assert_line(&out, "valet_uptime_seconds 1.5");
	assert_no(&out, "gone");
	assert_no(&out, "silent");
	buf_release(&out);
	blocks_release(&b);
}

static void test_histogram_lines(void **state)
{
	struct blocks b;
	struct buf out;
	blocks_init(&b);
	fill(&b);
	print(&b, &out);
#define LINE(suffix, le, value)                                   \
	assert_line(&out, "valet_request_duration_seconds" suffix \
			  "{target=\"gpu1\",model=\"Qwen/Qwen3\"" le "} " value)
	LINE("_bucket", ",le=\"0.001\"", "0");
	LINE("_bucket", ",le=\"0.005\"", "2");
	LINE("_bucket", ",le=\"300\"", "2");
	LINE("_bucket", ",le=\"+Inf\"", "4");
	LINE("_count", "", "4");
	LINE("_sum", "", "800.003000");
#undef LINE
	buf_release(&out);
	blocks_release(&b);
}

/* Each family once, with HELP and TYPE before its samples; each sample is of the family that was opened last. */
static void test_structure(void **state)
{
	struct blocks b;
	struct buf out;
	struct str rest, line, family = STR_NONE;
	blocks_init(&b);
	fill(&b);
	print(&b, &out);
	assert_true(out.len > 0 && out.ptr[out.len - 1] == '\n');
	rest = str_of(out.ptr, out.len - 1);
	while (str_split(&rest, '\n', &line)) {
		assert_true(line.len > 0);
		if (str_starts(line, STR("# TYPE ")))
			continue;
		if (str_starts(line, STR("# HELP "))) {
			struct str name = str_skip(line, 7);
			family = str_head(name, str_find(name, ' '));
			struct str more = str_skip(rest, str_search(rest, line));
			assert_int_equal(more.len, 0); /* nowhere below again */
			continue;
		}
		if (!str_starts(line, family))
			fail_msg("not of %.*s: %.*s", STR_ARG(family), STR_ARG(line));
	}
	buf_release(&out);
	blocks_release(&b);
}

/* The docs name every family that is printed. */
static void test_info(void **state)
{
	struct blocks b;
	struct buf out;
	struct str rest, line;
	struct metric_info info;
	size_t families = 0, listed = 0;
	blocks_init(&b);
	print(&b, &out);
	rest = buf_str(&out);
	while (str_split(&rest, '\n', &line)) {
		if (!str_starts(line, STR("# TYPE ")))
			continue;
		bool known = false;
		for (size_t i = 0; metrics_info(i, &info); i++)
			known |= str_starts(str_skip(line, 7), str_from(info.name)) &&
				 line.ptr[7 + strlen(info.name)] == ' ' &&
				 str_ends(line, str_from(info.type));
		if (!known)
			fail_msg("not in the docs: %.*s", STR_ARG(line));
		families++;
	}
	for (; metrics_info(listed, &info); listed++)
		assert_true(*info.name && *info.type && *info.help && info.labels);
	assert_true(families > 20 && listed >= families);
	buf_release(&out);
	blocks_release(&b);
}

static void test_quote(void **state)
{
	struct buf out;
	buf_init(&out, 256);
	metrics_quote(&out, STR("a\"b\\c\nd\te"));
	metrics_quote(&out, STR_NONE);
	assert_true(str_eq(buf_str(&out), STR("\"a\\\"b\\\\c\\nd\te\"\"\"")));
	buf_release(&out);
}

static void test_promtool(void **state)
{
	struct blocks b;
	struct buf out;
	if (system("command -v promtool >/dev/null 2>&1") != 0)
		skip();
	blocks_init(&b);
	fill(&b);
	print(&b, &out);
	FILE *pipe = popen("promtool check metrics", "w");
	assert_non_null(pipe);
	assert_int_equal(fwrite(out.ptr, 1, out.len, pipe), out.len);
	assert_int_equal(pclose(pipe), 0);
	buf_release(&out);
	blocks_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counting),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_series),
		cmocka_unit_test(test_exposition),
		cmocka_unit_test(test_histogram_lines),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_promtool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
