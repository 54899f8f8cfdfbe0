/* resuming.h - a stream that breaks off goes on at another target, where the model's `resume` says so and it is text.
 *
 * The exception from the promise that nothing is tried elsewhere after the first byte. A request of such a model has r->resume from its first attempt on, and
 * keeps the client's bytes until its answer has ended; its events go out whole or not at all.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_RESUMING_H
#define VALET_PROXY_RESUMING_H

#include "dialect/resume.h"
#include "proxy/request.h"

/* For SEND, of a model that has `resume`: makes r->resume if the answer of this attempt could be continued. */
void resuming_begin(struct request *r);
/* The present answer cannot be continued any more and is none that continues another: it goes on as if the model did not have `resume`. */
void resuming_stop(struct request *r);
/* The stream broke off, and the error stands in the request: elsewhere, or the end of it where its text is complete, or `failed`. Before the first byte the
 * same as judge_elsewhere(). */
const struct step *resuming_elsewhere(struct request *r, const struct step *failed);
/* The body for a target that continues, in r->parts[1]; how many parts. */
int resuming_body(struct request *r, const struct catalog_place *place, size_t *length);
/* Its answer has begun. */
void resuming_goes_on(struct request *r);
/* A target would not continue: the error that the client gets for it. */
const struct step *resuming_refused(struct request *r, struct str name);

static inline bool resuming_continues(const struct request *r)
{
	return r->resume && r->resume->continued && r->resume->begun;
}

#endif
