/* loop.c - the event loop on libuv: a timer wheel driven by one libuv timer, and the mailbox on one uv_async_t.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

static void wheel_arm(struct loop *loop);

int64_t loop_now_ms(const struct loop *loop)
{
	return (int64_t)uv_now(&loop->uv);
}

/* ---- wheel ---- */

static unsigned slot_of(int64_t due_ms)
{
	return (unsigned)((due_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS) % WHEEL_SLOTS;
}

/* Fires what is due in one slot; timers of later rounds of the wheel stay. */
static void visit_slot(struct loop *loop, unsigned slot, int64_t now_ms)
{
	struct list *head = &loop->wheel.slots[slot];
	struct list due;
	list_init(&due);
	LIST_EACH(head, at) {
		struct timer *t = CONTAINER_OF(at, struct timer, link);
		if (t->due_ms <= now_ms) {
			list_remove(at);
			list_push_back(&due, at);
		}
	}
	if (list_empty(head))
		loop->wheel.occupied[slot / 64] &= ~(1ull << (slot % 64));
	while (!list_empty(&due)) { /* a callback may stop other timers of this list */
		struct timer *t = CONTAINER_OF(due.next, struct timer, link);
		list_remove(&t->link);
		t->due_ms = 0;
		t->fire(t);
	}
}

static void wheel_tick(uv_timer_t *uv)
{
	struct loop *loop = CONTAINER_OF(uv, struct loop, wheel.uv);
	int64_t now_ms = loop_now_ms(loop), now_tick = now_ms / WHEEL_TICK_MS;
	loop->wheel.armed_ms = 0;
	if (now_tick - loop->wheel.done_tick > WHEEL_SLOTS)
		loop->wheel.done_tick = now_tick - WHEEL_SLOTS;
	while (loop->wheel.done_tick < now_tick) {
		unsigned slot = (unsigned)(++loop->wheel.done_tick % WHEEL_SLOTS);
		if (loop->wheel.occupied[slot / 64] & 1ull << (slot % 64))
			visit_slot(loop, slot, now_ms);
	}
	wheel_arm(loop);
}

static void arm_at(struct loop *loop, int64_t at_ms)
{
	int64_t delay = at_ms - loop_now_ms(loop);
	loop->wheel.armed_ms = at_ms;
	uv_timer_start(&loop->wheel.uv, wheel_tick, delay > 0 ? (uint64_t)delay : 0, 0);
}

/* Arms the real timer for the next occupied slot, looking at 64 slots at a time. */
static void wheel_arm(struct loop *loop)
{
	struct wheel *w = &loop->wheel;
	for (int64_t tick = w->done_tick + 1, end = tick + WHEEL_SLOTS; tick < end;) {
		unsigned slot = (unsigned)(tick % WHEEL_SLOTS), bit = slot % 64;
		uint64_t rest = w->occupied[slot / 64] >> bit;
		if (rest) {
			arm_at(loop, (tick + __builtin_ctzll(rest)) * WHEEL_TICK_MS);
			return;
		}
		tick += 64 - bit;
	}
}

void timer_start(struct loop *loop, struct timer *t, int64_t delay_ms)
{
	list_remove(&t->link);
	t->due_ms = loop_now_ms(loop) + (delay_ms > 0 ? delay_ms : 1);
	unsigned slot = slot_of(t->due_ms);
	list_push_back(&loop->wheel.slots[slot], &t->link);
	loop->wheel.occupied[slot / 64] |= 1ull << (slot % 64);
	int64_t at_ms = (t->due_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS * WHEEL_TICK_MS;
	if (loop->wheel.armed_ms == 0 || at_ms < loop->wheel.armed_ms)
		arm_at(loop, at_ms);
}

void timer_stop(struct timer *t)
{
	if (t->due_ms == 0)
		return;
	list_remove(&t->link);
	t->due_ms = 0;
}

/* ---- mailbox ---- */

static void mailbox_read(uv_async_t *async)
{
	struct mailbox *box = CONTAINER_OF(async, struct mailbox, async);
	pthread_mutex_lock(&box->lock);
	struct message *m = box->first;
	box->first = box->last = NULL;
	pthread_mutex_unlock(&box->lock);
	while (m) {
		struct message *next = m->next;
		m->receive(m);
		m = next;
	}
}

void mailbox_post(struct loop *to, struct message *m)
{
	struct mailbox *box = &to->mailbox;
	m->next = NULL;
	pthread_mutex_lock(&box->lock);
	bool wake = box->first == NULL;
	if (box->last)
		box->last->next = m;
	else
		box->first = m;
	box->last = m;
	if (wake) /* under the lock: the loop may be torn down once the message was seen */
		uv_async_send(&box->async);
	pthread_mutex_unlock(&box->lock);
}

/* ---- loop ---- */

void loop_init(struct loop *loop)
{
	memset(loop, 0, sizeof(*loop));
	int rc = uv_loop_init(&loop->uv);
	assert(rc == 0);
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		list_init(&loop->wheel.slots[i]);
	uv_timer_init(&loop->uv, &loop->wheel.uv);
	uv_unref((uv_handle_t *)&loop->wheel.uv);
	loop->wheel.done_tick = loop_now_ms(loop) / WHEEL_TICK_MS;
	pthread_mutex_init(&loop->mailbox.lock, NULL);
	rc = uv_async_init(&loop->uv, &loop->mailbox.async, mailbox_read);
	assert(rc == 0);
	char *memory = mem_alloc(LOOP_SCRATCH_HEADROOM + LOOP_SCRATCH_BYTES + LOOP_SCRATCH_TAIL);
	loop->scratch = memory + LOOP_SCRATCH_HEADROOM;
	loop->compose = mem_alloc(LOOP_COMPOSE_BYTES);
}

void loop_run(struct loop *loop)
{
	uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_turn(struct loop *loop)
{
	uv_run(&loop->uv, UV_RUN_NOWAIT);
}

struct stop {
	struct message m;
	struct loop *loop;
};

static void receive_stop(struct message *m)
{
	struct stop *stop = CONTAINER_OF(m, struct stop, m);
	uv_stop(&stop->loop->uv);
	free(stop);
}

void loop_stop(struct loop *loop)
{
	struct stop *stop = mem_zero(sizeof(*stop));
	stop->m.receive = receive_stop;
	stop->loop = loop;
	mailbox_post(loop, &stop->m);
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void loop_release(struct loop *loop)
{
	uv_walk(&loop->uv, close_handle, NULL);
	for (int i = 0; i < 64 && uv_run(&loop->uv, UV_RUN_NOWAIT); i++)
		;
	uv_loop_close(&loop->uv);
	pthread_mutex_destroy(&loop->mailbox.lock);
	free(loop->scratch - LOOP_SCRATCH_HEADROOM);
	free(loop->compose);
}

static void signal_caught(uv_signal_t *uv, int signum)
{
	struct loop_signal *s = CONTAINER_OF(uv, struct loop_signal, uv);
	s->caught(s, signum);
}

void loop_on_signal(struct loop *loop, struct loop_signal *s, int signum, void (*caught)(struct loop_signal *, int))
{
	s->caught = caught;
	uv_signal_init(&loop->uv, &s->uv);
	uv_signal_start(&s->uv, signal_caught, signum);
	uv_unref((uv_handle_t *)&s->uv);
}
