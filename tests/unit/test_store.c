/* test_store.c - the database: keys, damage, and what was used.
 *
 * With the argument "speed" it measures how fast a hundred thousand keys are read instead.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>

/* ---- syncs ---- */

/* Syncs of files whose path ends so are counted; one of them, or all from it on, fail. */
static struct {
	const char *suffix;
	int count, fail_from, fail_to;
} syncs;

static void watch_syncs(const char *suffix, int fail_from, int fail_to)
{
	syncs.suffix = suffix;
	syncs.count = 0;
	syncs.fail_from = fail_from;
	syncs.fail_to = fail_to;
}

static int sync_of(int fd, long call)
{
	char link[64], path[300];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = syncs.suffix ? readlink(link, path, sizeof(path)) : 0;
	if (n > 0 && str_ends(str_of(path, (size_t)n), str_from(syncs.suffix))) {
		int number = syncs.count++;
		if (number >= syncs.fail_from && number <= syncs.fail_to) {
			errno = EIO;
			return -1;
		}
	}
	return (int)syscall(call, fd);
}

/* In the place of the system's, for SQLite as well. */
int fsync(int fd)
{
	return sync_of(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_of(fd, SYS_fdatasync);
}

/* ---- keys ---- */

struct seen {
	size_t count;
	struct stored_key last;
	char name[64], document[64];
};

static void see_key(void *user, const struct stored_key *k)
{
	struct seen *seen = user;
	seen->count++;
	seen->last = *k;
	snprintf(seen->name, sizeof(seen->name), "%.*s", STR_ARG(k->name));
	snprintf(seen->document, sizeof(seen->document), "%.*s", STR_ARG(k->document));
}

static struct seen keys_of(struct store *s)
{
	struct seen seen = {0};
	assert_true(store_each_key(s, see_key, &seen));
	return seen;
}

static void test_keys(void **state)
{
	struct store *s = open_store();
	assert_int_equal(keys_of(s).count, 0);
	assert_int_equal(put_key(s, key_named("anna")), 1);
	assert_int_equal(put_key(s, key_named("ben")), 2);
	struct stored_key changed = key_named("carl");
	changed.serial = 2;
	changed.revoked_s = 99;
	changed.old_until_s = 98;
	assert_int_equal(put_key(s, changed), 2);
	store_close(s);
	s = open_store();
	struct seen seen = keys_of(s);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.last.serial, 2);
	assert_string_equal(seen.name, "carl");
	assert_string_equal(seen.document, "{\"rpm\":5}");
	assert_memory_equal(seen.last.id, changed.id, sizeof(changed.id));
	assert_memory_equal(seen.last.hash, changed.hash, 32);
	assert_memory_equal(seen.last.old_hash, changed.old_hash, 32);
	assert_int_equal(seen.last.revoked_s, 99);
	assert_int_equal(seen.last.old_until_s, 98);
	store_close(s);
}

/* A name or an id that another key has is refused, and nothing of it stays. */
static void test_key_conflicts(void **state)
{
	struct store *s = open_store();
	struct stored_key k = key_named("anna"), same_id = key_named("ben");
	put_key(s, k);
	uint32_t serial = 77;
	assert_false(store_put_key(s, &k, &serial));
	assert_int_equal(serial, 77);
	assert_non_null(strstr(store_why(s), "keys.name"));
	memcpy(same_id.id, k.id, sizeof(k.id));
	assert_false(store_put_key(s, &same_id, &serial));
	assert_int_equal(keys_of(s).count, 1);
	assert_int_equal(put_key(s, key_named("ben")), 2);
	store_close(s);
}

static void test_serials_are_not_given_twice(void **state)
{
	struct store *s = open_store();
	put_key(s, key_named("anna"));
	assert_true(store_delete_key(s, 1));
	assert_int_equal(keys_of(s).count, 0);
	assert_int_equal(put_key(s, key_named("anna")), 2);
	struct stored_key far = key_named("far");
	far.serial = 4000000000;
	assert_true(put_key(s, far) == 4000000000);
	assert_true(put_key(s, key_named("next")) == 4000000001);
	assert_true(store_delete_key(s, 4000000001));
	store_close(s);
	s = open_store();
	assert_true(put_key(s, key_named("next")) == 4000000002);
	store_close(s);
}

static void test_group(void **state)
{
	struct store *s = open_store();
	assert_true(store_group(s));
	put_key(s, key_named("anna"));
	assert_true(store_put_fact(s, "a", STR("1")));
	assert_true(store_group_end(s, false));
	assert_int_equal(keys_of(s).count, 0);
	assert_true(store_group(s));
	put_key(s, key_named("anna"));
	put_key(s, key_named("ben"));
	assert_true(store_group_end(s, true));
	assert_int_equal(keys_of(s).count, 2);
	store_close(s);
}

static void test_facts(void **state)
{
	struct store *s = open_store();
	struct buf out;
	buf_init(&out, 100);
	assert_true(store_get_fact(s, "x", &out));
	assert_int_equal(out.len, 0);
	assert_true(store_put_fact(s, "x", STR("one")));
	assert_true(store_put_fact(s, "x", str_of("a\0b", 3)));
	store_close(s);
	s = open_store();
	assert_true(store_get_fact(s, "x", &out));
	assert_true(str_eq(buf_str(&out), str_of("a\0b", 3)));
	buf_release(&out);
	store_close(s);
}

/* ---- damage ---- */

static void test_changed_rows_are_found(void **state)
{
	struct store *s = open_store();
	struct seen seen = {0};
	put_key(s, key_named("anna"));
	run_sql("valet.db", "UPDATE keys SET document='{}'");
	assert_false(store_each_key(s, see_key, &seen));
	assert_non_null(strstr(store_why(s), "key 1 does not fit its checksum"));
	store_close(s);
	refused("a row of keys does not fit its checksum");
}

static void test_changed_sums_are_found(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	struct record_settle r = settle_at(NOV);
	size_t applied;
	add_settle(j, 0, &r);
	feed_all(s, j, 100);
	run_sql("valet.db", "UPDATE totals SET cost=0");
	struct usage_sum sum;
	assert_false(store_sums(s, 0, add_up, &sum));
	add_settle(j, 0, &r);
	assert_false(store_feed(s, j, 100, &applied)); /* nothing is added to a sum that is wrong */
	assert_non_null(strstr(store_why(s), "a row of totals does not fit its checksum"));
	buf_clear(&why);
	assert_false(store_check(s, &why));
	store_close(s);
	journal_close(j);
	refused("a row of totals does not fit its checksum");
}

static void test_damaged_files_are_refused(void **state)
{
	char noise[4096];
	memset(noise, 0x5a, sizeof(noise));
	for (int kind = 0; kind < 6; kind++) {
		struct store *s = open_store();
		put_key(s, key_named("anna"));
		store_close(s);
		struct stat st;
		assert_int_equal(stat(path_of("valet.db"), &st), 0);
		assert_true(st.st_size > 6 * 4096);
		if (kind == 0)
			put_bytes("valet.db", 0, "", 0, 0);
		else if (kind == 1)
			put_bytes("valet.db", 0, "", 0, st.st_size / 2);
		else if (kind == 2)
			put_bytes("valet.db", 0, noise, 4096, -1);
		else if (kind == 3)
			put_bytes("valet.db", 4096, noise, 4096, -1);
		else if (kind == 4)
			put_bytes("valet.db", 4096 * 2 - 60, noise, 60, -1); /* within the one row of keys */
		else
			put_bytes("valet.db", 0, "hello", 5, 0);
		refused("damaged");
		empty_folder();
	}
}

static void test_strange_files_are_refused(void **state)
{
	struct store *s = open_store();
	store_close(s);
	run_sql("valet.db", "PRAGMA user_version=2");
	refused("newer version");
	run_sql("valet.db", "PRAGMA user_version=1; PRAGMA application_id=1");
	refused("not a database of Valet");
	unlink(path_of("valet.db"));
	put_bytes("requests-2026-11.db", 0, "", 0, 0);
	refused("valet.db is missing");
	unlink(path_of("requests-2026-11.db"));
	put_bytes("valet.db.new", 0, "half", 4, 0); /* what a start left behind that was broken off */
	store_close(open_store());
	assert_int_not_equal(access(path_of("valet.db.new"), F_OK), 0);
}

/* ---- questions ---- */

struct rows {
	size_t count;
	struct usage_row at[16];
	char texts[16][32];
};

static void see_row(void *user, const struct usage_row *row)
{
	struct rows *rows = user;
	assert_true(rows->count < 16);
	snprintf(rows->texts[rows->count], 32, "%.*s", STR_ARG(row->text));
	rows->at[rows->count++] = *row;
}

static struct rows usage(struct store *s, enum usage_by by, int64_t from_s, int64_t to_s, uint32_t key)
{
	struct rows rows = {0};
	assert_true(store_usage(s, by, from_s, to_s, key, see_row, &rows));
	return rows;
}

static void test_usage(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	for (int i = 0; i < 30; i++) {
		struct record_settle r = settle_at(NOV + i * 7200);
		r.key = i % 3 == 0 ? 2 : 7;
		r.model = i % 2 ? STR("small") : STR("large");
		r.cost = i % 2 ? 0 : 5;
		r.target = i < 5 ? STR("cloud") : STR("gpu");
		add_settle(j, 0, &r);
	}
	feed_all(s, j, 100);
	struct rows rows = usage(s, USAGE_BY_KEY, 0, INT64_MAX, UINT32_MAX);
	assert_int_equal(rows.count, 2);
	assert_int_equal(rows.at[0].key, 7);
	assert_int_equal(rows.at[0].sum.requests, 20);
	assert_int_equal(rows.at[1].sum.requests, 10);
	rows = usage(s, USAGE_BY_MODEL, 0, INT64_MAX, 7);
	assert_int_equal(rows.count, 2);
	assert_string_equal(rows.texts[0], "large");
	assert_int_equal(rows.at[0].sum.requests, 10);
	rows = usage(s, USAGE_BY_TARGET, NOV, NOV + 7200 * 6, UINT32_MAX);
	assert_int_equal(rows.count, 2);
	assert_string_equal(rows.texts[0], "cloud");
	assert_int_equal(rows.at[0].sum.requests, 5);
	assert_int_equal(rows.at[1].sum.requests, 1);
	rows = usage(s, USAGE_BY_DAY, 0, INT64_MAX, UINT32_MAX);
	assert_int_equal(rows.count, 3);
	for (int day = 0; day < 3; day++) {
		assert_int_equal(rows.at[day].day_s, NOV + day * 86400);
		assert_int_equal(rows.at[day].sum.requests, day < 2 ? 12 : 6);
	}
	rows = usage(s, USAGE_BY_KEY_DAY, NOV + 86400, INT64_MAX, 2);
	assert_int_equal(rows.count, 2);
	assert_int_equal(rows.at[0].sum.requests, 4);
	assert_int_equal(usage(s, USAGE_BY_KEY, NOV + 86400 * 9, INT64_MAX, UINT32_MAX).count, 0);
	store_close(s);
	journal_close(j);
}

static void see_lease(void *user, const struct stored_lease *l)
{
	struct stored_lease *out = user;
	assert_true(str_eq(l->pattern, STR("qwen*")));
	assert_int_equal(out->leased, 0);
	*out = *l;
}

static void test_leases(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	char bytes[RECORD_MAX];
	struct record_lease l = {.leased = 100, .window_s = NOV, .key = 3, .unit = 1, .period = PERIOD_DAY, .pattern = STR("qwen*")};
	add(j, 0, RECORD_LEASE, bytes, record_put_lease(bytes, &l));
	l.leased = 250;
	add(j, 0, RECORD_LEASE, bytes, record_put_lease(bytes, &l));
	feed_all(s, j, 100);
	store_close(s);
	s = open_store();
	struct stored_lease seen = {0};
	assert_true(store_each_lease(s, see_lease, &seen));
	assert_int_equal(seen.leased, 250);
	assert_int_equal(seen.key, 3);
	assert_int_equal(seen.unit, 1);
	assert_int_equal(seen.period, PERIOD_DAY);
	assert_int_equal(seen.window_s, NOV);
	store_close(s);
	journal_close(j);
}

/* ---- changes that are missing ---- */

/* A process that is gone before what it changed has come into the file itself. */
static void change_and_die(const char *name)
{
	pid_t child = fork();
	if (child == 0) {
		struct store *s = open_store();
		struct stored_key anna = key_named("anna");
		anna.serial = 1;
		anna.revoked_s = 99;
		put_key(s, anna);
		put_key(s, key_named(name));
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, &(int){0}, 0), child);
}

static void test_lost_wal_is_refused(void **state)
{
	struct store *s = open_store();
	put_key(s, key_named("anna"));
	store_close(s);
	change_and_die("ben");
	s = open_store(); /* nothing is missing: the WAL is there */
	assert_int_equal(keys_of(s).count, 2);
	store_close(s);
	change_and_die("carl");
	assert_int_equal(unlink(path_of("valet.db-wal")), 0);
	for (int i = 0; i < 2; i++) {
		refused("lacks the last 2 changes");
		assert_non_null(strstr(why.ptr, "valet recover --rebuild"));
	}
	unlink(path_of("valet.mark")); /* without it nobody knows */
	s = open_store();
	assert_int_equal(keys_of(s).count, 2);
	put_key(s, key_named("dora"));
	store_close(s);
	unlink(path_of("valet.db"));
	refused("valet.db is missing, but there is a valet.mark");
}

/* What is not counted in the mark, as its file could not be written, is not missed; and a mark that does not check accuses nobody. */
static void test_mark_that_cannot_be_read(void **state)
{
	struct store *s = open_store();
	put_key(s, key_named("anna"));
	store_close(s);
	for (int at = 0; at < 16; at++) {
		put_bytes("valet.mark", at, "\xff", 1, -1);
		s = open_store();
		put_key(s, (struct stored_key){.serial = 1, .id = "x", .name = STR("anna"), .document = STR("{}")});
		assert_int_equal(keys_of(s).count, 1);
		store_close(s);
	}
	put_bytes("valet.mark", 0, "short", 5, 5);
	store_close(open_store());
}

/* ---- a disk that says no ---- */

/* A file that was made is renamed into its place only when all of it is on the disk. */
static void test_half_made_file(void **state)
{
	int made = 0;
	for (int at = 0; at < 20; at++) {
		watch_syncs("valet.db.new", at, at);
		buf_clear(&why);
		struct store *s = store_open(folder, &why);
		if (syncs.count <= at) {
			made = at;
			assert_non_null(s);
			store_close(s);
			break;
		}
		if (s)
			fail_msg("sync %d failed, and the file was taken", at);
		watch_syncs(NULL, 0, 0);
		store_close(open_store());
		unlink(path_of("valet.db"));
	}
	watch_syncs(NULL, 0, 0);
	assert_true(made > 0);
}

static int64_t size_of(const char *name)
{
	struct stat st;
	return stat(path_of(name), &st) == 0 ? st.st_size : -1;
}

/* A sync of the WAL has failed: what it did not write may be dropped by the system, and the next sync call would say that all is well. */
static void test_failed_sync_of_the_wal(void **state)
{
	struct store *s = open_store();
	put_key(s, key_named("anna"));
	assert_true(store_sync(s));
	assert_true(size_of("valet.db-wal") > 0);
	watch_syncs("valet.db-wal", 0, 0);
	assert_false(store_put_fact(s, "x", STR("y")));
	assert_int_equal(syncs.count, 1);
	assert_true(store_sync(s));
	assert_int_equal(size_of("valet.db-wal"), 0); /* all of it was written anew */
	watch_syncs(NULL, 0, 0);
	store_close(s);
}

/* The same where SQLite moves the WAL into the file after a commit: that commit has worked. */
static void test_failed_sync_of_a_checkpoint(void **state)
{
	static char large[60000];
	memset(large, 'x', sizeof(large));
	struct store *s = open_store();
	watch_syncs("/valet.db", 0, INT_MAX);
	for (int i = 0; i < 100; i++) {
		struct stored_key k = key_named("anna");
		k.serial = 1;
		k.document = str_of(large, sizeof(large) - (size_t)i);
		put_key(s, k);
	}
	assert_true(syncs.count > 0);
	assert_false(store_sync(s));
	watch_syncs(NULL, 0, 0);
	assert_true(store_sync(s));
	assert_int_equal(size_of("valet.db-wal"), 0);
	store_close(s);
}

/* Rows that a process left in the WAL of a month's file are on the disk before the journal may drop them. */
static void test_months_are_synced_after_a_start(void **state)
{
	struct record_settle r = settle_at(NOV);
	pid_t child = fork();
	if (child == 0) {
		struct store *s = open_store();
		struct journal *j = open_journal(1);
		add_settle(j, 0, &r);
		feed_all(s, j, 10);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, &(int){0}, 0), child);
	assert_true(size_of("requests-2026-11.db-wal") > 0);
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	watch_syncs("requests-2026-11.db-wal", INT_MAX, INT_MAX);
	feed_all(s, j, 10);
	assert_true(store_sync(s));
	assert_int_equal(store_applied(s, 0), 1);
	assert_true(syncs.count > 0);
	watch_syncs(NULL, 0, 0);
	store_close(s);
	journal_close(j);
}

/* ---- speed ---- */

static void speed_keys(void)
{
	enum { KEYS = 100000 };
	void *none = NULL;
	set_up(&none);
	struct store *s = open_store();
	assert_true(store_group(s));
	for (int i = 0; i < KEYS; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%06d", i);
		put_key(s, key_named(name));
	}
	assert_true(store_group_end(s, true));
	store_close(s);
	int64_t from = clock_mono_us();
	s = open_store();
	int64_t opened = clock_mono_us();
	assert_int_equal(keys_of(s).count, KEYS);
	printf("%d keys: opened and checked in %lld us, read in %lld us\n", KEYS, (long long)(opened - from), (long long)(clock_mono_us() - opened));
	store_close(s);
	tear_down(&none);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keys), TEST(test_key_conflicts), TEST(test_serials_are_not_given_twice), TEST(test_group), TEST(test_facts),
		TEST(test_changed_rows_are_found), TEST(test_changed_sums_are_found), TEST(test_damaged_files_are_refused),
		TEST(test_strange_files_are_refused), TEST(test_usage), TEST(test_leases), TEST(test_lost_wal_is_refused), TEST(test_mark_that_cannot_be_read),
		TEST(test_half_made_file), TEST(test_failed_sync_of_the_wal), TEST(test_failed_sync_of_a_checkpoint),
		TEST(test_months_are_synced_after_a_start),
	};
	buf_init(&why, 65536);
	if (!civil_set_zone("UTC", &why))
		return 1;
	if (argc > 1 && strcmp(argv[1], "speed") == 0) {
		speed_keys();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
