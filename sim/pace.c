/* pace.c - see pace.h. A slot holds the timers of one millisecond of each round; what is due in a
 * later round stays.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "pace.h"

static void on_tick(uv_timer_t *uv);

static int64_t ms_of(int64_t us)
{
	return (us + 999) / 1000;
}

static void arm_at(struct pacer *p, int64_t at_ms)
{
	int64_t delay = at_ms - loop_now_ms(p->loop);
	p->armed_ms = at_ms;
	uv_timer_start(&p->uv, on_tick, delay > 0 ? (uint64_t)delay : 0, 0);
}

/* Arms the loop's timer for the next occupied slot, looking at 64 slots at a time. */
static void arm_next(struct pacer *p)
{
	for (int64_t ms = p->done_ms + 1, end = ms + PACE_SLOTS; ms < end;) {
		unsigned slot = (unsigned)(ms % PACE_SLOTS), bit = slot % 64;
		uint64_t rest = p->occupied[slot / 64] >> bit;
		if (rest) {
			arm_at(p, ms + __builtin_ctzll(rest));
			return;
		}
		ms += 64 - bit;
	}
}

static void visit(struct pacer *p, unsigned slot, int64_t now_ms)
{
	struct list *head = &p->slots[slot];
	struct list due;
	list_init(&due);
	LIST_EACH (head, at) {
		struct pace *pace = CONTAINER_OF(at, struct pace, link);
		if (ms_of(pace->due_us) <= now_ms) {
			list_remove(at);
			list_push_back(&due, at);
		}
	}
	if (list_empty(head))
		p->occupied[slot / 64] &= ~(1ull << (slot % 64));
	while (!list_empty(&due)) { /* what fires may stop others of this list */
		struct pace *pace = CONTAINER_OF(due.next, struct pace, link);
		list_remove(&pace->link);
		pace->due_us = 0;
		pace->fire(pace);
	}
}

static void on_tick(uv_timer_t *uv)
{
	struct pacer *p = CONTAINER_OF(uv, struct pacer, uv);
	int64_t now_ms = loop_now_ms(p->loop);
	p->armed_ms = 0;
	if (now_ms - p->done_ms > PACE_SLOTS)
		p->done_ms = now_ms - PACE_SLOTS;
	while (p->done_ms < now_ms) {
		unsigned slot = (unsigned)(++p->done_ms % PACE_SLOTS);
		if (p->occupied[slot / 64] & 1ull << (slot % 64))
			visit(p, slot, now_ms);
	}
	arm_next(p);
}

void pacer_init(struct pacer *p, struct loop *loop)
{
	p->loop = loop;
	for (unsigned i = 0; i < PACE_SLOTS; i++)
		list_init(&p->slots[i]);
	p->done_ms = loop_now_ms(loop);
	uv_timer_init(&loop->uv, &p->uv);
	uv_unref((uv_handle_t *)&p->uv);
}

void pace_at(struct pacer *p, struct pace *pace, int64_t due_us)
{
	int64_t at_ms = ms_of(due_us);
	if (at_ms <= p->done_ms)
		at_ms = p->done_ms + 1;
	list_remove(&pace->link);
	pace->due_us = due_us > 0 ? due_us : 1;
	unsigned slot = (unsigned)(at_ms % PACE_SLOTS);
	list_push_back(&p->slots[slot], &pace->link);
	p->occupied[slot / 64] |= 1ull << (slot % 64);
	if (p->armed_ms == 0 || at_ms < p->armed_ms)
		arm_at(p, at_ms);
}

void pace_stop(struct pace *pace)
{
	list_remove(&pace->link);
	pace->due_us = 0;
}
