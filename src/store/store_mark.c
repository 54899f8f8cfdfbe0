/* store_mark.c - FOLDER/valet.mark: how many changes of keys and facts valet.db has had, told outside of it.
 *
 * What was changed last stands in valet.db-wal. Where that is deleted after a crash, or a copy was taken without it, valet.db is a sound database that knows
 * fewer keys, and still accepts those that had been revoked. The mark is written after a change is on the disk, and so never ahead of it unless something of
 * valet.db is gone. It is a witness and nothing else: where it cannot be written the change holds all the same, and a mark that is missing accuses nobody.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

#include "base/crc.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#define MARK "valet.mark"

/* In one sector, so that a power loss leaves the old one or the new one. */
struct mark {
	uint64_t changes;
	uint32_t version, crc;
};
_Static_assert(sizeof(struct mark) == 16, "padding in mark");

static uint32_t crc_of(const struct mark *m)
{
	return crc32c_of(0, m, offsetof(struct mark, crc));
}

static int open_mark(const char *folder, int flags)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s/" MARK, folder);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

uint64_t mark_read(const char *folder)
{
	struct mark m;
	int fd = open_mark(folder, O_RDONLY);
	bool whole = fd >= 0 && pread(fd, &m, sizeof(m), 0) == (ssize_t)sizeof(m) && m.version == 1 && m.crc == crc_of(&m);
	if (fd >= 0)
		close(fd);
	return whole ? m.changes : 0;
}

void mark_write(struct store *s, uint64_t changes)
{
	struct mark m = {.changes = changes, .version = 1};
	bool made = s->mark_fd < 0;
	m.crc = crc_of(&m);
	if (made)
		s->mark_fd = open_mark(s->folder, O_RDWR | O_CREAT);
	bool fine = s->mark_fd >= 0 && pwrite(s->mark_fd, &m, sizeof(m), 0) == (ssize_t)sizeof(m) && fsync(s->mark_fd) == 0;
	if (fine && made)
		folder_sync(s->folder);
}
