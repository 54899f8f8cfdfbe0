/* operation.h - what a client can ask for: method, path, and how its body names the model. One table (operation.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_OPERATION_H
#define VALET_DIALECT_OPERATION_H

#include "base/str.h"

#include <stdint.h>

/* Operations that are routed by `model` to a target. Their bit in a mask is 1u << op. */
enum operation {
	OP_CHAT,
	OP_COMPLETIONS,
	OP_EMBEDDINGS,
	OP_RERANK,
	OP_MODERATIONS,
	OP_RESPONSES,
	OP_MESSAGES,
	OP_TRANSCRIPTIONS,
	OP_TRANSLATIONS,
	OP_SPEECH,
	OP_IMAGES_GENERATIONS,
	OP_IMAGES_EDITS,
	OP_COUNT,
	/* answered by Valet itself */
	OP_MODELS = OP_COUNT,
	OP_MODEL,
	OP_HEALTH,
	OP_READY,
	OP_METRICS,
	OP_ALL,
	OP_NONE = OP_ALL,
};

#define OP_BIT(op) (1u << (op))

enum body_form { BODY_NONE, BODY_JSON, BODY_MULTIPART };

struct operation_row {
	enum operation op;
	const char *name;      /* in logs and metrics */
	const char *path;      /* as clients ask for it behind an optional /v1, and as it is sent upstream behind the base path */
	enum body_form body;
	bool streams;          /* a true `stream` asks for server-sent events */
	bool usage_on_request; /* `stream_options.include_usage` has a meaning */
	bool counts_output;    /* the answer's events carry text tokens (time to first token is told) */
};

extern const struct operation_row operations[OP_ALL];

/* Finds the operation of a path as it came (percent-encoded): tolerates a missing or doubled /v1, doubled and trailing slashes.
 * For OP_MODEL, `*rest` is the still encoded id (may hold slashes). OP_NONE: unknown. */
enum operation operation_find(struct str path, struct str *rest);

#endif
