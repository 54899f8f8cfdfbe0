/* catalog_build.c - makes a catalog from the settings and the engines that were found. Control thread; pure but for the registry.
 *
 * A model's places are, where the settings name targets for it, those and no others; else every target that lists a model of that public name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "gate/registry.h"

#include <stdio.h>

#define NAME_SHOWN 512 /* bytes of a name in a field of an answer */

/* A model while it is being collected. */
struct draft {
	struct str name;
	struct str owned_by;
	int64_t created, context;
	struct catalog_place *places;
	uint32_t count, cap;
	bool fixed;              /* the settings say where it is served */
};

struct builder {
	struct catalog *catalog;
	struct registry *registry;
	const struct settings *settings;
	const struct catalog_engine *engines;
	size_t engine_count;
	int64_t now_s;
	struct draft **drafts;
	size_t count, cap;
	struct table by_name;    /* name → struct draft */
};

/* ---- targets ---- */

static struct target_timeouts timeouts_of(const struct builder *b, const struct target_conf *conf)
{
	if (conf)
		return conf->timeouts;
	const struct settings_timeouts *t = &b->settings->timeouts;
	return (struct target_timeouts){t->connect_ms, t->first_byte_ms, t->idle_ms, t->total_ms};
}

static void set_address(struct catalog_target *t, struct arena *a, const struct url *url, const struct target_conf *conf)
{
	t->host = arena_dup(a, url->host);
	t->port = url->port;
	t->https = url->https;
	t->ca_file = conf ? arena_dup(a, conf->ca_file) : STR_NONE;
	t->address = arena_printf(a, "%s %.*s %u %.*s", url->https ? "https" : "http", STR_ARG(url->host), url->port,
				  STR_ARG(t->ca_file));
	t->base_path = arena_dup(a, engine_api_path(url->path));
	t->host_line = arena_printf(a, "host: %.*s\r\n", STR_ARG(url->authority));
}

static void set_state(struct target_state *s, const struct catalog_engine *e)
{
	uint32_t before = atomic_exchange_explicit(&s->up, e->up, memory_order_relaxed);
	if (e->up == ENGINE_UP && before != ENGINE_UP)
		health_seen_up(&s->health, clock_mono_us() / 1000);
}

/* What is said holds. What was learned stays, unless it was said until now. */
static void set_places(struct target_state *s, uint32_t said)
{
	uint32_t before = atomic_exchange_explicit(&s->places_said, said, memory_order_relaxed);
	if (said || before)
		atomic_store_explicit(&s->places.limit, said, memory_order_relaxed);
}

/* False: the URL of a discovered engine cannot be read (never for a configured one). */
static bool add_target(struct builder *b, const struct catalog_engine *e)
{
	struct catalog *c = b->catalog;
	struct catalog_target *t = &c->targets[c->target_count];
	enum engine_kind kind = e->kind == ENGINE_NONE ? ENGINE_OPENAI : e->kind;
	struct url url;
	if (url_parse(e->url, &url) != NULL)
		return false;
	t->state = registry_target(b->registry, e->name);
	set_state(t->state, e);
	t->name = arena_dup(&c->arena, e->name);
	t->kind = kind;
	t->operations = engines[kind].operations;
	t->timeouts = timeouts_of(b, e->conf);
	t->max_concurrency = e->conf ? (uint32_t)e->conf->max_concurrency : 0;
	t->num_ctx_max = e->conf && kind == ENGINE_OLLAMA ? e->conf->num_ctx_max : 0;
	t->weight = e->conf ? (uint32_t)e->conf->weight : 100;
	t->drain = e->conf && e->conf->drain;
	t->cloud = e->conf ? target_cloud(e->conf) : CLOUD_NONE;
	set_places(t->state, t->max_concurrency ? t->max_concurrency : e->places);
	set_address(t, &c->arena, &url, e->conf);
	if (e->conf)
		secret_set(&t->secret, secret_view(&e->conf->secret));
	c->target_count++;
	return true;
}

/* ---- models ---- */

static struct draft *draft_of(struct builder *b, struct str name)
{
	struct draft *d = table_get(&b->by_name, name);
	if (d)
		return d;
	d = arena_zero(&b->catalog->arena, sizeof(*d));
	d->name = arena_dup(&b->catalog->arena, name);
	if (b->count == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 64;
		b->drafts = mem_grow(b->drafts, b->cap * sizeof(*b->drafts));
	}
	b->drafts[b->count++] = d;
	table_put(&b->by_name, d->name, d);
	return d;
}

/* Names of discovered models come from outside: nothing in them may break the line. */
static struct str place_lines(struct builder *b, const struct catalog_target *target, struct str model)
{
	char name[NAME_SHOWN + 1], of_target[NAME_SHOWN + 1];
	log_clean(name, NAME_SHOWN, model);
	log_clean(of_target, NAME_SHOWN, target->name);
	return arena_printf(&b->catalog->arena, "x-valet-target: %s\r\nx-valet-model: %s\r\n", of_target,
			    name);
}

static void add_place(struct builder *b, struct draft *d, const struct catalog_target *target, struct str model)
{
	for (uint32_t i = 0; i < d->count; i++)
		if (d->places[i].target == target && str_eq(d->places[i].model, model))
			return;
	if (d->count == d->cap) { /* old arrays stay in the arena: few and small */
		struct catalog_place *larger;
		d->cap = d->cap ? d->cap * 2 : 2;
		larger = arena_alloc(&b->catalog->arena, d->cap * sizeof(*larger));
		if (d->count)
			memcpy(larger, d->places, d->count * sizeof(*larger));
		d->places = larger;
	}
	d->places[d->count++] = (struct catalog_place){
		.lines = place_lines(b, target, d->name),
		.target = target,
		.timeouts = target->timeouts,
		.model = arena_dup(&b->catalog->arena, model),
		.series = registry_series(b->registry, target->name, d->name),
	};
	d->places[d->count - 1].learned = registry_learned(b->registry, d->places[d->count - 1].series);
}

/* Tokens that fit, once the window is raised as far as it may be. */
static int64_t raised_context(const struct catalog_target *t, const struct engine_model *m)
{
	int64_t most = m->context_max && m->context_max < t->num_ctx_max ? m->context_max : t->num_ctx_max;
	return most > m->context ? most : m->context;
}

static void learn(struct builder *b, struct draft *d, struct catalog_place *p, const struct engine_model *m)
{
	p->context = raised_context(p->target, m);
	p->window = m->context_guessed ? 0 : m->context;
	p->context_max = m->context_max;
	if (p->context > d->context)
		d->context = p->context;
	if (m->created && (!d->created || m->created < d->created))
		d->created = m->created;
	if (d->owned_by.len == 0 && m->owned_by.len > 0)
		d->owned_by = arena_dup(&b->catalog->arena, m->owned_by);
}

static void add_engine_model(struct builder *b, const struct catalog_engine *e, const struct catalog_target *t,
			     const struct engine_model *m)
{
	if (e->conf && !target_lists(e->conf, m->id))
		return;
	struct str name = e->conf ? target_public_name(e->conf, m->id) : m->id;
	struct draft *d = draft_of(b, name);
	if (!d->fixed)
		add_place(b, d, t, m->id);
	for (uint32_t i = 0; i < d->count; i++)
		if (d->places[i].target == t && str_eq(d->places[i].model, m->id))
			learn(b, d, &d->places[i], m);
}

static void add_configured_model(struct builder *b, const struct model_conf *m)
{
	if (m->target_count == 0)
		return;
	struct draft *d = draft_of(b, m->name);
	d->fixed = true;
	for (size_t i = 0; i < m->target_count; i++) {
		const struct model_target *mt = &m->targets[i];
		const struct catalog_target *t = catalog_target(b->catalog, mt->target);
		if (t)
			add_place(b, d, t, mt->model.len ? mt->model : m->name);
	}
}

/* A configured model that renames an engine's: what the engine says of its own name holds for the public one. */
static void learn_configured(struct builder *b, const struct model_conf *m)
{
	struct draft *d = table_get(&b->by_name, m->name);
	for (uint32_t i = 0; d && d->fixed && i < d->count; i++)
		for (size_t e = 0; e < b->engine_count; e++) {
			if (!str_eq(b->engines[e].name, d->places[i].target->name))
				continue;
			const struct engine_model *known = engine_models_find(b->engines[e].models, d->places[i].model);
			if (known)
				learn(b, d, &d->places[i], known);
		}
}

/* ---- finishing ---- */

/* 0 where all are the same, as far as is known. */
static int64_t smallest_context(const struct draft *d)
{
	int64_t smallest = 0;
	for (uint32_t i = 0; i < d->count; i++)
		if (d->places[i].context && d->places[i].context < d->context && (!smallest || d->places[i].context < smallest))
			smallest = d->places[i].context;
	return smallest;
}

static int by_name(const void *a, const void *b)
{
	const struct draft *x = *(struct draft *const *)a, *y = *(struct draft *const *)b;
	size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
	int order = memcmp(x->name.ptr, y->name.ptr, n);
	return order ? order : x->name.len < y->name.len ? -1 : x->name.len > y->name.len;
}

static struct str model_json(struct builder *b, const struct draft *d)
{
	struct json_writer w;
	struct buf text;
	buf_init(&text, 1 << 16);
	json_writer_init(&w, &text);
	json_open_object(&w);
	json_member_str(&w, STR("id"), d->name);
	json_member_str(&w, STR("object"), STR("model"));
	json_member_i64(&w, STR("created"), d->created ? d->created : b->now_s);
	json_member_str(&w, STR("owned_by"), d->owned_by.len ? d->owned_by : STR("valet"));
	if (d->context) {
		json_member_i64(&w, STR("max_model_len"), d->context);
		json_member_i64(&w, STR("context_length"), d->context);
	}
	json_close_object(&w);
	struct str copy = arena_dup(&b->catalog->arena, buf_str(&text));
	buf_release(&text);
	return copy;
}

static void finish_models(struct builder *b)
{
	struct catalog *c = b->catalog;
	struct buf list;
	buf_init(&list, 64 << 20);
	BUF_ADD(&list, "{\"object\":\"list\",\"data\":[");
	if (b->count)
		qsort(b->drafts, b->count, sizeof(*b->drafts), by_name);
	c->models = arena_zero(&c->arena, (b->count + 1) * sizeof(*c->models));
	table_init(&c->names, b->count);
	for (size_t i = 0; i < b->count; i++) {
		struct draft *d = b->drafts[i];
		struct catalog_model *m = &c->models[c->model_count];
		if (d->count == 0)
			continue;
		*m = (struct catalog_model){.name = d->name, .id = registry_model(b->registry, d->name), .json = model_json(b, d), .places = d->places, .place_count = d->count, .context = d->context, .smallest_context = smallest_context(d)};
		for (uint32_t k = 0; k < d->count; k++)
			m->operations |= d->places[k].target->operations;
		if (c->model_count++)
			buf_addc(&list, ',');
		buf_adds(&list, m->json);
		table_put(&c->names, m->name, m);
	}
	BUF_ADD(&list, "]}");
	c->list_json = arena_dup(&c->arena, buf_str(&list));
	buf_release(&list);
}

static void add_name(struct builder *b, struct str name, struct catalog_model *m)
{
	if (!table_get(&b->catalog->names, name))
		table_put(&b->catalog->names, arena_dup(&b->catalog->arena, name), m);
}

/* The settings' aliases; and Ollama's own: "qwen3" is "qwen3:latest". */
static void add_aliases(struct builder *b)
{
	struct catalog *c = b->catalog;
	for (size_t i = 0; i < b->settings->model_count; i++) {
		const struct model_conf *conf = &b->settings->models[i];
		struct catalog_model *m = table_get(&c->names, conf->name);
		for (size_t k = 0; m && k < conf->aliases.count; k++)
			add_name(b, conf->aliases.items[k], m);
	}
	for (uint32_t i = 0; i < c->model_count; i++) {
		struct catalog_model *m = &c->models[i];
		if (str_ends(m->name, STR(":latest")) && m->places[0].target->kind == ENGINE_OLLAMA)
			add_name(b, str_head(m->name, m->name.len - 7), m);
	}
}

/* ---- overflow ---- */

static bool serves(const struct catalog_model *m, const struct catalog_target *t)
{
	for (uint32_t i = 0; i < m->place_count; i++)
		if (m->places[i].target == t)
			return true;
	return false;
}

static void add_overflow_place(struct builder *b, struct catalog_model *m, const struct model_target *to)
{
	const struct catalog_target *t = catalog_target(b->catalog, to->target);
	struct str model = to->model.len ? to->model : m->name;
	if (!t || serves(m, t))
		return;
	uint32_t series = registry_series(b->registry, t->name, m->name);
	m->overflow[m->overflow_count++] = (struct catalog_place){
		.lines = place_lines(b, t, m->name), .target = t, .timeouts = t->timeouts, .model = arena_dup(&b->catalog->arena, model), .series = series,
		.learned = registry_learned(b->registry, series),
	};
}

static void set_overflow(struct builder *b, struct catalog_model *m, const struct overflow_conf *conf)
{
	m->overflow = arena_alloc(&b->catalog->arena, (conf->place_count + 1) * sizeof(*m->overflow));
	m->overflow_count = 0;
	m->overflow_when = conf->when;
	m->overflow_wait_ms = conf->wait_ms;
	m->overflow_order = conf->order;
	for (size_t i = 0; i < conf->place_count; i++)
		add_overflow_place(b, m, &conf->places[i]);
}

static void add_overflow(struct builder *b)
{
	struct catalog *c = b->catalog;
	for (uint32_t i = 0; i < c->model_count && b->settings->overflow.place_count; i++)
		set_overflow(b, &c->models[i], &b->settings->overflow);
	for (size_t i = 0; i < b->settings->model_count; i++) {
		struct catalog_model *m = table_get(&c->names, b->settings->models[i].name);
		if (m)
			set_overflow(b, m, &b->settings->models[i].overflow);
	}
}

/* ---- time-outs of models ---- */

static void take_timeouts(struct catalog_place *places, uint32_t count, const struct target_timeouts *own)
{
	for (uint32_t i = 0; i < count; i++) {
		struct target_timeouts *t = &places[i].timeouts;
		t->first_byte_ms = own->first_byte_ms ? own->first_byte_ms : t->first_byte_ms;
		t->idle_ms = own->idle_ms ? own->idle_ms : t->idle_ms;
		t->total_ms = own->total_ms ? own->total_ms : t->total_ms;
	}
}

static void set_timeouts(struct builder *b)
{
	for (size_t i = 0; i < b->settings->model_count; i++) {
		const struct model_conf *conf = &b->settings->models[i];
		struct catalog_model *m = table_get(&b->catalog->names, conf->name);
		if (!m)
			continue;
		take_timeouts(m->places, m->place_count, &conf->timeouts);
		take_timeouts(m->overflow, m->overflow_count, &conf->timeouts);
	}
}

static struct str_list copy_list(struct arena *a, const struct str_list *from)
{
	struct str_list to = {arena_alloc(a, (from->count + 1) * sizeof(*to.items)), from->count};
	for (size_t i = 0; i < from->count; i++)
		to.items[i] = arena_dup(a, from->items[i]);
	return to;
}

/* Names of fields are compared in small letters. */
static void lower(const struct str_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		for (char *c = (char *)list->items[i].ptr; *c; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
}

static void copy_settings(struct catalog *c, const struct settings *s)
{
	c->cors = copy_list(&c->arena, &s->cors);
	c->forward_headers = copy_list(&c->arena, &s->forward_headers);
	lower(&c->forward_headers);
	c->log_requests = s->log.requests;
	c->guard = true;
	for (size_t i = 0; i < s->listen.count; i++)
		c->guard &= s->listen.items[i].loopback;
	c->attempts = (uint32_t)s->attempts;
	c->heartbeat_ms = s->timeouts.heartbeat_ms;
	c->breaker = s->routing.breaker;
	c->queue_wait_ms = s->queue.max_wait_ms;
	c->queue_beat_ms = s->queue.heartbeat_after_ms;
	c->max_body = s->ceilings.max_body;
	c->max_answer = s->ceilings.max_answer ? (uint64_t)s->ceilings.max_answer : UINT64_MAX;
	c->client_idle_ms = s->timeouts.client_idle_ms;
}

struct catalog *catalog_build(struct registry *r, const struct settings *s, const struct catalog_engine *list, size_t n,
			      int64_t now_s)
{
	struct catalog *c = mem_zero(sizeof(*c));
	struct builder b = {.catalog = c, .registry = r, .settings = s, .engines = list, .engine_count = n, .now_s = now_s};
	atomic_init(&c->refs, 1);
	arena_init(&c->arena, 8192);
	table_init(&b.by_name, 64);
	c->targets = arena_zero(&c->arena, (n + 1) * sizeof(*c->targets));
	bool *usable = mem_array(n + 1, sizeof(*usable));
	for (size_t i = 0; i < n; i++)
		usable[i] = add_target(&b, &list[i]);
	for (size_t i = 0; i < s->model_count; i++)
		add_configured_model(&b, &s->models[i]);
	for (size_t i = 0, t = 0; i < n; i++) {
		for (uint32_t m = 0; usable[i] && m < list[i].models->count; m++)
			add_engine_model(&b, &list[i], &c->targets[t], &list[i].models->list[m]);
		t += usable[i];
	}
	for (size_t i = 0; i < s->model_count; i++)
		learn_configured(&b, &s->models[i]);
	finish_models(&b);
	add_aliases(&b);
	add_overflow(&b);
	set_timeouts(&b);
	copy_settings(c, s);
	free(usable);
	free(b.drafts);
	table_release(&b.by_name);
	return c;
}
