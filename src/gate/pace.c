/* pace.c - what answers teach about the speed of a place.
 *
 * Two straight lines: time to the first token = base + load * others + token * uncached tokens of the prompt, and time per token of the answer = out + out_load *
 * others. Each answer moves a line towards what was measured: the difference is shared out between its numbers by how much each had to do with it (normalised
 * least mean squares). A line that is bent (free places first, then a queue) is followed near the load of late, which is where the choice is made.
 *
 * Any thread; a number that two threads change at once may miss one of the changes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/choose.h"

#include <stddef.h>

#define SETTLED    16   /* one answer moves the line by a sixteenth once there were as many */
#define QUICK      6    /* in a row below half of the prediction: then by a half */
#define LEAST_CAP  1000 /* in the unit of the line: very short times may differ by more than themselves */
/* Weights that make the three features alike in size: a constant, others, tokens of the prompt by the hundred. */
#define X_BASE     16
#define LOAD_UNIT  16
#define X_LOAD(n)  (LOAD_UNIT * (int64_t)((n) < 64 ? (n) : 64))
#define TOKEN_UNIT 128
#define X_TOKEN(n) (((n) < 131072 ? (n) : 131072) / TOKEN_UNIT)

static uint32_t get(const _Atomic uint32_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void set(_Atomic uint32_t *n, int64_t value)
{
	atomic_store_explicit(n, value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value, memory_order_relaxed);
}

static void bump(_Atomic uint32_t *n)
{
	uint32_t old = get(n);
	if (old < UINT32_MAX)
		set(n, (int64_t)old + 1);
}

static int64_t limited(int64_t value, int64_t most)
{
	return value > most ? most : value < -most ? -most : value;
}

/* Of what was measured against what was predicted, the part that is believed. */
static int64_t believed(int64_t difference, int64_t predicted, uint32_t seen)
{
	int64_t most = predicted > LEAST_CAP ? predicted : LEAST_CAP;
	if (seen == 0)
		return difference;
	return limited(difference, seen < 4 ? 4 * most : most) / (seen < SETTLED ? (int64_t)seen + 1 : SETTLED);
}

/* One step of a line; `token` NULL: it has no such part. `token` is in thousandths of the others' unit. */
static void step(_Atomic uint32_t *base, _Atomic uint32_t *load, _Atomic uint32_t *token, int64_t by, uint32_t others, int64_t tokens)
{
	int64_t x_load = X_LOAD(others), x_token = token ? X_TOKEN(tokens) : 0;
	int64_t norm = X_BASE * X_BASE + x_load * x_load + x_token * x_token;
	set(base, get(base) + by * X_BASE * X_BASE / norm);
	if (x_load)
		set(load, get(load) + by * LOAD_UNIT * x_load / norm);
	if (x_token)
		set(token, get(token) + by * 1000 / TOKEN_UNIT * x_token / norm);
}

int64_t pace_predict(const struct pace *p, int64_t input_tokens, uint32_t others)
{
	if (!get(&p->seen))
		return 0;
	int64_t tokens = input_tokens > 0 && input_tokens < INT32_MAX ? input_tokens : 0;
	return 1 + get(&p->base_us) + (int64_t)get(&p->load_us) * (others < 65536 ? others : 65536) + (int64_t)get(&p->token_ns) * tokens / 1000;
}

void pace_first(struct pace *p, int64_t took_us, int64_t input_tokens, uint32_t others)
{
	uint32_t seen = get(&p->seen);
	int64_t tokens = input_tokens > 0 ? input_tokens : 0, took = took_us < 0 ? 0 : took_us < UINT32_MAX ? took_us : UINT32_MAX;
	int64_t predicted = pace_predict(p, tokens, others);
	int64_t by = believed(took - predicted, predicted, seen);
	if (seen < SETTLED || took >= predicted / 2)
		set(&p->quick, 0);
	else if (get(&p->quick) + 1 < QUICK)
		bump(&p->quick);
	else
		by = (took - predicted) / 2;
	step(&p->base_us, &p->load_us, &p->token_ns, by, others, tokens);
	bump(&p->seen);
}

/* A moving average in which one sample counts for no more than twice what it was. */
static void average(_Atomic uint32_t *of, int64_t sample, uint32_t seen)
{
	int64_t old = get(of);
	set(of, old + believed(sample - old, old, seen));
}

void pace_done(struct pace *p, int64_t first_us, int64_t took_us, int64_t output_tokens, uint32_t others)
{
	uint32_t done = get(&p->done);
	if (took_us <= 0)
		return;
	average(&p->service_ms, took_us / 1000, done);
	if (output_tokens > 1 && output_tokens < INT32_MAX && took_us > first_us && took_us < UINT32_MAX * INT64_C(1000)) {
		int64_t tokens = first_us > 0 ? output_tokens - 1 : output_tokens; /* the first one's time is the other line's */
		int64_t each_ns = limited((took_us - first_us) * 1000 / tokens, UINT32_MAX);
		int64_t predicted = get(&p->out_ns) + (int64_t)get(&p->out_load_ns) * others;
		bool known = get(&p->tokens_per_s) > 0;
		average(&p->tokens_per_s, tokens * 1000000 / (took_us - first_us) + 1, known ? done : 0);
		step(&p->out_ns, &p->out_load_ns, NULL, believed(each_ns - predicted, predicted, known ? done : 0), others, 0);
	}
	bump(&p->done);
}

void pace_forget(struct pace *p)
{
	_Atomic uint32_t *all[] = {&p->seen, &p->done, &p->base_us, &p->token_ns, &p->load_us, &p->out_ns, &p->out_load_ns, &p->tokens_per_s, &p->service_ms, &p->quick};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		set(all[i], 0);
}
