/* test_api_targets.c - targets in the admin API: what is shown of them, setting one aside, and that this outlives the API.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books.h"

#include "api_fixture.h"

static struct registry *registry;
static struct settings *settings;
static struct catalog *catalog;
static struct books *books;
static struct engine seen;
static unsigned changes;

/* ---- a server ---- */

static const struct catalog *newest(void *user)
{
	return catalog;
}

static const struct engine *engine_named(void *user, struct str name)
{
	return str_eq(name, STR("gpu1")) ? &seen : NULL;
}

static void on_drain_changed(void *user)
{
	changes++;
	for (uint32_t i = 0; i < catalog->target_count; i++)
		health_drain(&catalog->targets[i].state->health, catalog->targets[i].drain || api_drained(api, catalog->targets[i].name));
}

static const struct api_server server = {.catalog = newest, .engine = engine_named, .drain_changed = on_drain_changed};

static void open_api(bool with_server)
{
	struct api_options o = {.call = call, .folder = folder, .server = with_server ? &server : NULL};
	store = store_open(folder, &why);
	api = store ? api_new(&o, &why) : NULL;
	if (!api)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
}

static void close_api(void)
{
	api_free(api);
	store_close(store);
}

static const char yaml[] = "targets:\n"
			   "- {name: gpu1, url: http://10.0.0.5:8000, kind: vllm}\n"
			   "- {name: gpu2, url: 'http://[fd00::1]:8080', kind: llamacpp, max_concurrency: 4, drain: on}\n"
			   "- {name: far, url: https://api.example.com/v1, kind: openai_compatible, secret: env:VALET_TEST_SECRET}\n"
			   "models:\n"
			   "- {name: small, targets: [gpu1], overflow: {to: far, when: wait}}\n"
			   "- {name: large, targets: [gpu1, gpu2]}\n";

static void build_catalog(void)
{
	static const struct engine_models none;
	struct field_reader r = {.arena = &arena};
	struct catalog_engine list[3];
	settings = settings_parse(str_from(yaml), STR("valet.yaml"), NULL, 0, &r);
	if (!settings)
		fail_msg("%.*s", STR_ARG(r.problems->text));
	for (size_t i = 0; i < 3; i++) {
		const struct target_conf *t = &settings->targets[i];
		list[i] = (struct catalog_engine){.name = t->name, .url = t->url_text, .kind = target_engine(t->kind), .up = i == 0 ? ENGINE_UP : ENGINE_DOWN,
						  .places = i == 0 ? 8 : 0, .models = &none, .conf = t};
	}
	registry = registry_new();
	catalog = catalog_build(registry, settings, list, 3, NOW);
	books = books_new(NULL);
	catalog_govern(catalog, settings, books, NULL);
	seen = (struct engine){.name = "gpu1", .state = ENGINE_UP, .since_us = (NOW - 60) * 1000000, .error = "", .load = {.places = 8}};
}

static int set_up(void **state)
{
	setenv("VALET_TEST_SECRET", "sk-canary-123456", 1);
	begin_folder();
	changes = 0;
	build_catalog();
	open_api(true);
	return 0;
}

static int tear_down(void **state)
{
	close_api();
	catalog_unref(catalog);
	books_free(books);
	registry_free(registry);
	settings_free(settings);
	end_folder();
	return 0;
}

/* ---- asking ---- */

#define ASK(status, method, path, body) ask(__LINE__, status, method, path, body)

static void ask(int line, int wanted, const char *method, const char *path, const char *body)
{
	struct api_request r = {str_from(method), str_from(path), STR_NONE, str_from(body), NOW};
	buf_clear(&out);
	int status = api_do(api, &r, &out);
	if (status != wanted)
		fail_msg("line %d: %s %s: %d instead of %d: %.*s", line, method, path, status, wanted, STR_ARG(buf_str(&out)));
	answer = json_parse(&arena, arena_dup(&arena, buf_str(&out)), NULL);
	assert_non_null(answer);
}

/* ---- what is shown ---- */

static void shows_what_is_known(void **state)
{
	struct target_state *s = catalog->targets[0].state;
	for (int i = 0; i < 40; i++) {
		pace_first(&catalog_model(catalog, STR("small"))->places[0].learned->pace, 85000, 0, 0);
		pace_done(&catalog_model(catalog, STR("small"))->places[0].learned->pace, 85000, 4100000, 240, 0);
	}
	atomic_store(&s->places.taken, 3);
	atomic_store(&s->engine_waiting, 2);
	ASK(200, "GET", "/api/targets", "");
	HAS("data.0.name", "gpu1");
	HAS("data.0.kind", "vllm");
	HAS("data.0.cloud", "null");
	HAS("data.0.url", "http://10.0.0.5:8000");
	HAS("data.0.local", "true");
	HAS("data.0.state", "up");
	HAS("data.0.since", "1795305540");
	HAS("data.0.error", "null");
	HAS("data.0.breaker", "closed");
	HAS("data.0.asked_again_at", "null");
	HAS("data.0.drained", "null");
	HAS("data.0.places.taken", "3");
	HAS("data.0.places.limit", "8");
	HAS("data.0.places.from", "engine");
	HAS("data.0.engine_waiting", "2");
	HAS("data.0.models.0.model", "large");
	HAS("data.0.models.0.answers", "0");
	HAS("data.0.models.0.first_token_ms", "null");
	HAS("data.0.models.1.model", "small");
	HAS("data.0.models.1.first_token_ms", "85");
	HAS("data.0.models.1.service_ms", "4100");
	HAS("data.0.models.1.answers", "40");
	HAS("data.1.url", "http://[fd00::1]:8080");
	HAS("data.1.state", "down");
	HAS("data.1.since", "null");
	HAS("data.1.drained", "settings");
	HAS("data.1.places.limit", "4");
	HAS("data.1.places.from", "configured");
	HAS("data.2.cloud", "openai_compatible");
	HAS("data.2.local", "false");
	HAS("data.2.places.limit", "null");
	HAS("data.2.places.from", "null");
	HAS("data.2.models.0.model", "small");
	HAS("data.2.models.0.overflow", "true");
	assert_true(str_search(buf_str(&out), STR("canary")) == out.len);
}

static void shows_the_breaker(void **state)
{
	struct health *h = &catalog->targets[2].state->health;
	int64_t now_ms = clock_mono_us() / 1000;
	health_report(h, HEALTH_DENIED, false, 0, now_ms, 0);
	ASK(200, "GET", "/api/targets/far", "");
	HAS("target.breaker", "open");
	HAS("target.secret_refused", "true");
	HAS("target.asked_again_at", "1795305660"); /* a minute from now */
	assert_int_equal(health_take(h, now_ms + 60000), HEALTH_ASK_AS_PROBE);
	ASK(200, "GET", "/api/targets/far", "");
	HAS("target.breaker", "half_open");
	HAS("target.secret_refused", "true");
	health_report(h, HEALTH_GOOD, true, 0, now_ms + 60000, 0);
	ASK(200, "GET", "/api/targets/far", "");
	HAS("target.breaker", "closed");
	HAS("target.secret_refused", "false");
}

/* ---- setting aside ---- */

static void drains_and_resumes(void **state)
{
	ASK(200, "POST", "/api/targets/gpu1", "{\"drain\":true}");
	HAS("target.drained", "operator");
	assert_int_equal(changes, 1);
	assert_true(api_drained(api, STR("gpu1")));
	assert_false(api_drained(api, STR("far")));
	ASK(200, "POST", "/api/targets/gpu1", "{\"drain\":true}");
	assert_int_equal(changes, 1);
	ASK(200, "POST", "/api/targets/far", "{\"drain\":true}");
	assert_true(catalog_drained(catalog));
	close_api();
	open_api(true); /* a restart */
	assert_true(api_drained(api, STR("gpu1")) && api_drained(api, STR("far")));
	ASK(200, "POST", "/api/targets/gpu1", "{\"drain\":false}");
	HAS("target.drained", "null");
	assert_false(catalog_drained(catalog));
	close_api();
	open_api(true);
	assert_true(!api_drained(api, STR("gpu1")) && api_drained(api, STR("far")));
}

static void refuses_what_cannot_be(void **state)
{
	ASK(404, "GET", "/api/targets/gpu11", "");
	HAS("error.code", "target_not_found");
	HAS("error.message", "there is no target gpu11; did you mean gpu1?");
	ASK(404, "POST", "/api/targets/nothing", "{\"drain\":true}");
	HAS("error.message", "there is no target nothing");
	ASK(400, "POST", "/api/targets/gpu1", "{}");
	ASK(400, "POST", "/api/targets/gpu1", "");
	ASK(400, "POST", "/api/targets/gpu1", "{\"drain\":\"yes\"}");
	HAS("error.param", "drain");
	ASK(400, "POST", "/api/targets/gpu1", "{\"drain\":true,\"why\":\"x\"}");
	HAS("error.param", "why");
	ASK(405, "DELETE", "/api/targets/gpu1", "");
	ASK(409, "POST", "/api/targets/gpu2", "{\"drain\":false}");
	HAS("error.code", "drained_by_settings");
	store_gone = true;
	ASK(500, "POST", "/api/targets/gpu1", "{\"drain\":true}");
	assert_false(api_drained(api, STR("gpu1")));
	assert_int_equal(changes, 0);
}

static void remembers_what_is_gone(void **state)
{
	ASK(200, "POST", "/api/targets/gpu1", "{\"drain\":true}");
	struct str name = catalog->targets[0].name;
	catalog->targets[0].name = STR("other");
	ASK(200, "GET", "/api/targets", "");
	HAS("data.3.name", "gpu1");
	HAS("data.3.state", "gone");
	HAS("data.3.drained", "operator");
	ASK(200, "POST", "/api/targets/gpu1", "{\"drain\":false}");
	HAS("target.state", "gone");
	HAS("target.drained", "null");
	ASK(404, "GET", "/api/targets/gpu1", "");
	catalog->targets[0].name = name;
}

static void needs_a_server(void **state)
{
	close_api();
	open_api(false);
	ASK(503, "GET", "/api/targets", "");
	HAS("error.code", "no_server");
	ASK(503, "POST", "/api/targets/gpu1", "{\"drain\":true}");
	ASK(503, "GET", "/api/live", "");
	ASK(200, "GET", "/api/keys", "");
	assert_true(api_needs_server(STR("/api/targets/x")) && api_needs_server(STR("/api/live/req_1/stop")));
	assert_false(api_needs_server(STR("/api/keys/x")) || api_needs_server(STR("/api/nothing")));
}

static void errors_have_one_shape(void **state)
{
	struct buf text;
	buf_init(&text, 4096);
	api_put_error(&text, 404, STR("not_found"), STR_NONE, STR("no \"x\""));
	assert_true(str_eq(buf_str(&text), STR("{\"error\":{\"message\":\"no \\\"x\\\"\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"not_found\"}}")));
	buf_clear(&text);
	api_put_error(&text, 500, STR("e"), STR("p"), STR("m"));
	assert_true(str_eq(buf_str(&text), STR("{\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":\"p\",\"code\":\"e\"}}")));
	buf_release(&text);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(shows_what_is_known), T(shows_the_breaker), T(drains_and_resumes), T(refuses_what_cannot_be), T(remembers_what_is_gone), T(needs_a_server),
		T(errors_have_one_shape),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
