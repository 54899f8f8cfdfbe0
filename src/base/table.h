/* table.h - a hash table from text to a pointer, keyed SipHash-1-3 so that names from outside cannot be chosen to collide.
 *
 * Keys are borrowed: their bytes must live as long as the table. Not thread-safe while it is being filled; any number of readers after.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_TABLE_H
#define VALET_BASE_TABLE_H

#include "base/str.h"

struct table_slot {
	struct str key; /* ptr NULL: free */
	uint64_t hash;
	void *value;
};

struct table {
	struct table_slot *slots;
	size_t mask; /* number of slots - 1 */
	size_t count;
};

void table_init(struct table *t, size_t expected);
void table_release(struct table *t);
/* Sets the value of `key`; returns the value that stood there before, or NULL. */
void *table_put(struct table *t, struct str key, void *value);
void *table_get(const struct table *t, struct str key); /* NULL where there is none */

uint64_t siphash(struct str bytes);
/* Random bytes from the system. */
void random_bytes(void *into, size_t size);

#endif
