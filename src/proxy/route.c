/* route.c - ROUTE chooses a place for the next attempt; QUEUE waits for one.
 *
 * A free place is taken at once, unless others wait for the same model. Who waits holds a ticket; a grant is a message to this worker. A stream that waits long
 * gets comments, so that nothing between it and us gives up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "gate/plan.h"
#include "proxy/relay.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"

#include <assert.h>
#include <stdio.h>

#define RETRY_PAUSE_MS 50   /* before a retry is tried again for which there was no room */
#define LEASE_LOOKS    200
#define LEASE_LOOK_MS  10
#define AGAIN_MAX_MS   60000
#define PAUSE_MAX_MS   5000 /* longer pauses of a target are told to the client */

_Static_assert(PLAN_TRIED >= ATTEMPTS_MAX, "a plan knows of all attempts");

/* ---- what is asked for ---- */

static void hash_prefix(struct request *r)
{
	const struct catalog_model *m = r->model;
	if (!m->affinity || m->place_count < 2 || !r->worker->prefixes || r->facts.prompt.len < PREFIX_BLOCK || r->prefix)
		return;
	r->prefix = arena_alloc(&r->arena, PREFIX_BLOCKS * sizeof(*r->prefix));
	r->prefix_count = prefix_hashes(r->facts.prompt.ptr, r->facts.prompt.len, r->worker->prefix_seed + m->id, r->prefix);
}

static struct plan_ask plan_ask_of(const struct request *r)
{
	struct plan_ask ask = {
		.catalog = r->catalog, .model = r->model, .operation = OP_BIT(r->op->op), .local_only = r->local_only, .too_long = r->too_long,
		.waited = r->attempt_count > 0 || r->queue_began_ms != 0, .input = r->input_guess,
		.output = r->output_guess, .prefix = r->prefix, .prefix_count = r->prefix_count, .prefixes = r->worker->prefixes,
		.queue = r->worker->queue, .turn = r->turn, .now_ms = loop_now_ms(&r->worker->loop),
	};
	for (uint32_t i = 0; i < r->attempt_count; i++)
		ask.tried[ask.tried_count++] = r->attempts[i].place->target;
	ask.continues = resuming_continues(r);
	return ask;
}

/* ---- the clock of waiting ---- */

static void begin_waiting(struct request *r)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	r->queue_since_ms = now_ms;
	if (r->queue_began_ms)
		return;
	r->queue_began_ms = now_ms;
	r->queue_until_ms = now_ms + r->catalog->queue_wait_ms;
	r->queue_beat_ms = now_ms + r->catalog->queue_beat_ms;
}

static void end_waiting(struct request *r)
{
	if (r->queue_since_ms)
		r->queue_us += (loop_now_ms(&r->worker->loop) - r->queue_since_ms) * 1000;
	r->queue_since_ms = 0;
}

/* ---- nothing to go to ---- */

/* What is only for a moment: a target that asked to be left alone for a while, or more retries at once than it may get. Then the request waits and asks
 * again. False: that is not what it is, or it would take too long. */
static bool may_ask_again(struct request *r, const struct plan_ask *ask, const struct plan_view *v)
{
	int64_t now_ms = ask->now_ms, soonest = INT64_MAX;
	for (uint32_t i = 0; i < v->count; i++) {
		const struct health *h = &v->places[i]->target->state->health;
		if (!plan_may_fit(ask, v->places[i]) || health_mode(h) != HEALTH_CLOSED)
			continue;
		int64_t until = health_until_ms(h, now_ms), at = until > now_ms ? until : now_ms + RETRY_PAUSE_MS + worker_random(r->worker) % RETRY_PAUSE_MS;
		soonest = at < soonest ? at : soonest;
	}
	begin_waiting(r);
	if (soonest > r->queue_until_ms || soonest - now_ms > PAUSE_MAX_MS)
		return false;
	timer_start(&r->worker->loop, &r->timer, soonest - now_ms);
	return true;
}

static const struct step *no_target(struct request *r, const struct plan_ask *ask, const struct plan_view *v)
{
	struct buf why;
	if (r->attempt_count > 0 && r->error != ERROR_NONE)
		return STEP_FAIL; /* the last attempt's error says more */
	buf_init(&why, 1024);
	enum error e = plan_refusal(ask, v, r->key && r->key->local_only ? "key" : r->model->local_only ? "model" : "x-valet-local-only", &why);
	r->retry_after_ms = 5000;
	const struct step *next = request_fail(r, e, arena_dup(&r->arena, buf_str(&why)));
	buf_release(&why);
	return next;
}

/* ---- a place ---- */

static const struct step *go(struct request *r, const struct catalog_place *place, bool probe)
{
	struct target_state *s = place->target->state;
	r->overflow = NULL; /* go_beyond() says otherwise */
	if (r->attempt_count > 0)
		count(&r->worker->metrics.retries);
	r->attempts[r->attempt_count++] = (struct attempt){.place = place, .probe = probe, .outcome = HEALTH_CANCELLED,
							   .others = atomic_load_explicit(&s->places.taken, memory_order_relaxed) - 1};
	r->counted = true;
	if (!r->charged) /* it did not wait */
		queue_charge_begin(r->worker->queue, key_serial(r->key), key_weight(r->key), r->input_guess, r->output_guess);
	r->charged = true;
	places_serve(&s->places, r->model->id);
	if (r->prefix_count)
		prefixes_note(r->worker->prefixes, r->prefix, r->prefix_count, s->places.id);
	count(&request_series(r)->attempts);
	return STEP_SEND;
}

/* The place is ours; the target may still not be fit to be asked. NULL: look elsewhere. */
static const struct step *use(struct request *r, const struct catalog_place *place)
{
	struct target_state *s = place->target->state;
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	/* Neither a stream that goes on, which has left another target, nor a prompt that was too long for one adds to what is wrong. */
	bool retry = r->attempt_count > 0 && !resuming_continues(r) && !r->too_long;
	if (!r->catalog->breaker)
		return go(r, place, false);
	enum health_verdict verdict = health_take(&s->health, now_ms);
	if (verdict != HEALTH_DO_NOT && (health_count(&s->health, retry, now_ms) || !retry))
		return go(r, place, verdict == HEALTH_ASK_AS_PROBE);
	if (verdict != HEALTH_DO_NOT)
		health_report(&s->health, HEALTH_CANCELLED, verdict == HEALTH_ASK_AS_PROBE, 0, now_ms, 0);
	queue_give_back(r->worker->queue, &s->places, now_ms);
	return NULL;
}

/* ---- beyond the model's own places ---- */

/* The budgets of overflow: all of the model's and of the gateway's, or none. Later: the disk has not got their lease yet. */
static enum verdict claim_overflow(struct request *r, const struct catalog_place *place)
{
	struct scope *scopes[2] = {r->model->overflow_scope, r->catalog->overflow_scope};
	struct claim_answer a = {.verdict = CLAIM_GRANTED};
	struct ask ask = {
		.mono_us = clock_mono_us(), .book_us = r->book_us, .input_bound = r->input_bound, .input_guess = r->input_guess, .price = &place->price,
		.output = r->facts.output ? r->facts.output : r->output_cap * r->facts.choices, .output_default = r->model->max_output,
		.seconds = place->timeouts.total_ms / 1000,
	};
	if (r->overflow_claim.count || (!scopes[0] && !scopes[1]))
		return CLAIM_GRANTED;
	books_claim(r->catalog->books, scopes, 2, &ask, &r->overflow_claim, &a);
	if (a.verdict == CLAIM_GRANTED && a.output && r->output_cap == 0 && r->facts.output == 0 && r->facts.cap_name.len)
		r->output_cap = a.output / r->facts.choices > 0 ? a.output / r->facts.choices : 1;
	return a.verdict == CLAIM_LATER && a.by != LIMIT_LEASE ? CLAIM_SPENT : a.verdict;
}

/* NULL: its budget is spent, or the place is not to be had after all. WAIT: ask again in a moment, the timer runs. */
static const struct step *go_beyond(struct request *r, const struct catalog_place *place, enum overflow_when why)
{
	enum verdict verdict = claim_overflow(r, place);
	if (verdict == CLAIM_LATER && r->lease_looks++ < LEASE_LOOKS) {
		timer_start(&r->worker->loop, &r->timer, LEASE_LOOK_MS);
		return STEP_WAIT;
	}
	if (verdict != CLAIM_GRANTED || !places_take(&place->target->state->places))
		return NULL;
	const struct step *next = use(r, place);
	if (next) {
		r->overflow = plan_why(why);
		count(&r->worker->metrics.overflows);
	}
	return next;
}

bool route_goes_beyond_window(struct request *r)
{
	const struct catalog_model *m = r->model;
	if (r->committed || r->overflow || !(m->overflow_when & OVERFLOW_CONTEXT) || m->overflow_count == 0 || !request_may_retry(r))
		return false;
	r->too_long = true;
	return true;
}

/* ---- waiting ---- */

/* Until the one at that position has a place. */
static int64_t ahead_ms(const struct request *r, uint32_t position)
{
	struct plan_ask ask = plan_ask_of(r);
	struct plan_view v;
	plan_look(&ask, &v);
	return plan_ahead_ms(&v, position);
}

/* When it is worth asking again, by how long the line is. */
static int64_t again_ms(int64_t ahead_ms, int64_t least_ms)
{
	return ahead_ms < least_ms ? least_ms : ahead_ms > AGAIN_MAX_MS ? AGAIN_MAX_MS : ahead_ms;
}

static const struct step *refuse_full(struct request *r, enum queue_verdict verdict, const struct plan_view *v)
{
	uint32_t waiting = queue_waiting(r->worker->queue, r->model->id);
	r->retry_after_ms = again_ms(plan_ahead_ms(v, waiting + 1), 2000);
	return request_failf(r, ERROR_QUEUE_FULL, "too many requests %swait for a place already; it would be number %u in line for the model '%.*s'",
			     verdict == QUEUE_KEY_FULL ? "of this key " : "", waiting + 1, STR_ARG(r->model->name));
}

static const struct step *waited_too_long(struct request *r)
{
	uint32_t position = queue_position(r->worker->queue, r->ticket);
	route_leave_queue(r);
	r->retry_after_ms = again_ms(ahead_ms(r, position), 5000);
	return request_failf(r, ERROR_QUEUE_TIMEOUT, "no place at any target of the model '%.*s' became free in time; position %u in the queue was reached",
			     STR_ARG(r->model->name), position);
}

static void plan_queue_timer(struct request *r)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop), next = r->queue_until_ms, beyond = r->queue_began_ms + r->model->overflow_wait_ms;
	if ((r->model->overflow_when & OVERFLOW_WAIT) && r->model->overflow_count && beyond > now_ms && beyond < next)
		next = beyond;
	if (r->facts.stream && r->queue_beat_ms < next)
		next = r->queue_beat_ms;
	timer_start(&r->worker->loop, &r->timer, next > now_ms ? next - now_ms : 1);
}

/* The target that its beginning is cached at. Where that is nobody, one is noted, so that those who come after it and begin alike stay together. */
static struct places *home_of(const struct request *r, const struct plan_view *v)
{
	bool is_new;
	int i = r->prefix_count ? choose_home(r->prefix, r->prefix_count, v->list, v->count, &is_new) : -1;
	if (i >= 0 && is_new)
		prefixes_note(r->worker->prefixes, r->prefix, r->prefix_count, v->places[i]->target->state->places.id);
	return i >= 0 && !is_new ? &v->places[i]->target->state->places : NULL;
}

static const struct step *enter_queue(struct request *r, const struct plan_view *v)
{
	struct places *targets[PLAN_PLACES], *got = NULL;
	struct queue_ask ask = {
		.model = r->model->id, .key = key_serial(r->key), .weight = key_weight(r->key),
		.batch = r->key && r->key->class == CLASS_BATCH, .input = r->input_guess, .output = r->output_guess, .targets = targets,
		.worker = r->worker, .owner = r, .now_ms = loop_now_ms(&r->worker->loop),
	};
	for (uint32_t i = 0; i < v->count; i++)
		if (v->list[i].usable)
			targets[ask.target_count++] = &v->places[i]->target->state->places;
	ask.home = home_of(r, v);
	enum queue_verdict verdict = queue_enter(r->worker->queue, &ask, &r->ticket, &got);
	if (verdict == QUEUE_FULL || verdict == QUEUE_KEY_FULL)
		return refuse_full(r, verdict, v);
	begin_waiting(r);
	if (verdict == QUEUE_TAKEN) {
		r->given = got;
		return STEP_QUEUE;
	}
	plan_queue_timer(r);
	return STEP_QUEUE;
}

void route_leave_queue(struct request *r)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	end_waiting(r);
	if (r->ticket)
		queue_leave(r->worker->queue, r->ticket, now_ms);
	if (r->given)
		queue_give_back(r->worker->queue, r->given, now_ms);
	r->ticket = NULL;
	r->given = NULL;
}

static const struct catalog_place *place_of(const struct request *r, const struct places *p)
{
	for (uint32_t i = 0; i < r->model->place_count; i++)
		if (&r->model->places[i].target->state->places == p)
			return &r->model->places[i];
	return NULL;
}

/* A comment that says how long it may still take; parsers of events pass over it. */
static void tell_position(struct request *r)
{
	char text[96];
	uint32_t position = queue_position(r->worker->queue, r->ticket);
	int64_t eta_ms = ahead_ms(r, position);
	int n = snprintf(text, sizeof(text), ": queued position=%u eta=%lld.%llds\n\n", position, (long long)(eta_ms / 1000), (long long)(eta_ms % 1000 / 100));
	relay_comment(r, text, (size_t)n);
}

const struct step *step_queue(struct request *r)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	if (r->given) {
		const struct catalog_place *place = place_of(r, r->given);
		assert(place); /* the ticket named places of this model alone */
		r->given = NULL;
		end_waiting(r);
		r->charged = true;
		const struct step *next = use(r, place);
		return next ? next : STEP_ROUTE;
	}
	if (!r->timed_out)
		return STEP_WAIT;
	r->timed_out = false;
	if (r->model->overflow_count && now_ms >= r->queue_began_ms + r->model->overflow_wait_ms) {
		struct plan_ask ask = plan_ask_of(r);
		const struct catalog_place *place = plan_beyond(&ask, OVERFLOW_WAIT);
		const struct step *next = place ? go_beyond(r, place, OVERFLOW_WAIT) : NULL;
		if (next == STEP_WAIT)
			return next;
		if (next) {
			route_leave_queue(r);
			return next;
		}
	}
	if (now_ms >= r->queue_until_ms)
		return waited_too_long(r);
	if (r->facts.stream && now_ms >= r->queue_beat_ms) {
		tell_position(r);
		r->queue_beat_ms = now_ms + r->catalog->heartbeat_ms;
	}
	plan_queue_timer(r);
	return STEP_WAIT;
}

/* ---- the step ---- */

/* Does what the plan says. NULL: what it named is not to be had any more, which the ask or the view says now. */
static const struct step *act(struct request *r, const struct plan *p, struct plan_ask *ask, struct plan_view *v)
{
	const struct step *next;
	switch (p->what) {
	case PLAN_GO:
		if (!places_take(&p->place->target->state->places)) {
			struct candidate *c = &v->list[p->index];
			c->limit = c->taken = c->taken ? c->taken : 1; /* somebody was faster */
			return NULL;
		}
		next = use(r, p->place);
		v->list[p->index].usable = next != NULL;
		return next;
	case PLAN_BEYOND:
		next = go_beyond(r, p->place, p->why);
		ask->stays = true;
		return next;
	case PLAN_WAIT:
		return enter_queue(r, v);
	default:
		return may_ask_again(r, ask, v) ? STEP_WAIT : no_target(r, ask, v);
	}
}

const struct step *step_route(struct request *r)
{
	struct plan_view v;
	const struct step *next = NULL;
	r->timed_out = false;
	end_waiting(r);
	if (r->attempt_count == 0 && r->queue_began_ms == 0) {
		r->turn = r->worker->turns[r->model->id % WORKER_TURNS]++;
		hash_prefix(r);
	}
	struct plan_ask ask = plan_ask_of(r);
	plan_look(&ask, &v);
	while (!next) { /* each time round one place less, or none beyond */
		struct plan p = plan_make(&ask, &v);
		next = act(r, &p, &ask, &v);
	}
	return next;
}
