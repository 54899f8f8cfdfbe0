/* api_drain.c - targets that the operator has set aside: a list of names, in memory and as a fact of the store. By name, so that a target that goes and comes back
 * is still set aside.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "base/log.h"

#define DRAIN_FACT "drained_targets" /* a JSON list of names */
#define DRAIN_TEXT ((size_t)1 << 20)
#define DRAIN_MAX  4096

static size_t find(const struct api *a, struct str target)
{
	size_t i = 0;
	while (i < a->drained_count && !str_eq(str_from(a->drained[i]), target))
		i++;
	return i;
}

bool api_drained(const struct api *a, struct str target)
{
	return find(a, target) < a->drained_count;
}

static void add(struct api *a, struct str target)
{
	a->drained = mem_grow(a->drained, (a->drained_count + 1) * sizeof(*a->drained));
	a->drained[a->drained_count++] = mem_str(target);
}

static void take_away(struct api *a, size_t at)
{
	free(a->drained[at]);
	a->drained_count--;
	memmove(&a->drained[at], &a->drained[at + 1], (a->drained_count - at) * sizeof(*a->drained));
}

/* ---- the store ---- */

static bool load_job(struct store *s, void *arg)
{
	return store_get_fact(s, DRAIN_FACT, arg);
}

static bool save_job(struct store *s, void *arg)
{
	return store_put_fact(s, DRAIN_FACT, buf_str(arg));
}

static void take_list(struct api *a, struct str text)
{
	struct arena arena;
	arena_init(&arena, 4096);
	const struct json *list = json_parse(&arena, text, NULL);
	if (text.len && (!list || list->type != JSON_ARRAY))
		log_warn("which targets the operator had set aside cannot be read; none is");
	for (const struct json *e = list && list->type == JSON_ARRAY ? list->first : NULL; e && a->drained_count < DRAIN_MAX; e = e->next) {
		struct str name = json_text(&arena, e);
		if (name.len && !api_drained(a, name))
			add(a, name);
	}
	arena_release(&arena);
}

bool api_drain_load(struct api *a, struct buf *why)
{
	struct buf text;
	buf_init(&text, DRAIN_TEXT);
	bool fine = api_store(a, load_job, &text, why);
	if (fine)
		take_list(a, buf_str(&text));
	buf_release(&text);
	return fine;
}

void api_drain_release(struct api *a)
{
	while (a->drained_count)
		take_away(a, a->drained_count - 1);
	free(a->drained);
}

/* The list as it would be, without `target`, or with it at its end. */
static void write_list(const struct api *a, struct str target, bool drained, struct buf *out)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_array(&w);
	for (size_t i = 0; i < a->drained_count; i++)
		if (!str_eq(str_from(a->drained[i]), target))
			json_put_str(&w, str_from(a->drained[i]));
	if (drained)
		json_put_str(&w, target);
	json_close_array(&w);
}

int api_drain_set(struct api_call *c, struct str target, bool drained)
{
	struct api *a = c->api;
	struct buf text;
	if (api_drained(a, target) == drained)
		return 0;
	if (drained && a->drained_count == DRAIN_MAX)
		return api_fail(c, 409, "too_many", STR_NONE, "%d targets are set aside already", DRAIN_MAX);
	buf_init(&text, DRAIN_TEXT);
	write_list(a, target, drained, &text);
	bool fine = api_store_answer(c, save_job, &text);
	buf_release(&text);
	if (!fine)
		return 500;
	if (drained)
		add(a, target);
	else
		take_away(a, find(a, target));
	return 0;
}
