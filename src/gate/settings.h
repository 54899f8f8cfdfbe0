/* settings.h - what valet.yaml says: structs, tables, loading.
 *
 * Settings are immutable after loading and may be read from any thread; whoever loaded them frees
 * them. Loading blocks (files). All texts but the views of a `struct url` are also NUL-terminated;
 * they live as long as the settings.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_SETTINGS_H
#define VALET_GATE_SETTINGS_H

#include "base/field.h"
#include "base/log.h"
#include "base/secret.h"
#include "dialect/cloud.h"
#include "dialect/engine.h"
#include "http/url.h"

enum auth_mode { AUTH_KEYS, AUTH_OFF };

/* In the order of their names: engines, then clouds. */
enum target_kind {
	TARGET_AUTO,
	TARGET_VLLM,
	TARGET_LLAMACPP,
	TARGET_OLLAMA,
	TARGET_LMSTUDIO,
	TARGET_SGLANG,
	TARGET_OPENAI, /* at api.openai.com the cloud, elsewhere any server that speaks its API */
	TARGET_MISTRAL,
	TARGET_OPENROUTER,
	TARGET_TOGETHER,
	TARGET_GROQ,
	TARGET_DEEPSEEK,
	TARGET_GEMINI,
	TARGET_OPENAI_COMPATIBLE, /* any other cloud that speaks OpenAI's API */
	TARGET_KINDS,
};

/* Where to listen (a numeric host), or where to look for engines (any host). */
struct settings_address {
	struct str text; /* as written */
	struct str host; /* no brackets; where we listen, "localhost" and "*" are numbers already */
	uint16_t port;   /* `discover`: 0 where none was given (look at the usual ports) */
	bool loopback;
};

struct settings_addresses {
	struct settings_address *items;
	size_t count;
};

struct settings_log {
	enum log_level level;
	enum log_format format;
	struct str file; /* empty: stderr */
	bool requests;   /* a line for each request */
};

struct settings_timeouts {
	int64_t connect_ms, first_byte_ms, idle_ms, total_ms; /* of a target */
	int64_t heartbeat_ms;                                 /* 0: off */
	int64_t client_idle_ms, drain_ms;
};

struct settings_ceilings {
	int64_t max_body;        /* bytes of a request's body */
	int64_t max_answer;      /* bytes of an answer's; 0: no ceiling */
	int64_t max_connections; /* of clients, all workers together */
};

/* Which models of an engine are listed, and under which names. */
struct target_models {
	struct str_list include; /* globs on the engine's names; none: all */
	struct str_list exclude; /* globs; wins over include */
	struct str_map rename;   /* engine's name → public name */
};

/* Time-outs of one target; after loading none is 0: what was not given is filled from
 * settings.timeouts. */
struct target_timeouts {
	int64_t connect_ms, first_byte_ms, idle_ms, total_ms;
};

/* What a scope may use: the gateway, or one model. */
struct limits_conf {
	int64_t rpm, tpm, concurrency; /* requests and tokens a minute; requests at a time; 0: no limit */
	struct str_list budgets;       /* each passes budget_parse(); no two of one unit and period */
	bool soft;
};

/* Nano-dollars for a million tokens. `input` MONEY_NONE: there is no price here; else `output` is given too, and
 * `cached`, where it was not given, is MONEY_NONE: the same as `input`. */
struct price_conf {
	int64_t input, output, cached;
};

/* Both given, or `kwh` MONEY_NONE and `watts` 0. */
struct electricity_conf {
	int64_t kwh; /* nano-dollars */
	int64_t watts;
};

struct ceiling_price_conf {
	int64_t input, output; /* as in price_conf */
};

struct prices_conf {
	struct price_conf local;
	struct electricity_conf electricity;
	struct ceiling_price_conf ceiling;
};

/* In the order of their names: auto, ntfy, discord, slack, json. */
enum webhook_kind { WEBHOOK_AUTO, WEBHOOK_NTFY, WEBHOOK_DISCORD, WEBHOOK_SLACK, WEBHOOK_JSON };

struct webhook_conf {
	struct secret url; /* off: none; else an http:// or https:// URL, perhaps with a query */
	enum webhook_kind kind;
};

/* What keys on probation may do, besides their own limits. */
struct probation_conf {
	bool new_keys;           /* new keys begin on it */
	struct str_list budgets; /* as in limits_conf */
	int64_t rpm;             /* 0: no limit */
};

struct target_conf {
	struct str name;
	struct str url_text; /* of a cloud that was given none: its usual base URL */
	struct url url; /* views into url_text */
	enum target_kind kind;
	struct secret secret;
	struct target_models models;
	int64_t max_concurrency; /* places; 0: as the engine tells, else learned */
	int64_t num_ctx_max;     /* Ollama: tokens of window that a model may be loaded with for a long prompt; 0: as the engine has it */
	int64_t weight;          /* 1 to 1000, normally 100: its share with STRATEGY_WEIGHTED */
	bool drain;              /* maintenance: gets no new requests */
	struct target_timeouts timeouts;
	struct str ca_file; /* empty: the system's CAs only */
	struct price_conf price;
};

/* How a target is chosen where nothing else is said. */
struct routing_conf {
	int strategy;  /* enum strategy (gate/choose.h) */
	bool affinity; /* what shares a long beginning goes to where that is cached */
	bool breaker;  /* a target that fails again and again is left alone for a while */
};

/* Requests that wait for a place. */
struct queue_conf {
	int64_t max_wait_ms;        /* 0: none waits */
	int64_t heartbeat_after_ms; /* a stream that has waited so long begins to get comments */
	int64_t total, per_key;     /* requests that may wait */
	int64_t age_ms;             /* after which batch counts as interactive */
	int64_t starve_ms;          /* requests for what is loaded go first for so long at most */
};

/* When a request goes beyond the targets of its model; bits of overflow_conf.when. */
enum overflow_when {
	OVERFLOW_WAIT = 1 << 0,    /* it would wait longer, or has waited longer, than wait_ms */
	OVERFLOW_CONTEXT = 1 << 1, /* it does not fit into the window of any of them */
	OVERFLOW_DOWN = 1 << 2,    /* none of them is up */
	OVERFLOW_ALWAYS = 1 << 3,
};

/* In the order of their names: listed, round_robin, cheapest. */
enum overflow_order { OVERFLOW_LISTED, OVERFLOW_ROUND_ROBIN, OVERFLOW_CHEAPEST };

/* One place where a configured model is served. */
struct model_target {
	struct str target; /* a target's name */
	struct str model;  /* the engine's name of the model; empty: the same as the public one */
	size_t index;      /* of the target in settings.targets */
};

struct overflow_conf {
	struct str_list to;     /* as written: "target" or "target/model there" */
	struct str_list whens;  /* as written */
	struct str_list budgets; /* what all of it may cost; each passes budget_parse(); no two of one unit and period */
	int64_t wait_ms;
	enum overflow_order order;
	/* what was made of them by loading */
	struct model_target *places; /* of `to`, in its order */
	size_t place_count;          /* 0: there is no overflow */
	uint32_t when;               /* enum overflow_when */
};

struct model_conf {
	struct str name;
	struct str_list aliases;
	struct model_target *targets; /* best first; none: every target that lists the model */
	size_t target_count;
	struct limits_conf limits;
	struct price_conf price;
	int64_t max_output; /* tokens; 0: unknown */
	int64_t context;    /* tokens; 0: as learned */
	bool local_only;    /* never leaves for a cloud */
	bool resume;        /* a stream that breaks off goes on elsewhere */
	/* What holds for it: its own, or where it has none what settings.routing and settings.overflow say. Of the latter without its budgets, which
	 * hold for the overflow of all models together, and without what the model may not or need not go to: clouds where it is local_only, and
	 * targets that serve it anyway. */
	int strategy; /* enum strategy (gate/choose.h) */
	bool affinity;
	struct overflow_conf overflow;
	bool own_overflow; /* overflow stands in the model itself */
	struct target_timeouts timeouts; /* 0: as its target says; connect_ms is never given */
};

struct settings {
	struct arena arena; /* owns all below */
	struct str file;    /* empty: no file */

	struct str_list listen_texts;
	struct settings_addresses listen;
	struct str admin_listen_text;
	struct settings_address admin_listen; /* text empty: off */
	enum auth_mode auth;
	int64_t workers;                      /* 0: by number of cores, at most 4 */
	struct str_list cors;                 /* globs of origins ("*": all); none: off */
	struct str_list forward_headers;      /* globs, of further headers that engines get */
	bool discovery;
	struct str_list discover_texts;
	struct settings_addresses discover;
	int64_t discovery_interval_ms, discovery_grace_ms;
	struct settings_log log;
	struct settings_timeouts timeouts;
	struct settings_ceilings ceilings;
	int64_t attempts; /* at most, for a request */
	struct target_conf *targets;
	size_t target_count;
	struct model_conf *models;
	size_t model_count;
	struct str time_zone; /* empty: the system's. Read once, at the start */
	struct str state;     /* folder of keys and books; empty: where state_folder() looks */
	struct limits_conf limits; /* of the whole gateway */
	struct prices_conf prices;
	struct webhook_conf webhook;
	struct probation_conf probation;
	int64_t journal_max; /* bytes */
	struct routing_conf routing;
	struct queue_conf queue;
	struct overflow_conf overflow; /* of all models that have none of their own; its budgets hold for all overflow */
};

extern const struct field_table settings_table;
extern const char *const target_kind_names[]; /* by enum target_kind; ends with NULL */
#define OVERFLOW_WHENS 4
extern const char *const overflow_when_names[OVERFLOW_WHENS]; /* by the number of the bit in enum overflow_when */
extern const char *const overflow_order_names[]; /* by enum overflow_order; ends with NULL */
extern const char *const webhook_kind_names[]; /* by enum webhook_kind; ends with NULL */

/* A top-level setting given on the command line; replaces the file's. The same name again makes a
 * list. */
struct settings_override {
	const char *name;  /* "listen" */
	const char *value; /* "0.0.0.0:9300" */
};

/* Loads `path`, or where it is NULL the first of $VALET_CONFIG, ./valet.yaml and
 * /etc/valet/valet.yaml that there is, else nothing but the standards. `over` may be NULL. Problems
 * (and warnings, also on success) are appended to `report`, a line each: `valet.yaml:12:7:
 * targets[1].url: expected …`. False: *out is NULL, `report` has at least one line. */
bool settings_load(const char *path, const struct settings_override *over, size_t over_count,
		   struct settings **out, struct buf *report) __attribute__((warn_unused_result));
/* The same from a text called `file` (empty: no file), with its problems left in `r` (whose arena
 * the caller gives). Returns NULL where r->errors is not 0. */
struct settings *settings_parse(struct str text, struct str file,
				const struct settings_override *over, size_t over_count,
				struct field_reader *r) __attribute__((warn_unused_result));
/* The file that settings_load() would take; NULL: none. Static or from the environment. */
const char *settings_find(const char *path);
/* Reads the file; false and `why` (without the file's name) where that fails. */
bool settings_read_file(const char *path, struct buf *text, struct buf *why)
	__attribute__((warn_unused_result));

/* What holds without a file. */
struct settings *settings_defaults(void);
/* Wipes the secrets. NULL is allowed. */
void settings_free(struct settings *s);

/* What the books understand (gate/books.h). */
struct limits;
struct limits settings_limits(const struct limits_conf *conf);
struct limits settings_probation(const struct probation_conf *conf);

/* The kind of engine that a target's kind means: ENGINE_OPENAI for all clouds, ENGINE_NONE for TARGET_AUTO. */
enum engine_kind target_engine(enum target_kind kind);
/* The usual base URL of a cloud's API; NULL: that kind has none. */
const char *target_usual_url(enum target_kind kind);
/* The cloud whose quirks hold there, by its kind; of TARGET_OPENAI only at api.openai.com. Clouds want a secret. */
enum cloud target_cloud(const struct target_conf *target);
/* Whether what is sent there leaves one's own network: a cloud by its kind, or any address that price_is_local() does not take for one's own. */
bool target_is_cloud(const struct target_conf *target);

/* Whether a target's model is listed, by the engine's name; and the name it is listed under. */
bool target_lists(const struct target_conf *target, struct str engine_name);
struct str target_public_name(const struct target_conf *target, struct str engine_name);

#endif
