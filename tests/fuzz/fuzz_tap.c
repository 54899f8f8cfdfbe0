/* fuzz_tap.c - any bytes as answers: streams at any split, whole ones, and their ends.
 *
 * The first byte says how large the pieces are in which the others come.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/json.h"
#include "dialect/tap.h"
#include "http/sse.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                              \
	do {                                                                          \
		if (!(condition)) {                                                   \
			fprintf(stderr, "fuzz_tap.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                      \
		}                                                                     \
	} while (0)

/* What a stream gave: marks and usage, and how many events. */
struct seen {
	unsigned marks;
	uint64_t events, order;
	struct usage usage;
};

static void check_usage(const struct usage *u)
{
	CHECK(u->input >= 0 && u->output >= 0 && u->cached >= 0);
	CHECK(u->input <= 3ll << 32 && u->output <= 1ll << 32 && u->cached <= 1ll << 32);
	CHECK(u->known || (u->input == 0 && u->output == 0 && u->cached == 0));
}

static void see(struct seen *s, struct str event)
{
	char *copy = malloc(event.len ? event.len : 1); /* exact size: no byte too far */
	if (event.len)
		memcpy(copy, event.ptr, event.len);
	struct str own = str_of(copy, event.len);
	unsigned marks = tap_event(own, &s->usage);
	struct str model = tap_event_model(own);
	if (model.ptr) {
		CHECK(model.ptr >= copy && model.ptr + model.len <= copy + event.len);
		CHECK(json_scan(model, NULL, 0, NULL, NULL) && model.ptr[0] == '"');
	}
	CHECK(!(marks & TAP_ONLY_USAGE) || marks & TAP_USAGE);
	CHECK(!(marks & (TAP_DONE | TAP_USAGE)) || marks & TAP_DATA);
	s->marks |= marks;
	s->order = s->order * 31 + marks;
	s->events++;
	free(copy);
}

static void stream(struct str bytes, size_t piece, struct seen *s)
{
	struct buf held;
	buf_init(&held, SIZE_MAX);
	*s = (struct seen){0};
	for (size_t at = 0; at < bytes.len; at += piece) {
		size_t n = bytes.len - at < piece ? bytes.len - at : piece;
		buf_add(&held, bytes.ptr + at, n);
		for (size_t length; held.len && (length = sse_event_length(buf_str(&held)));) {
			see(s, str_head(buf_str(&held), length));
			buf_drop(&held, length);
		}
	}
	if (held.len)
		see(s, buf_str(&held));
	buf_release(&held);
	check_usage(&s->usage);
}

static void whole(struct str bytes)
{
	struct usage usage = {0};
	struct str model;
	bool error = false;
	if (tap_whole(bytes, &usage, &model, &error)) {
		CHECK(json_scan(bytes, NULL, 0, NULL, NULL));
		CHECK(!model.ptr ||
		      (model.ptr >= bytes.ptr && model.ptr + model.len <= bytes.ptr + bytes.len));
	}
	check_usage(&usage);
	usage = (struct usage){0};
	tap_tail(bytes, &usage);
	check_usage(&usage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen once, pieces;
	if (size == 0)
		return 0;
	struct str bytes = str_of((const char *)data + 1, size - 1);
	bool bare_cr = bytes.len &&
		       memchr(bytes.ptr, '\r',
			      bytes.len); /* where a CR LF is cut, one more empty event may come */
	stream(bytes, bytes.len ? bytes.len : 1, &once);
	stream(bytes, (size_t)data[0] % 64 + 1, &pieces);
	CHECK(once.marks == pieces.marks || bare_cr);
	CHECK((once.events == pieces.events && once.order == pieces.order) || bare_cr);
	CHECK(memcmp(&once.usage.input, &pieces.usage.input, 3 * sizeof(int64_t)) == 0 || bare_cr);
	see(&once, bytes);
	whole(bytes);
	return 0;
}
