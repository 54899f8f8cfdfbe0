/* fuzz_api.c - the admin API: whatever a path, a query and a body hold, the answer is JSON or none, and nothing changes while the store is away.
 *
 * The input is a method's number, then path, query and body on lines of their own (the body takes the rest).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)
#define NOW INT64_C(1795305600)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static struct store *store;
static struct api *api;
static bool away;

static bool call(void *user, void (*run)(struct store *s, void *arg), void *arg)
{
	if (!away)
		run(store, arg);
	return !away;
}

/* ---- a server with one target ---- */

static struct registry *registry;
static struct settings *settings;
static struct catalog *catalog;
static struct queue *queue;

static const struct catalog *newest(void *user)
{
	return catalog;
}

static struct queue *the_queue(void *user)
{
	return queue;
}

static const struct engine *no_engine(void *user, struct str name)
{
	return NULL;
}

static void on_drain_changed(void *user)
{
}

static const struct api_server server = {.catalog = newest, .queue = the_queue, .engine = no_engine, .drain_changed = on_drain_changed};

static void build_catalog(void)
{
	static const struct engine_models none;
	const struct catalog_engine engine = {.name = STR("gpu1"), .url = STR("http://10.0.0.5:8000"), .kind = ENGINE_VLLM, .models = &none};
	const struct queue_options waits = {.total_max = 0};
	queue = queue_new(&waits);
	registry = registry_new();
	settings = settings_defaults();
	catalog = catalog_build(registry, settings, &engine, 1, NOW);
}

static int ask(const char *method, struct str path, struct str query, struct str body, struct buf *out)
{
	struct api_request r = {str_from(method), path, query, body, NOW};
	return api_do(api, &r, out);
}

static void clean_up(void)
{
	char command[128];
	api_free(api);
	catalog_unref(catalog);
	settings_free(settings);
	registry_free(registry);
	queue_free(queue);
	store_close(store);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	REQUIRE(system(command) == 0);
}

static void begin(void)
{
	struct buf out;
	buf_init(&out, 65536);
	snprintf(folder, sizeof(folder), "/tmp/valet-fuzz-XXXXXX");
	REQUIRE(mkdtemp(folder));
	store = store_open(folder, &out);
	struct api_options o = {.call = call, .folder = folder, .server = &server};
	build_catalog();
	REQUIRE(store);
	api = api_new(&o, &out);
	REQUIRE(api);
	REQUIRE(ask("POST", STR("/api/keys"), STR_NONE,
		    STR("{\"name\":\"a\",\"rpm\":5,\"budget\":[\"1M/day\",\"$2\"],\"model_budget\":{\"q*\":\"1k/week,$1/day\"},\"tags\":{\"x\":\"y\"}}"), &out) == 201);
	atexit(clean_up);
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"GET", "POST", "PATCH", "DELETE", "PUT"};
	struct str rest = str_of((const char *)data, size), path = STR_NONE, query = STR_NONE;
	struct buf out;
	if (!api)
		begin();
	if (size == 0)
		return 0;
	const char *method = methods[data[0] % 5];
	rest = str_skip(rest, 1);
	str_split(&rest, '\n', &path);
	str_split(&rest, '\n', &query);
	buf_init(&out, (size_t)4 << 20);
	for (int i = 0; i < 2; i++) {
		/* What reads may see the store; what writes finds it gone behind all checks. */
		away = i == 1 || method[0] != 'G';
		buf_clear(&out);
		int status = ask(method, path, query, rest, &out);
		REQUIRE(status == 0 ? out.len == 0 : json_scan(buf_str(&out), NULL, 0, NULL, NULL));
		REQUIRE(status == 0 || (status >= 200 && status <= 503));
		REQUIRE(api_key_count(api) == 1 && !api_drained(api, STR("gpu1")));
	}
	buf_release(&out);
	return 0;
}
