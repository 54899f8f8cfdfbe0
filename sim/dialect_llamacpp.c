/* dialect_llamacpp.c - llama.cpp's llama-server.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialects.h"

#define SLOTS_SHOWN 4 /* where --slots sets no limit */

static int64_t slot_count(const struct sim *sim)
{
	return sim->options.slots > 0 ? sim->options.slots : SLOTS_SHOWN;
}

static const char *type_of(const struct complaint *why)
{
	switch (why->status) {
	case 400:
		return why->context ? "exceed_context_size_error" : "invalid_request_error";
	case 401:
		return "authentication_error";
	case 404:
		return "not_found_error";
	case 501:
		return "not_supported_error";
	case 503:
		return "unavailable_error";
	default:
		return why->status < 500 ? "invalid_request_error" : "server_error";
	}
}

static void llamacpp_error(struct buf *out, const struct complaint *why)
{
	buf_addf(out, "{\"error\":{\"code\":%d,\"message\":", why->status);
	json_quote(out, why->text);
	buf_addf(out, ",\"type\":\"%s\"", type_of(why));
	if (why->context)
		buf_addf(out, ",\"n_prompt_tokens\":%lld,\"n_ctx\":%lld",
			 (long long)why->prompt_tokens, (long long)why->context);
	BUF_ADD(out, "}}");
}

static void llamacpp_list(struct sim *sim, struct buf *out, const struct model *m)
{
	model_entry_put(sim, out, m);
	buf_addf(out,
		 ",\"meta\":{\"n_vocab\":32000,\"n_ctx_train\":%lld,\"n_embd\":4096,\"n_params\":"
		 "8030261312,"
		 "\"size\":4912898304}}",
		 (long long)m->context);
}

static void health_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	worker_send(w, c, 200, FIELDS_JSON, STR("{\"status\":\"ok\"}"));
}

static void props_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	const struct model *m = &w->sim->models[0];
	struct buf *out = worker_compose(w);
	buf_addf(out,
		 "{\"default_generation_settings\":{\"n_ctx\":%lld},\"total_slots\":%lld,\"model_"
		 "path\":",
		 (long long)m->context, (long long)slot_count(w->sim));
	buf_adds(out, m->json);
	BUF_ADD(out, ",\"chat_template\":\"{{ messages "
		     "}}\",\"modalities\":{\"vision\":false,\"audio\":false},"
		     "\"build_info\":\"b7000-sim\",\"is_sleeping\":false}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void slots_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	int64_t count = slot_count(w->sim), busy = engine_load(w->sim).running;
	if (busy >= count && str_search(line->query, STR("fail_on_no_slot=1")) < line->query.len) {
		worker_complain(
			w, c, &(struct complaint){.status = 503, .text = STR("no slot available")});
		return;
	}
	struct buf *out = worker_compose(w);
	buf_addc(out, '[');
	for (int64_t i = 0; i < count; i++)
		buf_addf(out,
			 "%s{\"id\":%lld,\"id_task\":%d,\"n_ctx\":%lld,\"is_processing\":%s,"
			 "\"params\":{},"
			 "\"next_token\":{\"n_decoded\":0}}",
			 i ? "," : "", (long long)i, i < busy ? 1 : -1,
			 (long long)w->sim->models[0].context, i < busy ? "true" : "false");
	buf_addc(out, ']');
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void metrics_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct sim *sim = w->sim;
	struct load load = engine_load(sim);
	struct buf *out = worker_compose(w);
	double prompt = (double)stats_sum(sim, COUNT_PROMPT),
	       made = (double)stats_sum(sim, COUNT_GENERATED);
	double prompt_s = (double)stats_sum(sim, COUNT_TTFT_US) / 1e6;
	double made_s = (double)stats_sum(sim, COUNT_E2E_US) / 1e6 - prompt_s;
	metric_put(out, "llamacpp:prompt_tokens_total", "counter", "", prompt);
	metric_put(out, "llamacpp:prompt_seconds_total", "counter", "", prompt_s);
	metric_put(out, "llamacpp:tokens_predicted_total", "counter", "", made);
	metric_put(out, "llamacpp:tokens_predicted_seconds_total", "counter", "",
		   made_s > 0 ? made_s : 0);
	metric_put(out, "llamacpp:prompt_tokens_seconds", "gauge", "",
		   prompt_s > 0 ? prompt / prompt_s : 0);
	metric_put(out, "llamacpp:predicted_tokens_seconds", "gauge", "",
		   made_s > 0 ? made / made_s : 0);
	metric_put(out, "llamacpp:requests_processing", "gauge", "", load.running);
	metric_put(out, "llamacpp:requests_deferred", "gauge", "", load.waiting);
	worker_send(w, c, 200, FIELDS_METRICS, worker_composed(w));
}

static const struct route llamacpp_routes[] = {
	{"GET", "/health", .run = health_run},
	{"GET", "/v1/health", .run = health_run},
	{"GET", "/props", .run = props_run},
	{"GET", "/slots", .run = slots_run},
	{"GET", "/metrics", .run = metrics_run},
	{"GET", "/models", .run = models_run},
	{"POST", "/chat/completions", .surface = &surface_chat},
	{"POST", "/rerank", .run = rerank_run},
	{"POST", "/reranking", .run = rerank_run},
	{"POST", "/v1/reranking", .run = rerank_run},
	{0},
};

const struct dialect dialect_llamacpp = {
	.name = "llamacpp",
	.server = "llama.cpp",
	.fingerprint = "b7000-sim",
	.owner = "llamacpp",
	.routes = llamacpp_routes,
	.error = llamacpp_error,
	.list = llamacpp_list,
	.ids = ID_LETTERS,
	.usage_details = true,
	.timings = true,
	.any_model = true,
	.echoes_name = true,
	.continues = true,
};
