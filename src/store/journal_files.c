/* journal_files.c - segments as files: made and mapped, prepared for a lane, taken out of use, and replaced where a sync failed.
 *
 * Syncing thread only, and whoever opens and closes. A file whose sync has failed is never synced again: the kernel may have dropped what it could not
 * write and call the next one a success. It is read back from memory into another file, which takes its name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#include <sys/time.h>
#endif

#define COPY_TRIES 2

/* ---- the system's calls ---- */

static int plain_open(const char *path, int flags, mode_t mode)
{
	return open(path, flags, mode);
}

#ifdef __APPLE__
static int plain_allocate(int fd, off_t offset, off_t length)
{
	fstore_t store = {.fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = offset + length};
	return fcntl(fd, F_PREALLOCATE, &store) < 0 || ftruncate(fd, offset + length) < 0 ? errno : 0;
}

static int plain_sync(int fd)
{
	return fcntl(fd, F_FULLFSYNC);
}

static const char *plain_boot(void)
{
	static char text[BOOT_BYTES];
	struct timeval at = {0};
	size_t size = sizeof(at);
	if (sysctlbyname("kern.boottime", &at, &size, NULL, 0) == 0)
		snprintf(text, sizeof(text), "%lld", (long long)at.tv_sec);
	return text;
}
#else
static int plain_allocate(int fd, off_t offset, off_t length)
{
	return posix_fallocate(fd, offset, length);
}

static int plain_sync(int fd)
{
	return fdatasync(fd);
}

/* Empty where it cannot be read: then no segment is of this boot, and what is not synced counts as lost. */
static const char *plain_boot(void)
{
	static char text[BOOT_BYTES];
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return text;
}
#endif

static void *plain_map(size_t length, int fd)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

void files_init(struct journal *j, const struct journal_io *io)
{
	if (io)
		j->io = *io;
	j->io.open = j->io.open ? j->io.open : plain_open;
	j->io.allocate = j->io.allocate ? j->io.allocate : plain_allocate;
	j->io.sync = j->io.sync ? j->io.sync : plain_sync;
	j->io.sync_folder = j->io.sync_folder ? j->io.sync_folder : fsync;
	j->io.rename = j->io.rename ? j->io.rename : rename;
	j->io.map = j->io.map ? j->io.map : plain_map;
	j->io.boot = j->io.boot ? j->io.boot : plain_boot;
	snprintf(j->boot, sizeof(j->boot), "%s", j->io.boot());
	j->folder_fd = -1;
}

bool files_open_folder(struct journal *j)
{
	if (j->folder_fd >= 0)
		close(j->folder_fd);
	j->folder_fd = j->io.open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	return j->folder_fd >= 0;
}

/* ---- segments ---- */

static void path_of(const struct journal *j, const struct segment *s, char out[PATH_BYTES])
{
	if (s->lane < JOURNAL_LANES_MAX)
		segment_path(out, j->folder, s->lane, s->number);
	else
		spare_path(out, j->folder, s->number);
}

void files_forget(struct segment *s)
{
	if (s->page)
		munmap(s->page, s->bytes);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

void files_discard(struct journal *j, struct segment *s)
{
	char path[PATH_BYTES];
	path_of(j, s, path);
	unlink(path);
	atomic_fetch_sub(&j->bytes, s->bytes);
	files_forget(s);
}

/* Opens and maps the file of `s`, all of it allocated: no store into it can fail later. */
static bool attach(struct journal *j, struct segment *s, int flags)
{
	char path[PATH_BYTES];
	path_of(j, s, path);
	s->fd = j->io.open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	if (s->fd < 0)
		return false;
	int error = j->io.allocate(s->fd, 0, (off_t)s->bytes);
	if (error) {
		errno = error;
		return false;
	}
	void *map = j->io.map(s->bytes, s->fd);
	if (map == MAP_FAILED)
		return false;
	s->page = map;
	s->data = (uint8_t *)map + SEGMENT_PAGE;
	s->capacity = s->bytes - SEGMENT_PAGE;
	return true;
}

static struct segment *segment_new(unsigned lane, uint64_t number, size_t bytes)
{
	struct segment *s = mem_zero(sizeof(*s));
	s->fd = -1;
	s->lane = lane;
	s->number = number;
	s->bytes = bytes;
	return s;
}

struct segment *files_map(struct journal *j, const struct found *f)
{
	struct segment *s = segment_new(f->lane, f->number, f->facts.bytes);
	if (!attach(j, s, 0)) {
		j->error = errno;
		files_forget(s);
		return NULL;
	}
	atomic_fetch_add(&j->bytes, s->bytes);
	s->seed = f->facts.seed;
	s->synced = s->touched = f->facts.synced;
	atomic_store(&s->first, f->walk.first);
	atomic_store(&s->last, f->walk.last);
	return s;
}

/* ---- spares ---- */

static void push_spare(struct journal *j, struct segment *s)
{
	s->link = j->spares;
	j->spares = s;
	j->spare_count++;
}

/* A file may be older than this start and in part allocated only; attach() allocates what is missing. */
void files_adopt_spare(struct journal *j, uint64_t number)
{
	char path[PATH_BYTES];
	struct stat st;
	spare_path(path, j->folder, number);
	if (number >= j->next_spare)
		j->next_spare = number + 1;
	struct segment *s = segment_new(JOURNAL_LANES_MAX, number, j->segment_bytes);
	if (j->spare_count <= j->lanes_asked && stat(path, &st) == 0 && (size_t)st.st_size <= s->bytes && attach(j, s, 0)) {
		atomic_fetch_add(&j->bytes, s->bytes);
		push_spare(j, s);
		return;
	}
	unlink(path);
	files_forget(s);
}

static struct segment *make_spare(struct journal *j, size_t bytes)
{
	struct segment *s = segment_new(JOURNAL_LANES_MAX, j->next_spare++, bytes);
	if (attach(j, s, O_CREAT | O_EXCL)) {
		atomic_fetch_add(&j->bytes, bytes);
		return s;
	}
	char path[PATH_BYTES];
	j->error = errno;
	j->retry_us = clock_mono_us() + RETRY_US;
	path_of(j, s, path);
	if (s->fd >= 0)
		unlink(path);
	files_forget(s);
	return NULL;
}

static struct segment *pop_spare(struct journal *j, size_t bytes)
{
	for (struct segment **at = &j->spares; *at; at = &(*at)->link) {
		struct segment *s = *at;
		if (s->bytes != bytes)
			continue;
		*at = s->link;
		s->link = NULL;
		j->spare_count--;
		return s;
	}
	return NULL;
}

static bool may_make(struct journal *j, size_t bytes)
{
	if (atomic_load(&j->bytes) + bytes > j->max_bytes) {
		j->error = EDQUOT;
		return false;
	}
	return clock_mono_us() >= j->retry_us;
}

/* The last spare is the reserve: it is taken only where no file can be made. */
struct segment *files_spare(struct journal *j, size_t bytes, bool beyond)
{
	struct segment *s = j->spare_count > 1 ? pop_spare(j, bytes) : NULL;
	if (!s && (beyond || may_make(j, bytes)))
		s = make_spare(j, bytes);
	return s ? s : pop_spare(j, bytes);
}

void files_reserve(struct journal *j)
{
	if (j->spare_count || !may_make(j, j->segment_bytes))
		return;
	struct segment *s = make_spare(j, j->segment_bytes);
	if (s)
		push_spare(j, s);
}

/* ---- into use and out of it ---- */

static bool rename_to(struct journal *j, struct segment *s, unsigned lane, uint64_t number)
{
	char from[PATH_BYTES], to[PATH_BYTES];
	struct segment aim = {.lane = lane, .number = number};
	path_of(j, s, from);
	path_of(j, &aim, to);
	if (j->io.rename(from, to) != 0) {
		j->error = errno;
		return false;
	}
	s->lane = lane;
	s->number = number;
	j->folder_dirty = true;
	return true;
}

static uint64_t new_nonce(void)
{
	uint64_t nonce;
	if (getentropy(&nonce, sizeof(nonce)) != 0)
		nonce = (uint64_t)clock_wall_us() * 0x9e3779b97f4a7c15u;
	return nonce;
}

struct segment *files_prepare(struct journal *j, struct lane *l, uint64_t first, bool beyond)
{
	struct segment *s = files_spare(j, j->segment_bytes, beyond);
	if (!s)
		return NULL;
	uint64_t number = l->count ? l->segments[l->count - 1]->number + 1 : 1;
	struct segment_facts facts = {.lane = l->number, .number = number, .first = first, .bytes = s->bytes};
	memcpy(facts.boot, j->boot, BOOT_BYTES);
	segment_write_head(s->page, &facts, new_nonce());
	bool fits = segment_read_head(s->page, &facts);
	assert(fits);
	s->seed = facts.seed;
	s->synced = s->touched = 0;
	atomic_store(&s->first, first);
	atomic_store(&s->last, 0);
	if (j->io.sync(s->fd) != 0) {
		j->error = errno;
		atomic_fetch_add(&j->failures, 1);
		files_discard(j, s);
		return NULL;
	}
	if (rename_to(j, s, l->number, number))
		return s;
	push_spare(j, s);
	return NULL;
}

bool files_cool(struct journal *j, struct segment *s)
{
	if (!rename_to(j, s, JOURNAL_LANES_MAX, j->next_spare))
		return false;
	j->next_spare++;
	s->link = j->cooling;
	j->cooling = s;
	return true;
}

bool files_sync_folder(struct journal *j)
{
	if (!j->folder_dirty)
		return true;
	bool fine = (j->folder_fd >= 0 || files_open_folder(j)) && j->io.sync_folder(j->folder_fd) == 0;
	if (!fine) { /* not on this descriptor again */
		j->error = errno;
		atomic_fetch_add(&j->failures, 1);
		if (j->folder_fd >= 0)
			close(j->folder_fd);
		j->folder_fd = -1;
	}
	j->folder_dirty = !fine;
	while (j->cooling) {
		struct segment *s = j->cooling;
		j->cooling = s->link;
		if (fine && s->bytes == j->segment_bytes && j->spare_count <= j->lanes_asked)
			push_spare(j, s);
		else
			files_discard(j, s);
	}
	return fine;
}

void files_sweep(struct journal *j)
{
	if (!j->retired)
		return;
	pthread_mutex_lock(&j->lock);
	for (struct segment **at = &j->retired; *at;) {
		struct segment *s = *at;
		if (s->pins) {
			at = &s->link;
			continue;
		}
		*at = s->link;
		files_forget(s);
	}
	pthread_mutex_unlock(&j->lock);
}

/* ---- a sync that fails ---- */

/* Through the descriptor and not the mapping: what cannot be read back is an error then. */
static bool copy_records(const struct segment *from, struct segment *to, size_t head)
{
	for (size_t done = 0; done < head;) {
		ssize_t n = pread(from->fd, to->data + done, head - done, (off_t)(SEGMENT_PAGE + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return segment_walk(to->data, head, from->seed, atomic_load(&from->first)).end == head;
}

/* A file with the same header and records as `from`, synced as far as `head`. */
static struct segment *copy_segment(struct journal *j, const struct segment *from, size_t head)
{
	struct segment *to = files_spare(j, from->bytes, true);
	if (!to)
		return NULL;
	memcpy((void *)to->page, from->page, offsetof(struct segment_head, gap));
	atomic_store(&to->page->head, mark_of(head));
	atomic_store(&to->page->synced, mark_of(from->synced));
	atomic_store(&to->page->closed, atomic_load(&from->page->closed));
	to->seed = from->seed;
	if (copy_records(from, to, head)) {
		if (j->io.sync(to->fd) == 0)
			return to;
		j->error = errno;
		atomic_fetch_add(&j->failures, 1);
	}
	files_discard(j, to);
	return NULL;
}

/* Keeps the writer out; it is inside for the time of one memcpy at most. False: the journal has failed meanwhile. */
static bool halt(struct lane *l)
{
	unsigned open = GATE_OPEN;
	if (!atomic_compare_exchange_strong(&l->gate, &open, GATE_HALTED))
		return false;
	while (atomic_load(&l->inside))
		sched_yield();
	return true;
}

static void let_in(struct lane *l)
{
	unsigned halted = GATE_HALTED;
	atomic_compare_exchange_strong(&l->gate, &halted, GATE_OPEN);
}

/* What was appended meanwhile, and the name. The writer is out, or has left this segment for good. */
static bool take_place(struct journal *j, struct lane *l, struct segment *old, struct segment *fresh, size_t head)
{
	size_t now = head_now(old->page);
	memcpy(fresh->data + head, old->data + head, now - head);
	atomic_store(&fresh->page->head, mark_of(now));
	atomic_store(&fresh->first, atomic_load(&old->first));
	atomic_store(&fresh->last, atomic_load(&old->last));
	if (!rename_to(j, fresh, old->lane, old->number))
		return false;
	if (l->cur == old)
		l->cur = fresh;
	return true;
}

static bool replace(struct journal *j, struct lane *l, size_t index)
{
	struct segment *old = l->segments[index], *fresh = NULL;
	size_t head = head_now(old->page);
	for (int i = 0; i < COPY_TRIES && !fresh; i++)
		fresh = copy_segment(j, old, head);
	if (!fresh)
		return false;
	bool live = l->written && atomic_load(&l->current) == old->number;
	bool fine = (!live || halt(l)) && take_place(j, l, old, fresh, head);
	if (live)
		let_in(l);
	if (!fine) {
		files_discard(j, fresh);
		return false;
	}
	fresh->synced = fresh->touched = head;
	pthread_mutex_lock(&j->lock);
	l->segments[index] = fresh;
	pthread_mutex_unlock(&j->lock);
	atomic_fetch_sub(&j->bytes, old->bytes); /* its name is gone */
	old->link = j->retired;
	j->retired = old;
	files_sweep(j);
	return files_sync_folder(j);
}

bool files_sync(struct journal *j, struct lane *l, size_t index)
{
	struct segment *s = l->segments[index];
	size_t head = head_now(s->page);
	if (j->io.sync(s->fd) == 0) {
		s->synced = head;
		return true;
	}
	j->error = errno;
	atomic_fetch_add(&j->failures, 1);
	return replace(j, l, index);
}
