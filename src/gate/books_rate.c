/* books_rate.c - token buckets in whole numbers: exact in the long run, and first come, first served.
 *
 * A bucket holds a minute's worth and starts full. A request that may wait takes its share at once and the level goes below zero, so that whoever comes
 * later waits longer. Pure; under the books' lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books_parts.h"

#define LEVEL_LEAST (-INT64_C(4000000000000000000))

static int64_t capacity(const struct rate *r)
{
	return r->limit * MINUTE_US;
}

/* What was taken in the last minute stays taken. */
void rate_set(struct rate *r, int64_t limit)
{
	int64_t taken = r->limit ? capacity(r) - r->level : 0;
	r->limit = clamp_i64(limit, 0, RATE_MAX);
	r->level = capacity(r) - taken;
	if (r->level < LEVEL_LEAST)
		r->level = LEVEL_LEAST;
}

void rate_fill(struct rate *r, int64_t mono_us)
{
	int64_t passed = mono_us - r->at_us, missing = capacity(r) - r->level, more;
	if (passed <= 0) /* another thread looked at the clock later and was here earlier */
		return;
	r->at_us = mono_us;
	if (__builtin_mul_overflow(passed, r->limit, &more) || more > missing)
		more = missing;
	r->level += more;
}

/* What is larger than the bucket needs a full one. */
int64_t rate_wait(const struct rate *r, int64_t need)
{
	int64_t enough = clamp_i64(need, 0, r->limit) * MINUTE_US;
	if (r->level >= enough)
		return 0;
	return (enough - r->level + r->limit - 1) / r->limit;
}

void rate_take(struct rate *r, int64_t need)
{
	r->level = clamp_i64(r->level - clamp_i64(need, -RATE_MAX, RATE_MAX) * MINUTE_US, LEVEL_LEAST, capacity(r));
}

void rate_show(const struct rate *r, struct rate_view *view)
{
	int64_t left = r->level > 0 ? r->level / MINUTE_US : 0;
	if (view->limit && (view->remaining < left || (view->remaining == left && view->limit <= r->limit)))
		return;
	*view = (struct rate_view){r->limit, left, (capacity(r) - r->level + r->limit - 1) / r->limit};
}
