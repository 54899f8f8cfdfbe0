/* print.c - see print.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include "base/log.h"

#include <assert.h>

enum { CELL_MAX = 4096, GAP = 2 };

/* ---- texts ---- */

/* The code point at s[0..left), and its length; the text is valid UTF-8. */
static uint32_t code_point(const unsigned char *s, size_t left, size_t *len)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
	if (n > left)
		n = left;
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3f);
	*len = n;
	return c;
}

struct range {
	uint32_t from, to;
};

static bool is_in(uint32_t c, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c >= ranges[i].from && c <= ranges[i].to)
			return true;
	return false;
}

#define IS_IN(c, ranges) is_in((c), (ranges), sizeof(ranges) / sizeof((ranges)[0]))

/* Combining marks, joiners and variation selectors; and what most terminals draw over two columns. Not all of Unicode, but what names are made of. */
static const struct range zero_width[] = {{0x300, 0x36f}, {0x483, 0x489}, {0x591, 0x5bd}, {0x610, 0x61a}, {0x64b, 0x65f}, {0x1ab0, 0x1aff},
					  {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}};
static const struct range double_width[] = {{0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff},
					    {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
					    {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
/* They reverse what stands around them, so that a name could be shown as another one. */
static const struct range directions[] = {{0x202a, 0x202e}, {0x2066, 0x2069}, {0x200e, 0x200f}, {0x61c, 0x61c}};

size_t print_width(struct str text)
{
	size_t width = 0, len;
	for (size_t i = 0; i < text.len; i += len) {
		uint32_t c = code_point((const unsigned char *)text.ptr + i, text.len - i, &len);
		width += IS_IN(c, zero_width) ? 0 : IS_IN(c, double_width) ? 2 : 1;
	}
	return width;
}

void print_clean(struct buf *out, struct str text)
{
	char *clean = mem_alloc(text.len + 1);
	size_t len;
	log_clean(clean, text.len, text);
	struct str s = str_from(clean);
	for (size_t i = 0; i < s.len; i += len) {
		uint32_t c = code_point((const unsigned char *)s.ptr + i, s.len - i, &len);
		if (IS_IN(c, directions))
			BUF_ADD(out, "?");
		else
			buf_add(out, s.ptr + i, len);
	}
	free(clean);
}

/* ---- numbers and times ---- */

static void add_grouped(struct buf *out, uint64_t n)
{
	if (n >= 1000) {
		add_grouped(out, n / 1000);
		buf_addf(out, ",%03u", (unsigned)(n % 1000));
	} else {
		buf_addu(out, n);
	}
}

static uint64_t size_of(int64_t n)
{
	return n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
}

void print_count(struct buf *out, int64_t n)
{
	if (n < 0)
		BUF_ADD(out, "-");
	add_grouped(out, size_of(n));
}

void print_money(struct buf *out, int64_t nanos)
{
	uint64_t parts = size_of(nanos) / 100000; /* of 10,000 in a dollar */
	if (nanos != 0 && parts == 0) {
		BUF_ADD(out, "<$0.0001");
		return;
	}
	if (nanos < 0)
		BUF_ADD(out, "-");
	BUF_ADD(out, "$");
	add_grouped(out, parts / 10000);
	buf_addf(out, ".%04u", (unsigned)(parts % 10000));
}

void print_money_exact(struct buf *out, int64_t nanos)
{
	uint64_t n = size_of(nanos);
	unsigned rest = (unsigned)(n % 1000000000), digits = 9;
	if (nanos < 0)
		BUF_ADD(out, "-");
	buf_addu(out, n / 1000000000);
	if (rest == 0)
		return;
	for (; rest % 10 == 0; digits--)
		rest /= 10;
	buf_addf(out, ".%0*u", (int)digits, rest);
}

void print_duration(struct buf *out, int64_t ms)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
	enum { UNITS = sizeof(units) / sizeof(units[0]) };
	size_t i = 0;
	ms = ms < 0 ? 0 : ms;
	while (i + 1 < UNITS && ms < units[i].ms)
		i++;
	buf_addf(out, "%lld%s", (long long)(ms / units[i].ms), units[i].name);
	ms %= units[i].ms;
	if (i + 2 < UNITS && ms >= units[i + 1].ms)
		buf_addf(out, " %lld%s", (long long)(ms / units[i + 1].ms), units[i + 1].name);
}

/* ---- grids ---- */

struct grid_row {
	struct grid_row *next;
	struct str cells[GRID_COLUMNS_MAX];
};

void grid_init(struct grid *g, struct arena *a, const struct grid_column *columns, size_t count)
{
	assert(count <= GRID_COLUMNS_MAX);
	*g = (struct grid){.arena = a, .columns = columns, .column_count = count};
	buf_init(&g->cell, CELL_MAX);
}

void grid_release(struct grid *g)
{
	buf_release(&g->cell);
}

void grid_row(struct grid *g)
{
	struct grid_row *row = arena_zero(g->arena, sizeof(*row));
	if (g->last)
		g->last->next = row;
	else
		g->first = row;
	g->last = row;
	g->at = 0;
}

void grid_put(struct grid *g, struct str text)
{
	assert(g->last && g->at < g->column_count);
	buf_clear(&g->cell);
	print_clean(&g->cell, str_head(text, CELL_MAX / 4));
	g->last->cells[g->at++] = arena_dup(g->arena, buf_str(&g->cell));
}

void grid_putf(struct grid *g, const char *format, ...)
{
	va_list args;
	struct buf text;
	buf_init(&text, CELL_MAX);
	va_start(args, format);
	buf_addv(&text, format, args);
	va_end(args);
	grid_put(g, buf_str(&text));
	buf_release(&text);
}

static void add_spaces(struct buf *out, size_t n)
{
	while (n--)
		buf_addc(out, ' ');
}

/* The last column is not padded. */
static void print_cells(struct buf *out, const struct grid *g, const struct str *cells, const size_t *widths)
{
	size_t before = out->len;
	for (size_t i = 0; i < g->column_count; i++) {
		size_t pad = widths[i] - print_width(cells[i]);
		if (g->columns[i].right)
			add_spaces(out, pad);
		buf_adds(out, cells[i]);
		if (!g->columns[i].right)
			add_spaces(out, pad);
		add_spaces(out, GAP);
	}
	while (out->len > before && out->ptr[out->len - 1] == ' ')
		out->len--;
	BUF_ADD(out, "\n");
}

void grid_print(struct buf *out, const struct grid *g)
{
	size_t widths[GRID_COLUMNS_MAX] = {0};
	struct str titles[GRID_COLUMNS_MAX] = {STR_NONE};
	for (size_t i = 0; i < g->column_count; i++) {
		titles[i] = str_from(g->columns[i].title);
		widths[i] = print_width(titles[i]);
		for (const struct grid_row *row = g->first; row; row = row->next)
			if (print_width(row->cells[i]) > widths[i])
				widths[i] = print_width(row->cells[i]);
	}
	print_cells(out, g, titles, widths);
	for (const struct grid_row *row = g->first; row; row = row->next)
		print_cells(out, g, row->cells, widths);
}

/* ---- JSON and CSV ---- */

static bool is_plain_list(const struct json *value)
{
	if (value->type != JSON_ARRAY)
		return false;
	for (const struct json *e = value->first; e; e = e->next)
		if (e->type == JSON_ARRAY || e->type == JSON_OBJECT)
			return false;
	return true;
}

static void add_json(struct buf *out, const struct json *value, size_t depth, bool lines)
{
	bool object = value->type == JSON_OBJECT, inside = lines && !is_plain_list(value);
	if (value->type == JSON_STRING)
		buf_addf(out, "\"%.*s\"", STR_ARG(value->raw));
	else if (!object && value->type != JSON_ARRAY)
		buf_adds(out, value->raw);
	if (!object && value->type != JSON_ARRAY)
		return;
	buf_addc(out, object ? '{' : '[');
	for (const struct json *e = value->first; e; e = e->next) {
		if (inside)
			BUF_ADD(out, "\n");
		add_spaces(out, inside ? (depth + 1) * 2 : 0);
		if (object)
			buf_addf(out, "\"%.*s\": ", STR_ARG(e->key));
		add_json(out, e, depth + 1, lines);
		if (e->next)
			buf_adds(out, inside ? STR(",") : STR(", "));
	}
	if (inside && value->first)
		BUF_ADD(out, "\n");
	add_spaces(out, inside && value->first ? depth * 2 : 0);
	buf_addc(out, object ? '}' : ']');
}

void print_json(struct buf *out, const struct json *value)
{
	add_json(out, value, 0, true);
	BUF_ADD(out, "\n");
}

void print_csv(struct buf *out, struct str text)
{
	struct buf clean;
	buf_init(&clean, CELL_MAX);
	if (text.len && memchr("=+-@\t\r", text.ptr[0], 6))
		BUF_ADD(&clean, "'");
	print_clean(&clean, str_head(text, CELL_MAX / 4));
	bool quote = false;
	for (size_t i = 0; i < clean.len; i++)
		quote |= strchr(",\"\r\n", clean.ptr[i]) != NULL;
	if (quote)
		BUF_ADD(out, "\"");
	for (size_t i = 0; i < clean.len; i++)
		buf_add(out, "\"\"", clean.ptr[i] == '"' ? 1 : 0), buf_addc(out, clean.ptr[i]);
	if (quote)
		BUF_ADD(out, "\"");
	buf_release(&clean);
}
