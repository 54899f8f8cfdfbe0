/* native.c - chats at Ollama through its own API, and whether what came back was given to all of the prompt; the contract is in native.h. Worker thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/native.h"

#include "base/clock.h"
#include "dialect/walk.h"
#include "http/sse.h"
#include "proxy/worker.h"

/* The member that holds the prompt. */
static struct str prompt_member(const struct request *r)
{
	switch (r->op->op) {
	case OP_COMPLETIONS:
		return STR("prompt");
	case OP_EMBEDDINGS:
	case OP_RESPONSES:
		return STR("input");
	default:
		return STR("messages");
	}
}

static const struct step *fail_with(struct request *r, int64_t low, int64_t window)
{
	if (r->op->op == OP_MESSAGES) /* the sentence by which clients of this API know it */
		return request_failf(r, ERROR_CONTEXT_LENGTH_EXCEEDED, "prompt is too long: %lld tokens > %lld maximum", (long long)low, (long long)window);
	return request_failf(r, ERROR_CONTEXT_LENGTH_EXCEEDED, "This model's maximum context length is %lld tokens, and the %s has at least %lld",
			     (long long)window, r->op->op == OP_EMBEDDINGS ? "input" : "prompt", (long long)low);
}

static void say_too_long(struct request *r)
{
	const struct native *n = r->native;
	if (n && n->window > 0 && n->low.largest > n->window)
		fail_with(r, n->low.largest, n->window);
	else
		request_failf(r, ERROR_CONTEXT_LENGTH_EXCEEDED, "This model's maximum context length at target '%.*s' is exceeded: the prompt does not fit into its window",
			      STR_ARG(request_attempt(r)->place->target->name));
}

const struct step *native_too_long(struct request *r)
{
	if (!r->error)
		say_too_long(r);
	r->error_param = prompt_member(r);
	request_attempt(r)->error = r->error;
	request_attempt(r)->outcome = HEALTH_GOOD;
	request_end_attempt(r, false);
	buf_clear(&r->hold);
	return route_goes_beyond_window(r) ? STEP_ROUTE : STEP_FAIL;
}

static const struct step *goes_nowhere(struct request *r, int64_t low, int64_t window)
{
	fail_with(r, low, window);
	return native_too_long(r);
}

/* ---- chats ---- */

static const struct step *begin_chat(struct request *r, const struct catalog_place *p, int64_t now_s)
{
	struct ollama_low low = {.inputs = 1};
	if (r->bytes_in > OLLAMA_SURE_WINDOW)
		low = ollama_input_low(OP_CHAT, r->conn->body);
	int64_t needed = ollama_tokens_needed(r->input_guess, r->output_cap ? r->output_cap : r->facts.output);
	int64_t way = ollama_way(&p->learned->raised, p->window, p->context_max, p->target->num_ctx_max, needed, low.tokens, now_s);
	if (way == OLLAMA_NOWHERE)
		return goes_nowhere(r, low.tokens, p->context);
	if (way == 0 && low.tokens == 0)
		return NULL;
	struct native *n = arena_zero(&r->arena, sizeof(*n));
	*n = (struct native){.spoken = way != 0, .num_ctx = way > 0 ? way : 0, .window = way > 0 ? way : p->window, .low = low};
	n->about = (struct ollama_chat_about){.id = arena_printf(&r->arena, "chatcmpl-%s", r->id + 4), .model = r->facts.model, .created = clock_wall_us() / 1000000,
					      .usage = r->facts.stream};
	r->native = n;
	return NULL;
}

/* ---- what only /v1 takes ---- */

/* An encoder is never given more than it was made for. */
static int64_t window_of(const struct request *r, const struct catalog_place *p, int64_t now_s)
{
	int64_t window = ollama_plain_window(&p->learned->raised, p->window, now_s);
	if (r->op->op == OP_EMBEDDINGS && p->context_max > 0 && (window <= 0 || p->context_max < window))
		return p->context_max;
	return window;
}

static const struct step *begin_other(struct request *r, const struct catalog_place *p, int64_t now_s)
{
	int64_t window = window_of(r, p, now_s), sure = window > 0 && window < OLLAMA_SURE_WINDOW ? window : OLLAMA_SURE_WINDOW;
	if (r->op->op == OP_EMBEDDINGS && window <= 0)
		sure = OLLAMA_SURE_INPUT;
	if (r->bytes_in <= (uint64_t)sure)
		return NULL;
	struct ollama_low low = ollama_input_low(r->op->op, r->conn->body);
	if (low.tokens == 0)
		return NULL;
	if (ollama_num_ctx(window, p->context_max, 0, low.largest, low.largest) == OLLAMA_NOWHERE)
		return goes_nowhere(r, low.largest, window > 0 ? window : p->context_max);
	r->native = arena_zero(&r->arena, sizeof(*r->native));
	*r->native = (struct native){.window = window, .low = low};
	return NULL;
}

const struct step *native_begin(struct request *r)
{
	const struct catalog_place *p = request_attempt(r)->place;
	r->native = NULL;
	if (p->target->kind != ENGINE_OLLAMA || p->target->cloud != CLOUD_NONE)
		return NULL;
	int64_t now_s = loop_now_ms(&r->worker->loop) / 1000;
	switch (r->op->op) {
	case OP_CHAT:
		return begin_chat(r, p, now_s);
	case OP_COMPLETIONS:
	case OP_EMBEDDINGS:
	case OP_RESPONSES:
	case OP_MESSAGES:
		return begin_other(r, p, now_s);
	default:
		return NULL;
	}
}

/* ---- after ---- */

static bool was_cut(struct request *r, int64_t told)
{
	struct learned *l = request_attempt(r)->place->learned;
	const struct native *n = r->native;
	if (r->op->op == OP_EMBEDDINGS || n->low.inputs > 1)
		return ollama_judge_inputs(told, n->window, &n->low) == OLLAMA_CUT;
	if (atomic_load_explicit(&l->miscounts, memory_order_relaxed))
		return false;
	int64_t bound = r->input_bound > n->low.tokens ? r->input_bound : n->low.tokens; /* it leaves out what looks like a picture */
	enum ollama_verdict v = ollama_judge(told, n->window, n->low.tokens, bound);
	if (v == OLLAMA_MISCOUNTS)
		atomic_store_explicit(&l->miscounts, true, memory_order_relaxed);
	return v == OLLAMA_CUT;
}

bool native_was_cut(struct request *r)
{
	return r->native && r->usage.known && was_cut(r, r->usage.input);
}

/* /v1/messages: what message_start tells is a guess by the prompt's length; message_delta tells what was counted, or 0 or nothing. */
bool native_event_was_cut(struct request *r, struct str event)
{
	struct usage said = {0};
	if (r->op->op != OP_MESSAGES)
		return native_was_cut(r);
	if (!walk_is(walk_get(str_trim(sse_data(event)), STR("type")), STR("message_delta")))
		return false;
	tap_event(event, &said);
	return said.known && was_cut(r, said.input);
}
