/* fuzz_yaml.c - any bytes as valet.yaml: settings or a report, never a crash; the same through JSON and the field tables.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"
#include "gate/settings.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                               \
	do {                                                                           \
		if (!(condition)) {                                                    \
			fprintf(stderr, "fuzz_yaml.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                       \
		}                                                                      \
	} while (0)

/* ---- the tree keeps its promises ---- */

static uint32_t check_tree(const struct json *j, uint32_t depth)
{
	uint32_t nodes = 1, count = 0;
	CHECK(depth <= YAML_MAX_DEPTH);
	CHECK(j->line > 0 && j->column > 0);
	for (const struct json *c = j->first; c; c = c->next) {
		CHECK((c->key.ptr != NULL) == (j->type == JSON_OBJECT));
		nodes += check_tree(c, depth + 1);
		count++;
	}
	CHECK(count == j->count);
	return nodes;
}

static void check_yaml(struct str text)
{
	struct arena a;
	struct yaml_fail fail = {0, 0, ""};
	arena_init(&a, 256);
	struct json *tree = yaml_parse(&a, text, &fail);
	if (tree)
		CHECK(check_tree(tree, 0) <= YAML_MAX_NODES);
	else
		CHECK(fail.line > 0 && fail.column > 0 && fail.what[0]);
	arena_release(&a);
}

/* ---- what is taken is complete ---- */

static void check_target(const struct target_conf *t)
{
	CHECK(t->name.len > 0 && t->name.len <= 64);
	CHECK(t->url.host.len > 0 && t->url.port > 0);
	CHECK(t->timeouts.connect_ms > 0 && t->timeouts.first_byte_ms > 0);
	CHECK(t->timeouts.idle_ms > 0 && t->timeouts.total_ms > 0);
	target_lists(t, STR("some-model"));
	target_public_name(t, STR("some-model"));
}

static void check_settings(const struct settings *s)
{
	CHECK(s->listen.count > 0 && s->listen.count == s->listen_texts.count);
	CHECK(s->discover.count == s->discover_texts.count);
	CHECK(s->workers >= 0 && s->workers <= 64 && s->attempts >= 1 && s->attempts <= 3);
	CHECK(s->timeouts.connect_ms > 0 && s->ceilings.max_body >= 1024);
	for (size_t i = 0; i < s->target_count; i++)
		check_target(&s->targets[i]);
	for (size_t i = 0; i < s->model_count; i++) {
		CHECK(s->models[i].name.len > 0);
		for (size_t j = 0; j < s->models[i].target_count; j++)
			CHECK(str_eq(s->models[i].targets[j].target,
				     s->targets[s->models[i].targets[j].index].name));
	}
}

/* A line each, nothing that steers a terminal. */
static void check_report(const struct field_reader *r)
{
	struct buf out;
	size_t lines = 0, problems = 0;
	buf_init(&out, 16 << 20);
	for (const struct field_problem *p = r->problems; p; p = p->next, problems++)
		field_problem_print(&out, STR("valet.yaml"), p);
	for (size_t i = 0; i < out.len; i++) {
		unsigned char c = (unsigned char)out.ptr[i];
		CHECK(c == '\n' || (c >= 0x20 && c != 0x7f));
		lines += c == '\n';
	}
	CHECK(lines == problems && problems <= FIELD_PROBLEMS_MAX);
	CHECK(problems == r->errors + r->warnings - r->dropped);
	buf_release(&out);
}

static void check_parse(struct str text)
{
	struct arena a;
	struct field_reader r = {.arena = &a};
	arena_init(&a, 256);
	struct settings *s = settings_parse(text, STR("valet.yaml"), NULL, 0, &r);
	CHECK((s == NULL) == (r.errors > 0));
	if (s)
		check_settings(s);
	check_report(&r);
	settings_free(s);
	arena_release(&a);
}

/* As the admin API reads it: JSON, where a member may stand twice and text has escapes. */
static void check_json(struct str text)
{
	struct arena a;
	struct json_fail fail;
	struct settings s;
	arena_init(&a, 256);
	memset(&s, 0, sizeof(s));
	struct json *tree = json_parse(&a, text, &fail);
	if (tree) {
		struct field_reader r = {.arena = &a, .values = &a};
		CHECK(fields_read(&r, tree, &settings_table, &s) == (r.errors == 0));
		check_report(&r);
		fields_release(&settings_table, &s);
	}
	arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = str_of((const char *)data, size);
	check_yaml(text);
	check_parse(text);
	check_json(text);
	return 0;
}
