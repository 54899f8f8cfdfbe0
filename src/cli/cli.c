/* cli.c - finding the command, help, version.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/field.h"

#include <stdio.h>

const struct command *const commands[] = {
	&command_serve,  &command_check,   &command_key,       &command_usage,   &command_live, &command_explain,
	&command_target, &command_recover, &command_reference, &command_version, NULL,
};

enum { HELP_MAX = 64 * 1024, SUMMARY_COLUMN = 15 };

int cli_put(const struct buf *text)
{
	bool ok = fwrite(text->ptr, 1, text->len, stdout) == text->len;
	if (fflush(stdout) == 0 && ok && !text->over)
		return CLI_DONE;
	fprintf(stderr, "valet: could not write to standard output\n");
	return CLI_FAILED;
}

/* ---- help ---- */

/* "create" of "key create". */
static const char *last_word(const struct command *command)
{
	const char *space = strrchr(command->name, ' ');
	return space ? space + 1 : command->name;
}

static void list(struct buf *out, const struct command *const *of)
{
	for (size_t i = 0; of[i]; i++) {
		buf_addf(out, "  %-12s ", last_word(of[i]));
		options_wrap(out, of[i]->summary, SUMMARY_COLUMN, SUMMARY_COLUMN);
	}
}

void cli_print_help(struct buf *out, const struct command *command)
{
	buf_addf(out, "usage: valet %s%s%s\n\n", command->name, *command->arguments ? " " : "", command->arguments);
	options_wrap(out, command->text, 0, 0);
	BUF_ADD(out, "\n");
	if (command->subs) {
		list(out, command->subs);
		buf_addf(out, "\nvalet %s COMMAND --help says more.\n\n", command->name);
	}
	options_print(out, command->options, command->option_count);
}

static int help_of(const struct command *command)
{
	struct buf out;
	buf_init(&out, HELP_MAX);
	cli_print_help(&out, command);
	int code = cli_put(&out);
	buf_release(&out);
	return code;
}

static int help_of_all(void)
{
	struct buf out;
	buf_init(&out, HELP_MAX);
	BUF_ADD(&out,
		"valet " VALET_VERSION " - one OpenAI-compatible address for all your language "
		"models\n\nusage: valet COMMAND [OPTIONS]\n\n");
	list(&out, commands);
	BUF_ADD(&out, "\nvalet COMMAND --help says more. To begin: valet serve\n");
	int code = cli_put(&out);
	buf_release(&out);
	return code;
}

/* ---- version ---- */

static int run_version(int argc, char **argv)
{
	struct options o;
	struct buf out;
	options_init(&o, "valet version", NULL, 0, 0, argc, argv);
	if (options_next(&o) != OPTIONS_OVER)
		return CLI_USAGE;
	buf_init(&out, HELP_MAX);
	BUF_ADD(&out, "valet " VALET_VERSION "\n");
	int code = cli_put(&out);
	buf_release(&out);
	return code;
}

const struct command command_version = {
	.name = "version",
	.arguments = "",
	.summary = "says which version this is",
	.text = "Says which version this is. The same as valet --version.",
	.run = run_version,
};

/* ---- dispatch ---- */

static const struct command *find(const struct command *const *of, struct str name)
{
	for (size_t i = 0; of[i]; i++)
		if (str_eq(name, str_from(last_word(of[i]))))
			return of[i];
	return NULL;
}

/* `above`: the command whose sub-command was looked for; NULL: none. */
static int unknown(const struct command *above, struct str name)
{
	const struct command *const *of = above ? above->subs : commands;
	const char *space = above ? " " : "", *parent = above ? above->name : "";
	struct str names[32];
	struct buf shown;
	size_t n = 0;
	for (; of[n] && n < 32; n++)
		names[n] = str_from(last_word(of[n]));
	const struct str *near = field_near(name, names, n);
	buf_init(&shown, HELP_MAX);
	field_quote(&shown, name);
	fprintf(stderr, "valet%s%s: there is no command %.*s", space, parent, STR_ARG(buf_str(&shown)));
	if (near)
		fprintf(stderr, "; did you mean %.*s?\n", STR_ARG(*near));
	else
		fprintf(stderr, "; valet%s%s --help lists them\n", space, parent);
	buf_release(&shown);
	return CLI_USAGE;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (is_help(argv[i]))
			return true;
	return false;
}

/* Runs `command`, or the one below it that argv[1] names. `only_help`: says what it does instead. */
static int run_command(const struct command *command, int argc, char **argv, bool only_help)
{
	while (command->subs && argc > 1 && !is_help(argv[1])) {
		const struct command *below = find(command->subs, str_from(argv[1]));
		if (!below)
			return unknown(command, str_from(argv[1]));
		command = below;
		argc--;
		argv++;
	}
	if (only_help || asks_for_help(argc, argv) || !command->run)
		return help_of(command);
	return command->run(argc, argv);
}

static int run_named(int argc, char **argv, bool only_help)
{
	const struct command *command = find(commands, str_from(argv[0]));
	return command ? run_command(command, argc, argv, only_help) : unknown(NULL, str_from(argv[0]));
}

int cli_main(int argc, char **argv)
{
	if (argc < 2 || is_help(argv[1]))
		return help_of_all();
	struct str name = str_from(argv[1]);
	if (str_eq(name, STR("help")))
		return argc < 3 || is_help(argv[2]) ? help_of_all() : run_named(argc - 2, argv + 2, true);
	if (str_eq(name, STR("--version")) || str_eq(name, STR("-V")))
		return run_version(argc - 1, argv + 1);
	return run_named(argc - 1, argv + 1, false);
}
