/* discover.c - see discover.h: which places are looked at, the rounds, and the list of engines.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/discover_place.h"

#include "base/log.h"
#include "net/resolve.h"

#include <stdio.h>

#define INTERVAL_MS 5000
#define NOTIFY_MS   16  /* what changes within this time is told together */
#define PATIENCE_MS 500 /* beyond a question's time-out, until the first round counts as over */

static void start_rounds(struct discovery *d, int64_t delay_ms)
{
	timer_start(d->loop, &d->round, delay_ms);
}

/* ---- what places tell ---- */

static void notify_soon(struct discovery *d)
{
	if (!timer_running(&d->notify))
		timer_start(d->loop, &d->notify, NOTIFY_MS);
}

void discovery_note_change(struct discovery *d)
{
	d->dirty = true;
	notify_soon(d);
}

void discovery_note_look(struct discovery *d)
{
	if (!d->first_round_done)
		notify_soon(d);
}

static bool all_looked(const struct list *places)
{
	LIST_EACH (places, at)
		if (!CONTAINER_OF(at, struct place, link)->looked)
			return false;
	return true;
}

static void on_notify(struct timer *t)
{
	struct discovery *d = CONTAINER_OF(t, struct discovery, notify);
	if (d->dirty) {
		d->dirty = false;
		if (d->changed)
			d->changed(d->user);
	}
	if (d->first_round_done || !all_looked(&d->targets) || !all_looked(&d->places))
		return;
	d->first_round_done = true;
	timer_stop(&d->patience);
	if (d->ready)
		d->ready(d->user);
}

static void lose_patience(struct list *places)
{
	LIST_EACH (places, at)
		CONTAINER_OF(at, struct place, link)->looked = true;
}

static void on_patience(struct timer *t)
{
	struct discovery *d = CONTAINER_OF(t, struct discovery, patience);
	lose_patience(&d->targets);
	lose_patience(&d->places);
	notify_soon(d);
}

static bool holds_name(const struct list *places, struct str name, const struct place *except)
{
	LIST_EACH (places, at) {
		const struct place *p = CONTAINER_OF(at, struct place, link);
		if (p != except && p->listed && str_eq(str_from(p->name), name))
			return true;
	}
	return false;
}

bool discovery_name_taken(const struct discovery *d, struct str name, const struct place *except)
{
	return holds_name(&d->targets, name, except) || holds_name(&d->places, name, except);
}

bool discovery_has_twin(const struct discovery *d, const struct place *p)
{
	if (!p->local || p->target)
		return false;
	LIST_EACH (&d->places, at) {
		const struct place *other = CONTAINER_OF(at, struct place, link);
		if (other != p && other->listed && other->local && other->url.port == p->url.port)
			return true;
	}
	return false;
}

/* ---- rounds ---- */

/* A tenth more or less, so that gateways started together do not ask together. */
static int64_t jittered(struct discovery *d)
{
	int64_t tenth = d->interval_ms / 10;
	d->jitter = d->jitter * 1664525u + 1013904223u;
	return d->interval_ms - tenth +
	       (tenth > 0 ? (int64_t)(d->jitter >> 8) % (2 * tenth + 1) : 0);
}

static void look_at(struct list *places)
{
	LIST_EACH (places, at) {
		struct place *p = CONTAINER_OF(at, struct place, link);
		place_expire(p);
		place_look(p);
	}
}

static void on_round(struct timer *t)
{
	struct discovery *d = CONTAINER_OF(t, struct discovery, round);
	look_at(&d->targets);
	look_at(&d->places);
	start_rounds(d, jittered(d));
}

/* ---- which places ---- */

static bool same_host(const struct place *a, const struct place *b)
{
	return a->url.port == b->url.port &&
	       ((a->local && b->local) || str_ieq(a->url.host, b->url.host));
}

/* A target below a path of its own may be another engine than what answers at the root of the port.
 */
static bool is_whole_port(const struct place *p)
{
	return !p->broken && engine_root_path(p->url.path).len == 0;
}

static bool has_target(const struct discovery *d, const struct place *p)
{
	LIST_EACH (&d->targets, at) {
		const struct place *target = CONTAINER_OF(at, struct place, link);
		if (is_whole_port(target) && same_host(target, p))
			return true;
	}
	return false;
}

static void shadow_places(struct discovery *d)
{
	LIST_EACH (&d->places, at) {
		struct place *p = CONTAINER_OF(at, struct place, link);
		p->shadowed = has_target(d, p);
		if (p->shadowed)
			place_clear(p);
		else
			place_rename(p);
	}
}

static bool is_own_port(const struct discovery *d, const struct place *p)
{
	for (size_t i = 0; p->local && i < d->own_port_count; i++)
		if (d->own_ports[i] == p->url.port)
			return true;
	return false;
}

static void mark_stale(struct list *places)
{
	LIST_EACH (places, at)
		CONTAINER_OF(at, struct place, link)->stale = true;
}

/* True if there were any. */
static bool free_stale(struct list *places)
{
	bool any = false;
	LIST_EACH (places, at) {
		struct place *p = CONTAINER_OF(at, struct place, link);
		if (!p->stale)
			continue;
		any |= p->listed;
		place_free(p);
	}
	return any;
}

static uint32_t count_places(const struct list *places)
{
	uint32_t n = 0;
	LIST_EACH (places, at)
		n++;
	return n;
}

static struct place *place_at(const struct discovery *d, struct str url)
{
	LIST_EACH (&d->places, at) {
		struct place *p = CONTAINER_OF(at, struct place, link);
		if (str_ieq(str_from(p->url_text), url))
			return p;
	}
	return NULL;
}

/* False: no such place. */
static bool add_place(struct discovery *d, struct str host, int port)
{
	char url[320];
	struct url parsed;
	bool v6 = str_find(host, ':') < host.len && host.ptr[0] != '[';
	int n = snprintf(url, sizeof(url), v6 ? "http://[%.*s]:%d" : "http://%.*s:%d",
			 STR_ARG(host), port);
	struct str text = str_of(url, (size_t)n);
	if (n >= (int)sizeof(url) || port == 0 || url_parse(text, &parsed) != NULL ||
	    parsed.path.len > 0) {
		log_warn("discover: \"%.*s\" is no host[:port]", STR_ARG(str_head(host, 256)));
		return false;
	}
	struct place *p = place_at(d, text);
	if (!p && count_places(&d->places) >= DISCOVER_PLACES_MAX) {
		log_warn("discover: more than %d places; %s is left out", DISCOVER_PLACES_MAX, url);
		return false;
	}
	if (!p)
		p = place_new(d, text, STR(""));
	else
		list_remove(&p->link);
	p->stale = is_own_port(d, p);
	list_push_back(&d->places, &p->link);
	return true;
}

static void add_default_ports(struct discovery *d, struct str host)
{
	for (int kind = 0; kind < ENGINE_KINDS; kind++)
		if (engines[kind].port != 0 && !add_place(d, host, engines[kind].port))
			return;
}

static bool all_digits(struct str s)
{
	int64_t n;
	return s.len > 0 && s.ptr[0] != '-' && str_to_i64(s, &n);
}

static void add_entry(struct discovery *d, struct str entry)
{
	union address address;
	struct str host = str_trim(entry);
	uint16_t port = 0;
	if (str_istarts(host, STR("http://")))
		host = str_skip(host, 7);
	if (str_ends(host, STR("/")))
		host.len--;
	bool alone = address_parse(host, 0, &address) ||
		     (str_find(host, ':') == host.len && !all_digits(host));
	if (alone)
		add_default_ports(d, host);
	else if (address_split(host, &host, &port))
		add_place(d, host, port);
	else
		log_warn("discover: \"%.*s\" is no host[:port]", STR_ARG(str_head(entry, 256)));
}

void discovery_set_places(struct discovery *d, bool defaults, const struct str *places, size_t n)
{
	mark_stale(&d->places);
	for (size_t i = 0; i < n; i++)
		add_entry(d, places[i]);
	if (defaults)
		add_default_ports(d, STR("127.0.0.1"));
	if (free_stale(&d->places))
		discovery_note_change(d);
	shadow_places(d);
	notify_soon(d);
	start_rounds(d, 0);
}

/* ---- targets ---- */

static bool is_target(const struct place *p, const struct discover_target *t)
{
	return str_eq(str_from(p->name), t->name) && str_eq(str_from(p->url_text), t->url) &&
	       p->told == t->kind && str_eq(str_of(p->fields, p->fields_len), t->fields);
}

static struct place *find_target(const struct discovery *d, const struct discover_target *t)
{
	LIST_EACH (&d->targets, at) {
		struct place *p = CONTAINER_OF(at, struct place, link);
		if (p->stale && is_target(p, t))
			return p;
	}
	return NULL;
}

static struct place *new_target(struct discovery *d, const struct discover_target *t)
{
	struct place *p = place_new(d, t->url, t->name);
	p->told = p->engine.kind = t->kind;
	p->fields = mem_str(t->fields);
	p->fields_len = t->fields.len;
	list_push_back(&d->targets, &p->link);
	return p;
}

void discovery_set_targets(struct discovery *d, const struct discover_target *targets, size_t n)
{
	bool changes = false;
	mark_stale(&d->targets);
	for (size_t i = 0; i < n && i < DISCOVER_TARGETS_MAX; i++) {
		struct place *p = find_target(d, &targets[i]);
		if (p) {
			list_remove(&p->link);
			list_push_back(&d->targets, &p->link);
			p->stale = false;
			continue;
		}
		changes = true;
		place_look(new_target(d, &targets[i]));
	}
	changes |= free_stale(&d->targets);
	if (changes)
		discovery_note_change(d);
	shadow_places(d);
	notify_soon(d);
	if (n > DISCOVER_TARGETS_MAX)
		log_warn("more than %d targets; the others are not watched", DISCOVER_TARGETS_MAX);
}

/* ---- the whole ---- */

void discovery_set_times(struct discovery *d, int64_t interval_ms, int64_t grace_ms)
{
	d->interval_ms = interval_ms > 0 ? interval_ms : INTERVAL_MS;
	d->grace_ms = grace_ms;
}

struct discovery *discovery_new(const struct discover_options *o)
{
	struct discovery *d = mem_zero(sizeof(*d));
	d->loop = o->loop;
	d->tls = o->tls;
	d->own_ports = mem_array(o->own_port_count + 1, sizeof(*d->own_ports));
	d->own_port_count = o->own_port_count;
	if (o->own_port_count > 0)
		memcpy(d->own_ports, o->own_ports, o->own_port_count * sizeof(*d->own_ports));
	discovery_set_times(d, o->interval_ms, o->grace_ms);
	d->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : PROBE_TIMEOUT_MS;
	d->changed = o->changed;
	d->ready = o->ready;
	d->looked = o->looked;
	d->user = o->user;
	d->jitter = (uint32_t)(uintptr_t)d ^ (uint32_t)loop_now_ms(o->loop);
	list_init(&d->targets);
	list_init(&d->places);
	timer_init(&d->round, on_round);
	timer_init(&d->notify, on_notify);
	timer_init(&d->patience, on_patience);
	timer_start(d->loop, &d->patience, d->timeout_ms + PATIENCE_MS);
	discovery_set_places(d, o->defaults, o->places, o->place_count);
	return d;
}

/* The first listed place from `at` on; NULL where the list ends before. */
static const struct place *listed_from(const struct list *head, const struct list *at)
{
	for (; at != head; at = at->next) {
		const struct place *p = CONTAINER_OF(at, struct place, link);
		if (p->listed)
			return p;
	}
	return NULL;
}

const struct engine *discovery_next(const struct discovery *d, const struct engine *after)
{
	const struct place *last = after ? CONTAINER_OF(after, struct place, engine) : NULL;
	const struct place *next = NULL;
	if (!last || last->target)
		next = listed_from(&d->targets, last ? last->link.next : d->targets.next);
	if (!next)
		next = listed_from(&d->places,
				   last && !last->target ? last->link.next : d->places.next);
	return next ? &next->engine : NULL;
}

void discovery_free(struct discovery *d)
{
	if (!d)
		return;
	timer_stop(&d->round);
	timer_stop(&d->notify);
	timer_stop(&d->patience);
	mark_stale(&d->targets);
	mark_stale(&d->places);
	free_stale(&d->targets);
	free_stale(&d->places);
	free(d->own_ports);
	free(d);
}
