/* store_begins.c - the BEGINs of a lane that have no SETTLE yet: a queue in the order of sequences, with holes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/store_parts.h"

static void make_room(struct begins *b)
{
	size_t used = b->end - b->head;
	if (b->end < b->cap)
		return;
	if (b->head > b->cap / 2) {
		memmove(b->at, b->at + b->head, used * sizeof(*b->at));
	} else {
		size_t cap = b->cap ? b->cap * 2 : 64;
		struct open_begin *larger = mem_array(cap, sizeof(*larger));
		if (used)
			memcpy(larger, b->at + b->head, used * sizeof(*larger));
		free(b->at);
		b->at = larger;
		b->cap = cap;
	}
	b->head = 0;
	b->end = used;
}

void begins_add(struct begins *b, uint64_t seq, struct str payload)
{
	if (seq <= b->seen)
		return;
	make_room(b);
	b->seen = seq;
	struct open_begin *o = &b->at[b->end++];
	*o = (struct open_begin){seq, payload.len, mem_alloc(payload.len + 1)};
	if (payload.len)
		memcpy(o->payload, payload.ptr, payload.len);
}

static void skip_settled(struct begins *b)
{
	while (b->head < b->end && !b->at[b->head].payload)
		b->head++;
	while (b->end > b->head && !b->at[b->end - 1].payload)
		b->end--;
}

bool begins_settle(struct begins *b, uint64_t seq)
{
	size_t low = b->head, high = b->end;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (b->at[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == b->end || b->at[low].seq != seq || !b->at[low].payload)
		return false;
	free(b->at[low].payload);
	b->at[low].payload = NULL;
	skip_settled(b);
	return true;
}

uint64_t begins_oldest(const struct begins *b)
{
	return b->head < b->end ? b->at[b->head].seq : 0;
}

void begins_remove_to(struct begins *b, uint64_t seq)
{
	for (; b->head < b->end && b->at[b->head].seq <= seq; b->head++)
		free(b->at[b->head].payload);
	skip_settled(b);
}

void begins_clear(struct begins *b)
{
	begins_remove_to(b, UINT64_MAX);
	free(b->at);
	*b = (struct begins){0};
}
