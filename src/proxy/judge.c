/* judge.c - HEAD: waits for the head of an answer, and judges it, or the failure or the silence that came instead.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/judge.h"

#include "proxy/native.h"
#include "http/sse.h"
#include "proxy/relay.h"
#include "proxy/worker.h"

#define RETRY_AFTER_MAX_MS 60000
#define CONTENT_TYPE_MAX   256

/* ---- failures before the first byte ---- */

static enum error error_of(enum upstream_failure how)
{
	switch (how) {
	case UPSTREAM_NO_NAME:
	case UPSTREAM_REFUSED:
	case UPSTREAM_CONNECT_TIMEOUT:
		return ERROR_NO_TARGET;
	case UPSTREAM_BAD:
		return ERROR_UPSTREAM_INVALID;
	default:
		return ERROR_UPSTREAM_DISCONNECT;
	}
}

const struct step *judge_elsewhere(struct request *r, const struct step *failed)
{
	count(&request_series(r)->attempts_failed);
	request_attempt(r)->outcome = r->error == ERROR_UPSTREAM_TIMEOUT || (r->upstream_failed && r->failure == UPSTREAM_CONNECT_TIMEOUT) ? HEALTH_SILENT : HEALTH_BAD;
	if (r->streaming)
		count_down(&request_series(r)->streams);
	r->streaming = false;
	request_attempt(r)->error = r->error;
	request_end_attempt(r, true);
	buf_clear(&r->hold);
	return request_may_retry(r) && error_rows[r->error].elsewhere ? STEP_ROUTE : failed;
}

/* A kept connection that ended before a byte of an answer: most likely its keep-alive time was over. The same target, a fresh one. */
static const struct step *refresh(struct request *r)
{
	count(&r->worker->metrics.reconnects);
	request_attempt(r)->refreshed = true;
	r->upstream_failed = false;
	upstream_put(r->upstream);
	r->upstream = NULL;
	return STEP_SEND;
}

static const struct step *connection_failed(struct request *r)
{
	struct attempt *a = request_attempt(r);
	if (r->upstream && r->upstream->reused && r->failure == UPSTREAM_CLOSED && !a->refreshed && (!r->committed || r->resume))
		return refresh(r);
	enum error e = error_of(r->failure);
	if (e == ERROR_NO_TARGET && r->retry_after_ms < 0)
		r->retry_after_ms = 5000;
	const struct step *failed = request_failf(r, e, "target '%.*s': %s", STR_ARG(a->place->target->name), r->why);
	return judge_elsewhere(r, failed);
}

/* ---- time ---- */

static const struct step *out_of_time(struct request *r, const char *what)
{
	struct attempt *a = request_attempt(r);
	const struct step *failed = request_failf(r, ERROR_UPSTREAM_TIMEOUT, "target '%.*s' %s",
						  STR_ARG(a->place->target->name), what);
	return judge_elsewhere(r, failed);
}

const struct step *judge_clock(struct request *r)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	r->timed_out = false;
	if (now_ms >= r->deadline_ms)
		return out_of_time(r, "did not answer in time");
	if (now_ms >= r->beat_ms) {
		relay_heartbeat(r);
		r->beat_ms = now_ms + r->catalog->heartbeat_ms;
	}
	int64_t next = r->beat_ms < r->deadline_ms ? r->beat_ms : r->deadline_ms;
	timer_start(&r->worker->loop, &r->timer, next - now_ms);
	return STEP_WAIT;
}

/* ---- heads ---- */

static bool is_json(struct str type)
{
	struct str kind = str_trim(str_head(type, str_find(type, ';')));
	return str_ieq(kind, STR("application/json")) || str_ends(kind, STR("+json"));
}

/* Whether an answer that is neither JSON nor events can be what was asked for. */
static bool may_be_raw(const struct request *r, struct str type)
{
	switch (r->op->op) {
	case OP_SPEECH:
	case OP_TRANSCRIPTIONS:
	case OP_TRANSLATIONS:
	case OP_IMAGES_GENERATIONS:
	case OP_IMAGES_EDITS:
		return !str_istarts(type, STR("text/html"));
	default:
		return false;
	}
}

static const struct step *wrong_answer(struct request *r, const char *what)
{
	struct attempt *a = request_attempt(r);
	const struct step *failed = request_failf(r, ERROR_UPSTREAM_INVALID, "target '%.*s' %s",
						  STR_ARG(a->place->target->name), what);
	return judge_elsewhere(r, failed);
}

static const struct step *take(struct request *r, const struct http_head *h)
{
	struct str type = http_head_get(h, STR("content-type")), coding = http_head_get(h, STR("content-encoding"));
	r->content_type = arena_dup(&r->arena, str_head(type, CONTENT_TYPE_MAX)); /* it goes on to the client */
	r->error = ERROR_NONE;
	r->answer_length = h->chunked ? -1 : h->content_length;
	if (coding.len && !str_ieq(coding, STR("identity")))
		return wrong_answer(r, "answered compressed, which it was not asked for");
	if (str_istarts(type, STR("text/event-stream")) || (r->native && r->native->spoken && str_istarts(type, STR("application/x-ndjson"))))
		r->mode = RELAY_EVENTS;
	else if (r->committed)
		return wrong_answer(r, "answered something else than a stream");
	else if (type.len == 0 || is_json(type))
		r->mode = RELAY_WHOLE;
	else if (may_be_raw(r, type))
		r->mode = RELAY_RAW;
	else
		return wrong_answer(r, "answered with a content type that is neither JSON nor a stream");
	r->hold.max = r->mode == RELAY_WHOLE ? (size_t)64 << 20 : EVENT_MAX;
	relay_begin(r);
	return STEP_RELAY;
}

static void read_retry_after(struct request *r, const struct http_head *h)
{
	int64_t n;
	if (str_to_i64(http_head_get(h, STR("retry-after-ms")), &n) && n >= 0)
		r->retry_after_ms = n;
	else if (str_to_i64(http_head_get(h, STR("retry-after")), &n) && n >= 0)
		r->retry_after_ms = n < RETRY_AFTER_MAX_MS ? n * 1000 : RETRY_AFTER_MAX_MS;
	if (r->retry_after_ms > RETRY_AFTER_MAX_MS)
		r->retry_after_ms = RETRY_AFTER_MAX_MS;
}

static const struct step *judge(struct request *r, const struct http_head *h)
{
	r->upstream_status = h->status;
	r->progress_ms = loop_now_ms(&r->worker->loop);
	request_attempt(r)->outcome = HEALTH_GOOD;
	if (h->status >= 200 && h->status < 300)
		return take(r, h);
	if (h->status < 400)
		return wrong_answer(r, "answered with a redirect");
	read_retry_after(r, h);
	r->mode = RELAY_ERROR;
	r->hold.max = ERROR_BODY_MAX;
	return STEP_RELAY;
}

const struct step *step_head(struct request *r)
{
	if (r->upstream_failed)
		return connection_failed(r);
	if (r->answer) {
		const struct http_head *h = r->answer;
		r->answer = NULL;
		return judge(r, h);
	}
	return r->timed_out ? judge_clock(r) : STEP_WAIT;
}
