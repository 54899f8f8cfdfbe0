/* books_parts.h - what the files of the books share among themselves: the structs, and what moves on with time.
 *
 * Private to src/gate/books*.c. Everything here but `clock_us` is covered by the books' lock.
 *
 * A scope is small until it is used (account) or limited (rules), since most of 100,000 keys are neither. Scopes never move and never go away.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_BOOKS_PARTS_H
#define VALET_GATE_BOOKS_PARTS_H

#include "base/mem.h"
#include "base/table.h"
#include "gate/books.h"

#include <pthread.h>
#include <stdatomic.h>

#define MINUTE_US     INT64_C(60000000)
#define RATE_MAX      INT64_C(10000000000) /* a minute; larger limits and needs count as this */
#define SETTLED_MAX   ((int64_t)1 << 61)   /* three of these still fit into an int64_t */
#define WARNINGS_MAX  256
#define LEASE_RETRY_US 50000

/* A token bucket. `level` counts parts: MINUTE_US of them are one request or token, and `limit` of them come back each microsecond. */
struct rate {
	int64_t limit; /* a minute, also the capacity; 0: none */
	int64_t level; /* may be below 0: somebody waits, or took more than there was */
	int64_t at_us; /* monotonic: when `level` was right */
};

/* A budget as it stands in its window. */
struct line {
	int64_t amount;
	int64_t leased;    /* on the disk, from the window's beginning */
	int64_t remainder; /* of it: neither settled nor held */
	int64_t beyond;    /* how far below 0 the remainder may be, see books.h */
	int64_t wanted;    /* what `leased` should become; 0: nothing */
	int64_t given;     /* what it becomes with the next sync; 0: nothing */
	uint8_t unit, period;
	uint8_t warned;    /* how many of the warnings of this window are out */
};

struct rules {
	struct rate requests, tokens;
	uint32_t concurrency; /* 0: no limit */
	uint8_t count;
	bool soft;
	bool asking;          /* the scope stands in books.asking */
	struct line lines[];
};

/* What was used and is held. `epochs` say which windows `settled` belongs to. */
struct account {
	int64_t settled[PERIOD_COUNT][UNIT_COUNT];
	int64_t held[UNIT_COUNT];
	uint32_t epochs[PERIOD_COUNT];
};

struct scope {
	struct account *account; /* NULL: never used */
	struct rules *rules;     /* NULL: no limits */
	const char *pattern;     /* NUL-terminated */
	uint32_t key;
	uint32_t in_flight;
};

/* A list of scopes that grows. */
struct scope_list {
	struct scope **items;
	size_t count, cap;
};

struct books {
	pthread_mutex_t lock;
	struct books_events events;
	bool leasing;

	_Atomic int64_t clock_us;                /* book time never falls below it */
	struct window windows[PERIOD_COUNT];
	uint32_t epochs[PERIOD_COUNT];           /* counts the windows entered */
	int64_t roll_us;                         /* when the first of them ends */

	struct arena arena;                      /* scopes' blocks, texts */
	struct scope **blocks;                   /* SCOPE_BLOCK scopes each */
	size_t scope_count, block_cap;
	uint32_t *by_serial;                     /* number of the key's own scope, plus 1 */
	size_t serial_cap;
	struct table others;                     /* "KEY PATTERN" → struct scope */

	size_t waiting;
	struct scope_list asking, granting;      /* with lines that want a lease; that have one given out */
	bool lease_failed;
	int64_t lease_retry_us;
	struct budget_warning warnings[WARNINGS_MAX];
	size_t warning_first, warning_count;
};

/* What is to be told once the lock is free. */
struct calls {
	bool leases, freed, warning;
};
void books_call(struct books *b, struct calls calls);

static inline void books_lock(struct books *b)
{
	pthread_mutex_lock(&b->lock);
}

static inline void books_unlock(struct books *b)
{
	pthread_mutex_unlock(&b->lock);
}

static inline int64_t clamp_i64(int64_t n, int64_t least, int64_t most)
{
	return n < least ? least : n > most ? most : n;
}

/* ---- books_windows.c ---- */

/* Enters the windows that hold this book time, if it is in later ones. */
void books_roll_slow(struct books *b, int64_t book_us);
static inline void books_roll(struct books *b, int64_t book_us)
{
	if (book_us >= b->roll_us)
		books_roll_slow(b, book_us);
}
/* Brings what the scope has settled into the running windows. */
void scope_refresh_slow(struct books *b, struct scope *s);
static inline void scope_refresh(struct books *b, struct scope *s)
{
	if (!s->account || memcmp(s->account->epochs, b->epochs, sizeof(b->epochs)) != 0)
		scope_refresh_slow(b, s);
}
/* Where a line begins that had no window yet: nothing leased but what is settled. */
void line_begin(struct line *l, int64_t settled, int64_t held);

/* ---- books_rate.c ---- */

void rate_set(struct rate *r, int64_t limit);
/* Brings the level up to now. */
void rate_fill(struct rate *r, int64_t mono_us);
/* How long `need` has to wait; 0: it need not. The level is right for now. */
int64_t rate_wait(const struct rate *r, int64_t need);
/* Takes so much, or gives it back where it is below 0. */
void rate_take(struct rate *r, int64_t need);
/* Makes `view` this rate's where it is tighter. */
void rate_show(const struct rate *r, struct rate_view *view);

/* ---- books_lease.c ---- */

/* Whether the line's lease covers `hold`. Where not it is asked for; without a ledger it is given. */
bool lease_covers(struct books *b, struct scope *s, struct line *l, int64_t hold, struct calls *calls);
/* Asks ahead where little is left for requests like one that held so much. */
void lease_ahead(struct books *b, struct scope *s, struct line *l, int64_t hold, struct calls *calls);
/* More was settled than was held: asks for what is missing. */
void lease_overrun(struct books *b, struct scope *s, struct line *l, struct calls *calls);

/* ---- books_settle.c ---- */

/* How many warnings that much is worth. */
uint8_t warning_steps(int64_t settled, int64_t amount);

#endif
