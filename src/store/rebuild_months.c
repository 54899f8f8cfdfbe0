/* rebuild_months.c - the files of requests: which are damaged, and what the journal and other files know that they do not.
 *
 * A sound file is completed where it stands: a record of the journal goes into it as it would at the next start, and its `applied` with it. A damaged one is
 * copied row by row into a draft, and records of the journal whose request is not among these rows are added.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/rebuild_parts.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { REQUEST_COLUMNS = 22, BEGAN = 1, KEY = 3, SOURCE = 9, KEYS_MOST = 10000000 };

/* ---- which there are ---- */

struct rebuild_month *months_find(struct rebuild *b, int64_t number)
{
	for (size_t i = 0; i < b->month_count; i++)
		if (b->months[i].number == number)
			return &b->months[i];
	return NULL;
}

static struct rebuild_month *add_month(struct rebuild *b, int64_t number)
{
	b->months = mem_grow(b->months, (b->month_count + 1) * sizeof(*b->months));
	b->months[b->month_count] = (struct rebuild_month){.number = number};
	return &b->months[b->month_count++];
}

static bool take_applied(void *user, const struct db_row *row)
{
	struct rebuild *b = user;
	int64_t lane = db_row_int(row, 0);
	if (!db_row_fits(row) || lane < 0 || lane >= JOURNAL_LANES_MAX)
		return false;
	if ((uint64_t)db_row_int(row, 1) > b->applied[lane])
		b->applied[lane] = (uint64_t)db_row_int(row, 1);
	return true;
}

static struct db *draft_open(struct rebuild *b, const char *name)
{
	char draft[MONTH_NAME + 16];
	snprintf(draft, sizeof(draft), "%s" DRAFT, name);
	return schema_open(b->o->folder, draft, true, b->why);
}

static bool has_row(void *user, const struct db_row *row)
{
	*(bool *)user = true;
	return true;
}

/* Rows have no checksum; what SQLite cannot see may still be told by what cannot be. */
static bool has_strangers(struct db *d, int64_t number)
{
	static const char sql[] = "SELECT 1 FROM requests WHERE typeof(began)<>'integer' OR began<?1 OR began>=?2 OR typeof(key)<>'integer' OR key<0 "
				  "OR typeof(model)<>'text' OR typeof(target)<>'text' LIMIT 1";
	struct db_value v[2] = {db_int(month_begins_s(number) * 1000000), db_int(month_begins_s(number + 1) * 1000000)};
	bool found = false;
	return !db_exec(d, sql, v, 2, has_row, &found) || found;
}

/* Damage is noted; false: it cannot be told. */
static bool look_at(struct rebuild *b, struct rebuild_month *m)
{
	char name[MONTH_NAME], path[PATH_BYTES];
	struct buf said;
	month_name(name, m->number);
	snprintf(path, sizeof(path), "%s/%s", b->o->folder, name);
	m->there = true;
	if (access(path, R_OK | W_OK) != 0) {
		buf_addf(b->why, "%s: %s", path, strerror(errno));
		return false;
	}
	buf_init(&said, 4096);
	struct db *d = schema_open(b->o->folder, name, true, &said);
	bool newer = !d && str_search(buf_str(&said), STR(SCHEMA_NEWER)) < said.len;
	m->damaged = !d || !database_sound(d, true, m->sentence, sizeof(m->sentence));
	if (!m->damaged && !db_exec(d, "SELECT * FROM applied", NULL, 0, take_applied, b)) {
		m->damaged = true;
		snprintf(m->sentence, sizeof(m->sentence), "a row of applied does not fit its checksum");
	}
	if (!m->damaged && has_strangers(d, m->number)) {
		m->damaged = true;
		snprintf(m->sentence, sizeof(m->sentence), "rows that no request can have left");
	}
	if (!d)
		snprintf(m->sentence, sizeof(m->sentence), "it is no database any more");
	if (newer)
		buf_adds(b->why, buf_str(&said));
	db_close(d);
	buf_release(&said);
	return !newer;
}

/* A record that valet.db had not got goes into a file whether there is one or not; an older one whose file is gone was in it when it was deleted. */
static void add_from_journal(struct rebuild *b)
{
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		struct record_settle s;
		bool fresh = b->fed[r->lane] == UINT64_MAX || r->seq > b->fed[r->lane];
		if (r->type == RECORD_SETTLE && fresh && record_get_settle(r->payload, &s) && !months_find(b, month_of(s.began_us)))
			add_month(b, month_of(s.began_us));
	}
}

bool months_look(struct rebuild *b)
{
	int64_t *numbers;
	size_t count = months_list(b->o->folder, &numbers);
	bool fine = true;
	for (size_t i = 0; i < count && fine; i++)
		fine = look_at(b, add_month(b, numbers[i]));
	free(numbers);
	if (fine)
		add_from_journal(b);
	return fine;
}

/* ---- records of the journal ---- */

static bool fail_files(struct rebuild *b)
{
	buf_adds(b->why, str_from(store_why(b->files)));
	return false;
}

static bool fail_db(struct rebuild *b, const struct db *d)
{
	buf_adds(b->why, str_from(db_why(d)));
	return false;
}

static bool complete(struct rebuild *b, struct rebuild_month *of)
{
	struct month *m;
	if (month_get(b->files, of->number, true, &m) != MONTH_READY)
		return fail_files(b);
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		struct record_settle s;
		if (r->type != RECORD_SETTLE || r->seq <= m->to[r->lane] || !record_get_settle(r->payload, &s) || month_of(s.began_us) != of->number)
			continue;
		if (!month_insert(b->files, m, r->lane, r->seq, &s))
			return fail_files(b);
	}
	if (db_in_transaction(m->db) && !month_commit(b->files, m))
		return fail_files(b);
	return db_sync(m->db) || fail_db(b, m->db);
}

/* ---- a draft ---- */

struct copying {
	struct rebuild *b;
	struct rebuild_month *of;
	struct month *to;
	bool failed;
};

/* Rows of requests have no checksum: what cannot be one is left out. */
static bool is_request(const struct copying *c, const struct db_value *v)
{
	static const bool text[REQUEST_COLUMNS] = {[0] = true, [4] = true, [5] = true, [6] = true, [8] = true};
	int64_t most = c->b->kept.last_serial ? c->b->kept.last_serial : KEYS_MOST;
	for (int i = 0; i < REQUEST_COLUMNS; i++)
		if (v[i].number == text[i] || (v[i].number && v[i].n < 0) || (text[i] && v[i].bytes.len > RECORD_TEXT))
			return false;
	return month_of(v[BEGAN].n) == c->of->number && v[KEY].n <= most && v[SOURCE].n < SOURCE_COUNT;
}

static bool copy_request(void *user, const struct db_row *row)
{
	static const char sql[] = "INSERT OR REPLACE INTO requests(rowid,id,began,ended,key,model,target,op,status,error,source,flags,attempts,input,cached,"
				  "output,cost,reference,bytes_in,bytes_out,total_ms,first_ms,queue_ms) "
				  "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23)";
	struct copying *c = user;
	struct db_value v[1 + REQUEST_COLUMNS];
	if (db_row_columns(row) != 1 + REQUEST_COLUMNS)
		return false;
	for (int i = 0; i <= REQUEST_COLUMNS; i++)
		v[i] = db_row_value(row, i);
	if (!is_request(c, v + 1))
		return true;
	c->failed = !db_exec(c->to->db, sql, v, 1 + REQUEST_COLUMNS, NULL, NULL);
	c->of->kept += !c->failed;
	return !c->failed;
}

/* What an earlier rebuild wrote down, and how far the file says it had got. */
static bool copy_lost(void *user, const struct db_row *row)
{
	struct copying *c = user;
	struct db_value v[5 + SUMS_COUNT];
	if (db_row_columns(row) != 5 + (int)SUMS_COUNT || !db_row_fits(row))
		return true;
	for (size_t i = 0; i < 5 + SUMS_COUNT; i++)
		v[i] = db_row_value(row, (int)i);
	c->failed = !db_exec(c->to->db, "INSERT OR REPLACE INTO lost VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)", v,
			     5 + SUMS_COUNT, NULL, NULL);
	return !c->failed;
}

static bool note_applied(void *user, const struct db_row *row)
{
	struct copying *c = user;
	return take_applied(c->b, row) || true;
}

static bool copy_rows(struct copying *c, const char *name)
{
	bool has = false;
	size_t before = c->b->why->len;
	struct db *d = copy_open(c->b->o->folder, name, true, c->b->why);
	if (d) {
		requests_each(d, copy_request, c);
		if (!c->failed && schema_has_lost(d, &has) && has)
			db_exec(d, "SELECT * FROM lost", NULL, 0, copy_lost, c);
		db_exec(d, "SELECT * FROM applied", NULL, 0, note_applied, c);
	}
	db_close(d);
	copy_delete(c->b->o->folder, name);
	return !c->failed && c->b->why->len == before;
}

/* Records whose request is not there yet. */
static bool copy_records(struct copying *c)
{
	struct rebuild *b = c->b;
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		char id[4 + RECORD_ID] = "req_";
		struct record_settle s;
		bool there = false;
		if (r->type != RECORD_SETTLE || !record_get_settle(r->payload, &s) || month_of(s.began_us) != c->of->number)
			continue;
		memcpy(id + 4, s.id, strnlen(s.id, RECORD_ID));
		struct db_value v = db_text(str_of(id, 4 + strnlen(s.id, RECORD_ID)));
		if (s.id[0] && !db_exec(c->to->db, "SELECT 1 FROM requests WHERE id=?1", &v, 1, has_row, &there))
			return fail_db(b, c->to->db);
		if (!there && !month_insert(b->files, c->to, r->lane, r->seq, &s))
			return fail_files(b);
	}
	return true;
}

static bool fill_draft(struct copying *c, const char *name)
{
	struct db *d = c->to->db;
	if (!db_begin(d, true) || !schema_make_lost(d) || !db_run(d, "CREATE INDEX by_id ON requests(id)"))
		return fail_db(c->b, d);
	if (!copy_rows(c, name))
		return c->failed ? fail_db(c->b, d) : false;
	if (!copy_records(c))
		return false;
	if (!db_run(d, "DROP INDEX by_id"))
		return fail_db(c->b, d);
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++) {
		uint64_t newest = c->b->journal.lanes[lane].newest;
		c->to->to[lane] = c->b->applied[lane] > newest ? c->b->applied[lane] : newest;
	}
	return month_commit(c->b->files, c->to) || fail_files(c->b);
}

static bool draft(struct rebuild *b, struct rebuild_month *of)
{
	char name[MONTH_NAME], made[MONTH_NAME + 16];
	struct month m = {.number = of->number};
	month_name(name, of->number);
	snprintf(made, sizeof(made), "%s" DRAFT, name);
	m.db = schema_make(b->o->folder, made, true, b->why);
	if (!m.db)
		return false;
	struct copying c = {.b = b, .of = of, .to = &m};
	bool fine = fill_draft(&c, name);
	db_close(m.db);
	of->drafted = fine;
	return fine;
}

bool months_fill(struct rebuild *b)
{
	bool fine = true;
	for (size_t i = 0; i < b->month_count && fine; i++) {
		fine = (b->months[i].damaged ? draft : complete)(b, &b->months[i]);
		rebuild_at(b, "month");
	}
	return fine;
}

/* ---- sums ---- */

static void see_row(void *user, struct str id, int64_t ended_us)
{
	struct rebuild *b = user;
	struct rebuild_begin *begin = b->ids.count ? table_get(&b->ids, id) : NULL;
	if (begin)
		begin->ended = true;
	if (ended_us > b->newest_us)
		b->newest_us = ended_us;
	b->report->requests++;
}

/* The open file of a month: of a draft a connection of its own, which the caller closes. */
static struct db *open_month(struct rebuild *b, const struct rebuild_month *of, bool *own)
{
	char name[MONTH_NAME];
	struct month *m;
	*own = of->drafted;
	month_name(name, of->number);
	if (of->drafted)
		return draft_open(b, name);
	if (month_get(b->files, of->number, false, &m) == MONTH_READY)
		return m->db;
	fail_files(b);
	return NULL;
}

bool months_sum(struct rebuild *b)
{
	bool fine = true, own;
	for (size_t i = 0; i < b->month_count && fine; i++) {
		struct db *d = open_month(b, &b->months[i], &own);
		fine = d && (month_sums(d, &b->rows, see_row, b) || fail_db(b, d));
		if (own)
			db_close(d);
	}
	return fine;
}

/* ---- what the rows lack ---- */

static bool take_lost(void *user, const struct db_row *row)
{
	sums_get(row, 4, user);
	return db_row_fits(row);
}

static bool put_lost(struct db *d, const struct sum_row *r)
{
	struct db_value v[4 + SUMS_COUNT + 1] = {db_int(r->slot), db_int(r->key), db_text(r->model), db_text(r->target)};
	struct usage_sum sum = {0};
	db_fail(d, "damaged: a row of lost does not fit its checksum");
	if (!db_exec(d, "SELECT * FROM lost WHERE quarter=?1 AND key=?2 AND model=?3 AND target=?4", v, 4, take_lost, &sum))
		return false;
	usage_add(&sum, &r->sum);
	return db_put(d, "INSERT OR REPLACE INTO lost VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)", v,
		      sums_put(v, 4, &sum));
}

static bool lack_of_month(struct rebuild *b, struct rebuild_month *m, const struct sums *lack, size_t from, size_t to)
{
	bool own;
	struct db *d = open_month(b, m, &own);
	if (!d)
		return false;
	bool fine = db_begin(d, true) && schema_make_lost(d);
	for (size_t i = from; i < to && fine; i++) {
		fine = put_lost(d, lack->rows[i]);
		m->lost += (uint64_t)lack->rows[i]->sum.requests;
	}
	m->lacks = true;
	fine = (fine && db_commit(d)) || fail_db(b, d);
	if (!fine)
		db_rollback(d);
	if (own)
		db_close(d);
	rebuild_at(b, "lost");
	return fine;
}

bool months_lack(struct rebuild *b, struct sums *lack)
{
	bool fine = true;
	sums_sort(lack);
	for (size_t i = 0, n; i < lack->count && fine; i += n) {
		int64_t number = month_of(lack->rows[i]->slot * 1000000);
		for (n = 1; i + n < lack->count && month_of(lack->rows[i + n]->slot * 1000000) == number;)
			n++;
		struct rebuild_month *m = months_find(b, number);
		assert(m);
		fine = lack_of_month(b, m, lack, i, i + n);
	}
	return fine;
}
