/* explain.c - `valet explain`: where a request would go now, and why.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/print.h"

#include <stdio.h>

enum { OPT_MODEL, OPT_KEY, OPT_TOKENS, OPT_OPERATION, OPT_LOCAL, OPT_JSON };

static const struct option options[] = {
	{"model", 'm', "NAME", "the model or alias, as clients name it (needed)"},
	{"key", 'k', "KEY", "as if this key asked; by name or id (default: no key)"},
	{"tokens", 't', "N", "length of the prompt (default: 100)"},
	{"operation", 0, "NAME", "chat, completions, embeddings ... (default: chat)"},
	{"local-only", 0, NULL, "as if the request said x-valet-local-only: 1"},
	{"json", 0, NULL, "for programs: what the admin API answers"},
	CLI_PLACE_OPTIONS,
};

enum { QUERY_MAX = 16 * 1024 };

/* ---- what it says ---- */

static bool is_known(const struct json *value)
{
	return value && value->type != JSON_NULL;
}

static void put_question(struct buf *out, struct cli_answer *a)
{
	const struct json *j = a->json;
	struct str model = cli_text(a, j, "model"), asked = cli_text(a, j, "asked");
	print_clean(out, model);
	if (!str_eq(model, asked)) {
		BUF_ADD(out, " (asked for as ");
		print_clean(out, asked);
		BUF_ADD(out, ")");
	}
	BUF_ADD(out, ", ");
	print_clean(out, cli_text(a, j, "operation"));
	buf_addf(out, ", prompt of %lld tokens", (long long)cli_number(j, "tokens"));
	if (is_known(json_get(j, STR("key")))) {
		BUF_ADD(out, ", key ");
		print_clean(out, cli_text(a, j, "key"));
	}
	if (cli_flag(j, "local_only"))
		BUF_ADD(out, ", local only");
	BUF_ADD(out, "\n");
}

static void put_decision(struct buf *out, struct cli_answer *a)
{
	const struct json *d = json_get(a->json, STR("decision"));
	struct str what = cli_text(a, d, "what"), why = cli_text(a, d, "why");
	if (str_eq(what, STR("place")) || str_eq(what, STR("overflow"))) {
		BUF_ADD(out, "goes to ");
		print_clean(out, cli_text(a, d, "target"));
		if (str_eq(what, STR("overflow"))) {
			BUF_ADD(out, " by overflow, ");
			print_clean(out, cli_text(a, d, "overflow"));
		}
	} else if (str_eq(what, STR("queue"))) {
		BUF_ADD(out, "waits in the queue");
	} else {
		BUF_ADD(out, "is refused, ");
		print_clean(out, cli_text(a, d, "error"));
	}
	BUF_ADD(out, ": ");
	print_clean(out, why);
	BUF_ADD(out, "\n");
}

static const char *verdict_of(struct cli_answer *a, const struct json *p)
{
	struct str fit = cli_text(a, p, "fit");
	static const struct {
		const char *fit, *words;
	} rows[] = {
		{"fits", "fits"}, {"tried", "was asked already"}, {"not_served", "does not serve this"}, {"not_local", "not local"},
		{"drained", "in maintenance"}, {"left_alone", "left alone for now"}, {"too_small", "window too small"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (str_eq(fit, str_from(rows[i].fit)))
			return cli_flag(p, "chosen") ? "chosen" : i == 0 && str_eq(cli_text(a, p, "state"), STR("down")) ? "down" : rows[i].words;
	return "-";
}

static void put_number(struct grid *g, const struct json *p, const char *name, const char *unit)
{
	if (is_known(json_get(p, str_from(name))))
		grid_putf(g, "%lld%s", (long long)cli_number(p, name), unit);
	else
		grid_put(g, STR("-"));
}

static void put_place(struct grid *g, struct cli_answer *a, const struct json *p)
{
	grid_row(g);
	grid_put(g, cli_text(a, p, "target"));
	grid_put(g, cli_text(a, p, "as"));
	grid_put(g, cli_text(a, p, "state"));
	if (is_known(json_get(p, STR("limit"))))
		grid_putf(g, "%lld/%lld", (long long)cli_number(p, "taken"), (long long)cli_number(p, "limit"));
	else
		grid_putf(g, "%lld", (long long)cli_number(p, "taken"));
	put_number(g, p, "context", "");
	grid_put(g, cli_flag(p, "warm") ? STR("yes") : STR("-"));
	put_number(g, p, "first_token_ms", " ms");
	grid_put(g, str_from(verdict_of(a, p)));
}

static void put_places(struct buf *out, struct cli_answer *a, const struct json *list)
{
	static const struct grid_column columns[] = {{"TARGET", false}, {"MODEL THERE", false}, {"STATE", false}, {"TAKEN", true},
						     {"WINDOW", true}, {"LOADED", false}, {"FIRST TOKEN", true}, {"VERDICT", false}};
	struct grid g;
	grid_init(&g, &a->arena, columns, sizeof(columns) / sizeof(columns[0]));
	for (const struct json *p = list ? list->first : NULL; p; p = p->next)
		put_place(&g, a, p);
	grid_print(out, &g);
	grid_release(&g);
}

static void put_overflow(struct buf *out, struct cli_answer *a)
{
	const struct json *o = json_get(a->json, STR("overflow")), *when = is_known(o) ? json_get(o, STR("when")) : NULL;
	if (!is_known(o)) {
		BUF_ADD(out, "\nno overflow: what finds no place here waits, or is refused\n");
		return;
	}
	BUF_ADD(out, "\noverflow when: ");
	for (const struct json *w = when ? when->first : NULL; w; w = w->next) {
		struct str name = json_text(&a->arena, w);
		print_clean(out, name);
		if (str_eq(name, STR("wait"))) {
			BUF_ADD(out, " longer than ");
			print_duration(out, cli_number(o, "wait_ms"));
		}
		if (w->next)
			BUF_ADD(out, ", ");
	}
	BUF_ADD(out, "; order: ");
	print_clean(out, cli_text(a, o, "order"));
	BUF_ADD(out, "\n");
	put_places(out, a, json_get(o, STR("places")));
}

static void print_explained(struct buf *out, struct cli_answer *a, const void *user)
{
	put_question(out, a);
	put_decision(out, a);
	BUF_ADD(out, "\nplaces, by ");
	print_clean(out, cli_text(a, a->json, "strategy"));
	int64_t waiting = cli_number(a->json, "waiting");
	if (waiting)
		buf_addf(out, "; %lld waiting", (long long)waiting);
	BUF_ADD(out, "\n");
	put_places(out, a, json_get(a->json, STR("places")));
	put_overflow(out, a);
}

/* ---- the command ---- */

static int run(int argc, char **argv)
{
	struct cli_place place = {NULL};
	struct options o;
	struct buf target;
	const char *values[OPT_JSON + 1] = {NULL};
	int found;
	options_init(&o, "valet explain", options, sizeof(options) / sizeof(options[0]), 0, argc, argv);
	while ((found = options_next(&o)) >= 0) {
		if (found <= OPT_JSON)
			values[found] = o.value ? o.value : "1";
		else
			cli_place_take(&place, &options[found], o.value);
	}
	if (found == OPTIONS_WRONG)
		return CLI_USAGE;
	if (!values[OPT_MODEL]) {
		fprintf(stderr, "valet explain: which model? --model NAME, as clients name it\n");
		return CLI_USAGE;
	}
	buf_init(&target, QUERY_MAX);
	BUF_ADD(&target, "/api/explain");
	cli_add_query(&target, "model", values[OPT_MODEL]);
	cli_add_query(&target, "key", values[OPT_KEY]);
	cli_add_query(&target, "tokens", values[OPT_TOKENS]);
	cli_add_query(&target, "operation", values[OPT_OPERATION]);
	cli_add_query(&target, "local_only", values[OPT_LOCAL]);
	const struct cli_question question = {
		.place = &place, .command = "valet explain", .method = "GET", .target = &target, .json = values[OPT_JSON] != NULL, .print = print_explained};
	int code = cli_tell(&question);
	buf_release(&target);
	return code;
}

const struct command command_explain = {
	.name = "explain",
	.arguments = "--model NAME [--key KEY] [--tokens N] [--json]",
	.summary = "says where a request would go now, and why",
	.text = "Says what Valet would do with a request as things stand: the target it would\n"
		"go to, whether it would wait, leave for a cloud by the policy of overflow, or\n"
		"be refused, and why; and how each target of the model is doing. Nothing is\n"
		"sent and nothing is counted. Needs a running server.",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]), .run = run,
};
