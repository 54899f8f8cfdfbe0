/* key_args.c - the command lines of `valet key`: options, and the document of a key that they make.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/key.h"

#include "base/field.h"

#include <stdio.h>

/* Each word of it but --quiet, --name and those of the place is a member of a key's document, by its name. */
#define KEY_OPTIONS \
	{"models", 'm', "GLOBS", "models that it may use: 'qwen*,nomic*'; none: all of them"}, \
	{"rpm", 0, "N", "requests a minute; off: no limit"}, \
	{"tpm", 0, "N", "tokens a minute; off: no limit"}, \
	{"concurrency", 0, "N", "requests at a time; off: no limit"}, \
	{"budget", 'b', "AMOUNT", "tokens or money: 1M/month, '$5/week', 200k/day, '$20/total'; repeatable; none: no budget"}, \
	{"model-budget", 0, "GLOB=AMOUNT", "a budget for some models: 'qwen-72b=100k/day'; repeatable; none"}, \
	{"model-rpm", 0, "GLOB=N", "requests a minute to some models; repeatable; none"}, \
	{"model-tpm", 0, "GLOB=N", "tokens a minute of some models; repeatable; none"}, \
	{"model-concurrency", 0, "GLOB=N", "requests at a time to some models; repeatable; none"}, \
	{"max-output", 0, "N", "tokens of one answer at most; off: what the model can"}, \
	{"max-wait", 0, "TIME", "how long a request may wait for a rate or a place: 2s; off: it never waits"}, \
	{"expires", 0, "WHEN", "when it ends: 90d, 12h, 2027-03-01; never"}, \
	{"local-only", 0, NULL, "its requests never go to a cloud"}, \
	{"no-local-only", 0, NULL, "they may"}, \
	{"soft", 0, NULL, "a request is let in while anything of a budget is left"}, \
	{"no-soft", 0, NULL, "no request may go beyond a budget"}, \
	{"probation", 0, NULL, "the limits of the setting probation hold as well"}, \
	{"no-probation", 0, NULL, "they do not"}, \
	{"class", 0, "CLASS", "interactive or batch"}, \
	{"weight", 0, "N", "its share when requests of several keys wait, 1 to 1000; 100 is normal; default"}, \
	{"tag", 0, "NAME=TEXT", "a note of your own; repeatable; none"}

#define JSON_OPTION {"json", 0, NULL, "for programs: what the admin API answers"}
#define QUIET_OPTION {"quiet", 'q', NULL, "prints the secret alone"}
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

const struct option key_create_options[KEY_CREATE_OPTIONS] = {KEY_OPTIONS, QUIET_OPTION, JSON_OPTION, CLI_PLACE_OPTIONS};
const struct option key_update_options[KEY_UPDATE_OPTIONS] = {{"name", 0, "NEW", "another name for it"}, KEY_OPTIONS, JSON_OPTION, CLI_PLACE_OPTIONS};
const struct option key_show_options[4] = {JSON_OPTION, CLI_PLACE_OPTIONS};
const struct option key_list_options[4] = {JSON_OPTION, CLI_PLACE_OPTIONS};
const struct option key_rotate_options[6] = {
	{"overlap", 0, "TIME", "how long the old secret stays valid: 24h, 0s"}, QUIET_OPTION, JSON_OPTION, CLI_PLACE_OPTIONS};
const struct option key_delete_options[5] = {{"yes", 'y', NULL, "does not ask"}, JSON_OPTION, CLI_PLACE_OPTIONS};

/* ---- reading ---- */

static bool take_plain(struct key_args *out, const struct option *option, const char *value)
{
	struct str name = str_from(option->name);
	if (cli_place_take(&out->place, option, value))
		return true;
	if (str_eq(name, STR("json")))
		out->json = true;
	else if (str_eq(name, STR("quiet")))
		out->quiet = true;
	else if (str_eq(name, STR("yes")))
		out->yes = true;
	else if (str_eq(name, STR("overlap")))
		out->overlap = value;
	else
		return false;
	return true;
}

int key_args_read(struct key_args *out, const struct command *command, bool needs_name, int argc, char **argv)
{
	static char full[64];
	struct options o;
	int found;
	snprintf(full, sizeof(full), "valet %s", command->name);
	*out = (struct key_args){.command = full};
	/* A list takes none; all others take one key. */
	options_init(&o, full, command->options, command->option_count, command->options == key_list_options ? 0 : 1, argc, argv);
	while ((found = options_next(&o)) >= 0) {
		if (take_plain(out, &o.table[found], o.value))
			continue;
		if (out->given_count == KEY_GIVEN_MAX) {
			fprintf(stderr, "%s: too many options; expected at most %d\n", full, KEY_GIVEN_MAX);
			return CLI_USAGE;
		}
		out->given[out->given_count++] = (struct key_given){&o.table[found], o.value};
	}
	if (found == OPTIONS_WRONG)
		return CLI_USAGE;
	out->name = o.rest_count ? o.rest[0] : NULL;
	if (needs_name && (!out->name || !*out->name)) {
		fprintf(stderr, "%s: expected the name of a key (%s --help says more)\n", full, full);
		return CLI_USAGE;
	}
	return CLI_DONE;
}

/* ---- documents ---- */

/* How an option's value is written. */
enum kind { KIND_TEXT, KIND_NUMBER, KIND_FLAG, KIND_LIST, KIND_COMMAS, KIND_MAP, KIND_TAGS };

static enum kind kind_of(struct str name)
{
	static const struct {
		const char *name;
		enum kind kind;
	} kinds[] = {
		{"models", KIND_COMMAS}, {"rpm", KIND_NUMBER}, {"tpm", KIND_NUMBER}, {"concurrency", KIND_NUMBER}, {"budget", KIND_LIST},
		{"model-budget", KIND_MAP}, {"model-rpm", KIND_MAP}, {"model-tpm", KIND_MAP}, {"model-concurrency", KIND_MAP},
		{"max-output", KIND_NUMBER}, {"weight", KIND_NUMBER}, {"local-only", KIND_FLAG}, {"no-local-only", KIND_FLAG}, {"soft", KIND_FLAG},
		{"no-soft", KIND_FLAG}, {"probation", KIND_FLAG}, {"no-probation", KIND_FLAG}, {"tag", KIND_TAGS},
	};
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (str_eq(name, str_from(kinds[i].name)))
			return kinds[i].kind;
	return KIND_TEXT;
}

/* "no-local-only" and "local-only" set the member local_only; "tag" sets tags. */
static void member_name(const struct option *option, char out[32])
{
	const char *name = strncmp(option->name, "no-", 3) == 0 ? option->name + 3 : option->name;
	snprintf(out, 32, "%s%s", name, strcmp(name, "tag") == 0 ? "s" : "");
	for (char *c = out; *c; c++)
		if (*c == '-')
			*c = '_';
}

static bool same_member(const struct key_given *a, const struct key_given *b)
{
	char first[32], second[32];
	member_name(a->option, first);
	member_name(b->option, second);
	return strcmp(first, second) == 0;
}

/* The words that take a member away. --max-wait off is a value of its own. */
static bool is_nothing(const struct key_given *g)
{
	static const char *const words[] = {"none", "off", "never", "default"};
	struct str value = str_from(g->value);
	for (size_t i = 0; g->value && i < COUNT(words); i++)
		if (str_ieq(value, str_from(words[i])) && (strcmp(g->option->name, "max-wait") != 0 || i == 3))
			return strcmp(g->option->name, "name") != 0;
	return false;
}

static void put_list(struct json_writer *w, const struct key_args *a, const struct key_given *first, bool commas)
{
	json_open_array(w);
	for (const struct key_given *g = first; g < a->given + a->given_count; g++) {
		struct str rest = str_from(g->value), part;
		if (!same_member(g, first))
			continue;
		while (commas && str_split(&rest, ',', &part))
			if (str_trim(part).len)
				json_put_str(w, str_trim(part));
		if (!commas)
			json_put_str(w, rest);
	}
	json_close_array(w);
}

/* A pattern ends at the last '=', a tag's name at the first. The length of the part before it; that of all where there is none. */
static size_t cut_at(struct str value, bool last)
{
	size_t at = str_find(value, '=');
	while (last && at + 1 < value.len && str_find(str_skip(value, at + 1), '=') < value.len - at - 1)
		at += 1 + str_find(str_skip(value, at + 1), '=');
	return at;
}

static bool put_map(struct json_writer *w, const struct key_args *a, const struct key_given *first, bool tags)
{
	json_open_object(w);
	for (const struct key_given *g = first; g < a->given + a->given_count; g++) {
		struct str value = str_from(g->value);
		size_t at = cut_at(value, !tags);
		if (!same_member(g, first))
			continue;
		if (at == 0 || at == value.len) {
			struct buf shown;
			buf_init(&shown, 1024);
			field_quote(&shown, value);
			fprintf(stderr, "%s: --%s: expected %s, found %.*s\n", a->command, g->option->name, g->option->value, STR_ARG(buf_str(&shown)));
			buf_release(&shown);
			return false;
		}
		json_put_key(w, str_trim(str_head(value, at)));
		json_put_str(w, str_trim(str_skip(value, at + 1)));
	}
	json_close_object(w);
	return true;
}

/* The value of the last option that sets the same member: it wins. */
static const struct key_given *last_of(const struct key_args *a, const struct key_given *first)
{
	const struct key_given *last = first;
	for (const struct key_given *g = first; g < a->given + a->given_count; g++)
		if (same_member(g, first))
			last = g;
	return last;
}

static void put_single(struct json_writer *w, const struct key_given *g, enum kind kind)
{
	int64_t number;
	if (kind == KIND_FLAG)
		json_put_bool(w, strncmp(g->option->name, "no-", 3) != 0);
	else if (kind == KIND_NUMBER && str_to_i64(str_from(g->value), &number))
		json_put_i64(w, number);
	else
		json_put_str(w, str_from(g->value));
}

/* "none" cannot stand with others. */
static bool mixes_nothing(const struct key_args *a, const struct key_given *first, bool *nothing)
{
	size_t all = 0, none = 0;
	for (const struct key_given *g = first; g < a->given + a->given_count; g++) {
		all += same_member(g, first);
		none += same_member(g, first) && is_nothing(g);
	}
	*nothing = none == all;
	if (none == 0 || none == all)
		return false;
	fprintf(stderr, "%s: --%s: none takes all away; it cannot stand with others\n", a->command, first->option->name);
	return true;
}

static bool put_member(struct json_writer *w, const struct key_args *a, const struct key_given *first)
{
	char member[32];
	enum kind kind = kind_of(str_from(first->option->name));
	bool several = kind >= KIND_LIST, nothing = false;
	const struct key_given *last = last_of(a, first);
	member_name(first->option, member);
	if (several && mixes_nothing(a, first, &nothing))
		return false;
	json_put_key(w, str_from(member));
	if (several ? nothing : is_nothing(last)) {
		json_put_null(w);
		return true;
	}
	if (kind == KIND_MAP || kind == KIND_TAGS)
		return put_map(w, a, first, kind == KIND_TAGS);
	if (several)
		put_list(w, a, first, kind == KIND_COMMAS);
	else
		put_single(w, last, kind);
	return true;
}

bool key_args_document(const struct key_args *a, bool named, struct buf *out)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	if (named)
		json_member_str(&w, STR("name"), str_from(a->name));
	for (size_t i = 0; i < a->given_count; i++) {
		bool seen = false;
		for (size_t before = 0; before < i; before++)
			seen |= same_member(&a->given[before], &a->given[i]);
		if (!seen && !put_member(&w, a, &a->given[i]))
			return false;
	}
	json_close_object(&w);
	return true;
}
