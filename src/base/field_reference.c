/* field_reference.c - the reference of a field table, in markdown.
 *
 * Owns nothing; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/field.h"

static void add_standard(struct buf *out, const struct field *f)
{
	if (f->required)
		BUF_ADD(out, "required");
	else if (f->standard_note)
		buf_adds(out, str_from(f->standard_note));
	else if (f->standard)
		buf_addf(out, "`%s`", f->standard);
	else if (f->type != FIELD_OBJECT)
		BUF_ADD(out, "none");
}

/* A bar would end the cell of a table. */
static void add_cell(struct buf *out, struct str text)
{
	struct str part;
	for (bool more = false; str_split(&text, '|', &part); more = true) {
		if (more)
			BUF_ADD(out, "\\|");
		buf_adds(out, part);
	}
}

static void add_row(struct buf *out, const struct field *f)
{
	struct buf expected;
	buf_init(&expected, 4096);
	field_expectation(&expected, f);
	buf_addf(out, "| `%s` | ", f->name);
	add_cell(out, buf_str(&expected));
	BUF_ADD(out, " | ");
	add_standard(out, f);
	BUF_ADD(out, " | ");
	add_cell(out, str_from(f->help));
	BUF_ADD(out, " |\n");
	buf_release(&expected);
}

/* `path`: of the table, "targets[].models"; empty for the topmost. */
static void add_table(struct buf *out, const struct field_table *table, struct str path)
{
	BUF_ADD(out, "| Name | Value | Default | Meaning |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < table->count; i++)
		add_row(out, &table->fields[i]);
	for (size_t i = 0; i < table->count; i++) {
		const struct field *f = &table->fields[i];
		if (!f->sub)
			continue;
		struct buf below;
		buf_init(&below, 1024);
		buf_addf(&below, "%.*s%s%s%s", STR_ARG(path), path.len ? "." : "", f->name,
			 f->type == FIELD_LIST ? "[]" : "");
		buf_addf(out, "\n## `%.*s`\n\n", STR_ARG(buf_str(&below)));
		add_table(out, f->sub, buf_str(&below));
		buf_release(&below);
	}
}

void field_print_reference(struct buf *out, const struct field_table *table)
{
	add_table(out, table, STR_NONE);
}
