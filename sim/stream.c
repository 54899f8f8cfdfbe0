/* stream.c - sends an answer as it is made: the events that are due in one write, with
 * back-pressure, and faults on the way.
 *
 * Token k of a stream is due k intervals after the first one. A stream that is late sends all that
 * is due at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "base/clock.h"

#define BATCH_BYTES (16 * 1024)
#define BATCHES     32 /* in one go; then other streams have their turn */

bool stream_head(struct job *j)
{
	struct sim *sim = j->worker->sim;
	if (j->headed || !sim->dialect->early_head || fault_is(&j->fault, PHASE_WIRE))
		return true;
	j->headed = true;
	return http_respond_begin(j->conn, 200, sim_fields(sim, j->surface->stream_fields), -1,
				  STR_NONE);
}

/* False: the connection is broken; its end will be told. */
static bool send_part(struct job *j, struct str data)
{
	struct sim *sim = j->worker->sim;
	j->bytes += data.len;
	if (j->headed)
		return http_respond_body(j->conn, (char *)data.ptr, data.len, true);
	j->headed = true;
	return http_respond_begin(j->conn, 200, sim_fields(sim, j->surface->stream_fields), -1,
				  data);
}

static void send_last(struct job *j, struct str data)
{
	struct http_conn *c = j->conn;
	bool headed = j->headed;
	struct str fields = sim_fields(j->worker->sim, j->surface->stream_fields);
	j->bytes += data.len;
	job_end(j);
	if (headed) {
		http_respond_last(c, (char *)data.ptr, data.len, true);
		return;
	}
	if (http_respond_begin(c, 200, fields, -1, data))
		http_respond_end(c);
}

/* ---- pieces ---- */

static void put_token(struct job *j, struct buf *out)
{
	struct str piece = STR_NONE;
	if (j->source != SOURCE_WORDS) {
		struct str rest = str_skip(j->text, j->text_at);
		text_piece(&rest, &piece);
		j->text_at = j->text.len - rest.len;
	}
	for (uint32_t i = 0; i < j->choices; i++) {
		if (j->source == SOURCE_WORDS)
			piece = text_word(j->hash + i, j->from + j->made);
		j->surface->piece(j, out, i, piece);
	}
	j->made++;
}

static uint32_t due_tokens(const struct job *j)
{
	if (j->interval_us < 1)
		return j->tokens;
	int64_t late_us = clock_mono_us() - j->first_us;
	int64_t due = late_us < 0 ? 0 : late_us / j->interval_us + 1;
	return due > j->tokens ? j->tokens : (uint32_t)due;
}

/* ---- faults ---- */

static const char bad_events[] = "data {no colon\n\n"
				 "event: \xff\xfe\n\n"
				 "data: {\"choices\":[{\"delta\":{\"content\":\"cut\n\n"
				 "unknown-field: 1\n\n"
				 "data:\n\n";

/* How many tokens may go out before the fault strikes. */
static uint32_t fault_limit(const struct job *j)
{
	switch (j->fault.kind) {
	case FAULT_RESET_AFTER:
	case FAULT_CUT_AFTER:
	case FAULT_STALL_AFTER:
	case FAULT_ERROR_IN_STREAM:
	case FAULT_BAD_SSE:
		if (!j->faulted && j->fault.arg >= 0 && j->fault.arg < UINT32_MAX)
			return (uint32_t)j->fault.arg;
		return UINT32_MAX;
	default:
		return UINT32_MAX;
	}
}

/* True: the stream is over. */
static bool strike(struct job *j, struct buf *out)
{
	struct http_conn *c = j->conn;
	j->faulted = true;
	switch (j->fault.kind) {
	case FAULT_BAD_SSE:
		buf_add(out, bad_events, sizeof(bad_events) - 1);
		return false;
	case FAULT_ERROR_IN_STREAM:
		j->surface->broken(j, out);
		send_last(j, worker_composed(j->worker));
		return true;
	case FAULT_STALL_AFTER:
		send_part(j, worker_composed(j->worker));
		job_stick(j);
		return true;
	default:
		send_part(j, worker_composed(j->worker));
		j->status = 0;
		bool reset = j->fault.kind == FAULT_RESET_AFTER;
		job_end(j);
		if (reset)
			conn_reset(c);
		else
			http_abort(c);
		return true;
	}
}

/* The whole stream in one piece, for faults of the wire. */
static void send_at_once(struct job *j)
{
	struct worker *w = j->worker;
	struct http_conn *c = j->conn;
	struct fault fault = j->fault;
	struct str fields = sim_fields(w->sim, j->surface->stream_fields);
	struct buf *out = worker_compose(w);
	j->surface->open(j, out);
	while (j->made < j->tokens)
		put_token(j, out);
	j->surface->close(j, out);
	j->bytes = out->len;
	job_end(j);
	fault_send(w, c, &fault, fields, worker_composed(w));
}

/* ---- going on ---- */

static void finish(struct job *j, struct buf *out)
{
	j->surface->close(j, out);
	if (j->fault.kind == FAULT_HANG_AFTER_DONE) {
		send_part(j, worker_composed(j->worker));
		job_stick(j);
	} else {
		send_last(j, worker_composed(j->worker));
	}
}

static void wait_for_due(struct job *j)
{
	int64_t due_us =
		j->interval_us > 0 ? j->first_us + j->interval_us * j->made : clock_mono_us();
	pace_at(&j->worker->pacer, &j->pace, due_us);
}

/* Composes and sends what is due up to a batch. True: more is due at once. */
static bool send_batch(struct job *j)
{
	uint32_t due = due_tokens(j), limit = fault_limit(j);
	struct buf *out = worker_compose(j->worker);
	if (!j->opened) {
		j->opened = true;
		j->surface->open(j, out);
	}
	while (j->made < due && j->made < limit && out->len < BATCH_BYTES)
		put_token(j, out);
	if (j->made >= limit) {
		if (strike(j, out))
			return false;
		limit = UINT32_MAX;
	}
	if (j->made >= j->tokens) {
		finish(j, out);
		return false;
	}
	if (!send_part(j, worker_composed(j->worker)))
		return false;
	if (stream_backlog(&j->conn->stream) > STREAM_HIGH) /* goes on when it is drained */
		return false;
	if (j->made < due)
		return true;
	wait_for_due(j);
	return false;
}

void stream_go(struct job *j)
{
	if (fault_is(&j->fault, PHASE_WIRE)) {
		send_at_once(j);
		return;
	}
	if (j->pace.due_us) /* drained while a later event is waited for */
		return;
	for (int i = 0; i < BATCHES; i++)
		if (!send_batch(j))
			return;
	wait_for_due(j);
}
