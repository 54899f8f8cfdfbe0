/* test_keyring.c - whose token that is, what the key may use, and what 100,000 of them cost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/keyring.h"

#include "base/clock.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "books_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY     5000 /* and the heap is not the system's: nothing is measured */
#define MEASURED false
#else
#define MANY     100000
#define MEASURED true
#endif

/* Keys as they are stored, with their tokens. */
struct world {
	struct arena arena;
	struct books *b;
	struct hmac_key pepper;
	struct keyring_entry entries[16];
	struct key_conf confs[16];
	char tokens[16][TOKEN_LENGTH + 1];
	size_t count;
	struct limits probation;
	struct keyring *ring;
	int fresh;
};

static void world_open(struct world *w)
{
	memset(w, 0, sizeof(*w));
	arena_init(&w->arena, 4096);
	w->b = books_new(NULL);
	hmac_key_init(&w->pepper, "pepper", 6);
}

static void world_close(struct world *w)
{
	assert_audit(w->b);
	keyring_unref(w->ring);
	books_free(w->b);
	arena_release(&w->arena);
}

static void hash_of(const struct hmac_key *pepper, const char *token, uint8_t out[DIGEST_SIZE])
{
	struct token t;
	assert_true(token_parse(str_from(token), &t));
	token_hash(pepper, &t, out);
}

static void read_conf(struct world *w, const char *document, struct key_conf *out)
{
	struct field_reader r = {.arena = &w->arena, .values = &w->arena};
	if (!key_conf_read(&r, json_parse(&w->arena, str_from(document), NULL), NOON_S, out))
		fail_msg("%s: %.*s", document, STR_ARG(r.problems->text));
}

static void add(struct world *w, uint32_t serial, const char *document)
{
	struct keyring_entry *e = &w->entries[w->count];
	struct token t;
	token_make(NULL, w->tokens[w->count]);
	assert_true(token_parse(str_from(w->tokens[w->count]), &t));
	memcpy(e->id, t.id, sizeof(e->id));
	hash_of(&w->pepper, w->tokens[w->count], e->hash);
	read_conf(w, document, &w->confs[w->count]);
	e->conf = &w->confs[w->count];
	e->serial = serial;
	w->count++;
}

static void count_fresh(void *user, struct scope *s, uint32_t key, struct str pattern)
{
	struct world *w = user;
	assert_ptr_equal(books_find(w->b, key, pattern), s);
	w->fresh++;
}

static void build(struct world *w)
{
	struct keyring_source from = {w->entries, w->count, &w->probation};
	keyring_unref(w->ring);
	w->fresh = 0;
	w->ring = keyring_build(w->b, &from, &w->pepper, count_fresh, w);
}

static enum key_verdict find(struct world *w, const char *token, const struct key **out)
{
	return keyring_find(w->ring, str_from(token), NOON_S, out);
}

/* ---- verdicts ---- */

static void only_the_secret_opens(void **state)
{
	static struct world w;
	const struct key *k;
	world_open(&w);
	add(&w, 7, "{\"name\":\"seven\"}");
	add(&w, 3, "{\"name\":\"three\",\"expires\":2209118401}");
	add(&w, 5, "{\"name\":\"gone\"}");
	add(&w, 9, "{\"name\":\"old\",\"expires\":2209118400}");
	w.entries[2].revoked = true;
	build(&w);
	assert_int_equal(keyring_count(w.ring), 4);
	assert_int_equal(find(&w, w.tokens[0], &k), KEY_FINE);
	assert_true(k->serial == 7 && str_eq(k->name, STR("seven")));
	assert_int_equal(find(&w, w.tokens[1], &k), KEY_FINE);
	assert_int_equal(k->serial, 3);
	assert_int_equal(find(&w, w.tokens[2], &k), KEY_REVOKED);
	assert_int_equal(k->serial, 5);
	assert_int_equal(find(&w, w.tokens[3], &k), KEY_EXPIRED);
	assert_int_equal(k->serial, 9);
	assert_int_equal(find(&w, "", &k), KEY_MALFORMED);
	assert_null(k);
	assert_int_equal(find(&w, "sk-1234", &k), KEY_MALFORMED);
	char other[TOKEN_LENGTH + 1];
	for (size_t i = 0; i < 4; i++) { /* a right id and another secret: nothing is said of the key */
		token_make(w.entries[i].id, other);
		assert_int_equal(find(&w, other, &k), KEY_UNKNOWN);
		assert_null(k);
	}
	token_make(NULL, other);
	assert_int_equal(find(&w, other, &k), KEY_UNKNOWN);
	assert_null(k);
	uint32_t serials[] = {3, 5, 7, 9};
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(keyring_by_serial(w.ring, serials[i])->serial, serials[i]);
	assert_null(keyring_by_serial(w.ring, 4));
	assert_null(keyring_by_serial(w.ring, 0));
	assert_null(keyring_by_serial(NULL, 3));
	assert_int_equal(keyring_count(NULL), 0);
	world_close(&w);
}

static void an_empty_ring_knows_nobody(void **state)
{
	static struct world w;
	const struct key *k;
	char token[TOKEN_LENGTH + 1];
	world_open(&w);
	build(&w);
	token_make(NULL, token);
	assert_int_equal(find(&w, token, &k), KEY_UNKNOWN);
	assert_int_equal(keyring_count(w.ring), 0);
	assert_null(keyring_by_serial(w.ring, 1));
	world_close(&w);
}

static void the_old_secret_overlaps(void **state)
{
	static struct world w;
	const struct key *k;
	char old[TOKEN_LENGTH + 1];
	world_open(&w);
	add(&w, 1, "{\"name\":\"a\"}");
	token_make(w.entries[0].id, old);
	hash_of(&w.pepper, old, w.entries[0].old_hash);
	build(&w);
	assert_int_equal(find(&w, old, &k), KEY_UNKNOWN);
	w.entries[0].old_until_s = NOON_S + 1;
	build(&w);
	assert_int_equal(find(&w, old, &k), KEY_FINE);
	assert_int_equal(k->serial, 1);
	assert_int_equal(find(&w, w.tokens[0], &k), KEY_FINE);
	assert_int_equal(keyring_find(w.ring, str_from(old), NOON_S + 1, &k), KEY_UNKNOWN);
	assert_int_equal(keyring_find(w.ring, str_from(w.tokens[0]), NOON_S + 1, &k), KEY_FINE);
	world_close(&w);
}

static void models_by_pattern(void **state)
{
	static struct world w;
	world_open(&w);
	add(&w, 1, "{\"name\":\"a\"}");
	add(&w, 2, "{\"name\":\"b\",\"models\":[\"qwen*\",\"nomic-embed\"],\"max_output\":99,\"tags\":{\"x\":\"y\"},\"local_only\":true,\"class\":\"batch\",\"weight\":1000}");
	build(&w);
	const struct key *a = keyring_by_serial(w.ring, 1), *b = keyring_by_serial(w.ring, 2);
	assert_null(a->rules);
	assert_true(key_allows(a, STR("anything")));
	assert_true(key_allows(b, STR("qwen3:32b")) && key_allows(b, STR("nomic-embed")));
	assert_false(key_allows(b, STR("nomic-embed-2")) || key_allows(b, STR("llama")) || key_allows(b, STR("")));
	assert_true(b->rules->max_output == 99 && b->rules->tags.count == 1 && str_eq(b->rules->tags.items[0].value, STR("y")));
	assert_true(b->local_only && b->class == CLASS_BATCH && b->max_wait_ms == 2000);
	assert_true(a->weight == 100 && b->weight == 1000);
	world_close(&w);
}

/* ---- scopes ---- */

static struct scope_view view(struct world *w, uint32_t key, const char *pattern)
{
	struct scope_view v;
	struct scope *s = books_find(w->b, key, str_from(pattern));
	assert_non_null(s);
	books_view(w->b, s, NOON_S * 1000000, &v);
	return v;
}

static void limits_go_to_the_books(void **state)
{
	static struct world w;
	world_open(&w);
	w.probation = (struct limits){.rpm = 10, .budget_count = 1, .budgets = {{UNIT_TOKENS, PERIOD_DAY, 5000}}};
	add(&w, 1, "{\"name\":\"a\",\"rpm\":60,\"budget\":[\"1M/month\",\"10k/day\"],\"model_rpm\":{\"q*\":3,\"b\":4},\"model_budget\":{\"q*\":\"$1/day\"}}");
	add(&w, 2, "{\"name\":\"b\",\"rpm\":60,\"budget\":[\"10k/day\"],\"probation\":true}");
	build(&w);
	assert_int_equal(w.fresh, 4);
	const struct key *a = keyring_by_serial(w.ring, 1);
	assert_int_equal(a->rules->model_rule_count, 2);
	assert_true(str_eq(a->rules->model_rules[0].pattern, STR("q*")));
	assert_ptr_equal(a->rules->model_rules[0].scope, books_find(w.b, 1, STR("q*")));
	assert_ptr_equal(a->scope, books_find(w.b, 1, STR_NONE));
	struct scope_view v = view(&w, 1, "");
	assert_true(v.limits.rpm == 60 && v.limits.budget_count == 2);
	v = view(&w, 1, "q*");
	assert_true(v.limits.rpm == 3 && v.limits.budget_count == 1 && v.limits.budgets[0].unit == UNIT_MONEY);
	assert_int_equal(view(&w, 1, "b").limits.rpm, 4);
	v = view(&w, 2, "");
	assert_true(v.limits.rpm == 10 && v.limits.budget_count == 1 && v.limits.budgets[0].amount == 5000);
	build(&w);
	assert_int_equal(w.fresh, 0);
	world_close(&w);
}

static void what_is_gone_keeps_its_books(void **state)
{
	static struct world w;
	struct claim c = {0};
	struct claim_answer answer;
	struct ask ask = {.book_us = NOON_S * 1000000, .input_bound = 100, .output = 1};
	world_open(&w);
	struct scope *gateway = books_scope(w.b, 0, STR_NONE);
	books_set_limits(w.b, gateway, &(struct limits){.rpm = 1000});
	add(&w, 1, "{\"name\":\"a\",\"rpm\":60,\"model_rpm\":{\"q*\":3,\"b\":4}}");
	add(&w, 2, "{\"name\":\"b\",\"budget\":\"10k/day\"}");
	build(&w);
	struct scope *b = keyring_by_serial(w.ring, 2)->scope;
	books_claim(w.b, &b, 1, &ask, &c, &answer);
	assert_int_equal(answer.verdict, CLAIM_GRANTED);
	w.count = 1;
	read_conf(&w, "{\"name\":\"a\",\"rpm\":60,\"model_rpm\":{\"b\":4}}", &w.confs[0]);
	build(&w);
	assert_null(keyring_by_serial(w.ring, 2));
	assert_int_equal(view(&w, 2, "").limits.budget_count, 0);
	assert_int_equal(view(&w, 2, "").in_flight, 1);
	assert_int_equal(view(&w, 1, "q*").limits.rpm, 0);
	assert_int_equal(view(&w, 1, "b").limits.rpm, 4);
	assert_int_equal(view(&w, 0, "").limits.rpm, 1000);
	books_settle(w.b, &c, 80, 0, 0);
	assert_int_equal(view(&w, 2, "").settled[PERIOD_DAY][UNIT_TOKENS], 80);
	w.count = 2;
	build(&w);
	assert_int_equal(w.fresh, 0);
	assert_int_equal(view(&w, 2, "").budgets[0].settled, 80);
	world_close(&w);
}

/* ---- many ---- */

struct crowd {
	struct keyring_entry *entries;
	char (*tokens)[TOKEN_LENGTH + 1];
	struct hmac_key pepper;
};

static void crowd_open(struct crowd *c, const struct key_conf *confs)
{
	c->entries = mem_array(MANY, sizeof(*c->entries));
	c->tokens = mem_array(MANY, sizeof(*c->tokens));
	hmac_key_init(&c->pepper, "pepper", 6);
	for (uint32_t i = 0; i < MANY; i++) {
		struct token t;
		token_make(NULL, c->tokens[i]);
		assert_true(token_parse(str_from(c->tokens[i]), &t));
		memcpy(c->entries[i].id, t.id, TOKEN_ID);
		token_hash(&c->pepper, &t, c->entries[i].hash);
		c->entries[i].serial = i + 1;
		c->entries[i].conf = &confs[i];
	}
}

static void crowd_close(struct crowd *c)
{
	free(c->entries);
	free(c->tokens);
}

static size_t heap_used(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

static int64_t find_ns(const struct keyring *k, char (*tokens)[TOKEN_LENGTH + 1], size_t n, enum key_verdict expected)
{
	enum { ROUNDS = 20000 };
	const struct key *key;
	int64_t began = clock_mono_us();
	for (size_t i = 0; i < ROUNDS; i++)
		assert_int_equal(keyring_find(k, str_of(tokens[i * 7919 % n], TOKEN_LENGTH), NOON_S, &key), expected);
	return (clock_mono_us() - began) * 1000 / ROUNDS;
}

/* A stranger has an id that is not there; a thief has one that is, and not its secret. */
static void measure_finding(const struct keyring *k, const struct crowd *c)
{
	enum { GUESSES = 4096 };
	static char strangers[GUESSES][TOKEN_LENGTH + 1], thieves[GUESSES][TOKEN_LENGTH + 1];
	for (size_t i = 0; i < GUESSES; i++) {
		token_make(NULL, strangers[i]);
		token_make(c->entries[i * 31 % MANY].id, thieves[i]);
	}
	print_message("a good key is found in %lld ns", (long long)find_ns(k, c->tokens, MANY, KEY_FINE));
	print_message(", a stranger is known as one in %lld ns", (long long)find_ns(k, strangers, GUESSES, KEY_UNKNOWN));
	print_message(", a thief in %lld ns\n", (long long)find_ns(k, thieves, GUESSES, KEY_UNKNOWN));
}

static void measure(const char *what, const struct crowd *c)
{
	size_t before = heap_used();
	int64_t began = clock_mono_us();
	struct books *b = books_new(NULL);
	struct keyring_source from = {c->entries, MANY, NULL};
	struct keyring *k = keyring_build(b, &from, &c->pepper, NULL, NULL);
	int64_t built_us = clock_mono_us() - began;
	size_t each = (heap_used() - before) / MANY;
	began = clock_mono_us();
	struct keyring *again = keyring_build(b, &from, &c->pepper, NULL, NULL);
	int64_t again_us = clock_mono_us() - began;
	print_message("%d keys %s: built in %lld ms, again in %lld ms, %zu bytes each with their scopes (0: not measured)\n", MANY, what,
		      (long long)built_us / 1000, (long long)again_us / 1000, each);
	measure_finding(k, c);
	assert_int_equal(keyring_count(k), MANY);
	assert_int_equal(keyring_count(again), MANY);
	if (MEASURED)
		assert_true(each > 100 && each <= 300);
	keyring_unref(again);
	keyring_unref(k);
	books_free(b);
}

static void a_hundred_thousand(void **state)
{
	struct crowd c;
	struct arena arena;
	struct key_conf *confs = mem_array(MANY, sizeof(*confs));
	struct str budget = STR("5M/month");
	arena_init(&arena, 4096);
	for (size_t i = 0; i < MANY; i++)
		confs[i] = (struct key_conf){.name = arena_printf(&arena, "key-%06zu", i), .max_wait_ms = 2000};
	crowd_open(&c, confs);
	measure("without limits", &c);
	for (size_t i = 0; i < MANY; i++) {
		confs[i].rpm = 60;
		confs[i].budgets = (struct str_list){&budget, 1};
	}
	measure("with a rate and a budget", &c);
	crowd_close(&c);
	free(confs);
	arena_release(&arena);
}

/* ---- threads ---- */

#define READERS 3

/* A reader has a reference of its own, as a catalog has. */
struct reader {
	struct keyring *ring;
	char token[TOKEN_LENGTH + 1];
	_Atomic bool *stop;
	_Atomic int64_t found;
	bool wrong;
};

static void *read_ring(void *arg)
{
	struct reader *r = arg;
	const struct key *k;
	while (!atomic_load(r->stop) || atomic_load(&r->found) < 100) {
		r->wrong |= keyring_find(r->ring, str_from(r->token), NOON_S, &k) != KEY_FINE || !key_allows(k, STR("qwen3"));
		atomic_fetch_add(&r->found, 1);
	}
	keyring_unref(r->ring);
	return NULL;
}

static void read_while_another_is_built(void **state)
{
	static struct world w;
	static struct reader readers[READERS];
	pthread_t threads[READERS];
	_Atomic bool stop = false;
	world_open(&w);
	add(&w, 1, "{\"name\":\"a\",\"models\":\"qwen*\",\"rpm\":60}");
	build(&w);
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.ring = keyring_ref(w.ring), .stop = &stop};
		memcpy(readers[i].token, w.tokens[0], sizeof(readers[i].token));
		assert_int_equal(pthread_create(&threads[i], NULL, read_ring, &readers[i]), 0);
	}
	for (int i = 0; i < 200; i++)
		build(&w);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(readers[i].wrong);
	}
	world_close(&w);
}

int main(void)
{
	struct buf why;
	buf_init(&why, 256);
	if (!civil_set_zone("UTC", &why))
		return 1;
	buf_release(&why);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_secret_opens),
		cmocka_unit_test(an_empty_ring_knows_nobody),
		cmocka_unit_test(the_old_secret_overlaps),
		cmocka_unit_test(models_by_pattern),
		cmocka_unit_test(limits_go_to_the_books),
		cmocka_unit_test(what_is_gone_keeps_its_books),
		cmocka_unit_test(a_hundred_thousand),
		cmocka_unit_test(read_while_another_is_built),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
