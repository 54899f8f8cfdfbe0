/* fuzz_cli.c - any bytes as the answer of an admin listener: what is shown of them is clean text, and never more than came.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"
#include "cli/print.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                              \
	do {                                                                          \
		if (!(condition)) {                                                   \
			fprintf(stderr, "fuzz_cli.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                      \
		}                                                                     \
	} while (0)

#define OUT_MAX ((size_t)16 << 20)

static void check_clean(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		CHECK((unsigned char)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f);
	CHECK(print_width(s) <= s.len);
}

/* Printed and read again it is the same tree. */
static void check_json(struct str text)
{
	struct arena arena;
	struct buf out, again;
	arena_init(&arena, 4096);
	buf_init(&out, OUT_MAX);
	buf_init(&again, OUT_MAX);
	const struct json *value = json_parse(&arena, text, NULL);
	if (value) {
		print_json(&out, value);
		CHECK(!out.over);
		const struct json *copy = json_parse(&arena, buf_str(&out), NULL);
		CHECK(copy && copy->type == value->type && copy->count == value->count);
		print_json(&again, copy);
		CHECK(str_eq(buf_str(&out), buf_str(&again)));
	}
	buf_release(&again);
	buf_release(&out);
	arena_release(&arena);
}

static void check_texts(struct str text)
{
	struct buf out;
	buf_init(&out, OUT_MAX);
	print_clean(&out, text);
	CHECK(!out.over && out.len <= text.len);
	check_clean(buf_str(&out));
	buf_clear(&out);
	print_csv(&out, text);
	check_clean(buf_str(&out));
	CHECK(out.len == 0 || !strchr("=+-@", out.ptr[0]));
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf all, out;
	buf_init(&all, OUT_MAX);
	buf_init(&out, OUT_MAX);
	buf_add(&all, data, size);
	bool whole = client_answer_whole(buf_str(&all));
	int status = client_answer_take(&all, &out);
	CHECK(status == -1 || (status >= 100 && status <= 599));
	CHECK(status != -1 || out.len == 0);
	CHECK(out.len <= size);
	(void)whole;
	check_json(buf_str(&out));
	check_texts(buf_str(&out));
	check_texts(str_of((const char *)data, size));
	buf_release(&out);
	buf_release(&all);
	return 0;
}
