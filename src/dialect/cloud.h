/* cloud.h - clouds that speak OpenAI's dialect, each with its quirks: where they are, what they take, and what they say instead of what
 * OpenAI would.
 *
 * Pure: bytes in, bytes out. A request is written anew for a cloud; answers pass as they are wherever they can, which a cheap look decides.
 * Secrets go into a header field alone, never into a URL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_CLOUD_H
#define VALET_DIALECT_CLOUD_H

#include "base/buf.h"
#include "base/mem.h"
#include "dialect/body.h"
#include "dialect/failure.h"
#include "dialect/operation.h"

enum cloud {
	CLOUD_NONE, /* an engine of one's own */
	CLOUD_OPENAI,
	CLOUD_MISTRAL,
	CLOUD_OPENROUTER,
	CLOUD_TOGETHER,
	CLOUD_GROQ,
	CLOUD_DEEPSEEK,
	CLOUD_GEMINI,
	CLOUD_COMPATIBLE, /* anything else: little is changed */
	CLOUD_COUNT,
};

#define CLOUD_BIT(cloud) (1u << (cloud))

struct cloud_row {
	const char *name;     /* as written in settings */
	const char *url;      /* complete: only the operation's path is added; NULL: must be configured */
	const char *variable; /* of the environment, where the secret usually stands; NULL: none is usual */
	const char *field;    /* the header field of the secret, and what stands before it there */
	const char *scheme;
	uint32_t operations;  /* OP_BIT() of each that it is known to serve */
	const char *cap;      /* the member that caps a chat's answer; NULL: as the client wrote it */
	bool stream_options;  /* understands stream_options.include_usage */
	bool usage_anyway;    /* a stream tells its usage unasked */
};

extern const struct cloud_row clouds[CLOUD_COUNT]; /* of CLOUD_NONE only the name "" */

/* The cloud of that name; CLOUD_NONE: there is none. */
enum cloud cloud_find(struct str name);

/* ---- the request ---- */

/* Writes a JSON body as that cloud takes it: members are left out, renamed or replaced as its rules say, the model is `changes->model`, usage is
 * asked for where `changes->ask_usage` and the cloud needs to be asked, and no choice may have more than `changes->cap` tokens (0: as the client
 * says). Values that no rule names stay byte for byte. False: the cloud cannot do what is asked, or the body is no JSON object with a model:
 * `why` holds a sentence for the client, and `out` means nothing. At most 3 * body.len + model + 256 bytes are added to `out`; where its ceiling
 * is lower, the answer is false as well. Forms (multipart) go through body_parts(). */
bool cloud_body(enum cloud cloud, const struct operation_row *op, struct str body, const struct body_changes *changes, struct arena *a,
		struct buf *out, struct buf *why);

/* ---- answers ---- */

#define CLOUD_CHOICES 16

/* What must be remembered between the events of a stream. Zeroed at its beginning. */
struct cloud_stream {
	uint32_t called;              /* a bit for each choice that has called a tool; choices beyond CLOUD_CHOICES share the last */
	uint16_t next[CLOUD_CHOICES]; /* the index of its next call */
	struct failure failure;       /* of the error event that was written last; error ERROR_NONE: none was */
};

/* One complete event of a stream of chat chunks. True: `out` got the event that goes to the client in its place, with its blank line. False:
 * nothing was touched, and the event passes as it is. An error inside the stream, in whatever shape, becomes an event in OpenAI's shape; texts
 * of state->failure live in `a`. Looked at before tap_event(), which then sees what the client will see. */
bool cloud_event(enum cloud cloud, struct cloud_stream *state, struct str event, struct arena *a, struct buf *out);

/* The same for a whole answer (status 200). An error in a choice becomes {"error":…} with the cloud's own words, for tap_whole() and
 * cloud_failure(200, …) to see. */
bool cloud_whole(enum cloud cloud, struct str body, struct buf *out);

/* ---- errors ---- */

/* failure_read(), and what only that cloud means by it. */
void cloud_failure(enum cloud cloud, int status, struct str body, struct arena *a, struct failure *out);

#endif
