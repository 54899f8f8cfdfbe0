/* fuzz_failure.c - any bytes as an engine's error: what reaches a client is short, clean and never from a refused secret.
 *
 * The first two bytes are the status.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/failure.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                  \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "fuzz_failure.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                          \
		}                                                                         \
	} while (0)

/* Short, valid UTF-8, no control characters: quoted as JSON it stays as it is. */
static void check_text(struct str text)
{
	struct buf b;
	CHECK(text.len <= FAILURE_TEXT_MAX);
	for (size_t i = 0; i < text.len; i++)
		CHECK((unsigned char)text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f);
	buf_init(&b, SIZE_MAX);
	buf_addc(&b, '"');
	for (size_t i = 0; i < text.len; i++)
		buf_addc(&b, text.ptr[i] == '"' || text.ptr[i] == '\\' ? '.' : text.ptr[i]);
	buf_addc(&b, '"');
	CHECK(json_scan(buf_str(&b), NULL, 0, NULL, NULL));
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	struct failure f;
	if (size < 2)
		return 0;
	int status = (data[0] << 8 | data[1]) % 1000;
	arena_init(&a, 4096);
	failure_read(status, str_of((const char *)data + 2, size - 2), &a, &f);
	CHECK(f.error > ERROR_NONE && f.error < ERROR_COUNT);
	CHECK(f.status == 0 || (f.status >= 400 && f.status <= 599));
	CHECK(f.status != 401 && f.status != 403);
	check_text(f.message);
	check_text(f.param);
	check_text(f.code);
	CHECK(f.code.len <= 64);
	CHECK(f.error != ERROR_UPSTREAM_AUTH ||
	      (f.message.len == 0 && f.param.len == 0 && f.code.len == 0));
	arena_release(&a);
	return 0;
}
