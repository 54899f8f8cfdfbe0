/* journal_survey.c - what a folder of the journal holds, and whether it is whole.
 *
 * Which records must be there: all below `head` where the process died (same boot) or the segment was closed, or where a later segment has been synced,
 * for the earlier one was synced before it; else all below `synced`. What checks above that is taken as well, and what follows on it is a lost tail.
 * Files are read, not mapped: a bad disk is then an error and not a signal.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 32

void segment_path(char out[PATH_BYTES], const char *folder, unsigned lane, uint64_t number)
{
	snprintf(out, PATH_BYTES, "%s/lane-%02u-%012llu.vj", folder, lane, (unsigned long long)number);
}

void spare_path(char out[PATH_BYTES], const char *folder, uint64_t number)
{
	snprintf(out, PATH_BYTES, "%s/spare-%012llu.vj", folder, (unsigned long long)number);
}

/* ---- names ---- */

static bool read_number(struct str text, size_t digits, uint64_t *out)
{
	int64_t n;
	if (text.len != digits || !str_to_i64(text, &n) || n < 0)
		return false;
	*out = (uint64_t)n;
	return true;
}

/* Digits behind a prefix and in front of ".vj". */
static bool inner(struct str name, struct str prefix, struct str *out)
{
	if (!str_starts(name, prefix) || !str_ends(name, STR(".vj")) || name.len < prefix.len + 3)
		return false;
	*out = str_of(name.ptr + prefix.len, name.len - prefix.len - 3);
	return true;
}

static void note_name(struct survey *s, struct str name)
{
	struct str text;
	uint64_t lane, number;
	if (inner(name, STR("spare-"), &text) && read_number(text, 12, &number)) {
		s->spares = mem_grow(s->spares, (s->spare_count + 1) * sizeof(*s->spares));
		s->spares[s->spare_count++] = number;
		return;
	}
	if (!inner(name, STR("lane-"), &text) || text.len != 15 || text.ptr[2] != '-' || !read_number(str_head(text, 2), 2, &lane) ||
	    !read_number(str_skip(text, 3), 12, &number))
		return;
	s->files = mem_grow(s->files, (s->count + 1) * sizeof(*s->files));
	s->files[s->count++] = (struct found){.lane = (unsigned)lane, .number = number};
}

static int by_lane(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	if (x->lane != y->lane)
		return x->lane < y->lane ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static bool list_folder(struct survey *s, const char *folder, struct buf *report)
{
	DIR *dir = opendir(folder);
	if (!dir) {
		buf_addf(report, "cannot read the folder %s: %s", folder, strerror(errno));
		return false;
	}
	for (struct dirent *entry; (entry = readdir(dir));)
		note_name(s, str_from(entry->d_name));
	closedir(dir);
	if (s->count)
		qsort(s->files, s->count, sizeof(*s->files), by_lane);
	return true;
}

/* ---- one file ---- */

static bool complain(struct buf *report, const char *folder, const struct found *f, const char *what, size_t byte)
{
	char path[PATH_BYTES];
	segment_path(path, folder, f->lane, f->number);
	buf_addf(report, "%s%s: %s at byte %zu", report->len ? "\n" : "", path, what, byte);
	return false;
}

static bool read_fully(int fd, uint8_t *out, size_t len)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, out + done, len - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* The first `max` bytes of a file; f->length is set to what it has. NULL: errno. */
static uint8_t *read_file(const char *folder, struct found *f, size_t max)
{
	char path[PATH_BYTES];
	struct stat st;
	segment_path(path, folder, f->lane, f->number);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	uint8_t *bytes = NULL;
	if (fstat(fd, &st) == 0) {
		f->length = (size_t)st.st_size;
		size_t len = f->length < max ? f->length : max;
		bytes = mem_alloc(len ? len : 1);
		errno = EIO; /* where the file is shorter than it was */
		if (!read_fully(fd, bytes, len)) {
			free(bytes);
			bytes = NULL;
		}
	}
	int error = errno;
	close(fd);
	errno = error;
	return bytes;
}

static bool unreadable(struct buf *report, const char *folder, const struct found *f)
{
	return complain(report, folder, f, strerror(errno), 0);
}

static bool read_head(const char *folder, const char *boot, struct found *f, struct buf *report)
{
	uint8_t *page = read_file(folder, f, SEGMENT_PAGE);
	if (!page)
		return unreadable(report, folder, f);
	f->read = f->length >= SEGMENT_PAGE && segment_read_head(page, &f->facts) && f->facts.lane == f->lane && f->facts.number == f->number;
	free(page);
	if (!f->read)
		return complain(report, folder, f, "the header is damaged", 0);
	f->same_boot = boot[0] && strcmp(f->facts.boot, boot) == 0;
	return true;
}

/* ---- one lane: files[0] to files[n - 1] ---- */

struct judging {
	const char *folder;
	struct buf *report;
	struct found *files;
	size_t n;
	uint64_t next;   /* sequence of the next record; 0: any */
	bool over;       /* the lane has ended */
};

/* Whether a later segment shows that this one had been synced to its end. */
static bool proven(const struct judging *g, size_t i)
{
	for (size_t k = i + 1; k < g->n; k++)
		if (g->files[k].facts.closed || g->files[k].facts.synced)
			return true;
	return false;
}

static bool judge_records(struct judging *g, size_t i, const uint8_t *bytes)
{
	struct found *f = &g->files[i];
	bool whole = f->same_boot || f->facts.closed || proven(g, i);
	size_t there = (f->length < f->facts.bytes ? f->length : f->facts.bytes) - SEGMENT_PAGE;
	size_t must = whole ? f->facts.head : f->facts.synced;
	size_t limit = whole && must < there ? must : there;
	uint64_t first = g->next ? g->next : f->facts.first;
	if (f->facts.first && first != f->facts.first)
		return complain(g->report, g->folder, f, "the sequence does not go on", 0);
	if (g->over && must == 0) {
		f->surplus = true;
		return true;
	}
	f->walk = segment_walk(bytes + SEGMENT_PAGE, limit, f->facts.seed, first);
	if (f->walk.end < must)
		return complain(g->report, g->folder, f, "damaged", SEGMENT_PAGE + f->walk.end);
	f->cut = !whole;
	f->begun = f->walk.last || f->facts.first;
	f->surplus = !f->begun;
	g->over = f->surplus;
	if (f->surplus && g->next == 0)
		return complain(g->report, g->folder, f, "the first record is missing", SEGMENT_PAGE);
	g->next = f->walk.last ? f->walk.last + 1 : first;
	return true;
}

static bool judge_file(struct judging *g, size_t i)
{
	struct found *f = &g->files[i];
	if (i && f->number != f[-1].number + 1)
		return complain(g->report, g->folder, f, "segments before this one are missing", 0);
	uint8_t *bytes = read_file(g->folder, f, f->facts.bytes);
	if (!bytes)
		return unreadable(g->report, g->folder, f);
	bool fine = f->length >= SEGMENT_PAGE && judge_records(g, i, bytes);
	free(bytes);
	return fine;
}

static bool judge_lane(struct judging *g, bool all)
{
	bool fine = true;
	for (size_t i = 0; i < g->n && (fine || all); i++) {
		if (g->files[i].read && judge_file(g, i))
			continue;
		fine = false;
		g->files[i].damaged = true;
		g->next = 0;
		g->over = false;
	}
	return fine;
}

/* What the newest segment in use of a lane says. */
static void note_state(struct survey *s, const struct judging *g)
{
	size_t i = g->n;
	while (i > 0 && !g->files[i - 1].begun)
		i--;
	if (i == 0 || g->files[i - 1].facts.closed)
		return;
	enum journal_state state = g->files[i - 1].same_boot ? JOURNAL_CRASHED : JOURNAL_LOST;
	if (state > s->state)
		s->state = state;
}

bool survey_folder(struct survey *s, const char *folder, const char *boot, bool all, struct buf *report)
{
	*s = (struct survey){0};
	bool fine = list_folder(s, folder, report);
	if (!fine)
		return false;
	for (size_t i = 0; i < s->count && (fine || all); i++)
		fine &= s->files[i].lane < JOURNAL_LANES_MAX ? read_head(folder, boot, &s->files[i], report)
							     : complain(report, folder, &s->files[i], "no such lane", 0);
	for (size_t i = 0, n; i < s->count && (fine || all); i += n) {
		struct judging g = {.folder = folder, .report = report, .files = s->files + i};
		for (n = 1; i + n < s->count && s->files[i + n].lane == s->files[i].lane;)
			n++;
		g.n = n;
		fine &= judge_lane(&g, all);
		note_state(s, &g);
	}
	return fine;
}

void survey_release(struct survey *s)
{
	free(s->files);
	free(s->spares);
	*s = (struct survey){0};
}
