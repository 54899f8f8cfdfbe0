/* journal_open.c - opening: what is there is checked, ended where its tail is lost, and gone on with.
 *
 * A lane goes on in its newest segment where that is of this boot; else in a new one, and the old one is closed: its end is written down and synced before
 * anything is appended behind it. Runs before there are other threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_USUAL (4u << 20)
#define MAX_USUAL     (256u << 20)
#define MIN_LEFT      4096 /* a segment with less room is not gone on with */

static bool say(struct journal *j, struct buf *why, const char *what)
{
	buf_addf(why, "%s: %s: %s", j->folder, what, strerror(j->error));
	return false;
}

static void set_mark(_Atomic uint64_t *where, size_t n)
{
	atomic_store_explicit(where, mark_of(n), memory_order_relaxed);
}

/* The kernel may take pages for clean which it once failed to write. Stored into again, they are written. */
static void store_again(struct segment *s, size_t from, size_t to)
{
	for (size_t at = from & ~(size_t)(SEGMENT_PAGE - 1); at < to; at += SEGMENT_PAGE) {
		volatile uint8_t *byte = s->data + at;
		*byte = *byte;
	}
}

/* All records are on the disk afterwards. */
static bool settle(struct journal *j, struct lane *l, size_t index, const struct found *f, struct buf *why)
{
	struct segment *s = l->segments[index];
	if (f->same_boot && s->synced < f->walk.end) {
		store_again(s, s->synced, f->walk.end);
		if (!files_sync(j, l, index))
			return say(j, why, "cannot sync a segment");
		s = l->segments[index];
	}
	set_mark(&s->page->head, f->walk.end);
	set_mark(&s->page->synced, f->walk.end);
	s->synced = s->touched = f->walk.end;
	return true;
}

/* `closed`: the end for ever; else the writer goes on here. */
static bool seal(struct journal *j, struct lane *l, size_t index, bool closed, struct buf *why)
{
	struct segment *s = l->segments[index];
	set_mark(&s->page->closed, closed);
	if (!closed && s->synced + record_bytes(0) <= s->capacity)
		memset(s->data + s->synced, 0, record_bytes(0)); /* of a record that was never appended to its end */
	return files_sync(j, l, index) || say(j, why, "cannot sync a segment");
}

static bool goes_on(const struct journal *j, const struct lane *l, const struct found *f)
{
	return l->number < j->lanes_asked && f->same_boot && !f->cut && f->facts.bytes - SEGMENT_PAGE >= f->walk.end + MIN_LEFT;
}

/* A lane's files; those in use come first. Returns how many these are. */
static size_t in_use(const struct found *f, size_t n)
{
	size_t used = 0;
	while (used < n && !f[used].surplus)
		used++;
	return used;
}

static bool take_files(struct journal *j, struct lane *l, const struct found *f, size_t n, struct buf *why)
{
	size_t used = in_use(f, n);
	for (size_t i = 0; i < n; i++) {
		struct segment *s = files_map(j, &f[i]);
		if (!s)
			return say(j, why, "cannot open a segment");
		if (i < used) {
			lane_push(j, l, s);
			if (!settle(j, l, i, &f[i], why))
				return false;
		} else { /* only now: what stands before it has been written */
			s->link = j->retired;
			j->retired = s;
		}
		bool live = i + 1 == used && goes_on(j, l, &f[i]);
		if (i < used && (live || !f[i].facts.closed) && !seal(j, l, i, !live, why))
			return false;
	}
	/* Newest first, so that no gap is left if this is broken off. */
	while (j->retired) {
		struct segment *s = j->retired;
		j->retired = s->link;
		if (!files_cool(j, s)) {
			s->link = j->retired;
			j->retired = s;
			return say(j, why, "cannot rename a segment");
		}
	}
	return true;
}

static void lane_begin(struct lane *l, struct segment *s, uint64_t next_seq)
{
	l->cur = s;
	l->used = head_now(s->page);
	l->capacity = s->capacity;
	l->ask_at = s->capacity / 2;
	l->next_seq = next_seq;
	if (!atomic_load(&s->first))
		atomic_store(&s->first, next_seq);
	atomic_store(&l->current, s->number);
}

/* The sequence that follows on the lane's newest segment. */
static uint64_t next_sequence(const struct lane *l)
{
	if (l->count == 0)
		return 1;
	const struct segment *s = l->segments[l->count - 1];
	return atomic_load(&s->last) ? atomic_load(&s->last) + 1 : s->page->first;
}

static bool start_lane(struct journal *j, struct lane *l, bool go_on, struct buf *why)
{
	uint64_t next = next_sequence(l);
	atomic_store(&l->last, next - 1);
	atomic_store(&l->synced, next - 1);
	if (l->count && !atomic_load(&l->segments[l->count - 1]->last)) /* empty: nothing keeps it from being dropped */
		atomic_store(&l->segments[l->count - 1]->last, next - 1);
	if (l->count)
		atomic_store(&l->current, l->segments[l->count - 1]->number);
	if (l->number >= j->lanes_asked)
		return true;
	l->written = true;
	if (!go_on) {
		struct segment *s = files_prepare(j, l, next, true);
		if (!s)
			return say(j, why, "cannot make a segment");
		lane_push(j, l, s);
	}
	lane_begin(l, l->segments[l->count - 1], next);
	return true;
}

static bool open_lane(struct journal *j, const struct survey *s, unsigned number, struct buf *why)
{
	struct lane *l = &j->lane[number];
	size_t from = 0, n = 0;
	while (from < s->count && s->files[from].lane < number)
		from++;
	while (from + n < s->count && s->files[from + n].lane == number)
		n++;
	if (n == 0 && number >= j->lanes_asked)
		return true;
	if (!take_files(j, l, s->files + from, n, why))
		return false;
	size_t used = in_use(s->files + from, n);
	return start_lane(j, l, used && goes_on(j, l, &s->files[from + used - 1]), why);
}

static bool open_all(struct journal *j, const struct survey *s, struct buf *why)
{
	for (size_t i = 0; i < s->spare_count; i++)
		files_adopt_spare(j, s->spares[i]);
	for (unsigned i = 0; i < j->lanes; i++)
		if (!open_lane(j, s, i, why))
			return false;
	for (unsigned i = 1; i < j->lanes; i++) /* lane 0 has no requests */
		waits_open(j, &j->lane[i]);
	if (!files_sync_folder(j))
		return say(j, why, "cannot sync the folder");
	files_reserve(j);
	return true;
}

/* Each lane must be able to have a full segment and the next one, or a full journal would never end. */
static void choose_sizes(struct journal *j, const struct journal_options *o)
{
	size_t bytes = o->segment_bytes ? o->segment_bytes : SEGMENT_USUAL, parts = 2 * (size_t)j->lanes_asked + 2;
	j->max_bytes = o->max_bytes ? o->max_bytes : MAX_USUAL;
	if (bytes > j->max_bytes / parts)
		bytes = j->max_bytes / parts;
	bytes = bytes < SEGMENT_MIN ? SEGMENT_MIN : bytes > SEGMENT_MAX ? SEGMENT_MAX : bytes;
	j->segment_bytes = bytes & ~(size_t)(SEGMENT_PAGE - 1);
	if (j->max_bytes < parts * j->segment_bytes)
		j->max_bytes = parts * j->segment_bytes;
}

static struct journal *journal_new(const struct journal_options *o, const struct survey *s)
{
	struct journal *j = mem_zero(sizeof(*j));
	j->folder = mem_str(str_from(o->folder));
	j->lanes_asked = o->lanes;
	j->lanes = o->lanes;
	if (s->count && s->files[s->count - 1].lane >= j->lanes)
		j->lanes = s->files[s->count - 1].lane + 1;
	choose_sizes(j, o);
	j->state = s->state;
	j->next_spare = 1;
	j->lane = mem_array(j->lanes, sizeof(*j->lane));
	for (unsigned i = 0; i < j->lanes; i++)
		j->lane[i] = (struct lane){.journal = j, .number = i};
	pthread_mutex_init(&j->lock, NULL);
	files_init(j, o->io);
	return j;
}

/* A new folder must be found again after a power loss, or all that is in it would be gone unnoticed. */
static bool sync_above(const char *folder, const struct journal_io *io)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/..", folder);
	int fd = io->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	bool fine = fd >= 0 && io->sync_folder(fd) == 0;
	int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return fine;
}

static bool make_folder(const char *folder, const struct journal_io *io, struct buf *why)
{
	bool made = mkdir(folder, 0700) == 0;
	if (made ? sync_above(folder, io) : errno == EEXIST)
		return true;
	buf_addf(why, "cannot make the folder %s: %s", folder, strerror(errno));
	if (made)
		rmdir(folder);
	return false;
}

struct journal *journal_open(const struct journal_options *o, struct buf *why)
{
	struct survey s;
	struct journal boot = {0};
	if (strlen(o->folder) > PATH_BYTES - 64 || o->lanes == 0 || o->lanes > JOURNAL_LANES_MAX) {
		BUF_ADD(why, "the journal's folder or number of lanes cannot be");
		return NULL;
	}
	files_init(&boot, o->io);
	if (!make_folder(o->folder, &boot.io, why))
		return NULL;
	struct journal *j = NULL;
	if (survey_folder(&s, o->folder, boot.boot, false, why)) {
		j = journal_new(o, &s);
		if (!open_all(j, &s, why)) {
			journal_free(j);
			j = NULL;
		}
	}
	survey_release(&s);
	return j;
}

/* ---- without opening ---- */

static void report_lane(const struct found *f, size_t n, struct buf *report)
{
	uint64_t first = 0, last = 0;
	bool lost = false;
	for (size_t i = 0; i < n; i++) {
		first = first ? first : f[i].walk.first;
		last = f[i].walk.last ? f[i].walk.last : last;
		lost |= f[i].cut;
	}
	buf_addf(report, "%slane %u: %zu segments, records %llu to %llu%s", report->len ? "\n" : "", f->lane, n, (unsigned long long)first,
		 (unsigned long long)last, lost ? "; what followed may have been lost with the machine's power" : "");
}

bool journal_verify(const char *folder, struct buf *report)
{
	struct survey s;
	struct journal boot = {0};
	files_init(&boot, NULL);
	bool fine = survey_folder(&s, folder, boot.boot, true, report);
	for (size_t i = 0, n; i < s.count; i += n) {
		for (n = 1; i + n < s.count && s.files[i + n].lane == s.files[i].lane;)
			n++;
		report_lane(s.files + i, n, report);
	}
	survey_release(&s);
	return fine;
}
