/* field_text.c - how values are written: durations, sizes, quotes, near names, and the list of
 * problems.
 *
 * Owns nothing; any thread, one reader at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/field.h"

#include <stdio.h>

/* ---- durations and sizes ---- */

struct unit {
	struct str name;
	int64_t size;
};

static const struct unit ms_units[] = {
	{STR_INIT("ms"), 1},
	{STR_INIT("s"), 1000},
	{STR_INIT("m"), 60 * 1000},
	{STR_INIT("h"), 60 * 60 * 1000},
	{STR_INIT("d"), 24 * 60 * 60 * 1000},
};

static const struct unit byte_units[] = {
	{STR_INIT(""), 1},
	{STR_INIT("b"), 1},
	{STR_INIT("k"), 1 << 10},
	{STR_INIT("kib"), 1 << 10},
	{STR_INIT("m"), 1 << 20},
	{STR_INIT("mib"), 1 << 20},
	{STR_INIT("g"), 1 << 30},
	{STR_INIT("gib"), 1 << 30},
	{STR_INIT("kb"), 1000},
	{STR_INIT("mb"), 1000 * 1000},
	{STR_INIT("gb"), 1000 * 1000 * 1000},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static bool parse_unit(struct str text, const struct unit *units, size_t n, int64_t *out)
{
	size_t digits = 0;
	while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
		digits++;
	int64_t number, value;
	if (!str_to_i64(str_head(text, digits), &number))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!str_ieq(str_skip(text, digits), units[i].name))
			continue;
		if (__builtin_mul_overflow(number, units[i].size, &value))
			return false;
		*out = value;
		return true;
	}
	return false;
}

bool field_parse_ms(struct str text, int64_t *out)
{
	return parse_unit(text, ms_units, COUNT(ms_units), out);
}

bool field_parse_bytes(struct str text, int64_t *out)
{
	return parse_unit(text, byte_units, COUNT(byte_units), out);
}

/* ---- amounts ---- */

static bool add_digits(struct str digits, int64_t *value)
{
	for (size_t i = 0; i < digits.len; i++) {
		char c = digits.ptr[i];
		if (c < '0' || c > '9' || __builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, c - '0', value))
			return false;
	}
	return true;
}

bool field_parse_decimal(struct str text, unsigned decimals, int64_t *out)
{
	size_t point = str_find(text, '.');
	struct str whole = str_head(text, point), part = str_skip(text, point + 1);
	int64_t value = 0;
	if (whole.len == 0 || (point < text.len && part.len == 0) || part.len > decimals)
		return false;
	if (!add_digits(whole, &value) || !add_digits(part, &value))
		return false;
	for (size_t i = part.len; i < decimals; i++)
		if (__builtin_mul_overflow(value, 10, &value))
			return false;
	*out = value;
	return true;
}

bool field_parse_money(struct str text, int64_t *out)
{
	return field_parse_decimal(str_starts(text, STR("$")) ? str_skip(text, 1) : text, 9, out);
}

/* In the largest unit that gives a whole number. */
static void add_ms(struct buf *out, int64_t ms)
{
	size_t i = COUNT(ms_units) - 1;
	while (i > 0 && (ms == 0 || ms % ms_units[i].size != 0))
		i--;
	buf_addf(out, "%lld%.*s", (long long)(ms / ms_units[i].size), STR_ARG(ms_units[i].name));
}

static void add_bytes(struct buf *out, int64_t bytes)
{
	static const char *const names[] = {" bytes", "KiB", "MiB", "GiB"};
	size_t i = 0;
	for (; i < 3 && bytes && bytes % 1024 == 0; i++)
		bytes /= 1024;
	buf_addf(out, "%lld%s", (long long)bytes, names[i]);
}

/* ---- what is expected, what was found ---- */

static void add_choices(struct buf *out, const char *const *choices)
{
	for (size_t i = 0; choices[i]; i++) {
		const char *between = choices[i + 1] ? ", " : " or ";
		buf_addf(out, "%s%s", i ? between : "", choices[i]);
	}
}

static void add_text_range(struct buf *out, const struct field *f)
{
	BUF_ADD(out, "a text");
	if (f->max)
		buf_addf(out, " of %lld to %lld bytes", (long long)f->min, (long long)f->max);
}

static void add_by_type(struct buf *out, const struct field *f)
{
	switch (f->type) {
	case FIELD_STR:
		add_text_range(out, f);
		break;
	case FIELD_PATH:
		BUF_ADD(out, "the path of a file");
		break;
	case FIELD_INT:
		buf_addf(out, "a whole number from %lld to %lld", (long long)f->min,
			 (long long)f->max);
		break;
	case FIELD_BOOL:
		BUF_ADD(out, "on or off");
		break;
	case FIELD_CHOICE:
		add_choices(out, f->choices);
		break;
	case FIELD_MS:
		BUF_ADD(out, "a time from ");
		add_ms(out, f->min);
		BUF_ADD(out, " to ");
		add_ms(out, f->max);
		BUF_ADD(out, ", such as 500ms, 5s, 2m or 1h");
		break;
	case FIELD_BYTES:
		BUF_ADD(out, "a size from ");
		add_bytes(out, f->min);
		BUF_ADD(out, " to ");
		add_bytes(out, f->max);
		BUF_ADD(out, ", such as 512k, 64MiB or 1GB");
		break;
	case FIELD_MONEY:
		BUF_ADD(out, "an amount of dollars such as 2.50");
		break;
	case FIELD_SECRET:
		BUF_ADD(out, "env:NAME or file:PATH");
		break;
	case FIELD_STR_LIST:
		BUF_ADD(out, "a list of texts");
		break;
	case FIELD_MAP:
		BUF_ADD(out, "a mapping of names to texts");
		break;
	case FIELD_OBJECT:
		BUF_ADD(out, "a mapping");
		break;
	case FIELD_LIST:
		BUF_ADD(out, "a list of mappings");
		break;
	}
}

void field_expectation(struct buf *out, const struct field *f)
{
	if (f->expects)
		buf_adds(out, str_from(f->expects));
	else
		add_by_type(out, f);
	if (f->off)
		BUF_ADD(out, ", or off");
}

/* The part of a URL that may be secret: user and password up to the last '@'. Empty where there is
 * none. */
static struct str credentials(struct str text)
{
	size_t begin = str_search(text, STR("://")) + 3, end = text.len;
	while (end > 0 && text.ptr[end - 1] != '@')
		end--;
	return end > begin ? str_of(text.ptr + begin, end - 1 - begin) : STR_NONE;
}

/* Bytes at `i` that steer a terminal: 1 for a control character, 2 for one of U+0080 to U+009F,
 * else 0. */
static size_t control_bytes(struct str text, size_t i)
{
	unsigned char c = (unsigned char)text.ptr[i];
	if (c < 0x20 || c == 0x7f)
		return 1;
	return c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0 ? 2 : 0;
}

/* Reports are read by people and kept in logs: nothing that steers a terminal, no endless lines, no
 * passwords. */
void field_quote(struct buf *out, struct str text)
{
	enum { SHOWN = 80 };
	char shown[SHOWN];
	bool url = str_search(text, STR("://")) < text.len;
	size_t n = 0, i = 0, query = url ? str_find(text, '?') : text.len;
	struct str hidden = credentials(text);
	for (; i < text.len && i <= query && n < SHOWN; i++) {
		const char *c = text.ptr + i;
		bool hide = hidden.len && c >= hidden.ptr && c < hidden.ptr + hidden.len;
		size_t control = control_bytes(text, i);
		if (!hide)
			shown[n++] = control ? '?' : *c;
		else if (c == hidden.ptr)
			shown[n++] = '*';
		i += control == 2;
	}
	for (bool half = i < text.len; half && n > 0;) {
		unsigned char last = (unsigned char)shown[n - 1];
		half = last >> 6 == 2; /* the cut may have gone through a character */
		n -= last >= 0x80;
	}
	json_quote(out, str_of(shown, n));
	if (i < text.len)
		BUF_ADD(out, "...");
}

/* "ulr" for "url": two edits, but one slip. */
static bool is_swap(struct str a, struct str b)
{
	size_t i = 0;
	while (i < a.len && i < b.len && a.ptr[i] == b.ptr[i])
		i++;
	return a.len == b.len && i + 1 < a.len && a.ptr[i] == b.ptr[i + 1] &&
	       a.ptr[i + 1] == b.ptr[i] && str_eq(str_skip(a, i + 2), str_skip(b, i + 2));
}

const struct str *field_near(struct str name, const struct str *names, size_t n)
{
	const struct str *found = NULL;
	size_t best = name.len < 4 ? 1 : name.len < 7 ? 2 : 3;
	for (size_t i = 0; i < n; i++) {
		size_t distance = is_swap(name, names[i]) ? 1 : str_distance(name, names[i], best);
		if (distance <= best && distance < names[i].len) {
			found = &names[i];
			best = distance;
			if (best == 0)
				break;
			best--;
		}
	}
	return found;
}

/* ---- problems ---- */

static bool is_later(const struct field_problem *p, uint32_t line, uint32_t column)
{
	return p->line > line || (p->line == line && p->column > column);
}

void field_problem_add(struct field_reader *r, bool warning, uint32_t line, uint32_t column,
		       struct str path, struct str text)
{
	if (r->errors + r->warnings - r->dropped >= FIELD_PROBLEMS_MAX) {
		r->dropped++;
	} else {
		struct field_problem **at = &r->problems, *p = arena_zero(r->arena, sizeof(*p));
		while (*at && !is_later(*at, line, column))
			at = &(*at)->next;
		*p = (struct field_problem){.next = *at, .line = line, .column = column};
		p->warning = warning;
		p->path = arena_dup(r->arena, path);
		p->text = arena_dup(r->arena, text);
		*at = p;
	}
	*(warning ? &r->warnings : &r->errors) += 1;
}

void field_problem_print(struct buf *out, struct str file, const struct field_problem *p)
{
	if (file.len)
		buf_addf(out, "%.*s:", STR_ARG(file));
	if (p->line)
		buf_addf(out, "%u:%u:", p->line, p->column);
	if (file.len || p->line)
		BUF_ADD(out, " ");
	if (p->path.len)
		buf_addf(out, "%.*s: ", STR_ARG(p->path));
	buf_addf(out, "%s%.*s\n", p->warning ? "warning: " : "", STR_ARG(p->text));
}
