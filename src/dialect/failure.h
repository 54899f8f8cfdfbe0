/* failure.h - what an engine or a cloud says when it refuses or fails, whatever the shape of its words. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_FAILURE_H
#define VALET_DIALECT_FAILURE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#define FAILURE_TEXT_MAX 512 /* bytes of an engine's text that reach a client */

struct failure {
	enum error error;
	int status;          /* for the client; 0: as the table says */
	struct str message;  /* cleaned, at most FAILURE_TEXT_MAX bytes; empty where the engine said nothing usable or nothing may be shown */
	struct str code;     /* the engine's own code where it is a word; empty: the table's */
	struct str param;    /* empty: null */
	int64_t retry_ms;    /* when to come back, as the body says; 0: it does not */
	bool billing;        /* ERROR_UPSTREAM_AUTH since the account has no credit, not for a wrong secret */
};

/* Reads an error answer. What is wrong with our own secret or account is ERROR_UPSTREAM_AUTH and has no words, since they may repeat the secret;
 * what a content filter refused is ERROR_UPSTREAM_REFUSED_REQUEST with status 400 and the code content_filter or content_policy_violation. `status`: its HTTP status, or anything below 400 for an error inside a 200. Texts live in `a`. */
void failure_read(int status, struct str body, struct arena *a, struct failure *out);

/* Appends it as an event of a stream in OpenAI's words. `otherwise`: what is said where it has no message. */
void failure_event(const struct failure *f, struct str otherwise, struct buf *out);

#endif
