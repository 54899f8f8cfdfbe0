/* test_feed.c - records of the journal are applied to the database exactly once, whatever breaks.
 *
 * With the argument "speed" it measures how fast instead.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

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

static void copy_file(const char *from, const char *to)
{
	static char bytes[1 << 20];
	int in = open(path_of(from), O_RDONLY);
	ssize_t n = read(in, bytes, sizeof(bytes));
	close(in);
	assert_in_range(n, 1, sizeof(bytes) - 1);
	put_bytes(to, 0, bytes, (size_t)n, 0);
}

/* The power failed, and what was committed to a month had not reached the disk, but what was committed to valet.db had. */
static void test_month_lost_its_end(void **state)
{
	struct journal *j = open_journal(2);
	struct record_settle r = settle_at(NOV);
	for (int round = 0; round < 2; round++) {
		struct store *s = open_store();
		for (unsigned i = 0; i < 10; i++)
			add_settle(j, i % 2, &r);
		feed_all(s, j, 7);
		store_close(s);
		if (round == 0)
			copy_file("requests-2026-11.db", "copy");
	}
	copy_file("copy", "requests-2026-11.db");
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests"), 10);
	struct store *s = open_store();
	feed_all(s, j, 7);
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests"), 20);
	assert_int_equal(total(s, 0).requests, 20);
	balanced(s);
	store_close(s);
	journal_close(j);
}

/* As feed_ahead(), but of valet.db it is what was there before that reaches the disk. */
static void feed_month_ahead(void)
{
	struct store *s = open_store();
	store_close(s);
	copy_file("valet.db", "copy");
	feed_ahead();
}

/* The power failed, and the month is ahead of both the journal and valet.db: rows of sequences that are given again count all the same. */
static void test_month_is_ahead(void **state)
{
	struct journal_io io = {.boot = other_boot};
	struct record_settle r = settle_at(NOV);
	pid_t child = fork();
	if (child == 0)
		feed_month_ahead();
	assert_int_equal(waitpid(child, &(int){0}, 0), child);
	lose_tail();
	unlink(path_of("valet.db-wal"));
	copy_file("copy", "valet.db");
	struct journal *j = open_journal_with(1, 0, &io);
	struct store *s = open_store();
	feed_all(s, j, 100);
	assert_int_equal(total(s, 0).requests, 7);
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests"), 10);
	for (uint64_t seq = 8; seq <= 15; seq++)
		assert_int_equal(add_settle(j, 0, &r), seq);
	feed_all(s, j, 100);
	assert_int_equal(total(s, 0).requests, 15);
	assert_int_equal(number("requests-2026-11.db", "SELECT count(*) FROM requests"), 18);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sums), TEST(test_extreme_numbers), TEST(test_many_months), TEST(test_deleted_month), TEST(test_check_finds_a_missing_row),
		TEST(test_broken_at_each_commit), TEST(test_locked), TEST(test_open_begins_hold_the_journal), TEST(test_old_begins_are_written_down),
		TEST(test_settled_in_another_lane), TEST(test_journal_lost_its_end), TEST(test_month_lost_its_end), TEST(test_month_is_ahead), TEST(test_database_is_older_than_the_journal),
		TEST(test_new_journal), TEST(test_unknown_record),
	};
	buf_init(&why, 65536);
	if (!civil_set_zone("UTC", &why))
		return 1;
	if (argc > 1 && strcmp(argv[1], "speed") == 0) {
		speed();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
