/* thread.h - the name of a thread, as top and gdb show it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_THREAD_H
#define VALET_BASE_THREAD_H

#include <pthread.h>
#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Names the calling thread; at most 15 bytes. */
static inline void thread_name(const char *name)
{
#ifdef __APPLE__
	pthread_setname_np(name);
#else
	pthread_setname_np(pthread_self(), name);
#endif
}

/* What the calling thread does can wait for what others do. Linux alone has this for single threads. */
static inline void thread_stand_back(void)
{
#ifdef __linux__
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
#endif
}

#endif
