/* catalog_govern.c - what governs requests, added to a catalog: keys, prices, limits of models and of the gateway. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/catalog.h"
#include "gate/price_of.h"

/* ---- prices ---- */

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static const struct target_conf *conf_of(const struct settings *s, struct str name)
{
	for (size_t i = 0; i < s->target_count; i++)
		if (str_eq(s->targets[i].name, name))
			return &s->targets[i];
	return NULL;
}

/* Each part by itself, so that no place costs more than this for any usage. */
static void take_dearest(struct price *dearest, const struct price *p, bool first)
{
	if (first) {
		*dearest = *p;
		return;
	}
	dearest->known &= p->known;
	dearest->input = larger(dearest->input, p->input);
	dearest->cached = larger(dearest->cached, p->cached);
	dearest->output = larger(dearest->output, p->output);
	dearest->per_second = larger(dearest->per_second, p->per_second);
}

static void set_prices(struct catalog *c, const struct settings *s, const struct target_conf *const *confs)
{
	const struct model_conf **named = mem_array(c->model_count + 1, sizeof(*named));
	for (size_t i = 0; i < s->model_count; i++) {
		const struct catalog_model *m = table_get(&c->names, s->models[i].name);
		if (m)
			named[m - c->models] = &s->models[i];
	}
	for (uint32_t i = 0; i < c->model_count; i++) {
		struct catalog_model *m = &c->models[i];
		bool own = named[i] && named[i]->price.input != MONEY_NONE;
		for (uint32_t k = 0; k < m->place_count; k++) {
			struct catalog_place *p = &m->places[k];
			const struct catalog_target *t = p->target;
			bool ceiling = false;
			p->price = own ? price_written(&named[i]->price) : price_at(s, confs[t - c->targets], t->local, t->host, p->model, &ceiling);
			take_dearest(&m->dearest, &p->price, k == 0);
		}
		for (uint32_t k = 0; k < m->overflow_count; k++) {
			struct catalog_place *p = &m->overflow[k];
			bool ceiling = false;
			p->price = price_at(s, confs[p->target - c->targets], p->target->local, p->target->host, p->model, &ceiling);
			take_dearest(&m->dearest, &p->price, m->place_count == 0 && k == 0);
		}
		m->reference = price_reference(m->places[0].model);
	}
	free(named);
}

/* ---- limits ---- */

static bool has_limits(const struct limits *l)
{
	return l->rpm || l->tpm || l->concurrency || l->budget_count;
}

/* A scope that had limits once keeps being counted, so that giving them back later finds true numbers. */
static struct scope *govern_scope(struct books *books, struct str pattern, const struct limits *l)
{
	struct scope *s = has_limits(l) ? books_scope(books, 0, pattern) : NULL;
	if (s)
		books_set_limits(books, s, l);
	return s;
}

/* No model can have such a name: it holds a line break. */
static struct str overflow_name(struct catalog *c, struct str model)
{
	return arena_printf(&c->arena, "overflow\n%.*s", STR_ARG(model));
}

/* The settings know better than the engines. */
static void set_context(struct catalog_model *m, int64_t context)
{
	m->context = context;
	m->smallest_context = 0;
	for (uint32_t i = 0; i < m->place_count; i++)
		m->places[i].context = context;
}

static void set_models(struct catalog *c, const struct settings *s)
{
	for (uint32_t i = 0; i < c->model_count; i++) {
		c->models[i].strategy = s->routing.strategy;
		c->models[i].affinity = s->routing.affinity;
	}
	for (size_t i = 0; i < s->model_count; i++) {
		struct catalog_model *m = table_get(&c->names, s->models[i].name);
		if (!m)
			continue;
		struct limits l = settings_limits(&s->models[i].limits);
		m->scope = govern_scope(c->books, m->name, &l);
		struct limits beyond = settings_limits(&(struct limits_conf){.budgets = s->models[i].overflow.budgets});
		m->overflow_scope = govern_scope(c->books, overflow_name(c, m->name), &beyond);
		m->max_output = s->models[i].max_output;
		m->strategy = s->models[i].strategy;
		m->affinity = s->models[i].affinity;
		m->local_only = s->models[i].local_only;
		m->resume = s->models[i].resume;
		if (s->models[i].context)
			set_context(m, s->models[i].context);
	}
}

void catalog_govern(struct catalog *c, const struct settings *s, struct books *books, struct keyring *keys)
{
	const struct target_conf **confs = mem_array(c->target_count + 1, sizeof(*confs));
	c->books = books;
	c->keys = keys;
	c->keys_needed = s->auth == AUTH_KEYS && (keyring_count(keys) > 0 || !c->guard);
	for (uint32_t i = 0; i < c->target_count; i++) {
		confs[i] = conf_of(s, c->targets[i].name);
		c->targets[i].local = confs[i] ? !target_is_cloud(confs[i]) : price_is_local(c->targets[i].kind, c->targets[i].host);
	}
	set_prices(c, s, confs);
	if (books) {
		struct limits l = settings_limits(&s->limits);
		set_models(c, s);
		c->gateway = govern_scope(books, STR_NONE, &l);
		struct limits beyond = settings_limits(&(struct limits_conf){.budgets = s->overflow.budgets});
		c->overflow_scope = govern_scope(books, overflow_name(c, STR_NONE), &beyond);
	}
	free(confs);
}
