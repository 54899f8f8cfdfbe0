/* listener.c - accepts connections; a full descriptor table pauses it instead of spinning.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include "net/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define PAUSE_MS         200

static void on_poll(uv_poll_t *poll, int status, int events);

/* The table is full: give one client a quick end with the spare descriptor, then look away for a while. */
static void table_full(struct listener *l)
{
	if (l->reserve >= 0) {
		close(l->reserve);
		int fd = accept(l->fd, NULL, NULL);
		if (fd >= 0)
			close(fd);
		l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	uv_poll_stop(&l->poll);
	timer_start(l->loop, &l->pause, PAUSE_MS);
}

static void go_on(struct timer *t)
{
	struct listener *l = CONTAINER_OF(t, struct listener, pause);
	uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static int accept_one(struct listener *l)
{
#ifdef __linux__
	return accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
	return accept(l->fd, NULL, NULL);
#endif
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct listener *l = CONTAINER_OF(poll, struct listener, poll);
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept_one(l);
		if (fd >= 0)
			l->accepted(l, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			table_full(l);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

void listener_accept_rest(struct listener *l)
{
	for (int fd; l->fd >= 0 && (fd = accept_one(l)) >= 0;)
		l->accepted(l, fd);
}

static int bind_and_listen(int fd, const struct sockaddr *address, socklen_t len)
{
	int one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	return bind(fd, address, len) == 0 && listen(fd, 4096) == 0 ? 0 : -errno;
}

int listener_open(struct listener *l, struct loop *loop, const struct sockaddr *address, socklen_t len,
		  void (*accepted)(struct listener *, int fd))
{
	memset(l, 0, sizeof(*l));
	l->loop = loop;
	l->accepted = accepted;
	l->reserve = -1;
	timer_init(&l->pause, go_on);
	l->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return -errno;
	int rc = bind_and_listen(l->fd, address, len);
	if (rc == 0)
		rc = uv_poll_init(&loop->uv, &l->poll, l->fd);
	if (rc) {
		close(l->fd);
		l->fd = -1;
		return rc;
	}
	l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uv_poll_start(&l->poll, UV_READABLE, on_poll);
	return 0;
}

void listener_close(struct listener *l)
{
	if (l->fd < 0)
		return;
	timer_stop(&l->pause);
	uv_close((uv_handle_t *)&l->poll, NULL);
	close(l->fd);
	if (l->reserve >= 0)
		close(l->reserve);
	l->fd = l->reserve = -1;
}

void listener_name(const struct listener *l, char *out, size_t size)
{
	union address a;
	socklen_t len = sizeof(a);
	memset(&a, 0, sizeof(a));
	getsockname(l->fd, &a.any, &len);
	address_text(&a, out, size);
}
