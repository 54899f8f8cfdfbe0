/* api_fixture.h - what tests of the admin API share: a store in a temporary folder, and looking into an answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_API_FIXTURE_H
#define VALET_TESTS_API_FIXTURE_H

#include "admin/api.h"
#include "base/clock.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW INT64_C(1795305600) /* 2026-11-22 00:00 UTC, a Sunday */

static char folder[64];
static struct store *store;
static struct api *api;
static struct buf why, out;
static struct arena arena;
static const struct json *answer; /* to the last question */
static bool store_gone;           /* the thread of the store does not answer */

static inline void begin_folder(void)
{
	snprintf(folder, sizeof(folder), "/tmp/valet-api-XXXXXX");
	assert_non_null(mkdtemp(folder));
	buf_init(&why, 65536);
	buf_init(&out, (size_t)64 << 20);
	arena_init(&arena, 4096);
	store_gone = false;
}

static inline void end_folder(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
	buf_release(&why);
	buf_release(&out);
	arena_release(&arena);
}

static inline bool call(void *user, void (*run)(struct store *s, void *arg), void *arg)
{
	if (store_gone)
		return false;
	run(store, arg);
	return true;
}

/* "key.limits.0.budget" */
static inline const struct json *at(const char *path)
{
	const struct json *node = answer;
	struct str rest = str_from(path), step;
	while (node && str_split(&rest, '.', &step)) {
		int64_t index;
		if (node->type != JSON_ARRAY) {
			node = json_get(node, step);
			continue;
		}
		assert_true(str_to_i64(step, &index));
		for (node = node->first; node && index > 0; index--)
			node = node->next;
	}
	return node;
}

#define HAS(path, value) has(__LINE__, path, value)

static inline void has(int line, const char *path, const char *value)
{
	const struct json *node = at(path);
	struct str is = !node ? STR("(nothing)") : node->type == JSON_STRING ? json_text(&arena, node) : node->raw;
	if (!str_eq(is, str_from(value)))
		fail_msg("line %d: %s is %.*s instead of %s in %.*s", line, path, STR_ARG(is), value, STR_ARG(buf_str(&out)));
}

#endif
