/* cloud_answer.c - answers of clouds in OpenAI's words. Most pass untouched: a search for the few words that a cloud's quirks begin with decides,
 * and only what it finds is parsed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/cloud_parts.h"
#include "dialect/walk.h"
#include "http/sse.h"

/* ---- the cheap look ---- */

/* Words of which one must stand in an answer that needs a second look, quotes included: in a text that a model wrote they would be escaped. */
static const struct str signs[CLOUD_COUNT][4] = {
	[CLOUD_MISTRAL] = {STR_INIT("\"model_length\""), STR_INIT("\"error\""), STR_INIT("\"thinking\""), STR_INIT("\"type\"")},
	[CLOUD_OPENROUTER] = {STR_INIT("\"error\"")},
	[CLOUD_TOGETHER] = {STR_INIT("\"eos\""), STR_INIT("\"error\"")},
	[CLOUD_GROQ] = {STR_INIT("\"error\"")},
	[CLOUD_DEEPSEEK] = {STR_INIT("\"insufficient_system_resource\""), STR_INIT("\"error\"")},
	[CLOUD_GEMINI] = {STR_INIT("\"tool_calls\""), STR_INIT("\"error\"")},
	[CLOUD_COMPATIBLE] = {STR_INIT("\"error\"")},
};

static bool holds(struct str bytes, struct str word)
{
	return str_search(bytes, word) < bytes.len;
}

static bool needs_look(enum cloud cloud, const struct cloud_stream *state, struct str bytes)
{
	for (size_t i = 0; i < sizeof(signs[0]) / sizeof(signs[0][0]) && signs[cloud][i].ptr; i++)
		if (holds(bytes, signs[cloud][i]))
			return true;
	return state->called && holds(bytes, STR("\"finish_reason\""));
}

/* ---- what is made ---- */

struct answer {
	enum cloud cloud;
	struct cloud_stream *state;
	struct buf *out;
	struct str id;   /* of the answer, raw */
	bool whole;
	bool changed;    /* anything was written otherwise than it came */
};

static void put_member(struct answer *w, bool *comma, struct str name, struct str value)
{
	cloud_put_name(w->out, comma, name);
	buf_adds(w->out, value);
}

/* ---- Mistral's content: a list of thoughts and texts ---- */

static bool has_parts(struct str content, struct str type)
{
	struct walk w = walk_into(content);
	for (struct str part; walk_element(&w, &part);)
		if (walk_is(walk_get(part, STR("type")), type))
			return true;
	return false;
}

/* The text of parts of that type, as the inside of a string: pieces of literals side by side are a literal. */
static void put_texts(struct answer *w, struct str list, struct str type)
{
	struct walk parts = walk_into(list);
	for (struct str part; walk_element(&parts, &part);) {
		if (!walk_is(walk_get(part, STR("type")), type))
			continue;
		struct str value = walk_get(part, type);
		if (walk_array(value))
			put_texts(w, value, STR("text"));
		else
			buf_adds(w->out, walk_inside(value));
	}
}

static void put_content(struct answer *w, bool *comma, struct str content)
{
	w->changed = true;
	if (has_parts(content, STR("thinking"))) {
		cloud_put_name(w->out, comma, STR("reasoning_content"));
		buf_addc(w->out, '"');
		put_texts(w, content, STR("thinking"));
		buf_addc(w->out, '"');
		if (!w->whole && !has_parts(content, STR("text")))
			return;
	}
	cloud_put_name(w->out, comma, STR("content"));
	buf_addc(w->out, '"');
	put_texts(w, content, STR("text"));
	buf_addc(w->out, '"');
}

/* ---- Gemini's tool calls: without index, with empty ids ---- */

static void put_call_start(struct answer *w, bool *comma, struct str call, uint16_t *next)
{
	struct str index = walk_get(call, STR("index"));
	int64_t n;
	if (w->whole)
		return;
	if (!json_raw_i64(index, &n)) {
		cloud_put_name(w->out, comma, STR("index"));
		buf_addu(w->out, *next);
		w->changed = true;
		if (*next < UINT16_MAX)
			(*next)++;
	} else if (n >= *next && n < UINT16_MAX) {
		*next = (uint16_t)(n + 1);
	}
}

static void put_call(struct answer *w, struct str call, uint16_t *next)
{
	struct walk members = walk_into(call);
	struct str name, value;
	bool comma = false;
	uint64_t hash = cloud_hash(call, cloud_hash(w->id, *next));
	buf_addc(w->out, '{');
	put_call_start(w, &comma, call, next);
	while (walk_member(&members, &name, &value)) {
		if (walk_says(name, STR("index")) && walk_null(value) && !w->whole)
			continue;
		cloud_put_name(w->out, &comma, name);
		if (walk_says(name, STR("id")) && walk_is(value, STR(""))) {
			cloud_put_call_id(w->out, hash);
			w->changed = true;
		} else {
			buf_adds(w->out, value);
		}
	}
	buf_addc(w->out, '}');
}

static void put_calls(struct answer *w, struct str calls, uint16_t *next)
{
	struct walk list = walk_into(calls);
	bool comma = false;
	buf_addc(w->out, '[');
	for (struct str call; walk_element(&list, &call);) {
		if (comma)
			buf_addc(w->out, ',');
		comma = true;
		if (walk_object(call))
			put_call(w, call, next);
		else
			buf_adds(w->out, call);
	}
	buf_addc(w->out, ']');
}

/* ---- choices ---- */

static unsigned choice_number(struct str choice)
{
	int64_t n;
	if (!json_raw_i64(walk_get(choice, STR("index")), &n) || n < 0)
		return 0;
	return n < CLOUD_CHOICES ? (unsigned)n : CLOUD_CHOICES - 1;
}

/* A delta or a message. */
static void put_message(struct answer *w, struct str message, unsigned number)
{
	struct walk members = walk_into(message);
	struct str name, value;
	bool comma = false;
	buf_addc(w->out, '{');
	while (walk_member(&members, &name, &value)) {
		if (w->cloud == CLOUD_MISTRAL && walk_array(value) && walk_says(name, STR("content"))) {
			put_content(w, &comma, value);
		} else if (w->cloud == CLOUD_GEMINI && walk_array(value) && walk_says(name, STR("tool_calls"))) {
			cloud_put_name(w->out, &comma, name);
			put_calls(w, value, &w->state->next[number]);
		} else {
			put_member(w, &comma, name, value);
		}
	}
	buf_addc(w->out, '}');
}

static struct str finish_of(struct answer *w, struct str value, bool called)
{
	static const struct {
		enum cloud cloud;
		struct str from, to;
	} rows[] = {
		{CLOUD_TOGETHER, STR_INIT("eos"), STR_INIT("\"stop\"")},
		{CLOUD_MISTRAL, STR_INIT("model_length"), STR_INIT("\"length\"")},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (w->cloud == rows[i].cloud && walk_is(value, rows[i].from))
			return rows[i].to;
	return called && walk_is(value, STR("stop")) ? STR("\"tool_calls\"") : value;
}

static void put_choice(struct answer *w, struct str choice)
{
	struct walk members = walk_into(choice);
	unsigned number = choice_number(choice);
	struct str message = walk_get(choice, w->whole ? STR("message") : STR("delta")), name, value;
	bool comma = false, called = false;
	if (w->cloud == CLOUD_GEMINI) {
		struct str calls = walk_get(message, STR("tool_calls"));
		if (walk_array(calls) && !walk_empty(calls))
			w->state->called |= 1u << number;
		called = (w->state->called >> number & 1) != 0;
	}
	buf_addc(w->out, '{');
	while (walk_member(&members, &name, &value)) {
		cloud_put_name(w->out, &comma, name);
		if (value.ptr == message.ptr && walk_object(message) && (w->cloud == CLOUD_MISTRAL || w->cloud == CLOUD_GEMINI)) {
			put_message(w, message, number);
		} else if (walk_says(name, STR("finish_reason"))) {
			struct str finish = finish_of(w, value, called);
			w->changed |= finish.ptr != value.ptr;
			buf_adds(w->out, finish);
		} else {
			buf_adds(w->out, value);
		}
	}
	buf_addc(w->out, '}');
}

static void put_answer(struct answer *w, struct str root)
{
	struct walk members = walk_into(root);
	struct str name, value;
	bool comma = false;
	w->id = walk_get(root, STR("id"));
	buf_addc(w->out, '{');
	while (walk_member(&members, &name, &value)) {
		cloud_put_name(w->out, &comma, name);
		if (!walk_array(value) || !walk_says(name, STR("choices"))) {
			buf_adds(w->out, value);
			continue;
		}
		struct walk list = walk_into(value);
		bool next = false;
		buf_addc(w->out, '[');
		for (struct str choice; walk_element(&list, &choice);) {
			if (next)
				buf_addc(w->out, ',');
			next = true;
			if (walk_object(choice))
				put_choice(w, choice);
			else
				buf_adds(w->out, choice);
		}
		buf_addc(w->out, ']');
	}
	buf_addc(w->out, '}');
}

/* ---- errors inside an answer ---- */

static const struct str broke_off = STR_INIT("{\"code\":502,\"message\":\"the cloud broke off its answer\"}");

/* The value of an "error" that says something; ptr NULL: null, or nothing that could be read. */
static struct str told_error(struct str value)
{
	return walk_object(value) || walk_inside(value).ptr ? value : STR_NONE;
}

static struct str error_of_choice(struct str choice)
{
	struct str error = told_error(walk_get(choice, STR("error"))), finish = walk_get(choice, STR("finish_reason"));
	if (error.ptr)
		return error;
	if (walk_is(finish, STR("error")) || walk_is(finish, STR("insufficient_system_resource")))
		return broke_off;
	return STR_NONE;
}

/* The value of the error that an answer holds, wherever it stands; ptr NULL: none. */
static struct str error_within(enum cloud cloud, struct str root)
{
	if (walk_array(root)) { /* Gemini's errors come in a list */
		struct walk w = walk_into(root);
		return walk_element(&w, &root) ? error_within(CLOUD_NONE, walk_object(root) ? root : STR_NONE) : STR_NONE;
	}
	struct str error = told_error(walk_get(root, STR("error")));
	if (!error.ptr && cloud == CLOUD_GROQ)
		error = told_error(walk_get(walk_get(root, STR("x_groq")), STR("error")));
	if (error.ptr)
		return error;
	if (cloud == CLOUD_MISTRAL && walk_is(walk_get(root, STR("object")), STR("error"))) /* its words stand in the object itself */
		return root;
	struct walk list = walk_into(walk_get(root, STR("choices")));
	for (struct str choice; walk_element(&list, &choice);) {
		error = error_of_choice(choice);
		if (error.ptr)
			return error;
	}
	return STR_NONE;
}

static void put_wrapped(struct str error, struct buf *out)
{
	BUF_ADD(out, "{\"error\":");
	buf_adds(out, error);
	buf_addc(out, '}');
}

static void turn_to_error(enum cloud cloud, struct str error, struct arena *a, struct failure *f, struct buf *out)
{
	struct buf wrapped;
	buf_init(&wrapped, error.len + 16);
	put_wrapped(error, &wrapped);
	cloud_failure(cloud, 200, arena_dup(a, buf_str(&wrapped)), a, f);
	buf_release(&wrapped);
	failure_event(f, STR("the cloud broke off its answer"), out);
}

/* ---- the way in ---- */

static bool is_broken(struct str bytes)
{
	return holds(bytes, STR("\"error\"")) || holds(bytes, STR("\"insufficient_system_resource\""));
}

static bool keep_or_undo(struct answer *w, size_t before)
{
	bool kept = w->changed && !w->out->over;
	if (!kept)
		w->out->len = before;
	return kept;
}

bool cloud_event(enum cloud cloud, struct cloud_stream *state, struct str event, struct arena *a, struct buf *out)
{
	struct answer w = {.cloud = cloud, .state = state, .out = out};
	struct json_scan scan;
	size_t before = out->len;
	if (!needs_look(cloud, state, event))
		return false;
	struct str data = sse_data(event), error = STR_NONE;
	if (!data.ptr || !json_scan(data, NULL, 0, &scan, NULL))
		return false;
	if (is_broken(event))
		error = error_within(cloud, scan.whole);
	if (error.ptr) {
		turn_to_error(cloud, error, a, &state->failure, out);
		return true;
	}
	if (scan.type != JSON_OBJECT)
		return false;
	BUF_ADD(out, "data: ");
	put_answer(&w, scan.whole);
	BUF_ADD(out, "\n\n");
	return keep_or_undo(&w, before);
}

bool cloud_whole(enum cloud cloud, struct str body, struct buf *out)
{
	struct cloud_stream state = {0};
	struct answer w = {.cloud = cloud, .state = &state, .out = out, .whole = true};
	struct json_scan scan;
	size_t before = out->len;
	if (!needs_look(cloud, &state, body) || !json_scan(body, NULL, 0, &scan, NULL))
		return false;
	struct str error = is_broken(body) ? error_within(cloud, scan.whole) : STR_NONE;
	if (error.ptr) {
		if (scan.type == JSON_OBJECT && walk_get(scan.whole, STR("error")).ptr == error.ptr)
			return false; /* it stands where it is looked for */
		put_wrapped(error, out);
		return true;
	}
	if (scan.type != JSON_OBJECT)
		return false;
	put_answer(&w, scan.whole);
	return keep_or_undo(&w, before);
}
