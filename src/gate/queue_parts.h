/* queue_parts.h - what the files of the queue share among themselves: the structs, and how they hang together.
 *
 * Private to src/gate/queue*.c. Everything here is covered by the queue's lock, except for `now_ms` and the counts of waiting tickets by model.
 *
 * A *ticket* stands in a *flow* (what one key waits for in one line), a flow in a *line* (who waits for one model within the same targets), a line in a *reach*
 * (a set of targets), and a reach has a *seat* at the *spot* of each of its targets. Handing out at a target looks at the lines of the reaches seated there; there are
 * few: one for each model, more only where requests for a model differ in where they can go. All but spots and keys go away with their last ticket.
 *
 * A ticket whose target has its beginning cached is also in the list of a *home*: those of a line that belong to one target.
 *
 * A line has two heaps of flows, of those that are served first (FRONT: interactive, and batch that has aged) and of the others (BACK). An entry holds the standing of its
 * key as it was when it was written. Standings mostly grow, so an entry is put right when it comes to the top; where one falls (something is paid back), the
 * entries of that key that are too high are put right at once. So an entry is never above the truth.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_QUEUE_PARTS_H
#define VALET_GATE_QUEUE_PARTS_H

#include "base/list.h"
#include "base/mem.h"
#include "gate/queue.h"

#include <assert.h>
#include <pthread.h>

#define AGED_AT_ONCE  256              /* batch tickets of a line that one look moves to the front */
#define FORGET_MS     INT64_C(600000)  /* a key that was away so long and has nothing to answer for is forgotten */
#define CELLS         256

enum side { FRONT, BACK, SIDES };
enum rank { RANK_FIRST, RANK_AGED, RANK_BATCH, RANKS }; /* interactive, batch that has aged, batch */
enum ticket_state { TICKET_WAITING, TICKET_GRANTED, TICKET_LEFT };

/* ---- hash tables, the nodes in their users ---- */

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash {
	struct hash_node **buckets;
	size_t mask, count;
};

void hash_init(struct hash *h);
void hash_release(struct hash *h);
void hash_add(struct hash *h, struct hash_node *node, uint64_t hash);
void hash_remove(struct hash *h, struct hash_node *node);

/* Ids come from Valet itself: nobody outside can choose them to collide. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
	uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) ^ (b + UINT64_C(0xbf58476d1ce4e5b9));
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* ---- who waits ---- */

struct key {
	struct hash_node node;
	struct list idle;     /* in queue.idle while nothing of it waits */
	struct list flows;
	uint32_t serial, waiting;
	int64_t counter;      /* virtual: weighted tokens served, in hundredths, lifted */
	uint64_t served;      /* number of its last service, 0: never: at equal counters, who was served longest ago */
	int64_t due_ms;       /* while idle: when to look whether it can be forgotten */
};

struct entry {
	int64_t counter;
	uint64_t served;
	uint64_t seq;         /* of the flow's first ticket on that side */
	struct flow *flow;
};

struct heap {
	struct entry *items;
	uint32_t count, cap;
};

struct flow {
	struct hash_node node;
	struct list of_key;
	struct key *key;
	struct line *line;
	struct list tickets[RANKS];
	uint32_t at[SIDES];   /* place in the line's heap, plus 1; 0: not in it */
	uint32_t waiting[SIDES];
	uint32_t entered;     /* tickets so far */
};

struct line {
	struct hash_node node;
	struct list of_reach;
	struct reach *reach;
	uint32_t model, flows;
	struct list tickets[RANKS];
	uint32_t waiting[SIDES];
	struct heap heaps[SIDES];
};

struct seat {
	struct list link;     /* in spot.seats */
	struct reach *reach;
	struct spot *spot;
};

struct reach {
	struct hash_node node;
	struct list lines;
	uint64_t stamp;       /* of the last walk that came by */
	uint32_t count;
	struct seat seats[];  /* by the id of the target */
};

/* Tickets of a line that belong to one target, which has their beginning cached. */
struct home {
	struct hash_node node;
	struct line *line;
	struct spot *spot;
	struct list tickets[SIDES];
	uint32_t count;
};

struct spot {
	struct places *places;
	struct list seats;
	uint32_t turn;        /* the model that was handed out last */
	int64_t turn_ms;      /* since when no other was */
};

struct ticket {
	struct list of_queue, of_line, of_flow, of_home; /* of_queue: also what was granted and is still to be told */
	struct flow *flow;
	struct home *home;    /* NULL: it is at home everywhere */
	struct places *place; /* GRANTED or LEFT: what it got */
	void *owner, *worker;
	uint64_t seq;
	int64_t entered_ms, cost;
	uint32_t key, order;  /* serial; number within its flow */
	uint8_t state, rank;
	bool batch;
};

struct cells {
	_Atomic uint32_t waiting[CELLS];
};

struct queue {
	pthread_mutex_t lock;
	struct queue_options options;
	_Atomic int64_t now_ms;               /* the latest time that somebody has told */
	_Atomic(struct cells *) models[CELLS]; /* tickets waiting by model; made when needed, published once */

	struct spot **spots;                  /* by the id of the target */
	uint32_t spot_count;
	struct hash reaches, lines, flows, keys, homes;
	struct list tickets, idle;
	uint64_t seq, stamp, services;
	int64_t level;                        /* the highest counter that was served: where a key begins that meets nobody */

	uint32_t waiting, waiting_batch;
	uint64_t entered, granted, left;
};

static inline struct ticket *list_ticket_of_flow(const struct list *head)
{
	return list_empty(head) ? NULL : CONTAINER_OF(head->next, struct ticket, of_flow);
}

static inline struct ticket *list_ticket_of_line(const struct list *head)
{
	return list_empty(head) ? NULL : CONTAINER_OF(head->next, struct ticket, of_line);
}

static inline struct ticket *older_ticket(struct ticket *a, struct ticket *b)
{
	return !a || (b && b->seq < a->seq) ? b : a;
}

static inline enum side rank_side(enum rank rank)
{
	return rank == RANK_BATCH ? BACK : FRONT;
}

/* Smallest counter first, then who was served longest ago, then who came first. */
static inline bool entry_before(const struct entry *a, const struct entry *b)
{
	if (a->counter != b->counter)
		return a->counter < b->counter;
	if (a->served != b->served)
		return a->served < b->served;
	return a->seq < b->seq;
}

/* ---- queue_heap.c ---- */

/* The best flow of the heap, its entry put right; NULL: it is empty. */
const struct entry *heap_top(struct line *l, enum side side);
/* Puts the flow's entry right; in or out as its tickets are. */
void heap_put(struct flow *f, enum side side);
/* The key's counter has fallen. */
void heap_fallen(struct key *k);
/* The flow's first ticket on that side, or NULL. */
struct ticket *flow_first(const struct flow *f, enum side side);

/* ---- queue_lines.c ---- */

struct spot *spot_of(struct queue *q, struct places *p);
/* The set of these targets, made where it is new; the caller puts a ticket in at once. */
struct reach *reach_of(struct queue *q, struct places *const *targets, uint32_t count);
/* Calls `each` for the lines that share a target with this reach, its own too. Returns early where `each` says false. */
void reach_rivals(struct queue *q, struct reach *r, bool (*each)(void *arg, struct line *l), void *arg);
/* Frees it where no line is left. */
void reach_done(struct queue *q, struct reach *r);
/* Puts the ticket in line or takes it out; what is empty goes away. */
void lines_add(struct queue *q, struct ticket *t, struct reach *r, const struct queue_ask *ask, struct key *k);
void lines_remove(struct queue *q, struct ticket *t);
/* Moves batch tickets that have waited long enough to the front, so many at once. */
void lines_age(struct queue *q, struct line *l, int64_t now_ms);

/* ---- queue_keys.c ---- */

struct key *key_find(struct queue *q, uint32_t serial);
struct key *key_of(struct queue *q, uint32_t serial); /* made where it is new */
/* Lifts a key that comes back to those that it meets in this reach; NULL: it meets nobody. */
void key_lift(struct queue *q, struct key *k, struct reach *r, enum side side);
/* It is served: the cost is charged. */
void key_serve(struct queue *q, struct key *k, int64_t cost);
void key_add(struct queue *q, struct key *k, int64_t cost);
/* Nothing of it waits any more. */
void key_rests(struct queue *q, struct key *k);
int64_t weighted_cost(int64_t input, int64_t output, uint32_t weight);

/* ---- queue_homes.c ---- */

/* The ticket, which stands in its line, belongs to that target, or does not any more. Its place in the home's list is queue_lines.c's matter. */
void home_enter(struct queue *q, struct ticket *t, struct spot *s);
void home_leave(struct queue *q, struct ticket *t);
/* Who gets a place of that target where `next` is next: one that is at home there, if it may go first, else `next`. */
struct ticket *home_prefer(struct queue *q, const struct spot *s, struct ticket *next, enum side side);

/* ---- queue_pick.c ---- */

/* The ticket that gets the next place at the target, or NULL. */
struct ticket *queue_pick(struct queue *q, struct spot *s, int64_t now_ms);

#endif
