/* record.h - what stands in the journal: three kinds of records, as bytes and as structs. Pure; bytes are this machine's (the journal never leaves
 * it). Decoders accept any bytes and refuse what does not fit.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_STORE_RECORD_H
#define VALET_STORE_RECORD_H

#include "base/str.h"

#include <stdint.h>

enum record_type {
	RECORD_BEGIN = 1, /* a request that holds something, or goes to a target: before its first byte goes upstream */
	RECORD_SETTLE,    /* a request's end: before the last byte of its answer */
	RECORD_LEASE,     /* a part of a budget that may be spent from now on */
};

#define RECORD_ID   24      /* bytes of a request's id behind "req_" */
#define RECORD_TEXT 200     /* bytes of a text in a record; longer ones are cut */
#define RECORD_MAX  1200    /* bytes of any record's payload */

/* Where the numbers of a record come from. */
enum source {
	SOURCE_NONE,      /* nothing was used: refused, or failed before an answer */
	SOURCE_UPSTREAM,  /* the target told them */
	SOURCE_COUNTED,   /* output counted by the stream's events, input by the learned ratio of bytes to tokens */
	SOURCE_ESTIMATED, /* from bytes alone, or the whole hold */
	SOURCE_ABORTED,   /* broken off; what was produced until then, counted on the safe side */
	SOURCE_COUNT,
};
extern const char *const source_names[SOURCE_COUNT + 1];

enum record_flag {
	FLAG_STREAM = 1,
	FLAG_CLIENT_LEFT = 2,
	FLAG_ORPHAN = 4,    /* settled by the recovery after a crash, at its hold, or at nothing where nothing had been sent */
	FLAG_NONSENSE = 8,  /* the target told numbers that cannot be; they were clamped */
	FLAG_OVER_HOLD = 16, /* the target used more than the request could hold: beyond its own cap */
	FLAG_LEASE = 32,    /* not a request: what a lease still held when the power failed */
	FLAG_UNPRICED = 64, /* the model has no price; cost is 0 */
	FLAG_STOPPED = 128, /* by the operator */
	FLAG_OVERFLOW = 256, /* went beyond the targets of its model, by policy */
};

struct record_begin {
	int64_t began_us;        /* book time, see books.h */
	int64_t hold_tokens, hold_nanos;
	int64_t input_tokens;    /* the part of hold_tokens that is the prompt's bound */
	uint32_t key;            /* serial number; 0: no key */
	char id[RECORD_ID];
	struct str model, target, op;
};

struct record_settle {
	uint64_t begin;          /* its BEGIN, see settle_begin() below; 0: none */
	int64_t began_us, ended_us; /* book time */
	int64_t input, cached, output; /* tokens; cached is part of input */
	int64_t cost, reference; /* nano-dollars; reference: what it would have cost in the cloud */
	uint64_t bytes_in, bytes_out;
	uint32_t key;
	uint32_t total_ms, first_ms, queue_ms; /* first_ms 0: no stream */
	uint16_t status;         /* HTTP; 499: the client left; 0: recovered */
	uint8_t source;          /* enum source */
	uint8_t attempts;
	uint32_t flags;          /* enum record_flag */
	char id[RECORD_ID];
	struct str model, target, op, error; /* error: its code, empty: none */
};

/* How a SETTLE names its BEGIN: by its sequence where both stand in one lane; what the recovery settles stands in lane 0, and has the number of the BEGIN's
 * lane and one in the upper byte. */
static inline uint64_t settle_begin(unsigned lane, uint64_t seq)
{
	return (uint64_t)(lane + 1) << 56 | seq;
}
static inline unsigned settle_begin_lane(unsigned settle_lane, uint64_t begin)
{
	return begin >> 56 ? (unsigned)(begin >> 56) - 1 : settle_lane;
}
static inline uint64_t settle_begin_seq(uint64_t begin)
{
	return begin & (((uint64_t)1 << 56) - 1);
}

struct record_lease {
	int64_t leased;          /* from the window's beginning: so much may be spent of it */
	int64_t window_s;        /* the window's beginning */
	uint32_t key;            /* 0: not a key's */
	uint8_t unit, period;    /* enum budget_unit, enum period */
	struct str pattern;      /* of models; empty: all */
};

/* Bytes written into `out` (RECORD_MAX bytes). */
size_t record_put_begin(void *out, const struct record_begin *r);
size_t record_put_settle(void *out, const struct record_settle *r);
size_t record_put_lease(void *out, const struct record_lease *r);
/* False: these bytes are no such record. Texts are views into `bytes`. */
bool record_get_begin(struct str bytes, struct record_begin *out);
bool record_get_settle(struct str bytes, struct record_settle *out);
bool record_get_lease(struct str bytes, struct record_lease *out);

#endif
