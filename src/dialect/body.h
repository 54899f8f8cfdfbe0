/* body.h - what Valet must know of a request's body, and the few bytes of it that are replaced on the way to an engine.
 *
 * The body itself is never re-printed: it goes out as slices of the original with replacements between them. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_BODY_H
#define VALET_DIALECT_BODY_H

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "dialect/operation.h"

#include <sys/uio.h>

#define BODY_EDITS 2

/* `length` bytes at `at` are replaced by `with`. */
struct body_edit {
	const char *at;
	size_t length;
	struct str with;
};

struct body_facts {
	struct str model;        /* decoded; in the arena or in the body */
	struct str model_raw;    /* where it stands: with quotes in JSON, bare in a form */
	bool stream;
	bool usage_asked;        /* the client wants the usage chunk of a stream */
	bool form;
	struct body_edit usage;  /* asks for usage; at NULL: nothing to change */
};

/* Reads a body of the operation. ERROR_NONE, or what is wrong: then `param` names the member (static; empty: the whole) and `why` holds a
 * sentence. `content_type` may be empty. */
enum error body_read(const struct operation_row *op, struct str body, struct str content_type, struct arena *a,
		     struct body_facts *out, struct str *param, struct buf *why);

#define BODY_PARTS (2 * BODY_EDITS + 1)
/* The body as it goes to an engine that calls the model `model`: fills parts[0..BODY_PARTS), returns how many; *length is their sum. The
 * replacement of the model lives in `a`. `ask_usage`: with facts->usage applied. */
int body_parts(const struct body_facts *facts, struct str body, struct str model, bool ask_usage, struct arena *a,
	       struct iovec *parts, size_t *length);

#endif
