/* field.h - field tables: one table per object reads the settings file and the JSON of the admin
 * API into a struct, finds every mistake in one go, and prints the reference.
 *
 * Pure but for FIELD_SECRET, which reads the environment or a file. Not thread-safe; a reader
 * belongs to its user.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_FIELD_H
#define VALET_BASE_FIELD_H

#include "base/json.h"
#include "base/secret.h"

/* The member at `offset` that a field fills; `standard` and texts are written as in the comment. */
enum field_type {
	FIELD_STR,      /* struct str, also NUL-terminated: any text without control characters */
	FIELD_PATH,     /* the same; a relative path begins at the reader's folder */
	FIELD_INT,      /* int64_t */
	FIELD_BOOL,     /* bool: on, true, yes, off, false, no */
	FIELD_CHOICE,   /* an enum (4 bytes) that counts like `choices` */
	FIELD_MS,       /* int64_t, milliseconds: 500ms, 5s, 2m, 1h, 7d */
	FIELD_BYTES,    /* int64_t: 4096, 512k, 64MiB (1024), 1MB (1000) */
	FIELD_MONEY,    /* int64_t, nano-dollars: 2.50, $2.50; MONEY_NONE where it is not given and has no standard */
	FIELD_SECRET,   /* struct secret: env:NAME, file:PATH */
	FIELD_STR_LIST, /* struct str_list: a list of texts; one text stands for a list of one */
	FIELD_MAP,      /* struct str_map: texts by name */
	FIELD_OBJECT,   /* a struct that `sub` describes */
	FIELD_LIST,     /* pointer to an array of such structs, and a size_t at `count_offset` */
};

/* An amount of money that was not given; 0 is one that was. */
#define MONEY_NONE (-1)

struct str_list {
	struct str *items;
	size_t count;
};

struct str_pair {
	struct str name, value;
};

struct str_map {
	struct str_pair *items;
	size_t count;
};

struct field_table;

struct field {
	const char *name;
	enum field_type type;
	size_t offset;
	size_t count_offset; /* LIST */
	/* What holds when it is not given; NULL: 0 or empty. A STR_LIST is split at commas. */
	const char *standard;
	const char *standard_note; /* said in the reference instead; NULL: `standard` itself */
	/* INT, MS, BYTES, MONEY: the value; STR, PATH, STR_LIST, MAP: bytes of a text (max 0: 1..4096) */
	int64_t min, max;
	const char *const *choices;    /* CHOICE: ends with NULL */
	const struct field_table *sub; /* OBJECT, LIST */
	bool required;
	bool off;  /* STR, PATH, INT, MS, BYTES, MONEY: the word off (or a false) is allowed: 0 or empty */
	bool bare; /* LIST: a text instead of an object sets the object's first field */
	bool literal; /* SECRET: it may also stand there itself, where `check` takes it */
	/* STR, STR_LIST, MAP, SECRET: more to be checked of a text. NULL: fine; else static text that says
	 * more, or "". Of a secret nothing is ever quoted. */
	const char *(*check)(struct str text);
	const char *expects; /* "expected …"; NULL: made from type and range */
	const char *help;    /* one or two sentences for the reference (markdown) */
};

struct field_table {
	const struct field *fields;
	size_t count; /* at most 64 */
	size_t size;  /* of the struct */
};

#define FIELD_TABLE(list, type)                                        \
	{                                                              \
		(list), sizeof(list) / sizeof((list)[0]), sizeof(type) \
	}

/* One mistake, or one warning. `line` 0: not known. */
struct field_problem {
	struct field_problem *next;
	uint32_t line, column;
	bool warning;
	struct str path; /* "targets[2].url"; empty: the whole */
	struct str text;
};

#define FIELD_PROBLEMS_MAX 100

#define FIELD_TEXTS_MAX    1000  /* in a STR_LIST or MAP */
#define FIELD_ELEMENTS_MAX 10000 /* in a LIST */

/* Zero it, set the arenas and, where relative paths mean something, `folder`. */
struct field_reader {
	struct arena *arena;  /* of the problems */
	struct arena *values; /* of what is read */
	struct str folder;
	struct field_problem *problems;   /* by line; at most FIELD_PROBLEMS_MAX */
	size_t errors, warnings, dropped; /* dropped: found when the list was full */
	char path[512];                   /* of what is being read */
	size_t path_len;
};

/* Sets every field of `into` to what holds when it is not given. */
void fields_default(struct arena *a, const struct field_table *table, void *into);
/* Sets the standards, then reads `tree` (an object; NULL or null: nothing given). Every mistake is
 * added to `r`; false if there was one. `into` is then still safe for fields_release(). */
bool fields_read(struct field_reader *r, const struct json *tree, const struct field_table *table,
		 void *into) __attribute__((warn_unused_result));
/* Wipes and frees the secrets in `into`; all else dies with the arena. */
void fields_release(const struct field_table *table, void *into);

/* Adds a problem of what `path` names in `tree` ("models[2].aliases[0]"); what does not stand there
 * is shown where it would belong. */
void field_problem_at(struct field_reader *r, const struct json *tree, bool warning,
		      struct str path, struct str text);
/* Adds a problem at a known place. */
void field_problem_add(struct field_reader *r, bool warning, uint32_t line, uint32_t column,
		       struct str path, struct str text);
/* Appends "FILE:LINE:COLUMN: PATH: TEXT\n"; the place is left out where it is not known. */
void field_problem_print(struct buf *out, struct str file, const struct field_problem *p);

/* Appends `text` in quotes as found by an operator: escaped, cut, and without the password of a
 * URL. */
void field_quote(struct buf *out, struct str text);
/* The closest of `names[0..n)` to `name` that a misspelling explains; NULL: none. */
const struct str *field_near(struct str name, const struct str *names, size_t n);

/* "500ms", "2m"; "64MiB", "512KiB": false (and *out untouched) on anything else or on overflow. */
bool field_parse_ms(struct str text, int64_t *out);
bool field_parse_bytes(struct str text, int64_t *out);
/* Digits with at most `decimals` (0 to 18) behind a point, exactly: "2.5" with 3 is 2500. No sign, no exponent. The same rule. */
bool field_parse_decimal(struct str text, unsigned decimals, int64_t *out);
/* "2.5", "$2.5", "0.00000002": dollars into nano-dollars, at most nine decimals. The same rule. */
bool field_parse_money(struct str text, int64_t *out);

/* Appends what `f` expects: "a whole number from 0 to 64". */
void field_expectation(struct buf *out, const struct field *f);
/* Appends the reference in markdown: a section for the table and one for each table below it. */
void field_print_reference(struct buf *out, const struct field_table *table);

#endif
