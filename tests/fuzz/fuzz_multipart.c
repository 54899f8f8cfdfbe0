/* fuzz_multipart.c - multipart bodies and boundaries: the first line is the Content-Type, the rest the body.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/multipart.h"

#include <stdlib.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No delimiter stands inside of a value, whatever line ends are thought of. */
static void check_value(struct str body, struct str boundary, struct str value)
{
	char delimiter[80] = "\n--";
	REQUIRE(value.ptr >= body.ptr && value.ptr + value.len <= body.ptr + body.len);
	REQUIRE(boundary.len <= 70);
	memcpy(delimiter + 3, boundary.ptr, boundary.len);
	struct str needle = str_of(delimiter, boundary.len + 3);
	REQUIRE(str_search(value, needle) == value.len);
	struct str behind = str_skip(body, (size_t)(value.ptr - body.ptr) + value.len);
	REQUIRE(behind.len > needle.len && behind.ptr[0] == '\r' &&
		str_starts(str_skip(behind, 1), needle));
}

static void check_body(struct str body, struct str boundary, struct str name)
{
	struct str value = STR_NONE;
	enum multipart_result r = multipart_find(body, boundary, name, &value);
	if (r == MULTIPART_FOUND || r == MULTIPART_TWICE)
		check_value(body, boundary, value);
	if (r != MULTIPART_BAD)
		REQUIRE(str_starts(body, STR("--")) && str_starts(str_skip(body, 2), boundary));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str all = str_of((const char *)data, size);
	struct str type = str_head(all, str_find(all, '\n'));
	struct str body = str_skip(all, type.len + 1);
	struct str boundary = multipart_boundary(type);
	if (boundary.ptr)
		check_body(body, boundary, STR("model"));
	check_body(body, STR("B"), STR("model"));
	check_body(body, STR("B"), STR(""));
	return 0;
}
