/* fail.c - FAIL: an error reaches the client in the words it understands, whole before the first byte, as an event after it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/cloud.h"
#include "proxy/judge.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"

/* ---- an error that an engine answered with ---- */

static void take_failure(struct request *r, const struct failure *f)
{
	struct attempt *a = request_attempt(r);
	struct str name = a->place->target->name;
	request_fail(r, f->error, f->message);
	if (f->error == ERROR_UPSTREAM_AUTH && f->billing)
		r->error_message = arena_printf(&r->arena, "the account at target '%.*s' has no credit left", STR_ARG(name));
	else if (f->error == ERROR_UPSTREAM_AUTH)
		r->error_message = arena_printf(&r->arena, "target '%.*s' does not accept the secret configured for it", STR_ARG(name));
	else if (f->message.len == 0)
		r->error_message = arena_printf(&r->arena, "target '%.*s' answered with status %d", STR_ARG(name), r->upstream_status);
	r->error_status = f->status;
	r->error_code = f->code;
	r->error_param = f->param;
	if (r->retry_after_ms < 0 && (f->error == ERROR_OVERLOADED || f->error == ERROR_RATE_LIMIT_EXCEEDED))
		r->retry_after_ms = 1000;
}

static enum health_outcome outcome_of(enum error e)
{
	switch (e) {
	case ERROR_UPSTREAM_AUTH:
		return HEALTH_DENIED;
	case ERROR_RATE_LIMIT_EXCEEDED:
	case ERROR_OVERLOADED:
		return HEALTH_BUSY;
	case ERROR_UPSTREAM_ERROR:
		return HEALTH_BAD;
	default:
		return HEALTH_GOOD; /* the client's own doing */
	}
}

static const struct step *engine_error(struct request *r)
{
	struct failure f;
	cloud_failure(request_attempt(r)->place->target->cloud, r->upstream_status, buf_str(&r->hold), &r->arena, &f);
	if (r->retry_after_ms < 0 && f.retry_ms > 0)
		r->retry_after_ms = f.retry_ms < 60000 ? f.retry_ms : 60000;
	r->mode = RELAY_RAW;
	r->upstream_status = 0;
	take_failure(r, &f);
	count(&request_series(r)->attempts_failed);
	request_attempt(r)->error = r->error;
	request_attempt(r)->outcome = outcome_of(r->error);
	request_end_attempt(r, false);
	buf_clear(&r->hold);
	if (resuming_continues(r) && !error_rows[r->error].elsewhere) /* nothing that the client did */
		resuming_refused(r, request_attempt(r)->place->target->name);
	if (r->error == ERROR_CONTEXT_LENGTH_EXCEEDED && route_goes_beyond_window(r))
		return STEP_ROUTE;
	bool other = f.error != ERROR_MODEL_NOT_FOUND || r->model->place_count > 1;
	return request_may_retry(r) && error_rows[r->error].elsewhere && other ? STEP_ROUTE : STEP_FAIL;
}

/* ---- rendering ---- */

static struct str code_of(const struct request *r)
{
	return r->error_code.len ? r->error_code : str_from(error_rows[r->error].code);
}

void fail_body(struct request *r, struct buf *out)
{
	const struct error_row *row = &error_rows[r->error];
	bool anthropic = r->op && r->op->op == OP_MESSAGES;
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	if (anthropic)
		json_member_str(&w, STR("type"), STR("error"));
	error_put(&w, r->error_message, str_from(anthropic ? row->anthropic : row->type), r->error_param, code_of(r));
	if (anthropic)
		json_member_str(&w, STR("request_id"), str_from(r->id));
	json_close_object(&w);
}

static struct str retry_fields(struct request *r)
{
	enum error_again again = error_rows[r->error].again;
	if (again == AGAIN_NEVER)
		return STR("x-should-retry: false\r\n");
	if (r->error == ERROR_INVALID_API_KEY)
		return STR("www-authenticate: Bearer\r\n");
	if (r->retry_after_ms < 0 || again != AGAIN_LATER)
		return STR_NONE;
	return arena_printf(&r->arena, "retry-after: %lld\r\nretry-after-ms: %lld\r\n", (long long)((r->retry_after_ms + 999) / 1000),
			    (long long)r->retry_after_ms);
}

static const struct step *fail_whole(struct request *r)
{
	struct buf body;
	int status = r->error_status ? r->error_status : error_rows[r->error].status;
	buf_init(&body, 16384);
	fail_body(r, &body);
	struct str more = status == 405 ? STR("allow: GET, HEAD, POST, OPTIONS\r\n") : retry_fields(r);
	const struct step *next = answer_json(r, status, buf_str(&body), more);
	buf_release(&body);
	return next;
}

/* The answer is under way: the last event says what happened, and the connection breaks off, so that nobody takes it for whole. */
static const struct step *fail_inside(struct request *r)
{
	struct http_conn *c = r->conn;
	request_book(r, 0);
	r->conn = NULL;
	if (r->as_events) {
		struct buf event;
		buf_init(&event, 16384);
		if (r->mid_event)
			BUF_ADD(&event, "\n\n");
		if (r->op->op == OP_MESSAGES || r->op->op == OP_RESPONSES)
			BUF_ADD(&event, "event: error\n");
		BUF_ADD(&event, "data: ");
		fail_body(r, &event);
		BUF_ADD(&event, "\n\n");
		http_respond_body(c, event.ptr, event.len, false);
		buf_release(&event);
	}
	http_abort(c);
	return STEP_SETTLE;
}

const struct step *step_fail(struct request *r)
{
	if (r->upstream && (r->mode == RELAY_ERROR || r->upstream_status == ERROR_STATUS_IN_BODY))
		return engine_error(r);
	request_end_attempt(r, true);
	return r->committed ? fail_inside(r) : fail_whole(r);
}

/* ---- messages that are not a request ---- */

static enum error refused_error(int status)
{
	switch (status) {
	case 408:
		return ERROR_REQUEST_TIMEOUT;
	case 413:
		return ERROR_REQUEST_TOO_LARGE;
	case 414:
		return ERROR_URL_TOO_LONG;
	case 431:
		return ERROR_HEAD_TOO_LARGE;
	default:
		return ERROR_INVALID_HTTP;
	}
}

void fail_refused(struct worker *w, struct http_conn *c, int status, const char *why)
{
	struct request r = {.worker = w, .conn = c, .catalog = w->catalog, .error = refused_error(status), .error_message = str_from(why)};
	struct buf body;
	worker_new_id(w, r.id);
	count(&w->metrics.http_requests);
	count(&w->metrics.errors[r.error]);
	buf_init(&body, 16384);
	fail_body(&r, &body);
	answer_json(&r, status, buf_str(&body), STR_NONE);
	buf_release(&body);
}
