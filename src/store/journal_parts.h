/* journal_parts.h - what the files of the journal share. Nobody else includes it but their tests.
 *
 *   journal.c          a lane's writer, and the journal as a whole: close, figures
 *   journal_open.c     opening, and journal_verify()
 *   journal_segment.c  a segment as bytes: its header page and its records (pure)
 *   journal_survey.c   what a folder holds, and whether it is whole
 *   journal_files.c    segments as files: made, prepared, taken out of use, replaced
 *   journal_sync.c     the syncing thread
 *   journal_read.c     the reading thread
 *   journal_waits.c    which requests have sent nothing yet
 *
 * A segment is prepared under a spare name (header written and synced), then renamed to its place and the folder synced, and only then used; one that is
 * dropped goes back to a spare name, durably, before its header is written again. So whatever stands under a lane's name has a whole header, and a header
 * that does not check is damage.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_JOURNAL_PARTS_H
#define VALET_STORE_JOURNAL_PARTS_H

#include "store/journal.h"

#include <pthread.h>

#define SEGMENT_PAGE   4096
#define SEGMENT_MIN    (2 * SEGMENT_PAGE)
#define SEGMENT_MAX    (1u << 30)
#define RECORD_HEAD    17 /* bytes of a record before its payload: length, CRC, sequence, type */
#define BOOT_BYTES     40
#define PATH_BYTES     4200
#define RETRY_US       100000 /* how long to wait with the next file after one could not be made */

/* ---- bytes: journal_segment.c ---- */

/* The header page. The first part is written once, with its CRC; the rest are numbers which check themselves (mark_of), as a word is stored in one go
 * while a number and its checksum would not be. All in one sector. */
struct segment_head {
	char magic[8];
	uint32_t version, lane;
	uint64_t number;
	uint64_t first;   /* sequence of the first record; 0: follows on the segment before, known when it begins */
	uint64_t bytes;   /* of the file */
	uint64_t nonce;   /* part of each record's CRC, so that what a file held before is never taken for a record */
	char boot[BOOT_BYTES];
	uint32_t zero, crc;
	char gap[32];
	_Atomic uint64_t head;   /* bytes of records; the writer's */
	char gap2[56];
	_Atomic uint64_t synced; /* of these, what a sync has covered */
	_Atomic uint64_t closed; /* 1: `head` is the end for ever, and was synced */
};

struct segment_facts {
	unsigned lane;
	uint64_t number, first;
	size_t bytes, head, synced;
	uint32_t seed;
	bool closed;
	char boot[BOOT_BYTES];
};

static inline uint64_t mark_of(size_t n)
{
	return (uint64_t)(uint32_t)~n << 32 | (uint32_t)n;
}

static inline size_t mark_value(uint64_t mark)
{
	return (uint32_t)mark;
}

static inline size_t record_bytes(size_t len)
{
	return (RECORD_HEAD + len + 7) & ~(size_t)7;
}

static inline size_t head_now(const struct segment_head *page)
{
	return mark_value(atomic_load_explicit(&page->head, memory_order_acquire));
}

void segment_write_head(struct segment_head *page, const struct segment_facts *facts, uint64_t nonce);
/* False: this is no header, or a damaged one. Reads SEGMENT_PAGE bytes. */
bool segment_read_head(const void *page, struct segment_facts *out);
void segment_put(uint8_t *at, uint32_t seed, uint64_t seq, uint8_t type, const void *payload, size_t len);
/* The record at *at of `data`, of which `end` bytes may be looked at; moves *at behind it. `seq`: which one it must be, 0: any. */
bool segment_next(const uint8_t *data, size_t end, uint32_t seed, uint64_t seq, size_t *at, struct journal_record *out);

struct segment_end {
	uint64_t first, last; /* 0: no record */
	size_t end;
};
/* Walks to the end of the good records. */
struct segment_end segment_walk(const uint8_t *data, size_t end, uint32_t seed, uint64_t first);

/* ---- the folder: journal_survey.c ---- */

struct found { /* a file of a lane */
	unsigned lane;
	uint64_t number;
	struct segment_facts facts;
	size_t length;           /* of the file; may be shorter than it says after a power loss */
	struct segment_end walk;
	bool read;               /* the header could be read */
	bool same_boot, begun;
	bool cut;                /* its tail is lost */
	bool surplus;            /* behind a lost tail, or not begun: may be used again */
	bool damaged;            /* set where all files are looked at */
};

struct survey {
	struct found *files; /* by lane, then number */
	size_t count;
	uint64_t *spares;
	size_t spare_count;
	enum journal_state state;
};

/* Reads and checks all. False: damage, or a file that cannot be read; sentences in `report`, the first one only unless `all`. */
bool survey_folder(struct survey *s, const char *folder, const char *boot, bool all, struct buf *report);
void survey_release(struct survey *s);
void segment_path(char out[PATH_BYTES], const char *folder, unsigned lane, uint64_t number);
void spare_path(char out[PATH_BYTES], const char *folder, uint64_t number);

/* ---- in use ---- */

struct segment {
	struct segment_head *page;
	uint8_t *data;                /* behind the page, in the same mapping */
	size_t bytes, capacity;
	int fd;
	unsigned lane;                /* JOURNAL_LANES_MAX: a spare */
	uint64_t number;              /* of the segment, or of the spare */
	uint32_t seed;
	_Atomic uint64_t first, last; /* set by the writer where it enters and leaves it */
	size_t synced, touched;       /* syncing thread */
	unsigned pins;                /* journal->lock; the reader is in it */
	struct segment *link;
};

enum gate { GATE_OPEN, GATE_HALTED, GATE_FAILED };

struct lane {
	/* the writer's; by the syncing thread only while the gate is halted and nobody is inside */
	struct journal *journal;
	struct segment *cur;
	size_t used, capacity;        /* of cur */
	size_t reserved, reserve_max; /* bytes of records; the largest of them */
	size_t ask_at;                /* fill at which the next segment is asked for */
	uint64_t next_seq;
	struct waits *waits;          /* mapped; NULL: there is no room for it */
	bool owed;                    /* a reservation was given back for the append that follows */
	_Atomic bool inside;          /* the writer is between gate and gate */
	_Atomic uint64_t last;        /* newest sequence appended */
	char gap[64];
	/* between the threads */
	_Atomic(struct segment *) next; /* handed to the writer, which takes it */
	_Atomic unsigned gate;
	_Atomic bool wants;             /* a next segment is asked for */
	_Atomic uint64_t current;       /* number of cur: those below are sealed */
	_Atomic uint64_t synced;        /* sequence */
	_Atomic uint64_t drop;          /* sequence up to which nobody needs it any more */
	char gap2[64];
	/* the syncing thread's; changes and other readers take journal->lock */
	struct segment **segments;
	size_t count, room;
	unsigned number;
	bool written;                   /* has a writer */
	struct segment *coming;         /* prepared, waiting for the folder's sync */
	/* the reader's */
	uint64_t at_number, at_seq;
	size_t at;
	char gap3[64];
};

struct journal {
	char *folder;
	int folder_fd;
	struct journal_io io;
	size_t segment_bytes, max_bytes;
	unsigned lanes, lanes_asked;
	enum journal_state state;
	char boot[BOOT_BYTES];
	struct lane *lane;
	pthread_mutex_t lock;      /* lists of segments and pins; never taken by writers */
	/* the syncing thread's */
	struct segment *spares;
	unsigned spare_count;
	struct segment *cooling;   /* renamed to spares; the folder is not synced yet */
	struct segment *retired;   /* without a name, still pinned by the reader */
	uint64_t next_spare;
	bool folder_dirty;
	int64_t retry_us;          /* no new file before */
	int error;                 /* errno of the last file that could not be made */
	_Atomic bool work, failed; /* work: there is something for journal_sync() though no lane is dirty */
	_Atomic uint64_t failures;
	_Atomic size_t bytes;
	_Atomic int64_t slowest_us;
};

/* ---- files: journal_files.c ---- */

void files_init(struct journal *j, const struct journal_io *io);
bool files_open_folder(struct journal *j);
/* Takes a spare, or makes one where `max_bytes` allows it or `beyond`. NULL: neither, `error` says why. */
struct segment *files_spare(struct journal *j, size_t bytes, bool beyond);
void files_reserve(struct journal *j);   /* keeps one spare where it can */
void files_adopt_spare(struct journal *j, uint64_t number);
/* Opens and maps a file that was found. NULL: errno. */
struct segment *files_map(struct journal *j, const struct found *f);
/* Header, sync, rename; the folder is dirty then. NULL: not now. `first` 0: see segment_head. */
struct segment *files_prepare(struct journal *j, struct lane *l, uint64_t first, bool beyond);
bool files_cool(struct journal *j, struct segment *s); /* to a spare name; false: still where it was */
bool files_sync_folder(struct journal *j);             /* then what cooled is spare; where it fails it is deleted */
void files_discard(struct journal *j, struct segment *s); /* deletes and frees */
void files_forget(struct segment *s);                     /* unmaps and frees, the file stays */
void files_sweep(struct journal *j);                      /* frees what the reader has left */
/* Syncs; where that fails, replaces the file by a copy that can be synced. False: neither. */
bool files_sync(struct journal *j, struct lane *l, size_t index);

/* ---- the rest ---- */

void waits_open(struct journal *j, struct lane *l);
void waits_close(struct lane *l);

void lane_push(struct journal *j, struct lane *l, struct segment *s);
void journal_fail(struct journal *j);
void journal_tend(struct journal *j); /* drops, hands over, keeps the reserve */

#endif
