/* db_sqlite.c - see db.h: SQLite in WAL mode.
 *
 * What is committed with synchronous=NORMAL reaches the disk with the next checkpoint, or with db_sync(), which syncs the WAL itself. Where a sync fails, the
 * system may have dropped what it could not write and call the next sync fine; so the next one is a full checkpoint, which writes all pages anew.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include "base/crc.h"
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>

enum { STATEMENTS_MAX = 48, WAL_PAGES_LARGE = 16384 };

struct statement {
	const char *sql;
	sqlite3_stmt *ready;
};

struct db {
	sqlite3 *sql;
	char *path;
	bool durable;      /* the running transaction is one */
	bool doubtful;     /* a sync or a write has failed */
	int restart_pages; /* of the WAL: when the end of its readers is waited for */
	size_t count;
	struct statement statements[STATEMENTS_MAX];
	char why[512];
};

struct db_row {
	sqlite3_stmt *at;
};

static pthread_once_t configured = PTHREAD_ONCE_INIT;

/* The statistics of memory cost a lock at each allocation. */
static void configure(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

const char *db_why(const struct db *d)
{
	return d->why;
}

bool db_fail(struct db *d, const char *sentence)
{
	snprintf(d->why, sizeof(d->why), "%s: %s", d->path, sentence);
	return false;
}

static const char *meaning(int code)
{
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return "locked by another program";
	case SQLITE_FULL:
		return "no space left";
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "damaged";
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return "cannot be read or written";
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return "cannot be written";
	default:
		return "refused";
	}
}

/* Whatever could not be written or synced: the error is told once, and the next sync says nothing of it. */
static void look_for_loss(struct db *d, int code)
{
	d->doubtful |= (code & 0xff) == SQLITE_IOERR;
}

static bool failed(struct db *d, int code)
{
	look_for_loss(d, code);
	int system = sqlite3_system_errno(d->sql);
	bool told = system != 0 && ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN);
	snprintf(d->why, sizeof(d->why), "%s: %s (%s%s%s)", d->path, meaning(code), sqlite3_errmsg(d->sql), told ? ": " : "",
		 told ? strerror(system) : "");
	return false;
}

/* ---- opening ---- */

/* Called after each commit; replaces SQLite's own automatic checkpoint. Readers that stay make the WAL grow; now and then their end is waited for. */
static int committed(void *user, sqlite3 *sql, const char *name, int pages)
{
	struct db *d = user;
	bool wait = pages >= d->restart_pages;
	if (pages < 1000)
		d->restart_pages = WAL_PAGES_LARGE;
	else
		look_for_loss(d, sqlite3_wal_checkpoint_v2(sql, name, wait ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL));
	if (wait)
		d->restart_pages = pages + WAL_PAGES_LARGE;
	return SQLITE_OK;
}

static bool prepare_connection(struct db *d)
{
	static const char settings[] = "PRAGMA trusted_schema=off; PRAGMA foreign_keys=off; PRAGMA cell_size_check=on; PRAGMA temp_store=memory;"
				       "PRAGMA journal_mode=wal; PRAGMA synchronous=normal; PRAGMA journal_size_limit=16777216;";
	sqlite3_extended_result_codes(d->sql, 1);
	sqlite3_busy_timeout(d->sql, DB_BUSY_MS);
	sqlite3_db_config(d->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (!db_run(d, settings))
		return false;
	sqlite3_wal_hook(d->sql, committed, d);
	return true;
}

struct db *db_open(const char *path, bool make, struct buf *why)
{
	pthread_once(&configured, configure);
	struct db *d = mem_zero(sizeof(*d));
	d->path = mem_str(str_from(path));
	d->restart_pages = WAL_PAGES_LARGE;
	int code = sqlite3_open_v2(path, &d->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (make ? SQLITE_OPEN_CREATE : 0), NULL);
	if (code == SQLITE_OK ? prepare_connection(d) : failed(d, code))
		return d;
	buf_adds(why, str_from(d->why));
	db_close(d);
	return NULL;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->count; i++)
		sqlite3_finalize(d->statements[i].ready);
	int code = sqlite3_close(d->sql);
	assert(code == SQLITE_OK);
	(void)code;
	free(d->path);
	free(d);
}

/* ---- statements ---- */

bool db_run(struct db *d, const char *sql)
{
	int code = sqlite3_exec(d->sql, sql, NULL, NULL, NULL);
	return code == SQLITE_OK || failed(d, code);
}

static sqlite3_stmt *statement(struct db *d, const char *sql)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->statements[i].sql == sql)
			return d->statements[i].ready;
	assert(d->count < STATEMENTS_MAX);
	sqlite3_stmt *ready = NULL;
	int code = sqlite3_prepare_v3(d->sql, sql, -1, SQLITE_PREPARE_PERSISTENT, &ready, NULL);
	if (code != SQLITE_OK) {
		failed(d, code);
		return NULL;
	}
	d->statements[d->count++] = (struct statement){sql, ready};
	return ready;
}

static int bind(sqlite3_stmt *at, int index, const struct db_value *v)
{
	if (v->number)
		return sqlite3_bind_int64(at, index, v->n);
	const char *bytes = v->bytes.ptr ? v->bytes.ptr : "";
	return v->blob ? sqlite3_bind_blob64(at, index, bytes, v->bytes.len, SQLITE_STATIC)
		       : sqlite3_bind_text64(at, index, bytes, v->bytes.len, SQLITE_STATIC, SQLITE_UTF8);
}

static bool step(struct db *d, sqlite3_stmt *at, db_row_fn *row, void *user)
{
	struct db_row r = {at};
	int code;
	while ((code = sqlite3_step(at)) == SQLITE_ROW)
		if (row && !row(user, &r))
			return false;
	return code == SQLITE_DONE || failed(d, code);
}

bool db_exec(struct db *d, const char *sql, const struct db_value *values, size_t count, db_row_fn *row, void *user)
{
	sqlite3_stmt *at = statement(d, sql);
	int code = at ? SQLITE_OK : SQLITE_ERROR;
	for (size_t i = 0; i < count && code == SQLITE_OK; i++)
		code = bind(at, (int)i + 1, &values[i]);
	if (!at)
		return false;
	bool fine = code == SQLITE_OK ? step(d, at, row, user) : failed(d, code);
	sqlite3_reset(at);
	return fine;
}

struct number {
	int64_t n;
	bool there;
};

static bool take_number(void *user, const struct db_row *row)
{
	struct number *out = user;
	if (!out->there)
		*out = (struct number){db_row_int(row, 0), true};
	return true;
}

bool db_number(struct db *d, const char *sql, int64_t *out)
{
	struct number first = {0};
	if (!db_exec(d, sql, NULL, 0, take_number, &first))
		return false;
	*out = first.n;
	return first.there || db_fail(d, "a row is missing");
}

/* ---- rows ---- */

int db_row_columns(const struct db_row *r)
{
	return sqlite3_column_count(r->at);
}

int64_t db_row_int(const struct db_row *r, int column)
{
	return sqlite3_column_int64(r->at, column);
}

struct str db_row_bytes(const struct db_row *r, int column)
{
	const char *bytes = sqlite3_column_blob(r->at, column);
	return str_of(bytes ? bytes : "", (size_t)sqlite3_column_bytes(r->at, column));
}

struct db_value db_row_value(const struct db_row *r, int column)
{
	int type = sqlite3_column_type(r->at, column);
	if (type == SQLITE_INTEGER)
		return db_int(db_row_int(r, column));
	struct db_value v = db_text(db_row_bytes(r, column));
	v.blob = type == SQLITE_BLOB;
	return v;
}

static uint32_t value_crc(uint32_t crc, const struct db_value *v)
{
	uint64_t size = v->bytes.len;
	if (v->number)
		return crc32c_of(crc, &v->n, sizeof(v->n));
	crc = crc32c_of(crc, &size, sizeof(size));
	return size ? crc32c_of(crc, v->bytes.ptr, v->bytes.len) : crc;
}

uint32_t db_values_crc(const struct db_value *values, size_t count)
{
	uint32_t crc = 0;
	for (size_t i = 0; i < count; i++)
		crc = value_crc(crc, &values[i]);
	return crc;
}

bool db_put(struct db *d, const char *sql, struct db_value *values, size_t count)
{
	values[count] = db_int(db_values_crc(values, count));
	return db_exec(d, sql, values, count + 1, NULL, NULL);
}

bool db_row_fits(const struct db_row *r)
{
	int last = db_row_columns(r) - 1;
	uint32_t crc = 0;
	for (int i = 0; i < last; i++) {
		struct db_value v = db_row_value(r, i);
		crc = value_crc(crc, &v);
	}
	return db_row_int(r, last) == crc;
}

/* ---- transactions ---- */

bool db_in_transaction(const struct db *d)
{
	return !sqlite3_get_autocommit(d->sql);
}

bool db_begin(struct db *d, bool durable)
{
	assert(!db_in_transaction(d));
	if (durable && !db_run(d, "PRAGMA synchronous=full"))
		return false;
	d->durable = durable;
	if (db_exec(d, "BEGIN IMMEDIATE", NULL, 0, NULL, NULL))
		return true;
	if (durable)
		sqlite3_exec(d->sql, "PRAGMA synchronous=normal", NULL, NULL, NULL);
	return false;
}

void db_rollback(struct db *d)
{
	if (db_in_transaction(d))
		sqlite3_exec(d->sql, "ROLLBACK", NULL, NULL, NULL);
	if (d->durable)
		sqlite3_exec(d->sql, "PRAGMA synchronous=normal", NULL, NULL, NULL);
	d->durable = false;
}

bool db_commit(struct db *d)
{
	bool fine = db_exec(d, "COMMIT", NULL, 0, NULL, NULL);
	db_rollback(d); /* a commit that failed may leave its transaction open */
	return fine;
}

/* ---- the disk ---- */

bool db_merge(struct db *d)
{
	assert(!db_in_transaction(d));
	int code = sqlite3_wal_checkpoint_v2(d->sql, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (code != SQLITE_OK)
		return failed(d, code);
	d->doubtful = false;
	return true;
}

bool db_sync(struct db *d)
{
	sqlite3_file *wal = NULL;
	assert(!db_in_transaction(d));
	if (d->doubtful)
		return db_merge(d);
	int code = sqlite3_file_control(d->sql, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
	if (code == SQLITE_OK && wal && wal->pMethods)
		code = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
	if (code == SQLITE_OK)
		return true;
	d->doubtful = true;
	return db_fail(d, "cannot be synced to the disk");
}
