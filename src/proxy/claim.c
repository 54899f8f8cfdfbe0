/* claim.c - CLAIM: limits and budgets say yes, not yet, or no; then the request's BEGIN goes into the journal, before anything goes upstream.
 *
 * What is not possible now, but may be once others have given something back, waits in the worker's list until worker_wake(), or until its time is up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "gate/governed.h"
#include "proxy/worker.h"
#include "proxy/request.h"
#include "store/ledger.h"

#define KEYLESS_WAIT_MS   2000
#define LEASE_WAIT_MS     5000 /* for the disk; no policy */
#define SETTLE_ROOM       320  /* bytes of a SETTLE without the model's name, see book.c */
#define LIKELY_OUTPUT     256
#define SPOKEN_TOKENS     16384 /* of a transcription, which nothing caps */

/* ---- what is asked for ---- */

static int64_t guess_input(const struct request *r)
{
	int64_t guess = governed_tokens(r->model, r->bytes_in);
	return guess < r->input_bound ? guess : r->input_bound;
}

static int64_t bound_input(const struct request *r)
{
	int64_t bound = r->facts.form ? 1024 : r->claim_scopes ? body_input_bound(r->conn->body) : (int64_t)r->bytes_in; /* nobody asks: not worth a look */
	if (r->facts.continues) /* the rest of the conversation lies with the engine */
		bound += r->model->context ? r->model->context : 131072;
	return bound;
}

static int64_t longest_seconds(const struct catalog_model *m)
{
	int64_t ms = 0;
	for (uint32_t i = 0; m->dearest.per_second && i < m->place_count; i++)
		if (m->places[i].timeouts.total_ms > ms)
			ms = m->places[i].timeouts.total_ms;
	return (ms + 999) / 1000;
}

/* What the window leaves for the answer: some engines refuse a cap that does not fit beside the prompt. The bound of a prompt is far above it for long
 * ones; then the guess must do, with a margin. 0: the window is not known. */
static int64_t room_left(const struct catalog_model *m, int64_t bound, int64_t guess)
{
	int64_t sure = m->context - bound, likely = m->context - guess * 5 / 4 - 64;
	if (m->context == 0)
		return 0;
	if (sure >= m->context / 2)
		return sure;
	return likely > sure ? (likely > 1 ? likely : 1) : sure;
}

/* Tokens that the answer may have: what the client says, or nothing; never more than the key allows. */
static void ask_output(struct request *r, struct ask *ask)
{
	const struct catalog_model *m = r->model;
	int64_t most = r->key && r->key->rules ? r->key->rules->max_output : 0, choices = r->facts.choices;
	if (r->facts.cap_name.len == 0) { /* no text comes out, or nobody can say how long it may be */
		ask->output = r->op->op == OP_TRANSCRIPTIONS || r->op->op == OP_TRANSLATIONS ? SPOKEN_TOKENS : 0;
		ask->output_default = OUTPUT_NONE;
		return;
	}
	ask->output = r->facts.output;
	if (most && (ask->output == 0 || ask->output > most * choices)) {
		ask->output = most * choices;
		r->output_cap = most;
	}
	int64_t room = room_left(m, r->input_bound, ask->input_guess);
	int64_t otherwise = m->max_output && (m->max_output < room || !room) ? m->max_output : room;
	ask->output_default = otherwise * choices;
}

/* Tokens that the answer will most likely have: nobody knows; long caps are rarely used up. */
static int64_t guess_output(const struct request *r, const struct ask *ask)
{
	if (ask->output > 0 && ask->output < LIKELY_OUTPUT)
		return ask->output;
	return r->op->counts_output ? LIKELY_OUTPUT : 0;
}

static struct ask make_ask(struct request *r)
{
	r->input_bound = bound_input(r);
	struct ask ask = {
		.mono_us = r->claim_us ? clock_mono_us() : r->began_us, /* a clock read is not free */
		.book_us = r->book_us, .input_bound = r->input_bound, .price = &r->model->dearest,
		.max_wait_us = (r->key ? (int64_t)r->key->max_wait_ms : KEYLESS_WAIT_MS) * 1000, .seconds = longest_seconds(r->model),
	};
	ask.input_guess = guess_input(r);
	ask_output(r, &ask);
	r->input_guess = ask.input_guess;
	r->output_guess = guess_output(r, &ask);
	return ask;
}

/* ---- no ---- */

static const struct step *refuse(struct request *r, const struct governed *g, const struct claim_answer *a)
{
	struct buf why;
	r->rates[0] = a->requests;
	r->rates[1] = a->tokens;
	buf_init(&why, 1024);
	enum error e = governed_refusal(g, a, &why, &r->retry_after_ms);
	const struct step *next = request_fail(r, e, arena_dup(&r->arena, buf_str(&why)));
	buf_release(&why);
	return next;
}

/* ---- not yet ---- */

static void begin_waiting(struct request *r)
{
	if (r->announced)
		return;
	r->announced = true;
	books_wait(r->catalog->books);
	list_push_back(&r->worker->waiting, &r->waiting);
}

void claim_stop_waiting(struct request *r)
{
	list_remove(&r->waiting);
	if (r->announced)
		books_wait_over(r->catalog->books);
	r->announced = false;
}

static const struct step *wait_or_refuse(struct request *r, const struct governed *g, const struct claim_answer *a)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	int64_t allowed = a->by == LIMIT_LEASE ? LEASE_WAIT_MS : r->key ? (int64_t)r->key->max_wait_ms : KEYLESS_WAIT_MS;
	int64_t until = r->claim_began_ms + allowed;
	r->timed_out = false;
	if (now_ms >= until) {
		claim_stop_waiting(r);
		return refuse(r, g, a);
	}
	timer_start(&r->worker->loop, &r->timer, until - now_ms);
	return STEP_WAIT;
}

/* ---- yes ---- */

/* BEGIN stands in the journal before the first byte goes upstream, and the room for its SETTLE is set aside. */
static const struct step *write_begin(struct request *r)
{
	unsigned char payload[RECORD_MAX];
	struct lane *lane = r->worker->lane;
	struct record_begin b = {
		.began_us = r->book_us, .hold_tokens = r->claim.hold_tokens, .hold_nanos = r->claim.hold_nanos, .input_tokens = r->input_bound,
		.key = key_serial(r->key), .model = str_head(r->model->name, RECORD_TEXT), .target = STR_NONE, .op = str_from(r->op->name),
	};
	memcpy(b.id, r->id + 4, RECORD_ID);
	r->settle_room = SETTLE_ROOM + (uint32_t)b.model.len;
	r->reserved = lane && lane_reserve(lane, r->settle_room);
	if (r->reserved)
		r->begin_seq = lane_append(lane, RECORD_BEGIN, payload, record_put_begin(payload, &b));
	if (r->begin_seq) {
		lane_waits(lane, r->begin_seq); /* until something is sent, it costs nobody anything */
		return STEP_ROUTE;
	}
	count(&r->worker->metrics.records_lost);
	if (!r->budgeted || !lane)
		return STEP_ROUTE; /* nobody's money: serve on */
	r->retry_after_ms = 1000;
	return request_fail(r, ERROR_LEDGER_UNAVAILABLE, STR("what is used cannot be written down now; budgets are closed until it can"));
}

static const struct step *granted(struct request *r, const struct claim_answer *a)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	claim_stop_waiting(r);
	r->granted = true;
	r->rates[0] = a->requests;
	r->rates[1] = a->tokens;
	r->budgeted = a->budgeted;
	if (a->output && r->facts.output == 0 && r->output_cap == 0 && r->facts.cap_name.len)
		r->output_cap = a->output / r->facts.choices > 0 ? a->output / r->facts.choices : 1;
	r->claim_until_ms = now_ms + (a->wait_us + 999) / 1000;
	if (a->wait_us <= 0)
		return write_begin(r);
	timer_start(&r->worker->loop, &r->timer, r->claim_until_ms - now_ms);
	return STEP_WAIT;
}

static const struct step *claim(struct request *r)
{
	struct governed g;
	struct claim_answer a = {.verdict = CLAIM_GRANTED};
	if (!governed_find(&g, r->catalog, r->model, r->key, r->facts.model))
		return request_fail(r, ERROR_INTERNAL, STR("more model limits of the key match this model than Valet can keep at once"));
	r->claim_scopes = g.count;
	struct ask ask = make_ask(r);
	if (g.count)
		books_claim(r->catalog->books, g.scopes, g.count, &ask, &r->claim, &a);
	if (a.verdict == CLAIM_LATER && !r->announced) { /* announced first, so that nothing given back in between is missed */
		begin_waiting(r);
		books_claim(r->catalog->books, g.scopes, g.count, &ask, &r->claim, &a);
	}
	if (a.verdict == CLAIM_GRANTED)
		return granted(r, &a);
	if (a.verdict == CLAIM_LATER)
		return wait_or_refuse(r, &g, &a);
	return refuse(r, &g, &a);
}

const struct step *step_claim(struct request *r)
{
	if (r->granted) {
		int64_t now_ms = loop_now_ms(&r->worker->loop);
		r->timed_out = false;
		if (now_ms < r->claim_until_ms) {
			timer_start(&r->worker->loop, &r->timer, r->claim_until_ms - now_ms);
			return STEP_WAIT;
		}
		r->claim_us = clock_mono_us() - r->began_us;
		return write_begin(r);
	}
	if (r->claim_began_ms == 0)
		r->claim_began_ms = loop_now_ms(&r->worker->loop);
	else
		r->claim_us = clock_mono_us() - r->began_us;
	return claim(r);
}
