/* journal_sync.c - the syncing thread: the group commit, and segments that come and go.
 *
 * A lane's segments are synced in their order, so that a later one whose `synced` is on the disk proves that the earlier ones are whole. A segment may be
 * dropped when it is sealed and synced and the one after it has a record on the disk: the lane's sequence can always be found again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/clock.h"
#include "base/mem.h"

#include <sys/mman.h>

/* ---- the commit ---- */

/* After a sync the pages that the writer stores into are write-protected, and its next store would wait for the file system. They are touched here instead:
 * the header's, and as far ahead as the lane came since the last sync. */
static void touch_ahead(struct segment *s, size_t head)
{
#ifdef MADV_POPULATE_WRITE
	size_t from = head & ~(size_t)(SEGMENT_PAGE - 1);
	size_t to = (head + (head - s->touched) + SEGMENT_PAGE) & ~(size_t)(SEGMENT_PAGE - 1);
	if (to > s->capacity)
		to = s->capacity & ~(size_t)(SEGMENT_PAGE - 1);
	madvise(s->page, SEGMENT_PAGE, MADV_POPULATE_WRITE);
	if (from < to)
		madvise(s->data + from, to - from, MADV_POPULATE_WRITE);
#endif
	s->touched = head;
}

static bool commit_segment(struct journal *j, struct lane *l, size_t index, bool sealed)
{
	if (!files_sync(j, l, index))
		return false;
	struct segment *s = l->segments[index]; /* another one after a failure */
	atomic_store_explicit(&s->page->synced, mark_of(s->synced), memory_order_relaxed);
	if (!sealed)
		touch_ahead(s, s->synced);
	return true;
}

static bool commit_lane(struct journal *j, struct lane *l)
{
	uint64_t last = atomic_load_explicit(&l->last, memory_order_acquire);
	if (last == atomic_load_explicit(&l->synced, memory_order_relaxed))
		return true;
	uint64_t current = atomic_load_explicit(&l->current, memory_order_acquire);
	for (size_t i = 0; i < l->count && l->segments[i]->number <= current; i++) {
		struct segment *s = l->segments[i];
		if (head_now(s->page) > s->synced && !commit_segment(j, l, i, s->number < current))
			return false;
	}
	atomic_store_explicit(&l->synced, last, memory_order_release);
	return true;
}

static bool commit(struct journal *j)
{
	int64_t began = clock_mono_us();
	bool fine = true;
	for (unsigned i = 0; i < j->lanes && fine; i++)
		fine = commit_lane(j, &j->lane[i]);
	int64_t took = clock_mono_us() - began, before = atomic_load(&j->slowest_us);
	while (before < took && !atomic_compare_exchange_weak(&j->slowest_us, &before, took))
		;
	return fine;
}

bool journal_sync(struct journal *j)
{
	if (atomic_load(&j->failed))
		return false;
	atomic_store(&j->work, false);
	if (!commit(j)) {
		journal_fail(j);
		return false;
	}
	journal_tend(j);
	return true;
}

/* ---- segments that go ---- */

static bool may_drop(const struct lane *l, uint64_t drop)
{
	if (l->count < 2)
		return false;
	const struct segment *s = l->segments[0], *after = l->segments[1];
	if (s->number >= atomic_load_explicit(&l->current, memory_order_acquire) || s->pins)
		return false;
	size_t head = head_now(s->page);
	bool needed = head && atomic_load_explicit(&s->last, memory_order_relaxed) > drop;
	return !needed && s->synced >= head && (after->synced > 0 || after->page->first);
}

static void drop_segments(struct journal *j, struct lane *l)
{
	uint64_t drop = atomic_load(&l->drop);
	for (;;) {
		pthread_mutex_lock(&j->lock);
		struct segment *s = may_drop(l, drop) ? l->segments[0] : NULL;
		if (s) {
			l->count--;
			memmove(l->segments, l->segments + 1, l->count * sizeof(struct segment *));
		}
		pthread_mutex_unlock(&j->lock);
		if (!s)
			return;
		if (!files_cool(j, s)) { /* back where it was */
			pthread_mutex_lock(&j->lock);
			memmove(l->segments + 1, l->segments, l->count * sizeof(struct segment *));
			l->segments[0] = s;
			l->count++;
			pthread_mutex_unlock(&j->lock);
			return;
		}
	}
}

/* ---- segments that come ---- */

void lane_push(struct journal *j, struct lane *l, struct segment *s)
{
	pthread_mutex_lock(&j->lock);
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 8;
		l->segments = mem_grow(l->segments, l->room * sizeof(struct segment *));
	}
	l->segments[l->count++] = s;
	pthread_mutex_unlock(&j->lock);
}

static bool has_next(const struct lane *l)
{
	return atomic_load_explicit(&l->next, memory_order_acquire) != NULL;
}

static bool wants_next(const struct lane *l)
{
	return l->written && atomic_load_explicit(&l->wants, memory_order_acquire) && !has_next(l);
}

static void hand_over(struct journal *j, struct lane *l)
{
	struct segment *s = l->coming;
	l->coming = NULL;
	lane_push(j, l, s);
	touch_ahead(s, 0);
	atomic_store_explicit(&l->wants, false, memory_order_relaxed);
	atomic_store_explicit(&l->next, s, memory_order_release);
}

void journal_tend(struct journal *j)
{
	bool want = false;
	for (unsigned i = 0; i < j->lanes; i++)
		drop_segments(j, &j->lane[i]);
	bool cooled = j->cooling != NULL;
	for (unsigned i = 0; i < j->lanes; i++)
		if (wants_next(&j->lane[i]))
			j->lane[i].coming = files_prepare(j, &j->lane[i], 0, false);
	bool fine = files_sync_folder(j);
	for (unsigned i = 0; i < j->lanes; i++) {
		struct lane *l = &j->lane[i];
		if (l->coming && fine) {
			hand_over(j, l);
		} else if (l->coming) {
			files_discard(j, l->coming);
			l->coming = NULL;
		}
		want |= wants_next(l);
	}
	files_reserve(j);
	files_sweep(j);
	if (cooled && want) /* what was dropped can be handed out by now */
		atomic_store(&j->work, true);
}
