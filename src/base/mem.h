/* mem.h - allocation that cannot fail, and arenas.
 *
 * Out of memory is fatal: the process logs one line and aborts; every buffer, queue and wait has a ceiling instead.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_MEM_H
#define VALET_BASE_MEM_H

#include "base/str.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

/* Like malloc, calloc(1, n) and realloc, but never NULL. Freed with free(). */
void *mem_alloc(size_t size);
void *mem_zero(size_t size);
void *mem_array(size_t count, size_t size); /* zeroed; the product is checked */
void *mem_grow(void *old, size_t size);
char *mem_str(struct str s);                /* a NUL-terminated copy */

/* An arena: memory that dies in one call. Not thread-safe; belongs to its owner. The struct may be moved freely while
 * empty. Blocks grow from `first` bytes by doubling up to 64 KiB; larger requests get a block of their own. */
struct arena_block;
struct arena {
	struct arena_block *blocks; /* newest first */
	char *next;                 /* free space in the newest block */
	char *end;
	size_t block_size;          /* size of the next block */
	size_t used;                /* bytes handed out since init */
};

void arena_init(struct arena *a, size_t first);
void arena_release(struct arena *a); /* frees all; the arena may be used again */
void *arena_alloc(struct arena *a, size_t size); /* aligned to 16, not zeroed */
void *arena_zero(struct arena *a, size_t size);
struct str arena_dup(struct arena *a, struct str s); /* the copy is also NUL-terminated */
struct str arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
