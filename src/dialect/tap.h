/* tap.h - reads an answer as it passes: usage, ends, errors; and the places where the model's name stands.
 *
 * Pure: sees bytes, changes none. Events of a stream are looked at one by one; a whole JSON answer at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_TAP_H
#define VALET_DIALECT_TAP_H

#include "base/str.h"

#include <stdint.h>

struct usage {
	int64_t input, output, cached; /* tokens */
	int64_t cost;                  /* what the cloud says it takes for it, in nano-dollars, rounded up; only where priced */
	bool priced;                   /* OpenRouter tells the cost */
	bool known;                    /* an answer told it, in a form that can be believed */
	bool flagged;                  /* it told nonsense: negative, absurd, not a number */
};

/* What an event holds. */
enum tap_mark {
	TAP_USAGE = 1,        /* a member "usage" that is not null */
	TAP_FINISH = 2,       /* a finish or stop reason that is not null, or an event that ends a stream of Responses or Messages */
	TAP_ERROR = 4,        /* a member "error" that is not null, or a choice that ended by an error */
	TAP_DONE = 8,         /* data: [DONE] */
	TAP_DATA = 16,        /* any data at all (not a comment) */
	TAP_ONLY_USAGE = 32,  /* usage and an empty list of choices: the chunk that was asked for by us */
};

/* One complete event of a stream. Adds to `usage` what it tells. Returns the marks. */
unsigned tap_event(struct str event, struct usage *usage);
/* The raw value (with quotes) of the first member "model" at the top level of the event's data; ptr NULL where there is none. */
struct str tap_event_model(struct str event);

/* A whole answer: false if it is not valid JSON. *model: raw value of the top-level "model", as above. *error: it holds an error instead
 * (some send one with status 200). */
bool tap_whole(struct str body, struct usage *usage, struct str *model, bool *error);

/* Reads a usage object, valid JSON of at least "{}", in OpenAI's or Anthropic's words. */
void tap_usage(struct str object, struct usage *usage);
/* Looks for the last "usage" object in the end of a large answer. */
void tap_tail(struct str tail, struct usage *usage);

#endif
