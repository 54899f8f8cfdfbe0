/* server.h - the client's side: a connection that reads whole requests and writes answers, one request after the other.
 *
 * A request is given to the server's `request` once its head and body are complete; pipelined ones wait, in order. The body is held
 * once: inside the slab of the head where it fits there, else in a buffer that grows as bytes arrive. Reading goes on while a request is
 * being answered, so that a client that leaves is noticed at once (`gone`). Answers are written with http_respond(), or with
 * http_respond_begin/body/end; framing (Content-Length, chunked, keep-alive) is this file's. All on the loop's thread.
 *
 * Time-outs: 10 s for a head from its first byte, 1 KiB/s for a body, `idle_ms` between requests, 60 s without progress of a
 * client that does not read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_SERVER_H
#define VALET_HTTP_SERVER_H

#include "http/chunk.h"
#include "http/head.h"
#include "net/stream.h"

#define CONN_LOOK_MS 2500
#define HTTP_ROOM    32

struct http_conn;

struct http_server_events {
	/* A request is complete: c->head and c->body are set and stay until http_release_input() or the answer's end. */
	void (*request)(struct http_conn *c);
	/* The client left, or broke, between `request` and the end of the answer. Nothing may be written any more; the user lets go of c
	 * (it frees itself). Never called from inside a call of the user's on this connection. */
	void (*gone)(struct http_conn *c);
	/* The backlog has fallen to STREAM_LOW again. May be NULL. */
	void (*drained)(struct http_conn *c);
	/* A message that cannot be read: answer with http_respond() (the connection closes afterwards). `status` is 400, 408, 413, 414,
	 * 431 or 501; `why` static text. NULL: an empty answer with that status. */
	void (*refuse)(struct http_conn *c, int status, const char *why);
};

struct http_server {
	struct loop *loop;
	const struct http_server_events *events;
	void *owner;
	struct list conns;    /* all open connections */
	uint32_t conn_count;
	uint32_t conn_max;    /* further clients are closed at once; 0 = no limit */
	size_t max_body;      /* bytes; larger: 413 before a byte of it is stored */
	int64_t idle_ms;      /* between requests */
	bool stopping;        /* answers carry "connection: close"; idle connections are closed */
};

enum conn_state { CONN_HEAD, CONN_BODY, CONN_ANSWER, CONN_LINGER };

struct http_conn {
	struct stream stream;
	struct http_server *server;
	struct list link;
	struct timer timer;        /* looks at the connection every CONN_LOOK_MS; nothing on the hot path touches it */
	struct http_slab *slab;    /* head of the current request, small body, bytes of the next; NULL while idle */
	struct http_head *head;    /* in the slab; valid from `request` to http_release_input() */
	struct str body;           /* in the slab or in large */
	struct buf large;          /* a body that does not fit in the slab */
	void *user;                /* the owner's, for the current request */
	int64_t since_ms;          /* when the state began, or the last look that saw progress */
	int64_t out_left;          /* bytes of a body with a length still to be written; -1: chunked or until the end */
	uint64_t mark;             /* progress at the last look: bytes of a body read, or bytes sent */
	struct chunk_decoder chunk; /* of a chunked body being read */
	uint64_t body_left;        /* bytes of a body with a length still to be read */
	uint32_t consumed;         /* bytes at the front of the slab that belong to the current request */
	uint8_t state;             /* enum conn_state */
	bool answering : 1;        /* between respond_begin and respond_end */
	bool out_chunked : 1;      /* the answer's body is chunked */
	bool keep_alive : 1;
	bool http_1_0 : 1;
	bool head_only : 1;        /* the request was a HEAD: no body is written */
	bool in_events : 1;        /* inside process(): a next request is looked at when we return there */
	bool stuck : 1;            /* the backlog was not empty at the last look */
};

/* Begins to serve a descriptor. */
void http_conn_open(struct http_server *server, int fd);
void http_server_init(struct http_server *s, struct loop *loop, const struct http_server_events *events, void *owner);
/* Closes idle connections within a moment and the others after their answer. */
void http_server_drain(struct http_server *s);
/* Closes everything now. */
void http_server_close(struct http_server *s);

/* Gives back the request's bytes (head and body) while the answer goes on; keeps what was read of a next request. */
void http_release_input(struct http_conn *c);

/* For respond.c: an answer is complete; the next request, or the end of the connection. */
void http_conn_next(struct http_conn *c);

/* A whole answer. `fields`: complete lines "name: value\r\n", may be empty. */
void http_respond(struct http_conn *c, int status, struct str fields, struct str body);

/* An answer in parts. `length`: bytes of the body, or -1 for chunked (to an HTTP/1.0 client: until the connection closes).
 * `data` (may be empty) is the first part of the body and goes out with the head in one write.
 * False: the connection is broken; `gone` will come (not from inside this call). */
bool http_respond_begin(struct http_conn *c, int status, struct str fields, int64_t length, struct str data);
/* More of the body, in one chunk. If `data` has HTTP_ROOM writable bytes before and behind it (`roomy`), the frame is written
 * around it in place and all goes out in one send; the bytes around are then overwritten. Data of 0 bytes writes nothing. */
bool http_respond_body(struct http_conn *c, char *data, size_t len, bool roomy);
/* Ends the answer; the connection goes on with the next request or closes. `c` may be gone afterwards. */
void http_respond_end(struct http_conn *c);
/* The last part and the end in one write. */
void http_respond_last(struct http_conn *c, char *data, size_t len, bool roomy);
/* Breaks an answer off so that the client sees it: closes without the last chunk. */
void http_abort(struct http_conn *c);

#endif
