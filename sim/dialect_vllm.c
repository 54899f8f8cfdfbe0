/* dialect_vllm.c - vLLM, and SGLang as far as a prober looks at it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialects.h"

#include <stdio.h>

static const char *type_of(int status)
{
	switch (status) {
	case 404:
		return "NotFoundError";
	case 422:
		return "UnprocessableEntityError";
	case 501:
		return "NotImplementedError";
	default:
		return status < 500 ? "BadRequestError" : "InternalServerError";
	}
}

static void put_members(struct buf *out, const struct complaint *why, const char *type)
{
	BUF_ADD(out, "\"message\":");
	json_quote(out, why->text);
	buf_addf(out, ",\"type\":\"%s\",\"param\":null,\"code\":%d}", type, why->status);
}

static void vllm_error(struct buf *out, const struct complaint *why)
{
	if (why->status == 401) {
		BUF_ADD(out, "{\"error\":\"Unauthorized\"}");
		return;
	}
	BUF_ADD(out, "{\"error\":{");
	put_members(out, why, type_of(why->status));
	buf_addc(out, '}');
}

static void vllm_list(struct sim *sim, struct buf *out, const struct model *m)
{
	model_entry_put(sim, out, m);
	BUF_ADD(out, ",\"root\":");
	buf_adds(out, m->json);
	buf_addf(out, ",\"parent\":null,\"max_model_len\":%lld,\"permission\":[]}",
		 (long long)m->context);
}

static void version_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	worker_send(w, c, 200, FIELDS_JSON, STR("{\"version\":\"0.12.0\"}"));
}

static void load_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct load load = engine_load(w->sim);
	struct buf *out = worker_compose(w);
	buf_addf(out, "{\"server_load\":%u}", load.running + load.waiting);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void put_histogram(struct buf *out, const char *name, const char *labels, uint64_t count,
			  double sum)
{
	buf_addf(out,
		 "# TYPE %s histogram\n%s_bucket{%s,le=\"+Inf\"} %llu\n%s_count{%s} "
		 "%llu\n%s_sum{%s} %.6f\n",
		 name, name, labels, (unsigned long long)count, name, labels,
		 (unsigned long long)count, name, labels, sum);
}

static void put_counters(struct sim *sim, struct buf *out, const char *inner, const char *labels)
{
	static const struct {
		const char *name;
		enum counter which;
	} counters[] = {
		{"vllm:prompt_tokens_total", COUNT_PROMPT},
		{"vllm:generation_tokens_total", COUNT_GENERATED},
		{"vllm:prefix_cache_queries_total", COUNT_QUERIES},
		{"vllm:prefix_cache_hits_total", COUNT_HITS},
	};
	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		metric_put(out, counters[i].name, "counter", labels,
			   (double)stats_sum(sim, counters[i].which));
	metric_put(out, "vllm:num_preemptions_total", "counter", labels, 0);
	buf_addf(out,
		 "# TYPE vllm:request_success_total counter\n"
		 "vllm:request_success_total{%s,finished_reason=\"stop\"} %llu\n"
		 "vllm:request_success_total{%s,finished_reason=\"length\"} %llu\n"
		 "vllm:request_success_total{%s,finished_reason=\"abort\"} %llu\n",
		 inner, (unsigned long long)stats_sum(sim, COUNT_STOP), inner,
		 (unsigned long long)stats_sum(sim, COUNT_LENGTH), inner,
		 (unsigned long long)stats_sum(sim, COUNT_ABORTED));
	uint64_t finished = stats_sum(sim, COUNT_FINISHED);
	put_histogram(out, "vllm:time_to_first_token_seconds", inner, finished,
		      (double)stats_sum(sim, COUNT_TTFT_US) / 1e6);
	put_histogram(out, "vllm:e2e_request_latency_seconds", inner, finished,
		      (double)stats_sum(sim, COUNT_E2E_US) / 1e6);
}

static void metrics_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct load load = engine_load(w->sim);
	struct buf *out = worker_compose(w), *inner = &w->scratch;
	char labels[1100];
	buf_clear(inner);
	buf_addf(inner, "engine=\"0\",model_name=%.*s%c",
		 STR_ARG(str_head(w->sim->models[0].json, 1000)), 0);
	snprintf(labels, sizeof(labels), "{%s}", inner->ptr);
	metric_put(out, "vllm:num_requests_running", "gauge", labels, load.running);
	metric_put(out, "vllm:num_requests_waiting", "gauge", labels, load.waiting);
	metric_put(out, "vllm:kv_cache_usage_perc", "gauge", labels, load.kv_usage);
	put_counters(w->sim, out, inner->ptr, labels);
	worker_send(w, c, 200, FIELDS_METRICS, worker_composed(w));
}

static void sleeping_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	bool asleep = __atomic_load_n(&w->sim->asleep, __ATOMIC_RELAXED);
	worker_send(w, c, 200, FIELDS_JSON, asleep ? STR("{\"is_sleeping\":true}") : STR("{\"is_sleeping\":false}"));
}

static void sleep_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	__atomic_store_n(&w->sim->asleep, true, __ATOMIC_RELAXED);
	empty_run(w, c, line);
}

static void wake_up_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	__atomic_store_n(&w->sim->asleep, false, __ATOMIC_RELAXED);
	empty_run(w, c, line);
}

static const struct route vllm_routes[] = {
	{"GET", "/is_sleeping", .run = sleeping_run}, {"POST", "/sleep", .run = sleep_run}, {"POST", "/wake_up", .run = wake_up_run},
	{"GET", "/health", .run = empty_run},      {"GET", "/ping", .run = empty_run},
	{"GET", "/version", .run = version_run},   {"GET", "/load", .run = load_run},
	{"GET", "/metrics", .run = metrics_run},   {"POST", "/rerank", .run = rerank_run},
	{"POST", "/v2/rerank", .run = rerank_run}, {0},
};

const struct dialect dialect_vllm = {
	.name = "vllm",
	.owner = "vllm",
	.routes = vllm_routes,
	.error = vllm_error,
	.list = vllm_list,
	.choice_tail = STR_INIT(",\"stop_reason\":null"),
	.message_tail = STR_INIT(",\"refusal\":null"),
	.answer_tail = STR_INIT(",\"prompt_logprobs\":null,\"kv_transfer_params\":null"),
	.ids = ID_HEX,
	.early_head = true,
	.counts_max = true,
	.continues_if_told = true,
};

/* ---- SGLang ---- */

static void sglang_error(struct buf *out, const struct complaint *why)
{
	if (why->shape == SHAPE_NATIVE) {
		BUF_ADD(out, "{\"error\":{\"message\":");
		json_quote(out, why->text);
		BUF_ADD(out, "}}");
		return;
	}
	BUF_ADD(out, "{\"object\":\"error\",");
	put_members(out, why, type_of(why->status));
}

static void sglang_list(struct sim *sim, struct buf *out, const struct model *m)
{
	model_entry_put(sim, out, m);
	BUF_ADD(out, ",\"root\":");
	buf_adds(out, m->json);
	buf_addf(out, ",\"max_model_len\":%lld}", (long long)m->context);
}

static void model_info_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"model_path\":");
	buf_adds(out, w->sim->models[0].json);
	BUF_ADD(out, ",\"weight_version\":\"default\"}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void server_info_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	const struct model *m = &w->sim->models[0];
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"model_path\":");
	buf_adds(out, m->json);
	buf_addf(
		out,
		",\"weight_version\":\"default\",\"scheduler_info\":{\"max_total_num_tokens\":%lld,"
		"\"max_req_input_len\":%lld},\"internal_states\":[],\"version\":\"0.5.6\"}",
		(long long)m->context * 16, (long long)m->context);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void get_load_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct load load = engine_load(w->sim);
	struct buf *out = worker_compose(w);
	buf_addf(out, "[{\"num_reqs\":%u,\"num_waiting_reqs\":%u,\"num_tokens\":%lld}]",
		 load.running + load.waiting, load.waiting, (long long)load.kv_tokens);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void sglang_metrics_run(struct worker *w, struct http_conn *c,
			       const struct request_line *line)
{
	struct sim *sim = w->sim;
	struct load load = engine_load(sim);
	struct buf *out = worker_compose(w);
	uint64_t queries = stats_sum(sim, COUNT_QUERIES);
	char labels[1100];
	snprintf(labels, sizeof(labels), "{model_name=%.*s}",
		 STR_ARG(str_head(sim->models[0].json, 1000)));
	metric_put(out, "sglang:num_running_reqs", "gauge", labels, load.running);
	metric_put(out, "sglang:num_queue_reqs", "gauge", labels, load.waiting);
	metric_put(out, "sglang:token_usage", "gauge", labels, load.kv_usage);
	metric_put(out, "sglang:num_used_tokens", "gauge", labels, (double)load.kv_tokens);
	metric_put(out, "sglang:cache_hit_rate", "gauge", labels,
		   queries ? (double)stats_sum(sim, COUNT_HITS) / (double)queries : 0);
	metric_put(out, "sglang:prompt_tokens_total", "counter", labels,
		   (double)stats_sum(sim, COUNT_PROMPT));
	metric_put(out, "sglang:generation_tokens_total", "counter", labels,
		   (double)stats_sum(sim, COUNT_GENERATED));
	worker_send(w, c, 200, FIELDS_METRICS, worker_composed(w));
}

static const struct route sglang_routes[] = {
	{"GET", "/health", .run = empty_run},
	{"GET", "/health_generate", .run = empty_run},
	{"GET", "/get_model_info", .run = model_info_run},
	{"GET", "/model_info", .run = model_info_run},
	{"GET", "/get_server_info", .run = server_info_run},
	{"GET", "/server_info", .run = server_info_run},
	{"GET", "/get_load", .run = get_load_run},
	{"GET", "/metrics", .run = sglang_metrics_run},
	{0},
};

const struct dialect dialect_sglang = {
	.name = "sglang",
	.owner = "sglang",
	.routes = sglang_routes,
	.error = sglang_error,
	.list = sglang_list,
	.ids = ID_HEX,
	.early_head = true,
	.counts_max = true,
	.continues_if_told = true,
};
