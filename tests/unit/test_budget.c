/* test_budget.c - budgets and amounts of money: exact to the last nano-dollar, in and out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random_fixture.h"

static const struct {
	const char *text, *printed;
	struct budget budget;
} good[] = {
	{"1M/month", "1M/month", {UNIT_TOKENS, PERIOD_MONTH, 1000000}},
	{"200k/day", "200k/day", {UNIT_TOKENS, PERIOD_DAY, 200000}},
	{"1.5M/day", "1.5M/day", {UNIT_TOKENS, PERIOD_DAY, 1500000}},
	{"1500k / day", "1.5M/day", {UNIT_TOKENS, PERIOD_DAY, 1500000}},
	{"1.5m/Day", "1.5M/day", {UNIT_TOKENS, PERIOD_DAY, 1500000}},
	{" 2G week ", "2G/week", {UNIT_TOKENS, PERIOD_WEEK, 2000000000}},
	{"3000000/total", "3M", {UNIT_TOKENS, PERIOD_TOTAL, 3000000}},
	{"1234567", "1234567", {UNIT_TOKENS, PERIOD_TOTAL, 1234567}},
	{"1230", "1230", {UNIT_TOKENS, PERIOD_TOTAL, 1230}},
	{"1200", "1.2k", {UNIT_TOKENS, PERIOD_TOTAL, 1200}},
	{"999", "999", {UNIT_TOKENS, PERIOD_TOTAL, 999}},
	{"0.001k", "1", {UNIT_TOKENS, PERIOD_TOTAL, 1}},
	{"0.000000001G/day", "1/day", {UNIT_TOKENS, PERIOD_DAY, 1}},
	{"0/day", "0/day", {UNIT_TOKENS, PERIOD_DAY, 0}},
	{"0007/day", "7/day", {UNIT_TOKENS, PERIOD_DAY, 7}},
	{"1152921504606846976", "1152921504606846976", {UNIT_TOKENS, PERIOD_TOTAL, BUDGET_MAX}},
	{"$5/week", "$5/week", {UNIT_MONEY, PERIOD_WEEK, 5000000000}},
	{"$0.50/day", "$0.5/day", {UNIT_MONEY, PERIOD_DAY, 500000000}},
	{"$20 total", "$20", {UNIT_MONEY, PERIOD_TOTAL, 20000000000}},
	{"$1000/month", "$1000/month", {UNIT_MONEY, PERIOD_MONTH, 1000000000000}},
	{"$0/month", "$0/month", {UNIT_MONEY, PERIOD_MONTH, 0}},
	{"$0.000000001", "$0.000000001", {UNIT_MONEY, PERIOD_TOTAL, 1}},
	{"$1.000000010", "$1.00000001", {UNIT_MONEY, PERIOD_TOTAL, 1000000010}},
	{"$1152921504.606846976", "$1152921504.606846976", {UNIT_MONEY, PERIOD_TOTAL, BUDGET_MAX}},
};

static const char *const bad[] = {
	"",	  " ",	       "/day",	     "day",	 "k",	      "k/day",	  "M",	      "$",	      "$/day",	     "-1/day",	    "+1",
	"1 k",	  "1k/",       "1k//day",    "1k/days",  "1k/day/day", "1k day x", "1k/hour",  "1.5/day",    "0.0005k",	     "1.k",	    ".5k",
	"1.",	  "1..5k",     "1.5.5k",     "1,5k",	 "1_000",     "1e3",	  "0x10",     "1T/day",	      "1kk",	     "1Mk",	    "$1k",
	"$-1",	  "$.5",       "$1.",	     "$$5",	 "5$",	      "$ 5",	  "€5",	      "$1.0000000001", "5 dollars/day", "1M/\xc3\xa9",  "inf",
	"9223372036854775808",   "1152921504606846977",  "9300000000G",		  "$1152921504.606846977", "$9223372037",
	"99999999999999999999999999999999999999999999k", "0.00000000000000000000000000000000001G",
};

static void reads(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct budget b;
		const char *wrong = budget_parse(str_from(good[i].text), &b);
		if (wrong)
			fail_msg("%s: %s", good[i].text, wrong);
		assert_int_equal(b.unit, good[i].budget.unit);
		assert_int_equal(b.period, good[i].budget.period);
		assert_int_equal(b.amount, good[i].budget.amount);
	}
}

static void refuses(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct budget b = {UNIT_COUNT, PERIOD_COUNT, -7};
		const char *wrong = budget_parse(str_from(bad[i]), &b);
		if (!wrong || !*wrong)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(b.unit, UNIT_COUNT);
		assert_int_equal(b.amount, -7);
	}
	struct budget b;
	assert_int_not_equal(budget_parse(STR("1k\0"), &b), NULL);
	assert_string_equal(budget_parse(STR("1k/dya"), &b), "expected /day, /week, /month or /total behind the amount");
}

static void assert_amount(enum budget_unit unit, int64_t amount, bool exact, const char *text)
{
	struct buf out;
	buf_init(&out, 256);
	budget_print_amount(&out, unit, amount, exact);
	buf_addc(&out, '\0');
	assert_string_equal(out.ptr, text);
	buf_release(&out);
}

static void prints(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct buf out;
		buf_init(&out, 256);
		budget_print(&out, &good[i].budget);
		buf_addc(&out, '\0');
		assert_string_equal(out.ptr, good[i].printed);
		buf_release(&out);
	}
}

static void prints_amounts(void **state)
{
	assert_amount(UNIT_TOKENS, 1234567, true, "1234567");
	assert_amount(UNIT_TOKENS, 1234567, false, "1.23M");
	assert_amount(UNIT_TOKENS, 1235000, false, "1.24M");
	assert_amount(UNIT_TOKENS, 999, false, "999");
	assert_amount(UNIT_TOKENS, 1004, false, "1k");
	assert_amount(UNIT_TOKENS, 999499, false, "999k");
	assert_amount(UNIT_TOKENS, 999500, false, "1M");
	assert_amount(UNIT_TOKENS, -1500, false, "-1.5k");
	assert_amount(UNIT_TOKENS, 0, false, "0");
	assert_amount(UNIT_TOKENS, INT64_MAX, true, "9223372036854775807");
	assert_amount(UNIT_TOKENS, INT64_MIN, true, "-9223372036854775808");
	assert_amount(UNIT_TOKENS, INT64_MIN, false, "-9220000000G");
	assert_amount(UNIT_MONEY, 3420000000, false, "$3.42");
	assert_amount(UNIT_MONEY, 3424999999, false, "$3.42");
	assert_amount(UNIT_MONEY, 3425000000, false, "$3.43");
	assert_amount(UNIT_MONEY, 3400000000, false, "$3.40");
	assert_amount(UNIT_MONEY, 3000000000, false, "$3");
	assert_amount(UNIT_MONEY, 1234567890000, false, "$1234.57");
	assert_amount(UNIT_MONEY, 999999999, false, "$1");
	assert_amount(UNIT_MONEY, 500000000, false, "$0.50");
	assert_amount(UNIT_MONEY, 1234567, false, "$0.00123");
	assert_amount(UNIT_MONEY, 1234567, true, "$0.001234567");
	assert_amount(UNIT_MONEY, 1, false, "$0.000000001");
	assert_amount(UNIT_MONEY, -420000000, false, "-$0.42");
	assert_amount(UNIT_MONEY, INT64_MIN, true, "-$9223372036.854775808");
	assert_amount(UNIT_MONEY, 0, false, "$0");
}

static uint64_t random_state = 88172645463325252u;

/* Whatever the amount, what is printed reads back to the same, and never takes more room than its digits. */
static void round_trip(void **state)
{
	struct buf out;
	buf_init(&out, 256);
	for (int i = 0; i < 200000; i++) {
		struct budget b = {random_next(&random_state) % UNIT_COUNT, random_next(&random_state) % PERIOD_COUNT, 0}, again;
		uint64_t zeros[] = {1, 10, 1000, 100000, 1000000, 1000000000};
		b.amount = (int64_t)((random_next(&random_state) >> (random_next(&random_state) % 60 + 4)) / zeros[random_next(&random_state) % 6] * zeros[random_next(&random_state) % 6] % BUDGET_MAX);
		buf_clear(&out);
		budget_print(&out, &b);
		assert_null(budget_parse(buf_str(&out), &again));
		assert_int_equal(again.unit, b.unit);
		assert_int_equal(again.period, b.period);
		assert_int_equal(again.amount, b.amount);
		char plain[64];
		int n = snprintf(plain, sizeof(plain), "%lld", (long long)b.amount);
		assert_true(b.unit == UNIT_MONEY || str_find(buf_str(&out), '/') <= (size_t)n);
	}
	buf_release(&out);
}

static void money(void **state)
{
	static const struct {
		const char *text;
		int64_t nanos;
	} fine[] = {{"2.5", 2500000000},	{"$2.5", 2500000000}, {"0.00000002", 20},	{"0", 0},	 {"$0.00", 0},
		    {"00.10", 100000000}, {"3", 3000000000},	{"9223372036.854775807", INT64_MAX}};
	static const char *const wrong[] = {"",	  "$",	 ".",	 "-1",	"-0",  "+1",		      "1.",	      ".5",  "1.2.3", "0.0000000001",
					    "1e-3", "1 ", " 1", "$ 1", "1$", "9223372036.854775808", "9223372037", "abc", "1,5",   "٣"};
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		int64_t nanos = -1;
		assert_true(money_parse(str_from(fine[i].text), &nanos));
		assert_int_equal(nanos, fine[i].nanos);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int64_t nanos = -1;
		if (money_parse(str_from(wrong[i]), &nanos))
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_int_equal(nanos, -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),	  cmocka_unit_test(refuses),	cmocka_unit_test(prints),
		cmocka_unit_test(prints_amounts), cmocka_unit_test(round_trip), cmocka_unit_test(money),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
