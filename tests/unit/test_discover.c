/* test_discover.c - probes and discovery against small fake engines on the same loop.
 *
 * What the fakes answer are the files in tests/cases/engines/. Nothing is looked at on default
 * ports, so that what runs on the machine does not matter.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/discover.h"
#include "admin/probe.h"

#include "server_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define FAKES_MAX    4

/* ---- fake engines ---- */

struct route {
	const char *path;
	int status;
	const char *body; /* text, or "@file" */
};

static const struct route vllm_routes[] = {{"/v1/models", 200, "@vllm_models.json"},
					   {"/health", 200, ""},
					   {"/version", 200, "{\"version\":\"0.12.1\"}"},
					   {NULL, 0, NULL}};
static const struct route vllm_other_routes[] = {
	{"/v1/models", 200,
	 "{\"data\":[{\"id\":\"b\",\"owned_by\":\"vllm\",\"max_model_len\":1000}]}"},
	{"/health", 200, ""},
	{NULL, 0, NULL}};
#define METRICS(running, waiting) "vllm:num_requests_running{engine=\"0\"} " running "\nvllm:num_requests_waiting{engine=\"0\"} " waiting "\n"
static const struct route vllm_idle_routes[] = {{"/v1/models", 200, "@vllm_models.json"},
						{"/health", 200, ""},
						{"/metrics", 200, METRICS("0.0", "0.0")},
						{NULL, 0, NULL}};
static const struct route vllm_busy_routes[] = {{"/v1/models", 200, "@vllm_models.json"},
						{"/health", 200, ""},
						{"/metrics", 200, METRICS("9.0", "4.0")},
						{NULL, 0, NULL}};
static const struct route llamacpp_wider_routes[] = {{"/v1/models", 200, "@llamacpp_models.json"},
						     {"/props", 200, "{\"total_slots\":8,\"default_generation_settings\":{\"n_ctx\":8192}}"},
						     {NULL, 0, NULL}};
static const struct route vllm_dead_routes[] = {
	{"/v1/models", 200, "@vllm_models.json"}, {"/health", 503, ""}, {NULL, 0, NULL}};
static const struct route llamacpp_routes[] = {{"/v1/models", 200, "@llamacpp_models.json"},
					       {"/props", 200, "@llamacpp_props.json"},
					       {"/health", 200, "{\"status\":\"ok\"}"},
					       {NULL, 0, NULL}};
static const struct route loading_routes[] = {{"*", 503, "@llamacpp_loading.json"},
					      {NULL, 0, NULL}};
static const struct route ollama_routes[] = {{"/", 200, "Ollama is running"},
					     {"/api/version", 200, "{\"version\":\"0.12.6\"}"},
					     {"/api/tags", 200, "@ollama_tags.json"},
					     {"/api/ps", 200, "@ollama_ps.json"},
					     {"/api/show", 200, "@ollama_show.json"},
					     {"/v1/models", 200, "@ollama_models.json"},
					     {NULL, 0, NULL}};
static const struct route ollama_empty_routes[] = {{"/api/tags", 200, "@ollama_tags.json"},
						   {"/api/ps", 200, "{\"models\":[]}"},
						   {"/api/show", 200, "@ollama_show.json"},
						   {NULL, 0, NULL}};
static const struct route lmstudio_routes[] = {{"/v1/models", 200, "@lmstudio_models.json"},
					       {"/api/v1/models", 200, "@lmstudio_v1.json"},
					       {"/api/v0/models", 200, "@lmstudio_v0.json"},
					       {"*", 200, "@lmstudio_unexpected.json"},
					       {NULL, 0, NULL}};
static const struct route lmstudio_old_routes[] = {{"/v1/models", 200, "@lmstudio_models.json"},
						   {"/api/v0/models", 200, "@lmstudio_v0.json"},
						   {"*", 200, "@lmstudio_unexpected.json"},
						   {NULL, 0, NULL}};
static const struct route sglang_routes[] = {{"/v1/models", 200, "@sglang_models.json"},
					     {"/get_model_info", 200, "@sglang_model_info.json"},
					     {NULL, 0, NULL}};
static const struct route openai_routes[] = {{"/v1/models", 200, "@openai_models.json"},
					     {NULL, 0, NULL}};
static const struct route based_routes[] = {{"/inference/v1/models", 200, "@openai_models.json"},
					    {NULL, 0, NULL}};
static const struct route stranger_routes[] = {{"*", 200, "<html>"}, {NULL, 0, NULL}};
static const struct route nothing_routes[] = {{NULL, 0, NULL}};
static const struct route failing_routes[] = {{"*", 500, "{}"}, {NULL, 0, NULL}};
static const struct route busy_routes[] = {{"*", 429, "{}"}, {NULL, 0, NULL}};

struct fake {
	struct fake_server server;
	const struct route *routes;
	const char *fields;
	const char *key;  /* demanded in Authorization */
	bool hangs;       /* never answers */
	unsigned hits;    /* requests */
	char paths[2048]; /* "GET /v1/models\n" … */
	bool open;
};

static struct fake fakes[FAKES_MAX];

static struct str body_of(const struct route *r)
{
	static char bytes[65536];
	char path[1024];
	struct str dir = STR(__FILE__);
	if (r->body[0] != '@')
		return str_from(r->body);
	while (dir.len > 0 && dir.ptr[dir.len - 1] != '/')
		dir.len--;
	snprintf(path, sizeof(path), "%.*s../cases/engines/%s", STR_ARG(dir), r->body + 1);
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	size_t n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	return str_of(bytes, n);
}

static bool has_key(const struct fake *f, const struct http_conn *c)
{
	return !f->key || str_eq(http_head_get(c->head, STR("authorization")), str_from(f->key));
}

static void on_request(struct http_conn *c)
{
	struct fake *f = c->server->owner;
	struct str url = http_head_url(c->head);
	size_t used = strlen(f->paths);
	f->hits++;
	snprintf(f->paths + used, sizeof(f->paths) - used, "%s %.*s\n",
		 http_method_name((enum http_method)c->head->method), STR_ARG(url));
	if (f->hangs)
		return;
	if (!has_key(f, c)) {
		http_respond(c, 401, STR(""), STR("{\"error\":\"Unauthorized\"}"));
		return;
	}
	for (const struct route *r = f->routes; r->path; r++) {
		if (!str_eq(url, str_from(r->path)) && r->path[0] != '*')
			continue;
		http_respond(c, r->status, str_from(f->fields ? f->fields : ""), body_of(r));
		return;
	}
	http_respond(c, 404, str_from(f->fields ? f->fields : ""), STR("not found"));
}

static const struct http_server_events fake_events = {.request = on_request, .gone = fake_gone};

static void fake_open(struct fake *f, const struct route *routes, uint16_t port)
{
	*f = (struct fake){.routes = routes, .open = true};
	fake_server_open(&f->server, &fake_events, f, port);
}

static void fake_close(struct fake *f)
{
	if (f->open)
		fake_server_close(&f->server);
	f->open = false;
}

static struct fake *fake(int i, const struct route *routes)
{
	fake_open(&fakes[i], routes, 0);
	return &fakes[i];
}

static int set_up(void **state)
{
	loop_init(&loop);
	return 0;
}

static int tear_down(void **state)
{
	for (int i = 0; i < FAKES_MAX; i++)
		fake_close(&fakes[i]);
	end_loop();
	return 0;
}

/* ---- probes ---- */

static struct probe probe;
static bool probed;

static void on_probed(struct probe *p)
{
	probed = true;
}

static void look(const char *base, enum engine_kind kind, const char *fields)
{
	struct url url;
	assert_null(url_parse(str_from(base), &url));
	probed = false;
	probe_start(&probe, &loop, NULL, &url, kind, str_from(fields), 200, on_probed);
	assert_false(probed);
	UNTIL(probed);
}

static int64_t context_of(const char *id)
{
	const struct engine_model *m = engine_models_find(&probe.models, str_from(id));
	if (!m)
		fail_msg("no model %s", id);
	return m->context;
}

static void test_probe_kinds(void **state)
{
	static const struct {
		const struct route *routes;
		enum engine_kind kind;
		uint32_t models;
		const char *model;
		int64_t context;
		unsigned known_hits; /* of a second look, when the kind is known */
	} cases[] = {
		{vllm_routes, ENGINE_VLLM, 2, "qwen3-32b", 32768, 2},
		{llamacpp_routes, ENGINE_LLAMACPP, 1, "C:\\models\\gemma-3.gguf", 8192, 2},
		{ollama_routes, ENGINE_OLLAMA, 2, "nomic-embed-text:latest", 16384, 2},
		{lmstudio_routes, ENGINE_LMSTUDIO, 3, "qwen/qwen3-4b", 8192, 2},
		{lmstudio_old_routes, ENGINE_LMSTUDIO, 3, "gemma-3-12b", 131072, 2},
		{sglang_routes, ENGINE_SGLANG, 1, "meta-llama/Llama-3.1-8B-Instruct", 131072, 1},
		{openai_routes, ENGINE_OPENAI, 2, "vendor/model-a:free", 200000, 1},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fake *f = fake(0, cases[i].routes);
		probe_init(&probe);
		look(f->server.url, PROBE_ANY, "");
		assert_int_equal(probe.outcome, PROBE_ALIVE);
		assert_int_equal(probe.kind, cases[i].kind);
		assert_int_equal(probe.models.count, cases[i].models);
		assert_int_equal(context_of(cases[i].model), cases[i].context);
		struct probe before = probe;
		probe_init(&probe);
		probe.last = &before.models;
		probe.lacking = before.lacking;
		f->hits = 0;
		look(f->server.url, cases[i].kind, "");
		assert_int_equal(probe.outcome, PROBE_ALIVE);
		assert_int_equal(f->hits, cases[i].known_hits);
		assert_true(engine_models_same(&before.models, &probe.models));
		probe_release(&before);
		probe_release(&probe);
		fake_close(f);
	}
}

static void test_probe_never_generates(void **state)
{
	static const struct route *const all[] = {vllm_routes,     llamacpp_routes, ollama_routes,
						  lmstudio_routes, sglang_routes,   openai_routes,
						  stranger_routes};
	for (size_t i = 0; i < COUNT(all); i++) {
		struct fake *f = fake(0, all[i]);
		probe_init(&probe);
		look(f->server.url, PROBE_ANY, "");
		probe_release(&probe);
		assert_null(strstr(f->paths, "chat"));
		assert_null(strstr(f->paths, "generate"));
		assert_null(strstr(f->paths, "POST /v1"));
		if (all[i] == sglang_routes)
			assert_null(strstr(f->paths, "health"));
		fake_close(f);
	}
}

static void expect_outcome(const char *url, enum engine_kind kind, enum probe_outcome outcome)
{
	probe_init(&probe);
	look(url, kind, "");
	if (probe.outcome != outcome)
		fail_msg("%s: outcome %d instead of %d (%.*s)", url, probe.outcome, outcome,
			 STR_ARG(probe.why));
	assert_int_equal(probe.why.len > 0, outcome != PROBE_ALIVE);
	assert_int_equal(probe.models.count, 0);
	probe_release(&probe);
}

static void test_probe_outcomes(void **state)
{
	static const struct {
		const struct route *routes;
		enum engine_kind kind;
		enum probe_outcome outcome;
	} cases[] = {
		{loading_routes, PROBE_ANY, PROBE_LOADING},
		{loading_routes, ENGINE_LLAMACPP, PROBE_LOADING},
		{stranger_routes, PROBE_ANY, PROBE_STRANGER},
		{stranger_routes, ENGINE_VLLM, PROBE_STRANGER},
		{nothing_routes, PROBE_ANY, PROBE_STRANGER},
		{nothing_routes, ENGINE_OLLAMA, PROBE_STRANGER},
		{nothing_routes, ENGINE_OPENAI, PROBE_ALIVE}, /* some have no list */
		{failing_routes, PROBE_ANY, PROBE_FAILING},
		{failing_routes, ENGINE_OPENAI, PROBE_FAILING},
		{busy_routes, ENGINE_OPENAI, PROBE_ALIVE},
		{busy_routes, PROBE_ANY, PROBE_STRANGER},
		{vllm_dead_routes, ENGINE_VLLM, PROBE_FAILING},
		{vllm_routes, ENGINE_OLLAMA, PROBE_STRANGER},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fake *f = fake(0, cases[i].routes);
		expect_outcome(f->server.url, cases[i].kind, cases[i].outcome);
		fake_close(f);
		expect_outcome(f->server.url, cases[i].kind, PROBE_REFUSED);
	}
}

static void test_probe_slow(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->hangs = true;
	expect_outcome(f->server.url, PROBE_ANY, PROBE_SLOW);
	assert_int_equal(f->hits, 1);
	expect_outcome(f->server.url, ENGINE_VLLM, PROBE_SLOW);
}

static void test_probe_key(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->key = "Bearer sk-1";
	expect_outcome(f->server.url, PROBE_ANY, PROBE_DENIED);
	expect_outcome(f->server.url, ENGINE_VLLM, PROBE_DENIED);
	probe_init(&probe);
	look(f->server.url, PROBE_ANY, "authorization: Bearer sk-1\r\n");
	assert_int_equal(probe.outcome, PROBE_ALIVE);
	probe_release(&probe);
}

static void test_probe_base_path(void **state)
{
	char url[128];
	struct fake *f = fake(0, based_routes);
	snprintf(url, sizeof(url), "%s/inference/v1", f->server.url);
	probe_init(&probe);
	look(url, ENGINE_OPENAI, "");
	assert_int_equal(probe.models.count, 2);
	probe_release(&probe);
	fake_close(f);
	f = fake(0, ollama_routes);
	snprintf(url, sizeof(url), "%s/v1", f->server.url);
	probe_init(&probe);
	look(url, PROBE_ANY, "");
	assert_int_equal(probe.kind, ENGINE_OLLAMA);
	probe_release(&probe);
}

static void test_probe_valet(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->fields = "server: valet\r\n";
	expect_outcome(f->server.url, PROBE_ANY, PROBE_VALET);
}

static void test_probe_given_up(void **state)
{
	struct url url;
	struct fake *f = fake(0, vllm_routes);
	assert_null(url_parse(str_from(f->server.url), &url));
	probe_init(&probe);
	probe_start(&probe, &loop, NULL, &url, ENGINE_VLLM, STR(""), 200, on_probed);
	probed = false;
	probe_release(&probe);
	run_for(300);
	assert_false(probed);
}

static void test_probe_contradicted(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	probe_init(&probe);
	probe.recheck = true;
	look(f->server.url, ENGINE_SGLANG, "");
	assert_int_equal(probe.outcome, PROBE_STRANGER);
	probe_release(&probe);
	look(f->server.url, ENGINE_SGLANG, ""); /* configured: what is written counts */
	assert_int_equal(probe.outcome, PROBE_ALIVE);
	probe_release(&probe);
}

/* ---- discovery ---- */

static struct discovery *discovery;
static unsigned changes, readies, looks;
static struct engine_load looked_load; /* of the last look; its texts are not to be read */

static void on_changed(void *user)
{
	changes++;
}

static void on_ready(void *user)
{
	readies++;
}

static void on_looked(void *user, const struct engine *e)
{
	looks++;
	looked_load = e->load;
}

static void begin(const char *first, const char *second, uint16_t own)
{
	const struct str places[] = {str_from(first), str_from(second)};
	changes = readies = looks = 0;
	discovery = discovery_new(&(struct discover_options){.loop = &loop,
							     .places = places,
							     .place_count = second  ? 2
									    : first ? 1
										    : 0,
							     .own_ports = &own,
							     .own_port_count = own ? 1 : 0,
							     .interval_ms = 40,
							     .grace_ms = 400,
							     .timeout_ms = 150,
							     .changed = on_changed,
							     .ready = on_ready,
							     .looked = on_looked});
}

static void end(void)
{
	discovery_free(discovery);
	discovery = NULL;
	run_for(30);
}

static const struct engine *engine_named(const char *name)
{
	for (const struct engine *e = NULL; (e = discovery_next(discovery, e));)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

/* What it said last of its places and requests; NULL: it is not listed. */
static const struct engine_load *load_of(const char *name)
{
	const struct engine *e = engine_named(name);
	return e ? &e->load : NULL;
}

static unsigned engine_count(void)
{
	unsigned n = 0;
	for (const struct engine *e = NULL; (e = discovery_next(discovery, e));)
		n++;
	return n;
}

static bool is_in(const char *name, enum engine_state state)
{
	const struct engine *e = engine_named(name);
	return e && e->state == state;
}

static void test_nothing_to_find(void **state)
{
	begin(NULL, NULL, 0);
	UNTIL(readies == 1);
	assert_int_equal(changes, 0);
	end();
	struct fake *f = fake(0, vllm_routes);
	fake_close(f);
	begin(f->server.url, NULL, 0);
	UNTIL(readies == 1);
	run_for(100);
	assert_int_equal(changes, 0);
	assert_int_equal(engine_count(), 0);
	end();
}

static void test_found_lost_back(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	uint16_t port = f->server.port;
	begin(f->server.url, NULL, 0);
	UNTIL(readies == 1);
	assert_true(changes >= 1);
	const struct engine *e = engine_named("vllm");
	assert_non_null(e);
	assert_int_equal(e->state, ENGINE_UP);
	assert_int_equal(e->kind, ENGINE_VLLM);
	assert_false(e->configured);
	assert_int_equal(e->models->count, 2);
	assert_string_equal(e->url, f->server.url);
	assert_string_equal(e->version, "0.12.1");
	unsigned before = changes;
	run_for(150);
	assert_int_equal(changes, before); /* nothing new: nothing told */
	fake_close(f);
	UNTIL(is_in("vllm", ENGINE_DOWN));
	assert_int_equal(engine_named("vllm")->models->count, 2); /* until the grace time is over */
	assert_true(engine_named("vllm")->error[0] != '\0');
	fake_open(f, vllm_routes, port);
	UNTIL(is_in("vllm", ENGINE_UP));
	fake_close(f);
	UNTIL(engine_count() == 0);
	fake_open(f, vllm_routes, port);
	UNTIL(is_in("vllm", ENGINE_UP));
	end();
}

static void test_other_kind(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("vllm", ENGINE_UP));
	f->routes = ollama_routes;
	UNTIL(is_in("ollama", ENGINE_UP));
	assert_int_equal(engine_count(), 1);
	end();
}

static void test_models_change(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("vllm", ENGINE_UP));
	run_for(60);
	unsigned before = changes;
	f->routes = vllm_other_routes;
	UNTIL(changes == before + 1);
	assert_int_equal(engine_named("vllm")->models->count, 1);
	assert_int_equal(engine_named("vllm")->models->list[0].context, 1000);
	end();
}

static void test_two_alike(void **state)
{
	struct fake *a = fake(0, vllm_routes), *b = fake(1, vllm_routes);
	begin(a->server.url, b->server.url, 0);
	UNTIL(readies == 1);
	assert_true(is_in("vllm", ENGINE_UP));
	assert_true(is_in("vllm-2", ENGINE_UP));
	end();
}

static void test_same_engine_twice(void **state)
{
	char other[80];
	struct fake *f = fake(0, vllm_routes);
	snprintf(other, sizeof(other), "localhost:%u", f->server.port);
	begin(f->server.url, other, 0);
	UNTIL(readies == 1);
	run_for(100);
	assert_int_equal(engine_count(), 1);
	end();
}

static void test_one_slow_round(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("vllm", ENGINE_UP));
	run_for(60);
	unsigned before = changes, hits = f->hits;
	f->hangs = true;
	UNTIL(f->hits > hits);
	run_for(100);
	f->hangs = false;
	run_for(200);
	assert_int_equal(changes, before);
	assert_true(is_in("vllm", ENGINE_UP));
	f->hangs = true;
	UNTIL(is_in("vllm", ENGINE_DOWN));
	end();
}

static void test_loading(void **state)
{
	struct fake *f = fake(0, loading_routes);
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("llamacpp", ENGINE_LOADING));
	f->routes = llamacpp_routes;
	UNTIL(is_in("llamacpp", ENGINE_UP));
	assert_int_equal(engine_named("llamacpp")->models->count, 1);
	end();
}

static void test_not_oneself(void **state)
{
	struct fake *own = fake(0, vllm_routes), *other = fake(1, vllm_routes);
	other->fields = "server: valet\r\n";
	begin(own->server.url, other->server.url, own->server.port);
	UNTIL(readies == 1);
	run_for(100);
	assert_int_equal(own->hits, 0);
	assert_true(other->hits > 0);
	assert_int_equal(engine_count(), 0);
	end();
}

/* Strangers and those that want a key are asked less and less often. */
static void test_strangers_are_left_alone(void **state)
{
	struct fake *f = fake(0, stranger_routes), *g = fake(1, vllm_routes);
	g->key = "Bearer x";
	begin(f->server.url, g->server.url, 0);
	run_for(40 * 20);
	assert_true(g->hits <= 6);
	assert_int_equal(engine_count(), 0);
	end();
}

static void set_target(const char *name, const char *url, enum engine_kind kind, const char *fields)
{
	struct discover_target t = {str_from(name), str_from(url), kind, str_from(fields)};
	discovery_set_targets(discovery, &t, name ? 1 : 0);
}

/* Requests come and go without a change; each look tells them. */
static void test_requests_are_told(void **state)
{
	struct fake *f = fake(0, vllm_idle_routes);
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("vllm", ENGINE_UP) && readies == 1);
	assert_true(looks >= 1 && looked_load.counted && looked_load.running == 0);
	run_for(60);
	unsigned before = changes;
	f->routes = vllm_busy_routes;
	UNTIL(looked_load.running == 9 && looked_load.waiting == 4);
	const struct engine_load *load = load_of("vllm");
	assert_true(load->counted && load->running == 9 && load->waiting == 4 && load->places == 0 && !load->loaded_known);
	assert_null(load_of("none"));
	run_for(60);
	assert_int_equal(changes, before);
	fake_close(f);
	UNTIL(is_in("vllm", ENGINE_DOWN));
	assert_false(looked_load.counted);
	load = load_of("vllm");
	assert_int_equal(load->running + load->waiting, 0);
	end();
}

static void test_places_are_a_change(void **state)
{
	struct fake *f = fake(0, llamacpp_routes);
	uint16_t port = f->server.port;
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("llamacpp", ENGINE_UP));
	const struct engine_load *load = load_of("llamacpp");
	assert_true(load->places == 4 && load->loaded_known && engine_load_has(load, STR("C:\\models\\gemma-3.gguf")));
	run_for(60);
	unsigned before = changes;
	f->routes = llamacpp_wider_routes;
	UNTIL(changes == before + 1);
	assert_int_equal(load_of("llamacpp")->places, 8);
	fake_close(f);
	UNTIL(is_in("llamacpp", ENGINE_DOWN));
	assert_int_equal(load_of("llamacpp")->places, 8); /* as the models: until the grace time is over */
	UNTIL(engine_count() == 0);
	assert_null(load_of("llamacpp"));
	fake_open(f, llamacpp_routes, port);
	UNTIL(is_in("llamacpp", ENGINE_UP));
	assert_int_equal(load_of("llamacpp")->places, 4);
	end();
}

static void test_loaded_is_a_change(void **state)
{
	struct fake *f = fake(0, ollama_routes);
	begin(NULL, NULL, 0);
	set_target("mine", f->server.url, ENGINE_OLLAMA, "");
	UNTIL(is_in("mine", ENGINE_UP));
	assert_true(engine_load_has(load_of("mine"), STR("qwen3:8b")));
	run_for(200); /* until all is known of each model */
	unsigned before = changes;
	f->routes = ollama_empty_routes;
	UNTIL(!engine_load_has(load_of("mine"), STR("qwen3:8b")));
	const struct engine_load *load = load_of("mine");
	assert_true(load->loaded_known && load->loaded_count == 0);
	UNTIL(changes > before);
	fake_close(f);
	UNTIL(engine_named("mine")->models->count == 0);
	assert_false(load_of("mine")->loaded_known);
	end();
}

/* An engine without the further question is asked it once; one that gives nonsense is up all the same. */
static void test_metrics_are_not_needed(void **state)
{
	static const struct route odd_routes[] = {
		{"/v1/models", 200, "@vllm_models.json"}, {"/health", 200, ""}, {"/metrics", 200, "<html>vllm:num_requests_running"}, {NULL, 0, NULL}};
	struct fake *f = fake(0, vllm_routes), *g = fake(1, odd_routes);
	begin(f->server.url, NULL, 0);
	set_target("odd", g->server.url, ENGINE_VLLM, "");
	UNTIL(is_in("vllm", ENGINE_UP) && is_in("odd", ENGINE_UP));
	unsigned before = looks;
	UNTIL(looks > before + 4);
	const char *first = strstr(f->paths, "/metrics");
	assert_non_null(first);
	assert_null(strstr(first + 1, "/metrics"));
	assert_false(load_of("vllm")->counted);
	assert_false(load_of("odd")->counted);
	assert_true(is_in("vllm", ENGINE_UP) && is_in("odd", ENGINE_UP));
	end();
}

static void test_targets(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->key = "Bearer sk-1";
	begin(NULL, NULL, 0);
	set_target("mine", f->server.url, ENGINE_NONE, "authorization: Bearer sk-1\r\n");
	assert_true(is_in("mine", ENGINE_PENDING));
	UNTIL(readies == 1);
	const struct engine *e = engine_named("mine");
	assert_int_equal(e->state, ENGINE_UP);
	assert_int_equal(e->kind, ENGINE_VLLM);
	assert_true(e->configured);
	run_for(60);
	unsigned before = changes;
	set_target("mine", f->server.url, ENGINE_NONE, "authorization: Bearer sk-1\r\n");
	run_for(60);
	assert_ptr_equal(engine_named("mine"), e);
	assert_int_equal(e->state, ENGINE_UP);
	assert_int_equal(changes, before);
	set_target("mine", f->server.url, ENGINE_VLLM, "authorization: Bearer sk-2\r\n");
	UNTIL(is_in("mine", ENGINE_DOWN));
	assert_non_null(strstr(engine_named("mine")->error, "401"));
	set_target(NULL, NULL, ENGINE_NONE, NULL);
	assert_int_equal(engine_count(), 0);
	end();
}

static void test_target_dies(void **state)
{
	struct fake *f = fake(0, ollama_routes);
	begin(NULL, NULL, 0);
	set_target("mine", f->server.url, ENGINE_OLLAMA, "");
	UNTIL(is_in("mine", ENGINE_UP));
	fake_close(f);
	UNTIL(is_in("mine", ENGINE_DOWN));
	assert_int_equal(engine_named("mine")->models->count, 2);
	UNTIL(engine_named("mine")->models->count == 0);
	assert_true(is_in("mine", ENGINE_DOWN));
	end();
}

static void test_target_wins(void **state)
{
	struct fake *f = fake(0, vllm_routes), *g = fake(1, vllm_routes);
	char url[80];
	begin(f->server.url, g->server.url, 0);
	UNTIL(is_in("vllm", ENGINE_UP) && is_in("vllm-2", ENGINE_UP));
	snprintf(url, sizeof(url), "http://localhost:%u/v1", f->server.port);
	set_target("vllm-2", url, ENGINE_VLLM, "");
	UNTIL(is_in("vllm-2", ENGINE_UP));
	assert_int_equal(engine_count(), 2);
	assert_true(engine_named("vllm-2")->configured);
	assert_true(is_in("vllm", ENGINE_UP)); /* what was vllm-2 before */
	assert_string_equal(engine_named("vllm")->url, g->server.url);
	set_target(NULL, NULL, ENGINE_NONE, NULL);
	UNTIL(engine_count() == 2);
	end();
}

static void test_bad_targets(void **state)
{
	begin("not a host", "h:99999", 0);
	set_target("bad", "ftp://x", ENGINE_NONE, "");
	UNTIL(readies == 1);
	assert_true(is_in("bad", ENGINE_DOWN));
	assert_non_null(strstr(engine_named("bad")->error, "URL"));
	set_target("bad", "https://127.0.0.1:1", ENGINE_NONE, "");
	UNTIL(is_in("bad", ENGINE_DOWN));
	end();
}

static void test_chained_valet(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->fields = "server: valet\r\n";
	begin(NULL, NULL, 0);
	set_target("upstairs", f->server.url, ENGINE_NONE, "");
	UNTIL(is_in("upstairs", ENGINE_UP));
	unsigned before = changes;
	run_for(200);
	assert_int_equal(engine_named("upstairs")->kind, ENGINE_OPENAI);
	assert_true(changes <= before + 1); /* one may have been on its way */
	end();
}

static void test_places_change(void **state)
{
	struct fake *f = fake(0, vllm_routes), *g = fake(1, ollama_routes);
	struct str both[] = {str_from(f->server.url), str_from(g->server.url)};
	begin(f->server.url, NULL, 0);
	UNTIL(is_in("vllm", ENGINE_UP));
	const struct engine *e = engine_named("vllm");
	discovery_set_places(discovery, false, both, 2);
	UNTIL(is_in("ollama", ENGINE_UP));
	assert_ptr_equal(engine_named("vllm"), e);
	discovery_set_places(discovery, false, both + 1, 1);
	assert_int_equal(engine_count(), 1);
	run_for(20);
	end();
}

static void test_freed_in_flight(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->hangs = true;
	begin(f->server.url, NULL, 0);
	set_target("mine", f->server.url, ENGINE_VLLM, "");
	UNTIL(f->hits > 0);
	end();
}

static void test_hanging_first_round(void **state)
{
	struct fake *f = fake(0, vllm_routes);
	f->hangs = true;
	begin(f->server.url, NULL, 0);
	int64_t from = clock_mono_us();
	UNTIL(readies == 1);
	assert_true(clock_mono_us() - from < 1500000);
	end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_probe_kinds),
		TEST(test_probe_never_generates),
		TEST(test_probe_outcomes),
		TEST(test_probe_slow),
		TEST(test_probe_key),
		TEST(test_probe_base_path),
		TEST(test_probe_valet),
		TEST(test_probe_given_up),
		TEST(test_probe_contradicted),
		TEST(test_nothing_to_find),
		TEST(test_found_lost_back),
		TEST(test_other_kind),
		TEST(test_models_change),
		TEST(test_two_alike),
		TEST(test_same_engine_twice),
		TEST(test_one_slow_round),
		TEST(test_loading),
		TEST(test_not_oneself),
		TEST(test_strangers_are_left_alone),
		TEST(test_requests_are_told),
		TEST(test_places_are_a_change),
		TEST(test_loaded_is_a_change),
		TEST(test_metrics_are_not_needed),
		TEST(test_targets),
		TEST(test_target_dies),
		TEST(test_target_wins),
		TEST(test_bad_targets),
		TEST(test_chained_valet),
		TEST(test_places_change),
		TEST(test_freed_in_flight),
		TEST(test_hanging_first_round),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
