/* relay.c - RELAY: the answer goes to the client as it comes, in one write for what one read brought.
 *
 * Four modes: raw bytes; a whole JSON answer, held until it is complete and then looked at once (up to ANSWER_HELD_MAX, beyond that it passes);
 * events of a stream, forwarded by whole events (relay_events.c); an error's body, collected for fail.c. The upstream pauses while the client
 * has more than STREAM_HIGH to read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/relay.h"

#include "base/clock.h"
#include "base/json.h"
#include "proxy/judge.h"
#include "proxy/native.h"
#include "proxy/relay_events.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"

#define EVENTS_BESIDE 16 /* of a stream: roles, ends, usage */
#define LOOK_MS 1000 /* how often the clock of a body is looked at */

void relay_begin(struct request *r)
{
	if (r->mode != RELAY_EVENTS)
		return;
	r->streaming = true;
	count(&request_series(r)->streams);
	count(&request_series(r)->streams_total);
	if (resuming_continues(r))
		resuming_goes_on(r);
}

/* ---- to the client ---- */

/* The first bytes of the answer: from here on nothing may be tried elsewhere, unless it can be resumed. */
static bool begin_answer(struct request *r, int64_t length, struct str data)
{
	struct str more = r->mode == RELAY_EVENTS ? STR("cache-control: no-cache\r\nx-accel-buffering: no\r\n") : STR_NONE;
	struct str type = r->mode == RELAY_EVENTS ? STR("text/event-stream; charset=utf-8") : r->content_type;
	r->status = r->mode == RELAY_EVENTS ? 200 : r->upstream_status;
	r->committed = true;
	r->as_events = r->mode == RELAY_EVENTS;
	r->bytes_out += data.len;
	return http_respond_begin(r->conn, r->status, answer_fields(r, type, more), length, data);
}

/* Begins the answer that the upstream has begun: the request's own bytes are not needed any more, unless they are to be sent again. */
static bool commit(struct request *r, int64_t length, struct str data)
{
	bool fine = begin_answer(r, length, data);
	if (r->part_next < r->part_count) { /* answered before it has read all: the rest is of no use */
		r->part_count = r->part_next = 0;
		if (r->upstream)
			r->upstream->keep = false;
	}
	if (!r->resume)
		http_release_input(r->conn);
	return fine;
}

void relay_heartbeat(struct request *r)
{
	char beat[] = ": keep-alive\n\n";
	relay_comment(r, beat, sizeof(beat) - 1);
}

void relay_comment(struct request *r, char *text, size_t len)
{
	enum relay_mode mode = r->mode;
	r->mode = RELAY_EVENTS;
	if (!r->committed)
		begin_answer(r, -1, str_of(text, len));
	else
		http_respond_body(r->conn, text, len, false);
	r->mode = mode;
	if (r->upstream && r->part_next == r->part_count && !r->resume) /* else a target is still to get it */
		http_release_input(r->conn);
}

static void hold_back(struct request *r)
{
	if (!r->paused && r->upstream && stream_backlog(&r->conn->stream) > STREAM_HIGH) {
		r->paused = true;
		upstream_pause(r->upstream);
	}
}

bool relay_write(struct request *r, char *data, size_t len, bool roomy, int64_t length)
{
	if (len == 0)
		return true;
	if (!r->committed)
		return commit(r, length, str_of(data, len));
	r->bytes_out += len;
	bool fine = http_respond_body(r->conn, data, len, roomy);
	hold_back(r);
	return fine;
}

const struct step *relay_finish(struct request *r, char *data, size_t len, bool roomy, int64_t length)
{
	struct http_conn *c = r->conn;
	if (!r->committed)
		r->status = r->mode == RELAY_EVENTS ? 200 : r->upstream_status;
	request_book(r, len);
	if (!r->committed) {
		commit(r, length, str_of(data, len));
		r->conn = NULL;
		http_respond_end(c);
	} else {
		r->bytes_out += len;
		r->conn = NULL;
		http_respond_last(c, data, len, roomy);
	}
	return STEP_SETTLE;
}

/* ---- raw bytes ---- */

static const struct step *relay_raw(struct request *r)
{
	if (r->data_len > 0) {
		relay_write(r, r->data, r->data_len, true, r->answer_length);
		if (r->keep_tail) { /* the end of a large JSON answer tells its usage */
			size_t n = r->data_len < TAIL_KEEP ? r->data_len : TAIL_KEEP;
			if (r->hold.len + n > TAIL_KEEP)
				buf_drop(&r->hold, r->hold.len + n - TAIL_KEEP);
			buf_add(&r->hold, r->data + r->data_len - n, n);
		}
		r->data_len = 0;
	}
	if (!r->ended)
		return STEP_WAIT;
	if (r->keep_tail)
		tap_tail(buf_str(&r->hold), &r->usage);
	return relay_finish(r, NULL, 0, false, r->answer_length);
}

/* ---- a whole JSON answer ---- */

static const struct step *answer_invalid(struct request *r, const char *what)
{
	struct attempt *a = request_attempt(r);
	const struct step *failed = request_failf(r, ERROR_UPSTREAM_INVALID, "target '%.*s' %s",
						  STR_ARG(a->place->target->name), what);
	return r->committed ? failed : judge_elsewhere(r, failed);
}

/* The answer with the name that the client used in place of the engine's. */
static const struct step *finish_renamed(struct request *r, struct str body, struct str model)
{
	struct buf out;
	buf_init(&out, body.len + 4096);
	buf_add(&out, body.ptr, (size_t)(model.ptr - body.ptr));
	json_quote(&out, r->facts.model);
	const char *rest = model.ptr + model.len;
	buf_add(&out, rest, (size_t)(body.ptr + body.len - rest));
	const struct step *next = relay_finish(r, out.ptr, out.len, false, (int64_t)out.len);
	buf_release(&out);
	return next;
}

/* A cloud's answer in OpenAI's words; in the arena where anything had to change. */
static struct str in_our_words(struct request *r, struct str body)
{
	struct buf out;
	if (!r->cloud && !(r->native && r->native->spoken))
		return body;
	buf_init(&out, 8 * body.len + 4096);
	if (!r->cloud) {
		if (ollama_chat_whole(&r->native->about, body, &out))
			body = arena_dup(&r->arena, buf_str(&out));
	} else if (cloud_whole(request_attempt(r)->place->target->cloud, body, &out) && !out.over)
		body = arena_dup(&r->arena, buf_str(&out));
	buf_release(&out);
	return body;
}

static const struct step *finish_whole(struct request *r, char *data, size_t len)
{
	struct str model, said = in_our_words(r, str_of(data, len));
	bool error = false, foreign = r->native && r->native->spoken && said.ptr == data;
	data = (char *)said.ptr;
	len = said.len;
	if (!tap_whole(str_of(data, len), &r->usage, &model, &error))
		return answer_invalid(r, "answered with invalid JSON");
	if (error) { /* some say 200 and mean an error */
		r->upstream_status = ERROR_STATUS_IN_BODY;
		if (r->hold.len == 0 || data != r->hold.ptr) {
			buf_clear(&r->hold);
			buf_add(&r->hold, data, len);
		}
		return STEP_FAIL;
	}
	if (foreign)
		return answer_invalid(r, "answered with something else than a chat");
	if (native_was_cut(r))
		return native_too_long(r);
	if (r->rename && model.ptr)
		return finish_renamed(r, str_of(data, len), model);
	return relay_finish(r, data, len, false, (int64_t)len);
}

/* Too large to be held: it passes from here on. */
static const struct step *let_pass(struct request *r)
{
	r->mode = RELAY_RAW;
	r->keep_tail = true;
	relay_write(r, r->hold.ptr, r->hold.len, false, r->answer_length);
	size_t n = r->hold.len < TAIL_KEEP ? r->hold.len : TAIL_KEEP;
	memmove(r->hold.ptr, r->hold.ptr + r->hold.len - n, n);
	r->hold.len = n;
	return STEP_RELAY;
}

static const struct step *relay_whole(struct request *r)
{
	if (r->data_len > 0) {
		size_t len = r->data_len;
		r->data_len = 0;
		if (r->data_last && r->hold.len == 0)
			return finish_whole(r, r->data, len);
		if (!buf_add(&r->hold, r->data, len))
			return answer_invalid(r, "answered with more than can be held");
		if (r->hold.len > ANSWER_HELD_MAX && !r->rename && !r->native)
			return let_pass(r);
	}
	if (r->data_last || r->ended)
		return finish_whole(r, r->hold.ptr, r->hold.len);
	return STEP_WAIT;
}

/* ---- an error's body ---- */

static const struct step *relay_error(struct request *r)
{
	size_t room = ERROR_BODY_MAX - r->hold.len;
	if (r->data_len > 0)
		buf_add(&r->hold, r->data, r->data_len < room ? r->data_len : room);
	r->data_len = 0;
	if (r->ended || r->data_last || r->hold.len >= ERROR_BODY_MAX)
		return STEP_FAIL;
	return STEP_WAIT;
}

/* ---- what happens to an answer ---- */

/* The upstream broke off. Before the first byte: elsewhere. After it: the client must see it. */
static const struct step *broken(struct request *r)
{
	struct attempt *a = request_attempt(r);
	if (r->mode == RELAY_ERROR)
		return STEP_FAIL;
	count(&request_series(r)->streams_broken);
	a->outcome = HEALTH_BAD;
	const struct step *failed =
		request_failf(r, r->failure == UPSTREAM_BAD ? ERROR_UPSTREAM_INVALID : ERROR_UPSTREAM_DISCONNECT,
			      "target '%.*s': %s", STR_ARG(a->place->target->name), r->why);
	return resuming_elsewhere(r, failed);
}

/* Nothing has come of the present attempt yet but its head. */
static bool waits_for_first(const struct request *r)
{
	return r->mode == RELAY_EVENTS && (r->first_us == 0 || (r->resume && r->resume->waits));
}

/* A stream that has been silent for long: so that nothing between the client and us gives it up. Not inside an event. */
static void beat_in_silence(struct request *r, int64_t now_ms)
{
	if (r->mode != RELAY_EVENTS || r->mid_event || r->paused || now_ms < r->beat_ms || now_ms - r->progress_ms < r->catalog->heartbeat_ms)
		return;
	relay_heartbeat(r);
	r->beat_ms = now_ms + r->catalog->heartbeat_ms;
}

static const struct step *look_at_clock(struct request *r)
{
	struct attempt *a = request_attempt(r);
	const struct target_timeouts *t = &a->place->timeouts;
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	r->timed_out = false;
	if (waits_for_first(r) && now_ms < r->deadline_ms)
		return judge_clock(r);
	bool idle = !r->paused && now_ms - r->progress_ms >= t->idle_ms;
	if (!idle && now_ms < r->total_ms) {
		beat_in_silence(r, now_ms);
		timer_start(&r->worker->loop, &r->timer, LOOK_MS);
		return STEP_WAIT;
	}
	const struct step *failed = request_failf(r, ERROR_UPSTREAM_TIMEOUT, "target '%.*s' %s", STR_ARG(a->place->target->name),
						  idle ? "stopped answering" : "took longer than allowed");
	a->outcome = idle ? HEALTH_SILENT : a->outcome;
	if (idle)
		return resuming_elsewhere(r, failed);
	return r->committed ? failed : judge_elsewhere(r, failed);
}

/* An event has a token at least, but for a few around them: then the target does not keep to the cap that it was told. */
static bool is_beyond_hold(const struct request *r)
{
	return r->budgeted && (int64_t)r->events > r->claim.hold_tokens + EVENTS_BESIDE;
}

/* No answer is that long: a model that has lost its way, or a server that is none. */
static const struct step *never_ends(struct request *r)
{
	return request_failf(r, ERROR_UPSTREAM_INVALID, "target '%.*s' has sent more than %s", STR_ARG(request_attempt(r)->place->target->name),
			     is_beyond_hold(r) ? "the budget lets this answer have" : "an answer may have (ceilings.max_answer)");
}

static const struct step *relay(struct request *r)
{
	if (r->bytes_out > r->catalog->max_answer || is_beyond_hold(r))
		return never_ends(r);

	switch (r->mode) {
	case RELAY_EVENTS:
		return relay_events(r);
	case RELAY_WHOLE:
		return relay_whole(r);
	case RELAY_ERROR:
		return relay_error(r);
	default:
		return relay_raw(r);
	}
}

/* The clock of a body starts when it is not complete at once; until the first event of a stream the one of HEAD goes on. */
static const struct step *watched(struct request *r, const struct step *next)
{
	if (next == STEP_WAIT && !r->watching && !waits_for_first(r)) {
		r->watching = true;
		timer_start(&r->worker->loop, &r->timer, LOOK_MS);
	}
	return next;
}

const struct step *step_relay(struct request *r)
{
	if (r->data_len > 0 || r->data_last || r->ended) {
		r->progress_ms = loop_now_ms(&r->worker->loop);
		return watched(r, relay(r));
	}
	if (r->upstream_failed)
		return broken(r);
	return r->timed_out ? look_at_clock(r) : STEP_WAIT;
}
