/* capacity.c - the queue, the prefixes, what engines tell of their load, and whether they are still the same. Control thread; grants come from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/capacity.h"

#include "admin/control.h"
#include "base/clock.h"

/* Any thread. */
static void on_granted(void *user, struct ticket *t, void *owner)
{
	worker_granted(owner, t);
}

static struct queue_options options_of(struct control *c)
{
	const struct queue_conf *q = &c->settings->queue;
	return (struct queue_options){
		.age_ms = q->age_ms, .starve_ms = q->starve_ms, .total_max = (uint32_t)q->total, .key_max = (uint32_t)q->per_key, .granted = on_granted, .user = c,
	};
}

void capacity_open(struct control *c)
{
	struct queue_options o = options_of(c);
	c->capacity.queue = queue_new(&o);
	c->capacity.prefixes = prefixes_new(0);
	random_bytes(&c->capacity.prefix_seed, sizeof(c->capacity.prefix_seed));
}

void capacity_settings(struct control *c)
{
	struct queue_options o = options_of(c);
	queue_set(c->capacity.queue, &o);
	for (uint32_t i = 0; i < c->catalog->target_count; i++) /* a secret or an address may be right now */
		health_reset(&c->catalog->targets[i].state->health);
}

/* ---- whose places are whose ---- */

struct capacity_place {
	struct learned *learned;
	struct str model;        /* the engine's name of it */
	uint32_t id;             /* of the public model; 0: beyond its places, by policy */
};

/* What the last look at an engine found. */
struct capacity_seen {
	bool away, counted;
	uint64_t *models;        /* hashes, sorted */
	uint32_t count;
};

static struct capacity_seen *seen_of(struct capacity *k, const struct target_state *s)
{
	if (s->index >= k->seen_count) {
		uint32_t count = s->index + 16;
		k->seen = mem_grow(k->seen, count * sizeof(*k->seen));
		memset(k->seen + k->seen_count, 0, (count - k->seen_count) * sizeof(*k->seen));
		k->seen_count = count;
	}
	return &k->seen[s->index];
}

static void index_free(struct capacity *k)
{
	if (k->first)
		table_release(&k->targets);
	free(k->first);
	free(k->places);
	k->first = NULL;
	k->places = NULL;
}

/* Where the next place of a target goes: first[] is counted one further on, and stands at the beginnings once all are in. */
static void index_add(struct capacity *k, const struct catalog *c, const struct catalog_place *list, uint32_t count, uint32_t id, bool fill)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t *at = &k->first[list[i].target - c->targets + 1];
		if (fill)
			k->places[*at] = (struct capacity_place){list[i].learned, list[i].model, id};
		(*at)++;
	}
}

static void index_all(struct capacity *k, const struct catalog *c, bool fill)
{
	for (uint32_t i = 0; i < c->model_count; i++) {
		const struct catalog_model *m = &c->models[i];
		index_add(k, c, m->places, m->place_count, m->id, fill);
		index_add(k, c, m->overflow, m->overflow_count, 0, fill);
	}
}

static void index_make(struct capacity *k, const struct catalog *c)
{
	uint32_t sum = 0;
	index_free(k);
	table_init(&k->targets, c->target_count);
	for (uint32_t i = 0; i < c->target_count; i++)
		table_put(&k->targets, c->targets[i].name, (void *)(uintptr_t)(i + 1));
	k->first = mem_zero((c->target_count + 1) * sizeof(*k->first));
	index_all(k, c, false);
	for (uint32_t i = 1; i <= c->target_count; i++) {
		uint32_t own = k->first[i];
		k->first[i] = sum;
		sum += own;
	}
	k->places = mem_zero((sum + 1) * sizeof(*k->places));
	index_all(k, c, true);
}

/* ---- who says how many places there are ---- */

static void set_learner(struct control *c, const struct catalog_target *t)
{
	struct target_state *s = t->state;
	uint32_t said = atomic_load_explicit(&s->places_said, memory_order_relaxed);
	adapt_switch(&s->adapt, &s->places, t->local && t->cloud == CLOUD_NONE && !said && !seen_of(&c->capacity, s)->counted);
	if (said) /* a last word of what was learned may have come in between */
		atomic_store_explicit(&s->places.limit, said, memory_order_relaxed);
}

void capacity_catalog_made(struct control *c)
{
	int64_t now_ms = clock_mono_us() / 1000;
	index_make(&c->capacity, c->catalog);
	for (uint32_t i = 0; i < c->catalog->target_count; i++) {
		set_learner(c, &c->catalog->targets[i]);
		queue_offer(c->capacity.queue, &c->catalog->targets[i].state->places, now_ms);
	}
}

/* ---- what engines tell ---- */

static const struct catalog_target *target_named(const struct control *c, const char *name)
{
	uintptr_t at = c->capacity.first ? (uintptr_t)table_get(&c->capacity.targets, str_from(name)) : 0;
	return at ? &c->catalog->targets[at - 1] : NULL;
}

static void take_loaded(struct control *c, const struct catalog_target *t, const struct engine *e)
{
	const struct capacity *k = &c->capacity;
	uint32_t loaded = 0, count = 0, at = (uint32_t)(t - c->catalog->targets);
	for (uint32_t i = k->first[at]; i < k->first[at + 1]; i++) {
		bool warm = engine_load_has(&e->load, k->places[i].model);
		if (!k->places[i].id)
			continue;
		atomic_store_explicit(&k->places[i].learned->warm, warm, memory_order_relaxed);
		loaded = warm ? k->places[i].id : loaded;
		count += warm;
	}
	atomic_store_explicit(&t->state->places.loaded, count == 1 ? loaded : 0, memory_order_relaxed);
}

/* ---- another engine now ---- */

static int by_hash(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Notes the models that it lists. True: one that it listed before is gone, or is another one by its date (which only Ollama tells). */
static bool take_list(struct capacity_seen *seen, const struct engine *e)
{
	uint32_t count = e->models->count, kept = 0;
	uint64_t *now = mem_array(count + 1, sizeof(*now));
	for (uint32_t i = 0; i < count; i++)
		now[i] = siphash(e->models->list[i].id) + (e->kind == ENGINE_OLLAMA ? (uint64_t)e->models->list[i].created : 0);
	qsort(now, count, sizeof(*now), by_hash);
	for (uint32_t old = 0, i = 0; old < seen->count; old++) {
		while (i < count && now[i] < seen->models[old])
			i++;
		kept += i < count && now[i] == seen->models[old];
	}
	bool other = kept < seen->count;
	free(seen->models);
	seen->models = now;
	seen->count = count;
	return other;
}

/* It was away, or has lost a model: what was learned of its speed, its caches and its places may be wrong. */
static void forget(struct control *c, const struct catalog_target *t)
{
	const struct capacity *k = &c->capacity;
	uint32_t at = (uint32_t)(t - c->catalog->targets);
	for (uint32_t i = k->first[at]; i < k->first[at + 1]; i++)
		pace_forget(&k->places[i].learned->pace);
	prefixes_forget(k->prefixes, t->state->places.id);
	adapt_forget(&t->state->adapt, &t->state->places);
	queue_offer(k->queue, &t->state->places, clock_mono_us() / 1000);
}

static void take_state(struct control *c, const struct catalog_target *t, const struct engine *e)
{
	struct capacity_seen *seen = seen_of(&c->capacity, t->state);
	bool other = false;
	seen->counted = e->load.counted && !e->load.places;
	if (e->state == ENGINE_UP) {
		other = take_list(seen, e) || seen->away;
		seen->away = false;
	} else if (e->state != ENGINE_PENDING) {
		seen->away = true;
		return;
	}
	if (other)
		forget(c, t);
	set_learner(c, t);
}

/* An engine that has no ceiling of its own queues without end, in the order of arrival: where it tells that requests wait inside, fewer are sent until
 * none does, and then more again, one by one. */
static void adapt_limit(struct control *c, const struct catalog_target *t, const struct engine *e)
{
	struct places *p = &t->state->places;
	uint32_t limit = atomic_load_explicit(&p->limit, memory_order_relaxed), taken = atomic_load_explicit(&p->taken, memory_order_relaxed);
	if (t->max_concurrency || e->load.places || !e->load.counted)
		return;
	if (e->load.waiting > 0)
		limit = e->load.running > 1 ? e->load.running : 1;
	else if (limit && taken >= limit)
		limit += limit / 8 + 1;
	atomic_store_explicit(&p->limit, limit, memory_order_relaxed);
	queue_offer(c->capacity.queue, p, clock_mono_us() / 1000);
}

void capacity_looked(struct control *c, const struct engine *e)
{
	const struct catalog_target *t = target_named(c, e->name);
	if (!t)
		return;
	take_state(c, t, e);
	atomic_store_explicit(&t->state->engine_waiting, e->load.waiting, memory_order_relaxed);
	atomic_store_explicit(&t->state->asleep, e->load.asleep, memory_order_relaxed);
	if (e->load.loaded_known)
		take_loaded(c, t, e);
	adapt_limit(c, t, e);
}

void capacity_close(struct control *c)
{
	if (c->capacity.queue)
		queue_free(c->capacity.queue);
	if (c->capacity.prefixes)
		prefixes_free(c->capacity.prefixes);
	index_free(&c->capacity);
	for (uint32_t i = 0; i < c->capacity.seen_count; i++)
		free(c->capacity.seen[i].models);
	free(c->capacity.seen);
}

void capacity_metrics(struct control *c, struct buf *out)
{
	struct queue_look look;
	queue_look(c->capacity.queue, clock_mono_us() / 1000, &look);
	metrics_print_one(out, OTHER_QUEUE_WAITING, look.waiting);
	metrics_print_one(out, OTHER_QUEUE_BATCH, look.waiting_batch);
	metrics_print_one(out, OTHER_QUEUE_OLDEST, (double)look.oldest_ms / 1000);
	metrics_print_one(out, OTHER_QUEUE_ENTERED, (double)look.entered);
	metrics_print_one(out, OTHER_QUEUE_GRANTED, (double)look.granted);
	metrics_print_one(out, OTHER_QUEUE_LEFT, (double)look.left);
}
