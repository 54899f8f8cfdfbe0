/* load_request.c - the chat requests that the load generator sends
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 4000 /* bytes of text in one chat message */

void request_put(struct request *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(r->bytes + r->length, r->room - r->length, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= r->room - r->length)
		fatal("a request of more than %zu bytes", r->room);
	r->length += (size_t)n;
}

/* Prose with the escapes that real prompts have; a new message every MESSAGE_MAX bytes. */
static void put_messages(struct request *r, size_t text_bytes)
{
	static const char *const words[] = {
		"the ",     "gateway ",      "keeps ",  "its ",         "budget\\n",  "while ",
		"every ",   "\\\"user\\\" ", "of ",     "a ",           "household ", "asks ",
		"models, ", "and ",          "waits; ", "caf\303\251 ", "streams ",   "tokens. ",
	};
	size_t start = r->length, message = r->length;
	unsigned seed = 1, turn = 0;

	request_put(r, "{\"role\":\"system\",\"content\":\"");
	while (r->length - start < text_bytes) {
		if (r->length - message > MESSAGE_MAX) {
			request_put(r, "\"},{\"role\":\"%s\",\"content\":\"",
			    turn++ % 2 ? "assistant" : "user");
			message = r->length;
		}
		seed = seed * 1103515245U + 12345U;
		request_put(r, "%s", words[(seed >> 16) % (sizeof(words) / sizeof(words[0]))]);
	}
	request_put(r, "\"},{\"role\":\"user\",\"content\":\"Go on.\"}");
}

static void request_build(struct request *r, const char *model)
{
	struct request body = {.room = opt.body_bytes + 4096};

	body.bytes = calloc(1, body.room);
	r->room = body.room + sizeof(opt.headers) + 1024;
	r->bytes = calloc(1, r->room);
	if (!body.bytes || !r->bytes)
		fatal("out of memory");
	request_put(&body, "{\"model\":\"%s\",\"messages\":[", model);
	put_messages(&body, opt.body_bytes > 220 ? opt.body_bytes - 220 : 0);
	request_put(&body, "],\"temperature\":0.7,\"max_tokens\":%u", opt.max_tokens);
	if (opt.stream)
		request_put(&body, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
	request_put(&body, "}");
	request_put(r, "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\n%s", opt.path,
	    opt.host, opt.port, opt.headers);
	request_put(r, "Content-Length: %zu\r\n\r\n", body.length);
	memcpy(r->bytes + r->length, body.bytes, body.length);
	r->length += body.length;
	free(body.bytes);
}

/* One request for all connections, or one each, spread over all models. */
const struct request *request_for(unsigned connection)
{
	static struct request shared;
	struct request *own;
	char model[256];

	if (opt.model_count <= 1) {
		if (!shared.bytes)
			request_build(&shared, opt.model);
		return &shared;
	}
	own = calloc(1, sizeof(*own));
	if (!own)
		fatal("out of memory");
	snprintf(model, sizeof(model), "%s%" PRIu64, opt.model,
		 (uint64_t)connection * opt.model_count / opt.connections);
	request_build(own, model);
	return own;
}
