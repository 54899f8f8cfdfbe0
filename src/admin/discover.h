/* discover.h - the watcher: looks for engines at given places again and again, and keeps the list
 * of those that are there.
 *
 * Places are the default ports of this host, "host[:port]" entries, and configured targets. All
 * runs on the loop's thread (control). The engines and all their texts are owned by the watcher and
 * change only inside turns of its loop: copy what must last.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_DISCOVER_H
#define VALET_ADMIN_DISCOVER_H

#include "dialect/engine.h"
#include "net/loop.h"
#include "net/tls.h"

#define DISCOVER_PLACES_MAX \
	256 /* default ports and "host[:port]" entries together (a host alone is five) */
#define DISCOVER_TARGETS_MAX 4096

struct engine {
	const char *name; /* unique; a configured one's own; a discovered one's is given ("ollama",
			     "vllm-2") and stays while it lives */
	const char *url;  /* "http://127.0.0.1:11434"; of a configured one as written */
	enum engine_kind kind; /* ENGINE_NONE: configured as "auto" and not recognised yet */
	enum engine_state state;
	bool configured; /* else discovered */
	const struct engine_models
		*models;     /* never NULL; kept while it is down until the grace time is over */
	const char *version; /* "" where not told */
	const char *error;   /* why it is down or loading; "" otherwise */
	int64_t since_us;    /* wall time of the last change of `state` */
	int64_t latency_ms;  /* how long the last look that found it alive took */
	struct engine_load load; /* by the last look that found it alive; texts as those of `models`. Its requests count as unknown while it is not up */
};

/* A configured target. Copied. */
struct discover_target {
	struct str name;
	struct str url;
	enum engine_kind kind; /* or ENGINE_NONE: find out */
	struct str fields; /* lines to send along: "authorization: Bearer …\r\n"; may be empty.
			      Wiped when freed, never logged */
};

struct discover_options {
	struct loop *loop;
	struct tls_client *tls;   /* may be NULL: https targets are down then */
	bool defaults;            /* look at the default ports of this host */
	const struct str *places; /* "host", "host:port", "[v6]:port", ":port"; wrong ones are
				     logged and left out */
	size_t place_count;
	const uint16_t *own_ports; /* ports on this host that Valet listens on: not looked at */
	size_t own_port_count;
	int64_t interval_ms; /* 0 = 5 s. What is up behind https and not on this machine, as clouds are, is looked at once in twelve */
	int64_t grace_ms;    /* how long a dead engine and its models stay listed; 0 = not at all */
	int64_t timeout_ms;  /* of one question; 0 = 2 s */
	/* Something changed: the set of engines, a kind, a state, a list of models, places, what is
	 * loaded. Once for all that changes together. May be NULL. */
	void (*changed)(void *user);
	/* The first look at every place is over (or nearly: not later than about 2.5 s). Once,
	 * after `changed`. May be NULL. */
	void (*ready)(void *user);
	/* A look at a listed engine is over, whatever it found: `e->load` has what it says of its requests, without a
	 * `changed` for them. Called before a `changed` that follows from the same look. It must not set, free or look. May be NULL. */
	void (*looked)(void *user, const struct engine *e);
	void *user;
};

struct discovery;

/* Copies the options and begins to look at once; `changed` and `ready` are not called from
 * inside. */
struct discovery *discovery_new(const struct discover_options *options);
/* Replaces the configured targets. One that was there already (same name, URL, kind and fields)
 * keeps its state; new ones are looked at at once. `changed` follows if the set has changed. */
void discovery_set_targets(struct discovery *d, const struct discover_target *targets, size_t n);
/* Replaces the places to look at, as in the options; engines at places that stay are kept. */
void discovery_set_places(struct discovery *d, bool defaults, const struct str *places, size_t n);
/* As in the options; for a reload. */
void discovery_set_times(struct discovery *d, int64_t interval_ms, int64_t grace_ms);
/* The engines, configured ones first in their order: pass NULL for the first; NULL after the
 * last. */
const struct engine *discovery_next(const struct discovery *d, const struct engine *after);
/* Stops everything; no callback comes any more. Call it while the loop still runs, or turn it once
 * afterwards, but not from inside `changed`, `ready` or `looked`. NULL is allowed. */
void discovery_free(struct discovery *d);

#endif
