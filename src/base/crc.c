/* crc.c - CRC-32 and CRC-32C: eight bytes a step, by tables or by the instruction of SSE 4.2.
 *
 * Owns the tables and the choice between the two ways; both are made before main() and only read afterwards, by any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"

#include <stdbool.h>
#include <string.h>

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

/* Both checksums are of the reflected kind: the lowest bit of a byte comes first. */
#define POLYNOMIAL_IEEE       0xedb88320u
#define POLYNOMIAL_CASTAGNOLI 0x82f63b78u

/* of[k][b]: what the byte b does to the checksum when k more bytes follow it in the step. */
struct crc_tables {
	uint32_t of[8][256];
};

static struct crc_tables ieee, castagnoli;
static bool has_instruction;

static void fill(struct crc_tables *t, uint32_t polynomial)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
		t->of[0][byte] = crc;
	}
	for (int k = 1; k < 8; k++)
		for (int byte = 0; byte < 256; byte++)
			t->of[k][byte] = t->of[k - 1][byte] >> 8 ^ t->of[0][t->of[k - 1][byte] & 0xff];
}

/* A constructor: no caller then has to ask whether the tables stand. */
__attribute__((constructor)) static void prepare(void)
{
	fill(&ieee, POLYNOMIAL_IEEE);
	fill(&castagnoli, POLYNOMIAL_CASTAGNOLI);
#ifdef __x86_64__
	__builtin_cpu_init();
	has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

/* Compilers make one load of it where the byte order allows. */
static inline uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t by_tables(const struct crc_tables *t, uint32_t before, const uint8_t *p, size_t len)
{
	uint32_t crc = ~before;
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low = load32(p) ^ crc, high = load32(p + 4);
		crc = t->of[7][low & 0xff] ^ t->of[6][low >> 8 & 0xff] ^ t->of[5][low >> 16 & 0xff] ^ t->of[4][low >> 24] ^
		      t->of[3][high & 0xff] ^ t->of[2][high >> 8 & 0xff] ^ t->of[1][high >> 16 & 0xff] ^ t->of[0][high >> 24];
	}
	for (; len; p++, len--)
		crc = crc >> 8 ^ t->of[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t before, const uint8_t *p, size_t len)
{
	uint64_t crc = ~before;
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, p, sizeof(word));
		crc = _mm_crc32_u64(crc, word);
	}
	for (; len; p++, len--)
		crc = _mm_crc32_u8((uint32_t)crc, *p);
	return ~(uint32_t)crc;
}
#else
static uint32_t by_instruction(uint32_t before, const uint8_t *p, size_t len)
{
	return by_tables(&castagnoli, before, p, len);
}
#endif

uint32_t crc32_of(const void *bytes, size_t len)
{
	return by_tables(&ieee, 0, bytes, len);
}

uint32_t crc32c_portable(uint32_t before, const void *bytes, size_t len)
{
	return by_tables(&castagnoli, before, bytes, len);
}

uint32_t crc32c_of(uint32_t before, const void *bytes, size_t len)
{
	return has_instruction ? by_instruction(before, bytes, len) : by_tables(&castagnoli, before, bytes, len);
}
