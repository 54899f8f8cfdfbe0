/* server_fixture.h - what tests share that talk to small servers on the loop that they turn themselves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_SERVER_FIXTURE_H
#define VALET_TESTS_SERVER_FIXTURE_H

#include "base/clock.h"
#include "http/server.h"
#include "net/resolve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_US 10000000

static struct loop loop;

static inline void turn(void)
{
	loop_turn(&loop);
	usleep(500);
}

static inline void run_for(int64_t ms)
{
	for (int64_t end = clock_mono_us() + ms * 1000; clock_mono_us() < end;)
		turn();
}

#define UNTIL(condition)                                                                         \
	do {                                                                                     \
		for (int64_t end_ = clock_mono_us() + WAIT_US; !(condition); turn())              \
			if (clock_mono_us() > end_)                                              \
				fail_msg("line %d: waited in vain for %s", __LINE__, #condition); \
	} while (0)

/* One server at a port of this machine. */
struct fake_server {
	struct http_server server;
	struct listener listener;
	uint16_t port;
	char url[80]; /* "http://127.0.0.1:1234" */
};

static inline void fake_gone(struct http_conn *c)
{
}

static inline void fake_accepted(struct listener *l, int fd)
{
	http_conn_open(&CONTAINER_OF(l, struct fake_server, listener)->server, fd);
}

/* `port` 0: any that is free. `owner`: c->server->owner of its connections. */
static inline void fake_server_open(struct fake_server *f, const struct http_server_events *events, void *owner, uint16_t port)
{
	union address a;
	char name[64];
	struct str host;
	http_server_init(&f->server, &loop, events, owner);
	assert_true(address_parse(STR("127.0.0.1"), port, &a));
	assert_int_equal(listener_open(&f->listener, &loop, &a.any, address_len(&a), fake_accepted), 0);
	listener_name(&f->listener, name, sizeof(name));
	assert_true(address_split(str_from(name), &host, &f->port));
	snprintf(f->url, sizeof(f->url), "http://%s", name);
}

static inline void fake_server_close(struct fake_server *f)
{
	listener_close(&f->listener);
	http_server_close(&f->server);
	run_for(20);
}

static inline void end_loop(void)
{
	run_for(30);
	http_slabs_release(&loop);
	resolve_release(&loop);
	loop_release(&loop);
}

#endif
