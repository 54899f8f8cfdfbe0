/* test_api.c - the admin API on a store in a temporary folder, with and without books.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/state.h"

#include "api_fixture.h"

#define HOUR 3600
#define DAY  86400

static struct books *books;
static struct keyring *ring;
static unsigned changes;
static int64_t now_s;

/* ---- a store, books and an API ---- */

static void take_ring(void)
{
	keyring_unref(ring);
	ring = api_keyring(api);
}

static void on_changed(void *user)
{
	changes++;
	if (books)
		take_ring();
}

static void open_api(bool with_books)
{
	store = store_open(folder, &why);
	if (!store)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	if (with_books) {
		books = books_new(NULL);
		books_set_clock(books, now_s * 1000000);
	}
	struct api_options o = {.call = call, .folder = folder, .books = books, .keys_changed = on_changed};
	api = api_new(&o, &why);
	if (!api)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	if (with_books) {
		take_ring();
		assert_true(api_load_books(api, now_s, &why));
	}
}

static void close_api(void)
{
	keyring_unref(ring);
	api_free(api);
	books_free(books);
	store_close(store);
	ring = NULL;
	api = NULL;
	books = NULL;
	store = NULL;
}

static int set_up(void **state)
{
	setenv("TZ", "UTC", 1);
	begin_folder();
	assert_true(civil_set_zone("UTC", &why));
	changes = 0;
	now_s = clock_wall_us() / 1000000 < NOW ? NOW : clock_wall_us() / 1000000;
	now_s -= now_s % DAY - 12 * HOUR; /* a noon, so that no window ends while a test runs */
	if (now_s < clock_wall_us() / 1000000)
		now_s += DAY;
	open_api(false);
	return 0;
}

static int set_up_books(void **state)
{
	set_up(state);
	close_api();
	open_api(true);
	return 0;
}

static int tear_down(void **state)
{
	if (api)
		close_api();
	end_folder();
	return 0;
}

/* ---- asking ---- */

static int ask(const char *method, const char *path, const char *query, const char *body)
{
	struct api_request r = {str_from(method), str_from(path), str_from(query), str_from(body), now_s};
	struct json_fail fail;
	buf_clear(&out);
	int status = api_do(api, &r, &out);
	answer = NULL;
	if (status) {
		struct str text = arena_dup(&arena, buf_str(&out));
		answer = json_parse(&arena, text, &fail);
		if (!answer)
			fail_msg("%s %s: not JSON: %s at %zu: %.*s", method, path, fail.what, fail.at, STR_ARG(text));
	}
	return status;
}

#define ASK(status, method, path, body) ask_for(__LINE__, status, method, path, "", body)
#define GET(status, path, query)        ask_for(__LINE__, status, "GET", path, query, "")

static void ask_for(int line, int wanted, const char *method, const char *path, const char *query, const char *body)
{
	int status = ask(method, path, query, body);
	if (status != wanted)
		fail_msg("line %d: %s %s: %d instead of %d: %.*s", line, method, path, status, wanted, STR_ARG(buf_str(&out)));
}

static int64_t number(const char *path)
{
	int64_t n = -1;
	if (!json_i64(at(path), &n))
		fail_msg("%s is no number in %.*s", path, STR_ARG(buf_str(&out)));
	return n;
}

static struct str text_at(const char *path)
{
	const struct json *node = at(path);
	if (!node || node->type != JSON_STRING)
		fail_msg("%s is no text in %.*s", path, STR_ARG(buf_str(&out)));
	return json_text(&arena, node);
}

#define FAILS(status, method, path, body, param, part) fails(__LINE__, status, method, path, "", body, param, part)

static void fails(int line, int status, const char *method, const char *path, const char *query, const char *body, const char *param, const char *part)
{
	ask_for(line, status, method, path, query, body);
	has(line, "error.param", param);
	struct str message = text_at("error.message");
	if (str_search(message, str_from(part)) == message.len)
		fail_msg("line %d: expected \"%s\" in \"%.*s\"", line, part, STR_ARG(message));
	assert_non_null(at("error.code"));
	assert_non_null(at("error.type"));
}

/* ---- what was used ---- */

struct use {
	uint32_t key;
	const char *model, *target;
	int64_t at_s, input, output, cost;
	uint8_t source;
	uint32_t flags;
	const char *error;
};

static void feed(const struct use *uses, size_t n)
{
	char path[128], bytes[RECORD_MAX];
	snprintf(path, sizeof(path), "%s/journal", folder);
	struct journal_options o = {.folder = path, .lanes = 2};
	struct journal *j = journal_open(&o, &why);
	if (!j)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	struct lane *lane = journal_lane(j, 1);
	for (size_t i = 0; i < n; i++) {
		const struct use *u = &uses[i];
		struct record_settle r = {
			.began_us = u->at_s * 1000000, .ended_us = u->at_s * 1000000 + 5000, .input = u->input, .cached = u->input / 10,
			.output = u->output, .cost = u->cost, .reference = u->cost * 2, .key = u->key, .status = u->error ? 502 : 200,
			.source = u->source ? u->source : SOURCE_UPSTREAM, .attempts = 1, .flags = u->flags, .model = str_from(u->model),
			.target = str_from(u->target ? u->target : "gpu"), .op = STR("chat"), .error = str_from(u->error ? u->error : ""),
		};
		snprintf(r.id, sizeof(r.id), "%023zu", i);
		assert_true(lane_append(lane, RECORD_SETTLE, bytes, record_put_settle(bytes, &r)) != 0);
	}
	for (size_t applied = 1; applied > 0;)
		if (!store_feed(store, j, 1000, &applied))
			fail_msg("%s", store_why(store));
	journal_close(j);
}

/* ---- keys ---- */

static enum key_verdict verdict(struct str token)
{
	const struct key *k;
	return keyring_find(ring, token, now_s, &k);
}

static void test_create_and_show(void **state)
{
	ASK(200, "GET", "/api/keys", "");
	assert_int_equal(at("data")->count, 0);
	ASK(201, "POST", "/api/keys",
	    "{\"name\":\"obsidian\",\"models\":[\"qwen*\"],\"rpm\":60,\"budget\":[\"1M/month\",\"$5/week\"],\"model_budget\":{\"big-*\":\"100k/day,$1/day\"},"
	    "\"expires\":\"90d\",\"tags\":{\"room\":\"k\\u00fcche\"}}");
	assert_int_equal(changes, 1);
	assert_int_equal(text_at("secret").len, TOKEN_LENGTH);
	assert_int_equal(text_at("key.id").len, TOKEN_ID);
	assert_true(str_eq(text_at("key.id"), str_head(str_skip(text_at("secret"), 3), TOKEN_ID)));
	HAS("key.name", "obsidian");
	HAS("key.state", "active");
	HAS("key.serial", "1");
	assert_int_equal(number("key.created_at"), now_s);
	assert_int_equal(number("key.expires_at"), now_s + 90 * DAY);
	HAS("key.revoked_at", "null");
	HAS("key.rotated_until", "null");
	HAS("key.models.0", "qwen*");
	HAS("key.rpm", "60");
	HAS("key.tags.room", "küche");
	HAS("key.in_flight", "0");
	assert_null(at("key.expires"));
	assert_int_equal(at("key.limits")->count, 4);
	HAS("key.limits.0.scope", "key");
	HAS("key.limits.0.budget", "1M/month");
	HAS("key.limits.0.unit", "tokens");
	HAS("key.limits.0.amount", "1000000");
	HAS("key.limits.0.left", "1000000");
	assert_int_equal(number("key.limits.0.resets_at"), civil_window(PERIOD_MONTH, now_s).to_s);
	HAS("key.limits.1.unit", "money");
	HAS("key.limits.1.amount", "5000000000");
	HAS("key.limits.2.scope", "model:big-*");
	struct str id = text_at("key.id");
	GET(200, "/api/keys/obsidian", "");
	HAS("key.name", "obsidian");
	assert_null(at("key.secret"));
	assert_null(at("secret"));
	char path[64];
	snprintf(path, sizeof(path), "/api/keys/%.*s", STR_ARG(id));
	GET(200, path, "");
	HAS("key.name", "obsidian");
	GET(200, "/api/keys/%6fbsidian", ""); /* decoded inside */
	GET(200, "/api/keys", "");
	assert_int_equal(at("data")->count, 1);
	HAS("data.0.name", "obsidian");
	assert_int_equal(api_key_count(api), 1);
	assert_true(str_eq(api_key_name(api, 1), STR("obsidian")));
	assert_true(str_eq(api_key_name(api, 0), STR("-")));
	assert_true(str_eq(api_key_name(api, 17), STR("#17")));
}

static void test_survives_reopening(void **state)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"b\"}");
	struct str secret = text_at("secret");
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\",\"concurrency\":2}");
	close_api();
	open_api(true);
	GET(200, "/api/keys", "");
	HAS("data.0.name", "a");
	HAS("data.0.concurrency", "2");
	HAS("data.1.name", "b");
	assert_int_equal(keyring_count(ring), 2);
	assert_int_equal(verdict(secret), KEY_FINE);
	ASK(201, "POST", "/api/keys", "{\"name\":\"c\"}");
	HAS("key.serial", "3");
	assert_int_equal(verdict(text_at("secret")), KEY_FINE);
}

static void test_nonsense(void **state)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"obsidian\"}");
	changes = 0;
	FAILS(400, "POST", "/api/keys", "", "null", "expected a JSON object");
	FAILS(400, "POST", "/api/keys", "[]", "null", "expected a JSON object");
	FAILS(400, "POST", "/api/keys", "{\"name\":", "null", "not JSON");
	FAILS(400, "POST", "/api/keys", "{}", "name", "name");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"x\",\"rpm\":-1}", "rpm", "rpm: expected");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"x\",\"rpm\":\"many\",\"budget\":[\"1M/month\",\"1M/fortnight\"]}", "rpm", "budget[1]");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"x\",\"bugdet\":[\"1M\"]}", "bugdet", "budget");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"a b\"}", "name", "name");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"x\",\"name\":\"y\"}", "name", "twice");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"-\"}", "name", "cannot be the name");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"..\"}", "name", "cannot be the name");
	FAILS(400, "POST", "/api/keys", "{\"name\":\"x\",\"id\":\"0123456789\"}", "id", "id");
	FAILS(409, "POST", "/api/keys", "{\"name\":\"obsidian\"}", "name", "already");
	FAILS(404, "GET", "/api/keys/obsidain", "", "null", "did you mean obsidian?");
	FAILS(404, "DELETE", "/api/keys/nothing-like-it", "", "null", "there is no key nothing-like-it");
	FAILS(404, "GET", "/api/keys/a%2Fb", "", "null", "a/b");
	FAILS(400, "GET", "/api/keys/%zz", "", "null", "URL");
	FAILS(405, "PUT", "/api/keys/obsidian", "{}", "null", "GET, PATCH, DELETE");
	FAILS(405, "DELETE", "/api/keys", "", "null", "GET, POST");
	FAILS(405, "GET", "/api/keys/obsidian/rotate", "", "null", "POST");
	FAILS(400, "POST", "/api/keys/obsidian/revoke", "{\"why\":1}", "why", "no body");
	FAILS(400, "PATCH", "/api/keys/obsidian", "{\"rpm\":1e9999}", "rpm", "rpm");
	fails(__LINE__, 400, "GET", "/api/keys", "page=2", "", "page", "not known");
	assert_int_equal(changes, 0);
	assert_int_equal(ask("GET", "/api/other", "", ""), 0);
	assert_int_equal(ask("GET", "/api/keys/", "", ""), 0);
	assert_int_equal(ask("GET", "/api", "", ""), 0);
	assert_int_equal(ask("GET", "", "", ""), 0);
	GET(200, "/api/keys", "");
	assert_int_equal(at("data")->count, 1);
}

static void test_too_large(void **state)
{
	char *body = mem_alloc(400001);
	memset(body, ' ', 400000);
	body[400000] = '\0';
	memcpy(body, "{\"name\":\"x\"", 11);
	body[399999] = '}';
	FAILS(413, "POST", "/api/keys", body, "null", "larger than 256 KiB");
	free(body);
}

static void test_update(void **state)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\",\"rpm\":60,\"budget\":\"1M/month\",\"expires\":\"2030-01-01\"}");
	int64_t expires = number("key.expires_at");
	ASK(201, "POST", "/api/keys", "{\"name\":\"other\"}");
	ASK(200, "PATCH", "/api/keys/a", "{\"rpm\":null,\"tpm\":1000}");
	assert_null(at("key.rpm"));
	HAS("key.tpm", "1000");
	HAS("key.budget.0", "1M/month");
	assert_int_equal(number("key.expires_at"), expires); /* a moment, not so long from now */
	ASK(200, "PATCH", "/api/keys/a", "{\"name\":\"b\",\"expires\":null}");
	HAS("key.name", "b");
	HAS("key.serial", "1");
	HAS("key.expires_at", "null");
	GET(404, "/api/keys/a", "");
	GET(200, "/api/keys/b", "");
	ASK(200, "PATCH", "/api/keys/b", "{\"name\":\"b\"}"); /* its own name is no clash */
	FAILS(409, "PATCH", "/api/keys/b", "{\"name\":\"other\"}", "name", "already");
	FAILS(400, "PATCH", "/api/keys/b", "{\"name\":null}", "name", "name");
	FAILS(400, "PATCH", "/api/keys/b", "{\"tpm\":true}", "tpm", "tpm");
	GET(200, "/api/keys/b", "");
	HAS("key.tpm", "1000");
	ASK(200, "PATCH", "/api/keys/b", "{\"expires\":\"1h\"}");
	HAS("key.state", "active");
	now_s += HOUR;
	GET(200, "/api/keys/b", "");
	HAS("key.state", "expired");
}

static void test_secrets(void **state)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\"}");
	struct str first = text_at("secret");
	assert_int_equal(verdict(first), KEY_FINE);
	ASK(200, "POST", "/api/keys/a/rotate", "");
	struct str second = text_at("secret");
	assert_int_equal(number("key.rotated_until"), now_s + DAY);
	assert_memory_equal(first.ptr, second.ptr, 3 + TOKEN_ID + 1); /* the id stays */
	assert_false(str_eq(first, second));
	assert_int_equal(verdict(first), KEY_FINE);
	assert_int_equal(verdict(second), KEY_FINE);
	ASK(200, "POST", "/api/keys/a/rotate", "{\"overlap\":\"10m\"}");
	struct str third = text_at("secret");
	assert_int_equal(verdict(first), KEY_UNKNOWN);
	assert_int_equal(verdict(second), KEY_FINE);
	now_s += 601;
	assert_int_equal(verdict(second), KEY_UNKNOWN);
	GET(200, "/api/keys/a", "");
	HAS("key.rotated_until", "null");
	ASK(200, "POST", "/api/keys/a/rotate", "{\"overlap\":0}");
	HAS("key.rotated_until", "null");
	struct str fourth = text_at("secret");
	assert_int_equal(verdict(third), KEY_UNKNOWN);
	assert_int_equal(verdict(fourth), KEY_FINE);
	FAILS(400, "POST", "/api/keys/a/rotate", "{\"overlap\":\"soon\"}", "overlap", "24h");
	FAILS(400, "POST", "/api/keys/a/rotate", "{\"overlap\":7}", "overlap", "24h");
	FAILS(400, "POST", "/api/keys/a/rotate", "{\"overlap\":\"366d\"}", "overlap", "365");
	FAILS(400, "POST", "/api/keys/a/rotate", "{\"overlap\":\"-1h\"}", "overlap", "24h");
	FAILS(400, "POST", "/api/keys/a/rotate", "{\"overlop\":\"1h\"}", "overlop", "overlap");
	assert_int_equal(verdict(fourth), KEY_FINE);

	ASK(200, "POST", "/api/keys/a/revoke", "{}");
	HAS("key.state", "revoked");
	int64_t revoked = number("key.revoked_at");
	assert_int_equal(verdict(fourth), KEY_REVOKED);
	now_s += 10;
	ASK(200, "POST", "/api/keys/a/revoke", "");
	assert_int_equal(number("key.revoked_at"), revoked);
	FAILS(409, "POST", "/api/keys/a/rotate", "", "null", "revoked");

	ASK(200, "DELETE", "/api/keys/a", "");
	HAS("deleted", "true");
	HAS("key.name", "a");
	assert_int_equal(verdict(fourth), KEY_UNKNOWN);
	GET(404, "/api/keys/a", "");
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\"}");
	HAS("key.serial", "2"); /* never given twice */
	assert_int_equal(verdict(fourth), KEY_UNKNOWN);
}

/* Nothing that a secret could be found from is ever in an answer. */
static void test_answers_hold_no_secret(void **state)
{
	uint8_t pepper[32], hash[DIGEST_SIZE];
	struct hmac_key hmac;
	struct token token;
	char hex[2 * DIGEST_SIZE + 1];
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\"}");
	struct str secret = text_at("secret");
	assert_true(state_pepper(folder, pepper, &why));
	hmac_key_init(&hmac, pepper, sizeof(pepper));
	assert_true(token_parse(secret, &token));
	token_hash(&hmac, &token, hash);
	for (int i = 0; i < DIGEST_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	static const char *const paths[] = {"/api/keys", "/api/keys/a", "/api/usage", "/api/ledger", "/api/advice", "/api/keys/none"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		assert_true(ask("GET", paths[i], "", "") != 0);
		assert_int_equal(str_search(buf_str(&out), str_of(token.secret, TOKEN_SECRET)), out.len);
		assert_int_equal(str_search(buf_str(&out), str_of(hex, 16)), out.len);
	}
}

static void test_store_fails(void **state)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\",\"budget\":\"1M\"}");
	changes = 0;
	store_gone = true;
	FAILS(500, "POST", "/api/keys", "{\"name\":\"b\"}", "null", "store");
	FAILS(500, "PATCH", "/api/keys/a", "{\"rpm\":5}", "null", "store");
	FAILS(500, "DELETE", "/api/keys/a", "", "null", "store");
	FAILS(500, "POST", "/api/keys/a/rotate", "", "null", "store");
	FAILS(500, "POST", "/api/keys/a/revoke", "", "null", "store");
	FAILS(500, "GET", "/api/usage", "", "null", "store");
	FAILS(500, "GET", "/api/advice", "", "null", "store");
	HAS("error.type", "server_error");
	assert_int_equal(changes, 0);
	store_gone = false;
	GET(200, "/api/keys", "");
	assert_int_equal(at("data")->count, 1);
	assert_null(at("data.0.rpm"));
	HAS("data.0.state", "active");
}

static void test_pepper_is_checked(void **state)
{
	char path[128];
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\"}");
	close_api();
	snprintf(path, sizeof(path), "%s/pepper", folder);
	assert_int_equal(unlink(path), 0);
	store = store_open(folder, &why);
	assert_non_null(store);
	struct api_options o = {.call = call, .folder = folder};
	assert_null(api_new(&o, &why));
	assert_true(str_search(buf_str(&why), STR("pepper is missing")) < why.len);
	uint8_t other[32];
	assert_true(state_pepper(folder, other, &why)); /* a new one does not help */
	buf_clear(&why);
	assert_null(api_new(&o, &why));
	assert_true(str_search(buf_str(&why), STR("not the one")) < why.len);
	store_close(store);
	store = NULL;
}

static void test_probation(void **state)
{
	struct settings *s = settings_defaults();
	struct str budget = STR("50k/total");
	s->probation.new_keys = true;
	s->probation.budgets = (struct str_list){&budget, 1};
	api_use_settings(api, s);
	ASK(201, "POST", "/api/keys", "{\"name\":\"new\",\"budget\":\"1M/day\"}");
	HAS("key.probation", "true");
	assert_int_equal(at("key.limits")->count, 2);
	ASK(201, "POST", "/api/keys", "{\"name\":\"trusted\",\"probation\":false}");
	assert_null(at("key.probation"));
	assert_int_equal(at("key.limits")->count, 0);
	ASK(200, "PATCH", "/api/keys/new", "{\"probation\":null}");
	assert_int_equal(at("key.limits")->count, 1);
	api_use_settings(api, NULL);
	s->probation.budgets = (struct str_list){NULL, 0};
	settings_free(s);
}

/* ---- use ---- */

static void make_uses(void)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\",\"budget\":[\"1M/day\",\"$2/total\"],\"model_budget\":{\"qwen*\":\"500k/month\"}}");
	ASK(201, "POST", "/api/keys", "{\"name\":\"b\"}");
	ASK(201, "POST", "/api/keys", "{\"name\":\"c\"}");
	const struct use uses[] = {
		{1, "qwen3", "gpu", now_s - HOUR, 1000, 200, 0, SOURCE_UPSTREAM, 0, NULL},
		{1, "gpt", "cloud", now_s - HOUR, 5000, 700, 900000000, SOURCE_COUNTED, FLAG_OVER_HOLD, NULL},
		{1, "qwen3", "gpu", now_s - 2 * DAY, 40000, 0, 0, SOURCE_ABORTED, 0, NULL},
		{2, "qwen3", "gpu", now_s - HOUR, 10, 20, 0, SOURCE_ESTIMATED, FLAG_ORPHAN, "upstream_failed"},
		{3, "qwen3", "gpu", now_s - 40 * DAY, 7, 7, 0, SOURCE_UPSTREAM, FLAG_UNPRICED, NULL},
		{0, "qwen3", "gpu", now_s - HOUR, 1, 1, 0, SOURCE_UPSTREAM, 0, NULL},
	};
	feed(uses, sizeof(uses) / sizeof(*uses));
}

static void check_usage(void)
{
	GET(200, "/api/usage", "");
	HAS("by", "key");
	assert_int_equal(number("from"), now_s - 7 * DAY);
	assert_int_equal(at("data")->count, 3);
	HAS("data.0.key", "a");
	HAS("data.0.requests", "3");
	HAS("data.0.input_tokens", "46000");
	HAS("data.0.cached_tokens", "4600");
	HAS("data.0.output_tokens", "900");
	HAS("data.0.cost_nanos", "900000000");
	HAS("data.0.reference_nanos", "1800000000");
	HAS("data.0.upstream", "1");
	HAS("data.0.counted", "1");
	HAS("data.0.aborted", "1");
	HAS("data.0.over_hold", "1");
	HAS("data.1.key", "b");
	HAS("data.1.errors", "1");
	HAS("data.1.estimated", "1");
	HAS("data.1.orphans", "1");
	HAS("data.2.key", "-");
	HAS("total.requests", "5");
	HAS("total.input_tokens", "46011");
	HAS("total.errors", "1");
	GET(200, "/api/usage", "since=60d&key=c");
	assert_int_equal(at("data")->count, 1);
	HAS("total.unpriced", "1");
	GET(200, "/api/usage", "by=model&since=24h&key=a");
	assert_int_equal(at("data")->count, 2);
	HAS("data.0.model", "gpt");
	HAS("data.1.model", "qwen3");
	HAS("data.1.input_tokens", "1000");
	GET(200, "/api/usage", "by=target");
	HAS("data.0.target", "cloud");
}

static void test_usage(void **state)
{
	char query[128], day[11];
	make_uses();
	check_usage();
	time_t before = (time_t)(now_s - 2 * DAY);
	strftime(day, sizeof(day), "%Y-%m-%d", gmtime(&before));
	GET(200, "/api/usage", "by=day");
	assert_int_equal(at("data")->count, 2);
	HAS("data.0.day", day);
	HAS("data.0.input_tokens", "40000");
	snprintf(query, sizeof(query), "since=%s&until=24h", day);
	GET(200, "/api/usage", query);
	assert_int_equal(at("data")->count, 1);
	HAS("total.input_tokens", "40000");
	assert_int_equal(number("from"), now_s - 2 * DAY - 12 * HOUR);
	snprintf(query, sizeof(query), "since=%lld", (long long)now_s - HOUR + 1); /* the quarter counts as a whole */
	GET(200, "/api/usage", query);
	HAS("total.requests", "4");
	ASK(200, "DELETE", "/api/keys/a", "");
	GET(200, "/api/usage", "");
	HAS("data.0.key", "#1");
	GET(200, "/api/usage", "key=%231");
	HAS("total.requests", "3");
	GET(200, "/api/usage", "key=-");
	HAS("total.requests", "1");
	GET(200, "/api/usage", "key=c");
	assert_int_equal(at("data")->count, 0);
	HAS("total.requests", "0");
}

static void test_usage_nonsense(void **state)
{
	ASK(201, "POST", "/api/keys", "{\"name\":\"obsidian\"}");
	static const struct {
		const char *query, *param, *part;
	} cases[] = {
		{"by=kye", "by", "expected key"},
		{"since=yesterday", "since", "since: expected"},
		{"since=2026-02-30", "since", "since: expected"},
		{"since=-5", "since", "since: expected"},
		{"since=", "since", "since: expected"},
		{"until=7d&since=1d", "until", "after since"},
		{"sinec=7d", "sinec", "did you mean since?"},
		{"by=key&by=day", "by", "twice"},
		{"key=%f", "null", "URL"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		fails(__LINE__, 400, "GET", "/api/usage", cases[i].query, "", cases[i].param, cases[i].part);
	fails(__LINE__, 404, "GET", "/api/usage", "key=obsidan", "", "null", "did you mean obsidian?");
	fails(__LINE__, 404, "GET", "/api/usage", "key=%230", "", "null", "no key");
	GET(200, "/api/usage", "since=99999d"); /* the beginning of time is early enough */
	HAS("from", "0");
}

static void check_limits(void)
{
	GET(200, "/api/keys/a", "");
	assert_int_equal(at("key.limits")->count, 3);
	HAS("key.limits.0.budget", "1M/day");
	HAS("key.limits.0.settled", "6900");
	HAS("key.limits.0.left", "993100");
	HAS("key.limits.1.budget", "$2"); /* once and for all */
	HAS("key.limits.1.settled", "900000000");
	HAS("key.limits.1.left", "1100000000");
	HAS("key.limits.1.resets_at", "null");
	HAS("key.limits.2.scope", "model:qwen*");
	int64_t month = civil_window(PERIOD_MONTH, now_s).from_s;
	assert_int_equal(number("key.limits.2.settled"), now_s - 2 * DAY >= month ? 41200 : 1200);
	GET(200, "/api/keys", "");
	HAS("data.0.limits.0.settled", "6900");
}

static void test_limits_without_a_server(void **state)
{
	make_uses();
	check_limits();
	GET(200, "/api/ledger", "");
	HAS("identity", "holds");
	assert_int_equal(at("scopes")->count, 0);
}

static void test_limits_after_a_start(void **state)
{
	make_uses();
	close_api();
	open_api(true);
	check_limits();
	GET(200, "/api/ledger", "");
	HAS("identity", "holds");
	assert_int_equal(at("problems")->count, 0);
	assert_int_equal(at("scopes")->count, 3);
	HAS("scopes.0.key", "a");
	HAS("scopes.0.settled", "6900");
	HAS("scopes.0.amount", "1000000");
}

/* What a scope had used before it was made counts once, however often the books are loaded. */
static void test_new_scopes_are_loaded_once(void **state)
{
	make_uses();
	close_api();
	open_api(true);
	struct limits limits = {.budgets = {{UNIT_TOKENS, PERIOD_DAY, 1000000}}, .budget_count = 1};
	struct scope_view view;
	struct scope *gateway = books_scope(books, 0, STR_NONE), *model = books_scope(books, 0, STR("qwen3"));
	books_set_limits(books, gateway, &limits);
	books_set_limits(books, model, &limits);
	assert_true(api_load_books(api, now_s, &why));
	assert_true(api_load_books(api, now_s, &why));
	books_view(books, gateway, now_s * 1000000, &view);
	assert_int_equal(view.budgets[0].settled, 6900 + 30 + 2); /* of all keys and of those without one */
	books_view(books, model, now_s * 1000000, &view);
	assert_int_equal(view.budgets[0].settled, 1200 + 30 + 2);
	ASK(200, "PATCH", "/api/keys/a", "{\"model_budget\":{\"qwen*\":\"500k/month\",\"gpt\":\"10k/day\"},\"budget\":\"9k/day\"}");
	HAS("key.limits.0.settled", "6900"); /* a new limit begins no new window */
	HAS("key.limits.2.scope", "model:gpt");
	HAS("key.limits.2.settled", "5700");
	ASK(200, "PATCH", "/api/keys/a", "{\"rpm\":5}");
	HAS("key.limits.2.settled", "5700");
	ASK(200, "PATCH", "/api/keys/a", "{\"model_budget\":null}");
	assert_int_equal(at("key.limits")->count, 1);
	ASK(200, "PATCH", "/api/keys/a", "{\"model_budget\":{\"gpt\":\"10k/day\"}}");
	HAS("key.limits.1.settled", "5700");
	GET(200, "/api/ledger", "");
	HAS("identity", "holds");
}

/* A start must not go on with books that were not filled. */
static void test_load_fails(void **state)
{
	make_uses();
	close_api();
	open_api(true);
	books_scope(books, 0, STR("gpt"));
	store_gone = true;
	assert_false(api_load_books(api, now_s, &why));
	store_gone = false;
	assert_true(api_load_books(api, now_s, &why));
	struct scope_view view;
	books_view(books, books_scope(books, 0, STR("gpt")), now_s * 1000000, &view);
	assert_int_equal(view.settled[PERIOD_DAY][UNIT_TOKENS], 5700);
}

static void test_in_flight(void **state)
{
	const struct key *key;
	struct claim claim = {0};
	struct claim_answer said;
	struct price free_of_charge = {.known = true};
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\",\"budget\":\"1M/day\"}");
	assert_int_equal(keyring_find(ring, text_at("secret"), now_s, &key), KEY_FINE);
	struct ask a = {.mono_us = clock_mono_us(), .book_us = now_s * 1000000, .input_bound = 100, .output = 50, .price = &free_of_charge};
	books_claim(books, &key->scope, 1, &a, &claim, &said);
	assert_int_equal(said.verdict, CLAIM_GRANTED);
	GET(200, "/api/keys/a", "");
	HAS("key.in_flight", "1");
	HAS("key.limits.0.held", "150");
	HAS("key.limits.0.left", "999850");
	GET(200, "/api/ledger", "");
	HAS("identity", "holds");
	HAS("scopes.0.held", "150");
	books_settle(books, &claim, 70, 0, clock_mono_us());
	GET(200, "/api/keys/a", "");
	HAS("key.in_flight", "0");
	HAS("key.limits.0.settled", "70");
}

/* ---- advice ---- */

static void test_advice(void **state)
{
	struct use uses[22];
	size_t n = 0;
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\"}");
	ASK(201, "POST", "/api/keys", "{\"name\":\"early\"}");
	ASK(201, "POST", "/api/keys", "{\"name\":\"gone\"}");
	ASK(200, "POST", "/api/keys/gone/revoke", "");
	for (int day = 1; day <= 20; day++) /* 1000, 2000 … 20000 tokens a day */
		uses[n++] = (struct use){.key = 1, .model = "m", .at_s = now_s - day * DAY, .input = day * 900, .output = day * 100, .cost = day * 1000};
	uses[n++] = (struct use){.key = 2, .model = "m", .at_s = now_s - HOUR, .input = 5, .output = 5};
	uses[n++] = (struct use){.key = 1, .model = "m", .at_s = now_s - 31 * DAY, .input = 9000000, .output = 5};
	feed(uses, n);
	GET(200, "/api/keys/a/advice", "");
	assert_int_equal(at("data")->count, 1);
	HAS("data.0.key", "a");
	HAS("data.0.days", "20");
	HAS("data.0.p95_day_tokens", "19000");
	HAS("data.0.max_day_tokens", "20000");
	HAS("data.0.p95_day_nanos", "19000");
	HAS("data.0.proposal.budget.0", "29k/day"); /* 28,500 */
	assert_int_equal(at("data.0.proposal.budget")->count, 2);
	HAS("data.0.peak_quarter_requests", "1");
	HAS("data.0.peak_quarter_tokens", "7000"); /* of the last seven days with use */
	HAS("data.0.proposal.rpm", "10");
	HAS("data.0.proposal.tpm", "110000"); /* ten requests of 10,500 */
	assert_int_equal(at("data.0.why")->count, 4);
	struct str first = text_at("data.0.why.0");
	assert_true(str_search(first, STR("20 days")) < first.len && str_search(first, STR("19k tokens")) < first.len &&
		    str_search(first, STR("29k")) < first.len);
	GET(200, "/api/advice", "");
	assert_int_equal(at("data")->count, 2); /* not for a revoked one */
	HAS("data.1.key", "early");
	HAS("data.1.days", "1");
	HAS("data.1.proposal", "null");
	assert_true(str_starts(text_at("data.1.why.0"), STR("It is too early")));
	GET(404, "/api/keys/b/advice", "");
}

static void test_advice_on_bursts(void **state)
{
	struct use uses[303];
	ASK(201, "POST", "/api/keys", "{\"name\":\"a\"}");
	for (int i = 0; i < 300; i++)
		uses[i] = (struct use){.key = 1, .model = "m", .at_s = now_s - DAY, .input = 90, .output = 10};
	for (int i = 0; i < 3; i++)
		uses[300 + i] = (struct use){.key = 1, .model = "m", .at_s = now_s - (2 + i) * DAY, .input = 90, .output = 10};
	feed(uses, 303);
	GET(200, "/api/keys/a/advice", "");
	HAS("data.0.peak_quarter_requests", "300");
	HAS("data.0.proposal.rpm", "60"); /* 20 a minute, three times */
	HAS("data.0.proposal.tpm", "6000");
	HAS("data.0.proposal.budget.0", "45k/day");
	assert_int_equal(at("data.0.proposal.budget")->count, 1); /* nothing to pay */
}

/* ---- many, and the reference ---- */

static void test_many_keys(void **state)
{
	enum { MANY = 2000 };
	char body[128];
	assert_true(store_group(store)); /* one write for all */
	for (int i = 0; i < MANY; i++) {
		snprintf(body, sizeof(body), "{\"name\":\"key-%d\",\"rpm\":%d}", (i * 7919) % MANY, i + 1);
		ASK(201, "POST", "/api/keys", body);
	}
	GET(200, "/api/keys", "");
	assert_int_equal(at("data")->count, MANY);
	HAS("data.0.name", "key-0");
	HAS("data.1.name", "key-1");
	HAS("data.2.name", "key-10"); /* by name */
	for (int i = 0; i < MANY; i += 2) {
		snprintf(body, sizeof(body), "/api/keys/key-%d", i);
		ASK(200, "DELETE", body, "");
	}
	assert_true(store_group_end(store, true));
	GET(200, "/api/keys", "");
	assert_int_equal(at("data")->count, MANY / 2);
	GET(200, "/api/keys/key-1999", "");
	GET(404, "/api/keys/key-1998", "");
}

static void test_answer_too_large(void **state)
{
	struct buf small;
	struct api_request r = {STR("GET"), STR("/api/keys"), STR_NONE, STR_NONE, now_s};
	for (int i = 0; i < 10; i++) {
		char body[64];
		snprintf(body, sizeof(body), "{\"name\":\"key-%d\"}", i);
		ASK(201, "POST", "/api/keys", body);
	}
	buf_init(&small, 500);
	assert_int_equal(api_do(api, &r, &small), 500);
	answer = json_parse(&arena, arena_dup(&arena, buf_str(&small)), NULL);
	assert_non_null(answer);
	HAS("error.code", "answer_too_large");
	buf_release(&small);
}

static void test_reference(void **state)
{
	static const char *const parts[] = {"# Admin API", "| POST | `/api/keys/{key}/rotate` |", "## `GET /api/usage`", "| `since` |", "`model_budget`"};
	buf_clear(&out);
	api_print_reference(&out);
	assert_false(out.over);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (str_search(buf_str(&out), str_from(parts[i])) == out.len)
			fail_msg("%s is missing", parts[i]);
}

#define WITHOUT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define WITH(test)    cmocka_unit_test_setup_teardown(test, set_up_books, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITHOUT(test_create_and_show),
		WITH(test_create_and_show),
		WITHOUT(test_survives_reopening),
		WITHOUT(test_nonsense),
		WITH(test_nonsense),
		WITHOUT(test_too_large),
		WITHOUT(test_update),
		WITH(test_update),
		WITH(test_secrets),
		WITHOUT(test_answers_hold_no_secret),
		WITHOUT(test_store_fails),
		WITHOUT(test_pepper_is_checked),
		WITH(test_probation),
		WITHOUT(test_usage),
		WITH(test_usage),
		WITHOUT(test_usage_nonsense),
		WITHOUT(test_limits_without_a_server),
		WITHOUT(test_limits_after_a_start),
		WITHOUT(test_new_scopes_are_loaded_once),
		WITHOUT(test_load_fails),
		WITH(test_in_flight),
		WITHOUT(test_advice),
		WITHOUT(test_advice_on_bursts),
		WITHOUT(test_many_keys),
		WITHOUT(test_answer_too_large),
		WITHOUT(test_reference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
