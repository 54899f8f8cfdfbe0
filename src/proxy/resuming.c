/* resuming.c - the next target for a stream that broke off, and what it is asked; the contract is in resuming.h.
 *
 * What the client is charged is what it sees in its usage: the prompt once, and all of the text once, whichever engines made it. A prompt that a second engine
 * had to read again because the first one died is not the client's. So a request never uses more than it holds, and the ledger has one record of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/resuming.h"

#include "proxy/judge.h"
#include "proxy/relay_events.h"
#include "proxy/worker.h"

/* Engines whose events are known to have a token at least: else nobody could say what is left of a cap. */
static bool is_known(const struct catalog_target *t)
{
	return t->cloud == CLOUD_NONE && resume_engine(t->kind);
}

void resuming_begin(struct request *r)
{
	bool known = is_known(request_attempt(r)->place->target);
	if (r->resume && !r->resume->begun && !known) { /* the attempt before this one gave nothing */
		resume_release(r->resume);
		r->resume = NULL;
	}
	if (r->resume || !known || r->op->op != OP_CHAT || !r->facts.stream || r->model->place_count < 2 || !resume_allowed(r->conn->body))
		return;
	r->resume = arena_zero(&r->arena, sizeof(*r->resume));
	resume_init(r->resume, &r->arena);
}

void resuming_stop(struct request *r)
{
	resume_release(r->resume);
	r->resume = NULL;
	if (r->committed && r->part_next == r->part_count)
		http_release_input(r->conn);
}

/* ---- what there is so far ---- */

static int64_t cap_of(const struct request *r)
{
	int64_t said = r->facts.output, ours = r->output_cap;
	return said == 0 || (ours && ours < said) ? ours : said;
}

/* An event has at least one token, often exactly one; some engines put more into it, as earlier answers have taught, or tell. */
static int64_t tokens_so_far(struct request *r)
{
	uint32_t ratio = atomic_load_explicit(&request_attempt(r)->place->learned->tokens_per_event, memory_order_relaxed);
	int64_t n = (r->resume->pieces * (ratio > 256 ? ratio : 256) + 255) / 256;
	return r->usage.known && r->usage.output > n ? r->usage.output : n;
}

/* All the text that it may have has come; what is missing is the reason why it ends, or less. */
static bool is_complete(const struct request *r)
{
	return r->resume->finished || (cap_of(r) && r->resume->pieces >= cap_of(r));
}

/* ---- the end of an attempt ---- */

/* What the client has got must end with a blank line before anything else comes. */
static void close_event(struct request *r)
{
	char blank[] = "\n\n";
	if (r->mid_event)
		http_respond_body(r->conn, blank, 2, false);
	r->mid_event = false;
}

static const struct step *complete(struct request *r)
{
	struct buf end;
	buf_init(&end, 16384);
	close_event(r);
	resume_end(r->resume, r->facts.model, &end);
	r->error = ERROR_NONE;
	request_end_attempt(r, true);
	const struct step *next = relay_finish(r, end.ptr, end.len, false, -1);
	buf_release(&end);
	return next;
}

/* As before a first attempt, but for what the client has got. */
static void begin_again(struct request *r)
{
	int64_t tokens = tokens_so_far(r);
	request_attempt(r)->error = r->error;
	if (r->streaming)
		count_down(&request_series(r)->streams);
	r->streaming = false;
	request_end_attempt(r, true);
	buf_clear(&r->hold);
	close_event(r);
	resume_again(r->resume, tokens);
	r->usage = (struct usage){.flagged = r->usage.flagged};
	r->paused = r->saw_error = r->timed_out = false;
	r->beat_ms = r->queue_began_ms = 0;
}

const struct step *resuming_elsewhere(struct request *r, const struct step *failed)
{
	if (!r->committed)
		return judge_elsewhere(r, failed);
	if (!r->resume)
		return failed;
	if (request_attempt(r)->outcome != HEALTH_SILENT)
		request_attempt(r)->outcome = HEALTH_BAD;
	if (is_complete(r))
		return complete(r);
	if (!request_may_retry(r))
		return failed;
	begin_again(r);
	return STEP_ROUTE;
}

/* ---- the next attempt ---- */

int resuming_body(struct request *r, const struct catalog_place *place, size_t *length)
{
	struct resume_ask ask = {.model = place->model, .flags = place->target->kind != ENGINE_OLLAMA, .usage = r->hide_usage, .cap = r->output_cap};
	struct buf body;
	buf_init(&body, SIZE_MAX);
	resume_body(r->resume, r->conn->body, &ask, &body);
	struct str copy = arena_dup(&r->arena, buf_str(&body));
	buf_release(&body);
	r->parts[1] = (struct iovec){(char *)copy.ptr, copy.len};
	*length = copy.len;
	return 1;
}

void resuming_goes_on(struct request *r)
{
	r->resumed++;
	count(&request_series(r)->streams_resumed);
}

const struct step *resuming_refused(struct request *r, struct str name)
{
	struct str said = r->error_message;
	return request_failf(r, ERROR_UPSTREAM_DISCONNECT, "the stream broke off, and target '%.*s' does not continue it: %.*s", STR_ARG(name), STR_ARG(said));
}
