/* live.c - `valet live`: the requests in flight, and stopping one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/field.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/print.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { OPT_WATCH, OPT_JSON };

static const struct option options[] = {
	{"watch", 'w', NULL, "shows them anew each second, until Ctrl-C"},
	{"json", 0, NULL, "for programs: what the admin API answers"},
	CLI_PLACE_OPTIONS,
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	interrupted = 1;
}

/* ---- the list ---- */

/* "waits" where nothing was sent to a target yet. */
static void put_state(struct grid *g, struct cli_answer *a, const struct json *r)
{
	struct str step = cli_text(a, r, "step");
	int64_t position = cli_number(r, "position");
	if (position)
		grid_putf(g, "%.*s, position %lld", STR_ARG(step), (long long)position);
	else if (cli_flag(r, "waiting"))
		grid_putf(g, "%.*s, waits", STR_ARG(step));
	else
		grid_put(g, step);
}

static void put_hold(struct grid *g, const struct json *r)
{
	struct buf text;
	int64_t tokens = cli_number(r, "hold_tokens"), nanos = cli_number(r, "hold_nanos");
	buf_init(&text, 256);
	if (tokens)
		print_count(&text, tokens);
	if (tokens && nanos)
		BUF_ADD(&text, ", ");
	if (nanos)
		print_money(&text, nanos);
	grid_put(g, text.len ? buf_str(&text) : STR("-"));
	buf_release(&text);
}

static void put_time(struct grid *g, int64_t ms)
{
	struct buf text;
	buf_init(&text, 64);
	print_duration(&text, ms);
	grid_put(g, buf_str(&text));
	buf_release(&text);
}

static void put_or_dash(struct grid *g, struct str text)
{
	grid_put(g, text.len ? text : STR("-"));
}

static void put_row(struct grid *g, struct cli_answer *a, const struct json *r)
{
	grid_row(g);
	grid_put(g, cli_text(a, r, "id"));
	put_or_dash(g, cli_text(a, r, "key"));
	grid_putf(g, "%.*s%s", STR_ARG(cli_text(a, r, "op")), cli_flag(r, "stream") ? ", stream" : "");
	put_or_dash(g, cli_text(a, r, "model"));
	put_or_dash(g, cli_text(a, r, "target"));
	put_state(g, a, r);
	put_time(g, cli_number(r, "queue_ms"));
	put_time(g, cli_number(r, "since_ms"));
	grid_putf(g, "%lld", (long long)cli_number(r, "tokens_out"));
	put_hold(g, r);
}

/* "12 requests; 3 wait for a place (1 of class batch), the oldest for 2s 100ms" */
static void print_depth(struct buf *out, const struct json *answer)
{
	const struct json *queue = json_get(answer, STR("queue")), *data = json_get(answer, STR("data"));
	int64_t waiting = cli_number(queue, "waiting"), batch = cli_number(queue, "waiting_batch");
	buf_addf(out, "%u request%s", data->count, data->count == 1 ? "" : "s");
	if (waiting) {
		BUF_ADD(out, "; ");
		print_count(out, waiting);
		buf_addf(out, " wait%s for a place", waiting == 1 ? "s" : "");
		if (batch)
			buf_addf(out, " (%lld of class batch)", (long long)batch);
		BUF_ADD(out, ", the oldest for ");
		print_duration(out, cli_number(queue, "oldest_ms"));
	}
	BUF_ADD(out, "\n\n");
}

static void print_live(struct buf *out, struct cli_answer *a, const void *user)
{
	static const struct grid_column columns[] = {{"REQUEST", false}, {"KEY", false},   {"OPERATION", false}, {"MODEL", false}, {"TARGET", false},
						     {"STEP", false},    {"WAITED", true}, {"SINCE", true},      {"TOKENS", true}, {"HOLDS", true}};
	const struct json *data = json_get(a->json, STR("data"));
	struct grid g;
	if (!data || !data->first) {
		BUF_ADD(out, "no requests in flight\n");
		return;
	}
	print_depth(out, a->json);
	grid_init(&g, &a->arena, columns, sizeof(columns) / sizeof(columns[0]));
	for (const struct json *r = data->first; r; r = r->next)
		put_row(&g, a, r);
	grid_print(out, &g);
	grid_release(&g);
}

static int show(const struct cli_place *p, bool json, bool again)
{
	struct buf target;
	buf_init(&target, 64);
	BUF_ADD(&target, "/api/live");
	const struct cli_question question = {
		.place = p, .command = "valet live", .method = "GET", .target = &target, .json = json,
		.clears = again && isatty(STDOUT_FILENO), .print = print_live,
	};
	int code = cli_tell(&question);
	buf_release(&target);
	return code;
}

/* Until Ctrl-C, which is the usual end. */
static int watch(const struct cli_place *p, bool json)
{
	struct sigaction on = {.sa_handler = on_interrupt};
	int code;
	sigaction(SIGINT, &on, NULL);
	sigaction(SIGTERM, &on, NULL);
	while ((code = show(p, json, true)) == CLI_DONE && !interrupted) {
		const struct timespec second = {1, 0};
		nanosleep(&second, NULL);
		if (interrupted)
			break;
	}
	return interrupted ? CLI_DONE : code;
}

/* ---- stopping ---- */

static void print_stopped(struct buf *out, struct cli_answer *a, const void *id)
{
	BUF_ADD(out, "stopped ");
	print_clean(out, str_from(id));
	BUF_ADD(out, "\n");
}

static int stop(const struct cli_place *p, const char *id, bool json)
{
	struct buf target;
	buf_init(&target, 4096);
	BUF_ADD(&target, "/api/live");
	cli_add_part(&target, id);
	BUF_ADD(&target, "/stop");
	const struct cli_question question = {
		.place = p, .command = "valet live stop", .method = "POST", .target = &target, .json = json, .print = print_stopped, .user = id};
	int code = cli_tell(&question);
	buf_release(&target);
	return code;
}

/* ---- the command ---- */

static int wrong_words(const char *word)
{
	struct buf shown;
	buf_init(&shown, 1024);
	field_quote(&shown, str_from(word));
	fprintf(stderr, "valet live: expected nothing, or stop REQUEST_ID, found %.*s%s\n", STR_ARG(buf_str(&shown)),
		strcmp(word, "stop") == 0 ? " alone; valet live lists the ids" : "");
	buf_release(&shown);
	return CLI_USAGE;
}

static int run(int argc, char **argv)
{
	struct cli_place place = {NULL};
	struct options o;
	bool json = false, again = false;
	int found;
	options_init(&o, "valet live", options, sizeof(options) / sizeof(options[0]), 2, argc, argv);
	while ((found = options_next(&o)) >= 0) {
		if (found == OPT_WATCH)
			again = true;
		else if (found == OPT_JSON)
			json = true;
		else
			cli_place_take(&place, &options[found], o.value);
	}
	if (found == OPTIONS_WRONG)
		return CLI_USAGE;
	if (o.rest_count && (strcmp(o.rest[0], "stop") != 0 || o.rest_count < 2))
		return wrong_words(o.rest[0]);
	if (o.rest_count)
		return stop(&place, o.rest[1], json);
	return again ? watch(&place, json) : show(&place, json, false);
}

const struct command command_live = {
	.name = "live",
	.arguments = "[--watch] [--json] | stop REQUEST_ID",
	.summary = "shows the requests in flight, and stops one",
	.text = "Shows each request that the running server is busy with: whose it is, in which step\n"
		"and since when, how long it has waited and at which position in the queue it is, and\n"
		"what it holds of its budgets. valet live stop REQUEST_ID ends one:\n"
		"its client gets an error, its target is told to stop, and what was produced is charged.",
	.options = options,
	.option_count = sizeof(options) / sizeof(options[0]),
	.run = run,
};
