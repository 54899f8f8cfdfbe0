/* key_show.c - keys as an operator reads them: the list, one key, a new secret, advice.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/key.h"

#include "base/civil.h"
#include "cli/print.h"
#include "gate/budget.h"

enum { TEXT_MAX = 64 * 1024, LABEL = 18 };

/* ---- pieces ---- */

/* A list as "a, b", a map as "a=1, b=2", all else as it is; without control bytes. */
static void add_value(struct buf *out, struct cli_answer *a, const struct json *value)
{
	bool object = value->type == JSON_OBJECT;
	if (value->type == JSON_STRING)
		print_clean(out, json_text(&a->arena, value));
	else if (!object && value->type != JSON_ARRAY)
		buf_adds(out, value->raw);
	for (const struct json *e = object || value->type == JSON_ARRAY ? value->first : NULL; e; e = e->next) {
		if (object)
			print_clean(out, json_key(&a->arena, e));
		if (object)
			BUF_ADD(out, "=");
		add_value(out, a, e);
		if (e->next)
			BUF_ADD(out, ", ");
	}
}

static bool is_empty(const struct json *value)
{
	bool several = value && (value->type == JSON_ARRAY || value->type == JSON_OBJECT);
	return !value || value->type == JSON_NULL || (several && !value->first);
}

/* Hundredths, rounded so that nothing looks smaller than it is (`up`) or larger. */
static int64_t percent(int64_t part, int64_t whole, bool up)
{
	if (part <= 0)
		return 0;
	for (; whole > INT64_MAX / 200 || part > INT64_MAX / 200; whole >>= 1)
		part >>= 1;
	return whole > 0 ? (part * 100 + (up ? whole - 1 : 0)) / whole : 100;
}

static enum budget_unit unit_of(struct cli_answer *a, const struct json *limit)
{
	return str_eq(cli_text(a, limit, "unit"), STR("money")) ? UNIT_MONEY : UNIT_TOKENS;
}

/* "model:qwen*" as "qwen*"; "key" as nothing. */
static struct str pattern_of(struct cli_answer *a, const struct json *limit)
{
	struct str scope = cli_text(a, limit, "scope");
	return str_starts(scope, STR("model:")) ? str_skip(scope, 6) : STR_NONE;
}

/* ---- the list ---- */

static void add_limits(struct buf *out, const struct json *key)
{
	static const struct {
		const char *member, *shown;
	} limits[] = {{"rpm", "rpm"}, {"tpm", "tpm"}, {"concurrency", "at once"}};
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		int64_t n = cli_number(key, limits[i].member);
		if (n == 0)
			continue;
		if (out->len)
			BUF_ADD(out, ", ");
		print_count(out, n);
		buf_addf(out, " %s", limits[i].shown);
	}
	static const char *const of_models[] = {"model_rpm", "model_tpm", "model_concurrency"};
	bool more = false;
	for (size_t i = 0; i < 3; i++)
		more |= !is_empty(json_get(key, str_from(of_models[i])));
	if (more)
		buf_adds(out, out->len ? STR(", some models") : STR("some models"));
}

static void add_budgets(struct buf *out, struct cli_answer *a, const struct json *key)
{
	const struct json *limits = json_get(key, STR("limits"));
	for (const struct json *l = limits ? limits->first : NULL; l; l = l->next) {
		struct str pattern = pattern_of(a, l);
		int64_t amount = cli_number(l, "amount");
		if (out->len)
			BUF_ADD(out, ", ");
		print_clean(out, pattern);
		buf_addf(out, "%s%.*s %lld%%/%lld%%", pattern.len ? "=" : "", STR_ARG(cli_text(a, l, "budget")),
			 (long long)percent(cli_number(l, "settled"), amount, true), (long long)percent(cli_number(l, "left"), amount, false));
	}
}

static void add_day(struct buf *out, const struct json *key, const char *member)
{
	int64_t at_s = cli_number(key, member);
	if (at_s)
		civil_print_day(out, at_s);
	else
		BUF_ADD(out, "never");
}

static void put_key_row(struct grid *g, struct cli_answer *a, const struct json *key)
{
	const struct json *models = json_get(key, STR("models"));
	struct buf cell;
	buf_init(&cell, TEXT_MAX);
	grid_row(g);
	grid_put(g, cli_text(a, key, "name"));
	grid_put(g, cli_text(a, key, "id"));
	grid_put(g, cli_text(a, key, "state"));
	if (!is_empty(models))
		add_value(&cell, a, models);
	grid_put(g, cell.len ? buf_str(&cell) : STR("all"));
	buf_clear(&cell);
	add_limits(&cell, key);
	grid_put(g, cell.len ? buf_str(&cell) : STR("-"));
	buf_clear(&cell);
	add_budgets(&cell, a, key);
	grid_put(g, cell.len ? buf_str(&cell) : STR("-"));
	buf_clear(&cell);
	add_day(&cell, key, "expires_at");
	grid_put(g, buf_str(&cell));
	buf_release(&cell);
}

void key_print_list(struct buf *out, struct cli_answer *a)
{
	static const struct grid_column columns[] = {{"NAME", false},   {"ID", false},                  {"STATE", false},  {"MODELS", false},
						     {"LIMITS", false}, {"BUDGETS (USED/LEFT)", false}, {"EXPIRES", false}};
	const struct json *data = json_get(a->json, STR("data"));
	struct grid g;
	if (!data || !data->first) {
		BUF_ADD(out, "no keys yet; the first one is made with: valet key create NAME\n");
		return;
	}
	grid_init(&g, &a->arena, columns, sizeof(columns) / sizeof(columns[0]));
	for (const struct json *key = data->first; key; key = key->next)
		put_key_row(&g, a, key);
	grid_print(out, &g);
	grid_release(&g);
}

/* ---- one key ---- */

static void add_label(struct buf *out, struct str label)
{
	size_t before = out->len;
	print_clean(out, label);
	for (size_t i = before; i < out->len; i++)
		if (out->ptr[i] == '_')
			out->ptr[i] = ' ';
	for (size_t width = out->len - before; width < LABEL; width++)
		BUF_ADD(out, " ");
}

static void add_moment(struct buf *out, const struct json *key, const char *member, const char *label)
{
	int64_t at_s = cli_number(key, member);
	if (at_s == 0)
		return;
	add_label(out, str_from(label));
	civil_print_minute(out, at_s);
	BUF_ADD(out, "\n");
}

/* What add_document() leaves out, since it is shown otherwise. */
static bool is_told(struct str name)
{
	static const char *const told[] = {"id", "name", "serial", "state", "created_at", "revoked_at", "expires_at", "rotated_until", "limits", "in_flight",
					   "budget", "model_budget"};
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		if (str_eq(name, str_from(told[i])))
			return true;
	return false;
}

static void add_document(struct buf *out, struct cli_answer *a, const struct json *key)
{
	for (const struct json *m = key->first; m; m = m->next) {
		struct str name = json_key(&a->arena, m);
		if (is_told(name) || is_empty(m))
			continue;
		add_label(out, name);
		if (m->type == JSON_BOOL)
			buf_adds(out, m->boolean ? STR("yes") : STR("no"));
		else
			add_value(out, a, m);
		BUF_ADD(out, "\n");
	}
}

static void put_amount(struct grid *g, enum budget_unit unit, int64_t amount, bool exact)
{
	struct buf text;
	buf_init(&text, 256);
	budget_print_amount(&text, unit, amount, exact);
	grid_put(g, buf_str(&text));
	buf_release(&text);
}

static void put_limit_row(struct grid *g, struct cli_answer *a, const struct json *l)
{
	struct str pattern = pattern_of(a, l);
	enum budget_unit unit = unit_of(a, l);
	struct buf until;
	buf_init(&until, 64);
	grid_row(g);
	grid_put(g, cli_text(a, l, "budget"));
	grid_put(g, pattern.len ? pattern : STR("all"));
	put_amount(g, unit, cli_number(l, "settled"), false);
	put_amount(g, unit, cli_number(l, "held"), false);
	put_amount(g, unit, cli_number(l, "left"), false);
	grid_putf(g, "%lld%%", (long long)percent(cli_number(l, "left"), cli_number(l, "amount"), false));
	if (cli_number(l, "resets_at"))
		civil_print_minute(&until, cli_number(l, "resets_at"));
	grid_put(g, until.len ? buf_str(&until) : STR("never"));
	buf_release(&until);
}

static void add_budget_grid(struct buf *out, struct cli_answer *a, const struct json *key)
{
	static const struct grid_column columns[] = {{"BUDGET", false}, {"MODELS", false}, {"USED", true},    {"HELD", true},
						     {"LEFT", true},    {"LEFT %", true},  {"RESETS", false}};
	const struct json *limits = json_get(key, STR("limits"));
	struct grid g;
	if (is_empty(limits))
		return;
	grid_init(&g, &a->arena, columns, sizeof(columns) / sizeof(columns[0]));
	for (const struct json *l = limits->first; l; l = l->next)
		put_limit_row(&g, a, l);
	BUF_ADD(out, "\n");
	grid_print(out, &g);
	grid_release(&g);
}

void key_print_one(struct buf *out, struct cli_answer *a)
{
	const struct json *inside = json_get(a->json, STR("key")), *key = inside ? inside : a->json;
	add_label(out, STR("name"));
	print_clean(out, cli_text(a, key, "name"));
	BUF_ADD(out, "\n");
	add_label(out, STR("id"));
	print_clean(out, cli_text(a, key, "id"));
	BUF_ADD(out, "\n");
	add_label(out, STR("state"));
	print_clean(out, cli_text(a, key, "state"));
	BUF_ADD(out, "\n");
	add_moment(out, key, "created_at", "created");
	add_moment(out, key, "revoked_at", "revoked");
	add_moment(out, key, "expires_at", "expires");
	add_moment(out, key, "rotated_until", "old secret until");
	if (is_empty(json_get(key, STR("models")))) {
		add_label(out, STR("models"));
		BUF_ADD(out, "all\n");
	}
	add_document(out, a, key);
	if (cli_number(key, "in_flight")) {
		add_label(out, STR("in flight"));
		print_count(out, cli_number(key, "in_flight"));
		BUF_ADD(out, "\n");
	}
	add_budget_grid(out, a, key);
}

/* ---- a new secret ---- */

void key_print_secret(struct buf *out, struct cli_answer *a, const struct cli_place *place, bool rotated)
{
	const struct json *key = json_get(a->json, STR("key"));
	struct str secret = cli_text(a, a->json, "secret");
	BUF_ADD(out, "The key ");
	print_clean(out, cli_text(a, key, "name"));
	BUF_ADD(out, " (");
	print_clean(out, cli_text(a, key, "id"));
	buf_adds(out, rotated ? STR(") has a new secret. ") : STR(") is made. "));
	BUF_ADD(out, "Keep the secret now: it is not shown again.\n\n  ");
	buf_adds(out, secret);
	BUF_ADD(out, "\n\n");
	if (rotated && cli_number(key, "rotated_until")) {
		BUF_ADD(out, "The old one is valid until ");
		civil_print_minute(out, cli_number(key, "rotated_until"));
		BUF_ADD(out, ".\n\n");
	} else if (rotated) {
		BUF_ADD(out, "The old one is refused from now on.\n\n");
	}
	if (!rotated && cli_number(key, "serial") == 1)
		BUF_ADD(out, "It is the first key: from now on requests without one are refused (unless auth is off).\n\n");
	BUF_ADD(out, "To use it:\n\n  export OPENAI_BASE_URL=");
	cli_base_url(place, out);
	BUF_ADD(out, "\n  export OPENAI_API_KEY=");
	buf_adds(out, secret);
	BUF_ADD(out, "\n");
}

/* ---- advice ---- */

/* What it proposes, as the command that does it. */
static void add_proposal(struct buf *out, struct cli_answer *a, const struct json *one)
{
	const struct json *proposal = json_get(one, STR("proposal")), *budgets = json_get(proposal, STR("budget"));
	if (is_empty(proposal)) {
		BUF_ADD(out, "  nothing to propose yet\n");
		return;
	}
	BUF_ADD(out, "  valet key update ");
	print_clean(out, cli_text(a, one, "key"));
	for (const struct json *b = budgets ? budgets->first : NULL; b; b = b->next) {
		struct str text = json_text(&a->arena, b);
		bool quote = str_find(text, '$') < text.len; /* a shell would take it for a variable */
		BUF_ADD(out, " --budget ");
		buf_adds(out, quote ? STR("'") : STR_NONE);
		print_clean(out, text);
		buf_adds(out, quote ? STR("'") : STR_NONE);
	}
	if (cli_number(proposal, "rpm"))
		buf_addf(out, " --rpm %lld", (long long)cli_number(proposal, "rpm"));
	if (cli_number(proposal, "tpm"))
		buf_addf(out, " --tpm %lld", (long long)cli_number(proposal, "tpm"));
	BUF_ADD(out, "\n");
}

void key_print_advice(struct buf *out, struct cli_answer *a)
{
	const struct json *data = json_get(a->json, STR("data"));
	if (is_empty(data))
		BUF_ADD(out, "no keys yet, so there is nothing to advise\n");
	for (const struct json *one = data ? data->first : NULL; one; one = one->next) {
		const struct json *why = json_get(one, STR("why"));
		print_clean(out, cli_text(a, one, "key"));
		BUF_ADD(out, ": ");
		print_count(out, cli_number(one, "requests"));
		buf_addf(out, " requests on %lld days\n", (long long)cli_number(one, "days"));
		add_proposal(out, a, one);
		for (const struct json *w = why ? why->first : NULL; w; w = w->next) {
			BUF_ADD(out, "  - ");
			print_clean(out, json_text(&a->arena, w));
			BUF_ADD(out, "\n");
		}
		if (one->next)
			BUF_ADD(out, "\n");
	}
}
