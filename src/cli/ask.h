/* ask.h - what every command does that asks the admin API something: the question, and its answer as text or as JSON.
 *
 * Main thread; blocking.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_CLI_ASK_H
#define VALET_CLI_ASK_H

#include "base/json.h"
#include "cli/client.h"

/* An answer, while it is printed. */
struct cli_answer {
	struct arena arena;
	struct buf body;
	const struct json *json; /* not NULL */
	int status;
};

/* Members of an answer; empty, 0 or false where there is none. */
struct str cli_text(struct cli_answer *a, const struct json *object, const char *name);
int64_t cli_number(const struct json *object, const char *name);
bool cli_flag(const struct json *object, const char *name);

/* Appends a part of a path, with the slash before it. */
void cli_add_part(struct buf *target, const char *part);
/* Appends a parameter behind the path; nothing where `value` is NULL. */
void cli_add_query(struct buf *target, const char *name, const char *value);

/* What a command asks, and how it shows what it gets. */
struct cli_question {
	const struct cli_place *place;
	const char *command, *method; /* "valet key create", "POST" */
	const struct buf *target;     /* path and query; refused where it did not fit */
	struct str body;
	bool json;                    /* shows the answer itself */
	bool clears;                  /* the terminal before it */
	void (*print)(struct buf *out, struct cli_answer *a, const void *user); /* else */
	const void *user;
};

/* Asks, and writes the answer to stdout, or to stderr what is wrong. The exit code: CLI_USAGE where the API did not like what was asked. */
int cli_tell(const struct cli_question *q);

#endif
