/* cache.c - the simulated prompt cache: which blocks of which prompts an engine would still hold.
 * See answer.h.
 *
 * A table with open hashing over an array of blocks, which also form a list from the least to the
 * most recently used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include "base/list.h"
#include "base/mem.h"

struct block {
	struct list age;
	struct block *next; /* in its bucket */
	uint64_t hash;
	bool used;
};

struct prompt_cache {
	struct block *blocks;
	struct block **buckets;
	struct list ages; /* the least recently used first */
	size_t count, mask, used;
};

struct prompt_cache *cache_new(size_t blocks)
{
	struct prompt_cache *c = mem_zero(sizeof(*c));
	c->count = blocks;
	c->mask = 1;
	while (c->mask < blocks * 2)
		c->mask *= 2;
	c->buckets = mem_array(c->mask, sizeof(*c->buckets));
	c->mask--;
	c->blocks = mem_array(blocks, sizeof(*c->blocks));
	cache_clear(c);
	return c;
}

void cache_free(struct prompt_cache *c)
{
	if (!c)
		return;
	free(c->blocks);
	free(c->buckets);
	free(c);
}

void cache_clear(struct prompt_cache *c)
{
	memset(c->buckets, 0, (c->mask + 1) * sizeof(*c->buckets));
	list_init(&c->ages);
	c->used = 0;
	for (size_t i = 0; i < c->count; i++) {
		c->blocks[i].used = false;
		list_push_back(&c->ages, &c->blocks[i].age);
	}
}

static struct block *find(struct prompt_cache *c, uint64_t hash)
{
	for (struct block *b = c->buckets[hash & c->mask]; b; b = b->next)
		if (b->hash == hash)
			return b;
	return NULL;
}

static void forget(struct prompt_cache *c, struct block *b)
{
	struct block **at = &c->buckets[b->hash & c->mask];
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	c->used--;
}

static struct block *add(struct prompt_cache *c, uint64_t hash)
{
	struct block *b = CONTAINER_OF(c->ages.next, struct block, age);
	if (b->used)
		forget(c, b);
	b->used = true;
	b->hash = hash;
	b->next = c->buckets[hash & c->mask];
	c->buckets[hash & c->mask] = b;
	c->used++;
	return b;
}

size_t cache_use(struct prompt_cache *c, struct str text, uint64_t seed)
{
	size_t known = 0;
	bool all_known = true;
	for (uint64_t hash = seed; text.len >= CACHE_BLOCK; text = str_skip(text, CACHE_BLOCK)) {
		hash = text_hash(str_head(text, CACHE_BLOCK), hash);
		struct block *b = find(c, hash);
		all_known &= b != NULL;
		known += all_known;
		if (!b)
			b = add(c, hash);
		list_remove(&b->age);
		list_push_back(&c->ages, &b->age);
	}
	return known;
}

size_t cache_used(const struct prompt_cache *c)
{
	return c->used;
}
