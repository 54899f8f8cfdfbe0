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

/* What a place has taught: times to the first token against load and length of the prompt, and the pace of answers. Any thread; each number by itself. All zero:
 * nothing is known. Moving averages of integers: after the first few, one answer changes them by a sixteenth of the difference, and counts no more than twice what was
 * predicted. */
struct pace {
	_Atomic uint32_t base_us;        /* to the first token of a short prompt on an idle target */
	_Atomic uint32_t token_ns;       /* more for each token of the prompt that is not cached */
	_Atomic uint32_t load_us;        /* more for each other request in flight */
	_Atomic uint32_t out_ns;         /* for each token of the answer, on an idle target */
	_Atomic uint32_t out_load_ns;    /* more for each other request in flight */
	_Atomic uint32_t tokens_per_s;   /* of output, of one request, under the load of late */
	_Atomic uint32_t service_ms;     /* of a whole request, under the load of late */
	_Atomic uint32_t seen;           /* first tokens so far */
	_Atomic uint32_t done;           /* whole answers so far */
	_Atomic uint32_t quick;          /* times to the first token in a row that were far below the prediction: it is out of date */
};
/* An answer's first token came. `input_tokens`: without those that were most likely cached. `others`: requests in flight beside it when it was sent. */
void pace_first(struct pace *p, int64_t took_us, int64_t input_tokens, uint32_t others);
/* An answer is complete. Both times from when it was sent; `first_us` 0 where there was no first token to be seen. */
void pace_done(struct pace *p, int64_t first_us, int64_t took_us, int64_t output_tokens, uint32_t others);
/* Predicted microseconds to the first token; 0 where nothing is known. */
int64_t pace_predict(const struct pace *p, int64_t input_tokens, uint32_t others);
/* It came back, or is another one now: to be learned afresh. */
void pace_forget(struct pace *p);

/* What a target has of a prompt. */
struct prefix_look {
	uint32_t blocks;            /* from the beginning */
	uint32_t since;             /* blocks that it was asked for since, about: the more, the less likely it still has them */
};

/* A place as it is offered to the choice. */
struct candidate {
	uint32_t taken, limit;      /* requests in flight, places (0: no limit) */
	uint32_t engine_waiting;    /* the engine's own queue, as it tells */
	uint32_t weight;            /* configured; normally 100 */
	bool usable;                /* up, not tried yet, serves the operation, allowed */
	bool down;                  /* usable, but known to be down or open: only where nothing else is */
	bool warm;                  /* the model is loaded there */
	struct prefix_look prefix;  /* what of the prompt it most likely has cached */
	const struct pace *pace;    /* NULL: nothing known */
};

struct choice_ask {
	enum strategy strategy;
	bool affinity;
	int64_t input_tokens;
	int64_t output_tokens;      /* most likely; 0: not known, taken as CHOOSE_OUTPUT */
	uint32_t blocks;            /* of the prompt, for affinity */
	uint32_t turn;              /* counts the requests for this model (at a worker, starting anywhere): breaks ties, drives round robin and weights */
};

#define CHOOSE_OUTPUT 128
#define CHOOSE_MOST   64 /* candidates that are looked at */

/* Index of the best candidate that has a free place; -1: none has; -2: none is usable at all.
 * capacity: the smallest predicted time to the first token and from there of the answer (measured speed of unequal GPUs, requests in flight, the engine's own
 * queue); a place that is not known yet counts like the best of those known, but each of its requests in flight like four, until it has answered; where nothing is
 * known at all, the smallest share of taken places. One request in 16 goes to an idle place that is not the best (in 64, where it is predicted to take over four
 * times as long), so that what was learned of it does not grow old. With affinity, a candidate that has at least a quarter of the prompt cached (and two blocks)
 * wins as long as its load is at most 1.25 times the mean of the usable ones (by places, where all have a limit) plus two; of several
 * the one with the most, then the one that has been asked for the least since, then the least loaded. */
int choose(const struct choice_ask *ask, const struct candidate *list, uint32_t count);

/* Of candidates that are all taken, the one at which the request is at home (queue.h): that has at least a quarter of the prompt cached (and two blocks), and most
 * of it; of several that have about as much always the same one, so that a beginning that many share is not cached everywhere. -1: none has so much, or all have.
 * *is_new: none has, but somebody should: the index is then of one that those who share this beginning and come after it can be sent to, once prefixes_note() was told. */
int choose_home(const uint64_t *hashes, uint32_t blocks, const struct candidate *list, uint32_t count, bool *is_new);

/* ---- prefix affinity: who has seen which beginning ---- */

#define PREFIX_BLOCK  512 /* bytes */
#define PREFIX_BLOCKS 64  /* of a prompt at most */

/* Hashes of the beginning of `bytes`, each over all before it; returns how many (whole blocks only). One pass. */
uint32_t prefix_hashes(const char *bytes, uint64_t len, uint64_t seed, uint64_t out[PREFIX_BLOCKS]);

/* Shared by all workers: a table of hashes with who has them; racy reads are harmless, a wrong answer costs a cache miss. */
struct prefixes;
#define PREFIX_ENTRIES 65536 /* 1.5 MiB */
#define PREFIX_TARGETS 64    /* targets with this index and larger ones are not remembered; and so many are looked at for one choice */
/* `entries`: rounded up to a power of two; 0: PREFIX_ENTRIES. 24 bytes each, allocated with the first note. */
struct prefixes *prefixes_new(uint32_t entries);
void prefixes_free(struct prefixes *p);
/* Notes that the target (by its index) has these blocks now. A block is remembered of the last four targets. */
void prefixes_note(struct prefixes *p, const uint64_t *hashes, uint32_t count, uint32_t target);
/* How many of the blocks each of targets[0..n) has, from the beginning, into out[0..n). */
void prefixes_look(const struct prefixes *p, const uint64_t *hashes, uint32_t count, const uint32_t *targets, uint32_t n, struct prefix_look *out);
/* The target has lost its cache (restarted, model dropped). */
void prefixes_forget(struct prefixes *p, uint32_t target);

#endif
