/* journal_waits.c - which requests have sent nothing yet: FOLDER/waits-LL.vw, a mapped file beside the segments of lane LL.
 *
 * A request has its BEGIN before it waits in the queue, and may wait for long. If the process dies meanwhile nothing can have been used for it, but BEGIN alone
 * does not say so. Here stand the sequences of those that wait, each in the place that its remainder gives; another one in the same place takes it over,
 * and the former then counts as one that was sent. The file is never synced: it is believed after the death of the process only, which takes no store
 * back. Written by the lane's writer; opened and read before there is one. A lane without the file (no room) works as before.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC  "VALETWT1"
#define PLACES 4088 /* with the header 32 KiB */

struct waits {
	char magic[8], boot[BOOT_BYTES], gap[16];
	_Atomic uint64_t at[PLACES];
};
_Static_assert(sizeof(struct waits) == 32768, "the layout of a lane's file of waits");

static struct waits *map_waits(const struct journal *j, unsigned lane)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/waits-%02u.vw", j->folder, lane);
	int fd = j->io.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return NULL;
	void *map = j->io.allocate(fd, 0, sizeof(struct waits)) == 0 ? j->io.map(sizeof(struct waits), fd) : MAP_FAILED;
	close(fd);
	return map == MAP_FAILED ? NULL : map;
}

static void clear(struct waits *w)
{
	for (size_t i = 0; i < PLACES; i++)
		atomic_store_explicit(&w->at[i], 0, memory_order_relaxed);
}

void waits_open(struct journal *j, struct lane *l)
{
	struct waits *w = l->waits = map_waits(j, l->number);
	if (!w || (j->boot[0] && memcmp(w->magic, MAGIC, sizeof(w->magic)) == 0 && memcmp(w->boot, j->boot, sizeof(w->boot)) == 0))
		return;
	clear(w);
	memcpy(w->magic, MAGIC, sizeof(w->magic));
	memcpy(w->boot, j->boot, sizeof(w->boot));
}

void waits_close(struct lane *l)
{
	if (l->waits)
		munmap(l->waits, sizeof(*l->waits));
	l->waits = NULL;
}

void lane_waits(struct lane *l, uint64_t seq)
{
	if (l->waits)
		atomic_store_explicit(&l->waits->at[seq % PLACES], seq, memory_order_release);
}

/* Sequentially consistent: the compiler may not move what follows, the sending, before it. */
void lane_sent(struct lane *l, uint64_t seq)
{
	if (l->waits && atomic_load_explicit(&l->waits->at[seq % PLACES], memory_order_relaxed) == seq)
		atomic_store(&l->waits->at[seq % PLACES], 0);
}

bool journal_waited(const struct journal *j, unsigned lane, uint64_t seq)
{
	const struct waits *w = lane < j->lanes ? j->lane[lane].waits : NULL;
	return w && seq && atomic_load(&w->at[seq % PLACES]) == seq;
}

void journal_forget_waits(struct journal *j)
{
	for (unsigned i = 0; i < j->lanes; i++)
		if (j->lane[i].waits)
			clear(j->lane[i].waits);
}
