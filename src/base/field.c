/* field.c - field tables: reading a tree into a struct.
 *
 * Every function that reads notes what is wrong and goes on, so that an operator sees all mistakes
 * at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/field.h"

#include <assert.h>
#include <stdio.h>

enum { TEXT_MAX = 4096 };

static void *member_of(void *object, size_t offset)
{
	return (char *)object + offset;
}

static bool is_list(const struct json *node)
{
	return node->type == JSON_ARRAY;
}

static bool is_scalar(const struct json *node)
{
	return node->type == JSON_STRING || node->type == JSON_NUMBER || node->type == JSON_BOOL;
}

/* ---- the path of what is being read ---- */

static bool is_plain_name(struct str name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];
		bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
		if (!letter && c != '-' && (c < '0' || c > '9'))
			return false;
	}
	return name.len > 0 && name.len <= 64;
}

/* Writes how a child is named in paths; `first`: nothing stands before it. */
static void child_path(char *out, size_t size, struct str key, size_t index, bool first)
{
	struct buf quoted;
	if (!key.ptr) {
		snprintf(out, size, "[%zu]", index);
	} else if (is_plain_name(key)) {
		snprintf(out, size, "%s%.*s", first ? "" : ".", STR_ARG(key));
	} else {
		buf_init(&quoted, 1024);
		field_quote(&quoted, key);
		snprintf(out, size, "[%.*s]", STR_ARG(buf_str(&quoted)));
		buf_release(&quoted);
	}
}

/* Returns what path_pop() takes. A path that is too long is cut. */
static size_t path_push(struct field_reader *r, struct str key, size_t index)
{
	size_t before = r->path_len, room = sizeof(r->path) - before;
	child_path(r->path + before, room, key, index, before == 0);
	r->path_len = before + strlen(r->path + before);
	return before;
}

static void path_pop(struct field_reader *r, size_t before)
{
	r->path_len = before;
	r->path[before] = '\0';
}

/* The node that `path` names, or the last one on the way to it. */
static const struct json *find_node(const struct json *node, struct str path)
{
	char step[512];
	bool first = true;
	while (node && path.len) {
		size_t index = 0;
		const struct json *child = node->first;
		struct str rest = STR_NONE;
		for (; child; child = child->next, index++) {
			child_path(step, sizeof(step), child->key, index, first);
			rest = str_skip(path, strlen(step));
			if (str_starts(path, str_from(step)) &&
			    (rest.len == 0 || rest.ptr[0] == '.' || rest.ptr[0] == '['))
				break;
		}
		if (!child)
			break;
		node = child;
		path = rest;
		first = false;
	}
	return node;
}

/* ---- problems ---- */

void field_problem_at(struct field_reader *r, const struct json *tree, bool warning,
		      struct str path, struct str text)
{
	bool full = r->errors + r->warnings >= FIELD_PROBLEMS_MAX;
	const struct json *node = full ? NULL : find_node(tree, path);
	field_problem_add(r, warning, node ? node->line : 0, node ? node->column : 0, path, text);
}

static void problem(struct field_reader *r, const struct json *node, struct str text)
{
	field_problem_add(r, false, node->line, node->column, str_of(r->path, r->path_len), text);
}

static void add_found(struct field_reader *r, struct buf *out, const struct json *node)
{
	if (node->type == JSON_ARRAY)
		BUF_ADD(out, "a list");
	else if (node->type == JSON_OBJECT)
		BUF_ADD(out, "a mapping");
	else if (node->type == JSON_STRING)
		field_quote(out, json_text(r->arena, node));
	else if (is_scalar(node))
		buf_adds(out, str_head(node->raw, 80));
	else
		BUF_ADD(out, "nothing");
}

static void add_near_choice(struct field_reader *r, struct buf *out, const struct field *f,
			    const struct json *node)
{
	struct str names[32];
	size_t n = 0;
	if (f->type != FIELD_CHOICE || !is_scalar(node))
		return;
	for (; f->choices[n] && n < 32; n++)
		names[n] = str_from(f->choices[n]);
	const struct str *near = field_near(json_text(r->arena, node), names, n);
	if (near)
		buf_addf(out, "; did you mean %.*s?", STR_ARG(*near));
}

/* Of a list's element or a map's value, where the table does not say it. */
static const char *item_expectation(const struct field *f)
{
	if (f->expects || f->type == FIELD_OBJECT)
		return NULL;
	if (f->type == FIELD_LIST)
		return f->bare ? "a text or a mapping" : "a mapping";
	return f->type == FIELD_STR_LIST || f->type == FIELD_MAP ? "a text" : NULL;
}

/* "expected …, found …". What was found is not shown where it could be a secret. `why`: static
 * text or NULL. */
static void not_expected(struct field_reader *r, const struct json *node, const struct field *f,
			 bool item, const char *why)
{
	const char *item_text = item ? item_expectation(f) : NULL;
	struct buf text;
	buf_init(&text, 4096);
	BUF_ADD(&text, "expected ");
	if (item_text)
		buf_adds(&text, str_from(item_text));
	else
		field_expectation(&text, f);
	if (f->type != FIELD_SECRET) {
		BUF_ADD(&text, ", found ");
		add_found(r, &text, node);
	}
	if (why && *why)
		buf_addf(&text, " (%s)", why);
	add_near_choice(r, &text, f, node);
	problem(r, node, buf_str(&text));
	buf_release(&text);
}

/* ---- one text to one value ---- */

static const char *wrong_text(const struct field *f, struct str text)
{
	int64_t max = f->max ? f->max : TEXT_MAX, min = f->max ? f->min : 1;
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
			return "it has control characters";
	if ((int64_t)text.len > max)
		return "it is too long";
	if ((int64_t)text.len < min)
		return text.len ? "it is too short" : "";
	return f->check ? f->check(text) : NULL;
}

static const char *set_path(struct arena *a, struct str folder, const struct field *f,
			    struct str text, struct str *at)
{
	const char *wrong = wrong_text(f, text);
	if (wrong)
		return wrong;
	if (folder.len == 0 || text.ptr[0] == '/')
		*at = arena_dup(a, text);
	else
		*at = arena_printf(a, "%.*s/%.*s", STR_ARG(folder), STR_ARG(text));
	return NULL;
}

static const char *set_number(const struct field *f, struct str text, int64_t *at)
{
	int64_t n;
	bool ok = f->type == FIELD_MS      ? field_parse_ms(text, &n)
		  : f->type == FIELD_BYTES ? field_parse_bytes(text, &n)
					   : str_to_i64(text, &n);
	if (!ok || n < f->min || n > f->max)
		return "";
	*at = n;
	return NULL;
}

/* Its range is not part of what is expected, so that one is said here. */
static const char *set_money(const struct field *f, struct str text, int64_t *at)
{
	int64_t n;
	if (!field_parse_money(text, &n))
		return "";
	if (n < f->min || n > f->max)
		return n < f->min ? "it is too little" : "it is too much";
	*at = n;
	return NULL;
}

static const char *set_bool(struct str text, bool *at)
{
	static const struct str words[] = {STR_INIT("off"),  STR_INIT("on"), STR_INIT("false"),
					   STR_INIT("true"), STR_INIT("no"), STR_INIT("yes")};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (str_ieq(text, words[i])) {
			*at = i % 2;
			return NULL;
		}
	}
	return "";
}

static const char *set_choice(const struct field *f, struct str text, void *at)
{
	for (int i = 0; f->choices[i]; i++) {
		if (str_eq(text, str_from(f->choices[i]))) {
			memcpy(at, &i, sizeof(i));
			return NULL;
		}
	}
	return "";
}

static bool is_word_off(const struct field *f, struct str text)
{
	bool on;
	return f->off && (text.len == 0 || (!set_bool(text, &on) && !on));
}

/* NULL: done; else what is wrong beyond what the field expects, or "". */
static const char *set_scalar(struct arena *a, struct str folder, const struct field *f,
			      struct str text, void *at)
{
	const char *wrong = NULL;
	switch (f->type) {
	case FIELD_STR:
		if (is_word_off(f, text))
			*(struct str *)at = STR_NONE;
		else if (!(wrong = wrong_text(f, text)))
			*(struct str *)at = arena_dup(a, text);
		return wrong;
	case FIELD_PATH:
		if (!is_word_off(f, text))
			return set_path(a, folder, f, text, at);
		*(struct str *)at = STR_NONE;
		return NULL;
	case FIELD_INT:
	case FIELD_MS:
	case FIELD_BYTES:
		if (!is_word_off(f, text))
			return set_number(f, text, at);
		*(int64_t *)at = 0;
		return NULL;
	case FIELD_MONEY:
		if (!is_word_off(f, text))
			return set_money(f, text, at);
		*(int64_t *)at = 0;
		return NULL;
	case FIELD_BOOL:
		return set_bool(text, at);
	case FIELD_CHOICE:
		return set_choice(f, text, at);
	default:
		return "";
	}
}

/* ---- what holds when it is not given ---- */

static void default_list(struct arena *a, const struct field *f, struct str_list *at)
{
	struct str rest = str_from(f->standard), part;
	*at = (struct str_list){NULL, 0};
	for (struct str count = rest; str_split(&count, ',', &part);)
		at->count++;
	at->items = arena_zero(a, at->count * sizeof(*at->items));
	for (size_t i = 0; str_split(&rest, ',', &part); i++)
		at->items[i] = arena_dup(a, str_trim(part));
}

void fields_default(struct arena *a, const struct field_table *table, void *into)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct field *f = &table->fields[i];
		void *at = member_of(into, f->offset);
		if (f->type == FIELD_OBJECT) {
			fields_default(a, f->sub, at);
		} else if (f->standard && f->type == FIELD_STR_LIST) {
			default_list(a, f, at);
		} else if (f->standard) {
			const char *wrong = set_scalar(a, STR_NONE, f, str_from(f->standard), at);
			assert(!wrong);
			(void)wrong;
		} else if (f->type == FIELD_MONEY) {
			*(int64_t *)at = MONEY_NONE;
		}
	}
}

/* ---- reading ---- */

static void read_object(struct field_reader *r, const struct json *node,
			const struct field_table *table, void *into);

static struct str scalar_text(struct field_reader *r, const struct json *node)
{
	return node->type == JSON_STRING ? json_text(r->arena, node) : node->raw;
}

static bool load_secret(struct field_reader *r, const struct field *f, struct str text,
			struct secret *at, struct buf *why)
{
	if (!f->literal || str_starts(text, STR("env:")) || str_starts(text, STR("file:")))
		return secret_load(at, text, r->folder, why);
	secret_set(at, text);
	return true;
}

static void read_secret(struct field_reader *r, const struct json *node, const struct field *f,
			struct secret *at)
{
	const char *wrong = NULL;
	struct buf why;
	if (!is_scalar(node)) {
		not_expected(r, node, f, false, NULL);
		return;
	}
	buf_init(&why, 4096);
	bool ok = load_secret(r, f, scalar_text(r, node), at, &why);
	if (ok && f->check && !secret_is_off(at))
		wrong = f->check(secret_view(at));
	if (!ok)
		problem(r, node, buf_str(&why));
	else if (wrong)
		not_expected(r, node, f, false, wrong);
	else if (secret_is_off(at))
		field_problem_add(r, true, node->line, node->column, str_of(r->path, r->path_len),
				  STR("the secret is empty: none will be sent"));
	buf_release(&why);
}

static void read_scalar(struct field_reader *r, const struct json *node, const struct field *f,
			void *at)
{
	const char *wrong = "";
	if (is_scalar(node))
		wrong = set_scalar(r->values, r->folder, f, scalar_text(r, node), at);
	if (wrong)
		not_expected(r, node, f, false, wrong);
}

static void read_item(struct field_reader *r, const struct json *node, const struct field *f,
		      struct str *at)
{
	struct str text = is_scalar(node) ? scalar_text(r, node) : STR_NONE;
	const char *wrong = is_scalar(node) ? wrong_text(f, text) : "";
	if (wrong)
		not_expected(r, node, f, true, wrong);
	else
		*at = arena_dup(r->values, text);
}

static void read_str_list(struct field_reader *r, const struct json *node, const struct field *f,
			  struct str_list *at)
{
	if ((!is_list(node) && !is_scalar(node)) || node->count > FIELD_TEXTS_MAX) {
		not_expected(r, node, f, false, is_list(node) ? "it is too long" : NULL);
		return;
	}
	at->count = is_list(node) ? node->count : 1;
	at->items = arena_zero(r->values, at->count * sizeof(*at->items));
	if (!is_list(node))
		read_item(r, node, f, at->items);
	size_t i = 0;
	for (const struct json *e = is_list(node) ? node->first : NULL; e; e = e->next, i++) {
		size_t before = path_push(r, STR_NONE, i);
		read_item(r, e, f, &at->items[i]);
		path_pop(r, before);
	}
}

static void read_map(struct field_reader *r, const struct json *node, const struct field *f,
		     struct str_map *at)
{
	if (node->type != JSON_OBJECT || node->count > FIELD_TEXTS_MAX) {
		not_expected(r, node, f, false,
			     node->type == JSON_OBJECT ? "it is too long" : NULL);
		return;
	}
	at->count = node->count;
	at->items = arena_zero(r->values, at->count * sizeof(*at->items));
	struct str_pair *pair = at->items;
	for (const struct json *m = node->first; m; m = m->next, pair++) {
		struct str key = json_key(r->arena, m);
		size_t before = path_push(r, key, 0);
		if (wrong_text(f, key))
			not_expected(r, m, f, true, "its name is not a text that can stand here");
		else
			pair->name = arena_dup(r->values, key);
		read_item(r, m, f, &pair->value);
		path_pop(r, before);
	}
}

static void read_element(struct field_reader *r, const struct json *node, const struct field *f,
			 void *element)
{
	fields_default(r->values, f->sub, element);
	if (node->type == JSON_OBJECT)
		read_object(r, node, f->sub, element);
	else if (f->bare && is_scalar(node))
		read_scalar(r, node, &f->sub->fields[0],
			    member_of(element, f->sub->fields[0].offset));
	else
		not_expected(r, node, f, true, NULL);
}

static void read_list(struct field_reader *r, const struct json *node, const struct field *f,
		      void *into)
{
	bool fits = is_list(node) ? node->count <= FIELD_ELEMENTS_MAX : f->bare && is_scalar(node);
	if (!fits) {
		not_expected(r, node, f, false, is_list(node) ? "it is too long" : NULL);
		return;
	}
	size_t count = is_list(node) ? node->count : 1, size = f->sub->size, i = 0;
	char *elements = arena_zero(r->values, count * size);
	memcpy(member_of(into, f->offset), &elements, sizeof(elements));
	memcpy(member_of(into, f->count_offset), &count, sizeof(count));
	if (!is_list(node))
		read_element(r, node, f, elements);
	for (const struct json *e = is_list(node) ? node->first : NULL; e; e = e->next, i++) {
		size_t before = path_push(r, STR_NONE, i);
		read_element(r, e, f, elements + i * size);
		path_pop(r, before);
	}
}

static void read_field(struct field_reader *r, const struct json *node, const struct field *f,
		       void *into)
{
	void *at = member_of(into, f->offset);
	switch (f->type) {
	case FIELD_SECRET:
		read_secret(r, node, f, at);
		break;
	case FIELD_STR_LIST:
		read_str_list(r, node, f, at);
		break;
	case FIELD_MAP:
		read_map(r, node, f, at);
		break;
	case FIELD_LIST:
		read_list(r, node, f, into);
		break;
	case FIELD_OBJECT:
		if (node->type == JSON_OBJECT)
			read_object(r, node, f->sub, at);
		else
			not_expected(r, node, f, false, NULL);
		break;
	default:
		read_scalar(r, node, f, at);
	}
}

static void unknown(struct field_reader *r, const struct json *node, struct str key,
		    const struct field_table *table)
{
	struct str names[64];
	struct buf text;
	for (size_t i = 0; i < table->count; i++)
		names[i] = str_from(table->fields[i].name);
	const struct str *near = field_near(key, names, table->count);
	buf_init(&text, 4096);
	BUF_ADD(&text, "there is no such setting; ");
	if (near)
		buf_addf(&text, "did you mean %.*s?", STR_ARG(*near));
	else
		BUF_ADD(&text, "expected one of ");
	for (size_t i = 0; !near && i < table->count; i++)
		buf_addf(&text, "%s%s", i ? ", " : "", table->fields[i].name);
	problem(r, node, buf_str(&text));
	buf_release(&text);
}

static void missing(struct field_reader *r, const struct json *node, const struct field *f)
{
	struct buf text;
	size_t before = path_push(r, str_from(f->name), 0);
	buf_init(&text, 4096);
	BUF_ADD(&text, "is missing; expected ");
	field_expectation(&text, f);
	problem(r, node, buf_str(&text));
	buf_release(&text);
	path_pop(r, before);
}

static size_t field_index(const struct field_table *table, struct str name)
{
	size_t i = 0;
	while (i < table->count && !str_eq(name, str_from(table->fields[i].name)))
		i++;
	return i;
}

/* Null counts as not given. */
static void read_object(struct field_reader *r, const struct json *node,
			const struct field_table *table, void *into)
{
	uint64_t seen = 0, given = 0;
	assert(table->count <= 64);
	for (const struct json *m = node->first; m; m = m->next) {
		struct str key = json_key(r->arena, m);
		size_t i = field_index(table, key), before = path_push(r, key, 0);
		uint64_t bit = UINT64_C(1) << (i & 63);
		if (i == table->count)
			unknown(r, m, key, table);
		else if (seen & bit)
			problem(r, m, STR("stands here a second time"));
		else if (m->type != JSON_NULL)
			read_field(r, m, &table->fields[i], into);
		if (i < table->count) {
			seen |= bit;
			given |= m->type == JSON_NULL ? 0 : bit;
		}
		path_pop(r, before);
	}
	for (size_t i = 0; i < table->count; i++)
		if (table->fields[i].required && !(given >> i & 1))
			missing(r, node, &table->fields[i]);
}

bool fields_read(struct field_reader *r, const struct json *tree, const struct field_table *table,
		 void *into)
{
	static const struct json nothing = {.type = JSON_OBJECT, .line = 1, .column = 1};
	size_t errors = r->errors;
	fields_default(r->values, table, into);
	path_pop(r, 0);
	if (tree && tree->type != JSON_NULL && tree->type != JSON_OBJECT)
		problem(r, tree,
			STR("expected a mapping of settings, such as \"listen: 127.0.0.1:9300\""));
	else
		read_object(r, tree && tree->type == JSON_OBJECT ? tree : &nothing, table, into);
	return r->errors == errors;
}

void fields_release(const struct field_table *table, void *into)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct field *f = &table->fields[i];
		void *at = member_of(into, f->offset);
		if (f->type == FIELD_SECRET)
			secret_release(at);
		else if (f->type == FIELD_OBJECT)
			fields_release(f->sub, at);
		if (f->type != FIELD_LIST)
			continue;
		char *elements;
		size_t count;
		memcpy(&elements, at, sizeof(elements));
		memcpy(&count, member_of(into, f->count_offset), sizeof(count));
		for (size_t e = 0; e < count; e++)
			fields_release(f->sub, elements + e * f->sub->size);
	}
}
