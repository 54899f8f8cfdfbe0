/* sse.c - server-sent events; see sse.h.
 *
 * Every event of every stream passes here, so line ends are looked for 16 bytes at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/sse.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef __SSE2__
/* Which of the 16 bytes at `at` are CR or LF. */
static inline __m128i ends_in(const char *at)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
	return _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')),
			    _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')));
}

/* True if there is a CR or LF in the 64 bytes at `at`. */
static inline bool ends_in_64(const char *at)
{
	__m128i first = _mm_or_si128(ends_in(at), ends_in(at + 16));
	__m128i second = _mm_or_si128(ends_in(at + 32), ends_in(at + 48));
	return _mm_movemask_epi8(_mm_or_si128(first, second)) != 0;
}
#endif

/* The first CR or LF; `end` where there is none. */
static const char *line_end(const char *at, const char *end)
{
#ifdef __SSE2__
	while (end - at >= 64 && !ends_in_64(at))
		at += 64;
	for (; end - at >= 16; at += 16) {
		unsigned mask = (unsigned)_mm_movemask_epi8(ends_in(at));
		if (mask)
			return at + __builtin_ctz(mask);
	}
#endif
	while (at < end && *at != '\r' && *at != '\n')
		at++;
	return at;
}

/* Bytes of the line end at `at`: 1 or 2; 0 where a CR is the last byte that came, so that an LF may follow. */
static size_t end_length(const char *at, const char *end)
{
	if (*at == '\n')
		return 1;
	if (at + 1 == end)
		return 0;
	return at[1] == '\n' ? 2 : 1;
}

size_t sse_event_length(struct str bytes)
{
	const char *end = bytes.ptr + bytes.len;
	const char *line = bytes.ptr;
	bool after_cr = false; /* the line before ended in a CR alone */
	while (line < end) {
		const char *at = line_end(line, end);
		if (at == end)
			return 0;
		/* a sender of bare CRs has no LF to wait for: CR CR is complete as it stands */
		size_t n = after_cr && at == line && *at == '\r' ? 1 : end_length(at, end);
		if (n == 0)
			return 0;
		if (at == line)
			return (size_t)(at - bytes.ptr) + n;
		after_cr = *at == '\r' && n == 1;
		line = at + n;
	}
	return 0;
}

static void split_line(struct str line, struct str *name, struct str *value)
{
	size_t colon = str_find(line, ':');
	*name = str_head(line, colon);
	*value = str_skip(line, colon + 1);
	if (value->len > 0 && value->ptr[0] == ' ')
		*value = str_skip(*value, 1);
}

bool sse_next_line(struct str *event, struct str *name, struct str *value)
{
	const char *at = event->ptr, *end = event->ptr + event->len;
	while (at < end && (*at == '\r' || *at == '\n'))
		at++;
	if (at == end)
		return false;
	const char *stop = line_end(at, end);
	*event = str_of(stop, (size_t)(end - stop));
	struct str line = str_of(at, (size_t)(stop - at));
	if (str_starts(line, STR("\xef\xbb\xbf"))) /* a byte order mark may open a stream */
		line = str_skip(line, 3);
	split_line(line, name, value);
	return true;
}

struct str sse_data(struct str event)
{
	struct str name, value, data = STR_NONE;
	while (sse_next_line(&event, &name, &value)) {
		if (!str_eq(name, STR("data")))
			continue;
		if (data.ptr)
			return STR_NONE;
		data = value;
	}
	return data;
}
