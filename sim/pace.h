/* pace.h - timers of one millisecond for streams of tokens; the loop's own wheel ticks every eight.
 *
 * A wheel of 1,024 slots that is driven by one timer of the loop, however many streams there are.
 * One pacer a worker, on its thread. A pace is embedded in its user and due at a time in
 * microseconds; it fires in the first millisecond that is not before it, so a stream that computes
 * its dues from its beginning keeps its rate exactly.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_PACE_H
#define SIM_PACE_H

#include "net/loop.h"

#define PACE_SLOTS 1024

struct pace {
	struct list link;
	int64_t due_us; /* 0: not running */
	void (*fire)(struct pace *);
};

struct pacer {
	struct loop *loop;
	struct list slots[PACE_SLOTS];
	uint64_t occupied[PACE_SLOTS / 64];
	int64_t done_ms;  /* every slot up to here has been visited */
	int64_t armed_ms; /* 0: not armed */
	uv_timer_t uv;
};

void pacer_init(struct pacer *p, struct loop *loop);
/* (Re)starts it. Due in the past: fires in the next turn of the loop. */
void pace_at(struct pacer *p, struct pace *pace, int64_t due_us);
void pace_stop(struct pace *pace);
static inline void pace_init(struct pace *pace, void (*fire)(struct pace *))
{
	list_init(&pace->link);
	pace->due_us = 0;
	pace->fire = fire;
}

#endif
