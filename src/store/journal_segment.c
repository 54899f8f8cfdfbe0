/* journal_segment.c - a segment as bytes: the header page and the records. Pure; any thread.
 *
 * A record is: length of the payload (4 bytes), CRC-32C (4), sequence (8), type (1), payload, zeros up to a multiple of 8. The CRC goes over all that
 * follows it, zeros included, and begins with a seed made of lane, number and nonce of the segment and the length: no bit of a record can change unseen,
 * and no record counts in a place where it was not written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/journal_parts.h"

#include "base/crc.h"

#include <stddef.h>

#define MAGIC     "VALETJRN"
#define VERSION   1
#define CRC_AT    4  /* where a record's CRC stands, and what it begins with */
#define BODY_AT   8
#define TYPE_AT   16

_Static_assert(offsetof(struct segment_head, crc) == 92 && offsetof(struct segment_head, head) == 128 &&
	       sizeof(struct segment_head) <= 512, "the layout of the header page");

static uint32_t seed_of(const struct segment_head *page)
{
	uint64_t parts[3] = {page->lane, page->number, page->nonce};
	return crc32c_of(0, parts, sizeof(parts));
}

static uint32_t head_crc(const struct segment_head *page)
{
	return crc32c_of(0, page, offsetof(struct segment_head, crc));
}

void segment_write_head(struct segment_head *page, const struct segment_facts *f, uint64_t nonce)
{
	memset((void *)page, 0, SEGMENT_PAGE);
	memcpy(page->magic, MAGIC, sizeof(page->magic));
	page->version = VERSION;
	page->lane = f->lane;
	page->number = f->number;
	page->first = f->first;
	page->bytes = f->bytes;
	page->nonce = nonce;
	memcpy(page->boot, f->boot, BOOT_BYTES);
	page->crc = head_crc(page);
	atomic_store_explicit(&page->head, mark_of(f->head), memory_order_relaxed);
	atomic_store_explicit(&page->synced, mark_of(f->synced), memory_order_relaxed);
	atomic_store_explicit(&page->closed, mark_of(f->closed), memory_order_relaxed);
}

static bool read_mark(const _Atomic uint64_t *from, size_t max, size_t *out)
{
	uint64_t mark = atomic_load_explicit(from, memory_order_acquire);
	*out = mark_value(mark);
	return mark == mark_of(*out) && *out <= max;
}

bool segment_read_head(const void *bytes, struct segment_facts *out)
{
	struct segment_head page;
	size_t closed;
	memcpy((void *)&page, bytes, sizeof(page));
	if (memcmp(page.magic, MAGIC, sizeof(page.magic)) != 0 || page.version != VERSION || page.crc != head_crc(&page))
		return false;
	if (page.lane >= JOURNAL_LANES_MAX || page.number == 0 || page.bytes < SEGMENT_MIN || page.bytes > SEGMENT_MAX)
		return false;
	size_t capacity = (size_t)page.bytes - SEGMENT_PAGE;
	if (!read_mark(&page.head, capacity, &out->head) || !read_mark(&page.synced, capacity, &out->synced) ||
	    !read_mark(&page.closed, 1, &closed) || out->head % 8 || out->synced > out->head)
		return false;
	out->lane = page.lane;
	out->number = page.number;
	out->first = page.first;
	out->bytes = (size_t)page.bytes;
	out->seed = seed_of(&page);
	out->closed = closed;
	memcpy(out->boot, page.boot, BOOT_BYTES);
	out->boot[BOOT_BYTES - 1] = 0;
	return true;
}

void segment_put(uint8_t *at, uint32_t seed, uint64_t seq, uint8_t type, const void *payload, size_t len)
{
	size_t size = record_bytes(len);
	uint32_t len32 = (uint32_t)len;
	memset(at + size - 8, 0, 8);
	memcpy(at, &len32, sizeof(len32));
	memcpy(at + BODY_AT, &seq, sizeof(seq));
	at[TYPE_AT] = type;
	if (len)
		memcpy(at + RECORD_HEAD, payload, len);
	uint32_t crc = crc32c_of(seed ^ len32, at + BODY_AT, size - BODY_AT);
	memcpy(at + CRC_AT, &crc, sizeof(crc));
}

bool segment_next(const uint8_t *data, size_t end, uint32_t seed, uint64_t seq, size_t *at, struct journal_record *out)
{
	uint32_t len, crc;
	if (*at > end || end - *at < record_bytes(0))
		return false;
	const uint8_t *from = data + *at;
	memcpy(&len, from, sizeof(len));
	memcpy(&crc, from + CRC_AT, sizeof(crc));
	memcpy(&out->seq, from + BODY_AT, sizeof(out->seq));
	if (len > end - *at || record_bytes(len) > end - *at || out->seq == 0 || (seq && out->seq != seq))
		return false;
	if (crc32c_of(seed ^ len, from + BODY_AT, record_bytes(len) - BODY_AT) != crc)
		return false;
	out->type = from[TYPE_AT];
	out->payload = str_of((const char *)from + RECORD_HEAD, len);
	*at += record_bytes(len);
	return true;
}

struct segment_end segment_walk(const uint8_t *data, size_t end, uint32_t seed, uint64_t first)
{
	struct segment_end walk = {0};
	struct journal_record record;
	uint64_t seq = first;
	while (segment_next(data, end, seed, seq, &walk.end, &record)) {
		if (walk.first == 0)
			walk.first = record.seq;
		walk.last = record.seq;
		seq = record.seq + 1;
	}
	return walk;
}
