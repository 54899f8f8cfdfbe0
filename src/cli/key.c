/* key.c - `valet key`: makes, lists, changes and takes away the keys of clients.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/key.h"

#include "cli/print.h"

#include <stdio.h>
#include <unistd.h>

enum { DOCUMENT_MAX = 1 << 20, TARGET_MAX = 4096 };

/* ---- one request ---- */

typedef void print_fn(struct buf *out, struct cli_answer *a, const void *args);

/* `path`, the key's name where `named`, and what stands behind it. */
static int ask_at(const struct key_args *args, const char *method, const char *path, bool named, const char *behind, struct str body, print_fn *print)
{
	struct buf target;
	buf_init(&target, TARGET_MAX);
	buf_adds(&target, str_from(path));
	if (named)
		cli_add_part(&target, args->name);
	buf_adds(&target, str_from(behind));
	const struct cli_question question = {
		.place = &args->place, .command = args->command, .method = method, .target = &target, .body = body, .json = args->json, .print = print,
		.user = args,
	};
	int code = cli_tell(&question);
	buf_release(&target);
	return code;
}

/* About no key that is there. */
static int ask_and_print(const struct key_args *args, const char *method, const char *path, struct str body, print_fn *print)
{
	return ask_at(args, method, path, false, "", body, print);
}

/* About the key that the command line names. */
static int ask_of_key(const struct key_args *args, const char *method, const char *behind, struct str body, print_fn *print)
{
	return ask_at(args, method, "/api/keys", true, behind, body, print);
}

/* ---- create, update, rotate ---- */

static void print_secret(struct buf *out, struct cli_answer *a, const void *user)
{
	const struct key_args *args = user;
	if (args->quiet)
		buf_addf(out, "%.*s\n", STR_ARG(cli_text(a, a->json, "secret")));
	else
		key_print_secret(out, a, &args->place, args->rotates);
}

static int run_create(int argc, char **argv)
{
	struct key_args args;
	struct buf document;
	int code = key_args_read(&args, &command_key_create, true, argc, argv);
	if (code != CLI_DONE)
		return code;
	buf_init(&document, DOCUMENT_MAX);
	code = CLI_USAGE;
	if (key_args_document(&args, true, &document))
		code = ask_and_print(&args, "POST", "/api/keys", buf_str(&document), print_secret);
	buf_release(&document);
	return code;
}

static void print_key(struct buf *out, struct cli_answer *a, const void *user)
{
	key_print_one(out, a);
}

static int run_update(int argc, char **argv)
{
	struct key_args args;
	struct buf document;
	int code = key_args_read(&args, &command_key_update, true, argc, argv);
	if (code != CLI_DONE)
		return code;
	if (args.given_count == 0) {
		fprintf(stderr, "%s: expected at least one option that changes something (%s --help lists them)\n", args.command, args.command);
		return CLI_USAGE;
	}
	buf_init(&document, DOCUMENT_MAX);
	code = CLI_USAGE;
	if (key_args_document(&args, false, &document))
		code = ask_of_key(&args, "PATCH", "", buf_str(&document), print_key);
	buf_release(&document);
	return code;
}

static int run_rotate(int argc, char **argv)
{
	struct key_args args;
	struct json_writer w;
	struct buf body;
	int code = key_args_read(&args, &command_key_rotate, true, argc, argv);
	if (code != CLI_DONE)
		return code;
	args.rotates = true;
	buf_init(&body, DOCUMENT_MAX);
	json_writer_init(&w, &body);
	json_open_object(&w);
	if (args.overlap)
		json_member_str(&w, STR("overlap"), str_from(args.overlap));
	json_close_object(&w);
	code = ask_of_key(&args, "POST", "/rotate", buf_str(&body), print_secret);
	buf_release(&body);
	return code;
}

/* ---- list, show, advise ---- */

static void print_list(struct buf *out, struct cli_answer *a, const void *user)
{
	key_print_list(out, a);
}

static int run_list(int argc, char **argv)
{
	struct key_args args;
	int code = key_args_read(&args, &command_key_list, false, argc, argv);
	return code == CLI_DONE ? ask_and_print(&args, "GET", "/api/keys", STR_NONE, print_list) : code;
}

static int run_show(int argc, char **argv)
{
	struct key_args args;
	int code = key_args_read(&args, &command_key_show, true, argc, argv);
	return code == CLI_DONE ? ask_of_key(&args, "GET", "", STR_NONE, print_key) : code;
}

static void print_advice(struct buf *out, struct cli_answer *a, const void *user)
{
	key_print_advice(out, a);
}

static int run_advise(int argc, char **argv)
{
	struct key_args args;
	int code = key_args_read(&args, &command_key_advise, false, argc, argv);
	if (code != CLI_DONE)
		return code;
	if (args.name)
		return ask_of_key(&args, "GET", "/advice", STR_NONE, print_advice);
	return ask_and_print(&args, "GET", "/api/advice", STR_NONE, print_advice);
}

/* ---- revoke, delete ---- */

static void print_revoked(struct buf *out, struct cli_answer *a, const void *user)
{
	const struct key_args *args = user;
	BUF_ADD(out, "revoked ");
	print_clean(out, str_from(args->name));
	BUF_ADD(out, ": its secret is refused from now on; the key and what it used stay\n");
}

static int run_revoke(int argc, char **argv)
{
	struct key_args args;
	int code = key_args_read(&args, &command_key_revoke, true, argc, argv);
	return code == CLI_DONE ? ask_of_key(&args, "POST", "/revoke", STR_NONE, print_revoked) : code;
}

static void print_deleted(struct buf *out, struct cli_answer *a, const void *user)
{
	const struct key_args *args = user;
	BUF_ADD(out, "deleted ");
	print_clean(out, str_from(args->name));
	BUF_ADD(out, "; what it used stays in the books\n");
}

static bool confirmed(const struct key_args *args)
{
	char answer[16] = "";
	struct buf name;
	buf_init(&name, 1024);
	print_clean(&name, str_head(str_from(args->name), 200));
	fprintf(stderr, "Delete the key %.*s for ever? What it used stays in the books. [y/N] ", STR_ARG(buf_str(&name)));
	buf_release(&name);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	struct str word = str_trim(str_from(answer));
	return str_ieq(word, STR("y")) || str_ieq(word, STR("yes"));
}

static int run_delete(int argc, char **argv)
{
	struct key_args args;
	int code = key_args_read(&args, &command_key_delete, true, argc, argv);
	if (code != CLI_DONE)
		return code;
	if (!args.yes && !isatty(STDIN_FILENO)) {
		fprintf(stderr, "%s: expected --yes, since there is no terminal to ask at\n", args.command);
		return CLI_USAGE;
	}
	if (!args.yes && !confirmed(&args)) {
		fprintf(stderr, "%s: nothing was deleted\n", args.command);
		return CLI_FAILED;
	}
	return ask_of_key(&args, "DELETE", "", STR_NONE, print_deleted);
}

/* ---- the commands ---- */

#define OPTIONS(name) .options = key_##name##_options, .option_count = sizeof(key_##name##_options) / sizeof(key_##name##_options[0])

const struct command command_key_create = {
	.name = "key create",
	.arguments = "NAME [OPTIONS]",
	.summary = "makes a key and shows its secret once",
	.text = "Makes a key for one app or person, and shows its secret: now, and never again. Without\n"
		"options the key may use every model without a limit, or what the settings say of new\n"
		"keys. Budgets and limits hold all at once; a month is one of the calendar.",
	OPTIONS(create),
	.run = run_create,
};

const struct command command_key_list = {
	.name = "key list",
	.arguments = "[--json]",
	.summary = "lists the keys, their limits and what is left of their budgets",
	.text = "Lists the keys, their limits and what is left of their budgets.",
	OPTIONS(list),
	.run = run_list,
};

const struct command command_key_show = {
	.name = "key show",
	.arguments = "NAME [--json]",
	.summary = "says everything of a key but its secret",
	.text = "Says everything of a key but its secret, which nobody can show any more.",
	OPTIONS(show),
	.run = run_show,
};

const struct command command_key_update = {
	.name = "key update",
	.arguments = "NAME [OPTIONS]",
	.summary = "changes what a key may do",
	.text = "Changes what the options say, and nothing else; a list that is given replaces the old one,\n"
		"and none, off or never take away: --budget none, --rpm off, --expires never. What was\n"
		"used stays used. It holds for the next request; running ones go on.",
	OPTIONS(update),
	.run = run_update,
};

const struct command command_key_rotate = {
	.name = "key rotate",
	.arguments = "NAME [--overlap TIME]",
	.summary = "gives a key a new secret",
	.text = "Gives a key a new secret and shows it once. The old one stays valid for the overlap, so\n"
		"that apps can change over. Name, limits and what was used stay.",
	OPTIONS(rotate),
	.run = run_rotate,
};

const struct command command_key_revoke = {
	.name = "key revoke",
	.arguments = "NAME",
	.summary = "refuses a key from now on",
	.text = "Refuses a key from now on, for ever. It stays in the list, and what it used in the books.",
	OPTIONS(show),
	.run = run_revoke,
};

const struct command command_key_delete = {
	.name = "key delete",
	.arguments = "NAME [--yes]",
	.summary = "takes a key away",
	.text = "Takes a key away; its name is free again. What it used stays in the books under its number.\n"
		"Asks first, unless --yes says not to.",
	OPTIONS(delete),
	.run = run_delete,
};

const struct command command_key_advise = {
	.name = "key advise",
	.arguments = "[NAME]",
	.summary = "proposes limits from what was used",
	.text = "Proposes limits for a key, or for all, from what was seen: most days' use, with head room.\n"
		"Says why, and changes nothing.",
	OPTIONS(show),
	.run = run_advise,
};

static const struct command *const subs[] = {
	&command_key_create, &command_key_list, &command_key_show, &command_key_update, &command_key_rotate,
	&command_key_revoke, &command_key_delete, &command_key_advise, NULL,
};

const struct command command_key = {
	.name = "key",
	.arguments = "COMMAND [NAME] [OPTIONS]",
	.summary = "makes, lists, changes and takes away the keys of clients",
	.text = "Keys say who asks, and what each may use. They are changed in the running server, or in\n"
		"its state folder where none runs.",
	.subs = subs,
};
