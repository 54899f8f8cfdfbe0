/* thread.h - the name of a thread, as top and gdb show it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_THREAD_H
#define VALET_BASE_THREAD_H

#include <pthread.h>

/* Names the calling thread; at most 15 bytes. */
static inline void thread_name(const char *name)
{
#ifdef __APPLE__
	pthread_setname_np(name);
#else
	pthread_setname_np(pthread_self(), name);
#endif
}

#endif
