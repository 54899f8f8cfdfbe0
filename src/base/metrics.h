/* metrics.h - counters and histograms: one block per writing thread, summed by the reader.
 *
 * The tables below make the structs, the exposition and the docs. A block is written by one thread alone with relaxed loads and stores;
 * any thread may read. `struct metrics` counts for a whole thread; a `struct series` counts for one pair of target and model.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_METRICS_H
#define VALET_BASE_METRICS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdatomic.h>
#include <stdint.h>

/* X(KIND, member, name, help) */
#define METRICS(X) \
	X(COUNTER, connections, "valet_connections_total", "Connections accepted from clients.") \
	X(GAUGE, connections_open, "valet_connections", "Connections of clients that are open.") \
	X(COUNTER, http_requests, "valet_http_requests_total", "Requests read from clients, of any path.") \
	X(GAUGE, in_flight, "valet_requests_in_flight", "Requests being answered.") \
	X(COUNTER, client_closed, "valet_client_closed_total", "Requests whose client left before the answer was complete.") \
	X(COUNTER, retries, "valet_retries_total", "Attempts after the first one of a request.") \
	X(COUNTER, reconnects, "valet_reconnects_total", "Kept connections that had ended and were replaced within a request.") \
	X(COUNTER, overflows, "valet_overflows_total", "Requests that went beyond the targets of their model, by policy.") \
	X(COUNTER, keys_refused, "valet_keys_refused_total", "Requests without a good key.") \
	X(COUNTER, records_lost, "valet_records_lost_total", "Requests whose record found no room in the journal.") \
	X(COUNTER, bytes_in, "valet_request_bytes_total", "Bytes of bodies read from clients.") \
	X(COUNTER, bytes_out, "valet_response_bytes_total", "Bytes of bodies written to clients.")

#define SERIES_METRICS(X) /* labels: target, model */ \
	X(COUNTER, requests, "valet_requests_total", "Requests that this target answered, or failed to.") \
	X(COUNTER, errors, "valet_request_errors_total", "Of those, the ones that ended in an error.") \
	X(COUNTER, attempts, "valet_attempts_total", "Attempts at this target.") \
	X(COUNTER, attempts_failed, "valet_attempts_failed_total", "Attempts that failed before an answer began.") \
	X(GAUGE, streams, "valet_streams", "Answers being streamed now.") \
	X(COUNTER, streams_total, "valet_streams_total", "Answers that were streamed.") \
	X(COUNTER, streams_broken, "valet_streams_broken_total", "Streams that the target broke off.") \
	X(COUNTER, streams_resumed, "valet_streams_resumed_total", "Streams that broke off elsewhere and went on at this target.") \
	X(COUNTER, tokens_in, "valet_input_tokens_total", "Tokens of prompts, as the target reports them.") \
	X(COUNTER, tokens_cached, "valet_cached_tokens_total", "Of those, the ones from the target's prefix cache.") \
	X(COUNTER, tokens_out, "valet_output_tokens_total", "Tokens of answers, as the target reports them.") \
	X(COUNTER, usage_missing, "valet_usage_missing_total", "Answers without usable usage numbers.") \
	X(HISTOGRAM, first_token, "valet_first_token_seconds", "Time from sending the request to the first event of a streamed answer.") \
	X(HISTOGRAM, duration, "valet_request_duration_seconds", "Time from the whole request read to the whole answer written.")

#define HISTOGRAM_BUCKETS 16
extern const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS]; /* upper bounds; a last bucket holds the rest */

struct histogram {
	_Atomic uint64_t buckets[HISTOGRAM_BUCKETS + 1];
	_Atomic uint64_t sum_us;
};

#define METRIC_COUNTER   _Atomic uint64_t
#define METRIC_GAUGE     _Atomic uint64_t
#define METRIC_HISTOGRAM struct histogram
#define X(kind, member, name, help) METRIC_##kind member;
struct metrics {
	METRICS(X)
	_Atomic uint64_t errors[ERROR_COUNT]; /* valet_errors_total{code} */
} __attribute__((aligned(64)));

struct series {
	SERIES_METRICS(X)
} __attribute__((aligned(64)));
#undef X

/* For the block's own thread. */
static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void count(_Atomic uint64_t *counter)
{
	count_add(counter, 1);
}
static inline void count_down(_Atomic uint64_t *gauge)
{
	count_add(gauge, (uint64_t)-1);
}
void histogram_add(struct histogram *h, int64_t us);

/* One thread's series, by id; made when first counted in. Ids are given by the catalog and are below SERIES_MAX. */
#define SERIES_PAGE 256
#define SERIES_MAX  (4096 * SERIES_PAGE)
struct series_table {
	_Atomic(struct series **) pages[SERIES_MAX / SERIES_PAGE];
};
/* For the table's own thread: never NULL. */
struct series *series_get(struct series_table *t, uint32_t id);
/* For any thread: NULL where this thread has not counted. */
const struct series *series_peek(struct series_table *t, uint32_t id);
void series_release(struct series_table *t);

/* Who is asked for the labels of a series; false: no such series. Views stay valid during the call of metrics_print(). */
struct series_labels {
	struct str target, model;
};
struct metrics_source {
	struct metrics *const *threads;       /* blocks to sum */
	struct series_table *const *tables;
	size_t thread_count;
	uint32_t series_count;
	bool (*labels)(void *user, uint32_t id, struct series_labels *out);
	void *user;
	double uptime_s;
};
/* Appends the exposition (Prometheus text format 0.0.4). */
void metrics_print(const struct metrics_source *from, struct buf *out);
/* Families that are not counted in blocks: whoever knows the number prints it. X(ID, name, type, labels, help) */
#define OTHER_METRICS(X) \
	X(ERRORS, "valet_errors_total", "counter", "code", "Answers that were errors, by code.") \
	X(UPTIME, "valet_uptime_seconds", "gauge", "", "Time since the start.") \
	X(BUILD_INFO, "valet_build_info", "gauge", "version", "1; the label says which Valet this is.") \
	X(LOG_DROPPED, "valet_log_dropped_total", "counter", "", "Log lines dropped because the writer was behind.") \
	X(TARGET_UP, "valet_target_up", "gauge", "target", "1 while the target answers its probes.") \
	X(TARGET_IN_FLIGHT, "valet_target_in_flight", "gauge", "target", "Requests in flight at the target.") \
	X(TARGET_PLACES, "valet_target_places", "gauge", "target", "Requests that the target takes at a time; 0: no limit is known.") \
	X(TARGET_BREAKER, "valet_target_breaker", "gauge", "target", "0 closed, 1 open, 2 half open.") \
	X(QUEUE_WAITING, "valet_queue_waiting", "gauge", "", "Requests that wait for a place.") \
	X(QUEUE_BATCH, "valet_queue_waiting_batch", "gauge", "", "Of those, the ones of class batch.") \
	X(QUEUE_OLDEST, "valet_queue_oldest_seconds", "gauge", "", "How long the oldest of them has waited.") \
	X(QUEUE_ENTERED, "valet_queue_entered_total", "counter", "", "Requests that had to wait for a place.") \
	X(QUEUE_GRANTED, "valet_queue_granted_total", "counter", "", "Of those, the ones that got one.") \
	X(QUEUE_LEFT, "valet_queue_left_total", "counter", "", "Of those, the ones that left before.") \
	X(KEYS, "valet_keys", "gauge", "", "API keys.") \
	X(BUDGET_SETTLED, "valet_budget_settled", "gauge", "key, models, budget", \
	  "What is used of a budget in its running window, in tokens or dollars; of 1,000 budgets at most.") \
	X(BUDGET_LIMIT, "valet_budget_limit", "gauge", "key, models, budget", "The budget, in tokens or dollars.") \
	X(BUDGET_WARNINGS, "valet_budget_warnings_total", "counter", "", "Times that a budget passed 50, 80 or 100 %.") \
	X(JOURNAL_BYTES, "valet_journal_bytes", "gauge", "", "Size of the journal on disk.") \
	X(JOURNAL_FAILED, "valet_journal_failed", "gauge", "", "1 when nothing can be written to the journal.") \
	X(LEDGER_UNAPPLIED, "valet_ledger_unapplied", "gauge", "", "Records of the journal that the database has not got yet.") \
	X(LEDGER_APPLIED, "valet_ledger_applied_total", "counter", "", "Records that the database has got since the start.") \
	X(SYNC_FAILURES, "valet_ledger_sync_failures_total", "counter", "", "Syncs of the journal that failed.") \
	X(FEED_FAILURES, "valet_ledger_feed_failures_total", "counter", "", "Writes to the database that failed and are tried again.") \
	X(SYNC_SECONDS, "valet_ledger_sync_seconds", "gauge", "", "The longest sync of the journal since the last look.")

enum other_metric {
#define X(id, ...) OTHER_##id,
	OTHER_METRICS(X)
#undef X
	OTHER_COUNT,
};
/* Appends HELP and TYPE; the samples follow. */
void metrics_print_head(struct buf *out, enum other_metric which);
/* The same and one sample without labels. */
void metrics_print_one(struct buf *out, enum other_metric which, double value);
/* A label's value, escaped, with quotes. */
void metrics_quote(struct buf *out, struct str value);

/* For the docs: all families, one after the other; false at the end. */
struct metric_info {
	const char *name, *type, *labels, *help;
};
bool metrics_info(size_t i, struct metric_info *out);

#endif
