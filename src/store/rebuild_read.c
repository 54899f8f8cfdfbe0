/* rebuild_read.c - what can be read of a database that may be damaged.
 *
 * A copy is read, since SQLite writes into what it opens. Where the first page is useless, the copy gets the first page of a file that was just made: our
 * tables are always made in the same order, so their roots stand in the same places. Then each table is read from its beginning up to the first bad
 * page, from its end down to the last one, and between the two by single values of its first column. Only pages that hang in the tree are reached
 * that way: an old version of a row (a key before it was revoked) does not come back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/rebuild_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATABASE    "valet.db"
#define PROBES_MAX  4000000 /* single values that are looked for in one table */
#define SERIALS_MAX 100000  /* where it is not known how many there were */
#define ROWS_OF_PAGE 100    /* of requests, at most */

/* ---- the copy ---- */

static const char *const parts[] = {"", "-wal", "-shm", "-journal"};

static void copy_name(char out[PATH_BYTES], const char *folder, const char *name, const char *kind, const char *part)
{
	snprintf(out, PATH_BYTES, "%s/%s%s%s", folder, name, kind, part);
}

void copy_delete(const char *folder, const char *name)
{
	char path[PATH_BYTES];
	for (size_t i = 0; i < 4; i++) {
		copy_name(path, folder, name, COPY, parts[i]);
		unlink(path);
	}
}

/* A part that the disk does not give back is left as zeros. */
static bool copy_bytes(int from, int to, off_t size)
{
	char part[4096];
	for (off_t at = 0; at < size; at += (off_t)sizeof(part)) {
		memset(part, 0, sizeof(part));
		ssize_t n = pread(from, part, sizeof(part), at);
		if (n < 0 && errno != EIO)
			return false;
		if (pwrite(to, part, sizeof(part), at) != (ssize_t)sizeof(part))
			return false;
	}
	return true;
}

static bool copy_part(const char *folder, const char *name, const char *part, struct buf *why)
{
	char path[PATH_BYTES], copy[PATH_BYTES];
	struct stat st;
	copy_name(path, folder, name, "", part);
	copy_name(copy, folder, name, COPY, part);
	int from = open(path, O_RDONLY | O_CLOEXEC), to = -1;
	if (from < 0 && errno == ENOENT)
		return true;
	bool fine = from >= 0 && fstat(from, &st) == 0 && (to = open(copy, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) >= 0 &&
		    copy_bytes(from, to, st.st_size);
	if (!fine)
		buf_addf(why, "%s cannot be copied, to be read: %s", path, strerror(errno));
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return fine;
}

/* ---- a first page ---- */

/* The first page of a new file, with the size of this one. */
static bool graft(const char *folder, const char *name, bool month)
{
	char fresh[PATH_BYTES], path[PATH_BYTES], copy[PATH_BYTES];
	unsigned char page[4096];
	struct stat st;
	struct buf unused;
	snprintf(fresh, sizeof(fresh), "%s" COPY "-fresh", name);
	snprintf(path, sizeof(path), "%s/%s" COPY "-fresh", folder, name);
	copy_name(copy, folder, name, COPY, "");
	buf_init(&unused, 4096);
	db_close(schema_make(folder, fresh, month, &unused));
	buf_release(&unused);
	int from = open(path, O_RDONLY | O_CLOEXEC), to = open(copy, O_RDWR | O_CLOEXEC);
	bool fine = from >= 0 && to >= 0 && fstat(to, &st) == 0 && pread(from, page, sizeof(page), 0) == (ssize_t)sizeof(page);
	if (fine) {
		uint32_t pages = (uint32_t)(st.st_size / (off_t)sizeof(page));
		for (int i = 0; i < 4; i++)
			page[28 + i] = (unsigned char)(pages >> (24 - 8 * i));
		fine = pages > 1 && pwrite(to, page, sizeof(page), 0) == (ssize_t)sizeof(page);
	}
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	unlink(path);
	return fine;
}

/* ---- opening ---- */

struct sound {
	struct db *db;
	char *sentence;
	size_t size;
};

static bool check_quick(void *user, const struct db_row *row)
{
	struct sound *s = user;
	struct str said = db_row_bytes(row, 0);
	if (str_eq(said, STR("ok")))
		return true;
	snprintf(s->sentence, s->size, "%.*s", said.len > 160 ? 160 : (int)said.len, said.ptr);
	return false;
}

/* What SQLite cannot know: a schema of which some bytes have changed may still be one, with fewer columns. */
static bool has_tables(struct db *d, bool month)
{
	static const char requests[] = "SELECT count(*) + 1 FROM (SELECT id, began, ended, key, model, target, op, status, error, source, flags, attempts, input,"
				       "cached, output, cost, reference, bytes_in, bytes_out, total_ms, first_ms, queue_ms FROM requests WHERE 0)";
	static const char of_month[] = "SELECT (SELECT count(*) FROM pragma_table_info('requests'))=22 AND (SELECT count(*) FROM pragma_table_info('applied'))=3";
	static const char of_main[] = "SELECT (SELECT count(*) FROM pragma_table_info('keys'))=10 AND (SELECT count(*) FROM pragma_table_info('usage'))=20 "
				      "AND (SELECT count(*) FROM pragma_table_info('totals'))=18 AND (SELECT count(*) FROM pragma_table_info('leases'))=7 "
				      "AND (SELECT count(*) FROM pragma_table_info('applied'))=5 AND (SELECT count(*) FROM pragma_table_info('pending'))=4 "
				      "AND (SELECT count(*) FROM pragma_table_info('facts'))=3";
	int64_t fits = 0, named = 0;
	if ((month && !db_number(d, requests, &named)) || !db_number(d, month ? of_month : of_main, &fits))
		return false;
	return fits || db_fail(d, "its tables are not as they were made");
}

bool database_sound(struct db *d, bool month, char *sentence, size_t size)
{
	struct sound s = {d, sentence, size};
	sentence[0] = 0;
	if (has_tables(d, month) && db_exec(d, "PRAGMA quick_check(1)", NULL, 0, check_quick, &s))
		return true;
	if (!sentence[0])
		snprintf(sentence, size, "%s", db_why(d));
	return false;
}

static struct db *try_copy(const char *folder, const char *name, bool month, bool *newer)
{
	char file[PATH_BYTES];
	struct buf said;
	snprintf(file, sizeof(file), "%s" COPY, name);
	buf_init(&said, 4096);
	struct db *d = schema_open(folder, file, month, &said);
	*newer = !d && str_search(buf_str(&said), STR(SCHEMA_NEWER)) < said.len;
	buf_release(&said);
	if (!d || has_tables(d, month))
		return d;
	db_close(d);
	return NULL;
}

static bool make_copy(const char *folder, const char *name, struct buf *why)
{
	copy_delete(folder, name);
	return copy_part(folder, name, "", why) && copy_part(folder, name, "-wal", why);
}

struct db *copy_open(const char *folder, const char *name, bool month, struct buf *why)
{
	if (!make_copy(folder, name, why))
		return NULL;
	bool newer;
	struct db *d = try_copy(folder, name, month, &newer);
	if (d)
		return d;
	/* what SQLite has tried may have changed the copy */
	return make_copy(folder, name, why) && graft(folder, name, month) ? try_copy(folder, name, month, &newer) : NULL;
}

/* ---- the tables of valet.db ---- */

struct scan {
	struct kept_main *k;
	struct kept *to;
	struct db *db;
	int64_t first, last; /* of the first column: of the part from the beginning, the last; of the part from the end, the first */
	bool backwards, any, bad;
};

static void keep_row(struct scan *s, const struct db_row *row)
{
	struct kept *t = s->to;
	size_t columns = (size_t)db_row_columns(row);
	if (t->count == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->values = mem_grow(t->values, t->cap * columns * sizeof(*t->values));
	}
	t->columns = columns;
	for (size_t i = 0; i < columns; i++) {
		struct db_value v = db_row_value(row, (int)i);
		if (!v.number)
			v.bytes = arena_dup(&s->k->arena, v.bytes);
		t->values[t->count * columns + i] = v;
	}
	t->count++;
}

static bool take_row(void *user, const struct db_row *row)
{
	struct scan *s = user;
	if (!db_row_fits(row)) {
		s->bad = true;
		return true;
	}
	*(s->backwards ? &s->last : &s->first) = db_row_int(row, 0);
	s->any = true;
	keep_row(s, row);
	return true;
}

struct range {
	int64_t from, to, step;
};

static const struct table_text {
	const char *forwards, *backwards, *one;
} texts[KEPT_TABLES] = {
	[KEPT_KEYS] = {"SELECT * FROM keys ORDER BY serial", "SELECT * FROM keys ORDER BY serial DESC", "SELECT * FROM keys WHERE serial=?1"},
	[KEPT_LEASES] = {"SELECT * FROM leases ORDER BY key", "SELECT * FROM leases ORDER BY key DESC", "SELECT * FROM leases WHERE key=?1"},
	[KEPT_APPLIED] = {"SELECT * FROM applied ORDER BY lane", "SELECT * FROM applied ORDER BY lane DESC", "SELECT * FROM applied WHERE lane=?1"},
	[KEPT_PENDING] = {"SELECT * FROM pending ORDER BY lane", "SELECT * FROM pending ORDER BY lane DESC", "SELECT * FROM pending WHERE lane=?1"},
	[KEPT_FACTS] = {"SELECT * FROM facts ORDER BY name", "SELECT * FROM facts ORDER BY name DESC", "SELECT * FROM facts WHERE name=?1"},
	[KEPT_USAGE] = {"SELECT * FROM usage ORDER BY quarter", "SELECT * FROM usage ORDER BY quarter DESC", "SELECT * FROM usage WHERE quarter=?1"},
	[KEPT_TOTALS] = {"SELECT * FROM totals ORDER BY key", "SELECT * FROM totals ORDER BY key DESC", "SELECT * FROM totals WHERE key=?1"},
};

/* What stands between two bad pages. */
static void probe(struct scan *s, const struct table_text *t, const struct range *r)
{
	int64_t tries = 0;
	for (int64_t n = r->from; n <= r->to && tries < PROBES_MAX; n += r->step, tries++) {
		struct db_value v = db_int(n);
		db_exec(s->db, t->one, &v, 1, take_row, s);
	}
}

static void read_table(struct kept_main *k, struct db *d, enum kept_table table, struct range range)
{
	struct scan s = {.k = k, .to = &k->tables[table], .db = d, .first = INT64_MIN, .last = INT64_MAX};
	bool fine = db_exec(d, texts[table].forwards, NULL, 0, take_row, &s);
	s.to->whole = fine && !s.bad;
	if (fine)
		return;
	s.backwards = true;
	db_exec(d, texts[table].backwards, NULL, 0, take_row, &s);
	if (range.from < s.first)
		range.from = s.first;
	if (range.to > s.last)
		range.to = s.last;
	s.backwards = false;
	if (range.step)
		probe(&s, &texts[table], &range);
}

static void probe_facts(struct kept_main *k, struct db *d)
{
	static const struct str names[] = {STR_INIT("newest_us"), STR_INIT("boot"), STR_INIT("pepper_check")};
	struct scan s = {.k = k, .to = &k->tables[KEPT_FACTS], .db = d};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct db_value v = db_text(names[i]);
		db_exec(d, texts[KEPT_FACTS].one, &v, 1, take_row, &s);
	}
}

static void read_tables(struct kept_main *k, struct db *d, int64_t from_s, int64_t to_s)
{
	const struct range lanes = {0, JOURNAL_LANES_MAX - 1, 1};
	db_run(d, "BEGIN"); /* one lock for all; where it is refused each takes its own */
	bool known = db_number(d, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name='keys'", &k->last_serial) && k->last_serial >= 0 &&
		     k->last_serial < UINT32_MAX;
	const struct range serials = {0, known ? k->last_serial : SERIALS_MAX, 1};
	k->last_serial = known ? k->last_serial : 0;
	read_table(k, d, KEPT_KEYS, serials);
	k->tables[KEPT_KEYS].whole &= known;
	read_table(k, d, KEPT_LEASES, serials);
	read_table(k, d, KEPT_TOTALS, serials);
	read_table(k, d, KEPT_APPLIED, lanes);
	read_table(k, d, KEPT_PENDING, lanes);
	read_table(k, d, KEPT_USAGE, (struct range){from_s / 900 * 900, to_s, 900});
	read_table(k, d, KEPT_FACTS, (struct range){0, 0, 0});
	if (!k->tables[KEPT_FACTS].whole)
		probe_facts(k, d);
}

static void note_state(struct kept_main *k, bool sound)
{
	static const char *const names[KEPT_TABLES] = {"keys", "leases", "applied", "pending", "facts", "usage", "totals"};
	k->whole = sound;
	for (int i = 0; i < KEPT_TABLES; i++) {
		if (k->tables[i].whole)
			continue;
		k->whole = false;
		if (!k->why[0])
			snprintf(k->why, sizeof(k->why), "rows of %s cannot be read", names[i]);
	}
}

bool kept_read(struct kept_main *k, const char *folder, int64_t from_s, int64_t to_s, struct buf *why)
{
	*k = (struct kept_main){.there = file_exists(folder, DATABASE)};
	arena_init(&k->arena, 4096);
	if (!k->there) {
		snprintf(k->why, sizeof(k->why), "it is missing");
		return true;
	}
	/* sound: as it is, without a new first page */
	if (!make_copy(folder, DATABASE, why))
		return false;
	bool newer;
	struct db *d = try_copy(folder, DATABASE, false, &newer);
	bool sound = d && database_sound(d, false, k->why, sizeof(k->why));
	db_close(d);
	if (newer) {
		copy_delete(folder, DATABASE);
		buf_addf(why, "%s/" DATABASE ": " SCHEMA_NEWER, folder);
		return false;
	}
	size_t before = why->len;
	d = copy_open(folder, DATABASE, false, why);
	if (d)
		read_tables(k, d, from_s, to_s);
	db_close(d);
	copy_delete(folder, DATABASE);
	if (!d && !k->why[0])
		snprintf(k->why, sizeof(k->why), "nothing of it can be read");
	note_state(k, sound);
	return why->len == before;
}

void kept_release(struct kept_main *k)
{
	for (int i = 0; i < KEPT_TABLES; i++)
		free(k->tables[i].values);
	arena_release(&k->arena);
}

const struct db_value *kept_row(const struct kept *t, size_t index)
{
	return t->values + index * t->columns;
}

/* ---- rows of requests ---- */

struct rows {
	db_row_fn *row;
	void *user;
	int64_t first, last;
	bool backwards;
};

static bool take_request(void *user, const struct db_row *row)
{
	struct rows *r = user;
	*(r->backwards ? &r->last : &r->first) = db_row_int(row, 0);
	return r->row(r->user, row);
}

bool requests_each(struct db *d, db_row_fn *row, void *user)
{
	struct rows r = {row, user, 0, INT64_MAX, false};
	db_run(d, "BEGIN");
	if (db_exec(d, "SELECT rowid, * FROM requests ORDER BY rowid", NULL, 0, take_request, &r))
		return true;
	int64_t first = r.first;
	r.backwards = true;
	struct db_value after = db_int(first);
	db_exec(d, "SELECT rowid, * FROM requests WHERE rowid>?1 ORDER BY rowid DESC", &after, 1, take_request, &r);
	int64_t pages = 0, last = r.last;
	if (last == INT64_MAX && db_number(d, "PRAGMA page_count", &pages)) /* no more rows than there is room for */
		last = first + 1 + pages * ROWS_OF_PAGE;
	for (int64_t n = first + 1, tries = 0; n < last && tries < PROBES_MAX; n++, tries++) {
		struct db_value v = db_int(n);
		db_exec(d, "SELECT rowid, * FROM requests WHERE rowid=?1", &v, 1, take_request, &r);
	}
	return false;
}
