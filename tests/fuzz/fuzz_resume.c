/* fuzz_resume.c - any bytes as a stream that breaks off and is continued, and as the body that is asked again.
 *
 * The first byte says where the stream breaks off, the second in what pieces it comes. What the client would have read is kept beside, by another way (the tree
 * of JSON): it must be the text that the module believes the client has.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/resume.h"
#include "http/sse.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "fuzz_resume.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                         \
		}                                                                        \
	} while (0)

/* The client's side. */
struct client {
	struct buf text;
	struct arena arena;
	struct resume s;
	unsigned break_at, events;
	bool over;
};

/* What a client reads of an event that has one choice of text. */
static void read_event(struct client *c, struct str event)
{
	const struct json *root = json_parse(&c->arena, str_trim(sse_data(event)), NULL);
	const struct json *choices = json_get(root, STR("choices"));
	const struct json *choice = choices && choices->type == JSON_ARRAY ? choices->first : NULL;
	const struct json *content = json_get(json_get(choice, STR("delta")), STR("content"));
	if (content && content->type == JSON_STRING)
		buf_adds(&c->text, json_text(&c->arena, content));
}

static void see(struct client *c, struct str event)
{
	struct buf out;
	bool continued = c->s.continued && c->s.begun;
	char *copy = malloc(event.len ? event.len : 1); /* exact size: no byte too far */
	if (event.len)
		memcpy(copy, event.ptr, event.len);
	buf_init(&out, 1 << 22);
	switch (resume_event(&c->s, str_of(copy, event.len), &out)) {
	case RESUME_SAME:
		CHECK(out.len == 0);
		read_event(c, str_of(copy, event.len));
		break;
	case RESUME_CHANGED:
		CHECK(continued && sse_event_length(buf_str(&out)) == out.len);
		CHECK(json_scan(sse_data(buf_str(&out)), NULL, 0, NULL, NULL));
		read_event(c, buf_str(&out));
		break;
	case RESUME_NOTHING:
		CHECK(continued);
		break;
	case RESUME_BROKEN:
		CHECK(c->s.why);
		c->over = true;
		break;
	}
	buf_release(&out);
	free(copy);
	CHECK(c->s.barred || str_eq(buf_str(&c->s.text), buf_str(&c->text)));
	CHECK(c->s.blanks <= c->s.text.len);
	c->over |= c->s.barred;
	if (!c->over && ++c->events == c->break_at)
		resume_again(&c->s, c->s.pieces);
}

static void stream(struct client *c, struct str bytes, size_t piece)
{
	struct buf held;
	buf_init(&held, SIZE_MAX);
	for (size_t at = 0; at < bytes.len && !c->over; at += piece) {
		buf_add(&held, bytes.ptr + at, bytes.len - at < piece ? bytes.len - at : piece);
		for (size_t n; !c->over && held.len && (n = sse_event_length(buf_str(&held)));) {
			see(c, str_head(buf_str(&held), n));
			buf_drop(&held, n);
		}
	}
	if (held.len && !c->over && resume_whole(buf_str(&held)))
		see(c, buf_str(&held));
	buf_release(&held);
}

static void check_body(struct client *c, struct str body, bool flags, int64_t cap)
{
	struct json_scan scan;
	struct buf out;
	if (!json_scan(body, NULL, 0, &scan, NULL) || !resume_allowed(scan.whole))
		return;
	CHECK(scan.type == JSON_OBJECT);
	resume_again(&c->s, c->s.pieces);
	buf_init(&out, SIZE_MAX);
	resume_body(&c->s, scan.whole, &(struct resume_ask){.model = STR("e\""), .flags = flags, .usage = !flags, .cap = cap}, &out);
	const struct json *root = json_parse(&c->arena, buf_str(&out), NULL), *was = json_parse(&c->arena, scan.whole, NULL);
	const struct json *messages = json_get(root, STR("messages")), *last = messages ? messages->first : NULL;
	CHECK(messages && messages->count == json_get(was, STR("messages"))->count + 1);
	while (last->next)
		last = last->next;
	CHECK(str_eq(json_text(&c->arena, json_get(last, STR("content"))), str_head(buf_str(&c->s.text), c->s.text.len - c->s.blanks)));
	CHECK(!flags || json_get(root, STR("continue_final_message"))->boolean);
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct str bytes = str_of((const char *)data + 2, size - 2);
	for (int whole = 0; whole < 2; whole++) {
		struct client c = {.break_at = data[0] % 16};
		arena_init(&c.arena, 1024);
		buf_init(&c.text, RESUME_TEXT_MAX);
		resume_init(&c.s, &c.arena);
		stream(&c, bytes, whole ? bytes.len + 1 : (size_t)data[1] % 64 + 1);
		check_body(&c, bytes, data[1] & 1, data[1] >> 4);
		buf_release(&c.text);
		resume_release(&c.s);
		arena_release(&c.arena);
	}
	return 0;
}
