/* options.c - options of the command line, read from a table that also prints them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include "base/field.h"
#include "base/mem.h"

#include <stdio.h>

void options_init(struct options *o, const char *command, const struct option *table, size_t count,
		  size_t rest_max, int argc, char **argv)
{
	*o = (struct options){
		.command = command, .table = table, .count = count, .argc = argc, .argv = argv};
	o->rest_max = rest_max < OPTIONS_REST_MAX ? rest_max : OPTIONS_REST_MAX;
	o->at = 1;
}

static int wrong(const struct options *o, const char *what, struct str word, const char *near)
{
	struct buf shown;
	buf_init(&shown, 1024);
	field_quote(&shown, word);
	fprintf(stderr, "%s: %s %.*s", o->command, what, STR_ARG(buf_str(&shown)));
	if (near)
		fprintf(stderr, "; did you mean --%s?", near);
	fprintf(stderr, " (%s --help lists what there is)\n", o->command);
	buf_release(&shown);
	return OPTIONS_WRONG;
}

static const char *near_name(const struct options *o, struct str name)
{
	struct str *names = mem_array(o->count, sizeof(*names));
	for (size_t i = 0; i < o->count; i++)
		names[i] = str_from(o->table[i].name);
	const struct str *near = field_near(name, names, o->count);
	const char *found = near ? o->table[near - names].name : NULL;
	free(names);
	return found;
}

/* `given`: the value in the same word; ptr NULL: none, then the next word is taken where one is
 * needed. */
static int take(struct options *o, size_t i, struct str word, const char *given)
{
	o->value = given;
	if (!o->table[i].value)
		return given ? wrong(o, "no value is expected in", word, NULL) : (int)i;
	if (!given && o->at == o->argc) {
		fprintf(stderr, "%s: expected %s after %.*s\n", o->command, o->table[i].value,
			STR_ARG(word));
		return OPTIONS_WRONG;
	}
	if (!given)
		o->value = o->argv[o->at++];
	return (int)i;
}

static int take_long(struct options *o, struct str word)
{
	struct str name = str_skip(word, 2);
	size_t equals = str_find(name, '=');
	const char *given = equals < name.len ? name.ptr + equals + 1 : NULL;
	name = str_head(name, equals);
	for (size_t i = 0; i < o->count; i++)
		if (str_eq(name, str_from(o->table[i].name)))
			return take(o, i, str_head(word, equals + 2), given);
	return wrong(o, "there is no option", word, near_name(o, name));
}

static int take_short(struct options *o, struct str word)
{
	for (size_t i = 0; i < o->count; i++)
		if (o->table[i].letter && o->table[i].letter == word.ptr[1])
			return take(o, i, str_head(word, 2), word.len > 2 ? word.ptr + 2 : NULL);
	return wrong(o, "there is no option", word, NULL);
}

int options_next(struct options *o)
{
	while (o->at < o->argc) {
		struct str word = str_from(o->argv[o->at++]);
		if (!o->only_rest && str_eq(word, STR("--"))) {
			o->only_rest = true;
			continue;
		}
		if (!o->only_rest && str_starts(word, STR("--")))
			return take_long(o, word);
		if (!o->only_rest && word.len > 1 && word.ptr[0] == '-')
			return take_short(o, word);
		if (o->rest_count == o->rest_max)
			return wrong(o, "unexpected argument", word, NULL);
		o->rest[o->rest_count++] = word.ptr;
	}
	return OPTIONS_OVER;
}

/* ---- help ---- */

enum { COLUMNS = 80, HELP_COLUMN = 33 };

void options_wrap(struct buf *out, const char *text, size_t column, size_t indent)
{
	bool first = true; /* word of its line */
	for (const char *at = text; *at;) {
		size_t gap = strspn(at, " \n"), len = strcspn(at + gap, " \n");
		bool paragraph = gap > 1 && at[0] == '\n' && at[1] == '\n';
		if (len == 0)
			break;
		if (paragraph || (!first && column + 1 + len > COLUMNS)) {
			buf_addf(out, "%s\n%*s", paragraph ? "\n" : "", (int)indent, "");
			column = indent;
			first = true;
		}
		buf_addf(out, "%s%.*s", first ? "" : " ", (int)len, at + gap);
		column += len + !first;
		first = false;
		at += gap + len;
	}
	buf_addc(out, '\n');
}

static void print_one(struct buf *out, const struct option *option)
{
	char left[64], letter[8] = "    ";
	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	snprintf(left, sizeof(left), "%s--%s%s%s", letter, option->name, option->value ? " " : "",
		 option->value ? option->value : "");
	buf_addf(out, "  %-30s ", left);
	options_wrap(out, option->help, HELP_COLUMN, HELP_COLUMN);
}

void options_print(struct buf *out, const struct option *table, size_t count)
{
	static const struct option help = {"help", 'h', NULL, "says this"};
	for (size_t i = 0; i < count; i++)
		print_one(out, &table[i]);
	print_one(out, &help);
}
