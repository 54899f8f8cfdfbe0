/* settings_routes.c - what the settings mean for the ways of requests: kinds of targets, usual addresses of clouds, what models take over of the
 * routing and of the overflow of all.
 *
 * Pure; part of loading.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/settings_parts.h"

#include "gate/price_of.h"

/* ---- kinds of targets ---- */

/* The cloud that a kind can mean. */
static enum cloud cloud_of(enum target_kind kind)
{
	return kind >= TARGET_OPENAI ? cloud_find(str_from(target_kind_names[kind])) : CLOUD_NONE;
}

const char *target_usual_url(enum target_kind kind)
{
	return clouds[cloud_of(kind)].url;
}

enum cloud target_cloud(const struct target_conf *target)
{
	enum cloud cloud = cloud_of(target->kind);
	return cloud == CLOUD_OPENAI && !str_ieq(target->url.host, STR("api.openai.com")) ? CLOUD_NONE : cloud;
}

enum engine_kind target_engine(enum target_kind kind)
{
	if (kind == TARGET_AUTO)
		return ENGINE_NONE;
	return kind >= TARGET_OPENAI ? ENGINE_OPENAI : engine_find(str_from(target_kind_names[kind]));
}

bool target_is_cloud(const struct target_conf *target)
{
	return target_cloud(target) != CLOUD_NONE || !price_is_local(target_engine(target->kind), target->url.host);
}

/* ---- before the checks ---- */

bool settings_gave(const struct json *object, struct str name)
{
	const struct json *member = object && object->type == JSON_OBJECT ? json_get(object, name) : NULL;
	return member && member->type != JSON_NULL;
}

static const struct json *member_of(const struct json *object, struct str name)
{
	return settings_gave(object, name) ? json_get(object, name) : NULL;
}

static uint32_t when_of(const struct str_list *words)
{
	uint32_t when = 0;
	for (size_t i = 0; i < words->count; i++)
		for (uint32_t bit = 0; bit < OVERFLOW_WHENS; bit++)
			if (str_eq(words->items[i], str_from(overflow_when_names[bit])))
				when |= 1u << bit;
	return when;
}

/* "target/model": the text behind the first slash is the model, whatever it has in it. */
static struct model_target place_of(struct arena *a, struct str text)
{
	size_t slash = str_find(text, '/');
	return (struct model_target){.target = arena_dup(a, str_head(text, slash)), .model = arena_dup(a, str_skip(text, slash + 1))};
}

/* `node`: what it was read from; NULL: it is not there. */
static void complete_overflow(struct settings *s, struct overflow_conf *o, const struct json *node)
{
	int64_t longest = s->queue.max_wait_ms;
	if (!settings_gave(node, STR("wait")) && o->wait_ms > longest)
		o->wait_ms = longest;
	o->when = when_of(&o->whens);
	o->place_count = o->to.count;
	o->places = arena_zero(&s->arena, o->place_count * sizeof(*o->places));
	for (size_t i = 0; i < o->place_count; i++)
		o->places[i] = place_of(&s->arena, o->to.items[i]);
}

static void complete_model(struct settings *s, struct model_conf *m, const struct json *node)
{
	if (!settings_gave(node, STR("strategy")))
		m->strategy = s->routing.strategy;
	if (!settings_gave(node, STR("affinity")))
		m->affinity = s->routing.affinity;
	m->own_overflow = settings_gave(node, STR("overflow"));
	complete_overflow(s, &m->overflow, member_of(node, STR("overflow")));
}

void settings_complete_routes(struct settings *s, const struct json *tree)
{
	const struct json *models = member_of(tree, STR("models"));
	const struct json *node = models ? models->first : NULL;
	for (size_t i = 0; i < s->target_count; i++) {
		struct target_conf *t = &s->targets[i];
		if (t->url_text.len == 0 && target_usual_url(t->kind))
			t->url_text = str_from(target_usual_url(t->kind));
	}
	complete_overflow(s, &s->overflow, member_of(tree, STR("overflow")));
	for (size_t i = 0; i < s->model_count; i++, node = node ? node->next : NULL)
		complete_model(s, &s->models[i], node);
}

/* ---- after them ---- */

static bool is_own_target(const struct model_conf *m, size_t target)
{
	for (size_t i = 0; i < m->target_count; i++)
		if (m->targets[i].index == target)
			return true;
	return false;
}

void settings_inherit_overflow(struct settings *s)
{
	const struct overflow_conf *all = &s->overflow;
	for (size_t i = 0; i < s->model_count; i++) {
		struct model_conf *m = &s->models[i];
		if (m->own_overflow)
			continue;
		m->overflow = *all;
		m->overflow.budgets = (struct str_list){NULL, 0};
		m->overflow.places = arena_zero(&s->arena, all->place_count * sizeof(*all->places));
		m->overflow.place_count = 0;
		for (size_t j = 0; j < all->place_count; j++) {
			size_t target = all->places[j].index;
			bool barred = m->local_only && target_is_cloud(&s->targets[target]);
			if (!barred && !is_own_target(m, target))
				m->overflow.places[m->overflow.place_count++] = all->places[j];
		}
	}
}
