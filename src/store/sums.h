/* sums.h - sums of what was used, by quarter of an hour, key, model and target, in memory. Pure; belongs to its owner.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_SUMS_H
#define VALET_STORE_SUMS_H

#include "base/mem.h"
#include "base/table.h"
#include "store/record.h"
#include "store/store.h"

#define SUMS_COUNT (sizeof(struct usage_sum) / sizeof(int64_t))

struct sum_row {
	int64_t slot; /* the quarter's or the day's beginning, or 0 */
	uint32_t key;
	struct str model, target;
	struct usage_sum sum;
};

struct sums {
	struct arena arena;
	struct table index;
	struct sum_row **rows;
	size_t count, cap;
	struct sum_row *last; /* the row that was asked for last */
};

void sums_init(struct sums *s);
void sums_release(struct sums *s);
/* The row of that name; zero where it is new. It stays where it is. */
struct sum_row *sums_at(struct sums *s, int64_t slot, uint32_t key, struct str model, struct str target);
/* The same; NULL where there is none. */
struct sum_row *sums_find(const struct sums *s, int64_t slot, uint32_t key, struct str model, struct str target);
/* Puts rows[] in the order of their names. */
void sums_sort(struct sums *s);

/* Adds member by member; stays at the largest number where it would overflow. Nothing here is negative. */
void usage_add(struct usage_sum *to, const struct usage_sum *more);
int64_t add_capped(int64_t a, int64_t b);
/* What one record adds. */
void usage_of(const struct record_settle *r, struct usage_sum *out);

#endif
