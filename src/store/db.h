/* db.h - one connection to one database file, as far as the store needs it: parameters in, rows out, transactions, what reached the disk.
 *
 * Statements are prepared once per text, and texts are told apart by their address: pass string literals. One thread at a time. Blocking: a file that is
 * locked by another program is waited for, DB_BUSY_MS at most. False means that the database said no; db_why() is a sentence about it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_DB_H
#define VALET_STORE_DB_H

#include "base/buf.h"

#define DB_BUSY_MS 2000

struct db;
struct db_row; /* a row of a result, during the call that shows it */

struct db_value {
	bool number, blob; /* neither: text */
	int64_t n;
	struct str bytes;
};
static inline struct db_value db_int(int64_t n)
{
	return (struct db_value){.number = true, .n = n};
}
static inline struct db_value db_text(struct str s)
{
	return (struct db_value){.bytes = s};
}
static inline struct db_value db_blob(const void *ptr, size_t len)
{
	return (struct db_value){.blob = true, .bytes = str_of(ptr, len)};
}

/* Shows a row; false stops and makes the statement fail (db_fail() says why). */
typedef bool db_row_fn(void *user, const struct db_row *row);

struct db *db_open(const char *path, bool make, struct buf *why); /* NULL and a sentence */
void db_close(struct db *d);                                      /* NULL is allowed; a transaction is rolled back */
const char *db_why(const struct db *d);
bool db_fail(struct db *d, const char *sentence);                 /* sets db_why(); false */

/* One statement or several without parameters; rows are dropped. */
bool db_run(struct db *d, const char *sql);
/* One statement with ?1 and so on. `row` may be NULL. A row must not be followed by the same statement inside its own callback. */
bool db_exec(struct db *d, const char *sql, const struct db_value *values, size_t count, db_row_fn *row, void *user);
/* The first column of the first row as a number; false also where there is none. */
bool db_number(struct db *d, const char *sql, int64_t *out);

int db_row_columns(const struct db_row *r);
int64_t db_row_int(const struct db_row *r, int column);
struct str db_row_bytes(const struct db_row *r, int column);
struct db_value db_row_value(const struct db_row *r, int column);

/* A writing transaction. `durable`: db_commit() returns when it is on the disk; else it is whole after a power loss, but may be missing. */
bool db_begin(struct db *d, bool durable);
bool db_commit(struct db *d);
void db_rollback(struct db *d); /* does nothing where there is none */
bool db_in_transaction(const struct db *d);
/* Puts all that was committed on the disk. */
bool db_sync(struct db *d);
/* The same, and into the file itself, so that it may be renamed after db_close(). */
bool db_merge(struct db *d);

/* Rows carry a CRC-32C of all columns before it in their last column. */
uint32_t db_values_crc(const struct db_value *values, size_t count);
/* Executes with the checksum of the `count` values as one further value; there must be room for it behind them. */
bool db_put(struct db *d, const char *sql, struct db_value *values, size_t count);
bool db_row_fits(const struct db_row *r);

#endif
