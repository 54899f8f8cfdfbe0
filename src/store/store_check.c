/* store_check.c - the books against themselves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

#include <stdio.h>

enum { COMPLAINTS_MAX = 100 }; /* lines of one report */

struct check {
	struct store *s;
	struct buf *report;
	struct sums sums;
	const char *table;
	size_t complaints;
};

static void complain(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct check *c, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (++c->complaints <= COMPLAINTS_MAX) {
		buf_addv(c->report, format, args);
		buf_addc(c->report, '\n');
	}
	va_end(args);
}

/* ---- checksums ---- */

static bool check_row(void *user, const struct db_row *row)
{
	struct check *c = user;
	if (!db_row_fits(row))
		complain(c, "valet.db: a row of %s does not fit its checksum", c->table);
	return true;
}

static void check_checksums(struct check *c)
{
	static const struct {
		const char *table, *sql;
	} all[] = {
		{"keys", "SELECT * FROM keys"}, {"usage", "SELECT * FROM usage"}, {"totals", "SELECT * FROM totals"},
		{"leases", "SELECT * FROM leases"}, {"applied", "SELECT * FROM applied"}, {"pending", "SELECT * FROM pending"},
		{"facts", "SELECT * FROM facts"},
	};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		c->table = all[i].table;
		if (!db_exec(c->s->db, all[i].sql, NULL, 0, check_row, c))
			complain(c, "%s", db_why(c->s->db));
	}
}

/* ---- sums against sums ---- */

static void print_row(struct check *c, const char *what, const struct sum_row *r, const struct usage_sum *other, const char *whose)
{
	complain(c, "%s: quarter %lld, key %u, model %.*s, target %.*s: %lld requests, %lld tokens, %lld nano-dollars; %s: %lld, %lld, %lld", what,
		 (long long)r->slot, r->key, STR_ARG(r->model), STR_ARG(r->target), (long long)r->sum.requests,
		 (long long)add_capped(r->sum.input, r->sum.output), (long long)r->sum.cost, whose, (long long)other->requests,
		 (long long)add_capped(other->input, other->output), (long long)other->cost);
}

/* Takes what the other side says away from `sums`; what is left at the end was missing there. */
static void compare(struct check *c, const char *what, const char *whose, const struct sum_row *said)
{
	static const struct usage_sum none;
	struct sum_row *r = sums_find(&c->sums, said->slot, said->key, said->model, said->target);
	if (!r)
		print_row(c, what, said, &none, whose);
	else if (memcmp(&r->sum, &said->sum, sizeof(r->sum)) != 0)
		print_row(c, what, said, &r->sum, whose);
	if (r)
		r->sum = none;
}

static void complain_left(struct check *c, const char *what, const char *whose)
{
	static const struct usage_sum none;
	sums_sort(&c->sums);
	for (size_t i = 0; i < c->sums.count; i++) {
		const struct sum_row *r = c->sums.rows[i];
		struct sum_row missing = *r;
		missing.sum = none;
		if (memcmp(&r->sum, &none, sizeof(none)) != 0)
			print_row(c, what, &missing, &r->sum, whose);
	}
}

static bool add_usage(void *user, const struct db_row *row)
{
	struct check *c = user;
	struct usage_sum sum;
	sums_get(row, 4, &sum);
	usage_add(&sums_at(&c->sums, 0, (uint32_t)db_row_int(row, 1), db_row_bytes(row, 2), STR_NONE)->sum, &sum);
	return true;
}

static bool compare_total(void *user, const struct db_row *row)
{
	struct sum_row said = {.key = (uint32_t)db_row_int(row, 0), .model = db_row_bytes(row, 1)};
	sums_get(row, 2, &said.sum);
	compare(user, "totals", "usage", &said);
	return true;
}

static void check_totals(struct check *c)
{
	sums_init(&c->sums);
	if (!db_exec(c->s->db, "SELECT * FROM usage", NULL, 0, add_usage, c) || !db_exec(c->s->db, "SELECT * FROM totals", NULL, 0, compare_total, c))
		complain(c, "%s", db_why(c->s->db));
	complain_left(c, "totals", "usage");
	sums_release(&c->sums);
}

/* ---- requests against usage ---- */

static bool compare_usage(void *user, const struct db_row *row)
{
	struct sum_row said = {.slot = db_row_int(row, 0), .key = (uint32_t)db_row_int(row, 1), .model = db_row_bytes(row, 2), .target = db_row_bytes(row, 3)};
	sums_get(row, 4, &said.sum);
	compare(user, "usage", "its requests", &said);
	return true;
}

static void check_month(struct check *c, int64_t number)
{
	struct month *m;
	struct db_value range[2] = {db_int(month_begins_s(number)), db_int(month_begins_s(number + 1))};
	enum month_answer got = month_get(c->s, number, false, &m);
	if (got != MONTH_READY) {
		complain(c, "%s", got == MONTH_FAILED ? c->s->why : "a file of requests cannot be opened");
		return;
	}
	sums_init(&c->sums);
	if (!month_sums(m->db, &c->sums, NULL, NULL))
		complain(c, "%s", db_why(m->db));
	if (!db_exec(c->s->db, "SELECT * FROM usage WHERE quarter>=?1 AND quarter<?2", range, 2, compare_usage, c))
		complain(c, "%s", db_why(c->s->db));
	complain_left(c, "usage", "its requests");
	sums_release(&c->sums);
}

bool store_check(struct store *s, struct buf *report)
{
	struct check c = {.s = s, .report = report};
	int64_t *numbers;
	struct buf why;
	buf_init(&why, 1024);
	if (!schema_check_rows(s->db, &why))
		complain(&c, "%.*s", STR_ARG(buf_str(&why)));
	buf_release(&why);
	check_checksums(&c);
	check_totals(&c);
	size_t count = months_list(s->folder, &numbers);
	for (size_t i = 0; i < count; i++)
		check_month(&c, numbers[i]);
	free(numbers);
	if (c.complaints > COMPLAINTS_MAX)
		buf_addf(report, "and %zu more\n", c.complaints - COMPLAINTS_MAX);
	return c.complaints == 0;
}
