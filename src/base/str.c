/* str.c - borrowed views of bytes: comparing, searching, cutting, matching.
 *
 * Owns nothing; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool str_ieq_bytes(struct str a, struct str b)
{
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

bool str_starts(struct str s, struct str prefix)
{
	return s.len >= prefix.len && str_eq(str_head(s, prefix.len), prefix);
}

bool str_istarts(struct str s, struct str prefix)
{
	return s.len >= prefix.len && str_ieq(str_head(s, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	return s.len >= suffix.len && str_eq(str_skip(s, s.len - suffix.len), suffix);
}

size_t str_find(struct str s, char c)
{
	const char *hit = s.len ? memchr(s.ptr, (unsigned char)c, s.len) : NULL;
	return hit ? (size_t)(hit - s.ptr) : s.len;
}

size_t str_search(struct str s, struct str needle)
{
	if (needle.len == 0)
		return 0;
	const char *hit = s.len ? memmem(s.ptr, s.len, needle.ptr, needle.len) : NULL;
	return hit ? (size_t)(hit - s.ptr) : s.len;
}

struct str str_skip(struct str s, size_t n)
{
	if (n > s.len)
		n = s.len;
	return n ? str_of(s.ptr + n, s.len - n) : s;
}

struct str str_head(struct str s, size_t n)
{
	return str_of(s.ptr, n < s.len ? n : s.len);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
	while (s.len && is_blank(s.ptr[0]))
		s = str_skip(s, 1);
	while (s.len && is_blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

/* A NULL pointer in `*rest` is the state "nothing left": "a," gives two parts and "" gives one. */
bool str_split(struct str *rest, char sep, struct str *part)
{
	if (!rest->ptr)
		return false;
	size_t at = str_find(*rest, sep);
	*part = str_head(*rest, at);
	*rest = at == rest->len ? STR_NONE : str_skip(*rest, at + 1);
	return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
	bool minus = s.len && s.ptr[0] == '-';
	int64_t n = 0;
	if (minus)
		s = str_skip(s, 1);
	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
		/* counts downwards: INT64_MIN has no positive twin */
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_sub_overflow(n, s.ptr[i] - '0', &n))
			return false;
	}
	if (!minus && n == INT64_MIN)
		return false;
	*out = minus ? n : -n;
	return true;
}

bool str_glob(struct str pattern, struct str s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, mark = 0;
	while (i < s.len) {
		if (p < pattern.len && pattern.ptr[p] == '*') {
			star = p++;
			mark = i;
		} else if (p < pattern.len &&
			   (pattern.ptr[p] == '?' || pattern.ptr[p] == s.ptr[i])) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.ptr[p] == '*')
		p++;
	return p == pattern.len;
}

enum { DISTANCE_MAX = 128 }; /* longer words are no misspelling that anyone would be shown */

static size_t smallest(size_t a, size_t b, size_t c)
{
	size_t n = a < b ? a : b;
	return n < c ? n : c;
}

size_t str_distance(struct str a, struct str b, size_t limit)
{
	size_t row[DISTANCE_MAX + 1];
	size_t gap = a.len > b.len ? a.len - b.len : b.len - a.len;
	if (gap > limit || b.len > DISTANCE_MAX || a.len > DISTANCE_MAX)
		return str_ieq(a, b) ? 0 : limit + 1;
	for (size_t j = 0; j <= b.len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t diagonal = row[0], best = i;
		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			size_t above = row[j];
			size_t change = diagonal + (lower(a.ptr[i - 1]) != lower(b.ptr[j - 1]));
			row[j] = smallest(above + 1, row[j - 1] + 1, change);
			best = row[j] < best ? row[j] : best;
			diagonal = above;
		}
		if (best > limit)
			return limit + 1;
	}
	return row[b.len] > limit ? limit + 1 : row[b.len];
}
