/* store_schema.c - the files of the store: their tables, and what is checked when they are opened.
 *
 * A file is made under another name and renamed when it is whole, so an empty or half-made one can only be damage.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The schema's number, in user_version. Newer files are refused; older ones are brought up to it in migrate(). */
#define SCHEMA_VERSION 1
#define MAIN_ID        1447513137 /* "VGL1" */
#define MONTH_ID       1447514673 /* "VGR1" */
#define TEXT(x)        TEXT_(x)
#define TEXT_(x)       #x

#define SUM_COLUMNS \
	"requests INTEGER, errors INTEGER, input INTEGER, cached INTEGER, output INTEGER, /* tokens; cached is part of input */\n" \
	"cost INTEGER, reference INTEGER, /* nano-dollars */\n" \
	"by_none INTEGER, by_upstream INTEGER, by_counted INTEGER, by_estimated INTEGER, by_aborted INTEGER, /* requests by source */\n" \
	"orphans INTEGER, unpriced INTEGER, over_hold INTEGER, crc INTEGER"

static const char main_schema[] =
	"CREATE TABLE keys(serial INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, hash BLOB, old_hash BLOB, old_until INTEGER,\n"
	"created INTEGER, revoked INTEGER, name TEXT NOT NULL UNIQUE, document TEXT, crc INTEGER);\n"
	"CREATE TABLE usage(quarter INTEGER, /* seconds since 1970 */ key INTEGER, model TEXT, target TEXT,\n" SUM_COLUMNS
	", PRIMARY KEY(quarter, key, model, target)) WITHOUT ROWID;\n"
	"CREATE TABLE totals(key INTEGER, model TEXT,\n" SUM_COLUMNS ", PRIMARY KEY(key, model)) WITHOUT ROWID;\n"
	"CREATE TABLE leases(key INTEGER, pattern TEXT, unit INTEGER, period INTEGER, leased INTEGER, window INTEGER, crc INTEGER,\n"
	"PRIMARY KEY(key, pattern, unit, period)) WITHOUT ROWID;\n"
	"CREATE TABLE applied(lane INTEGER PRIMARY KEY, seq INTEGER, closed INTEGER, restarted INTEGER, crc INTEGER);\n"
	"CREATE TABLE pending(lane INTEGER, seq INTEGER, record BLOB, crc INTEGER, PRIMARY KEY(lane, seq)) WITHOUT ROWID;\n"
	"CREATE TABLE facts(name TEXT PRIMARY KEY, value BLOB, crc INTEGER) WITHOUT ROWID;\n"
	"PRAGMA application_id=" TEXT(MAIN_ID) "; PRAGMA user_version=" TEXT(SCHEMA_VERSION) ";";

static const char month_schema[] =
	"CREATE TABLE requests(id TEXT, began INTEGER, ended INTEGER, /* microseconds since 1970 */\n"
	"key INTEGER, model TEXT, target TEXT, op TEXT, status INTEGER, error TEXT,\n"
	"source INTEGER, /* 0 none, 1 upstream, 2 counted, 3 estimated, 4 aborted */\n"
	"flags INTEGER, /* 1 stream, 2 client left, 4 orphan, 8 nonsense, 16 over hold, 32 lease (not a request), 64 unpriced, 128 stopped, 256 overflow */\n"
	"attempts INTEGER, input INTEGER, cached INTEGER, output INTEGER, /* tokens */ cost INTEGER, reference INTEGER, /* nano-dollars */\n"
	"bytes_in INTEGER, bytes_out INTEGER, total_ms INTEGER, first_ms INTEGER, queue_ms INTEGER);\n"
	"CREATE TABLE applied(lane INTEGER PRIMARY KEY, seq INTEGER, crc INTEGER);\n"
	"PRAGMA application_id=" TEXT(MONTH_ID) "; PRAGMA user_version=" TEXT(SCHEMA_VERSION) ";";

static const char lost_schema[] =
	"CREATE TABLE IF NOT EXISTS lost(quarter INTEGER, key INTEGER, model TEXT, target TEXT,\n" SUM_COLUMNS
	", PRIMARY KEY(quarter, key, model, target)) WITHOUT ROWID;";

bool schema_make_lost(struct db *month)
{
	return db_run(month, lost_schema);
}

bool schema_has_lost(struct db *month, bool *has)
{
	int64_t n = 0;
	bool fine = db_number(month, "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name='lost'", &n);
	*has = n > 0;
	return fine;
}

/* ---- folders and names ---- */

static void path_of(char out[4200], const char *folder, const char *name)
{
	snprintf(out, 4200, "%s/%s", folder, name);
}

bool folder_make(const char *folder, struct buf *why)
{
	struct stat st;
	if (mkdir(folder, 0700) == 0)
		return true;
	int error = errno;
	if (error == EEXIST && stat(folder, &st) == 0 && S_ISDIR(st.st_mode))
		return true;
	buf_addf(why, "%s: cannot make the folder: %s", folder, strerror(error));
	return false;
}

bool folder_sync(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool fine = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return fine;
}

bool file_exists(const char *folder, const char *name)
{
	char path[4200];
	path_of(path, folder, name);
	return access(path, F_OK) == 0;
}

/* ---- making ---- */

static bool fill(const char *path, bool month, struct buf *why)
{
	struct db *d = db_open(path, true, why);
	bool fine = d && db_begin(d, true) && db_run(d, month ? month_schema : main_schema) && db_commit(d) && db_merge(d);
	if (d && !fine)
		buf_adds(why, str_from(db_why(d)));
	db_close(d);
	return fine;
}

struct db *schema_make(const char *folder, const char *name, bool month, struct buf *why)
{
	static const char *const left[] = {"", "-wal", "-shm", "-journal"};
	char path[4200], made[4300];
	path_of(path, folder, name);
	for (size_t i = 0; i < 4; i++) {
		snprintf(made, sizeof(made), "%s.new%s", path, left[i]);
		unlink(made);
	}
	snprintf(made, sizeof(made), "%s.new", path);
	if (!fill(made, month, why))
		return NULL;
	chmod(made, 0600);
	if (rename(made, path) != 0 || !folder_sync(folder)) {
		buf_addf(why, "%s: cannot be made: %s", path, strerror(errno));
		return NULL;
	}
	return schema_open(folder, name, month, why);
}

/* ---- opening ---- */

static bool refuse(struct db *d, const char *sentence, struct buf *why)
{
	if (sentence)
		db_fail(d, sentence);
	buf_adds(why, str_from(db_why(d)));
	return false;
}

static bool check_kind(struct db *d, bool month, struct buf *why)
{
	int64_t id = 0, version = 0;
	if (!db_number(d, "PRAGMA application_id", &id) || !db_number(d, "PRAGMA user_version", &version))
		return refuse(d, NULL, why);
	if (id != (month ? MONTH_ID : MAIN_ID))
		return refuse(d, "damaged, or not a database of Valet", why);
	if (version > SCHEMA_VERSION)
		return refuse(d, SCHEMA_NEWER, why);
	return version == SCHEMA_VERSION || refuse(d, "damaged: the schema has no version", why);
}

struct db *schema_open(const char *folder, const char *name, bool month, struct buf *why)
{
	char path[4200];
	path_of(path, folder, name);
	struct db *d = db_open(path, false, why);
	if (!d || check_kind(d, month, why))
		return d;
	db_close(d);
	return NULL;
}

/* ---- what is in it ---- */

struct check {
	struct db *db;
	const char *table;
	char sentence[300];
};

static bool check_quick(void *user, const struct db_row *row)
{
	struct check *c = user;
	struct str said = db_row_bytes(row, 0);
	if (str_eq(said, STR("ok")))
		return true;
	snprintf(c->sentence, sizeof(c->sentence), "damaged: %.*s", said.len > 200 ? 200 : (int)said.len, said.ptr);
	return db_fail(c->db, c->sentence);
}

static bool check_row(void *user, const struct db_row *row)
{
	struct check *c = user;
	if (db_row_fits(row))
		return true;
	snprintf(c->sentence, sizeof(c->sentence), "damaged: a row of %s does not fit its checksum", c->table);
	return db_fail(c->db, c->sentence);
}

/* Usage is looked at as far back as budgets can reach (a month and some days); older rows are checked when they are read. */
bool schema_check_rows(struct db *d, struct buf *why)
{
	static const struct {
		const char *table, *sql;
	} all[] = {
		{"keys", "SELECT * FROM keys"}, {"totals", "SELECT * FROM totals"}, {"leases", "SELECT * FROM leases"},
		{"applied", "SELECT * FROM applied"}, {"pending", "SELECT * FROM pending"}, {"facts", "SELECT * FROM facts"},
		{"usage", "SELECT * FROM usage WHERE quarter > (SELECT max(quarter) - 3456000 FROM usage)"},
	};
	struct check c = {.db = d};
	if (!db_exec(d, "PRAGMA quick_check(1)", NULL, 0, check_quick, &c))
		return refuse(d, NULL, why);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		c.table = all[i].table;
		if (!db_exec(d, all[i].sql, NULL, 0, check_row, &c))
			return refuse(d, NULL, why);
	}
	return true;
}
