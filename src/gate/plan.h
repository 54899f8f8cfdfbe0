/* plan.h - what becomes of a request as things stand now: a place of its model, a place beyond them by the policy of overflow, the queue, or nowhere.
 *
 * The one place where that is decided: requests act on it (proxy/route.c), `valet explain` prints it. Reads live state (atomics), takes nothing, changes
 * nothing: what it names may be gone a moment later; then its user says so in the view, or in the ask, and asks again. Any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_PLAN_H
#define VALET_GATE_PLAN_H

#include "base/error.h"
#include "gate/catalog.h"

#define PLAN_PLACES CHOOSE_MOST /* places looked at for one plan */
#define PLAN_TRIED  4           /* targets that were asked already */

/* Why a place is not for this request. */
enum place_fit {
	PLACE_FITS,
	PLACE_TRIED,      /* it was asked already */
	PLACE_NOT_SERVED, /* the target does not serve the operation, or cannot continue the answer */
	PLACE_NOT_LOCAL,  /* the request may not leave this network */
	PLACE_DRAINED,    /* maintenance */
	PLACE_LEFT_ALONE, /* it fails, refuses its secret, or has asked for a pause */
	PLACE_TOO_SMALL,  /* the prompt does not fit into its window, but into another's */
};
extern const char *const place_fit_names[]; /* for programs: "fits", "tried", … */

struct plan_ask {
	const struct catalog *catalog;
	const struct catalog_model *model;
	uint32_t operation;          /* OP_BIT() */
	bool local_only;             /* may not go to a cloud */
	bool continues;              /* an answer that broke off is to go on elsewhere */
	bool too_long;               /* a target said that the prompt does not fit */
	bool stays;                  /* may not go beyond: tried, and its budget or the target said no */
	bool waited;                 /* has waited or been tried before: nobody is overtaken */
	const struct catalog_target *tried[PLAN_TRIED];
	uint32_t tried_count;
	int64_t input, output;       /* tokens, most likely; output 0: not known */
	const uint64_t *prefix;      /* hashes of the prompt's beginning; NULL: none */
	uint32_t prefix_count;
	const struct prefixes *prefixes;
	struct queue *queue;
	uint32_t turn;
	int64_t now_ms;
};

/* The places of the model as they were seen. */
struct plan_view {
	struct candidate list[PLAN_PLACES];
	const struct catalog_place *places[PLAN_PLACES];
	enum place_fit fits[PLAN_PLACES];
	uint32_t count;
};
void plan_look(const struct plan_ask *ask, struct plan_view *view);

enum plan_what {
	PLAN_GO,      /* to view.places[index] */
	PLAN_BEYOND,  /* to `place`, because of `why` */
	PLAN_WAIT,    /* all places are taken: into the queue */
	PLAN_NOWHERE, /* there is no place that it could wait for */
};
struct plan {
	enum plan_what what;
	uint32_t index;
	const struct catalog_place *place; /* GO, BEYOND */
	enum overflow_when why;            /* BEYOND */
};
struct plan plan_make(const struct plan_ask *ask, const struct plan_view *view);

/* Of PLAN_NOWHERE: the error and its sentence, appended to `why`. `says_so`: "key", "model" or "x-valet-local-only", whoever asks for local only. */
enum error plan_refusal(const struct plan_ask *ask, const struct plan_view *view, const char *says_so, struct buf *why);
/* Whether a place may be asked, whatever else there is. */
enum place_fit plan_fit(const struct plan_ask *ask, const struct catalog_place *place);
/* The same, but for how the target is doing: it may be asked once it has recovered. */
bool plan_may_fit(const struct plan_ask *ask, const struct catalog_place *place);
/* The first place beyond, in the order of the policy, if the policy says so for that reason; NULL: it does not, or nobody there is fit. */
const struct catalog_place *plan_beyond(const struct plan_ask *ask, enum overflow_when why);
/* Predicted milliseconds until the one at that position of the line has a place, from how long requests take lately; 0: nothing is known. */
int64_t plan_ahead_ms(const struct plan_view *view, uint32_t position);
/* The same for one more that waits. */
int64_t plan_wait_ms(const struct plan_ask *ask, const struct plan_view *view);
/* "wait", "context", "down", "always": as in settings and in x-valet-overflow. */
const char *plan_why(enum overflow_when why);

#endif
