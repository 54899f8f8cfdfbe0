/* fuzz_sse.c - server-sent events: the same events at any split, and nothing outside of the bytes.
 *
 * Byte 0 says how the bytes are split.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "http/sse.h"

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct str whole, struct str part)
{
	return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

static void check_event(struct str event)
{
	struct str rest = event, name, value, data = sse_data(event);
	size_t lines = 0, datas = 0;
	while (sse_next_line(&rest, &name, &value)) {
		REQUIRE(inside(event, name) && inside(event, value) && inside(event, rest));
		REQUIRE(str_find(name, '\n') == name.len && str_find(value, '\n') == value.len);
		REQUIRE(str_find(name, '\r') == name.len && str_find(value, '\r') == value.len);
		datas += str_eq(name, STR("data"));
		REQUIRE(++lines <= event.len);
	}
	REQUIRE((datas == 1) == (data.ptr != NULL));
	REQUIRE(!data.ptr || inside(event, data));
	REQUIRE(event.ptr[event.len - 1] == '\n' || event.ptr[event.len - 1] == '\r');
}

/* The end of the next event in all[from ..), where only the bytes up to `have` have come. */
static size_t next_event(struct str all, size_t from, size_t have)
{
	char *copy = mem_alloc(have - from + 1);
	memcpy(copy, all.ptr + from, have - from);
	size_t n = sse_event_length(str_of(copy, have - from));
	REQUIRE(n <= have - from);
	if (n > 0)
		check_event(str_of(copy, n));
	free(copy);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 4096)
		return 0;
	struct str all = str_of((const char *)data + 1, size - 1);
	uint32_t seed = data[0];
	size_t at = 0, have = 0, expected = next_event(all, 0, all.len);
	while (have < all.len) {
		seed = seed * 1664525 + 1013904223;
		have += 1 + (seed >> 24) % 24;
		if (have > all.len)
			have = all.len;
		for (size_t n; (n = next_event(all, at, have)) > 0;) {
			REQUIRE(n == expected);
			at += n;
			expected = next_event(all, at, all.len);
		}
	}
	REQUIRE(expected == 0);
	return 0;
}
