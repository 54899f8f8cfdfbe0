/* fuzz_cloud.c - any bytes as a request, an event, a whole answer and an error of any cloud: what was JSON stays JSON, what goes to a cloud has
 * the model, the cap and the question for usage that it must have, and nothing grows beyond its bound.
 *
 * The first byte says which cloud, the second which operation.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/cloud.h"
#include "dialect/tap.h"
#include "dialect/walk.h"
#include "http/sse.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "fuzz_cloud.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

#define CAP 77

static bool is_json(struct str text)
{
	return json_scan(text, NULL, 0, NULL, NULL);
}

/* The one member that caps a chat holds it to the cap. */
static void check_cap(const struct cloud_row *row, struct str made)
{
	int64_t n;
	if (!row->cap)
		return;
	struct str cap = walk_get(made, str_from(row->cap)), other = walk_get(made, STR("max_tokens"));
	CHECK(json_raw_i64(cap, &n) && n > 0 && n <= CAP);
	CHECK(!other.ptr || str_eq(str_from(row->cap), STR("max_tokens")));
}

static void request(enum cloud cloud, enum operation op, struct str body, struct arena *a)
{
	struct body_changes changes = {.model = STR("a \"model\" \\ \xc3\xa9"), .ask_usage = true, .cap = CAP};
	struct buf out, why;
	struct json_want model = {.name = STR("model")};
	buf_init(&out, SIZE_MAX);
	buf_init(&why, 4096);
	bool made = cloud_body(cloud, &operations[op], body, &changes, a, &out, &why);
	CHECK(made == (why.len == 0));
	if (made) {
		struct json_scan scan;
		CHECK(is_json(body));
		CHECK(json_scan(buf_str(&out), &model, 1, &scan, NULL) && scan.type == JSON_OBJECT);
		CHECK(model.count == 1 && str_eq(walk_text(a, model.value), changes.model));
		CHECK(out.len <= 3 * body.len + changes.model.len + 256);
		if (op == OP_CHAT)
			check_cap(&clouds[cloud], buf_str(&out));
	}
	buf_release(&out);
	buf_release(&why);
}

static void event(enum cloud cloud, struct cloud_stream *state, struct str bytes, struct arena *a)
{
	struct buf out, again;
	buf_init(&out, SIZE_MAX);
	buf_init(&again, SIZE_MAX);
	if (cloud_event(cloud, state, bytes, a, &out)) {
		struct usage usage = {0};
		CHECK(sse_event_length(buf_str(&out)) == out.len && is_json(sse_data(buf_str(&out))));
		CHECK(out.len <= 3 * bytes.len + FAILURE_TEXT_MAX * 12 + 256);
		CHECK(state->failure.error == ERROR_NONE || tap_event(buf_str(&out), &usage) & TAP_ERROR);
	} else {
		CHECK(out.len == 0);
	}
	buf_release(&out);
	buf_release(&again);
}

static void stream(enum cloud cloud, struct str bytes, struct arena *a)
{
	struct cloud_stream state = {0};
	for (size_t n; (n = sse_event_length(bytes)); bytes = str_skip(bytes, n)) {
		state.failure = (struct failure){0};
		event(cloud, &state, str_head(bytes, n), a);
	}
	state.failure = (struct failure){0};
	event(cloud, &state, bytes, a);
}

static void whole(enum cloud cloud, struct str bytes)
{
	struct buf out, again;
	buf_init(&out, SIZE_MAX);
	buf_init(&again, SIZE_MAX);
	if (cloud_whole(cloud, bytes, &out)) {
		CHECK(is_json(bytes) && is_json(buf_str(&out)));
		CHECK(out.len <= 3 * bytes.len + 256);
		CHECK(!cloud_whole(cloud, buf_str(&out), &again)); /* once is enough */
	} else {
		CHECK(out.len == 0);
	}
	buf_release(&out);
	buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	if (size < 2)
		return 0;
	enum cloud cloud = (enum cloud)(1 + data[0] % (CLOUD_COUNT - 1));
	enum operation op = (enum operation)(data[1] % OP_COUNT);
	struct str bytes = str_of((const char *)data + 2, size - 2);
	struct failure f;
	arena_init(&a, 4096);
	request(cloud, op, bytes, &a);
	stream(cloud, bytes, &a);
	whole(cloud, bytes);
	cloud_failure(cloud, data[1] * 2 + 200, bytes, &a, &f);
	CHECK(f.error > ERROR_NONE && f.error < ERROR_COUNT && f.retry_ms >= 0);
	CHECK(f.error != ERROR_UPSTREAM_AUTH || f.message.len == 0);
	arena_release(&a);
	return 0;
}
