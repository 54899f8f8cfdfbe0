/* fuzz_key_conf.c - any JSON as what is said of a key: refused with a report, or taken, and then stored and read back as the same; and any two as a
 * document and its changes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/key_conf.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_S INT64_C(2209118400)

#define CHECK(condition)                                                                   \
	do {                                                                               \
		if (!(condition)) {                                                        \
			fprintf(stderr, "fuzz_key_conf.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                           \
		}                                                                          \
	} while (0)

static void check_limits(const struct limits *l)
{
	CHECK(l->rpm >= 0 && l->rpm <= 1000000000 && l->tpm >= 0 && l->tpm <= 10000000000 && l->concurrency >= 0 && l->concurrency <= 1000000);
	CHECK(l->budget_count <= BUDGETS_MAX);
	for (size_t i = 0; i < l->budget_count; i++) {
		CHECK(l->budgets[i].amount >= 0 && l->budgets[i].amount <= BUDGET_MAX);
		for (size_t k = 0; k < i; k++)
			CHECK(l->budgets[i].unit != l->budgets[k].unit || l->budgets[i].period != l->budgets[k].period);
	}
}

static void check_conf(const struct key_conf *c)
{
	const struct str_map *maps[] = {&c->model_budgets, &c->model_rpm, &c->model_tpm, &c->model_concurrency};
	struct limits l;
	CHECK(c->name.len <= 64 && c->expires_s >= 0 && c->max_wait_ms >= 0 && c->max_output >= 0);
	key_conf_limits(c, &l);
	check_limits(&l);
	for (size_t m = 0; m < 4; m++) {
		for (size_t i = 0; i < maps[m]->count; i++) {
			CHECK(maps[m]->items[i].name.len > 0);
			key_conf_model_limits(c, maps[m]->items[i].name, &l);
			check_limits(&l);
			CHECK(l.rpm || l.tpm || l.concurrency || l.budget_count);
		}
	}
}

static bool read_conf(struct arena *a, struct str text, struct key_conf *out)
{
	struct field_reader r = {.arena = a, .values = a};
	const struct json *tree = json_parse(a, text, NULL);
	if (!tree)
		return false;
	bool fine = key_conf_read(&r, tree, NOW_S, out);
	CHECK(fine == (r.errors == 0));
	CHECK(fine || r.problems->text.len > 0);
	return fine;
}

static void check_stored(struct arena *a, const struct key_conf *c)
{
	struct key_conf again;
	struct buf first, second;
	buf_init(&first, 16 << 20);
	buf_init(&second, 16 << 20);
	key_conf_write(c, &first);
	CHECK(read_conf(a, buf_str(&first), &again));
	CHECK(again.expires_s == c->expires_s && again.max_wait_ms == c->max_wait_ms && again.rpm == c->rpm);
	key_conf_write(&again, &second);
	CHECK(str_eq(buf_str(&first), buf_str(&second)));
	buf_release(&first);
	buf_release(&second);
}

/* A document and its changes, with a line break between them. */
static void check_merge(struct arena *a, struct str text)
{
	struct str old;
	struct buf out;
	struct key_conf c;
	if (!str_split(&text, '\n', &old) || !text.ptr)
		return;
	const struct json *was = json_parse(a, old, NULL), *changes = json_parse(a, text, NULL);
	if (!was || !changes || was->type != JSON_OBJECT || changes->type != JSON_OBJECT)
		return;
	buf_init(&out, 16 << 20);
	key_conf_merge(a, was, changes, &out);
	CHECK(json_parse(a, buf_str(&out), NULL));
	if (read_conf(a, buf_str(&out), &c))
		check_conf(&c);
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = str_of((const char *)data, size);
	struct key_conf c;
	struct arena a;
	arena_init(&a, 1024);
	if (read_conf(&a, text, &c)) {
		check_conf(&c);
		check_stored(&a, &c);
	}
	check_merge(&a, text);
	arena_release(&a);
	return 0;
}
