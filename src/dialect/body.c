/* body.c - see body.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/body.h"

#include "base/json.h"
#include "http/multipart.h"

enum want { WANT_MODEL, WANT_STREAM, WANT_MAX_TOKENS, WANT_MAX_COMPLETION, WANT_N, WANT_OPTIONS, WANT_MESSAGES, WANTS };

static const struct json_want wants_template[WANTS] = {
	[WANT_MODEL] = {.name = STR_INIT("model")},
	[WANT_STREAM] = {.name = STR_INIT("stream")},
	[WANT_MAX_TOKENS] = {.name = STR_INIT("max_tokens")},
	[WANT_MAX_COMPLETION] = {.name = STR_INIT("max_completion_tokens")},
	[WANT_N] = {.name = STR_INIT("n")},
	[WANT_OPTIONS] = {.name = STR_INIT("stream_options")},
	[WANT_MESSAGES] = {.name = STR_INIT("messages")},
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

static enum error check_options(struct problem *p, const struct json_want *w, const struct body_facts *facts)
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
		e = read_integer(p, &wants[WANT_N], 1, CHOICES_MAX);
	if (!e && op->usage_on_request)
		e = check_options(p, &wants[WANT_OPTIONS], out);
	return e ? e : check_messages(p, op, &wants[WANT_MESSAGES]);
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
	if (!e && out->stream && op->usage_on_request)
		plan_usage(&wants[WANT_OPTIONS], scan.whole, out);
	return e;
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
	*out = (struct body_facts){0};
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

int body_parts(const struct body_facts *facts, struct str body, struct str model, bool ask_usage, struct arena *a,
	       struct iovec *parts, size_t *length)
{
	struct body_edit edits[BODY_EDITS];
	int edit_count = 0, n = 0;
	if (!str_eq(model, facts->model))
		edits[edit_count++] = (struct body_edit){facts->model_raw.ptr, facts->model_raw.len,
							 facts->form ? model : quoted(model, a)};
	if (ask_usage && facts->usage.at) {
		bool first = edit_count && facts->usage.at < edits[0].at;
		if (first)
			edits[1] = edits[0];
		edits[first ? 0 : edit_count] = facts->usage;
		edit_count++;
	}
	const char *from = body.ptr;
	*length = 0;
	for (int i = 0; i < edit_count; i++) {
		n = add_part(parts, n, str_of(from, (size_t)(edits[i].at - from)), length);
		n = add_part(parts, n, edits[i].with, length);
		from = edits[i].at + edits[i].length;
	}
	return add_part(parts, n, str_of(from, (size_t)(body.ptr + body.len - from)), length);
}
