/* stream.c - a socket on uv_poll_t with our own recv and sendmsg, so that buffers are exactly ours and OpenSSL can sit on it.
 *
 * What is watched follows from four bits: reading is wanted, writing is stuck, connecting, closing (see watch()). libuv
 * touches epoll only when the set changes, so a request that finds its sockets ready costs no epoll_ctl.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Straight to the kernel: in a program with threads, libc's send() and recv() also turn cancellation on and off. */
#ifdef __linux__
static inline ssize_t socket_send(int fd, const void *from, size_t size)
{
	return syscall(SYS_sendto, fd, from, size, MSG_NOSIGNAL, NULL, 0);
}

static inline ssize_t socket_recv(int fd, void *into, size_t size)
{
	return syscall(SYS_recvfrom, fd, into, size, 0, NULL, NULL);
}
#else
static inline ssize_t socket_send(int fd, const void *from, size_t size)
{
	return send(fd, from, size, MSG_NOSIGNAL);
}

static inline ssize_t socket_recv(int fd, void *into, size_t size)
{
	return recv(fd, into, size, 0);
}
#endif

static void on_poll(uv_poll_t *poll, int status, int events);
static void flush(struct stream *s);

static void watch(struct stream *s)
{
	if (s->closing)
		return;
	int events = 0;
	if (s->want_read && !s->connecting)
		events |= UV_READABLE;
	/* bytes that TLS has decrypted already make no socket readable: a writable one brings us back for them */
	s->kicked = s->want_read && !s->connecting && s->tls && tls_pending(s->tls);
	if (s->want_write || s->connecting || s->kicked)
		events |= UV_WRITABLE;
	if (!(events & UV_READABLE) && !s->connecting && !s->hung_up)
		events |= UV_DISCONNECT;
	if (events)
		uv_poll_start(&s->poll, events, on_poll);
	else
		uv_poll_stop(&s->poll);
}

static int make_nonblocking(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0))
		return 0;
	return -errno;
}

static int begin(struct stream *s, struct loop *loop, int fd, const struct stream_events *events)
{
	memset(s, 0, sizeof(*s));
	s->loop = loop;
	s->fd = fd;
	s->events = events;
	buf_init(&s->out, STREAM_MAX);
	int rc = make_nonblocking(fd);
	return rc ? rc : uv_poll_init(&loop->uv, &s->poll, fd);
}

int stream_open(struct stream *s, struct loop *loop, int fd, const struct stream_events *events)
{
	int rc = begin(s, loop, fd, events);
	if (rc) {
		close(fd);
		return rc;
	}
	s->want_read = true;
	watch(s);
	return 0;
}

int stream_connect(struct stream *s, struct loop *loop, const struct sockaddr *address, socklen_t len,
		   struct tls_client *tls, const char *name, const struct stream_events *events)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* before the poll handle is open: a handle could only be forgotten by a close that takes a turn */
	int rc = connect(fd, address, len) == 0 || errno == EINPROGRESS ? 0 : -errno;
	if (rc == 0)
		rc = begin(s, loop, fd, events);
	if (rc) {
		close(fd);
		return rc;
	}
	s->tls = tls ? tls_new(tls, fd, name) : NULL;
	s->connecting = true;
	watch(s);
	return 0;
}

static void fail(struct stream *s, const char *why)
{
	s->broken = true;
	s->want_write = false;
	buf_release(&s->out);
	s->out_at = 0;
	s->events->failed(s, why);
}

/* ---- connecting ---- */

static const char *connect_problem(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "connection refused";
	case ETIMEDOUT:
		return "connection timed out";
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "no route to host";
	default:
		return "cannot connect";
	}
}

static void now_connected(struct stream *s)
{
	s->connecting = false;
	s->want_read = true;
	s->want_write = false;
	watch(s);
	s->events->connected(s);
}

static void shake_hands(struct stream *s)
{
	switch (tls_handshake(s->tls)) {
	case TLS_DONE:
		now_connected(s);
		return;
	case TLS_WANT_READ:
		uv_poll_start(&s->poll, UV_READABLE, on_poll);
		return;
	case TLS_WANT_WRITE:
		uv_poll_start(&s->poll, UV_WRITABLE, on_poll);
		return;
	default:
		s->tls_failed = true;
		fail(s, tls_why(s->tls));
	}
}

static void go_on_connecting(struct stream *s)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
		fail(s, connect_problem(error));
	else if (s->tls)
		shake_hands(s);
	else
		now_connected(s);
}

/* ---- events ---- */

/* libuv has stopped watching. An answer may wait in front of the error, so a reader finds it by reading. */
static void on_error(struct stream *s)
{
	if (!s->want_read) {
		fail(s, "connection failed");
		return;
	}
	watch(s);
	s->events->readable(s);
}

static void on_writable(struct stream *s)
{
	flush(s);
	if (s->was_high && stream_backlog(s) <= STREAM_LOW && !s->broken) {
		s->was_high = false;
		s->events->drained(s);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct stream *s = CONTAINER_OF(poll, struct stream, poll);
	if (s->connecting) {
		go_on_connecting(s);
		return;
	}
	if (status < 0) {
		on_error(s);
		return;
	}
	if (events & UV_WRITABLE && !s->broken)
		on_writable(s);
	if (s->closing)
		return;
	if ((events & UV_READABLE || s->kicked) && s->want_read) {
		s->events->readable(s);
		if (s->tls && !s->closing && s->kicked != (s->want_read && tls_pending(s->tls)))
			watch(s);
	} else if (events & UV_DISCONNECT) {
		s->hung_up = true;
		watch(s);
		if (s->events->hung_up)
			s->events->hung_up(s);
	}
}

/* ---- reading ---- */

static ssize_t read_tls(struct stream *s, void *into, size_t size)
{
	size_t got = 0;
	switch (tls_read(s->tls, into, size, &got)) {
	case TLS_DONE:
		s->read_full = tls_pending(s->tls) || got == size;
		return (ssize_t)got;
	case TLS_WANT_READ:
	case TLS_WANT_WRITE: /* TLS 1.3 has no renegotiation; a full socket is retried with the next write */
		return STREAM_AGAIN;
	case TLS_CLOSED:
		return STREAM_EOF;
	default:
		return STREAM_ERROR;
	}
}

ssize_t stream_read(struct stream *s, void *into, size_t size)
{
	s->read_full = false;
	if (s->tls)
		return read_tls(s, into, size);
	ssize_t n = socket_recv(s->fd, into, size);
	if (n > 0) {
		s->read_full = (size_t)n == size;
		return n;
	}
	if (n == 0)
		return STREAM_EOF;
	return errno == EAGAIN || errno == EINTR ? STREAM_AGAIN : STREAM_ERROR;
}

bool stream_is_quiet(const struct stream *s)
{
	char byte;
	return recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN && !(s->tls && tls_pending(s->tls));
}

/* ---- writing ---- */

/* Bytes the socket took, 0 if it is full, -1 if it broke. */
static ssize_t send_some(struct stream *s, const struct iovec *parts, int n)
{
	if (s->tls) {
		size_t sent = 0;
		enum tls_result r = tls_write(s->tls, parts[0].iov_base, parts[0].iov_len, &sent);
		s->sent += sent;
		return r == TLS_DONE ? (ssize_t)sent : r == TLS_WANT_WRITE || r == TLS_WANT_READ ? 0 : -1;
	}
	ssize_t sent;
	if (n == 1) {
		sent = socket_send(s->fd, parts[0].iov_base, parts[0].iov_len);
	} else {
		struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)n};
		sent = sendmsg(s->fd, &m, MSG_NOSIGNAL);
	}
	if (sent >= 0) {
		s->sent += (uint64_t)sent;
		return sent;
	}
	return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/* Broken, perhaps inside the user's own call: told from the loop. Shut down, the socket is readable for sure (what has
 * come already can still be read), also where it was TLS or our own ceiling that broke and the peer knows nothing of it. */
static bool break_quietly(struct stream *s)
{
	s->broken = true;
	s->want_write = s->was_high = false;
	buf_release(&s->out);
	s->out_at = 0;
	shutdown(s->fd, SHUT_RDWR);
	watch(s);
	return false;
}

static bool keep_rest(struct stream *s, const struct iovec *parts, int n, size_t sent)
{
	if (s->out_at > STREAM_LOW && s->out_at > s->out.len / 2) { /* a reader that never quite catches up */
		buf_drop(&s->out, s->out_at);
		s->out_at = 0;
	}
	for (int i = 0; i < n; i++) {
		size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
		sent -= skip;
		if (!buf_add(&s->out, (char *)parts[i].iov_base + skip, parts[i].iov_len - skip))
			return break_quietly(s);
	}
	if (!s->want_write) {
		s->want_write = true;
		watch(s);
	}
	if (stream_backlog(s) > STREAM_HIGH)
		s->was_high = true;
	return true;
}

static size_t total_of(const struct iovec *parts, int n)
{
	size_t total = 0;
	for (int i = 0; i < n; i++)
		total += parts[i].iov_len;
	return total;
}

bool stream_write(struct stream *s, const struct iovec *parts, int n)
{
	if (s->broken || s->closing)
		return false;
	if (s->out.len > 0)
		return keep_rest(s, parts, n, 0);
	if (s->tls) { /* one record for small parts; flush() sends it */
		if (!keep_rest(s, parts, n, 0))
			return false;
		flush(s);
		if (stream_backlog(s) <= STREAM_LOW)
			s->was_high = false; /* the caller sees the backlog; `drained` is for those who wait */
		return !s->broken;
	}
	ssize_t sent = send_some(s, parts, n);
	if (sent < 0)
		return break_quietly(s);
	if ((size_t)sent == total_of(parts, n))
		return true;
	return keep_rest(s, parts, n, (size_t)sent);
}

static void all_sent(struct stream *s)
{
	buf_release(&s->out);
	s->out_at = 0;
	if (s->want_write) {
		s->want_write = false;
		watch(s);
	}
	if (s->finishing)
		shutdown(s->fd, SHUT_WR);
}

static void flush(struct stream *s)
{
	while (stream_backlog(s) > 0) {
		struct iovec rest = {s->out.ptr + s->out_at, stream_backlog(s)};
		ssize_t sent = send_some(s, &rest, 1);
		if (sent < 0) {
			break_quietly(s);
			return;
		}
		if (sent == 0)
			break;
		s->out_at += (uint32_t)sent;
	}
	if (stream_backlog(s) == 0)
		all_sent(s);
}

/* ---- the rest ---- */

void stream_finish(struct stream *s)
{
	s->finishing = true;
	if (stream_backlog(s) == 0 && !s->closing)
		shutdown(s->fd, SHUT_WR);
}

void stream_pause(struct stream *s)
{
	if (!s->want_read)
		return;
	s->want_read = false;
	watch(s);
}

void stream_resume(struct stream *s)
{
	if (s->want_read || s->closing)
		return;
	s->want_read = true;
	watch(s);
}

static void on_closed(uv_handle_t *handle)
{
	struct stream *s = CONTAINER_OF(handle, struct stream, poll);
	s->events->closed(s);
}

void stream_close(struct stream *s, bool reset)
{
	if (s->closing)
		return;
	s->closing = true;
	uv_close((uv_handle_t *)&s->poll, on_closed);
	if (s->tls)
		tls_free(s->tls);
	s->tls = NULL;
	if (reset) {
		struct linger now = {.l_onoff = 1, .l_linger = 0};
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	close(s->fd);
	buf_release(&s->out);
	s->out_at = 0;
}
