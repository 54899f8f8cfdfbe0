/* error.h - the failures that a client can be told of: one table that makes status, OpenAI and Anthropic types, docs and metric labels.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_ERROR_H
#define VALET_BASE_ERROR_H

#include "base/str.h"

#include <stdbool.h>

/*  X(ID, status, OpenAI type, code, Anthropic type, may be tried elsewhere, what is said of coming back (enum error_again), what it means) */
#define ERRORS(X) \
	X(INVALID_HTTP, 400, "invalid_request_error", "invalid_http", "invalid_request_error", false, UNSAID, \
	  "The request is not valid or not unambiguous HTTP/1.1; the connection is closed.") \
	X(INVALID_JSON, 400, "invalid_request_error", "invalid_json", "invalid_request_error", false, UNSAID, \
	  "The body is not valid JSON (RFC 8259, UTF-8, at most 96 levels deep) or not an object.") \
	X(INVALID_FORM, 400, "invalid_request_error", "invalid_form", "invalid_request_error", false, UNSAID, \
	  "The body is not a valid multipart/form-data form.") \
	X(INVALID_TYPE, 400, "invalid_request_error", "invalid_type", "invalid_request_error", false, UNSAID, \
	  "A member has a value of the wrong type.") \
	X(INVALID_VALUE, 400, "invalid_request_error", "invalid_value", "invalid_request_error", false, UNSAID, \
	  "A member has a value that is not allowed.") \
	X(MISSING_PARAMETER, 400, "invalid_request_error", "missing_required_parameter", "invalid_request_error", false, UNSAID, \
	  "A member that is needed is missing.") \
	X(DUPLICATE_PARAMETER, 400, "invalid_request_error", "duplicate_parameter", "invalid_request_error", false, UNSAID, \
	  "`model`, `stream`, `max_tokens`, `max_completion_tokens`, `max_output_tokens`, `n`, `best_of` or `stream_options` stands twice: gateway and engine might read different ones.") \
	X(UNSUPPORTED_OPERATION, 400, "invalid_request_error", "unsupported_operation", "invalid_request_error", false, UNSAID, \
	  "The model exists, but no engine that has it serves this path.") \
	X(CONTEXT_LENGTH_EXCEEDED, 400, "invalid_request_error", "context_length_exceeded", "invalid_request_error", false, UNSAID, \
	  "The prompt is longer than the model's context window.") \
	X(UPSTREAM_REFUSED_REQUEST, 400, "invalid_request_error", "invalid_request", "invalid_request_error", false, UNSAID, \
	  "The engine refused the request; the message is the engine's.") \
	X(INVALID_API_KEY, 401, "invalid_request_error", "invalid_api_key", "authentication_error", false, UNSAID, \
	  "A key is needed here, and none, a wrong, a revoked or an expired one was sent.") \
	X(MODEL_NOT_ALLOWED, 403, "invalid_request_error", "model_not_allowed", "permission_error", false, UNSAID, \
	  "The key may not use this model.") \
	X(MODEL_WITHOUT_PRICE, 403, "invalid_request_error", "model_without_price", "permission_error", false, UNSAID, \
	  "A budget in money covers this request, and the model has no price: see `prices`.") \
	X(ORIGIN_NOT_ALLOWED, 403, "invalid_request_error", "origin_not_allowed", "permission_error", false, UNSAID, \
	  "A web page of an origin that `cors` does not list, or a Host that is not this machine, asked an open loopback listener.") \
	X(UNKNOWN_URL, 404, "invalid_request_error", "unknown_url", "not_found_error", false, UNSAID, "There is no such path.") \
	X(MODEL_NOT_FOUND, 404, "invalid_request_error", "model_not_found", "not_found_error", true, LATER, \
	  "No target serves a model of that name.") \
	X(METHOD_NOT_SUPPORTED, 405, "invalid_request_error", "method_not_supported", "invalid_request_error", false, UNSAID, \
	  "The path exists, but not with this method.") \
	X(REQUEST_TIMEOUT, 408, "invalid_request_error", "request_timeout", "timeout_error", false, UNSAID, \
	  "The request came too slowly.") \
	X(REQUEST_TOO_LARGE, 413, "invalid_request_error", "request_too_large", "request_too_large", false, UNSAID, \
	  "The body is larger than `ceilings.max_body`.") \
	X(URL_TOO_LONG, 414, "invalid_request_error", "url_too_long", "invalid_request_error", false, UNSAID, \
	  "The URL is longer than 8 KiB.") \
	X(HEAD_TOO_LARGE, 431, "invalid_request_error", "head_too_large", "invalid_request_error", false, UNSAID, \
	  "The head is larger than 32 KiB or has more than 128 fields.") \
	X(RATE_LIMIT_EXCEEDED, 429, "requests", "rate_limit_exceeded", "rate_limit_error", true, LATER, \
	  "A limit of the key, of the model or of the gateway is reached, or the engine refused for its own; Retry-After says when to come back.") \
	X(QUEUE_FULL, 429, "requests", "queue_full", "rate_limit_error", false, LATER, \
	  "All places are taken, and as many requests wait already as may: of this key, or in all. Retry-After says when to come back.") \
	X(INSUFFICIENT_QUOTA, 429, "insufficient_quota", "insufficient_quota", "rate_limit_error", false, NEVER, \
	  "A budget of the key, of the model or of the gateway is used up, or does not suffice for this request; `x-should-retry: false`.") \
	X(CLIENT_CLOSED, 499, "invalid_request_error", "client_closed", "api_error", false, UNSAID, \
	  "The client left before the answer was complete (only in logs and metrics).") \
	X(INTERNAL, 500, "server_error", "internal_error", "api_error", false, UNSAID, "A defect in Valet.") \
	X(UPSTREAM_ERROR, 502, "server_error", "upstream_error", "api_error", true, LATER, \
	  "The engine failed; the message is the engine's.") \
	X(UPSTREAM_INVALID, 502, "server_error", "upstream_invalid_answer", "api_error", true, LATER, \
	  "The engine's answer was not valid HTTP, JSON or what was asked for.") \
	X(UPSTREAM_DISCONNECT, 502, "server_error", "upstream_disconnect", "api_error", true, LATER, \
	  "The engine closed the connection before its answer was complete.") \
	X(UPSTREAM_AUTH, 502, "server_error", "upstream_auth", "api_error", true, LATER, \
	  "The engine or cloud did not accept the secret that is configured for it.") \
	X(NO_TARGET, 503, "server_error", "no_target_available", "overloaded_error", true, LATER, \
	  "No target of the model can be reached now.") \
	X(OVERLOADED, 503, "server_error", "server_is_overloaded", "overloaded_error", true, LATER, \
	  "Every target of the model that could be asked says that it is overloaded.") \
	X(QUEUE_TIMEOUT, 503, "server_error", "queue_timeout", "overloaded_error", false, LATER, \
	  "The request has waited for a place as long as `queue.max_wait` allows; the message tells the position that it reached.") \
	X(LEDGER_UNAVAILABLE, 503, "server_error", "ledger_unavailable", "overloaded_error", false, LATER, \
	  "What is used cannot be written down now (the disk is full or broken), and a budget covers this request.") \
	X(REQUEST_STOPPED, 503, "server_error", "request_stopped", "api_error", false, NEVER, "The operator stopped the request.") \
	X(SHUTTING_DOWN, 503, "server_error", "shutting_down", "overloaded_error", false, UNSAID, "Valet is shutting down.") \
	X(UPSTREAM_TIMEOUT, 504, "server_error", "upstream_timeout", "timeout_error", true, LATER, \
	  "The engine did not answer, or stopped answering, within the time allowed.")

enum error {
	ERROR_NONE,
#define X(id, ...) ERROR_##id,
	ERRORS(X)
#undef X
	ERROR_COUNT,
};

enum error_again {
	AGAIN_UNSAID,
	AGAIN_LATER, /* Retry-After, where a time is known */
	AGAIN_NEVER, /* x-should-retry: false, since SDKs would try that status again */
};

struct error_row {
	int status;
	const char *type, *code, *anthropic; /* OpenAI's type and code; Anthropic's type */
	bool elsewhere;                      /* another target might do better */
	enum error_again again;
	const char *text;                    /* for docs */
};

extern const struct error_row error_rows[ERROR_COUNT];

struct json_writer;
/* Writes the member "error" as OpenAI has it: {"message", "type", "param", "code"}; `param` empty: null. */
void error_put(struct json_writer *w, struct str message, struct str type, struct str param, struct str code);

#endif
