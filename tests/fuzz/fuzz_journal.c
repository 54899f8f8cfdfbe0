/* fuzz_journal.c - any bytes as a segment's file: the header, and records up to the first that does not check.
 *
 * Checksums would keep a fuzzer out, so those of the header and of the records are made right first where the first byte says so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/crc.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                  \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "fuzz_journal.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                          \
		}                                                                         \
	} while (0)

#define FIX_HEADER  1
#define FIX_RECORDS 2

static void fix_mark(_Atomic uint64_t *mark)
{
	atomic_store(mark, mark_of(mark_value(atomic_load(mark))));
}

static void fix_header(uint8_t *page)
{
	struct segment_head *head = (struct segment_head *)(void *)page;
	uint32_t crc = crc32c_of(0, page, offsetof(struct segment_head, crc));
	memcpy(&head->crc, &crc, sizeof(crc));
	fix_mark(&head->head);
	fix_mark(&head->synced);
	fix_mark(&head->closed);
}

/* Sequence and checksum of each record that its length lets fit. */
static void fix_records(uint8_t *data, size_t end, uint32_t seed, uint64_t seq)
{
	uint32_t len;
	for (size_t at = 0; end - at >= record_bytes(0); at += record_bytes(len)) {
		memcpy(&len, data + at, sizeof(len));
		if (len > end - at || record_bytes(len) > end - at)
			return;
		memcpy(data + at + 8, &seq, sizeof(seq));
		uint32_t crc = crc32c_of(seed ^ len, data + at + 8, record_bytes(len) - 8);
		memcpy(data + at + 4, &crc, sizeof(crc));
		seq++;
	}
}

static void walk(const uint8_t *data, size_t end, uint32_t seed, uint64_t first)
{
	struct segment_end all = segment_walk(data, end, seed, first);
	struct journal_record record;
	uint64_t count = 0, seq = first;
	size_t at = 0;
	CHECK(all.end <= end && all.end % 8 == 0);
	while (segment_next(data, end, seed, seq, &at, &record)) {
		CHECK((const uint8_t *)record.payload.ptr >= data && (const uint8_t *)record.payload.ptr + record.payload.len <= data + at);
		CHECK(record.seq == all.first + count);
		seq = record.seq + 1;
		count++;
	}
	CHECK(at == all.end);
	CHECK(count ? all.last == all.first + count - 1 && (!first || all.first == first) : all.last == 0 && all.end == 0);
	for (size_t cut = 0; cut < all.end && cut < 256; cut += 8) /* a shorter file has a part of its records */
		CHECK(segment_walk(data, cut, seed, first).end <= cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment_facts facts;
	if (size < 1 + SEGMENT_PAGE)
		return 0;
	size_t end = size - 1 - SEGMENT_PAGE;
	uint8_t *bytes = malloc(size - 1); /* exact size, aligned as a mapping is */
	memcpy(bytes, data + 1, size - 1);
	if (data[0] & FIX_HEADER)
		fix_header(bytes);
	if (segment_read_head(bytes, &facts)) {
		CHECK(facts.lane < JOURNAL_LANES_MAX && facts.synced <= facts.head && facts.head <= facts.bytes - SEGMENT_PAGE);
		CHECK(memchr(facts.boot, 0, sizeof(facts.boot)));
		if (data[0] & FIX_RECORDS)
			fix_records(bytes + SEGMENT_PAGE, end, facts.seed, facts.first ? facts.first : 1);
		walk(bytes + SEGMENT_PAGE, end, facts.seed, facts.first);
		walk(bytes + SEGMENT_PAGE, end, facts.seed, 0);
	}
	free(bytes);
	return 0;
}
