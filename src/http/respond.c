/* respond.c - writes answers on a client's connection: head, framing, and the frame of a chunk around data in place.
 *
 * What fits is composed in the loop's buffer and leaves in one send: cheaper than gathering small pieces in the kernel.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define COMPOSE_DATA 8192 /* bodies up to this are copied behind the head */

void http_conn_reset(struct http_conn *c);

struct composer {
	char *at, *end;
};

static void put(struct composer *w, const char *bytes, size_t len)
{
	assert((size_t)(w->end - w->at) >= len);
	memcpy(w->at, bytes, len);
	w->at += len;
}

#define PUT(w, literal) put((w), (literal), sizeof(literal) - 1)

static void put_number(struct composer *w, uint64_t n)
{
	char digits[20], *at = digits + sizeof(digits);
	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	put(w, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_status(struct composer *w, int status)
{
	if (status == 200) {
		PUT(w, "HTTP/1.1 200 OK\r\n");
		return;
	}
	const char *reason = http_reason(status);
	PUT(w, "HTTP/1.1 ");
	put_number(w, (uint64_t)status);
	PUT(w, " ");
	put(w, reason, strlen(reason));
	PUT(w, "\r\n");
}

static void put_framing(struct composer *w, struct http_conn *c, int64_t length)
{
	if (length >= 0) {
		PUT(w, "content-length: ");
		put_number(w, (uint64_t)length);
		PUT(w, "\r\n");
	} else if (c->out_chunked) {
		PUT(w, "transfer-encoding: chunked\r\n");
	}
	if (!c->keep_alive)
		PUT(w, "connection: close\r\n");
	else if (c->http_1_0)
		PUT(w, "connection: keep-alive\r\n");
	PUT(w, "\r\n");
}

static bool bodyless(int status)
{
	return status == 204 || status == 304 || status < 200;
}

/* The head, and the first data where it is small, in one piece; `more` is what did not fit. */
static bool send_head(struct http_conn *c, struct composer *w, char *from, struct str data)
{
	char header[CHUNK_HEADER_MAX], *frame = header + sizeof(header);
	if (c->out_chunked && data.len > 0)
		frame = chunk_header_before(header + sizeof(header), data.len);
	put(w, frame, (size_t)(header + sizeof(header) - frame));
	bool inside = data.len <= COMPOSE_DATA && (size_t)(w->end - w->at) > data.len + 2;
	if (inside)
		put(w, data.ptr ? data.ptr : "", data.len);
	struct iovec parts[3] = {{from, (size_t)(w->at - from)}, {(char *)data.ptr, data.len}, {(char *)"\r\n", 2}};
	if (!c->out_chunked || data.len == 0)
		return stream_write(&c->stream, parts, inside ? 1 : 2);
	if (!inside)
		return stream_write(&c->stream, parts, 3);
	PUT(w, "\r\n");
	parts[0].iov_len += 2;
	return stream_write(&c->stream, parts, 1);
}

bool http_respond_begin(struct http_conn *c, int status, struct str fields, int64_t length, struct str data)
{
	struct composer w = {c->server->loop->compose, c->server->loop->compose + LOOP_COMPOSE_BYTES};
	assert(!c->answering && fields.len < LOOP_COMPOSE_BYTES - 256);
	c->answering = true;
	if (c->server->stopping)
		c->keep_alive = false;
	bool nothing = bodyless(status);
	if (nothing || c->head_only) {
		data = STR_NONE;
		c->out_chunked = false;
		c->head_only = true;
	} else if (length < 0) {
		c->out_chunked = !c->http_1_0;
		c->keep_alive &= c->out_chunked;
	} else {
		c->out_chunked = false;
	}
	c->out_left = length < 0 ? -1 : length - (int64_t)data.len;
	put_status(&w, status);
	put(&w, fields.ptr ? fields.ptr : "", fields.len);
	put_framing(&w, c, nothing ? -1 : length);
	return send_head(c, &w, c->server->loop->compose, data);
}

static bool send_apart(struct http_conn *c, char *data, size_t len, const char *tail, size_t tail_len)
{
	char header[CHUNK_HEADER_MAX], *end = header + sizeof(header), *frame = end;
	if (c->out_chunked && len > 0)
		frame = chunk_header_before(end, len);
	struct iovec parts[3] = {{frame, (size_t)(end - frame)}, {data, len}, {(char *)tail, tail_len}};
	return stream_write(&c->stream, parts, 3);
}

static bool send_framed(struct http_conn *c, char *data, size_t len, bool roomy, const char *tail, size_t tail_len)
{
	if (!roomy)
		return send_apart(c, data, len, tail, tail_len);
	char *from = c->out_chunked && len > 0 ? chunk_header_before(data, len) : data;
	memcpy(data + len, tail, tail_len);
	struct iovec whole = {from, (size_t)(data + len + tail_len - from)};
	return stream_write(&c->stream, &whole, 1);
}

/* An answer with a length must not get more bytes than it promised. */
static size_t within_length(struct http_conn *c, size_t len)
{
	if (c->out_left < 0)
		return len;
	if (len > (uint64_t)c->out_left)
		len = (size_t)c->out_left;
	c->out_left -= (int64_t)len;
	return len;
}

bool http_respond_body(struct http_conn *c, char *data, size_t len, bool roomy)
{
	if (c->head_only || len == 0)
		return !c->stream.broken;
	len = within_length(c, len);
	if (len == 0)
		return !c->stream.broken;
	return send_framed(c, data, len, roomy, "\r\n", c->out_chunked ? 2 : 0);
}

void http_respond_last(struct http_conn *c, char *data, size_t len, bool roomy)
{
	if (!c->head_only && c->out_chunked && len > 0) {
		send_framed(c, data, len, roomy, "\r\n0\r\n\r\n", 7);
		c->out_chunked = false;
	} else {
		http_respond_body(c, data, len, roomy);
	}
	http_respond_end(c);
}

void http_respond_end(struct http_conn *c)
{
	if (c->out_chunked && !c->head_only) {
		struct iovec last = {(char *)"0\r\n\r\n", 5};
		stream_write(&c->stream, &last, 1);
	} else if (c->out_left > 0 && !c->head_only) {
		http_abort(c); /* shorter than promised: the client must see that */
		return;
	}
	c->out_chunked = false;
	http_conn_next(c);
}

void http_respond(struct http_conn *c, int status, struct str fields, struct str body)
{
	http_respond_begin(c, status, fields, (int64_t)body.len, body);
	http_respond_end(c);
}

void http_abort(struct http_conn *c)
{
	bool until_close = c->answering && c->out_left < 0 && !c->out_chunked && !c->head_only;
	c->keep_alive = false;
	c->out_chunked = false;
	if (until_close)
		http_conn_reset(c);
	else
		http_conn_next(c);
}
