/* fuzz_record.c - any bytes as records: what is accepted is written back as the same bytes.
 *
 * The first byte says which kind of record the others are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "fuzz_record.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                         \
		}                                                                        \
	} while (0)

static char out[RECORD_MAX];

/* A text that the encoder would have cut at a character's edge cannot come back longer or shorter. */
static void same(struct str bytes, size_t n)
{
	CHECK(n == bytes.len && memcmp(out, bytes.ptr, n) == 0);
}

static void inside(struct str bytes, struct str text)
{
	CHECK(text.len <= RECORD_TEXT && text.ptr >= bytes.ptr && text.ptr + text.len <= bytes.ptr + bytes.len);
}

static void begin(struct str bytes)
{
	struct record_begin r;
	if (!record_get_begin(bytes, &r))
		return;
	inside(bytes, r.model);
	inside(bytes, r.target);
	inside(bytes, r.op);
	same(bytes, record_put_begin(out, &r));
}

static void settle(struct str bytes)
{
	struct record_settle r;
	if (!record_get_settle(bytes, &r))
		return;
	CHECK(r.source < SOURCE_COUNT);
	inside(bytes, r.model);
	inside(bytes, r.error);
	same(bytes, record_put_settle(out, &r));
}

static void lease(struct str bytes)
{
	struct record_lease r;
	if (!record_get_lease(bytes, &r))
		return;
	inside(bytes, r.pattern);
	same(bytes, record_put_lease(out, &r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(struct str bytes) = {begin, settle, lease};
	if (size)
		kinds[data[0] % 3](str_of((const char *)data + 1, size - 1));
	return 0;
}
