/* journal_salvage.c - what can be read of a journal that may be damaged, and the file that a lane goes on with. Files are only read.
 *
 * In a lane that is whole the records are those that journal_open() would take. In a damaged one every place of every file is tried: a record's checksum says
 * for which place it was written, so what checks there is one. The number that the checksums begin with stands in the header; it is used even where the
 * header itself does not check.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/rebuild_parts.h"

#include "base/crc.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
	uint8_t *bytes;
	size_t len;
};

static bool read_file(const char *folder, const struct found *f, struct file *out, struct buf *why)
{
	char path[PATH_BYTES];
	struct stat st;
	segment_path(path, folder, f->lane, f->number);
	*out = (struct file){NULL, 0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool fine = fd >= 0 && fstat(fd, &st) == 0;
	size_t want = fine && st.st_size < (off_t)SEGMENT_MAX ? (size_t)st.st_size : fine ? SEGMENT_MAX : 0;
	out->bytes = mem_zero(want + SEGMENT_PAGE);
	while (fine && out->len < want) {
		ssize_t n = pread(fd, out->bytes + out->len, want - out->len, (off_t)out->len);
		if (n < 0 && errno == EIO) { /* a bad place of the disk: as if it held nothing */
			n = (ssize_t)(want - out->len < SEGMENT_PAGE ? want - out->len : SEGMENT_PAGE);
		} else if (n < 0) {
			fine = errno == EINTR;
			continue;
		}
		if (n == 0)
			break;
		out->len += (size_t)n;
	}
	if (!fine)
		buf_addf(why, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return fine;
}

static void keep(struct journal_salvage *j, unsigned lane, const struct journal_record *r)
{
	if (j->count == j->cap) {
		j->cap = j->cap ? j->cap * 2 : 1024;
		j->records = mem_grow(j->records, j->cap * sizeof(*j->records));
	}
	j->records[j->count++] = (struct salvaged_record){lane, r->type, r->seq, arena_dup(&j->arena, r->payload)};
	j->lanes[lane].newest = r->seq;
}

static void take_whole(struct journal_salvage *j, const struct found *f, const struct file *file)
{
	struct journal_record r;
	size_t at = 0;
	uint64_t seq = f->walk.first;
	while (!f->surplus && at < f->walk.end && segment_next(file->bytes + SEGMENT_PAGE, f->walk.end, f->facts.seed, seq, &at, &r)) {
		keep(j, f->lane, &r);
		seq = r.seq + 1;
	}
}

/* Bytes up to the last that is not zero. */
static size_t written(const struct file *file)
{
	size_t end = file->len;
	while (end > SEGMENT_PAGE && file->bytes[end - 1] == 0)
		end--;
	return end > SEGMENT_PAGE ? end - SEGMENT_PAGE : 0;
}

static void take_damaged(struct journal_salvage *j, const struct found *f, const struct file *file)
{
	struct salvaged_lane *l = &j->lanes[f->lane];
	uint64_t parts[3] = {f->lane, f->number, 0};
	memcpy(&parts[2], file->bytes + offsetof(struct segment_head, nonce), sizeof(parts[2]));
	uint32_t seed = crc32c_of(0, parts, sizeof(parts));
	size_t end = file->len > SEGMENT_PAGE ? file->len - SEGMENT_PAGE : 0, at = 0, good = 0;
	struct journal_record r;
	while (at < end) {
		size_t from = at;
		/* sequences go up */
		bool fits = segment_next(file->bytes + SEGMENT_PAGE, end, seed, 0, &at, &r) && r.seq > l->newest;
		if (!fits) {
			at = from + 8;
			continue;
		}
		keep(j, f->lane, &r);
		good += at - from;
	}
	size_t should = f->read ? f->facts.head : written(file);
	if (should <= good)
		return;
	j->bytes_lost += should - good;
	l->skip += (should - good) / record_bytes(0) + 1;
}

static void note_lanes(struct journal_salvage *j)
{
	for (size_t i = 0; i < j->survey.count; i++) {
		const struct found *f = &j->survey.files[i];
		if (f->lane >= JOURNAL_LANES_MAX)
			continue;
		j->lanes[f->lane].there = true;
		j->lanes[f->lane].damaged |= f->damaged || !f->read;
		j->lanes[f->lane].number = f->number;
	}
}

bool journal_salvage(struct journal_salvage *j, const char *folder, struct buf *why)
{
	char path[PATH_BYTES];
	struct journal boot = {0};
	struct buf report;
	bool fine = true;
	*j = (struct journal_salvage){0};
	arena_init(&j->arena, 4096);
	snprintf(path, sizeof(path), "%s/journal", folder);
	if (!file_exists(folder, "journal"))
		return true;
	files_init(&boot, NULL);
	buf_init(&report, 1 << 20);
	survey_folder(&j->survey, path, boot.boot, true, &report);
	note_lanes(j);
	for (size_t i = 0; i < j->survey.count && fine; i++) {
		const struct found *f = &j->survey.files[i];
		struct file file;
		if (f->lane >= JOURNAL_LANES_MAX)
			continue;
		fine = read_file(path, f, &file, why);
		if (fine)
			(j->lanes[f->lane].damaged ? take_damaged : take_whole)(j, f, &file);
		free(file.bytes);
	}
	buf_release(&report);
	return fine;
}

void journal_salvage_release(struct journal_salvage *j)
{
	arena_release(&j->arena);
	free(j->records);
	survey_release(&j->survey);
}

bool journal_salvage_begin(const char *folder, unsigned lane, uint64_t number, uint64_t first, struct buf *why)
{
	char path[PATH_BYTES];
	/* closed and empty: the next start makes the file that is written into, and this one says where sequences go on */
	const struct segment_facts facts = {.lane = lane, .number = number, .first = first, .bytes = SEGMENT_MIN, .closed = true};
	_Alignas(struct segment_head) uint8_t bytes[SEGMENT_MIN] = {0};
	uint64_t nonce = crc32c_of((uint32_t)first, &number, sizeof(number)) | (uint64_t)lane << 32;
	segment_write_head((struct segment_head *)bytes, &facts, nonce);
	snprintf(path, sizeof(path), "%s/journal/lane-%02u-%012llu.vj" DRAFT, folder, lane, (unsigned long long)number);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool fine = fd >= 0 && write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes) && fsync(fd) == 0;
	if (!fine)
		buf_addf(why, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return fine;
}
