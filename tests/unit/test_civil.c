/* test_civil.c - windows of budgets: every day, week and month once, whatever clocks do in that zone.
 *
 * Needs the system's time zones (tzdata).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/civil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HOUR         INT64_C(3600)
#define DAY          (24 * HOUR)

static void set_zone(const char *name)
{
	struct buf why;
	buf_init(&why, 1024);
	if (!civil_set_zone(name, &why))
		fail_msg("%s: %.*s", name, STR_ARG(buf_str(&why)));
	buf_release(&why);
}

static void assert_printed(struct buf *b, const char *want)
{
	if (!str_eq(buf_str(b), str_from(want)))
		fail_msg("got \"%.*s\", expected \"%s\"", STR_ARG(buf_str(b)), want);
	buf_clear(b);
}

/* "2026-11-22 01:15", UTC. */
static int64_t utc(const char *text)
{
	struct tm tm = {0};
	assert_int_equal(sscanf(text, "%d-%d-%d %d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min), 5);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return timegm(&tm);
}

/* The local date as one number, 20261122. */
static int date_at(int64_t unix_s)
{
	struct tm tm;
	time_t t = (time_t)unix_s;
	localtime_r(&t, &tm);
	return (tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}

/* The date that lies so many days after 1 January of the year; tm_wday too. */
static struct tm calendar(int year, int days)
{
	struct tm tm = {.tm_year = year - 1900, .tm_mday = 1 + days, .tm_hour = 12};
	timegm(&tm);
	return tm;
}

/* ---- known cases ---- */

struct known {
	const char *zone;
	enum period period;
	const char *moment, *from, *to; /* UTC */
};

static const struct known known[] = {
	{"UTC", PERIOD_DAY, "2024-02-29 23:59", "2024-02-29 00:00", "2024-03-01 00:00"},
	{"UTC", PERIOD_MONTH, "2024-02-29 23:59", "2024-02-01 00:00", "2024-03-01 00:00"},
	{"UTC", PERIOD_MONTH, "2023-02-28 00:00", "2023-02-01 00:00", "2023-03-01 00:00"},
	{"UTC", PERIOD_MONTH, "2100-02-28 00:00", "2100-02-01 00:00", "2100-03-01 00:00"},
	{"UTC", PERIOD_MONTH, "2000-02-10 00:00", "2000-02-01 00:00", "2000-03-01 00:00"},
	{"UTC", PERIOD_MONTH, "2025-12-31 23:59", "2025-12-01 00:00", "2026-01-01 00:00"},
	{"UTC", PERIOD_WEEK, "2026-11-22 01:15", "2026-11-16 00:00", "2026-11-23 00:00"},
	{"UTC", PERIOD_WEEK, "2026-11-23 00:00", "2026-11-23 00:00", "2026-11-30 00:00"},
	{"UTC", PERIOD_WEEK, "1969-12-31 00:00", "1969-12-29 00:00", "1970-01-05 00:00"},
	{"UTC", PERIOD_DAY, "1969-12-31 00:00", "1969-12-31 00:00", "1970-01-01 00:00"},
	/* 23 and 25 hours */
	{"Europe/Berlin", PERIOD_DAY, "2026-03-29 00:59", "2026-03-28 23:00", "2026-03-29 22:00"},
	{"Europe/Berlin", PERIOD_DAY, "2026-10-25 01:00", "2026-10-24 22:00", "2026-10-25 23:00"},
	{"Europe/Berlin", PERIOD_MONTH, "2026-10-31 22:59", "2026-09-30 22:00", "2026-10-31 23:00"},
	{"Europe/Berlin", PERIOD_WEEK, "2026-03-29 21:59", "2026-03-22 23:00", "2026-03-29 22:00"},
	{"Europe/Berlin", PERIOD_MONTH, "2060-07-10 00:00", "2060-06-30 22:00", "2060-07-31 22:00"},
	/* no midnight: 00:00 is 01:00 */
	{"America/Sao_Paulo", PERIOD_DAY, "2018-11-04 12:00", "2018-11-04 03:00", "2018-11-05 02:00"},
	{"America/Havana", PERIOD_DAY, "2020-03-08 12:00", "2020-03-08 05:00", "2020-03-09 04:00"},
	{"Asia/Beirut", PERIOD_DAY, "2021-03-28 12:00", "2021-03-27 22:00", "2021-03-28 21:00"},
	{"Africa/Cairo", PERIOD_DAY, "2023-04-28 12:00", "2023-04-27 22:00", "2023-04-28 21:00"},
	{"Asia/Tehran", PERIOD_DAY, "2022-03-22 12:00", "2022-03-21 20:30", "2022-03-22 19:30"},
	/* the last hour twice: 24:00 is 23:00 */
	{"America/Sao_Paulo", PERIOD_DAY, "2019-02-17 02:30", "2019-02-16 02:00", "2019-02-17 03:00"},
	{"Asia/Tehran", PERIOD_DAY, "2022-09-21 20:00", "2022-09-20 19:30", "2022-09-21 20:30"},
	/* midnight twice: 01:00 is 00:00 */
	{"America/Havana", PERIOD_DAY, "2020-11-01 05:00", "2020-11-01 04:00", "2020-11-02 05:00"},
	{"America/Havana", PERIOD_MONTH, "2020-11-01 05:00", "2020-11-01 04:00", "2020-12-01 05:00"},
	/* 00:01 of 1 November is 23:01 of 31 October: October is over nevertheless */
	{"America/St_Johns", PERIOD_DAY, "2009-11-01 02:29", "2009-10-31 02:30", "2009-11-01 02:30"},
	{"America/St_Johns", PERIOD_DAY, "2009-11-01 02:45", "2009-11-01 02:30", "2009-11-02 03:30"},
	{"America/St_Johns", PERIOD_MONTH, "2009-11-01 02:45", "2009-11-01 02:30", "2009-12-01 03:30"},
	{"America/St_Johns", PERIOD_MONTH, "2009-11-01 02:29", "2009-10-01 02:30", "2009-11-01 02:30"},
	/* three hours back at 02:00 */
	{"Antarctica/Casey", PERIOD_DAY, "2010-03-04 15:30", "2010-03-04 13:00", "2010-03-05 16:00"},
	/* half an hour, and odd distances */
	{"Australia/Lord_Howe", PERIOD_DAY, "2021-04-04 00:00", "2021-04-03 13:00", "2021-04-04 13:30"},
	{"Australia/Lord_Howe", PERIOD_DAY, "2021-10-03 00:00", "2021-10-02 13:30", "2021-10-03 13:00"},
	{"Asia/Kathmandu", PERIOD_DAY, "2026-01-01 00:00", "2025-12-31 18:15", "2026-01-01 18:15"},
	/* 30 December 2011 did not exist */
	{"Pacific/Apia", PERIOD_DAY, "2011-12-30 09:59", "2011-12-29 10:00", "2011-12-30 10:00"},
	{"Pacific/Apia", PERIOD_DAY, "2011-12-30 10:00", "2011-12-30 10:00", "2011-12-31 10:00"},
	{"Pacific/Apia", PERIOD_WEEK, "2011-12-30 10:00", "2011-12-26 10:00", "2012-01-01 10:00"},
	{"Pacific/Apia", PERIOD_MONTH, "2011-12-30 10:00", "2011-12-01 10:00", "2011-12-31 10:00"},
	{"Pacific/Kwajalein", PERIOD_DAY, "1993-08-21 11:59", "1993-08-20 12:00", "1993-08-21 12:00"},
	{"Pacific/Kwajalein", PERIOD_DAY, "1993-08-21 12:00", "1993-08-21 12:00", "1993-08-22 12:00"},
	/* the first and the last line of dates */
	{"Pacific/Kiritimati", PERIOD_DAY, "2026-01-01 00:00", "2025-12-31 10:00", "2026-01-01 10:00"},
	{"Pacific/Pago_Pago", PERIOD_DAY, "2026-01-01 00:00", "2025-12-31 11:00", "2026-01-01 11:00"},
};

static void test_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(known); i++) {
		const struct known *k = &known[i];
		set_zone(k->zone);
		struct window w = civil_window(k->period, utc(k->moment));
		if (w.from_s != utc(k->from) || w.to_s != utc(k->to))
			fail_msg("%s, %s of %s: got %lld to %lld, expected %lld to %lld", k->zone, period_names[k->period], k->moment,
				 (long long)w.from_s, (long long)w.to_s, (long long)utc(k->from), (long long)utc(k->to));
	}
}

/* ---- sweeps ---- */

static void assert_window(struct window w, enum period period, int64_t moment)
{
	struct window again = civil_window(period, moment);
	if (w.from_s != again.from_s || w.to_s != again.to_s)
		fail_msg("%s of %lld: got %lld to %lld, expected %lld to %lld", period_names[period], (long long)moment, (long long)again.from_s,
			 (long long)again.to_s, (long long)w.from_s, (long long)w.to_s);
}

static bool begins_period(enum period period, const struct tm *day)
{
	return period == PERIOD_DAY || (period == PERIOD_WEEK && day->tm_wday == 1) || (period == PERIOD_MONTH && day->tm_mday == 1);
}

/* Walks through all windows of the years, holding them against the calendar; `skipped`: a date that the zone does not have. */
static int walk(const char *zone, enum period period, int year, int years, int skipped, int lengths[static 2])
{
	int windows = 0, end = (year + years) * 10000 + 101;
	struct tm day = calendar(year, 0);
	struct window w = civil_window(period, timegm(&day) - 2 * DAY);
	while (date_at(w.from_s) < year * 10000 + 101)
		w = civil_window(period, w.to_s);
	for (int days = 0;; days++) {
		day = calendar(year, days);
		int date = (day.tm_year + 1900) * 10000 + (day.tm_mon + 1) * 100 + day.tm_mday;
		if (date >= end)
			return windows;
		if (!begins_period(period, &day) || date == skipped)
			continue;
		if (w.to_s <= w.from_s || date_at(w.from_s) != date || date_at(w.from_s - 1) >= date)
			fail_msg("%s: a %s begins at %lld, not with %d", zone, period_names[period], (long long)w.from_s, date);
		assert_window(w, period, w.from_s);
		assert_window(w, period, w.from_s + (w.to_s - w.from_s) / 2);
		assert_window(w, period, w.to_s - 1);
		if (period == PERIOD_DAY && w.to_s - w.from_s != DAY)
			lengths[w.to_s - w.from_s > DAY]++;
		windows++;
		int64_t before = w.to_s;
		w = civil_window(period, before);
		assert_int_equal(w.from_s, before); /* neither a gap nor an overlap */
	}
}

static int begins_in(enum period period, int year, int years, int skipped)
{
	int n = 0;
	for (int days = 0;; days++) {
		struct tm day = calendar(year, days);
		if (day.tm_year + 1900 >= year + years)
			return n - (skipped && period == PERIOD_DAY);
		n += begins_period(period, &day);
	}
}

static const struct swept {
	const char *zone;
	int shorter, longer; /* days, 2020 to 2029; -1: not foreseen, laws change */
} swept[] = {
	{"UTC", 0, 0},           {"Europe/Berlin", 10, 10},    {"America/New_York", 10, 10}, {"America/Sao_Paulo", 0, 0},
	{"Asia/Kathmandu", 0, 0}, {"Australia/Lord_Howe", 10, 10}, {"Pacific/Chatham", -1, -1},  {"America/Havana", -1, -1},
	{"Asia/Beirut", -1, -1}, {"Africa/Cairo", -1, -1},     {"Asia/Tehran", -1, -1},      {"America/Santiago", -1, -1},
	{"Africa/Casablanca", -1, -1}, {"Asia/Gaza", -1, -1},  {"Antarctica/Troll", -1, -1}, {"Pacific/Apia", -1, -1},
};

static void test_ten_years(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(swept); i++) {
		set_zone(swept[i].zone);
		for (enum period period = PERIOD_DAY; period < PERIOD_COUNT; period++) {
			int lengths[2] = {0};
			assert_int_equal(walk(swept[i].zone, period, 2020, 10, 0, lengths), begins_in(period, 2020, 10, 0));
			if (period == PERIOD_DAY && swept[i].shorter >= 0) {
				assert_int_equal(lengths[0], swept[i].shorter);
				assert_int_equal(lengths[1], swept[i].longer);
			}
		}
	}
	assert_int_equal(begins_in(PERIOD_DAY, 2020, 10, 0), 3653);
	assert_int_equal(begins_in(PERIOD_MONTH, 2020, 10, 0), 120);
}

static void test_skipped_day(void **state)
{
	(void)state;
	set_zone("Pacific/Apia");
	for (enum period period = PERIOD_DAY; period < PERIOD_COUNT; period++) {
		int lengths[2] = {0};
		assert_int_equal(walk("Pacific/Apia", period, 2010, 3, 20111230, lengths), begins_in(period, 2010, 3, 20111230));
	}
}

/* The definition, moment by moment: the window's day is the latest date that clocks have shown so far. */
static void test_definition(void **state)
{
	(void)state;
	static const struct {
		const char *zone, *from, *to;
	} spans[] = {
		{"America/St_Johns", "2008-01-01 12:00", "2012-01-01 12:00"}, {"Antarctica/Casey", "2009-01-01 12:00", "2013-01-01 12:00"},
		{"Pacific/Apia", "2010-01-01 12:00", "2013-01-01 12:00"},     {"Africa/Casablanca", "2022-01-01 12:00", "2025-01-01 12:00"},
		{"America/Havana", "2022-01-01 12:00", "2025-01-01 12:00"},   {"Africa/Cairo", "2022-01-01 12:00", "2025-01-01 12:00"},
	};
	for (size_t i = 0; i < COUNT(spans); i++) {
		set_zone(spans[i].zone);
		int64_t t = utc(spans[i].from), end = utc(spans[i].to);
		int latest = date_at(t);
		struct window w = civil_window(PERIOD_DAY, t);
		for (; t < end; t += 15 * 60) {
			int date = date_at(t);
			bool changed = date > latest;
			latest = changed ? date : latest;
			if (changed) {
				assert_int_equal(w.to_s, t);
				w = civil_window(PERIOD_DAY, t);
				assert_int_equal(w.from_s, t);
			} else if (t >= w.to_s || date != latest) {
				assert_window(w, PERIOD_DAY, t);
			}
		}
	}
}

/* ---- the rest ---- */

static void test_total(void **state)
{
	(void)state;
	set_zone("Europe/Berlin");
	struct window w = civil_window(PERIOD_TOTAL, utc("2026-11-22 01:15"));
	assert_int_equal(w.from_s, 0);
	assert_true(w.to_s == INT64_MAX);
	static const char *const names[] = {"total", "day", "week", "month"};
	for (size_t i = 0; i < COUNT(names); i++)
		assert_string_equal(period_names[i], names[i]);
	assert_null(period_names[PERIOD_COUNT]);
}

static void test_absurd_moments(void **state)
{
	(void)state;
	static const int64_t moments[] = {INT64_MIN, INT64_MIN + 1, -INT64_C(62135596800), -1, 0, INT64_C(253402300799), INT64_MAX - 1, INT64_MAX};
	static const char *const zones[] = {"UTC", "Europe/Berlin", "Pacific/Apia", "Asia/Manila"};
	for (size_t z = 0; z < COUNT(zones); z++) {
		set_zone(zones[z]);
		for (size_t i = 0; i < COUNT(moments); i++) {
			for (enum period period = PERIOD_DAY; period < PERIOD_COUNT; period++) {
				struct window w = civil_window(period, moments[i]);
				assert_true(w.from_s < w.to_s);
			}
		}
	}
}

static void test_print(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1024);
	set_zone("UTC");
	civil_print_day(&b, utc("2026-11-22 01:15"));
	assert_printed(&b, "2026-11-22");
	civil_print_minute(&b, utc("2026-11-22 01:15") + 59);
	assert_printed(&b, "2026-11-22 01:15");
	set_zone("America/New_York");
	civil_print_day(&b, utc("2026-11-22 01:15"));
	assert_printed(&b, "2026-11-21");
	civil_print_minute(&b, utc("2026-07-01 00:05"));
	assert_printed(&b, "2026-06-30 20:05");
	civil_print_day(&b, INT64_MAX);
	assert_int_equal(b.len, 10);
	buf_release(&b);
}

static void assert_refused(const char *name, const char *part)
{
	struct buf why;
	buf_init(&why, 1024);
	if (civil_set_zone(name, &why))
		fail_msg("\"%s\" was taken", name);
	if (str_search(buf_str(&why), str_from(part)) == why.len)
		fail_msg("\"%s\": \"%.*s\" does not say \"%s\"", name, STR_ARG(buf_str(&why)), part);
	buf_release(&why);
	assert_string_equal(getenv("TZ"), "Asia/Kathmandu"); /* nothing was changed */
}

static void test_zone_names(void **state)
{
	(void)state;
	char lengthy[200];
	set_zone("Asia/Kathmandu");
	memset(lengthy, 'a', sizeof(lengthy) - 1);
	lengthy[sizeof(lengthy) - 1] = 0;
	static const char *const odd[] = {"../zoneinfo/UTC", "Europe/../UTC", "/etc/localtime", "Europe/Ber lin", ":UTC", "<+03>-3",
					  "EST5EDT,M3.2.0,M11.1.0", "right/Europe/Berlin", "\xc3\xa4"};
	for (size_t i = 0; i < COUNT(odd); i++)
		assert_refused(odd[i], "expected the name of a time zone");
	assert_refused(lengthy, "expected the name of a time zone");
	assert_refused("Europe/Berln", "\"Europe/Berln\" is not known");
	assert_refused("Europe", "\"Europe\" is not known");
	assert_refused("europe/atlantis", "is not known");
	assert_int_equal(setenv("TZDIR", "/nowhere", 1), 0);
	assert_refused("Europe/Berlin", "install tzdata");
	set_zone("UTC"); /* needs no file */
	assert_int_equal(date_at(0), 19700101);
	unsetenv("TZDIR");
}

static void test_system_zone(void **state)
{
	(void)state;
	setenv("TZ", "Asia/Kathmandu", 1);
	set_zone("");
	assert_string_equal(getenv("TZ"), "Asia/Kathmandu");
	assert_int_equal(civil_window(PERIOD_DAY, utc("2026-01-01 00:00")).from_s, utc("2025-12-31 18:15"));
	unsetenv("TZ");
	set_zone("");
	assert_null(getenv("TZ"));
	struct window w = civil_window(PERIOD_DAY, utc("2026-01-01 12:00"));
	assert_true(w.from_s <= utc("2026-01-01 12:00") && w.to_s > utc("2026-01-01 12:00"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),      cmocka_unit_test(test_ten_years),
		cmocka_unit_test(test_skipped_day), cmocka_unit_test(test_definition),
		cmocka_unit_test(test_total),      cmocka_unit_test(test_absurd_moments),
		cmocka_unit_test(test_print),      cmocka_unit_test(test_zone_names),
		cmocka_unit_test(test_system_zone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
