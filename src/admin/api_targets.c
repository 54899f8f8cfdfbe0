/* api_targets.c - targets as the operator sees and steers them: state, places, what was learned, and setting one aside.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "base/clock.h"

#include <stdio.h>

static const char *const state_names[] = {"pending", "up", "loading", "down"}; /* like enum engine_state */
static const char *const mode_names[] = {"closed", "open", "half_open"};       /* like enum health_mode */

const char *api_target_state(const struct target_state *s)
{
	return state_names[atomic_load_explicit(&s->up, memory_order_relaxed)];
}

struct view {
	struct api_call *c;
	struct json_writer w;
	const struct catalog *catalog;
	const struct catalog_target *target;
	const struct engine *engine; /* NULL: the watcher does not know it (yet) */
};

static const struct catalog *catalog_of(const struct api_call *c)
{
	return c->api->o.server->catalog(c->api->o.user);
}

/* ---- a target as JSON ---- */

/* null: 0 */
static void member_i64(struct json_writer *w, const char *name, int64_t n)
{
	json_member_i64_or_null(w, str_from(name), n != 0, n);
}

static uint32_t get(const _Atomic uint32_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void put_what(struct view *v)
{
	const struct catalog_target *t = v->target;
	char url[600];
	snprintf(url, sizeof(url), "%s://%s%.*s%s:%u", t->https ? "https" : "http", str_find(t->host, ':') < t->host.len ? "[" : "", STR_ARG(t->host),
		 str_find(t->host, ':') < t->host.len ? "]" : "", t->port);
	json_member_str(&v->w, STR("name"), t->name);
	json_member_str(&v->w, STR("kind"), str_from(engines[t->kind].name));
	json_member_str_or_null(&v->w, STR("cloud"), str_from(t->cloud == CLOUD_NONE ? "" : clouds[t->cloud].name));
	json_member_str(&v->w, STR("url"), str_from(url));
	json_member_bool(&v->w, STR("local"), t->local);
}

static void put_state(struct view *v)
{
	const struct engine *e = v->engine;
	json_member_str(&v->w, STR("state"), str_from(api_target_state(v->target->state)));
	member_i64(&v->w, "since", e ? e->since_us / 1000000 : 0);
	json_member_str_or_null(&v->w, STR("error"), str_from(e ? e->error : ""));
}

static void put_health(struct view *v)
{
	const struct health *h = &v->target->state->health;
	int64_t now_ms = clock_mono_us() / 1000, until_ms = health_until_ms(h, now_ms);
	bool waits = until_ms > now_ms && until_ms != INT64_MAX;
	json_member_str(&v->w, STR("breaker"), str_from(mode_names[health_mode(h)]));
	member_i64(&v->w, "asked_again_at", waits ? v->c->request->now_s + (until_ms - now_ms + 999) / 1000 : 0);
	json_member_bool(&v->w, STR("secret_refused"), health_denied(h));
	json_member_str_or_null(&v->w, STR("drained"), str_from(v->target->drain ? "settings" : health_drained(h) ? "operator" : ""));
}

static void put_places(struct view *v)
{
	const struct catalog_target *t = v->target;
	uint32_t limit = get(&t->state->places.limit);
	const char *from = limit == 0 ? "" : t->max_concurrency == limit ? "configured" : v->engine && v->engine->load.places == limit ? "engine" : "learned";
	json_put_key(&v->w, STR("places"));
	json_open_object(&v->w);
	json_member_i64(&v->w, STR("taken"), get(&t->state->places.taken));
	member_i64(&v->w, "limit", limit);
	json_member_str_or_null(&v->w, STR("from"), str_from(from));
	json_close_object(&v->w);
	json_member_i64(&v->w, STR("engine_waiting"), get(&t->state->engine_waiting));
}

static int64_t ms_of(int64_t us)
{
	return us > 0 && us < 1000 ? 1 : us / 1000;
}

static void put_place(struct view *v, const struct catalog_model *m, const struct catalog_place *p, bool overflow)
{
	struct learned *l = p->learned;
	json_open_object(&v->w);
	json_member_str(&v->w, STR("model"), m->name);
	json_member_str(&v->w, STR("as"), p->model);
	json_member_bool(&v->w, STR("overflow"), overflow);
	json_member_bool(&v->w, STR("warm"), atomic_load_explicit(&l->warm, memory_order_relaxed));
	member_i64(&v->w, "first_token_ms", ms_of(pace_predict(&l->pace, 0, 0)));
	member_i64(&v->w, "tokens_per_second", get(&l->pace.tokens_per_s));
	member_i64(&v->w, "service_ms", get(&l->pace.service_ms));
	json_member_i64(&v->w, STR("answers"), get(&l->pace.done));
	json_close_object(&v->w);
}

static void put_models(struct view *v)
{
	json_put_key(&v->w, STR("models"));
	json_open_array(&v->w);
	for (uint32_t i = 0; i < v->catalog->model_count; i++) {
		const struct catalog_model *m = &v->catalog->models[i];
		for (uint32_t k = 0; k < m->place_count; k++)
			if (m->places[k].target == v->target)
				put_place(v, m, &m->places[k], false);
		for (uint32_t k = 0; k < m->overflow_count; k++)
			if (m->overflow[k].target == v->target)
				put_place(v, m, &m->overflow[k], true);
	}
	json_close_array(&v->w);
}

static void put_target(struct view *v, const struct catalog_target *t)
{
	const struct api *a = v->c->api;
	v->target = t;
	v->engine = a->o.server->engine(a->o.user, t->name);
	json_open_object(&v->w);
	put_what(v);
	put_state(v);
	put_health(v);
	put_places(v);
	put_models(v);
	json_close_object(&v->w);
}

/* Was set aside by the operator, but is neither configured nor found any more. */
static void put_gone(struct view *v, struct str name)
{
	json_open_object(&v->w);
	json_member_str(&v->w, STR("name"), name);
	json_member_str(&v->w, STR("state"), STR("gone"));
	json_member_str_or_null(&v->w, STR("drained"), str_from(api_drained(v->c->api, name) ? "operator" : ""));
	json_close_object(&v->w);
}

/* ---- the endpoints ---- */

static struct view view_of(struct api_call *c)
{
	struct view v = {.c = c, .catalog = catalog_of(c)};
	json_writer_init(&v.w, c->out);
	return v;
}

int api_targets_list(struct api_call *c)
{
	struct view v = view_of(c);
	json_open_object(&v.w);
	json_put_key(&v.w, STR("data"));
	json_open_array(&v.w);
	for (uint32_t i = 0; i < v.catalog->target_count; i++)
		put_target(&v, &v.catalog->targets[i]);
	for (size_t i = 0; i < c->api->drained_count; i++)
		if (!catalog_target(v.catalog, str_from(c->api->drained[i])))
			put_gone(&v, str_from(c->api->drained[i]));
	json_close_array(&v.w);
	json_close_object(&v.w);
	return 200;
}

static int answer_target(struct api_call *c)
{
	struct view v = view_of(c);
	const struct catalog_target *t = catalog_target(v.catalog, c->named);
	json_open_object(&v.w);
	json_put_key(&v.w, STR("target"));
	if (t)
		put_target(&v, t);
	else
		put_gone(&v, c->named);
	json_close_object(&v.w);
	return 200;
}

/* 0: there is one, or one was set aside. */
static int check_name(struct api_call *c)
{
	const struct catalog *catalog = catalog_of(c);
	if (catalog_target(catalog, c->named) || api_drained(c->api, c->named))
		return 0;
	struct str *names = arena_alloc(&c->arena, (catalog->target_count + 1) * sizeof(*names));
	for (uint32_t i = 0; i < catalog->target_count; i++)
		names[i] = catalog->targets[i].name;
	const struct str *near = field_near(c->named, names, catalog->target_count);
	return api_fail(c, 404, "target_not_found", STR_NONE, "there is no target %.*s%s%.*s%s", STR_ARG(c->named), near ? "; did you mean " : "",
			near ? (int)near->len : 0, near ? near->ptr : "", near ? "?" : "");
}

int api_targets_show(struct api_call *c)
{
	int status = check_name(c);
	return status ? status : answer_target(c);
}

static int read_change(struct api_call *c, bool *drain)
{
	bool given = false;
	for (const struct json *m = c->body->first; m; m = m->next) {
		struct str name = json_key(&c->arena, m);
		if (!str_eq(name, STR("drain")))
			return api_fail(c, 400, "unknown_parameter", name, "%.*s: is not known here; there is drain", STR_ARG(name));
		if (m->type != JSON_BOOL)
			return api_fail(c, 400, "invalid_value", name, "drain: expected true or false");
		*drain = m->boolean;
		given = true;
	}
	return given ? 0 : api_fail(c, 400, "missing_parameter", STR("drain"), "drain: expected true or false");
}

int api_targets_change(struct api_call *c)
{
	bool drain = false;
	int status = check_name(c);
	if (!status)
		status = read_change(c, &drain);
	if (status)
		return status;
	const struct catalog_target *t = catalog_target(catalog_of(c), c->named);
	if (t && t->drain)
		return api_fail(c, 409, "drained_by_settings", STR_NONE, "%.*s is set aside by the settings already (its 'drain' is on); change that there", STR_ARG(t->name));
	bool change = api_drained(c->api, c->named) != drain;
	status = api_drain_set(c, c->named, drain);
	if (status)
		return status;
	if (change)
		c->api->o.server->drain_changed(c->api->o.user);
	return answer_target(c);
}
