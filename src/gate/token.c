/* token.c - an API key as a client sends it.
 *
 * Owns nothing; any thread. token_parse() and token_hash() stand on the way of every request: no allocation, no look-up outside the text.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/token.h"

#include "base/crc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
	AT_ID = 3, /* behind "vk_" */
	AT_SECRET = AT_ID + TOKEN_ID + 1,
	AT_CHECKSUM = AT_SECRET + TOKEN_SECRET + 1,
	SECRET_WORDS = 8, /* of 32 bits */
	BASE = 62,
};

static_assert(AT_CHECKSUM + TOKEN_CHECKSUM == TOKEN_LENGTH, "");

static const char alphabet[BASE + 1] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Without random bytes there is no key worth the name. */
static void random_bytes(void *out, size_t len)
{
	if (getrandom(out, len, 0) == (ssize_t)len)
		return;
	fprintf(stderr, "valet: the system gave no random bytes\n");
	abort();
}

/* Sixty-two does not divide 256: the bytes from 248 on are thrown away, else the first eight letters would come more often. */
static void random_id(char out[TOKEN_ID])
{
	for (size_t n = 0; n < TOKEN_ID;) {
		uint8_t bytes[2 * TOKEN_ID];
		random_bytes(bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes) && n < TOKEN_ID; i++)
			if (bytes[i] < 256 / BASE * BASE)
				out[n++] = alphabet[bytes[i] % BASE];
	}
}

/* 256 random bits as one number to the base of 62, the highest digit first: every number has its text, so all are as likely. */
static void random_secret(char out[TOKEN_SECRET])
{
	uint32_t number[SECRET_WORDS]; /* the highest word first */
	random_bytes(number, sizeof(number));
	for (size_t digit = TOKEN_SECRET; digit-- > 0;) {
		uint64_t rest = 0;
		for (size_t i = 0; i < SECRET_WORDS; i++) {
			rest = rest << 32 | number[i];
			number[i] = (uint32_t)(rest / BASE);
			rest %= BASE;
		}
		out[digit] = alphabet[rest];
	}
	explicit_bzero(number, sizeof(number));
}

static void print_checksum(const char *token, char out[TOKEN_CHECKSUM])
{
	uint32_t crc = crc32_of(token, AT_CHECKSUM - 1);
	for (size_t digit = TOKEN_CHECKSUM; digit-- > 0; crc /= BASE)
		out[digit] = alphabet[crc % BASE];
}

void token_make(const char *id, char out[TOKEN_LENGTH + 1])
{
	memcpy(out, "vk_", AT_ID);
	if (id)
		memcpy(out + AT_ID, id, TOKEN_ID);
	else
		random_id(out + AT_ID);
	out[AT_SECRET - 1] = '_';
	random_secret(out + AT_SECRET);
	out[AT_CHECKSUM - 1] = '_';
	print_checksum(out, out + AT_CHECKSUM);
	out[TOKEN_LENGTH] = 0;
}

static bool all_in_alphabet(const char *text, size_t len)
{
	static const uint64_t set[4] = {UINT64_C(0x03ff000000000000), UINT64_C(0x07fffffe07fffffe)}; /* a bit a byte: digits; letters */
	uint64_t all = 1;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];
		all &= set[c >> 6] >> (c & 63);
	}
	return all;
}

bool token_parse(struct str text, struct token *out)
{
	const char *p = text.ptr;
	char checksum[TOKEN_CHECKSUM];
	if (text.len != TOKEN_LENGTH || memcmp(p, "vk_", AT_ID) != 0 || p[AT_SECRET - 1] != '_' || p[AT_CHECKSUM - 1] != '_')
		return false;
	/* The checksum's own letters are held against those that it should have. */
	if (!all_in_alphabet(p + AT_ID, TOKEN_ID) || !all_in_alphabet(p + AT_SECRET, TOKEN_SECRET))
		return false;
	print_checksum(p, checksum);
	if (memcmp(checksum, p + AT_CHECKSUM, TOKEN_CHECKSUM) != 0)
		return false;
	memcpy(out->id, p + AT_ID, TOKEN_ID);
	out->secret = p + AT_SECRET;
	return true;
}

void token_hash(const struct hmac_key *pepper, const struct token *t, uint8_t out[DIGEST_SIZE])
{
	hmac_sha256(pepper, t->secret, TOKEN_SECRET, out);
}
