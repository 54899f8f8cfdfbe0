/* probe.h - one look at one base URL: is an engine there, of which kind, alive or loading, with
 * which models.
 *
 * Asks only cheap questions (dialect/engine.h), several at once, each with a time-out; never a
 * generation. A kind that is known costs one or two requests; an unknown one is asked for its
 * models first, so that a dead port costs one connection attempt and no more. Runs on the loop's
 * thread. The caller may free the memory of a probe from inside `done`, after probe_release().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_PROBE_H
#define VALET_ADMIN_PROBE_H

#include "base/buf.h"
#include "base/mem.h"
#include "dialect/engine.h"
#include "http/fetch.h"
#include "http/url.h"

#define PROBE_ANY        ENGINE_NONE
#define PROBE_TIMEOUT_MS 2000

enum probe_outcome {
	PROBE_ALIVE,
	PROBE_LOADING,  /* an engine that is loading its model */
	PROBE_REFUSED,  /* no connection, or one that ended without an answer */
	PROBE_SLOW,     /* no answer in time */
	PROBE_DENIED,   /* 401 or 403: it wants another key */
	PROBE_FAILING,  /* 5xx: something is wrong with it */
	PROBE_STRANGER, /* it answers, but as no engine, or as none of the kind that was told */
	PROBE_VALET,    /* a Valet; only where no kind was told */
};

struct probe_question {
	struct probe *probe;
	struct fetch *fetch; /* NULL: not asked */
	int64_t began_ms, ended_ms;
};

struct probe {
	/* may be set between probe_init() and probe_start() */
	const struct engine_models *last; /* the models found before: saves /api/show for each; must
					     live until `done` */
	uint32_t lacking; /* in and out: ASK_BIT() of what this engine has turned out not to have,
			     and is not asked again */
	bool recheck;     /* the kind was found by an earlier probe, not configured: answers that
			     contradict it make a stranger */
	void *user;

	/* the result, from `done` on, until probe_release() */
	enum probe_outcome outcome;
	enum engine_kind kind;       /* as told or as recognised; ENGINE_NONE where neither */
	struct engine_models models; /* where alive */
	struct engine_load load;     /* the same; all 0 where `unlisted` */
	bool unlisted;      /* alive, but it has no list of models or does not give it now */
	struct str version; /* empty where not told */
	struct str why;     /* where not alive: a reason for people; empty otherwise */
	int64_t took_ms;    /* from asking for the list of models to its answer */

	/* probe.c's */
	struct arena arena;
	struct loop *loop;
	struct tls_client *tls;
	char *url_text;
	struct url url;
	struct buf fields;
	struct probe_question questions[ASK_ALL];
	struct engine_evidence evidence;
	enum engine_kind told, guess;
	uint32_t asked;     /* ASK_BIT() of all questions so far */
	uint32_t pending;   /* questions under way */
	uint32_t show_next; /* the next model to ask /api/show for */
	uint8_t stage;
	int64_t timeout_ms;
	int64_t show_until_ms;
	void (*done)(struct probe *);
};

void probe_init(struct probe *p);
/* Begins. `kind`: what the engine is known to be, or PROBE_ANY. `fields`: ready lines
 * "authorization: Bearer …\r\n", or empty. All is copied. `done` is called once, not from inside
 * this call. `tls` may be NULL: https then fails. The probe must be fresh or released. */
void probe_start(struct probe *p, struct loop *loop, struct tls_client *tls, const struct url *url,
		 enum engine_kind kind, struct str fields, int64_t timeout_ms,
		 void (*done)(struct probe *));
/* Gives up (then `done` is not called) or cleans up; the result is gone. May be started again, from
 * inside `done` too. */
void probe_release(struct probe *p);

#endif
