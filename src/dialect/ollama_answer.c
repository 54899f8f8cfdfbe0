/* ollama_answer.c - answers of Ollama's /api/chat in OpenAI's words: whole, or line by line as server-sent events.
 *
 * Texts are copied as they are spelled. A call's arguments, an object there, become text.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/cloud_parts.h"
#include "dialect/ollama_chat.h"
#include "dialect/walk.h"

enum want { WANT_MESSAGE, WANT_DONE, WANT_REASON, WANT_PROMPT, WANT_CACHED, WANT_MADE, WANT_LOGPROBS, WANT_ERROR, WANTS };

static const struct json_want wants_template[WANTS] = {
	[WANT_MESSAGE] = {.name = STR_INIT("message")},
	[WANT_DONE] = {.name = STR_INIT("done")},
	[WANT_REASON] = {.name = STR_INIT("done_reason")},
	[WANT_PROMPT] = {.name = STR_INIT("prompt_eval_count")},
	[WANT_CACHED] = {.name = STR_INIT("prompt_eval_cached_count")},
	[WANT_MADE] = {.name = STR_INIT("eval_count")},
	[WANT_LOGPROBS] = {.name = STR_INIT("logprobs")},
	[WANT_ERROR] = {.name = STR_INIT("error")},
};

/* One object of an answer: all of it, or a line. */
struct piece {
	const struct ollama_chat_about *about;
	struct str content, thinking, calls; /* raw */
	struct str logprobs;                 /* raw; empty: none */
	struct str reason;                   /* raw */
	int64_t prompt, cached, made;        /* tokens; cached -1: not told */
	bool done, error;
};

static int64_t count_in(const struct json_want *w, int64_t otherwise)
{
	int64_t n;
	return w->type == JSON_NUMBER && json_raw_i64(w->value, &n) && n >= 0 && n <= INT64_MAX / 4 ? n : otherwise;
}

/* False: it is no JSON, or neither an answer nor an error. */
static bool read_piece(const struct ollama_chat_about *about, struct str text, struct piece *p)
{
	struct json_want w[WANTS];
	struct json_scan scan;
	memcpy(w, wants_template, sizeof(w));
	*p = (struct piece){.about = about};
	if (!json_scan(text, w, WANTS, &scan, NULL) || scan.type != JSON_OBJECT)
		return false;
	p->error = w[WANT_ERROR].type > JSON_NULL;
	if (p->error)
		return true;
	if (w[WANT_MESSAGE].type != JSON_OBJECT)
		return false;
	struct str message = w[WANT_MESSAGE].value, calls = walk_get(message, STR("tool_calls"));
	p->content = walk_get(message, STR("content"));
	p->thinking = walk_get(message, STR("thinking"));
	p->calls = walk_array(calls) && !walk_empty(calls) ? calls : STR_NONE;
	p->logprobs = w[WANT_LOGPROBS].type == JSON_ARRAY && !walk_empty(w[WANT_LOGPROBS].value) ? w[WANT_LOGPROBS].value : STR_NONE;
	p->reason = w[WANT_REASON].value;
	p->done = w[WANT_DONE].type == JSON_BOOL && w[WANT_DONE].value.len == 4;
	p->prompt = count_in(&w[WANT_PROMPT], 0);
	p->cached = count_in(&w[WANT_CACHED], -1);
	p->made = count_in(&w[WANT_MADE], 0);
	return true;
}

/* ---- what both forms hold ---- */

static void put_start(const struct ollama_chat_about *about, const char *object, struct buf *out)
{
	BUF_ADD(out, "{\"id\":\"");
	buf_adds(out, about->id);
	buf_addf(out, "\",\"object\":\"%s\",\"created\":%lld,\"model\":", object, (long long)about->created);
	json_quote(out, about->model);
	BUF_ADD(out, ",\"system_fingerprint\":\"fp_ollama\"");
}

/* A string as it is spelled; empty where it is none. */
static void put_text(struct buf *out, struct str value)
{
	buf_adds(out, walk_inside(value).ptr ? value : STR("\"\""));
}

static void put_arguments(struct buf *out, struct str arguments)
{
	if (walk_inside(arguments).ptr) /* text already */
		buf_adds(out, arguments);
	else
		json_quote(out, walk_object(arguments) ? arguments : STR("{}"));
}

static void put_call(const struct piece *p, struct str call, uint32_t number, bool indexed, struct buf *out)
{
	struct str function = walk_get(call, STR("function")), id = walk_get(call, STR("id"));
	buf_addc(out, '{');
	if (indexed)
		buf_addf(out, "\"index\":%u,", number);
	BUF_ADD(out, "\"id\":");
	if (walk_inside(id).len)
		buf_adds(out, id);
	else
		cloud_put_call_id(out, cloud_hash(call, cloud_hash(p->about->id, number)));
	BUF_ADD(out, ",\"type\":\"function\",\"function\":{\"name\":");
	put_text(out, walk_get(function, STR("name")));
	BUF_ADD(out, ",\"arguments\":");
	put_arguments(out, walk_get(function, STR("arguments")));
	BUF_ADD(out, "}}");
}

/* Calls are numbered from *next on. */
static void put_calls(const struct piece *p, uint32_t *next, bool indexed, struct buf *out)
{
	struct walk list = walk_into(p->calls);
	bool comma = false;
	BUF_ADD(out, ",\"tool_calls\":[");
	for (struct str call; walk_element(&list, &call); (*next)++) {
		if (comma)
			buf_addc(out, ',');
		comma = true;
		put_call(p, call, *next, indexed, out);
	}
	buf_addc(out, ']');
}

static void put_logprobs(const struct piece *p, struct buf *out)
{
	if (!p->logprobs.ptr || memchr(p->logprobs.ptr, '\r', p->logprobs.len)) /* it would end a line of the event */
		return;
	BUF_ADD(out, ",\"logprobs\":{\"content\":");
	buf_adds(out, p->logprobs);
	buf_addc(out, '}');
}

static struct str finish_of(const struct piece *p, bool called)
{
	if (called)
		return STR("\"tool_calls\"");
	return walk_is(p->reason, STR("length")) ? STR("\"length\"") : STR("\"stop\"");
}

static void put_usage(const struct piece *p, struct buf *out)
{
	buf_addf(out, "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld", (long long)p->prompt, (long long)p->made,
		 (long long)(p->prompt + p->made));
	if (p->cached >= 0)
		buf_addf(out, ",\"prompt_tokens_details\":{\"cached_tokens\":%lld}", (long long)p->cached);
	buf_addc(out, '}');
}

/* ---- whole ---- */

bool ollama_chat_whole(const struct ollama_chat_about *about, struct str body, struct buf *out)
{
	struct piece p;
	uint32_t calls = 0;
	if (!read_piece(about, body, &p) || p.error || !p.done)
		return false;
	put_start(about, "chat.completion", out);
	BUF_ADD(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
	if (p.calls.ptr && !walk_inside(p.content).len)
		BUF_ADD(out, "null");
	else
		put_text(out, p.content);
	if (walk_inside(p.thinking).len) {
		BUF_ADD(out, ",\"reasoning\":");
		buf_adds(out, p.thinking);
	}
	if (p.calls.ptr)
		put_calls(&p, &calls, false, out);
	buf_addc(out, '}');
	put_logprobs(&p, out);
	BUF_ADD(out, ",\"finish_reason\":");
	buf_adds(out, finish_of(&p, calls > 0));
	BUF_ADD(out, "}],");
	put_usage(&p, out);
	buf_addc(out, '}');
	return true;
}

/* ---- a stream ---- */

static void open_chunk(const struct ollama_chat_about *about, struct buf *out)
{
	BUF_ADD(out, "data: ");
	put_start(about, "chat.completion.chunk", out);
	BUF_ADD(out, ",\"choices\":[");
}

static void close_event(struct buf *out)
{
	BUF_ADD(out, "}\n\n");
}

static void put_delta(const struct piece *p, struct ollama_chat_stream *state, struct buf *out)
{
	bool thinks = walk_inside(p->thinking).len > 0, speaks = walk_inside(p->content).len > 0;
	if (state->begun && !thinks && !speaks && !p->calls.ptr && !p->logprobs.ptr)
		return;
	state->begun = true;
	open_chunk(p->about, out);
	BUF_ADD(out, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":");
	put_text(out, p->content);
	if (thinks) {
		BUF_ADD(out, ",\"reasoning\":");
		buf_adds(out, p->thinking);
	}
	if (p->calls.ptr)
		put_calls(p, &state->calls, true, out);
	buf_addc(out, '}');
	put_logprobs(p, out);
	BUF_ADD(out, ",\"finish_reason\":null}]");
	close_event(out);
}

static void put_end(const struct piece *p, struct ollama_chat_stream *state, struct buf *out)
{
	state->done = true;
	open_chunk(p->about, out);
	BUF_ADD(out, "{\"index\":0,\"delta\":{},\"finish_reason\":");
	buf_adds(out, finish_of(p, state->calls > 0));
	BUF_ADD(out, "}]");
	close_event(out);
	if (p->about->usage) {
		open_chunk(p->about, out);
		BUF_ADD(out, "],");
		put_usage(p, out);
		close_event(out);
	}
	BUF_ADD(out, "data: [DONE]\n\n");
}

static void take_line(const struct ollama_chat_about *about, struct ollama_chat_stream *state, struct str line, struct arena *a, struct buf *out)
{
	struct piece p;
	if (read_piece(about, line, &p) && !p.error) {
		put_delta(&p, state, out);
		if (p.done)
			put_end(&p, state, out);
		return;
	}
	if (p.error)
		ollama_chat_failure(200, line, a, &state->failure);
	else
		state->failure = (struct failure){.error = ERROR_UPSTREAM_INVALID, .message = STR("the target's stream holds a line that cannot be read")};
	failure_event(&state->failure, STR("the target sent an error inside the stream"), out);
}

size_t ollama_chat_lines(const struct ollama_chat_about *about, struct ollama_chat_stream *state, struct str bytes, bool last, struct arena *a,
			 struct buf *out)
{
	size_t used = 0;
	while (used < bytes.len) {
		struct str rest = str_skip(bytes, used);
		size_t n = str_find(rest, '\n');
		if (n == rest.len && !last)
			break;
		struct str line = str_trim(str_head(rest, n));
		used += n < rest.len ? n + 1 : n;
		if (line.len > 0 && !state->done && !state->failure.error)
			take_line(about, state, line, a, out);
	}
	return used;
}

void ollama_chat_failure(int status, struct str body, struct arena *a, struct failure *out)
{
	failure_read(400, body, a, out);
	if (status < 400 && out->error == ERROR_CONTEXT_LENGTH_EXCEEDED)
		return;
	failure_read(status, body, a, out);
}
