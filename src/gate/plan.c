/* plan.c - where a request would go now. Any thread; reads what others change.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/plan.h"

#include "dialect/resume.h"

const char *const place_fit_names[] = {"fits", "tried", "not_served", "not_local", "drained", "left_alone", "too_small"};

/* ---- single places ---- */

static bool was_tried(const struct plan_ask *ask, const struct catalog_target *t)
{
	for (uint32_t i = 0; i < ask->tried_count; i++)
		if (ask->tried[i] == t)
			return true;
	return false;
}

static bool is_left_alone(const struct plan_ask *ask, const struct catalog_target *t)
{
	return ask->catalog->breaker && !health_would(&t->state->health, ask->now_ms);
}

/* It is an engine of one's own that continues what is begun. */
static bool may_continue(const struct catalog_target *t)
{
	return t->local && t->cloud == CLOUD_NONE && resume_engine(t->kind);
}

/* But for how it is doing. */
static enum place_fit fit_for_good(const struct plan_ask *ask, const struct catalog_place *place)
{
	const struct catalog_target *t = place->target;
	if (!(t->operations & ask->operation) || (ask->continues && !may_continue(t)))
		return PLACE_NOT_SERVED;
	if (ask->local_only && !t->local)
		return PLACE_NOT_LOCAL;
	if (catalog_target_drained(t))
		return PLACE_DRAINED;
	return was_tried(ask, t) ? PLACE_TRIED : PLACE_FITS;
}

enum place_fit plan_fit(const struct plan_ask *ask, const struct catalog_place *place)
{
	enum place_fit fit = fit_for_good(ask, place);
	return fit == PLACE_FITS && is_left_alone(ask, place->target) ? PLACE_LEFT_ALONE : fit;
}

bool plan_may_fit(const struct plan_ask *ask, const struct catalog_place *place)
{
	return fit_for_good(ask, place) == PLACE_FITS;
}

static bool may_never_go(const struct plan_ask *ask)
{
	for (uint32_t i = 0; i < ask->model->place_count; i++)
		if (ask->model->places[i].target->local)
			return false;
	return ask->local_only;
}

/* Or loading, or asleep. */
static bool is_down(const struct catalog_target *t)
{
	uint32_t up = atomic_load_explicit(&t->state->up, memory_order_relaxed);
	return up == ENGINE_DOWN || up == ENGINE_LOADING || atomic_load_explicit(&t->state->asleep, memory_order_relaxed);
}

static bool fits_window(const struct plan_ask *ask, const struct catalog_place *place)
{
	return !place->context || ask->input < place->context;
}

static bool all_drained(const struct plan_view *v)
{
	bool drained = v->count > 0;
	for (uint32_t i = 0; i < v->count; i++)
		drained &= v->fits[i] == PLACE_DRAINED;
	return drained;
}

enum error plan_refusal(const struct plan_ask *ask, const struct plan_view *v, const char *says_so, struct buf *why)
{
	const struct catalog_model *m = ask->model;
	if (may_never_go(ask))
		buf_addf(why, "this request may only go to a local target (its %s says so), and the model '%.*s' has none", says_so, STR_ARG(m->name));
	else if (all_drained(v))
		buf_addf(why, "all targets of the model '%.*s' are set aside for maintenance", STR_ARG(m->name));
	else
		buf_addf(why, "no target of the model '%.*s' can be reached", STR_ARG(m->name));
	return may_never_go(ask) ? ERROR_MODEL_NOT_ALLOWED : ERROR_NO_TARGET;
}

/* ---- looking ---- */

static void add_candidate(const struct plan_ask *ask, struct plan_view *v, const struct catalog_place *place)
{
	struct target_state *s = place->target->state;
	uint32_t i = v->count++;
	v->places[i] = place;
	v->fits[i] = plan_fit(ask, place);
	v->list[i] = (struct candidate){
		.taken = atomic_load_explicit(&s->places.taken, memory_order_relaxed), .limit = atomic_load_explicit(&s->places.limit, memory_order_relaxed),
		.engine_waiting = atomic_load_explicit(&s->engine_waiting, memory_order_relaxed), .weight = place->target->weight,
		.usable = v->fits[i] == PLACE_FITS, .down = is_down(place->target),
		.warm = atomic_load_explicit(&place->learned->warm, memory_order_relaxed), .pace = &place->learned->pace,
	};
}

/* A prompt that does not fit everywhere goes where it fits, if there is such a place. */
static void leave_small_ones(const struct plan_ask *ask, struct plan_view *v)
{
	bool fits = false;
	for (uint32_t i = 0; i < v->count; i++)
		fits |= v->list[i].usable && fits_window(ask, v->places[i]);
	for (uint32_t i = 0; fits && i < v->count; i++) {
		if (!v->list[i].usable || fits_window(ask, v->places[i]))
			continue;
		v->list[i].usable = false;
		v->fits[i] = PLACE_TOO_SMALL;
	}
}

/* Which of them have seen the beginning of this prompt. */
static void look_at_prefixes(const struct plan_ask *ask, struct plan_view *v)
{
	uint32_t ids[PLAN_PLACES];
	struct prefix_look seen[PLAN_PLACES];
	for (uint32_t i = 0; i < v->count; i++)
		ids[i] = v->places[i]->target->state->places.id;
	prefixes_look(ask->prefixes, ask->prefix, ask->prefix_count, ids, v->count, seen);
	for (uint32_t i = 0; i < v->count; i++)
		v->list[i].prefix = seen[i];
}

void plan_look(const struct plan_ask *ask, struct plan_view *v)
{
	const struct catalog_model *m = ask->model;
	uint32_t n = m->place_count, from = n > PLAN_PLACES ? ask->turn : 0;
	v->count = 0;
	for (uint32_t i = 0; i < n && i < PLAN_PLACES; i++)
		add_candidate(ask, v, &m->places[(from + i) % n]);
	if (m->smallest_context && ask->input >= m->smallest_context)
		leave_small_ones(ask, v);
	if (ask->prefix_count)
		look_at_prefixes(ask, v);
}

/* ---- beyond ---- */

static int64_t price_sum(const struct catalog_place *p)
{
	return p->price.known ? p->price.input + p->price.output : INT64_MAX;
}

const struct catalog_place *plan_beyond(const struct plan_ask *ask, enum overflow_when why)
{
	const struct catalog_model *m = ask->model;
	const struct catalog_place *best = NULL;
	uint32_t from = m->overflow_order == OVERFLOW_ROUND_ROBIN ? ask->turn : 0;
	if (ask->stays || !(m->overflow_when & why) || ask->tried_count == PLAN_TRIED)
		return NULL;
	for (uint32_t i = 0; i < m->overflow_count; i++) {
		const struct catalog_place *p = &m->overflow[(from + i) % m->overflow_count];
		if (plan_fit(ask, p) != PLACE_FITS || is_down(p->target) || (best && price_sum(p) >= price_sum(best)))
			continue;
		best = p;
		if (m->overflow_order != OVERFLOW_CHEAPEST)
			break;
	}
	return best;
}

const char *plan_why(enum overflow_when why)
{
	return overflow_when_names[__builtin_ctz(why)];
}

static bool all_down(const struct plan_view *v)
{
	for (uint32_t i = 0; i < v->count; i++)
		if (v->list[i].usable && !v->list[i].down)
			return false;
	return true;
}

int64_t plan_ahead_ms(const struct plan_view *v, uint32_t position)
{
	int64_t places = 0, service = 0;
	for (uint32_t i = 0; i < v->count; i++) {
		if (!v->list[i].usable)
			continue;
		int64_t each = atomic_load_explicit(&v->list[i].pace->service_ms, memory_order_relaxed);
		places += v->list[i].limit;
		service = each > service ? each : service;
	}
	return places ? position * service / places : 0;
}

int64_t plan_wait_ms(const struct plan_ask *ask, const struct plan_view *v)
{
	return plan_ahead_ms(v, queue_waiting(ask->queue, ask->model->id) + 1);
}

static bool is_too_long(const struct plan_ask *ask)
{
	return ask->too_long || (ask->model->context && ask->input > ask->model->context);
}

/* ---- the plan ---- */

static struct plan beyond(const struct plan_ask *ask, enum overflow_when why, struct plan otherwise)
{
	const struct catalog_place *place = plan_beyond(ask, why);
	return place ? (struct plan){.what = PLAN_BEYOND, .place = place, .why = why} : otherwise;
}

/* What the policy says before a place of the model's own is looked for. */
static struct plan beyond_at_once(const struct plan_ask *ask, const struct plan_view *v)
{
	struct plan p = {.what = PLAN_NOWHERE};
	if (is_too_long(ask))
		p = beyond(ask, OVERFLOW_CONTEXT, p);
	if (p.what == PLAN_NOWHERE)
		p = beyond(ask, OVERFLOW_ALWAYS, p);
	if (p.what == PLAN_NOWHERE && all_down(v))
		p = beyond(ask, OVERFLOW_DOWN, p);
	return p;
}

struct plan plan_make(const struct plan_ask *ask, const struct plan_view *v)
{
	const struct catalog_model *m = ask->model;
	struct choice_ask choice = {
		.strategy = m->strategy, .affinity = m->affinity, .input_tokens = ask->input, .output_tokens = ask->output,
		.blocks = ask->prefix_count, .turn = ask->turn,
	};
	if (m->overflow_count) {
		struct plan p = beyond_at_once(ask, v);
		if (p.what == PLAN_BEYOND)
			return p;
	}
	int i = choose(&choice, v->list, v->count);
	if (i >= 0 && !ask->waited && queue_must_wait(ask->queue, m->id))
		i = -1; /* nobody overtakes */
	if (i >= 0)
		return (struct plan){.what = PLAN_GO, .index = (uint32_t)i, .place = v->places[i]};
	struct plan otherwise = {.what = i == -1 ? PLAN_WAIT : PLAN_NOWHERE};
	if (m->overflow_count == 0)
		return otherwise;
	if (i == -1)
		return plan_wait_ms(ask, v) > m->overflow_wait_ms ? beyond(ask, OVERFLOW_WAIT, otherwise) : otherwise;
	return beyond(ask, OVERFLOW_DOWN, otherwise);
}
