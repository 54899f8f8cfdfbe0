/* yaml.c - YAML read into the same tree that JSON gives, by libyaml's events and our own ceilings.
 *
 * The tree lives in the caller's arena; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <stdio.h>
#include <yaml.h>

struct builder {
	struct arena *arena;
	struct str text;
	struct yaml_fail *fail;
	yaml_parser_t parser;
	struct json *root;
	uint32_t nodes, depth;
	struct json *open[YAML_MAX_DEPTH + 1];  /* [1..depth] */
	struct json **tail[YAML_MAX_DEPTH + 1]; /* [depth]: where the next child goes */
	struct str key; /* the name of the member that comes next; ptr NULL: none yet */
	yaml_mark_t key_mark;
};

static bool refuse(struct builder *b, yaml_mark_t at, const char *what)
{
	b->fail->line = (uint32_t)at.line + 1;
	b->fail->column = (uint32_t)at.column + 1;
	snprintf(b->fail->what, sizeof(b->fail->what), "%s", what);
	return false;
}

/* ---- libyaml's own refusals ---- */

/* The reader below the parser knows only an offset. */
static yaml_mark_t mark_of(struct str text, size_t offset)
{
	yaml_mark_t mark = {.index = offset};
	for (size_t i = 0; i < offset && i < text.len; i++) {
		mark.column++;
		if (text.ptr[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}
	return mark;
}

static bool tab_at(const struct builder *b)
{
	const yaml_mark_t want = b->parser.problem_mark;
	struct str rest = b->text, line = STR_NONE;
	for (size_t n = 0; n <= want.line; n++)
		if (!str_split(&rest, '\n', &line))
			return false;
	return want.column < line.len && line.ptr[want.column] == '\t';
}

static bool parser_refused(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	const char *problem = p->problem ? p->problem : "not YAML";
	char what[sizeof(b->fail->what)];
	if (p->error == YAML_READER_ERROR) {
		snprintf(what, sizeof(what), "%s (expected UTF-8 text)", problem);
		return refuse(b, mark_of(b->text, p->problem_offset), what);
	}
	if (p->error == YAML_SCANNER_ERROR && tab_at(b))
		return refuse(b, p->problem_mark, "found a tab; expected spaces for indentation");
	if (p->context)
		snprintf(what, sizeof(what), "%s %s (which begins in line %zu)", problem,
			 p->context, p->context_mark.line + 1);
	else
		snprintf(what, sizeof(what), "%s", problem);
	return refuse(b, p->problem_mark, what);
}

/* ---- nodes ---- */

static struct json *add(struct builder *b, enum json_type type, yaml_mark_t at)
{
	if (++b->nodes > YAML_MAX_NODES) {
		refuse(b, at, "too much: expected at most 200000 values");
		return NULL;
	}
	if (b->key.ptr)
		at = b->key_mark;
	struct json *j = arena_zero(b->arena, sizeof(*j));
	j->type = type;
	j->line = (uint32_t)at.line + 1;
	j->column = (uint32_t)at.column + 1;
	j->key = b->key;
	b->key = STR_NONE;
	if (b->depth)
		b->open[b->depth]->count++;
	*b->tail[b->depth] = j;
	b->tail[b->depth] = &j->next;
	return j;
}

static bool wants_key(const struct builder *b)
{
	return b->depth && b->open[b->depth]->type == JSON_OBJECT && !b->key.ptr;
}

static bool open_node(struct builder *b, enum json_type type, const yaml_event_t *e)
{
	if (wants_key(b))
		return refuse(b, e->start_mark, "expected a plain name before the ':'");
	if (b->depth == YAML_MAX_DEPTH)
		return refuse(b, e->start_mark, "nested too deep: expected at most 32 levels");
	struct json *j = add(b, type, e->start_mark);
	if (!j)
		return false;
	b->open[++b->depth] = j;
	b->tail[b->depth] = &j->first;
	return true;
}

static int by_key(const void *left, const void *right)
{
	const struct json *a = *(struct json *const *)left, *b = *(struct json *const *)right;
	size_t len = a->key.len < b->key.len ? a->key.len : b->key.len;
	int order = len ? memcmp(a->key.ptr, b->key.ptr, len) : 0;
	if (order == 0)
		order = (a->key.len > b->key.len) - (a->key.len < b->key.len);
	if (order == 0)
		order = (a->line > b->line) - (a->line < b->line);
	return order ? order : (a->column > b->column) - (a->column < b->column);
}

/* Sorted, since a mapping may have as many members as a file has lines. */
static bool no_member_twice(struct builder *b, const struct json *object)
{
	const struct json **list = mem_array(object->count, sizeof(*list));
	const struct json *twice = NULL, *first = NULL;
	size_t n = 0;
	for (const struct json *m = object->first; m; m = m->next)
		list[n++] = m;
	qsort(list, n, sizeof(*list), by_key);
	for (size_t i = 1; i < n; i++) {
		if (!twice && str_eq(list[i - 1]->key, list[i]->key)) {
			first = list[i - 1];
			twice = list[i];
		}
	}
	free(list);
	if (!twice)
		return true;
	char what[128], name[49];
	snprintf(name, sizeof(name), "%.*s", STR_ARG(twice->key));
	for (char *c = name; *c; c++)
		*c = *c >= 0x20 && *c < 0x7f ? *c : '?';
	snprintf(what, sizeof(what), "\"%s\" stands here a second time; it is in line %u already",
		 name, first->line);
	return refuse(b, (yaml_mark_t){0, twice->line - 1, twice->column - 1}, what);
}

static bool close_node(struct builder *b)
{
	const struct json *j = b->open[b->depth--];
	return j->type != JSON_OBJECT || no_member_twice(b, j);
}

static bool is_null(const yaml_event_t *e, struct str text)
{
	static const struct str words[] = {STR_INIT(""), STR_INIT("~"), STR_INIT("null"),
					   STR_INIT("Null"), STR_INIT("NULL")};
	if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_eq(text, words[i]))
			return true;
	return false;
}

static bool scalar(struct builder *b, const yaml_event_t *e)
{
	struct str text = str_of((const char *)e->data.scalar.value, e->data.scalar.length);
	if (e->data.scalar.anchor)
		return refuse(b, e->start_mark, "anchors (&name) are not supported");
	if (e->data.scalar.tag)
		return refuse(b, e->start_mark, "tags (!name) are not supported");
	if (!wants_key(b)) {
		struct json *j = add(b, is_null(e, text) ? JSON_NULL : JSON_STRING, e->start_mark);
		if (j)
			j->raw = j->type == JSON_NULL ? STR("null") : arena_dup(b->arena, text);
		return j != NULL;
	}
	if (is_null(e, text) || text.len == 0)
		return refuse(b, e->start_mark, "expected a name before the ':'");
	if (str_eq(text, STR("<<")) && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return refuse(b, e->start_mark, "merge keys (<<) are not supported");
	b->key = arena_dup(b->arena, text);
	b->key_mark = e->start_mark;
	return true;
}

/* ---- events ---- */

static bool take(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->root)
			return refuse(b, e->start_mark,
				      "a second document begins here; expected one only");
		return true;
	case YAML_ALIAS_EVENT:
		return refuse(b, e->start_mark, "aliases (*name) are not supported");
	case YAML_SCALAR_EVENT:
		return scalar(b, e);
	case YAML_SEQUENCE_START_EVENT:
		if (e->data.sequence_start.anchor || e->data.sequence_start.tag)
			return refuse(b, e->start_mark, "anchors and tags are not supported");
		return open_node(b, JSON_ARRAY, e);
	case YAML_MAPPING_START_EVENT:
		if (e->data.mapping_start.anchor || e->data.mapping_start.tag)
			return refuse(b, e->start_mark, "anchors and tags are not supported");
		return open_node(b, JSON_OBJECT, e);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return close_node(b);
	default:
		return true;
	}
}

static bool run(struct builder *b)
{
	for (bool over = false; !over;) {
		yaml_event_t event;
		if (!yaml_parser_parse(&b->parser, &event))
			return parser_refused(b);
		over = event.type == YAML_STREAM_END_EVENT;
		bool ok = take(b, &event);
		yaml_event_delete(&event);
		if (!ok)
			return false;
	}
	return true;
}

struct json *yaml_parse(struct arena *a, struct str text, struct yaml_fail *fail)
{
	struct builder b = {.arena = a, .text = text, .fail = fail};
	const yaml_mark_t start = {0, 0, 0};
	if (text.len > YAML_MAX_BYTES) {
		refuse(&b, start, "too long: expected at most 1 MiB");
		return NULL;
	}
	if (!yaml_parser_initialize(&b.parser)) {
		refuse(&b, start, "out of memory");
		return NULL;
	}
	b.tail[0] = &b.root;
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)(text.len ? text.ptr : ""),
				     text.len);
	bool ok = run(&b);
	yaml_parser_delete(&b.parser);
	if (ok && !b.root)
		add(&b, JSON_NULL, start);
	return ok ? b.root : NULL;
}
