/* test_store.c - the database: keys, what was used, and records that are applied exactly once whatever breaks.
 *
 * With the argument "speed" it measures how fast records are applied instead.
 *
 * SPDX-License-Identifier: Apache-2.0 */
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

static void empty_one(const char *path)
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

static void empty_folder(void)
{
	char journal[100];
	snprintf(journal, sizeof(journal), "%s/journal", folder);
	empty_one(journal);
	empty_one(folder);
}

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/valet-test-store-%d", (int)getpid());
	empty_folder();
	buf_init(&why, 65536);
	return 0;
}

static int tear_down(void **state)
{
	empty_folder();
	buf_release(&why);
	return 0;
}

static const char *said(void)
{
	buf_addc(&why, '\0');
	return why.ptr;
}

static const char *path_of(const char *name)
{
	static char path[200];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static struct store *open_store(void)
{
	buf_clear(&why);
	struct store *s = store_open(folder, &why);
	if (!s)
		print_message("%s\n", said());
	assert_non_null(s);
	return s;
}

static void refused(const char *part)
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

static struct journal *open_journal_with(unsigned lanes, size_t segment, const struct journal_io *io)
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

static struct journal *open_journal(unsigned lanes)
{
	return open_journal_with(lanes, 0, NULL);
}

/* Runs SQL in a file as somebody else would. */
static void run_sql(const char *name, const char *sql)
{
	buf_clear(&why);
	struct db *d = db_open(path_of(name), false, &why);
	assert_non_null(d);
	assert_true(db_run(d, sql));
	db_close(d);
}

static int64_t number(const char *name, const char *sql)
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

static uint64_t add(struct journal *j, unsigned lane, uint8_t type, const void *payload, size_t len)
{
	uint64_t seq = lane_append(journal_lane(j, lane), type, payload, len);
	if (!seq && journal_sync(j))
		seq = lane_append(journal_lane(j, lane), type, payload, len);
	assert_true(seq > 0);
	return seq;
}

static uint64_t add_settle(struct journal *j, unsigned lane, const struct record_settle *r)
{
	char bytes[RECORD_MAX];
	return add(j, lane, RECORD_SETTLE, bytes, record_put_settle(bytes, r));
}

static uint64_t add_begin(struct journal *j, unsigned lane, int64_t us, int64_t tokens)
{
	char bytes[RECORD_MAX];
	struct record_begin r = {.began_us = us, .hold_tokens = tokens, .key = 1, .id = "0123456789abcdefghijklm", .model = STR("m"), .op = STR("chat")};
	return add(j, lane, RECORD_BEGIN, bytes, record_put_begin(bytes, &r));
}

static struct record_settle settle_at(int64_t s)
{
	return (struct record_settle){
		.began_us = s * US + 7, .ended_us = s * US + 2 * US, .input = 10, .cached = 4, .output = 5, .cost = 1000, .reference = 3000,
		.bytes_in = 100, .bytes_out = 200, .key = 1, .total_ms = 2000, .status = 200, .source = SOURCE_UPSTREAM, .attempts = 1,
		.id = "abcdefghijklmnopqrstuvw", .model = STR("qwen"), .target = STR("gpu"), .op = STR("chat"),
	};
}

static uint64_t feed_all(struct store *s, struct journal *j, size_t batch)
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

static void balanced(struct store *s)
{
	buf_clear(&why);
	if (!store_check(s, &why))
		fail_msg("%s", said());
}

static void add_up(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	usage_add(user, sum);
}

static struct usage_sum total(struct store *s, int64_t from_s)
{
	struct usage_sum sum = {0};
	assert_true(store_sums(s, from_s, add_up, &sum));
	return sum;
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

static struct stored_key key_named(const char *name)
{
	struct stored_key k = {.created_s = 5, .name = str_from(name), .document = STR("{\"rpm\":5}")};
	snprintf(k.id, sizeof(k.id), "id%.7s", name);
	memset(k.hash, name[0], sizeof(k.hash));
	memset(k.old_hash, 7, sizeof(k.old_hash));
	return k;
}

static uint32_t put_key(struct store *s, struct stored_key k)
{
	uint32_t serial = 0;
	if (!store_put_key(s, &k, &serial))
		fail_msg("%s", store_why(s));
	return serial;
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

static void put_bytes(const char *name, int64_t at, const char *bytes, size_t len, int64_t cut)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	if (cut >= 0)
		assert_int_equal(ftruncate(fd, cut), 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
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

/* ---- feeding ---- */

static void test_sums(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(2);
	struct record_settle r = settle_at(NOV + 899);
	add_settle(j, 0, &r);
	r.began_us = (NOV + 900) * US; /* the next quarter */
	r.error = STR("upstream_timeout");
	r.flags = FLAG_ORPHAN | FLAG_UNPRICED | FLAG_OVER_HOLD;
	r.source = SOURCE_ABORTED;
	add_settle(j, 1, &r);
	struct record_settle lease = {.began_us = (NOV + 900) * US, .output = 50, .cost = 9, .key = 1, .model = STR("qwen*"), .flags = FLAG_LEASE | FLAG_ORPHAN,
				      .source = SOURCE_ESTIMATED};
	add_settle(j, 0, &lease);
	assert_int_equal(feed_all(s, j, 100), 3);
	struct usage_sum sum = total(s, 0), late = total(s, NOV + 900);
	assert_memory_equal(&sum, (&(struct usage_sum){.requests = 2, .errors = 1, .input = 20, .cached = 8, .output = 60, .cost = 2009, .reference = 6000,
						      .by_source = {0, 1, 0, 0, 1}, .orphans = 1, .unpriced = 1, .over_hold = 1}), sizeof(sum));
	assert_int_equal(late.requests, 1);
	assert_int_equal(late.output, 55);
	assert_int_equal(store_newest_us(s), (NOV + 899) * US + 2 * US);
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests"), 3);
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests WHERE id='req_abcdefghijklmnopqrstuvw' AND model='qwen' AND "
							"target='gpu' AND op='chat' AND input=10 AND ended-began=1999993"), 1);
	balanced(s);
	store_close(s);
	s = open_store();
	assert_int_equal(store_newest_us(s), (NOV + 899) * US + 2 * US);
	assert_int_equal(feed_all(s, j, 2), 3); /* looked at again, and applied before */
	late = total(s, 0);
	assert_memory_equal(&sum, &late, sizeof(sum));
	balanced(s);
	store_close(s);
	journal_close(j);
}

static void test_extreme_numbers(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	struct record_settle r = settle_at(NOV);
	r.input = r.output = r.cost = INT64_MAX;
	r.bytes_in = UINT64_MAX;
	for (int i = 0; i < 3; i++) {
		add_settle(j, 0, &r);
		feed_all(s, j, 100);
	}
	r = settle_at(NOV);
	r.input = r.cost = -5;
	r.began_us = INT64_MIN;
	add_settle(j, 0, &r);
	r.began_us = INT64_MAX;
	add_settle(j, 0, &r);
	feed_all(s, j, 100);
	struct usage_sum sum = total(s, 0);
	assert_true(sum.cost == INT64_MAX && sum.input == INT64_MAX);
	assert_int_equal(sum.requests, 5);
	assert_int_equal(access(path_of("requests-9999-12.db"), F_OK), 0);
	assert_int_equal(number("requests-1970-01.db", "SELECT min(cost) FROM requests"), 0);
	balanced(s);
	store_close(s);
	journal_close(j);
}

/* More months in one batch than there are files open. */
static void test_many_months(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	for (int i = 0; i < 200; i++) {
		struct record_settle r = settle_at(NOV + (int64_t)(i * 37 % 12) * 86400 * 31);
		add_settle(j, 0, &r);
	}
	assert_int_equal(feed_all(s, j, 1000), 200);
	assert_int_equal(total(s, 0).requests, 200);
	int64_t *months;
	assert_int_equal(months_list(folder, &months), 12);
	assert_int_equal(months[0], 2026 * 12 + 10);
	free(months);
	balanced(s);
	store_close(s);
	s = open_store();
	feed_all(s, j, 1000);
	assert_int_equal(total(s, 0).requests, 200);
	balanced(s);
	store_close(s);
	journal_close(j);
}

/* A month that was deleted does not come back from a journal that still has it. */
static void test_deleted_month(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	struct record_settle r = settle_at(NOV);
	add_settle(j, 0, &r);
	feed_all(s, j, 10);
	store_close(s);
	unlink(path_of("requests-2026-11.db"));
	s = open_store();
	feed_all(s, j, 10);
	assert_int_equal(total(s, 0).requests, 1);
	assert_int_not_equal(access(path_of("requests-2026-11.db"), F_OK), 0);
	balanced(s);
	store_close(s);
	journal_close(j);
}

static void test_check_finds_a_missing_row(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	for (int i = 0; i < 10; i++) {
		struct record_settle r = settle_at(NOV + i);
		add_settle(j, 0, &r);
	}
	feed_all(s, j, 100);
	balanced(s);
	run_sql("requests-2026-11.db", "DELETE FROM requests WHERE rowid=3");
	buf_clear(&why);
	assert_false(store_check(s, &why));
	assert_non_null(strstr(said(), "10 requests, 150 tokens, 10000 nano-dollars; its requests: 9, 135, 9000"));
	store_close(s);
	journal_close(j);
}

/* ---- exactly once ---- */

enum breakage { KILL, FAIL, BREAKAGES };
struct breaking {
	int commits, at;
	enum breakage how;
};

static bool before_commit(void *user, const char *file)
{
	struct breaking *b = user;
	if (b->commits++ != b->at)
		return true;
	if (b->how == KILL)
		kill(getpid(), SIGKILL);
	return false;
}

/* Two months in each batch, so three commits in each. */
static void add_mixed(struct journal *j, int count)
{
	for (int i = 0; i < count; i++) {
		unsigned lane = (unsigned)i % 3;
		struct record_settle r = settle_at(NOV + (i % 2 ? -1 - i : i));
		r.begin = add_begin(j, lane, r.began_us, 15);
		add_settle(j, lane, &r);
	}
}

static void break_at(int at, enum breakage how)
{
	struct breaking b = {.at = at, .how = how};
	size_t applied = 1;
	struct store *s = open_store();
	struct journal *j = open_journal(3);
	store_watch_commits(s, before_commit, &b);
	while (applied > 0)
		if (!store_feed(s, j, 37, &applied))
			applied = 1;
	store_close(s);
	journal_close(j);
	_exit(b.commits > at ? 0 : 1);
}

static void exactly_once(int count)
{
	struct store *s = open_store();
	struct journal *j = open_journal(3);
	feed_all(s, j, 50);
	struct usage_sum sum = total(s, 0);
	assert_int_equal(sum.requests, count);
	assert_int_equal(sum.cost, count * 1000);
	assert_int_equal(number("requests-2026-10.db", "SELECT count(*) FROM requests") + number("requests-2026-11.db", "SELECT count(*) FROM requests"),
			 count);
	for (unsigned lane = 0; lane < 3; lane++)
		assert_int_equal(store_applied(s, lane), 0);
	assert_true(store_sync(s));
	for (unsigned lane = 0; lane < 3; lane++) {
		uint64_t oldest, newest;
		journal_range(j, lane, &oldest, &newest);
		assert_int_equal(store_applied(s, lane), newest);
	}
	balanced(s);
	store_close(s);
	journal_close(j);
}

static void test_broken_at_each_commit(void **state)
{
	for (int round = 0; round < 2 * 12; round++) {
		struct journal *j = open_journal(3);
		add_mixed(j, 60);
		journal_close(j);
		pid_t child = fork();
		if (child == 0)
			break_at(round / 2, (enum breakage)(round % 2));
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(round % 2 == KILL ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
		exactly_once(60);
		empty_folder();
	}
}

static void test_locked(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	struct record_settle r = settle_at(NOV);
	size_t applied;
	add_settle(j, 0, &r);
	struct db *other = db_open(path_of("valet.db"), false, &why);
	assert_true(db_begin(other, false));
	assert_false(store_feed(s, j, 10, &applied));
	assert_non_null(strstr(store_why(s), "locked by another program"));
	struct stored_key k = key_named("anna");
	assert_false(store_put_key(s, &k, NULL));
	db_close(other);
	feed_all(s, j, 10);
	assert_int_equal(total(s, 0).requests, 1);
	put_key(s, k);
	balanced(s);
	store_close(s);
	journal_close(j);
}

/* ---- open BEGINs ---- */

struct open_seen {
	size_t count;
	unsigned lane;
	uint64_t seq;
};

static void see_open(void *user, unsigned lane, uint64_t seq, struct str payload)
{
	struct open_seen *seen = user;
	struct record_begin b;
	assert_true(record_get_begin(payload, &b));
	assert_int_equal(b.hold_tokens, 15);
	seen->count++;
	seen->lane = lane;
	seen->seq = seq;
}

static struct open_seen open_of(struct store *s)
{
	struct open_seen seen = {0};
	assert_true(store_each_open(s, see_open, &seen));
	return seen;
}

static void test_open_begins_hold_the_journal(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(2);
	uint64_t first = add_begin(j, 1, NOV * US, 15), second = add_begin(j, 1, NOV * US, 15);
	struct record_settle r = settle_at(NOV);
	r.begin = second;
	uint64_t last = add_settle(j, 1, &r);
	feed_all(s, j, 2);
	assert_true(store_sync(s));
	assert_int_equal(store_fed(s, 1), last);
	assert_int_equal(store_applied(s, 1), first - 1);
	store_close(s);
	s = open_store();
	feed_all(s, j, 2);
	assert_int_equal(open_of(s).count, 1);
	assert_int_equal(open_of(s).seq, first);
	r.begin = first;
	last = add_settle(j, 1, &r);
	feed_all(s, j, 2);
	assert_true(store_sync(s));
	assert_int_equal(store_applied(s, 1), last);
	assert_int_equal(open_of(s).count, 0);
	store_close(s);
	journal_close(j);
}

/* A request that is long under way goes into the database, and does not hold the journal. */
static void test_old_begins_are_written_down(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(2);
	s->spill_after = 10;
	uint64_t first = add_begin(j, 1, NOV * US, 15);
	struct record_settle r = settle_at(NOV);
	for (int i = 0; i < 30; i++) {
		r.begin = add_begin(j, 1, NOV * US, 15);
		add_settle(j, 1, &r);
	}
	feed_all(s, j, 7);
	assert_true(store_sync(s));
	assert_int_equal(store_applied(s, 1), store_fed(s, 1));
	assert_int_equal(number("valet.db", "SELECT count(*) FROM pending"), 1);
	assert_int_equal(open_of(s).count, 1);
	assert_int_equal(open_of(s).seq, first);
	store_close(s);
	s = open_store();
	feed_all(s, j, 7);
	assert_int_equal(open_of(s).count, 1);
	r.begin = first;
	add_settle(j, 1, &r);
	feed_all(s, j, 7);
	assert_int_equal(open_of(s).count, 0);
	assert_int_equal(number("valet.db", "SELECT count(*) FROM pending"), 0);
	balanced(s);
	store_close(s);
	journal_close(j);
}

/* What lane 0 says of a BEGIN in another lane holds whichever is read first, and after lane 0 has been dropped. */
static void test_settled_in_another_lane(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(3);
	struct record_settle r = settle_at(NOV);
	uint64_t first = add_begin(j, 2, NOV * US, 15), second = add_begin(j, 2, NOV * US, 15);
	r.begin = settle_begin(2, second);
	add_settle(j, 0, &r);
	feed_all(s, j, 1);
	assert_int_equal(open_of(s).count, 1);
	assert_int_equal(open_of(s).seq, first);
	store_close(s);
	s = open_store();
	feed_all(s, j, 100);
	assert_int_equal(open_of(s).count, 1);
	r.begin = settle_begin(2, first);
	add_settle(j, 0, &r);
	feed_all(s, j, 100);
	assert_int_equal(open_of(s).count, 0);
	assert_true(store_sync(s));
	assert_int_equal(store_applied(s, 2), second);
	store_close(s);
	journal_close(j);
	char name[120];
	snprintf(name, sizeof(name), "%s/journal", folder);
	DIR *dir = opendir(name);
	for (struct dirent *e; (e = readdir(dir));)
		if (strncmp(e->d_name, "lane-00", 7) == 0) {
			snprintf(name, sizeof(name), "journal/%.60s", e->d_name);
			unlink(path_of(name));
		}
	closedir(dir);
	s = open_store();
	j = open_journal(3);
	feed_all(s, j, 100);
	assert_int_equal(open_of(s).count, 0);
	assert_int_equal(total(s, 0).requests, 2);
	store_close(s);
	journal_close(j);
}

/* ---- a journal that does not fit ---- */

static const char *other_boot(void)
{
	return "another boot";
}

/* Ten records, all in the database, five of them synced in the journal; then the process is gone. */
static void feed_ahead(void)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	struct record_settle r = settle_at(NOV);
	for (int i = 0; i < 10; i++) {
		add_settle(j, 0, &r);
		if (i == 4)
			assert_true(journal_sync(j));
	}
	feed_all(s, j, 100);
	_exit(store_sync(s) && total(s, 0).requests == 10 ? 0 : 1);
}

/* Overwrites what stands in the lane's file from its eighth record on. */
static void lose_tail(void)
{
	static char bytes[65536];
	char name[120] = "";
	DIR *dir = opendir(path_of("journal"));
	for (struct dirent *e; (e = readdir(dir));)
		if (strncmp(e->d_name, "lane-00", 7) == 0)
			snprintf(name, sizeof(name), "journal/%.60s", e->d_name);
	closedir(dir);
	int fd = open(path_of(name), O_RDONLY);
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	assert_true(n > 0);
	size_t at = 0;
	for (int i = 0; i < 8; i++)
		at += str_search(str_of(bytes + at, (size_t)n - at), STR("abcdefghijklmnopqrstuvw")) + 1;
	assert_true(at < 8192);
	put_bytes(name, (int64_t)at, (char[8192]){0}, 8192, -1);
}

/* The machine died before the journal was synced, and the database is ahead: sequences are given again, and the new records count. */
static void test_journal_lost_its_end(void **state)
{
	struct journal_io io = {.boot = other_boot};
	struct record_settle r = settle_at(NOV);
	uint64_t oldest, newest;
	int status;
	pid_t child = fork();
	if (child == 0)
		feed_ahead();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	lose_tail();
	struct journal *j = open_journal_with(1, 0, &io);
	assert_int_equal(journal_state(j), JOURNAL_LOST);
	journal_range(j, 0, &oldest, &newest);
	assert_int_equal(newest, 7);
	struct store *s = open_store();
	feed_all(s, j, 100);
	assert_int_equal(total(s, 0).requests, 10);
	for (uint64_t seq = 8; seq <= 15; seq++)
		assert_int_equal(add_settle(j, 0, &r), seq);
	feed_all(s, j, 100);
	assert_int_equal(total(s, 0).requests, 18);
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests"), 18);
	balanced(s);
	store_close(s);
	journal_close(j);
}

static void test_database_is_older_than_the_journal(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal_with(1, 16384, NULL);
	struct record_settle r = settle_at(NOV);
	size_t applied;
	for (int i = 0; i < 500; i++)
		add_settle(j, 0, &r);
	feed_all(s, j, 100);
	assert_true(store_sync(s) && journal_sync(j));
	journal_drop(j, 0, store_applied(s, 0));
	assert_true(journal_sync(j) && journal_sync(j));
	uint64_t oldest, newest;
	journal_range(j, 0, &oldest, &newest);
	assert_true(oldest > 1);
	store_close(s);
	unlink(path_of("valet.db"));
	unlink(path_of("requests-2026-11.db"));
	s = open_store();
	assert_false(store_feed(s, j, 100, &applied));
	assert_non_null(strstr(store_why(s), "records are missing"));
	store_close(s);
	journal_close(j);
}

/* The journal's folder was deleted: its sequences begin again at 1. */
static void test_new_journal(void **state)
{
	struct record_settle r = settle_at(NOV);
	for (int round = 1; round <= 3; round++) {
		struct store *s = open_store();
		struct journal *j = open_journal(2);
		feed_all(s, j, 100);
		add_settle(j, 1, &r);
		add_settle(j, 1, &r);
		feed_all(s, j, 100);
		assert_int_equal(total(s, 0).requests, 2 * round);
		balanced(s);
		store_close(s);
		journal_close(j);
		empty_one(path_of("journal"));
	}
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

static void test_unknown_record(void **state)
{
	struct store *s = open_store();
	struct journal *j = open_journal(1);
	struct record_settle r = settle_at(NOV);
	size_t applied;
	add_settle(j, 0, &r);
	add(j, 0, 77, "x", 1);
	assert_false(store_feed(s, j, 100, &applied));
	assert_non_null(strstr(store_why(s), "record 2 of the journal's lane 0"));
	assert_int_equal(total(s, 0).requests, 0);
	store_close(s);
	journal_close(j);
}

/* ---- speed ---- */

static int64_t cpu_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * US + ts.tv_nsec / 1000;
}

static void fill_speed(struct journal *j, int rows)
{
	static const char *const models[] = {"qwen3-32b", "llama-3.3-70b-instruct", "nomic-embed-text"};
	for (int i = 0; i < rows; i++) {
		struct record_settle r = settle_at(NOV + i / 1000);
		r.key = (uint32_t)(i * 7919 % 50) + 1;
		r.model = str_from(models[i % 3]);
		r.begin = add_begin(j, (unsigned)i % 4 + 1, r.began_us, 4096);
		add_settle(j, (unsigned)i % 4 + 1, &r);
	}
	assert_true(journal_sync(j));
}

static void speed(void)
{
	enum { ROWS = 200000 };
	void *none = NULL;
	set_up(&none);
	struct store *s = open_store();
	struct journal *j = open_journal(5);
	fill_speed(j, ROWS);
	static const size_t batches[] = {500, 2000, 4096, 8192};
	for (size_t b = 0; b < 4; b++) {
		size_t applied = 1, sum = 0;
		int64_t from = clock_mono_us(), cpu = cpu_us();
		while (applied > 0 && sum < ROWS / 2 && store_feed(s, j, batches[b], &applied))
			sum += applied;
		int64_t took = clock_mono_us() - from;
		cpu = cpu_us() - cpu;
		printf("batches of %zu records: %lld rows/s, %.2f us of CPU a row (with its BEGIN)\n", batches[b], (long long)(sum / 2) * US / took,
		       (double)cpu / (double)(sum / 2));
	}
	store_close(s);
	journal_close(j);
	int64_t from = clock_mono_us();
	store_close(open_store());
	printf("opened again in %lld us\n", (long long)(clock_mono_us() - from));
	tear_down(&none);
}

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keys), TEST(test_key_conflicts), TEST(test_serials_are_not_given_twice), TEST(test_group), TEST(test_facts),
		TEST(test_changed_rows_are_found), TEST(test_changed_sums_are_found), TEST(test_damaged_files_are_refused),
		TEST(test_strange_files_are_refused), TEST(test_sums), TEST(test_extreme_numbers), TEST(test_many_months), TEST(test_deleted_month),
		TEST(test_check_finds_a_missing_row), TEST(test_broken_at_each_commit), TEST(test_locked), TEST(test_open_begins_hold_the_journal),
		TEST(test_old_begins_are_written_down), TEST(test_settled_in_another_lane), TEST(test_journal_lost_its_end),
		TEST(test_database_is_older_than_the_journal), TEST(test_new_journal), TEST(test_usage), TEST(test_leases), TEST(test_unknown_record),
	};
	buf_init(&why, 65536);
	if (!civil_set_zone("UTC", &why))
		return 1;
	if (argc > 1 && strcmp(argv[1], "speed") == 0) {
		speed();
		speed_keys();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
