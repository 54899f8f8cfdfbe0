/* loop.h - one event loop per thread: timers, the mailbox into it, and memory that readers share.
 *
 * A loop and everything started on it belong to the thread that runs it; only mailbox_post() and loop_stop() may be
 * called from elsewhere. Order of a turn (libuv's): timers, descriptors, then closing callbacks. Whatever is closed in a turn
 * is freed in its closing callback at the end of that turn, never inside another callback.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_NET_LOOP_H
#define VALET_NET_LOOP_H

#include "base/list.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* ---- timers: coarse (8 ms), O(1) to start and stop, embedded in their user ---- */

struct timer {
	struct list link;
	int64_t due_ms;                /* loop time; 0 = not running */
	void (*fire)(struct timer *);  /* called once; the timer may be started again inside */
};

#define WHEEL_SLOTS   2048
#define WHEEL_TICK_MS 8

struct wheel {
	struct list slots[WHEEL_SLOTS];
	uint64_t occupied[WHEEL_SLOTS / 64];
	int64_t done_tick; /* every slot up to this tick has been visited */
	int64_t armed_ms;  /* when the loop's one real timer goes off; 0 = not armed */
	uv_timer_t uv;
};

/* ---- the mailbox: how other threads speak to a loop ---- */

struct message {
	struct message *next;
	void (*receive)(struct message *); /* called on the loop's thread; the message belongs to it from then on */
};

struct mailbox {
	uv_async_t async;
	pthread_mutex_t lock; /* covers first, last */
	struct message *first, *last;
};

#define LOOP_SCRATCH_HEADROOM 64
#define LOOP_SCRATCH_BYTES    65536
#define LOOP_SCRATCH_TAIL     64
#define LOOP_COMPOSE_BYTES    (16 * 1024)

struct loop {
	uv_loop_t uv;
	struct wheel wheel;
	struct mailbox mailbox;
	char *scratch;     /* LOOP_SCRATCH_BYTES to read into, with headroom before and a tail after; valid inside one callback */
	char *compose;     /* LOOP_COMPOSE_BYTES to write a message in; valid inside one call */
	void *slabs;       /* http/head.c: free parse buffers of this loop */
	void *resolver;    /* net/resolve.c: cache of names */
	void *owner;       /* whoever runs the loop (a worker …) */
};

void loop_init(struct loop *loop);
/* Runs until loop_stop(). Then closes what the loop itself opened; handles still open must have been closed by owners. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* from any thread */
void loop_release(struct loop *loop);
/* Runs one turn without waiting (tests). */
void loop_turn(struct loop *loop);

int64_t loop_now_ms(const struct loop *loop); /* monotonic, as of the beginning of this turn */

/* (Re)starts the timer to fire in `delay_ms` (never early, up to 8 ms late). */
void timer_start(struct loop *loop, struct timer *t, int64_t delay_ms);
void timer_stop(struct timer *t);
static inline void timer_init(struct timer *t, void (*fire)(struct timer *))
{
	list_init(&t->link);
	t->due_ms = 0;
	t->fire = fire;
}
static inline bool timer_running(const struct timer *t)
{
	return t->due_ms != 0;
}

/* Gives the message to the loop's thread. Any thread; never blocks for long. Messages of one sender arrive in order. */
void mailbox_post(struct loop *to, struct message *m);

/* Calls `caught` on the loop's thread for each of the signal. The handle lives as long as the loop. */
struct loop_signal {
	uv_signal_t uv;
	void (*caught)(struct loop_signal *, int signum);
};
void loop_on_signal(struct loop *loop, struct loop_signal *s, int signum, void (*caught)(struct loop_signal *, int));

#endif
