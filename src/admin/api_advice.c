/* api_advice.c - proposes limits for keys from what they used: days for budgets, quarters of an hour for rates.
 *
 * A proposal is meant to stop what is out of the ordinary and never what is usual, so it lies above the 95th percentile by half, and above the busiest
 * quarter by three times, since a quarter hides how requests come in bursts within it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#define DAYS        30
#define DAYS_NEEDED 3
#define DAY_S       (24 * 3600)
#define QUARTER_S   900
#define PEAK_DAYS   7  /* so many of the newest days with use are looked at by quarters */
#define RPM_LEAST   10

struct day {
	uint32_t key;
	int64_t at_s;
	int64_t requests, tokens, nanos;
};

struct peak {
	uint32_t key;
	int64_t requests, tokens; /* of the busiest quarter, each by itself */
};

struct advice {
	struct api_call *c;
	uint32_t key;     /* UINT32_MAX: all */
	struct day *days; /* by key and day */
	size_t day_count, day_cap;
	struct peak *peaks; /* by key */
	size_t peak_count;
	struct json_writer w;
};

/* ---- looking ---- */

static void on_day(void *user, const struct usage_row *row)
{
	struct advice *a = user;
	int64_t tokens = api_tokens(&row->sum);
	if (row->key == 0 || row->sum.requests == 0)
		return;
	if (a->day_count == a->day_cap) {
		a->day_cap = a->day_cap ? a->day_cap * 2 : 64;
		a->days = mem_grow(a->days, a->day_cap * sizeof(*a->days));
	}
	a->days[a->day_count++] = (struct day){row->key, row->day_s, row->sum.requests, tokens, row->sum.cost};
}

static int compare_days(const void *a, const void *b)
{
	const struct day *x = a, *y = b;
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->at_s > y->at_s) - (x->at_s < y->at_s);
}

static struct peak *find_peak(struct advice *a, uint32_t key)
{
	size_t low = 0, high = a->peak_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (a->peaks[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->peak_count && a->peaks[low].key == key ? &a->peaks[low] : NULL;
}

static void on_quarter(void *user, const struct usage_row *row)
{
	struct advice *a = user;
	struct peak *p = find_peak(a, row->key);
	if (!p)
		return;
	if (row->sum.requests > p->requests)
		p->requests = row->sum.requests;
	if (api_tokens(&row->sum) > p->tokens)
		p->tokens = api_tokens(&row->sum);
}

static void make_peaks(struct advice *a)
{
	a->peaks = mem_array(a->day_count + 1, sizeof(*a->peaks));
	for (size_t i = 0; i < a->day_count; i++)
		if (i == 0 || a->days[i].key != a->days[i - 1].key)
			a->peaks[a->peak_count++].key = a->days[i].key;
}

static int compare_moments(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x < y) - (x > y);
}

/* The newest days on which anything was used, at most PEAK_DAYS; their beginnings. */
static size_t newest_days(const struct advice *a, int64_t out[PEAK_DAYS])
{
	size_t n = 0;
	int64_t *all = mem_array(a->day_count + 1, sizeof(*all));
	for (size_t i = 0; i < a->day_count; i++)
		all[i] = a->days[i].at_s;
	qsort(all, a->day_count, sizeof(*all), compare_moments);
	for (size_t i = 0; i < a->day_count && n < PEAK_DAYS; i++)
		if (i == 0 || all[i] != all[i - 1])
			out[n++] = all[i];
	free(all);
	return n;
}

static bool look(struct store *s, void *arg)
{
	struct advice *a = arg;
	int64_t now_s = a->c->request->now_s, days[PEAK_DAYS];
	if (!store_usage(s, USAGE_BY_KEY_DAY, civil_window(PERIOD_DAY, now_s - DAYS * DAY_S).from_s, now_s + 1, a->key, on_day, a))
		return false;
	if (a->day_count)
		qsort(a->days, a->day_count, sizeof(*a->days), compare_days);
	make_peaks(a);
	size_t n = newest_days(a, days);
	for (size_t i = 0; i < n; i++) {
		int64_t end = civil_window(PERIOD_DAY, days[i]).to_s;
		for (int64_t at = days[i]; at < end && at <= now_s; at += QUARTER_S)
			if (!store_usage(s, USAGE_BY_KEY, at, at + QUARTER_S, a->key, on_quarter, a))
				return false;
	}
	return true;
}

/* ---- numbers ---- */

static int compare_amounts(const void *a, const void *b)
{
	return -compare_moments(a, b);
}

/* Of n sorted amounts: the smallest that at least 95 % of them do not pass. */
static int64_t p95(const int64_t *sorted, size_t n)
{
	return sorted[(n * 95 + 99) / 100 - 1];
}

/* Rounded up to two digits that matter; at most `most`. */
static int64_t round_up(int64_t amount, int64_t most)
{
	int64_t unit = 1;
	while (amount / unit >= 100)
		unit *= 10;
	if (amount > most - unit)
		return most;
	return (amount + unit - 1) / unit * unit;
}

struct numbers {
	size_t days;
	int64_t requests, tokens;
	int64_t p95_tokens, p95_nanos, max_tokens, max_nanos;
	int64_t peak_requests, peak_tokens;
	struct budget by_tokens, by_money; /* amount 0: none */
	int64_t rpm, tpm;
};

static int64_t half_more(int64_t amount)
{
	return amount > BUDGET_MAX / 2 ? BUDGET_MAX : amount + amount / 2 + amount % 2;
}

static void propose(struct numbers *n)
{
	n->by_tokens = (struct budget){UNIT_TOKENS, PERIOD_DAY, n->p95_tokens ? round_up(half_more(n->p95_tokens), BUDGET_MAX) : 0};
	n->by_money = (struct budget){UNIT_MONEY, PERIOD_DAY, n->p95_nanos ? round_up(half_more(n->p95_nanos), BUDGET_MAX) : 0};
	if (n->peak_requests == 0)
		return;
	int64_t each = n->tokens / n->requests;
	n->rpm = round_up((n->peak_requests + 4) / 5, 1000000); /* in a minute, three times */
	n->rpm = n->rpm < RPM_LEAST ? RPM_LEAST : n->rpm;
	/* So many requests a minute are worth little where their tokens do not fit as well. */
	n->tpm = (n->peak_tokens + 4) / 5 > each * RPM_LEAST ? (n->peak_tokens + 4) / 5 : each * RPM_LEAST;
	n->tpm = n->tpm ? round_up(n->tpm, INT64_C(1000000000)) : 0;
}

static void measure(struct advice *a, const struct day *days, size_t count, struct numbers *n)
{
	int64_t *tokens = mem_array(count + 1, sizeof(*tokens)), *nanos = mem_array(count + 1, sizeof(*nanos));
	const struct peak *peak = count ? find_peak(a, days[0].key) : NULL;
	*n = (struct numbers){.days = count};
	for (size_t i = 0; i < count; i++) {
		tokens[i] = days[i].tokens;
		nanos[i] = days[i].nanos;
		n->requests = api_add(n->requests, days[i].requests);
		n->tokens = api_add(n->tokens, days[i].tokens);
	}
	if (count) {
		qsort(tokens, count, sizeof(*tokens), compare_amounts);
		qsort(nanos, count, sizeof(*nanos), compare_amounts);
		n->p95_tokens = p95(tokens, count);
		n->p95_nanos = p95(nanos, count);
		n->max_tokens = tokens[count - 1];
		n->max_nanos = nanos[count - 1];
	}
	n->peak_requests = peak ? peak->requests : 0;
	n->peak_tokens = peak ? peak->tokens : 0;
	if (count >= DAYS_NEEDED)
		propose(n);
	free(tokens);
	free(nanos);
}

/* ---- words ---- */

static void put_budget(struct json_writer *w, const struct budget *b)
{
	struct buf text;
	if (b->amount == 0)
		return;
	buf_init(&text, 256);
	budget_print(&text, b);
	json_put_str(w, buf_str(&text));
	buf_release(&text);
}

static void put_proposal(struct json_writer *w, const struct numbers *n)
{
	json_put_key(w, STR("proposal"));
	if (n->days < DAYS_NEEDED) {
		json_put_null(w);
		return;
	}
	json_open_object(w);
	json_put_key(w, STR("budget"));
	json_open_array(w);
	put_budget(w, &n->by_tokens);
	put_budget(w, &n->by_money);
	json_close_array(w);
	if (n->rpm)
		json_member_i64(w, STR("rpm"), n->rpm);
	if (n->tpm)
		json_member_i64(w, STR("tpm"), n->tpm);
	json_close_object(w);
}

static void say(struct json_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct json_writer *w, const char *format, ...)
{
	struct buf text;
	va_list args;
	buf_init(&text, 4096);
	va_start(args, format);
	buf_addv(&text, format, args);
	va_end(args);
	json_put_str(w, buf_str(&text));
	buf_release(&text);
}

static void say_budget(struct json_writer *w, const struct numbers *n, const struct budget *b, int64_t percentile, int64_t most)
{
	struct buf amounts[3];
	int64_t values[3] = {percentile, most, b->amount};
	if (b->amount == 0)
		return;
	for (int i = 0; i < 3; i++) {
		buf_init(&amounts[i], 128);
		budget_print_amount(&amounts[i], b->unit, values[i], false);
	}
	const char *what = b->unit == UNIT_TOKENS ? " tokens" : "";
	say(w, "On 95 %% of its %zu days with use it stayed within %.*s%s (the most was %.*s); half as much again, rounded up, is %.*s a day.", n->days,
	    STR_ARG(buf_str(&amounts[0])), what, STR_ARG(buf_str(&amounts[1])), STR_ARG(buf_str(&amounts[2])));
	for (int i = 0; i < 3; i++)
		buf_release(&amounts[i]);
}

static void put_why(struct json_writer *w, const struct numbers *n)
{
	json_put_key(w, STR("why"));
	json_open_array(w);
	if (n->days < DAYS_NEEDED) {
		say(w, "It is too early: the key was used on %zu of the last %d days, and a proposal needs %d.", n->days, DAYS, DAYS_NEEDED);
	} else {
		say_budget(w, n, &n->by_tokens, n->p95_tokens, n->max_tokens);
		say_budget(w, n, &n->by_money, n->p95_nanos, n->max_nanos);
	}
	if (n->rpm)
		say(w, "Its busiest quarter of an hour of late had %lld requests; three times as many a minute as it had on average, and never below %d, is "
		       "%lld a minute.",
		    (long long)n->peak_requests, RPM_LEAST, (long long)n->rpm);
	if (n->tpm)
		say(w, "The busiest quarter by tokens had %lld, and a request takes %lld on average; three times that quarter's average minute, and room "
		       "for %d requests at least, is %lld tokens a minute.",
		    (long long)n->peak_tokens, (long long)(n->tokens / n->requests), RPM_LEAST, (long long)n->tpm);
	json_close_array(w);
}

static void put_advice(struct advice *a, const struct api_key *k)
{
	struct numbers n;
	struct json_writer *w = &a->w;
	size_t first = 0, high = a->day_count, count = 0;
	while (first < high) {
		size_t middle = first + (high - first) / 2;
		if (a->days[middle].key < k->serial)
			first = middle + 1;
		else
			high = middle;
	}
	while (first + count < a->day_count && a->days[first + count].key == k->serial)
		count++;
	measure(a, count ? a->days + first : NULL, count, &n);
	json_open_object(w);
	json_member_str(w, STR("key"), api_key_text(k));
	json_member_i64(w, STR("days"), (int64_t)n.days);
	json_member_i64(w, STR("requests"), n.requests);
	json_member_i64(w, STR("p95_day_tokens"), n.p95_tokens);
	json_member_i64(w, STR("p95_day_nanos"), n.p95_nanos);
	json_member_i64(w, STR("max_day_tokens"), n.max_tokens);
	json_member_i64(w, STR("max_day_nanos"), n.max_nanos);
	json_member_i64(w, STR("peak_quarter_requests"), n.peak_requests);
	json_member_i64(w, STR("peak_quarter_tokens"), n.peak_tokens);
	put_proposal(w, &n);
	put_why(w, &n);
	json_close_object(w);
}

/* `only`: NULL: all that are not revoked. */
static int answer(struct api_call *c, const struct api_key *only)
{
	struct advice a = {.c = c, .key = only ? only->serial : UINT32_MAX};
	bool fine = api_store_answer(c, look, &a);
	if (fine) {
		json_writer_init(&a.w, c->out);
		json_open_object(&a.w);
		json_put_key(&a.w, STR("data"));
		json_open_array(&a.w);
		if (only)
			put_advice(&a, only);
		for (size_t i = 0; !only && i < c->api->count && !c->out->over; i++)
			if (!c->api->by_name[i]->revoked_s)
				put_advice(&a, c->api->by_name[i]);
		json_close_array(&a.w);
		json_close_object(&a.w);
	}
	free(a.days);
	free(a.peaks);
	return fine ? 200 : 500;
}

int api_advice_one(struct api_call *c)
{
	int status = 0;
	const struct api_key *k = api_target(c, &status);
	return k ? answer(c, k) : status;
}

int api_advice_all(struct api_call *c)
{
	return answer(c, NULL);
}
