/* choose.h - which of a model's places a request should go to: strategies, warm models, prefix affinity, predicted time to the first token. Pure but for the
 * numbers that answers have taught (atomics).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_CHOOSE_H
#define VALET_GATE_CHOOSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum strategy { STRATEGY_CAPACITY, STRATEGY_ROUND_ROBIN, STRATEGY_LEAST_BUSY, STRATEGY_WEIGHTED, STRATEGY_WARM_FIRST, STRATEGY_COUNT };
extern const char *const strategy_names[STRATEGY_COUNT + 1]; /* "capacity", "round_robin", "least_busy", "weighted", "warm_first" */

/* What a place has taught: times to the first token against load and length of the prompt, and the pace of answers. Any thread; each number by itself. */
struct pace {
	_Atomic uint32_t base_us;        /* to the first token of a short prompt on an idle target; moving average */
	_Atomic uint32_t token_ns;       /* more for each token of the prompt that is not cached */
	_Atomic uint32_t load_us;        /* more for each other request in flight */
	_Atomic uint32_t tokens_per_s;   /* of output, of one request */
	_Atomic uint32_t service_ms;     /* of a whole request */
	_Atomic uint32_t seen;           /* answers so far */
};
/* An answer's first token came. `others`: requests in flight beside it when it was sent. */
void pace_first(struct pace *p, int64_t took_us, int64_t input_tokens, uint32_t others);
void pace_done(struct pace *p, int64_t took_us, int64_t output_tokens);
/* Predicted microseconds to the first token; 0 where nothing is known. */
int64_t pace_predict(const struct pace *p, int64_t input_tokens, uint32_t others);

/* A place as it is offered to the choice. */
struct candidate {
	uint32_t taken, limit;      /* requests in flight, places (0: no limit) */
	uint32_t engine_waiting;    /* the engine's own queue, as it tells */
	uint32_t weight;            /* configured; normally 100 */
	bool usable;                /* up, not tried yet, serves the operation, allowed */
	bool down;                  /* usable, but known to be down or open: only where nothing else is */
	bool warm;                  /* the model is loaded there */
	uint32_t prefix;            /* blocks of the prompt that it most likely has cached */
	const struct pace *pace;    /* NULL: nothing known */
};

struct choice_ask {
	enum strategy strategy;
	bool affinity;
	int64_t input_tokens;
	uint32_t blocks;            /* of the prompt, for affinity */
	uint32_t turn;              /* counts requests: breaks ties, drives round robin */
};

/* Index of the best candidate that has a free place; -1: none has; -2: none is usable at all.
 * capacity: the smallest predicted time to the first token (free places, measured speed of unequal GPUs, the engine's own queue); where nothing is known
 * yet, the smallest share of taken places. With affinity, a candidate that has at least a quarter of the prompt cached (and two blocks) wins as long as
 * its load is at most 1.25 times the mean of the usable ones plus one. */
int choose(const struct choice_ask *ask, const struct candidate *list, uint32_t count);

/* ---- prefix affinity: who has seen which beginning ---- */

#define PREFIX_BLOCK  512 /* bytes */
#define PREFIX_BLOCKS 64  /* of a prompt at most */

/* Hashes of the beginning of `bytes`, each over all before it; returns how many (whole blocks only). One pass. */
uint32_t prefix_hashes(const char *bytes, uint64_t len, uint64_t seed, uint64_t out[PREFIX_BLOCKS]);

/* Shared by all workers: a table of hashes with who has them; racy reads are harmless, a wrong answer costs a cache miss. */
struct prefixes;
struct prefixes *prefixes_new(uint32_t entries); /* rounded up to a power of two */
void prefixes_free(struct prefixes *p);
/* Notes that the target has these blocks now. */
void prefixes_note(struct prefixes *p, const uint64_t *hashes, uint32_t count, uint32_t target);
/* How many of the blocks each of targets[0..n) has, from the beginning, into out[0..n). */
void prefixes_look(const struct prefixes *p, const uint64_t *hashes, uint32_t count, const uint32_t *targets, uint32_t n, uint32_t *out);
/* The target has lost its cache (restarted, model dropped). */
void prefixes_forget(struct prefixes *p, uint32_t target);

#endif
