/* json_scan.c - the scanner: validates a text and finds the members at its top level, without a tree.
 *
 * Owns nothing; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lex.h"

#include <assert.h>

/* ---- a container that nobody looks into: the same grammar in one loop, without an event for each token ---- */

/* Which brackets are open, innermost lowest: a set bit is an object. */
struct nesting {
	uint64_t bits[2];
	uint32_t depth;
};

static inline void nest(struct nesting *n, bool object)
{
	n->bits[1] = n->bits[1] << 1 | n->bits[0] >> 63;
	n->bits[0] = n->bits[0] << 1 | object;
	n->depth++;
}

static inline void unnest(struct nesting *n)
{
	n->bits[0] = n->bits[0] >> 1 | n->bits[1] << 63;
	n->bits[1] >>= 1;
	n->depth--;
}

static inline const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* Behind the closing quote of the string at p; NULL where there is none. */
static inline const char *skip_string(const char *p, const char *end)
{
	bool escaped = false;
	if (p == end || *p != '"')
		return NULL;
	p = json_lex_string(p + 1, end, &escaped);
	return p < end && *p == '"' ? p + 1 : NULL;
}

static inline const char *skip_word(const char *p, const char *end, struct str word)
{
	return (size_t)(end - p) >= word.len && memcmp(p, word.ptr, word.len) == 0 ? p + word.len : NULL;
}

static inline const char *skip_key(const char *p, const char *end)
{
	p = skip_string(p, end);
	if (!p)
		return NULL;
	p = skip_space(p, end);
	return p < end && *p == ':' ? skip_space(p + 1, end) : NULL;
}

/* A value that is no container. */
static inline const char *skip_scalar(const char *p, const char *end)
{
	switch (p < end ? *p : '\0') {
	case '"':
		return skip_string(p, end);
	case 't':
		return skip_word(p, end, STR("true"));
	case 'f':
		return skip_word(p, end, STR("false"));
	case 'n':
		return skip_word(p, end, STR("null"));
	default:
		return json_lex_number(p, end);
	}
}

/* Behind what closes a value: commas and brackets, up to where the next value begins or the first container has ended. */
static inline const char *skip_after(struct nesting *n, const char *p, const char *end)
{
	while (n->depth > 0) {
		p = skip_space(p, end);
		if (p == end)
			return NULL;
		bool object = n->bits[0] & 1;
		if (*p == ',') {
			p = skip_space(p + 1, end);
			return object ? skip_key(p, end) : p;
		}
		if (*p++ != (object ? '}' : ']'))
			return NULL;
		unnest(n);
	}
	return p;
}

/* A bracket has been opened before p: to its first value, or behind its end where it is empty. */
static inline const char *skip_opened(struct nesting *n, const char *p, const char *end)
{
	bool object = n->bits[0] & 1;
	p = skip_space(p, end);
	if (p < end && *p == (object ? '}' : ']')) {
		unnest(n);
		return skip_after(n, p + 1, end);
	}
	return object ? skip_key(p, end) : p;
}

/* Behind the container whose opening bracket stands at p; NULL where it is not valid or nested deeper than `room`: the lexer then
 * goes through it again and says what is wrong. */
static const char *skip_container(const char *p, const char *end, uint32_t room)
{
	struct nesting n = {{0, 0}, 0};
	do {
		if (p < end && (*p == '{' || *p == '[')) {
			if (n.depth == room)
				return NULL;
			nest(&n, *p == '{');
			p = skip_opened(&n, p + 1, end);
			continue;
		}
		p = skip_scalar(p, end);
		if (p)
			p = skip_after(&n, p, end);
	} while (p && n.depth > 0);
	return p;
}

/* ---- the scanner ---- */

struct scan {
	struct json_lex lex;
	struct json_want *wants;
	size_t n;
	uint32_t wanted; /* bit per want: the container that is open is its value */
	struct json_scan found;
};

/* A top-level member begins: who wanted it? */
static uint32_t scan_member(struct scan *s)
{
	struct str inside = json_lex_inside(s->lex.key);
	uint32_t wanted = 0;
	s->found.members++;
	for (size_t i = 0; i < s->n; i++) {
		struct json_want *w = &s->wants[i];
		if (!s->lex.key_escaped && inside.len != w->name.len)
			continue; /* most members are nobody's: no call for them */
		if (s->lex.key_escaped ? !json_lex_same(inside, w->name) : !str_eq(inside, w->name))
			continue;
		w->type = s->lex.type;
		w->value = s->lex.raw;
		w->key = s->lex.key;
		w->count++;
		wanted |= UINT32_C(1) << i;
	}
	return wanted;
}

static void scan_closed(struct scan *s)
{
	const char *end = s->lex.at;
	if (s->lex.depth == 0)
		s->found.whole.len = (size_t)(end - s->found.whole.ptr);
	for (size_t i = 0; s->wanted; i++, s->wanted >>= 1)
		if (s->wanted & 1)
			s->wants[i].value.len = (size_t)(end - s->wants[i].value.ptr);
}

/* All events that are of the text itself or of its members; deeper ones are only checked. */
static void scan_event(struct scan *s, enum json_event event)
{
	uint32_t inside = s->lex.depth - (event == JSON_OPENED);
	if (inside == 0 && event != JSON_CLOSED) {
		s->found.type = s->lex.type;
		s->found.whole = s->lex.raw;
	} else if (event == JSON_CLOSED) {
		scan_closed(s);
	} else if (s->lex.key.ptr) {
		uint32_t wanted = scan_member(s);
		s->wanted = event == JSON_OPENED ? wanted : 0;
	}
}

/* A member's value is a container: what is inside is only checked. False: left to the lexer. */
static bool scan_past(struct scan *s)
{
	struct json_lex *l = &s->lex;
	const char *end = skip_container(l->raw.ptr, l->end, JSON_MAX_DEPTH - 1);
	if (!end)
		return false;
	l->at = end;
	l->depth--;
	l->fresh = false;
	scan_closed(s);
	return true;
}

bool json_scan(struct str text, struct json_want *wants, size_t n, struct json_scan *out,
	       struct json_fail *fail)
{
	struct scan s = {.wants = wants, .n = n};
	assert(n <= 16);
	json_lex_init(&s.lex, text);
	for (size_t i = 0; i < n; i++)
		wants[i] = (struct json_want){.name = wants[i].name};
	enum json_event event;
	while ((event = json_lex_next(&s.lex)) > JSON_ENDED) {
		bool inner = event == JSON_OPENED && s.lex.depth == 2;
		if (s.lex.depth <= 1 || inner)
			scan_event(&s, event);
		if (inner)
			scan_past(&s);
	}
	if (out)
		*out = s.found;
	if (fail && event == JSON_FAILED)
		*fail = s.lex.fail;
	return event == JSON_ENDED;
}
