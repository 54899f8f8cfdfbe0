/* gzip.c - see gzip.h. Deflate with its fixed codes: literals for the text, matches of 258 bytes at
 * distance 1 for the run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gzip.h"

struct bits {
	struct buf *out;
	uint32_t held;
	unsigned count;
};

/* The low bit first. */
static void put_bits(struct bits *b, uint32_t value, unsigned n)
{
	b->held |= value << b->count;
	for (b->count += n; b->count >= 8; b->count -= 8, b->held >>= 8)
		buf_addc(b->out, (char)b->held);
}

/* Huffman codes go with their high bit first. */
static void put_code(struct bits *b, uint32_t code, unsigned n)
{
	while (n--)
		put_bits(b, code >> n & 1, 1);
}

static void put_literal(struct bits *b, unsigned char c)
{
	if (c < 144)
		put_code(b, 0x30 + c, 8);
	else
		put_code(b, 0x190 + (c - 144u), 9);
}

static void fill_table(uint32_t table[256])
{
	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int k = 0; k < 8; k++)
			table[i] = table[i] & 1 ? 0xedb88320u ^ table[i] >> 1 : table[i] >> 1;
	}
}

static uint32_t checksum(struct str text, uint64_t spaces)
{
	uint32_t table[256], crc = ~0u;
	fill_table(table);
	for (size_t i = 0; i < text.len; i++)
		crc = table[(crc ^ (unsigned char)text.ptr[i]) & 255] ^ crc >> 8;
	for (; spaces > 0; spaces--)
		crc = table[(crc ^ ' ') & 255] ^ crc >> 8;
	return ~crc;
}

static void put_u32(struct buf *out, uint32_t n)
{
	for (int i = 0; i < 4; i++, n >>= 8)
		buf_addc(out, (char)n);
}

void gzip_with_spaces(struct buf *out, struct str text, uint64_t spaces)
{
	struct bits b = {.out = out};
	uint64_t left = spaces;
	buf_add(out, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
	put_bits(&b, 1, 1); /* the last block */
	put_bits(&b, 1, 2); /* fixed codes */
	for (size_t i = 0; i < text.len; i++)
		put_literal(&b, (unsigned char)text.ptr[i]);
	if (left > 0) {
		put_literal(&b, ' ');
		left--;
	}
	for (; left >= 258; left -= 258) {
		put_code(&b, 0xc5, 8); /* length 258 */
		put_code(&b, 0, 5);    /* distance 1 */
	}
	for (; left > 0; left--)
		put_literal(&b, ' ');
	put_code(&b, 0, 7); /* the end of the block */
	put_bits(&b, 0, 7);
	put_u32(out, checksum(text, spaces));
	put_u32(out, (uint32_t)(text.len + spaces));
}
