/* key_conf.h - what an operator says of a key: one field table for the command line, the admin API and what is stored.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_KEY_CONF_H
#define VALET_GATE_KEY_CONF_H

#include "base/field.h"
#include "gate/books.h"

enum key_class { CLASS_INTERACTIVE, CLASS_BATCH };

/* As given; texts live in the reader's values arena. */
struct key_conf {
	struct str name;              /* 1 to 64 bytes of letters, digits, ._- ; empty: not given. It may look like an id: look names up first */
	struct str_list models;       /* globs on model names and aliases; none: all */
	int64_t rpm, tpm, concurrency;
	struct str_list budgets;      /* budget_parse() */
	struct str_map model_budgets, model_rpm, model_tpm, model_concurrency; /* pattern → budget or number */
	int64_t max_output;           /* tokens of an answer; 0: the model's */
	int64_t max_wait_ms;          /* for a rate, a place or a hold; default 2 s; off: never waits */
	struct str expires;           /* as given */
	int64_t expires_s;            /* seconds since 1970; 0: never */
	bool soft, local_only, probation;
	enum key_class class;
	int64_t weight;               /* 1 to 1000: its share where requests wait */
	struct str_map tags;
};

/* Patterns with a star or a question mark that a key may have limits for. So no model is under more of its rules than a claim takes scopes. */
#define KEY_GLOBS_MAX 6

extern const struct field_table key_table; /* members: name models rpm tpm concurrency budget model_budget model_rpm model_tpm model_concurrency
					      max_output max_wait expires soft local_only probation class weight tags */

/* Reads and checks a document; mistakes go to `r` with the field's path. `expires` is a number of seconds since 1970, or a text: "90d", "12h" from
 * now_s on, "2027-03-01" (until that day begins). False: refused. */
bool key_conf_read(struct field_reader *r, const struct json *document, int64_t now_s, struct key_conf *out) __attribute__((warn_unused_result));
/* The document `old` with the members of `changes` put in place of its own; null takes a member away. Appends JSON. Members that the table does not
 * know are kept out by key_conf_read(), which comes afterwards. */
void key_conf_merge(struct arena *a, const struct json *old, const struct json *changes, struct buf *out);
/* Appends the document as it is stored: what is not the standard, `expires` as a number, in the table's order. Reads back as the same. */
void key_conf_write(const struct key_conf *c, struct buf *out);
/* The limits that a conf that was read asks for: its own, and those for models by pattern. */
void key_conf_limits(const struct key_conf *c, struct limits *out);
void key_conf_model_limits(const struct key_conf *c, struct str pattern, struct limits *out);
/* Adds what `more` allows less: of two limits of a kind the smaller one holds. */
void limits_tighten(struct limits *l, const struct limits *more);

#endif
