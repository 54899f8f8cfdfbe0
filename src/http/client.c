/* client.c - see client.h. A connection is connecting, waiting for a head, inside a body, done, or idle in its origin's list.
 *
 * Whoever calls into the user from here guards against upstream_put() inside the event: `in_events` defers it to the event's end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/client.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define INTERIM_MAX  8
#define PENDING_MAX  (256u << 20)
#define READS_PER_TURN 8
#define DRAIN_MS 100

enum state { CONNECTING, HEAD, BODY, DONE, IDLE, CLOSING };

/* What is needed only until the connection stands. */
struct connecting {
	struct resolve resolve;
	struct upstream *resolve_user;
	struct addresses addresses;
	unsigned next;       /* of addresses.list */
	struct buf pending;  /* what was sent meanwhile */
	const char *why;     /* of the last failure */
	enum upstream_failure how;
	bool open;           /* the stream is open (or closing) */
	int64_t until_ms;
	char host[256];
};

static void try_next(struct upstream *u);
static void on_timer(struct timer *t);

void origin_init(struct origin *o, struct loop *loop, struct str host, uint16_t port, struct tls_client *tls)
{
	*o = (struct origin){
		.loop = loop, .host = host, .port = port, .tls = tls,
		.connect_ms = 3000, .idle_ms = 60000, .idle_max = 16384,
	};
	list_init(&o->idle);
}

/* ---- letting go ---- */

static void forget(struct upstream *u)
{
	struct origin *o = u->origin;
	if (u->connecting) {
		resolve_cancel(&u->connecting->resolve);
		buf_release(&u->connecting->pending);
		free(u->connecting);
	}
	free(u);
	if (--o->users == 0 && o->closed && o->unused)
		o->unused(o);
}

static void drop(struct upstream *u)
{
	bool opened = !u->connecting || u->connecting->open;
	if (u->state == CLOSING)
		return;
	if (u->state == IDLE)
		u->origin->idle_count--;
	u->state = CLOSING;
	u->events = NULL;
	list_remove(&u->link);
	http_slab_give(u->origin->loop, u->slab);
	u->slab = NULL;
	if (opened) {
		timer_stop(&u->timer);
		stream_close(&u->stream, false);
	} else { /* nothing that would call back: free at a later turn */
		resolve_cancel(&u->connecting->resolve);
		timer_start(u->origin->loop, &u->timer, 0);
	}
}

static void rest(struct upstream *u)
{
	struct origin *o = u->origin;
	u->state = IDLE;
	u->events = NULL;
	u->user = NULL;
	list_push_front(&o->idle, &u->link);
	o->idle_count++;
	stream_resume(&u->stream);
	if (!timer_running(&u->timer))
		timer_start(o->loop, &u->timer, o->idle_ms);
	u->left = loop_now_ms(o->loop); /* since when it is idle */
}

/* ---- an answer that is over but for its framing ---- */

static void drain_head(struct upstream *u, const struct http_head *h)
{
	u->keep = false;
}

static void drain_data(struct upstream *u, char *data, size_t len, bool last)
{
	u->keep = false;
	upstream_put(u);
}

static void drain_end(struct upstream *u)
{
	timer_stop(&u->timer);
	upstream_put(u);
}

static void drain_failed(struct upstream *u, enum upstream_failure how, const char *why)
{
	upstream_put(u);
}

static const struct upstream_events drain_events = {
	.head = drain_head, .data = drain_data, .end = drain_end, .failed = drain_failed,
};

static void put_now(struct upstream *u)
{
	struct origin *o = u->origin;
	bool whole = u->state == DONE && u->keep && !u->stream.broken && stream_backlog(&u->stream) == 0;
	if (whole && !o->closed && o->idle_count < o->idle_max)
		rest(u);
	else
		drop(u);
}

void upstream_put_soon(struct upstream *u)
{
	if (u->state != BODY || !u->keep) {
		upstream_put(u);
		return;
	}
	u->events = &drain_events;
	u->user = NULL;
	stream_resume(&u->stream);
	timer_start(u->origin->loop, &u->timer, DRAIN_MS);
}

void upstream_put(struct upstream *u)
{
	if (u->in_events)
		u->put = true;
	else
		put_now(u);
}

static void begin_event(struct upstream *u)
{
	u->in_events = true;
}

/* True if the user has let go inside the event. */
static bool end_event(struct upstream *u)
{
	u->in_events = false;
	if (!u->put)
		return false;
	u->put = false;
	put_now(u);
	return true;
}

static void fail(struct upstream *u, enum upstream_failure how, const char *why)
{
	if (u->state == CLOSING || u->state == DONE)
		return;
	u->state = DONE;
	u->keep = false;
	begin_event(u);
	u->events->failed(u, how, why);
	end_event(u);
}

/* ---- an answer ---- */

static void finish(struct upstream *u)
{
	u->state = DONE;
	begin_event(u);
	u->events->end(u);
	end_event(u);
}

static void give_data(struct upstream *u, char *data, size_t len, bool last)
{
	if (last)
		u->state = DONE;
	if (len > 0) {
		begin_event(u);
		u->events->data(u, data, len, last);
		if (end_event(u))
			return;
	}
	if (last)
		finish(u);
}

static void body_with_length(struct upstream *u, char *bytes, size_t len)
{
	size_t n = len < (uint64_t)u->left ? len : (size_t)u->left;
	u->left -= (int64_t)n;
	if (n < len)
		u->keep = false; /* surplus bytes: whatever they are, they are not the next answer */
	give_data(u, bytes, n, u->left == 0);
}

static void body_in_chunks(struct upstream *u, char *bytes, size_t len)
{
	char *data;
	size_t data_len, used;
	enum chunk_result r = chunk_decode(&u->chunk, bytes, len, &data, &data_len, &used);
	if (used < len)
		u->keep = false;
	if (r != CHUNK_BAD) {
		give_data(u, data, data_len, r == CHUNK_END);
		return;
	}
	if (data_len > 0)
		give_data(u, data, data_len, false);
	if (u->state == BODY && u->events)
		fail(u, UPSTREAM_BAD, "malformed chunk");
}

static void take_body(struct upstream *u, char *bytes, size_t len)
{
	if (u->chunked)
		body_in_chunks(u, bytes, len);
	else if (u->left >= 0)
		body_with_length(u, bytes, len);
	else
		give_data(u, bytes, len, false);
}

static bool has_no_body(const struct upstream *u, const struct http_head *h)
{
	return u->head_request || h->status == 204 || h->status == 304 || (!h->chunked && h->content_length == 0);
}

/* An interim answer: what follows it in the slab is the next head. False: too many, or one that we never asked for. */
static bool skip_interim(struct upstream *u)
{
	if (u->slab->head.status == 101 || ++u->interim > INTERIM_MAX)
		return false;
	http_slab_restart(u->slab, u->slab->head.size);
	return true;
}

static void take_head(struct upstream *u)
{
	struct http_slab *slab = u->slab;
	struct http_head *h = &slab->head;
	u->chunked = h->chunked;
	u->left = h->content_length;
	u->keep = h->keep_alive && (h->chunked || h->content_length >= 0 || has_no_body(u, h));
	u->chunk = (struct chunk_decoder){0};
	u->state = BODY;
	u->slab = NULL; /* ours alone until its bytes are used up */
	bool nothing = has_no_body(u, h);
	begin_event(u);
	u->events->head(u, h);
	if (!end_event(u)) {
		if (nothing) {
			u->keep &= slab->len == h->size;
			finish(u);
		} else if (slab->len > h->size) {
			take_body(u, slab->bytes + h->size, slab->len - h->size);
		}
	}
	http_slab_give(u->origin->loop, slab);
}

static void parse_head(struct upstream *u)
{
	const char *why = "answer's head too large";
	for (;;) {
		switch (http_head_parse(u->slab, false, &why)) {
		case HTTP_PARSE_MORE:
			if (!http_slab_room(u->slab))
				fail(u, UPSTREAM_BAD, "answer's head too large");
			return;
		case HTTP_PARSE_DONE:
			break;
		default:
			fail(u, UPSTREAM_BAD, why);
			return;
		}
		if (u->slab->head.status >= 200) {
			take_head(u);
			return;
		}
		if (!skip_interim(u)) {
			fail(u, UPSTREAM_BAD, "unexpected interim answer");
			return;
		}
		if (u->slab->len == 0)
			return;
	}
}

/* ---- reading ---- */

static void read_ended(struct upstream *u, ssize_t n)
{
	if (u->state == IDLE) {
		drop(u);
		return;
	}
	u->keep = false;
	if (u->state == HEAD)
		fail(u, u->slab && u->slab->len ? UPSTREAM_CUT : UPSTREAM_CLOSED,
		     n == STREAM_EOF ? "closed before an answer" : "reset before an answer");
	else if (u->state == BODY && n == STREAM_EOF && !u->chunked && u->left < 0)
		finish(u);
	else if (u->state == BODY)
		fail(u, UPSTREAM_CUT, n == STREAM_EOF ? "closed inside the answer" : "reset inside the answer");
}

static ssize_t read_head(struct upstream *u)
{
	if (!u->slab)
		u->slab = http_slab_take(u->origin->loop);
	struct http_slab *slab = u->slab;
	ssize_t n = stream_read(&u->stream, slab->bytes + slab->len, slab->cap - slab->len);
	if (n > 0) {
		slab->len += (size_t)n;
		parse_head(u);
	} else if (slab->len == 0) {
		http_slab_give(u->origin->loop, slab);
		u->slab = NULL;
	}
	return n;
}

static ssize_t read_body(struct upstream *u)
{
	char *scratch = u->origin->loop->scratch;
	ssize_t n = stream_read(&u->stream, scratch, LOOP_SCRATCH_BYTES);
	if (n > 0)
		take_body(u, scratch, (size_t)n);
	return n;
}

/* One read. Bytes when nothing is asked for end the connection: they are nobody's. */
static ssize_t read_some(struct upstream *u)
{
	switch ((enum state)u->state) {
	case HEAD:
		return read_head(u);
	case BODY:
		return read_body(u);
	case IDLE:
		return STREAM_EOF;
	default:
		u->keep = false;
		stream_pause(&u->stream);
		return STREAM_AGAIN;
	}
}

static void on_readable(struct stream *s)
{
	struct upstream *u = CONTAINER_OF(s, struct upstream, stream);
	for (int i = 0; i < READS_PER_TURN && !s->closing && s->want_read; i++) {
		ssize_t n = read_some(u);
		if (n < 0) {
			read_ended(u, n);
			return;
		}
		if (n == 0 || !stream_more(s) || u->state >= DONE)
			return;
	}
}

static void on_drained(struct stream *s)
{
	struct upstream *u = CONTAINER_OF(s, struct upstream, stream);
	if (u->events && u->events->drained)
		u->events->drained(u);
}

/* ---- connecting ---- */

static void on_connected(struct stream *s)
{
	struct upstream *u = CONTAINER_OF(s, struct upstream, stream);
	struct connecting *k = u->connecting;
	if (u->state != CONNECTING) { /* too late: a failure has been told, upstream_put() is to come */
		stream_pause(s);
		return;
	}
	u->connecting = NULL;
	timer_stop(&u->timer);
	u->state = HEAD;
	bool was_high = k->pending.len > STREAM_HIGH;
	if (k->pending.len > 0) {
		struct iovec all = {k->pending.ptr, k->pending.len};
		stream_write(s, &all, 1);
	}
	buf_release(&k->pending);
	free(k);
	if (was_high && stream_backlog(s) <= STREAM_HIGH) /* else the stream's own `drained` will tell */
		on_drained(s);
}

static void on_failed(struct stream *s, const char *why)
{
	struct upstream *u = CONTAINER_OF(s, struct upstream, stream);
	if (u->connecting) {
		u->connecting->why = why;
		u->connecting->how = s->tls_failed ? UPSTREAM_BAD : UPSTREAM_REFUSED;
		stream_close(s, false); /* the next address is tried once this is closed */
		return;
	}
	read_ended(u, STREAM_ERROR);
}

static void on_closed(struct stream *s)
{
	struct upstream *u = CONTAINER_OF(s, struct upstream, stream);
	if (u->state == CLOSING) {
		forget(u);
		return;
	}
	u->connecting->open = false;
	if (u->state == CONNECTING)
		try_next(u);
}

static const struct stream_events upstream_stream_events = {
	.connected = on_connected,
	.readable = on_readable,
	.drained = on_drained,
	.failed = on_failed,
	.closed = on_closed,
};

/* Tells a failure to connect, from the loop and never from inside upstream_get(). */
static void fail_soon(struct upstream *u, enum upstream_failure how, const char *why)
{
	u->connecting->how = how;
	u->connecting->why = why;
	u->connecting->until_ms = 0;
	timer_start(u->origin->loop, &u->timer, 0);
}

static void try_next(struct upstream *u)
{
	struct connecting *k = u->connecting;
	struct origin *o = u->origin;
	while (k->next < k->addresses.count) {
		const union address *a = &k->addresses.list[k->next++];
		int rc = stream_connect(&u->stream, o->loop, &a->any, address_len(a), o->tls, k->host,
					&upstream_stream_events);
		if (rc == 0) {
			k->open = true;
			return;
		}
		k->why = "cannot connect";
		k->how = UPSTREAM_REFUSED;
	}
	fail_soon(u, k->how, k->why);
}

static void on_resolved(struct resolve *r, const struct addresses *found)
{
	struct connecting *k = CONTAINER_OF(r, struct connecting, resolve);
	struct upstream *u = k->resolve_user;
	k->addresses = *found;
	if (found->count == 0)
		fail_soon(u, UPSTREAM_NO_NAME, "the host's name is not known");
	else
		try_next(u);
}

static void connect_timer(struct upstream *u)
{
	struct connecting *k = u->connecting;
	if (k->until_ms > 0) {
		k->how = UPSTREAM_CONNECT_TIMEOUT;
		k->why = "connecting took too long";
	}
	fail(u, k->how, k->why);
}

static void on_timer(struct timer *t)
{
	struct upstream *u = CONTAINER_OF(t, struct upstream, timer);
	if (u->state == CLOSING) {
		forget(u);
	} else if (u->state == CONNECTING) {
		connect_timer(u);
	} else if (u->events == &drain_events) {
		drop(u);
	} else if (u->state == IDLE) {
		int64_t idle_for = loop_now_ms(u->origin->loop) - u->left;
		if (idle_for + WHEEL_TICK_MS >= u->origin->idle_ms)
			drop(u);
		else
			timer_start(u->origin->loop, t, u->origin->idle_ms - idle_for);
	}
}

static struct upstream *open_new(struct origin *o, const struct upstream_events *events, void *user)
{
	struct upstream *u = mem_zero(sizeof(*u));
	struct connecting *k = mem_zero(sizeof(*k));
	*u = (struct upstream){.origin = o, .events = events, .user = user, .connecting = k, .state = CONNECTING};
	list_init(&u->link);
	timer_init(&u->timer, on_timer);
	o->users++;
	buf_init(&k->pending, PENDING_MAX);
	k->resolve_user = u;
	k->resolve.done = on_resolved;
	memcpy(k->host, o->host.ptr, o->host.len < sizeof(k->host) ? o->host.len : sizeof(k->host) - 1);
	k->until_ms = loop_now_ms(o->loop) + o->connect_ms;
	timer_start(o->loop, &u->timer, o->connect_ms);
	resolve_start(o->loop, &k->resolve, o->host, o->port);
	return u;
}

/* The idle connection that was used last, NULL if there is none. What has come on one meanwhile, and would have been seen later in this turn
 * of the loop, must not be taken for the answer to what is asked next. */
static struct upstream *quiet_one(struct origin *o)
{
	while (!list_empty(&o->idle)) {
		struct upstream *u = CONTAINER_OF(o->idle.next, struct upstream, link);
		if (stream_is_quiet(&u->stream))
			return u;
		drop(u);
	}
	return NULL;
}

struct upstream *upstream_get(struct origin *o, const struct upstream_events *events, void *user, bool fresh)
{
	struct upstream *u = fresh ? NULL : quiet_one(o);
	if (!u)
		return open_new(o, events, user);
	list_remove(&u->link);
	o->idle_count--;
	u->events = events;
	u->user = user;
	u->state = HEAD;
	u->reused = true;
	u->head_request = false;
	u->interim = 0;
	return u;
}

void upstream_send(struct upstream *u, const struct iovec *parts, int n)
{
	if (!u->connecting) {
		stream_write(&u->stream, parts, n); /* a broken stream is told by its poll */
		return;
	}
	for (int i = 0; i < n; i++)
		buf_add(&u->connecting->pending, parts[i].iov_base, parts[i].iov_len);
}

size_t upstream_backlog(const struct upstream *u)
{
	return u->connecting ? u->connecting->pending.len : stream_backlog(&u->stream);
}

void upstream_expect_no_body(struct upstream *u)
{
	u->head_request = true;
}

void upstream_pause(struct upstream *u)
{
	if (!u->connecting)
		stream_pause(&u->stream);
}

void upstream_resume(struct upstream *u)
{
	if (!u->connecting && u->state != CLOSING)
		stream_resume(&u->stream);
}

void origin_close(struct origin *o)
{
	o->closed = true;
	if (o->users == 0) {
		if (o->unused)
			o->unused(o);
		return;
	}
	LIST_EACH(&o->idle, at)
		drop(CONTAINER_OF(at, struct upstream, link));
}
