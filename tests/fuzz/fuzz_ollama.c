/* fuzz_ollama.c - any bytes as a chat for Ollama's own API, as its whole answer, as the lines of its stream at any split, and as an error: what is made
 * is JSON and grows within its bound, a stream says the same however it is cut, and of no operation's body a count of words is above the bytes.
 *
 * The first byte says how the stream is cut, and what num_ctx and cap are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/ollama_chat.h"
#include "dialect/ollama_window.h"
#include "dialect/tap.h"
#include "dialect/walk.h"
#include "http/sse.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "fuzz_ollama.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                         \
		}                                                                        \
	} while (0)

static const struct ollama_chat_about about = {.id = STR_INIT("chatcmpl-1"), .model = STR_INIT("a \"model\" \\ \xc3\xa9"), .created = 1, .usage = true};

/* Arguments that were text stand deeper than before: too deep for our reader, not for Ollama's. */
static bool is_json(struct str text, bool or_deep)
{
	struct json_fail fail;
	return json_scan(text, NULL, 0, NULL, &fail) || (or_deep && str_search(str_from(fail.what), STR("deep")) < strlen(fail.what));
}

static void request(struct str body, int64_t num_ctx, int64_t cap, struct arena *a)
{
	struct body_changes changes = {.model = STR("a \"model\" \\ \xc3\xa9"), .cap = cap};
	struct buf out, why;
	buf_init(&out, SIZE_MAX);
	buf_init(&why, 4096);
	bool made = ollama_chat_body(body, &changes, num_ctx, a, &out, &why);
	CHECK(made == (why.len == 0));
	if (made) {
		int64_t n = 0;
		struct str options = walk_get(buf_str(&out), STR("options"));
		CHECK(is_json(body, false) && is_json(buf_str(&out), true));
		CHECK(out.len <= 6 * body.len + 6 * changes.model.len + 512);
		CHECK(walk_is(walk_get(buf_str(&out), STR("model")), changes.model));
		CHECK(str_eq(walk_get(buf_str(&out), STR("truncate")), STR("false")) && str_eq(walk_get(buf_str(&out), STR("shift")), STR("false")));
		CHECK(num_ctx == 0 ? !walk_get(options, STR("num_ctx")).ptr : json_raw_i64(walk_get(options, STR("num_ctx")), &n) && n == num_ctx);
		CHECK(cap == 0 || (json_raw_i64(walk_get(options, STR("num_predict")), &n) && n > 0 && n <= cap));
	}
	buf_release(&out);
	buf_release(&why);
}

static void whole(struct str body)
{
	struct buf out;
	struct usage usage = {0};
	struct str model;
	bool error;
	buf_init(&out, SIZE_MAX);
	if (ollama_chat_whole(&about, body, &out)) {
		CHECK(tap_whole(buf_str(&out), &usage, &model, &error) && !error);
		CHECK((usage.known || usage.flagged) && usage.input >= 0 && usage.output >= 0 && model.ptr);
		CHECK(out.len <= 24 * body.len + 1024);
	} else {
		CHECK(out.len == 0);
	}
	buf_release(&out);
}

/* Each event is one, and its data JSON, but for the last. */
static void check_events(struct str events, const struct ollama_chat_stream *state)
{
	struct usage usage = {0};
	unsigned marks = 0;
	for (size_t n; events.len > 0 && (n = sse_event_length(events)); events = str_skip(events, n)) {
		unsigned now = tap_event(str_head(events, n), &usage);
		CHECK(!(marks & (TAP_DONE | TAP_ERROR)));
		CHECK(now & TAP_DONE || is_json(sse_data(str_head(events, n)), false));
		marks |= now;
	}
	CHECK(events.len == 0);
	CHECK(state->done == ((marks & TAP_DONE) != 0));
	CHECK((state->failure.error != ERROR_NONE) == ((marks & TAP_ERROR) != 0));
	CHECK(!state->done || (marks & TAP_FINISH && marks & TAP_USAGE && (usage.known || usage.flagged)));
}

static void stream(struct str bytes, size_t step, struct arena *a)
{
	struct ollama_chat_stream once = {0}, cut = {0};
	struct buf at_once, by_pieces, held;
	buf_init(&at_once, SIZE_MAX);
	buf_init(&by_pieces, SIZE_MAX);
	buf_init(&held, SIZE_MAX);
	CHECK(ollama_chat_lines(&about, &once, bytes, true, a, &at_once) == bytes.len);
	for (size_t at = 0; at < bytes.len; at += step) {
		buf_adds(&held, str_head(str_skip(bytes, at), step));
		buf_drop(&held, ollama_chat_lines(&about, &cut, buf_str(&held), at + step >= bytes.len, a, &by_pieces));
	}
	CHECK(str_eq(buf_str(&at_once), buf_str(&by_pieces)));
	CHECK(once.done == cut.done && once.failure.error == cut.failure.error);
	check_events(buf_str(&at_once), &once);
	buf_release(&at_once);
	buf_release(&by_pieces);
	buf_release(&held);
}

/* A token is a byte at least, and escapes, names and quotes only add bytes. */
static void words(enum operation op, struct str body)
{
	struct ollama_low low = ollama_input_low(op, body);
	CHECK(low.tokens >= 0 && low.largest >= 0 && low.inputs >= 1 && low.largest <= low.tokens && low.tokens <= low.largest * low.inputs);
	CHECK((size_t)low.tokens < body.len || low.tokens == 0);
	CHECK(op == OP_CHAT || op == OP_COMPLETIONS || op == OP_EMBEDDINGS || op == OP_RESPONSES || op == OP_MESSAGES || low.tokens == 0);
	CHECK(low.inputs == 1 || op == OP_COMPLETIONS || op == OP_EMBEDDINGS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	if (size < 1)
		return 0;
	struct str bytes = str_of((const char *)data + 1, size - 1);
	struct failure f;
	arena_init(&a, 4096);
	request(bytes, data[0] & 1 ? 8192 : 0, data[0] & 2 ? 77 : 0, &a);
	whole(bytes);
	stream(bytes, 1 + data[0] % 31, &a);
	ollama_chat_failure(200 + 2 * data[0], bytes, &a, &f);
	CHECK(f.error > ERROR_NONE && f.error < ERROR_COUNT);
	for (int op = 0; op < OP_ALL; op++)
		words((enum operation)op, bytes);
	arena_release(&a);
	return 0;
}
