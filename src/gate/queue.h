/* queue.h - places at targets, and who waits for one: fair between keys, by tokens.
 *
 * A *place* is the permission to have one request in flight at a target (architecture: slot). A request that finds one goes on at once, with a few atomic
 * operations and no lock, as long as nobody waits for the same model. Else it gets a *ticket* and waits. Whoever gives a place back hands it to the best ticket
 * that the target can serve; it is never free in between, so that nobody can snatch it.
 *
 * Order, at each handing out: tickets of the class interactive before batch (a batch ticket that has waited `age_ms` counts as interactive); among them those of the
 * model that the target has loaded, unless another has waited `starve_ms` (since it came, or since the loaded model's turn began where that is later: two models
 * with long lines change places every `starve_ms`, not with every request); among them the key with the smallest virtual counter (Virtual Token Counter: tokens
 * served, input and output weighted 1 to 2, divided by the key's weight); at equal counters the key that was served longest ago; within a key first come, first
 * served. A key that was away is lifted to the smallest counter of those of its class that wait for one of the same targets, where there is none to the highest
 * counter that was served, so that nobody saves up. Work-conserving: no place stays free while a ticket could use it. Between two keys that both always
 * wait, the difference of weighted service is bounded as in the paper (OSDI '24): 2 * max(input cost of a request, output cost of all places).
 *
 * Ceilings: tickets in all, tickets of one key. Entering, granting and leaving cost about a microsecond with 10,000 waiting: O(log n) in the keys of a line, times the
 * lines at a target (one for each model that waits there; more only where its requests differ in where they can go).
 *
 * Homes: where a target has the beginning of a ticket's prompt cached (`home`), its places go to such tickets first. Whoever is next lets them, as long as they came at most
 * `starve_ms` / 4 later, and are of the same key or of one that is ahead by no more than the cost of their request (which adds so much to the bound above); and only
 * where its own beginning is cached at another target that takes requests.
 *
 * One mutex inside; callbacks are called without it. The one hard race, a grant that crosses a client's leaving, is a state of the ticket: WAITING → GRANTED
 * (a message is on its way to the worker) or WAITING → gone; a request that leaves while it is GRANTED calls queue_leave(), which marks it LEFT, and the receiver of
 * the message gives the place back. A ticket is freed by whoever ends it: queue_leave() while WAITING, queue_receive() otherwise; both are for the thread that
 * entered it. The request itself may be gone when its grant is told, which another thread does: so `granted` is told the worker, and the worker asks queue_owner().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_QUEUE_H
#define VALET_GATE_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Live state of the places of one target. Part of the target's state; lives as long as the registry. */
struct places {
	_Atomic uint32_t taken;
	_Atomic uint32_t limit;     /* 0: no limit */
	_Atomic uint32_t loaded;    /* id of the model that it has loaded; 0: not known, or all of its models, and then it stays 0 until somebody who looked sets it */
	_Atomic uint32_t closed;    /* not 0: down or in maintenance, nobody gets a place; queue_offer() when it opens */
	_Atomic uint32_t wanted;    /* the queue's own: how many groups of tickets could use a place of it; begins with 0 */
	uint32_t id;                /* of the target, dense, as its index in the registry */
};

#define QUEUE_TARGETS_MAX 64 /* that one ticket can name */

struct queue;
struct ticket;

struct queue_options {
	int64_t age_ms, starve_ms;  /* 0: 30 s, 10 s */
	uint32_t total_max, key_max; /* 0: 10,000 and 1,000 */
	/* A place was given to a ticket that waited: post it to its worker, which calls queue_receive(). Any thread; the ticket is only a name there. */
	void (*granted)(void *user, struct ticket *t, void *worker);
	void *user;
};

struct queue *queue_new(const struct queue_options *o);
void queue_free(struct queue *q); /* nobody may wait any more */
void queue_set(struct queue *q, const struct queue_options *o); /* times and ceilings of new settings; the callback stays */

/* ---- without waiting ---- */

/* Takes a place if one is free. Whoever may have to wait asks queue_must_wait() for its model before. */
bool places_take(struct places *p);
/* Says so where it took one: the target is about to load that model (nothing changes where it holds all). Grants and QUEUE_TAKEN have done it. */
static inline void places_serve(struct places *p, uint32_t model)
{
	uint32_t loaded = atomic_load_explicit(&p->loaded, memory_order_relaxed);
	if (loaded && loaded != model)
		atomic_store_explicit(&p->loaded, model, memory_order_relaxed);
}
/* Gives it back, to a ticket where one waits. Any thread. */
void queue_give_back(struct queue *q, struct places *p, int64_t now_ms);
/* Somebody waits for that model already: nobody may overtake. (Ids from 65536 on share their answers.) */
bool queue_must_wait(const struct queue *q, uint32_t model);
/* A target has more places now, came back, or loaded another model: hands out what can be. After the change, and also where a limit fell to 0. */
void queue_offer(struct queue *q, struct places *p, int64_t now_ms);

/* ---- waiting ---- */

struct queue_ask {
	uint32_t model;             /* id of the public model, dense, lives as long as the registry; from 1 */
	uint32_t key;               /* serial; 0: no key */
	uint32_t weight;            /* of the key, 1 to 1000, normally 100 */
	bool batch;
	int64_t input, output;      /* tokens, most likely: charged when it is granted, put right by queue_charge() */
	struct places *const *targets; /* where it can go, best first; 1 to QUEUE_TARGETS_MAX; copied */
	uint32_t target_count;
	struct places *home;        /* one of them that has the beginning of its prompt cached; NULL: none has, or all have */
	void *owner;                /* the request: what queue_owner() gives */
	void *worker;               /* handed to `granted`; outlives the ticket */
	int64_t now_ms;
};

enum queue_verdict { QUEUE_WAITS, QUEUE_TAKEN, QUEUE_FULL, QUEUE_KEY_FULL };

/* Enters. QUEUE_TAKEN: a place was free after all (*place; there is no ticket; charged as a grant is). QUEUE_WAITS: *ticket; `granted` may have been called for it
 * before this returns. */
enum queue_verdict queue_enter(struct queue *q, const struct queue_ask *ask, struct ticket **ticket, struct places **place);
/* On the ticket's thread, before queue_receive(): the request that it waits for, or NULL where that had left. */
void *queue_owner(const struct ticket *t);
/* The worker has received the grant: frees the ticket; the place that it got, or NULL where the request had left (the place went on to another, and what was
 * charged is paid back). */
struct places *queue_receive(struct queue *q, struct ticket *t, int64_t now_ms);
/* The request leaves the line before it was received: by its client, its time, or for another target. The ticket is not its any more. */
void queue_leave(struct queue *q, struct ticket *t, int64_t now_ms);
/* Its position among those that wait for the same targets (from 1; an estimate; 0: it has its grant). */
uint32_t queue_position(struct queue *q, const struct ticket *t);
/* What a request has really used, more or less than it was charged when it was granted (may be negative). Also for requests that did not wait. */
void queue_charge(struct queue *q, uint32_t key, uint32_t weight, int64_t input, int64_t output);
/* Tokens that a request which does not wait (places_take()) is charged. */
void queue_charge_begin(struct queue *q, uint32_t key, uint32_t weight, int64_t input, int64_t output);

/* ---- looking ---- */

struct queue_look {
	uint32_t waiting, waiting_batch;
	uint64_t entered, granted, left; /* since the start */
	int64_t oldest_ms;               /* how long the oldest has waited */
};
void queue_look(struct queue *q, int64_t now_ms, struct queue_look *out);
/* Tickets that wait for that model. */
uint32_t queue_waiting(const struct queue *q, uint32_t model);
/* Invariants, for tests: counts fit, heaps are heaps, no free place beside a ticket that could use it (the last only where no other thread is giving one back
 * right now). False and an abort-worthy sentence in *why. */
bool queue_check(struct queue *q, const char **why);

#endif
