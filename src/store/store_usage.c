/* store_usage.c - questions about what was used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"
#include "store/store_parts.h"

#include <stdio.h>

size_t sums_put(struct db_value *values, size_t names, const struct usage_sum *sum)
{
	int64_t n[SUMS_COUNT];
	memcpy(n, sum, sizeof(n));
	for (size_t i = 0; i < SUMS_COUNT; i++)
		values[names + i] = db_int(n[i]);
	return names + SUMS_COUNT;
}

void sums_get(const struct db_row *r, int first, struct usage_sum *out)
{
	int64_t n[SUMS_COUNT];
	for (size_t i = 0; i < SUMS_COUNT; i++)
		n[i] = db_row_int(r, first + (int)i);
	memcpy(out, n, sizeof(n));
}

struct query {
	struct store *s;
	struct sums sums;
	enum usage_by by;
	bool all_keys, failed;
	uint32_t key;
	struct window day; /* the one that was asked for last */
};

static bool start(struct query *q, struct store *s)
{
	*q = (struct query){.s = s, .all_keys = true};
	sums_init(&q->sums);
	db_fail(s->db, "damaged: a row of sums does not fit its checksum");
	return true;
}

/* ---- by key and model ---- */

static bool take_total(void *user, const struct db_row *row)
{
	struct query *q = user;
	struct usage_sum sum;
	int last = db_row_columns(row) - 1, first = last - (int)SUMS_COUNT;
	if (!db_row_fits(row))
		return false;
	sums_get(row, first, &sum);
	/* usage: quarter, key, model, target; totals: key, model */
	int key = first == 4;
	usage_add(&sums_at(&q->sums, 0, (uint32_t)db_row_int(row, key), db_row_bytes(row, key + 1), STR_NONE)->sum, &sum);
	return true;
}

bool store_sums(struct store *s, int64_t from_s, void (*visit)(void *user, uint32_t key, struct str model, const struct usage_sum *sum), void *user)
{
	struct query q;
	struct db_value from = db_int(from_s);
	start(&q, s);
	bool fine = from_s == 0 ? db_exec(s->db, "SELECT * FROM totals", NULL, 0, take_total, &q)
				: db_exec(s->db, "SELECT * FROM usage WHERE quarter>=?1", &from, 1, take_total, &q);
	if (!fine)
		store_fail_db(s, s->db);
	sums_sort(&q.sums);
	for (size_t i = 0; i < q.sums.count && fine; i++)
		visit(user, q.sums.rows[i]->key, q.sums.rows[i]->model, &q.sums.rows[i]->sum);
	sums_release(&q.sums);
	return fine;
}

/* ---- by anything ---- */

static int64_t day_of(struct query *q, int64_t quarter)
{
	if (quarter < q->day.from_s || quarter >= q->day.to_s)
		q->day = civil_window(PERIOD_DAY, quarter);
	return q->day.from_s;
}

static struct sum_row *group_of(struct query *q, int64_t quarter, uint32_t key, struct str model, struct str target)
{
	switch (q->by) {
	case USAGE_BY_KEY:
		return sums_at(&q->sums, 0, key, STR_NONE, STR_NONE);
	case USAGE_BY_MODEL:
		return sums_at(&q->sums, 0, 0, model, STR_NONE);
	case USAGE_BY_TARGET:
		return sums_at(&q->sums, 0, 0, STR_NONE, target);
	case USAGE_BY_DAY:
		return sums_at(&q->sums, day_of(q, quarter), 0, STR_NONE, STR_NONE);
	case USAGE_BY_KEY_DAY:
		break;
	}
	return sums_at(&q->sums, day_of(q, quarter), key, STR_NONE, STR_NONE);
}

static bool take_usage(void *user, const struct db_row *row)
{
	struct query *q = user;
	struct usage_sum sum;
	uint32_t key = (uint32_t)db_row_int(row, 1);
	if (!db_row_fits(row))
		return false;
	if (!q->all_keys && key != q->key)
		return true;
	sums_get(row, 4, &sum);
	usage_add(&group_of(q, db_row_int(row, 0), key, db_row_bytes(row, 2), db_row_bytes(row, 3))->sum, &sum);
	return true;
}

static int compare_spent(const void *a, const void *b)
{
	const struct sum_row *x = *(struct sum_row *const *)a, *y = *(struct sum_row *const *)b;
	int64_t x_tokens = add_capped(x->sum.input, x->sum.output), y_tokens = add_capped(y->sum.input, y->sum.output);
	if (x->sum.cost != y->sum.cost)
		return x->sum.cost > y->sum.cost ? -1 : 1;
	return (x_tokens < y_tokens) - (x_tokens > y_tokens);
}

static void show(const struct query *q, void (*visit)(void *user, const struct usage_row *row), void *user)
{
	for (size_t i = 0; i < q->sums.count; i++) {
		const struct sum_row *r = q->sums.rows[i];
		struct usage_row out = {.key = r->key, .text = q->by == USAGE_BY_TARGET ? r->target : r->model, .day_s = r->slot, .sum = r->sum};
		visit(user, &out);
	}
}

bool store_usage(struct store *s, enum usage_by by, int64_t from_s, int64_t to_s, uint32_t key, void (*visit)(void *user, const struct usage_row *row),
		 void *user)
{
	struct query q;
	struct db_value range[2] = {db_int(from_s), db_int(to_s)};
	start(&q, s);
	q.by = by;
	q.key = key;
	q.all_keys = key == UINT32_MAX;
	bool fine = db_exec(s->db, "SELECT * FROM usage WHERE quarter>=?1 AND quarter<?2", range, 2, take_usage, &q) || store_fail_db(s, s->db);
	sums_sort(&q.sums);
	if (by != USAGE_BY_DAY && by != USAGE_BY_KEY_DAY && q.sums.count)
		qsort(q.sums.rows, q.sums.count, sizeof(*q.sums.rows), compare_spent);
	if (fine)
		show(&q, visit, user);
	sums_release(&q.sums);
	return fine;
}
