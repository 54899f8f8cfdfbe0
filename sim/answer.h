/* answer.h - what an answer is made of: hashes, words, the count of tokens, pieces of text, and the
 * prompt cache.
 *
 * The rule of tokens is exact, so that a test can know the number beforehand:
 *   - a prompt has as many tokens as all its text has bytes, divided by 4 and rounded up. Its text is
 *     what stands, decoded, in strings that are the value (or an element of an array that is the
 *     value) of a member called content, text, prompt, input, query, documents, system or
 *     instructions; a number in such an array (a token id) counts 4 bytes;
 *   - an answer has as many tokens as it has pieces. A piece is a word with the space before it; of an
 *     echo and of a tool's arguments it is what text_piece() cuts.
 * Pure functions, but for the cache, which its owner's lock protects.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_ANSWER_H
#define SIM_ANSWER_H

#include "base/buf.h"
#include "base/str.h"

uint64_t text_hash(struct str bytes, uint64_t seed);
static inline uint64_t text_mix(uint64_t x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

/* The word at a place of the answer that `hash` stands for. */
struct str text_word(uint64_t hash, uint64_t index);
/* Cuts a piece from the front: up to the space after the next word, at most 48 bytes, UTF-8 kept
 * whole. False at the end. */
#define PIECE_MAX 48
bool text_piece(struct str *rest, struct str *piece);
uint32_t text_pieces(struct str text);

/* Called for each string that counts: the inside of the literal, and how many bytes it has once
 * decoded. */
struct text_taker {
	void (*take)(struct text_taker *, struct str inside, size_t bytes);
	size_t bytes; /* the sum so far */
};
/* Walks a JSON value that was found valid. `counts`: strings at its top count, since it is the
 * value of such a member. */
void text_walk(struct str json, bool counts, struct text_taker *t);
static inline uint32_t text_tokens(size_t bytes)
{
	return (uint32_t)(bytes / 4 + (bytes % 4 != 0));
}

/* ids: the prefix and what the style gives. 24 letters and digits, 32 hexadecimal digits, or a
 * number up to 999. */
void id_hex(struct buf *out, uint64_t hash);
void id_letters(struct buf *out, uint64_t hash, unsigned count);
/* 2026-01-02T03:04:05.678901Z */
void time_put(struct buf *out, int64_t us);

/* ---- the prompt cache: blocks of 64 bytes, each known by the hash of all text up to its end ----
 */

#define CACHE_BLOCK        64
#define CACHE_BLOCK_TOKENS (CACHE_BLOCK / 4)

struct prompt_cache;
struct prompt_cache *cache_new(size_t blocks);
void cache_free(struct prompt_cache *c);
void cache_clear(struct prompt_cache *c);
/* Looks the text's whole blocks up, from the first on, and remembers them all; the least recently
 * used go. Returns how many were known before the first that was not. */
size_t cache_use(struct prompt_cache *c, struct str text, uint64_t seed);
size_t cache_used(const struct prompt_cache *c);

#endif
