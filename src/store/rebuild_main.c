/* rebuild_main.c - valet.db made anew: what the files of requests say, what the old file said, and what the journal adds to it.
 *
 * Usage of a quarter, key, model and target is told by the rows of its month's file and, where they can be read, by the old file's sums with the journal's
 * records beyond them. Both may lack something; neither has too much. So the larger of the two counts, number by number, and what a month's rows lack of
 * it is written into that month's file, so that the two go on agreeing. The same between totals and usage: a month whose file was deleted is in totals.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/rebuild_parts.h"

#include "base/mem.h"

#include <stdio.h>

#define DATABASE "valet.db"

enum { SERIALS_SEEN = 1 << 24 };

static const struct usage_sum nothing;

/* ---- how far valet.db had got ---- */

static const struct db_value *fact(const struct rebuild *b, struct str name)
{
	const struct kept *t = &b->kept.tables[KEPT_FACTS];
	for (size_t i = 0; i < t->count; i++)
		if (str_eq(kept_row(t, i)[0].bytes, name))
			return &kept_row(t, i)[1];
	return NULL;
}

void main_behind(struct rebuild *b)
{
	const struct db_value *said = fact(b, STR(FACT_CHANGES));
	int64_t known = 0;
	if (said && !str_to_i64(said->bytes, &known))
		known = 0;
	b->changes = mark_read(b->o->folder);
	b->behind = b->kept.whole && b->changes > (uint64_t)known ? b->changes - (uint64_t)known : 0;
	if (b->changes < (uint64_t)known)
		b->changes = (uint64_t)known;
	if (b->behind == 0)
		return;
	b->kept.whole = b->kept.tables[KEPT_KEYS].whole = false;
	snprintf(b->kept.why, sizeof(b->kept.why), "it lacks the last %llu changes", (unsigned long long)b->behind);
}

void main_fed(struct rebuild *b)
{
	const struct kept *t = &b->kept.tables[KEPT_APPLIED];
	bool closed = t->whole && b->kept.tables[KEPT_PENDING].whole;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		b->fed[lane] = t->whole ? 0 : UINT64_MAX;
	for (size_t i = 0; i < t->count; i++) {
		const struct db_value *v = kept_row(t, i);
		if (v[0].n < 0 || v[0].n >= JOURNAL_LANES_MAX)
			continue;
		b->fed[v[0].n] = (uint64_t)v[1].n;
		b->closed[v[0].n] = closed ? (uint64_t)v[2].n : 0;
		if (b->applied[v[0].n] < (uint64_t)v[1].n)
			b->applied[v[0].n] = (uint64_t)v[1].n;
	}
}

static bool is_fresh(const struct rebuild *b, const struct salvaged_record *r)
{
	return b->fed[r->lane] != UINT64_MAX && r->seq > b->fed[r->lane];
}

/* ---- requests without an end ---- */

static struct str place_name(char out[16], unsigned lane, uint64_t seq)
{
	uint64_t both[2] = {lane, seq};
	memcpy(out, both, 16);
	return str_of(out, 16);
}

static void add_begin(struct rebuild *b, unsigned lane, uint64_t seq, struct str payload, const struct table *settled)
{
	char name[16];
	struct record_begin r;
	if (table_get(settled, place_name(name, lane, seq)) || !record_get_begin(payload, &r))
		return;
	if (b->begin_count == b->begin_cap) {
		b->begin_cap = b->begin_cap ? b->begin_cap * 2 : 64;
		b->begins = mem_grow(b->begins, b->begin_cap * sizeof(*b->begins));
	}
	struct rebuild_begin *begin = &b->begins[b->begin_count++];
	*begin = (struct rebuild_begin){.lane = lane, .seq = seq, .payload = payload, .id = "req_"};
	memcpy(begin->id + 4, r.id, strnlen(r.id, RECORD_ID));
}

static void note_settled(struct rebuild *b, struct table *settled)
{
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		struct record_settle s;
		char name[16];
		if (r->type != RECORD_SETTLE || !record_get_settle(r->payload, &s) || s.begin == 0)
			continue;
		struct str key = place_name(name, settle_begin_lane(r->lane, s.begin), settle_begin_seq(s.begin));
		table_put(settled, arena_dup(&b->texts, key), b);
	}
}

void begins_collect(struct rebuild *b)
{
	struct table settled;
	const struct kept *t = &b->kept.tables[KEPT_PENDING];
	table_init(&settled, 64);
	note_settled(b, &settled);
	for (size_t i = 0; i < t->count; i++) {
		const struct db_value *v = kept_row(t, i);
		if (v[0].n >= 0 && v[0].n < JOURNAL_LANES_MAX)
			add_begin(b, (unsigned)v[0].n, (uint64_t)v[1].n, v[2].bytes, &settled);
	}
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		if (r->type == RECORD_BEGIN && r->seq > b->closed[r->lane])
			add_begin(b, r->lane, r->seq, r->payload, &settled);
	}
	for (size_t i = 0; i < b->begin_count; i++)
		if (b->begins[i].id[4])
			table_put(&b->ids, str_of(b->begins[i].id, strnlen(b->begins[i].id, sizeof(b->begins[i].id))), &b->begins[i]);
	table_release(&settled);
}

/* ---- sums ---- */

static void get_sum(const struct db_value *v, struct usage_sum *out)
{
	int64_t n[SUMS_COUNT];
	for (size_t i = 0; i < SUMS_COUNT; i++)
		n[i] = v[i].n;
	memcpy(out, n, sizeof(n));
}

/* What `more` has beyond `than`, number by number. */
static bool beyond(const struct usage_sum *more, const struct usage_sum *than, struct usage_sum *out)
{
	int64_t a[SUMS_COUNT], c[SUMS_COUNT];
	memcpy(a, more, sizeof(a));
	memcpy(c, than, sizeof(c));
	for (size_t i = 0; i < SUMS_COUNT; i++)
		a[i] = a[i] > c[i] ? a[i] - c[i] : 0;
	memcpy(out, a, sizeof(a));
	return memcmp(out, &nothing, sizeof(nothing)) != 0;
}

static void add_journal(struct rebuild *b, struct sums *to, bool totals)
{
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		struct record_settle s;
		struct usage_sum used;
		if (r->type != RECORD_SETTLE || !is_fresh(b, r) || !record_get_settle(r->payload, &s))
			continue;
		usage_of(&s, &used);
		usage_add(&sums_at(to, totals ? 0 : quarter_of(s.began_us), s.key, s.model, totals ? STR_NONE : s.target)->sum, &used);
	}
}

static void compare_usage(struct rebuild *b, struct sums *lack)
{
	const struct kept *t = &b->kept.tables[KEPT_USAGE];
	for (size_t i = 0; i < t->count; i++) {
		const struct db_value *v = kept_row(t, i);
		get_sum(v + 4, &sums_at(&b->said, v[0].n, (uint32_t)v[1].n, v[2].bytes, v[3].bytes)->sum);
	}
	add_journal(b, &b->said, false);
	for (size_t i = 0; i < b->said.count; i++) {
		const struct sum_row *said = b->said.rows[i];
		struct sum_row *rows = sums_at(&b->rows, said->slot, said->key, said->model, said->target);
		struct usage_sum more;
		if (!beyond(&said->sum, &rows->sum, &more))
			continue;
		usage_add(&rows->sum, &more);
		if (months_find(b, month_of(said->slot * 1000000)))
			usage_add(&sums_at(lack, said->slot, said->key, said->model, said->target)->sum, &more);
	}
}

/* Where what only totals know belongs: to the newest file that could not be read whole, as late in it as can be, so that it counts in the windows that
 * hold now; where there is none, to a file that was deleted long ago. */
static int64_t slot_of_rest(const struct rebuild *b)
{
	int64_t number = -1;
	for (size_t i = 0; i < b->month_count; i++)
		if (b->months[i].damaged && b->months[i].number > number)
			number = b->months[i].number;
	if (number < 0)
		return 0;
	int64_t at = quarter_of(b->newest_us), from = month_begins_s(number), to = month_begins_s(number + 1) - 900;
	return at < from ? from : at > to ? to : at;
}

static void sum_totals(const struct sums *usage, struct sums *totals)
{
	for (size_t i = 0; i < usage->count; i++)
		usage_add(&sums_at(totals, 0, usage->rows[i]->key, usage->rows[i]->model, STR_NONE)->sum, &usage->rows[i]->sum);
}

static void compare_totals(struct rebuild *b, struct sums *lack)
{
	const struct kept *t = &b->kept.tables[KEPT_TOTALS];
	struct sums said, now;
	int64_t slot = slot_of_rest(b);
	sums_init(&said);
	sums_init(&now);
	sum_totals(&b->rows, &now);
	for (size_t i = 0; i < t->count; i++) {
		const struct db_value *v = kept_row(t, i);
		get_sum(v + 2, &sums_at(&said, 0, (uint32_t)v[0].n, v[1].bytes, STR_NONE)->sum);
	}
	add_journal(b, &said, true);
	for (size_t i = 0; i < said.count; i++) {
		const struct sum_row *r = said.rows[i];
		struct usage_sum more;
		if (!beyond(&r->sum, &sums_at(&now, 0, r->key, r->model, STR_NONE)->sum, &more))
			continue;
		usage_add(&sums_at(&b->rows, slot, r->key, r->model, STR_NONE)->sum, &more);
		if (slot)
			usage_add(&sums_at(lack, slot, r->key, r->model, STR_NONE)->sum, &more);
	}
	sums_release(&said);
	sums_release(&now);
}

bool main_sum(struct rebuild *b)
{
	struct sums lack;
	sums_init(&lack);
	compare_usage(b, &lack);
	compare_totals(b, &lack);
	bool fine = months_lack(b, &lack);
	sums_release(&lack);
	return fine;
}

/* ---- writing ---- */

static bool put_sums(struct rebuild *b, struct db *d)
{
	struct sums totals;
	bool fine = true;
	sums_init(&totals);
	sum_totals(&b->rows, &totals);
	sums_sort(&b->rows);
	sums_sort(&totals);
	for (size_t i = 0; i < b->rows.count && fine; i++) {
		const struct sum_row *r = b->rows.rows[i];
		struct db_value v[4 + SUMS_COUNT + 1] = {db_int(r->slot), db_int(r->key), db_text(r->model), db_text(r->target)};
		fine = memcmp(&r->sum, &nothing, sizeof(nothing)) == 0 ||
		       db_put(d, "INSERT INTO usage VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)", v,
			      sums_put(v, 4, &r->sum));
	}
	for (size_t i = 0; i < totals.count && fine; i++) {
		const struct sum_row *r = totals.rows[i];
		struct db_value v[2 + SUMS_COUNT + 1] = {db_int(r->key), db_text(r->model)};
		fine = db_put(d, "INSERT INTO totals VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)", v,
			      sums_put(v, 2, &r->sum));
	}
	sums_release(&totals);
	return fine;
}

/* Rows that were read are written as they were, checksum and all. */
static bool put_kept(struct db *d, const struct kept *t, const char *sql)
{
	bool fine = true;
	for (size_t i = 0; i < t->count && fine; i++)
		fine = db_exec(d, sql, kept_row(t, i), t->columns, NULL, NULL);
	return fine;
}

static bool put_leases(struct rebuild *b, struct db *d)
{
	static const char sql[] = "INSERT OR REPLACE INTO leases VALUES(?1,?2,?3,?4,?5,?6,?7)";
	bool fine = put_kept(d, &b->kept.tables[KEPT_LEASES], sql);
	for (size_t i = 0; i < b->journal.count && fine; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		struct record_lease l;
		if (r->type != RECORD_LEASE || !record_get_lease(r->payload, &l))
			continue;
		struct db_value v[7] = {db_int(l.key), db_text(l.pattern), db_int(l.unit), db_int(l.period), db_int(l.leased), db_int(l.window_s)};
		fine = db_put(d, sql, v, 6);
	}
	return fine;
}

/* All that the journal still has is in the sums: the next start only passes it. What is open stands in `pending`, whole. */
static bool put_lanes(struct rebuild *b, struct db *d)
{
	bool fine = true;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && fine; lane++) {
		const struct salvaged_lane *l = &b->journal.lanes[lane];
		uint64_t to = l->newest > b->applied[lane] ? l->newest : b->applied[lane];
		struct db_value v[5] = {db_int(lane), db_int((int64_t)to), db_int((int64_t)to), db_int(l->newest == 0 || l->damaged)};
		fine = to == 0 || db_put(d, "INSERT INTO applied VALUES(?1,?2,?3,?4,?5)", v, 4);
	}
	for (size_t i = 0; i < b->begin_count && fine; i++) {
		const struct rebuild_begin *begin = &b->begins[i];
		struct db_value v[4] = {db_int(begin->lane), db_int((int64_t)begin->seq), db_blob(begin->payload.ptr, begin->payload.len)};
		if (begin->ended)
			continue;
		fine = db_put(d, "INSERT OR REPLACE INTO pending VALUES(?1,?2,?3,?4)", v, 3);
		b->report->open += fine;
	}
	return fine;
}

/* ---- facts ---- */

/* Whether something may have been spent that nothing tells of any more: then leases are charged, as after a power loss. */
static bool is_doubtful(const struct rebuild *b)
{
	bool doubt = b->behind || !b->kept.tables[KEPT_PENDING].whole || (!b->kept.tables[KEPT_FACTS].whole && !fact(b, STR("boot")));
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		doubt |= b->journal.lanes[lane].damaged;
	for (size_t i = 0; i < b->month_count; i++)
		doubt |= b->months[i].damaged && !b->kept.whole;
	return doubt;
}

static bool put_fact(struct db *d, struct str name, struct str value)
{
	struct db_value v[3] = {db_text(name), db_blob(value.ptr, value.len)};
	return db_put(d, "INSERT OR REPLACE INTO facts VALUES(?1,?2,?3)", v, 2);
}

static bool put_number(struct db *d, struct str name, int64_t number)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%lld", (long long)number);
	return put_fact(d, name, str_of(text, (size_t)n));
}

static int64_t newest(const struct rebuild *b)
{
	const struct db_value *said = fact(b, STR("newest_us"));
	int64_t n = 0, most = b->newest_us;
	if (said && str_to_i64(said->bytes, &n) && n > most)
		most = n;
	for (size_t i = 0; i < b->journal.count; i++) {
		const struct salvaged_record *r = &b->journal.records[i];
		struct record_settle s;
		struct record_begin begin;
		if (r->type == RECORD_SETTLE && record_get_settle(r->payload, &s) && s.ended_us > most)
			most = s.ended_us;
		else if (r->type == RECORD_BEGIN && record_get_begin(r->payload, &begin) && begin.began_us > most)
			most = begin.began_us;
	}
	return most;
}

static bool put_facts(struct rebuild *b, struct db *d)
{
	if (!put_kept(d, &b->kept.tables[KEPT_FACTS], "INSERT OR REPLACE INTO facts VALUES(?1,?2,?3)") ||
	    !put_number(d, STR("newest_us"), newest(b)) || !put_number(d, STR(FACT_CHANGES), (int64_t)b->changes))
		return false;
	if (!is_doubtful(b))
		return true;
	rebuild_say(b, false, "what was set aside of budgets and not settled is charged, as after a power loss");
	if (!b->kept.tables[KEPT_LEASES].whole)
		rebuild_say(b, true, "how much was set aside of budgets could not be read everywhere; what was spent of it in the last moments may be missing");
	return put_fact(d, STR("boot"), STR(BOOT_REBUILT));
}

/* ---- keys ---- */

struct serials {
	uint8_t *seen; /* 1: something was used with that key */
	uint32_t size, top;
};

static void see_serial(struct serials *s, int64_t serial)
{
	if (serial <= 0 || serial >= UINT32_MAX - 1)
		return;
	if (serial > s->top)
		s->top = (uint32_t)serial;
	if (serial >= SERIALS_SEEN)
		return;
	if (serial >= s->size) {
		uint32_t size = (uint32_t)serial * 2 + 64;
		s->seen = mem_grow(s->seen, size);
		memset(s->seen + s->size, 0, size - s->size);
		s->size = size;
	}
	s->seen[serial] = 1;
}

/* Keys that something was used with. */
static void collect_serials(struct rebuild *b, struct serials *s)
{
	const struct kept *leases = &b->kept.tables[KEPT_LEASES];
	for (size_t i = 0; i < b->rows.count; i++)
		see_serial(s, b->rows.rows[i]->key);
	for (size_t i = 0; i < leases->count; i++)
		see_serial(s, kept_row(leases, i)[0].n);
	for (size_t i = 0; i < b->begin_count; i++) {
		struct record_begin r;
		if (record_get_begin(b->begins[i].payload, &r))
			see_serial(s, r.key);
	}
}

static bool take_any(void *user, const struct db_row *row)
{
	*(int64_t *)user = db_row_int(row, 0);
	return true;
}

/* A revoked key that nobody has the secret of: without any key the gateway would be open to all programs of the machine. */
static bool put_lost_key(struct rebuild *b, struct db *d, uint32_t serial)
{
	char id[11], name[24];
	uint8_t hash[32], none[32] = {0};
	int64_t there = 0;
	struct db_value is = db_int(serial);
	if (!db_exec(d, "SELECT 1 FROM keys WHERE serial=?1", &is, 1, take_any, &there))
		return false;
	if (there)
		return true;
	random_bytes(hash, sizeof(hash));
	snprintf(id, sizeof(id), "L%09u", serial % 1000000000);
	int n = snprintf(name, sizeof(name), "lost-%u", serial);
	struct db_value v[10] = {
		db_int(serial), db_text(str_of(id, 10)), db_blob(hash, 32), db_blob(none, 32), db_int(0), db_int(b->o->now_s), db_int(b->o->now_s),
		db_text(str_of(name, (size_t)n)), db_text(STR("{}")),
	};
	b->report->keys_lost++;
	return db_put(d, "INSERT OR IGNORE INTO keys VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)", v, 9);
}

static bool put_serial(struct db *d, int64_t last)
{
	struct db_value v = db_int(last);
	return db_exec(d, "DELETE FROM sqlite_sequence WHERE name='keys'", NULL, 0, NULL, NULL) &&
	       db_exec(d, "INSERT INTO sqlite_sequence(name, seq) VALUES('keys', ?1)", &v, 1, NULL, NULL);
}

static bool put_keys(struct rebuild *b, struct db *d)
{
	struct serials s = {0};
	int64_t count = 0, last = 0;
	bool whole = b->kept.tables[KEPT_KEYS].whole;
	bool fine = put_kept(d, &b->kept.tables[KEPT_KEYS], "INSERT OR REPLACE INTO keys VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)") &&
		    db_number(d, "SELECT count(*) FROM keys", &count);
	b->report->keys = (uint64_t)count;
	collect_serials(b, &s);
	for (uint32_t serial = 1; serial < s.size && fine && !whole; serial++)
		fine = !s.seen[serial] || put_lost_key(b, d, serial);
	if (fine && !whole && count == 0 && s.top == 0)
		fine = put_lost_key(b, d, b->kept.last_serial ? (uint32_t)b->kept.last_serial : 1);
	fine = fine && db_number(d, "SELECT coalesce(max(serial), 0) FROM keys", &last);
	if (last < s.top)
		last = s.top;
	if (last < b->kept.last_serial)
		last = b->kept.last_serial;
	free(s.seen);
	return fine && put_serial(d, last);
}

static bool fill(struct rebuild *b, struct db *d)
{
	return db_begin(d, true) && put_sums(b, d) && put_leases(b, d) && put_lanes(b, d) && put_facts(b, d) && put_keys(b, d) && db_commit(d);
}

bool main_draft(struct rebuild *b)
{
	struct db *d = schema_make(b->o->folder, DATABASE DRAFT, false, b->why);
	if (!d)
		return false;
	bool fine = fill(b, d);
	if (!fine)
		buf_adds(b->why, str_from(db_why(d)));
	db_close(d);
	rebuild_at(b, "draft");
	return fine;
}
