/* stream.h - bytes in and out of a socket, plain or TLS, on a loop.
 *
 * A stream is embedded in its user. Reading is pulled: `readable` says that stream_read() may have something; reading goes on being
 * watched until stream_pause(). Writing is pushed: stream_write() sends what the socket takes and keeps the rest. Back-pressure
 * has one rule, here: a writer looks at stream_backlog() and stops its source above STREAM_HIGH; `drained` comes once the backlog
 * has fallen to STREAM_LOW again. After stream_close() no event comes but `closed`, at the end of the loop's turn; memory may
 * be freed there. All calls on the loop's thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_NET_STREAM_H
#define VALET_NET_STREAM_H

#include "base/buf.h"
#include "net/loop.h"
#include "net/tls.h"

#include <sys/socket.h>
#include <sys/uio.h>

#define STREAM_HIGH (64 * 1024)  /* bytes of backlog above which a source should pause */
#define STREAM_LOW  (16 * 1024)
#define STREAM_MAX  (256 * 1024 * 1024) /* ceiling of the backlog: one answer that is whole in memory already */

struct stream;

struct stream_events {
	void (*connected)(struct stream *);            /* stream_connect() succeeded, TLS included */
	void (*readable)(struct stream *);
	void (*drained)(struct stream *);              /* backlog back at STREAM_LOW or less, after it was above STREAM_HIGH */
	void (*failed)(struct stream *, const char *why); /* connecting or writing failed; the user closes. `why` is static text */
	void (*hung_up)(struct stream *);              /* the peer has ended while reading is paused; may be NULL: seen when resumed */
	void (*closed)(struct stream *);
};

struct stream {
	uv_poll_t poll;
	struct loop *loop;
	const struct stream_events *events;
	struct tls *tls; /* NULL: plain */
	struct buf out;  /* backlog; memory is given back when it is empty */
	uint32_t out_at; /* bytes of `out` sent already */
	int fd;
	uint64_t sent;   /* bytes that the socket has taken, ever: progress of a slow reader */
	bool connecting : 1;
	bool want_read : 1;  /* the user wants `readable` */
	bool want_write : 1; /* the socket was full, or TLS wants to write */
	bool was_high : 1;
	bool closing : 1;
	bool broken : 1;     /* a write failed; nothing more is sent */
	bool hung_up : 1;    /* the peer has gone while reading was paused */
	bool finishing : 1;  /* shut down our side once the backlog is empty */
	bool read_full : 1;  /* the last read filled its buffer: more may wait */
	bool tls_failed : 1; /* connected, but TLS did not come about */
	bool kicked : 1;     /* writability is watched only to come back for bytes inside TLS */
};

/* Takes over a connected descriptor (made non-blocking). Reading starts. 0, or a negative errno (the descriptor is closed). */
int stream_open(struct stream *s, struct loop *loop, int fd, const struct stream_events *events);
/* Begins to connect; `connected` or `failed` follows, never before this returns 0. `tls`: NULL for plain TCP. `name`: for SNI and the check
 * of the certificate; copied. Negative errno: not begun, nothing to close. */
int stream_connect(struct stream *s, struct loop *loop, const struct sockaddr *address, socklen_t len,
		   struct tls_client *tls, const char *name, const struct stream_events *events);

#define STREAM_AGAIN (0)  /* nothing now */
#define STREAM_EOF   (-1) /* the peer has ended in order */
#define STREAM_ERROR (-2) /* reset, TLS failure */
/* Bytes read (> 0), or one of the above. */
ssize_t stream_read(struct stream *s, void *into, size_t size);
/* True if the last stream_read() filled its buffer, so that more may be waiting. */
static inline bool stream_more(const struct stream *s)
{
	return s->read_full;
}

/* True if nothing waits to be read, not even the peer's end. One system call (0.2 µs). */
bool stream_is_quiet(const struct stream *s);

/* Sends, keeps what does not go out now. False once the stream is broken (`failed` has been or will be called from the loop). */
bool stream_write(struct stream *s, const struct iovec *parts, int n);
static inline size_t stream_backlog(const struct stream *s)
{
	return s->out.len - s->out_at;
}

/* Ends our side in order (FIN) as soon as everything is sent; reading goes on. */
void stream_finish(struct stream *s);

void stream_pause(struct stream *s);  /* no `readable` until stream_resume(); a peer that leaves is still noticed: `hung_up` */
void stream_resume(struct stream *s);
/* Ends at once; unsent bytes are lost. `reset`: with RST instead of FIN. `closed` follows. */
void stream_close(struct stream *s, bool reset);

/* Listens on `address`; `accepted` gets each new descriptor (non-blocking, TCP_NODELAY). Shared by threads with SO_REUSEPORT. */
struct listener {
	uv_poll_t poll;
	struct loop *loop;
	struct timer pause; /* after EMFILE */
	int fd, reserve;    /* reserve: a spare descriptor, so that a full table can still refuse a client */
	void (*accepted)(struct listener *, int fd);
};
/* 0 or a negative errno. */
int listener_open(struct listener *l, struct loop *loop, const struct sockaddr *address, socklen_t len,
		  void (*accepted)(struct listener *, int fd));
/* Accepts whoever waits already: closing would reset them. */
void listener_accept_rest(struct listener *l);
void listener_close(struct listener *l);
/* The bound address, "127.0.0.1:9300". */
void listener_name(const struct listener *l, char *out, size_t size);

#endif
