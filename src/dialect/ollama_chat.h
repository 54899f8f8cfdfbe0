/* ollama_chat.h - Ollama's own /api/chat for clients that speak OpenAI's /v1/chat/completions: the request written anew, the answer told in
 * OpenAI's words.
 *
 * Ollama's /v1/chat/completions takes no num_ctx and cuts a prompt that is too long in silence. Its own API takes num_ctx, truncate:false (a
 * prompt that does not fit is refused) and shift:false (an answer that fills the window ends with "length" instead of pushing the prompt out);
 * releases before 0.12.6 ignore the last two, which ollama_judge() (ollama_window.h) notices. What both doors know is said so that both answer
 * alike; what /v1 ignores (n, tool_choice, logit_bias, user, metadata, …) is left out here as well.
 *
 * Pure: bytes in, bytes out; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_OLLAMA_CHAT_H
#define VALET_DIALECT_OLLAMA_CHAT_H

#include "base/buf.h"
#include "base/mem.h"
#include "dialect/body.h"
#include "dialect/failure.h"

/* Below engine_root_path(), not engine_api_path(). */
#define OLLAMA_CHAT_PATH "/api/chat"

/* ---- the request ---- */

/* Writes OpenAI's body of a chat (one that body_read() let pass) as a body of /api/chat, with changes->model and at most changes->cap tokens of
 * answer (0: as the client says; ask_usage means nothing: usage is always told). num_ctx 0: none is asked for, and the engine keeps the window that
 * it has. False: it cannot be said there (an image that lies elsewhere, sound, a file, arguments that are no JSON object, …), and `why` holds a
 * sentence for the client; `out` then means nothing. At most 6 * (body.len + changes->model.len) + 512 bytes are added to `out`; where its ceiling is
 * lower, the answer is false as well. */
bool ollama_chat_body(struct str body, const struct body_changes *changes, int64_t num_ctx, struct arena *a, struct buf *out, struct buf *why);

/* ---- the answer ---- */

/* What is not Ollama's to say. */
struct ollama_chat_about {
	struct str id;    /* "chatcmpl-…", plain letters: it is not escaped. Ids of tool calls that have none are made of it */
	struct str model; /* as the client calls it */
	int64_t created;  /* seconds since 1970 */
	bool usage;       /* a stream ends with the chunk of usage */
};

/* A whole answer (status 200) as chat.completion. False: it is none; then `out` is as it was. An answer that holds an error, with status 200 or
 * another, goes through ollama_chat_failure(). */
bool ollama_chat_whole(const struct ollama_chat_about *about, struct str body, struct buf *out);

/* Between the lines of a stream. Zeroed at its beginning. */
struct ollama_chat_stream {
	uint32_t calls;         /* calls told so far */
	bool begun;             /* the role is told */
	bool done;              /* the last chunk and [DONE] are out; what comes after is passed over */
	struct failure failure; /* of the line with an error, which ended it; error ERROR_NONE: none has come */
};

/* Takes the complete lines at the front of `bytes` and adds server-sent events to `out`: chat.completion.chunk for each line, at done:true the chunk
 * of usage (about->usage) and [DONE], for an error an event {"error":{…}} and nothing behind it. `last`: no more bytes come, and the end counts as
 * the end of a line. Returns how many bytes it has used; the rest is to be given again, with more behind it. A line that is no such answer is an error
 * (ERROR_UPSTREAM_INVALID). A stream that ends without state->done and without failure is broken. Texts of state->failure live in `a`. */
size_t ollama_chat_lines(const struct ollama_chat_about *about, struct ollama_chat_stream *state, struct str bytes, bool last, struct arena *a,
			 struct buf *out);

/* failure_read(), for what Ollama says with a status, or (status 200) inside an answer: there a prompt that is too long has no status of its own. */
void ollama_chat_failure(int status, struct str body, struct arena *a, struct failure *out);

#endif
