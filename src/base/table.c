/* table.c - open addressing with linear probing, at most half full; and SipHash-1-3 with a key drawn at start.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/mem.h"

#include <pthread.h>
#include <sys/random.h>

void random_bytes(void *into, size_t size)
{
	for (size_t got = 0; got < size;) {
		size_t piece = size - got < 256 ? size - got : 256;
		if (getentropy((char *)into + got, piece) != 0)
			abort();
		got += piece;
	}
}

/* ---- SipHash ---- */

static uint64_t key[2];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
	random_bytes(key, sizeof(key));
}

static inline uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

uint64_t siphash(struct str bytes)
{
	pthread_once(&key_once, draw_key);
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
			 key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
	size_t i = 0;
	uint64_t word;
	for (; i + 8 <= bytes.len; i += 8) {
		memcpy(&word, bytes.ptr + i, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = (uint64_t)bytes.len << 56;
	for (size_t k = 0; i + k < bytes.len; k++)
		word |= (uint64_t)(unsigned char)bytes.ptr[i + k] << (8 * k);
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int k = 0; k < 3; k++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the table ---- */

void table_init(struct table *t, size_t expected)
{
	size_t slots = 8;
	while (slots < expected * 2)
		slots *= 2;
	*t = (struct table){.slots = mem_array(slots, sizeof(struct table_slot)), .mask = slots - 1};
}

void table_release(struct table *t)
{
	free(t->slots);
	*t = (struct table){0};
}

static struct table_slot *find(const struct table *t, struct str k, uint64_t hash)
{
	size_t i = hash & t->mask;
	while (t->slots[i].key.ptr && !(t->slots[i].hash == hash && str_eq(t->slots[i].key, k)))
		i = (i + 1) & t->mask;
	return &t->slots[i];
}

static void grow(struct table *t)
{
	struct table larger;
	table_init(&larger, (t->mask + 1) * 2);
	for (size_t i = 0; i <= t->mask; i++)
		if (t->slots[i].key.ptr)
			*find(&larger, t->slots[i].key, t->slots[i].hash) = t->slots[i];
	larger.count = t->count;
	free(t->slots);
	*t = larger;
}

void *table_put(struct table *t, struct str k, void *value)
{
	if ((t->count + 1) * 2 > t->mask + 1)
		grow(t);
	if (!k.ptr)
		k = STR("");
	uint64_t hash = siphash(k);
	struct table_slot *slot = find(t, k, hash);
	void *before = slot->value;
	t->count += slot->key.ptr == NULL;
	*slot = (struct table_slot){k, hash, value};
	return before;
}

void *table_get(const struct table *t, struct str k)
{
	return t->slots ? find(t, k, siphash(k))->value : NULL;
}
