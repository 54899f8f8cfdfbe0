/* mem.c - allocation that cannot fail, and arenas.
 *
 * Any thread; an arena belongs to one owner.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdalign.h>
#include <stdio.h>

enum {
	ARENA_ALIGN = 16,
	ARENA_LEAST = 256,
	ARENA_MOST = 64 * 1024,
};

struct arena_block {
	alignas(ARENA_ALIGN) struct arena_block *older;
	size_t size; /* 0: made for one large request */
};

static void *checked(void *ptr, size_t size)
{
	if (ptr)
		return ptr;
	fprintf(stderr, "valet: out of memory (%zu bytes)\n", size);
	abort();
}

static size_t sum(size_t a, size_t b)
{
	size_t n;
	if (__builtin_add_overflow(a, b, &n))
		checked(NULL, SIZE_MAX);
	return n;
}

/* One byte at least: malloc(0) may give NULL, and realloc(p, 0) may free. */
void *mem_alloc(size_t size)
{
	return checked(malloc(size ? size : 1), size);
}

void *mem_zero(size_t size)
{
	return checked(calloc(1, size ? size : 1), size);
}

void *mem_array(size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes))
		checked(NULL, SIZE_MAX);
	return mem_zero(bytes);
}

void *mem_grow(void *old, size_t size)
{
	return checked(realloc(old, size ? size : 1), size);
}

char *mem_str(struct str s)
{
	char *copy = mem_alloc(sum(s.len, 1));
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	return copy;
}

void arena_init(struct arena *a, size_t first)
{
	if (first < ARENA_LEAST)
		first = ARENA_LEAST;
	*a = (struct arena){.block_size = first < ARENA_MOST ? first : ARENA_MOST};
}

void arena_release(struct arena *a)
{
	size_t first = a->block_size;
	for (struct arena_block *block = a->blocks; block;) {
		struct arena_block *older = block->older;
		first = block->size ? block->size
				    : first; /* the oldest has the size it began with */
		free(block);
		block = older;
	}
	arena_init(a, first);
}

/* A block of its own goes behind the newest, whose free space stays in use. */
static void *arena_alone(struct arena *a, size_t size)
{
	struct arena_block *block = mem_alloc(sum(sizeof(*block), size));
	block->size = 0;
	if (a->blocks) {
		block->older = a->blocks->older;
		a->blocks->older = block;
	} else {
		block->older = NULL;
		a->blocks = block;
	}
	return block + 1;
}

static void arena_more(struct arena *a)
{
	struct arena_block *block = mem_alloc(sizeof(*block) + a->block_size);
	block->older = a->blocks;
	block->size = a->block_size;
	a->blocks = block;
	a->next = (char *)(block + 1);
	a->end = a->next + a->block_size;
	if (a->block_size < ARENA_MOST)
		a->block_size = a->block_size * 2 < ARENA_MOST ? a->block_size * 2 : ARENA_MOST;
}

void *arena_alloc(struct arena *a, size_t size)
{
	size = sum(size ? size : 1, ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	a->used = sum(a->used, size);
	if (size > (size_t)(a->end - a->next)) {
		if (size > a->block_size / 2)
			return arena_alone(a, size);
		arena_more(a);
	}
	void *got = a->next;
	a->next += size;
	return got;
}

void *arena_zero(struct arena *a, size_t size)
{
	void *got = arena_alloc(a, size);
	memset(got, 0, size);
	return got;
}

struct str arena_dup(struct arena *a, struct str s)
{
	char *copy = arena_alloc(a, sum(s.len, 1));
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	return str_of(copy, s.len);
}

struct str arena_printf(struct arena *a, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0)
		return arena_dup(a, STR_NONE);
	if ((size_t)n < sizeof(text))
		return arena_dup(a, str_of(text, (size_t)n));
	char *out = arena_alloc(a, (size_t)n + 1);
	va_start(args, format);
	vsnprintf(out, (size_t)n + 1, format, args);
	va_end(args);
	return str_of(out, (size_t)n);
}
