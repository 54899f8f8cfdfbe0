/* body.c - see body.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/body.h"

#include "base/json.h"
#include "http/multipart.h"

enum want { WANT_MODEL, WANT_STREAM, WANT_MAX_TOKENS, WANT_MAX_COMPLETION, WANT_MAX_OUTPUT, WANT_N, WANT_BEST_OF, WANT_OPTIONS, WANT_MESSAGES,
	    WANT_PREVIOUS, WANT_CONVERSATION, WANT_PROMPT, WANT_INPUT, WANTS };

static const struct json_want wants_template[WANTS] = {
	[WANT_MODEL] = {.name = STR_INIT("model")},
	[WANT_STREAM] = {.name = STR_INIT("stream")},
	[WANT_MAX_TOKENS] = {.name = STR_INIT("max_tokens")},
	[WANT_MAX_COMPLETION] = {.name = STR_INIT("max_completion_tokens")},
	[WANT_MAX_OUTPUT] = {.name = STR_INIT("max_output_tokens")},
	[WANT_N] = {.name = STR_INIT("n")},
	[WANT_BEST_OF] = {.name = STR_INIT("best_of")},
	[WANT_OPTIONS] = {.name = STR_INIT("stream_options")},
	[WANT_MESSAGES] = {.name = STR_INIT("messages")},
	[WANT_PREVIOUS] = {.name = STR_INIT("previous_response_id")},
	[WANT_CONVERSATION] = {.name = STR_INIT("conversation")},
	[WANT_PROMPT] = {.name = STR_INIT("prompt")},
	[WANT_INPUT] = {.name = STR_INIT("input")},
};

#define TOKENS_MAX INT32_MAX
#define CHOICES_MAX 128

struct problem {
	struct str *param;
	struct buf *why;
};

static enum error refuse(struct problem *p, enum error e, struct str param, const char *text)
{
	*p->param = param;
	buf_adds(p->why, str_from(text));
	return e;
}

static enum error read_model(struct problem *p, const struct json_want *w, struct arena *a, struct body_facts *out)
{
	if (w->type == JSON_NONE || w->type == JSON_NULL)
		return refuse(p, ERROR_MISSING_PARAMETER, w->name, "you must provide a model parameter");
	if (w->type != JSON_STRING)
		return refuse(p, ERROR_INVALID_TYPE, w->name, "'model' must be a string");
	struct json text = {.type = JSON_STRING, .escaped = memchr(w->value.ptr, '\\', w->value.len) != NULL,
			    .raw = str_of(w->value.ptr + 1, w->value.len - 2)};
	out->model = json_text(a, &text);
	out->model_raw = w->value;
	if (out->model.len == 0 || out->model.len > 512)
		return refuse(p, ERROR_INVALID_VALUE, w->name, "'model' must be a name of 1 to 512 bytes");
	return ERROR_NONE;
}

static enum error read_integer(struct problem *p, const struct json_want *w, int64_t least, int64_t most)
{
	int64_t n;
	if (w->type == JSON_NONE || w->type == JSON_NULL)
		return ERROR_NONE;
	if (w->type != JSON_NUMBER || !json_raw_i64(w->value, &n)) {
		*p->param = w->name;
		buf_addf(p->why, "'%.*s' must be an integer", STR_ARG(w->name));
		return ERROR_INVALID_TYPE;
	}
	if (n >= least && n <= most)
		return ERROR_NONE;
	*p->param = w->name;
	buf_addf(p->why, "'%.*s' must be between %lld and %lld", STR_ARG(w->name), (long long)least, (long long)most);
	return ERROR_INVALID_VALUE;
}

static enum error read_stream(struct problem *p, const struct json_want *w, struct body_facts *out)
{
	if (w->type == JSON_NONE || w->type == JSON_NULL)
		return ERROR_NONE;
	if (w->type != JSON_BOOL)
		return refuse(p, ERROR_INVALID_TYPE, w->name, "'stream' must be true or false");
	out->stream = w->value.len == 4;
	return ERROR_NONE;
}

/* Where "include_usage": true must be written so that the engine tells the usage of a stream. */
static void plan_usage(const struct json_want *w, struct str whole, struct body_facts *out)
{
	if (w->type == JSON_NONE) {
		out->usage = (struct body_edit){whole.ptr + 1, 0, STR("\"stream_options\":{\"include_usage\":true},")};
		return;
	}
	struct json_want inner = {.name = STR("include_usage")};
	struct json_scan scan;
	struct json_fail fail;
	if (w->type != JSON_OBJECT || !json_scan(w->value, &inner, 1, &scan, &fail)) {
		out->usage = (struct body_edit){w->value.ptr, w->value.len, STR("{\"include_usage\":true}")};
		return;
	}
	out->usage_asked = inner.type == JSON_BOOL && inner.value.len == 4;
	if (out->usage_asked)
		return;
	if (inner.type != JSON_NONE)
		out->usage = (struct body_edit){inner.value.ptr, inner.value.len, STR("true")};
	else
		out->usage = (struct body_edit){w->value.ptr + 1, 0, scan.members ? STR("\"include_usage\":true,")
										   : STR("\"include_usage\":true")};
}

static enum error check_options(struct problem *p, const struct json_want *w)
{
	if (w->type == JSON_NONE || w->type == JSON_NULL || w->type == JSON_OBJECT)
		return ERROR_NONE;
	return refuse(p, ERROR_INVALID_TYPE, w->name, "'stream_options' must be an object");
}

static enum error check_twice(struct problem *p, const struct json_want *wants)
{
	for (int i = 0; i <= WANT_OPTIONS; i++) {
		if (wants[i].count <= 1)
			continue;
		*p->param = wants[i].name;
		buf_addf(p->why, "'%.*s' stands more than once in the body", STR_ARG(wants[i].name));
		return ERROR_DUPLICATE_PARAMETER;
	}
	return ERROR_NONE;
}

static enum error check_messages(struct problem *p, const struct operation_row *op, const struct json_want *w)
{
	if (op->op != OP_CHAT && op->op != OP_MESSAGES)
		return ERROR_NONE;
	if (w->type == JSON_NONE || w->type == JSON_NULL)
		return refuse(p, ERROR_MISSING_PARAMETER, w->name, "you must provide a messages parameter");
	if (w->type != JSON_ARRAY)
		return refuse(p, ERROR_INVALID_TYPE, w->name, "'messages' must be an array");
	return ERROR_NONE;
}

static enum error read_members(struct problem *p, const struct operation_row *op, struct json_want *wants, struct arena *a,
			       struct body_facts *out)
{
	enum error e = check_twice(p, wants);
	if (!e)
		e = read_model(p, &wants[WANT_MODEL], a, out);
	if (!e && op->streams)
		e = read_stream(p, &wants[WANT_STREAM], out);
	if (!e)
		e = read_integer(p, &wants[WANT_MAX_TOKENS], -1, TOKENS_MAX);
	if (!e)
		e = read_integer(p, &wants[WANT_MAX_COMPLETION], -1, TOKENS_MAX);
	if (!e)
		e = read_integer(p, &wants[WANT_MAX_OUTPUT], -1, TOKENS_MAX);
	if (!e)
		e = read_integer(p, &wants[WANT_N], 1, CHOICES_MAX);
	if (!e && op->op == OP_COMPLETIONS)
		e = read_integer(p, &wants[WANT_BEST_OF], 1, CHOICES_MAX);
	if (!e && op->usage_on_request)
		e = check_options(p, &wants[WANT_OPTIONS]);
	return e ? e : check_messages(p, op, &wants[WANT_MESSAGES]);
}

/* ---- how long the answer may become ---- */

struct str body_cap_name(const struct operation_row *op)
{
	switch (op->op) {
	case OP_CHAT:
	case OP_COMPLETIONS:
	case OP_MESSAGES:
		return STR("max_tokens");
	case OP_RESPONSES:
		return STR("max_output_tokens");
	default:
		return STR_NONE;
	}
}

static int64_t number_of(const struct json_want *w, int64_t otherwise)
{
	int64_t n;
	return w->type == JSON_NUMBER && json_raw_i64(w->value, &n) ? n : otherwise;
}

/* Where more than one cap stands there, nobody knows which one the engine takes: the largest counts. 0 and -1 mean none to some engines. */
static void read_caps(const struct operation_row *op, const struct json_want *wants, struct body_facts *out)
{
	static const enum want members[BODY_CAPS] = {WANT_MAX_TOKENS, WANT_MAX_COMPLETION, WANT_MAX_OUTPUT};
	int64_t n = number_of(&wants[WANT_N], 1), best_of = op->op == OP_COMPLETIONS ? number_of(&wants[WANT_BEST_OF], 1) : 1, most = 0;
	out->cap_name = body_cap_name(op);
	out->choices = n > best_of ? n : best_of;
	for (int i = 0; i < BODY_CAPS; i++) {
		const struct json_want *w = &wants[members[i]];
		if (w->type == JSON_NONE)
			continue;
		out->caps[i] = w->value;
		int64_t cap = number_of(w, 0);
		if (cap <= 0)
			most = INT64_MAX;
		else if (cap > most)
			most = cap;
	}
	out->output = most == INT64_MAX ? 0 : most * out->choices;
}

static bool is_given(const struct json_want *w)
{
	return w->type != JSON_NONE && w->type != JSON_NULL;
}

static enum error read_json(struct problem *p, const struct operation_row *op, struct str body, struct arena *a,
			    struct body_facts *out)
{
	struct json_want wants[WANTS];
	struct json_scan scan;
	struct json_fail fail;
	memcpy(wants, wants_template, sizeof(wants));
	if (!json_scan(body, wants, WANTS, &scan, &fail)) {
		buf_addf(p->why, "the body is not valid JSON: %s at byte %zu", fail.what, fail.at);
		return ERROR_INVALID_JSON;
	}
	if (scan.type != JSON_OBJECT)
		return refuse(p, ERROR_INVALID_JSON, STR_NONE, "the body must be a JSON object");
	enum error e = read_members(p, op, wants, a, out);
	if (e)
		return e;
	read_caps(op, wants, out);
	out->continues = op->op == OP_RESPONSES && (is_given(&wants[WANT_PREVIOUS]) || is_given(&wants[WANT_CONVERSATION]));
	out->inside = scan.whole.ptr + 1;
	enum want prompt = is_given(&wants[WANT_MESSAGES]) ? WANT_MESSAGES : is_given(&wants[WANT_PROMPT]) ? WANT_PROMPT : WANT_INPUT;
	out->prompt = op->counts_output && is_given(&wants[prompt]) ? wants[prompt].value : STR_NONE;
	if (out->stream && op->usage_on_request)
		plan_usage(&wants[WANT_OPTIONS], scan.whole, out);
	return ERROR_NONE;
}

static enum error read_form(struct problem *p, struct str body, struct str content_type, struct body_facts *out)
{
	struct str boundary = multipart_boundary(content_type), stream;
	if (!boundary.ptr)
		return refuse(p, ERROR_INVALID_FORM, STR_NONE, "the body must be multipart/form-data with a boundary");
	out->form = true;
	switch (multipart_find(body, boundary, STR("model"), &out->model_raw)) {
	case MULTIPART_FOUND:
		break;
	case MULTIPART_ABSENT:
		return refuse(p, ERROR_MISSING_PARAMETER, STR("model"), "you must provide a model parameter");
	case MULTIPART_TWICE:
		return refuse(p, ERROR_DUPLICATE_PARAMETER, STR("model"), "'model' stands more than once in the form");
	case MULTIPART_BAD:
		return refuse(p, ERROR_INVALID_FORM, STR_NONE, "the body is not a valid multipart/form-data form");
	}
	out->model = str_trim(out->model_raw);
	if (out->model.len == 0 || out->model.len > 512)
		return refuse(p, ERROR_INVALID_VALUE, STR("model"), "'model' must be a name of 1 to 512 bytes");
	if (multipart_find(body, boundary, STR("stream"), &stream) == MULTIPART_FOUND)
		out->stream = str_ieq(str_trim(stream), STR("true"));
	return ERROR_NONE;
}

enum error body_read(const struct operation_row *op, struct str body, struct str content_type, struct arena *a,
		     struct body_facts *out, struct str *param, struct buf *why)
{
	struct problem p = {param, why};
	*out = (struct body_facts){.choices = 1};
	*param = STR_NONE;
	return op->body == BODY_MULTIPART ? read_form(&p, body, content_type, out) : read_json(&p, op, body, a, out);
}

static struct str quoted(struct str model, struct arena *a)
{
	struct buf text;
	buf_init(&text, 8192);
	json_quote(&text, model);
	struct str copy = arena_dup(a, buf_str(&text));
	buf_release(&text);
	return copy;
}

static int add_part(struct iovec *parts, int n, struct str s, size_t *length)
{
	if (s.len == 0)
		return n;
	parts[n] = (struct iovec){(char *)s.ptr, s.len};
	*length += s.len;
	return n + 1;
}

static void add_edit(struct body_edit *edits, int *count, struct body_edit edit)
{
	int i = (*count)++;
	for (; i > 0 && edits[i - 1].at > edit.at; i--) /* in the order of the body */
		edits[i] = edits[i - 1];
	edits[i] = edit;
}

static void add_caps(const struct body_facts *facts, int64_t cap, struct arena *a, struct body_edit *edits, int *count)
{
	bool given = false;
	for (int i = 0; i < BODY_CAPS; i++) {
		int64_t n;
		if (!facts->caps[i].ptr)
			continue;
		given = true;
		if (!json_raw_i64(facts->caps[i], &n) || n <= 0 || n > cap)
			add_edit(edits, count, (struct body_edit){facts->caps[i].ptr, facts->caps[i].len, arena_printf(a, "%lld", (long long)cap)});
	}
	if (!given && facts->inside && facts->cap_name.len)
		add_edit(edits, count, (struct body_edit){facts->inside, 0, arena_printf(a, "\"%s\":%lld,", facts->cap_name.ptr, (long long)cap)});
}

int body_parts(const struct body_facts *facts, struct str body, const struct body_changes *changes, struct arena *a, struct iovec *parts,
	       size_t *length)
{
	struct body_edit edits[BODY_EDITS];
	int edit_count = 0, n = 0;
	if (!str_eq(changes->model, facts->model))
		add_edit(edits, &edit_count, (struct body_edit){facts->model_raw.ptr, facts->model_raw.len,
								facts->form ? changes->model : quoted(changes->model, a)});
	if (changes->ask_usage && facts->usage.at)
		add_edit(edits, &edit_count, facts->usage);
	if (changes->cap > 0)
		add_caps(facts, changes->cap, a, edits, &edit_count);
	const char *from = body.ptr;
	*length = 0;
	for (int i = 0; i < edit_count; i++) {
		n = add_part(parts, n, str_of(from, (size_t)(edits[i].at - from)), length);
		n = add_part(parts, n, edits[i].with, length);
		from = edits[i].at + edits[i].length;
	}
	return add_part(parts, n, str_of(from, (size_t)(body.ptr + body.len - from)), length);
}

/* ---- how long the prompt can be ---- */

#define MEDIA_TOKENS    8192 /* an image, a sound or a file that is not text, or lies elsewhere */
#define TEMPLATE_TOKENS 64   /* what a chat template may add by itself */
#define SMALL_BODY      4096

/* The value behind `"type"`, which `at` stands behind; empty: not a member. */
static struct str type_value(struct str at)
{
	at = str_trim(at);
	if (at.len < 2 || at.ptr[0] != ':')
		return STR_NONE;
	at = str_trim(str_head(str_skip(at, 1), 64));
	if (at.len < 2 || at.ptr[0] != '"')
		return STR_NONE;
	at = str_skip(at, 1);
	return str_head(at, str_find(at, '"'));
}

static bool is_media(struct str type)
{
	static const struct str media[] = {STR_INIT("image_url"), STR_INIT("input_image"), STR_INIT("input_audio"), STR_INIT("input_file"), STR_INIT("file"),
					   STR_INIT("image"), STR_INIT("document"), STR_INIT("video_url"), STR_INIT("audio_url"), STR_INIT("input_video")};
	for (size_t i = 0; i < sizeof(media) / sizeof(media[0]); i++)
		if (str_eq(type, media[i]))
			return true;
	return false;
}

static int64_t count_media(struct str body)
{
	int64_t n = 0;
	for (;;) {
		size_t at = str_search(body, STR("\"type\""));
		if (at >= body.len)
			return n;
		body = str_skip(body, at + 6);
		n += is_media(type_value(str_head(body, 128)));
	}
}

/* Bytes of data: URLs, which no engine reads as text. */
static size_t encoded_bytes(struct str body)
{
	size_t bytes = 0;
	for (;;) {
		size_t at = str_search(body, STR(";base64,"));
		if (at >= body.len)
			return bytes;
		body = str_skip(body, at + 8);
		size_t end = str_find(body, '"');
		bytes += end;
		body = str_skip(body, end);
	}
}

int64_t body_input_bound(struct str body)
{
	size_t encoded = body.len > SMALL_BODY ? encoded_bytes(body) : 0; /* looking costs more than what a small one could hold less */
	return (int64_t)(body.len - encoded) + TEMPLATE_TOKENS + count_media(body) * MEDIA_TOKENS;
}
