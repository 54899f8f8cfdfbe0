/* test_catalog.c - what can be asked for and where: from settings and engines to models, names and places; what lives on across rebuilds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/catalog.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "text_fixture.h"

#define NOW          1700000000
#define ENGINES_MOST 1000

static struct arena arena;
static struct registry *registry;
static struct settings *settings;
static struct catalog_engine list[ENGINES_MOST];
static size_t engine_count;

static int set_up(void **state)
{
	arena_init(&arena, 4096);
	registry = registry_new();
	settings = settings_defaults();
	engine_count = 0;
	return 0;
}

static int tear_down(void **state)
{
	registry_free(registry);
	settings_free(settings);
	arena_release(&arena);
	return 0;
}

static void configure(const char *yaml)
{
	struct field_reader r = {.arena = &arena};
	settings_free(settings);
	settings = settings_parse(str_from(yaml), STR("valet.yaml"), NULL, 0, &r);
	if (!settings)
		fail_msg("%.*s", STR_ARG(r.problems->text));
}

/* `ids`: sorted, separated by spaces; "id=4096" says the window. */
static struct engine_models *models_of(const char *ids)
{
	struct engine_models *m = arena_zero(&arena, sizeof(*m));
	struct str rest = str_from(ids), part;
	m->list = arena_zero(&arena, (rest.len + 1) * sizeof(*m->list));
	while (str_split(&rest, ' ', &part)) {
		size_t equals = str_find(part, '=');
		if (part.len == 0)
			continue;
		struct engine_model *e = &m->list[m->count++];
		e->id = arena_dup(&arena, str_head(part, equals));
		str_to_i64(str_skip(part, equals + 1), &e->context);
	}
	return m;
}

/* Configured where the settings have a target of that name. */
static struct catalog_engine *engine(const char *name, enum engine_kind kind, const char *ids)
{
	struct catalog_engine *e = &list[engine_count++];
	*e = (struct catalog_engine){
		str_from(name), STR("http://gpu:8000"), kind, 2, 0, models_of(ids), NULL};
	for (size_t i = 0; i < settings->target_count; i++)
		if (str_eq(settings->targets[i].name, e->name)) {
			e->conf = &settings->targets[i];
			e->url = e->conf->url_text;
		}
	return e;
}

static struct catalog *build(void)
{
	struct catalog *c = catalog_build(registry, settings, list, engine_count, NOW);
	struct json_fail fail;
	struct json *json = json_parse(&arena, c->list_json, &fail);
	assert_non_null(json);
	assert_int_equal(json_get(json, STR("data"))->count, c->model_count);
	for (uint32_t i = 0; i < c->model_count; i++) {
		assert_true(c->models[i].place_count > 0 && c->models[i].operations);
		assert_ptr_equal(catalog_model(c, c->models[i].name), &c->models[i]);
	}
	return c;
}

/* All names, in their order. */
static void expect_names(const struct catalog *c, const char *want)
{
	struct buf b;
	buf_init(&b, 65536);
	for (uint32_t i = 0; i < c->model_count; i++) {
		if (i)
			buf_addc(&b, ' ');
		buf_adds(&b, c->models[i].name);
	}
	assert_str(buf_str(&b), want);
	buf_release(&b);
}

/* "target/engine's name", in their order. */
static void expect_places(const struct catalog *c, const char *name, const char *want)
{
	const struct catalog_model *m = catalog_model(c, str_from(name));
	struct buf b;
	buf_init(&b, 65536);
	if (!m)
		fail_msg("no model '%s'", name);
	for (uint32_t i = 0; i < m->place_count; i++)
		buf_addf(&b, "%s%.*s/%.*s", i ? " " : "", STR_ARG(m->places[i].target->name),
			 STR_ARG(m->places[i].model));
	assert_str(buf_str(&b), want);
	buf_release(&b);
}

/* ---- what is found ---- */

static void test_nothing(void **state)
{
	struct catalog *c = build();
	assert_int_equal(c->target_count + c->model_count, 0);
	assert_str(c->list_json, "{\"object\":\"list\",\"data\":[]}");
	assert_null(catalog_model(c, STR("")));
	assert_true(c->guard && !c->ready);
	catalog_unref(c);
	catalog_unref(NULL);
}

static void test_union(void **state)
{
	engine("vllm", ENGINE_VLLM, "a b=8192");
	engine("ollama", ENGINE_OLLAMA, "b=4096 c");
	engine("what", ENGINE_NONE, "d");
	struct catalog *c = build();
	expect_names(c, "a b c d");
	expect_places(c, "b", "vllm/b ollama/b");
	expect_places(c, "d", "what/d");
	const struct catalog_model *b = catalog_model(c, STR("b"));
	assert_int_equal(b->context, 8192);
	assert_int_equal(b->operations,
			 engines[ENGINE_VLLM].operations | engines[ENGINE_OLLAMA].operations);
	assert_int_equal(catalog_model(c, STR("c"))->operations, engines[ENGINE_OLLAMA].operations);
	assert_int_equal(c->targets[2].kind, ENGINE_OPENAI);
	assert_str(
		b->json,
		"{\"id\":\"b\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"valet\","
		"\"max_model_len\":8192,\"context_length\":8192}");
	assert_str(b->places[1].lines,
		   "x-valet-target: ollama\r\nx-valet-model: b\r\n");
	catalog_unref(c);
}

static void test_targets(void **state)
{
	configure(
		"targets: [{name: t, url: 'https://h.example:8443/api/v1/', max_concurrency: 3, "
		"timeouts: {idle: 7s}}]\n"
		"timeouts: {idle: 9s, connect: 1s}\nattempts: 2\ncors: [\"https://a.example\"]\n");
	engine("t", ENGINE_OPENAI, "m");
	engine("found", ENGINE_VLLM, "m")->url = STR("http://[::1]:8000");
	engine("broken", ENGINE_VLLM, "m")->url = STR("nonsense");
	struct catalog *c = build();
	assert_int_equal(c->target_count, 2);
	expect_places(c, "m", "t/m found/m");
	const struct catalog_target *t = &c->targets[0];
	assert_str(t->host, "h.example");
	assert_int_equal(t->port, 8443);
	assert_true(t->https && t->max_concurrency == 3 && t->timeouts.idle_ms == 7000 &&
		    t->timeouts.connect_ms == 1000);
	assert_str(t->base_path, "/api/v1");
	assert_str(t->host_line, "host: h.example:8443\r\n");
	assert_str(t->address, "https h.example 8443 ");
	assert_str(t[1].host, "::1");
	assert_str(t[1].base_path, "/v1");
	assert_true(t[1].timeouts.idle_ms == 9000 && t[1].max_concurrency == 0 && !t[1].https);
	assert_true(c->attempts == 2 && c->cors.count == 1);
	assert_str(c->cors.items[0], "https://a.example");
	catalog_unref(c);
}

/* What fits at Ollama is what its window may be raised to; what it has now is told apart. */
static void test_windows(void **state)
{
	configure("targets: [{name: o, url: 'http://o:11434', kind: ollama, num_ctx_max: 32768}, {name: v, url: 'http://v:8000', kind: vllm, num_ctx_max: 32768}]\n");
	struct engine_models *models = models_of("a=4096 b=16384 c=8192 d");
	static const int64_t most[] = {131072, 16384, 8192, 0};
	for (uint32_t i = 0; i < 4; i++)
		models->list[i].context_max = most[i];
	models->list[2].context_guessed = true;
	engine("o", ENGINE_OLLAMA, "")->models = models;
	engine("v", ENGINE_VLLM, "e=4096");
	struct catalog *c = build();
	static const struct {
		const char *name;
		int64_t context, window;
	} want[] = {{"a", 32768, 4096}, {"b", 16384, 16384}, {"c", 8192, 0}, {"d", 32768, 0}, {"e", 4096, 4096}};
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		const struct catalog_model *m = catalog_model(c, str_from(want[i].name));
		assert_int_equal(m->context, want[i].context);
		assert_int_equal(m->places[0].context, want[i].context);
		assert_int_equal(m->places[0].window, want[i].window);
		assert_int_equal(m->places[0].context_max, i < 4 ? most[i] : 0);
	}
	assert_true(c->targets[0].num_ctx_max == 32768 && c->targets[1].num_ctx_max == 0);
	catalog_unref(c);
}

/* What the engines told last lives on in the catalog, whatever becomes of their lists. */
static void test_owns_its_texts(void **state)
{
	struct arena own = arena;
	arena_init(&arena, 256);
	engine("vllm", ENGINE_VLLM, "model-of-an-engine");
	struct catalog *c = build();
	arena_release(&arena);
	arena = own;
	settings_free(settings);
	settings = settings_defaults();
	expect_places(c, "model-of-an-engine", "vllm/model-of-an-engine");
	catalog_unref(c);
}

/* ---- which are listed, and as what ---- */

static void test_include_exclude_rename(void **state)
{
	configure("targets: [{name: t, url: 'http://t', models: {include: ['a*', b], exclude: "
		  "['*-test'], rename: {a1: one, b: two}}},\n"
		  "          {name: u, url: 'http://u', models: {rename: {x: one}}}]\n");
	engine("t", ENGINE_VLLM, "a1=100 a2 a2-test b bb c");
	engine("u", ENGINE_VLLM, "x=200 z");
	struct catalog *c = build();
	expect_names(c, "a2 one two z");
	expect_places(c, "one", "t/a1 u/x");
	expect_places(c, "two", "t/b");
	assert_int_equal(catalog_model(c, STR("one"))->context, 200);
	assert_null(catalog_model(c, STR("a1")));
	assert_null(catalog_model(c, STR("a2-test")));
	catalog_unref(c);
}

static void test_configured_targets(void **state)
{
	configure("targets: [{name: g1, url: 'http://g1'}, {name: g2, url: 'http://g2'}, {name: "
		  "g3, url: 'http://g3'}]\n"
		  "models: [{name: chat, aliases: [gpt-4o, big], targets: [{target: g2, model: "
		  "Qwen}, g1, {target: g2, model: Qwen}]},\n"
		  "         {name: any, aliases: [some]}]\n");
	engine("g1", ENGINE_VLLM, "any chat=512 other");
	engine("g2", ENGINE_VLLM, "Qwen=4096 any chat=99999");
	engine("g3", ENGINE_VLLM, "any chat=88888");
	struct catalog *c = build();
	expect_names(c, "Qwen any chat other");
	expect_places(c, "chat", "g2/Qwen g1/chat");
	expect_places(c, "any", "g1/any g2/any g3/any");
	/* the window of what is asked there, not of what has its name elsewhere */
	assert_int_equal(catalog_model(c, STR("chat"))->context, 4096);
	assert_ptr_equal(catalog_model(c, STR("gpt-4o")), catalog_model(c, STR("chat")));
	assert_ptr_equal(catalog_model(c, STR("big")), catalog_model(c, STR("chat")));
	assert_ptr_equal(catalog_model(c, STR("some")), catalog_model(c, STR("any")));
	catalog_unref(c);
}

/* Configured models stay listed while their targets are silent; others come and go. */
static void test_silent_targets(void **state)
{
	configure("targets: [{name: g1, url: 'http://g1'}]\n"
		  "models: [{name: chat, aliases: [c], targets: [g1]}, {name: loose, aliases: "
		  "[l]}]\n");
	engine("g1", ENGINE_NONE, "");
	struct catalog *c = build();
	expect_names(c, "chat");
	assert_non_null(catalog_model(c, STR("c")));
	assert_null(catalog_model(c, STR("l")));
	catalog_unref(c);
}

static void test_alias_never_hides_a_model(void **state)
{
	configure("targets: [{name: g1, url: 'http://g1'}]\nmodels: [{name: chat, aliases: [real], "
		  "targets: [g1]}]\n");
	engine("g1", ENGINE_VLLM, "chat real");
	struct catalog *c = build();
	assert_str(catalog_model(c, STR("real"))->name, "real");
	catalog_unref(c);
}

static void test_latest(void **state)
{
	engine("ollama", ENGINE_OLLAMA, "llama3 llama3:latest qwen3:8b qwen3:latest");
	engine("vllm", ENGINE_VLLM, "other:latest");
	struct catalog *c = build();
	assert_str(catalog_model(c, STR("qwen3"))->name, "qwen3:latest");
	assert_str(catalog_model(c, STR("llama3"))->name, "llama3");
	assert_null(catalog_model(c, STR("other")));
	assert_null(catalog_model(c, STR("qwen3:")));
	expect_names(c, "llama3 llama3:latest other:latest qwen3:8b qwen3:latest");
	catalog_unref(c);
}

/* ---- near names ---- */

static void expect_near(const struct catalog *c, const char *name, const char *want)
{
	struct buf b;
	buf_init(&b, 4096);
	catalog_near(c, str_from(name), &b);
	assert_str(buf_str(&b), want);
	buf_release(&b);
}

static void test_near(void **state)
{
	engine("vllm", ENGINE_VLLM,
	       "Qwen/Qwen3-32B gemma3 llama3.1 llama3.2 llama3.3 llama3.4 zephyr");
	struct catalog *c = build();
	expect_near(c, "zephir", "; did you mean 'zephyr'?");
	expect_near(c, "ZEPHYR", "; did you mean 'zephyr'?");
	expect_near(c, "qwen3-32b", "");
	expect_near(c, "Qwen3-32B", "; did you mean 'Qwen/Qwen3-32B'?");
	expect_near(c, "llama3.9", "; did you mean 'llama3.1', 'llama3.2' or 'llama3.3'?");
	expect_near(c, "llama3.44", "; did you mean 'llama3.4', 'llama3.1' or 'llama3.2'?");
	expect_near(c, "gpt-4o", "");
	expect_near(c, "", "");
	expect_near(c,
		    "gemma3 with a name of more than one hundred and twenty-eight bytes that "
		    "nobody would type in, and which is "
		    "not worth the work of comparing it",
		    "");
	catalog_unref(c);
}

/* Clients know models by their aliases as well. */
static void test_near_aliases(void **state)
{
	configure("targets: [{name: g1, url: 'http://g1'}]\n"
		  "models: [{name: house, aliases: [gpt-4o, gpt-4o-mini, gpt-4.1], targets: [g1]}, {name: zephyr, aliases: [wind], targets: [g1]},\n"
		  "         {name: a, aliases: [claude-3], targets: [g1]}, {name: b, aliases: [claude-4], targets: [g1]},\n"
		  "         {name: claude-9, targets: [g1]}, {name: d, aliases: [claude-5], targets: [g1]}]\n");
	engine("ollama", ENGINE_OLLAMA, "qwen3:latest qwen3:8b");
	engine("g1", ENGINE_VLLM, "unlike");
	struct catalog *c = build();
	expect_near(c, "gpt-4p", "; did you mean 'gpt-4o'?"); /* one of the names of a model is enough: the nearest */
	expect_near(c, "wynd", "; did you mean 'wind'?");
	expect_near(c, "zephir", "; did you mean 'zephyr'?");
	expect_near(c, "qwem3", "; did you mean 'qwen3'?");
	expect_near(c, "qwen", "; did you mean 'qwen3:8b' or 'qwen3:latest'?");
	expect_near(c, "claude-7", "; did you mean 'claude-9', 'claude-3' or 'claude-4'?");
	catalog_unref(c);
}

/* ---- what lives on ---- */

static void test_states_live_on(void **state)
{
	engine("a", ENGINE_VLLM, "m");
	engine("b", ENGINE_VLLM, "m n");
	struct catalog *first = build();
	struct target_state *a = first->targets[0].state, *b = first->targets[1].state;
	assert_true(a != b && a->index != b->index && (uintptr_t)a % 64 == 0);
	assert_string_equal(b->name, "b");
	atomic_store(&b->places.taken, 7);
	uint32_t series = catalog_model(first, STR("n"))->places[0].series;
	engine_count = 0;
	engine("c", ENGINE_VLLM, "m");
	engine("b", ENGINE_OLLAMA, "n o")->up = 3;
	struct catalog *second = build();
	assert_ptr_equal(second->targets[1].state, b);
	assert_true(second->targets[0].state != a);
	assert_int_equal(atomic_load(&b->places.taken), 7);
	assert_int_equal(atomic_load(&b->up), 3);
	assert_int_equal(catalog_model(second, STR("n"))->places[0].series, series);
	engine_count = 0;
	engine("a", ENGINE_VLLM, "m");
	struct catalog *third = build();
	assert_ptr_equal(third->targets[0].state, a);
	assert_int_equal(catalog_model(third, STR("m"))->places[0].series,
			 catalog_model(first, STR("m"))->places[0].series);
	catalog_unref(second);
	catalog_unref(third);
	catalog_unref(first);
}

static void test_series(void **state)
{
	struct series_labels l;
	engine("a", ENGINE_VLLM, "m n");
	engine("am", ENGINE_VLLM, "n");
	struct catalog *c = build();
	assert_int_equal(registry_series_count(registry), 3);
	for (uint32_t i = 0; i < c->model_count; i++)
		for (uint32_t p = 0; p < c->models[i].place_count; p++) {
			const struct catalog_place *place = &c->models[i].places[p];
			assert_true(registry_series_labels(registry, place->series, &l));
			assert_true(str_eq(l.target, place->target->name) &&
				    str_eq(l.model, c->models[i].name));
		}
	assert_false(registry_series_labels(registry, 3, &l));
	catalog_unref(build());
	assert_int_equal(registry_series_count(registry), 3);
	catalog_unref(c);
}

static void test_refs(void **state)
{
	engine("a", ENGINE_VLLM, "m");
	struct catalog *c = build();
	assert_ptr_equal(catalog_ref(c), c);
	assert_int_equal(atomic_load(&c->refs), 2);
	catalog_unref(c);
	assert_int_equal(atomic_load(&c->refs), 1);
	expect_names(c, "m");
	catalog_unref(c);
}

/* ---- hostile and many ---- */

static void test_hostile_names(void **state)
{
	struct engine_models *m = models_of("a b c d e");
	m->list[0].id = STR("x\r\nset-cookie: a=b\r\n\r\nbody");
	m->list[1].id = STR("\"},{\"id\":\"y");
	m->list[2].id = STR("\xff\xfe\x00\x7f");
	m->list[3].id = STR("../../etc/passwd");
	m->list[4].id = STR("%s%n\\");
	m->list[4].owned_by = STR("\"\\\n");
	m->list[4].created = INT64_MAX;
	m->list[4].context = INT64_MAX;
	engine("a", ENGINE_VLLM, "")->models = m;
	struct catalog *c = build();
	assert_int_equal(c->model_count, 5);
	for (uint32_t i = 0; i < c->model_count; i++) {
		struct str lines = c->models[i].places[0].lines, name, line;
		struct json_fail fail;
		int n = 0;
		assert_non_null(json_parse(&arena, c->models[i].json, &fail));
		assert_true(str_ends(lines, STR("\r\n")));
		for (size_t at = 0; at < lines.len; at++)
			assert_true(lines.ptr[at] == '\r' || lines.ptr[at] == '\n' ||
				    (unsigned char)lines.ptr[at] >= ' ');
		while (str_split(&lines, '\n', &line) && line.len > 0) {
			name = str_head(line, str_find(line, ':'));
			assert_true(str_starts(name, STR("x-valet-")) &&
				    str_find(line, '\r') == line.len - 1);
			n++;
		}
		assert_int_equal(n, 2);
	}
	assert_non_null(catalog_model(c, STR("%s%n\\")));
	catalog_unref(c);
}

/* 1,000 targets of 110 models each: ten of their own, a hundred that all have. */
static void test_many(void **state)
{
	for (int t = 0; t < ENGINES_MOST; t++) {
		struct engine_models *m = arena_zero(&arena, sizeof(*m));
		m->list = arena_zero(&arena, 110 * sizeof(*m->list));
		for (int i = 0; i < 110; i++)
			m->list[m->count++].id =
				i < 100 ? arena_printf(&arena, "all/%03d", i)
					: arena_printf(&arena, "own/%04d-%03d", t, i);
		engine(arena_printf(&arena, "target-%d", t).ptr, ENGINE_VLLM, "")->models = m;
	}
	int64_t began = clock_mono_us();
	struct catalog *c = build();
	int64_t built = clock_mono_us();
	struct buf b;
	buf_init(&b, 4096);
	catalog_near(
		c,
		STR("own/0001-1000-and-much-more-of-a-name-that-is-not-there-but-costs-some-time"),
		&b);
	int64_t looked = clock_mono_us();
	print_message("built in %lld ms; near names in %lld us\n",
		      (long long)(built - began) / 1000, (long long)(looked - built));
	assert_int_equal(c->model_count, 10100);
	assert_int_equal(catalog_model(c, STR("all/007"))->place_count, 1000);
	assert_int_equal(registry_series_count(registry), 110000);
	assert_true(built - began < 20000000);
	buf_release(&b);
	catalog_unref(build());
	catalog_unref(c);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_nothing),
		T(test_union),
		T(test_targets),
		T(test_windows),
		T(test_owns_its_texts),
		T(test_include_exclude_rename),
		T(test_configured_targets),
		T(test_silent_targets),
		T(test_alias_never_hides_a_model),
		T(test_latest),
		T(test_near),
		T(test_near_aliases),
		T(test_states_live_on),
		T(test_series),
		T(test_refs),
		T(test_hostile_names),
		T(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
