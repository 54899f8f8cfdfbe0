/* native.h - prompts at Ollama: chats go through its own API where /v1 would cut them; of all operations that it serves, what surely does not fit is
 * refused before it is sent, and what came back is compared with what was sent.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_NATIVE_H
#define VALET_PROXY_NATIVE_H

#include "dialect/ollama_chat.h"
#include "dialect/ollama_window.h"
#include "proxy/request.h"

/* Of an attempt at an Ollama; in the request's arena. */
struct native {
	bool spoken;        /* it goes through /api/chat */
	int64_t num_ctx;    /* asked for there; 0: none */
	int64_t window;     /* that the model has for it; 0: not known */
	struct ollama_low low; /* tokens that the prompt has at least; 0: it is too short to be looked at */
	struct ollama_chat_about about;
	struct ollama_chat_stream stream;
	struct str finish;  /* the event that ends the answer: held until its usage is known */
};

/* Looks at the request that is about to be sent. NULL: go on, r->native is set where there is anything to look after; else where the request goes. */
const struct step *native_begin(struct request *r);
/* True if what the answer tells says that the prompt was cut: then it may not reach the client as an answer. */
bool native_was_cut(struct request *r);
/* The same of a stream, by an event of it that holds usage. */
bool native_event_was_cut(struct request *r, struct str event);
/* Goes to where it fits, or to the error. */
const struct step *native_too_long(struct request *r);

#endif
