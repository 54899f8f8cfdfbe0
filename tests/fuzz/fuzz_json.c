/* fuzz_json.c - scanner and tree agree on any bytes; what the writer prints of a tree parses to the same.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                               \
	do {                                                                           \
		if (!(condition)) {                                                    \
			fprintf(stderr, "fuzz_json.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                       \
		}                                                                      \
	} while (0)

/* ---- the wants show what the tree shows ---- */

static uint32_t count_members(const struct json *root, struct str name, struct arena *a)
{
	uint32_t count = 0;
	for (const struct json *j = root->first; j && root->type == JSON_OBJECT; j = j->next)
		count += str_eq(json_key(a, j), name);
	return count;
}

static void check_want(const struct json_want *w, const struct json *root, struct arena *a)
{
	const struct json *j = json_get(root, w->name);
	CHECK(w->count == count_members(root, w->name, a));
	CHECK((w->type == JSON_NONE) == (j == NULL));
	if (!j)
		return;
	size_t quote = j->type == JSON_STRING;
	CHECK(w->type == j->type);
	CHECK(w->value.ptr == j->raw.ptr - quote && w->value.len == j->raw.len + 2 * quote);
	CHECK(w->key.ptr == j->key.ptr - 1 && w->key.len == j->key.len + 2);
	CHECK(json_scan(w->value, NULL, 0, NULL, NULL) && json_scan(w->key, NULL, 0, NULL, NULL));
}

/* ---- what is printed parses to the same tree ---- */

static void print_tree(struct json_writer *w, const struct json *root, struct arena *a);

static void print_children(struct json_writer *w, const struct json *parent, struct arena *a)
{
	for (const struct json *j = parent->first; j; j = j->next) {
		if (parent->type == JSON_OBJECT)
			json_put_key(w, json_key(a, j));
		print_tree(w, j, a);
	}
}

/* The writer goes less deep than the reader: deeper containers are put as they stand. */
static void print_tree(struct json_writer *w, const struct json *root, struct arena *a)
{
	int64_t n;
	if (root->type == JSON_STRING) {
		json_put_str(w, json_text(a, root));
	} else if (root->type == JSON_NULL) {
		json_put_null(w);
	} else if (root->type == JSON_BOOL) {
		json_put_bool(w, root->boolean);
	} else if (json_i64(root, &n)) {
		json_put_i64(w, n);
	} else if (root->type == JSON_NUMBER || w->depth >= 62) {
		json_put_raw(w, root->raw);
	} else if (root->type == JSON_OBJECT) {
		json_open_object(w);
		print_children(w, root, a);
		json_close_object(w);
	} else {
		json_open_array(w);
		print_children(w, root, a);
		json_close_array(w);
	}
}

static void check_same(const struct json *x, const struct json *y, struct arena *a)
{
	int64_t n, m;
	CHECK(x->type == y->type && x->count == y->count && x->boolean == y->boolean);
	CHECK(str_eq(json_text(a, x), json_text(a, y)));
	CHECK(str_eq(json_key(a, x), json_key(a, y)));
	if (x->type == JSON_NUMBER && json_i64(x, &n))
		CHECK(json_i64(y, &m) && n == m);
	else if (x->type == JSON_NUMBER)
		CHECK(str_eq(x->raw, y->raw));
	const struct json *j = y->first;
	for (const struct json *i = x->first; i; i = i->next, j = j->next)
		check_same(i, j, a);
}

static void check_tree(const struct json *root, struct arena *a)
{
	struct json_writer w;
	struct buf b;
	buf_init(&b, SIZE_MAX);
	json_writer_init(&w, &b);
	print_tree(&w, root, a);
	struct json *again = json_parse(a, buf_str(&b), NULL);
	CHECK(again && w.depth == 0);
	check_same(root, again, a);
	buf_release(&b);
}

/* Any bytes at all can be quoted, and decoded as if they were the inside of a string. */
static void check_bytes(struct str bytes, struct arena *a)
{
	struct buf b;
	buf_init(&b, SIZE_MAX);
	json_quote(&b, bytes);
	struct json *string = json_parse(a, buf_str(&b), NULL);
	CHECK(string && string->type == JSON_STRING);
	json_unescape(bytes, &b);
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = str_of((const char *)data, size);
	struct json_want wants[] = {
		{.name = STR_INIT("model")}, {.name = STR_INIT("a")}, {.name = STR_INIT("")}};
	struct json_scan scan;
	struct json_fail fail, fail2;
	struct arena a;
	arena_init(&a, 4096);
	bool ok = json_scan(text, wants, 3, &scan, &fail);
	struct json *root = json_parse(&a, text, &fail2);
	CHECK(ok == (root != NULL));
	if (ok) {
		for (int i = 0; i < 3; i++)
			check_want(&wants[i], root, &a);
		CHECK(scan.type == root->type);
		check_tree(root, &a);
	} else {
		CHECK(fail.at == fail2.at && fail.what == fail2.what && fail.at <= size);
	}
	check_bytes(text, &a);
	arena_release(&a);
	return 0;
}
