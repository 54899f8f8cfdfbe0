/* walk.c - see walk.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/walk.h"

#include "base/json.h"

/* ---- ends: each gives the place behind what begins at p ---- */

static const char *string_end(const char *p, const char *end)
{
	for (p++; p < end;) {
		const char *quote = memchr(p, '"', (size_t)(end - p));
		if (!quote)
			return end;
		const char *slash = quote;
		while (slash > p && slash[-1] == '\\')
			slash--;
		if ((quote - slash) % 2 == 0)
			return quote + 1;
		p = quote + 1; /* an escaped quote: no backslash before it counts any more */
	}
	return end;
}

static const char *container_end(const char *p, const char *end)
{
	int depth = 0;
	while (p < end) {
		char c = *p;
		if (c == '"') {
			p = string_end(p, end);
			continue;
		}
		p++;
		if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && --depth == 0)
			return p;
	}
	return end;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *value_end(const char *p, const char *end)
{
	if (p < end && *p == '"')
		return string_end(p, end);
	if (p < end && (*p == '{' || *p == '['))
		return container_end(p, end);
	while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_blank(*p))
		p++;
	return p;
}

/* ---- steps ---- */

struct walk walk_into(struct str container)
{
	if (!walk_object(container) && !walk_array(container))
		return (struct walk){container.ptr, container.ptr};
	return (struct walk){container.ptr + 1, container.ptr + container.len - 1};
}

static void skip_to_item(struct walk *w)
{
	while (w->at < w->end && (is_blank(*w->at) || *w->at == ',' || *w->at == ':'))
		w->at++;
}

bool walk_element(struct walk *w, struct str *value)
{
	skip_to_item(w);
	if (w->at >= w->end)
		return false;
	const char *from = w->at;
	w->at = value_end(from, w->end);
	if (w->at == from) /* a bracket that closes nothing: not JSON */
		w->at = w->end;
	*value = str_of(from, (size_t)(w->at - from));
	return true;
}

bool walk_member(struct walk *w, struct str *name, struct str *value)
{
	struct str key;
	if (!walk_element(w, &key))
		return false;
	*name = walk_inside(key);
	return name->ptr && walk_element(w, value);
}

/* ---- values ---- */

struct str walk_inside(struct str value)
{
	if (value.len < 2 || value.ptr[0] != '"')
		return STR_NONE;
	return str_of(value.ptr + 1, value.len - 2);
}

bool walk_says(struct str inside, struct str text)
{
	if (inside.len == text.len)
		return str_eq(inside, text);
	if (inside.len < text.len || inside.len > 6 * text.len) /* \u0061 is the longest way to say a */
		return false;
	if (!memchr(inside.ptr, '\\', inside.len))
		return false;
	struct buf decoded;
	buf_init(&decoded, text.len + 8);
	bool same = json_unescape(inside, &decoded) && str_eq(buf_str(&decoded), text);
	buf_release(&decoded);
	return same;
}

bool walk_is(struct str value, struct str text)
{
	struct str inside = walk_inside(value);
	return inside.ptr && walk_says(inside, text);
}

struct str walk_get(struct str object, struct str wanted)
{
	struct str name, value, found = STR_NONE;
	struct walk w = walk_into(walk_object(object) ? object : STR_NONE);
	while (walk_member(&w, &name, &value))
		if (walk_says(name, wanted))
			found = value;
	return found;
}

struct str walk_text(struct arena *a, struct str value)
{
	struct str inside = walk_inside(value);
	if (!inside.len)
		return STR_NONE;
	struct json string = {.type = JSON_STRING, .escaped = memchr(inside.ptr, '\\', inside.len) != NULL, .raw = inside};
	return json_text(a, &string);
}

bool walk_empty(struct str container)
{
	struct walk w = walk_into(container);
	skip_to_item(&w);
	return w.at >= w.end;
}
