/* dialect_cloud.c - clouds that speak OpenAI's dialect with quirks: what they refuse, how they say so, and what their answers have of their own.
 *
 * What is refused is a table; the order of messages, ids and schemas have a function each.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialects.h"

#define NOT_KNOWN "Extra inputs are not permitted"

/* ---- what is refused ---- */

enum bits { MISTRAL = 1, GROQ = 2, TOGETHER = 4, DEEPSEEK = 8, GEMINI = 16 };

static unsigned bit_of(const struct job *j)
{
	static const struct {
		const struct dialect *dialect;
		unsigned bit;
	} rows[] = {
		{&dialect_mistral, MISTRAL}, {&dialect_groq, GROQ}, {&dialect_together, TOGETHER}, {&dialect_deepseek, DEEPSEEK}, {&dialect_gemini, GEMINI},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].dialect == j->worker->sim->dialect)
			return rows[i].bit;
	return 0;
}

/* All that the strict ones know. */
static const struct {
	const char *member;
	unsigned clouds;
} known[] = {
	{"model", MISTRAL | GEMINI}, {"messages", MISTRAL | GEMINI}, {"temperature", MISTRAL | GEMINI}, {"top_p", MISTRAL | GEMINI},
	{"max_tokens", MISTRAL | GEMINI}, {"stream", MISTRAL | GEMINI}, {"stop", MISTRAL | GEMINI}, {"tools", MISTRAL | GEMINI},
	{"tool_choice", MISTRAL | GEMINI}, {"response_format", MISTRAL | GEMINI}, {"parallel_tool_calls", MISTRAL | GEMINI},
	{"reasoning_effort", MISTRAL | GEMINI}, {"n", MISTRAL | GEMINI}, {"random_seed", MISTRAL}, {"metadata", MISTRAL}, {"presence_penalty", MISTRAL},
	{"frequency_penalty", MISTRAL}, {"prediction", MISTRAL}, {"prompt_mode", MISTRAL}, {"guardrails", MISTRAL}, {"prompt_cache_key", MISTRAL},
	{"service_tier", MISTRAL}, {"safe_prompt", MISTRAL}, {"max_completion_tokens", GEMINI}, {"stream_options", GEMINI}, {"seed", GEMINI},
	{"logprobs", GEMINI}, {"top_logprobs", GEMINI}, {"extra_body", GEMINI},
};

/* What the others refuse. */
static const struct {
	const char *member;
	unsigned clouds;
} refused[] = {
	{"logprobs", GROQ}, {"top_logprobs", GROQ}, {"logit_bias", GROQ},
};

static const char *const message_members[] = {"role", "content", "name", "tool_calls", "tool_call_id", "prefix"};

static bool complain(struct job *j, int status, const char *code, struct str param, const char *text)
{
	worker_complain(j->worker, j->conn,
			&(struct complaint){.status = status, .type = "invalid_request_error", .code = code, .param = arena_dup(&j->arena, param).ptr,
					    .text = str_from(text)});
	return false;
}

static bool not_known(struct job *j, struct str member)
{
	if (bit_of(j) == MISTRAL)
		return complain(j, 422, "extra_forbidden", member, NOT_KNOWN);
	struct str text = arena_printf(&j->arena, "Invalid JSON payload received. Unknown name \"%.*s\": Cannot find field.", STR_ARG(member));
	return complain(j, 400, NULL, member, text.ptr);
}

static bool check_members(struct job *j, const struct json *body, unsigned bit)
{
	for (const struct json *m = body->first; m; m = m->next) {
		bool found = !(bit & (MISTRAL | GEMINI));
		struct str name = json_key(&j->arena, m);
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			found |= known[i].clouds & bit && str_eq(name, str_from(known[i].member));
		if (!found)
			return not_known(j, name);
		for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
			if (refused[i].clouds & bit && str_eq(name, str_from(refused[i].member)))
				return complain(j, 400, "unsupported_parameter", name, "property is not supported");
	}
	return true;
}

/* ---- messages ---- */

static bool is_role(struct job *j, const struct json *message, const char *role)
{
	return str_eq(json_text(&j->arena, json_get(message, STR("role"))), str_from(role));
}

static bool has_calls(const struct json *message)
{
	const struct json *calls = json_get(message, STR("tool_calls"));
	return calls && calls->type == JSON_ARRAY && calls->first;
}

static bool check_message_members(struct job *j, const struct json *message, unsigned bit)
{
	for (const struct json *m = message->first; m; m = m->next) {
		struct str name = json_key(&j->arena, m);
		bool found = false;
		for (size_t i = 0; i < sizeof(message_members) / sizeof(*message_members); i++)
			found |= str_eq(name, str_from(message_members[i]));
		if (!found && bit & (MISTRAL | GROQ | GEMINI))
			return not_known(j, name);
		if (m->type == JSON_NULL && bit == MISTRAL && !str_eq(name, STR("content")))
			return complain(j, 422, "string_type", name, "Input should be a valid string");
		if (bit == DEEPSEEK && str_eq(name, STR("reasoning_content")) && !has_calls(message))
			return complain(j, 400, NULL, name, "reasoning_content must not be sent back");
	}
	return true;
}

static bool is_short_id(struct str id)
{
	for (size_t i = 0; i < id.len; i++)
		if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') || ((id.ptr[i] | 32) >= 'a' && (id.ptr[i] | 32) <= 'z')))
			return false;
	return id.len == 9;
}

static bool check_ids(struct job *j, const struct json *message)
{
	const struct json *calls = json_get(message, STR("tool_calls")), *answers = json_get(message, STR("tool_call_id"));
	bool good = !answers || is_short_id(json_text(&j->arena, answers));
	for (const struct json *c = has_calls(message) ? calls->first : NULL; c; c = c->next)
		good = good && is_short_id(json_text(&j->arena, json_get(c, STR("id"))));
	return good || complain(j, 400, NULL, STR("tool_call_id"), "Tool call id was not a-z, A-Z, 0-9, with a length of 9.");
}

static bool check_message(struct job *j, const struct json *message, unsigned bit)
{
	const struct json *content = json_get(message, STR("content"));
	if (!check_message_members(j, message, bit))
		return false;
	if (bit & (MISTRAL | TOGETHER | DEEPSEEK) && is_role(j, message, "developer"))
		return complain(j, bit == MISTRAL ? 422 : 400, "invalid_value", STR("role"), "the role developer is not known");
	if (content && content->type == JSON_NULL && !has_calls(message) && bit & (MISTRAL | GROQ))
		return complain(j, bit == MISTRAL ? 422 : 400, "string_type", STR("content"), "Input should be a valid string");
	return bit != MISTRAL || check_ids(j, message);
}

/* Who may speak after whom, at Mistral. */
static bool check_order(struct job *j, const struct json *messages)
{
	for (const struct json *m = messages->first; m; m = m->next) {
		if (is_role(j, m, "tool") && m->next && !is_role(j, m->next, "assistant") && !is_role(j, m->next, "tool"))
			return complain(j, 400, NULL, STR("messages"), "Unexpected role after role 'tool'");
		const struct json *prefix = json_get(m, STR("prefix"));
		if (!m->next && is_role(j, m, "assistant") && !(prefix && prefix->boolean))
			return complain(j, 400, NULL, STR("messages"), "Expected last role User or Tool (or Assistant with prefix True)");
	}
	return true;
}

/* ---- tools ---- */

/* The first keyword of a schema that Gemini does not take; names of parameters are none. */
static struct str bad_keyword(struct job *j, const struct json *schema, bool names)
{
	static const char *const bad[] = {"$schema", "additionalProperties", "const"};
	for (const struct json *m = schema->first; m; m = m->next) {
		struct str key = m->key.ptr ? json_key(&j->arena, m) : STR_NONE;
		for (size_t i = 0; !names && i < sizeof(bad) / sizeof(*bad); i++)
			if (str_eq(key, str_from(bad[i])))
				return key;
		bool inner = m->type == JSON_OBJECT || m->type == JSON_ARRAY;
		struct str found = inner ? bad_keyword(j, m, !names && str_eq(key, STR("properties"))) : STR_NONE;
		if (found.len)
			return found;
	}
	return STR_NONE;
}

static bool check_tools(struct job *j, const struct json *tools, unsigned bit)
{
	if (!tools || tools->type != JSON_ARRAY)
		return true;
	if (!tools->first && bit != TOGETHER)
		return complain(j, bit == MISTRAL ? 422 : 400, "too_short", STR("tools"), "the list of tools must not be empty");
	for (const struct json *t = tools->first; t && bit == GEMINI; t = t->next) {
		const struct json *schema = json_get(json_get(t, STR("function")), STR("parameters"));
		struct str keyword = schema ? bad_keyword(j, schema, false) : STR_NONE;
		if (keyword.len)
			return not_known(j, keyword);
	}
	return true;
}

/* ---- a whole body ---- */

static bool cloud_check(struct job *j)
{
	unsigned bit = bit_of(j);
	const struct json *body = json_parse(&j->arena, j->conn->body, NULL), *messages = json_get(body, STR("messages"));
	int64_t n;
	if (!body || !check_members(j, body, bit) || !check_tools(j, json_get(body, STR("tools")), bit))
		return false;
	if (bit & (GROQ | DEEPSEEK) && json_i64(json_get(body, STR("n")), &n) && n > 1)
		return complain(j, 400, "invalid_value", STR("n"), "'n' : number must be at most 1");
	for (const struct json *m = messages && messages->type == JSON_ARRAY ? messages->first : NULL; m; m = m->next)
		if (m->type == JSON_OBJECT && !check_message(j, m, bit))
			return false;
	return bit != MISTRAL || !messages || messages->type != JSON_ARRAY || check_order(j, messages);
}

/* ---- errors ---- */

static void mistral_error(struct buf *out, const struct complaint *why)
{
	if (why->status == 401) {
		BUF_ADD(out, "{\"detail\":\"Unauthorized\"}");
		return;
	}
	BUF_ADD(out, "{\"object\":\"error\",\"message\":");
	if (why->status == 422) {
		buf_addf(out, "{\"detail\":[{\"type\":\"%s\",\"loc\":[\"body\",", why->code ? why->code : "value_error");
		json_quote(out, str_from(why->param));
		BUF_ADD(out, "],\"msg\":");
		json_quote(out, why->text);
		BUF_ADD(out, ",\"input\":null}]}");
	} else {
		json_quote(out, why->text);
	}
	if (why->status == 429)
		BUF_ADD(out, ",\"type\":\"rate_limited\",\"param\":null,\"code\":\"1300\"}");
	else
		BUF_ADD(out, ",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}");
}

static void openrouter_error(struct buf *out, const struct complaint *why)
{
	buf_addf(out, "{\"error\":{\"code\":%d,\"message\":", why->status);
	json_quote(out, why->text);
	if (why->status == 403)
		BUF_ADD(out, ",\"metadata\":{\"reasons\":[\"violence\"],\"flagged_input\":\"...\",\"provider_name\":\"sim\"}");
	BUF_ADD(out, "},\"user_id\":\"user_sim\"}");
}

static const char *gemini_status(int status)
{
	static const struct {
		int status;
		const char *word;
	} words[] = {
		{400, "INVALID_ARGUMENT"}, {403, "PERMISSION_DENIED"}, {404, "NOT_FOUND"}, {429, "RESOURCE_EXHAUSTED"}, {500, "INTERNAL"},
		{503, "UNAVAILABLE"},      {504, "DEADLINE_EXCEEDED"},
	};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (words[i].status == status)
			return words[i].word;
	return "UNKNOWN";
}

static void gemini_error(struct buf *out, const struct complaint *why)
{
	buf_addf(out, "[{\"error\":{\"code\":%d,\"message\":", why->status);
	json_quote(out, why->text);
	buf_addf(out, ",\"status\":\"%s\"", gemini_status(why->status));
	if (why->status == 429)
		BUF_ADD(out, ",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"37s\"}]");
	BUF_ADD(out, "}}]");
}

static void put_text(struct buf *out, const char *text)
{
	if (text)
		json_quote(out, str_from(text));
	else
		BUF_ADD(out, "null");
}

/* OpenAI's shape. */
static void plain_error(struct buf *out, const struct complaint *why)
{
	BUF_ADD(out, "{\"error\":{\"message\":");
	json_quote(out, why->status == 402 ? STR("Insufficient Balance") : why->text);
	BUF_ADD(out, ",\"type\":");
	put_text(out, why->type);
	BUF_ADD(out, ",\"param\":");
	put_text(out, why->param);
	BUF_ADD(out, ",\"code\":");
	put_text(out, why->code);
	BUF_ADD(out, "}}");
}

/* ---- answers ---- */

static void openrouter_usage(struct job *j, struct buf *out)
{
	buf_addf(out, ",\"cost\":%u.%06u,\"is_byok\":false,\"cost_details\":{\"upstream_inference_cost\":null}", j->made / 1000000, j->made % 1000000);
}

static void groq_usage(struct job *j, struct buf *out)
{
	BUF_ADD(out, ",\"queue_time\":0.01,\"prompt_time\":0.002,\"completion_time\":0.03,\"total_time\":0.032");
}

static void deepseek_usage(struct job *j, struct buf *out)
{
	buf_addf(out, ",\"prompt_cache_hit_tokens\":%u,\"prompt_cache_miss_tokens\":%u", j->cached_tokens, j->prompt_tokens - j->cached_tokens);
}

#define FAILED "\"error\":{\"code\":502,\"message\":\"The simulated provider has failed.\",\"metadata\":{\"provider_name\":\"sim\"}}"

void cloud_broken_whole(struct buf *out)
{
	BUF_ADD(out, "{" FAILED "}");
}

void cloud_broken_chunk(const struct job *j, struct buf *out)
{
	const struct dialect *d = j->worker->sim->dialect;
	BUF_ADD(out, "data: {\"id\":\"sim\",\"object\":\"chat.completion.chunk\",");
	if (d->error_chunk)
		BUF_ADD(out, FAILED ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n");
	else
		buf_addf(out, "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"%s\"}]}\n\n", d->broken_word);
}

/* ---- lists of models ---- */

static void openrouter_list(struct sim *sim, struct buf *out, const struct model *m)
{
	BUF_ADD(out, "{\"id\":");
	buf_adds(out, m->json);
	buf_addf(out, ",\"created\":%d,\"context_length\":%lld,\"pricing\":{\"prompt\":\"0.0000025\",\"completion\":\"0.00001\"}}", MODEL_CREATED,
		 (long long)m->context);
}

static void together_models(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct buf *out = worker_compose(w);
	buf_addc(out, '[');
	for (size_t i = 0; i < w->sim->model_count; i++) {
		const struct model *m = &w->sim->models[i];
		buf_adds(out, i ? STR(",{\"id\":") : STR("{\"id\":"));
		buf_adds(out, m->json);
		buf_addf(out, ",\"type\":\"chat\",\"context_length\":%lld,\"pricing\":{\"input\":0.5,\"output\":1}}", (long long)m->context);
	}
	buf_addc(out, ']');
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void gemini_list(struct sim *sim, struct buf *out, const struct model *m)
{
	BUF_ADD(out, "{\"id\":\"models/");
	buf_adds(out, str_skip(m->json, 1));
	BUF_ADD(out, ",\"object\":\"model\",\"owned_by\":\"google\"}");
}

/* ---- the dialects ---- */

#define ROUTES(base) {"POST", base "/chat/completions", .surface = &surface_chat}, {"GET", base "/models", .run = models_run}

static const struct route mistral_routes[] = {{0}};
static const struct route openrouter_routes[] = {ROUTES("/api/v1"), {0}};
static const struct route together_routes[] = {{"GET", "/v1/models", .run = together_models}, {0}};
static const struct route groq_routes[] = {ROUTES("/openai/v1"), {0}};
static const struct route deepseek_routes[] = {ROUTES(""), {0}};
static const struct route gemini_routes[] = {ROUTES("/v1beta/openai"), {"POST", "/v1beta/openai/embeddings", .run = embeddings_run}, {0}};

const struct dialect dialect_mistral = {
	.name = "mistral", .owner = "mistralai", .routes = mistral_routes, .error = mistral_error, .list = model_entry_plain, .ids = ID_HEX,
	.check = cloud_check, .window_word = "model_length", .broken_word = "error", .usage_place = USAGE_AT_FINISH, .short_ids = true, .no_details = true,
};

const struct dialect dialect_openrouter = {
	.name = "openrouter", .owner = "openrouter", .routes = openrouter_routes, .base = "/api/v1", .error = openrouter_error, .list = openrouter_list,
	.choice_tail = STR_INIT(",\"native_finish_reason\":\"stop\""), .ids = ID_LETTERS, .early_head = true, .usage_details = true,
	.usage_tail = openrouter_usage, .error_chunk = true, .comment = STR_INIT(": OPENROUTER PROCESSING\n\n"), .usage_place = USAGE_ALWAYS,
};

const struct dialect dialect_together = {
	.name = "together", .owner = "together", .routes = together_routes, .error = plain_error, .list = model_entry_plain, .ids = ID_HEX,
	.choice_tail = STR_INIT(",\"seed\":5"), .answer_tail = STR_INIT(",\"warnings\":[]"), .no_details = true, .check = cloud_check, .stop_word = "eos",
};

const struct dialect dialect_groq = {
	.name = "groq", .owner = "groq", .routes = groq_routes, .base = "/openai/v1", .error = plain_error, .list = model_entry_plain, .ids = ID_HEX,
	.usage_details = true, .check = cloud_check, .usage_tail = groq_usage, .usage_place = USAGE_IN_X_GROQ,
};

const struct dialect dialect_deepseek = {
	.name = "deepseek", .owner = "deepseek", .routes = deepseek_routes, .base = "/chat", .error = plain_error, .list = model_entry_plain,
	.ids = ID_HEX, .no_details = true, .early_head = true, .check = cloud_check, .usage_tail = deepseek_usage,
	.broken_word = "insufficient_system_resource", .before_whole = STR_INIT("\n\n"), .comment = STR_INIT(": keep-alive\n\n"),
};

const struct dialect dialect_gemini = {
	.name = "gemini", .owner = "google", .name_prefix = STR_INIT("models/"), .routes = gemini_routes, .base = "/v1beta", .error = gemini_error, .list = gemini_list, .ids = ID_LETTERS,
	.no_details = true, .check = cloud_check, .usage_place = USAGE_IN_EACH, .whole_tools = true, .bare_tools = true,
};
