/* words_fixture.h - for tests of what is written in another's words: an arena, what was written, and why it was not.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_WORDS_FIXTURE_H
#define VALET_TESTS_WORDS_FIXTURE_H

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct arena arena;
static struct buf out, why;

static int set_up(void **state)
{
	arena_init(&arena, 4096);
	buf_init(&out, 1 << 20);
	buf_init(&why, 1024);
	return 0;
}

static int tear_down(void **state)
{
	arena_release(&arena);
	buf_release(&out);
	buf_release(&why);
	return 0;
}

#endif
