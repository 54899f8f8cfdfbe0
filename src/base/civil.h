/* civil.h - days, weeks and months of a named time zone: the windows of budgets.
 *
 * The zone is the process's, set once before threads start. A window begins at the first moment that belongs to its first civil day (which
 * need not be 00:00 where a clock change skips midnight) and ends where the next one begins, so windows never overlap and leave no gap.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_CIVIL_H
#define VALET_BASE_CIVIL_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum period { PERIOD_TOTAL, PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_COUNT }; /* weeks begin on Monday */

/* Seconds since 1970 (UTC): from included, to not. PERIOD_TOTAL: 0 to INT64_MAX. */
struct window {
	int64_t from_s, to_s;
};

/* Sets the process's zone ("Europe/Berlin"; empty: the system's, or what TZ says). Main thread, before others start. Blocking (a file). False and a
 * sentence in `why` where the system does not know that zone; nothing is changed then. */
bool civil_set_zone(const char *name, struct buf *why) __attribute__((warn_unused_result));
/* The window of `period` that holds the moment. Any thread; about a microsecond, a few near a clock change, so keep what it gave until to_s. Where
 * clocks go back to yesterday, today's window goes on. Moments outside the years 1 to 9999 count as the nearest inside. */
struct window civil_window(enum period period, int64_t unix_s);
/* Appends the moment in the zone: "2026-11-22", "2026-11-22 01:15". */
void civil_print_day(struct buf *out, int64_t unix_s);
void civil_print_minute(struct buf *out, int64_t unix_s);
/* "total", "day", "week", "month". */
extern const char *const period_names[PERIOD_COUNT + 1];

#endif
