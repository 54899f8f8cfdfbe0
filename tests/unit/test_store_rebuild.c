/* test_store_rebuild.c - a folder of which something is damaged becomes one that a start accepts, and no budget has less used than its rows say.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/ledger.h"
#include "store_fixture.h"

enum { KEYS = 60, FED = 700, REST = 40, OPEN = 2, HOLD = 500, LEASED = 50000000 };

#define OCT_30 (NOV - 2 * 86400) /* records begin here, one every quarter of an hour, so two files have rows */

/* ---- a folder ---- */

static void set_id(char id[RECORD_ID], int number)
{
	char text[48];
	snprintf(text, sizeof(text), "id-of-request-%09d", number);
	memcpy(id, text, RECORD_ID); /* 23 characters and the end */
}

static struct record_settle settle_of(int number)
{
	struct record_settle r = settle_at(OCT_30 + number * 900);
	set_id(r.id, number);
	r.key = 1 + (uint32_t)number % KEYS;
	r.cost = 1000 + number;
	return r;
}

static uint64_t add_open(struct journal *j, int number)
{
	char bytes[RECORD_MAX];
	struct record_begin b = {
		.began_us = (OCT_30 + number * 900) * US, .hold_tokens = HOLD, .input_tokens = 100, .hold_nanos = 9000, .key = 1 + (uint32_t)number % KEYS,
		.model = STR("qwen"), .target = STR("gpu"), .op = STR("chat"),
	};
	set_id(b.id, number);
	return add(j, 1, RECORD_BEGIN, bytes, record_put_begin(bytes, &b));
}

static void add_request(struct journal *j, int number)
{
	struct record_settle r = settle_of(number);
	r.begin = add_open(j, number);
	add_settle(j, 1, &r);
}

static void add_lease(struct journal *j)
{
	char bytes[RECORD_MAX];
	struct record_lease l = {.leased = LEASED, .window_s = civil_window(PERIOD_TOTAL, NOV).from_s, .key = 7, .period = PERIOD_TOTAL, .pattern = STR("")};
	add(j, 0, RECORD_LEASE, bytes, record_put_lease(bytes, &l));
}

/* Keys, rows in two files, and a journal whose end nobody has brought into the store. */
static void make_folder(void)
{
	struct store *s = open_store();
	struct journal *j = open_journal_with(2, 32768, NULL);
	assert_true(store_group(s));
	for (int i = 1; i <= KEYS; i++) {
		char name[16], document[200];
		snprintf(name, sizeof(name), "%04d", i);
		snprintf(document, sizeof(document), "{\"rpm\":%d,\"tags\":{\"a\":\"%0150d\"}}", i, i);
		struct stored_key k = key_named(name);
		k.document = str_from(document);
		k.revoked_s = i == 3 ? 77 : 0;
		put_key(s, k);
	}
	assert_true(store_put_fact(s, "pepper_check", STR("abc")));
	assert_true(store_group_end(s, true));
	add_lease(j);
	for (int i = 0; i < FED; i++)
		add_request(j, i);
	feed_all(s, j, 5000);
	assert_true(store_sync(s));
	for (unsigned lane = 0; lane < 2; lane++)
		journal_drop(j, lane, store_applied(s, lane));
	for (int i = 0; i < 3; i++)
		assert_true(journal_sync(j));
	uint64_t oldest, newest;
	journal_range(j, 1, &oldest, &newest);
	assert_true(oldest > FED); /* most of it is in the store alone */
	for (int i = FED; i < FED + REST; i++)
		add_request(j, i);
	for (int i = 0; i < OPEN; i++)
		add_open(j, FED + REST + i);
	assert_true(journal_sync(j));
	store_close(s);
	journal_close(j);
}

static struct usage_sum truth(void)
{
	struct usage_sum sum = {.requests = FED + REST + OPEN, .input = OPEN * 100, .output = OPEN * (HOLD - 100), .cost = OPEN * 9000};
	for (int i = 0; i < FED + REST; i++) {
		struct record_settle r = settle_of(i);
		sum.input += r.input;
		sum.output += r.output;
		sum.cost += r.cost;
	}
	return sum;
}

/* ---- what is done to it ---- */

static struct rebuild_report report;

static bool try_rebuild(bool force, void (*at)(void *user, const char *step), void *user)
{
	const struct rebuild_options o = {.folder = folder, .force = force, .now_s = NOV + 40 * 86400, .at = at, .user = user};
	buf_clear(&why);
	rebuild_report_release(&report);
	return store_rebuild(&o, &report, &why);
}

static void rebuild_it(void)
{
	if (!try_rebuild(false, NULL, NULL))
		fail_msg("%s", said());
}

static bool tells(const char *part)
{
	return str_search(buf_str(&report.said), str_from(part)) < report.said.len;
}

static struct ledger *start(void)
{
	const struct ledger_options o = {.folder = folder, .workers = 1};
	buf_clear(&why);
	return ledger_open(&o, &why);
}

static int64_t rows(void)
{
	static const char sql[] = "SELECT count(*) FROM requests WHERE flags & 32 = 0";
	return number("requests-2026-10.db", sql) + number("requests-2026-11.db", sql);
}

static void at_least(const struct usage_sum *sum)
{
	struct usage_sum t = truth();
	assert_true(sum->requests >= t.requests);
	assert_true(sum->input >= t.input && sum->output >= t.output && sum->cost >= t.cost);
}

/* A start, and what it finds: `exactly` what was used, or more. */
static struct usage_sum starts(bool exactly)
{
	struct ledger *l = start();
	if (!l)
		fail_msg("%s", said());
	struct usage_sum sum = total(ledger_store(l), 0), t = truth();
	at_least(&sum);
	if (exactly) {
		assert_int_equal(sum.requests, t.requests);
		assert_int_equal(sum.input + sum.output, t.input + t.output);
		assert_int_equal(sum.cost, t.cost);
		assert_int_equal(sum.orphans, OPEN);
	}
	balanced(ledger_store(l));
	ledger_free(l);
	return sum;
}

struct keys {
	size_t count, revoked, named;
};

static void see_key(void *user, const struct stored_key *k)
{
	struct keys *keys = user;
	keys->count++;
	keys->revoked += k->revoked_s != 0;
	keys->named += !str_starts(k->name, STR("lost-"));
	if (k->serial == 3)
		assert_true(k->revoked_s != 0); /* what was revoked never comes back */
}

static struct keys keys_now(void)
{
	struct keys keys = {0};
	struct store *s = open_store();
	assert_true(store_each_key(s, see_key, &keys));
	store_close(s);
	return keys;
}

/* ---- damage ---- */

static void noise(const char *name, int64_t at, size_t len)
{
	char *bytes = mem_alloc(len);
	memset(bytes, 0x5a, len);
	put_bytes(name, at, bytes, len, -1);
	free(bytes);
}

static int64_t size_of(const char *name)
{
	struct stat st;
	assert_int_equal(stat(path_of(name), &st), 0);
	return st.st_size;
}

static unsigned byte_of(const char *name, int64_t at, int count)
{
	unsigned char bytes[4] = {0};
	unsigned n = 0;
	int fd = open(path_of(name), O_RDONLY);
	assert_int_equal(pread(fd, bytes, (size_t)count, at), count);
	close(fd);
	for (int i = 0; i < count; i++)
		n = n << 8 | bytes[i];
	return n;
}

/* The page of a table's leaf: the child number `which` of its root, which is not a leaf itself. */
static int64_t leaf_of(const char *name, const char *sql, unsigned which)
{
	int64_t root = (number(name, sql) - 1) * 4096;
	unsigned type = byte_of(name, root, 1);
	assert_true(type == 2 || type == 5);
	assert_true(which < byte_of(name, root + 3, 2));
	return ((int64_t)byte_of(name, root + byte_of(name, root + 12 + 2 * which, 2), 4) - 1) * 4096;
}

#define ROOT_OF(table) "SELECT rootpage FROM sqlite_schema WHERE name='" table "'"

static void test_first_page(void **state)
{
	make_folder();
	noise("valet.db", 0, 4096);
	refused("damaged");
	rebuild_it();
	assert_false(report.lost);
	assert_int_equal(report.keys, KEYS);
	starts(true);
	assert_int_equal(keys_now().count, KEYS);
	assert_int_equal(keys_now().revoked, 1);
	assert_int_equal(rows(), FED + REST + OPEN);
	assert_int_equal(number("valet.db", "SELECT count(*) FROM facts WHERE name='pepper_check' AND CAST(value AS TEXT)='abc'"), 1);
	assert_true(str_starts(buf_str(&report.aside), STR("valet.db.damaged-20261211-000000")));
}

static void test_sums(void **state)
{
	static const char *const tables[] = {ROOT_OF("usage"), ROOT_OF("totals"), ROOT_OF("leases"), ROOT_OF("applied"), ROOT_OF("pending")};
	for (size_t i = 0; i < 5; i++) {
		make_folder();
		if (i == 0) {
			noise("valet.db", leaf_of("valet.db", tables[0], 2), 4096);
			refused("damaged");
		} else {
			noise("valet.db", (number("valet.db", tables[i]) - 1) * 4096, 4096);
		}
		rebuild_it();
		assert_int_equal(report.keys, KEYS);
		starts(i < 4); /* without `pending` what was leased is charged */
		assert_int_equal(rows(), FED + REST + OPEN);
		empty_folder();
	}
}

static void test_keys(void **state)
{
	make_folder();
	noise("valet.db", leaf_of("valet.db", ROOT_OF("keys"), 1), 4096);
	refused("damaged");
	rebuild_it();
	assert_true(report.lost);
	assert_true(report.keys > KEYS / 3 && report.keys < KEYS);
	assert_int_equal(report.keys + report.keys_lost, KEYS);
	assert_true(tells("made again"));
	starts(true);
	struct keys keys = keys_now();
	assert_int_equal(keys.count, KEYS);
	assert_int_equal(keys.named, report.keys);
	assert_true(keys.revoked >= report.keys_lost);
	struct store *s = open_store();
	assert_int_equal(put_key(s, key_named("new")), KEYS + 1); /* nobody gets what another key has used */
	store_close(s);
}

static void test_whole_file(void **state)
{
	for (int kind = 0; kind < 5; kind++) {
		make_folder();
		if (kind == 0)
			put_bytes("valet.db", 0, "", 0, size_of("valet.db") / 2);
		else if (kind == 1)
			put_bytes("valet.db", 0, "", 0, 0);
		else if (kind == 2)
			noise("valet.db", 0, (size_t)size_of("valet.db"));
		else if (kind == 3)
			put_bytes("valet.db", 0, "", 0, 5000);
		else
			unlink(path_of("valet.db"));
		rebuild_it();
		struct usage_sum sum = starts(false);
		assert_int_equal(sum.requests, FED + REST + OPEN);
		assert_true(report.lost);
		assert_int_equal(keys_now().count, KEYS); /* saved, or a revoked one in its place */
		assert_int_equal(keys_now().named, report.keys);
		empty_folder();
	}
}

/* A row that was changed with care has a checksum that does not fit. */
static void test_changed_rows(void **state)
{
	make_folder();
	run_sql("valet.db", "UPDATE totals SET input=0, output=0, cost=0");
	run_sql("valet.db", "UPDATE usage SET input=0, output=0, cost=0 WHERE key=5");
	run_sql("valet.db", "UPDATE keys SET revoked=0 WHERE serial=3");
	refused("checksum");
	rebuild_it();
	starts(true);
	assert_int_equal(report.keys, KEYS - 1);
	assert_int_equal(keys_now().named, KEYS - 1);
}

/* ---- files of requests ---- */

static void test_requests(void **state)
{
	for (int kind = 0; kind < 4; kind++) {
		make_folder();
		int64_t size = size_of("requests-2026-11.db");
		assert_true(size > 10 * 4096);
		if (kind == 0)
			noise("requests-2026-11.db", leaf_of("requests-2026-11.db", ROOT_OF("requests"), 3), 4096);
		else if (kind == 1)
			put_bytes("requests-2026-11.db", 0, "", 0, size / 2);
		else if (kind == 2)
			put_bytes("requests-2026-11.db", 0, "", 0, 0);
		else
			noise("requests-2026-11.db", 0, 4096);
		rebuild_it();
		starts(true);
		assert_int_equal(report.keys, KEYS);
		int64_t left = rows();
		assert_int_equal(report.lost, kind < 3);
		assert_int_equal(left + (int64_t)report.requests_lost, FED + REST + OPEN);
		assert_true(kind == 3 ? report.requests_lost == 0 : report.requests_lost > 10);
		assert_true(kind == 2 || left > FED / 3);
		assert_true(tells("requests-2026-11.db was damaged"));
		/* what is missing is known from now on, even to a rebuild without the old sums */
		noise("valet.db", 0, (size_t)size_of("valet.db"));
		rebuild_it();
		struct usage_sum sum = starts(false);
		assert_int_equal(sum.requests, FED + REST + OPEN);
		empty_folder();
	}
}

static void test_both(void **state)
{
	make_folder();
	noise("valet.db", leaf_of("valet.db", ROOT_OF("usage"), 2), 4096);
	put_bytes("requests-2026-11.db", 0, "", 0, size_of("requests-2026-11.db") / 2);
	assert_false(try_rebuild(false, NULL, NULL));
	assert_non_null(strstr(said(), "requests-2026-11.db"));
	assert_non_null(strstr(said(), "--force"));
	refused("damaged"); /* nothing was changed */
	if (!try_rebuild(true, NULL, NULL))
		fail_msg("%s", said());
	assert_true(report.lost);
	assert_true(tells("IS NOT CHARGED TO ANYBODY"));
	starts(false); /* the totals were whole: what only they know is charged in November */
}

/* An older copy of valet.db was put back: what happened since then is in the rows. */
static void test_older_copy(void **state)
{
	char old[220];
	struct store *s = open_store();
	store_close(s);
	snprintf(old, sizeof(old), "%s.old", path_of("valet.db"));
	assert_int_equal(rename(path_of("valet.db"), old), 0);
	make_folder();
	assert_int_equal(rename(old, path_of("valet.db")), 0);
	rebuild_it();
	struct usage_sum sum = starts(false);
	assert_int_equal(sum.requests, FED + REST + OPEN);
}

/* valet.db-wal is gone after a crash: what can be known goes on, what cannot is said, and the next start is content. */
static void test_lost_wal(void **state)
{
	make_folder();
	pid_t child = fork();
	if (child == 0) {
		struct store *s = open_store();
		put_key(s, key_named("new"));
		assert_true(store_delete_key(s, KEYS));
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, &(int){0}, 0), child);
	assert_int_equal(unlink(path_of("valet.db-wal")), 0);
	assert_null(start());
	assert_non_null(strstr(said(), "lacks the last 2 changes"));
	rebuild_it();
	assert_true(report.lost);
	assert_true(tells("LOST: valet.db was an older one") && tells("last 2 changes"));
	assert_int_equal(keys_now().count, KEYS);
	struct usage_sum sum = starts(false);
	assert_true(sum.output >= LEASED); /* what may have been spent of leases is charged */
	struct store *s = open_store();
	put_key(s, key_named("newer"));
	store_close(s);
	assert_int_equal(keys_now().count, KEYS + 1);
}

/* Bytes of a schema have changed so that it is still one: a column less. */
static void test_changed_schema(void **state)
{
	static const char column[] = "bytes_in INTEGER, bytes_out INTEGER", changed[] = "bytes_in /*TEGER, bytes_out INT*/ ";
	char page[4096];
	make_folder();
	int fd = open(path_of("requests-2026-11.db"), O_RDONLY);
	assert_int_equal(pread(fd, page, sizeof(page), 0), sizeof(page));
	close(fd);
	size_t at = str_search(str_of(page, sizeof(page)), str_of(column, sizeof(column) - 1));
	assert_true(at < sizeof(page));
	put_bytes("requests-2026-11.db", (int64_t)at, changed, sizeof(changed) - 1, -1);
	rebuild_it();
	assert_true(tells("requests-2026-11.db was damaged"));
	starts(true);
}

/* ---- the journal ---- */

/* Its oldest or newest file that holds something. */
static void lane_name(char out[64], unsigned lane, bool newest)
{
	for (int i = 1; i <= 40; i++) {
		snprintf(out, 64, "journal/lane-%02u-%012d.vj", lane, newest ? 41 - i : i);
		if (access(path_of(out), F_OK) == 0 && byte_of(out, 4096, 4))
			return;
	}
	fail_msg("no file of lane %u", lane);
}

static void test_journal(void **state)
{
	char lane[64];
	for (int kind = 0; kind < 5; kind++) {
		make_folder();
		lane_name(lane, kind == 4 ? 0 : 1, kind == 3);
		int64_t used = 4096;
		while (kind < 4 && used + 8 <= size_of(lane) && byte_of(lane, used, 4))
			used += (17 + (int64_t)__builtin_bswap32(byte_of(lane, used, 4)) + 7) & ~(int64_t)7;
		if (kind == 0)
			noise(lane, 4096 + 24, 8);
		else if (kind == 1)
			noise(lane, 0, 16); /* of the header */
		else if (kind == 2)
			put_bytes(lane, 0, "", 0, used - 3000);
		else if (kind == 3)
			noise(lane, 0, 4096);
		else
			noise(lane, 4096 + 20, 4);
		struct ledger *l = start();
		if (l)
			fail_msg("damage %d of %s was not seen", kind, lane);
		rebuild_it();
		assert_int_equal(report.lost, kind != 1);
		assert_true(report.bytes_lost < (kind == 0 ? 400 : kind == 4 ? 100 : 30000)); /* what follows a bad record is found */
		l = start();
		if (!l)
			fail_msg("%s", said());
		struct usage_sum sum = total(ledger_store(l), 0);
		assert_true(sum.input + sum.output >= LEASED); /* what it had leased is charged */
		assert_true(sum.requests >= rows());
		assert_true(sum.requests >= FED + (kind == 1 || kind == 4 ? REST + OPEN : 0));
		balanced(ledger_store(l));
		/* and it goes on */
		struct record_settle r = settle_of(5000);
		char bytes[RECORD_MAX];
		assert_true(lane_append(ledger_lane(l, 0), RECORD_SETTLE, bytes, record_put_settle(bytes, &r)) > 0);
		assert_true(ledger_start(l));
		ledger_stop(l, 5000);
		assert_int_equal(total(ledger_store(l), 0).requests, sum.requests + 1);
		balanced(ledger_store(l));
		ledger_free(l);
		empty_folder();
	}
}

/* ---- again, and broken off ---- */

static void test_twice(void **state)
{
	make_folder();
	noise("valet.db", 0, 4096);
	rebuild_it();
	struct usage_sum first = starts(true);
	int64_t count = rows();
	for (int i = 0; i < 3; i++) {
		rebuild_it();
		assert_false(report.lost);
		struct usage_sum again = starts(true);
		assert_memory_equal(&first, &again, sizeof(first));
		assert_int_equal(rows(), count);
	}
}

struct killer {
	int left;
};

static void kill_at(void *user, const char *step)
{
	struct killer *k = user;
	if (k->left-- == 0)
		raise(SIGKILL);
}

/* True: it came to its end before. */
static bool killed_rebuild(int steps)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct killer k = {steps};
		_exit(try_rebuild(false, kill_at, &k) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return !WIFSIGNALED(status);
}

static void damage(int kind)
{
	char lane[64];
	if (kind == 0)
		noise("valet.db", 0, 4096);
	else if (kind == 1)
		put_bytes("requests-2026-11.db", 0, "", 0, size_of("requests-2026-11.db") / 2);
	lane_name(lane, 1, true);
	if (kind == 2)
		noise(lane, 0, 16);
}

static void test_kills(void **state)
{
	int kills = 0;
	for (int kind = 0; kind < 3; kind++) {
		bool whole = false;
		for (int steps = 0; !whole; steps++) {
			make_folder();
			damage(kind);
			whole = killed_rebuild(steps);
			kills += !whole;
			struct ledger *l = start();
			if (l) {
				struct usage_sum sum = total(ledger_store(l), 0);
				at_least(&sum);
			}
			ledger_free(l);
			rebuild_it();
			if (report.finished)
				rebuild_it();
			starts(kind < 2);
			empty_folder();
		}
	}
	assert_true(kills > 15);
}

/* Any bytes of any file: whatever it hits, a rebuild makes a folder that starts, with at least what was used. */
static void test_anywhere(void **state)
{
	static const char *const names[] = {"valet.db", "requests-2026-10.db", "requests-2026-11.db"};
	uint32_t random = 12345;
	for (int round = 0; round < 45; round++) {
		make_folder();
		const char *name = names[round % 3];
		random = random * 1664525 + 1013904223;
		noise(name, (int64_t)(random >> 8) % (size_of(name) - 600), round % 2 ? 3 : 500);
		rebuild_it();
		starts(false);
		assert_int_equal(keys_now().count, KEYS);
		empty_folder();
	}
}

static void test_plan_refuses(void **state)
{
	make_folder();
	put_bytes(REBUILD_PLAN, 0, "place valet.db.rebuilt valet.db\n", 32, 0);
	refused("valet recover --rebuild");
	rebuild_it();
	assert_true(report.finished);
	starts(true);
}

/* In memory where that can be done: this test is about what is in the files, and syncs a lot. */
static int set_up_fast(void **state)
{
	set_up(state);
	if (access("/dev/shm", W_OK) == 0)
		snprintf(folder, sizeof(folder), "/dev/shm/valet-test-store-%d", (int)getpid());
	empty_folder();
	return 0;
}

#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up_fast, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_first_page), TEST(test_sums), TEST(test_keys), TEST(test_whole_file), TEST(test_changed_rows), TEST(test_requests), TEST(test_both),
		TEST(test_older_copy), TEST(test_lost_wal), TEST(test_changed_schema), TEST(test_journal), TEST(test_twice), TEST(test_kills), TEST(test_anywhere), TEST(test_plan_refuses),
	};
	buf_init(&why, 65536);
	if (!civil_set_zone("UTC", &why))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	rebuild_report_release(&report);
	return failed;
}
