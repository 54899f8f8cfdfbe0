/* civil.c - days, weeks and months of a named time zone.
 *
 * The zone belongs to libc (the variable TZ); it is set by the main thread before others start, and only read afterwards. Days are counted: day 0 is
 * 1 January 1970, a Thursday, whatever the zone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	DAY_S = 24 * 60 * 60,
	FARTHEST_S = 16 * 60 * 60, /* no zone was ever farther from UTC; those that changed sides of the date line were 15 h and 56 min away */
	ZONE_NAME_MAX = 64,
};

/* The years 1 to 9999: what is farther away counts as these ends. Such moments come from a broken clock, or mean "for ever". */
#define FIRST_S INT64_C(-62135596800)
#define LAST_S  INT64_C(253402214400)

const char *const period_names[PERIOD_COUNT + 1] = {"total", "day", "week", "month", NULL};

/* ---- the zone ---- */

static bool plain_name(const char *name)
{
	size_t n = 0;
	for (; name[n]; n++) {
		char c = name[n];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!letter && c != '_' && c != '-' && c != '+' && (c != '/' || n == 0))
			return false;
	}
	return n <= ZONE_NAME_MAX && strncmp(name, "right/", 6) != 0; /* those count leap seconds */
}

/* libc would take a zone it does not know for UTC without a word. */
static bool is_zone_file(const char *folder, const char *name)
{
	char path[PATH_MAX], magic[4];
	int n = snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = n > 0 && (size_t)n < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
	if (fd < 0)
		return false;
	bool ok = read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) && memcmp(magic, "TZif", sizeof(magic)) == 0;
	close(fd);
	return ok;
}

static bool known_zone(const char *name, struct buf *why)
{
	const char *folder = getenv("TZDIR");
	if (!folder || !*folder)
		folder = "/usr/share/zoneinfo";
	if (!plain_name(name)) {
		BUF_ADD(why, "expected the name of a time zone, such as Europe/Berlin or UTC");
		return false;
	}
	if (is_zone_file(folder, name))
		return true;
	if (access(folder, R_OK | X_OK) != 0)
		buf_addf(why, "the time zone \"%s\" cannot be looked up: there is no %s (install tzdata)", name, folder);
	else
		buf_addf(why, "the time zone \"%s\" is not known here (names are the files below %s, such as Europe/Berlin)", name, folder);
	return false;
}

bool civil_set_zone(const char *name, struct buf *why)
{
	if (*name) {
		bool utc = strcmp(name, "UTC") == 0; /* needs no file */
		if (!utc && !known_zone(name, why))
			return false;
		setenv("TZ", utc ? "UTC0" : name, 1);
	}
	tzset();
	return true;
}

/* ---- windows ---- */

static int64_t clamp(int64_t unix_s)
{
	return unix_s < FIRST_S ? FIRST_S : unix_s > LAST_S ? LAST_S : unix_s;
}

static struct tm local(int64_t unix_s)
{
	struct tm tm = {.tm_mday = 1, .tm_year = 70};
	time_t t = (time_t)clamp(unix_s);
	localtime_r(&t, &tm);
	return tm;
}

/* Seconds that local clocks are ahead of UTC. */
static int64_t ahead(int64_t unix_s)
{
	return local(unix_s).tm_gmtoff;
}

static int64_t day_of(int64_t unix_s)
{
	int64_t local_s = unix_s + ahead(unix_s);
	return local_s / DAY_S - (local_s % DAY_S < 0);
}

/* A moment after `from` at which clocks stop to be `before` ahead of UTC, which they are at `from` and are not at `to`. The first such moment, as
 * long as there are no two changes within the 32 hours of first_of(): no zone ever had that since 1970. */
static int64_t find_change(int64_t from, int64_t to, int64_t before)
{
	while (to - from > 1) {
		int64_t middle = from + (to - from) / 2;
		if (ahead(middle) == before)
			from = middle;
		else
			to = middle;
	}
	return to;
}

/* The first moment at which the local date is that day or a later one. The day before may come back for a while (clocks set back just after
 * midnight), the day may begin late (set forward at midnight) or not exist at all (a change of sides of the date line). */
static int64_t first_of(int64_t day)
{
	int64_t midnight = day * DAY_S; /* on a clock that shows UTC */
	int64_t from = midnight - FARTHEST_S, to = midnight + FARTHEST_S;
	int64_t last = ahead(to);
	for (;;) {
		int64_t now = ahead(from);
		int64_t change = now == last ? to : find_change(from, to, now);
		int64_t begins = midnight - now > from ? midnight - now : from;
		if (begins < change || change == to)
			return begins;
		from = change;
	}
}

static int64_t month_days(int month, int64_t year)
{
	static const int8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return days[month] + (month == 1 && leap);
}

/* The first day of the period that holds the day, and of the one after it. */
static void days_around(enum period period, int64_t day, int64_t *first, int64_t *next)
{
	struct tm tm = {0};
	time_t t = (time_t)(day * DAY_S);
	switch (period) {
	case PERIOD_MONTH:
		gmtime_r(&t, &tm);
		*first = day - (tm.tm_mday - 1);
		*next = *first + month_days(tm.tm_mon, tm.tm_year + INT64_C(1900));
		return;
	case PERIOD_WEEK:
		*first = day - ((day + 3) % 7 + 7) % 7;
		*next = *first + 7;
		return;
	default:
		*first = day;
		*next = day + 1;
	}
}

struct window civil_window(enum period period, int64_t unix_s)
{
	if (period == PERIOD_TOTAL)
		return (struct window){0, INT64_MAX};
	unix_s = clamp(unix_s);
	int64_t day = day_of(unix_s), next;
	struct window w;
	days_around(period, day, &day, &next);
	w.from_s = first_of(day);
	/* Where yesterday came back, its window is over already. */
	while ((w.to_s = first_of(next)) <= unix_s) {
		days_around(period, next, &day, &next);
		w.from_s = w.to_s;
	}
	return w;
}

/* ---- printing ---- */

void civil_print_day(struct buf *out, int64_t unix_s)
{
	struct tm tm = local(unix_s);
	buf_addf(out, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

void civil_print_minute(struct buf *out, int64_t unix_s)
{
	struct tm tm = local(unix_s);
	buf_addf(out, "%04d-%02d-%02d %02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
}
