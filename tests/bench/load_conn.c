/* load_conn.c - the connections of the load generator and its reader of HTTP/1.1 answers
 *
 * Takes any split of the bytes. It trusts the server to frame rightly and checks only what the
 * measurement needs: status, length, the events of a stream, and the body against the reference.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX   2048
#define READ_MAX   (256 * 1024)
#define EVENTS_MAX 512
#define OPEN_BATCH 64

enum state {
	READ_HEAD,
	READ_LENGTH,
	READ_CHUNK_SIZE,
	READ_CHUNK_DATA,
	READ_CHUNK_END,
	READ_TRAILER,
	READ_UNTIL_CLOSE,
	READ_NOTHING /* no request is out */
};

struct conn {
	int fd;
	enum state state;
	const struct request *request;
	struct shot *shot; /* open loop: whose answer it is */
	struct conn *next_free;
	size_t sent;
	bool wants_write;
	bool must_close;
	bool seen_event;
	bool kept; /* open loop: it has had an answer before */
	int status;
	uint64_t started_ns;
	uint64_t event_ns;
	uint64_t left;  /* bytes to come of this body or chunk */
	size_t body_at; /* bytes of the body so far */
	unsigned
		matched; /* bytes of "data:" matched at the start of this line; above 5: no match */
	unsigned line;   /* length of this trailer line */
	size_t head_len;
	char head[HEAD_MAX];
};

static char input[READ_MAX];
static struct conn *free_conns; /* open loop */
static bool complained; /* one error is told in words, the rest are counted */

static void conn_watch(struct conn *c, bool wants_write, int op)
{
	struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0U),
				    .data.ptr = c};

	c->wants_write = wants_write;
	if (epoll_ctl(load.epoll_fd, op, c->fd, &event) < 0)
		fatal("epoll_ctl: %s", strerror(errno));
}

static void conn_open(struct conn *c)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
	int on = 1;

	if (inet_pton(AF_INET, opt.host, &address.sin_addr) != 1)
		fatal("--host wants an IPv4 address, not %s", opt.host);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fatal("socket: %s", strerror(errno));
	if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fatal("connect to port %u: %s", opt.port, strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	conn_watch(c, false, EPOLL_CTL_ADD);
}

static void conn_send(struct conn *c)
{
	while (c->sent < c->request->length) {
		ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->length - c->sent,
				 MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* full, or broken: then reading says so */
		c->sent += (size_t)n;
	}
	bool unsent = c->sent < c->request->length;
	if (unsent != c->wants_write)
		conn_watch(c, unsent, EPOLL_CTL_MOD);
}

static void conn_start(struct conn *c)
{
	c->state = READ_HEAD;
	c->sent = c->head_len = c->body_at = 0;
	c->matched = 0;
	c->must_close = false;
	c->event_ns = 0;
	c->started_ns = now_ns();
	conn_send(c);
}

static void conn_again(struct conn *c, bool reconnect)
{
	if (reconnect) {
		close(c->fd);
		conn_open(c);
		load.counts.reconnects++;
	}
	c->state = READ_NOTHING;
	if (!load.stopping && (opt.mode == MODE_RPS || opt.mode == MODE_STREAM))
		conn_start(c);
	if (opt.mode == MODE_FETCH)
		load.stopping = true;
}

static void complain(const char *what, const struct conn *c)
{
	if (!complained)
		fprintf(stderr, "valet-load: first error: %s (status %d, body byte %zu)\n", what,
			c->status, c->body_at);
	complained = true;
}

/* Open loop: the answer is over, whole or not; the connection waits for the next one. */
static void conn_rest(struct conn *c, int status, bool usable)
{
	struct shot *s = c->shot;

	if (!usable) {
		close(c->fd);
		c->fd = -1;
	}
	c->state = READ_NOTHING;
	c->shot = NULL;
	c->next_free = free_conns;
	free_conns = c;
	if (s)
		open_end(s, status);
}

static void conn_fail(struct conn *c, const char *why)
{
	complain(why, c);
	if (opt.mode == MODE_OPEN) {
		conn_rest(c, 0, false);
		return;
	}
	load.counts.errors++;
	conn_again(c, true);
}

static void conn_done(struct conn *c)
{
	load.counts.requests++;
	if (opt.mode == MODE_OPEN) {
		conn_rest(c, c->status, !c->must_close && c->state != READ_UNTIL_CLOSE);
		return;
	}
	hist_add(&load.latency, now_ns() - c->started_ns);
	if (c->status > 0 && c->status != 200) {
		complain("not a 200", c);
		load.counts.errors++;
	} else if (load.reference && c->body_at != load.reference_len) {
		complain("the body is shorter than the reference", c);
		load.counts.mismatched++;
	} else if (opt.mode == MODE_IDLE) {
		complain("a stream that was to stay open ended", c);
		load.counts.errors++;
	}
	conn_again(c, c->must_close || c->state == READ_UNTIL_CLOSE);
}

/* ---- the answer: every function takes what it wants of the bytes and returns how much ---- */

static unsigned count_events(struct conn *c, const char *p, size_t n)
{
	static const char wanted[] = "data:";
	const char *end = p + n;
	unsigned events = 0;

	while (p < end) {
		if (c->matched < 5) {
			if (*p == wanted[c->matched])
				events += ++c->matched == 5;
			else
				c->matched = *p == '\n' ? 0 : 6;
			p++;
			continue;
		}
		p = memchr(p, '\n', (size_t)(end - p));
		if (!p)
			break;
		c->matched = 0;
		p++;
	}
	return events;
}

static void note_events(struct conn *c, const char *p, size_t n)
{
	unsigned events = count_events(c, p, n);

	if (events == 0)
		return;
	if (opt.mode == MODE_OPEN) {
		if (c->shot && !c->seen_event)
			open_event(c->shot);
		c->seen_event = true;
		return;
	}
	uint64_t now = now_ns();
	if (c->event_ns)
		hist_add(&load.gap, now - c->event_ns);
	c->event_ns = now;
	load.counts.events += events;
	load.counts.event_reads++;
	if (!c->seen_event)
		load.held++;
	c->seen_event = true;
}

static void take_body(struct conn *c, const char *p, size_t n)
{
	load.counts.bytes += n;
	if (opt.mode == MODE_FETCH)
		fwrite(p, 1, n, stdout);
	if (c->status != 200 && !complained && opt.mode != MODE_OPEN) {
		complain("not a 200", c);
		fprintf(stderr, "%.*s\n", n > 500 ? 500 : (int)n, p);
	}
	if ((opt.stream || c->shot) && c->status == 200)
		note_events(c, p, n);
	if (load.reference && c->status == 200 &&
	    (n > load.reference_len - c->body_at ||
	     memcmp(load.reference + c->body_at, p, n) != 0)) {
		complain("the body differs from the reference", c);
		load.counts.mismatched++;
		c->status = -1; /* once for each answer */
	}
	c->body_at += n;
}

static void parse_head(struct conn *c)
{
	const char *length, *coding, *connection;

	c->head[c->head_len] = '\0';
	c->status = (int)strtol(c->head + 9, NULL, 10);
	if (c->status < 200) {
		c->head_len = 0;
		return;
	}
	length = strcasestr(c->head, "\r\ncontent-length:");
	coding = strcasestr(c->head, "\r\ntransfer-encoding:");
	connection = strcasestr(c->head, "\r\nconnection: close");
	c->must_close = connection != NULL;
	if (coding) {
		c->state = READ_CHUNK_SIZE;
		c->left = 0;
	} else if (length) {
		c->state = READ_LENGTH;
		c->left = strtoull(length + 17, NULL, 10);
		if (c->left == 0)
			conn_done(c);
	} else {
		c->state = READ_UNTIL_CLOSE;
	}
}

static size_t feed_head(struct conn *c, const char *p, size_t n)
{
	size_t before = c->head_len, room = HEAD_MAX - 1 - before;
	size_t from = before > 3 ? before - 3 : 0, taken = n < room ? n : room;
	const char *end;

	memcpy(c->head + before, p, taken);
	end = memmem(c->head + from, before + taken - from, "\r\n\r\n", 4);
	if (end) {
		c->head_len = (size_t)(end - c->head) + 4;
		taken = c->head_len - before;
		parse_head(c);
	} else {
		c->head_len = before + taken;
	}
	return taken;
}

static size_t feed_counted(struct conn *c, const char *p, size_t n)
{
	size_t taken = n < c->left ? n : (size_t)c->left;

	take_body(c, p, taken);
	c->left -= taken;
	if (c->left == 0 && c->state == READ_CHUNK_DATA)
		c->state = READ_CHUNK_END;
	else if (c->left == 0)
		conn_done(c);
	return taken;
}

static size_t feed_chunk_size(struct conn *c, char byte)
{
	static const char digits[] = "0123456789abcdef";
	const char *digit = byte ? strchr(digits, byte | 0x20) : NULL;

	if (byte == '\n') {
		c->state = c->left ? READ_CHUNK_DATA : READ_TRAILER;
		c->line = 0;
	} else if (digit && byte != '\r') {
		c->left = c->left << 4 | (uint64_t)(digit - digits);
	}
	return 1;
}

static size_t feed_byte(struct conn *c, char byte)
{
	if (c->state == READ_CHUNK_END && byte == '\n') {
		c->state = READ_CHUNK_SIZE;
		c->left = 0;
	} else if (c->state == READ_TRAILER && byte == '\n') {
		if (c->line == 0)
			conn_done(c);
		c->line = 0;
	} else if (byte != '\r') {
		c->line++;
	}
	return 1;
}

static size_t feed(struct conn *c, const char *p, size_t n)
{
	switch (c->state) {
	case READ_HEAD:
		return feed_head(c, p, n);
	case READ_LENGTH:
	case READ_CHUNK_DATA:
		return feed_counted(c, p, n);
	case READ_CHUNK_SIZE:
		return feed_chunk_size(c, *p);
	case READ_CHUNK_END:
	case READ_TRAILER:
		return feed_byte(c, *p);
	case READ_UNTIL_CLOSE:
		take_body(c, p, n);
		return n;
	case READ_NOTHING:
		break;
	}
	complain("bytes after the answer", c);
	load.counts.errors++;
	return n;
}

static void conn_closed(struct conn *c)
{
	if (c->state == READ_UNTIL_CLOSE) {
		conn_done(c);
	} else if (opt.mode == MODE_OPEN && c->state == READ_NOTHING) {
		close(c->fd); /* stays among the free ones, to be opened again */
		c->fd = -1;
	} else if (opt.mode == MODE_OPEN && c->state == READ_HEAD && c->head_len == 0 && c->kept) {
		c->kept = false;
		close(c->fd);
		conn_open(c);
		conn_start(c);
	}
	else if (c->state == READ_HEAD && c->head_len == 0 && opt.mode != MODE_IDLE && opt.mode != MODE_OPEN)
		conn_again(c, true); /* an idle connection may be closed: RFC 9112, 9.3.1 */
	else
		conn_fail(c, "closed in the middle of an answer");
}

static void conn_ready(struct conn *c, uint32_t events)
{
	if (events & EPOLLOUT)
		conn_send(c);
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	ssize_t n = recv(c->fd, input, sizeof(input), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_closed(c);
		return;
	}
	for (size_t at = 0; at < (size_t)n;) {
		if (c->state == READ_HEAD && c->head_len == HEAD_MAX - 1) {
			conn_fail(c, "a head too large for this tool");
			return;
		}
		at += feed(c, input + at, (size_t)n - at);
	}
}

void conns_open_due(uint64_t begun_ns)
{
	uint64_t due = opt.connections, ramp = (uint64_t)opt.ramp_ms * 1000000,
		 age = now_ns() - begun_ns;

	if (age < ramp)
		due = opt.connections * age / ramp + 1;
	for (unsigned n = 0; n < OPEN_BATCH && load.opened < due && load.opened < opt.connections;
	     n++) {
		struct conn *c = &load.conns[load.opened];

		c->request = request_for(load.opened++);
		conn_open(c);
		conn_start(c);
	}
}

void conns_fire(struct shot *s)
{
	struct conn *c = free_conns;

	if (c) {
		free_conns = c->next_free;
	} else {
		if (load.opened == opt.connections)
			fatal("more than %u requests at once", opt.connections);
		c = &load.conns[load.opened++];
		c->fd = -1;
	}
	c->kept = c->fd >= 0;
	if (c->fd < 0)
		conn_open(c);
	c->shot = s;
	c->seen_event = false;
	c->request = &s->request;
	conn_start(c);
}

void conns_turn(int timeout_ms)
{
	conns_turn_ns((uint64_t)timeout_ms * 1000000);
}

void conns_turn_ns(uint64_t timeout_ns)
{
	struct epoll_event events[EVENTS_MAX];
	struct timespec timeout = {(time_t)(timeout_ns / NS_PER_S), (long)(timeout_ns % NS_PER_S)};
	int n = epoll_pwait2(load.epoll_fd, events, EVENTS_MAX, &timeout, NULL);

	for (int i = 0; i < n; i++) {
		char discarded[64];

		if (events[i].data.ptr)
			conn_ready(events[i].data.ptr, events[i].events);
		else if (read(STDIN_FILENO, discarded, sizeof(discarded)) >= 0)
			load.stopping = true;
	}
}

void conns_init(void)
{
	struct epoll_event event = {.events = EPOLLIN};

	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	load.conns = calloc(opt.connections, sizeof(*load.conns));
	if (load.epoll_fd < 0 || !load.conns)
		fatal("out of memory");
	if (opt.mode == MODE_IDLE && epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event))
		fatal("stdin must be a pipe or a terminal: it ends the run");
}
