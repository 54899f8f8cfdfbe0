/* budget.h - an amount of tokens or money for a day, a week, a month, or once and for all. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_BUDGET_H
#define VALET_GATE_BUDGET_H

#include "base/civil.h"
#include "base/str.h"

enum budget_unit { UNIT_TOKENS, UNIT_MONEY, UNIT_COUNT }; /* stands in leases on disk: never renumbered */

struct budget {
	enum budget_unit unit;
	enum period period;
	int64_t amount; /* tokens, or nano-dollars */
};

/* Reads "1M/month", "200k/day", "1.5M/week", "$5/week", "$0.50/day", "3000000/total", "$20 total"; an amount alone is a total. k, M and G (of
 * either case) are powers of 1000 and of tokens alone; money has at most nine decimals. 0: nothing may be used. Never more than BUDGET_MAX.
 * NULL: fine; else static text saying what was expected, and *out is untouched. */
const char *budget_parse(struct str text, struct budget *out);
#define BUDGET_MAX ((int64_t)1 << 60)
/* Appends the shortest text that budget_parse() reads back to the same. */
void budget_print(struct buf *out, const struct budget *b);
/* Appends an amount: "1.2M" tokens or "$3.42" (exact where `exact`, else rounded to three digits that matter, money from a dollar on to cents). It
 * may be negative: "-$0.42". */
void budget_print_amount(struct buf *out, enum budget_unit unit, int64_t amount, bool exact);
/* "2.5" or "$2.5" into nano-dollars, at most nine decimals, not negative; false on anything else or on overflow. */
bool money_parse(struct str text, int64_t *nanos);

#endif
