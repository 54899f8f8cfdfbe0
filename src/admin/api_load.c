/* api_load.c - from the store into the books: keyrings, and what was used in the windows that are running. Control thread.
 *
 * The books keep their scopes in the order in which they were made, so those that have not been loaded yet are the ones behind the `loaded` first.
 * A sum of the store (a key's use of one model) belongs to the key's own scope, to the key's scopes whose pattern fits the model, to the scopes of
 * models that fit, and to the gateway's: with 100,000 keys that is found by the serial number, in a list that is sorted by it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "base/clock.h"
#include "base/log.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* What was read of all keys, or of all sums, was needed for a moment only. */
static void give_memory_back(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

int64_t api_add(int64_t a, int64_t b)
{
	int64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

int64_t api_tokens(const struct usage_sum *sum)
{
	return api_add(sum->input, sum->output);
}

/* ---- scopes that must be loaded ---- */

struct target {
	uint32_t key;
	struct str pattern;
	struct scope *scope;
	int64_t tokens[PERIOD_COUNT], nanos[PERIOD_COUNT];
};

struct load {
	struct target *list; /* by key */
	size_t count, hint;  /* hint: the place of the last key, since sums come in the order of keys most of the time */
	enum period period;
	int64_t from_s;
};

static int compare_targets(const void *a, const void *b)
{
	const struct target *x = a, *y = b;
	return (x->key > y->key) - (x->key < y->key);
}

static bool all_born(const struct api *a, const struct load *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct api_key *k = l->list[i].key ? api_list_serial(a, l->list[i].key) : NULL;
		if (!k || !k->born)
			return false;
	}
	return true;
}

static void collect(struct api *a, struct load *l)
{
	struct target t = {0};
	size_t cap = 0;
	for (size_t i = a->loaded; (t.scope = books_scope_at(a->o.books, i, &t.key, &t.pattern)); i++) {
		if (l->count == cap) {
			cap = cap ? cap * 2 : 64;
			l->list = mem_grow(l->list, cap * sizeof(*l->list));
		}
		l->list[l->count++] = t;
	}
	if (l->count)
		qsort(l->list, l->count, sizeof(*l->list), compare_targets);
}

/* The first target of that key; l->count where there is none. */
static size_t first_of(struct load *l, uint32_t key)
{
	size_t low = 0, high = l->count;
	for (size_t i = l->hint, steps = 0; i < l->count && steps < 8; i++, steps++)
		if (l->list[i].key == key && (i == 0 || l->list[i - 1].key != key))
			return l->hint = i;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (l->list[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == l->count || l->list[low].key != key)
		return l->count;
	return l->hint = low;
}

static void add_from(struct load *l, size_t first, struct str model, const struct usage_sum *sum)
{
	for (size_t i = first; i < l->count && l->list[i].key == l->list[first].key; i++) {
		struct target *t = &l->list[i];
		if (t->pattern.len > 0 && !str_glob(t->pattern, model))
			continue;
		t->tokens[l->period] = api_add(t->tokens[l->period], api_tokens(sum));
		t->nanos[l->period] = api_add(t->nanos[l->period], sum->cost);
	}
}

static void on_sum(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	struct load *l = user;
	if (l->count > 0 && l->list[0].key == 0)
		add_from(l, 0, model, sum);
	if (key != 0)
		add_from(l, first_of(l, key), model, sum);
}

static bool sums_job(struct store *s, void *arg)
{
	struct load *l = arg;
	return store_sums(s, l->from_s, on_sum, l);
}

static bool read_period(struct api *a, struct load *l, enum period period, int64_t now_s, struct buf *why)
{
	l->period = period;
	l->from_s = civil_window(period, now_s).from_s;
	l->hint = 0;
	return api_store(a, sums_job, l, why);
}

static void load_all(struct books *books, const struct load *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct target *t = &l->list[i];
		for (int period = 0; period < PERIOD_COUNT; period++)
			if (t->tokens[period] || t->nanos[period])
				books_load(books, t->scope, (enum period)period, t->tokens[period], t->nanos[period]);
	}
}

bool api_load_books(struct api *a, int64_t now_s, struct buf *why)
{
	struct load l = {0};
	bool fine = true;
	a->begun = true;
	collect(a, &l);
	/* A key that was just made cannot have used anything, and its making should not cost a look at all sums. */
	for (int period = 0; period < PERIOD_COUNT && fine && !all_born(a, &l); period++)
		fine = read_period(a, &l, (enum period)period, now_s, why);
	if (fine) {
		load_all(a->o.books, &l);
		a->loaded += l.count;
	}
	free(l.list);
	if (l.count > 1000)
		give_memory_back();
	return fine;
}

/* ---- keyrings ---- */

static void fill_entry(struct arena *arena, const struct api_key *k, struct keyring_entry *e, struct key_conf *conf)
{
	struct stored_key s;
	struct buf why;
	buf_init(&why, 4096);
	api_key_unpack(k, &s);
	memcpy(e->id, s.id, sizeof(e->id));
	memcpy(e->hash, s.hash, sizeof(e->hash));
	memcpy(e->old_hash, s.old_hash, sizeof(e->old_hash));
	e->old_until_s = s.old_until_s;
	e->serial = s.serial;
	e->conf = conf;
	e->revoked = s.revoked_s != 0;
	if (!api_key_read(arena, &s, conf, &why)) {
		/* What it may do is not known, so it may do nothing. */
		e->revoked = true;
		log_error("key %.*s is refused: what the store says of it cannot be read: %.*s", STR_ARG(s.name), STR_ARG(buf_str(&why)));
	}
	buf_release(&why);
}

static struct keyring *build(struct api *a, struct arena *arena)
{
	struct keyring_entry *entries = mem_array(a->count + 1, sizeof(*entries));
	struct key_conf *confs = mem_array(a->count + 1, sizeof(*confs));
	for (size_t i = 0; i < a->count; i++)
		fill_entry(arena, a->by_serial[i], &entries[i], &confs[i]);
	struct limits probation = a->settings ? settings_probation(&a->settings->probation) : (struct limits){0};
	struct keyring_source source = {entries, a->count, &probation};
	struct keyring *k = keyring_build(a->o.books, &source, &a->pepper, NULL, NULL);
	explicit_bzero(entries, a->count * sizeof(*entries));
	free(entries);
	free(confs);
	return k;
}

struct keyring *api_keyring(struct api *a)
{
	struct arena arena;
	struct buf why;
	arena_init(&arena, 4096);
	struct keyring *k = build(a, &arena);
	arena_release(&arena);
	if (a->count > 1000)
		give_memory_back();
	a->stale = false;
	buf_init(&why, 4096);
	if (a->begun && !api_load_books(a, books_now_us(a->o.books) / 1000000, &why))
		log_error("what new limits have used already is not known: %.*s", STR_ARG(buf_str(&why)));
	buf_release(&why);
	for (size_t i = 0; i < a->count; i++)
		a->by_serial[i]->born = false;
	return k;
}
