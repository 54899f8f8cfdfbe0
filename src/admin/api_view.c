/* api_view.c - a key as JSON: what is stored of it, and how much of its budgets is used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

/* ---- what the store knows of running windows ---- */

struct api_sum {
	uint32_t key;
	struct str model;
	int64_t tokens, nanos;
};

struct sums_job {
	struct api_sums *sums;
	enum period period;
	int64_t from_s;
	size_t cap;
};

static void on_sum(void *user, uint32_t key, struct str model, const struct usage_sum *sum)
{
	struct sums_job *j = user;
	struct api_sums *s = j->sums;
	if (key == 0 || (s->only && key != s->only))
		return;
	if (s->counts[j->period] == j->cap) {
		j->cap = j->cap ? j->cap * 2 : 32;
		s->rows[j->period] = mem_grow(s->rows[j->period], j->cap * sizeof(struct api_sum));
	}
	s->rows[j->period][s->counts[j->period]++] = (struct api_sum){key, arena_dup(&s->arena, model), api_tokens(sum), sum->cost};
}

static bool run_sums(struct store *s, void *arg)
{
	struct sums_job *j = arg;
	return store_sums(s, j->from_s, on_sum, j);
}

static int compare_sums(const void *a, const void *b)
{
	uint32_t x = ((const struct api_sum *)a)->key, y = ((const struct api_sum *)b)->key;
	return (x > y) - (x < y);
}

static bool sums_read(struct api_call *c, struct api_sums *s, enum period period)
{
	struct sums_job j = {s, period, civil_window(period, c->request->now_s).from_s, 0};
	if (s->have[period])
		return true;
	if (!s->begun)
		arena_init(&s->arena, 4096);
	s->begun = s->have[period] = true;
	if (!api_store_answer(c, run_sums, &j))
		return false;
	if (s->counts[period])
		qsort(s->rows[period], s->counts[period], sizeof(struct api_sum), compare_sums);
	return true;
}

void api_sums_release(struct api_sums *s)
{
	for (int i = 0; i < PERIOD_COUNT; i++)
		free(s->rows[i]);
	if (s->begun)
		arena_release(&s->arena);
}

/* What `key` has used of a budget on models that fit `pattern` (empty: all). */
static int64_t sums_of(const struct api_sums *s, uint32_t key, struct str pattern, const struct budget *b)
{
	const struct api_sum *rows = s->rows[b->period];
	size_t low = 0, high = s->counts[b->period];
	int64_t sum = 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (rows[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < s->counts[b->period] && rows[low].key == key; low++)
		if (pattern.len == 0 || str_glob(pattern, rows[low].model))
			sum = api_add(sum, b->unit == UNIT_MONEY ? rows[low].nanos : rows[low].tokens);
	return sum;
}

/* ---- limits ---- */

struct view {
	struct api_call *c;
	struct json_writer *w;
	const struct api_key *key;
	struct stored_key stored; /* the same, unpacked */
	struct api_sums *sums;
	bool live; /* the books know the key's scopes */
};

static void put_time(struct json_writer *w, struct str name, int64_t at_s, int64_t none)
{
	json_member_i64_or_null(w, name, at_s != none, at_s);
}

static void put_scope(struct json_writer *w, struct str pattern)
{
	struct buf text;
	buf_init(&text, 8192);
	if (pattern.len)
		BUF_ADD(&text, "model:");
	buf_adds(&text, pattern.len ? pattern : STR("key"));
	json_member_str(w, STR("scope"), buf_str(&text));
	buf_release(&text);
}

static void put_limit(struct json_writer *w, struct str pattern, const struct budget *b, int64_t settled, int64_t held, int64_t resets_s)
{
	struct buf text;
	int64_t left = b->amount - settled - held;
	buf_init(&text, 256);
	budget_print(&text, b);
	json_open_object(w);
	put_scope(w, pattern);
	json_member_str(w, STR("budget"), buf_str(&text));
	json_member_str(w, STR("unit"), b->unit == UNIT_MONEY ? STR("money") : STR("tokens"));
	json_member_i64(w, STR("amount"), b->amount);
	json_member_i64(w, STR("settled"), settled);
	json_member_i64(w, STR("held"), held);
	json_member_i64(w, STR("left"), left > 0 ? left : 0);
	put_time(w, STR("resets_at"), b->period == PERIOD_TOTAL ? INT64_MAX : resets_s, INT64_MAX);
	json_close_object(w);
	buf_release(&text);
}

/* Budgets of a pattern stand in one text, with commas. */
static bool next_budget(struct str *texts, struct budget *out)
{
	struct str one;
	while (str_split(texts, ',', &one))
		if (budget_parse(str_trim(one), out) == NULL)
			return true;
	return false;
}

static void put_stored_limits(struct view *v, struct str pattern, struct str texts)
{
	struct budget b;
	while (next_budget(&texts, &b))
		put_limit(v->w, pattern, &b, sums_of(v->sums, v->key->serial, pattern, &b), 0,
			  civil_window(b.period, v->c->request->now_s).to_s);
}

static bool read_texts(struct view *v, struct str texts)
{
	struct budget b;
	bool fine = true;
	while (fine && next_budget(&texts, &b))
		fine = sums_read(v->c, v->sums, b.period);
	return fine;
}

/* Reads what these budgets need of the store, before anything of the key is written. */
static bool read_sums(struct view *v, const struct key_conf *conf)
{
	bool fine = true;
	for (size_t i = 0; i < conf->budgets.count && fine; i++)
		fine = read_texts(v, conf->budgets.items[i]);
	for (size_t i = 0; i < conf->model_budgets.count && fine; i++)
		fine = read_texts(v, conf->model_budgets.items[i].value);
	return fine;
}

/* False: the books have no such scope. */
static bool look(const struct view *v, struct str pattern, struct scope_view *out)
{
	struct books *books = v->c->api->o.books;
	struct scope *s = books_find(books, v->key->serial, pattern);
	if (s)
		books_view(books, s, v->c->request->now_s * 1000000, out);
	return s != NULL;
}

static void put_live_limits(struct view *v, struct str pattern)
{
	struct scope_view s;
	if (!look(v, pattern, &s))
		return;
	for (int i = 0; i < s.limits.budget_count; i++)
		put_limit(v->w, pattern, &s.budgets[i].budget, s.budgets[i].settled, s.budgets[i].held, s.budgets[i].resets_s);
}

static void put_limits(struct view *v, const struct key_conf *conf)
{
	json_put_key(v->w, STR("limits"));
	json_open_array(v->w);
	if (v->live)
		put_live_limits(v, STR_NONE);
	for (size_t i = 0; i < conf->budgets.count && !v->live; i++)
		put_stored_limits(v, STR_NONE, conf->budgets.items[i]);
	for (size_t i = 0; i < conf->model_budgets.count; i++) {
		if (v->live)
			put_live_limits(v, conf->model_budgets.items[i].name);
		else
			put_stored_limits(v, conf->model_budgets.items[i].name, conf->model_budgets.items[i].value);
	}
	json_close_array(v->w);
}

/* ---- a key ---- */

static void put_state(struct view *v, const struct key_conf *conf)
{
	const struct stored_key *s = &v->stored;
	int64_t now_s = v->c->request->now_s;
	bool expired = conf->expires_s && conf->expires_s <= now_s;
	json_member_str(v->w, STR("id"), str_of(s->id, sizeof(s->id)));
	json_member_str(v->w, STR("name"), s->name);
	json_member_i64(v->w, STR("serial"), s->serial);
	json_member_str(v->w, STR("state"), s->revoked_s ? STR("revoked") : expired ? STR("expired") : STR("active"));
	json_member_i64(v->w, STR("created_at"), s->created_s);
	put_time(v->w, STR("revoked_at"), s->revoked_s, 0);
	put_time(v->w, STR("expires_at"), conf->expires_s, 0);
	put_time(v->w, STR("rotated_until"), s->old_until_s > now_s ? s->old_until_s : 0, 0);
}

/* What is stored, byte for byte, but for what is shown above already. */
static void put_document(struct view *v, struct arena *arena)
{
	const struct json *document = json_parse(arena, v->stored.document, NULL);
	for (const struct json *m = document ? document->first : NULL; m; m = m->next) {
		struct str name = json_key(arena, m), raw = m->raw;
		if (str_eq(name, STR("name")) || str_eq(name, STR("expires")))
			continue;
		if (m->type == JSON_STRING)
			raw = str_of(raw.ptr - 1, raw.len + 2); /* with its quotes */
		json_put_key(v->w, name);
		json_put_raw(v->w, raw);
	}
}

static void put_all(struct view *v, const struct key_conf *conf, struct arena *arena)
{
	struct scope_view scope = {0};
	if (v->live)
		look(v, STR_NONE, &scope);
	json_open_object(v->w);
	put_state(v, conf);
	put_document(v, arena);
	json_member_i64(v->w, STR("in_flight"), scope.in_flight);
	put_limits(v, conf);
	json_close_object(v->w);
}

/* A change that no keyring has been made of yet is not in the books. */
static bool is_live(const struct api *a, const struct api_key *k)
{
	return a->o.books && !a->stale && books_find(a->o.books, k->serial, STR_NONE);
}

bool api_put_key(struct api_call *c, struct json_writer *w, const struct api_key *k, struct api_sums *sums)
{
	struct view v = {.c = c, .w = w, .key = k, .sums = sums, .live = is_live(c->api, k)};
	struct key_conf conf;
	struct arena arena;
	arena_init(&arena, 2048);
	api_key_unpack(k, &v.stored);
	api_key_read(&arena, &v.stored, &conf, NULL);
	bool fine = v.live || read_sums(&v, &conf);
	if (fine)
		put_all(&v, &conf, &arena);
	arena_release(&arena);
	return fine;
}

struct api_key *api_target(struct api_call *c, int *status)
{
	struct api_key *k = api_list_find(c->api, c->named);
	struct str near = k ? STR_NONE : api_list_near(c->api, c->named);
	if (!k)
		*status = api_fail(c, 404, "key_not_found", STR_NONE, "there is no key %.*s%s%.*s%s", STR_ARG(c->named),
				   near.len ? "; did you mean " : "", STR_ARG(near), near.len ? "?" : "");
	return k;
}
