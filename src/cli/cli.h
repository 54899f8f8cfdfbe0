/* cli.h - the commands of `valet`.
 *
 * Exit codes: 0 done, 1 it went wrong, 2 wrong usage. Main thread; blocking.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_CLI_CLI_H
#define VALET_CLI_CLI_H

#include "cli/options.h"
#include "gate/settings.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* A command. Each is defined in the file that implements it, and listed in cli.c. */
struct command {
	const char *name;      /* "check"; of one below another: "key create" */
	const char *arguments; /* "[[-c] FILE] [--json]" */
	const char *summary;   /* one line, without a full stop */
	const char *text;      /* what it does; options_wrap() breaks its lines */
	const struct option *options;
	size_t option_count;
	/* argv[0] is the command's name. Returns the exit code. NULL where there is `subs`. */
	int (*run)(int argc, char **argv);
	const struct command *const *subs; /* commands below it, ends with NULL; NULL: none */
};

extern const struct command *const commands[]; /* ends with NULL */
extern const struct command command_check, command_explain, command_key, command_live, command_recover, command_reference, command_serve,
	command_target, command_usage, command_version;

/* What main() does. */
int cli_main(int argc, char **argv);
/* Appends what `valet CMD --help` says. */
void cli_print_help(struct buf *out, const struct command *command);
/* Writes `text` to stdout. CLI_FAILED where that fails. */
int cli_put(const struct buf *text);

#define SERVE_OVERRIDES_MAX 64

/* What stands on serve's command line (serve_args.c); views into argv. */
struct serve_args {
	const char *config; /* NULL: where settings_find() looks */
	const char *state;  /* NULL: not given */
	struct settings_override over[SERVE_OVERRIDES_MAX]; /* for settings_load() */
	size_t over_count;
};

/* CLI_DONE, or CLI_USAGE after a line on stderr. */
int serve_args_read(struct serve_args *out, int argc, char **argv);
/* serve.c: serves until told to stop. */
int cli_serve(int argc, char **argv);

#endif
