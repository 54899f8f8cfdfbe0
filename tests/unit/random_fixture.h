/* random_fixture.h - numbers that look random, the same in each run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_TESTS_RANDOM_FIXTURE_H
#define VALET_TESTS_RANDOM_FIXTURE_H

#include <stdint.h>

/* The next one of the sequence that began with *state, which must not be 0; each thread has its own. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
