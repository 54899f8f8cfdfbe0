/* engine.h - the kinds of engines: what each serves, how one is recognised, and how its list of
 * models reads.
 *
 * Pure: answers in, facts out; no sockets, no clock. Answers come from programs that nobody vouches
 * for: every list has a ceiling, every text is checked, a missing field is fine and one of the
 * wrong type is ignored.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_ENGINE_H
#define VALET_DIALECT_ENGINE_H

#include "base/mem.h"
#include "base/str.h"
#include "dialect/operation.h"

enum engine_kind {
	ENGINE_OPENAI, /* anything that speaks OpenAI's API and is none of the others, clouds
			  included */
	ENGINE_VLLM,
	ENGINE_LLAMACPP,
	ENGINE_OLLAMA,
	ENGINE_LMSTUDIO,
	ENGINE_SGLANG,
	ENGINE_KINDS,
	ENGINE_NONE = ENGINE_KINDS, /* not known, or no engine at all */
};

/* How the watcher last found an engine. */
enum engine_state {
	ENGINE_PENDING, /* configured, not looked at yet */
	ENGINE_UP,
	ENGINE_LOADING, /* answers, but its model is not ready */
	ENGINE_DOWN,
};

struct engine_row {
	const char
		*name; /* as written in configuration, and in names given to discovered engines */
	const char *display; /* as shown to people */
	uint16_t port;       /* where it listens by default; 0 = nowhere in particular */
	uint32_t operations; /* OP_BIT() of each operation that it serves */
};

extern const struct engine_row engines[ENGINE_KINDS];

/* The kind with that configured name; ENGINE_NONE where there is none. */
enum engine_kind engine_find(struct str name);

/* Where things are below a base URL's path. OpenAI's routes hang on the path as it was given, or on
 * "/v1" where it is empty; the engine's own routes hang on the path without a last "/v1". Views
 * into `path`, or static. */
struct str engine_api_path(struct str path);
struct str engine_root_path(struct str path);

/* ---- questions: cheap requests that say what is at a URL; none of them generates ---- */

enum engine_ask {
	ASK_MODELS,         /* GET {api}/models */
	ASK_HEALTH,         /* GET /health */
	ASK_ROOT,           /* GET / */
	ASK_API_VERSION,    /* GET /api/version: Ollama */
	ASK_TAGS,           /* GET /api/tags: Ollama */
	ASK_PS,             /* GET /api/ps: Ollama */
	ASK_PROPS,          /* GET /props: llama.cpp */
	ASK_VERSION,        /* GET /version: vLLM */
	ASK_MODEL_INFO,     /* GET /get_model_info: SGLang */
	ASK_MODEL_INFO_NEW, /* GET /model_info: SGLang, newer name */
	ASK_LM_V1,          /* GET /api/v1/models: LM Studio */
	ASK_LM_V0,          /* GET /api/v0/models: LM Studio, older */
	ASK_METRICS,        /* GET /metrics: vLLM. How many requests it has */
	ASK_GET_LOAD,       /* GET /get_load: SGLang. The same */
	ASK_SLEEPING,       /* GET /is_sleeping: vLLM, where its sleep mode is on */
	ASK_COUNT,
	ASK_SHOW = ASK_COUNT, /* POST /api/show, one model each: Ollama. Not part of the evidence */
	ASK_ALL,
};
#define ASK_BIT(ask) (1u << (ask))

/* The path behind engine_root_path(); for ASK_MODELS behind engine_api_path(). */
struct str engine_ask_path(enum engine_ask ask);

/* One answer. status 0: none came, or it was not asked. Views; the asker owns the bytes. */
struct engine_answer {
	int status;
	bool valet;        /* its head says that it is a Valet, perhaps this one */
	struct str server; /* the Server field */
	struct str body;
};

struct engine_evidence {
	struct engine_answer answers[ASK_COUNT];
};

/* True if what answers is a Valet. */
bool engine_is_valet(const struct engine_evidence *e);
/* What kind it is, by what has been answered so far; ENGINE_NONE: nothing that serves models by
 * OpenAI's API. Not for a Valet. */
enum engine_kind engine_recognise(const struct engine_evidence *e);
/* A guess from the list of models and the Server field alone, to be confirmed by
 * engine_confirming() questions; ENGINE_NONE: none. */
enum engine_kind engine_guess(const struct engine_evidence *e);
/* ASK_BIT() of the questions whose answers tell a guessed kind from its imitators. */
uint32_t engine_confirming(enum engine_kind kind);
/* ASK_BIT() of what must be asked of an engine of a known kind for its state, its models and its load. */
uint32_t engine_routine(enum engine_kind kind);
/* The question whose answer is the list of models of that kind. */
enum engine_ask engine_list_ask(enum engine_kind kind);
/* True if an answer says "I am loading a model" (503). */
bool engine_says_loading(const struct engine_answer *a);
/* The version as the engine tells it, e.g. "0.6.4"; a view into the evidence; empty where it does
 * not. At most 64 printable bytes. */
struct str engine_version(const struct engine_evidence *e);

/* ---- lists of models ---- */

#define ENGINE_MODELS_MAX   10000
#define ENGINE_MODEL_ID_MAX 256 /* bytes */

/* Texts live in the arena of the list. */
struct engine_model {
	struct str id;       /* 1..ENGINE_MODEL_ID_MAX bytes of UTF-8 without control characters and
				double quotes */
	struct str owned_by; /* at most 64 such bytes; may be empty */
	int64_t context; /* tokens of prompt and answer that a request may have, as far as is known;
			    0 = unknown */
	int64_t context_max; /* what the model was made for; 0 = unknown. The engine may have been
				started with less */
	int64_t created;     /* seconds since 1970; 0 = unknown */
	bool shown;          /* Ollama: /api/show has been asked for this model */
	bool context_guessed; /* `context` is the maximum for want of better: the engine may have, or load it with, less */
};

/* Sorted by id (bytes), each id once. */
struct engine_models {
	struct engine_model *list;
	uint32_t count;
	uint32_t refused; /* entries left out, as far as counted: bad id, the same id again, beyond
			     ENGINE_MODELS_MAX */
};

/* True if the text is a list of models in OpenAI's shape: {"data":[…]}. */
bool engine_models_is_list(struct str body);
/* Whose the first entry is, and whether it says max_model_len. The name is a view, empty where
 * there is none. */
struct engine_owner {
	struct str name;
	bool max_model_len;
};
struct engine_owner engine_models_owner(struct str body);
/* Reads the answer to engine_list_ask(kind). False: it is not such a list (then `out` is empty).
 * `out` lives in `a`. */
bool engine_models_parse(enum engine_kind kind, struct str body, struct arena *a,
			 struct engine_models *out);
/* Adds what another answer of the same engine says of context windows; anything else in it is
 * ignored. `ask`: ASK_PROPS, ASK_PS, ASK_LM_V1, ASK_LM_V0. */
void engine_models_add(struct engine_models *models, enum engine_ask ask, struct str body);
/* The same from /api/show of one model; sets `shown`. */
void engine_model_add_show(struct engine_model *model, struct str body);
/* Fills what is still unknown from the last list of the same engine (a window seen while a model
 * was loaded, what /api/show said). NULL: none. */
void engine_models_keep(struct engine_models *models, const struct engine_models *last);
/* The same for dates. llama.cpp, vLLM and SGLang tell the present time as a model's date; without this their list would change with each
 * look. Not for Ollama, whose date says that a model is another one now. */
void engine_models_keep_dates(struct engine_models *models, const struct engine_models *last);
/* Last: where only the model's maximum is known, that is the context. */
void engine_models_finish(struct engine_models *models);
/* The entry of that id; NULL where there is none. */
struct engine_model *engine_models_find(const struct engine_models *models, struct str id);
/* True if both lists say the same (ids, windows, owners, dates). */
bool engine_models_same(const struct engine_models *a, const struct engine_models *b);

/* ---- load: places, requests, loaded models ---- */

#define ENGINE_LOADED_MAX  8
#define ENGINE_METRICS_MAX (1u << 20) /* bytes of an answer to ASK_METRICS */
#define ENGINE_COUNT_MAX   1000000000 /* a larger number is none */

/* Texts live in the arena of the reading. All 0: nothing is known. */
struct engine_load {
	uint32_t places;           /* requests that it works on at the same time; 0: it does not tell */
	bool counted;              /* `running` and `waiting` are its own words */
	uint32_t running, waiting; /* requests, whoever sent them */
	bool asleep;               /* it has put its models away, and takes no request until somebody wakes it: vLLM */
	bool loaded_known;         /* `loaded` is all that is in memory; else it does not tell, or there are more than ENGINE_LOADED_MAX */
	uint32_t loaded_count;
	struct str loaded[ENGINE_LOADED_MAX]; /* ids as in the list of models; each once, in the engine's order */
};

/* What the answers to the routine questions of that kind say; `models`: the list that was read from them. llama.cpp tells places and what is loaded,
 * Ollama and LM Studio what is loaded, vLLM and SGLang how many requests they have (what vLLM lists is in memory; that it does not tell). */
void engine_load_read(enum engine_kind kind, const struct engine_evidence *e, const struct engine_models *models, struct arena *a,
		      struct engine_load *out);
/* True if both have the same places and the same models in memory, in whatever order; requests do not count. */
bool engine_load_same(const struct engine_load *a, const struct engine_load *b);
/* True if it is known that the model is in memory. */
bool engine_load_has(const struct engine_load *load, struct str id);
/* Sums vllm:num_requests_running and _waiting of a text in Prometheus' format over all labels. Lines that cannot be read are passed over; false:
 * there is not one of each. */
bool engine_metrics_read(struct str text, uint32_t *running, uint32_t *waiting);
/* The same from SGLang's list of the loads of its parallel parts. False: it is not one, or a part cannot be read. */
bool engine_get_load_read(struct str text, uint32_t *running, uint32_t *waiting);

#endif
