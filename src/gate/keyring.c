/* keyring.c - the index of all keys: built at once, read without a lock.
 *
 * Keys stand in one array by their serial numbers; a table of 32-bit numbers, half full at most, finds them by id. The ids that come from outside are
 * hashed with a secret, so that nobody can make them collide.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/keyring.h"

#include "base/table.h"

#include <stdatomic.h>

struct keyring {
	_Atomic int refs;
	struct hmac_key pepper;
	struct key *keys;   /* by serial */
	size_t count;
	uint32_t *slots;    /* number in `keys` plus 1; 0: free */
	size_t mask;
	struct arena arena; /* names, rules */
};

/* ---- building ---- */

/* What the building of one keyring needs. */
struct build {
	struct keyring *ring;
	struct books *books;
	const struct limits *probation;
	void (*fresh)(void *user, struct scope *s, uint32_t key, struct str pattern);
	void *user;
};

/* Limits are set before a new scope is loaded, so that what is loaded is known to be leased. */
static struct scope *limited_scope(struct build *b, uint32_t key, struct str pattern, const struct limits *l)
{
	bool known = books_find(b->books, key, pattern) != NULL;
	struct scope *s = books_scope(b->books, key, pattern);
	books_set_limits(b->books, s, l);
	if (!known && b->fresh)
		b->fresh(b->user, s, key, pattern);
	return s;
}

static struct str_list copy_list(struct arena *a, const struct str_list *from)
{
	struct str_list to = {arena_zero(a, from->count * sizeof(*to.items)), from->count};
	for (size_t i = 0; i < from->count; i++)
		to.items[i] = arena_dup(a, from->items[i]);
	return to;
}

static struct str_map copy_map(struct arena *a, const struct str_map *from)
{
	struct str_map to = {arena_zero(a, from->count * sizeof(*to.items)), from->count};
	for (size_t i = 0; i < from->count; i++)
		to.items[i] = (struct str_pair){arena_dup(a, from->items[i].name), arena_dup(a, from->items[i].value)};
	return to;
}

static bool has_rule(const struct key_rules *rules, struct str pattern)
{
	for (uint32_t i = 0; i < rules->model_rule_count; i++)
		if (str_eq(rules->model_rules[i].pattern, pattern))
			return true;
	return false;
}

static void add_model_rules(struct build *b, uint32_t serial, const struct key_conf *conf, const struct str_map *map, struct key_rules *rules)
{
	for (size_t i = 0; i < map->count; i++) {
		struct limits l;
		if (has_rule(rules, map->items[i].name))
			continue;
		struct str pattern = arena_dup(&b->ring->arena, map->items[i].name);
		key_conf_model_limits(conf, pattern, &l);
		rules->model_rules[rules->model_rule_count++] = (struct key_model_rule){pattern, limited_scope(b, serial, pattern, &l)};
	}
}

static const struct key_rules *build_rules(struct build *b, const struct keyring_entry *e)
{
	const struct key_conf *c = e->conf;
	struct arena *a = &b->ring->arena;
	size_t patterns = c->model_budgets.count + c->model_rpm.count + c->model_tpm.count + c->model_concurrency.count;
	if (!patterns && !c->models.count && !c->max_output && !c->tags.count && !e->old_until_s)
		return NULL;
	struct key_rules *r = arena_zero(a, sizeof(*r));
	r->models = copy_list(a, &c->models);
	r->tags = copy_map(a, &c->tags);
	r->max_output = c->max_output;
	r->old_until_s = e->old_until_s;
	memcpy(r->old_hash, e->old_hash, sizeof(r->old_hash));
	r->model_rules = arena_zero(a, patterns * sizeof(*r->model_rules));
	add_model_rules(b, e->serial, c, &c->model_budgets, r);
	add_model_rules(b, e->serial, c, &c->model_rpm, r);
	add_model_rules(b, e->serial, c, &c->model_tpm, r);
	add_model_rules(b, e->serial, c, &c->model_concurrency, r);
	return r;
}

static void build_key(struct build *b, const struct keyring_entry *e, struct key *k)
{
	struct limits l;
	key_conf_limits(e->conf, &l);
	if (e->conf->probation && b->probation)
		limits_tighten(&l, b->probation);
	*k = (struct key){
		.revoked = e->revoked, .local_only = e->conf->local_only, .class = (uint8_t)e->conf->class, .weight = (uint16_t)e->conf->weight, .serial = e->serial,
		.max_wait_ms = (uint32_t)e->conf->max_wait_ms, .expires_s = e->conf->expires_s, .name = arena_dup(&b->ring->arena, e->conf->name),
		.scope = limited_scope(b, e->serial, STR_NONE, &l), .rules = build_rules(b, e),
	};
	memcpy(k->id, e->id, sizeof(k->id));
	memcpy(k->hash, e->hash, sizeof(k->hash));
}

static int by_serial(const void *a, const void *b)
{
	uint32_t left = ((const struct key *)a)->serial, right = ((const struct key *)b)->serial;
	return (left > right) - (left < right);
}

static size_t slot_of(const struct keyring *k, const char *id)
{
	size_t i = siphash(str_of(id, TOKEN_ID)) & k->mask;
	while (k->slots[i] && memcmp(k->keys[k->slots[i] - 1].id, id, TOKEN_ID) != 0)
		i = (i + 1) & k->mask;
	return i;
}

static void build_index(struct keyring *k)
{
	size_t slots = 8;
	while (slots < k->count * 2)
		slots *= 2;
	k->slots = mem_array(slots, sizeof(*k->slots));
	k->mask = slots - 1;
	for (size_t i = 0; i < k->count; i++)
		k->slots[slot_of(k, k->keys[i].id)] = (uint32_t)i + 1;
}

/* A key that is gone, or a rule of one that is gone: nothing limits it any more, and what it used is remembered. */
static void unlimit_the_rest(struct build *b)
{
	uint32_t serial;
	struct str pattern;
	struct scope *s;
	for (size_t i = 0; (s = books_scope_at(b->books, i, &serial, &pattern)); i++) {
		const struct key *k = serial ? keyring_by_serial(b->ring, serial) : NULL;
		if (serial && (!k || (pattern.len && !(k->rules && has_rule(k->rules, pattern)))))
			books_set_limits(b->books, s, NULL);
	}
}

struct keyring *keyring_build(struct books *books, const struct keyring_source *from, const struct hmac_key *pepper,
			      void (*fresh)(void *user, struct scope *s, uint32_t key, struct str pattern), void *user)
{
	struct keyring *k = mem_zero(sizeof(*k));
	struct build b = {k, books, from->probation, fresh, user};
	k->refs = 1;
	k->pepper = *pepper;
	k->keys = mem_array(from->count, sizeof(*k->keys));
	k->count = from->count;
	arena_init(&k->arena, 1024);
	for (size_t i = 0; i < k->count; i++)
		build_key(&b, &from->entries[i], &k->keys[i]);
	qsort(k->keys, k->count, sizeof(*k->keys), by_serial);
	build_index(k);
	unlimit_the_rest(&b);
	return k;
}

struct keyring *keyring_ref(struct keyring *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void keyring_unref(struct keyring *k)
{
	if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
		return;
	hmac_key_wipe(&k->pepper);
	arena_release(&k->arena);
	free(k->slots);
	free(k->keys);
	free(k);
}

size_t keyring_count(const struct keyring *k)
{
	return k ? k->count : 0;
}

/* ---- finding ---- */

/* Who does not know the secret learns nothing. For an id that is not there some other key is compared, so that the same is read and done; and whether a
 * key is revoked or has expired is said only to whom holds its secret. */
enum key_verdict keyring_find(const struct keyring *k, struct str token, int64_t now_s, const struct key **out)
{
	static const uint8_t nothing[DIGEST_SIZE];
	static const struct key nobody;
	struct token t;
	uint8_t hash[DIGEST_SIZE];
	*out = NULL;
	if (!token_parse(token, &t))
		return KEY_MALFORMED;
	token_hash(&k->pepper, &t, hash);
	size_t slot = slot_of(k, t.id);
	bool known = k->slots[slot] != 0;
	const struct key *key = known ? &k->keys[k->slots[slot] - 1] : k->count ? &k->keys[slot * k->count / (k->mask + 1)] : &nobody;
	bool overlaps = key->rules && key->rules->old_until_s > now_s;
	bool fits = digest_same(hash, key->hash, DIGEST_SIZE);
	bool fits_old = digest_same(hash, overlaps ? key->rules->old_hash : nothing, DIGEST_SIZE);
	if (!known || !(fits || (overlaps && fits_old)))
		return KEY_UNKNOWN;
	*out = key;
	if (key->revoked)
		return KEY_REVOKED;
	return key->expires_s && key->expires_s <= now_s ? KEY_EXPIRED : KEY_FINE;
}

const struct key *keyring_by_serial(const struct keyring *k, uint32_t serial)
{
	struct key wanted = {.serial = serial};
	return k && k->count ? bsearch(&wanted, k->keys, k->count, sizeof(*k->keys), by_serial) : NULL;
}

bool key_allows(const struct key *k, struct str model)
{
	if (!k->rules || k->rules->models.count == 0)
		return true;
	for (size_t i = 0; i < k->rules->models.count; i++)
		if (str_glob(k->rules->models.items[i], model))
			return true;
	return false;
}
