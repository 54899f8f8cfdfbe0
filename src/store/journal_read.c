/* journal_read.c - the reading thread: records of live and of old segments, in their order.
 *
 * A segment is pinned while the reader is in it, so that the syncing thread neither uses it again nor unmaps it. Which segment is the current one is looked at
 * before any end: the ends of those before it are final then, and no record can be passed over.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

/* The first segment behind number `passed` that may hold records after `after`, pinned. */
static struct segment *pin_after(struct journal *j, struct lane *l, uint64_t passed, uint64_t after, bool *last)
{
	struct segment *found = NULL;
	pthread_mutex_lock(&j->lock);
	uint64_t current = atomic_load_explicit(&l->current, memory_order_acquire);
	for (size_t i = 0; i < l->count && !found; i++) {
		struct segment *s = l->segments[i];
		if (s->number <= passed || s->number > current)
			continue;
		if (s->number < current && atomic_load_explicit(&s->last, memory_order_relaxed) <= after)
			continue;
		found = s;
		found->pins++;
		*last = s->number == current;
	}
	pthread_mutex_unlock(&j->lock);
	return found;
}

static void unpin(struct journal *j, struct segment *s)
{
	pthread_mutex_lock(&j->lock);
	s->pins--;
	pthread_mutex_unlock(&j->lock);
}

struct reading {
	uint64_t after;
	bool (*visit)(void *user, const struct journal_record *r);
	void *user;
	bool stopped;
};

/* Goes on where the last call ended, where that is in this segment. */
static void read_segment(struct journal *j, struct lane *l, const struct segment *s, struct reading *r)
{
	size_t head = head_now(s->page);
	bool known = l->at_number == s->number && l->at_seq && l->at_seq - 1 <= r->after;
	size_t at = known ? l->at : 0;
	uint64_t seq = known ? l->at_seq : atomic_load_explicit(&s->first, memory_order_relaxed);
	struct journal_record record = {.lane = l->number};
	while (at < head && !r->stopped) {
		if (!segment_next(s->data, head, s->seed, seq, &at, &record)) {
			journal_fail(j); /* it had been whole: memory or the disk has changed it */
			r->stopped = true;
			break;
		}
		seq = record.seq + 1;
		if (record.seq <= r->after)
			continue;
		r->after = record.seq;
		r->stopped = !r->visit(r->user, &record);
	}
	l->at_number = s->number;
	l->at_seq = seq;
	l->at = at;
}

uint64_t journal_read(struct journal *j, unsigned lane, uint64_t after, bool (*visit)(void *user, const struct journal_record *r),
		      void *user)
{
	struct reading r = {.after = after, .visit = visit, .user = user};
	uint64_t passed = 0;
	bool last = lane >= j->lanes;
	while (!last && !r.stopped) {
		struct lane *l = &j->lane[lane];
		struct segment *s = pin_after(j, l, passed, r.after, &last);
		if (!s)
			break;
		read_segment(j, l, s, &r);
		passed = s->number;
		unpin(j, s);
	}
	return r.after;
}

unsigned journal_lane_count(const struct journal *j)
{
	return j->lanes;
}

uint64_t journal_end(const struct journal *j, unsigned lane)
{
	return lane < j->lanes ? atomic_load_explicit(&j->lane[lane].last, memory_order_acquire) : 0;
}

void journal_range(const struct journal *j, unsigned lane, uint64_t *oldest, uint64_t *newest)
{
	*oldest = *newest = 0;
	if (lane >= j->lanes)
		return;
	struct journal *open = (struct journal *)j; /* only its lock is written */
	const struct lane *l = &j->lane[lane];
	pthread_mutex_lock(&open->lock);
	uint64_t current = atomic_load_explicit(&l->current, memory_order_acquire);
	for (size_t i = 0; i < l->count && l->segments[i]->number <= current && !*oldest; i++)
		if (head_now(l->segments[i]->page))
			*oldest = atomic_load_explicit(&l->segments[i]->first, memory_order_relaxed);
	if (*oldest)
		*newest = atomic_load_explicit(&l->last, memory_order_acquire);
	pthread_mutex_unlock(&open->lock);
}
