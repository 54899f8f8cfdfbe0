/* key.h - what the files of `valet key` share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_CLI_KEY_H
#define VALET_CLI_KEY_H

#include "cli/ask.h"
#include "cli/cli.h"

/* ---- key_args.c: the command lines ---- */

#define KEY_GIVEN_MAX 256

/* One option that becomes a member of a key's document. */
struct key_given {
	const struct option *option;
	const char *value; /* NULL: it takes none */
};

struct key_args {
	const char *command; /* "valet key create" */
	struct cli_place place;
	const char *name;    /* which key; NULL: none given */
	const char *overlap; /* rotate */
	bool json, quiet, yes;
	bool rotates;         /* set by the command */
	struct key_given given[KEY_GIVEN_MAX];
	size_t given_count;
};

/* Reads the command line of `command`. CLI_DONE; CLI_USAGE after a line on stderr, also where `needs_name` and there is none. */
int key_args_read(struct key_args *out, const struct command *command, bool needs_name, int argc, char **argv);
/* Appends the document that the options make: what is taken away (--budget none) as null. False after a line on stderr. `named`: with the member
 * "name" of the key itself. */
bool key_args_document(const struct key_args *a, bool named, struct buf *out);

/* key.c and key_args.c: the commands, and their tables of options. */
extern const struct command command_key_create, command_key_list, command_key_show, command_key_update, command_key_rotate, command_key_revoke,
	command_key_delete, command_key_advise;
#define KEY_CREATE_OPTIONS 26
#define KEY_UPDATE_OPTIONS 26
extern const struct option key_create_options[KEY_CREATE_OPTIONS], key_update_options[KEY_UPDATE_OPTIONS], key_show_options[4],
	key_list_options[4], key_rotate_options[6], key_delete_options[5];

/* ---- key_show.c: what is printed ---- */

void key_print_list(struct buf *out, struct cli_answer *a);
void key_print_one(struct buf *out, struct cli_answer *a);
/* The secret of a new or rotated key, and how to use it. */
void key_print_secret(struct buf *out, struct cli_answer *a, const struct cli_place *place, bool rotated);
void key_print_advice(struct buf *out, struct cli_answer *a);

#endif
