/* text_fixture.h - comparing texts in tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_TEXT_FIXTURE_H
#define VALET_TESTS_TEXT_FIXTURE_H

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static inline void assert_str(struct str got, const char *want)
{
	if (!str_eq(got, str_from(want)))
		fail_msg("got \"%.*s\", expected \"%s\"", STR_ARG(got), want);
}

#endif
