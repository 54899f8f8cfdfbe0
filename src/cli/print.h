/* print.h - what the commands show: grids with aligned columns, numbers, times, JSON in lines, CSV.
 *
 * Pure; texts from outside are made fit for a terminal (no control bytes, valid UTF-8) by whatever prints them here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_CLI_PRINT_H
#define VALET_CLI_PRINT_H

#include "base/json.h"

#include <stdint.h>

#define GRID_COLUMNS_MAX 16

struct grid_column {
	const char *title;
	bool right; /* numbers */
};

/* Rows of cells; printed once all are known, each column as wide as its widest cell. */
struct grid {
	struct arena *arena; /* of the cells */
	const struct grid_column *columns;
	size_t column_count;
	struct grid_row *first, *last;
	struct buf cell; /* of the cell that is being written */
	size_t at;       /* cells of the last row that are there */
};

void grid_init(struct grid *g, struct arena *a, const struct grid_column *columns, size_t count);
void grid_release(struct grid *g);
void grid_row(struct grid *g);                 /* begins a row */
void grid_put(struct grid *g, struct str text); /* its next cell; a text from outside is cleaned */
void grid_putf(struct grid *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends the titles and the rows. A row's cells that were not put are empty. */
void grid_print(struct buf *out, const struct grid *g);

/* How many columns of a terminal the text takes. */
size_t print_width(struct str text);
/* Appends the text without control bytes, bytes that are not UTF-8, and marks that change the direction of writing. */
void print_clean(struct buf *out, struct str text);
/* Appends "1,234,567". */
void print_count(struct buf *out, int64_t n);
/* Appends dollars with four decimals: "$12.3400"; what is smaller than that, but not nothing, is "<$0.0001". */
void print_money(struct buf *out, int64_t nanos);
/* Appends the same exactly, without the sign: "12.34". For programs. */
void print_money_exact(struct buf *out, int64_t nanos);
/* Appends how long that is, in two units at most: "350ms", "2m 5s", "3d 4h". */
void print_duration(struct buf *out, int64_t ms);
/* Appends the value in lines, two spaces a level; lists of plain values stay in one line. */
void print_json(struct buf *out, const struct json *value);
/* Appends one field of CSV (RFC 4180). A text that a spreadsheet would take for a formula gets a ' in front. */
void print_csv(struct buf *out, struct str text);

#endif
