/* arena_fixture.h - an arena for each test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_ARENA_FIXTURE_H
#define VALET_TESTS_ARENA_FIXTURE_H

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct arena arena;

static int set_up(void **state)
{
	arena_init(&arena, 4096);
	return 0;
}

static int tear_down(void **state)
{
	arena_release(&arena);
	return 0;
}

#endif
