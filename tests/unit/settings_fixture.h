/* settings_fixture.h - what tests of the settings share: a text read as a file would be, and what is said of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_SETTINGS_FIXTURE_H
#define VALET_TESTS_SETTINGS_FIXTURE_H

#include "gate/settings.h"

#include "text_fixture.h"

/* What stands before each report. */
#define SETTINGS_FILE "v"

/* Appends the report and a NUL; NULL: refused. */
static inline struct settings *parse(const char *yaml, const struct settings_override *over, size_t n, struct buf *report)
{
	struct arena arena;
	struct field_reader r = {.arena = &arena};
	arena_init(&arena, 1024);
	struct settings *s = settings_parse(str_from(yaml), STR(SETTINGS_FILE), over, n, &r);
	for (const struct field_problem *p = r.problems; p; p = p->next)
		field_problem_print(report, STR(SETTINGS_FILE), p);
	buf_addc(report, '\0');
	arena_release(&arena);
	return s;
}

static inline void refuse(const char *yaml, const char *expected)
{
	struct buf report;
	buf_init(&report, 1 << 20);
	struct settings *s = parse(yaml, NULL, 0, &report);
	assert_string_equal(report.ptr, expected);
	assert_null(s);
	buf_release(&report);
}

/* `expected`: its warnings. */
static inline struct settings *take(const char *yaml, const char *expected)
{
	struct buf report;
	buf_init(&report, 1 << 20);
	struct settings *s = parse(yaml, NULL, 0, &report);
	assert_string_equal(report.ptr, expected);
	assert_non_null(s);
	buf_release(&report);
	return s;
}

static inline void warn(const char *yaml, const char *expected)
{
	settings_free(take(yaml, expected));
}

#endif
