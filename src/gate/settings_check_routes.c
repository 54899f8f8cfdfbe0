/* settings_check_routes.c - what no single setting can tell of the ways of requests: clouds without a secret, overflow that cannot be, models that
 * must stay local.
 *
 * Texts that a field has refused already are empty here, and are passed over.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/settings_parts.h"

#include "gate/budget.h"
#include "gate/price_of.h"

/* ---- clouds ---- */

static void check_target(struct check *c, size_t i)
{
	const struct target_conf *t = &c->settings->targets[i];
	struct str url = CHECK_PATH(c, "targets[%zu].url", i), secret = CHECK_PATH(c, "targets[%zu].secret", i);
	if (t->url_text.len == 0 && !check_told(c, url))
		check_tell(c, false, url, "is missing; expected an http:// or https:// URL");
	if (target_cloud(t) != CLOUD_NONE && secret_is_off(&t->secret) && !check_told(c, secret))
		check_tell(c, false, secret, "is missing: a target of the kind %s is a cloud, which wants one; expected env:NAME or file:PATH",
			   target_kind_names[t->kind]);
}

/* ---- overflow ---- */

/* An overflow under check: a model's own, or (`model` NULL) the one of all. */
struct overflow_check {
	struct check *check;
	struct overflow_conf *conf;
	const struct model_conf *model;
	struct str where; /* "overflow", "models[2].overflow" */
	bool money;       /* a budget in dollars holds for it */
};

static bool has_money(const struct str_list *budgets)
{
	struct budget b;
	for (size_t i = 0; i < budgets->count; i++)
		if (budgets->items[i].len && !budget_parse(budgets->items[i], &b) && b.unit == UNIT_MONEY)
			return true;
	return false;
}

static void check_own_target(const struct overflow_check *o, struct str path, const struct model_target *place)
{
	for (size_t i = 0; i < o->model->target_count; i++)
		if (str_eq(o->model->targets[i].target, place->target)) {
			check_tell(o->check, false, path, "expected another target, found %.*s, which is one of the model's own",
				   STR_ARG(check_quoted(o->check, place->target)));
			return;
		}
}

/* Where the engine's name of the model is not known (an overflow of all to a target alone), nothing is said. */
static void check_place_price(const struct overflow_check *o, struct str path, const struct model_target *place, const struct target_conf *t)
{
	struct str engine = place->model.len || !o->model ? place->model : o->model->name;
	struct str name = o->model ? o->model->name : engine;
	if (!o->money || engine.len == 0 || price_for(o->check->settings, t, false, t->url.host, name, engine, NULL).known)
		return;
	check_tell(o->check, true, path, "%.*s has no price at %.*s: budgets in dollars refuse it; write models[].price, targets[].price or prices",
		   STR_ARG(check_quoted(o->check, engine)), STR_ARG(t->name));
}

static void check_place(const struct overflow_check *o, size_t i)
{
	struct check *c = o->check;
	struct model_target *place = &o->conf->places[i];
	struct str path = CHECK_PATH(c, "%.*s.to[%zu]", STR_ARG(o->where), i);
	if (place->target.len == 0)
		return;
	size_t index = check_target_index(c, place->target);
	if (index == SIZE_MAX) {
		check_unknown_target(c, path, place->target);
		return;
	}
	const struct target_conf *t = &c->settings->targets[index];
	place->index = index;
	for (size_t k = 0; k < i && k < 100; k++)
		if (str_eq(o->conf->to.items[k], o->conf->to.items[i]))
			check_tell(c, true, path, "the same as to[%zu]", k);
	if (o->model)
		check_own_target(o, path, place);
	if (!target_is_cloud(t))
		return;
	if (o->model && o->model->local_only)
		check_tell(c, false, path, "a policy that can never be met: the model is local_only, and %.*s is a cloud", STR_ARG(t->name));
	check_place_price(o, path, place, t);
}

static void check_overflow(struct overflow_check *o)
{
	struct check *c = o->check;
	const struct overflow_conf *conf = o->conf;
	const struct settings *s = c->settings;
	struct str wait = CHECK_PATH(c, "%.*s.wait", STR_ARG(o->where));
	check_budget_list(c, o->where, &conf->budgets);
	if (conf->whens.count == 0)
		check_tell(c, false, CHECK_PATH(c, "%.*s.when", STR_ARG(o->where)),
			   "a policy that can never be met: expected wait, context, down or always, found an empty list");
	if ((conf->when & OVERFLOW_WAIT) && conf->wait_ms > s->queue.max_wait_ms)
		check_tell(c, false, wait, "a policy that can never be met: no request waits so long; expected at most queue.max_wait, which is %lld ms",
			   (long long)s->queue.max_wait_ms);
	o->money = has_money(&conf->budgets) || has_money(&s->overflow.budgets) || has_money(&s->limits.budgets) ||
		   (o->model && has_money(&o->model->limits.budgets));
	for (size_t i = 0; i < conf->place_count; i++)
		check_place(o, i);
}

/* ---- models that must stay local ---- */

static void check_local_only(struct check *c, size_t i)
{
	const struct settings *s = c->settings;
	const struct model_conf *m = &s->models[i];
	size_t remote = 0;
	for (size_t j = 0; m->local_only && j < m->target_count; j++) {
		const struct model_target *place = &m->targets[j];
		if (check_target_index(c, place->target) == SIZE_MAX || !target_is_cloud(&s->targets[place->index]))
			continue;
		remote++;
		check_tell(c, true, CHECK_PATH(c, "models[%zu].targets[%zu]", i, j), "it has no use: the model is local_only, and %.*s is a cloud",
			   STR_ARG(place->target));
	}
	if (remote && remote == m->target_count)
		check_tell(c, false, CHECK_PATH(c, "models[%zu].local_only", i), "a policy that can never be met: all targets of the model are clouds");
}

void check_routes(struct check *c)
{
	struct settings *s = c->settings;
	struct overflow_check all = {.check = c, .conf = &s->overflow, .where = STR("overflow")};
	for (size_t i = 0; i < s->target_count; i++)
		check_target(c, i);
	check_overflow(&all);
	for (size_t i = 0; i < s->model_count; i++) {
		struct model_conf *m = &s->models[i];
		struct overflow_check own = {.check = c, .conf = &m->overflow, .model = m, .where = CHECK_PATH(c, "models[%zu].overflow", i)};
		check_local_only(c, i);
		if (m->own_overflow)
			check_overflow(&own);
	}
}
