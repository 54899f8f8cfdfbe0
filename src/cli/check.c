/* check.c - `valet check`: says everything that is wrong with the settings.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/yaml.h"
#include "gate/price_of.h"

#include <stdio.h>

enum { OPT_CONFIG, OPT_JSON };

static const struct option options[] = {
	{"config", 'c', "FILE",
	 "settings (default: $VALET_CONFIG, ./valet.yaml, /etc/valet/valet.yaml)"},
	{"json", 0, NULL, "for programs: one JSON object"},
};

enum { OUT_MAX = 1024 * 1024 };

/* What the check found; `file` is empty where there is none. */
struct outcome {
	struct str file;
	struct field_reader reader;
};

static void put_problem(struct json_writer *w, const struct field_problem *p)
{
	json_open_object(w);
	json_member_str(w, STR("level"), p->warning ? STR("warning") : STR("error"));
	json_member_i64(w, STR("line"), p->line);
	json_member_i64(w, STR("column"), p->column);
	json_member_str(w, STR("path"), p->path);
	json_member_str(w, STR("text"), p->text);
	json_close_object(w);
}

static void put_json(struct buf *out, const struct outcome *found)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str_or_null(&w, STR("file"), found->file);
	json_member_bool(&w, STR("ok"), found->reader.errors == 0);
	json_member_i64(&w, STR("errors"), (int64_t)found->reader.errors);
	json_member_i64(&w, STR("warnings"), (int64_t)found->reader.warnings);
	json_put_key(&w, STR("problems"));
	json_open_array(&w);
	for (const struct field_problem *p = found->reader.problems; p; p = p->next)
		put_problem(&w, p);
	json_close_array(&w);
	json_close_object(&w);
	BUF_ADD(out, "\n");
}

static void add_count(struct buf *out, size_t n, const char *what)
{
	buf_addf(out, "%zu %s%s", n, what, n == 1 ? "" : "s");
}

static void put_text(struct buf *out, const struct outcome *found)
{
	const struct field_reader *r = &found->reader;
	for (const struct field_problem *p = r->problems; p; p = p->next)
		field_problem_print(out, found->file, p);
	if (r->dropped)
		buf_addf(out, "%.*s: and %zu more\n", STR_ARG(found->file), r->dropped);
	if (found->file.len == 0)
		BUF_ADD(out, "no settings file ($VALET_CONFIG, ./valet.yaml, "
			     "/etc/valet/valet.yaml): the defaults hold\n");
	buf_addf(out, "%s: ", r->errors ? "refused" : "fine");
	add_count(out, r->errors, "error");
	BUF_ADD(out, ", ");
	add_count(out, r->warnings, "warning");
	BUF_ADD(out, "\n");
}

/* Prices only matter to budgets in dollars, so that serve does not speak of them at each start; here they do. */
static void look_at(struct outcome *found, struct str text)
{
	struct yaml_fail fail;
	struct settings *s = settings_parse(text, found->file, NULL, 0, &found->reader);
	const struct json *tree = s ? yaml_parse(found->reader.arena, text, &fail) : NULL;
	if (tree)
		price_check(s, tree, &found->reader);
	settings_free(s);
}

static void look(struct outcome *found, const char *path)
{
	struct buf text, why;
	buf_init(&text, YAML_MAX_BYTES + 32 * 1024);
	buf_init(&why, 8192);
	if (path && !settings_read_file(path, &text, &why))
		field_problem_add(&found->reader, false, 0, 0, STR_NONE, buf_str(&why));
	else
		look_at(found, buf_str(&text));
	buf_release(&text);
	buf_release(&why);
}

static int report(const char *path, bool json)
{
	struct arena arena;
	struct buf out;
	struct outcome found = {.file = str_from(path), .reader = {.arena = &arena}};
	arena_init(&arena, 4096);
	buf_init(&out, OUT_MAX);
	look(&found, path);
	(json ? put_json : put_text)(&out, &found);
	int code = cli_put(&out);
	buf_release(&out);
	arena_release(&arena);
	return code == CLI_DONE && found.reader.errors ? CLI_FAILED : code;
}

static int run(int argc, char **argv)
{
	struct options o;
	const char *config = NULL;
	bool json = false;
	int option;
	options_init(&o, "valet check", options, sizeof(options) / sizeof(options[0]), 1, argc,
		     argv);
	while ((option = options_next(&o)) >= 0) {
		if (option == OPT_CONFIG)
			config = o.value;
		else
			json = true;
	}
	if (option == OPTIONS_WRONG)
		return CLI_USAGE;
	if (o.rest_count && config) {
		fprintf(stderr, "valet check: expected one file, with -c or without\n");
		return CLI_USAGE;
	}
	return report(settings_find(o.rest_count ? o.rest[0] : config), json);
}

const struct command command_check = {
	.name = "check",
	.arguments = "[[-c] FILE] [--json]",
	.summary = "says everything that is wrong with the settings",
	.text = "Reads the settings as serve would, and the secrets they name, and says everything "
		"that is\n"
		"wrong with them, a line each: FILE:LINE:COLUMN: SETTING: what was expected. "
		"Warns of\n"
		"models without a price, which budgets in dollars refuse. Contacts nobody. Exit code 0\n"
		"when serve would take them (warnings allowed), else 1.",
	.options = options,
	.option_count = sizeof(options) / sizeof(options[0]),
	.run = run,
};
