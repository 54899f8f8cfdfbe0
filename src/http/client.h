/* client.h - the upstream's side: connections to origins, pooled per loop, that send one request and read one answer at a time.
 *
 * upstream_get() gives an idle connection (at once `reused`) or begins a new one; upstream_send() may be called right away, what is sent
 * before the connection stands goes out when it does. Events of an answer: `head` once, `data` for each piece of body (contiguous, in place,
 * with room for a frame around it), `end` or `failed` once. After `end` or `failed`, or to give up before, the user calls upstream_put(), which
 * pools or closes. An answer with surplus bytes, without a length, or with "connection: close" is never pooled. All on the loop's thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_CLIENT_H
#define VALET_HTTP_CLIENT_H

#include "http/chunk.h"
#include "http/head.h"
#include "net/resolve.h"
#include "net/stream.h"

#define UPSTREAM_HEADROOM 48 /* writable bytes before `data` of the data event; and as many behind it */

struct upstream;

enum upstream_failure {
	UPSTREAM_NO_NAME,     /* the host's name does not resolve */
	UPSTREAM_REFUSED,     /* connecting failed (refused, unreachable): nothing was sent */
	UPSTREAM_CONNECT_TIMEOUT,
	UPSTREAM_CLOSED,      /* closed or reset before the first byte of an answer */
	UPSTREAM_CUT,         /* closed or reset inside an answer */
	UPSTREAM_BAD,         /* TLS failed; not HTTP, ambiguous framing, head too large */
};

struct upstream_events {
	/* The head of the final answer (1xx are skipped). `h` and its bytes are valid inside the call only. `no_body`: end follows right away. */
	void (*head)(struct upstream *u, const struct http_head *h);
	/* Body bytes, writable, with UPSTREAM_HEADROOM writable bytes before and behind; valid inside the call only.
	 * `last`: the answer is complete with these bytes; `end` follows right after this call. */
	void (*data)(struct upstream *u, char *data, size_t len, bool last);
	void (*end)(struct upstream *u);
	void (*failed)(struct upstream *u, enum upstream_failure how, const char *why); /* why: static text */
	void (*drained)(struct upstream *u); /* the backlog of what we send has gone down; may be NULL */
};

/* Where to connect to. Owned by its user (a target); must outlive the pool's use of it. Idle connections hang on it, per loop. */
struct origin {
	struct loop *loop;
	struct str host;         /* name or address, without brackets */
	uint16_t port;
	struct tls_client *tls;  /* NULL: plain */
	int64_t connect_ms;      /* time-out of connecting, TLS included */
	int64_t idle_ms;         /* how long an idle connection is kept */
	uint32_t idle_max;
	struct list idle;        /* of struct upstream, the newest first */
	uint32_t idle_count;
	uint32_t users;          /* upstreams that point here */
	void (*unused)(struct origin *); /* called when `users` has fallen to 0 after origin_close(); may free. May be NULL */
	bool closed;
};

struct upstream {
	struct stream stream;
	struct origin *origin;
	const struct upstream_events *events; /* NULL while idle */
	void *user;
	struct list link;             /* in origin->idle */
	struct timer timer;           /* connecting; idle */
	struct http_slab *slab;       /* while a head is being read */
	struct connecting *connecting; /* look-up and addresses, while connecting */
	struct chunk_decoder chunk;
	int64_t left;                 /* bytes of a body with a length; -1: until the end; */
	uint8_t state;                /* enum in client.c */
	bool reused : 1;              /* has served an answer before: a close before the first byte may be a keep-alive that ended */
	bool chunked : 1;
	bool keep : 1;                /* may be pooled after this answer */
	bool head_request : 1;        /* HEAD: no body follows */
	bool in_events : 1, put : 1;  /* upstream_put() from inside an event: done afterwards */
	uint8_t interim;              /* 1xx heads so far */
};

void origin_init(struct origin *o, struct loop *loop, struct str host, uint16_t port, struct tls_client *tls);
/* Closes idle connections; busy ones close when put. */
void origin_close(struct origin *o);

/* `fresh`: never a pooled one. Never NULL; a failure to connect is told by `failed`, not from inside this call. */
struct upstream *upstream_get(struct origin *o, const struct upstream_events *events, void *user, bool fresh);
/* Sends a part of the request (copied where the socket does not take it at once). */
void upstream_send(struct upstream *u, const struct iovec *parts, int n);
/* Bytes handed to upstream_send() that the socket has not taken yet. */
size_t upstream_backlog(const struct upstream *u);
/* The request is complete and was a HEAD: the answer has no body. Before the answer comes. */
void upstream_expect_no_body(struct upstream *u);
void upstream_pause(struct upstream *u);  /* back-pressure: no `data` until resumed, but for what has been read already */
void upstream_resume(struct upstream *u);
/* Lets go: pools the connection if its answer ended in order, else closes it (the engine notices and stops). No event comes afterwards. */
void upstream_put(struct upstream *u);
/* The same for an answer whose content is complete though its last framing bytes are not here yet: waits up to 100 ms for them, so that
 * the connection can be kept; any more content closes it. */
void upstream_put_soon(struct upstream *u);

#endif
