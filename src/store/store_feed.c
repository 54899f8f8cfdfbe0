/* store_feed.c - records of the journal into the database, in batches, each exactly once. How: see store_parts.h.
 *
 * A batch that fails is rolled back whole, and all that is known in memory of the journal is forgotten: the next one begins at the journal's oldest record
 * again, passes what is applied, and so cannot be wrong about what is open.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

#include <stdio.h>

/* A SETTLE whose BEGIN may be in `pending`. */
struct settled {
	unsigned lane;
	uint64_t seq;
};

struct feed {
	struct store *s;
	struct sums usage, totals;
	struct record_lease *leases; /* texts in usage.arena */
	struct settled *settled;
	size_t lease_count, settled_count, left;
	uint64_t to[JOURNAL_LANES_MAX];
	int64_t newest_us;
	bool failed, full; /* full: this batch cannot take one more */
};

static void *one_more(void *array, size_t count, size_t size)
{
	return (count & (count - 1)) == 0 ? mem_grow(array, (count ? count * 2 : 1) * size) : array;
}

/* ---- one record ---- */

static struct str elsewhere_name(char out[16], unsigned lane, uint64_t seq)
{
	uint64_t both[2] = {lane, seq};
	memcpy(out, both, 16);
	return str_of(out, 16);
}

static bool settled_elsewhere(const struct store *s, unsigned lane, uint64_t seq)
{
	char name[16];
	return s->elsewhere.count && table_get(&s->elsewhere, elsewhere_name(name, lane, seq));
}

static void close_begin(struct feed *f, unsigned lane, uint64_t begin)
{
	struct store *s = f->s;
	char name[16];
	unsigned other = settle_begin_lane(lane, begin);
	uint64_t seq = settle_begin_seq(begin);
	if (seq == 0 || other >= JOURNAL_LANES_MAX)
		return;
	if (other != lane && !settled_elsewhere(s, other, seq))
		table_put(&s->elsewhere, arena_dup(&s->elsewhere_names, elsewhere_name(name, other, seq)), s);
	if (begins_settle(&s->lanes[other].begins, seq) || !s->lanes[other].spilled)
		return;
	f->settled = one_more(f->settled, f->settled_count, sizeof(*f->settled));
	f->settled[f->settled_count++] = (struct settled){other, seq};
}

/* The row of a request. False: not in this batch. */
static bool add_row(struct feed *f, const struct journal_record *j, const struct record_settle *r, bool fresh)
{
	struct month *m;
	enum month_answer got = month_get(f->s, month_of(r->began_us), fresh, &m);
	if (got == MONTH_MISSING) /* deleted since: it was applied */
		return true;
	f->failed |= got == MONTH_FAILED;
	f->full |= got == MONTH_BUSY;
	if (got != MONTH_READY)
		return false;
	if (j->seq <= m->applied[j->lane] || month_insert(f->s, m, j->lane, j->seq, r))
		return true;
	f->failed = true;
	return false;
}

static bool take_settle(struct feed *f, const struct journal_record *j, bool fresh)
{
	struct record_settle r;
	struct usage_sum used;
	if (!record_get_settle(j->payload, &r))
		return false;
	if (!add_row(f, j, &r, fresh))
		return false;
	close_begin(f, j->lane, r.begin);
	if (!fresh)
		return true;
	usage_of(&r, &used);
	usage_add(&sums_at(&f->usage, quarter_of(r.began_us), r.key, r.model, r.target)->sum, &used);
	usage_add(&sums_at(&f->totals, 0, r.key, r.model, STR_NONE)->sum, &used);
	if (r.ended_us > f->newest_us)
		f->newest_us = r.ended_us;
	return true;
}

static bool take_begin(struct feed *f, const struct journal_record *j)
{
	struct record_begin r;
	struct lane_state *l = &f->s->lanes[j->lane];
	if (!record_get_begin(j->payload, &r))
		return false;
	if (j->seq > l->closed && !settled_elsewhere(f->s, j->lane, j->seq))
		begins_add(&l->begins, j->seq, j->payload);
	if (r.began_us > f->newest_us)
		f->newest_us = r.began_us;
	return true;
}

static bool take_lease(struct feed *f, const struct journal_record *j, bool fresh)
{
	struct record_lease r;
	if (!record_get_lease(j->payload, &r))
		return false;
	if (!fresh)
		return true;
	r.pattern = arena_dup(&f->usage.arena, r.pattern);
	f->leases = one_more(f->leases, f->lease_count, sizeof(*f->leases));
	f->leases[f->lease_count++] = r;
	return true;
}

static bool take(struct feed *f, const struct journal_record *j)
{
	bool fresh = j->seq > f->s->lanes[j->lane].applied;
	switch (j->type) {
	case RECORD_BEGIN:
		return take_begin(f, j);
	case RECORD_SETTLE:
		return take_settle(f, j, fresh);
	case RECORD_LEASE:
		return take_lease(f, j, fresh);
	default:
		return false;
	}
}

static bool visit(void *user, const struct journal_record *j)
{
	struct feed *f = user;
	if (!take(f, j)) {
		if (!f->failed && !f->full)
			f->failed = !store_failf(f->s, "%s: record %llu of the journal's lane %u is none that this version of Valet knows", f->s->folder,
						 (unsigned long long)j->seq, j->lane);
		return false;
	}
	f->to[j->lane] = j->seq;
	return --f->left > 0;
}

/* ---- valet.db ---- */

static bool take_sum(void *user, const struct db_row *row)
{
	struct usage_sum *before = user;
	sums_get(row, db_row_columns(row) - 1 - (int)SUMS_COUNT, before);
	return db_row_fits(row);
}

static bool put_usage(struct db *d, const struct sum_row *r)
{
	struct db_value v[4 + SUMS_COUNT + 1] = {db_int(r->slot), db_int(r->key), db_text(r->model), db_text(r->target)};
	struct usage_sum sum = {0};
	db_fail(d, "damaged: a row of usage does not fit its checksum");
	if (!db_exec(d, "SELECT * FROM usage WHERE quarter=?1 AND key=?2 AND model=?3 AND target=?4", v, 4, take_sum, &sum))
		return false;
	usage_add(&sum, &r->sum);
	return db_put(d, "INSERT OR REPLACE INTO usage VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)", v,
		      sums_put(v, 4, &sum));
}

static bool put_total(struct db *d, const struct sum_row *r)
{
	struct db_value v[2 + SUMS_COUNT + 1] = {db_int(r->key), db_text(r->model)};
	struct usage_sum sum = {0};
	db_fail(d, "damaged: a row of totals does not fit its checksum");
	if (!db_exec(d, "SELECT * FROM totals WHERE key=?1 AND model=?2", v, 2, take_sum, &sum))
		return false;
	usage_add(&sum, &r->sum);
	return db_put(d, "INSERT OR REPLACE INTO totals VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)", v,
		      sums_put(v, 2, &sum));
}

static bool put_lease(struct db *d, const struct record_lease *r)
{
	struct db_value v[7] = {db_int(r->key), db_text(r->pattern), db_int(r->unit), db_int(r->period), db_int(r->leased), db_int(r->window_s)};
	return db_put(d, "INSERT OR REPLACE INTO leases VALUES(?1,?2,?3,?4,?5,?6,?7)", v, 6);
}

static bool put_sums(struct feed *f)
{
	struct db *d = f->s->db;
	bool fine = true;
	sums_sort(&f->usage);
	sums_sort(&f->totals);
	for (size_t i = 0; i < f->usage.count && fine; i++)
		fine = put_usage(d, f->usage.rows[i]);
	for (size_t i = 0; i < f->totals.count && fine; i++)
		fine = put_total(d, f->totals.rows[i]);
	for (size_t i = 0; i < f->lease_count && fine; i++)
		fine = put_lease(d, &f->leases[i]);
	return fine;
}

/* ---- what is open ---- */

/* BEGINs at or below this go into `pending` with this batch. */
static uint64_t spill_to(const struct feed *f, unsigned lane)
{
	uint64_t to = f->to[lane];
	return to > f->s->spill_after ? to - f->s->spill_after : 0;
}

static bool spill(struct feed *f, unsigned lane)
{
	const struct begins *b = &f->s->lanes[lane].begins;
	bool fine = true;
	for (size_t i = b->head; i < b->end && b->at[i].seq <= spill_to(f, lane) && fine; i++) {
		struct db_value v[4] = {db_int(lane), db_int((int64_t)b->at[i].seq), db_blob(b->at[i].payload, b->at[i].len)};
		fine = !b->at[i].payload || db_put(f->s->db, "INSERT OR REPLACE INTO pending VALUES(?1,?2,?3,?4)", v, 3);
	}
	return fine;
}

/* `closed` when what spill() wrote is no longer counted as open. */
static uint64_t closed_to(const struct feed *f, unsigned lane)
{
	const struct lane_state *l = &f->s->lanes[lane];
	uint64_t spilled = spill_to(f, lane), to = f->to[lane];
	for (size_t i = l->begins.head; i < l->begins.end; i++)
		if (l->begins.at[i].payload && l->begins.at[i].seq > spilled) {
			to = l->begins.at[i].seq - 1;
			break;
		}
	return to > l->closed ? to : l->closed;
}

static bool put_lanes(struct feed *f)
{
	struct store *s = f->s;
	bool fine = true;
	for (size_t i = 0; i < f->settled_count && fine; i++) {
		struct db_value v[2] = {db_int(f->settled[i].lane), db_int((int64_t)f->settled[i].seq)};
		fine = db_exec(s->db, "DELETE FROM pending WHERE lane=?1 AND seq=?2", v, 2, NULL, NULL);
	}
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && fine; lane++) {
		const struct lane_state *l = &s->lanes[lane];
		if (f->to[lane] > l->cursor || closed_to(f, lane) != l->closed)
			fine = spill(f, lane) && lane_write(s, lane, f->to[lane] > l->applied ? f->to[lane] : l->applied, closed_to(f, lane),
							    l->restarted && f->to[lane] == 0);
	}
	return fine;
}

static bool put_newest(struct feed *f)
{
	char text[24];
	if (f->newest_us <= f->s->newest_us)
		return true;
	int n = snprintf(text, sizeof(text), "%lld", (long long)f->newest_us);
	return fact_write(f->s, "newest_us", str_of(text, (size_t)n));
}

/* ---- a batch ---- */

static bool write_main(struct feed *f)
{
	struct store *s = f->s;
	if (!db_begin(s->db, false))
		return store_fail_db(s, s->db);
	if (!put_sums(f) || !put_lanes(f) || !put_newest(f))
		return store_fail_db(s, s->db);
	return store_commit(s, s->db, "valet.db");
}

static bool commit(struct feed *f)
{
	struct store *s = f->s;
	for (size_t i = 0; i < MONTHS_OPEN; i++)
		if (s->months[i].db && db_in_transaction(s->months[i].db) && !month_commit(s, &s->months[i]))
			return false;
	if (!write_main(f))
		return false;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++) {
		struct lane_state *l = &s->lanes[lane];
		uint64_t oldest = begins_oldest(&l->begins);
		l->closed = closed_to(f, lane);
		l->restarted &= f->to[lane] == 0;
		l->cursor = f->to[lane];
		if (l->applied < l->cursor)
			l->applied = l->cursor;
		l->spilled |= oldest && oldest <= spill_to(f, lane);
		begins_remove_to(&l->begins, spill_to(f, lane));
	}
	if (s->newest_us < f->newest_us)
		s->newest_us = f->newest_us;
	return true;
}

static void give_up(struct store *s)
{
	db_rollback(s->db);
	months_close(s);
	lanes_forget(s);
}

static void read_lanes(struct feed *f, struct journal *j)
{
	struct store *s = f->s;
	unsigned count = journal_lane_count(j);
	for (unsigned i = 0; i < count && f->left > 0 && !f->failed && !f->full; i++) {
		unsigned lane = (s->turn + i) % count;
		journal_read(j, lane, s->lanes[lane].cursor, visit, f);
	}
	s->turn = count ? (s->turn + 1) % count : 0;
}

static bool run(struct feed *f, struct journal *j, size_t max)
{
	struct store *s = f->s;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		f->to[lane] = s->lanes[lane].cursor;
	read_lanes(f, j);
	if (f->full && f->left == max)
		f->failed = !store_failf(s, "%s: the files of requests cannot be written", s->folder);
	if (f->failed)
		return false;
	return f->left == max || commit(f);
}

bool store_feed(struct store *s, struct journal *j, size_t max, size_t *applied)
{
	struct feed f = {.s = s, .left = max, .newest_us = s->newest_us};
	*applied = 0;
	if (max == 0)
		return true;
	if (!lanes_load(s) || !lanes_compare(s, j)) {
		give_up(s);
		return false;
	}
	sums_init(&f.usage);
	sums_init(&f.totals);
	bool fine = run(&f, j, max);
	if (fine)
		*applied = max - f.left;
	else
		give_up(s);
	sums_release(&f.usage);
	sums_release(&f.totals);
	free(f.leases);
	free(f.settled);
	return fine;
}

bool store_sync(struct store *s)
{
	for (size_t i = 0; i < MONTHS_OPEN; i++) {
		struct month *m = &s->months[i];
		if (m->db && m->unsynced && !db_sync(m->db))
			return store_fail_db(s, m->db);
		m->unsynced = false;
	}
	if (!db_sync(s->db))
		return store_fail_db(s, s->db);
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && s->loaded; lane++)
		s->lanes[lane].on_disk = s->lanes[lane].closed;
	return true;
}
