/* api_explain.c - what would be done with a request now, and why: nothing is sent, nothing is taken. The same code decides as for a request (gate/plan.h,
 * gate/governed.h). Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "base/clock.h"
#include "gate/governed.h"
#include "gate/plan.h"

#define TOKENS_USUAL 100
#define TOKENS_MAX   100000000
#define PLAIN_TURN   1 /* a turn in which nothing is tried out */

struct explaining {
	struct api_call *call;
	struct json_writer w;
	const struct catalog *catalog;
	const struct catalog_model *model;
	const struct operation_row *op;
	const struct key *key;
	struct str asked;
	int64_t tokens;
	struct plan_ask ask;
	struct plan_view view;
	struct plan plan;
	bool spent; /* the budgets of overflow do not let it go beyond */
};

/* ---- what is asked ---- */

static const struct operation_row *operation_named(struct str name)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (operations[i].body != BODY_NONE && str_eq(name, str_from(operations[i].name)))
			return &operations[i];
	return NULL;
}

static int read_model(struct explaining *e)
{
	struct buf text;
	e->asked = api_value(e->call, "model");
	if (e->asked.len == 0)
		return api_fail(e->call, 400, "missing_parameter", STR("model"), "model: which model? Name it as clients do");
	e->model = catalog_model(e->catalog, e->asked);
	if (e->model)
		return 0;
	buf_init(&text, 4096);
	catalog_near(e->catalog, e->asked, &text);
	int status = api_fail(e->call, 404, "model_not_found", STR("model"), "there is no model '%.*s' now%.*s", STR_ARG(str_head(e->asked, 200)),
			      STR_ARG(buf_str(&text)));
	buf_release(&text);
	return status;
}

static int read_key(struct explaining *e)
{
	struct str name = api_value(e->call, "key");
	if (!name.ptr)
		return 0;
	const struct api_key *k = api_list_find(e->call->api, name);
	e->key = k ? keyring_by_serial(e->catalog->keys, k->serial) : NULL;
	if (e->key)
		return 0;
	struct str near = api_list_near(e->call->api, name);
	return api_fail(e->call, 404, "key_not_found", STR("key"), "there is no key '%.*s'%s%.*s%s", STR_ARG(str_head(name, 80)), near.len ? "; did you mean '" : "",
			STR_ARG(near), near.len ? "'?" : "");
}

static int read_rest(struct explaining *e)
{
	struct str tokens = api_value(e->call, "tokens"), op = api_value(e->call, "operation"), local = api_value(e->call, "local_only");
	e->tokens = TOKENS_USUAL;
	if (tokens.ptr && (!str_to_i64(tokens, &e->tokens) || e->tokens < 0 || e->tokens > TOKENS_MAX))
		return api_fail(e->call, 400, "invalid_value", STR("tokens"), "tokens: expected the prompt's length, 0 to %d", TOKENS_MAX);
	e->op = operation_named(op.ptr ? op : STR("chat"));
	if (!e->op)
		return api_fail(e->call, 400, "invalid_value", STR("operation"), "operation: there is no '%.*s'; expected chat, completions, embeddings …",
				STR_ARG(str_head(op, 80)));
	if (local.ptr && !str_eq(local, STR("1")) && !str_eq(local, STR("0")))
		return api_fail(e->call, 400, "invalid_value", STR("local_only"), "local_only: expected 0 or 1");
	e->ask.local_only = str_eq(local, STR("1")) || (e->key && e->key->local_only) || e->model->local_only;
	return 0;
}

/* ---- the decision ---- */

/* Whether the budgets of overflow let it go there. */
static bool may_cost(const struct explaining *e, const struct catalog_place *place)
{
	struct scope *scopes[2] = {e->model->overflow_scope, e->catalog->overflow_scope};
	struct claim_answer a;
	struct ask ask = {
		.mono_us = clock_mono_us(), .book_us = e->call->request->now_s * 1000000, .input_bound = e->tokens, .input_guess = e->tokens,
		.price = &place->price, .output_default = e->model->max_output,
	};
	if (!scopes[0] && !scopes[1])
		return true;
	books_claim(e->call->api->o.books, scopes, 2, &ask, NULL, &a);
	return a.verdict == CLAIM_GRANTED;
}

static void decide(struct explaining *e)
{
	struct plan_ask *a = &e->ask;
	a->catalog = e->catalog;
	a->model = e->model;
	a->operation = OP_BIT(e->op->op);
	a->input = e->tokens;
	a->queue = e->call->api->o.server->queue(e->call->api->o.user);
	a->turn = PLAIN_TURN;
	a->now_ms = clock_mono_us() / 1000;
	plan_look(a, &e->view);
	e->plan = plan_make(a, &e->view);
	if (e->plan.what != PLAN_BEYOND || may_cost(e, e->plan.place))
		return;
	e->spent = a->stays = true;
	e->plan = plan_make(a, &e->view);
}

/* What the key and the limits say before a place is looked for. ERROR_NONE: yes. */
static enum error refused(struct explaining *e, struct buf *why)
{
	const struct api_call *c = e->call;
	int64_t now_s = c->request->now_s, unused;
	struct governed g;
	struct claim_answer a;
	if (e->key && e->key->revoked) {
		BUF_ADD(why, "the key was revoked");
		return ERROR_INVALID_API_KEY;
	}
	if (e->key && e->key->expires_s && now_s >= e->key->expires_s) {
		BUF_ADD(why, "the key has expired");
		return ERROR_INVALID_API_KEY;
	}
	if (e->key && !key_allows(e->key, e->model->name) && !key_allows(e->key, e->asked)) {
		BUF_ADD(why, "the key may not use this model");
		return ERROR_MODEL_NOT_ALLOWED;
	}
	if (!(e->model->operations & OP_BIT(e->op->op))) {
		buf_addf(why, "no engine that has this model serves /v1%s", e->op->path);
		return ERROR_UNSUPPORTED_OPERATION;
	}
	struct ask ask = {
		.mono_us = clock_mono_us(), .book_us = now_s * 1000000, .input_bound = e->tokens, .input_guess = e->tokens, .price = &e->model->dearest,
		.output_default = e->op->counts_output ? e->model->max_output : OUTPUT_NONE, .max_wait_us = e->key ? (int64_t)e->key->max_wait_ms * 1000 : 0,
	};
	if (!governed_find(&g, e->catalog, e->model, e->key, e->asked) || g.count == 0)
		return ERROR_NONE;
	books_claim(c->api->o.books, g.scopes, g.count, &ask, NULL, &a);
	return a.verdict == CLAIM_GRANTED ? ERROR_NONE : governed_refusal(&g, &a, why, &unused);
}

/* ---- saying it ---- */

static int64_t first_token_us(const struct explaining *e, const struct catalog_place *p)
{
	uint32_t taken = atomic_load_explicit(&p->target->state->places.taken, memory_order_relaxed);
	return pace_predict(&p->learned->pace, e->tokens, taken);
}

static void put_place(struct explaining *e, const struct catalog_place *p, enum place_fit fit)
{
	if (fit == PLACE_FITS && p->context && e->tokens >= p->context)
		fit = PLACE_TOO_SMALL; /* it is asked all the same where no other is larger */
	struct json_writer *w = &e->w;
	const struct target_state *s = p->target->state;
	uint32_t limit = atomic_load_explicit(&s->places.limit, memory_order_relaxed);
	int64_t first = first_token_us(e, p);
	json_open_object(w);
	json_member_str(w, STR("target"), p->target->name);
	json_member_str(w, STR("as"), p->model);
	json_member_bool(w, STR("local"), p->target->local);
	json_member_str(w, STR("state"), str_from(api_target_state(s)));
	json_member_str(w, STR("fit"), str_from(place_fit_names[fit]));
	json_member_i64(w, STR("taken"), atomic_load_explicit(&s->places.taken, memory_order_relaxed));
	json_member_i64_or_null(w, STR("limit"), limit > 0, limit);
	json_member_i64(w, STR("engine_waiting"), atomic_load_explicit(&s->engine_waiting, memory_order_relaxed));
	json_member_i64_or_null(w, STR("context"), p->context > 0, p->context);
	json_member_bool(w, STR("warm"), atomic_load_explicit(&p->learned->warm, memory_order_relaxed));
	json_member_i64_or_null(w, STR("first_token_ms"), first > 0, (first + 999) / 1000);
	json_member_bool(w, STR("chosen"), e->plan.place == p);
	json_close_object(w);
}

static void put_places(struct explaining *e)
{
	json_put_key(&e->w, STR("places"));
	json_open_array(&e->w);
	for (uint32_t i = 0; i < e->view.count; i++)
		put_place(e, e->view.places[i], e->view.fits[i]);
	json_close_array(&e->w);
}

static void put_overflow(struct explaining *e)
{
	struct json_writer *w = &e->w;
	const struct catalog_model *m = e->model;
	json_put_key(w, STR("overflow"));
	if (m->overflow_count == 0) {
		json_put_null(w);
		return;
	}
	json_open_object(w);
	json_put_key(w, STR("when"));
	json_open_array(w);
	for (unsigned bit = OVERFLOW_WAIT; bit <= OVERFLOW_ALWAYS; bit <<= 1)
		if (m->overflow_when & bit)
			json_put_str(w, str_from(plan_why(bit)));
	json_close_array(w);
	json_member_i64(w, STR("wait_ms"), m->overflow_wait_ms);
	json_member_str(w, STR("order"), str_from(overflow_order_names[m->overflow_order]));
	json_put_key(w, STR("places"));
	json_open_array(w);
	for (uint32_t i = 0; i < m->overflow_count; i++)
		put_place(e, &m->overflow[i], plan_fit(&e->ask, &m->overflow[i]));
	json_close_array(w);
	json_close_object(w);
}

/* Why that place, in the words of the strategy. */
static const char *reason_of(const struct explaining *e)
{
	static const char *const reasons[STRATEGY_COUNT] = {
		[STRATEGY_CAPACITY] = "it is predicted to answer first, or has the most room where nothing is known yet",
		[STRATEGY_ROUND_ROBIN] = "each in turn",
		[STRATEGY_LEAST_BUSY] = "it has the fewest requests",
		[STRATEGY_WEIGHTED] = "by weights, at random",
		[STRATEGY_WARM_FIRST] = "it has the model loaded, or is predicted to answer first",
	};
	return e->view.count == 1 ? "the only one" : reasons[e->model->strategy];
}

static void say_beyond(struct explaining *e, struct buf *why)
{
	switch (e->plan.why) {
	case OVERFLOW_CONTEXT:
		BUF_ADD(why, "the prompt does not fit into the window at home");
		break;
	case OVERFLOW_ALWAYS:
		BUF_ADD(why, "the policy says always");
		break;
	case OVERFLOW_DOWN:
		BUF_ADD(why, "no target at home is up");
		break;
	default:
		buf_addf(why, "at home it would wait for about %lld ms", (long long)plan_wait_ms(&e->ask, &e->view));
	}
}

static void say_wait(struct explaining *e, struct buf *why)
{
	uint32_t others = queue_waiting(e->ask.queue, e->model->id);
	BUF_ADD(why, "all places are taken");
	if (others)
		buf_addf(why, ", and %u wait already", others);
	if (plan_wait_ms(&e->ask, &e->view))
		buf_addf(why, "; about %lld ms", (long long)plan_wait_ms(&e->ask, &e->view));
}

static const char *say(struct explaining *e, struct buf *why, enum error *error)
{
	const struct key *k = e->key;
	switch (e->plan.what) {
	case PLAN_GO:
		buf_addf(why, "%s", reason_of(e));
		return "place";
	case PLAN_BEYOND:
		say_beyond(e, why);
		return "overflow";
	case PLAN_WAIT:
		say_wait(e, why);
		return "queue";
	default:
		*error = plan_refusal(&e->ask, &e->view, k && k->local_only ? "key" : e->model->local_only ? "model" : "x-valet-local-only", why);
		return "refused";
	}
}

static const char *say_all(struct explaining *e, struct buf *why, enum error *error)
{
	const char *what = say(e, why, error);
	if (e->spent)
		BUF_ADD(why, "; it would go beyond, but the budget of overflow does not suffice");
	return what;
}

static void put_decision(struct explaining *e)
{
	struct json_writer *w = &e->w;
	struct buf why;
	buf_init(&why, 4096);
	enum error error = refused(e, &why);
	if (error)
		e->plan = (struct plan){.what = PLAN_NOWHERE};
	const char *what = error ? "refused" : say_all(e, &why, &error);
	json_put_key(w, STR("decision"));
	json_open_object(w);
	json_member_str(w, STR("what"), str_from(what));
	json_member_str_or_null(w, STR("target"), e->plan.place ? e->plan.place->target->name : STR_NONE);
	json_member_str_or_null(w, STR("overflow"), e->plan.what == PLAN_BEYOND ? str_from(plan_why(e->plan.why)) : STR_NONE);
	json_member_str_or_null(w, STR("error"), str_from(error_rows[error].code)); /* of ERROR_NONE it is empty */
	json_member_str(w, STR("why"), buf_str(&why));
	json_close_object(w);
	buf_release(&why);
}

static void put_question(struct explaining *e)
{
	struct json_writer *w = &e->w;
	json_member_str(w, STR("model"), e->model->name);
	json_member_str(w, STR("asked"), e->asked);
	json_member_str(w, STR("operation"), str_from(e->op->name));
	json_member_str_or_null(w, STR("key"), e->key ? e->key->name : STR_NONE);
	json_member_i64(w, STR("tokens"), e->tokens);
	json_member_bool(w, STR("local_only"), e->ask.local_only);
	json_member_str(w, STR("strategy"), str_from(strategy_names[e->model->strategy]));
	json_member_i64(w, STR("waiting"), queue_waiting(e->ask.queue, e->model->id));
}

int api_explain(struct api_call *c)
{
	struct explaining e = {.call = c, .catalog = c->api->o.server->catalog(c->api->o.user)};
	int status = read_model(&e);
	status = status ? status : read_key(&e);
	status = status ? status : read_rest(&e);
	if (status)
		return status;
	decide(&e);
	json_writer_init(&e.w, c->out);
	json_open_object(&e.w);
	put_question(&e);
	put_decision(&e);
	put_places(&e);
	put_overflow(&e);
	json_close_object(&e.w);
	return 200;
}
