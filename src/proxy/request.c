/* request.c - the door of a request (request_run) and what every step may need.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/request.h"

#include "base/clock.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"

#include <stdio.h>

#define X(lower, UPPER) const struct step STEP_##UPPER[1] = {{#UPPER, step_##lower}};
REQUEST_STEPS(X)
#undef X
const struct step STEP_WAIT[1] = {{"WAIT", NULL}};
const struct step STEP_DONE[1] = {{"DONE", NULL}};

void request_begin(struct worker *w, struct http_conn *conn)
{
	struct request *r = mem_zero(sizeof(*r));
	r->worker = w;
	r->conn = conn;
	conn->user = r;
	r->catalog = catalog_ref(w->catalog);
	r->step = STEP_AUTH;
	r->began_us = clock_mono_us();
	r->retry_after_ms = -1;
	r->bytes_in = conn->body.len;
	arena_init(&r->arena, 512);
	buf_init(&r->hold, EVENT_MAX);
	timer_init(&r->timer, request_on_timer);
	worker_new_id(w, r->id);
	list_init(&r->waiting);
	list_push_back(&w->requests, &r->link);
	count(&w->metrics.http_requests);
	count(&w->metrics.in_flight);
	request_run(r);
}

/* What no step should have to check: a client that has left ends everything but settling; what the operator stops ends with an error. */
static const struct step *checked(struct request *r)
{
	if (r->gone && r->step != STEP_SETTLE) {
		r->error = ERROR_CLIENT_CLOSED;
		return STEP_SETTLE;
	}
	if (r->stopped && r->step != STEP_SETTLE && r->step != STEP_FAIL) {
		route_leave_queue(r);
		r->cut = r->upstream && r->part_next == r->part_count;
		request_end_attempt(r, true);
		return request_fail(r, ERROR_REQUEST_STOPPED, STR("the operator stopped this request"));
	}
	return r->step;
}

void request_run(struct request *r)
{
	if (r->running) { /* woken from inside a step */
		r->again = true;
		return;
	}
	r->running = true;
	do {
		r->again = false;
		r->step = checked(r);
		const struct step *next = r->step->run(r);
		if (next == STEP_DONE)
			return;
		if (next == STEP_WAIT)
			continue;
		r->step = next;
		r->again = true;
	} while (r->again);
	r->running = false;
}

const struct step *request_fail(struct request *r, enum error e, struct str message)
{
	r->error = e;
	r->error_status = 0;
	r->error_code = STR_NONE;
	r->error_message = message;
	return STEP_FAIL;
}

const struct step *request_failf(struct request *r, enum error e, const char *format, ...)
{
	char text[1024];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	return request_fail(r, e, arena_dup(&r->arena, str_of(text, len)));
}

struct attempt *request_attempt(struct request *r)
{
	return r->attempt_count ? &r->attempts[r->attempt_count - 1] : NULL;
}

bool request_may_retry(const struct request *r)
{
	return (!r->committed || (r->resume && resume_may(r->resume))) && !r->gone && r->attempt_count < r->catalog->attempts && r->attempt_count < ATTEMPTS_MAX;
}

int64_t request_queue_ms(const struct request *r)
{
	return (r->claim_us + r->queue_us) / 1000;
}

struct series *request_series(struct request *r)
{
	struct attempt *a = request_attempt(r);
	return a ? series_get(&r->worker->series, a->place->series) : NULL;
}

void request_end_attempt(struct request *r, bool spoil)
{
	struct attempt *a = request_attempt(r);
	if (r->upstream) {
		if (spoil || r->part_next < r->part_count)
			r->upstream->keep = false;
		upstream_put(r->upstream);
		r->upstream = NULL;
	}
	if (a && !a->reported && r->catalog->breaker) {
		a->reported = true;
		health_report(&a->place->target->state->health, a->outcome, a->probe, r->retry_after_ms > 0 ? r->retry_after_ms : 0, loop_now_ms(&r->worker->loop),
			      worker_random(r->worker));
	}
	if (r->counted)
		queue_give_back(r->worker->queue, &a->place->target->state->places, loop_now_ms(&r->worker->loop));
	r->counted = false;
	r->upstream_failed = r->ended = r->data_last = false;
	r->answer = NULL;
	r->data_len = 0;
	r->watching = false;
}
