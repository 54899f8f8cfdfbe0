/* ollama_window.h - the window of a model at Ollama: by which door a chat goes, which num_ctx it asks for, and whether an answer of any operation was
 * given to a prompt that was cut.
 *
 * What is known of a window: while a model is loaded /api/ps tells it; `parameters` of /api/show may fix it; else it is the server's default, which
 * nothing tells (4096, 32768 or 262144 by the memory of the GPUs, 2048 in old releases). The maximum that a model was made for is no window.
 *
 * A num_ctx other than the loaded one makes Ollama load the model again, which takes seconds; so does a request without num_ctx while one is loaded
 * with more than the default. Therefore windows are raised in few steps, and a model that was raised keeps getting the same num_ctx through
 * /api/chat, also for short prompts (`struct ollama_raised`), until no prompt has needed it for a while or the engine says that it was unloaded.
 *
 * Pure: time is an argument. The numbers in struct ollama_raised are atomics, each by itself: what a race costs is one load of the model.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_OLLAMA_WINDOW_H
#define VALET_DIALECT_OLLAMA_WINDOW_H

#include "base/str.h"
#include "dialect/operation.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OLLAMA_NUM_CTX_LEAST 4096 /* the smallest window that is asked for; above: powers of two */
#define OLLAMA_SURE_WINDOW   2048 /* no release has a smaller default */
#define OLLAMA_SURE_INPUT    256  /* of an encoder */
#define OLLAMA_NOWHERE       (-1)
#define OLLAMA_UNSURE        (-2)

/* ---- before: what to ask for ---- */

/* Tokens of window for a prompt guessed at `input` and an answer of `output` tokens at most (0: the client did not say). Long caps are rarely used
 * up, and with shift:false an answer that meets the end of the window says so ("length"): at most 2048 are counted. */
int64_t ollama_tokens_needed(int64_t input, int64_t output);

/* 0: it fits as things are, /v1 will do. Above 0: /api/chat with that num_ctx. OLLAMA_NOWHERE: it cannot fit, 400 context_length_exceeded. OLLAMA_UNSURE:
 * the window is not known and may not be raised; /api/chat without num_ctx keeps it and refuses what does not fit, after /v1 only ollama_judge() can tell.
 *   known_window  what a request without num_ctx gets; 0: not known
 *   context_max   what the model was made for; 0: not known
 *   allowed_max   num_ctx_max of the target; 0: Valet never raises a window
 *   tokens_needed by guess; may be too high
 *   input_low     the fewest tokens that the prompt can have (ollama_input_low()); 0: not known
 * Refused is only what surely does not fit. What may or may not is asked for with the largest window allowed (the known one, where none may be raised)
 * and refused by the engine itself, since /api/chat gets truncate:false. */
int64_t ollama_num_ctx(int64_t known_window, int64_t context_max, int64_t allowed_max, int64_t tokens_needed, int64_t input_low);

#define OLLAMA_RAISED_S 600 /* a raised window that no prompt has needed for so long is given up */

/* The window that Valet has raised for a model at a target; one for each such pair, shared by workers; zeroed: none. */
struct ollama_raised {
	_Atomic uint32_t num_ctx;  /* that was asked for last; 0: none, or given up */
	_Atomic uint32_t plain;    /* what a request without num_ctx gets, as far as is known; 0: not known */
	_Atomic uint32_t ignored;  /* what the engine told when a raised window was given up: that one, not what it has by itself; 0: nothing */
	_Atomic uint32_t needed_s; /* when a prompt last needed more than `plain`; the clock's seconds */
	_Atomic bool seen;         /* the engine has told num_ctx since it was asked for */
};

/* The same question as ollama_num_ctx(), with what was raised before: `told` is the window that the engine tells (0: none), which may still be the
 * raised one. Also notes what is going to be asked for. now_s: seconds of a clock that never goes back. */
int64_t ollama_way(struct ollama_raised *raised, int64_t told, int64_t context_max, int64_t allowed_max, int64_t tokens_needed, int64_t input_low,
		   int64_t now_s);

/* What a request without num_ctx gets of a model that Ollama tells to have `told` (0: none); 0: not known. For the operations that never ask for one. */
int64_t ollama_plain_window(struct ollama_raised *raised, int64_t told, int64_t now_s);

/* ---- after: was it cut? ---- */

/* The fewest tokens that a prompt can have. */
struct ollama_low {
	int64_t tokens;  /* all of it */
	int64_t largest; /* of the inputs that have a window each, the one with most; `tokens` where it is one */
	int64_t inputs;  /* how many: the elements of a list of texts (embeddings, prompts), else 1 */
};

/* The fewest tokens that the prompt of this body can have: its words. In the vocabularies of language models no token reaches from one word
 * into the next, so each run of letters and digits is one token or more; a long one counts once more for 24 bytes of it that were not seen before
 * (eight letters of a script without spaces, four of a Chinese, Japanese or Korean one). What may be the name of one token (<|im_start|>, [INST])
 * counts once. Counted are the texts that every template renders:
 *   chat        messages; not what a developer says, which some templates leave out, tools, calls, reasoning, an assistant's text with thoughts in it, or results of tools where the request has no tools
 *   messages    the same, with `system`; adjacent blocks are one text
 *   responses   the same of `input` and `instructions`
 *   completions the prompt; not the suffix
 *   embeddings  the input, only by words, since the vocabularies of encoders may have one token for a word of any length
 * Linear, about 5 ns a byte; 0 for anything that is not such a body. English prose has 1.3 times as many tokens, source code, tables and most other
 * languages two to four times, encoded bytes many times more. */
struct ollama_low ollama_input_low(enum operation op, struct str body);

enum ollama_verdict {
	OLLAMA_WHOLE,
	OLLAMA_CUT,      /* the model has not seen all of the prompt */
	OLLAMA_MISCOUNTS /* the prompt surely fits, and fewer tokens than it can have are told: this engine does not count what it had cached (0.30.0 and
			    releases before August 2024). Its counts prove nothing; to be remembered, and not judged again */
};

/* Judges by the prompt's tokens that an answer tells (usage.prompt_tokens, prompt_eval_count; 0: it told none, which proves nothing).
 *   window      that the model had, as far as is known; 0: not known. Of /api/chat: the num_ctx that was asked for
 *   input_low   ollama_input_low().tokens
 *   input_bound the most tokens that it can have (body_input_bound())
 * CUT is said where fewer tokens are told than 7/8 of the words that were sent (less 16), whatever the window; where exactly a full window or more is
 * told; and where there are fewer tokens than words, and as many as newer releases leave of a prompt that is too long: half the window and a
 * few. A prompt that was cut by less than its share of punctuation and of pieces of words passes unnoticed: the comparison is for engines and
 * paths that know no truncate:false. */
enum ollama_verdict ollama_judge(int64_t told, int64_t window, int64_t input_low, int64_t input_bound);
/* The same of embeddings, where each input has a window of its own, `told` is their sum, no input has less than all of its window left, and nothing is
 * cached: CUT where fewer tokens are told than 7/8 of the words that were sent (less 16), or as many as fill the window of each input. */
enum ollama_verdict ollama_judge_inputs(int64_t told, int64_t window, const struct ollama_low *low);
/* True for OLLAMA_CUT. */
bool ollama_was_truncated(int64_t told, int64_t window, int64_t input_low, int64_t input_bound);

#endif
