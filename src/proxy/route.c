/* route.c - ROUTE chooses a place for the next attempt; QUEUE waits for one.
 *
 * A free place is taken at once, unless others wait for the same model. Who waits holds a ticket; a grant is a message to this worker. A stream that waits long
 * gets comments, so that nothing between it and us gives up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "proxy/relay.h"
#include "proxy/worker.h"

#include <assert.h>
#include <stdio.h>

#define LOOK_MAX      64   /* places looked at for one choice */
#define RETRY_PAUSE_MS 50   /* before a retry is tried again for which there was no room */
#define LEASE_LOOKS    200
#define LEASE_LOOK_MS  10
#define PAUSE_MAX_MS   5000 /* longer pauses of a target are told to the client */

/* The places of the model as they stand now. */
struct view {
	struct candidate list[LOOK_MAX];
	const struct catalog_place *places[LOOK_MAX];
	uint32_t count;
};

/* ---- looking ---- */

static bool was_tried(const struct request *r, const struct catalog_place *place)
{
	for (uint32_t i = 0; i < r->attempt_count; i++)
		if (r->attempts[i].place->target == place->target)
			return true;
	return false;
}

static bool is_allowed(const struct request *r, const struct catalog_place *place)
{
	const struct catalog_target *t = place->target;
	return (t->operations & OP_BIT(r->op->op)) && (t->local || !r->local_only) && !t->drain;
}

static void add_candidate(const struct request *r, struct view *v, const struct catalog_place *place, int64_t now_ms)
{
	struct target_state *s = place->target->state;
	uint32_t i = v->count++;
	v->places[i] = place;
	v->list[i] = (struct candidate){
		.taken = atomic_load_explicit(&s->places.taken, memory_order_relaxed), .limit = atomic_load_explicit(&s->places.limit, memory_order_relaxed),
		.engine_waiting = atomic_load_explicit(&s->engine_waiting, memory_order_relaxed), .weight = place->target->weight,
		.usable = is_allowed(r, place) && !was_tried(r, place) && (!r->catalog->breaker || health_would(&s->health, now_ms)),
		.down = atomic_load_explicit(&s->up, memory_order_relaxed) == ENGINE_DOWN,
		.warm = atomic_load_explicit(&place->learned->warm, memory_order_relaxed), .pace = &place->learned->pace,
	};
}

static void look(struct request *r, struct view *v)
{
	const struct catalog_model *m = r->model;
	uint32_t n = m->place_count, from = n > LOOK_MAX ? r->turn : 0;
	int64_t now_ms = loop_now_ms(&r->worker->loop);
	v->count = 0;
	for (uint32_t i = 0; i < n && i < LOOK_MAX; i++)
		add_candidate(r, v, &m->places[(from + i) % n], now_ms);
}

/* Which of them have seen the beginning of this prompt. */
static void look_at_prefixes(struct request *r, struct view *v)
{
	uint32_t ids[LOOK_MAX];
	struct prefix_look seen[LOOK_MAX];
	if (r->prefix_count == 0)
		return;
	for (uint32_t i = 0; i < v->count; i++)
		ids[i] = v->places[i]->target->state->places.id;
	prefixes_look(r->worker->prefixes, r->prefix, r->prefix_count, ids, v->count, seen);
	for (uint32_t i = 0; i < v->count; i++)
		v->list[i].prefix = seen[i];
}

static void hash_prefix(struct request *r)
{
	const struct catalog_model *m = r->model;
	if (!m->affinity || m->place_count < 2 || !r->worker->prefixes || r->facts.prompt.len < PREFIX_BLOCK || r->prefix)
		return;
	r->prefix = arena_alloc(&r->arena, PREFIX_BLOCKS * sizeof(*r->prefix));
	r->prefix_count = prefix_hashes(r->facts.prompt.ptr, r->facts.prompt.len, r->worker->prefix_seed + m->id, r->prefix);
}

/* ---- nothing to go to ---- */

static bool has_local_place(const struct catalog_model *m)
{
	for (uint32_t i = 0; i < m->place_count; i++)
		if (m->places[i].target->local)
			return true;
	return false;
}

/* What is only for a moment: a target that asked to be left alone for a while, or more retries at once than it may get. Then the request waits and asks
 * again. False: that is not what it is, or it would take too long. */
static bool may_ask_again(struct request *r, const struct view *v)
{
	int64_t now_ms = loop_now_ms(&r->worker->loop), soonest = INT64_MAX;
	for (uint32_t i = 0; i < v->count; i++) {
		const struct health *h = &v->places[i]->target->state->health;
		if (!is_allowed(r, v->places[i]) || was_tried(r, v->places[i]) || health_mode(h) != HEALTH_CLOSED)
			continue;
		int64_t until = health_until_ms(h, now_ms), at = until > now_ms ? until : now_ms + RETRY_PAUSE_MS + worker_random(r->worker) % RETRY_PAUSE_MS;
		soonest = at < soonest ? at : soonest;
	}
	if (r->queue_began_ms == 0) {
		r->queue_began_ms = now_ms;
		r->queue_until_ms = now_ms + r->catalog->queue_wait_ms;
		r->queue_beat_ms = now_ms + r->catalog->queue_beat_ms;
	}
	if (soonest > r->queue_until_ms || soonest - now_ms > PAUSE_MAX_MS)
		return false;
	timer_start(&r->worker->loop, &r->timer, soonest - now_ms);
	return true;
}

static const struct step *no_target(struct request *r)
{
	if (r->local_only && !has_local_place(r->model))
		return request_failf(r, ERROR_MODEL_NOT_ALLOWED, "this request may only go to a local target (its %s says so), and the model '%.*s' has none",
				     r->key && r->key->local_only ? "key" : r->model->local_only ? "model" : "x-valet-local-only", STR_ARG(r->model->name));
	if (r->attempt_count > 0 && r->error != ERROR_NONE)
		return STEP_FAIL; /* the last attempt's error says more */
	r->retry_after_ms = 5000;
	return request_failf(r, ERROR_NO_TARGET, "no target of the model '%.*s' can be reached", STR_ARG(r->model->name));
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
	bool retry = r->attempt_count > 0;
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

static const struct step *choose_place(struct request *r, struct view *v, bool *full)
{
	struct choice_ask ask = {
		.strategy = r->model->strategy, .affinity = r->model->affinity, .input_tokens = r->input_guess, .output_tokens = r->output_guess,
		.blocks = r->prefix_count, .turn = r->turn,
	};
	for (uint32_t tries = 0; tries <= v->count; tries++) {
		int i = choose(&ask, v->list, v->count);
		if (i < 0) {
			*full = i == -1;
			return NULL;
		}
		if (!places_take(&v->places[i]->target->state->places)) {
			v->list[i].limit = v->list[i].taken = v->list[i].taken ? v->list[i].taken : 1; /* somebody was faster */
			continue;
		}
		const struct step *next = use(r, v->places[i]);
		if (next)
			return next;
		v->list[i].usable = false;
	}
	*full = false;
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
		.seconds = place->target->timeouts.total_ms / 1000,
	};
	if (r->overflow_claim.count || (!scopes[0] && !scopes[1]))
		return CLAIM_GRANTED;
	books_claim(r->catalog->books, scopes, 2, &ask, &r->overflow_claim, &a);
	if (a.verdict == CLAIM_GRANTED && a.output && r->output_cap == 0 && r->facts.output == 0 && r->facts.cap_name.len)
		r->output_cap = a.output / r->facts.choices > 0 ? a.output / r->facts.choices : 1;
	return a.verdict == CLAIM_LATER && a.by != LIMIT_LEASE ? CLAIM_SPENT : a.verdict;
}

static int64_t price_sum(const struct catalog_place *p)
{
	return p->price.known ? p->price.input + p->price.output : INT64_MAX;
}

static bool is_fit(const struct request *r, const struct catalog_place *place)
{
	const struct target_state *s = place->target->state;
	return is_allowed(r, place) && !was_tried(r, place) && (!r->catalog->breaker || health_would(&s->health, loop_now_ms(&r->worker->loop))) &&
	       atomic_load_explicit(&s->up, memory_order_relaxed) != ENGINE_DOWN;
}

/* In the order of the policy; NULL: none is fit. */
static const struct catalog_place *next_beyond(const struct request *r)
{
	const struct catalog_model *m = r->model;
	const struct catalog_place *best = NULL;
	uint32_t from = m->overflow_order == OVERFLOW_ROUND_ROBIN ? r->turn : 0;
	for (uint32_t i = 0; i < m->overflow_count; i++) {
		const struct catalog_place *p = &m->overflow[(from + i) % m->overflow_count];
		if (!is_fit(r, p) || (best && price_sum(p) >= price_sum(best)))
			continue;
		best = p;
		if (m->overflow_order != OVERFLOW_CHEAPEST)
			break;
	}
	return best;
}

/* NULL: the policy does not say so, or nobody there is fit, or its budget is spent. WAIT: ask again in a moment, the timer runs. */
static const struct step *go_beyond(struct request *r, enum overflow_when when, const char *why)
{
	if (!(r->model->overflow_when & when) || r->attempt_count == ATTEMPTS_MAX)
		return NULL;
	const struct catalog_place *place = next_beyond(r);
	enum verdict verdict = place ? claim_overflow(r, place) : CLAIM_SPENT;
	if (verdict == CLAIM_LATER && r->lease_looks++ < LEASE_LOOKS) {
		timer_start(&r->worker->loop, &r->timer, LEASE_LOOK_MS);
		return STEP_WAIT;
	}
	if (verdict != CLAIM_GRANTED || !places_take(&place->target->state->places))
		return NULL;
	const struct step *next = use(r, place);
	if (next && next != STEP_WAIT) {
		r->overflow = why;
		count(&r->worker->metrics.overflows);
	}
	return next;
}

static bool all_down(const struct view *v)
{
	for (uint32_t i = 0; i < v->count; i++)
		if (v->list[i].usable && !v->list[i].down)
			return false;
	return true;
}

/* Predicted milliseconds until a place is free, from how long requests take lately. */
static int64_t predicted_wait_ms(const struct request *r, const struct view *v)
{
	int64_t places = 0, service = 0;
	for (uint32_t i = 0; i < v->count; i++) {
		if (!v->list[i].usable)
			continue;
		int64_t each = atomic_load_explicit(&v->list[i].pace->service_ms, memory_order_relaxed);
		places += v->list[i].limit;
		service = each > service ? each : service;
	}
	return places ? ((int64_t)queue_waiting(r->worker->queue, r->model->id) + 1) * service / places : 0;
}

static bool is_too_long(const struct request *r)
{
	return r->too_long || (r->model->context && r->input_guess > r->model->context);
}

/* What the policy says before a place of the model's own is looked for. */
static const struct step *go_beyond_at_once(struct request *r, const struct view *v)
{
	const struct step *next = NULL;
	if (r->model->overflow_count == 0)
		return NULL;
	if (is_too_long(r))
		next = go_beyond(r, OVERFLOW_CONTEXT, "context");
	if (!next)
		next = go_beyond(r, OVERFLOW_ALWAYS, "always");
	if (!next && all_down(v))
		next = go_beyond(r, OVERFLOW_DOWN, "down");
	return next;
}

/* ---- waiting ---- */

static const struct step *refuse_full(struct request *r, enum queue_verdict verdict)
{
	r->retry_after_ms = 2000;
	return request_fail(r, ERROR_QUEUE_FULL, verdict == QUEUE_KEY_FULL ? STR("too many requests of this key wait for a place already")
									   : STR("too many requests wait for a place already"));
}

static const struct step *waited_too_long(struct request *r)
{
	uint32_t position = queue_position(r->worker->queue, r->ticket);
	route_leave_queue(r);
	r->retry_after_ms = 5000;
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

static const struct step *enter_queue(struct request *r, const struct view *v)
{
	struct places *targets[LOOK_MAX], *got = NULL;
	struct queue_ask ask = {
		.model = r->model->id, .key = r->key ? r->key->serial : 0, .weight = r->key ? r->key->weight : 100,
		.batch = r->key && r->key->class == CLASS_BATCH, .input = r->input_guess, .output = r->output_guess, .targets = targets,
		.worker = r->worker, .owner = r, .now_ms = loop_now_ms(&r->worker->loop),
	};
	for (uint32_t i = 0; i < v->count; i++)
		if (v->list[i].usable)
			targets[ask.target_count++] = &v->places[i]->target->state->places;
	enum queue_verdict verdict = queue_enter(r->worker->queue, &ask, &r->ticket, &got);
	if (verdict == QUEUE_FULL || verdict == QUEUE_KEY_FULL)
		return refuse_full(r, verdict);
	if (r->queue_began_ms == 0) {
		r->queue_began_ms = ask.now_ms;
		r->queue_until_ms = ask.now_ms + r->catalog->queue_wait_ms;
		r->queue_beat_ms = ask.now_ms + r->catalog->queue_beat_ms;
	}
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
	if (r->ticket) {
		queue_leave(r->worker->queue, r->ticket, now_ms);
		r->queue_us += (now_ms - r->queue_began_ms) * 1000;
	}
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
	int64_t each = atomic_load_explicit(&r->model->places[0].learned->pace.service_ms, memory_order_relaxed), eta_ms = each * position;
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
		r->queue_us += (now_ms - r->queue_began_ms) * 1000;
		r->charged = true;
		const struct step *next = use(r, place);
		return next ? next : STEP_ROUTE;
	}
	if (!r->timed_out)
		return STEP_WAIT;
	r->timed_out = false;
	if (r->model->overflow_count && now_ms >= r->queue_began_ms + r->model->overflow_wait_ms) {
		const struct step *next = go_beyond(r, OVERFLOW_WAIT, "wait");
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

const struct step *step_route(struct request *r)
{
	struct view v;
	bool full = false;
	r->timed_out = false;
	if (r->attempt_count == 0 && r->queue_began_ms == 0) {
		r->turn = r->worker->turns[r->model->id % WORKER_TURNS]++;
		hash_prefix(r);
	}
	look(r, &v);
	look_at_prefixes(r, &v);
	if (r->attempt_count == 0 && queue_must_wait(r->worker->queue, r->model->id) && r->queue_began_ms == 0)
		full = true; /* nobody overtakes */
	const struct step *next = go_beyond_at_once(r, &v);
	if (!next && !full)
		next = choose_place(r, &v, &full);
	if (!next && full && r->model->overflow_count && predicted_wait_ms(r, &v) > r->model->overflow_wait_ms)
		next = go_beyond(r, OVERFLOW_WAIT, "wait");
	if (!next && !full)
		next = go_beyond(r, OVERFLOW_DOWN, "down");
	if (next)
		return next;
	if (full)
		return enter_queue(r, &v);
	return may_ask_again(r, &v) ? STEP_WAIT : no_target(r);
}
