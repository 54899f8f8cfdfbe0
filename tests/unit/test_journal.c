/* test_journal.c - the journal: what was appended is there again, whatever ended the process or failed under it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define SMALL        16384 /* bytes of a segment here */

static char folder[64];
static struct buf why;

/* ---- the folder ---- */

static void empty_folder(void)
{
	DIR *dir = opendir(folder);
	char path[512];
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir));) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		unlink(path);
	}
	closedir(dir);
	rmdir(folder);
}

static size_t folder_bytes(const char *prefix, unsigned *files)
{
	DIR *dir = opendir(folder);
	size_t bytes = 0;
	char path[512];
	struct stat st;
	*files = 0;
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || !strstr(entry->d_name, ".vj") || stat(path, &st) != 0)
			continue;
		bytes += (size_t)st.st_size;
		++*files;
	}
	closedir(dir);
	return bytes;
}

static int set_up(void **state)
{
	const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of files: not on a disk where that can be */
	snprintf(folder, sizeof(folder), "%s/valet-test-journal-%d", where, (int)getpid());
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

/* ---- system calls ---- */

static const char *boot_now = "boot-a";

static const char *fake_boot(void)
{
	return boot_now;
}

static int no_sync(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

/* Nothing here loses power: syncs need not reach the disk. */
static const struct journal_io quick = {.sync = no_sync, .sync_folder = no_sync, .boot = fake_boot};

static struct journal *open_io(const struct journal_io *io, unsigned lanes, size_t max)
{
	buf_clear(&why);
	return journal_open(&(struct journal_options){folder, lanes, SMALL, max, io}, &why);
}

static struct journal *open_lanes(unsigned lanes)
{
	struct journal *j = open_io(&quick, lanes, 1 << 20);
	if (!j)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	return j;
}

/* What the death of the process leaves: files and what was stored into them, nothing synced and nothing marked as closed. */
static void die(struct journal *j)
{
	journal_free(j);
}

/* ---- records whose bytes follow from lane and sequence ---- */

static size_t make(unsigned lane, uint64_t seq, char *out)
{
	size_t len = (size_t)((seq * 2654435761u + lane * 97) % 300);
	for (size_t i = 0; i < len; i++)
		out[i] = (char)(seq * 31 + i * 7 + lane);
	return len;
}

static uint64_t append(struct journal *j, unsigned lane, uint64_t seq)
{
	char bytes[300];
	size_t len = make(lane, seq, bytes);
	uint64_t got = lane_append(journal_lane(j, lane), (uint8_t)(seq % 7 + 1), bytes, len);
	if (got)
		assert_int_equal(got, seq);
	return got;
}

static void append_many(struct journal *j, unsigned lane, uint64_t from, uint64_t to)
{
	for (uint64_t seq = from; seq <= to; seq++) {
		if (!append(j, lane, seq)) {
			assert_true(journal_sync(j));
			assert_int_equal(append(j, lane, seq), seq);
		}
	}
}

struct expecting {
	unsigned lane;
	uint64_t next;
	uint64_t stop; /* 0: never */
};

static bool expect(void *user, const struct journal_record *r)
{
	struct expecting *e = user;
	char bytes[300];
	size_t len = make(e->lane, r->seq, bytes);
	assert_int_equal(r->lane, e->lane);
	assert_int_equal(r->seq, e->next);
	assert_int_equal(r->type, r->seq % 7 + 1);
	assert_int_equal(r->payload.len, len);
	if (len)
		assert_memory_equal(r->payload.ptr, bytes, len);
	e->next++;
	return e->next != e->stop;
}

static void expect_range(struct journal *j, unsigned lane, uint64_t from, uint64_t to)
{
	struct expecting e = {.lane = lane, .next = from};
	assert_int_equal(journal_read(j, lane, from - 1, expect, &e), to);
	assert_int_equal(e.next, to + 1);
}

static void expect_verified(bool fine)
{
	buf_clear(&why);
	if (journal_verify(folder, &why) != fine)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
}

static void lane_file(unsigned lane, unsigned number, char out[128])
{
	snprintf(out, 128, "%s/lane-%02u-%012u.vj", folder, lane, number);
}

static void flip(const char *path, size_t byte, unsigned bit)
{
	unsigned char c;
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, (off_t)byte), 1);
	c ^= (unsigned char)(1u << bit);
	assert_int_equal(pwrite(fd, &c, 1, (off_t)byte), 1);
	close(fd);
}

/* ---- the plain life ---- */

static void test_clean(void **state)
{
	struct journal *j = open_lanes(3);
	uint64_t oldest, newest;
	assert_int_equal(journal_state(j), JOURNAL_CLEAN);
	assert_int_equal(journal_lane_count(j), 3);
	journal_range(j, 1, &oldest, &newest);
	assert_true(oldest == 0 && newest == 0);
	assert_int_equal(journal_read(j, 1, 0, expect, NULL), 0);
	append_many(j, 0, 1, 20);
	append_many(j, 2, 1, 300);
	assert_true(journal_dirty(j));
	assert_true(journal_sync(j));
	assert_true(journal_sync(j));
	assert_false(journal_dirty(j));
	expect_range(j, 2, 1, 300);
	expect_range(j, 2, 250, 300);
	expect_range(j, 2, 30, 300);
	struct expecting e = {.lane = 2, .next = 1, .stop = 11};
	assert_int_equal(journal_read(j, 2, 0, expect, &e), 10);
	e.stop = 0;
	assert_int_equal(journal_read(j, 2, 10, expect, &e), 300);
	journal_close(j);
	expect_verified(true);
	for (int i = 0; i < 3; i++) {
		boot_now = i == 1 ? "boot-b" : boot_now;
		j = open_lanes(3);
		assert_int_equal(journal_state(j), JOURNAL_CLEAN);
		journal_range(j, 2, &oldest, &newest);
		assert_true(oldest == 1 && newest == 300 + 50 * (uint64_t)i);
		append_many(j, 2, newest + 1, newest + 50);
		expect_range(j, 0, 1, 20);
		expect_range(j, 2, 1, newest + 50);
		journal_close(j);
	}
	boot_now = "boot-a";
}

static void test_lanes_kept(void **state)
{
	uint64_t oldest, newest;
	struct journal *j = open_lanes(4);
	append_many(j, 3, 1, 40);
	append_many(j, 1, 1, 10);
	journal_close(j);
	j = open_lanes(2); /* two workers less */
	assert_int_equal(journal_lane_count(j), 4);
	assert_int_equal(journal_state(j), JOURNAL_CLEAN);
	expect_range(j, 3, 1, 40);
	journal_drop(j, 3, 40);
	append_many(j, 1, 11, 20);
	die(j);
	boot_now = "boot-b";
	j = open_lanes(4);
	assert_int_equal(journal_state(j), JOURNAL_LOST); /* lane 1 was in use */
	append_many(j, 3, 41, 50); /* the sequence is not forgotten */
	journal_range(j, 3, &oldest, &newest);
	assert_int_equal(newest, 50);
	journal_close(j);
	boot_now = "boot-a";
}

static void test_rotation(void **state)
{
	struct journal *j = open_lanes(2);
	uint64_t oldest, newest, dropped = 0;
	unsigned files;
	size_t most = 0;
	for (uint64_t seq = 1; seq <= 20000; seq++) {
		append_many(j, 1, seq, seq);
		if (seq % 50 == 0) {
			assert_true(journal_sync(j));
			expect_range(j, 1, dropped + 1, seq);
			dropped = seq - seq % 100;
			journal_drop(j, 1, dropped);
			assert_true(journal_sync(j));
		}
		most = journal_bytes(j) > most ? journal_bytes(j) : most;
	}
	assert_true(most <= 12 * SMALL);
	journal_range(j, 1, &oldest, &newest);
	assert_true(newest == 20000 && oldest > 19800 && oldest <= dropped + 1);
	assert_int_equal(folder_bytes("", &files), journal_bytes(j));
	die(j);
	j = open_lanes(2);
	assert_int_equal(journal_state(j), JOURNAL_CRASHED);
	expect_range(j, 1, dropped + 1, 20000);
	assert_int_equal(folder_bytes("", &files), journal_bytes(j));
	die(j);
	boot_now = "boot-b"; /* what the files held under older numbers is not taken for a tail */
	j = open_lanes(2);
	assert_int_equal(journal_state(j), JOURNAL_LOST);
	expect_range(j, 1, dropped + 1, 20000);
	journal_close(j);
	for (int i = 0; i < 10; i++) { /* starts without work do not pile up files */
		boot_now = i % 2 ? "boot-b" : "boot-a";
		j = open_lanes(2);
		journal_drop(j, 1, 20000);
		journal_close(j);
	}
	assert_true(folder_bytes("lane-", &files) <= 6 * SMALL);
	boot_now = "boot-a";
}

static void test_full(void **state)
{
	struct journal *j = open_io(&quick, 2, 8 * SMALL);
	uint64_t seq = 1, oldest, newest;
	unsigned files;
	assert_non_null(j);
	for (int refused = 0; refused < 3; journal_sync(j))
		for (refused++; append(j, 1, seq); refused = 0)
			seq++;
	assert_true(journal_bytes(j) <= 8 * SMALL && journal_bytes(j) > 5 * SMALL);
	assert_int_equal(folder_bytes("", &files), journal_bytes(j));
	assert_true(append(j, 0, 1)); /* another lane's room is its own */
	expect_range(j, 1, 1, seq - 1);
	assert_int_equal(append(j, 1, seq), 0);
	journal_drop(j, 1, seq - 1);
	for (int i = 0; i < 4 && journal_dirty(j); i++)
		assert_true(journal_sync(j));
	append_many(j, 1, seq, seq + 100);
	journal_range(j, 1, &oldest, &newest);
	expect_range(j, 1, oldest, seq + 100);
	journal_close(j);
}

static void test_reserve(void **state)
{
	static char bytes[1200];
	struct journal *j = open_lanes(2);
	struct lane *l = journal_lane(j, 1);
	size_t held[2000], count = 0;
	uint64_t random = 42, refused = 0, kept = 0;
	for (int i = 0; i < 100000; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		unsigned roll = (unsigned)(random >> 33);
		size_t size = roll / 16 % sizeof(bytes);
		if (roll % 4 < 2 && count < COUNT(held)) {
			if (lane_reserve(l, size))
				held[count++] = size;
			else
				refused++;
		} else if (roll % 4 == 2) {
			lane_append(l, 1, bytes, size); /* may fail, may not eat what is reserved */
		} else if (count) {
			size_t pick = roll / 7 % count;
			lane_unreserve(l, held[pick]);
			if (roll % 5)
				assert_true(lane_append(l, 2, bytes, held[pick] - roll % (held[pick] + 1)) != 0);
			held[pick] = held[--count];
			kept++;
		}
		if (roll % 11 == 0) {
			uint64_t oldest, newest;
			journal_range(j, 1, &oldest, &newest);
			journal_drop(j, 1, newest);
			assert_true(journal_sync(j));
		}
		if (roll % 997 == 0) /* all at once, without a sync between */
			for (; count; kept++) {
				lane_unreserve(l, held[--count]);
				assert_true(lane_append(l, 2, bytes, held[count]) != 0);
			}
	}
	assert_true(refused > 1000 && kept > 1000);
	journal_close(j);
	expect_verified(true);
}

/* ---- the process dies ---- */

static void child(int pipe, uint64_t seq)
{
	struct journal *j = open_lanes(2);
	for (;; seq++) {
		while (!append(j, 1, seq))
			journal_sync(j);
		if (write(pipe, &seq, sizeof(seq)) != sizeof(seq))
			_exit(1);
		if (seq % 64 == 0)
			journal_drop(j, 1, seq > 200 ? seq - 200 : 0);
		if (seq % 16 == 0)
			journal_sync(j);
	}
}

static void test_killed(void **state)
{
	uint64_t next = 1, oldest, newest;
	for (int round = 0; round < 30; round++) {
		int ends[2];
		assert_int_equal(pipe(ends), 0);
		fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
		pid_t pid = fork();
		if (pid == 0)
			child(ends[1], next);
		assert_true(pid > 0);
		close(ends[1]);
		usleep((useconds_t)(1000 + round * 977 % 12000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		uint64_t seq, told = next - 1;
		while (read(ends[0], &seq, sizeof(seq)) == sizeof(seq))
			told = seq;
		close(ends[0]);
		struct journal *j = open_lanes(2);
		journal_range(j, 1, &oldest, &newest);
		assert_true(newest >= told && newest <= told + 1);
		if (newest) {
			assert_true(oldest <= (told > 200 ? told - 200 : 0) + 1);
			expect_range(j, 1, oldest, newest);
		}
		next = newest + 1;
		if (round % 3 == 0)
			journal_close(j);
		else
			die(j);
	}
	assert_true(next > 100);
}

/* Any bit of what stands below `head` that changes is seen. */
static void test_bits(void **state)
{
	char path[128];
	struct journal *j = open_lanes(1);
	append_many(j, 0, 1, 12);
	assert_true(journal_sync(j));
	die(j);
	lane_file(0, 1, path);
	size_t end = SEGMENT_PAGE;
	for (uint64_t seq = 1; seq <= 12; seq++) {
		char bytes[300];
		end += (17 + make(0, seq, bytes) + 7) / 8 * 8;
	}
	for (size_t byte = 0; byte < end; byte++) {
		if (byte == 96)
			byte = SEGMENT_PAGE; /* behind what the header's checksum covers: see below */
		unsigned bit = (unsigned)byte * 5 % 8;
		for (unsigned i = 0; i < (byte < SEGMENT_PAGE ? 8 : 2); i++, bit = (bit + 3) % 8) {
			flip(path, byte, bit);
			buf_clear(&why);
			assert_null(open_io(&quick, 1, 1 << 20));
			assert_true(str_search(buf_str(&why), STR("lane-00-000000000001.vj")) < why.len);
			assert_true(str_search(buf_str(&why), STR("at byte ")) < why.len);
			flip(path, byte, bit);
		}
	}
	for (size_t byte = 128; byte < 208; byte = byte == 135 ? 192 : byte + 1) /* head, synced, closed */
		for (unsigned bit = 0; bit < 8; bit++) {
			flip(path, byte, bit);
			assert_null(open_io(&quick, 1, 1 << 20));
			flip(path, byte, bit);
		}
	j = open_lanes(1);
	expect_range(j, 0, 1, 12);
	journal_close(j);
	flip(path, SEGMENT_PAGE + 100, 1);
	expect_verified(false);
	assert_true(str_search(buf_str(&why), STR(": damaged at byte ")) < why.len);
}

static void test_missing(void **state)
{
	char path[128], aside[160];
	struct journal *j = open_lanes(1);
	append_many(j, 0, 1, 400);
	assert_true(journal_sync(j));
	die(j);
	lane_file(0, 2, path);
	snprintf(aside, sizeof(aside), "%s.aside", path);
	assert_int_equal(rename(path, aside), 0);
	assert_null(open_io(&quick, 1, 1 << 20));
	assert_true(str_search(buf_str(&why), STR("missing")) < why.len);
	assert_int_equal(rename(aside, path), 0);
	assert_int_equal(truncate(path, SEGMENT_PAGE + 64), 0);
	assert_null(open_io(&quick, 1, 1 << 20));
	assert_int_equal(truncate(path, 100), 0);
	assert_null(open_io(&quick, 1, 1 << 20));
	expect_verified(false);
}

/* ---- the machine dies ---- */

static size_t offset_after(unsigned lane, uint64_t last)
{
	char bytes[300];
	size_t end = SEGMENT_PAGE;
	for (uint64_t seq = 1; seq <= last; seq++)
		end += (17 + make(lane, seq, bytes) + 7) / 8 * 8;
	return end;
}

static void lose_tail(int way, size_t from, const char *path)
{
	if (way == 0) {
		assert_int_equal(truncate(path, (off_t)from + 5), 0);
	} else if (way == 1) {
		flip(path, from + 20, 3);
	} else {
		static const char zeros[2 * SEGMENT_PAGE];
		int fd = open(path, O_RDWR);
		assert_int_equal(pwrite(fd, zeros, 3000, (off_t)from), 3000);
		close(fd);
	}
}

static void test_power(void **state)
{
	char path[128];
	for (int way = 0; way < 4; way++) {
		struct journal *j = open_lanes(1);
		boot_now = "boot-a";
		append_many(j, 0, 1, 15);
		assert_true(journal_sync(j));
		append_many(j, 0, 16, 40);
		die(j);
		boot_now = "boot-b";
		lane_file(0, 1, path);
		if (way < 3) {
			lose_tail(way, offset_after(0, 20), path);
			if (way > 0)
				flip(path, offset_after(0, 25) + 20, 3); /* behind the first hole all is lost */
		}
		j = open_lanes(1);
		uint64_t last = way < 3 ? 20 : 40;
		assert_int_equal(journal_state(j), JOURNAL_LOST);
		expect_range(j, 0, 1, last);
		append_many(j, 0, last + 1, last + 100);
		assert_true(journal_sync(j));
		die(j);
		j = open_lanes(1);
		assert_int_equal(journal_state(j), JOURNAL_CRASHED);
		expect_range(j, 0, 1, last + 100);
		die(j);
		boot_now = "boot-c";
		flip(path, offset_after(0, 17) + 18, 0); /* closed by the opening above: damage from now on */
		assert_null(open_io(&quick, 1, 1 << 20));
		flip(path, offset_after(0, 17) + 18, 0);
		j = open_lanes(1);
		expect_range(j, 0, 1, last + 100);
		journal_close(j);
		empty_folder();
		boot_now = "boot-a";
	}
}

static void test_power_damage(void **state)
{
	char path[128];
	struct journal *j = open_lanes(1);
	append_many(j, 0, 1, 15);
	assert_true(journal_sync(j));
	append_many(j, 0, 16, 20);
	die(j);
	lane_file(0, 1, path);
	flip(path, offset_after(0, 17) + 18, 0); /* only the process has died: nothing may be missing */
	assert_null(open_io(&quick, 1, 1 << 20));
	flip(path, offset_after(0, 17) + 18, 0);
	boot_now = "boot-b";
	flip(path, offset_after(0, 14) + 18, 0);
	assert_null(open_io(&quick, 1, 1 << 20));
	char text[64];
	snprintf(text, sizeof(text), "damaged at byte %zu", offset_after(0, 14));
	assert_true(str_search(buf_str(&why), str_from(text)) < why.len);
	boot_now = "boot-a";
}

/* Several segments since the last sync: what follows on the first hole is gone, file by file. */
static void test_power_segments(void **state)
{
	char path[128];
	uint64_t oldest, newest;
	struct journal *j = open_io(&quick, 1, 1 << 20);
	assert_non_null(j);
	uint64_t seq = 1;
	for (; seq <= 50; seq++)
		assert_true(append(j, 0, seq) != 0);
	assert_true(journal_sync(j)); /* hands over the next one */
	for (; seq <= 120; seq++)
		assert_true(append(j, 0, seq) != 0);
	die(j);
	boot_now = "boot-b";
	lane_file(0, 1, path);
	flip(path, offset_after(0, 60) + 18, 0);
	j = open_lanes(1);
	assert_int_equal(journal_state(j), JOURNAL_LOST);
	expect_range(j, 0, 1, 60);
	append_many(j, 0, 61, 300);
	expect_range(j, 0, 1, 300);
	journal_close(j);
	j = open_lanes(1);
	expect_range(j, 0, 1, 300);
	/* What was dropped keeps the lane's sequence. */
	journal_drop(j, 0, 300);
	assert_true(journal_sync(j));
	journal_range(j, 0, &oldest, &newest);
	assert_true(newest == 300 && oldest > 200);
	journal_close(j);
	boot_now = "boot-a";
}

/* A segment's own `synced` may be older on the disk than what was synced of it; that a later one was synced tells of it. */
static void test_power_proof(void **state)
{
	char path[128];
	struct journal *j = open_lanes(1);
	append_many(j, 0, 1, 150); /* two segments and more */
	assert_true(journal_sync(j));
	die(j);
	boot_now = "boot-b";
	lane_file(0, 1, path);
	uint64_t mark = mark_of(offset_after(0, 10) - SEGMENT_PAGE);
	int fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, &mark, sizeof(mark), offsetof(struct segment_head, synced)), sizeof(mark));
	close(fd);
	flip(path, offset_after(0, 20) + 18, 0);
	assert_null(open_io(&quick, 1, 1 << 20));
	flip(path, offset_after(0, 20) + 18, 0);
	j = open_lanes(1);
	expect_range(j, 0, 1, 150);
	journal_close(j);
	boot_now = "boot-a";
}

/* ---- calls that fail ---- */

static struct {
	unsigned every[5], calls[5]; /* open, allocate, sync, rename, map */
	bool armed;
} faults;

static bool fault(unsigned which)
{
	return faults.armed && faults.every[which] && ++faults.calls[which] % faults.every[which] == 0;
}

static int bad_open(const char *path, int flags, mode_t mode)
{
	errno = EMFILE;
	return fault(0) ? -1 : open(path, flags, mode);
}

static int bad_allocate(int fd, off_t offset, off_t length)
{
	return fault(1) ? ENOSPC : posix_fallocate(fd, offset, length);
}

static int bad_sync(int fd)
{
	errno = EIO;
	return fault(2) ? -1 : 0;
}

static int bad_rename(const char *from, const char *to)
{
	errno = EIO;
	return fault(3) ? -1 : rename(from, to);
}

static void *bad_map(size_t length, int fd)
{
	errno = ENOMEM;
	return fault(4) ? MAP_FAILED : mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static const struct journal_io bad = {bad_open, bad_allocate, bad_sync, bad_sync, bad_rename, bad_map, fake_boot};

/* Appends to two lanes, syncs and drops; returns the last sequence of each that a true sync covered, and what was dropped. */
static void torment(struct journal *j, uint64_t synced[2], uint64_t last[2], uint64_t *dropped)
{
	struct lane *l = journal_lane(j, 0);
	bool held = lane_reserve(l, 300);
	for (int i = 0; i < 600; i++) {
		unsigned lane = (unsigned)i % 3 == 0;
		if (append(j, lane, last[lane] + 1))
			last[lane]++;
		if (i % 7 == 0 && journal_sync(j))
			memcpy(synced, last, 2 * sizeof(*last));
		if (i % 40 == 39)
			journal_drop(j, 0, *dropped = synced[0] > 60 ? synced[0] - 60 : 0);
	}
	if (held) {
		lane_unreserve(l, 300);
		assert_true(append(j, 0, last[0] + 1) != 0);
		last[0]++;
	}
}

static void torture(unsigned which, unsigned every)
{
	uint64_t synced[2] = {0}, last[2] = {0}, dropped = 0, oldest, newest;
	faults.armed = true;
	memset(faults.calls, 0, sizeof(faults.calls));
	memset(faults.every, 0, sizeof(faults.every));
	faults.every[which] = every;
	for (int opens = 0; opens < 3; opens++) {
		struct journal *j = open_io(&bad, 2, 40 * SMALL);
		if (!j) {
			assert_true(why.len > 0);
			continue;
		}
		torment(j, synced, last, &dropped);
		expect_range(j, 1, 1, last[1]);
		if (opens == 1)
			journal_close(j);
		else
			die(j);
	}
	faults.armed = false;
	struct journal *j = open_io(&bad, 2, 40 * SMALL);
	if (!j)
		fail_msg("call %u, every %u: %.*s", which, every, STR_ARG(buf_str(&why)));
	for (unsigned lane = 0; lane < 2; lane++) {
		journal_range(j, lane, &oldest, &newest);
		assert_int_equal(newest, last[lane]);
		assert_true(newest >= synced[lane]);
		if (newest)
			expect_range(j, lane, lane ? 1 : dropped + 1, newest);
	}
	append_many(j, 1, last[1] + 1, last[1] + 200);
	assert_false(journal_failed(j));
	journal_close(j);
	expect_verified(true);
	empty_folder();
}

static void test_torture(void **state)
{
	for (unsigned which = 0; which < COUNT(faults.every); which++)
		for (unsigned every = 1; every <= 50; every++)
			torture(which, every);
}

/* One sync that fails costs nothing but a file; when the copies fail as well, lanes run full, and what is reserved is still taken. */
static void test_sync_fails(void **state)
{
	struct journal *j = open_io(&bad, 2, 1 << 20);
	struct lane *l;
	assert_non_null(j);
	char path[128];
	struct stat before, after;
	lane_file(0, 1, path);
	assert_int_equal(stat(path, &before), 0);
	l = journal_lane(j, 0);
	assert_true(lane_reserve(l, 300));
	append_many(j, 0, 1, 30);
	faults.armed = true;
	memset(&faults.calls, 0, sizeof(faults.calls));
	memset(&faults.every, 0, sizeof(faults.every));
	faults.every[2] = 3;
	faults.calls[2] = 2;
	assert_true(journal_sync(j));
	assert_int_equal(journal_failures(j), 1);
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino != after.st_ino); /* another file, with all of it */
	expect_range(j, 0, 1, 30);
	append_many(j, 0, 31, 45);
	faults.every[2] = 1;
	assert_false(journal_sync(j));
	assert_true(journal_failed(j));
	assert_false(journal_sync(j));
	assert_int_equal(append(j, 0, 46), 0);
	assert_int_equal(append(j, 1, 1), 0);
	assert_false(lane_reserve(l, 10));
	lane_unreserve(l, 300);
	assert_int_equal(append(j, 0, 46), 46);
	assert_int_equal(append(j, 0, 47), 0);
	expect_range(j, 0, 1, 46);
	faults.armed = false;
	journal_close(j);
	j = open_io(&bad, 2, 1 << 20);
	assert_non_null(j);
	assert_int_equal(journal_state(j), JOURNAL_CRASHED);
	expect_range(j, 0, 1, 46);
	journal_close(j);
}

/* No room on the disk: the spare file is used first, then lanes run full, then all goes on. */
static void test_no_room(void **state)
{
	struct journal *j = open_io(&bad, 1, 1 << 20);
	uint64_t seq = 1;
	assert_non_null(j);
	memset(&faults.every, 0, sizeof(faults.every));
	faults.every[1] = 1;
	faults.armed = true;
	for (int refused = 0; refused < 3; assert_true(journal_sync(j)))
		for (refused++; append(j, 0, seq); refused = 0)
			seq++;
	assert_true(offset_after(0, seq) > SMALL + SMALL / 2); /* more than the first one */
	assert_true(journal_dirty(j) || !append(j, 0, seq));
	assert_true(journal_dirty(j));
	faults.armed = false;
	for (int64_t until = clock_mono_us() + 5000000; !append(j, 0, seq) && clock_mono_us() < until;)
		assert_true(journal_sync(j));
	append_many(j, 0, seq + 1, seq + 100);
	expect_range(j, 0, 1, seq + 100);
	assert_int_equal(journal_failures(j), 0);
	journal_close(j);
}

/* ---- three threads ---- */

static struct {
	struct journal *j;
	_Atomic bool stop;
	uint64_t read, refused;
} race;

static bool take(void *user, const struct journal_record *r)
{
	struct expecting *e = user;
	return expect(e, r) && r->seq % 500 != 0;
}

static void *run_reader(void *unused)
{
	struct expecting e = {.lane = 0, .next = 1};
	bool last;
	do {
		last = atomic_load(&race.stop);
		race.read = journal_read(race.j, 0, race.read, take, &e);
		journal_drop(race.j, 0, race.read);
	} while (!last || race.read % 500 == 0);
	return NULL;
}

static void *run_sync(void *unused)
{
	while (!atomic_load(&race.stop))
		if (journal_dirty(race.j))
			assert_true(journal_sync(race.j));
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t reader, sync;
	memset(&faults.every, 0, sizeof(faults.every));
	faults.every[2] = 23; /* files are replaced under the writer */
	faults.armed = true;
	faults.calls[2] = 0;
	while (!(race.j = open_io(&bad, 1, 64 * SMALL)))
		empty_folder();
	atomic_store(&race.stop, false);
	race.read = 0;
	assert_int_equal(pthread_create(&reader, NULL, run_reader, NULL), 0);
	assert_int_equal(pthread_create(&sync, NULL, run_sync, NULL), 0);
	struct lane *l = journal_lane(race.j, 0);
	uint64_t seq = 1;
	for (int64_t until = clock_mono_us() + 10000000; seq <= 30001 && clock_mono_us() < until;) {
		bool held = seq % 3 == 0 && lane_reserve(l, 300);
		if (held)
			lane_unreserve(l, 300);
		if (append(race.j, 0, seq)) {
			seq++;
		} else {
			assert_false(held);
			sched_yield();
		}
	}
	atomic_store(&race.stop, true);
	pthread_join(reader, NULL);
	pthread_join(sync, NULL);
	assert_true(seq > 3000);
	assert_true(journal_failures(race.j) > 0);
	assert_int_equal(race.read, seq - 1);
	faults.armed = false;
	journal_close(race.j);
	expect_verified(true);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_clean), TEST(test_lanes_kept), TEST(test_rotation), TEST(test_full), TEST(test_reserve), TEST(test_killed),
		TEST(test_bits), TEST(test_missing), TEST(test_power), TEST(test_power_damage), TEST(test_power_segments), TEST(test_power_proof),
		TEST(test_torture), TEST(test_sync_fails), TEST(test_no_room), TEST(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
