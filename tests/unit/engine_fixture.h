/* engine_fixture.h - for the tests of engines: recorded answers (tests/cases/engines), and lists of models read from them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_ENGINE_FIXTURE_H
#define VALET_TESTS_ENGINE_FIXTURE_H

#include "dialect/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "arena_fixture.h"

/* A recorded answer, exactly as long as it is. */
static struct str recorded(const char *name)
{
	char path[1024];
	struct str dir = STR(__FILE__);
	while (dir.len > 0 && dir.ptr[dir.len - 1] != '/')
		dir.len--;
	snprintf(path, sizeof(path), "%.*s../cases/engines/%s", STR_ARG(dir), name);
	FILE *file = fopen(path, "rb");
	if (!file)
		fail_msg("cannot open %s", path);
	char bytes[8192];
	size_t n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	char *copy = arena_alloc(&arena, n);
	memcpy(copy, bytes, n);
	return str_of(copy, n);
}

static struct engine_answer good(struct str body)
{
	return (struct engine_answer){.status = 200, .server = STR("uvicorn"), .body = body};
}

static struct engine_models parsed(enum engine_kind kind, struct str body)
{
	struct engine_models models;
	assert_true(engine_models_parse(kind, body, &arena, &models));
	return models;
}

#endif
