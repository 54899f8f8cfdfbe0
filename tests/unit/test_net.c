/* test_net.c - src/net: timers, mailbox, addresses, names, streams and the listener, on real sockets of this host.
 *
 * Order is by observed state: every wait is "turn the loop until …", with a ceiling.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop loop;

static void turn(void)
{
	loop_turn(&loop);
	usleep(200);
}

/* Turns the loop until the condition holds, 5 s at most. */
#define UNTIL(condition)                                                             \
	do {                                                                         \
		for (int64_t end_ = clock_mono_us() + 5000000; !(condition); turn()) \
			if (clock_mono_us() > end_)                                  \
				fail_msg("never came true: %s", #condition);         \
	} while (0)

static void turns(int n)
{
	while (n-- > 0)
		turn();
}

/* ---- timers ---- */

static struct probe {
	struct timer timer;
	int64_t asked_us, fired_us;
	int fired, again;
	struct probe *stops;
} probes[4];

static void probe_fired(struct timer *t)
{
	struct probe *p = CONTAINER_OF(t, struct probe, timer);
	p->fired++;
	p->fired_us = clock_mono_us();
	if (p->stops)
		timer_stop(&p->stops->timer);
	if (p->again-- > 0)
		timer_start(&loop, t, 1);
}

static void probe_start(struct probe *p, int64_t delay_ms)
{
	uv_update_time(&loop.uv);
	p->asked_us = (int64_t)uv_now(&loop.uv) * 1000;
	timer_start(&loop, &p->timer, delay_ms);
}

static void probes_init(void)
{
	memset(probes, 0, sizeof(probes));
	for (int i = 0; i < 4; i++)
		timer_init(&probes[i].timer, probe_fired);
}

static void test_timers(void **state)
{
	probes_init();
	probe_start(&probes[0], 50);
	probe_start(&probes[1], 20);
	probe_start(&probes[2], 30);
	probe_start(&probes[3], 100000);
	assert_true(timer_running(&probes[0].timer));
	timer_stop(&probes[2].timer);
	timer_stop(&probes[2].timer);
	UNTIL(probes[0].fired);
	assert_int_equal(probes[1].fired, 1);
	assert_int_equal(probes[2].fired + probes[3].fired, 0);
	assert_true(probes[1].fired_us < probes[0].fired_us);
	assert_true(probes[0].fired_us - probes[0].asked_us >= 50000);
	assert_false(timer_running(&probes[0].timer));
	assert_true(timer_running(&probes[3].timer));
	timer_stop(&probes[3].timer);
}

static void test_timers_inside(void **state)
{
	probes_init();
	probes[0].again = 3;          /* starts itself again */
	probes[1].stops = &probes[2]; /* of the same slot */
	probe_start(&probes[0], 0);
	probe_start(&probes[1], 8);
	probe_start(&probes[2], 8);
	probe_start(&probes[3], 90000);
	probe_start(&probes[3], 8); /* earlier than before */
	UNTIL(probes[0].fired == 4 && probes[1].fired && probes[3].fired);
	turns(50);
	assert_int_equal(probes[2].fired, 0);
	assert_int_equal(probes[0].fired, 4);
}

/* One that is due a whole turn of the wheel later does not fire with those of its slot. */
static void test_timer_rounds(void **state)
{
	probes_init();
	probe_start(&probes[0], 40 + WHEEL_SLOTS * WHEEL_TICK_MS);
	probe_start(&probes[1], 40);
	UNTIL(probes[1].fired);
	assert_int_equal(probes[0].fired, 0);
	assert_true(timer_running(&probes[0].timer));
	timer_stop(&probes[0].timer);
}

/* ---- the mailbox ---- */

struct note {
	struct message m;
	int sender, number;
};

static int received[2], out_of_order;

static void receive_note(struct message *m)
{
	struct note *n = CONTAINER_OF(m, struct note, m);
	out_of_order += n->number != received[n->sender];
	received[n->sender]++;
	free(n);
}

static void *send_notes(void *arg)
{
	for (int i = 0; i < 5000; i++) {
		struct note *n = mem_zero(sizeof(*n));
		n->m.receive = receive_note;
		n->sender = *(int *)arg;
		n->number = i;
		mailbox_post(&loop, &n->m);
	}
	return NULL;
}

static void test_mailbox(void **state)
{
	pthread_t threads[2];
	int ids[2] = {0, 1};
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, send_notes, &ids[i]);
	UNTIL(received[0] == 5000 && received[1] == 5000);
	assert_int_equal(out_of_order, 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void *stop_loop(void *arg)
{
	usleep(20000);
	loop_stop(arg);
	return NULL;
}

static void test_stop(void **state)
{
	pthread_t thread;
	pthread_create(&thread, NULL, stop_loop, &loop);
	loop_run(&loop);
	pthread_join(thread, NULL);
}

/* ---- addresses and names ---- */

static void test_address_parse(void **state)
{
	union address a;
	char text[64];
	static const char *const good[][2] = {
		{"127.0.0.1", "127.0.0.1:80"},
		{"::1", "[::1]:80"},
		{"[2001:db8::1]", "[2001:db8::1]:80"},
	};
	for (int i = 0; i < 3; i++) {
		assert_true(address_parse(str_from(good[i][0]), 80, &a));
		address_text(&a, text, sizeof(text));
		assert_string_equal(text, good[i][1]);
		assert_int_equal(address_is_loopback(&a), i < 2);
	}
	static const char *const names[] = {"",     "localhost", "127.0.0.1.", "1.2.3",
					    "[::1", "::g",       "127.0.0.1 "};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_false(address_parse(str_from(names[i]), 80, &a));
	assert_true(address_parse(STR("127.200.3.4"), 1, &a) && address_is_loopback(&a));
	assert_true(address_parse(STR("0.0.0.0"), 1, &a) && !address_is_loopback(&a));
}

static void test_address_split(void **state)
{
	static const struct {
		const char *text, *host;
		int port; /* -1: refused */
	} cases[] = {
		{"9300", "127.0.0.1", 9300},
		{":9300", "127.0.0.1", 9300},
		{"0.0.0.0:80", "0.0.0.0", 80},
		{"name:65535", "name", 65535},
		{"[::1]:8080", "[::1]", 8080},
		{"a:0", "a", 0},
		{"", "", -1},
		{"name", "", -1},
		{"name:", "", -1},
		{"name:65536", "", -1},
		{"name:-1", "", -1},
		{"name:-0", "", -1},
		{"::1", "", -1},
		{"::1:80", "", -1},
		{"[::1]", "", -1},
		{"[]:80", "", -1},
		{"[::1:80", "", -1},
		{"::1]:80", "", -1},
		{"a:8 0", "", -1},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct str host;
		uint16_t port;
		bool ok = address_split(str_from(cases[i].text), &host, &port);
		if (ok != (cases[i].port >= 0))
			fail_msg("%s", cases[i].text);
		if (!ok)
			continue;
		assert_int_equal(port, cases[i].port);
		assert_true(str_eq(host, str_from(cases[i].host)));
	}
}

static struct addresses resolved;
static int resolutions;

static void on_resolved(struct resolve *r, const struct addresses *a)
{
	resolved = *a;
	resolutions++;
}

static void test_resolve(void **state)
{
	struct resolve r = {.done = on_resolved}, other = {.done = on_resolved};
	resolve_start(&loop, &r, STR("127.0.0.1"), 80);
	assert_int_equal(resolutions, 1);
	resolve_start(&loop, &r, STR("localhost"), 8080);
	resolve_start(&loop, &other, STR("localhost"), 8080);
	resolve_cancel(&other);
	UNTIL(resolutions == 2);
	assert_true(resolved.count > 0);
	assert_int_equal(ntohs(resolved.list[0].v4.sin_port), 8080);
	assert_true(address_is_loopback(&resolved.list[0]));
	resolve_start(&loop, &r, STR("localhost"), 81); /* known by now */
	assert_int_equal(resolutions, 3);
	assert_int_equal(ntohs(resolved.list[0].v4.sin_port), 81);
	resolve_start(&loop, &r, STR("no such name"), 81);
	UNTIL(resolutions == 4);
	assert_int_equal(resolved.count, 0);
	resolve_cancel(&r);
}

/* ---- streams ---- */

static struct end {
	struct stream s;
	int connected, readable, drained, failed, hung_up, closed, eof;
	const char *why;
	bool passive; /* does not read */
	bool closes;  /* inside readable */
	size_t got;
	char bytes[64];
} ours;

static struct end *end_of(struct stream *s)
{
	return CONTAINER_OF(s, struct end, s);
}

static void end_connected(struct stream *s)
{
	end_of(s)->connected++;
}

static void end_readable(struct stream *s)
{
	struct end *e = end_of(s);
	e->readable++;
	if (e->closes)
		stream_close(s, false);
	if (e->closes || e->passive)
		return;
	char bytes[1000];
	ssize_t n = stream_read(s, bytes, sizeof(bytes));
	if (n > 0) {
		if (e->got + (size_t)n <= sizeof(e->bytes))
			memcpy(e->bytes + e->got, bytes, (size_t)n);
		e->got += (size_t)n;
	}
	if (n < 0) {
		e->eof = (int)n;
		stream_pause(s);
	}
}

static void end_drained(struct stream *s)
{
	end_of(s)->drained++;
}

static void end_failed(struct stream *s, const char *why)
{
	end_of(s)->failed++;
	end_of(s)->why = why;
}

static void end_hung_up(struct stream *s)
{
	end_of(s)->hung_up++;
}

static void end_closed(struct stream *s)
{
	end_of(s)->closed++;
}

static const struct stream_events end_events = {
	.connected = end_connected,
	.readable = end_readable,
	.drained = end_drained,
	.failed = end_failed,
	.hung_up = end_hung_up,
	.closed = end_closed,
};

/* A connected pair over loopback: `ours` on the loop, the other end a plain blocking descriptor. */
static int open_pair(void)
{
	union address a;
	socklen_t len = sizeof(a);
	memset(&ours, 0, sizeof(ours));
	int listening = socket(AF_INET, SOCK_STREAM, 0), theirs = socket(AF_INET, SOCK_STREAM, 0);
	address_parse(STR("127.0.0.1"), 0, &a);
	assert_int_equal(bind(listening, &a.any, address_len(&a)), 0);
	assert_int_equal(listen(listening, 8), 0);
	getsockname(listening, &a.any, &len);
	assert_int_equal(connect(theirs, &a.any, len), 0);
	int fd = accept(listening, NULL, NULL);
	close(listening);
	assert_int_equal(stream_open(&ours.s, &loop, fd, &end_events), 0);
	return theirs;
}

static void close_pair(int theirs)
{
	if (theirs >= 0)
		close(theirs);
	stream_close(&ours.s, false);
	stream_close(&ours.s, false);
	assert_int_equal(ours.closed, 0); /* at the end of a turn, not before */
	UNTIL(ours.closed);
}

static bool write_ours(const void *bytes, size_t len)
{
	struct iovec parts[2] = {{(void *)bytes, len / 2},
				 {(char *)(uintptr_t)bytes + len / 2, len - len / 2}};
	return stream_write(&ours.s, parts, 2);
}

static void test_stream_both_ways(void **state)
{
	char bytes[16];
	int theirs = open_pair();
	assert_int_equal(write(theirs, "hello", 5), 5);
	UNTIL(ours.got == 5);
	assert_memory_equal(ours.bytes, "hello", 5);
	assert_true(write_ours("answer", 6));
	assert_int_equal(recv(theirs, bytes, 6, MSG_WAITALL), 6);
	assert_memory_equal(bytes, "answer", 6);
	assert_int_equal(stream_backlog(&ours.s), 0);
	shutdown(theirs, SHUT_WR);
	UNTIL(ours.eof == STREAM_EOF);
	stream_finish(&ours.s);
	assert_int_equal(recv(theirs, bytes, 1, 0), 0);
	assert_int_equal(ours.failed, 0);
	close_pair(theirs);
}

/* What the socket does not take is kept, in order; `drained` comes once when it has gone down. */
static void test_stream_backlog(void **state)
{
	enum { PIECE = 100000, PIECES = 100 };
	char *bytes = mem_alloc(PIECE);
	int theirs = open_pair();
	for (int i = 0; i < PIECES; i++) {
		memset(bytes, i, PIECE);
		assert_true(write_ours(bytes, PIECE));
	}
	assert_true(stream_backlog(&ours.s) > STREAM_HIGH);
	stream_finish(&ours.s); /* after the backlog */
	turns(20);
	assert_int_equal(ours.drained, 0);
	size_t got = 0;
	for (ssize_t n; (n = recv(theirs, bytes, PIECE, MSG_DONTWAIT)) != 0; turn())
		for (ssize_t i = 0; i < n; i++, got++)
			if (bytes[i] != (char)(got / PIECE))
				fail_msg("out of order at %zu", got);
	assert_int_equal(got, (size_t)PIECE * PIECES);
	assert_int_equal(ours.s.sent, got);
	assert_int_equal(ours.drained, 1);
	assert_int_equal(ours.s.out.cap, 0); /* the memory is given back */
	close_pair(theirs);
	free(bytes);
}

static void test_stream_pause(void **state)
{
	int theirs = open_pair();
	stream_pause(&ours.s);
	assert_int_equal(write(theirs, "x", 1), 1);
	turns(20);
	assert_int_equal(ours.readable, 0);
	stream_resume(&ours.s);
	UNTIL(ours.got == 1);
	stream_pause(&ours.s);
	assert_int_equal(write(theirs, "y", 1), 1);
	close(theirs);
	UNTIL(ours.hung_up);
	turns(20);
	assert_int_equal(ours.hung_up, 1);
	assert_int_equal(ours.failed, 0);
	stream_resume(&ours.s); /* what came before the end is not lost */
	UNTIL(ours.eof == STREAM_EOF);
	assert_int_equal(ours.got, 2);
	close_pair(-1);
}

static void test_stream_close_inside(void **state)
{
	int theirs = open_pair();
	ours.closes = true;
	assert_int_equal(write(theirs, "x", 1), 1);
	UNTIL(ours.closed);
	assert_int_equal(ours.readable, 1);
	assert_false(write_ours("x", 1));
	close(theirs);
}

static void reset(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* A peer that answers and resets (it did not read all we sent): the answer is read, then the error. */
static void test_stream_answer_before_reset(void **state)
{
	int theirs = open_pair();
	assert_true(write_ours("unread", 6));
	assert_int_equal(write(theirs, "answer", 6), 6);
	usleep(10000);
	reset(theirs);
	UNTIL(ours.eof);
	assert_int_equal(ours.got, 6);
	close_pair(-1);
}

static void test_stream_reset_while_paused(void **state)
{
	int theirs = open_pair();
	stream_pause(&ours.s);
	reset(theirs);
	UNTIL(ours.failed + ours.hung_up);
	close_pair(-1);
}

/* A write into a connection that is gone is told from the loop, reading or not. */
static void test_stream_write_to_the_dead(void **state)
{
	for (int paused = 0; paused < 2; paused++) {
		int theirs = open_pair();
		close(theirs);
		if (paused)
			stream_pause(&ours.s);
		bool ok = true;
		for (int i = 0; i < 100 && ok; i++, usleep(1000))
			ok = write_ours("xx", 2);
		assert_false(ok);
		assert_int_equal(ours.failed + ours.eof + ours.hung_up, 0);
		UNTIL(ours.failed || ours.eof || ours.hung_up);
		assert_false(write_ours("xx", 2));
		close_pair(-1);
	}
}

static void test_stream_socketpair(void **state)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	memset(&ours, 0, sizeof(ours));
	assert_int_equal(stream_open(&ours.s, &loop, pair[0], &end_events), 0);
	assert_true(write_ours("ab", 2));
	char bytes[2];
	assert_int_equal(recv(pair[1], bytes, 2, MSG_WAITALL), 2);
	close_pair(pair[1]);
	assert_true(stream_open(&ours.s, &loop, -1, &end_events) < 0);
}

/* ---- listening and connecting ---- */

static struct listener listener;
static int accepted[64], accepted_count;

static void on_accepted(struct listener *l, int fd)
{
	accepted[accepted_count++ % 64] = fd;
}

static union address listen_here(void)
{
	union address a;
	socklen_t len = sizeof(a);
	accepted_count = 0;
	address_parse(STR("127.0.0.1"), 0, &a);
	assert_int_equal(listener_open(&listener, &loop, &a.any, address_len(&a), on_accepted), 0);
	getsockname(listener.fd, &a.any, &len);
	return a;
}

static void stop_listening(void)
{
	listener_close(&listener);
	listener_close(&listener);
	turns(2);
	for (int i = 0; i < accepted_count; i++)
		close(accepted[i]);
}

static int connect_to(const union address *a)
{
	memset(&ours, 0, sizeof(ours));
	return stream_connect(&ours.s, &loop, &a->any, address_len(a), NULL, NULL, &end_events);
}

static void test_connect(void **state)
{
	char name[64];
	union address a = listen_here();
	listener_name(&listener, name, sizeof(name));
	assert_int_equal(strncmp(name, "127.0.0.1:", 10), 0);
	assert_int_equal(connect_to(&a), 0);
	assert_int_equal(ours.connected, 0);
	UNTIL(ours.connected && accepted_count == 1);
	assert_true(write_ours("hi", 2));
	assert_int_equal(write(accepted[0], "x", 1), 1);
	UNTIL(ours.got == 1);
	close_pair(-1);
	stop_listening();
}

static void test_connect_refused(void **state)
{
	union address a = listen_here();
	stop_listening();
	assert_int_equal(connect_to(&a), 0);
	UNTIL(ours.failed);
	assert_string_equal(ours.why, "connection refused");
	assert_int_equal(ours.connected, 0);
	close_pair(-1);
}

/* A failure on the spot leaves nothing to close: the same memory serves the next address. */
static void test_connect_at_once_wrong(void **state)
{
	union address wrong, a = listen_here();
	address_parse(STR("255.255.255.255"), 1, &wrong);
	for (int i = 0; i < 3; i++)
		assert_true(connect_to(&wrong) < 0);
	assert_int_equal(connect_to(&a), 0);
	UNTIL(ours.connected);
	close_pair(-1);
	turns(5);
	stop_listening();
}

static void test_listener_taken(void **state)
{
	struct listener other;
	union address a;
	address_parse(STR("203.0.113.7"), 80, &a); /* not an address of ours */
	assert_true(listener_open(&other, &loop, &a.any, address_len(&a), on_accepted) < 0);
	listener_close(&other);
}

/* A full table of descriptors: the listener looks away (no spinning), and goes on when there is room again. */
static void test_listener_full_table(void **state)
{
	struct rlimit before, tight;
	int clients[8];
	union address a = listen_here();
	for (int i = 0; i < 8; i++)
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
	getrlimit(RLIMIT_NOFILE, &before);
	int lowest = dup(0);
	close(lowest);
	tight = before;
	tight.rlim_cur = (rlim_t)lowest + 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(connect(clients[i], &a.any, address_len(&a)), 0);
	UNTIL(timer_running(&listener.pause));
	assert_int_equal(accepted_count, 2);
	assert_true(listener.reserve >= 0);
	turns(20);
	assert_int_equal(accepted_count, 2);
	setrlimit(RLIMIT_NOFILE, &before);
	UNTIL(accepted_count == 7); /* one was turned away */
	stop_listening();
	for (int i = 0; i < 8; i++)
		close(clients[i]);
}

static int setup(void **state)
{
	loop_init(&loop);
	return 0;
}

static int teardown(void **state)
{
	loop_release(&loop);
	resolve_release(&loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_timers_inside),
		cmocka_unit_test(test_timer_rounds),
		cmocka_unit_test(test_mailbox),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_address_parse),
		cmocka_unit_test(test_address_split),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_stream_both_ways),
		cmocka_unit_test(test_stream_backlog),
		cmocka_unit_test(test_stream_pause),
		cmocka_unit_test(test_stream_close_inside),
		cmocka_unit_test(test_stream_answer_before_reset),
		cmocka_unit_test(test_stream_reset_while_paused),
		cmocka_unit_test(test_stream_write_to_the_dead),
		cmocka_unit_test(test_stream_socketpair),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_connect_at_once_wrong),
		cmocka_unit_test(test_listener_taken),
		cmocka_unit_test(test_listener_full_table),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
