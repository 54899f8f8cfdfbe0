/* budget.c - how amounts of tokens and money are read and written.
 *
 * Owns nothing; any thread. All of it is whole numbers: a budget that was read, printed and read again is the same to the last nano-dollar.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/budget.h"

#include "base/field.h"

enum { MONEY_DECIMALS = 9 };

/* A letter behind an amount of tokens: the number of zeros that it stands for. */
struct suffix {
	char letter; /* 0: none */
	unsigned decimals;
};

/* Smallest first. */
static const struct suffix suffixes[] = {{0, 0}, {'k', 3}, {'M', 6}, {'G', 9}};

#define SUFFIX_COUNT (sizeof(suffixes) / sizeof(suffixes[0]))

/* ---- reading ---- */

bool money_parse(struct str text, int64_t *nanos)
{
	return field_parse_money(text, nanos);
}

static bool parse_tokens(struct str text, int64_t *out)
{
	char last = text.len ? text.ptr[text.len - 1] : 0;
	for (size_t i = 1; i < SUFFIX_COUNT; i++)
		if ((last | 0x20) == (suffixes[i].letter | 0x20))
			return field_parse_decimal(str_head(text, text.len - 1), suffixes[i].decimals, out);
	return field_parse_decimal(text, 0, out);
}

static bool parse_period(struct str word, enum period *out)
{
	for (int i = 0; i < PERIOD_COUNT; i++) {
		if (str_ieq(word, str_from(period_names[i]))) {
			*out = (enum period)i;
			return true;
		}
	}
	return false;
}

/* Where the amount ends: at a slash or a space. */
static size_t amount_end(struct str text)
{
	size_t i = 0;
	while (i < text.len && text.ptr[i] != '/' && text.ptr[i] != ' ' && text.ptr[i] != '\t')
		i++;
	return i;
}

const char *budget_parse(struct str text, struct budget *out)
{
	struct budget b = {UNIT_TOKENS, PERIOD_TOTAL, 0};
	text = str_trim(text);
	struct str amount = str_head(text, amount_end(text)), rest = str_trim(str_skip(text, amount.len));
	bool slash = str_starts(rest, STR("/"));
	struct str word = slash ? str_trim(str_skip(rest, 1)) : rest;
	if (str_starts(amount, STR("$")))
		b.unit = UNIT_MONEY;
	if (!(b.unit == UNIT_MONEY ? money_parse(amount, &b.amount) : parse_tokens(amount, &b.amount)))
		return "expected an amount such as 200k or 1.5M tokens, or $2.50 with at most nine decimals";
	if (b.amount > BUDGET_MAX)
		return b.unit == UNIT_MONEY ? "expected at most $1152921504" : "expected at most 1152921504G tokens";
	if ((slash || word.len) && !parse_period(word, &b.period))
		return "expected /day, /week, /month or /total behind the amount";
	*out = b;
	return NULL;
}

/* ---- writing ---- */

static uint64_t power10(unsigned n)
{
	uint64_t value = 1;
	while (n-- > 0)
		value *= 10;
	return value;
}

/* `value` / 10^decimals with no zeros at its end, but at least `least` digits behind the point where there is one. Returns its length. */
static size_t print_decimal(struct buf *out, uint64_t value, unsigned decimals, unsigned least)
{
	char digits[24];
	uint64_t one = power10(decimals), part = value % one;
	unsigned n = decimals;
	size_t before = out->len;
	buf_addu(out, value / one);
	for (unsigned i = decimals; i > 0; i--, part /= 10)
		digits[i - 1] = (char)('0' + part % 10);
	while (n > 0 && digits[n - 1] == '0')
		n--;
	if (n > 0 && n < least)
		n = least < decimals ? least : decimals;
	if (n > 0) {
		buf_addc(out, '.');
		buf_add(out, digits, n);
	}
	return out->len - before;
}

/* To the nearest multiple of 10^n; a half goes up. */
static uint64_t rounded(uint64_t value, unsigned n)
{
	uint64_t unit = power10(n), over = value % unit;
	return over > unit - over - 1 ? value - over + unit : value - over;
}

static unsigned digit_count(uint64_t value)
{
	unsigned n = 1;
	for (; value >= 10; value /= 10)
		n++;
	return n;
}

static uint64_t three_digits(uint64_t value)
{
	unsigned n = digit_count(value);
	return n > 3 ? rounded(value, n - 3) : value;
}

static void print_tokens(struct buf *out, uint64_t tokens)
{
	struct buf scratch;
	size_t best = 0, best_len = SIZE_MAX;
	buf_init(&scratch, 64);
	for (size_t i = 0; i < SUFFIX_COUNT && (i == 0 || tokens >= power10(suffixes[i].decimals)); i++) {
		buf_clear(&scratch);
		size_t len = print_decimal(&scratch, tokens, suffixes[i].decimals, 0) + (i > 0);
		if (len <= best_len) {
			best = i;
			best_len = len;
		}
	}
	buf_release(&scratch);
	print_decimal(out, tokens, suffixes[best].decimals, 0);
	if (suffixes[best].letter)
		buf_addc(out, suffixes[best].letter);
}

static void print_money(struct buf *out, uint64_t nanos, bool exact)
{
	const uint64_t dollar = power10(MONEY_DECIMALS);
	if (!exact)
		nanos = nanos >= dollar ? rounded(nanos, MONEY_DECIMALS - 2) : three_digits(nanos);
	buf_addc(out, '$');
	print_decimal(out, nanos, MONEY_DECIMALS, exact ? 0 : 2);
}

void budget_print_amount(struct buf *out, enum budget_unit unit, int64_t amount, bool exact)
{
	uint64_t size = amount < 0 ? -(uint64_t)amount : (uint64_t)amount;
	if (amount < 0)
		buf_addc(out, '-');
	if (unit == UNIT_MONEY)
		print_money(out, size, exact);
	else
		print_tokens(out, exact ? size : three_digits(size));
}

void budget_print(struct buf *out, const struct budget *b)
{
	budget_print_amount(out, b->unit, b->amount, true);
	if (b->period != PERIOD_TOTAL)
		buf_addf(out, "/%s", period_names[b->period]);
}
