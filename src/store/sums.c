/* sums.c - see sums.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/sums.h"

_Static_assert(SUMS_COUNT == 15, "a sum more: add its column in store_schema.c");

/* Longer texts than a record can have come from a database that somebody else wrote: they get their own rows as well. */
enum { NAME_HEAD = 16, NAME_SHORT = NAME_HEAD + 2 * RECORD_TEXT };

void sums_init(struct sums *s)
{
	*s = (struct sums){0};
	arena_init(&s->arena, 4096);
	table_init(&s->index, 64);
}

void sums_release(struct sums *s)
{
	arena_release(&s->arena);
	table_release(&s->index);
	free(s->rows);
	*s = (struct sums){0};
}

static struct str name_of(char *into, int64_t slot, uint32_t key, struct str model, struct str target)
{
	uint32_t len = (uint32_t)model.len;
	memcpy(into, &slot, 8);
	memcpy(into + 8, &key, 4);
	memcpy(into + 12, &len, 4);
	if (model.len)
		memcpy(into + NAME_HEAD, model.ptr, model.len);
	if (target.len)
		memcpy(into + NAME_HEAD + model.len, target.ptr, target.len);
	return str_of(into, NAME_HEAD + model.len + target.len);
}

static bool is_row(const struct sum_row *r, int64_t slot, uint32_t key, struct str model, struct str target)
{
	return r && r->slot == slot && r->key == key && str_eq(r->model, model) && str_eq(r->target, target);
}

struct sum_row *sums_find(const struct sums *s, int64_t slot, uint32_t key, struct str model, struct str target)
{
	char space[NAME_SHORT];
	size_t need = NAME_HEAD + model.len + target.len;
	char *into = need <= sizeof(space) ? space : mem_alloc(need);
	struct sum_row *found = table_get(&s->index, name_of(into, slot, key, model, target));
	if (into != space)
		free(into);
	return found;
}

static struct sum_row *add_row(struct sums *s, int64_t slot, uint32_t key, struct str model, struct str target)
{
	char *name = arena_alloc(&s->arena, NAME_HEAD + model.len + target.len);
	struct str whole = name_of(name, slot, key, model, target);
	struct sum_row *r = arena_zero(&s->arena, sizeof(*r));
	*r = (struct sum_row){.slot = slot, .key = key, .model = str_of(name + NAME_HEAD, model.len),
			      .target = str_of(name + NAME_HEAD + model.len, target.len)};
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 64;
		s->rows = mem_grow(s->rows, s->cap * sizeof(*s->rows));
	}
	s->rows[s->count++] = r;
	table_put(&s->index, whole, r);
	return r;
}

struct sum_row *sums_at(struct sums *s, int64_t slot, uint32_t key, struct str model, struct str target)
{
	if (is_row(s->last, slot, key, model, target))
		return s->last;
	struct sum_row *r = sums_find(s, slot, key, model, target);
	s->last = r ? r : add_row(s, slot, key, model, target);
	return s->last;
}

static int compare_text(struct str a, struct str b)
{
	size_t both = a.len < b.len ? a.len : b.len;
	int c = both ? memcmp(a.ptr, b.ptr, both) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int compare(const void *a, const void *b)
{
	const struct sum_row *x = *(struct sum_row *const *)a, *y = *(struct sum_row *const *)b;
	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	int c = compare_text(x->model, y->model);
	return c ? c : compare_text(x->target, y->target);
}

void sums_sort(struct sums *s)
{
	if (s->count)
		qsort(s->rows, s->count, sizeof(*s->rows), compare);
}

int64_t add_capped(int64_t a, int64_t b)
{
	int64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

void usage_add(struct usage_sum *to, const struct usage_sum *more)
{
	int64_t a[SUMS_COUNT], b[SUMS_COUNT];
	memcpy(a, to, sizeof(a));
	memcpy(b, more, sizeof(b));
	for (size_t i = 0; i < SUMS_COUNT; i++)
		a[i] = add_capped(a[i], b[i]);
	memcpy(to, a, sizeof(a));
}

static int64_t at_least_0(int64_t n)
{
	return n < 0 ? 0 : n;
}

void usage_of(const struct record_settle *r, struct usage_sum *out)
{
	bool request = !(r->flags & FLAG_LEASE);
	*out = (struct usage_sum){
		.requests = request, .errors = request && r->error.len > 0,
		.input = at_least_0(r->input), .cached = at_least_0(r->cached), .output = at_least_0(r->output),
		.cost = at_least_0(r->cost), .reference = at_least_0(r->reference),
		.orphans = request && (r->flags & FLAG_ORPHAN), .unpriced = request && (r->flags & FLAG_UNPRICED),
		.over_hold = request && (r->flags & FLAG_OVER_HOLD),
	};
	if (request && r->source < SOURCE_COUNT)
		out->by_source[r->source] = 1;
}
