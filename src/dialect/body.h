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

#define BODY_EDITS 5
#define BODY_CAPS  3

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
	int64_t output;          /* tokens that the client lets an answer have, all choices together; 0: it did not say */
	int64_t choices;         /* answers that it wants to one prompt; at least 1 */
	bool continues;          /* the engine adds a conversation that it keeps (previous_response_id): the body says little of the prompt's length */
	struct str cap_name;     /* the member that caps the answer, where there is none yet; empty: this operation has none */
	struct str caps[BODY_CAPS]; /* the numbers that cap it; ptr NULL: not given */
	struct str prompt;       /* raw: what stands in messages, prompt or input; for the affinity of prefixes; empty: none */
	const char *inside;      /* right behind the opening brace of the body; NULL: a form */
};

/* Reads a body of the operation. ERROR_NONE, or what is wrong: then `param` names the member (static; empty: the whole) and `why` holds a
 * sentence. `content_type` may be empty. */
enum error body_read(const struct operation_row *op, struct str body, struct str content_type, struct arena *a,
		     struct body_facts *out, struct str *param, struct buf *why);

/* The member by which the operation's answers are capped in tokens; empty: they are not. */
struct str body_cap_name(const struct operation_row *op);

/* Tokens that the prompt of this body has at most: a token is at least a byte, and templates add little; images and sound in it count by piece. */
int64_t body_input_bound(struct str body);

/* How the body changes on its way. */
struct body_changes {
	struct str model; /* what the engine calls it */
	bool ask_usage;   /* with facts->usage applied */
	int64_t cap;      /* tokens that each choice may have at most; 0: as the client says */
};

#define BODY_PARTS (2 * BODY_EDITS + 1)
/* The body as it goes to an engine: fills parts[0..BODY_PARTS), returns how many; *length is their sum. Replacements live in `a`. */
int body_parts(const struct body_facts *facts, struct str body, const struct body_changes *changes, struct arena *a, struct iovec *parts,
	       size_t *length);

#endif
