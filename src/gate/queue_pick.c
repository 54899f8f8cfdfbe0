/* queue_pick.c - who is next at a target, and how far a ticket is from it.
 *
 * Under the queue's lock. One walk over the lines at the target: batch that has aged moves to the front, then the side, the model and the key are chosen.
 *
 * A model that the target has not loaded is due when its oldest ticket has waited starve_ms, counted from the beginning of the present model's turn where that is
 * later: else two models with long lines, both with old tickets, would take turns at every place, which is what the rule is there to avoid.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/queue_parts.h"

#define SAMPLES      32   /* flows of a line that are looked at for a position */
#define SAMPLES_MOST 512  /* of all lines */

struct sight {
	const struct entry *best, *best_loaded; /* of all models; of the one that is loaded */
	struct line *oldest_line;               /* of those that are not: where the oldest ticket stands */
	struct ticket *oldest;
};

static struct ticket *line_oldest(const struct line *l, enum side side)
{
	if (side == BACK)
		return list_ticket_of_line(&l->tickets[RANK_BATCH]);
	return older_ticket(list_ticket_of_line(&l->tickets[RANK_FIRST]), list_ticket_of_line(&l->tickets[RANK_AGED]));
}

static void keep_best(const struct entry **best, const struct entry *e)
{
	if (!*best || entry_before(e, *best))
		*best = e;
}

static void see(struct sight *s, struct line *l, enum side side, uint32_t loaded)
{
	const struct entry *e = heap_top(l, side);
	if (!e)
		return;
	keep_best(&s->best, e);
	if (l->model == loaded) {
		keep_best(&s->best_loaded, e);
		return;
	}
	struct ticket *t = line_oldest(l, side);
	if (older_ticket(s->oldest, t) == t) {
		s->oldest = t;
		s->oldest_line = l;
	}
}

/* The best of one model on that side. */
static const struct entry *best_of_model(struct spot *s, enum side side, uint32_t model)
{
	const struct entry *best = NULL;
	LIST_EACH (&s->seats, seat) {
		LIST_EACH (&CONTAINER_OF(seat, struct seat, link)->reach->lines, line) {
			struct line *l = CONTAINER_OF(line, struct line, of_reach);
			const struct entry *e = l->model == model ? heap_top(l, side) : NULL;
			if (e)
				keep_best(&best, e);
		}
	}
	return best;
}

static bool is_due(const struct queue *q, const struct spot *s, const struct ticket *t, int64_t now_ms)
{
	int64_t since = t->entered_ms > s->turn_ms ? t->entered_ms : s->turn_ms;
	return now_ms - since >= q->options.starve_ms;
}

struct ticket *queue_pick(struct queue *q, struct spot *s, int64_t now_ms)
{
	struct sight sights[SIDES] = {0};
	uint32_t loaded = atomic_load_explicit(&s->places->loaded, memory_order_relaxed);
	LIST_EACH (&s->seats, seat) {
		LIST_EACH (&CONTAINER_OF(seat, struct seat, link)->reach->lines, line) {
			struct line *l = CONTAINER_OF(line, struct line, of_reach);
			lines_age(q, l, now_ms);
			see(&sights[FRONT], l, FRONT, loaded);
			see(&sights[BACK], l, BACK, loaded);
		}
	}
	enum side side = sights[FRONT].best ? FRONT : BACK;
	const struct sight *at = &sights[side];
	const struct entry *e = at->best;
	if (loaded && at->oldest && is_due(q, s, at->oldest, now_ms))
		e = best_of_model(s, side, at->oldest_line->model);
	else if (at->best_loaded)
		e = at->best_loaded;
	return e ? home_prefer(q, s, flow_first(e->flow, side), side) : NULL;
}

/* ---- positions ---- */

struct ahead {
	const struct flow *own;
	struct entry mine;
	enum side side;
	uint64_t rounds;  /* tickets of its own key before it: so often every other key has its turn */
	uint64_t before;
	uint32_t samples;
};

/* How many of a flow's tickets come before it. */
static uint64_t before_of(const struct ahead *a, const struct entry *e)
{
	uint64_t turns = a->rounds + entry_before(e, &a->mine);
	if (turns <= 1)
		return turns;
	return turns < e->flow->waiting[a->side] ? turns : e->flow->waiting[a->side];
}

static bool count_before(void *arg, struct line *l)
{
	struct ahead *a = arg;
	const struct heap *h = &l->heaps[a->side];
	uint32_t step = h->count / SAMPLES + 1, seen = 0;
	uint64_t sum = 0;
	if (a->side == BACK)
		a->before += l->waiting[FRONT];
	for (uint32_t i = 0; i < h->count; i += step, seen++)
		if (h->items[i].flow != a->own)
			sum += before_of(a, &h->items[i]);
	if (seen)
		a->before += sum * h->count / seen;
	a->samples += seen + 1;
	return a->samples < SAMPLES_MOST;
}

uint32_t queue_position(struct queue *q, const struct ticket *t)
{
	uint32_t position = 0;
	pthread_mutex_lock(&q->lock);
	if (t->state == TICKET_WAITING) {
		const struct flow *f = t->flow;
		enum side side = rank_side(t->rank);
		uint32_t before = t->order - flow_first(f, side)->order;
		if (before >= f->waiting[side])
			before = f->waiting[side] - 1;
		struct ahead a = {.own = f, .mine = f->line->heaps[side].items[f->at[side] - 1], .side = side, .rounds = before};
		reach_rivals(q, f->line->reach, count_before, &a);
		a.before += before;
		position = (uint32_t)(a.before < q->waiting ? a.before + 1 : q->waiting);
	}
	pthread_mutex_unlock(&q->lock);
	return position;
}
