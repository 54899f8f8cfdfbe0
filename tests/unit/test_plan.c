/* test_plan.c - what becomes of a request: places that fit, windows, the queue, and each reason to go beyond; nothing is taken by asking.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books.h"
#include "gate/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW_MS 1000000

static const char yaml[] =
	"targets:\n"
	"  - {name: small, url: 'http://gpu1:8000', kind: vllm, max_concurrency: 1}\n"
	"  - {name: large, url: 'http://gpu2:8000', kind: vllm, max_concurrency: 2}\n"
	"  - {name: sky, url: 'https://sky.example/v1', kind: openai_compatible, secret: 'env:SKY', price: {input: $4, output: $8}}\n"
	"  - {name: dear, url: 'https://dear.example/v1', kind: openai_compatible, secret: 'env:SKY', price: {input: $9, output: $9}}\n"
	"models:\n"
	"  - {name: m, targets: [small, large], overflow: {to: [dear/big, sky/big], when: [wait, context, down], wait: 3s, order: cheapest}}\n"
	"  - {name: far, targets: [small], overflow: {to: [dear/big, sky/big], when: [always]}}\n"
	"  - {name: home, targets: [small, large]}\n"
	"  - {name: only_sky, targets: [{target: sky, model: big}], timeouts: {first_byte: 7s}}\n";

static struct arena arena;
static struct registry *registry;
static struct settings *settings;
static struct catalog *catalog;
static struct books *books;
static struct queue *queue;
static struct plan_view view;
static struct plan_ask ask;

static struct engine_models *models_of(int64_t context)
{
	static const struct str names[] = {STR_INIT("far"), STR_INIT("home"), STR_INIT("m")};
	struct engine_models *m = arena_zero(&arena, sizeof(*m));
	m->list = arena_zero(&arena, 3 * sizeof(*m->list));
	for (m->count = 0; m->count < 3; m->count++)
		m->list[m->count] = (struct engine_model){.id = names[m->count], .context = context};
	return m;
}

static void granted(void *user, struct ticket *t, void *worker)
{
}

static int set_up(void **state)
{
	static const int64_t contexts[] = {4096, 32768, 0, 0};
	struct catalog_engine list[4];
	struct field_reader r = {.arena = &arena};
	struct queue_options o = {.granted = granted};
	setenv("SKY", "secret", 1);
	arena_init(&arena, 4096);
	registry = registry_new();
	settings = settings_parse(str_from(yaml), STR("valet.yaml"), NULL, 0, &r);
	if (!settings)
		fail_msg("%.*s", STR_ARG(r.problems->text));
	for (size_t i = 0; i < 4; i++) {
		const struct target_conf *conf = &settings->targets[i];
		list[i] = (struct catalog_engine){conf->name, conf->url_text, target_engine(conf->kind), ENGINE_UP, 0,
						  contexts[i] ? models_of(contexts[i]) : arena_zero(&arena, sizeof(struct engine_models)), conf};
	}
	catalog = catalog_build(registry, settings, list, 4, 1700000000);
	books = books_new(NULL);
	catalog_govern(catalog, settings, books, NULL);
	queue = queue_new(&o);
	return 0;
}

static int tear_down(void **state)
{
	queue_free(queue);
	catalog_unref(catalog);
	books_free(books);
	registry_free(registry);
	settings_free(settings);
	arena_release(&arena);
	return 0;
}

static struct target_state *target(const char *name)
{
	for (uint32_t i = 0; i < catalog->target_count; i++)
		if (str_eq(catalog->targets[i].name, str_from(name)))
			return catalog->targets[i].state;
	fail_msg("no target %s", name);
	return NULL;
}

static void begin(const char *model, int64_t input)
{
	ask = (struct plan_ask){
		.catalog = catalog, .model = catalog_model(catalog, str_from(model)), .operation = OP_BIT(OP_CHAT), .input = input, .queue = queue, .turn = 1,
		.now_ms = NOW_MS,
	};
	assert_non_null(ask.model);
}

static struct plan make(void)
{
	plan_look(&ask, &view);
	return plan_make(&ask, &view);
}

static void expect(struct plan p, enum plan_what what, const char *name, const char *why)
{
	assert_int_equal(p.what, what);
	if (name && !str_eq(p.place->target->name, str_from(name)))
		fail_msg("got %.*s, expected %s", STR_ARG(p.place->target->name), name);
	if (why)
		assert_string_equal(plan_why(p.why), why);
}

static void fill(const char *name, uint32_t taken)
{
	atomic_store(&target(name)->places.taken, taken);
}

static void set_up_state(const char *name, enum engine_state up)
{
	atomic_store(&target(name)->up, up);
}

/* ---- */

static void test_place(void **state)
{
	begin("m", 100);
	fill("small", 1);
	expect(make(), PLAN_GO, "large", NULL);
	assert_int_equal(atomic_load(&target("large")->places.taken), 0); /* only asked */
	fill("small", 0);
	fill("large", 2);
	expect(make(), PLAN_GO, "small", NULL);
}

static void test_window(void **state)
{
	begin("m", 5000);
	expect(make(), PLAN_GO, "large", NULL);
	assert_int_equal(view.fits[0], PLACE_TOO_SMALL);
	begin("m", 4095);
	fill("large", 1);
	expect(make(), PLAN_GO, "small", NULL);
	begin("m", 40000);
	expect(make(), PLAN_BEYOND, "sky", "context");
	ask.stays = true; /* its budget said no: the engine says that it is too long */
	assert_int_equal(make().what, PLAN_GO);
	begin("home", 5000);
	fill("large", 2);
	expect(make(), PLAN_WAIT, NULL, NULL); /* not to the one that is free and too small */
}

static void test_told_too_long(void **state)
{
	begin("m", 100);
	ask.too_long = true;
	expect(make(), PLAN_BEYOND, "sky", "context");
}

static void test_wait(void **state)
{
	begin("m", 100);
	fill("small", 1);
	fill("large", 2);
	expect(make(), PLAN_WAIT, NULL, NULL); /* nothing is known of how long it takes */
	struct pace *p = &ask.model->places[0].learned->pace;
	atomic_store(&p->service_ms, 8000);
	assert_int_equal(plan_wait_ms(&ask, &view), 8000 / 3);
	expect(make(), PLAN_WAIT, NULL, NULL);
	atomic_store(&p->service_ms, 9300);
	expect(make(), PLAN_BEYOND, "sky", "wait");
	assert_int_equal(plan_ahead_ms(&view, 6), 18600);
	begin("home", 100);
	expect(make(), PLAN_WAIT, NULL, NULL);
}

static void test_others_wait(void **state)
{
	struct places *all[] = {&target("small")->places, &target("large")->places}, *got;
	struct ticket *t;
	struct queue_ask waiting = {.model = catalog_model(catalog, STR("home"))->id, .weight = 100, .input = 1, .output = 1, .targets = all,
				    .target_count = 2, .now_ms = NOW_MS};
	fill("small", 1);
	fill("large", 2);
	assert_int_equal(queue_enter(queue, &waiting, &t, &got), QUEUE_WAITS);
	begin("home", 100);
	atomic_store(&all[1]->limit, 3); /* more places, which are not offered yet */
	expect(make(), PLAN_WAIT, NULL, NULL);
	ask.waited = true; /* it has been through the queue */
	expect(make(), PLAN_GO, "large", NULL);
	queue_leave(queue, t, NOW_MS);
}

static void test_down(void **state)
{
	set_up_state("small", ENGINE_DOWN);
	set_up_state("large", ENGINE_DOWN);
	begin("m", 100);
	expect(make(), PLAN_BEYOND, "sky", "down");
	set_up_state("sky", ENGINE_DOWN);
	expect(make(), PLAN_BEYOND, "dear", "down");
	set_up_state("dear", ENGINE_DOWN);
	expect(make(), PLAN_GO, NULL, NULL); /* what is thought to be down is tried where there is nothing else */
	begin("home", 100);
	expect(make(), PLAN_GO, NULL, NULL);
}

static void test_broken(void **state)
{
	static const char *const names[] = {"small", "large"};
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < HEALTH_FAILURES; k++)
			health_report(&target(names[i])->health, HEALTH_BAD, false, 0, NOW_MS, 0);
	begin("m", 100);
	expect(make(), PLAN_BEYOND, "sky", "down");
	assert_int_equal(view.fits[0], PLACE_LEFT_ALONE);
	begin("home", 100);
	expect(make(), PLAN_NOWHERE, NULL, NULL);
	assert_true(plan_may_fit(&ask, &ask.model->places[0])); /* once it has recovered */
}

static void test_tried(void **state)
{
	begin("home", 100);
	ask.tried[ask.tried_count++] = ask.model->places[1].target;
	expect(make(), PLAN_GO, "small", NULL);
	ask.tried[ask.tried_count++] = ask.model->places[0].target;
	expect(make(), PLAN_NOWHERE, NULL, NULL);
	begin("m", 100);
	ask.tried[ask.tried_count++] = ask.model->places[0].target;
	ask.tried[ask.tried_count++] = ask.model->places[1].target;
	expect(make(), PLAN_BEYOND, "sky", "down");
	ask.tried[ask.tried_count++] = ask.model->overflow[1].target;
	expect(make(), PLAN_BEYOND, "dear", "down");
	ask.tried[ask.tried_count++] = ask.model->overflow[0].target;
	expect(make(), PLAN_NOWHERE, NULL, NULL);
}

/* In every state of the targets, for every reason. */
static void test_local_only(void **state)
{
	for (unsigned bits = 0; bits < 32; bits++) {
		set_up_state("small", bits & 1 ? ENGINE_DOWN : ENGINE_UP);
		set_up_state("large", bits & 2 ? ENGINE_DOWN : ENGINE_UP);
		fill("small", bits & 4 ? 1 : 0);
		fill("large", bits & 8 ? 2 : 0);
		for (const char *const *name = (const char *const[]){"m", "far", "home", "only_sky", NULL}; *name; name++) {
			begin(*name, bits & 16 ? 1000000 : 10);
			ask.local_only = true;
			ask.too_long = bits & 16;
			struct plan p = make();
			assert_int_not_equal(p.what, PLAN_BEYOND);
			assert_true(p.what != PLAN_GO || p.place->target->local);
			struct buf why;
			buf_init(&why, 1024);
			if (strcmp(*name, "only_sky") == 0)
				assert_int_equal(plan_refusal(&ask, &view, "key", &why), ERROR_MODEL_NOT_ALLOWED);
			buf_release(&why);
		}
	}
}

static void test_always(void **state)
{
	begin("far", 100);
	expect(make(), PLAN_BEYOND, "dear", "always"); /* as listed */
	ask.operation = OP_BIT(OP_MESSAGES) & ~ask.model->overflow[0].target->operations;
	if (ask.operation)
		assert_int_not_equal(make().what, PLAN_BEYOND);
}

static void test_timeouts(void **state)
{
	begin("only_sky", 100);
	assert_int_equal(ask.model->places[0].timeouts.first_byte_ms, 7000);
	assert_int_equal(ask.model->places[0].timeouts.idle_ms, settings->timeouts.idle_ms);
	begin("m", 100);
	assert_int_equal(ask.model->overflow[0].timeouts.first_byte_ms, settings->timeouts.first_byte_ms);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_window, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_told_too_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_others_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_down, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tried, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_local_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_always, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_timeouts, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
