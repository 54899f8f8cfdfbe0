/* dialects.c - the list of dialects, and the answers that all of them give in their own words: the
 * list of models.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialects.h"

#include "http/url.h"

const struct dialect *const dialects[] = {
	&dialect_vllm,
	&dialect_llamacpp,
	&dialect_ollama,
	&dialect_openai,
	&dialect_lmstudio,
	&dialect_sglang,
	&dialect_mistral,
	&dialect_openrouter,
	&dialect_together,
	&dialect_groq,
	&dialect_deepseek,
	&dialect_gemini,
	NULL,
};

/* The members that every list has; the caller closes the object. */
void model_entry_put(struct sim *sim, struct buf *out, const struct model *m)
{
	BUF_ADD(out, "{\"id\":");
	buf_adds(out, m->json);
	buf_addf(out, ",\"object\":\"model\",\"created\":%d,\"owned_by\":\"%s\"", MODEL_CREATED,
		 sim->dialect->owner);
}

void model_entry_plain(struct sim *sim, struct buf *out, const struct model *m)
{
	model_entry_put(sim, out, m);
	buf_addc(out, '}');
}

void models_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < w->sim->model_count; i++) {
		if (i)
			buf_addc(out, ',');
		w->sim->dialect->list(w->sim, out, &w->sim->models[i]);
	}
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

void model_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct buf name;
	buf_init(&name, 16 * 1024);
	const struct model *m =
		url_decode(line->rest, &name) ? models_find(w->sim, buf_str(&name)) : NULL;
	if (m) {
		struct buf *out = worker_compose(w);
		w->sim->dialect->list(w->sim, out, m);
		worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
	} else {
		model_missing(w, c, buf_str(&name), line->shape);
	}
	buf_release(&name);
}

void empty_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	worker_send(w, c, 200, FIELDS_TEXT, STR_NONE);
}

/* ---- metrics in Prometheus' text ---- */

void metric_put(struct buf *out, const char *name, const char *type, const char *labels,
		double value)
{
	buf_addf(out, "# TYPE %s %s\n%s%s %.17g\n", name, type, name, labels, value);
}

struct load engine_load(struct sim *sim)
{
	struct load load;
	int64_t room = 0;
	for (size_t i = 0; i < sim->model_count; i++)
		room += sim->models[i].context;
	room *= sim->options.slots > 0 ? sim->options.slots : 16;
	sim_lock(sim);
	load.running = sim->engine.running;
	load.waiting = sim->engine.waiting_count;
	load.kv_usage = room > 0 ? (double)sim->engine.kv_tokens / (double)room : 0;
	load.kv_tokens = sim->engine.kv_tokens;
	sim_unlock(sim);
	if (load.kv_usage > 1)
		load.kv_usage = 1;
	return load;
}
