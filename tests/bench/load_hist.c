/* load_hist.c - a histogram with steps of less than 0.8 %
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load.h"

void hist_add(struct hist *h, uint64_t value)
{
	unsigned shift = 0;

	if (value >> HIST_BITS)
		shift = 63 - (unsigned)__builtin_clzll(value) - HIST_BITS;
	h->count[((uint64_t)shift << HIST_BITS) + (value >> shift)]++;
	h->total++;
}

/* The value below which SHARE (0..1) of what was added lies, in µs. */
double hist_us(const struct hist *h, double share)
{
	uint64_t wanted = (uint64_t)((double)h->total * share), seen = 0;

	for (unsigned i = 0; i < HIST_SIZE; i++) {
		seen += h->count[i];
		if (h->count[i] == 0 || seen <= wanted)
			continue;
		if (i < (2U << HIST_BITS))
			return i / 1e3;
		unsigned shift = (i >> HIST_BITS) - 1;
		uint64_t low = (uint64_t)((i & ((1U << HIST_BITS) - 1)) | 1U << HIST_BITS) << shift;
		return ((double)low + (double)(1ULL << shift) / 2) / 1e3;
	}
	return 0;
}
