/* tool.c - makes up a tool call: which tool, and arguments that fit its schema as far as types go.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#define DEPTH_MAX 8

static void put_value(struct json_writer *w, struct arena *a, const struct json *schema,
		      uint64_t hash, int depth);

static void put_object(struct json_writer *w, struct arena *a, const struct json *schema,
		       uint64_t hash, int depth)
{
	const struct json *properties = json_get(schema, STR("properties"));
	json_open_object(w);
	for (const struct json *p = properties ? properties->first : NULL; p && depth < DEPTH_MAX;
	     p = p->next) {
		hash = text_mix(hash + 1);
		json_put_key(w, json_key(a, p));
		put_value(w, a, p, hash, depth + 1);
	}
	json_close_object(w);
}

static void put_value(struct json_writer *w, struct arena *a, const struct json *schema,
		      uint64_t hash, int depth)
{
	const struct json *options = json_get(schema, STR("enum"));
	struct str type = json_text(a, json_get(schema, STR("type")));
	if (options && options->first && options->first->type == JSON_STRING) {
		json_put_str(w, json_text(a, options->first));
	} else if (str_eq(type, STR("integer")) || str_eq(type, STR("number"))) {
		json_put_i64(w, (int64_t)(hash % 100));
	} else if (str_eq(type, STR("boolean"))) {
		json_put_bool(w, hash & 1);
	} else if (str_eq(type, STR("array"))) {
		json_open_array(w);
		json_close_array(w);
	} else if (str_eq(type, STR("object"))) {
		put_object(w, a, schema, hash, depth);
	} else {
		json_put_str(w, text_word(hash, 0));
	}
}

/* The function called `name`, or the first one. */
static const struct json *pick(struct arena *a, const struct json *tools, struct str name)
{
	for (const struct json *t = tools->first; t; t = t->next) {
		const struct json *f = json_get(t, STR("function"));
		if (f && (name.len == 0 || str_eq(json_text(a, json_get(f, STR("name"))), name)))
			return f;
	}
	return NULL;
}

static bool asks_for_it(struct arena *a, struct str messages)
{
	static const struct str words = STR_INIT("call the tool");
	struct json_fail fail;
	if (str_search(messages, words) == messages.len)
		return false;
	const struct json *list = json_parse(a, messages, &fail), *last = NULL;
	for (const struct json *m = list && list->type == JSON_ARRAY ? list->first : NULL; m;
	     m = m->next)
		if (str_eq(json_text(a, json_get(m, STR("role"))), STR("user")))
			last = m;
	return last && str_search(last->raw, words) < last->raw.len;
}

bool tool_call_make(struct job *j, struct str tools, struct str choice, struct str messages,
		    bool forced)
{
	struct json_fail fail;
	if (!forced && !asks_for_it(&j->arena, messages))
		return false;
	const struct json *list = json_parse(&j->arena, tools, &fail);
	const struct json *chosen = choice.len ? json_parse(&j->arena, choice, &fail) : NULL;
	struct str name =
		json_text(&j->arena, json_get(json_get(chosen, STR("function")), STR("name")));
	const struct json *f = list ? pick(&j->arena, list, name) : NULL;
	if (!f)
		return false;
	struct buf *out = &j->worker->scratch;
	struct json_writer w;
	buf_clear(out);
	json_quote(out, json_text(&j->arena, json_get(f, STR("name"))));
	j->tool = arena_dup(&j->arena, buf_str(out));
	buf_clear(out);
	json_writer_init(&w, out);
	put_object(&w, &j->arena, json_get(f, STR("parameters")), j->hash, 0);
	j->text = arena_dup(&j->arena, buf_str(out));
	return true;
}
