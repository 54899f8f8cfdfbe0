/* store_month.c - the files with the rows of requests, one for each month; a few are kept open.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

#include <dirent.h>
#include <stdio.h>
#include <time.h>

#define US_LAST 253402300799999999 /* the end of the year 9999 */

static int64_t sane(int64_t us)
{
	return us < 0 ? 0 : us > US_LAST ? US_LAST : us;
}

int64_t quarter_of(int64_t us)
{
	return sane(us) / 900000000 * 900;
}

int64_t month_of(int64_t us)
{
	struct tm tm;
	time_t s = (time_t)(sane(us) / 1000000);
	gmtime_r(&s, &tm);
	return ((int64_t)tm.tm_year + 1900) * 12 + tm.tm_mon;
}

void month_name(char out[MONTH_NAME], int64_t number)
{
	snprintf(out, MONTH_NAME, "requests-%04d-%02d.db", (int)(number / 12), (int)(number % 12) + 1);
}

int64_t month_begins_s(int64_t number)
{
	struct tm tm = {.tm_year = (int)(number / 12) - 1900, .tm_mon = (int)(number % 12), .tm_mday = 1};
	return (int64_t)timegm(&tm);
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* -1: no such name. */
static int64_t number_of(const char *name)
{
	int year, month, end = 0;
	char again[MONTH_NAME];
	if (sscanf(name, "requests-%4d-%2d.db%n", &year, &month, &end) != 2 || end == 0 || name[end] || year < 0 || month < 1 || month > 12)
		return -1;
	month_name(again, (int64_t)year * 12 + month - 1);
	return strcmp(again, name) == 0 ? (int64_t)year * 12 + month - 1 : -1;
}

size_t months_list(const char *folder, int64_t **out)
{
	size_t count = 0, cap = 0;
	DIR *dir = opendir(folder);
	*out = NULL;
	for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
		int64_t number = number_of(e->d_name);
		if (number < 0)
			continue;
		if (count == cap) {
			cap = cap ? cap * 2 : 16;
			*out = mem_grow(*out, cap * sizeof(**out));
		}
		(*out)[count++] = number;
	}
	if (dir)
		closedir(dir);
	if (count)
		qsort(*out, count, sizeof(**out), compare);
	return count;
}

/* ---- opening and closing ---- */

static bool take_applied(void *user, const struct db_row *row)
{
	struct month *m = user;
	int64_t lane = db_row_int(row, 0);
	if (!db_row_fits(row) || lane < 0 || lane >= JOURNAL_LANES_MAX)
		return db_fail(m->db, "damaged: a row of applied does not fit its checksum");
	m->applied[lane] = m->to[lane] = (uint64_t)db_row_int(row, 1);
	return true;
}

static void close_month(struct month *m)
{
	db_close(m->db);
	*m = (struct month){0};
}

void months_close(struct store *s)
{
	for (size_t i = 0; i < MONTHS_OPEN; i++)
		close_month(&s->months[i]);
}

static struct month *free_slot(struct store *s)
{
	struct month *best = NULL;
	for (size_t i = 0; i < MONTHS_OPEN; i++) {
		struct month *m = &s->months[i];
		if (!m->db)
			return m;
		if (!db_in_transaction(m->db) && (!best || m->used < best->used))
			best = m;
	}
	if (best && best->unsynced && !db_sync(best->db)) {
		store_fail_db(s, best->db);
		return NULL;
	}
	if (best)
		close_month(best);
	return best;
}

static bool open_month(struct store *s, struct month *m, int64_t number, const char *name)
{
	struct buf why;
	buf_init(&why, sizeof(s->why) - 1);
	bool there = file_exists(s->folder, name);
	m->db = (there ? schema_open : schema_make)(s->folder, name, true, &why);
	m->number = number;
	m->unsynced = true; /* what was committed before it was opened may not be on the disk */
	bool fine = m->db != NULL;
	if (!fine)
		store_failf(s, "%.*s", STR_ARG(buf_str(&why)));
	else if (!db_exec(m->db, "SELECT * FROM applied", NULL, 0, take_applied, m))
		fine = store_fail_db(s, m->db);
	buf_release(&why);
	if (!fine)
		close_month(m);
	return fine;
}

enum month_answer month_get(struct store *s, int64_t number, bool make, struct month **out)
{
	char name[MONTH_NAME];
	for (size_t i = 0; i < MONTHS_OPEN; i++) {
		*out = &s->months[i];
		if ((*out)->db && (*out)->number == number) {
			(*out)->used = ++s->uses;
			return MONTH_READY;
		}
	}
	month_name(name, number);
	if (!make && !file_exists(s->folder, name))
		return MONTH_MISSING;
	*out = free_slot(s);
	if (!*out)
		return MONTH_BUSY;
	if (!open_month(s, *out, number, name))
		return MONTH_FAILED;
	(*out)->used = ++s->uses;
	return MONTH_READY;
}

/* ---- rows ---- */

static int64_t capped(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

bool month_insert(struct store *s, struct month *m, unsigned lane, uint64_t seq, const struct record_settle *r)
{
	char id[4 + RECORD_ID] = "req_";
	size_t len = strnlen(r->id, RECORD_ID);
	struct usage_sum used;
	usage_of(r, &used); /* numbers as they count */
	memcpy(id + 4, r->id, len);
	struct db_value v[] = {
		db_text(str_of(id, len ? 4 + len : 0)), db_int(r->began_us), db_int(r->ended_us), db_int(r->key), db_text(r->model),
		db_text(r->target), db_text(r->op), db_int(r->status), db_text(r->error), db_int(r->source), db_int(r->flags), db_int(r->attempts),
		db_int(used.input), db_int(used.cached), db_int(used.output), db_int(used.cost), db_int(used.reference),
		db_int(capped(r->bytes_in)), db_int(capped(r->bytes_out)), db_int(r->total_ms), db_int(r->first_ms), db_int(r->queue_ms),
	};
	static const char sql[] = "INSERT INTO requests VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)";
	if ((!db_in_transaction(m->db) && !db_begin(m->db, false)) || !db_exec(m->db, sql, v, sizeof(v) / sizeof(*v), NULL, NULL))
		return store_fail_db(s, m->db);
	m->to[lane] = seq;
	return true;
}

static bool write_applied(struct month *m, unsigned lane, uint64_t seq)
{
	struct db_value v[3] = {db_int(lane), db_int((int64_t)seq)};
	return db_put(m->db, "INSERT OR REPLACE INTO applied VALUES(?1,?2,?3)", v, 2);
}

bool month_commit(struct store *s, struct month *m)
{
	char name[MONTH_NAME];
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		if (m->to[lane] != m->applied[lane] && !write_applied(m, lane, m->to[lane]))
			return store_fail_db(s, m->db);
	month_name(name, m->number);
	m->unsynced = true;
	if (!store_commit(s, m->db, name))
		return false;
	memcpy(m->applied, m->to, sizeof(m->applied));
	return true;
}

/* ---- sums of rows ---- */

struct summing {
	struct db *db;
	struct sums *sums;
	void (*each)(void *user, struct str id, int64_t ended_us);
	void *user;
};

static bool add_request(void *user, const struct db_row *row)
{
	struct summing *to = user;
	struct usage_sum used;
	struct record_settle r = {
		.source = (uint8_t)db_row_int(row, 5), .flags = (uint32_t)db_row_int(row, 6), .input = db_row_int(row, 7),
		.cached = db_row_int(row, 8), .output = db_row_int(row, 9), .cost = db_row_int(row, 10), .reference = db_row_int(row, 11),
		.error = db_row_bytes(row, 4),
	};
	usage_of(&r, &used);
	usage_add(&sums_at(to->sums, quarter_of(db_row_int(row, 0)), (uint32_t)db_row_int(row, 1), db_row_bytes(row, 2), db_row_bytes(row, 3))->sum, &used);
	if (to->each)
		to->each(to->user, db_row_bytes(row, 13), db_row_int(row, 12));
	return true;
}

static bool add_lost(void *user, const struct db_row *row)
{
	struct summing *to = user;
	struct usage_sum sum;
	if (!db_row_fits(row))
		return db_fail(to->db, "damaged: a row of lost does not fit its checksum");
	sums_get(row, 4, &sum);
	usage_add(&sums_at(to->sums, db_row_int(row, 0), (uint32_t)db_row_int(row, 1), db_row_bytes(row, 2), db_row_bytes(row, 3))->sum, &sum);
	return true;
}

bool month_sums(struct db *month, struct sums *out, void (*each)(void *user, struct str id, int64_t ended_us), void *user)
{
	static const char requests[] = "SELECT began, key, model, target, error, source, flags, input, cached, output, cost, reference, ended, id FROM requests";
	struct summing to = {month, out, each, user};
	bool has = false;
	return db_exec(month, requests, NULL, 0, add_request, &to) && schema_has_lost(month, &has) &&
	       (!has || db_exec(month, "SELECT * FROM lost", NULL, 0, add_lost, &to));
}

/* ---- a journal that has lost its end ---- */

static bool rewind_month(struct store *s, struct month *m, const uint64_t ends[JOURNAL_LANES_MAX])
{
	bool ahead = false, fine = true;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		ahead |= m->applied[lane] > ends[lane];
	if (!ahead)
		return true;
	fine = db_begin(m->db, true);
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && fine; lane++)
		fine = m->applied[lane] <= ends[lane] || write_applied(m, lane, ends[lane]);
	if (!fine || !db_commit(m->db)) {
		store_fail_db(s, m->db);
		db_rollback(m->db);
		return false;
	}
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		if (m->applied[lane] > ends[lane])
			m->applied[lane] = m->to[lane] = ends[lane];
	return true;
}

bool months_rewind(struct store *s, int64_t from, const uint64_t ends[JOURNAL_LANES_MAX])
{
	int64_t *numbers;
	size_t count = months_list(s->folder, &numbers);
	bool fine = true;
	for (size_t i = 0; i < count && fine; i++) {
		struct month *m;
		enum month_answer got = numbers[i] < from ? MONTH_MISSING : month_get(s, numbers[i], false, &m);
		fine = got == MONTH_MISSING || (got == MONTH_READY && rewind_month(s, m, ends));
	}
	free(numbers);
	return fine;
}
