/* json.h - JSON: a scanner without a tree, a tree of views, and a writer.
 *
 * The scanner and the tree accept and refuse exactly the same texts: RFC 8259, strict UTF-8, a depth limit, any top-level value.
 * A UTF-8 byte order mark before the text is skipped. Escapes of lone surrogates (`\ud83d`) are legal JSON and are
 * kept as they stand in the original; decoded text gets U+FFFD for them. Numbers keep their spelling.
 * Pure functions over the caller's bytes; no allocation except where an arena or a buf is passed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_JSON_H
#define VALET_BASE_JSON_H

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

enum json_type {
	JSON_NONE, /* absent */
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

#define JSON_MAX_DEPTH 96

/* Where and why a text was refused. `at`: byte offset; `what`: static text such as "expected ',' or '}'". */
struct json_fail {
	size_t at;
	const char *what;
};

/* ---- the scanner ---- */

/* One top-level member that the caller wants to know of. The caller sets `name` (unescaped); json_scan() sets the rest. */
struct json_want {
	struct str name;
	enum json_type type; /* JSON_NONE: absent */
	uint32_t count;      /* how often the member stands in the object */
	struct str value;    /* the raw bytes of the value in the text, quotes included; of the last one if it stands more than once */
	struct str key;      /* the raw bytes of its member name, quotes included */
};

struct json_scan {
	enum json_type type; /* of the whole text */
	struct str whole;    /* the value without the white space (and BOM) around it */
	uint32_t members;    /* of the top-level object */
};

/* Validates `text` and fills `wants[0..n)` with what stands at the top level (names are compared after their escapes are
 * decoded, so "mod\u0065l" is "model"). Linear time, no allocation. False: refused, `*fail` says where and why,
 * and wants and `*out` mean nothing. n is small (at most 16). `out` and `fail` may be NULL. */
bool json_scan(struct str text, struct json_want *wants, size_t n, struct json_scan *out, struct json_fail *fail);

/* ---- the tree ---- */

/* A value. `raw` views the original text; strings are decoded lazily by json_text(). Children form a list in their order.
 * `line`, `column` (from 1) are set by readers that know them (YAML); 0 otherwise. Lives in the arena given to json_parse(). */
struct json {
	enum json_type type;
	bool boolean;
	bool escaped;      /* STRING: raw holds escapes. key_escaped: the same for the member's name */
	bool key_escaped;
	uint32_t count;    /* members or elements */
	uint32_t line, column;
	struct str key;    /* of a member: its name between the quotes, escapes and all; ptr NULL otherwise */
	struct str raw;    /* STRING: between the quotes; others: the whole value */
	struct json *first, *next;
};

/* NULL: refused, `*fail` (may be NULL) says where and why. `text` must live as long as the tree, which takes 80 bytes a
 * value: up to 40 times the text for "[0,0,0...]", so bound what is parsed before. */
struct json *json_parse(struct arena *a, struct str text, struct json_fail *fail);
/* The last member called `name` (unescaped); NULL where there is none or `object` is NULL or not an object. */
const struct json *json_get(const struct json *object, struct str name);
/* A string's decoded text: the original bytes where nothing is escaped, else a copy in `a`. Empty for other types. */
struct str json_text(struct arena *a, const struct json *string);
struct str json_key(struct arena *a, const struct json *member);
/* An integer: accepts 3, 3.0, 3e0. False for other types, fractions and overflow. NULL is allowed and false. */
bool json_i64(const struct json *number, int64_t *out);
/* The same for the raw bytes of a number, as the scanner gives them. */
bool json_raw_i64(struct str raw, int64_t *out);
/* Decodes the inside of a string literal (without quotes), appends UTF-8 to `out`. False if over its ceiling. */
bool json_unescape(struct str inside, struct buf *out);

/* ---- the writer: appends to a buf; commas and nesting are kept by the writer ---- */

struct json_writer {
	struct buf *out;
	uint64_t comma; /* bit per depth: a value stands there already */
	uint32_t depth; /* at most 63 */
	bool after_key;
};

void json_writer_init(struct json_writer *w, struct buf *out);
void json_open_object(struct json_writer *w);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w);
void json_close_array(struct json_writer *w);
void json_put_key(struct json_writer *w, struct str key);
void json_put_str(struct json_writer *w, struct str s); /* escapes; bytes that are not UTF-8 become U+FFFD */
void json_put_i64(struct json_writer *w, int64_t n);
void json_put_bool(struct json_writer *w, bool b);
void json_put_null(struct json_writer *w);
void json_put_raw(struct json_writer *w, struct str json); /* a value that is JSON already */
/* key and value in one */
void json_member_str(struct json_writer *w, struct str key, struct str value);
void json_member_str_or_null(struct json_writer *w, struct str key, struct str value); /* null: it is empty */
void json_member_i64(struct json_writer *w, struct str key, int64_t value);
void json_member_i64_or_null(struct json_writer *w, struct str key, bool known, int64_t value); /* null: it is not known */
void json_member_bool(struct json_writer *w, struct str key, bool value);
/* Appends `s` as a JSON string with quotes, outside of any writer. */
void json_quote(struct buf *out, struct str s);

#endif
