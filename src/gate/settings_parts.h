/* settings_parts.h - what the settings files share among themselves.
 *
 * Private to src/gate/settings*.c. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_SETTINGS_PARTS_H
#define VALET_GATE_SETTINGS_PARTS_H

#include "gate/settings.h"

/* "HOST:PORT", "[v6]:PORT", ":PORT" or "PORT", with a numeric host, "localhost" or "*". Views into
 * `text` or static. */
bool settings_listen_address(struct str text, struct settings_address *out);
/* "HOST" or "HOST:PORT". NULL, or static text that says what is wrong. */
const char *settings_engine_address(struct str text, struct settings_address *out);
/* True for names and addresses that never leave this host. */
bool settings_is_loopback(struct str host);


/* A member was given, and not as null. */
bool settings_gave(const struct json *object, struct str name);
/* Before the checks: usual URLs, what `to` and `when` mean, and what models take over of the routing. `tree` may be NULL. */
void settings_complete_routes(struct settings *s, const struct json *tree);
/* After them: models take over the overflow of all. */
void settings_inherit_overflow(struct settings *s);

/* ---- checks ---- */

/* The settings under check, and where mistakes go. */
struct check {
	struct settings *settings;
	const struct json *tree;
	struct field_reader *reader;
	const struct uses *targets; /* their names, sorted */
};

#define CHECK_PATH(c, ...) arena_printf((c)->reader->arena, __VA_ARGS__)

void check_tell(struct check *c, bool warning, struct str path, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Whether something wrong was said of exactly that path. */
bool check_told(const struct check *c, struct str path);
/* A name as it is shown; lives in the reader's arena. */
struct str check_quoted(struct check *c, struct str name);
/* Says of `path` that `name` is no target. */
void check_unknown_target(struct check *c, struct str path, struct str name);
/* `where`: of the object that the budgets are in ("limits"). */
void check_budget_list(struct check *c, struct str where, const struct str_list *texts);

/* Index of the target of that name; SIZE_MAX: there is none. */
size_t check_target_index(const struct check *c, struct str name);
/* Clouds, overflow, models that must stay local (settings_check_routes.c). */
void check_routes(struct check *c);

/* What no single field can tell: names that stand twice, names of nothing, what contradicts. Fills
 * in model_target.index. `tree`: for the places of what is wrong. */
void settings_check(struct settings *s, const struct json *tree, struct field_reader *r);

#endif
