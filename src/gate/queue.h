/* queue.h - places at targets, and who waits for one: fair between keys, by tokens.
 *
 * A *place* is the permission to have one request in flight at a target (architecture: slot). A request that finds one goes on at once, with two atomic
 * operations and no lock, as long as nobody waits for the same model. Else it gets a *ticket* and waits. Whoever gives a place back hands it to the best ticket
 * that the target can serve.
 *
 * Order, at each handing out: tickets of the class interactive before batch (a batch ticket that has waited `age_ms` counts as interactive); among them those of the
 * model that the target has loaded, unless another has waited `starve_ms`; among them the key with the smallest virtual counter (Virtual Token Counter: tokens
 * served, input and output weighted 1 to 2, divided by the key's weight); within a key first come, first served. A key that was away is lifted to the smallest
 * counter of those that wait, so that nobody saves up. Work-conserving: no place stays free while a ticket could use it. Between two keys that both
 * always wait, the difference of weighted service is bounded as in the paper (OSDI '24): 2 * max(input cost of a request, output cost of all places).
 *
 * Ceilings: tickets in all, tickets of one key. Entering, granting and leaving cost microseconds with 10,000 waiting (heaps per model and class; counters only
 * grow, so a heap is put right when its top is looked at).
 *
 * One mutex inside; callbacks are called without it. The one hard race, a grant that crosses a client's leaving, is a state of the ticket: WAITING → GRANTED
 * (a message is on its way to the worker) or WAITING → gone; a request that leaves while it is GRANTED calls queue_leave(), which marks it LEFT, and the receiver of
 * the message gives the place back. A ticket is freed by whoever ends it: queue_leave() while WAITING, queue_receive() otherwise.
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
	_Atomic uint32_t loaded;    /* id of the model that it has loaded; 0: not known, or all of its models */
	uint32_t id;                /* of the target, dense, as its index in the registry */
};

struct queue;
struct ticket;

struct queue_options {
	int64_t age_ms, starve_ms;  /* 0: 30 s, 10 s */
	uint32_t total_max, key_max; /* 0: 10,000 and 1,000 */
	/* A place was given to a ticket that waited: post it to its worker, which calls queue_receive(). Any thread. */
	void (*granted)(void *user, struct ticket *t, void *owner);
	void *user;
};

struct queue *queue_new(const struct queue_options *o);
void queue_free(struct queue *q); /* nobody may wait any more */
void queue_set(struct queue *q, const struct queue_options *o); /* times and ceilings of new settings */

/* ---- without waiting ---- */

/* Takes a place if one is free. Whoever may have to wait asks queue_must_wait() for its model before. */
bool places_take(struct places *p);
/* Gives it back, to a ticket where one waits. Any thread. */
void queue_give_back(struct queue *q, struct places *p, int64_t now_ms);
/* Somebody waits for that model already: nobody may overtake. */
bool queue_must_wait(const struct queue *q, uint32_t model);
/* A target has more places now, came back, or loaded another model: hands out what can be. */
void queue_offer(struct queue *q, struct places *p, int64_t now_ms);

/* ---- waiting ---- */

struct queue_ask {
	uint32_t model;             /* id of the public model, dense, lives as long as the registry; from 1 */
	uint32_t key;               /* serial; 0: no key */
	uint32_t weight;            /* of the key, 1 to 1000, normally 100 */
	bool batch;
	int64_t input, output;      /* tokens, most likely: charged when it is granted, put right by queue_charge() */
	struct places *const *targets; /* where it can go, best first; at most 64; copied */
	uint32_t target_count;
	void *owner;                /* the request: handed to `granted` */
	int64_t now_ms;
};

enum queue_verdict { QUEUE_WAITS, QUEUE_TAKEN, QUEUE_FULL, QUEUE_KEY_FULL };

/* Enters. QUEUE_TAKEN: a place was free after all (*place; there is no ticket). QUEUE_WAITS: *ticket. */
enum queue_verdict queue_enter(struct queue *q, const struct queue_ask *ask, struct ticket **ticket, struct places **place);
/* The worker has received the grant: frees the ticket; the place that it got, or NULL where the request had left (the place went on to another). */
struct places *queue_receive(struct queue *q, struct ticket *t, int64_t now_ms);
/* The request leaves the line before it was received: by its client, its time, or for another target. The ticket is not its any more. */
void queue_leave(struct queue *q, struct ticket *t, int64_t now_ms);
/* Its position among those that can be served before it (from 1; an estimate), and what is waiting in all. */
uint32_t queue_position(struct queue *q, const struct ticket *t);
/* What a request has really used, more or less than it was charged when it was granted (may be negative). Also for requests that did not wait. */
void queue_charge(struct queue *q, uint32_t key, uint32_t weight, int64_t input, int64_t output);
/* Tokens that a request which does not wait is charged. */
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
/* Invariants, for tests: counts fit, heaps are heaps, no free place beside a ticket that could use it. False and an abort-worthy sentence in *why. */
bool queue_check(struct queue *q, const char **why);

#endif
