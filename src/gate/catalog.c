/* catalog.c - reading a catalog, and the registry of what lives on across catalogs. Building one is in catalog_build.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/catalog.h"

#include "gate/registry.h"

struct catalog *catalog_ref(struct catalog *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void catalog_unref(struct catalog *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (uint32_t i = 0; i < c->target_count; i++)
		secret_release(&c->targets[i].secret);
	keyring_unref(c->keys);
	table_release(&c->names);
	arena_release(&c->arena);
	free(c);
}

bool catalog_drained(const struct catalog *c)
{
	for (uint32_t i = 0; i < c->target_count; i++)
		if (!catalog_target_drained(&c->targets[i]))
			return false;
	return c->target_count > 0;
}

const struct catalog_target *catalog_target(const struct catalog *c, struct str name)
{
	for (uint32_t i = 0; i < c->target_count; i++)
		if (str_eq(c->targets[i].name, name))
			return &c->targets[i];
	return NULL;
}

const struct catalog_model *catalog_model(const struct catalog *c, struct str name)
{
	return table_get(&c->names, name);
}

#define NEAR_MAX    3
#define NEAR_LOOKED 2000 /* models, and as many aliases: a bound on what a wrong name costs */

struct near_name {
	struct str name;
	const struct catalog_model *model; /* each is told once, by the name that is nearest */
	size_t distance;
};

struct near {
	struct near_name list[NEAR_MAX];
	size_t count;
};

/* Of two that are as near, a model's own name comes before an alias, else the one that sorts before: the same question gets the same answer. */
static bool is_nearer(const struct near_name *a, const struct near_name *b)
{
	if (a->distance != b->distance)
		return a->distance < b->distance;
	bool own = str_eq(a->name, a->model->name), other = str_eq(b->name, b->model->name);
	if (own != other)
		return own;
	int order = memcmp(a->name.ptr, b->name.ptr, a->name.len < b->name.len ? a->name.len : b->name.len);
	return order ? order < 0 : a->name.len < b->name.len;
}

static void near_add(struct near *n, struct near_name one)
{
	size_t at = 0;
	while (at < n->count && n->list[at].model != one.model)
		at++;
	if (at == n->count && n->count < NEAR_MAX)
		n->count++;
	else if (at == n->count)
		at = NEAR_MAX - 1; /* the last one gives way */
	if (n->list[at].model && !is_nearer(&one, &n->list[at]))
		return;
	for (; at > 0 && is_nearer(&one, &n->list[at - 1]); at--)
		n->list[at] = n->list[at - 1];
	n->list[at] = one;
}

/* How far `name` is from what was asked: edits, or little where one holds the other; above `limit` = not near. */
static size_t distance_of(struct str asked, struct str name, size_t limit)
{
	struct str shorter = asked.len < name.len ? asked : name, longer = asked.len < name.len ? name : asked;
	if (shorter.len >= 3 && str_search(longer, shorter) < longer.len)
		return 1;
	return str_distance(asked, name, limit);
}

void catalog_near(const struct catalog *c, struct str name, struct buf *out)
{
	struct near near = {0};
	size_t limit = name.len < 6 ? 2 : name.len / 3, looked = 0;
	if (name.len > 128)
		return;
	for (uint32_t i = 0; i < c->model_count && i < NEAR_LOOKED; i++) {
		struct near_name one = {c->models[i].name, &c->models[i], distance_of(name, c->models[i].name, limit)};
		if (one.distance <= limit)
			near_add(&near, one);
	}
	for (size_t i = 0; c->names.count > c->model_count && i <= c->names.mask && looked < NEAR_LOOKED; i++) {
		const struct table_slot *slot = &c->names.slots[i];
		struct near_name one = {slot->key, slot->value, 0};
		if (!slot->key.ptr || str_eq(slot->key, one.model->name))
			continue;
		looked++;
		one.distance = distance_of(name, one.name, limit);
		if (one.distance <= limit)
			near_add(&near, one);
	}
	for (size_t i = 0; i < near.count; i++)
		buf_addf(out, "%s'%.*s'", i == 0 ? "; did you mean " : i + 1 < near.count ? ", " : " or ", STR_ARG(near.list[i].name));
	if (near.count)
		buf_addc(out, '?');
}

/* ---- the registry ---- */

struct series_entry {
	struct str key;          /* target, NUL, model */
	size_t target_len;
	struct learned *learned;
};

struct registry {
	struct arena arena;
	struct table targets;    /* name → struct target_state */
	struct table series;     /* key → id + 1 */
	struct table models;     /* name → id */
	struct series_entry *entries;
	uint32_t entry_count, entry_cap, target_count;
	struct learned shared;   /* of those that have no id of their own */
};

struct registry *registry_new(void)
{
	struct registry *r = mem_zero(sizeof(*r));
	arena_init(&r->arena, 4096);
	table_init(&r->targets, 16);
	table_init(&r->series, 64);
	table_init(&r->models, 64);
	return r;
}

void registry_free(struct registry *r)
{
	for (size_t i = 0; i <= r->targets.mask; i++)
		free(r->targets.slots[i].value);
	table_release(&r->targets);
	table_release(&r->series);
	table_release(&r->models);
	arena_release(&r->arena);
	free(r->entries);
	free(r);
}

struct target_state *registry_target(struct registry *r, struct str name)
{
	struct target_state *state = table_get(&r->targets, name);
	if (state)
		return state;
	state = aligned_alloc(64, sizeof(*state));
	if (!state)
		abort();
	memset(state, 0, sizeof(*state));
	struct str copy = arena_dup(&r->arena, name);
	state->name = (char *)copy.ptr;
	state->index = state->places.id = r->target_count++;
	table_put(&r->targets, copy, state);
	return state;
}

uint32_t registry_model(struct registry *r, struct str name)
{
	uintptr_t id = (uintptr_t)table_get(&r->models, name);
	if (id)
		return (uint32_t)id;
	id = r->models.count + 1;
	table_put(&r->models, arena_dup(&r->arena, name), (void *)id);
	return (uint32_t)id;
}

uint32_t registry_series(struct registry *r, struct str target, struct str model)
{
	struct buf text;
	buf_init(&text, 4096);
	buf_adds(&text, target);
	buf_addc(&text, 0);
	buf_adds(&text, model);
	uintptr_t known = (uintptr_t)table_get(&r->series, buf_str(&text));
	struct str key = known ? STR_NONE : arena_dup(&r->arena, buf_str(&text));
	buf_release(&text);
	if (known)
		return (uint32_t)known - 1;
	if (r->entry_count == SERIES_MAX - 1)
		return r->entry_count; /* the last one takes what does not fit */
	if (r->entry_count == r->entry_cap) {
		r->entry_cap = r->entry_cap ? r->entry_cap * 2 : 64;
		r->entries = mem_grow(r->entries, r->entry_cap * sizeof(*r->entries));
	}
	r->entries[r->entry_count] = (struct series_entry){key, target.len, arena_zero(&r->arena, sizeof(struct learned))};
	table_put(&r->series, key, (void *)(uintptr_t)(r->entry_count + 1));
	return r->entry_count++;
}

struct learned *registry_learned(struct registry *r, uint32_t series)
{
	return series < r->entry_count ? r->entries[series].learned : &r->shared;
}

uint32_t registry_series_count(const struct registry *r)
{
	return r->entry_count;
}

bool registry_series_labels(void *registry, uint32_t id, struct series_labels *out)
{
	const struct registry *r = registry;
	if (id >= r->entry_count)
		return false;
	const struct series_entry *e = &r->entries[id];
	out->target = str_head(e->key, e->target_len);
	out->model = str_skip(e->key, e->target_len + 1);
	return true;
}
