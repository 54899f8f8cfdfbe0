/* fuzz_head.c - heads and chunked bodies: any split of the same bytes gives the same result.
 *
 * Byte 0 says request or answer, byte 1 how the bytes are split; the rest is what came from the wire.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/mem.h"
#include "http/chunk.h"
#include "http/head.h"

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop loop; /* only its pool of slabs is used */

/* Lengths of pieces: whole, byte by byte, or what a small generator says. */
struct splitter {
	uint32_t seed;
	bool whole;
};

static size_t next_piece(struct splitter *s, size_t left)
{
	if (s->whole)
		return left;
	s->seed = s->seed * 1664525 + 1013904223;
	size_t n = s->seed >> 24 & 1 ? 1 : s->seed >> 26;
	return n < 1 ? 1 : n < left ? n : left;
}

/* What the bytes meant. */
struct outcome {
	enum http_parse head;
	struct http_slab *slab;
	enum chunk_result chunks;
	struct buf body;
	size_t used;
};

static void read_head(struct outcome *o, struct str bytes, struct splitter *s, bool request)
{
	const char *why = NULL;
	o->head = HTTP_PARSE_MORE;
	while (bytes.len > 0 && o->head == HTTP_PARSE_MORE) {
		REQUIRE(http_slab_room(o->slab)); /* else it would have been TOO_LARGE before */
		size_t room = o->slab->cap - o->slab->len, n = next_piece(s, bytes.len);
		struct str piece = str_head(bytes, n < room ? n : room);
		memcpy(o->slab->bytes + o->slab->len, piece.ptr, piece.len);
		o->slab->len += piece.len;
		bytes = str_skip(bytes, piece.len);
		o->head = http_head_parse(o->slab, request, &why);
	}
	REQUIRE(o->head != HTTP_PARSE_BAD || why);
}

static void read_chunks(struct outcome *o, struct str bytes, struct splitter *s)
{
	struct chunk_decoder d = {0};
	o->chunks = CHUNK_MORE;
	while (bytes.len > 0 && o->chunks == CHUNK_MORE) {
		char *data;
		size_t data_len, used, n = next_piece(s, bytes.len);
		char *copy = mem_alloc(n); /* of the exact size: a sanitizer sees what is beyond */
		memcpy(copy, bytes.ptr, n);
		o->chunks = chunk_decode(&d, copy, n, &data, &data_len, &used);
		REQUIRE(data >= copy && data + data_len <= copy + n && used <= n);
		REQUIRE(o->chunks != CHUNK_MORE || used == n);
		buf_add(&o->body, data, data_len);
		o->used += used;
		bytes = str_skip(bytes, used);
		free(copy);
	}
}

static void run(struct outcome *o, struct str bytes, struct splitter s, bool request)
{
	*o = (struct outcome){.slab = http_slab_take(&loop)};
	buf_init(&o->body, SIZE_MAX / 2);
	read_head(o, bytes, &s, request);
	if (o->head == HTTP_PARSE_DONE)
		bytes = str_skip(bytes, o->slab->head.size);
	else if (o->head == HTTP_PARSE_BAD)
		return; /* the bytes are tried as chunks alone where they are no head */
	read_chunks(o, bytes, &s);
}

static void release(struct outcome *o)
{
	http_slab_give(&loop, o->slab);
	buf_release(&o->body);
}

/* What stands in a head that was taken. */
static void check_head(const struct http_head *h, bool request)
{
	unsigned hosts = 0, lengths = 0, codings = 0;
	REQUIRE(h->size <= HTTP_MAX_HEAD && memcmp(h->base + h->size - 4, "\r\n\r\n", 4) == 0);
	REQUIRE(!memchr(h->base, 0, h->size));
	for (uint32_t i = 0; i < h->field_count; i++) {
		const struct http_field *f = &h->fields[i];
		struct str name = http_field_name(h, f), value = http_field_value(h, f);
		REQUIRE(f->name_at + f->name_len < h->size &&
			f->value_at + f->value_len <= h->size);
		REQUIRE(name.len > 0 && name.ptr[name.len] == ':');
		REQUIRE(str_find(name, ' ') == name.len && str_find(name, ':') == name.len);
		REQUIRE(str_find(value, '\n') == value.len && str_find(value, '\r') == value.len);
		hosts += str_ieq(name, STR("host"));
		lengths += str_ieq(name, STR("content-length"));
		codings += str_ieq(name, STR("transfer-encoding"));
	}
	REQUIRE(lengths + codings <= 1 && lengths == (h->content_length >= 0) &&
		codings == h->chunked);
	REQUIRE(!request || (hosts <= 1 && (hosts == 1 || h->minor == 0)));
	REQUIRE(!request || (h->url_len > 0 && str_find(http_head_url(h), ' ') == h->url_len));
	REQUIRE(request || (h->status >= 100 && h->status <= 999));
}

static void check_same(const struct http_head *a, const struct http_head *b)
{
	REQUIRE(a->size == b->size && a->field_count == b->field_count);
	REQUIRE(memcmp(a->fields, b->fields, a->field_count * sizeof(*a->fields)) == 0);
	REQUIRE(a->content_length == b->content_length && a->status == b->status);
	REQUIRE(a->url_at == b->url_at && a->url_len == b->url_len);
	REQUIRE(a->method == b->method && a->minor == b->minor && a->chunked == b->chunked);
	REQUIRE(a->keep_alive == b->keep_alive && a->expect_continue == b->expect_continue);
}

/* Of two faults the one that is found first depends on the split; that there is one does not. */
static bool refused(enum http_parse r)
{
	return r != HTTP_PARSE_DONE && r != HTTP_PARSE_MORE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, split;
	if (size < 2)
		return 0;
	bool request = data[0] & 1;
	struct str bytes = str_of((const char *)data + 2, size - 2);
	run(&whole, bytes, (struct splitter){.whole = true}, request);
	run(&split, bytes, (struct splitter){.seed = data[1]}, request);
	REQUIRE(refused(whole.head) == refused(split.head));
	REQUIRE(refused(whole.head) || whole.head == split.head);
	if (whole.head == HTTP_PARSE_DONE) {
		check_head(&whole.slab->head, request);
		check_same(&whole.slab->head, &split.slab->head);
	}
	if (whole.head == split.head && whole.head != HTTP_PARSE_BAD) {
		REQUIRE(whole.chunks == split.chunks &&
			str_eq(buf_str(&whole.body), buf_str(&split.body)));
		REQUIRE(whole.chunks == CHUNK_BAD || whole.used == split.used);
	}
	release(&whole);
	release(&split);
	return 0;
}
