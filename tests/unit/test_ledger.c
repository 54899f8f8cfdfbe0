/* test_ledger.c - the ledger: what a process said it had settled is in the books once and only once, however that process or its machine ended.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/ledger_parts.h"

#include "base/civil.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/table.h"
#include "store/store_parts.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LANES  2
#define ROUNDS 10

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

/* ---- what the ledger tells and asks ---- */

static struct {
	_Atomic int leases_left, synced, not_synced, troubles;
	struct record_lease lease;
	char sentences[8][700];
} told;

static size_t wanted(void *user, struct record_lease *out, size_t max)
{
	if (atomic_load(&told.leases_left) == 0)
		return 0;
	atomic_fetch_sub(&told.leases_left, 1);
	out[0] = told.lease;
	return 1;
}

static void synced(void *user, bool fine)
{
	atomic_fetch_add(fine ? &told.synced : &told.not_synced, 1);
}

static void trouble(void *user, const char *sentence)
{
	int n = atomic_load(&told.troubles);
	if (n < 8)
		snprintf(told.sentences[n], sizeof(told.sentences[n]), "%s", sentence);
	atomic_store(&told.troubles, n + 1);
}

static int set_up(void **state)
{
	const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* hundreds of starts: not on a disk where that can be */
	snprintf(folder, sizeof(folder), "%s/valet-test-ledger-%d", where, (int)getpid());
	empty_folder();
	buf_init(&why, 65536);
	memset(&told, 0, sizeof(told));
	return 0;
}

static int tear_down(void **state)
{
	empty_folder();
	buf_release(&why);
	return 0;
}

/* ---- opening ---- */

static struct ledger *try_open(unsigned workers, const struct journal_io *io)
{
	struct ledger_options o = {
		.folder = folder, .workers = workers, .leases_wanted = wanted, .leases_synced = synced, .trouble = trouble, .io = io,
	};
	buf_clear(&why);
	return ledger_open(&o, &why);
}

static struct ledger *open_with(unsigned workers, const struct journal_io *io)
{
	struct ledger *l = try_open(workers, io);
	if (!l)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	return l;
}

static struct ledger *open_ledger(void)
{
	return open_with(LANES, NULL);
}

static void close_ledger(struct ledger *l)
{
	ledger_stop(l, 5000);
	ledger_free(l);
}

static void add_up(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	usage_add(user, sum);
}

static struct usage_sum total(struct store *s)
{
	struct usage_sum sum = {0};
	assert_true(store_sums(s, 0, add_up, &sum));
	return sum;
}

static void balanced(struct store *s)
{
	buf_clear(&why);
	if (!store_check(s, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
}

/* ---- requests ---- */

static uint64_t append(struct lane *lane, uint8_t type, const void *bytes, size_t len)
{
	uint64_t seq = 0;
	for (int i = 0; i < 20000 && !seq; i++) {
		seq = lane_append(lane, type, bytes, len);
		if (!seq)
			usleep(100);
	}
	return seq;
}

static void set_id(char id[RECORD_ID], unsigned round, unsigned lane, unsigned number)
{
	char text[64];
	snprintf(text, sizeof(text), "r%06u.l%04u.n%09u", round, lane, number);
	memcpy(id, text, RECORD_ID);
}

static uint64_t begin(struct lane *lane, unsigned round, unsigned number_of_lane, unsigned number)
{
	char bytes[RECORD_MAX];
	struct record_begin b = {
		.began_us = clock_wall_us(), .hold_tokens = 100, .hold_nanos = 7000, .input_tokens = 30, .key = 1, .model = STR("qwen"),
		.target = STR("gpu"), .op = STR("chat"),
	};
	set_id(b.id, round, number_of_lane, number);
	return append(lane, RECORD_BEGIN, bytes, record_put_begin(bytes, &b));
}

static uint64_t settle(struct lane *lane, uint64_t begun, unsigned round, unsigned number_of_lane, unsigned number)
{
	char bytes[RECORD_MAX];
	struct record_settle s = {
		.begin = begun, .began_us = clock_wall_us(), .ended_us = clock_wall_us(), .input = 10, .output = 20, .cost = 1000, .key = 1, .status = 200,
		.source = SOURCE_UPSTREAM, .attempts = 1, .model = STR("qwen"), .target = STR("gpu"), .op = STR("chat"),
	};
	set_id(s.id, round, number_of_lane, number);
	return append(lane, RECORD_SETTLE, bytes, record_put_settle(bytes, &s));
}

static void request(struct ledger *l, unsigned lane, unsigned number)
{
	uint64_t begun = begin(ledger_lane(l, lane), 0, lane, number);
	assert_true(begun && settle(ledger_lane(l, lane), begun, 0, lane, number));
	ledger_appended(l);
}

/* ---- running ---- */

static void take_requests(struct store *s, void *user)
{
	*(int64_t *)user = total(s).requests;
}

static void test_calls_see_what_was_settled(void **state)
{
	struct ledger *l = open_ledger();
	int64_t seen = -1;
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_CLEAN);
	assert_false(ledger_call(l, take_requests, &seen));
	assert_true(ledger_start(l));
	for (int i = 1; i <= 30; i++) {
		request(l, (unsigned)i % LANES, (unsigned)i);
		assert_true(ledger_call(l, take_requests, &seen));
		assert_int_equal(seen, i);
	}
	struct ledger_status status;
	ledger_look(l, &status);
	assert_int_equal(status.unapplied, 0);
	assert_int_equal(status.applied, 60);
	assert_int_equal(status.feed_failures + status.sync_failures, 0);
	assert_false(status.journal_failed || status.store_failing);
	request(l, 0, 31);
	ledger_stop(l, 5000);
	assert_false(ledger_call(l, take_requests, &seen));
	assert_int_equal(total(ledger_store(l)).requests, 31);
	balanced(ledger_store(l));
	ledger_free(l);
	l = open_ledger();
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_CLEAN);
	assert_int_equal(ledger_recovered(l)->orphans + ledger_recovered(l)->applied, 0);
	assert_true(ledger_newest_us(l) > clock_wall_us() - 60000000);
	close_ledger(l);
	assert_int_equal(atomic_load(&told.troubles), 0);
}

struct worker {
	struct ledger *l;
	pthread_t thread;
	unsigned number;
	bool calls;
};

static void *work(void *user)
{
	struct worker *w = user;
	int64_t seen, before = 0;
	for (unsigned i = 0; i < (w->calls ? 30 : 3000); i++) {
		if (!w->calls) {
			request(w->l, w->number, i);
			if (i % 100 == 0)
				ledger_wake(w->l);
		} else if (!ledger_call(w->l, take_requests, &seen) || seen < before) {
			return w;
		} else {
			before = seen;
		}
	}
	return NULL;
}

/* Workers settle, others call and look, and one stops it all. */
static void test_many_threads(void **state)
{
	struct ledger *l = open_ledger();
	struct worker w[4] = {{.l = l}, {.l = l, .number = 1}, {.l = l, .calls = true}, {.l = l, .calls = true}};
	told.lease = (struct record_lease){.leased = 1, .key = 1, .period = PERIOD_TOTAL, .pattern = STR("x")};
	atomic_store(&told.leases_left, 50);
	assert_true(ledger_start(l));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	struct ledger_status status;
	for (int i = 0; i < 4; i++) {
		void *failed;
		ledger_look(l, &status);
		pthread_join(w[i].thread, &failed);
		assert_null(failed);
	}
	ledger_stop(l, 20000);
	assert_int_equal(total(ledger_store(l)).requests, 6000);
	assert_int_equal(atomic_load(&told.synced), 50 - atomic_load(&told.leases_left));
	assert_true(atomic_load(&told.synced) > 0);
	balanced(ledger_store(l));
	ledger_free(l);
}

static void test_leases_are_synced_when_woken(void **state)
{
	struct ledger *l = open_ledger();
	told.lease = (struct record_lease){.leased = 5000, .key = 1, .period = PERIOD_TOTAL};
	assert_true(ledger_start(l));
	usleep(400000); /* by now it dozes */
	int64_t from = clock_mono_us();
	atomic_store(&told.leases_left, 1);
	ledger_wake(l);
	while (atomic_load(&told.synced) == 0 && clock_mono_us() < from + 5000000)
		usleep(200);
	assert_int_equal(atomic_load(&told.synced), 1);
	close_ledger(l);
}

static void test_idle_costs_nothing(void **state)
{
	struct ledger *l = open_ledger();
	struct timespec before, after;
	assert_true(ledger_start(l));
	request(l, 0, 1);
	usleep(1500000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	usleep(1000000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	int64_t us = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
	print_message("idle: %lld us of CPU a second\n", (long long)us);
	assert_in_range(us, 0, 20000);
	close_ledger(l);
}

/* ---- the lock ---- */

static void test_second_process_is_refused(void **state)
{
	int ready[2];
	char c, expected[64];
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		struct ledger *l = open_ledger();
		assert_true(write(ready[1], "x", 1) == 1 && l);
		pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_null(try_open(LANES, NULL));
	buf_addc(&why, '\0');
	snprintf(expected, sizeof(expected), "is in use by process %d", (int)child);
	assert_non_null(strstr(why.ptr, expected));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	close_ledger(open_ledger());
}

/* ---- a process that dies ---- */

static void in_child(void (*run)(void *user), void *user)
{
	pid_t child = fork();
	if (child == 0) {
		run(user);
		kill(getpid(), SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void leave_orphans(void *user)
{
	struct ledger *l = open_with(4, NULL);
	assert_true(ledger_start(l));
	for (unsigned lane = 0; lane < 4; lane++)
		for (unsigned i = 0; i < 10; i++) {
			uint64_t begun = begin(ledger_lane(l, lane), 0, lane, i);
			if (i % 2)
				settle(ledger_lane(l, lane), begun, 0, lane, i);
		}
	if (user) {
		int64_t seen;
		ledger_call(l, take_requests, &seen);
	}
}

static void has_orphans(struct store *s)
{
	struct usage_sum sum = total(s);
	assert_int_equal(sum.requests, 40);
	assert_int_equal(sum.orphans, 20);
	assert_int_equal(sum.by_source[SOURCE_ESTIMATED], 20);
	assert_int_equal(sum.input, 20 * 10 + 20 * 30);
	assert_int_equal(sum.output, 20 * 20 + 20 * 70);
	assert_int_equal(sum.cost, 20 * 1000 + 20 * 7000);
	balanced(s);
}

static void test_orphans(void **state)
{
	for (int fed = 0; fed < 2; fed++) {
		in_child(leave_orphans, fed ? &fed : NULL);
		struct ledger *l = open_with(1, NULL); /* with fewer workers than before */
		assert_int_equal(ledger_recovered(l)->state, JOURNAL_CRASHED);
		assert_int_equal(ledger_recovered(l)->orphans, 20);
		has_orphans(ledger_store(l));
		close_ledger(l);
		l = open_with(4, NULL);
		assert_int_equal(ledger_recovered(l)->orphans, 0);
		has_orphans(ledger_store(l));
		close_ledger(l);
		empty_folder();
	}
}

/* ---- a recovery that dies ---- */

static int syncs_left, all_syncs_left = -1;

/* In the place of the system's, for SQLite as well. */
static int sync_of(int fd, long call)
{
	if (all_syncs_left >= 0 && all_syncs_left-- == 0)
		kill(getpid(), SIGKILL);
	return (int)syscall(call, fd);
}

int fsync(int fd)
{
	return sync_of(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_of(fd, SYS_fdatasync);
}

static int sync_or_die(int fd)
{
	if (syncs_left-- == 0)
		kill(getpid(), SIGKILL);
	return fdatasync(fd);
}

static const char *second_boot(void)
{
	return "the second boot";
}

static const char *first_boot(void)
{
	return "the first boot";
}

static void die_in_recovery(void *user)
{
	struct journal_io io = user ? *(const struct journal_io *)user : (struct journal_io){0};
	io.sync = sync_or_die;
	struct ledger *l = open_with(4, &io);
	_exit(l ? 0 : 1);
}

/* Ends where opening needs fewer syncs than that. Returns false then. */
static bool die_at(int syncs, void *user)
{
	int status;
	pid_t child = fork();
	syncs_left = syncs;
	if (child == 0)
		die_in_recovery(user);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

static void test_recovery_that_dies(void **state)
{
	bool died = true;
	for (int syncs = 0; died && syncs < 40; syncs++) {
		in_child(leave_orphans, NULL);
		died = die_at(syncs, NULL);
		die_at(syncs / 2, NULL);
		struct ledger *l = open_with(4, NULL);
		has_orphans(ledger_store(l));
		close_ledger(l);
		empty_folder();
	}
	assert_false(died);
}

/* Of 8 requests that were not settled nothing had been sent of 4 when the process died. */
static void leave_waiting(void *user)
{
	struct journal_io io = {.boot = first_boot};
	struct ledger *l = open_with(2, &io);
	for (unsigned lane = 0; lane < 2; lane++)
		for (unsigned i = 0; i < 4; i++) {
			uint64_t begun = begin(ledger_lane(l, lane), 0, lane, i);
			if (i < 3)
				lane_waits(ledger_lane(l, lane), begun);
			if (i == 1)
				lane_sent(ledger_lane(l, lane), begun);
		}
}

static void charged(struct ledger *l, int64_t sent, int64_t waited)
{
	struct usage_sum sum = total(ledger_store(l));
	assert_int_equal(sum.requests, sent + waited);
	assert_int_equal(sum.orphans, sent + waited);
	assert_int_equal(sum.by_source[SOURCE_NONE], waited);
	assert_int_equal(sum.input, sent * 30);
	assert_int_equal(sum.output, sent * 70);
	assert_int_equal(sum.cost, sent * 7000);
	balanced(ledger_store(l));
}

static void test_what_was_not_sent_costs_nothing(void **state)
{
	struct journal_io same = {.boot = first_boot}, other = {.boot = second_boot};
	for (int syncs = 0; syncs < 20; syncs += 2) { /* whatever breaks the recovery off, the next one knows it again */
		in_child(leave_waiting, NULL);
		die_at(syncs, &same);
		struct ledger *l = open_with(1, &same);
		charged(l, 4, 4);
		uint64_t begun = begin(ledger_lane(l, 0), 1, 0, 0);
		assert_true(begun);
		assert_false(journal_waited(l->journal, 1, begun));
		for (uint64_t seq = 1; seq < 20; seq++)
			assert_false(journal_waited(l->journal, 1, seq) || journal_waited(l->journal, 2, seq));
		close_ledger(l);
		empty_folder();
	}
	in_child(leave_waiting, NULL);
	struct ledger *l = open_with(2, &other); /* after a power loss nothing is known of it */
	charged(l, 8, 0);
	close_ledger(l);
}

/* Two that share a place: of the first it is not known any more that it waited. */
static void leave_crossed(void *user)
{
	struct ledger *l = open_with(1, NULL);
	struct lane *lane = ledger_lane(l, 0);
	uint64_t first = begin(lane, 0, 0, 0);
	lane_waits(lane, first);
	struct record_lease filler = {.key = 1};
	char bytes[RECORD_MAX];
	for (int i = 1; i < 4088; i++)
		append(lane, RECORD_LEASE, bytes, record_put_lease(bytes, &filler));
	uint64_t second = begin(lane, 0, 0, 1);
	assert_int_equal(second, first + 4088);
	lane_waits(lane, second);
	lane_sent(lane, first); /* not the second's place any more */
}

static void test_waits_that_share_a_place(void **state)
{
	in_child(leave_crossed, NULL);
	struct ledger *l = open_ledger();
	struct usage_sum sum = total(ledger_store(l));
	assert_int_equal(sum.orphans, 2);
	assert_int_equal(sum.by_source[SOURCE_NONE], 1);
	close_ledger(l);
}

/* ---- a machine that dies ---- */

static void add_lease(struct ledger *l, uint32_t key, struct str pattern, uint8_t unit, enum period period, int64_t leased)
{
	int before = atomic_load(&told.synced);
	told.lease = (struct record_lease){.leased = leased, .key = key, .unit = unit, .period = (uint8_t)period, .pattern = pattern,
					   .window_s = civil_window(period, clock_wall_us() / 1000000).from_s};
	atomic_store(&told.leases_left, 1);
	while (atomic_load(&told.synced) == before) {
		ledger_wake(l);
		usleep(100);
	}
}

/* 4 requests of 30 tokens and 1000 nano-dollars each; leases: 500 tokens for the key's day, 900 for its month, 400 for its use of q*, 2000 for the gateway,
 * 6000 nano-dollars for the key, 100 tokens for another key, and one of a window that is over. */
static void leave_leases(void *user)
{
	struct journal_io io = {.boot = first_boot};
	struct ledger *l = open_with(4, &io);
	assert_true(ledger_start(l));
	for (unsigned i = 0; i < 4; i++)
		request(l, i, i);
	add_lease(l, 1, STR_NONE, 0, PERIOD_DAY, 500);
	add_lease(l, 1, STR_NONE, 0, PERIOD_MONTH, 900);
	add_lease(l, 1, STR("q*"), 0, PERIOD_DAY, 400);
	add_lease(l, 0, STR_NONE, 0, PERIOD_TOTAL, 2000);
	add_lease(l, 1, STR_NONE, 1, PERIOD_WEEK, 6000);
	add_lease(l, 2, STR_NONE, 0, PERIOD_TOTAL, 100);
	told.lease.window_s = 86400;
	told.lease.period = PERIOD_DAY;
	told.lease.leased = 77777;
	int before = atomic_load(&told.synced);
	atomic_store(&told.leases_left, 1);
	ledger_wake(l);
	while (atomic_load(&told.synced) == before)
		usleep(100);
	int64_t seen;
	if (user)
		ledger_call(l, take_requests, &seen);
}

struct by_key {
	int64_t tokens[3], nanos[3], narrow;
};

static void take_by_key(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	struct by_key *b = user;
	assert_true(key < 3);
	b->tokens[key] += sum->input + sum->output;
	b->nanos[key] += sum->cost;
	if (key == 1 && str_glob(STR("q*"), model))
		b->narrow += sum->input + sum->output;
}

static void charged_once(struct store *s)
{
	struct by_key b = {0};
	assert_true(store_sums(s, 0, take_by_key, &b));
	assert_int_equal(b.narrow, 400);
	assert_int_equal(b.tokens[1], 900);
	assert_int_equal(b.nanos[1], 6000);
	assert_int_equal(b.tokens[2], 100);
	assert_int_equal(b.tokens[0] + b.tokens[1] + b.tokens[2], 2000);
	assert_int_equal(total(s).requests, 4);
	balanced(s);
}

static void test_power_loss(void **state)
{
	struct journal_io io = {.boot = second_boot};
	in_child(leave_leases, NULL);
	struct ledger *l = open_with(4, &io);
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_LOST);
	assert_int_equal(ledger_recovered(l)->leases, 6);
	charged_once(ledger_store(l));
	close_ledger(l);
	l = open_with(4, &io);
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_CLEAN);
	charged_once(ledger_store(l));
	close_ledger(l);
	l = open_with(4, NULL); /* a third boot, after a clean end */
	assert_int_equal(ledger_recovered(l)->leases, 0);
	charged_once(ledger_store(l));
	close_ledger(l);
}

static void test_process_death_charges_no_leases(void **state)
{
	struct journal_io io = {.boot = first_boot};
	in_child(leave_leases, NULL);
	struct ledger *l = open_with(4, &io);
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_CRASHED);
	assert_int_equal(ledger_recovered(l)->leases, 0);
	assert_int_equal(total(ledger_store(l)).output, 80);
	close_ledger(l);
}

/* The machine was started anew, lanes have new files, what stood in the old ones is dropped, and not every lane was written to since. */
static void idle_after_reboot(void *user)
{
	struct journal_io first = {.boot = first_boot}, second = {.boot = second_boot};
	struct ledger *l = open_with(4, &first);
	assert_true(ledger_start(l));
	for (unsigned i = 0; i < 4; i++)
		request(l, i, i);
	close_ledger(l);
	l = open_with(4, &second);
	assert_true(ledger_start(l));
	add_lease(l, 1, STR_NONE, 0, PERIOD_DAY, 500);
	request(l, 2, 9);
	usleep(50000); /* a few syncs: the old files are gone */
}

static void test_idle_lanes_lose_nothing(void **state)
{
	struct journal_io io = {.boot = second_boot};
	in_child(idle_after_reboot, NULL);
	struct ledger *l = open_with(4, &io);
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_CRASHED);
	assert_int_equal(ledger_recovered(l)->leases, 0);
	assert_int_equal(total(ledger_store(l)).output, 5 * 20);
	close_ledger(l);
}

/* A start that is refused, here by a database that takes no facts, changes nothing about how the last run ended. */
static void test_refused_start_charges_no_leases(void **state)
{
	struct journal_io io = {.boot = first_boot};
	char path[100];
	in_child(leave_leases, NULL);
	snprintf(path, sizeof(path), "%s/valet.db", folder);
	struct db *other = db_open(path, false, &why);
	assert_true(db_run(other, "CREATE TRIGGER no BEFORE INSERT ON facts BEGIN SELECT RAISE(FAIL, 'no'); END"));
	assert_null(try_open(4, &io));
	assert_true(db_run(other, "DROP TRIGGER no"));
	db_close(other);
	struct ledger *l = open_with(4, &io);
	assert_int_equal(ledger_recovered(l)->state, JOURNAL_CRASHED);
	assert_int_equal(ledger_recovered(l)->leases, 0);
	close_ledger(l);
}

static void remove_lane(const char *lane)
{
	char journal[100], name[700];
	snprintf(journal, sizeof(journal), "%s/journal", folder);
	DIR *dir = opendir(journal);
	for (struct dirent *e; dir && (e = readdir(dir));)
		if (strncmp(e->d_name, lane, strlen(lane)) == 0) {
			snprintf(name, sizeof(name), "%s/%s", journal, e->d_name);
			unlink(name);
		}
	if (dir)
		closedir(dir);
}

/* A lane is gone, and the recovery that sees it is killed: the next one does not see it any more, and charges leases all the same. */
static void test_lost_lane_and_recovery_that_dies(void **state)
{
	struct journal_io io = {.boot = first_boot};
	bool died = true;
	for (int syncs = 0; died && syncs < 80; syncs += 2) {
		bool fed = true;
		in_child(leave_leases, &fed);
		remove_lane("lane-03");
		all_syncs_left = syncs;
		died = die_at(INT_MAX, &io);
		all_syncs_left = -1;
		struct ledger *l = open_with(4, &io);
		charged_once(ledger_store(l));
		close_ledger(l);
		empty_folder();
	}
	assert_false(died);
}

/* After a power loss the recovery is killed; the next start must not take it for a mere death of the process. */
static void test_power_loss_and_recovery_that_dies(void **state)
{
	struct journal_io io = {.boot = second_boot};
	bool died = true;
	for (int syncs = 0; died && syncs < 40; syncs++) {
		in_child(leave_leases, NULL);
		died = die_at(syncs, &io);
		struct ledger *l = open_with(4, &io);
		charged_once(ledger_store(l));
		close_ledger(l);
		empty_folder();
	}
	assert_false(died);
}

/* ---- a database that says no, a disk that says no ---- */

static void test_locked_database(void **state)
{
	char path[100];
	struct ledger *l = open_ledger();
	struct ledger_status status = {0};
	snprintf(path, sizeof(path), "%s/valet.db", folder);
	assert_true(ledger_start(l));
	struct db *other = db_open(path, false, &why);
	assert_true(db_begin(other, false));
	for (unsigned i = 0; i < 1000; i++)
		request(l, i % LANES, i);
	for (int i = 0; i < 1000 && !status.store_failing; i++, usleep(10000))
		ledger_look(l, &status);
	assert_true(status.store_failing && status.feed_failures > 0);
	assert_int_equal(status.unapplied, 2000);
	assert_int_equal(atomic_load(&told.troubles), 1);
	assert_non_null(strstr(told.sentences[0], "locked by another program"));
	db_close(other);
	for (int i = 0; i < 2000 && status.unapplied > 0; i++, usleep(10000))
		ledger_look(l, &status);
	ledger_stop(l, 5000);
	assert_int_equal(atomic_load(&told.troubles), 2);
	assert_non_null(strstr(told.sentences[1], "again"));
	assert_int_equal(total(ledger_store(l)).requests, 1000);
	balanced(ledger_store(l));
	ledger_free(l);
}

static _Atomic bool disk_broken;

static int broken_sync(int fd)
{
	if (!atomic_load(&disk_broken))
		return fdatasync(fd);
	errno = EIO;
	return -1;
}

static void test_broken_disk(void **state)
{
	struct journal_io io = {.sync = broken_sync};
	struct ledger *l = open_with(LANES, &io);
	assert_true(ledger_start(l));
	request(l, 0, 1);
	atomic_store(&disk_broken, true);
	told.lease = (struct record_lease){.leased = 5000, .key = 1};
	atomic_store(&told.leases_left, 1);
	for (int i = 0; i < 1000 && atomic_load(&told.not_synced) == 0; i++, usleep(5000))
		ledger_wake(l);
	assert_int_equal(atomic_load(&told.not_synced), 1);
	assert_int_equal(atomic_load(&told.synced), 0);
	assert_true(atomic_load(&told.troubles) >= 1);
	assert_non_null(strstr(told.sentences[0], "journal cannot be written"));
	struct ledger_status status;
	ledger_look(l, &status);
	assert_true(status.journal_failed);
	atomic_store(&disk_broken, false);
	close_ledger(l);
	l = open_ledger();
	assert_int_equal(total(ledger_store(l)).requests, 1);
	close_ledger(l);
}

/* ---- killed at random ---- */

/* What the child says, in memory that it shares with the test: after an append, before the next. */
struct said {
	_Atomic unsigned begun[LANES], settled[LANES];
	_Atomic unsigned opened;
};

struct busy {
	struct ledger *l;
	struct said *said;
	unsigned round, lane;
	pthread_t thread;
};

static void *be_busy(void *user)
{
	struct busy *b = user;
	struct lane *lane = ledger_lane(b->l, b->lane);
	for (unsigned i = 1;; i++) {
		uint64_t begun = begin(lane, b->round, b->lane, i);
		if (!begun)
			return NULL;
		atomic_store(&b->said->begun[b->lane], i);
		if (!settle(lane, begun, b->round, b->lane, i))
			return NULL;
		atomic_store(&b->said->settled[b->lane], i);
		if (i % 16 == 0)
			usleep(500);
	}
}

static void run_until_killed(struct said *said, unsigned round)
{
	struct ledger *l = open_ledger();
	struct busy busy[LANES];
	ledger_start(l);
	atomic_store(&said->opened, 1);
	for (unsigned i = 0; i < LANES; i++) {
		busy[i] = (struct busy){.l = l, .said = said, .round = round, .lane = i};
		pthread_create(&busy[i].thread, NULL, be_busy, &busy[i]);
	}
	for (;;)
		pause();
}

struct ids {
	struct arena texts;
	struct table table;
	size_t count;
};

static bool take_id(void *user, const struct db_row *row)
{
	struct ids *ids = user;
	struct str id = arena_dup(&ids->texts, db_row_bytes(row, 0));
	ids->count++;
	static char orphan[] = "orphan", settled[] = "settled";
	return table_put(&ids->table, id, db_row_int(row, 1) & FLAG_ORPHAN ? orphan : settled) == NULL; /* false: it is there twice */
}

static void read_ids(struct ids *ids)
{
	int64_t *months;
	char name[MONTH_NAME], path[200];
	size_t count = months_list(folder, &months);
	for (size_t i = 0; i < count; i++) {
		month_name(name, months[i]);
		snprintf(path, sizeof(path), "%s/%s", folder, name);
		struct db *d = db_open(path, false, &why);
		assert_non_null(d);
		assert_true(db_exec(d, "SELECT id, flags FROM requests", NULL, 0, take_id, ids));
		db_close(d);
	}
	free(months);
}

static void check_said(const struct said *said, unsigned round)
{
	struct ids ids = {0};
	char id[4 + RECORD_ID] = "req_";
	arena_init(&ids.texts, 4096);
	table_init(&ids.table, 1024);
	read_ids(&ids);
	for (unsigned lane = 0; lane < LANES; lane++)
		for (unsigned i = 1; i <= atomic_load(&said->begun[lane]); i++) {
			set_id(id + 4, round, lane, i);
			const char *what = table_get(&ids.table, str_of(id, sizeof(id)));
			if (!what || (i <= atomic_load(&said->settled[lane]) && strcmp(what, "settled") != 0))
				fail_msg("%.*s is %s", (int)sizeof(id), id, what ? what : "missing");
		}
	table_release(&ids.table);
	arena_release(&ids.texts);
}

static void test_killed_at_random(void **state)
{
	struct said *said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint16_t random;
	int64_t slowest_us = 0, rows = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		memset(said, 0, sizeof(*said));
		pid_t child = fork();
		if (child == 0)
			run_until_killed(said, round);
		while (!atomic_load(&said->opened))
			usleep(1000);
		random_bytes(&random, sizeof(random));
		usleep(random % 8 == 0 ? random / 64U : random * 4U); /* up to a quarter of a second */
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		struct ledger *l = open_ledger();
		assert_int_equal(ledger_recovered(l)->state, JOURNAL_CRASHED);
		assert_in_range(ledger_recovered(l)->orphans, 0, LANES);
		if (slowest_us < ledger_recovered(l)->micros)
			slowest_us = ledger_recovered(l)->micros;
		balanced(ledger_store(l));
		rows = total(ledger_store(l)).requests;
		close_ledger(l);
		check_said(said, round);
	}
	print_message("%lld requests in %d rounds; the slowest recovery took %lld us\n", (long long)rows, ROUNDS, (long long)slowest_us);
	munmap(said, sizeof(*said));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_calls_see_what_was_settled), TEST(test_many_threads), TEST(test_leases_are_synced_when_woken), TEST(test_idle_costs_nothing),
		TEST(test_second_process_is_refused), TEST(test_orphans), TEST(test_recovery_that_dies), TEST(test_what_was_not_sent_costs_nothing),
		TEST(test_waits_that_share_a_place), TEST(test_power_loss),
		TEST(test_process_death_charges_no_leases), TEST(test_idle_lanes_lose_nothing), TEST(test_refused_start_charges_no_leases),
		TEST(test_lost_lane_and_recovery_that_dies), TEST(test_power_loss_and_recovery_that_dies), TEST(test_locked_database),
		TEST(test_broken_disk), TEST(test_killed_at_random),
	};
	buf_init(&why, 65536);
	if (!civil_set_zone("UTC", &why))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
