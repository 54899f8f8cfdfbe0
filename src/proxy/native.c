/* native.c - see native.h. Worker thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/native.h"

#include "base/clock.h"
#include "proxy/worker.h"

const struct step *native_too_long(struct request *r)
{
	if (!r->error)
		request_failf(r, ERROR_CONTEXT_LENGTH_EXCEEDED, "This model's maximum context length at target '%.*s' is exceeded: the prompt does not fit into its window",
			      STR_ARG(request_attempt(r)->place->target->name));
	r->error_param = STR("messages");
	request_attempt(r)->error = r->error;
	request_attempt(r)->outcome = HEALTH_GOOD;
	request_end_attempt(r, false);
	buf_clear(&r->hold);
	if (!r->committed && !r->overflow && (r->model->overflow_when & OVERFLOW_CONTEXT) && r->model->overflow_count && request_may_retry(r)) {
		r->too_long = true;
		return STEP_ROUTE;
	}
	return STEP_FAIL;
}

static const struct step *goes_nowhere(struct request *r, const struct catalog_place *p, int64_t low)
{
	request_failf(r, ERROR_CONTEXT_LENGTH_EXCEEDED, "This model's maximum context length is %lld tokens, and the prompt has at least %lld", (long long)p->context,
		      (long long)low);
	return native_too_long(r);
}

const struct step *native_begin(struct request *r)
{
	const struct catalog_place *p = request_attempt(r)->place;
	r->native = NULL;
	if (p->target->kind != ENGINE_OLLAMA || p->target->cloud != CLOUD_NONE || r->op->op != OP_CHAT)
		return NULL;
	int64_t low = r->bytes_in > OLLAMA_SURE_WINDOW ? ollama_input_low(r->conn->body) : 0;
	int64_t needed = ollama_tokens_needed(r->input_guess, r->output_cap ? r->output_cap : r->facts.output);
	int64_t way = ollama_way(&p->learned->raised, p->window, p->context_max, p->target->num_ctx_max, needed, low, loop_now_ms(&r->worker->loop) / 1000);
	if (way == OLLAMA_NOWHERE)
		return goes_nowhere(r, p, low);
	if (way == 0 && low == 0)
		return NULL;
	struct native *n = arena_zero(&r->arena, sizeof(*n));
	*n = (struct native){.spoken = way != 0, .num_ctx = way > 0 ? way : 0, .window = way > 0 ? way : p->window, .low = low};
	n->about = (struct ollama_chat_about){.id = arena_printf(&r->arena, "chatcmpl-%s", r->id + 4), .model = r->facts.model, .created = clock_wall_us() / 1000000,
					      .usage = r->facts.stream};
	r->native = n;
	return NULL;
}

bool native_was_cut(struct request *r)
{
	struct learned *l = request_attempt(r)->place->learned;
	if (!r->native || !r->usage.known || atomic_load_explicit(&l->miscounts, memory_order_relaxed))
		return false;
	enum ollama_verdict v = ollama_judge(r->usage.input, r->native->window, r->native->low, r->input_bound);
	if (v == OLLAMA_MISCOUNTS)
		atomic_store_explicit(&l->miscounts, true, memory_order_relaxed);
	return v == OLLAMA_CUT;
}
