/* fuzz_budget.c - budgets and amounts of money: what is taken prints as what reads back to the same; and names of models, which find a price or none.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/budget.h"
#include "gate/price.h"

#include <stdlib.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_budget(struct str text)
{
	struct budget b = {UNIT_COUNT, PERIOD_COUNT, -1}, again;
	struct buf out;
	if (budget_parse(text, &b)) {
		REQUIRE(b.unit == UNIT_COUNT && b.period == PERIOD_COUNT && b.amount == -1);
		return;
	}
	REQUIRE(b.amount >= 0 && b.amount <= BUDGET_MAX);
	buf_init(&out, 256);
	budget_print(&out, &b);
	REQUIRE(!out.over && budget_parse(buf_str(&out), &again) == NULL);
	REQUIRE(again.unit == b.unit && again.period == b.period && again.amount == b.amount);
	buf_clear(&out);
	budget_print_amount(&out, b.unit, b.amount, false);
	bool fits = b.amount < BUDGET_MAX / 2; /* what is rounded up may be more than a budget can be */
	REQUIRE(!out.over && (!fits || (budget_parse(buf_str(&out), &again) == NULL && again.unit == b.unit)));
	buf_release(&out);
}

static void check_money(struct str text)
{
	struct budget b;
	struct buf out;
	int64_t nanos = -1, again = -1;
	if (!money_parse(text, &nanos)) {
		REQUIRE(nanos == -1);
		return;
	}
	REQUIRE(nanos >= 0);
	buf_init(&out, 256);
	budget_print_amount(&out, UNIT_MONEY, nanos, true);
	REQUIRE(money_parse(buf_str(&out), &again) && again == nanos);
	REQUIRE((budget_parse(buf_str(&out), &b) == NULL) == (nanos <= BUDGET_MAX));
	buf_release(&out);
}

static void check_price(struct price p)
{
	REQUIRE(p.input >= 0 && p.cached >= 0 && p.output >= 0 && p.per_second == 0);
	REQUIRE(p.known || (p.input == 0 && p.cached == 0 && p.output == 0));
	REQUIRE(!p.known || p.input > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = str_of((const char *)data, size);
	check_budget(text);
	check_money(text);
	check_price(price_reference(text));
	for (const struct price_row *row = price_rows; row->vendor; row++)
		if (row == price_rows || strcmp(row->vendor, row[-1].vendor) != 0)
			check_price(price_listed(row->vendor, text));
	check_price(price_listed("openrouter", text));
	REQUIRE(price_vendor(text) == NULL || size > 6);
	return 0;
}
