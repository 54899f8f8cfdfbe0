/* books_fixture.h - what tests of books and keys share: their time, and that what is settled, held and leased adds up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_BOOKS_FIXTURE_H
#define VALET_TESTS_BOOKS_FIXTURE_H

#include "gate/books.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define DAY_S  INT64_C(86400)
#define NOON_S INT64_C(2209118400) /* 2040-01-02 12:00 UTC, a Monday */

static inline void assert_audit(struct books *b)
{
	struct buf report;
	buf_init(&report, 1 << 20);
	if (books_audit(b, &report))
		fail_msg("%.*s", STR_ARG(buf_str(&report)));
	buf_release(&report);
}

#endif
