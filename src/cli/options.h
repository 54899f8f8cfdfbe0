/* options.h - options of the command line, read from a table that also prints them.
 *
 * Pure but for options_next(), which says on stderr what is wrong.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_CLI_OPTIONS_H
#define VALET_CLI_OPTIONS_H

#include "base/buf.h"

struct option {
	const char *name;  /* "config": --config */
	char letter;       /* 'c': -c; 0: none */
	const char *value; /* "FILE"; NULL: takes none */
	const char *help;
};

#define OPTIONS_REST_MAX 4

/* Set by options_init(); `value` and `rest` point into argv. */
struct options {
	const char *command; /* for messages: "valet check" */
	const struct option *table;
	size_t count;
	int argc;
	char **argv;
	int at;
	bool only_rest; /* after "--" */
	const char *value; /* of the option that options_next() gave; NULL where it takes none */
	const char *rest[OPTIONS_REST_MAX]; /* what is no option */
	size_t rest_count, rest_max;
};

enum { OPTIONS_OVER = -1, OPTIONS_WRONG = -2 };

/* argv[0] is skipped. `rest_max`: how many arguments beside options are allowed, at most
 * OPTIONS_REST_MAX. */
void options_init(struct options *o, const char *command, const struct option *table, size_t count,
		  size_t rest_max, int argc, char **argv);
/* The index in the table of the next option; OPTIONS_OVER at the end; OPTIONS_WRONG after a line on
 * stderr. Takes --name VALUE, --name=VALUE, -n VALUE, -nVALUE; what follows "--" is no option. */
int options_next(struct options *o);
/* Appends each option with its help, with --help as the last. */
void options_print(struct buf *out, const struct option *table, size_t count);
/* Appends the words of `text` and a newline, in lines of at most 80 columns where no word is longer: the first line has `column` columns already,
 * the others begin with `indent` spaces. An empty line stays one. */
void options_wrap(struct buf *out, const char *text, size_t column, size_t indent);

#endif
