/* log.h - the log: lines of text or JSON, written by a thread of its own.
 *
 * Any thread may log; a line is put into a ring and never waits for the disk or a pipe. When the ring is full, request lines are dropped and
 * counted, and the count is logged later. Before log_start() and after log_stop() lines go to stderr directly.
 * Never pass a secret, a prompt or an answer; text from outside is escaped (no control bytes, valid UTF-8).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_LOG_H
#define VALET_BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_options {
	enum log_level level;
	enum log_format format;
	const char *file; /* NULL: stderr */
};

/* Starts the writer. False and *why (static text) if the file cannot be opened. */
bool log_start(const struct log_options *options, const char **why);
/* Applies a new level and format at once, and reopens the file (also for log rotation). */
bool log_reopen(const struct log_options *options, const char **why);
void log_stop(void); /* writes what is left */

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool log_wants(enum log_level level);
enum log_format log_format_now(void);

/* Puts a line that is complete already (with its time, level and newline) into the ring. False: dropped. For request lines. */
bool log_line(struct str line);
/* A moment of the monotonic clock as in log lines, "2026-11-21T22:13:57.123Z" (24 bytes, no NUL). The wall clock is read once a second and thread. */
void log_time(char out[24], int64_t mono_us);
uint64_t log_dropped(void);

/* A copy of `s` fit for a log line: control bytes and bytes that are not UTF-8 become '?', cut at `max` bytes. Into `out` of max + 1 bytes. */
void log_clean(char *out, size_t max, struct str s);

#endif
