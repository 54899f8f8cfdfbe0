/* store_lanes.c - how far each lane of the journal is in the database, and whether the two belong together.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

void lanes_forget(struct store *s)
{
	for (unsigned i = 0; i < JOURNAL_LANES_MAX; i++) {
		struct lane_state *l = &s->lanes[i];
		begins_clear(&l->begins);
		*l = (struct lane_state){.applied = l->applied, .on_disk = l->on_disk};
	}
	s->loaded = false;
}

static bool take_lane(void *user, const struct db_row *row)
{
	struct store *s = user;
	int64_t lane = db_row_int(row, 0);
	if (!db_row_fits(row) || lane < 0 || lane >= JOURNAL_LANES_MAX)
		return db_fail(s->db, "damaged: a row of applied does not fit its checksum");
	struct lane_state *l = &s->lanes[lane];
	l->applied = (uint64_t)db_row_int(row, 1);
	l->closed = (uint64_t)db_row_int(row, 2);
	l->restarted = db_row_int(row, 3) != 0;
	return true;
}

static bool take_pending(void *user, const struct db_row *row)
{
	struct store *s = user;
	int64_t lane = db_row_int(row, 0);
	if (lane < 0 || lane >= JOURNAL_LANES_MAX)
		return db_fail(s->db, "damaged: pending names a lane that cannot be");
	s->lanes[lane].spilled = true;
	return true;
}

bool lanes_load(struct store *s)
{
	if (s->loaded)
		return true;
	lanes_forget(s);
	if (!db_exec(s->db, "SELECT * FROM applied", NULL, 0, take_lane, s) ||
	    !db_exec(s->db, "SELECT DISTINCT lane FROM pending", NULL, 0, take_pending, s))
		return store_fail_db(s, s->db);
	s->loaded = true;
	return true;
}

bool lane_write(struct store *s, unsigned lane, uint64_t applied, uint64_t closed, bool restarted)
{
	struct db_value v[5] = {db_int(lane), db_int((int64_t)applied), db_int((int64_t)closed), db_int(restarted)};
	return db_put(s->db, "INSERT OR REPLACE INTO applied VALUES(?1,?2,?3,?4,?5)", v, 4) || store_fail_db(s, s->db);
}

/* The next recovery must charge leases even if this one is broken off: it will not see that something was missing. */
static bool note_doubt(struct store *s)
{
	struct buf boot;
	buf_init(&boot, 256);
	bool fine = store_get_fact(s, "boot", &boot);
	if (fine && boot.len > 0)
		fine = fact_write(s, "boot", STR(BOOT_REBUILT)) || store_fail_db(s, s->db);
	buf_release(&boot);
	return fine;
}

/* The journal ends before what was applied: the machine died before the journal was synced, or the lane's files are gone. What is missing was applied, and
 * its sequences will be given again. */
static bool rewind_lane(struct store *s, unsigned lane, uint64_t newest)
{
	struct lane_state *l = &s->lanes[lane];
	uint64_t closed = l->closed < newest ? l->closed : newest;
	if (!db_begin(s->db, true))
		return store_fail_db(s, s->db);
	if (!lane_write(s, lane, newest, closed, newest == 0) || !note_doubt(s) || !store_commit(s, s->db, "valet.db")) {
		db_rollback(s->db);
		return false;
	}
	s->rewound = true;
	l->applied = newest;
	l->closed = closed;
	l->restarted = newest == 0;
	if (l->on_disk > closed)
		l->on_disk = closed;
	return true;
}

/* The months before valet.db: killed in between, all of it is done again. A month can be ahead where valet.db is not, if the power failed; it is one of the
 * last two then, since it was written to in the last moments. */
static bool rewind_all(struct store *s, struct journal *j)
{
	uint64_t ends[JOURNAL_LANES_MAX];
	bool behind = false;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++) {
		ends[lane] = journal_end(j, lane);
		behind |= ends[lane] < s->lanes[lane].applied;
	}
	if (!behind && journal_state(j) == JOURNAL_CLEAN)
		return true;
	if (!months_rewind(s, behind ? 0 : month_of(s->newest_us) - 1, ends))
		return false;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		if (ends[lane] < s->lanes[lane].applied && !rewind_lane(s, lane, ends[lane]))
			return false;
	return true;
}

bool lanes_compare(struct store *s, struct journal *j)
{
	if (!s->compared && !rewind_all(s, j))
		return false;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && !s->compared; lane++) {
		const struct lane_state *l = &s->lanes[lane];
		uint64_t oldest = 0, newest = 0;
		journal_range(j, lane, &oldest, &newest);
		if (!l->restarted && oldest > l->applied + 1)
			return store_failf(s, "%s: the journal's lane %u begins with record %llu, but valet.db ends with %llu: records are missing between them. "
					      "Is valet.db an older copy, or valet.db-wal gone? Put back all files of one copy, or go on with what is there: "
					      "valet recover --rebuild", s->folder, lane, (unsigned long long)oldest, (unsigned long long)l->applied);
	}
	s->compared = true;
	return true;
}
