/* catalog.h - what can be asked for and where: targets and models, as an immutable counted snapshot; and what lives on across snapshots.
 *
 * The control thread builds a catalog from the settings and the engines found, and publishes it by pointer; a request keeps the one it began
 * with. Live state (requests in flight, whether a target is up) hangs on `struct target_state`, kept by name in the registry, so that a
 * reload never resets it. A catalog owns copies of all its texts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_CATALOG_H
#define VALET_GATE_CATALOG_H

#include "base/mem.h"
#include "base/metrics.h"
#include "base/table.h"
#include "dialect/cloud.h"
#include "dialect/engine.h"
#include "dialect/ollama_window.h"
#include "gate/adapt.h"
#include "gate/choose.h"
#include "gate/health.h"
#include "gate/keyring.h"
#include "gate/price.h"
#include "gate/queue.h"
#include "gate/settings.h"

#include <stdatomic.h>

/* Live state of a target; lives as long as the registry. Workers change the counters, the control thread the rest. */
struct target_state {
	char *name;
	uint32_t index;            /* dense: workers keep what is theirs by it */
	struct places places;      /* taken: requests in flight, of all workers */
	struct health health;
	_Atomic uint32_t up;       /* enum engine_state of the watcher, as a number */
	_Atomic uint32_t engine_waiting; /* requests in the engine's own queue, as it last told */
	_Atomic uint32_t places_said; /* by the settings or the engine; 0: nobody says it, and places.limit is what was learned */
	_Atomic bool asleep;       /* the engine takes no request until somebody wakes it */
	struct adapt adapt;
} __attribute__((aligned(64)));

/* A stream's first token came from the target; an answer is complete. What that says of its places (adapt.h). Times in microseconds since it was sent. */
static inline void target_first_token(struct target_state *s, struct queue *q, int64_t first_us, uint32_t others, int64_t now_us)
{
	adapt_first(&s->adapt, &s->places, q, &(struct adapt_answer){.first_us = first_us, .others = others, .now_us = now_us});
}
static inline void target_answered(struct target_state *s, struct queue *q, int64_t first_us, int64_t took_us, int64_t output, uint32_t others, int64_t now_us)
{
	adapt_done(&s->adapt, &s->places, q, &(struct adapt_answer){.first_us = first_us, .took_us = took_us, .output = output, .others = others, .now_us = now_us});
}

/* What answers have taught about a model at a target; lives as long as the registry. Written by workers, each number by itself. */
struct learned {
	_Atomic uint32_t bytes_per_token;  /* of prompts, in 1/256; 0: not known yet */
	_Atomic uint32_t tokens_per_event; /* of streams, in 1/256; 0: not known yet */
	_Atomic uint32_t tokens_per_second; /* of one answer, the fastest lately; 0: not known yet */
	_Atomic bool warm;                 /* the engine says that it has the model loaded */
	_Atomic bool miscounts;            /* Ollama: its counts of prompts say nothing (OLLAMA_MISCOUNTS) */
	struct ollama_raised raised;       /* Ollama: the window that Valet has loaded it with */
	struct pace pace;
};

#define BYTES_PER_TOKEN (3 * 256) /* before anything is known of a model; in 1/256 */

static inline uint32_t bytes_per_token(const struct learned *l)
{
	uint32_t n = atomic_load_explicit(&l->bytes_per_token, memory_order_relaxed);
	return n ? n : BYTES_PER_TOKEN;
}

struct catalog_target {
	struct target_state *state;
	struct str name;
	enum engine_kind kind;
	uint32_t operations;     /* mask of OP_BIT() */
	struct str host;         /* NUL-terminated */
	uint16_t port;
	bool https;
	struct str ca_file;      /* empty: the system's only */
	struct str address;      /* "https host port ca_file": a worker makes new connections when it changes */
	struct str base_path;    /* what stands before "/chat/completions" */
	struct str host_line;    /* "host: gpu1:8000\r\n" */
	struct secret secret;
	struct target_timeouts timeouts; /* a place may have others */
	uint32_t max_concurrency; /* as configured; 0 = as the engine tells */
	int64_t num_ctx_max;     /* Ollama: a window may be raised to so many tokens; 0: none is */
	uint32_t weight;
	bool drain;              /* maintenance as the settings say; ask catalog_target_drained() */
	bool local;              /* on this network, not a cloud */
	enum cloud cloud;        /* whose quirks it has; CLOUD_NONE: an engine, or any server that speaks the same API */
};

/* One place where a model is served. */
struct catalog_place {
	const struct catalog_target *target;
	struct str model;        /* the engine's name of it */
	uint32_t series;         /* id in the metrics */
	struct learned *learned;
	struct target_timeouts timeouts; /* of the model, else of the target */
	int64_t context;         /* tokens that fit into its window, or into what Valet may raise it to; 0: not known */
	int64_t window;          /* that it has now, as it tells; 0: not known, though context_max may be */
	int64_t context_max;     /* tokens that the model was made for; 0: not known */
	struct price price;      /* known false: none, and no ceiling either */
	struct str lines;        /* the answer's fields that say who answered: ready lines */
};

struct catalog_model {
	struct str name;
	uint32_t id;             /* by name, as long as the registry lives; from 1 */
	enum strategy strategy;
	bool affinity;
	bool local_only;         /* never leaves for a cloud */
	bool resume;             /* streams that break off go on elsewhere */
	struct str json;         /* its object for /v1/models */
	struct catalog_place *places;
	uint32_t place_count;
	uint32_t operations;     /* of all its places */
	int64_t context;         /* tokens; 0 = unknown; the largest of its places */
	int64_t smallest_context; /* of its places, where they differ; 0: they do not */
	int64_t max_output;      /* tokens of an answer as the settings say; 0: not said */
	struct price dearest;    /* of all its places, each part by itself; known false: a place has none */
	struct price reference;  /* of a comparable model in the cloud */
	struct scope *scope;     /* NULL: no limits of its own */
	/* beyond its places, by policy */
	struct catalog_place *overflow;
	uint32_t overflow_count, overflow_when; /* when: enum overflow_when */
	int64_t overflow_wait_ms;
	enum overflow_order overflow_order;
	struct scope *overflow_scope; /* what all of it may cost; NULL: no budget */
};

struct catalog {
	_Atomic int refs;
	struct arena arena;
	struct catalog_target *targets;
	uint32_t target_count;
	struct catalog_model *models; /* sorted by name */
	uint32_t model_count;
	struct table names;      /* name or alias → struct catalog_model */
	struct str list_json;    /* the answer to GET /v1/models */
	/* from the settings: what workers need of them */
	struct str_list cors;
	struct str_list forward_headers; /* globs, in small letters */
	bool log_requests;
	bool guard;              /* every listener is on loopback: refuse names of other hosts */
	bool ready;              /* the first look at all places is over */
	struct keyring *keys;    /* one reference; NULL: there are none */
	struct books *books;     /* NULL: nothing is limited (tests) */
	struct scope *gateway;   /* NULL: no limits of its own */
	struct scope *overflow_scope; /* of the overflow of all models; NULL: no budget */
	bool keys_needed;        /* a request without a good key is refused */
	uint32_t attempts;
	int64_t heartbeat_ms, max_body, client_idle_ms;
	uint64_t max_answer;     /* bytes of an answer */
	bool breaker;            /* targets that fail are left alone */
	int64_t queue_wait_ms;   /* a request waits for a place at most so long */
	int64_t queue_beat_ms;   /* a stream that has waited so long begins to get comments */
};

/* What lives on: states of targets and ids of series, by name. The control thread's, but target_state's counters. */
struct registry;
struct registry *registry_new(void);
void registry_free(struct registry *r);
/* For /metrics (control thread). */
uint32_t registry_series_count(const struct registry *r);
bool registry_series_labels(void *registry, uint32_t id, struct series_labels *out);

/* An engine as the watcher sees it; the builder copies what it needs. */
struct catalog_engine {
	struct str name;
	struct str url;
	enum engine_kind kind;   /* ENGINE_NONE: not known yet; taken as generic */
	uint32_t up;             /* enum engine_state */
	uint32_t places;         /* as the engine tells; 0: it does not */
	const struct engine_models *models;
	const struct target_conf *conf; /* NULL: discovered */
};

/* Builds a snapshot with one reference. Models whose targets are all without an entry in `engines` are left out, except configured
 * ones, which stay listed. `now_s`: for `created` where an engine gives none. */
struct catalog *catalog_build(struct registry *r, const struct settings *s, const struct catalog_engine *engines, size_t n,
			      int64_t now_s);
/* Adds what governs requests: keys (takes over one reference; NULL: none), prices, limits of models and of the gateway, whose scopes are made in the
 * books. Before it is published. */
void catalog_govern(struct catalog *c, const struct settings *s, struct books *books, struct keyring *keys);
struct catalog *catalog_ref(struct catalog *c);
void catalog_unref(struct catalog *c); /* any thread; NULL is allowed */

/* In maintenance, by the settings or by the operator: it gets no new requests, whatever else holds. */
static inline bool catalog_target_drained(const struct catalog_target *t)
{
	return t->drain || health_drained(&t->state->health);
}
/* By name; NULL: none. */
const struct catalog_target *catalog_target(const struct catalog *c, struct str name);
/* There are targets, and all of them are in maintenance. */
bool catalog_drained(const struct catalog *c);

/* By name or alias; NULL: none. */
const struct catalog_model *catalog_model(const struct catalog *c, struct str name);
/* Appends up to three names or aliases that are near `name`, of as many models, as "; did you mean 'a' or 'b'?"; nothing where none is. */
void catalog_near(const struct catalog *c, struct str name, struct buf *out);

#endif
