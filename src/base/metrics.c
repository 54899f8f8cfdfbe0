/* metrics.c - the exposition of the tables in metrics.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include "base/mem.h"

#include <inttypes.h>

const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS] = {
	1000, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000,
};
static const char *const bound_texts[HISTOGRAM_BUCKETS] = {
	"0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
	"1", "2.5", "5", "10", "30", "60", "120", "300",
};

enum kind { COUNTER, GAUGE, HISTOGRAM };
static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct row {
	enum kind kind;
	size_t offset;
	const char *name, *help;
};
static const struct row rows[] = {
#define X(kind, member, name, help) {kind, offsetof(struct metrics, member), name, help},
	METRICS(X)
#undef X
};
static const struct row series_rows[] = {
#define X(kind, member, name, help) {kind, offsetof(struct series, member), name, help},
	SERIES_METRICS(X)
#undef X
};
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

void histogram_add(struct histogram *h, int64_t us)
{
	unsigned i = 0;
	while (i < HISTOGRAM_BUCKETS && us > histogram_bounds_us[i])
		i++;
	count(&h->buckets[i]);
	count_add(&h->sum_us, us > 0 ? (uint64_t)us : 0);
}

struct series *series_get(struct series_table *t, uint32_t id)
{
	_Atomic(struct series **) *page = &t->pages[id / SERIES_PAGE];
	struct series **list = atomic_load_explicit(page, memory_order_relaxed);
	if (!list) {
		list = mem_array(SERIES_PAGE, sizeof(*list));
		atomic_store_explicit(page, list, memory_order_release);
	}
	struct series **at = &list[id % SERIES_PAGE];
	struct series *s = __atomic_load_n(at, __ATOMIC_RELAXED);
	if (!s) {
		s = aligned_alloc(64, sizeof(*s));
		if (!s)
			abort();
		memset(s, 0, sizeof(*s));
		__atomic_store_n(at, s, __ATOMIC_RELEASE);
	}
	return s;
}

const struct series *series_peek(struct series_table *t, uint32_t id)
{
	struct series **list = atomic_load_explicit(&t->pages[id / SERIES_PAGE], memory_order_acquire);
	return list ? __atomic_load_n(&list[id % SERIES_PAGE], __ATOMIC_ACQUIRE) : NULL;
}

void series_release(struct series_table *t)
{
	for (size_t p = 0; p < COUNT(t->pages); p++) {
		struct series **list = atomic_load(&t->pages[p]);
		for (size_t i = 0; list && i < SERIES_PAGE; i++)
			free(list[i]);
		free(list);
	}
}

/* ---- printing ---- */

static uint64_t read_at(const void *block, size_t offset)
{
	return atomic_load_explicit((const _Atomic uint64_t *)((const char *)block + offset), memory_order_relaxed);
}

static void print_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static const struct metric_info others[OTHER_COUNT] = {
#define X(id, ...) {__VA_ARGS__},
	OTHER_METRICS(X)
#undef X
};

void metrics_print_head(struct buf *out, enum other_metric which)
{
	print_head(out, others[which].name, others[which].type, others[which].help);
}

void metrics_print_one(struct buf *out, enum other_metric which, double value)
{
	metrics_print_head(out, which);
	buf_addf(out, "%s %.17g\n", others[which].name, value);
}

void metrics_quote(struct buf *out, struct str value)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < value.len; i++) {
		char c = value.ptr[i];
		if (c == '\n')
			BUF_ADD(out, "\\n");
		else if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else
			buf_addc(out, c);
	}
	buf_addc(out, '"');
}

static void print_labels(struct buf *out, const struct series_labels *l)
{
	BUF_ADD(out, "target=");
	metrics_quote(out, l->target);
	BUF_ADD(out, ",model=");
	metrics_quote(out, l->model);
}

static void print_seconds(struct buf *out, uint64_t us)
{
	buf_addf(out, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

static void print_histogram(struct buf *out, const struct row *row, const struct series_labels *l,
			    const uint64_t *buckets, uint64_t sum_us)
{
	uint64_t total = 0;
	for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		total += buckets[i];
		buf_addf(out, "%s_bucket{", row->name);
		print_labels(out, l);
		buf_addf(out, ",le=\"%s\"} %" PRIu64 "\n", i < HISTOGRAM_BUCKETS ? bound_texts[i] : "+Inf", total);
	}
	buf_addf(out, "%s_sum{", row->name);
	print_labels(out, l);
	BUF_ADD(out, "} ");
	print_seconds(out, sum_us);
	buf_addf(out, "%s_count{", row->name);
	print_labels(out, l);
	buf_addf(out, "} %" PRIu64 "\n", total);
}

/* Adds what each thread counted in one series; false if none did. */
static bool sum_series(const struct metrics_source *from, const struct row *row, uint32_t id, uint64_t *values, size_t n)
{
	bool any = false;
	memset(values, 0, n * sizeof(*values));
	for (size_t t = 0; t < from->thread_count; t++) {
		const struct series *s = series_peek(from->tables[t], id);
		for (size_t i = 0; s && i < n; i++)
			values[i] += read_at(s, row->offset + i * sizeof(uint64_t));
		any |= s != NULL;
	}
	return any;
}

static void print_series_row(const struct metrics_source *from, const struct row *row, struct buf *out)
{
	uint64_t values[HISTOGRAM_BUCKETS + 2];
	size_t n = row->kind == HISTOGRAM ? COUNT(values) : 1;
	print_head(out, row->name, kind_names[row->kind], row->help);
	for (uint32_t id = 0; id < from->series_count; id++) {
		struct series_labels l;
		if (!sum_series(from, row, id, values, n) || !from->labels(from->user, id, &l))
			continue;
		if (row->kind == HISTOGRAM) {
			print_histogram(out, row, &l, values, values[HISTOGRAM_BUCKETS + 1]);
			continue;
		}
		buf_addf(out, "%s{", row->name);
		print_labels(out, &l);
		buf_addf(out, "} %" PRIu64 "\n", values[0]);
	}
}

static void print_errors(const struct metrics_source *from, struct buf *out)
{
	metrics_print_head(out, OTHER_ERRORS);
	for (unsigned e = 1; e < ERROR_COUNT; e++) {
		uint64_t n = 0;
		for (size_t t = 0; t < from->thread_count; t++)
			n += atomic_load_explicit(&from->threads[t]->errors[e], memory_order_relaxed);
		buf_addf(out, "valet_errors_total{code=\"%s\"} %" PRIu64 "\n", error_rows[e].code, n);
	}
}

void metrics_print(const struct metrics_source *from, struct buf *out)
{
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t n = 0;
		for (size_t t = 0; t < from->thread_count; t++)
			n += read_at(from->threads[t], rows[i].offset);
		print_head(out, rows[i].name, kind_names[rows[i].kind], rows[i].help);
		buf_addf(out, "%s %" PRIu64 "\n", rows[i].name, n);
	}
	print_errors(from, out);
	for (size_t i = 0; i < COUNT(series_rows); i++)
		print_series_row(from, &series_rows[i], out);
	metrics_print_one(out, OTHER_UPTIME, from->uptime_s);
}

bool metrics_info(size_t i, struct metric_info *out)
{
	if (i < COUNT(rows)) {
		*out = (struct metric_info){rows[i].name, kind_names[rows[i].kind], "", rows[i].help};
		return true;
	}
	i -= COUNT(rows);
	if (i < COUNT(series_rows)) {
		const struct row *r = &series_rows[i];
		*out = (struct metric_info){r->name, kind_names[r->kind], "target, model", r->help};
		return true;
	}
	i -= COUNT(series_rows);
	if (i >= OTHER_COUNT)
		return false;
	*out = others[i];
	return true;
}
