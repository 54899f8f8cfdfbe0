/* buf.c - a growing buffer of bytes with a ceiling.
 *
 * Owns its memory from the first add to buf_release(); any thread, one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>

enum { BUF_FIRST = 256 };

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_release(struct buf *b)
{
	free(b->ptr);
	buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->over = false;
}

bool buf_reserve(struct buf *b, size_t more)
{
	if (more <= b->cap - b->len)
		return true;
	if (b->len > b->max || more > b->max - b->len) {
		b->over = true;
		return false;
	}
	size_t need = b->len + more;
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	while (cap < need && cap <= SIZE_MAX / 2)
		cap *= 2;
	if (cap < need || cap > b->max)
		cap = b->max;
	b->ptr = mem_grow(b->ptr, cap);
	b->cap = cap;
	return true;
}

bool buf_add(struct buf *b, const void *ptr, size_t len)
{
	if (!buf_reserve(b, len))
		return false;
	if (len)
		memcpy(b->ptr + b->len, ptr, len);
	b->len += len;
	return true;
}

bool buf_adds(struct buf *b, struct str s)
{
	return buf_add(b, s.ptr, s.len);
}

bool buf_addc(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

bool buf_addf(struct buf *b, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	bool ok = buf_addv(b, format, args);
	va_end(args);
	return ok;
}

/* Goes through a scratch copy: vsnprintf() wants room for a NUL, which may be over the ceiling. */
__attribute__((format(printf, 3, 0))) static bool add_long(struct buf *b, size_t len,
							   const char *format, va_list args)
{
	if (!buf_reserve(b, len))
		return false;
	char *text = mem_alloc(len + 1);
	vsnprintf(text, len + 1, format, args);
	memcpy(b->ptr + b->len, text, len);
	b->len += len;
	free(text);
	return true;
}

__attribute__((format(printf, 2, 0))) bool buf_addv(struct buf *b, const char *format, va_list args)
{
	char text[256];
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(text, sizeof(text), format, args);
	bool ok = false;
	if (n < 0)
		b->over = true;
	else if ((size_t)n < sizeof(text))
		ok = buf_add(b, text, (size_t)n);
	else
		ok = add_long(b, (size_t)n, format, again);
	va_end(again);
	return ok;
}

bool buf_addu(struct buf *b, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return buf_add(b, digits + at, sizeof(digits) - at);
}

void buf_drop(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (n && n < b->len)
		memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
}
