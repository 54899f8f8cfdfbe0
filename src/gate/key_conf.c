/* key_conf.c - the field table of a key, and what no single field can tell.
 *
 * Pure; any thread, one reader at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/key_conf.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#define PATTERN_MAX 128 /* fits into the journal's records uncut */
#define RPM_MAX     INT64_C(1000000000)
#define TPM_MAX     INT64_C(10000000000)
#define PLACES_MAX  INT64_C(1000000)
#define WEIGHT_MAX  1000

/* ---- checks of single texts ---- */

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static const char *check_name(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!is_letter_or_digit(text.ptr[i]) && text.ptr[i] != '.' && text.ptr[i] != '_' && text.ptr[i] != '-')
			return "";
	return NULL;
}

static const char *check_budget(struct str text)
{
	struct budget unused;
	return budget_parse(text, &unused);
}

/* ---- the table ---- */

static const char *const class_names[] = {"interactive", "batch", NULL};

#define AT(member) offsetof(struct key_conf, member)

static const struct field key_fields[] = {
	{"name", FIELD_STR, AT(name), .min = 1, .max = 64, .check = check_name, .expects = "1 to 64 letters, digits, dots, dashes and underscores",
	 .help = "Name of the key, in lists, logs and metrics. Names are unique; where a name or an id may stand, names are looked up first."},
	{"models", FIELD_STR_LIST, AT(models), .min = 1, .max = PATTERN_MAX, .standard_note = "all",
	 .help = "Models that the key may use: names, aliases, or patterns such as `qwen*`."},
	{"rpm", FIELD_INT, AT(rpm), .min = 1, .max = RPM_MAX, .off = true, .help = "Requests a minute."},
	{"tpm", FIELD_INT, AT(tpm), .min = 1, .max = TPM_MAX, .off = true, .help = "Tokens a minute, of prompts and answers."},
	{"concurrency", FIELD_INT, AT(concurrency), .min = 1, .max = PLACES_MAX, .off = true, .help = "Requests at the same time."},
	{"budget", FIELD_STR_LIST, AT(budgets), .min = 1, .max = 64, .check = check_budget, .expects = "budgets such as 1M/month or $5/day",
	 .help = "What the key may use in a day, a week or a month, or once and for all (`total`), in tokens or in dollars. Several hold together."},
	{"model_budget", FIELD_MAP, AT(model_budgets), .min = 1, .max = PATTERN_MAX, .expects = "budgets by the name or pattern of models",
	 .help = "Further budgets for some models: `{\"qwen-72b\": \"100k/day\"}`. Several are separated by commas."},
	{"model_rpm", FIELD_MAP, AT(model_rpm), .min = 1, .max = PATTERN_MAX, .expects = "numbers by the name or pattern of models",
	 .help = "Requests a minute for some models: `{\"qwen*\": 10}`."},
	{"model_tpm", FIELD_MAP, AT(model_tpm), .min = 1, .max = PATTERN_MAX, .expects = "numbers by the name or pattern of models",
	 .help = "Tokens a minute for some models."},
	{"model_concurrency", FIELD_MAP, AT(model_concurrency), .min = 1, .max = PATTERN_MAX, .expects = "numbers by the name or pattern of models",
	 .help = "Requests at the same time for some models."},
	{"max_output", FIELD_INT, AT(max_output), .min = 1, .max = 100000000, .off = true, .help = "Tokens that an answer has at most."},
	{"max_wait", FIELD_MS, AT(max_wait_ms), .standard = "2s", .min = 1, .max = 600000, .off = true,
	 .help = "How long a request may wait for a limit before it is refused. `off`: not at all."},
	{"expires", FIELD_STR, AT(expires), .min = 1, .max = 32, .off = true, .standard_note = "never",
	 .expects = "a time from now such as 90d or 12h, a day such as 2027-03-01, or seconds since 1970",
	 .help = "When the key stops to work: a time from now (`90d`), the beginning of a day (`2027-03-01`), or seconds since 1970."},
	{"soft", FIELD_BOOL, AT(soft), .standard = "off",
	 .help = "Budgets let a request in as long as anything is left of them, however much it may use; without, never more than they say."},
	{"local_only", FIELD_BOOL, AT(local_only), .standard = "off", .help = "Requests of the key never leave for the cloud."},
	{"probation", FIELD_BOOL, AT(probation), .standard = "off", .help = "The limits of the setting `probation` hold as well."},
	{"class", FIELD_CHOICE, AT(class), .standard = "interactive", .choices = class_names,
	 .help = "What the key is for: somebody who waits for each answer, or work that can stand behind."},
	{"weight", FIELD_INT, AT(weight), .standard = "100", .min = 1, .max = WEIGHT_MAX,
	 .help = "Its share of what the engines give when requests of several keys wait: with 200 it gets twice the tokens of a key with 100."},
	{"tags", FIELD_MAP, AT(tags), .min = 1, .max = 256, .help = "Texts by name, for whoever reads lists and logs."},
};

const struct field_table key_table = FIELD_TABLE(key_fields, struct key_conf);

/* ---- expires ---- */

#define EXPIRES_MAX INT64_C(253402300799) /* the end of the year 9999 */

static bool parse_digits(struct str text, size_t at, size_t len, int *out)
{
	int64_t n;
	if (!str_to_i64(str_head(str_skip(text, at), len), &n) || n < 0)
		return false;
	*out = (int)n;
	return true;
}

/* The first moment of that day in the zone. Looked for from its noon in Greenwich, which is at most a day away anywhere. */
static bool day_begins(struct str text, int64_t *out)
{
	struct tm day = {.tm_hour = 12};
	if (text.len != 10 || text.ptr[4] != '-' || text.ptr[7] != '-' || !parse_digits(text, 0, 4, &day.tm_year) ||
	    !parse_digits(text, 5, 2, &day.tm_mon) || !parse_digits(text, 8, 2, &day.tm_mday))
		return false;
	struct tm same = {.tm_hour = 12, .tm_year = day.tm_year - 1900, .tm_mon = day.tm_mon - 1, .tm_mday = day.tm_mday};
	int64_t noon = timegm(&same);
	if (day.tm_year < 1970 || same.tm_mon != day.tm_mon - 1 || same.tm_mday != day.tm_mday) /* timegm() turns 30 February into 2 March */
		return false;
	for (int64_t at = noon - 86400; at <= noon + 86400; at += 86400) {
		struct buf name;
		buf_init(&name, 64);
		*out = civil_window(PERIOD_DAY, at).from_s;
		civil_print_day(&name, *out);
		bool found = str_eq(buf_str(&name), text);
		buf_release(&name);
		if (found)
			return true;
	}
	return false;
}

/* NULL, or what is wrong with it. */
static const char *read_expires(struct str text, int64_t now_s, int64_t *out)
{
	int64_t ms;
	*out = 0;
	if (text.len == 0)
		return NULL;
	if (str_to_i64(text, out))
		return *out >= 1 && *out <= EXPIRES_MAX ? NULL : "it is not a moment from 1970 to 9999";
	if (field_parse_ms(text, &ms)) {
		*out = now_s + ms / 1000;
		return ms < 1000 ? "that is now" : ms / 1000 > EXPIRES_MAX - now_s ? "it is too far away" : NULL;
	}
	if (!day_begins(text, out))
		return "";
	return *out <= now_s ? "that day has begun already" : NULL;
}

/* ---- what no single field can tell ---- */

/* The document under check. */
struct check {
	struct field_reader *reader;
	const struct json *tree;
	int64_t now_s;
	bool fine;
};

static void tell(struct check *c, struct str path, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void tell(struct check *c, struct str path, const char *format, ...)
{
	struct buf text;
	va_list args;
	buf_init(&text, 4096);
	va_start(args, format);
	buf_addv(&text, format, args);
	va_end(args);
	field_problem_at(c->reader, c->tree, false, path, buf_str(&text));
	buf_release(&text);
	c->fine = false;
}

/* As a reader of fields names it. */
static struct str member_path(struct check *c, const char *field, struct str name)
{
	bool plain = name.len > 0 && name.len <= 64;
	for (size_t i = 0; i < name.len; i++)
		plain &= is_letter_or_digit(name.ptr[i]) || name.ptr[i] == '_' || name.ptr[i] == '-';
	if (plain)
		return arena_printf(c->reader->arena, "%s.%.*s", field, STR_ARG(name));
	struct buf quoted;
	buf_init(&quoted, 1024);
	field_quote(&quoted, name);
	struct str path = arena_printf(c->reader->arena, "%s[%.*s]", field, STR_ARG(buf_str(&quoted)));
	buf_release(&quoted);
	return path;
}

static void tell_expected(struct check *c, struct str path, const char *expected, struct str found, const char *why)
{
	struct buf quoted;
	buf_init(&quoted, 1024);
	field_quote(&quoted, found);
	tell(c, path, *why ? "expected %s, found %.*s (%s)" : "expected %s, found %.*s%s", expected, STR_ARG(buf_str(&quoted)), why);
	buf_release(&quoted);
}

/* Adds a text's budget to `l`. NULL, or what is wrong with it. */
static const char *add_budget(struct limits *l, struct str text)
{
	struct budget b;
	const char *wrong = budget_parse(text, &b);
	if (wrong)
		return wrong;
	for (size_t i = 0; i < l->budget_count; i++)
		if (l->budgets[i].unit == b.unit && l->budgets[i].period == b.period)
			return "there is a budget of this kind already";
	l->budgets[l->budget_count++] = b;
	return NULL;
}

static const char *add_budgets(struct limits *l, struct str texts)
{
	const char *wrong = NULL;
	struct str part;
	while (!wrong && str_split(&texts, ',', &part))
		wrong = add_budget(l, str_trim(part));
	return wrong;
}

static void check_budgets(struct check *c, const struct str_list *budgets)
{
	struct limits l = {0};
	for (size_t i = 0; i < budgets->count; i++) {
		const char *wrong = budgets->items[i].len ? add_budget(&l, budgets->items[i]) : NULL;
		if (wrong)
			tell_expected(c, arena_printf(c->reader->arena, "budget[%zu]", i), "one budget of each kind", budgets->items[i], wrong);
	}
}

static void check_twice(struct check *c, const char *field, const struct str_map *map)
{
	for (size_t i = 0; i < map->count; i++)
		for (size_t k = 0; k < i; k++)
			if (map->items[i].name.len && str_eq(map->items[i].name, map->items[k].name)) {
				tell(c, member_path(c, field, map->items[i].name), "stands here a second time");
				return;
			}
}

static void check_model_budgets(struct check *c, const struct str_map *map)
{
	check_twice(c, "model_budget", map);
	for (size_t i = 0; i < map->count; i++) {
		struct limits l = {0};
		const char *wrong = map->items[i].value.len ? add_budgets(&l, map->items[i].value) : NULL;
		if (wrong)
			tell_expected(c, member_path(c, "model_budget", map->items[i].name), "budgets such as 1M/month or $5/day", map->items[i].value, wrong);
	}
}

static void check_model_numbers(struct check *c, const char *field, const struct str_map *map, int64_t most)
{
	int64_t n;
	check_twice(c, field, map);
	for (size_t i = 0; i < map->count; i++) {
		struct str value = map->items[i].value;
		if (value.len == 0 || (str_to_i64(value, &n) && n >= 1 && n <= most))
			continue;
		struct str expected = arena_printf(c->reader->arena, "a whole number from 1 to %lld", (long long)most);
		tell_expected(c, member_path(c, field, map->items[i].name), expected.ptr, value, "");
	}
}

/* The maps of a key whose names are patterns of models. */
static void model_maps(const struct key_conf *k, const struct str_map *out[4])
{
	out[0] = &k->model_budgets;
	out[1] = &k->model_rpm;
	out[2] = &k->model_tpm;
	out[3] = &k->model_concurrency;
}

static bool is_glob(struct str name)
{
	return str_find(name, '*') < name.len || str_find(name, '?') < name.len;
}

static void check_globs(struct check *c, const struct key_conf *k)
{
	static const char *const fields[4] = {"model_budget", "model_rpm", "model_tpm", "model_concurrency"};
	const struct str_map *maps[4];
	struct str globs[KEY_GLOBS_MAX];
	size_t n = 0;
	model_maps(k, maps);
	for (size_t m = 0; m < 4; m++) {
		for (size_t i = 0; i < maps[m]->count; i++) {
			struct str name = maps[m]->items[i].name;
			size_t at = 0;
			while (at < n && !str_eq(globs[at], name))
				at++;
			if (!is_glob(name) || at < n)
				continue;
			if (n == KEY_GLOBS_MAX) {
				tell(c, member_path(c, fields[m], name), "expected at most %d patterns with * or ? in all model limits together", KEY_GLOBS_MAX);
				return;
			}
			globs[n++] = name;
		}
	}
}

bool key_conf_read(struct field_reader *r, const struct json *document, int64_t now_s, struct key_conf *out)
{
	memset(out, 0, sizeof(*out));
	struct check c = {.reader = r, .tree = document, .now_s = now_s};
	c.fine = fields_read(r, document, &key_table, out);
	const char *wrong = read_expires(out->expires, now_s, &out->expires_s);
	if (wrong)
		tell_expected(&c, STR("expires"), "a time from now such as 90d or 12h, a day such as 2027-03-01, or seconds since 1970", out->expires, wrong);
	check_budgets(&c, &out->budgets);
	check_model_budgets(&c, &out->model_budgets);
	check_model_numbers(&c, "model_rpm", &out->model_rpm, RPM_MAX);
	check_model_numbers(&c, "model_tpm", &out->model_tpm, TPM_MAX);
	check_model_numbers(&c, "model_concurrency", &out->model_concurrency, PLACES_MAX);
	check_twice(&c, "tags", &out->tags);
	check_globs(&c, out);
	return c.fine;
}

/* ---- limits ---- */

void key_conf_limits(const struct key_conf *c, struct limits *out)
{
	*out = (struct limits){.rpm = c->rpm, .tpm = c->tpm, .concurrency = c->concurrency, .soft = c->soft};
	for (size_t i = 0; i < c->budgets.count; i++) {
		const char *wrong = add_budget(out, c->budgets.items[i]);
		assert(!wrong);
		(void)wrong;
	}
}

static struct str map_value(const struct str_map *map, struct str name)
{
	for (size_t i = 0; i < map->count; i++)
		if (str_eq(map->items[i].name, name))
			return map->items[i].value;
	return STR_NONE;
}

static int64_t map_number(const struct str_map *map, struct str name)
{
	int64_t n;
	return str_to_i64(map_value(map, name), &n) ? n : 0;
}

void key_conf_model_limits(const struct key_conf *c, struct str pattern, struct limits *out)
{
	*out = (struct limits){.rpm = map_number(&c->model_rpm, pattern), .tpm = map_number(&c->model_tpm, pattern),
			       .concurrency = map_number(&c->model_concurrency, pattern), .soft = c->soft};
	const char *wrong = add_budgets(out, map_value(&c->model_budgets, pattern));
	assert(!wrong);
	(void)wrong;
}

static int64_t tighter(int64_t a, int64_t b)
{
	return a == 0 || (b && b < a) ? b : a;
}

void limits_tighten(struct limits *l, const struct limits *more)
{
	bool had = l->budget_count > 0;
	l->rpm = tighter(l->rpm, more->rpm);
	l->tpm = tighter(l->tpm, more->tpm);
	l->concurrency = tighter(l->concurrency, more->concurrency);
	for (size_t i = 0; i < more->budget_count; i++) {
		const struct budget *b = &more->budgets[i];
		size_t at = 0;
		while (at < l->budget_count && (l->budgets[at].unit != b->unit || l->budgets[at].period != b->period))
			at++;
		if (at == l->budget_count)
			l->budgets[l->budget_count++] = *b;
		else if (b->amount < l->budgets[at].amount)
			l->budgets[at].amount = b->amount;
	}
	if (more->budget_count)
		l->soft = had ? l->soft && more->soft : more->soft;
}

/* ---- writing ---- */

/* More members than the table has fields: one of them is wrong whatever it is, so none is left out. */
#define CHANGES_MAX 64

static size_t times(struct arena *a, const struct json *object, struct str name)
{
	size_t n = 0;
	for (const struct json *m = object->first; m; m = m->next)
		n += str_eq(json_key(a, m), name);
	return n;
}

static void put_member(struct arena *a, struct json_writer *w, const struct json *m)
{
	json_put_key(w, json_key(a, m));
	json_put_raw(w, m->type == JSON_STRING ? arena_printf(a, "\"%.*s\"", STR_ARG(m->raw)) : m->raw);
}

/* A member that stands twice in the changes stays there twice, for key_conf_read() to refuse. */
void key_conf_merge(struct arena *a, const struct json *old, const struct json *changes, struct buf *out)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	for (const struct json *m = old ? old->first : NULL; m; m = m->next)
		if (!changes || !json_get(changes, json_key(a, m)))
			put_member(a, &w, m);
	for (const struct json *m = changes ? changes->first : NULL; m; m = m->next)
		if (m->type != JSON_NULL || changes->count > CHANGES_MAX || times(a, changes, json_key(a, m)) > 1)
			put_member(a, &w, m);
	json_close_object(&w);
}

static void write_map(struct json_writer *w, const struct str_map *map, bool numbers)
{
	int64_t n;
	json_open_object(w);
	for (size_t i = 0; i < map->count; i++) {
		json_put_key(w, map->items[i].name);
		if (numbers && str_to_i64(map->items[i].value, &n))
			json_put_i64(w, n);
		else
			json_put_str(w, map->items[i].value);
	}
	json_close_object(w);
}

static void write_list(struct json_writer *w, const struct str_list *list)
{
	json_open_array(w);
	for (size_t i = 0; i < list->count; i++)
		json_put_str(w, list->items[i]);
	json_close_array(w);
}

static void write_ms(struct json_writer *w, int64_t ms)
{
	char text[32];
	snprintf(text, sizeof(text), "%lldms", (long long)ms);
	json_put_str(w, ms ? str_from(text) : STR("off"));
}

static bool is_standard(const struct field *f, const void *at, const void *standard)
{
	switch (f->type) {
	case FIELD_STR:
		return ((const struct str *)at)->len == 0;
	case FIELD_STR_LIST:
		return ((const struct str_list *)at)->count == 0;
	case FIELD_MAP:
		return ((const struct str_map *)at)->count == 0;
	case FIELD_BOOL:
		return *(const bool *)at == *(const bool *)standard;
	case FIELD_CHOICE:
		return memcmp(at, standard, sizeof(int)) == 0;
	default:
		return *(const int64_t *)at == *(const int64_t *)standard;
	}
}

static void write_value(struct json_writer *w, const struct field *f, const struct key_conf *c, const void *at)
{
	int choice;
	switch (f->type) {
	case FIELD_STR:
		if (at == &c->expires)
			json_put_i64(w, c->expires_s);
		else
			json_put_str(w, *(const struct str *)at);
		break;
	case FIELD_STR_LIST:
		write_list(w, at);
		break;
	case FIELD_MAP:
		write_map(w, at, at != &c->tags && at != &c->model_budgets);
		break;
	case FIELD_BOOL:
		json_put_bool(w, *(const bool *)at);
		break;
	case FIELD_CHOICE:
		memcpy(&choice, at, sizeof(choice));
		json_put_str(w, str_from(f->choices[choice]));
		break;
	case FIELD_MS:
		write_ms(w, *(const int64_t *)at);
		break;
	default:
		json_put_i64(w, *(const int64_t *)at);
	}
}

void key_conf_write(const struct key_conf *c, struct buf *out)
{
	struct key_conf standard = {0};
	struct arena scratch;
	struct json_writer w;
	arena_init(&scratch, 256);
	fields_default(&scratch, &key_table, &standard);
	json_writer_init(&w, out);
	json_open_object(&w);
	for (size_t i = 0; i < key_table.count; i++) {
		const struct field *f = &key_table.fields[i];
		const void *at = (const char *)c + f->offset;
		if (is_standard(f, at, (const char *)&standard + f->offset))
			continue;
		json_put_key(&w, str_from(f->name));
		write_value(&w, f, c, at);
	}
	json_close_object(&w);
	arena_release(&scratch);
}
