/* discover_place.c - see discover_place.h: what the outcome of a probe means for the engine at a
 * place.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/discover_place.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/resolve.h"

#include <ifaddrs.h>
#include <stdio.h>
#include <unistd.h>

#define FAILURES_MAX                                                                           \
	2 /* time-outs and 5xx in a row that take an engine down; a refused connection does at \
	     once */
#define DULL_ROUNDS                                                                               \
	12 /* at most so many rounds between looks at a place where something else answers, or at \
	      what is up behind https elsewhere, as clouds are */

static const struct engine_models no_models;

/* ---- hosts ---- */

static bool same_address(const union address *a, const struct sockaddr *b)
{
	if (!b || a->any.sa_family != b->sa_family)
		return false;
	if (b->sa_family == AF_INET)
		return a->v4.sin_addr.s_addr ==
		       ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return memcmp(&a->v6.sin6_addr, &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
		      16) == 0;
}

static bool is_own_address(const union address *a)
{
	struct ifaddrs *all;
	bool own = false;
	if (getifaddrs(&all) != 0)
		return false;
	for (const struct ifaddrs *at = all; at && !own; at = at->ifa_next)
		own = same_address(a, at->ifa_addr);
	freeifaddrs(all);
	return own;
}

static bool is_any_address(const union address *a)
{
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == 0;
	return IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

/* True if the host is this machine: a loopback address, "localhost", an address or the name of its
 * own. Reads the interfaces. */
static bool host_is_local(struct str host)
{
	union address a;
	char name[256] = "";
	if (address_parse(host, 0, &a))
		return address_is_loopback(&a) || is_any_address(&a) || is_own_address(&a);
	if (str_ieq(host, STR("localhost")) || str_ends(host, STR(".localhost")))
		return true;
	return gethostname(name, sizeof(name) - 1) == 0 && str_ieq(host, str_from(name));
}

/* ---- names ---- */

/* `base`, or "base-host", or "base-2", "base-3" …: the first that is free. */
static char *free_name(const struct place *p, const char *base)
{
	char name[128], host[48];
	snprintf(name, sizeof(name), "%s", base);
	if (!discovery_name_taken(p->discovery, str_from(name), p))
		return mem_str(str_from(name));
	snprintf(host, sizeof(host), "%.*s", STR_ARG(str_head(p->url.host, sizeof(host) - 1)));
	for (char *c = host; *c; c++)
		if (*c == ':')
			*c = '-';
	if (!p->local)
		snprintf(name, sizeof(name), "%s-%s", base, host);
	for (unsigned n = 2; discovery_name_taken(p->discovery, str_from(name), p); n++)
		snprintf(name, sizeof(name), "%s-%u", base, n);
	return mem_str(str_from(name));
}

static void give_name(struct place *p)
{
	if (p->target)
		return;
	free(p->name);
	p->name = NULL;
	p->engine.name = p->name = free_name(p, engines[p->found].name);
}

void place_rename(struct place *p)
{
	struct str old = str_from(p->name);
	char *kept = p->name;
	if (!p->listed || p->target || !discovery_name_taken(p->discovery, old, p))
		return;
	p->name = NULL;
	p->engine.name = p->name = free_name(p, engines[p->engine.kind].name);
	log_info("%s is now called %s: the name belongs to a configured target", kept, p->name);
	free(kept);
	discovery_note_change(p->discovery);
}

/* ---- life ---- */

struct place *place_new(struct discovery *d, struct str url, struct str name)
{
	struct place *p = mem_zero(sizeof(*p));
	p->discovery = d;
	p->url_text = mem_str(url);
	const char *why = url_parse(str_from(p->url_text), &p->url);
	p->name = name.len > 0 ? mem_str(name) : NULL;
	p->told = p->found = ENGINE_NONE;
	p->target = p->listed = name.len > 0;
	p->local = !why && host_is_local(p->url.host);
	p->engine = (struct engine){.name = p->name,
				    .url = p->url_text,
				    .kind = ENGINE_NONE,
				    .state = ENGINE_PENDING,
				    .configured = p->target,
				    .models = &no_models,
				    .version = p->version,
				    .error = p->error,
				    .since_us = clock_wall_us()};
	if (why) {
		p->broken = p->looked = true;
		p->engine.state = ENGINE_DOWN;
		snprintf(p->error, sizeof(p->error), "its URL cannot be read: %s", why);
	}
	for (int i = 0; i < 2; i++) {
		probe_init(&p->probes[i]);
		p->probes[i].user = p;
	}
	p->seen = PROBE_REFUSED;
	return p;
}

static void forget_models(struct place *p)
{
	probe_release(&p->probes[0]);
	probe_release(&p->probes[1]);
	p->busy = false;
	p->engine.models = &no_models;
	p->engine.load = (struct engine_load){0};
}

void place_free(struct place *p)
{
	forget_models(p);
	list_remove(&p->link);
	if (p->fields)
		explicit_bzero(p->fields, p->fields_len);
	free(p->fields);
	free(p->name);
	free(p->url_text);
	free(p);
}

static void unlist(struct place *p)
{
	if (!p->listed || p->target)
		return;
	p->listed = false;
	p->found = ENGINE_NONE;
	p->lacking = 0;
	p->failures = 0;
	p->version[0] = p->error[0] = '\0';
	forget_models(p);
	discovery_note_change(p->discovery);
}

void place_clear(struct place *p)
{
	unlist(p);
	forget_models(p);
	p->looked = true;
}

void place_expire(struct place *p)
{
	struct discovery *d = p->discovery;
	if (!p->listed || p->busy || p->engine.state != ENGINE_DOWN ||
	    loop_now_ms(d->loop) - p->down_ms < d->grace_ms)
		return;
	if (!p->target) {
		log_info("%s at %s is gone", p->name, p->url_text);
		unlist(p);
	} else if (p->engine.models->count > 0) {
		forget_models(p);
		discovery_note_change(d);
	}
}

/* ---- states ---- */

static void set_error(struct place *p, struct str why)
{
	snprintf(p->error, sizeof(p->error), "%.*s", STR_ARG(why));
}

static const char *plural(uint32_t n)
{
	return n == 1 ? "" : "s";
}

static void log_state(const struct place *p, enum engine_state before)
{
	const struct engine *e = &p->engine;
	const char *kind = e->kind == ENGINE_NONE ? "engine" : engines[e->kind].display;
	if (e->state == ENGINE_UP && before == ENGINE_PENDING)
		log_info("%s: found %s%s%s at %s, %u model%s", e->name, kind,
			 e->version[0] ? " " : "", e->version, e->url, e->models->count,
			 plural(e->models->count));
	else if (e->state == ENGINE_UP)
		log_info("%s: up, %u model%s", e->name, e->models->count, plural(e->models->count));
	else if (e->state == ENGINE_LOADING)
		log_info("%s: %s at %s is loading its model", e->name, kind, e->url);
	else
		log_warn("%s: down: %s", e->name, e->error);
}

/* What it said of its requests holds no longer. */
static void forget_requests(struct place *p)
{
	p->engine.load.counted = false;
	p->engine.load.running = p->engine.load.waiting = 0;
}

static void set_state(struct place *p, enum engine_state state)
{
	enum engine_state before = p->engine.state;
	if (before == state)
		return;
	p->engine.state = state;
	p->engine.since_us = clock_wall_us();
	p->down_ms = loop_now_ms(p->discovery->loop);
	log_state(p, before);
	discovery_note_change(p->discovery);
}

/* What answers is of another kind than what was listed here: that one is gone. False: it must not
 * be listed, another place has it. */
static bool list_kind(struct place *p, enum engine_kind kind)
{
	if (!p->target && p->listed && p->engine.kind != kind) {
		log_info("%s at %s is gone", p->name, p->url_text);
		p->listed = false;
		if (p->engine.models != &no_models)
			probe_release(&p->probes[p->current]);
		p->engine.models = &no_models;
		p->engine.load = (struct engine_load){0};
		discovery_note_change(p->discovery);
	}
	p->found = kind;
	if (!p->listed) {
		if (discovery_has_twin(p->discovery, p))
			return false;
		give_name(p);
		p->engine.state = ENGINE_PENDING;
		p->listed = true;
	}
	if (p->engine.kind != kind)
		discovery_note_change(p->discovery);
	p->engine.kind = kind;
	return true;
}

static void take_models(struct place *p, struct probe *q)
{
	bool same = engine_models_same(p->engine.models, &q->models), same_load = engine_load_same(&p->engine.load, &q->load);
	p->current = (unsigned)(q - p->probes);
	p->engine.models = &q->models;
	p->engine.load = q->load;
	probe_release(&p->probes[!p->current]);
	if (!same_load)
		discovery_note_change(p->discovery);
	if (same)
		return;
	if (p->engine.state == ENGINE_UP)
		log_info("%s: its list of models has changed, %u model%s", p->name, q->models.count,
			 plural(q->models.count));
	discovery_note_change(p->discovery);
}

static void take_alive(struct place *p, struct probe *q)
{
	if (!list_kind(p, q->kind)) {
		probe_release(q);
		return;
	}
	p->failures = 0;
	p->lacking = q->lacking;
	p->error[0] = '\0';
	p->engine.latency_ms = q->took_ms;
	if (q->version.len > 0)
		snprintf(p->version, sizeof(p->version), "%.*s", STR_ARG(q->version));
	if (q->unlisted)
		probe_release(q);
	else
		take_models(p, q);
	set_state(p, ENGINE_UP);
	if (p->url.https && !p->local)
		p->skip_rounds = DULL_ROUNDS - 1;
}

static void take_loading(struct place *p, struct probe *q)
{
	if (list_kind(p, q->kind)) {
		p->failures = 0;
		set_error(p, q->why);
		set_state(p, ENGINE_LOADING);
	}
	probe_release(q);
}

static void take_down(struct place *p, struct probe *q)
{
	bool may_pass = q->outcome == PROBE_SLOW || q->outcome == PROBE_FAILING;
	if (p->listed &&
	    !(may_pass && p->engine.state == ENGINE_UP && ++p->failures < FAILURES_MAX)) {
		set_error(p, q->why);
		set_state(p, ENGINE_DOWN);
		p->lacking = 0;
	}
	if (q->outcome == PROBE_REFUSED || q->outcome == PROBE_STRANGER) {
		p->found = ENGINE_NONE; /* what comes back may be something else */
		p->chained = false;
	}
	probe_release(q);
}

/* Something else answers at a place to discover at: look less and less often, it is nobody's
 * business. */
static void take_dull(struct place *p, struct probe *q)
{
	if (p->listed)
		return;
	p->skip_rounds = p->dull_looks < 4 ? (1u << p->dull_looks) - 1 : DULL_ROUNDS - 1;
	p->dull_looks++;
	if (q->outcome == PROBE_DENIED && p->seen != PROBE_DENIED)
		log_info("%s wants a key: configure it as a target to use it", p->url_text);
}

static void take_outcome(struct place *p, struct probe *q)
{
	enum probe_outcome outcome = q->outcome;
	switch (outcome) {
	case PROBE_ALIVE:
		take_alive(p, q);
		break;
	case PROBE_LOADING:
		take_loading(p, q);
		break;
	case PROBE_STRANGER:
	case PROBE_VALET:
	case PROBE_DENIED:
		take_dull(p, q);
		take_down(p, q);
		break;
	default:
		take_down(p, q);
		break;
	}
	if (outcome <= PROBE_SLOW)
		p->dull_looks = 0;
	p->seen = outcome;
}

/* A configured Valet is a gateway like any other; only discovering one would be a circle. */
static bool take_chained(struct place *p, struct probe *q)
{
	if (!p->target || q->outcome != PROBE_VALET)
		return false;
	p->found = ENGINE_OPENAI;
	p->chained = true;
	probe_release(q);
	p->busy = false;
	place_look(p);
	return true;
}

static void on_probed(struct probe *q)
{
	struct place *p = q->user;
	if (take_chained(p, q))
		return;
	p->busy = false;
	if (q->outcome != PROBE_ALIVE || q->unlisted)
		forget_requests(p);
	take_outcome(p, q);
	if (!p->looked) {
		p->looked = true;
		discovery_note_look(p->discovery);
	}
	place_expire(p);
	if (p->listed && p->discovery->looked)
		p->discovery->looked(p->discovery->user, &p->engine);
}

void place_look(struct place *p)
{
	struct discovery *d = p->discovery;
	if (p->busy || p->shadowed || p->broken)
		return;
	if (p->skip_rounds > 0) {
		p->skip_rounds--;
		return;
	}
	bool has_models = p->engine.models != &no_models;
	struct probe *q = &p->probes[has_models ? !p->current : 0];
	p->busy = true;
	q->last = p->engine.models;
	q->lacking = p->lacking;
	q->recheck = p->told == ENGINE_NONE && !p->chained;
	probe_start(q, d->loop, d->tls, &p->url, p->told != ENGINE_NONE ? p->told : p->found,
		    str_of(p->fields, p->fields_len), d->timeout_ms, on_probed);
}
