/* fuzz_token.c - API keys: only the one text that belongs to an id and a secret is taken.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "gate/token.h"

#include <stdlib.h>

#define DIGITS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define SEALED (TOKEN_LENGTH - 1 - TOKEN_CHECKSUM) /* bytes that the checksum covers */

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_base62(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!p[i] || !strchr(DIGITS, p[i]))
			return false;
	return true;
}

/* By the words of token.h. */
static bool should_be_taken(const char *p, size_t len)
{
	uint64_t checksum = 0;
	if (len != TOKEN_LENGTH || memcmp(p, "vk_", 3) != 0 || p[3 + TOKEN_ID] != '_' || p[SEALED] != '_')
		return false;
	if (!is_base62(p + 3, TOKEN_ID) || !is_base62(p + 4 + TOKEN_ID, TOKEN_SECRET) || !is_base62(p + SEALED + 1, TOKEN_CHECKSUM))
		return false;
	for (size_t i = 0; i < TOKEN_CHECKSUM; i++)
		checksum = checksum * 62 + (uint64_t)(strchr(DIGITS, p[SEALED + 1 + i]) - DIGITS);
	return checksum == crc32_of(p, SEALED);
}

static void check(const char *p, size_t len)
{
	struct token t;
	bool ok = token_parse(str_of(p, len), &t);
	REQUIRE(ok == should_be_taken(p, len));
	if (!ok)
		return;
	REQUIRE(memcmp(t.id, p + 3, TOKEN_ID) == 0 && t.secret == p + 4 + TOKEN_ID);
}

/* A fuzzer does not guess checksums: it gets the right one behind its own bytes. */
static void check_sealed(const uint8_t *data, size_t size)
{
	char text[TOKEN_LENGTH];
	if (size < SEALED)
		return;
	memcpy(text, data, SEALED);
	uint32_t crc = crc32_of(text, SEALED);
	text[SEALED] = '_';
	for (size_t i = TOKEN_CHECKSUM; i-- > 0; crc /= 62)
		text[SEALED + 1 + i] = DIGITS[crc % 62];
	check(text, sizeof(text));
	if (size < SEALED + 2)
		return;
	text[data[SEALED] % TOKEN_LENGTH] = (char)data[SEALED + 1];
	check(text, sizeof(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check((const char *)data, size);
	check_sealed(data, size);
	return 0;
}
