/* fetch.c - one small HTTP request with an origin of its own; see fetch.h.
 *
 * Runs on the loop of its caller. The origin is part of the fetch, so the memory of a fetch goes
 * once the origin's last connection is closed: at the end of the loop's turn, never earlier.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/fetch.h"

#include "base/mem.h"

#define FIELD_MAX   256
#define REQUEST_MAX (16 << 20)

/* Nothing of the fetch may be touched after this: `done` may have freed it. */
static void over(struct fetch *f, const char *why)
{
	struct upstream *u = f->upstream;
	timer_stop(&f->timer);
	f->upstream = NULL;
	f->why = why;
	if (why)
		f->status = 0;
	if (u)
		upstream_put(u);
	f->done(f);
}

static void on_head(struct upstream *u, const struct http_head *h)
{
	struct fetch *f = u->user;
	if (h->content_length > 0 && (uint64_t)h->content_length > f->body.max) {
		over(f, "answer too large");
		return;
	}
	f->status = h->status;
	buf_adds(&f->type, str_head(http_head_get(h, STR("content-type")), FIELD_MAX));
	buf_adds(&f->server, str_head(http_head_get(h, STR("server")), FIELD_MAX));
}

static void on_data(struct upstream *u, char *data, size_t len, bool last)
{
	struct fetch *f = u->user;
	if (!buf_add(&f->body, data, len))
		over(f, "answer too large");
}

static void on_end(struct upstream *u)
{
	over(u->user, NULL);
}

static void on_failed(struct upstream *u, enum upstream_failure how, const char *why)
{
	over(u->user, why);
}

static const struct upstream_events fetch_events = {
	.head = on_head,
	.data = on_data,
	.end = on_end,
	.failed = on_failed,
};

static void on_timer(struct timer *t)
{
	struct fetch *f = CONTAINER_OF(t, struct fetch, timer);
	over(f, f->why ? f->why : "no complete answer in time");
}

static void write_request(struct buf *b, const struct url *url, struct str path, struct str fields,
			  struct str body)
{
	buf_adds(b, body.len > 0 ? STR("POST ") : STR("GET "));
	buf_adds(b, url->path);
	buf_adds(b, path);
	if (url->path.len + path.len == 0)
		BUF_ADD(b, "/");
	BUF_ADD(b, " HTTP/1.1\r\nhost: ");
	buf_adds(b, url->authority);
	BUF_ADD(b, "\r\nuser-agent: valet\r\naccept: */*\r\nconnection: close\r\n");
	buf_adds(b, fields);
	if (body.len > 0) {
		if (!str_istarts(fields, STR("content-type:")))
			BUF_ADD(b, "content-type: application/json\r\n");
		BUF_ADD(b, "content-length: ");
		buf_addu(b, body.len);
		BUF_ADD(b, "\r\n");
	}
	BUF_ADD(b, "\r\n");
	buf_adds(b, body);
}

static void send_request(struct fetch *f, const struct url *url, struct str path, struct str fields,
			 struct str body)
{
	struct buf request;
	buf_init(&request, REQUEST_MAX);
	write_request(&request, url, path, fields, body);
	struct iovec all = {request.ptr, request.len};
	f->upstream = upstream_get(&f->origin, &fetch_events, f, true);
	upstream_send(f->upstream, &all, 1);
	buf_release(&request);
}

void fetch_start(struct fetch *f, struct loop *loop, struct tls_client *tls, const struct url *url,
		 struct str path, struct str fields, struct str body, int64_t timeout_ms,
		 size_t max_body, void (*done)(struct fetch *))
{
	void *user = f->user;
	*f = (struct fetch){.done = done, .user = user, .host = mem_str(url->host)};
	origin_init(&f->origin, loop, str_from(f->host), url->port, url->https ? tls : NULL);
	f->origin.idle_max = 0;
	f->origin.connect_ms = timeout_ms;
	buf_init(&f->body, max_body);
	buf_init(&f->type, FIELD_MAX);
	buf_init(&f->server, FIELD_MAX);
	timer_init(&f->timer, on_timer);
	if (url->https && !tls)
		f->why = "https, but TLS is not set up";
	else if (body.len > REQUEST_MAX / 2 || fields.len > REQUEST_MAX / 8)
		f->why = "request too large";
	else
		send_request(f, url, path, fields, body);
	timer_start(loop, &f->timer, f->why ? 0 : timeout_ms);
}

static void free_now(struct origin *o)
{
	struct fetch *f = CONTAINER_OF(o, struct fetch, origin);
	buf_release(&f->body);
	buf_release(&f->type);
	buf_release(&f->server);
	free(f->host);
	free(f);
}

void fetch_free(struct fetch *f)
{
	struct upstream *u = f->upstream;
	timer_stop(&f->timer);
	f->upstream = NULL;
	if (u)
		upstream_put(u);
	f->origin.unused = free_now;
	origin_close(&f->origin);
}
