/* journal.c - see journal.h: a lane's writer, and the journal as a whole.
 *
 * The writer's way in is a gate: it says that it is inside and then looks whether the gate is open; the syncing thread closes the gate and then waits until
 * nobody is inside. It does so only to put another file under a lane whose own could not be synced.
 *
 * A reservation holds if all that is reserved fits into the current segment, or into the next one that was handed over already, or into both with the
 * largest record to spare, for that much may be left over at the end of the current one. Every append keeps it so or is refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* ---- the gate ---- */

static bool enter(struct lane *l)
{
	for (;;) {
		atomic_exchange(&l->inside, true); /* before the look at the gate, for all to see */
		unsigned gate = atomic_load(&l->gate);
		if (gate == GATE_OPEN || (gate == GATE_FAILED && l->owed))
			return true;
		atomic_store_explicit(&l->inside, false, memory_order_release);
		if (!l->owed)
			return false;
		sched_yield(); /* what was reserved cannot be refused */
	}
}

static void leave(struct lane *l)
{
	atomic_store_explicit(&l->inside, false, memory_order_release);
}

/* ---- room ---- */

static struct segment *next_of(const struct lane *l)
{
	return atomic_load_explicit(&l->next, memory_order_acquire);
}

static void ask(struct lane *l)
{
	l->ask_at = SIZE_MAX;
	atomic_store_explicit(&l->wants, true, memory_order_relaxed);
	atomic_store_explicit(&l->journal->work, true, memory_order_release);
}

static bool holds(size_t left, size_t next, size_t reserved, size_t largest)
{
	return reserved <= left || reserved <= next || reserved + largest <= left + next;
}

/* The old segment's end is final before anybody can see that it is not the current one any more. */
static void switch_to(struct lane *l, struct segment *next)
{
	atomic_store_explicit(&l->cur->last, l->next_seq - 1, memory_order_relaxed);
	atomic_store_explicit(&next->first, l->next_seq, memory_order_relaxed);
	atomic_store_explicit(&l->next, NULL, memory_order_relaxed);
	l->cur = next;
	l->used = 0;
	l->capacity = next->capacity;
	l->ask_at = next->capacity / 2;
	atomic_store_explicit(&l->current, next->number, memory_order_release);
}

static bool make_room(struct lane *l, size_t size)
{
	size_t left = l->capacity - l->used;
	if (size + l->reserved <= left)
		return true;
	struct segment *next = next_of(l);
	if (size <= left)
		return holds(left - size, next ? next->capacity : 0, l->reserved, l->reserve_max);
	if (!next || size + l->reserved > next->capacity)
		return false;
	switch_to(l, next);
	return true;
}

/* ---- appending ---- */

static uint64_t put(struct lane *l, size_t size, uint8_t type, const void *payload, size_t len)
{
	uint64_t seq = l->next_seq++;
	segment_put(l->cur->data + l->used, l->cur->seed, seq, type, payload, len);
	l->used += size;
	atomic_store_explicit(&l->cur->page->head, mark_of(l->used), memory_order_release);
	atomic_store_explicit(&l->last, seq, memory_order_release);
	return seq;
}

uint64_t lane_append(struct lane *l, uint8_t type, const void *payload, size_t len)
{
	uint64_t seq = 0;
	if (len <= SEGMENT_MAX && enter(l)) {
		if (make_room(l, record_bytes(len)))
			seq = put(l, record_bytes(len), type, payload, len);
		leave(l);
	}
	l->owed = false;
	if (!seq || l->used + l->reserved > l->ask_at)
		ask(l);
	return seq;
}

bool lane_reserve(struct lane *l, size_t bytes)
{
	if (bytes > SEGMENT_MAX || atomic_load_explicit(&l->gate, memory_order_relaxed) == GATE_FAILED)
		return false;
	size_t size = record_bytes(bytes), left = l->capacity - l->used;
	size_t largest = size > l->reserve_max ? size : l->reserve_max;
	if (l->reserved + size > left) {
		struct segment *next = next_of(l);
		if (!holds(left, next ? next->capacity : 0, l->reserved + size, largest)) {
			ask(l);
			return false;
		}
	}
	l->reserved += size;
	l->reserve_max = largest;
	if (l->used + l->reserved > l->ask_at)
		ask(l);
	return true;
}

void lane_unreserve(struct lane *l, size_t bytes)
{
	size_t size = record_bytes(bytes);
	assert(size <= l->reserved);
	l->reserved -= size;
	if (l->reserved == 0)
		l->reserve_max = 0;
	l->owed = true;
}

/* ---- the journal ---- */

struct lane *journal_lane(struct journal *j, unsigned number)
{
	assert(number < j->lanes_asked);
	return &j->lane[number];
}

enum journal_state journal_state(const struct journal *j)
{
	return j->state;
}

const char *journal_boot(const struct journal *j)
{
	return j->boot;
}

bool journal_dirty(const struct journal *j)
{
	if (atomic_load_explicit(&j->work, memory_order_acquire))
		return true;
	for (unsigned i = 0; i < j->lanes; i++)
		if (atomic_load_explicit(&j->lane[i].last, memory_order_acquire) != atomic_load(&j->lane[i].synced))
			return true;
	return false;
}

uint64_t journal_failures(const struct journal *j)
{
	return atomic_load(&j->failures);
}

bool journal_failed(const struct journal *j)
{
	return atomic_load(&j->failed);
}

size_t journal_bytes(const struct journal *j)
{
	return atomic_load(&j->bytes);
}

int64_t journal_slowest(struct journal *j)
{
	return atomic_exchange(&j->slowest_us, 0);
}

void journal_drop(struct journal *j, unsigned lane, uint64_t seq)
{
	if (lane >= j->lanes)
		return;
	uint64_t before = atomic_load(&j->lane[lane].drop);
	while (before < seq && !atomic_compare_exchange_weak(&j->lane[lane].drop, &before, seq))
		;
	atomic_store_explicit(&j->work, true, memory_order_release);
}

void journal_fail(struct journal *j)
{
	atomic_store(&j->failed, true);
	for (unsigned i = 0; i < j->lanes; i++)
		atomic_store(&j->lane[i].gate, GATE_FAILED);
}

static void free_list(struct segment *s)
{
	while (s) {
		struct segment *link = s->link;
		files_forget(s);
		s = link;
	}
}

static void free_lane(struct lane *l)
{
	for (size_t i = 0; i < l->count; i++)
		files_forget(l->segments[i]);
	if (l->coming)
		files_forget(l->coming);
	waits_close(l);
	free(l->segments);
}

/* Everything below is on the disk by now. */
static void close_lane(struct journal *j, struct lane *l)
{
	struct segment *s = l->cur;
	if (!l->written || !s)
		return;
	atomic_store(&s->page->closed, mark_of(1));
	if (j->io.sync(s->fd) != 0)
		atomic_fetch_add(&j->failures, 1);
}

void journal_free(struct journal *j)
{
	for (unsigned i = 0; i < j->lanes; i++)
		free_lane(&j->lane[i]);
	free_list(j->spares);
	free_list(j->cooling);
	free_list(j->retired);
	if (j->folder_fd >= 0)
		close(j->folder_fd);
	pthread_mutex_destroy(&j->lock);
	free(j->lane);
	free(j->folder);
	free(j);
}

void journal_close(struct journal *j)
{
	bool fine = journal_sync(j);
	for (unsigned i = 0; i < j->lanes && fine; i++)
		close_lane(j, &j->lane[i]);
	journal_free(j);
}
