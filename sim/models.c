/* models.c - the models that the simulator says it serves.
 *
 * Read once at the start; any worker looks them up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <ctype.h>

#define CONTEXT_DEFAULT 131072

static uint64_t name_hash(struct str name)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < name.len; i++)
		h = (h ^ (uint64_t)tolower((unsigned char)name.ptr[i])) * 0x100000001b3u;
	return text_mix(h);
}

static void model_add(struct sim *sim, struct str name, int64_t context, int64_t longest)
{
	struct model *m = &sim->models[sim->model_count++];
	struct buf json;
	buf_init(&json, 64 * 1024);
	json_quote(&json, name);
	m->name = str_from(mem_str(name));
	m->json = buf_str(&json);
	m->hash = name_hash(name);
	m->context = context;
	m->longest = longest > context ? longest : context;
}

/* "name", "name=ctx4096" or "name=ctx4096/32768" (Ollama: num_ctx may raise it up to that); Ollama's names have a tag. */
static void add_spelled(struct sim *sim, struct str item)
{
	int64_t context = CONTEXT_DEFAULT, longest = 0;
	size_t at = str_search(item, STR("=ctx"));
	struct str windows = str_skip(item, at + 4);
	size_t slash = str_find(windows, '/');
	if (at < item.len) {
		str_to_i64(str_head(windows, slash), &context);
		str_to_i64(str_skip(windows, slash + 1), &longest);
	}
	struct str name = str_head(item, at);
	struct buf tagged;
	buf_init(&tagged, 64 * 1024);
	buf_adds(&tagged, name);
	if (sim->dialect->free_case && str_find(name, ':') == name.len)
		BUF_ADD(&tagged, ":latest");
	model_add(sim, buf_str(&tagged), context, longest);
	buf_release(&tagged);
}

static void fill_table(struct sim *sim)
{
	size_t size = 4;
	while (size < sim->model_count * 2)
		size *= 2;
	sim->model_table = mem_array(size, sizeof(*sim->model_table));
	sim->model_mask = size - 1;
	for (size_t i = 0; i < sim->model_count; i++) {
		size_t at = sim->models[i].hash & sim->model_mask;
		while (sim->model_table[at])
			at = (at + 1) & sim->model_mask;
		sim->model_table[at] = (uint32_t)i + 1;
	}
}

void models_read(struct sim *sim)
{
	struct str rest = sim->options.models, item;
	size_t count = 1;
	for (size_t i = 0; i < rest.len; i++)
		count += rest.ptr[i] == ',';
	sim->models = mem_array(count + (size_t)sim->options.model_count, sizeof(*sim->models));
	while (str_split(&rest, ',', &item))
		if (str_trim(item).len > 0)
			add_spelled(sim, str_trim(item));
	for (int64_t i = 0; i < sim->options.model_count; i++) {
		struct buf name;
		buf_init(&name, 4096);
		buf_addf(&name, "%.*s%lld", STR_ARG(sim->options.model_prefix), (long long)i);
		add_spelled(sim, buf_str(&name));
		buf_release(&name);
	}
	if (sim->model_count == 0)
		add_spelled(sim, STR("sim"));
	fill_table(sim);
}

void models_release(struct sim *sim)
{
	for (size_t i = 0; i < sim->model_count; i++) {
		free((char *)sim->models[i].name.ptr);
		free((char *)sim->models[i].json.ptr);
	}
	free(sim->models);
	free(sim->model_table);
}

static const struct model *look_up(const struct sim *sim, struct str name)
{
	bool (*same)(struct str, struct str) = sim->dialect->free_case ? str_ieq : str_eq;
	uint64_t hash = name_hash(name);
	for (size_t at = hash & sim->model_mask; sim->model_table[at];
	     at = (at + 1) & sim->model_mask) {
		const struct model *m = &sim->models[sim->model_table[at] - 1];
		if (m->hash == hash && same(m->name, name))
			return m;
	}
	return NULL;
}

const struct model *models_find(const struct sim *sim, struct str name)
{
	if (sim->model_count == 1 && (sim->dialect->any_model || str_eq(name, sim->models[0].name)))
		return &sim->models[0];
	const struct model *m = look_up(sim, name);
	if (m || !sim->dialect->free_case || str_find(name, ':') < name.len || name.len > 1000)
		return m;
	struct buf tagged;
	buf_init(&tagged, 2048);
	buf_adds(&tagged, name);
	BUF_ADD(&tagged, ":latest");
	m = look_up(sim, buf_str(&tagged));
	buf_release(&tagged);
	return m;
}
