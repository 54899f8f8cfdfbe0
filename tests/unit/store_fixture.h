/* store_fixture.h - what tests of the store share: a folder, a journal in it, and records.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_STORE_FIXTURE_H
#define VALET_TESTS_STORE_FIXTURE_H

#include "store/store.h"

#include "base/civil.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/store_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOV ((int64_t)1793491200) /* 2026-11-01T00:00:00Z */
#define US  1000000

static char folder[64];
static struct buf why;

/* ---- the folder ---- */

static inline void empty_one(const char *path)
{
	char name[700];
	DIR *dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		unlink(name);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

static inline void empty_folder(void)
{
	char journal[100];
	snprintf(journal, sizeof(journal), "%s/journal", folder);
	empty_one(journal);
	empty_one(folder);
}

static inline int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/valet-test-store-%d", (int)getpid());
	empty_folder();
	buf_init(&why, 65536);
	return 0;
}

static inline int tear_down(void **state)
{
	empty_folder();
	buf_release(&why);
	return 0;
}

static inline const char *said(void)
{
	buf_addc(&why, '\0');
	return why.ptr;
}

static inline const char *path_of(const char *name)
{
	static char path[200];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static inline struct store *open_store(void)
{
	buf_clear(&why);
	struct store *s = store_open(folder, &why);
	if (!s)
		print_message("%s\n", said());
	assert_non_null(s);
	return s;
}

static inline void refused(const char *part)
{
	buf_clear(&why);
	struct store *s = store_open(folder, &why);
	bool opened = s != NULL;
	store_close(s);
	if (opened)
		fail_msg("was opened, though it should say \"%s\"", part);
	if (!strstr(said(), part))
		fail_msg("\"%s\" does not say \"%s\"", why.ptr, part);
}

static inline struct journal *open_journal_with(unsigned lanes, size_t segment, const struct journal_io *io)
{
	struct journal_options o = {.folder = path_of("journal"), .lanes = lanes, .segment_bytes = segment, .io = io};
	mkdir(folder, 0700);
	buf_clear(&why);
	struct journal *j = journal_open(&o, &why);
	if (!j)
		print_message("%s\n", said());
	assert_non_null(j);
	return j;
}

static inline struct journal *open_journal(unsigned lanes)
{
	return open_journal_with(lanes, 0, NULL);
}

/* Runs SQL in a file as somebody else would. */
static inline void run_sql(const char *name, const char *sql)
{
	buf_clear(&why);
	struct db *d = db_open(path_of(name), false, &why);
	assert_non_null(d);
	assert_true(db_run(d, sql));
	db_close(d);
}

static inline int64_t number(const char *name, const char *sql)
{
	int64_t n = -1;
	buf_clear(&why);
	struct db *d = db_open(path_of(name), false, &why);
	assert_non_null(d);
	if (!db_number(d, sql, &n))
		fail_msg("%s", db_why(d));
	db_close(d);
	return n;
}

/* ---- records ---- */

static inline uint64_t add(struct journal *j, unsigned lane, uint8_t type, const void *payload, size_t len)
{
	uint64_t seq = lane_append(journal_lane(j, lane), type, payload, len);
	if (!seq && journal_sync(j))
		seq = lane_append(journal_lane(j, lane), type, payload, len);
	assert_true(seq > 0);
	return seq;
}

static inline uint64_t add_settle(struct journal *j, unsigned lane, const struct record_settle *r)
{
	char bytes[RECORD_MAX];
	return add(j, lane, RECORD_SETTLE, bytes, record_put_settle(bytes, r));
}

static inline uint64_t add_begin(struct journal *j, unsigned lane, int64_t us, int64_t tokens)
{
	char bytes[RECORD_MAX];
	struct record_begin r = {.began_us = us, .hold_tokens = tokens, .key = 1, .id = "0123456789abcdefghijklm", .model = STR("m"), .op = STR("chat")};
	return add(j, lane, RECORD_BEGIN, bytes, record_put_begin(bytes, &r));
}

static inline struct record_settle settle_at(int64_t s)
{
	return (struct record_settle){
		.began_us = s * US + 7, .ended_us = s * US + 2 * US, .input = 10, .cached = 4, .output = 5, .cost = 1000, .reference = 3000,
		.bytes_in = 100, .bytes_out = 200, .key = 1, .total_ms = 2000, .status = 200, .source = SOURCE_UPSTREAM, .attempts = 1,
		.id = "abcdefghijklmnopqrstuvw", .model = STR("qwen"), .target = STR("gpu"), .op = STR("chat"),
	};
}

static inline uint64_t feed_all(struct store *s, struct journal *j, size_t batch)
{
	uint64_t sum = 0;
	size_t applied = 1;
	while (applied > 0) {
		if (!store_feed(s, j, batch, &applied))
			fail_msg("%s", store_why(s));
		sum += applied;
	}
	return sum;
}

static inline void balanced(struct store *s)
{
	buf_clear(&why);
	if (!store_check(s, &why))
		fail_msg("%s", said());
}

static inline void add_up(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	usage_add(user, sum);
}

static inline struct usage_sum total(struct store *s, int64_t from_s)
{
	struct usage_sum sum = {0};
	assert_true(store_sums(s, from_s, add_up, &sum));
	return sum;
}

static inline struct stored_key key_named(const char *name)
{
	struct stored_key k = {.created_s = 5, .name = str_from(name), .document = STR("{\"rpm\":5}")};
	snprintf(k.id, sizeof(k.id), "id%.7s", name);
	memset(k.hash, name[0], sizeof(k.hash));
	memset(k.old_hash, 7, sizeof(k.old_hash));
	return k;
}

static inline uint32_t put_key(struct store *s, struct stored_key k)
{
	uint32_t serial = 0;
	if (!store_put_key(s, &k, &serial))
		fail_msg("%s", store_why(s));
	return serial;
}

static inline void put_bytes(const char *name, int64_t at, const char *bytes, size_t len, int64_t cut)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	if (cut >= 0)
		assert_int_equal(ftruncate(fd, cut), 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
