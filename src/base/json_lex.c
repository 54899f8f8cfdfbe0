/* json_lex.c - the reader of JSON: strings, numbers, UTF-8, and an event for each token.
 *
 * Owns nothing; any thread. -DVALET_JSON_PORTABLE chooses the twin without SSE2.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lex.h"

#if defined(__SSE2__) && !defined(VALET_JSON_PORTABLE)
#include <emmintrin.h>
#define JSON_SSE2 1
#else
#define JSON_SSE2 0
#endif

enum { BLOCK = 64 }; /* bytes of which one bit each fits a word */

/* ---- classes of bytes ---- */

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool is_ascii(char c)
{
	return (unsigned char)c < 0x80;
}

static inline bool is_tail(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* What ends a run inside a string: a quote, a backslash, a control. */
static inline bool is_special(char c)
{
	return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

#if JSON_SSE2

static inline __m128i load(const char *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

static inline __m128i bytes(int c)
{
	return _mm_set1_epi8((char)c);
}

static inline __m128i special_bytes(__m128i c)
{
	__m128i quote = _mm_cmpeq_epi8(c, bytes('"'));
	__m128i slash = _mm_cmpeq_epi8(c, bytes('\\'));
	__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(c, bytes(0x1f)), c);
	return _mm_or_si128(_mm_or_si128(quote, slash), control);
}

/* Bit i: p[i] is special; p has BLOCK bytes. */
static inline uint64_t special_bits(const char *p)
{
	uint64_t bits = 0;
	for (int i = 0; i < BLOCK; i += 16)
		bits |= (uint64_t)(unsigned)_mm_movemask_epi8(special_bytes(load(p + i))) << i;
	return bits;
}

/* Bit i: p[i] is special; p has 16 bytes. */
static inline unsigned special_16(const char *p)
{
	return (unsigned)_mm_movemask_epi8(special_bytes(load(p)));
}

/* Skips digits while there are 16 bytes to look at. */
static inline const char *digit_blocks(const char *p, const char *end)
{
	for (; end - p >= 16; p += 16) {
		__m128i c = _mm_sub_epi8(load(p), bytes('0'));
		int digits = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(c, bytes(9)), c));
		if (digits != 0xffff)
			return p + __builtin_ctz(~(unsigned)digits);
	}
	return p;
}

/* Followers that no code point has: a shorter form exists, a surrogate, over U+10FFFF. Signed
 * comparison orders tails; what is no tail is found elsewhere. */
static inline __m128i utf8_strays(__m128i before, __m128i c)
{
	__m128i e0 =
		_mm_and_si128(_mm_cmpeq_epi8(before, bytes(0xe0)), _mm_cmplt_epi8(c, bytes(0xa0)));
	__m128i ed =
		_mm_and_si128(_mm_cmpeq_epi8(before, bytes(0xed)), _mm_cmpgt_epi8(c, bytes(0x9f)));
	__m128i f0 =
		_mm_and_si128(_mm_cmpeq_epi8(before, bytes(0xf0)), _mm_cmplt_epi8(c, bytes(0x90)));
	__m128i f4 =
		_mm_and_si128(_mm_cmpeq_epi8(before, bytes(0xf4)), _mm_cmpgt_epi8(c, bytes(0x8f)));
	return _mm_or_si128(_mm_or_si128(e0, ed), _mm_or_si128(f0, f4));
}

/* Non-zero where the 16 bytes at p do not go on in UTF-8 from the three before them. */
static inline __m128i utf8_faults(const char *p)
{
	__m128i c = load(p), before = load(p - 1);
	__m128i asked = _mm_or_si128(_mm_subs_epu8(before, bytes(0xbf)),
				     _mm_subs_epu8(load(p - 2), bytes(0xdf)));
	asked = _mm_or_si128(asked, _mm_subs_epu8(load(p - 3), bytes(0xef)));
	__m128i unasked = _mm_cmpeq_epi8(asked, _mm_setzero_si128());
	__m128i tail = _mm_cmplt_epi8(c, bytes(0xc0));
	__m128i faults = _mm_cmpeq_epi8(unasked, tail);
	/* leads that no code point has: 0xc0, 0xc1, 0xf5 and up */
	__m128i even = _mm_and_si128(c, bytes(0xfe));
	faults = _mm_or_si128(faults, _mm_cmpeq_epi8(even, bytes(0xc0)));
	faults = _mm_or_si128(faults, _mm_subs_epu8(c, bytes(0xf4)));
	return _mm_or_si128(faults, utf8_strays(before, c));
}

static inline bool has_faults(const char *p)
{
	__m128i faults = _mm_or_si128(_mm_or_si128(utf8_faults(p), utf8_faults(p + 16)),
				      _mm_or_si128(utf8_faults(p + 32), utf8_faults(p + 48)));
	return _mm_movemask_epi8(_mm_cmpeq_epi8(faults, _mm_setzero_si128())) != 0xffff;
}

/* Skips blocks that are valid; stops at the start of a character, at or before the first fault.
 * Three valid bytes stand before p. */
static const char *utf8_blocks(const char *p, const char *end)
{
	const char *begin = p;
	int open = 0; /* the block before may have ended inside a character */
	for (; end - p >= BLOCK; p += BLOCK) {
		__m128i last = load(p + 48);
		__m128i all = _mm_or_si128(_mm_or_si128(load(p), load(p + 16)),
					   _mm_or_si128(load(p + 32), last));
		if ((_mm_movemask_epi8(all) | open) == 0)
			continue;
		if (has_faults(p))
			break;
		open = _mm_movemask_epi8(last) >> 13;
	}
	if (p > begin && !is_ascii(p[-1]))
		do
			p--;
		while (is_tail(*p));
	return p;
}

#else

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The top bit of each byte that is zero. */
static inline uint64_t zero_bytes(uint64_t c)
{
	return ~(((c & EACH(0x7f)) + EACH(0x7f)) | c | EACH(0x7f));
}

/* Bit i: p[i] is special; p has BLOCK bytes. */
static inline uint64_t special_bits(const char *p)
{
	uint64_t bits = 0;
	for (int i = 0; i < BLOCK; i += 8) {
		uint64_t c;
		memcpy(&c, p + i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		c = __builtin_bswap64(c);
#endif
		uint64_t hit = zero_bytes(c ^ EACH('"')) | zero_bytes(c ^ EACH('\\')) |
			       zero_bytes(c & EACH(0xe0));
		/* the product gathers the lowest bits of all bytes in its top byte */
		bits |= (hit >> 7) * UINT64_C(0x0102040810204080) >> 56 << i;
	}
	return bits;
}

static inline const char *digit_blocks(const char *p, const char *end)
{
	return p;
}

static const char *utf8_blocks(const char *p, const char *end)
{
	return p;
}

#endif

const char *json_lex_special(const char *p, const char *end)
{
	for (; end - p >= BLOCK; p += BLOCK) {
		uint64_t bits = special_bits(p);
		if (bits)
			return p + __builtin_ctzll(bits);
	}
	while (p < end && !is_special(*p))
		p++;
	return p;
}

/* ---- UTF-8 ---- */

/* Length of the character at p, which is not ASCII; 0 where it is not valid. */
static size_t utf8_len(const char *p, const char *end)
{
	const unsigned char *u = (const unsigned char *)p;
	size_t left = (size_t)(end - p);
	if (left >= 3 && u[0] >= 0xe0 && u[0] < 0xf0) {
		unsigned char low = u[0] == 0xe0 ? 0xa0 : 0x80;  /* shorter forms exist below */
		unsigned char high = u[0] == 0xed ? 0x9f : 0xbf; /* surrogates stand above */
		return u[1] >= low && u[1] <= high && is_tail(p[2]) ? 3 : 0;
	}
	if (left >= 2 && u[0] >= 0xc2 && u[0] < 0xe0)
		return is_tail(p[1]) ? 2 : 0;
	if (left >= 4 && u[0] >= 0xf0 && u[0] < 0xf5) {
		unsigned char low = u[0] == 0xf0 ? 0x90 : 0x80;
		unsigned char high = u[0] == 0xf4 ? 0x8f : 0xbf; /* U+10FFFF is the last */
		return u[1] >= low && u[1] <= high && is_tail(p[2]) && is_tail(p[3]) ? 4 : 0;
	}
	return 0;
}

static const char *ascii_run(const char *p, const char *end)
{
	for (uint64_t c; end - p >= 8; p += 8) {
		memcpy(&c, p, 8);
		if (c & UINT64_C(0x8080808080808080))
			break;
	}
	while (p < end && is_ascii(*p))
		p++;
	return p;
}

const char *json_lex_utf8(const char *p, const char *end)
{
	const char *begin = p;
	while (p < end && p - begin < 3) {
		size_t len = is_ascii(*p) ? 1 : utf8_len(p, end);
		if (!len)
			return p;
		p += len;
	}
	p = utf8_blocks(p, end);
	while ((p = ascii_run(p, end)) < end) {
		size_t len = utf8_len(p, end);
		if (!len)
			break;
		p += len;
	}
	return p;
}

/* ---- tokens: each takes where it begins and gives where it ends; NULL: a failure, noted ---- */

/* The text was cut at its first byte that is not UTF-8: what fails there, fails for that. */
static const char *lex_fail(struct json_lex *l, const char *at, const char *what)
{
	if (at == l->end && l->cut)
		what = "invalid UTF-8";
	l->fail = (struct json_fail){(size_t)(at - l->start), what};
	return NULL;
}

/* The byte at hand; NUL, which no token begins with, at the end. */
static inline char lex_peek(const struct json_lex *l, const char *p)
{
	return p < l->end ? *p : '\0';
}

static inline const char *lex_space(const struct json_lex *l, const char *p)
{
	while (p < l->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int json_lex_unit(const char *p, const char *end)
{
	int unit = 0;
	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int digit = hex_value(p[i]);
		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

/* Length of the escape at p, whose first byte is a backslash; 0 where it is not valid. */
static inline size_t lex_escape(const char *p, const char *end)
{
	static const unsigned char lengths[256] = {
		['"'] = 2, ['\\'] = 2, ['/'] = 2, ['b'] = 2, ['f'] = 2,
		['n'] = 2, ['r'] = 2,  ['t'] = 2, ['u'] = 6,
	};
	size_t len = end - p > 1 ? lengths[(unsigned char)p[1]] : 0;
	return len == 6 && json_lex_unit(p, end) < 0 ? 0 : len;
}

/* The first byte of the block that is special and no valid escape; NULL where there is none, with
 * *next behind the block and behind an escape that sticks out of it. Escapes are skipped by
 * arithmetic on the bits alone, so that no load stands in the way of the next one. */
static inline const char *block_end(const char *block, const char *end, const char **next,
				    bool *escaped)
{
	uint64_t bits = special_bits(block);
	*next = block + BLOCK;
	while (bits) {
		int i = __builtin_ctzll(bits);
		size_t step = block[i] == '\\' ? lex_escape(block + i, end) : 0;
		if (step == 0)
			return block + i;
		*escaped = true;
		if (i + step >= BLOCK) {
			*next = block + i + step;
			break;
		}
		bits &= UINT64_MAX << 2 << i; /* of \uXXXX, too: its digits are not special */
	}
	return NULL;
}

/* The same as json_lex_string() for the last bytes of a text. */
static const char *string_tail(const char *p, const char *end, bool *escaped)
{
	while (p < end) {
#if JSON_SSE2
		if (end - p >= 16) {
			unsigned bits = special_16(p);
			p += bits ? __builtin_ctz(bits) : 16;
			if (!bits)
				continue;
		}
#endif
		if (is_special(*p) && *p != '\\')
			break;
		size_t step = *p == '\\' ? lex_escape(p, end) : 1;
		if (!step)
			break;
		*escaped |= *p == '\\';
		p += step;
	}
	return p;
}

/* Where the end of a short string is, or where to go on looking: most names and many values end within 16 bytes. */
static inline const char *short_string(const char *p, const char *end, bool *found)
{
	*found = false;
#if JSON_SSE2
	for (int i = 0; i < 2 && end - p >= 16; i++, p += 16) {
		unsigned bits = special_16(p);
		if (!bits)
			continue;
		p += __builtin_ctz(bits);
		*found = *p == '"';
		break;
	}
#endif
	return p;
}

const char *json_lex_string(const char *p, const char *end, bool *escaped)
{
	bool found_short;
	p = short_string(p, end, &found_short);
	if (found_short)
		return p;
	while (end - p >= BLOCK) {
		const char *found = block_end(p, end, &p, escaped);
		if (found)
			return found;
	}
	return string_tail(p, end, escaped);
}

static inline const char *lex_string(struct json_lex *l, const char *p, bool *escaped)
{
	*escaped = false;
	const char *q = json_lex_string(p + 1, l->end, escaped);
	if (q == l->end)
		return lex_fail(l, q, "the text ends inside a string");
	if (*q == '\\')
		return lex_fail(l, q, "invalid escape in a string");
	if (*q != '"')
		return lex_fail(l, q, "control character in a string");
	return q + 1;
}

/* At least one digit. */
static inline const char *lex_digits(const char *p, const char *end)
{
	if (p == end || !is_digit(*p))
		return NULL;
	p = digit_blocks(p + 1, end);
	while (p < end && is_digit(*p))
		p++;
	return p;
}

static inline const char *lex_number(const char *p, const char *end, const char **at)
{
	p += p < end && *p == '-'; /* no branch: the signs of embeddings are noise */
	*at = p;
	if (p < end && *p == '0')
		p++;
	else if (!(p = lex_digits(p, end)))
		return NULL;
	if (p < end && *p == '.') {
		*at = ++p;
		p = lex_digits(p, end);
		if (!p)
			return NULL;
	}
	if (p < end && (*p | 0x20) == 'e') {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		*at = p;
		p = lex_digits(p, end);
	}
	return p;
}

const char *json_lex_number(const char *p, const char *end)
{
	return lex_number(p, end, &p);
}

static inline const char *lex_word(struct json_lex *l, const char *p, struct str word)
{
	if ((size_t)(l->end - p) < word.len || memcmp(p, word.ptr, word.len) != 0)
		return lex_fail(l, p, "expected a value");
	return p + word.len;
}

/* A member's name, its colon and the space behind. */
static const char *lex_key(struct json_lex *l, const char *p)
{
	if (lex_peek(l, p) != '"')
		return lex_fail(l, p, "expected a member name in quotes");
	const char *name = p;
	p = lex_string(l, p, &l->key_escaped);
	if (!p)
		return NULL;
	l->key = str_of(name, (size_t)(p - name));
	p = lex_space(l, p);
	if (lex_peek(l, p) != ':')
		return lex_fail(l, p, "expected ':'");
	return lex_space(l, p + 1);
}

/* ---- values ---- */

/* The event of the value between p and `end`. */
static inline enum json_event lex_event(struct json_lex *l, enum json_event event,
					enum json_type type, const char *p, const char *end)
{
	if (!end)
		return JSON_FAILED;
	l->fresh = event == JSON_OPENED;
	l->type = type;
	l->raw = str_of(p, (size_t)(end - p));
	l->at = end;
	return event;
}

static enum json_event lex_open(struct json_lex *l, enum json_type type, char closer, const char *p)
{
	if (l->depth == JSON_MAX_DEPTH) {
		lex_fail(l, p, "nested too deeply");
		return JSON_FAILED;
	}
	l->closers[++l->depth] = closer;
	return lex_event(l, JSON_OPENED, type, p, p + 1);
}

static enum json_event lex_close(struct json_lex *l, char closer, const char *p)
{
	l->depth--;
	return lex_event(l, JSON_CLOSED, closer == '}' ? JSON_OBJECT : JSON_ARRAY, p, p + 1);
}

static inline enum json_event lex_value(struct json_lex *l, const char *p)
{
	const char *end, *at;
	switch (lex_peek(l, p)) {
	case '{':
		return lex_open(l, JSON_OBJECT, '}', p);
	case '[':
		return lex_open(l, JSON_ARRAY, ']', p);
	case '"':
		return lex_event(l, JSON_SCALAR, JSON_STRING, p, lex_string(l, p, &l->escaped));
	case 't':
		return lex_event(l, JSON_SCALAR, JSON_BOOL, p, lex_word(l, p, STR("true")));
	case 'f':
		return lex_event(l, JSON_SCALAR, JSON_BOOL, p, lex_word(l, p, STR("false")));
	case 'n':
		return lex_event(l, JSON_SCALAR, JSON_NULL, p, lex_word(l, p, STR("null")));
	default:
		end = lex_number(p, l->end, &at);
		if (!end)
			lex_fail(l, at, at == p ? "expected a value" : "expected a digit");
		return lex_event(l, JSON_SCALAR, JSON_NUMBER, p, end);
	}
}

void json_lex_init(struct json_lex *l, struct str text)
{
	l->start = l->at = text.len ? text.ptr : "";
	l->end = json_lex_utf8(l->start, l->start + text.len);
	l->cut = l->end != l->start + text.len;
	l->depth = 0;
	l->fresh = true;
	l->key = STR_NONE;
	l->fail = (struct json_fail){0, NULL};
	if (str_starts(text, STR("\xef\xbb\xbf")))
		l->at += 3;
}

/* What stands outside of all containers: the value, then nothing. */
static enum json_event lex_top(struct json_lex *l, const char *p)
{
	if (l->fresh)
		return lex_value(l, p);
	if (p == l->end && !l->cut)
		return JSON_ENDED;
	lex_fail(l, p, "expected the end of the text");
	return JSON_FAILED;
}

enum json_event json_lex_next(struct json_lex *l)
{
	const char *p = lex_space(l, l->at);
	l->key = STR_NONE;
	if (l->depth == 0)
		return lex_top(l, p);
	char c = lex_peek(l, p), closer = l->closers[l->depth];
	if (c == closer)
		return lex_close(l, closer, p);
	if (!l->fresh) {
		if (c != ',') {
			lex_fail(l, p,
				 closer == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
			return JSON_FAILED;
		}
		p = lex_space(l, p + 1);
	}
	if (closer == '}' && !(p = lex_key(l, p)))
		return JSON_FAILED;
	return lex_value(l, p);
}
