/* failure.c - reads the error bodies of engines and clouds: {"error":{…}}, the same in a list, {"error":"text"}, {"object":"error","message":…},
 * {"detail":…}, or text.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/failure.h"

#include "base/json.h"
#include "base/log.h"

#define RETRY_MOST_S 86400

/* What was found, whatever the shape. */
struct words {
	struct str message, type, code, param;
	struct str raw;   /* OpenRouter: what the provider behind it said */
	int64_t number;   /* an integer code; 0: none */
	int64_t retry_ms; /* Gemini: retryDelay; 0: none */
	bool moderated;   /* OpenRouter: a moderation refused it */
};

static struct str text_of(struct arena *a, const struct json *object, struct str name)
{
	const struct json *member = json_get(object, name);
	return member && member->type == JSON_STRING ? json_text(a, member) : STR_NONE;
}

/* ["body","messages",1,"role"] → "messages.1.role" */
static struct str place_of(struct arena *a, const struct json *loc)
{
	struct buf path;
	if (!loc || loc->type != JSON_ARRAY)
		return STR_NONE;
	buf_init(&path, FAILURE_TEXT_MAX);
	for (const struct json *part = loc->first; part && !path.over; part = part->next) {
		struct str name = part->type == JSON_STRING ? json_text(a, part) : part->type == JSON_NUMBER ? part->raw : STR_NONE;
		if (part == loc->first && str_eq(name, STR("body")))
			continue;
		if (path.len > 0)
			buf_addc(&path, '.');
		buf_adds(&path, name);
	}
	struct str place = path.over ? STR_NONE : arena_dup(a, buf_str(&path));
	buf_release(&path);
	return place;
}

/* FastAPI's list of problems: the first one's text and place. */
static void read_detail(struct arena *a, const struct json *detail, struct words *w)
{
	if (detail && detail->type == JSON_OBJECT && json_get(detail, STR("detail")))
		detail = json_get(detail, STR("detail"));
	if (detail && detail->type == JSON_STRING)
		w->message = json_text(a, detail);
	if (!detail || detail->type != JSON_ARRAY || !detail->first)
		return;
	w->message = text_of(a, detail->first, STR("msg"));
	if (w->param.len == 0)
		w->param = place_of(a, json_get(detail->first, STR("loc")));
}

/* "37s", "1.5s": a length of time, in milliseconds; 0: it is none. */
static int64_t delay_of(struct str text)
{
	int64_t seconds, part = 0;
	if (!str_ends(text, STR("s")))
		return 0;
	text.len--;
	size_t dot = str_find(text, '.');
	struct str decimals = str_head(str_skip(text, dot + 1), 3);
	if (!str_to_i64(str_head(text, dot), &seconds) || seconds < 0 || seconds > RETRY_MOST_S || (decimals.len && !str_to_i64(decimals, &part)) || part < 0)
		return 0;
	for (size_t i = decimals.len; i < 3; i++)
		part *= 10;
	return seconds * 1000 + part;
}

/* Gemini: [{"@type":"…RetryInfo","retryDelay":"37s"}] among other things. */
static int64_t retry_of(struct arena *a, const struct json *details)
{
	if (!details || details->type != JSON_ARRAY)
		return 0;
	for (const struct json *d = details->first; d; d = d->next)
		if (json_get(d, STR("retryDelay")))
			return delay_of(text_of(a, d, STR("retryDelay")));
	return 0;
}

static void read_object(struct arena *a, const struct json *o, struct words *w)
{
	const struct json *code = json_get(o, STR("code")), *metadata = json_get(o, STR("metadata")), *message = json_get(o, STR("message"));
	w->type = text_of(a, o, STR("type"));
	w->code = text_of(a, o, STR("code"));
	w->param = text_of(a, o, STR("param"));
	w->raw = text_of(a, metadata, STR("raw"));
	w->moderated = json_get(metadata, STR("reasons")) != NULL;
	w->retry_ms = retry_of(a, json_get(o, STR("details")));
	read_detail(a, message, w); /* text, or Mistral's list */
	if (code && code->type == JSON_NUMBER && !json_i64(code, &w->number))
		w->number = 0;
}

static void read_words(struct arena *a, struct str body, struct words *w, bool inner)
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
		read_detail(a, json_get(root, STR("detail")), w);
	if (!inner && str_starts(w->message, STR("{\"error\":"))) /* Ollama: what llama.cpp in it says, as text */
		read_words(a, w->message, w, true);
}

static bool holds(struct str text, struct str phrase)
{
	return str_search(text, phrase) < text.len;
}

/* That the prompt is too long, in the words of vLLM, llama.cpp, Ollama, SGLang, LM Studio, TGI, Anthropic, Gemini and others. */
static bool context_words(struct str text)
{
	static const struct str phrases[] = {
		STR_INIT("maximum context length"), STR_INIT("longer than the maximum model length"),
		STR_INIT("exceeds the available context size"), STR_INIT("exceeds the context length"),
		STR_INIT("longer than the model's context length"), STR_INIT("is loaded with context length of only"),
		STR_INIT("`inputs` must have less than"), STR_INIT("`inputs` tokens + `max_new_tokens` must be"),
		STR_INIT("prompt is too long"), STR_INIT("exceeds the maximum number of tokens allowed"), STR_INIT("too many tokens"),
	};
	for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++)
		if (holds(text, phrases[i]))
			return true;
	return holds(text, STR("input token count")) && holds(text, STR("exceeds the maximum"));
}

static bool says_context(const struct words *w)
{
	return str_eq(w->code, STR("context_length_exceeded")) || str_eq(w->type, STR("exceed_context_size_error")) || context_words(w->message) ||
	       context_words(w->raw);
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

/* It is our own account or secret that is not good enough: nothing that the client could change, and its words may repeat the secret. */
static void not_ours(struct failure *out, bool billing)
{
	*out = (struct failure){.error = ERROR_UPSTREAM_AUTH, .billing = billing};
}

static void filtered(const struct words *w, struct failure *out)
{
	out->error = ERROR_UPSTREAM_REFUSED_REQUEST;
	out->status = 400;
	out->code = STR("content_filter");
	out->param = w->param;
}

/* What is told otherwise than by the status. */
static bool classify_words(const struct words *w, int status, struct failure *out)
{
	if (status == 403 && w->moderated)
		filtered(w, out);
	else if (status == 429 && (str_eq(w->code, STR("insufficient_quota")) || str_eq(w->type, STR("insufficient_quota"))))
		not_ours(out, true);
	else if (status == 400 && holds(w->message, STR("API key not valid"))) /* Gemini */
		not_ours(out, false);
	else
		return false;
	return true;
}

static void classify(const struct words *w, int status, struct failure *out)
{
	switch (status) {
	case 401:
	case 403:
	case 407:
		not_ours(out, false);
		return;
	case 402:
		not_ours(out, true);
		return;
	case 409:
	case 424: /* TGI: the generation failed */
	case 425:
	case 499: /* it was broken off there; the client is still here */
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
	read_words(a, body, &w, false);
	if (status < 400)
		status = w.number >= 400 && w.number <= 599 ? (int)w.number : 502;
	out->message = cleaned(a, w.message);
	out->retry_ms = w.retry_ms;
	if (!classify_words(&w, status, out))
		classify(&w, status, out);
	out->param = cleaned(a, out->param);
}

void failure_event(const struct failure *f, struct str otherwise, struct buf *out)
{
	const struct error_row *row = &error_rows[f->error];
	struct json_writer w;
	BUF_ADD(out, "data: ");
	json_writer_init(&w, out);
	json_open_object(&w);
	error_put(&w, f->message.len ? f->message : otherwise, str_from(row->type), f->param, f->code.len ? f->code : str_from(row->code));
	json_close_object(&w);
	BUF_ADD(out, "\n\n");
}
