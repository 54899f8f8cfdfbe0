/* api_list.c - all keys as the store has them, in memory: by serial number and by name. Control thread, or the command line's only one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#define OLD_BYTES (DIGEST_SIZE + sizeof(int64_t))

/* ---- two sorted arrays ---- */

static int compare_text(struct str a, struct str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_names(const void *a, const void *b)
{
	return compare_text(api_key_text(*(struct api_key *const *)a), api_key_text(*(struct api_key *const *)b));
}

static int compare_serials(const void *a, const void *b)
{
	uint32_t x = (*(struct api_key *const *)a)->serial, y = (*(struct api_key *const *)b)->serial;
	return (x > y) - (x < y);
}

/* The first place whose name is not before `name`. */
static size_t name_place(const struct api *a, struct str name)
{
	size_t low = 0, high = a->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare_text(api_key_text(a->by_name[middle]), name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t serial_place(const struct api *a, uint32_t serial)
{
	size_t low = 0, high = a->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (a->by_serial[middle]->serial < serial)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct api_key *api_list_name(const struct api *a, struct str name)
{
	size_t i = name_place(a, name);
	return i < a->count && str_eq(api_key_text(a->by_name[i]), name) ? a->by_name[i] : NULL;
}

struct api_key *api_list_serial(const struct api *a, uint32_t serial)
{
	size_t i = serial_place(a, serial);
	return i < a->count && a->by_serial[i]->serial == serial ? a->by_serial[i] : NULL;
}

static struct api_key *find_id(const struct api *a, const char *id)
{
	for (size_t i = 0; i < a->count; i++)
		if (memcmp(a->by_serial[i]->id, id, TOKEN_ID) == 0)
			return a->by_serial[i];
	return NULL;
}

bool api_list_has_id(const struct api *a, const char id[TOKEN_ID])
{
	return find_id(a, id) != NULL;
}

struct api_key *api_list_find(const struct api *a, struct str name)
{
	struct api_key *k = api_list_name(a, name);
	return !k && name.len == TOKEN_ID ? find_id(a, name.ptr) : k;
}

struct str api_list_near(const struct api *a, struct str name)
{
	size_t limit = name.len < 6 ? 1 : 2, best = limit + 1;
	struct str near = STR_NONE;
	for (size_t i = 0; i < a->count && name.len <= 64; i++) {
		size_t distance = str_distance(api_key_text(a->by_name[i]), name, limit);
		if (distance < best) {
			best = distance;
			near = api_key_text(a->by_name[i]);
		}
	}
	return near;
}

/* ---- changes ---- */

static struct api_key *key_copy(const struct stored_key *k)
{
	bool rotated = k->old_until_s != 0;
	struct api_key *copy = mem_alloc(sizeof(*copy) + (rotated ? OLD_BYTES : 0) + k->name.len + k->document.len);
	char *at = copy->bytes;
	*copy = (struct api_key){.created_s = k->created_s, .revoked_s = k->revoked_s, .serial = k->serial, .name_len = (uint32_t)k->name.len,
				 .document_len = (uint32_t)k->document.len, .rotated = rotated};
	memcpy(copy->hash, k->hash, sizeof(copy->hash));
	memcpy(copy->id, k->id, sizeof(copy->id));
	if (rotated) {
		memcpy(at, k->old_hash, DIGEST_SIZE);
		memcpy(at + DIGEST_SIZE, &k->old_until_s, sizeof(k->old_until_s));
		at += OLD_BYTES;
	}
	memcpy(at, k->name.ptr, k->name.len);
	memcpy(at + k->name.len, k->document.ptr, k->document.len);
	return copy;
}

struct str api_key_text(const struct api_key *k)
{
	return str_of(k->bytes + (k->rotated ? OLD_BYTES : 0), k->name_len);
}

void api_key_unpack(const struct api_key *k, struct stored_key *out)
{
	*out = (struct stored_key){.serial = k->serial, .created_s = k->created_s, .revoked_s = k->revoked_s, .name = api_key_text(k)};
	out->document = str_of(out->name.ptr + k->name_len, k->document_len);
	memcpy(out->hash, k->hash, sizeof(out->hash));
	memcpy(out->id, k->id, sizeof(out->id));
	if (k->rotated) {
		memcpy(out->old_hash, k->bytes, DIGEST_SIZE);
		memcpy(&out->old_until_s, k->bytes + DIGEST_SIZE, sizeof(out->old_until_s));
	}
}

static void key_free(struct api_key *k)
{
	explicit_bzero(k, sizeof(*k) + (k->rotated ? OLD_BYTES : 0));
	free(k);
}

static void make_room(struct api *a)
{
	if (a->count < a->cap)
		return;
	a->cap = a->cap ? a->cap * 2 : 64;
	a->by_serial = mem_grow(a->by_serial, a->cap * sizeof(*a->by_serial));
	a->by_name = mem_grow(a->by_name, a->cap * sizeof(*a->by_name));
}

static void insert_at(struct api_key **list, size_t count, size_t place, struct api_key *k)
{
	memmove(list + place + 1, list + place, (count - place) * sizeof(*list));
	list[place] = k;
}

static void remove_at(struct api_key **list, size_t count, size_t place)
{
	memmove(list + place, list + place + 1, (count - place - 1) * sizeof(*list));
}

static void take_out(struct api *a, struct api_key *k)
{
	size_t name = name_place(a, api_key_text(k)), serial = serial_place(a, k->serial);
	assert(a->by_name[name] == k && a->by_serial[serial] == k);
	remove_at(a->by_name, a->count, name);
	remove_at(a->by_serial, a->count, serial);
	a->count--;
}

void api_list_remove(struct api *a, struct api_key *k)
{
	take_out(a, k);
	key_free(k);
}

struct api_key *api_list_put(struct api *a, const struct stored_key *k)
{
	struct api_key *old = api_list_serial(a, k->serial), *copy = key_copy(k);
	if (old) {
		copy->born = old->born;
		take_out(a, old);
		key_free(old);
	}
	make_room(a);
	insert_at(a->by_serial, a->count, serial_place(a, k->serial), copy);
	insert_at(a->by_name, a->count, name_place(a, api_key_text(copy)), copy);
	a->count++;
	return copy;
}

/* ---- loading ---- */

static void on_stored(void *user, const struct stored_key *k)
{
	struct api *a = user;
	make_room(a);
	a->by_serial[a->count++] = key_copy(k);
}

static bool load_job(struct store *s, void *arg)
{
	return store_each_key(s, on_stored, arg);
}

bool api_list_load(struct api *a, struct buf *why)
{
	if (!api_store(a, load_job, a, why))
		return false;
	if (a->count) {
		memcpy(a->by_name, a->by_serial, a->count * sizeof(*a->by_name));
		qsort(a->by_serial, a->count, sizeof(*a->by_serial), compare_serials);
		qsort(a->by_name, a->count, sizeof(*a->by_name), compare_names);
	}
	return true;
}

void api_list_release(struct api *a)
{
	for (size_t i = 0; i < a->count; i++)
		key_free(a->by_serial[i]);
	free(a->by_serial);
	free(a->by_name);
}

/* ---- documents ---- */

static void add_problems(struct buf *why, const struct field_reader *r)
{
	bool first = true;
	for (const struct field_problem *p = r->problems; p; p = p->next) {
		if (p->warning)
			continue;
		buf_addf(why, "%s%.*s%s%.*s", first ? "" : "; ", STR_ARG(p->path), p->path.len ? ": " : "", STR_ARG(p->text));
		first = false;
	}
}

bool api_key_read(struct arena *arena, const struct stored_key *k, struct key_conf *out, struct buf *why)
{
	struct field_reader r = {.arena = arena, .values = arena};
	struct json *document = json_parse(arena, k->document, NULL);
	if (document && document->type == JSON_OBJECT && key_conf_read(&r, document, 0, out))
		return true;
	if (why)
		add_problems(why, &r);
	fields_default(arena, &key_table, out);
	out->name = k->name;
	return false;
}

/* ---- for others ---- */

size_t api_key_count(const struct api *a)
{
	return a->count;
}

struct str api_key_name(const struct api *a, uint32_t serial)
{
	if (serial == 0)
		return STR("-");
	const struct api_key *k = api_list_serial(a, serial);
	if (k)
		return api_key_text(k);
	unsigned *next = (unsigned *)&a->gone_next;
	char *text = a->gone[(*next)++ % API_NAMES];
	int len = snprintf(text, sizeof(a->gone[0]), "#%u", serial);
	return str_of(text, (size_t)len);
}
