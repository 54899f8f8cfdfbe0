/* target.c - `valet target`: where requests go, how each target is doing, and setting one aside for maintenance.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/print.h"

#include <stdio.h>

enum { OPT_JSON };

static const struct option options[] = {
	{"json", 0, NULL, "for programs: what the admin API answers"},
	CLI_PLACE_OPTIONS,
};

enum { TARGET_MAX = 4096, TEXT_MAX = 64 * 1024, LABEL = 18, MODELS_SHOWN = 3 };

struct target_args {
	const char *command; /* "valet target show" */
	const char *name;    /* NULL: all */
	struct cli_place place;
	bool json;
};

/* ---- pieces ---- */

static bool is(struct cli_answer *a, const struct json *target, const char *member, const char *text)
{
	return str_eq(cli_text(a, target, member), str_from(text));
}

/* "up, half open", "down, set aside (operator)". */
static void add_state(struct buf *out, struct cli_answer *a, const struct json *target)
{
	struct str drained = cli_text(a, target, "drained");
	print_clean(out, is(a, target, "state", "pending") ? STR("not looked at yet") : cli_text(a, target, "state"));
	if (cli_flag(target, "secret_refused"))
		BUF_ADD(out, ", secret refused");
	else if (is(a, target, "breaker", "open"))
		BUF_ADD(out, ", left alone");
	else if (is(a, target, "breaker", "half_open"))
		BUF_ADD(out, ", on trial");
	if (drained.len)
		BUF_ADD(out, ", set aside (");
	print_clean(out, drained);
	if (drained.len)
		BUF_ADD(out, ")");
}

/* "3 of 8", "3". */
static void add_places(struct buf *out, const struct json *target)
{
	const struct json *places = json_get(target, STR("places"));
	int64_t limit = cli_number(places, "limit"), waiting = cli_number(target, "engine_waiting");
	print_count(out, cli_number(places, "taken"));
	if (limit)
		BUF_ADD(out, " of ");
	if (limit)
		print_count(out, limit);
	if (waiting)
		buf_addf(out, ", %lld inside", (long long)waiting);
}

static void add_models(struct buf *out, struct cli_answer *a, const struct json *target)
{
	const struct json *models = json_get(target, STR("models"));
	unsigned shown = 0;
	for (const struct json *m = models ? models->first : NULL; m && shown < MODELS_SHOWN; m = m->next, shown++) {
		if (shown)
			BUF_ADD(out, ", ");
		print_clean(out, cli_text(a, m, "model"));
	}
	if (models && models->count > shown)
		buf_addf(out, " and %u more", models->count - shown);
}

static struct str text_or_dash(const struct buf *text)
{
	return text->len ? buf_str(text) : STR("-");
}

static struct str or_dash(struct str text)
{
	return text.len ? text : STR("-");
}

static struct str kind_of(struct cli_answer *a, const struct json *target)
{
	struct str cloud = cli_text(a, target, "cloud");
	return cloud.len ? cloud : cli_text(a, target, "kind");
}

/* ---- the list ---- */

static void put_row(struct grid *g, struct cli_answer *a, const struct json *target)
{
	struct buf cell;
	buf_init(&cell, TEXT_MAX);
	grid_row(g);
	grid_put(g, cli_text(a, target, "name"));
	grid_put(g, or_dash(kind_of(a, target)));
	grid_put(g, or_dash(cli_text(a, target, "url")));
	add_state(&cell, a, target);
	grid_put(g, buf_str(&cell));
	buf_clear(&cell);
	add_places(&cell, target);
	grid_put(g, buf_str(&cell));
	buf_clear(&cell);
	add_models(&cell, a, target);
	grid_put(g, text_or_dash(&cell));
	buf_release(&cell);
}

static void print_list(struct buf *out, struct cli_answer *a, const void *user)
{
	static const struct grid_column columns[] = {{"NAME", false},  {"KIND", false},   {"ADDRESS", false},
						     {"STATE", false}, {"PLACES", false}, {"MODELS", false}};
	const struct json *data = json_get(a->json, STR("data"));
	struct grid g;
	if (!data || !data->first) {
		BUF_ADD(out, "no targets: no engine was found, and none is configured\n");
		return;
	}
	grid_init(&g, &a->arena, columns, sizeof(columns) / sizeof(columns[0]));
	for (const struct json *t = data->first; t; t = t->next)
		put_row(&g, a, t);
	grid_print(out, &g);
	grid_release(&g);
}

/* ---- one target ---- */

static void add_label(struct buf *out, const char *label)
{
	buf_addf(out, "%-*s", LABEL, label);
}

static void add_line(struct buf *out, const char *label, struct str text)
{
	if (text.len == 0)
		return;
	add_label(out, label);
	print_clean(out, text);
	BUF_ADD(out, "\n");
}

static void add_moment(struct buf *out, const char *label, int64_t at_s)
{
	if (at_s == 0)
		return;
	add_label(out, label);
	civil_print_minute(out, at_s);
	BUF_ADD(out, "\n");
}

static void add_places_line(struct buf *out, struct cli_answer *a, const struct json *target)
{
	struct str from = cli_text(a, json_get(target, STR("places")), "from");
	add_label(out, "places");
	add_places(out, target);
	if (from.len)
		buf_addf(out, " (%s)", str_eq(from, STR("engine")) ? "the engine says so" : str_eq(from, STR("learned")) ? "learned" : "configured");
	else
		BUF_ADD(out, " (no limit)");
	BUF_ADD(out, "\n");
}

static void put_ms(struct grid *g, int64_t ms)
{
	struct buf text;
	buf_init(&text, 64);
	if (ms)
		print_duration(&text, ms);
	grid_put(g, text_or_dash(&text));
	buf_release(&text);
}

static void put_count(struct grid *g, int64_t n)
{
	struct buf text;
	buf_init(&text, 64);
	if (n)
		print_count(&text, n);
	grid_put(g, text_or_dash(&text));
	buf_release(&text);
}

static void print_models(struct buf *out, struct cli_answer *a, const struct json *models)
{
	static const struct grid_column columns[] = {{"MODEL", false},    {"THERE", false},        {"LOADED", false}, {"FIRST TOKEN", true},
						     {"TOKENS/S", true}, {"A REQUEST", true}, {"ANSWERS", true}};
	struct grid g;
	if (!models || !models->first)
		return;
	BUF_ADD(out, "\n");
	grid_init(&g, &a->arena, columns, sizeof(columns) / sizeof(columns[0]));
	for (const struct json *m = models->first; m; m = m->next) {
		grid_row(&g);
		grid_putf(&g, "%.*s%s", STR_ARG(cli_text(a, m, "model")), cli_flag(m, "overflow") ? " (overflow)" : "");
		grid_put(&g, cli_text(a, m, "as"));
		grid_put(&g, cli_flag(m, "warm") ? STR("yes") : STR("-"));
		put_ms(&g, cli_number(m, "first_token_ms"));
		put_count(&g, cli_number(m, "tokens_per_second"));
		put_ms(&g, cli_number(m, "service_ms"));
		put_count(&g, cli_number(m, "answers"));
	}
	grid_print(out, &g);
	grid_release(&g);
}

static void print_one(struct buf *out, struct cli_answer *a, const void *user)
{
	const struct json *t = json_get(a->json, STR("target"));
	struct buf state;
	buf_init(&state, TEXT_MAX);
	add_state(&state, a, t);
	add_line(out, "name", cli_text(a, t, "name"));
	add_line(out, "kind", kind_of(a, t));
	add_line(out, "address", cli_text(a, t, "url"));
	add_line(out, "state", buf_str(&state));
	buf_release(&state);
	add_moment(out, "since", cli_number(t, "since"));
	add_line(out, "error", cli_text(a, t, "error"));
	add_moment(out, "asked again at", cli_number(t, "asked_again_at"));
	if (json_get(t, STR("places")))
		add_places_line(out, a, t);
	print_models(out, a, json_get(t, STR("models")));
}

static void print_change(struct buf *out, struct cli_answer *a, const void *user)
{
	const struct json *t = json_get(a->json, STR("target"));
	bool drained = cli_text(a, t, "drained").len > 0;
	int64_t taken = cli_number(json_get(t, STR("places")), "taken");
	print_clean(out, cli_text(a, t, "name"));
	if (!drained) {
		BUF_ADD(out, " gets requests again\n");
		return;
	}
	BUF_ADD(out, " is set aside: it gets no new requests, also after a restart");
	if (taken)
		buf_addf(out, "; %lld still run%s there", (long long)taken, taken == 1 ? "s" : "");
	BUF_ADD(out, "\n");
}

/* ---- the commands ---- */

static int read_args(struct target_args *out, const char *command, bool needs_name, int argc, char **argv)
{
	struct options o;
	int found;
	*out = (struct target_args){.command = command};
	options_init(&o, command, options, sizeof(options) / sizeof(options[0]), needs_name ? 1 : 0, argc, argv);
	while ((found = options_next(&o)) >= 0) {
		if (found == OPT_JSON)
			out->json = true;
		else
			cli_place_take(&out->place, &options[found], o.value);
	}
	if (found == OPTIONS_WRONG)
		return CLI_USAGE;
	if (needs_name && (o.rest_count == 0 || !o.rest[0][0])) {
		fprintf(stderr, "%s: expected the name of a target; valet target list shows them\n", command);
		return CLI_USAGE;
	}
	out->name = needs_name ? o.rest[0] : NULL;
	return CLI_DONE;
}

static int ask(const struct target_args *args, const char *method, struct str body, void (*print)(struct buf *, struct cli_answer *, const void *))
{
	struct buf target;
	buf_init(&target, TARGET_MAX);
	BUF_ADD(&target, "/api/targets");
	if (args->name)
		cli_add_part(&target, args->name);
	const struct cli_question question = {
		.place = &args->place, .command = args->command, .method = method, .target = &target, .body = body, .json = args->json, .print = print};
	int code = cli_tell(&question);
	buf_release(&target);
	return code;
}

static int run_list(int argc, char **argv)
{
	struct target_args args;
	int code = read_args(&args, "valet target list", false, argc, argv);
	return code == CLI_DONE ? ask(&args, "GET", STR_NONE, print_list) : code;
}

static int run_show(int argc, char **argv)
{
	struct target_args args;
	int code = read_args(&args, "valet target show", true, argc, argv);
	return code == CLI_DONE ? ask(&args, "GET", STR_NONE, print_one) : code;
}

static int run_drain(int argc, char **argv)
{
	struct target_args args;
	int code = read_args(&args, "valet target drain", true, argc, argv);
	return code == CLI_DONE ? ask(&args, "POST", STR("{\"drain\":true}"), print_change) : code;
}

static int run_resume(int argc, char **argv)
{
	struct target_args args;
	int code = read_args(&args, "valet target resume", true, argc, argv);
	return code == CLI_DONE ? ask(&args, "POST", STR("{\"drain\":false}"), print_change) : code;
}

#define OPTIONS .options = options, .option_count = sizeof(options) / sizeof(options[0])

static const struct command command_list = {
	.name = "target list",
	.arguments = "[--json]",
	.summary = "lists the targets, how they are doing, and their places",
	.text = "Lists the targets of the running server: what they are, whether they are up, how many\n"
		"requests each has and may have, and which models it serves.",
	OPTIONS,
	.run = run_list,
};

static const struct command command_show = {
	.name = "target show",
	.arguments = "NAME [--json]",
	.summary = "says everything of a target but its secret",
	.text = "Says how a target is doing, and what its answers have taught of each model: the time to\n"
		"the first token of a short prompt, tokens a second, how long a request takes.",
	OPTIONS,
	.run = run_show,
};

static const struct command command_drain = {
	.name = "target drain",
	.arguments = "NAME",
	.summary = "sets a target aside for maintenance",
	.text = "Sets a target aside: it gets no new requests, those that run there go on, and those that\n"
		"wait go elsewhere or wait on. Holds across restarts, until valet target resume NAME.",
	OPTIONS,
	.run = run_drain,
};

static const struct command command_resume = {
	.name = "target resume",
	.arguments = "NAME",
	.summary = "lets a target have requests again",
	.text = "Ends the maintenance of a target that valet target drain has set aside; requests that wait\n"
		"get its places at once. What the settings have set aside is taken back there.",
	OPTIONS,
	.run = run_resume,
};

static const struct command *const subs[] = {&command_list, &command_show, &command_drain, &command_resume, NULL};

const struct command command_target = {
	.name = "target",
	.arguments = "COMMAND [NAME] [OPTIONS]",
	.summary = "shows where requests go, and sets a target aside for maintenance",
	.text = "Targets are the engines and clouds that requests go to, as the running server sees them.",
	.subs = subs,
};
