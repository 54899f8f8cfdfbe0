/* capacity.c - the queue, the prefixes, and what engines tell of their load. Control thread; grants come from any.
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

void capacity_catalog_made(struct control *c)
{
	int64_t now_ms = clock_mono_us() / 1000;
	for (uint32_t i = 0; i < c->catalog->target_count; i++)
		queue_offer(c->capacity.queue, &c->catalog->targets[i].state->places, now_ms);
}

/* ---- what engines tell ---- */

static const struct catalog_target *target_named(const struct catalog *c, const char *name)
{
	for (uint32_t i = 0; i < c->target_count; i++)
		if (str_eq(c->targets[i].name, str_from(name)))
			return &c->targets[i];
	return NULL;
}

static void take_loaded(struct control *c, const struct catalog_target *t, const struct engine *e)
{
	uint32_t loaded = 0, count = 0;
	for (uint32_t i = 0; i < c->catalog->model_count; i++) {
		const struct catalog_model *m = &c->catalog->models[i];
		for (uint32_t k = 0; k < m->place_count; k++) {
			if (m->places[k].target != t)
				continue;
			bool warm = engine_load_has(&e->load, m->places[k].model);
			atomic_store_explicit(&m->places[k].learned->warm, warm, memory_order_relaxed);
			loaded = warm ? m->id : loaded;
			count += warm;
		}
	}
	atomic_store_explicit(&t->state->places.loaded, count == 1 ? loaded : 0, memory_order_relaxed);
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
	const struct catalog_target *t = target_named(c->catalog, e->name);
	if (!t)
		return;
	atomic_store_explicit(&t->state->engine_waiting, e->load.waiting, memory_order_relaxed);
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
