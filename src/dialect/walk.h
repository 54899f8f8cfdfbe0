/* walk.h - members and elements of JSON that is known to be valid (json_scan() has seen it), one after the other: views, no memory, no tree.
 *
 * Whatever the bytes are, nothing is read beyond them; of what is not valid JSON the views mean nothing. Pure; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_WALK_H
#define VALET_DIALECT_WALK_H

#include "base/mem.h"
#include "base/str.h"

/* What is left of the inside of an object or an array. */
struct walk {
	const char *at, *end;
};

/* Of an object or array with its brackets; of anything else: a walk without steps. */
struct walk walk_into(struct str container);
/* The next member: `name` as it stands between its quotes, `value` raw, a string with its quotes. False: no more. */
bool walk_member(struct walk *w, struct str *name, struct str *value);
bool walk_element(struct walk *w, struct str *value);

/* True if the inside of a literal says `text` once its escapes are decoded. */
bool walk_says(struct str inside, struct str text);
/* The same for a raw value; false for all but strings. */
bool walk_is(struct str value, struct str text);
/* The raw value of the last member of that name; ptr NULL: none, or not an object. */
struct str walk_get(struct str object, struct str name);
/* A raw string without its quotes, escapes and all; ptr NULL for other values. */
struct str walk_inside(struct str value);
/* A raw string decoded, in the text or in `a`; empty for other values. */
struct str walk_text(struct arena *a, struct str value);

static inline bool walk_null(struct str value)
{
	return value.len == 0 || value.ptr[0] == 'n';
}

static inline bool walk_object(struct str value)
{
	return value.len > 1 && value.ptr[0] == '{';
}

static inline bool walk_array(struct str value)
{
	return value.len > 1 && value.ptr[0] == '[';
}

/* An object or array with nothing in it. */
bool walk_empty(struct str container);

#endif
