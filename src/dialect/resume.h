/* resume.h - a stream of chat completions that breaks off and is continued by another engine: what the client has got so far, the body that asks for the rest,
 * and the rest in such words that the client sees one stream.
 *
 * The engine is given the text so far as the beginning of its own answer. Only text can be continued so: after a tool call, after a thought, with
 * probabilities, with a grammar (which would begin anew) or with several choices the state is `barred`. Pure but for its own memory: bytes in, bytes out;
 * belongs to one request.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_RESUME_H
#define VALET_DIALECT_RESUME_H

#include "base/buf.h"
#include "base/mem.h"
#include "dialect/engine.h"

#define RESUME_TEXT_MAX ((size_t)1 << 20) /* bytes of text; a longer answer is not continued */

struct resume {
	struct arena *arena;    /* the request's */
	struct buf text;        /* what the client has got, decoded */
	struct str id, created; /* raw, as the client has got them first; empty: they had none */
	int64_t pieces;         /* events with text that it has got */
	int64_t blank_pieces;   /* of these, the last ones that are nothing but white space */
	int64_t before;         /* tokens of its text that the present attempt was given */
	size_t blanks;          /* white space at the end of that text: engines are not given it (templates may cut it off), and may say it again */
	bool begun;             /* it has got an event */
	bool role;              /* it was told who speaks */
	bool finished;          /* and why the answer ended: only [DONE], perhaps usage, is missing */
	bool continued;         /* the present attempt continues what an earlier one began */
	bool waits;             /* nothing has come of it yet */
	bool barred;            /* what the client has got cannot be continued */
	const char *why;        /* of RESUME_BROKEN: what the target did; static */
};

enum resume_verdict {
	RESUME_SAME,    /* the event goes to the client as it is */
	RESUME_CHANGED, /* `out` goes instead */
	RESUME_NOTHING, /* nothing does: the client has it already */
	RESUME_BROKEN,  /* an error, or an answer that does not continue the text: nothing goes, the attempt is over */
};

/* Whether the engines of that kind continue an answer that they are given the beginning of. */
bool resume_engine(enum engine_kind kind);
/* Whether the answer to a chat of this body (a JSON object, found valid) could be continued. */
bool resume_allowed(struct str body);

void resume_init(struct resume *s, struct arena *a);
void resume_release(struct resume *s);
/* One complete event of the stream on its way to the client; `out` is empty. */
enum resume_verdict resume_event(struct resume *s, struct str event, struct buf *out);
/* The attempt broke off, and the next one continues. `tokens`: what all the text has so far. */
void resume_again(struct resume *s, int64_t tokens);
/* Whether what is left of an event at the end of a stream, without its blank line, is whole. */
bool resume_whole(struct str event);
static inline bool resume_may(const struct resume *s)
{
	return !s->barred && !s->finished;
}
/* Whether the engine is given a beginning. Else (nothing but white space has come yet) it gets the client's body as it stands. */
static inline bool resume_prefills(const struct resume *s)
{
	return s->continued && s->blanks < s->text.len;
}

struct resume_ask {
	struct str model;  /* what the engine calls it */
	bool flags;        /* the engine wants to be told that its answer is to be continued */
	bool usage;        /* usage must be asked for */
	int64_t cap;       /* tokens that the whole answer may have, besides what the body says; 0: no more than that */
};
/* The body for the engine that continues: `body` with the text so far as the last message, and with what is left of the caps. */
void resume_body(const struct resume *s, struct str body, const struct resume_ask *ask, struct buf *out);
/* The events that end a stream whose text is complete: a finish reason (its length) where the client has none, and [DONE]. `model`: as the client calls it. */
void resume_end(const struct resume *s, struct str model, struct buf *out);

#endif
