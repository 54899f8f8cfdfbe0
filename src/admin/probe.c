/* probe.c - see probe.h. A probe goes through stages; each asks some questions at once and ends
 * when all are answered.
 *
 * Unknown kind: FIRST (the list of models) → CONFIRM (a guess) → REST (everything) → ROUTINE.
 * A known kind begins with ROUTINE. Ollama is then asked about single models that are new (SHOW).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/probe.h"

#include "base/json.h"

#include <assert.h>
#include <string.h>

#define LIST_MAX   (8u << 20) /* bytes of a list of models */
#define SHOW_MAX   (2u << 20)
#define ANSWER_MAX (256u << 10)
#define FIELDS_MAX (64u << 10)
#define NEAR_MS    30 /* an end so close to the time-out is one */

enum stage { FIRST, CONFIRM, REST, ROUTINE, SHOW };

static void advance(struct probe *p);
static void go_on_with_shows(struct probe *p);

void probe_init(struct probe *p)
{
	*p = (struct probe){.kind = ENGINE_NONE};
	arena_init(&p->arena, 1024);
	buf_init(&p->fields, FIELDS_MAX);
}

/* ---- questions ---- */

static void free_fetch(struct probe_question *q)
{
	if (q->fetch)
		fetch_free(q->fetch);
	q->fetch = NULL;
}

static size_t answer_max(enum engine_ask ask)
{
	switch (ask) {
	case ASK_MODELS:
	case ASK_TAGS:
	case ASK_LM_V1:
	case ASK_LM_V0:
		return LIST_MAX;
	case ASK_SHOW:
		return SHOW_MAX;
	case ASK_METRICS:
		return ENGINE_METRICS_MAX;
	default:
		return ANSWER_MAX;
	}
}

static void note_answer(struct probe *p, enum engine_ask ask, const struct fetch *f)
{
	struct str server = buf_str(&f->server);
	p->evidence.answers[ask] = (struct engine_answer){
		.status = f->status,
		.valet = str_ieq(server, STR("valet")) || str_istarts(server, STR("valet/")),
		.server = server,
		.body = buf_str(&f->body),
	};
}

static void on_answer(struct fetch *f)
{
	struct probe_question *q = f->user;
	struct probe *p = q->probe;
	enum engine_ask ask = (enum engine_ask)(q - p->questions);
	q->ended_ms = loop_now_ms(p->loop);
	if (ask < ASK_COUNT)
		note_answer(p, ask, f);
	if (--p->pending == 0)
		advance(p);
}

static void ask_with(struct probe *p, enum engine_ask ask, struct str body)
{
	struct probe_question *q = &p->questions[ask];
	struct url url = p->url;
	url.path = ask == ASK_MODELS ? engine_api_path(url.path) : engine_root_path(url.path);
	free_fetch(q);
	*q = (struct probe_question){
		.probe = p, .fetch = mem_zero(sizeof(*q->fetch)), .began_ms = loop_now_ms(p->loop)};
	q->fetch->user = q;
	p->asked |= ASK_BIT(ask);
	p->pending++;
	fetch_start(q->fetch, p->loop, p->tls, &url, engine_ask_path(ask), buf_str(&p->fields),
		    body, p->timeout_ms, answer_max(ask), on_answer);
}

/* Asks what has not been asked yet. False: there was nothing. */
static bool ask_all(struct probe *p, uint32_t asks)
{
	asks &= ~p->asked;
	for (int ask = 0; ask < ASK_COUNT; ask++)
		if (asks & ASK_BIT(ask))
			ask_with(p, (enum engine_ask)ask, STR(""));
	return asks != 0;
}

static uint32_t routine_of(const struct probe *p, enum engine_kind kind)
{
	uint32_t asks = engine_routine(kind) & ~p->lacking;
	if (kind == ENGINE_LMSTUDIO && (p->lacking & ASK_BIT(ASK_LM_V1)))
		asks |= ASK_BIT(ASK_LM_V0) & ~p->lacking;
	return asks | ASK_BIT(engine_list_ask(kind));
}

/* ---- the end ---- */

static void drop_questions(struct probe *p)
{
	for (int ask = 0; ask < ASK_ALL; ask++)
		free_fetch(&p->questions[ask]);
	p->evidence = (struct engine_evidence){0};
	p->pending = 0;
}

static void forget_request(struct probe *p)
{
	if (p->fields.ptr)
		explicit_bzero(p->fields.ptr, p->fields.cap);
	buf_release(&p->fields);
	free(p->url_text);
	p->url_text = NULL;
}

static int64_t took_ms(const struct probe *p)
{
	const struct probe_question *q = &p->questions[p->kind == ENGINE_NONE ? ASK_MODELS : engine_list_ask(p->kind)];
	return q->ended_ms - q->began_ms;
}

/* `done` may release or free the probe: nothing is touched behind it. */
static void finish(struct probe *p, enum probe_outcome outcome, struct str why)
{
	p->outcome = outcome;
	p->why = why;
	p->version = arena_dup(&p->arena, engine_version(&p->evidence));
	p->took_ms = took_ms(p);
	drop_questions(p);
	forget_request(p);
	p->done(p);
}

static void finish_status(struct probe *p, enum probe_outcome outcome, int status)
{
	finish(p, outcome, arena_printf(&p->arena, "it answers with status %d", status));
}

static void finish_unanswered(struct probe *p, enum engine_ask ask)
{
	const struct probe_question *q = &p->questions[ask];
	bool slow = q->ended_ms - q->began_ms >= p->timeout_ms - NEAR_MS;
	finish(p, slow ? PROBE_SLOW : PROBE_REFUSED,
	       str_from(q->fetch->why ? q->fetch->why : "no answer"));
}

static void finish_stranger(struct probe *p, enum engine_kind kind)
{
	if (kind == ENGINE_NONE)
		finish(p, PROBE_STRANGER, STR("no model server answers there"));
	else
		finish(p, PROBE_STRANGER,
		       arena_printf(&p->arena, "it does not answer like %s",
				    engines[kind].display));
}

/* The list of models did not come. */
static void finish_without_list(struct probe *p, enum engine_ask ask)
{
	int status = p->evidence.answers[ask].status;
	bool no_list = status == 404 || status == 405 || status == 501;
	if (status == 0) {
		finish_unanswered(p, ask);
	} else if (status == 401 || status == 403) {
		finish(p, PROBE_DENIED,
		       arena_printf(&p->arena,
				    "it answers with status %d: the key is missing or wrong",
				    status));
	} else if ((status == 429 && p->kind != ENGINE_NONE) ||
		   (no_list && p->told == ENGINE_OPENAI && !p->recheck)) {
		p->unlisted = true;
		finish(p, PROBE_ALIVE, STR(""));
	} else if (status >= 500) {
		finish_status(p, PROBE_FAILING, status);
	} else {
		finish_stranger(p, p->told);
	}
}

/* ---- what the answers of an engine of a known kind mean ---- */

static bool is_loading(const struct probe *p)
{
	const struct engine_answer *a = p->evidence.answers;
	return engine_says_loading(&a[ASK_MODELS]) || engine_says_loading(&a[ASK_HEALTH]) ||
	       engine_says_loading(&a[ASK_PROPS]);
}

/* LM Studio answers 200 to paths that it does not know, with this text. */
static bool is_lacking(const struct probe *p, enum engine_ask ask)
{
	const struct engine_answer *a = &p->evidence.answers[ask];
	if (a->status == 200)
		return str_search(a->body, STR("Unexpected endpoint")) < a->body.len &&
		       p->kind == ENGINE_LMSTUDIO;
	return a->status == 404 || a->status == 405 || a->status == 501;
}

static void note_lacking(struct probe *p)
{
	uint32_t asks = (engine_routine(p->kind) | ASK_BIT(ASK_LM_V0)) &
			~ASK_BIT(engine_list_ask(p->kind)) & p->asked;
	for (int ask = 0; ask < ASK_COUNT; ask++)
		if ((asks & ASK_BIT(ask)) && is_lacking(p, (enum engine_ask)ask))
			p->lacking |= ASK_BIT(ask);
}

/* Only what cannot be chosen by a user of the engine contradicts: see engine_guess(). vLLM always
 * names itself. */
static bool is_contradicted(const struct probe *p)
{
	enum engine_kind guess = engine_guess(&p->evidence);
	if (!p->recheck || guess == p->kind)
		return false;
	if (p->kind == ENGINE_VLLM && guess != ENGINE_NONE)
		return true;
	return guess == ENGINE_VLLM || guess == ENGINE_LLAMACPP || guess == ENGINE_SGLANG;
}

static void read_windows(struct probe *p)
{
	/* of those that this kind is asked for: an unknown one has been asked for more */
	uint32_t asks = routine_of(p, p->kind) & ~ASK_BIT(engine_list_ask(p->kind));
	for (int ask = 0; ask < ASK_COUNT; ask++)
		if ((asks & ASK_BIT(ask)) && p->evidence.answers[ask].status == 200)
			engine_models_add(&p->models, (enum engine_ask)ask,
					  p->evidence.answers[ask].body);
}

static void judge(struct probe *p)
{
	enum engine_ask ask = engine_list_ask(p->kind);
	const struct engine_answer *list = &p->evidence.answers[ask],
				   *health = &p->evidence.answers[ASK_HEALTH];
	if (is_loading(p)) {
		finish(p, PROBE_LOADING, STR("it is loading its model"));
	} else if (list->status != 200) {
		finish_without_list(p, ask);
	} else if (health->status >= 500 && p->kind == ENGINE_VLLM) {
		finish(p, PROBE_FAILING,
		       arena_printf(&p->arena, "its health check answers with status %d",
				    health->status));
	} else if (is_contradicted(p) ||
		   !engine_models_parse(p->kind, list->body, &p->arena, &p->models)) {
		finish_stranger(p, p->kind);
	} else {
		read_windows(p);
		engine_load_read(p->kind, &p->evidence, &p->models, &p->arena, &p->load);
		engine_models_keep(&p->models, p->last);
		if (p->kind != ENGINE_OLLAMA)
			engine_models_keep_dates(&p->models, p->last);
		p->stage = SHOW;
		p->show_until_ms = loop_now_ms(p->loop) + p->timeout_ms / 2;
		go_on_with_shows(p);
	}
}

/* Asks for one model after the other, as long as that does not hold up the result; the next probe
 * goes on. */
static void go_on_with_shows(struct probe *p)
{
	while (p->show_next < p->models.count && p->models.list[p->show_next].shown)
		p->show_next++;
	if (p->kind != ENGINE_OLLAMA || p->show_next == p->models.count ||
	    loop_now_ms(p->loop) >= p->show_until_ms) {
		engine_models_finish(&p->models);
		finish(p, PROBE_ALIVE, STR(""));
		return;
	}
	struct buf body;
	buf_init(&body, 8 * ENGINE_MODEL_ID_MAX);
	BUF_ADD(&body, "{\"model\":");
	json_quote(&body, p->models.list[p->show_next].id);
	BUF_ADD(&body, "}");
	ask_with(p, ASK_SHOW, buf_str(&body));
	buf_release(&body);
}

static void take_show(struct probe *p)
{
	const struct fetch *f = p->questions[ASK_SHOW].fetch;
	struct engine_model *m = &p->models.list[p->show_next++];
	if (f->status == 200)
		engine_model_add_show(m, buf_str(&f->body));
	else if (f->status >= 400 && f->status < 500)
		m->shown = true; /* it will not say more the next time */
	else
		p->show_until_ms = 0;
	go_on_with_shows(p);
}

/* ---- stages ---- */

static void settle(struct probe *p, enum engine_kind kind)
{
	p->kind = kind;
	p->stage = ROUTINE;
	if (!ask_all(p, routine_of(p, kind)))
		advance(p);
}

static void first(struct probe *p)
{
	const struct engine_answer *a = &p->evidence.answers[ASK_MODELS];
	if (a->status == 0 || a->status == 401 || a->status == 403) {
		finish_without_list(p, ASK_MODELS);
		return;
	}
	p->guess = engine_guess(&p->evidence);
	p->stage = p->guess == ENGINE_NONE ? REST : CONFIRM;
	ask_all(p, engine_confirming(p->guess));
}

static void confirm(struct probe *p)
{
	if (engine_recognise(&p->evidence) == p->guess) {
		settle(p, p->guess);
		return;
	}
	p->stage = REST;
	if (!ask_all(p, engine_confirming(ENGINE_NONE)))
		advance(p);
}

static void rest(struct probe *p)
{
	enum engine_kind kind = engine_recognise(&p->evidence);
	if (kind != ENGINE_NONE)
		settle(p, kind);
	else
		finish_without_list(p, ASK_MODELS);
}

static void routine(struct probe *p)
{
	note_lacking(p);
	if (!ask_all(p, routine_of(p, p->kind)))
		judge(p);
}

static void advance(struct probe *p)
{
	if (p->told == ENGINE_NONE && p->stage != SHOW && engine_is_valet(&p->evidence)) {
		finish(p, PROBE_VALET, STR("it is a Valet"));
		return;
	}
	switch ((enum stage)p->stage) {
	case FIRST:
		first(p);
		break;
	case CONFIRM:
		confirm(p);
		break;
	case REST:
		rest(p);
		break;
	case ROUTINE:
		routine(p);
		break;
	case SHOW:
		take_show(p);
		break;
	}
}

static void copy_url(struct probe *p, const struct url *url)
{
	struct str text = arena_printf(&p->arena, "%s://%.*s%.*s", url->https ? "https" : "http",
				       STR_ARG(url->authority), STR_ARG(url->path));
	p->url_text = mem_str(text);
	const char *why = url_parse(str_from(p->url_text), &p->url);
	assert(!why);
}

void probe_start(struct probe *p, struct loop *loop, struct tls_client *tls, const struct url *url,
		 enum engine_kind kind, struct str fields, int64_t timeout_ms,
		 void (*done)(struct probe *))
{
	p->loop = loop;
	p->tls = tls;
	p->timeout_ms = timeout_ms;
	p->done = done;
	p->told = p->kind = kind;
	copy_url(p, url);
	buf_adds(&p->fields, fields);
	if (kind == ENGINE_NONE) {
		p->stage = FIRST;
		ask_all(p, ASK_BIT(ASK_MODELS));
	} else {
		p->stage = ROUTINE;
		ask_all(p, routine_of(p, kind));
	}
}

void probe_release(struct probe *p)
{
	void *user = p->user;
	drop_questions(p);
	forget_request(p);
	arena_release(&p->arena);
	probe_init(p);
	p->user = user;
}
