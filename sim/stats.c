/* stats.c - what the simulator says of itself under /sim: numbers, the log of the last requests,
 * faults, and reset.
 *
 * Counters belong to a worker and are read by all; the log is shared under sim->lock.
 *
 *   GET  /sim/stats         {"requests":n, ..., "paths":{"/v1/chat/completions":n, ...}}
 *   GET  /sim/log?since=N   {"next":N', "entries":[...]}: from number N on, of the last 10,000
 *   GET  /sim/faults        the rules; POST sets them (faults.h)
 *   POST /sim/reset         numbers, log, cache and rules as at the start
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "base/clock.h"
#include "http/url.h"

uint64_t stats_sum(const struct sim *sim, enum counter which)
{
	uint64_t n = 0;
	for (size_t i = 0; i < sim->worker_count; i++)
		n += __atomic_load_n(&sim->workers[i].counts[which], __ATOMIC_RELAXED);
	return n;
}

/* `path` is a route's own text, so that the pointer tells them apart. */
void stats_path(struct worker *w, const char *path)
{
	for (struct path_count *p = w->paths; p < w->paths + PATHS_MAX; p++) {
		const char *here = p->path;
		if (!here)
			__atomic_store_n(&p->path, path, __ATOMIC_RELEASE);
		if (!here || here == path) {
			__atomic_store_n(&p->count, p->count + 1, __ATOMIC_RELAXED);
			return;
		}
	}
}

static void write_log(struct job *j, int64_t now_us)
{
	struct sim *sim = j->worker->sim;
	sim_lock(sim);
	uint64_t seq = sim->log_seq++;
	sim->log[seq % LOG_ENTRIES] = (struct log_entry){
		.seq = seq,
		.hash = j->hash,
		.surface = j->surface,
		.model = j->model,
		.begun_us = j->begun_us,
		.ended_us = now_us,
		.prompt_tokens = j->prompt_tokens,
		.cached_tokens = j->cached_tokens,
		.completion_tokens = j->made * j->choices,
		.window = j->window ? j->window : j->model->context,
		.status = j->status,
		.fault = j->fault.kind,
		.stream = j->stream,
		.aborted = j->aborted,
	};
	sim_unlock(sim);
}

void stats_job(struct job *j)
{
	struct worker *w = j->worker;
	int64_t now_us = clock_mono_us(), made = (int64_t)j->made * j->choices;
	if (j->made > 0 || j->load)
		__atomic_store_n(&((struct model *)j->model)->used, !j->unload, __ATOMIC_RELAXED);
	worker_count(w, j->aborted ? COUNT_ABORTED : COUNT_FINISHED, 1);
	worker_count(w, COUNT_PROMPT, j->prompt_tokens);
	worker_count(w, COUNT_CACHED, j->cached_tokens);
	worker_count(w, COUNT_GENERATED, made);
	if (!j->aborted) {
		worker_count(w, j->cut ? COUNT_LENGTH : COUNT_STOP, 1);
		worker_count(w, COUNT_TTFT_US, j->ttft_us > 0 ? j->ttft_us : 0);
		worker_count(w, COUNT_E2E_US, now_us - j->begun_us);
	}
	worker_count(w, COUNT_BYTES_OUT, (int64_t)j->bytes);
	write_log(j, now_us);
}

/* ---- GET /sim/stats ---- */

static void put_paths(struct json_writer *jw, struct sim *sim)
{
	json_put_key(jw, STR("paths"));
	json_open_object(jw);
	for (size_t i = 0; i < sim->worker_count; i++) {
		for (struct path_count *p = sim->workers[i].paths;
		     p < sim->workers[i].paths + PATHS_MAX; p++) {
			const char *path = __atomic_load_n(&p->path, __ATOMIC_ACQUIRE);
			uint64_t count = 0;
			bool told = false;
			if (!path)
				break;
			for (size_t k = 0; k < sim->worker_count; k++)
				for (int m = 0; m < PATHS_MAX; m++)
					if (__atomic_load_n(&sim->workers[k].paths[m].path,
							    __ATOMIC_ACQUIRE) == path) {
						told |= k < i;
						count += __atomic_load_n(
							&sim->workers[k].paths[m].count,
							__ATOMIC_RELAXED);
					}
			if (!told && count > 0)
				json_member_i64(jw, str_from(path), (int64_t)count);
		}
	}
	json_close_object(jw);
}

static void put_numbers(struct json_writer *jw, struct sim *sim)
{
	static const struct {
		const char *name;
		enum counter which;
	} numbers[] = {
		{"requests", COUNT_REQUESTS},    {"calls", COUNT_CALLS},
		{"finished", COUNT_FINISHED},    {"aborted", COUNT_ABORTED},
		{"refused", COUNT_REFUSED},      {"faults", COUNT_FAULTS},
		{"prompt_tokens", COUNT_PROMPT}, {"cached_tokens", COUNT_CACHED},
		{"tokens", COUNT_GENERATED},     {"bytes_in", COUNT_BYTES_IN},
		{"bytes_out", COUNT_BYTES_OUT},  {"active", COUNT_ACTIVE},
		{"reloads", COUNT_RELOADS},
	};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_member_i64(jw, str_from(numbers[i].name),
				(int64_t)stats_sum(sim, numbers[i].which));
}

static void stats_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct sim *sim = w->sim;
	struct json_writer jw;
	int64_t connections = 0, last_abort_us = 0;
	for (size_t i = 0; i < sim->worker_count; i++) {
		struct worker *other = &sim->workers[i];
		int64_t us = __atomic_load_n(&other->last_abort_us, __ATOMIC_RELAXED);
		last_abort_us = us > last_abort_us ? us : last_abort_us;
		connections += other == w ? w->server.conn_count
					  : __atomic_load_n(&other->connections, __ATOMIC_RELAXED);
	}
	json_writer_init(&jw, worker_compose(w));
	json_open_object(&jw);
	json_member_str(&jw, STR("dialect"), str_from(sim->dialect->name));
	put_numbers(&jw, sim);
	sim_lock(sim);
	json_member_i64(&jw, STR("running"), sim->engine.running);
	json_member_i64(&jw, STR("waiting"), sim->engine.waiting_count);
	json_member_i64(&jw, STR("cache_blocks"),
			sim->engine.cache ? (int64_t)cache_used(sim->engine.cache) : 0);
	sim_unlock(sim);
	json_member_i64(&jw, STR("connections"), connections);
	json_member_i64(&jw, STR("last_abort_us"), last_abort_us);
	json_member_i64(&jw, STR("now_us"), clock_mono_us());
	json_member_i64(&jw, STR("uptime_us"), clock_mono_us() - sim->started_us);
	put_paths(&jw, sim);
	json_close_object(&jw);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

/* ---- GET /sim/log ---- */

static void put_entry(const struct sim *sim, struct buf *out, const struct log_entry *e)
{
	buf_addf(out, "{\"seq\":%llu,\"id\":\"", (unsigned long long)e->seq);
	id_put(sim, out, e->hash);
	buf_addf(out, "\",\"surface\":\"%s\",\"model\":", e->surface->name);
	buf_adds(out, e->model->json);
	buf_addf(out,
		 ",\"stream\":%s,\"prompt_tokens\":%u,\"cached_tokens\":%u,\"completion_tokens\":%"
		 "u,\"aborted\":%s,"
		 "\"context\":%lld,\"status\":%u,\"fault\":\"%s\",\"begun_us\":%lld,\"ended_us\":%lld}",
		 e->stream ? "true" : "false", e->prompt_tokens, e->cached_tokens,
		 e->completion_tokens, e->aborted ? "true" : "false", (long long)e->window, e->status,
		 fault_info(e->fault)->name, (long long)e->begun_us, (long long)e->ended_us);
}

static void log_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct sim *sim = w->sim;
	struct buf *out = worker_compose(w);
	int64_t since = 0;
	struct str asked = url_query_get(line->query, STR("since"));
	if (asked.ptr)
		str_to_i64(asked, &since);
	sim_lock(sim);
	uint64_t from = since < 1 ? 1 : (uint64_t)since, next = sim->log_seq;
	if (next > LOG_ENTRIES && from < next - LOG_ENTRIES)
		from = next - LOG_ENTRIES;
	buf_addf(out, "{\"next\":%llu,\"entries\":[", (unsigned long long)next);
	for (uint64_t seq = from; seq < next; seq++) {
		if (seq > from)
			buf_addc(out, ',');
		put_entry(sim, out, &sim->log[seq % LOG_ENTRIES]);
	}
	sim_unlock(sim);
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

/* ---- faults and reset ---- */

static void send_rules(struct worker *w, struct http_conn *c)
{
	struct buf *out = worker_compose(w);
	sim_lock(w->sim);
	fault_rules_put(&w->sim->rules, out);
	sim_unlock(w->sim);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void faults_get_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	send_rules(w, c);
}

static void faults_post_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	const char *why;
	sim_lock(w->sim);
	bool ok = fault_rules_read(&w->sim->rules, c->body, &why);
	__atomic_store_n(&w->sim->has_rules, w->sim->rules.count > 0, __ATOMIC_RELAXED);
	sim_unlock(w->sim);
	if (ok)
		send_rules(w, c);
	else
		worker_complain(w, c,
				&(struct complaint){.status = 400,
						    .type = "invalid_request_error",
						    .text = str_from(why)});
}

void stats_reset(struct sim *sim)
{
	for (size_t i = 0; i < sim->worker_count; i++) {
		struct worker *w = &sim->workers[i];
		for (int k = 0; k < COUNT_ALL; k++)
			if (k != COUNT_ACTIVE)
				__atomic_store_n(&w->counts[k], 0, __ATOMIC_RELAXED);
		for (int k = 0; k < PATHS_MAX; k++)
			__atomic_store_n(&w->paths[k].count, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&w->last_abort_us, 0, __ATOMIC_RELAXED);
	}
	sim_lock(sim);
	sim->log_seq = 1;
	sim->rules.count = sim->options.rule_count;
	memcpy(sim->rules.list, sim->options.rules,
	       sim->options.rule_count * sizeof(*sim->options.rules));
	__atomic_store_n(&sim->has_rules, sim->rules.count > 0, __ATOMIC_RELAXED);
	if (sim->engine.cache)
		cache_clear(sim->engine.cache);
	sim_unlock(sim);
}

static void reset_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	stats_reset(w->sim);
	worker_send(w, c, 200, FIELDS_JSON, STR("{\"reset\":true}"));
}

const struct route stats_routes[] = {
	{"GET", "/sim/stats", .run = stats_run},
	{"GET", "/sim/log", .run = log_run},
	{"GET", "/sim/faults", .run = faults_get_run},
	{"POST", "/sim/faults", .run = faults_post_run},
	{"POST", "/sim/reset", .run = reset_run},
	{0},
};
