/* sim.h - what the files of valet-sim share: options, models, workers, jobs, dialects and surfaces.
 *
 * One `struct sim` a process. Each worker runs a loop of its own; a connection and its jobs never
 * leave it. What workers share (slots, the queue, the prompt cache, faults, the log) stands in
 * `struct sim` under sim->lock, which is taken only where more than one worker runs (sim_lock()).
 *
 * A job is one request for an answer. Where nothing has to be waited for it lives on the stack of
 * the callback and is answered in one send; else job_keep() moves it to the heap until its answer
 * has ended or its client has left.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "answer.h"
#include "faults.h"
#include "pace.h"

#include "base/buf.h"
#include "base/json.h"
#include "http/server.h"

struct sim;
struct worker;
struct job;

/* ---- what was asked for on the command line ---- */

struct options {
	struct str host;
	uint16_t port;
	const struct dialect *dialect;
	struct str models; /* "a,b=ctx32768"; empty: from model_count */
	int64_t model_count;
	struct str model_prefix;
	int64_t slots; /* 0: no limit */
	double ttft_ms, prefill_tps, tokens_per_second;
	double load; /* each further running request slows all down by this share */
	int64_t tokens;
	int64_t cache_blocks;
	int64_t threads;
	uint64_t seed;
	bool echo, quiet;
	struct str api_key;
	struct fault_rule rules[FAULT_RULES_MAX]; /* of --fault */
	size_t rule_count;
};

enum options_result { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };
enum options_result options_read(struct options *o, int argc, char **argv);

/* ---- models ---- */

struct model {
	struct str name;
	struct str json; /* the name as a JSON string, quotes included */
	uint64_t hash;   /* of the name in lower case */
	int64_t context; /* tokens */
	int64_t longest; /* Ollama: what num_ctx may raise it to */
	int64_t loaded;  /* Ollama: the window that it is loaded with; 0: it is not; atomic */
	bool used;       /* has answered since the start; atomic */
};

void models_read(struct sim *sim);
void models_release(struct sim *sim);
/* The model of that name as the dialect compares names; NULL where there is none. */
const struct model *models_find(const struct sim *sim, struct str name);

/* ---- dialects ---- */

/* The shape of errors: OpenAI's (as the dialect bends it), Anthropic's, or that of the engine's own
 * API. */
enum shape { SHAPE_OPENAI, SHAPE_ANTHROPIC, SHAPE_NATIVE };

/* Why a request is refused. `text` is the sentence; the dialect adds its shape, its type and its
 * code. */
struct complaint {
	int status;
	enum shape shape;
	const char *type; /* OpenAI's word: invalid_request_error ... */
	const char *code; /* OpenAI's code or NULL */
	const char *param;
	struct str text;
	int64_t prompt_tokens, context; /* both set where the prompt does not fit */
};

struct request_line {
	enum http_method method;
	struct str path, query; /* as they stand */
	struct str rest; /* what the route's '*' stands for */
	enum shape shape;
};

/* A path that is answered. */
struct route {
	const char *method; /* NULL: any */
	const char *path;   /* ends in '*': any rest */
	const struct surface *surface; /* a call that generates; else: */
	void (*run)(struct worker *w, struct http_conn *c, const struct request_line *line);
};

enum id_style { ID_HEX, ID_LETTERS, ID_SMALL };

/* Where a stream tells its usage. */
enum usage_place {
	USAGE_ASKED,     /* in a chunk of its own, where it is asked for */
	USAGE_ALWAYS,    /* the same, unasked */
	USAGE_AT_FINISH, /* with the last finish reason, unasked */
	USAGE_IN_X_GROQ, /* there as well, inside x_groq; asked for: in its own chunk, too */
	USAGE_IN_EACH,   /* in every chunk, growing, where it is asked for */
};

/* One engine's way of speaking. */
struct dialect {
	const char *name;
	const char *server;      /* value of the Server field, or NULL */
	const char *fingerprint; /* system_fingerprint, or NULL: no such member */
	const char *owner;       /* owned_by */
	const struct route *routes; /* ends with a NULL path; looked at before the common ones */
	void (*error)(struct buf *out, const struct complaint *why);
	/* an entry of /v1/models */
	void (*list)(struct sim *sim, struct buf *out, const struct model *m);
	struct str choice_tail;   /* more members of a whole choice */
	struct str message_tail;  /* more members of a whole message */
	struct str answer_tail;   /* more members of a whole answer */
	enum id_style ids;
	bool early_head;     /* a stream's head goes out before the first token is there */
	bool usage_null;     /* "usage":null in the chunks before the one with usage */
	bool usage_details;  /* details even without a cache */
	bool no_details;     /* never any details */
	bool timings;        /* llama.cpp's timings */
	bool truncates;      /* too long a prompt is cut instead of refused */
	bool any_model;      /* a single model answers to every name */
	struct str name_prefix; /* that names may have in front */
	bool echoes_name;    /* the answer has the name that was asked for */
	bool counts_max;     /* prompt + max_tokens must fit in the context */
	bool free_case;      /* names: any case, ":latest" may be missing */
	bool ignores_max_completion;
	bool ignores_n;
	bool whole_tools;    /* a tool call comes in one delta */
	/* clouds */
	const char *base;    /* what paths begin with that need the key, beside /v1 */
	bool (*check)(struct job *j); /* of a chat's body. False: an error was sent */
	void (*usage_tail)(struct job *j, struct buf *out); /* more members of usage */
	const char *stop_word;   /* finish reason instead of stop */
	const char *window_word; /* and of length, where the context ended the answer */
	const char *broken_word; /* finish reason of an answer that failed midway, instead of an error event */
	bool error_chunk;        /* the error stands in a chunk beside an empty choice; a whole answer is an error with status 200 */
	struct str before_whole; /* what a body begins with, before its JSON */
	struct str comment;      /* what a stream begins with */
	enum usage_place usage_place;
	bool short_ids;          /* of tool calls: nine letters and digits */
	bool continues;          /* an assistant's message at the end is the beginning of the answer */
	bool continues_if_told;  /* the same, but only with continue_final_message */
	bool bare_tools;         /* calls have no index and an empty id, and the finish reason is stop */
};
extern const struct dialect dialect_vllm, dialect_llamacpp, dialect_ollama, dialect_openai,
	dialect_lmstudio, dialect_sglang, dialect_mistral, dialect_openrouter, dialect_together,
	dialect_groq, dialect_deepseek, dialect_gemini;
extern const struct dialect *const dialects[]; /* ends with NULL */

/* The lines of an answer's head: Content-Type, Server and what goes with it; built at the start. */
enum field_set { FIELDS_JSON, FIELDS_SSE, FIELDS_NDJSON, FIELDS_TEXT, FIELDS_METRICS, FIELDS_HTML,
	FIELDS_BYTES, FIELDS_COUNT };

/* ---- surfaces: the kinds of answers that are generated token by token ---- */

struct surface {
	const char *name;
	bool streams_by_default; /* Ollama's own API */
	enum field_set stream_fields;
	enum shape shape;       /* of errors */
	bool tools;             /* can call tools */
	/* Appends the whole answer. */
	void (*whole)(struct job *j, struct buf *out);
	/* What a stream holds before, for, and after the pieces of text; `close` has the finish,
	 * the usage and the end mark. */
	void (*open)(struct job *j, struct buf *out);
	void (*piece)(struct job *j, struct buf *out, uint32_t choice, struct str text);
	void (*close)(struct job *j, struct buf *out);
	/* An error in the middle of a stream. */
	void (*broken)(struct job *j, struct buf *out);
};
extern const struct surface surface_chat, surface_completions, surface_responses, surface_messages,
	surface_ollama_chat, surface_ollama_generate, surface_ollama_completions, surface_ollama_messages, surface_endless, surface_fixed;

/* ---- jobs ---- */

enum job_state { JOB_NEW, JOB_HELD, JOB_WAITING, JOB_PREFILL, JOB_DECODE, JOB_STUCK };
enum job_source { SOURCE_WORDS, SOURCE_TEXT, SOURCE_TOOL };

struct job {
	struct worker *worker;
	struct http_conn *conn; /* NULL: the client has left */
	const struct surface *surface;
	const struct model *model;
	struct str model_json; /* the name in the answer, quotes included */
	uint64_t hash;         /* of seed, model and prompt: all that looks random derives from it */
	struct pace pace;
	struct list link;      /* in the queue for slots */
	struct message grant;
	struct arena arena;    /* what must outlive the request's bytes */
	struct str text;       /* SOURCE_TEXT, SOURCE_TOOL: what is cut in pieces */
	struct str tool;       /* name of the tool, JSON */
	size_t text_at;
	struct fault fault;
	int64_t begun_us;      /* of the request */
	int64_t first_us;      /* when the first token is due */
	int64_t ttft_us, interval_us;
	uint64_t bytes;        /* of answer */
	uint32_t prompt_tokens, cached_tokens;
	uint32_t tokens;       /* that each choice will have */
	uint32_t made;         /* of these */
	uint32_t from;         /* words of the answer that the prompt has already: it is continued behind them */
	uint32_t choices;
	uint32_t sequence;     /* numbers of events */
	uint32_t kv_tokens;    /* counted in engine.kv_tokens */
	int64_t window;        /* Ollama: the context that it had; 0: the model's */
	uint16_t status;
	uint8_t state;         /* enum job_state */
	uint8_t source;        /* enum job_source */
	uint8_t top_logprobs;
	uint8_t fields;        /* enum field_set of a whole answer */
	bool granted;          /* under sim->lock: out of the queue, the message is on its way */
	bool on_heap : 1;
	bool has_slot : 1;
	bool stream : 1;
	bool usage : 1;        /* asked for in the stream */
	bool logprobs : 1;
	bool cut : 1;          /* ends by length */
	bool headed : 1;       /* the stream's head is out */
	bool opened : 1;
	bool aborted : 1;
	bool load : 1;         /* Ollama: only loads the model; unload: or drops it */
	bool unload : 1;
	bool faulted : 1;      /* the fault has done its work in this stream */
};

/* ---- workers ---- */

enum counter {
	COUNT_REQUESTS, COUNT_CALLS, COUNT_FINISHED, COUNT_ABORTED, COUNT_REFUSED, COUNT_FAULTS,
	COUNT_ACTIVE, COUNT_PROMPT, COUNT_CACHED, COUNT_GENERATED, COUNT_STOP, COUNT_LENGTH,
	COUNT_TTFT_US, COUNT_E2E_US, COUNT_BYTES_IN, COUNT_BYTES_OUT, COUNT_QUERIES, COUNT_HITS,
	COUNT_RELOADS,
	COUNT_ALL,
};
#define PATHS_MAX 64
struct path_count {
	const char *path;
	uint64_t count;
};

struct worker {
	struct sim *sim;
	struct loop loop;
	struct http_server server;
	struct listener listener;
	struct timer publish; /* tells the others how many connections are open */
	struct timer reopen; /* looks whether the listener may open again */
	struct pacer pacer;
	struct buf out;      /* an answer is composed here, HTTP_ROOM bytes from the front */
	struct buf scratch;
	struct json_want openai_wants[16], other_wants[16];
	struct fault fault;  /* of a call that is answered in one go, while it is answered */
	bool listening;
	uint32_t connections; /* as the others see them; atomic */
	uint64_t counts[COUNT_ALL];
	struct path_count paths[PATHS_MAX];
	int64_t last_abort_us;
	pthread_t thread;
};

static inline void worker_count(struct worker *w, enum counter which, int64_t n)
{
	__atomic_store_n(&w->counts[which], w->counts[which] + (uint64_t)n, __ATOMIC_RELAXED);
}

/* ---- the process ---- */

struct log_entry {
	uint64_t seq;
	uint64_t hash;
	const struct surface *surface;
	const struct model *model;
	int64_t begun_us, ended_us;
	uint32_t prompt_tokens, cached_tokens, completion_tokens;
	int64_t window;
	uint16_t status;
	uint8_t fault;
	bool stream, aborted;
};
#define LOG_ENTRIES 10000

struct engine {
	uint32_t running, waiting_count;
	struct list waiting; /* of struct job by link, in their order */
	int64_t kv_tokens;
	struct prompt_cache *cache;
};

struct sim {
	struct options options;
	const struct dialect *dialect;
	struct model *models;
	size_t model_count;
	uint32_t *model_table; /* open addressing, index + 1 */
	size_t model_mask;
	struct worker *workers;
	size_t worker_count;
	uint16_t port;
	struct buf fields[FIELDS_COUNT];
	int64_t started_us;
	int64_t refuse_until_ms; /* the listeners stay closed until then; atomic */
	pthread_mutex_t lock; /* covers what follows */
	struct engine engine;
	struct fault_rules rules;
	struct log_entry *log;
	uint64_t log_seq; /* of the next entry, from 1 */
	bool asleep;      /* vLLM's sleep mode; atomic */
	bool has_rules;   /* atomic, so that nobody locks where there are none */
};

static inline void sim_lock(struct sim *sim)
{
	if (sim->worker_count > 1)
		pthread_mutex_lock(&sim->lock);
}

static inline void sim_unlock(struct sim *sim)
{
	if (sim->worker_count > 1)
		pthread_mutex_unlock(&sim->lock);
}

static inline struct str sim_fields(const struct sim *sim, enum field_set set)
{
	return buf_str(&sim->fields[set]);
}

/* worker.c */
int worker_start(struct worker *w, struct sim *sim); /* 0, or the errno of what failed */
uint16_t worker_port(const struct worker *w);
void worker_stop(struct worker *w); /* on its thread, once its loop has ended */
void sim_refuse(struct sim *sim, int64_t seconds); /* closes all listeners; from any worker */
int64_t worker_now_us(const struct worker *w); /* as of the beginning of the loop's turn */
void worker_send(struct worker *w, struct http_conn *c, int status, enum field_set set,
		 struct str body);
/* The buffer for an answer: empty, with room before it for a frame. worker_composed() is what
 * stands in it since. */
struct buf *worker_compose(struct worker *w);
struct str worker_composed(struct worker *w);
/* Composes and sends an error. */
void worker_complain(struct worker *w, struct http_conn *c, const struct complaint *why);
void error_put(const struct sim *sim, struct buf *out, const struct complaint *why);

/* routes.c */
const struct route *route_find(const struct sim *sim, struct request_line *line,
			       bool *other_method);

/* request.c: reads a request into a job of which worker, conn and surface are set. False: an error
 * was sent. */
bool request_read(struct job *j);
/* dialect_ollama.c: what the request's window means there. `context`: the one that it asks for, or the model's; then the one that it gets. False: an error
 * was sent. */
bool ollama_fit(struct job *j, int64_t *context);
void request_wants_init(struct worker *w);
/* A header of the request that asks the simulator for something, by its name behind "x-sim-"; ptr
 * NULL if absent. */
struct str request_knob(const struct http_conn *c, struct str name);
/* continue.c: cuts the assistant's message off the end of the messages, and gives its text. False: there is none, nothing has changed. */
bool continue_read(struct job *j, struct str *messages, struct str *begun);
/* The words that the beginning has are made already. Once the answer is chosen. */
void continue_words(struct job *j, struct str begun);
/* For calls that do not generate: parses the body and finds the model. NULL: an error was sent. The
 * tree lives in `a`. */
const struct json *request_tree(struct worker *w, struct http_conn *c, struct arena *a,
				const struct model **model, enum shape shape);
void model_missing(struct worker *w, struct http_conn *c, struct str name, enum shape shape);
/* Text, the tool's name and arguments of a tool call, into the job's arena. */
bool tool_call_make(struct job *j, struct str tools, struct str choice, struct str messages,
		    bool forced);

/* engine.c: slots, the queue and time. The job may be gone after each of these. */
void engine_run(struct job *j);
void job_gone(struct job *j);  /* its client has left */
void job_end(struct job *j);   /* its answer is out, or given up: slot, log, memory */
struct job *job_keep(struct job *j);   /* moves it to the heap */
void job_stick(struct job *j); /* keeps it without doing anything until its client leaves */

/* stream.c */
/* Sends what is due, and goes on when more is. */
void stream_go(struct job *j);
/* Sends the head alone where the dialect does that. False: the connection is broken. */
bool stream_head(struct job *j);

/* openai.c: what other surfaces use of it */
/* The id of an answer, without its prefix. */
void id_put(const struct sim *sim, struct buf *out, uint64_t hash);
int64_t job_created(const struct job *j);
void job_text_put(struct job *j, struct buf *out, uint32_t choice); /* inside of a JSON string */
bool job_next_piece(struct job *j, uint32_t choice, struct str *piece);
void job_number_put(struct job *j, struct buf *out, int64_t n); /* of usage, as a fault bends it */
void json_inside(struct buf *out, struct str text); /* a JSON string without its quotes */

/* dialect_cloud.c: an answer that failed midway, in the words of a dialect with error_chunk or broken_word */
void cloud_broken_whole(struct buf *out);
void cloud_broken_chunk(const struct job *j, struct buf *out);

/* stats.c */
void stats_path(struct worker *w, const char *path);
void stats_job(struct job *j);
void stats_reset(struct sim *sim);
extern const struct route stats_routes[];
uint64_t stats_sum(const struct sim *sim, enum counter which);

/* routes of the other calls, and what all dialects have in common */
extern const struct route common_routes[];
void embeddings_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void rerank_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void moderations_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void transcriptions_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void speech_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void images_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void models_run(struct worker *w, struct http_conn *c, const struct request_line *line);
void model_run(struct worker *w, struct http_conn *c, const struct request_line *line);
#define VECTOR_DEFAULT 64
#define VECTOR_MAX     4096
/* A vector of length 1 that derives from the text. */
void vector_make(float *out, size_t dimensions, struct str text, uint64_t seed);

void base64_put(struct buf *out, const void *bytes, size_t len);

#endif
