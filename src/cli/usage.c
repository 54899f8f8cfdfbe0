/* usage.c - `valet usage`: what was used, and what it cost, by key, model, target or day.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"
#include "base/field.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/print.h"

#include <stdio.h>

enum { OPT_BY, OPT_SINCE, OPT_UNTIL, OPT_KEY, OPT_JSON, OPT_CSV };

static const struct option options[] = {
	{"by", 0, "WHAT", "a row for each key, model, target or day (default: key)"},
	{"since", 's', "WHEN", "from when on: 24h, 7d, 2026-11-01 (default: 7d)"},
	{"until", 'u', "WHEN", "until when, in the same words (default: now)"},
	{"key", 'k', "NAME", "of this key alone; - for requests without a key, #17 for a deleted one"},
	{"json", 0, NULL, "for programs: what the admin API answers"},
	{"csv", 0, NULL, "for spreadsheets: a line for each row, without the total"},
	CLI_PLACE_OPTIONS,
};

enum { QUERY_MAX = 8192, CELL_MAX = 1024 };

struct usage_args {
	struct cli_place place;
	const char *by, *since, *until, *key;
	bool json, csv;
};

/* The numbers of a row that CSV has, by their names in the answer. */
static const char *const counts[] = {"requests", "errors", "input_tokens", "cached_tokens", "output_tokens"};
static const char *const sources[] = {"upstream", "counted", "estimated", "aborted"};
static const char *const flags[] = {"orphans", "unpriced", "over_hold"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* ---- rows ---- */

/* What the row is of; a day may be a text, or the seconds of its beginning. */
static void add_name(struct buf *out, struct cli_answer *a, const struct json *row, const char *by)
{
	const struct json *value = json_get(row, str_from(by));
	if (value && value->type == JSON_NUMBER)
		civil_print_day(out, cli_number(row, by));
	else
		buf_adds(out, cli_text(a, row, by));
}

/* Which of the sources there are: one alone by its name, several with how many requests each. */
static void put_sources(struct grid *g, const struct json *row)
{
	struct buf text;
	size_t kinds = 0;
	buf_init(&text, CELL_MAX);
	for (size_t i = 0; i < COUNT(sources); i++)
		kinds += cli_number(row, sources[i]) > 0;
	for (size_t i = 0; i < COUNT(sources); i++) {
		int64_t n = cli_number(row, sources[i]);
		if (n <= 0)
			continue;
		if (text.len)
			BUF_ADD(&text, ", ");
		if (kinds > 1) {
			print_count(&text, n);
			BUF_ADD(&text, " ");
		}
		buf_adds(&text, str_from(sources[i]));
	}
	grid_put(g, text.len ? buf_str(&text) : STR("-"));
	buf_release(&text);
}

static void put_number(struct grid *g, int64_t n, void (*print)(struct buf *out, int64_t n))
{
	struct buf text;
	buf_init(&text, CELL_MAX);
	print(&text, n);
	grid_put(g, buf_str(&text));
	buf_release(&text);
}

static void put_row(struct grid *g, struct str name, const struct json *row)
{
	grid_row(g);
	grid_put(g, name.len ? name : STR("-"));
	for (size_t i = 0; i < COUNT(counts); i++)
		put_number(g, cli_number(row, counts[i]), print_count);
	put_number(g, cli_number(row, "cost_nanos"), print_money);
	put_number(g, cli_number(row, "reference_nanos"), print_money);
	put_sources(g, row);
}

/* What the sums do not tell by themselves. */
static void add_notes(struct buf *out, const struct json *total)
{
	static const char *const notes[] = {
		"charged at their reservation, since Valet was killed before they ended",
		"without a price, so that their cost is not part of COST (valet check names the models)",
		"beyond the target's own cap",
	};
	for (size_t i = 0; i < COUNT(flags); i++) {
		int64_t n = cli_number(total, flags[i]);
		if (n <= 0)
			continue;
		BUF_ADD(out, "\n");
		print_count(out, n);
		buf_addf(out, " request%s %s\n", n == 1 ? "" : "s", notes[i]);
	}
}

static void print_period(struct buf *out, const struct json *answer)
{
	BUF_ADD(out, "From ");
	civil_print_minute(out, cli_number(answer, "from"));
	BUF_ADD(out, " to ");
	civil_print_minute(out, cli_number(answer, "to"));
	BUF_ADD(out, "\n\n");
}

static void print_table(struct buf *out, struct cli_answer *a, const void *user)
{
	const char *by = user;
	struct grid_column columns[] = {{by, false},     {"REQUESTS", true}, {"FAILED", true},     {"INPUT", true},  {"CACHED", true},
					{"OUTPUT", true}, {"COST", true},     {"IN THE CLOUD", true}, {"KNOWN FROM", false}};
	const struct json *data = json_get(a->json, STR("data")), *total = json_get(a->json, STR("total"));
	struct grid g;
	struct buf text;
	char title[16];
	buf_init(&text, CELL_MAX);
	snprintf(title, sizeof(title), "%s", by);
	for (char *c = title; *c; c++)
		*c = (char)(*c & ~0x20);
	columns[0].title = title;
	if (json_get(a->json, STR("from")))
		print_period(out, a->json);
	grid_init(&g, &a->arena, columns, COUNT(columns));
	for (const struct json *row = data ? data->first : NULL; row; row = row->next) {
		buf_clear(&text);
		add_name(&text, a, row, by);
		put_row(&g, buf_str(&text), row);
	}
	put_row(&g, STR("total"), total);
	grid_print(out, &g);
	add_notes(out, total);
	grid_release(&g);
	buf_release(&text);
}

/* ---- CSV ---- */

static void print_csv_row(struct buf *out, struct str name, const struct json *row)
{
	print_csv(out, name);
	for (size_t i = 0; i < COUNT(counts); i++)
		buf_addf(out, ",%lld", (long long)cli_number(row, counts[i]));
	BUF_ADD(out, ",");
	print_money_exact(out, cli_number(row, "cost_nanos"));
	BUF_ADD(out, ",");
	print_money_exact(out, cli_number(row, "reference_nanos"));
	for (size_t i = 0; i < COUNT(sources); i++)
		buf_addf(out, ",%lld", (long long)cli_number(row, sources[i]));
	for (size_t i = 0; i < COUNT(flags); i++)
		buf_addf(out, ",%lld", (long long)cli_number(row, flags[i]));
	BUF_ADD(out, "\r\n");
}

static void print_csv_all(struct buf *out, struct cli_answer *a, const void *user)
{
	const char *by = user;
	const struct json *data = json_get(a->json, STR("data"));
	struct buf text;
	buf_init(&text, CELL_MAX);
	buf_addf(out, "%s", by);
	for (size_t i = 0; i < COUNT(counts); i++)
		buf_addf(out, ",%s", counts[i]);
	BUF_ADD(out, ",cost_usd,reference_usd");
	for (size_t i = 0; i < COUNT(sources); i++)
		buf_addf(out, ",%s", sources[i]);
	for (size_t i = 0; i < COUNT(flags); i++)
		buf_addf(out, ",%s", flags[i]);
	BUF_ADD(out, "\r\n");
	for (const struct json *row = data ? data->first : NULL; row; row = row->next) {
		buf_clear(&text);
		add_name(&text, a, row, by);
		print_csv_row(out, buf_str(&text), row);
	}
	buf_release(&text);
}

/* ---- the command ---- */

static bool is_known(const char *by)
{
	return strcmp(by, "key") == 0 || strcmp(by, "model") == 0 || strcmp(by, "target") == 0 || strcmp(by, "day") == 0;
}

static int wrong_by(const char *by)
{
	struct buf shown;
	buf_init(&shown, 1024);
	field_quote(&shown, str_from(by));
	fprintf(stderr, "valet usage: --by: expected key, model, target or day, found %.*s\n", STR_ARG(buf_str(&shown)));
	buf_release(&shown);
	return CLI_USAGE;
}

static int show(const struct usage_args *args)
{
	struct buf target;
	const char *by = args->by ? args->by : "key";
	if (!is_known(by))
		return wrong_by(by);
	buf_init(&target, QUERY_MAX);
	BUF_ADD(&target, "/api/usage");
	cli_add_query(&target, "by", by);
	cli_add_query(&target, "since", args->since);
	cli_add_query(&target, "until", args->until);
	cli_add_query(&target, "key", args->key);
	const struct cli_question question = {
		.place = &args->place, .command = "valet usage", .method = "GET", .target = &target, .json = args->json,
		.print = args->csv ? print_csv_all : print_table, .user = by,
	};
	int code = cli_tell(&question);
	buf_release(&target);
	return code;
}

static void take(struct usage_args *args, int found, const char *value)
{
	switch (found) {
	case OPT_BY:
		args->by = value;
		break;
	case OPT_SINCE:
		args->since = value;
		break;
	case OPT_UNTIL:
		args->until = value;
		break;
	case OPT_KEY:
		args->key = value;
		break;
	case OPT_JSON:
		args->json = true;
		break;
	case OPT_CSV:
		args->csv = true;
		break;
	default:
		cli_place_take(&args->place, &options[found], value);
	}
}

static int run(int argc, char **argv)
{
	struct usage_args args = {.by = NULL};
	struct options o;
	int found;
	options_init(&o, "valet usage", options, COUNT(options), 0, argc, argv);
	while ((found = options_next(&o)) >= 0)
		take(&args, found, o.value);
	if (found == OPTIONS_WRONG)
		return CLI_USAGE;
	if (args.json && args.csv) {
		fprintf(stderr, "valet usage: expected --json or --csv, not both\n");
		return CLI_USAGE;
	}
	return show(&args);
}

const struct command command_usage = {
	.name = "usage",
	.arguments = "[--by key|model|target|day] [--since 7d] [--key NAME] [--csv]",
	.summary = "says what was used, and what it cost",
	.text = "Says how many requests and tokens were used, what they cost, and what the same would have\n"
		"cost in the cloud. KNOWN FROM says where the numbers come from: upstream (told by the\n"
		"target), counted (by Valet), estimated (from bytes), aborted (broken off; charged on the\n"
		"safe side).",
	.options = options,
	.option_count = COUNT(options),
	.run = run,
};
