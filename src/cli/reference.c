/* reference.c - `valet reference`: prints docs/reference from the tables that the program runs on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "admin/api.h"
#include "base/error.h"
#include "base/metrics.h"

#include <stdio.h>

enum { OUT_MAX = 1024 * 1024 };

static const char settings_intro[] =
	"# Settings\n\n"
	"Valet reads one YAML file: the one given with `-c`, else `$VALET_CONFIG`, else "
	"`./valet.yaml`, else\n"
	"`/etc/valet/valet.yaml`. Without a file the defaults hold. `valet check` says everything "
	"that is wrong with\n"
	"a file; [examples/valet.yaml](../../examples/valet.yaml) is one to begin with.\n\n"
	"Times are written with their unit: `500ms`, `5s`, `2m`, `1h`, `7d`. Sizes: `512k`, "
	"`64MiB` (k, M, G, KiB, MiB,\n"
	"GiB count by 1024; kB, MB, GB by 1000). A setting without a value, or with `null`, keeps "
	"its default. Where a\n"
	"list is expected, a single text stands for a list of one. A name that Valet does not know "
	"is an error.\n"
	"YAML anchors, aliases, merge keys and tags are refused.\n\n";

static void put_settings(struct buf *out)
{
	buf_adds(out, str_from(settings_intro));
	field_print_reference(out, &settings_table);
}

static const char errors_intro[] =
	"# Errors\n\n"
	"What clients are told when a request fails, in the words of the API they speak.\n\n"
	"With OpenAI's APIs:\n\n"
	"```json\n"
	"{\"error\": {\"message\": \"the model 'qwen' does not exist\", \"type\": "
	"\"invalid_request_error\",\n"
	"           \"param\": \"model\", \"code\": \"model_not_found\"}}\n"
	"```\n\n"
	"With `/v1/messages` the same object has Anthropic's type, and stands in `{\"type\": "
	"\"error\", \"error\": …}`. Once a\n"
	"stream is under way, the error is its last event, and the connection is closed without "
	"`[DONE]`. Every answer\n"
	"has the field `x-request-id`; give it to whoever looks into Valet's log.\n\n"
	"*Elsewhere*: another target is tried first where there is one, as long as the client got "
	"no byte of an answer.\n"
	"`error.code` is what programs should look at; where an engine gave a code of its own for "
	"a refused request, it\n"
	"stands there instead of `invalid_request`, and the status is the engine's.\n\n";

static void put_errors(struct buf *out)
{
	buf_adds(out, str_from(errors_intro));
	BUF_ADD(out, "| Code | Status | OpenAI type | Anthropic type | Elsewhere | Meaning |\n"
		     "| --- | --- | --- | --- | --- | --- |\n");
	for (int i = ERROR_NONE + 1; i < ERROR_COUNT; i++) {
		const struct error_row *e = &error_rows[i];
		buf_addf(out, "| `%s` | %d | `%s` | `%s` | %s | %s |\n", e->code, e->status,
			 e->type, e->anthropic, e->elsewhere ? "yes" : "", e->text);
	}
}

static void put_metrics(struct buf *out)
{
	struct metric_info info;
	BUF_ADD(out, "# Metrics\n\n"
		     "What Valet counts, at `/metrics` of `admin_listen`, in the text format of "
		     "Prometheus.\n\n"
		     "Counters begin at 0 when Valet starts, and a reload of the settings keeps "
		     "them. `target` is the name of a\n"
		     "target or of an engine that was found, `model` the name that clients use. A "
		     "histogram has the samples\n"
		     "`_bucket`, `_sum` and `_count`, in seconds.\n\n"
		     "| Name | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; metrics_info(i, &info); i++)
		buf_addf(out, "| `%s` | %s | %s | %s |\n", info.name, info.type,
			 info.labels && *info.labels ? info.labels : "", info.help);
}

static void put_command(struct buf *out, const char *mark, const struct command *command)
{
	buf_addf(out, "\n%s `valet %s`\n\n```text\n", mark, command->name);
	cli_print_help(out, command);
	BUF_ADD(out, "```\n");
	for (size_t i = 0; command->subs && command->subs[i]; i++)
		put_command(out, "###", command->subs[i]);
}

static void put_cli(struct buf *out)
{
	BUF_ADD(out, "# Command line\n\n"
		     "What `valet COMMAND --help` says of each command; `valet --help` lists them "
		     "and `valet --version` says which\n"
		     "version this is.\n\n"
		     "Exit codes: 0 done, 1 it went wrong, 2 wrong usage. An option's value stands "
		     "behind it (`--listen HOST:PORT`)\n"
		     "or behind `=` (`--listen=HOST:PORT`); what follows `--` is no option.\n");
	for (size_t i = 0; commands[i]; i++)
		put_command(out, "##", commands[i]);
}

static const struct page {
	const char *name;
	void (*put)(struct buf *out);
} pages[] = {
	{"settings", put_settings},
	{"errors", put_errors},
	{"metrics", put_metrics},
	{"cli", put_cli},
	{"admin-api", api_print_reference},
};

static int put_page(const struct page *page)
{
	struct buf out;
	buf_init(&out, OUT_MAX);
	page->put(&out);
	buf_addf(&out, "\n*Printed by `valet reference %s`.*\n", page->name);
	int code = cli_put(&out);
	buf_release(&out);
	return code;
}

static int run(int argc, char **argv)
{
	struct options o;
	options_init(&o, "valet reference", NULL, 0, 1, argc, argv);
	if (options_next(&o) != OPTIONS_OVER)
		return CLI_USAGE;
	for (size_t i = 0; o.rest_count && i < sizeof(pages) / sizeof(pages[0]); i++)
		if (strcmp(o.rest[0], pages[i].name) == 0)
			return put_page(&pages[i]);
	fprintf(stderr, "valet reference: expected one of settings, errors, metrics, cli, admin-api\n");
	return CLI_USAGE;
}

const struct command command_reference = {
	.name = "reference",
	.arguments = "settings|errors|metrics|cli|admin-api",
	.summary = "prints a page of the reference",
	.text = "Prints a page of docs/reference (markdown) from the tables that this program runs "
		"on.",
	.run = run,
};
