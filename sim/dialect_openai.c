/* dialect_openai.c - OpenAI itself, and LM Studio as far as a prober looks at it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialects.h"

static void put_text(struct buf *out, const char *text)
{
	if (text)
		json_quote(out, str_from(text));
	else
		BUF_ADD(out, "null");
}

static void openai_error(struct buf *out, const struct complaint *why)
{
	BUF_ADD(out, "{\"error\":{\"message\":");
	json_quote(out, why->text);
	BUF_ADD(out, ",\"type\":");
	put_text(out, why->type           ? why->type
		      : why->status < 500 ? "invalid_request_error"
					  : "server_error");
	BUF_ADD(out, ",\"param\":");
	put_text(out, why->param);
	BUF_ADD(out, ",\"code\":");
	put_text(out, why->code);
	BUF_ADD(out, "}}");
}

static const struct route no_routes[] = {{0}};

const struct dialect dialect_openai = {
	.name = "openai",
	.fingerprint = "fp_sim",
	.owner = "system",
	.routes = no_routes,
	.error = openai_error,
	.list = model_entry_plain,
	.message_tail = STR_INIT(",\"refusal\":null,\"annotations\":[]"),
	.answer_tail = STR_INIT(",\"service_tier\":\"default\""),
	.ids = ID_LETTERS,
	.early_head = true,
	.usage_null = true,
	.usage_details = true,
	.counts_max = true,
};

/* ---- LM Studio ---- */

static void put_native(struct buf *out, const struct model *m, const struct options *o)
{
	BUF_ADD(out, "{\"type\":\"llm\",\"publisher\":\"sim\",\"key\":");
	buf_adds(out, m->json);
	BUF_ADD(out, ",\"display_name\":");
	buf_adds(out, m->json);
	BUF_ADD(out, ",\"architecture\":\"llama\",\"quantization\":{\"name\":\"Q4_K_M\",\"bits_per_"
		     "weight\":4},"
		     "\"size_bytes\":4912898304,\"params_string\":\"8B\",\"loaded_instances\":[{"
		     "\"id\":");
	buf_adds(out, m->json);
	buf_addf(out,
		 ",\"config\":{\"context_length\":%lld,\"parallel\":%lld}}],\"max_context_length\":"
		 "%lld,"
		 "\"format\":\"gguf\",\"capabilities\":{\"vision\":false,\"trained_for_tool_use\":"
		 "true}}",
		 (long long)m->context, (long long)(o->slots > 0 ? o->slots : 4),
		 (long long)m->context);
}

static void native_models_run(struct worker *w, struct http_conn *c,
			      const struct request_line *line)
{
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"models\":[");
	for (size_t i = 0; i < w->sim->model_count; i++) {
		if (i)
			buf_addc(out, ',');
		put_native(out, &w->sim->models[i], &w->sim->options);
	}
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void old_models_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < w->sim->model_count; i++) {
		const struct model *m = &w->sim->models[i];
		buf_adds(out, i ? STR(",{\"id\":") : STR("{\"id\":"));
		buf_adds(out, m->json);
		buf_addf(out,
			 ",\"object\":\"model\",\"type\":\"llm\",\"publisher\":\"sim\",\"arch\":"
			 "\"llama\","
			 "\"compatibility_type\":\"gguf\",\"quantization\":\"Q4_K_M\",\"state\":"
			 "\"loaded\","
			 "\"max_context_length\":%lld,\"loaded_context_length\":%lld}",
			 (long long)m->context, (long long)m->context);
	}
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static const struct route lmstudio_routes[] = {
	{"GET", "/api/v1/models", .run = native_models_run},
	{"GET", "/api/v0/models", .run = old_models_run},
	{0},
};

const struct dialect dialect_lmstudio = {
	.name = "lmstudio",
	.owner = "organization_owner",
	.routes = lmstudio_routes,
	.error = openai_error,
	.list = model_entry_plain,
	.ids = ID_LETTERS,
};
