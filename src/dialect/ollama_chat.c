/* ollama_chat.c - OpenAI's chat request as a request to Ollama's /api/chat. The answer's side is ollama_answer.c.
 *
 * The body is validated once; after that all is views on it. Texts are copied as they are spelled, escapes and all; only the arguments of tool calls are
 * decoded, since they are text in OpenAI's API and an object in Ollama's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/ollama_chat.h"

#include "base/json.h"
#include "dialect/cloud_parts.h"
#include "dialect/walk.h"

enum want { WANT_MESSAGES, WANT_TOOLS, WANT_STREAM, WANT_MAX_TOKENS, WANT_MAX_COMPLETION, WANT_TEMPERATURE, WANT_TOP_P, WANT_SEED, WANT_STOP,
	    WANT_PRESENCE, WANT_FREQUENCY, WANT_FORMAT, WANT_EFFORT, WANT_REASONING, WANT_LOGPROBS, WANT_TOP_LOGPROBS, WANTS };

static const struct json_want wants_template[WANTS] = {
	[WANT_MESSAGES] = {.name = STR_INIT("messages")},
	[WANT_TOOLS] = {.name = STR_INIT("tools")},
	[WANT_STREAM] = {.name = STR_INIT("stream")},
	[WANT_MAX_TOKENS] = {.name = STR_INIT("max_tokens")},
	[WANT_MAX_COMPLETION] = {.name = STR_INIT("max_completion_tokens")},
	[WANT_TEMPERATURE] = {.name = STR_INIT("temperature")},
	[WANT_TOP_P] = {.name = STR_INIT("top_p")},
	[WANT_SEED] = {.name = STR_INIT("seed")},
	[WANT_STOP] = {.name = STR_INIT("stop")},
	[WANT_PRESENCE] = {.name = STR_INIT("presence_penalty")},
	[WANT_FREQUENCY] = {.name = STR_INIT("frequency_penalty")},
	[WANT_FORMAT] = {.name = STR_INIT("response_format")},
	[WANT_EFFORT] = {.name = STR_INIT("reasoning_effort")},
	[WANT_REASONING] = {.name = STR_INIT("reasoning")},
	[WANT_LOGPROBS] = {.name = STR_INIT("logprobs")},
	[WANT_TOP_LOGPROBS] = {.name = STR_INIT("top_logprobs")},
};

#define CALLS_KEPT 256 /* results of tools come soon after their calls */
#define NAME_MAX_BYTES 64 /* of a function, as OpenAI has it; a longer one is not repeated */

struct known_call {
	struct str id, name; /* decoded; raw */
};

struct making {
	struct arena *a;
	struct buf *out, *why;
	struct known_call *calls; /* a ring */
	size_t call_count;
};

static bool refuse(struct making *m, const char *text)
{
	buf_adds(m->why, str_from(text));
	return false;
}

static bool is_given(const struct json_want *w)
{
	return w->type != JSON_NONE && w->type != JSON_NULL;
}

static void put_member(struct making *m, bool *comma, struct str name, struct str value)
{
	cloud_put_name(m->out, comma, name);
	buf_adds(m->out, value);
}

/* ---- tool calls ---- */

static void know_call(struct making *m, struct str id, struct str name)
{
	if (!m->calls)
		m->calls = arena_alloc(m->a, CALLS_KEPT * sizeof(*m->calls));
	m->calls[m->call_count++ % CALLS_KEPT] = (struct known_call){walk_text(m->a, id), name};
}

/* The raw name of the function that the latest call with that id has called; empty: none is known. */
static struct str name_of_call(const struct making *m, struct str id)
{
	size_t kept = m->call_count < CALLS_KEPT ? m->call_count : CALLS_KEPT;
	for (size_t i = 1; i <= kept; i++) {
		const struct known_call *call = &m->calls[(m->call_count - i) % CALLS_KEPT];
		if (str_eq(call->id, id))
			return call->name;
	}
	return STR_NONE;
}

static bool put_arguments(struct making *m, struct str arguments)
{
	struct json_scan scan;
	struct str object = walk_object(arguments) ? arguments : str_trim(walk_text(m->a, arguments));
	if (object.len == 0 && (walk_null(arguments) || walk_inside(arguments).ptr))
		object = STR("{}");
	if (!json_scan(object, NULL, 0, &scan, NULL) || scan.type != JSON_OBJECT)
		return refuse(m, "the arguments of a tool call must be a JSON object");
	buf_adds(m->out, scan.whole);
	return true;
}

static bool put_call(struct making *m, struct str call, uint32_t index)
{
	struct str id = walk_get(call, STR("id")), function = walk_get(call, STR("function")), name = walk_get(function, STR("name"));
	if (!walk_inside(name).ptr)
		return refuse(m, "each of 'tool_calls' must call a function by its name");
	know_call(m, id, name);
	buf_addc(m->out, '{');
	if (walk_inside(id).len > 0) {
		BUF_ADD(m->out, "\"id\":");
		buf_adds(m->out, id);
		buf_addc(m->out, ',');
	}
	buf_addf(m->out, "\"function\":{\"index\":%u,\"name\":", index);
	buf_adds(m->out, name);
	BUF_ADD(m->out, ",\"arguments\":");
	if (!put_arguments(m, walk_get(function, STR("arguments"))))
		return false;
	BUF_ADD(m->out, "}}");
	return true;
}

static bool put_calls(struct making *m, struct str calls)
{
	struct walk list = walk_into(calls);
	uint32_t index = 0;
	BUF_ADD(m->out, ",\"tool_calls\":[");
	for (struct str call; walk_element(&list, &call); index++) {
		if (index)
			buf_addc(m->out, ',');
		if (!put_call(m, call, index))
			return false;
	}
	buf_addc(m->out, ']');
	return true;
}

/* ---- content ---- */

/* What stands behind "data:image/…;base64," in the inside of a literal; ptr NULL: it is another kind of URL. */
static struct str image_bytes(struct str url)
{
	struct str head = str_head(url, 64);
	size_t at = str_search(head, STR(";base64,"));
	if (at == head.len || !str_istarts(head, STR("data:")))
		return STR_NONE;
	struct str type = str_skip(str_head(head, at), 5);
	return type.len == 0 || str_istarts(type, STR("image")) ? str_skip(url, at + 8) : STR_NONE;
}

static struct str part_url(struct str part)
{
	struct str image = walk_get(part, STR("image_url"));
	return walk_inside(walk_object(image) ? walk_get(image, STR("url")) : image);
}

/* Adds the text of parts, a line each, as the inside of a literal. */
static bool put_texts(struct making *m, struct str parts, uint32_t *images)
{
	struct walk list = walk_into(parts);
	bool any = false;
	for (struct str part; walk_element(&list, &part);) {
		struct str type = walk_get(part, STR("type")), text = walk_inside(walk_get(part, STR("text")));
		if (walk_is(type, STR("text")) && text.ptr) {
			if (any)
				BUF_ADD(m->out, "\\n");
			any = true;
			buf_adds(m->out, text);
		} else if (walk_is(type, STR("image_url"))) {
			if (!image_bytes(part_url(part)).ptr)
				return refuse(m, "Ollama takes images only as data: URLs in base64");
			++*images;
		} else {
			return refuse(m, "Ollama takes only text and images in 'content'");
		}
	}
	return true;
}

static void put_images(struct making *m, struct str parts)
{
	struct walk list = walk_into(parts);
	bool comma = false;
	BUF_ADD(m->out, ",\"images\":[");
	for (struct str part; walk_element(&list, &part);) {
		if (!walk_is(walk_get(part, STR("type")), STR("image_url")))
			continue;
		if (comma)
			buf_addc(m->out, ',');
		comma = true;
		buf_addc(m->out, '"');
		buf_adds(m->out, image_bytes(part_url(part)));
		buf_addc(m->out, '"');
	}
	buf_addc(m->out, ']');
}

static bool put_content(struct making *m, struct str content)
{
	uint32_t images = 0;
	BUF_ADD(m->out, ",\"content\":\"");
	if (walk_inside(content).ptr)
		buf_adds(m->out, walk_inside(content));
	else if (walk_array(content) && !put_texts(m, content, &images))
		return false;
	else if (!walk_array(content) && !walk_null(content))
		return refuse(m, "'content' must be text or a list of parts");
	buf_addc(m->out, '"');
	if (images)
		put_images(m, content);
	return true;
}

/* ---- messages ---- */

struct message {
	struct str role, content, calls, call_id, name, thought; /* raw */
};

static void read_message(struct str object, struct message *out)
{
	static const struct {
		struct str name;
		size_t at;
	} members[] = {
		{STR_INIT("role"), offsetof(struct message, role)}, {STR_INIT("content"), offsetof(struct message, content)},
		{STR_INIT("tool_calls"), offsetof(struct message, calls)}, {STR_INIT("tool_call_id"), offsetof(struct message, call_id)},
		{STR_INIT("name"), offsetof(struct message, name)}, {STR_INIT("reasoning"), offsetof(struct message, thought)},
	};
	struct walk w = walk_into(object);
	*out = (struct message){0};
	for (struct str name, value; walk_member(&w, &name, &value);)
		for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
			if (walk_says(name, members[i].name))
				*(struct str *)((char *)out + members[i].at) = value;
}

/* Which call a tool's result belongs to, and the function's name, by which templates know it. */
static void put_result(struct making *m, const struct message *msg)
{
	struct str name = walk_inside(msg->name).len ? msg->name : name_of_call(m, walk_text(m->a, msg->call_id));
	if (name.len > 2 && name.len <= NAME_MAX_BYTES + 2) {
		BUF_ADD(m->out, ",\"tool_name\":");
		buf_adds(m->out, name);
	}
	if (walk_inside(msg->call_id).len) {
		BUF_ADD(m->out, ",\"tool_call_id\":");
		buf_adds(m->out, msg->call_id);
	}
}

static bool put_message(struct making *m, struct str object)
{
	struct message msg;
	read_message(object, &msg);
	if (!walk_object(object) || !walk_inside(msg.role).ptr)
		return refuse(m, "each of 'messages' must be an object with a role");
	BUF_ADD(m->out, "{\"role\":");
	buf_adds(m->out, walk_is(msg.role, STR("developer")) ? STR("\"system\"") : msg.role);
	if (!put_content(m, msg.content))
		return false;
	if (walk_inside(msg.thought).len) {
		BUF_ADD(m->out, ",\"thinking\":");
		buf_adds(m->out, msg.thought);
	}
	if (walk_array(msg.calls) && !walk_empty(msg.calls) && !put_calls(m, msg.calls))
		return false;
	if (walk_is(msg.role, STR("tool")))
		put_result(m, &msg);
	buf_addc(m->out, '}');
	return true;
}

static bool put_messages(struct making *m, const struct json_want *messages)
{
	struct walk list = walk_into(messages->value);
	bool comma = false;
	if (messages->type != JSON_ARRAY || walk_empty(messages->value)) /* none would only load the model */
		return refuse(m, "'messages' must be an array with a message or more");
	BUF_ADD(m->out, ",\"messages\":[");
	for (struct str message; walk_element(&list, &message);) {
		if (comma)
			buf_addc(m->out, ',');
		comma = true;
		if (!put_message(m, message))
			return false;
	}
	buf_addc(m->out, ']');
	return true;
}

/* ---- options ---- */

/* A number as it is spelled; `otherwise` where there is none (NULL: then the member is left out). */
static bool put_number(struct making *m, const struct json_want *w, const char *otherwise)
{
	bool comma = true;
	if (is_given(w) && w->type != JSON_NUMBER) {
		buf_addf(m->why, "'%.*s' must be a number", STR_ARG(w->name));
		return false;
	}
	if (is_given(w))
		put_member(m, &comma, w->name, w->value);
	else if (otherwise)
		put_member(m, &comma, w->name, str_from(otherwise));
	return true;
}

/* Tokens of answer: -1 and 0 say what they say to Ollama, unless there is a cap. */
static void put_predict(struct making *m, const struct json_want *wants, int64_t cap)
{
	const struct json_want *w = &wants[is_given(&wants[WANT_MAX_TOKENS]) ? WANT_MAX_TOKENS : WANT_MAX_COMPLETION];
	int64_t n = 0;
	bool given = w->type == JSON_NUMBER && json_raw_i64(w->value, &n);
	if (cap > 0 && (!given || n <= 0 || n > cap)) {
		given = true;
		n = cap;
	}
	if (given)
		buf_addf(m->out, ",\"num_predict\":%lld", (long long)n);
}

static bool put_seed(struct making *m, const struct json_want *w)
{
	int64_t n;
	if (!is_given(w))
		return true;
	if (w->type != JSON_NUMBER || !json_raw_i64(w->value, &n))
		return refuse(m, "'seed' must be an integer");
	buf_addf(m->out, ",\"seed\":%lld", (long long)n);
	return true;
}

static bool put_stop(struct making *m, const struct json_want *w)
{
	bool comma = true;
	if (!is_given(w))
		return true;
	struct walk list = walk_into(w->type == JSON_ARRAY ? w->value : STR_NONE);
	for (struct str text; walk_element(&list, &text);)
		if (!walk_inside(text).ptr)
			return refuse(m, "'stop' must be text or a list of texts");
	if (w->type == JSON_STRING) {
		put_member(m, &comma, w->name, STR("["));
		buf_adds(m->out, w->value);
		buf_addc(m->out, ']');
		return true;
	}
	if (w->type != JSON_ARRAY)
		return refuse(m, "'stop' must be text or a list of texts");
	put_member(m, &comma, w->name, w->value);
	return true;
}

static bool put_options(struct making *m, const struct json_want *wants, int64_t num_ctx, int64_t cap)
{
	BUF_ADD(m->out, ",\"options\":{\"temperature\":");
	if (is_given(&wants[WANT_TEMPERATURE]) && wants[WANT_TEMPERATURE].type != JSON_NUMBER)
		return refuse(m, "'temperature' must be a number");
	buf_adds(m->out, is_given(&wants[WANT_TEMPERATURE]) ? wants[WANT_TEMPERATURE].value : STR("1.0"));
	if (!put_number(m, &wants[WANT_TOP_P], "1.0") || !put_number(m, &wants[WANT_PRESENCE], NULL) || !put_number(m, &wants[WANT_FREQUENCY], NULL) ||
	    !put_seed(m, &wants[WANT_SEED]) || !put_stop(m, &wants[WANT_STOP]))
		return false;
	put_predict(m, wants, cap);
	if (num_ctx > 0)
		buf_addf(m->out, ",\"num_ctx\":%lld", (long long)num_ctx);
	buf_addc(m->out, '}');
	return true;
}

/* ---- what stands beside them ---- */

static bool put_think(struct making *m, const struct json_want *wants)
{
	static const struct {
		struct str effort, think;
	} rows[] = {
		{STR_INIT("none"), STR_INIT("false")}, {STR_INIT("minimal"), STR_INIT("\"low\"")}, {STR_INIT("low"), STR_INIT("\"low\"")},
		{STR_INIT("medium"), STR_INIT("\"medium\"")}, {STR_INIT("high"), STR_INIT("\"high\"")}, {STR_INIT("xhigh"), STR_INIT("\"max\"")},
		{STR_INIT("max"), STR_INIT("\"max\"")}, {STR_INIT("ultra"), STR_INIT("\"max\"")},
	};
	struct str inner = walk_get(wants[WANT_REASONING].value, STR("effort"));
	struct str effort = inner.ptr && !walk_null(inner) ? inner : is_given(&wants[WANT_EFFORT]) ? wants[WANT_EFFORT].value : STR_NONE;
	bool comma = true;
	if (!effort.ptr)
		return true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (!walk_is(effort, rows[i].effort))
			continue;
		put_member(m, &comma, STR("think"), rows[i].think);
		return true;
	}
	return refuse(m, "'reasoning_effort' must be none, minimal, low, medium, high, xhigh or max");
}

static void put_format(struct making *m, const struct json_want *w)
{
	struct str type = walk_get(w->value, STR("type")), schema = walk_get(walk_get(w->value, STR("json_schema")), STR("schema"));
	bool comma = true;
	if (walk_is(type, STR("json_object")))
		put_member(m, &comma, STR("format"), STR("\"json\""));
	else if (walk_is(type, STR("json_schema")) && walk_object(schema))
		put_member(m, &comma, STR("format"), schema);
}

static void put_logprobs(struct making *m, const struct json_want *wants)
{
	bool comma = true;
	int64_t n;
	if (wants[WANT_LOGPROBS].type == JSON_BOOL)
		put_member(m, &comma, wants[WANT_LOGPROBS].name, wants[WANT_LOGPROBS].value);
	if (wants[WANT_TOP_LOGPROBS].type == JSON_NUMBER && json_raw_i64(wants[WANT_TOP_LOGPROBS].value, &n))
		put_member(m, &comma, wants[WANT_TOP_LOGPROBS].name, wants[WANT_TOP_LOGPROBS].value);
}

static bool write_body(struct making *m, const struct json_want *wants, const struct body_changes *changes, int64_t num_ctx)
{
	bool comma = true, streamed = wants[WANT_STREAM].type == JSON_BOOL && wants[WANT_STREAM].value.len == 4;
	BUF_ADD(m->out, "{\"model\":");
	json_quote(m->out, changes->model);
	if (!put_messages(m, &wants[WANT_MESSAGES]))
		return false;
	if (wants[WANT_TOOLS].type == JSON_ARRAY && !walk_empty(wants[WANT_TOOLS].value))
		put_member(m, &comma, wants[WANT_TOOLS].name, wants[WANT_TOOLS].value);
	put_member(m, &comma, wants[WANT_STREAM].name, streamed ? STR("true") : STR("false"));
	put_format(m, &wants[WANT_FORMAT]);
	put_logprobs(m, wants);
	BUF_ADD(m->out, ",\"truncate\":false,\"shift\":false");
	if (!put_think(m, wants) || !put_options(m, wants, num_ctx, changes->cap))
		return false;
	buf_addc(m->out, '}');
	return true;
}

bool ollama_chat_body(struct str body, const struct body_changes *changes, int64_t num_ctx, struct arena *a, struct buf *out, struct buf *why)
{
	struct making m = {.a = a, .out = out, .why = why};
	struct json_want wants[WANTS];
	struct json_scan scan;
	memcpy(wants, wants_template, sizeof(wants));
	if (!json_scan(body, wants, WANTS, &scan, NULL) || scan.type != JSON_OBJECT)
		return refuse(&m, "the body must be a JSON object");
	if (!write_body(&m, wants, changes, num_ctx))
		return false;
	return !out->over || refuse(&m, "the request is too large once it is written for Ollama");
}
