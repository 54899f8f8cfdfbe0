/* failure.c - reads the error bodies of engines: {"error":{…}}, {"error":"text"}, {"object":"error","message":…}, {"detail":…}, or text.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/failure.h"

#include "base/json.h"
#include "base/log.h"

/* What was found, whatever the shape. */
struct words {
	struct str message, type, code, param;
	int64_t number; /* an integer code; 0: none */
};

static struct str text_of(struct arena *a, const struct json *object, struct str name)
{
	const struct json *member = json_get(object, name);
	return member && member->type == JSON_STRING ? json_text(a, member) : STR_NONE;
}

/* FastAPI's list of problems: the first one's text. */
static struct str detail_of(struct arena *a, const struct json *detail)
{
	if (detail && detail->type == JSON_STRING)
		return json_text(a, detail);
	if (detail && detail->type == JSON_OBJECT && json_get(detail, STR("detail")))
		detail = json_get(detail, STR("detail"));
	if (detail && detail->type == JSON_ARRAY && detail->first)
		return text_of(a, detail->first, STR("msg"));
	return STR_NONE;
}

static void read_object(struct arena *a, const struct json *o, struct words *w)
{
	const struct json *code = json_get(o, STR("code"));
	w->message = text_of(a, o, STR("message"));
	if (w->message.len == 0)
		w->message = detail_of(a, json_get(o, STR("message")));
	w->type = text_of(a, o, STR("type"));
	w->code = text_of(a, o, STR("code"));
	w->param = text_of(a, o, STR("param"));
	if (code && code->type == JSON_NUMBER && !json_i64(code, &w->number))
		w->number = 0;
}

static void read_words(struct arena *a, struct str body, struct words *w)
{
	struct json_fail fail;
	const struct json *root = json_parse(a, body, &fail);
	if (root && root->type == JSON_ARRAY) /* Gemini: [{"error":{…}}] */
		root = root->first;
	if (!root || root->type != JSON_OBJECT)
		return;
	const struct json *error = json_get(root, STR("error"));
	if (error && error->type == JSON_STRING)
		w->message = json_text(a, error);
	else if (error && error->type == JSON_OBJECT)
		read_object(a, error, w);
	else if (json_get(root, STR("message")))
		read_object(a, root, w);
	else
		w->message = detail_of(a, json_get(root, STR("detail")));
}

/* That the prompt is too long, in the words of vLLM, llama.cpp, Ollama, SGLang, LM Studio, TGI, Anthropic and Gemini. */
static bool says_context(const struct words *w)
{
	static const struct str phrases[] = {
		STR_INIT("maximum context length"), STR_INIT("longer than the maximum model length"),
		STR_INIT("exceeds the available context size"), STR_INIT("exceeds the context length"),
		STR_INIT("longer than the model's context length"), STR_INIT("is loaded with context length of only"),
		STR_INIT("`inputs` must have less than"), STR_INIT("`inputs` tokens + `max_new_tokens` must be"),
		STR_INIT("prompt is too long"), STR_INIT("exceeds the maximum number of tokens allowed"),
	};
	if (str_eq(w->code, STR("context_length_exceeded")) || str_eq(w->type, STR("exceed_context_size_error")))
		return true;
	for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++)
		if (str_search(w->message, phrases[i]) < w->message.len)
			return true;
	return false;
}

/* A word such as "model_not_found": letters, digits, underscores. */
static bool is_word(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!(s.ptr[i] == '_' || (s.ptr[i] >= 'a' && s.ptr[i] <= 'z') || (s.ptr[i] >= '0' && s.ptr[i] <= '9')))
			return false;
	return s.len > 0 && s.len <= 64;
}

static void refused(const struct words *w, int status, struct failure *out)
{
	out->error = ERROR_UPSTREAM_REFUSED_REQUEST;
	out->status = status;
	out->code = is_word(w->code) ? w->code : STR_NONE;
	out->param = w->param;
	if (says_context(w)) {
		out->error = ERROR_CONTEXT_LENGTH_EXCEEDED;
		out->status = 400;
		out->code = STR_NONE;
		out->param = w->param.len ? w->param : STR("messages");
	} else if (status == 404) {
		out->error = ERROR_MODEL_NOT_FOUND;
	}
}

static void classify(const struct words *w, int status, struct failure *out)
{
	switch (status) {
	case 401:
	case 403:
	case 407:
		out->error = ERROR_UPSTREAM_AUTH;
		out->message = STR_NONE; /* it may repeat the secret */
		return;
	case 402: /* no credit */
	case 409:
	case 424: /* TGI: the generation failed */
	case 425:
		out->error = ERROR_UPSTREAM_ERROR;
		return;
	case 408:
	case 504:
		out->error = ERROR_UPSTREAM_TIMEOUT;
		return;
	case 429:
	case 498: /* Groq: no capacity left of that tier */
		out->error = ERROR_RATE_LIMIT_EXCEEDED;
		return;
	case 503:
	case 529:
		out->error = ERROR_OVERLOADED;
		return;
	default:
		break;
	}
	if (status < 500) {
		refused(w, status, out);
		return;
	}
	out->error = ERROR_UPSTREAM_ERROR;
	out->status = status <= 599 ? status : 502;
}

static struct str cleaned(struct arena *a, struct str s)
{
	char text[FAILURE_TEXT_MAX + 1];
	log_clean(text, FAILURE_TEXT_MAX, s);
	return arena_dup(a, str_from(text));
}

void failure_read(int status, struct str body, struct arena *a, struct failure *out)
{
	struct words w = {0};
	*out = (struct failure){0};
	read_words(a, body, &w);
	if (status < 400)
		status = w.number >= 400 && w.number <= 599 ? (int)w.number : 502;
	out->message = cleaned(a, w.message);
	classify(&w, status, out);
	out->param = cleaned(a, out->param);
}
