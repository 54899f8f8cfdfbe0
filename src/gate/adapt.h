/* adapt.h - how many requests a target works on at the same time, learned from its answers where nobody says it.
 *
 * An engine with k hidden slots and no ceiling lets the others wait inside, in the order of arrival, where no fairness reaches them. It shows in the time to the
 * first token: of N requests in flight one waits (N - k) / k of a service time, so that k = N / (1 + w), w being the wait in service times. An engine that works on
 * all of them at once, each a bit slower, shows little of it: the wait is a share of the time for the prompt. Where that is the larger part the two look alike, so
 * each limit is an experiment: N / (1 + w) is also what the target does, in service times a service time, and a limit stays only if it does as much with it.
 *
 *	OPEN   no limit. Twice in a row most answers of a window have waited for long (and for 20 ms at least): TRIAL of what that says.
 *	TRIAL  with the limit the target does what it did: HOLD. Else back; from OPEN first to a higher one, if that is still far below what was in flight, and no further
 *	       trial for a while that grows.
 *	HOLD   waits come up again: TRIAL of less. All places have been taken for a window, and the last vain probe is some time ago: PROBE.
 *	PROBE  a few more, or a few less where requests still wait. If the target does more with them, or as much without: HOLD, and on at once. Else back, and the next
 *	       probe after twice the time.
 *
 * Any thread feeds it: sums are atomics, and one thread at a time decides; an answer that is counted while another decides may fall under the table. Times are
 * monotonic microseconds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_ADAPT_H
#define VALET_GATE_ADAPT_H

#include "gate/queue.h"

enum adapt_state { ADAPT_OPEN, ADAPT_TRIAL, ADAPT_HOLD, ADAPT_PROBE, ADAPT_STATES };

/* Part of a target's state. All zero: off. */
struct adapt {
	_Atomic uint32_t on;        /* the control thread's: nobody else says how many places there are */
	_Atomic uint32_t deciding;  /* a thread is at it */
	_Atomic uint32_t state;
	_Atomic uint32_t strikes;   /* windows in a row that waited for long */
	_Atomic uint32_t before;    /* PROBE, TRIAL: the limit that it came from; 0: none */
	_Atomic uint32_t step;      /* of the next probe; 0: the smallest */
	_Atomic uint32_t vain;      /* probes in a row */
	_Atomic uint32_t lifted;    /* trials in a row */
	_Atomic uint32_t reference; /* TRIAL, PROBE: what the target did before, in 1/256 */
	_Atomic uint32_t crowd;     /* TRIAL: requests in flight before; 0: it is the second */
	_Atomic uint32_t settle;    /* so many answers until its window begins */
	_Atomic int64_t since_us;   /* only requests that were sent since then count */
	_Atomic int64_t until_us;   /* OPEN: no trial before; HOLD: no probe */
	_Atomic int64_t usual;      /* percent of a service time that requests wait anyway */
	/* a service time, as it is without a queue */
	_Atomic int64_t idle_us;    /* to the first token, alone */
	_Atomic int64_t decode_us;  /* from there to the end, of late */
	_Atomic int64_t unit_ns;    /* answers that are no streams: of a token, alone; below 0: a guess */
	_Atomic int64_t whole_us;   /* and what that makes, of late */
	/* the window */
	_Atomic int64_t began_us;
	_Atomic uint32_t count, full, votes; /* votes: waited for more than a quarter of a service time */
	_Atomic int64_t ahead, wait_us, service_us; /* ahead: requests in flight, itself included */
	_Atomic int64_t square_ms2;                 /* of the waits */
};

/* One answer of a target. */
struct adapt_answer {
	int64_t first_us, took_us;  /* since it was sent: the first token (0: not a stream), the end (0: not yet) */
	int64_t output;             /* tokens, where it is at its end; 0: it says nothing (embeddings) */
	uint32_t others;            /* in flight beside it when it was sent */
	int64_t now_us;
};

/* The first token of a stream came, or an answer is complete. Sets the limit, and offers new places to who waits (q may be
 * NULL). */
void adapt_first(struct adapt *a, struct places *p, struct queue *q, const struct adapt_answer *answer);
void adapt_done(struct adapt *a, struct places *p, struct queue *q, const struct adapt_answer *answer);
/* Control thread. Off: the limit is somebody else's business from now on. On: if it was off, all begins anew, without a limit. */
void adapt_switch(struct adapt *a, struct places *p, bool on);
/* Another engine now: all begins anew, if it is on. The caller offers places. */
void adapt_forget(struct adapt *a, struct places *p);

#endif
