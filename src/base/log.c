/* log.c - see log.h. One ring under one lock, one thread that writes it out in large pieces.
 *
 * Many workers share the lock; it is held for a memcpy. The writer sleeps while the ring is empty and otherwise looks every 20 ms, so
 * that a line costs no wake-up of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (1 << 20)
#define TEXT_MAX_BYTES 2048
#define LINE_MAX_BYTES (2 * TEXT_MAX_BYTES + 256) /* of JSON, if every byte of the text is escaped */
#define PERIOD_NS  20000000

static struct {
	pthread_mutex_t lock; /* covers used, ring, running, fd */
	pthread_cond_t some;
	char *ring;           /* what is waiting: `used` bytes from the front */
	char *writing;        /* the other half, being written */
	size_t used;
	bool running, stopping, idle;
	int fd;
	pthread_t thread;
	_Atomic int level, format;
	_Atomic uint64_t dropped;
	uint64_t told; /* drops that have been logged; writer only */
} logger = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER, .fd = STDERR_FILENO, .level = LOG_INFO,
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* stderr may be shared with a program that made it non-blocking. */
static bool write_again(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	return errno == EINTR || (errno == EAGAIN && poll(&p, 1, 1000) > 0);
}

static void write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && write_again(fd))
			continue;
		if (n <= 0)
			return; /* nobody left to tell */
		bytes += n;
		len -= (size_t)n;
	}
}

/* ---- lines ---- */

static void add_text(struct buf *b, enum log_level level, const char *time, struct str text)
{
	buf_add(b, time, 24);
	buf_addf(b, " %-5s ", level_names[level]);
	buf_adds(b, text);
	buf_addc(b, '\n');
}

static void add_json(struct buf *b, enum log_level level, const char *time, struct str text)
{
	struct json_writer w;
	json_writer_init(&w, b);
	json_open_object(&w);
	json_member_str(&w, STR("time"), str_of(time, 24));
	json_member_str(&w, STR("level"), str_from(level_names[level]));
	json_member_str(&w, STR("text"), text);
	json_close_object(&w);
	buf_addc(b, '\n');
}

/* A line with its time; `text` is clean. */
static void add_line(struct buf *b, enum log_level level, struct str text)
{
	char time[24];
	log_time(time, clock_mono_us());
	(log_format_now() == LOG_JSON ? add_json : add_text)(b, level, time, text);
}

static void tell_dropped(int fd)
{
	uint64_t dropped = atomic_load_explicit(&logger.dropped, memory_order_relaxed);
	char text[96];
	struct buf line;
	if (dropped == logger.told)
		return;
	int n = snprintf(text, sizeof(text), "log: %llu lines dropped because the writer was behind",
			 (unsigned long long)(dropped - logger.told));
	logger.told = dropped;
	buf_init(&line, LINE_MAX_BYTES);
	add_line(&line, LOG_WARN, str_of(text, (size_t)n));
	write_all(fd, line.ptr, line.len);
	buf_release(&line);
}

/* ---- the writer ---- */

/* Takes what is in the ring; with the lock held. Waits while there is nothing. */
static size_t take_ring(void)
{
	while (logger.used == 0 && !logger.stopping) {
		logger.idle = true;
		pthread_cond_wait(&logger.some, &logger.lock);
	}
	logger.idle = false;
	size_t n = logger.used;
	char *full = logger.ring;
	logger.ring = logger.writing;
	logger.writing = full;
	logger.used = 0;
	return n;
}

static void *run(void *unused)
{
	const struct timespec period = {0, PERIOD_NS};
	pthread_mutex_lock(&logger.lock);
	for (;;) {
		size_t n = take_ring();
		int fd = logger.fd;
		bool stopping = logger.stopping;
		pthread_mutex_unlock(&logger.lock);
		write_all(fd, logger.writing, n);
		tell_dropped(fd);
		if (stopping && n == 0)
			return NULL;
		if (!stopping)
			nanosleep(&period, NULL);
		pthread_mutex_lock(&logger.lock);
	}
}

static int open_file(const char *file)
{
	return file && *file ? open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : STDERR_FILENO;
}

bool log_reopen(const struct log_options *options, const char **why)
{
	int fd = open_file(options->file);
	if (fd < 0) {
		*why = "cannot open the log file";
		return false;
	}
	pthread_mutex_lock(&logger.lock);
	if (logger.fd == STDERR_FILENO) {
		logger.fd = fd;
	} else { /* under the same number: the writer may be using it, and no socket may get it */
		dup2(fd, logger.fd);
		fcntl(logger.fd, F_SETFD, FD_CLOEXEC);
		if (fd != STDERR_FILENO)
			close(fd);
	}
	pthread_mutex_unlock(&logger.lock);
	atomic_store(&logger.level, options->level);
	atomic_store(&logger.format, options->format);
	return true;
}

bool log_start(const struct log_options *options, const char **why)
{
	if (!log_reopen(options, why))
		return false;
	logger.ring = mem_alloc(RING_BYTES);
	logger.writing = mem_alloc(RING_BYTES);
	logger.stopping = false;
	logger.running = pthread_create(&logger.thread, NULL, run, NULL) == 0;
	return true;
}

void log_stop(void)
{
	if (!logger.running)
		return;
	pthread_mutex_lock(&logger.lock);
	logger.stopping = true;
	pthread_cond_signal(&logger.some);
	pthread_mutex_unlock(&logger.lock);
	pthread_join(logger.thread, NULL);
	pthread_mutex_lock(&logger.lock);
	logger.running = false;
	write_all(logger.fd, logger.ring, logger.used); /* what came after the writer's last look */
	logger.used = 0;
	free(logger.ring);
	free(logger.writing);
	if (logger.fd != STDERR_FILENO)
		close(logger.fd);
	logger.fd = STDERR_FILENO;
	pthread_mutex_unlock(&logger.lock);
}

bool log_line(struct str line)
{
	pthread_mutex_lock(&logger.lock);
	bool fits = logger.running && line.len <= RING_BYTES - logger.used;
	if (fits) {
		memcpy(logger.ring + logger.used, line.ptr, line.len);
		logger.used += line.len;
		if (logger.idle) {
			logger.idle = false;
			pthread_cond_signal(&logger.some);
		}
	} else if (!logger.running) {
		write_all(STDERR_FILENO, line.ptr, line.len);
	} else {
		atomic_fetch_add_explicit(&logger.dropped, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&logger.lock);
	return fits;
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&logger.dropped, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&logger.level, memory_order_relaxed);
}

enum log_format log_format_now(void)
{
	return (enum log_format)atomic_load_explicit(&logger.format, memory_order_relaxed);
}

void log_time(char out[24], int64_t mono_us)
{
	static _Thread_local int64_t offset_us, until_us;
	static _Thread_local time_t known;
	static _Thread_local char text[24];
	if (mono_us >= until_us) {
		offset_us = clock_wall_us() - clock_mono_us();
		until_us = mono_us + 1000000;
	}
	int64_t wall_us = mono_us + offset_us;
	time_t second = (time_t)(wall_us / 1000000);
	if (second != known) {
		struct tm tm;
		char full[64];
		known = second;
		gmtime_r(&second, &tm);
		strftime(full, sizeof(full), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
		memcpy(text, full, sizeof(text));
	}
	memcpy(out, text, sizeof(text));
	unsigned ms = (unsigned)(wall_us / 1000 % 1000);
	out[20] = (char)('0' + ms / 100);
	out[21] = (char)('0' + ms / 10 % 10);
	out[22] = (char)('0' + ms % 10);
}

__attribute__((format(printf, 2, 0)))
static void log_it(enum log_level level, const char *format, va_list args)
{
	char raw[TEXT_MAX_BYTES], clean[TEXT_MAX_BYTES];
	if (!log_wants(level))
		return;
	int n = vsnprintf(raw, sizeof(raw), format, args);
	log_clean(clean, sizeof(clean) - 1, str_of(raw, n < 0 ? 0 : (size_t)n < sizeof(raw) ? (size_t)n : sizeof(raw) - 1));
	struct buf line;
	buf_init(&line, LINE_MAX_BYTES);
	add_line(&line, level, str_from(clean));
	log_line(buf_str(&line));
	buf_release(&line);
}

#define DEFINE_LEVEL(name, level) \
	void name(const char *format, ...) \
	{ \
		va_list args; \
		va_start(args, format); \
		log_it(level, format, args); \
		va_end(args); \
	}
DEFINE_LEVEL(log_error, LOG_ERROR)
DEFINE_LEVEL(log_warn, LOG_WARN)
DEFINE_LEVEL(log_info, LOG_INFO)
DEFINE_LEVEL(log_debug, LOG_DEBUG)

/* Length of the UTF-8 sequence at s (1..4), or 0 if there is none: no overlong forms, no surrogates, nothing above U+10FFFF. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xf5 ? 0 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
	if (n == 0 || n > left)
		return 0;
	unsigned char least = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char most = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
	if (s[1] < least || s[1] > most)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Control characters, those of U+0080 to U+009F as well: they steer terminals. */
static bool is_control(const unsigned char *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

void log_clean(char *out, size_t max, struct str s)
{
	size_t used = 0;
	for (size_t i = 0; i < s.len && used < max;) {
		const unsigned char *at = (const unsigned char *)s.ptr + i;
		size_t n = utf8_len(at, s.len - i);
		if (n == 0 || is_control(at)) {
			out[used++] = '?';
			i += n ? n : 1;
			continue;
		}
		if (used + n > max)
			break;
		memcpy(out + used, at, n);
		used += n;
		i += n;
	}
	out[used] = 0;
}
