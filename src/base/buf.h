/* buf.h - a growing buffer of bytes with a ceiling given at init.
 *
 * `ptr` may be NULL while `cap` is 0. A failed add leaves the buffer as it was and sets `over`; callers may add many
 * times and look at `over` once. Not thread-safe; belongs to its owner.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_BUF_H
#define VALET_BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct buf {
	char *ptr;
	size_t len;
	size_t cap;
	size_t max; /* ceiling in bytes */
	bool over;  /* an add did not fit under the ceiling */
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);              /* frees; usable again with the same ceiling */
void buf_clear(struct buf *b);                /* len = 0, memory kept */
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after len */
bool buf_add(struct buf *b, const void *ptr, size_t len);
bool buf_adds(struct buf *b, struct str s);
bool buf_addc(struct buf *b, char c);
bool buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_addv(struct buf *b, const char *format, va_list args);
bool buf_addu(struct buf *b, uint64_t n);     /* decimal */
void buf_drop(struct buf *b, size_t n);       /* removes the first n bytes (moves the rest) */

static inline struct str buf_str(const struct buf *b)
{
	return str_of(b->ptr, b->len);
}

#define BUF_ADD(b, literal) buf_add((b), (literal), sizeof(literal) - 1)

#endif
