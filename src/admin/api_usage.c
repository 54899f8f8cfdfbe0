/* api_usage.c - the endpoints that say what was used, and whether the books are right.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "base/clock.h"

#include <time.h>

#define QUARTER_S 900
#define WEEK_S    (7 * 24 * 3600)

/* ---- moments ---- */

static bool digits(struct str text, size_t from, size_t n, int *out)
{
	*out = 0;
	for (size_t i = from; i < from + n; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		*out = *out * 10 + (text.ptr[i] - '0');
	}
	return true;
}

/* "2026-11-01": where that civil day begins. Its noon is asked for, since a clock change may skip midnight. */
static bool parse_day(struct str text, int64_t *out)
{
	int year, month, day;
	if (text.len != 10 || text.ptr[4] != '-' || text.ptr[7] != '-' || !digits(text, 0, 4, &year) || !digits(text, 5, 2, &month) ||
	    !digits(text, 8, 2, &day))
		return false;
	struct tm noon = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = 12, .tm_isdst = -1};
	time_t at = mktime(&noon);
	if (at == (time_t)-1 || noon.tm_mday != day || noon.tm_mon != month - 1 || year < 1970)
		return false;
	*out = civil_window(PERIOD_DAY, at).from_s;
	return true;
}

/* Absent: `standard`. 0: fine. */
static int read_moment(struct api_call *c, const char *name, int64_t standard, int64_t *out)
{
	struct str text = api_value(c, name);
	int64_t ms, now_s = c->request->now_s;
	*out = standard;
	if (!text.ptr || parse_day(text, out) || (str_to_i64(text, out) && *out >= 0))
		return 0;
	if (field_parse_ms(text, &ms)) {
		*out = ms / 1000 < now_s ? now_s - ms / 1000 : 0;
		return 0;
	}
	return api_fail(c, 400, "invalid_value", str_from(name), "%s: expected a time before now (7d, 24h), a day (2026-11-01) or seconds since 1970, found %.*s",
			name, STR_ARG(str_head(text, 80)));
}

/* ---- one answer ---- */

struct usage_call {
	struct api_call *c;
	enum usage_by by;
	int64_t from_s, to_s;
	uint32_t key; /* UINT32_MAX: all */
	struct json_writer w;
	struct usage_sum total;
};

static const char *const by_names[] = {[USAGE_BY_KEY] = "key", [USAGE_BY_MODEL] = "model", [USAGE_BY_TARGET] = "target", [USAGE_BY_DAY] = "day"};

static void put_sum(struct json_writer *w, const struct usage_sum *s)
{
	json_member_i64(w, STR("requests"), s->requests);
	json_member_i64(w, STR("errors"), s->errors);
	json_member_i64(w, STR("input_tokens"), s->input);
	json_member_i64(w, STR("cached_tokens"), s->cached);
	json_member_i64(w, STR("output_tokens"), s->output);
	json_member_i64(w, STR("cost_nanos"), s->cost);
	json_member_i64(w, STR("reference_nanos"), s->reference);
	for (int i = SOURCE_UPSTREAM; i <= SOURCE_ABORTED; i++)
		json_member_i64(w, str_from(source_names[i]), s->by_source[i]);
	json_member_i64(w, STR("orphans"), s->orphans);
	json_member_i64(w, STR("unpriced"), s->unpriced);
	json_member_i64(w, STR("over_hold"), s->over_hold);
}

static void add_sum(struct usage_sum *to, const struct usage_sum *s)
{
	to->requests = api_add(to->requests, s->requests);
	to->errors = api_add(to->errors, s->errors);
	to->input = api_add(to->input, s->input);
	to->cached = api_add(to->cached, s->cached);
	to->output = api_add(to->output, s->output);
	to->cost = api_add(to->cost, s->cost);
	to->reference = api_add(to->reference, s->reference);
	for (int i = 0; i < SOURCE_COUNT; i++)
		to->by_source[i] = api_add(to->by_source[i], s->by_source[i]);
	to->orphans = api_add(to->orphans, s->orphans);
	to->unpriced = api_add(to->unpriced, s->unpriced);
	to->over_hold = api_add(to->over_hold, s->over_hold);
}

static void put_subject(struct usage_call *u, const struct usage_row *row)
{
	struct buf day;
	buf_init(&day, 64);
	json_put_key(&u->w, str_from(by_names[u->by]));
	if (u->by == USAGE_BY_KEY)
		json_put_str(&u->w, api_key_name(u->c->api, row->key));
	else if (u->by == USAGE_BY_DAY) {
		civil_print_day(&day, row->day_s);
		json_put_str(&u->w, buf_str(&day));
	} else
		json_put_str(&u->w, row->text);
	buf_release(&day);
}

static void on_row(void *user, const struct usage_row *row)
{
	struct usage_call *u = user;
	json_open_object(&u->w);
	put_subject(u, row);
	put_sum(&u->w, &row->sum);
	json_close_object(&u->w);
	add_sum(&u->total, &row->sum);
}

static bool run_usage(struct store *s, void *arg)
{
	struct usage_call *u = arg;
	return store_usage(s, u->by, u->from_s, u->to_s, u->key, on_row, u);
}

static bool answer_usage(struct usage_call *u)
{
	json_writer_init(&u->w, u->c->out);
	json_open_object(&u->w);
	json_member_str(&u->w, STR("by"), str_from(by_names[u->by]));
	json_member_i64(&u->w, STR("from"), u->from_s);
	json_member_i64(&u->w, STR("to"), u->to_s);
	json_put_key(&u->w, STR("data"));
	json_open_array(&u->w);
	if (!api_store_answer(u->c, run_usage, u))
		return false;
	json_close_array(&u->w);
	json_put_key(&u->w, STR("total"));
	json_open_object(&u->w);
	put_sum(&u->w, &u->total);
	json_close_object(&u->w);
	json_close_object(&u->w);
	return true;
}

/* ---- what is asked ---- */

static int read_by(struct usage_call *u)
{
	struct str by = api_value(u->c, "by");
	u->by = USAGE_BY_KEY;
	for (int i = USAGE_BY_KEY; by.ptr && i <= USAGE_BY_DAY; i++) {
		if (str_eq(by, str_from(by_names[i]))) {
			u->by = (enum usage_by)i;
			return 0;
		}
	}
	return by.ptr ? api_fail(u->c, 400, "invalid_value", STR("by"), "by: expected key, model, target or day, found %.*s", STR_ARG(str_head(by, 80)))
		      : 0;
}

static int read_key(struct usage_call *u)
{
	struct str name = api_value(u->c, "key");
	int64_t serial;
	u->key = UINT32_MAX;
	if (!name.ptr)
		return 0;
	const struct api_key *k = api_list_find(u->c->api, name);
	if (k)
		u->key = k->serial;
	else if (str_eq(name, STR("-")))
		u->key = 0;
	else if (str_starts(name, STR("#")) && str_to_i64(str_skip(name, 1), &serial) && serial > 0 && serial < UINT32_MAX)
		u->key = (uint32_t)serial;
	else {
		int status = 0;
		u->c->named = name;
		api_target(u->c, &status);
		return status;
	}
	return 0;
}

static int64_t round_down(int64_t at_s)
{
	return at_s - at_s % QUARTER_S;
}

int api_usage(struct api_call *c)
{
	struct usage_call u = {.c = c};
	int64_t now_s = c->request->now_s;
	int status = read_by(&u);
	if (!status)
		status = read_moment(c, "since", now_s - WEEK_S, &u.from_s);
	if (!status)
		status = read_moment(c, "until", now_s + 1, &u.to_s);
	if (!status)
		status = read_key(&u);
	if (status)
		return status;
	u.from_s = round_down(u.from_s);
	if (u.from_s >= u.to_s)
		return api_fail(c, 400, "invalid_value", STR("until"), "until: expected a moment after since");
	return answer_usage(&u) ? 200 : 500;
}

/* ---- the books ---- */

static void put_budget(struct json_writer *w, struct api *a, const struct scope_view *s, const struct budget_view *b)
{
	struct buf text;
	buf_init(&text, 256);
	budget_print(&text, &b->budget);
	json_open_object(w);
	json_member_str(w, STR("key"), api_key_name(a, s->key));
	json_member_str(w, STR("pattern"), s->pattern);
	json_member_str(w, STR("budget"), buf_str(&text));
	json_member_i64(w, STR("amount"), b->budget.amount);
	json_member_i64(w, STR("settled"), b->settled);
	json_member_i64(w, STR("held"), b->held);
	json_member_i64(w, STR("leased"), b->leased);
	json_member_i64(w, STR("remainder"), b->leased - b->settled - b->held);
	json_close_object(w);
	buf_release(&text);
}

static void put_scopes(struct api_call *c, struct json_writer *w)
{
	struct scope_view s;
	struct books *books = c->api->o.books;
	json_put_key(w, STR("scopes"));
	json_open_array(w);
	for (size_t i = 0; books && !c->out->over && books_view_at(books, i, c->request->now_s * 1000000, &s); i++)
		for (int k = 0; k < s.limits.budget_count; k++)
			put_budget(w, c->api, &s, &s.budgets[k]);
	json_close_array(w);
}

static void put_problems(struct json_writer *w, struct str report)
{
	struct str line;
	json_put_key(w, STR("problems"));
	json_open_array(w);
	while (str_split(&report, '\n', &line))
		if (line.len > 0)
			json_put_str(w, line);
	json_close_array(w);
}

struct check {
	struct buf report;
	bool holds;
};

/* What does not fit is an answer here, not a failure. */
static bool run_check(struct store *s, void *arg)
{
	struct check *check = arg;
	check->holds = store_check(s, &check->report);
	return true;
}

static bool look_for_problems(struct api_call *c, struct check *check)
{
	if (!c->api->o.books)
		return api_store_answer(c, run_check, check);
	check->holds = books_audit(c->api->o.books, &check->report) == 0;
	return true;
}

int api_ledger(struct api_call *c)
{
	struct check check = {.holds = false};
	struct json_writer w;
	buf_init(&check.report, (size_t)1 << 20);
	bool fine = look_for_problems(c, &check);
	if (fine) {
		json_writer_init(&w, c->out);
		json_open_object(&w);
		json_member_str(&w, STR("identity"), check.holds ? STR("holds") : STR("broken"));
		put_problems(&w, buf_str(&check.report));
		put_scopes(c, &w);
		json_close_object(&w);
	}
	buf_release(&check.report);
	return fine ? 200 : 500;
}
