/* journal.h - the append-only journal: lanes of preallocated, mapped segments.
 *
 * Each thread that writes has a lane of its own and appends by plain stores into a file mapped MAP_SHARED: no system call, no lock, and what was
 * appended survives the death of the process. A power loss takes what was appended since the last journal_sync(). Files are
 * FOLDER/lane-LL-SSSSSSSSSSSS.vj; each begins with a header page (magic, version, lane, number of the segment, sequence of its first record, boot id, a
 * nonce; `head`: bytes appended, `synced`: bytes that a sync has covered, `closed`) and holds records: length, CRC-32C over all that follows, sequence,
 * type, payload, padded to 8 bytes. Sequences count up by one within a lane, for ever. Segments that are dropped are reused under a new number
 * (FOLDER/spare-SSSSSSSSSSSS.vj meanwhile); one is kept in reserve for a full disk. FOLDER/waits-LL.vw: see lane_waits().
 *
 * After the death of the process the boot id is the same: `head` is exact, and any record below it that does not check is damage. After a power
 * loss (another boot id) what is missing or does not check above `synced` is the tail that was lost; below it, damage. So it is in a segment that was
 * closed, or that a later one which has been synced follows.
 *
 * Threads: lane_*() belong to the lane's one writer; all else to the thread that syncs, but where it says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_JOURNAL_H
#define VALET_STORE_JOURNAL_H

#include "base/buf.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define JOURNAL_LANES_MAX 65

/* System calls that tests make fail. NULL members and a NULL pointer mean the system's. */
struct journal_io {
	int (*open)(const char *path, int flags, mode_t mode);
	int (*allocate)(int fd, off_t offset, off_t length); /* posix_fallocate: returns an errno */
	int (*sync)(int fd);                                  /* fdatasync */
	int (*sync_folder)(int fd);                           /* fsync */
	int (*rename)(const char *from, const char *to);
	void *(*map)(size_t length, int fd);                  /* MAP_FAILED */
	const char *(*boot)(void);                            /* the machine's boot id */
};

struct journal_options {
	const char *folder;        /* made if it is not there */
	unsigned lanes;            /* lane 0 is the syncing thread's own (leases, what the recovery writes) */
	size_t segment_bytes;      /* 0: 4 MiB; less where max_bytes would not give each lane two */
	size_t max_bytes;          /* all segments together, 0: 256 MiB; beyond, lanes run full. Opening may go beyond by one a lane */
	const struct journal_io *io;
};

struct journal;
struct lane;

enum journal_state {
	JOURNAL_CLEAN,    /* new, or closed by journal_close() */
	JOURNAL_CRASHED,  /* the process died: nothing is missing */
	JOURNAL_LOST,     /* the machine died: the tails since the last sync may be missing */
};

/* Opens what is there, finds the end of each lane, and prepares a segment for each lane. NULL and a sentence in `why` on damage (which file, which
 * byte) or where the folder cannot be used. More lanes may be on disk than are asked for: they are kept until they are dropped. */
struct journal *journal_open(const struct journal_options *o, struct buf *why);
enum journal_state journal_state(const struct journal *j);
const char *journal_boot(const struct journal *j); /* the machine's boot id; empty: not known */
/* Syncs, marks all lanes as closed cleanly, unmaps. No lane may be used any more. */
void journal_close(struct journal *j);
/* Unmaps, and leaves all on the disk as the death of the process would. */
void journal_free(struct journal *j);

/* ---- writing ---- */

struct lane *journal_lane(struct journal *j, unsigned number);
/* Appends. The record's sequence; 0: no room (the syncing thread is behind or is just replacing the file, or the journal is full or has failed). */
uint64_t lane_append(struct lane *l, uint8_t type, const void *payload, size_t len);
/* Sets aside room for `bytes` of payload of one later lane_append(), so that it cannot fail: SETTLE for each BEGIN. It does not fail even where the journal
 * has failed meanwhile, though then nothing puts it on the disk. False: no room. */
bool lane_reserve(struct lane *l, size_t bytes);
/* Gives that room back right before that append, or instead of it. */
void lane_unreserve(struct lane *l, size_t bytes);

/* Says of a BEGIN that nothing of its request has been sent, until lane_sent(), which comes before the first byte goes out. If the process dies in between,
 * the recovery charges nothing for it. Stores into mapped memory. It may be left out; then the request counts as sent from its BEGIN on. */
void lane_waits(struct lane *l, uint64_t seq);
void lane_sent(struct lane *l, uint64_t seq);

/* ---- syncing ---- */

/* Whether journal_sync() has something to do: a lane has more than was synced, wants a segment, or something was dropped. Any thread. */
bool journal_dirty(const struct journal *j);
/* Covers all that was appended when it began; then hands each lane that needs one its next segment. False: it failed with errno, once and for all
 * for the segments it concerns: they are given up, what they held beyond `synced` is copied into new ones and synced there if that can be done
 * (then the result is true and journal_failures() counts it); if it cannot, the journal has failed: lanes run full. */
bool journal_sync(struct journal *j);
uint64_t journal_failures(const struct journal *j); /* any thread */
bool journal_failed(const struct journal *j);       /* any thread */
size_t journal_bytes(const struct journal *j);      /* on disk; any thread */
/* Microseconds of the longest sync since the last call. Any thread. */
int64_t journal_slowest(struct journal *j);

/* ---- reading: by the one thread that feeds the database; may run while lanes are written and synced ---- */

struct journal_record {
	unsigned lane;
	uint64_t seq;
	uint8_t type;
	struct str payload; /* valid during the call */
};
/* Calls `visit` for the records of a lane after sequence `after`, in order, until it returns false or the end is reached. Only records that were
 * appended completely are shown, whether synced or not. Returns the sequence of the last one shown (or `after`). A record that does not check, though the
 * segment was whole when it was opened or written, ends it and makes the journal fail. */
uint64_t journal_read(struct journal *j, unsigned lane, uint64_t after, bool (*visit)(void *user, const struct journal_record *r),
		      void *user);
/* Lanes there are on disk or asked for; the oldest and the newest sequence of one (0, 0: empty). */
unsigned journal_lane_count(const struct journal *j);
void journal_range(const struct journal *j, unsigned lane, uint64_t *oldest, uint64_t *newest);
/* The sequence that a lane's next record follows on, also where all before it has been dropped; 0: the lane begins. */
uint64_t journal_end(const struct journal *j, unsigned lane);
/* Whole segments with nothing after `seq` may be reused or deleted; journal_sync() does it. The newest one of a lane always stays. Any thread. */
void journal_drop(struct journal *j, unsigned lane, uint64_t seq);

/* Whether the last run had said so of a BEGIN, and had done it in this boot of the machine. Before lanes have writers. */
bool journal_waited(const struct journal *j, unsigned lane, uint64_t seq);
/* The recovery has come to its end. */
void journal_forget_waits(struct journal *j);

/* Verifies every record of every segment in a folder that nobody has open; appends a line for each lane, and for each damage. False: damage. */
bool journal_verify(const char *folder, struct buf *report);

#endif
