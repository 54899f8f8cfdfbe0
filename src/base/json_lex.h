/* json_lex.h - what the JSON files share: one reader, so scanner and tree accept the same texts.
 *
 * Private to src/base/json_*.c. Pure functions over the caller's bytes; no allocation.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_JSON_LEX_H
#define VALET_BASE_JSON_LEX_H

#include "base/json.h"

enum json_event {
	JSON_FAILED, /* l->fail says why */
	JSON_ENDED,  /* the text was one value and nothing else */
	JSON_SCALAR,
	JSON_OPENED, /* raw: the bracket */
	JSON_CLOSED, /* raw: the bracket; key: empty */
};

/* `key` and `raw` hold the quotes; `key.ptr` is NULL where the event is no member of an object. */
struct json_lex {
	const char *start, *at, *end;
	enum json_type type; /* of the value of the event */
	bool escaped, key_escaped;
	bool cut;   /* `end` is the first byte that is not UTF-8, not the end of the text */
	bool fresh; /* nothing stands yet in the innermost container, or in the text */
	struct str key, raw;
	uint32_t depth; /* containers open after the event */
	struct json_fail fail;
	char closers[JSON_MAX_DEPTH +
		     1]; /* [depth]: the bracket that closes it; [0] stays unused */
};

void json_lex_init(struct json_lex *l, struct str text);
enum json_event json_lex_next(struct json_lex *l);

/* The first byte that is a quote, a backslash or a control; `end` where there is none. */
const char *json_lex_special(const char *p, const char *end);
/* The first byte that is not part of valid UTF-8; `end` where there is none. */
const char *json_lex_utf8(const char *p, const char *end);
/* The closing quote of the string whose inside begins at p; else the byte that is no part of one, or `end`. Sets *escaped where it
 * holds escapes; never clears it. */
const char *json_lex_string(const char *p, const char *end, bool *escaped);
/* The end of the number at p; NULL where there is none. */
const char *json_lex_number(const char *p, const char *end);

/* The code unit that \uXXXX at p stands for; -1 where it is no such escape. */
int json_lex_unit(const char *p, const char *end);
/* Cuts the next piece of decoded text from the inside of a string literal: a run of its own bytes,
 * or one escape decoded into `utf8`. False at the end. Never reads past `rest`, valid or not. */
bool json_lex_piece(struct str *rest, char utf8[4], struct str *piece);
/* True if the inside of a literal decodes to `text`. */
bool json_lex_same(struct str inside, struct str text);

static inline struct str json_lex_inside(struct str quoted)
{
	return str_of(quoted.ptr + 1, quoted.len - 2);
}

#endif
