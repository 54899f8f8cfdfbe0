/* targets.c - see targets.h: what is set aside is written into the live state of targets, where workers and the queue look; and a secret that a target refuses
 * is told to the operator, once for as long as it is refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/targets.h"

#include "admin/control.h"
#include "base/clock.h"
#include "base/log.h"

#define LOOK_MS 500

/* ---- maintenance ---- */

/* True: it was set aside, and is not any more. */
static bool set_aside(struct target_state *s, bool drained)
{
	health_drain(&s->health, drained);
	return atomic_exchange(&s->places.closed, drained) && !drained;
}

static void apply(struct control *c)
{
	int64_t now_ms = clock_mono_us() / 1000;
	for (uint32_t i = 0; i < c->catalog->target_count; i++) {
		const struct catalog_target *t = &c->catalog->targets[i];
		if (set_aside(t->state, t->drain || api_drained(c->govern.api, t->name)))
			queue_offer(c->capacity.queue, &t->state->places, now_ms);
	}
}

static void on_drain_changed(void *user)
{
	apply(user);
}

/* ---- refused secrets ---- */

static bool *told_of(struct targets *s, uint32_t index)
{
	if (index >= s->count) {
		uint32_t count = index + 64;
		s->told = mem_grow(s->told, count * sizeof(*s->told));
		memset(s->told + s->count, 0, (count - s->count) * sizeof(*s->told));
		s->count = count;
	}
	return &s->told[index];
}

static void tell_denied(struct control *c, const struct catalog_target *t)
{
	log_warn("target %.*s refuses the secret that is configured for it, or its account has no credit; it is set aside, and tried again by a single request now and then",
		 STR_ARG(t->name));
	if (c->govern.alert)
		alert_denied(c->govern.alert, t->name, t->host, books_now_us(c->govern.books) / 1000000);
}

static void look(struct control *c)
{
	for (uint32_t i = 0; i < c->catalog->target_count; i++) {
		const struct catalog_target *t = &c->catalog->targets[i];
		bool *told = told_of(&c->targets, t->state->index), denied = health_denied(&t->state->health);
		if (denied && !*told)
			tell_denied(c, t);
		*told = denied;
	}
}

static void on_look(struct timer *t)
{
	struct control *c = CONTAINER_OF(t, struct control, targets.look);
	look(c);
	timer_start(&c->loop, t, LOOK_MS);
}

void targets_begin(struct control *c)
{
	timer_init(&c->targets.look, on_look);
	timer_start(&c->loop, &c->targets.look, LOOK_MS);
}

void targets_catalog_made(struct control *c)
{
	apply(c);
	look(c); /* new settings have forgiven: what is refused again is told again */
}

void targets_release(struct control *c)
{
	free(c->targets.told);
}

/* ---- what the API asks ---- */

static const struct catalog *newest(void *user)
{
	struct control *c = user;
	return c->catalog;
}

static const struct engine *engine_named(void *user, struct str name)
{
	struct control *c = user;
	if (!c->discovery)
		return NULL;
	for (const struct engine *e = discovery_next(c->discovery, NULL); e; e = discovery_next(c->discovery, e))
		if (str_eq(str_from(e->name), name))
			return e;
	return NULL;
}

static struct queue *the_queue(void *user)
{
	struct control *c = user;
	return c->capacity.queue;
}

const struct api_server targets_server = {.catalog = newest, .queue = the_queue, .engine = engine_named, .drain_changed = on_drain_changed};
