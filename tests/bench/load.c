/* load.c - load generator: closed-loop requests, SSE streams checked byte for byte, idle streams
 *
 * One thread, one epoll, no library. Owns its connections until the process ends. It prints one
 * JSON line; the CPU time of the processes named by --pid is sampled together with the clock reads
 * that open and close the window of measurement, so start-up and warm-up never count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char *const mode_names[] = {"rps", "stream", "idle", "fetch", "open"};

struct options opt = {
	.host = "127.0.0.1",
	.path = "/v1/chat/completions",
	.connections = 64,
	.seconds = 5,
	.warmup_seconds = 1,
	.body_bytes = 1024,
	.model = "m1",
	.model_count = 1,
	.max_tokens = 16,
};

struct load load;

void fatal(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("valet-load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* CPU time of all threads of PID, in ns; the kernel spells a process clock ~pid << 3 | 2. */
static uint64_t process_cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock = (clockid_t)(~(unsigned)pid << 3 | 2U);

	if (clock_gettime(clock, &ts) < 0)
		fatal("process %d: no CPU clock: %s", (int)pid, strerror(errno));
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t watched_cpu_ns(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < opt.pid_count; i++)
		sum += process_cpu_ns(opt.pids[i]);
	return sum;
}

static void report(double seconds, double cpu_us)
{
	const struct counts *k = &load.counts;
	struct timespec own;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
	printf("{\"mode\":\"%s\",\"connections\":%u,\"seconds\":%.6f,\"requests\":%" PRIu64
	       ",\"rate\":%.1f,\"errors\":%" PRIu64 ",\"reconnects\":%" PRIu64,
	       mode_names[opt.mode], opt.connections, seconds, k->requests,
	       (double)k->requests / seconds, k->errors, k->reconnects);
	printf(",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f", hist_us(&load.latency, 0.5),
	       hist_us(&load.latency, 0.99), hist_us(&load.latency, 0.999));
	printf(",\"events\":%" PRIu64 ",\"event_rate\":%.1f,\"event_reads\":%" PRIu64
	       ",\"gap_p50_us\":%.1f,\"gap_p99_us\":%.1f",
	       k->events, (double)k->events / seconds, k->event_reads, hist_us(&load.gap, 0.5),
	       hist_us(&load.gap, 0.99));
	printf(",\"bytes\":%" PRIu64 ",\"mismatched\":%" PRIu64 ",\"verified\":%s,\"held\":%u",
	       k->bytes, k->mismatched, load.reference ? "true" : "false", load.held);
	printf(",\"cpu_us\":%.1f,\"own_cpu_s\":%.3f}\n", cpu_us,
	       (double)own.tv_sec + (double)own.tv_nsec / 1e9);
}

/* Warm-up, then a window of which nothing before or after counts. Errors and mismatches of the
 * warm-up do count: they are wrong at any time. */
static void run_window(void)
{
	uint64_t begun = now_ns(), opened = 0, from = 0, cpu = 0;

	while (!load.stopping) {
		uint64_t now = now_ns();

		if (load.opened < opt.connections) {
			conns_open_due(begun);
			opened = now;
		} else if (!from && now - opened >= (uint64_t)(opt.warmup_seconds * 1e9)) {
			load.counts = (struct counts){.errors = load.counts.errors,
						      .mismatched = load.counts.mismatched};
			memset(&load.latency, 0, sizeof(load.latency));
			memset(&load.gap, 0, sizeof(load.gap));
			from = now_ns();
			cpu = watched_cpu_ns();
		} else if (from && now - from >= (uint64_t)(opt.seconds * 1e9)) {
			break;
		}
		conns_turn(load.opened < opt.connections ? 1 : 10);
	}
	cpu = watched_cpu_ns() - cpu;
	load.stopping = true;
	report((double)(now_ns() - from) / 1e9, (double)cpu / 1e3);
}

/* Opens all streams, says so once the first event of each has come, and holds them until stdin
 * says a line or ends. */
static void run_idle(void)
{
	uint64_t begun = now_ns(), limit = (uint64_t)(opt.seconds * 1e9), cpu = watched_cpu_ns();
	bool said = false;

	while (!load.stopping) {
		if (load.opened < opt.connections)
			conns_open_due(begun);
		conns_turn(load.opened < opt.connections ? 1 : 100);
		if (!said && (load.held == opt.connections || now_ns() - begun > limit)) {
			printf("held %u\n", load.held);
			fflush(stdout);
			said = true;
		}
	}
	cpu = watched_cpu_ns() - cpu;
	report((double)(now_ns() - begun) / 1e9, (double)cpu / 1e3);
}

static int run_fetch(void)
{
	uint64_t begun = now_ns();

	conns_open_due(begun);
	while (!load.stopping && now_ns() - begun < (uint64_t)(opt.seconds * 1e9))
		conns_turn(100);
	return load.counts.requests == 1 && load.counts.errors == 0 ? 0 : 1;
}

static const char usage[] =
	"usage: valet-load rps|stream|idle|fetch|open --port P [options]\n"
	"  rps     closed loop of chat requests; latency and rate\n"
	"  stream  SSE streams, started again as they end; events, gaps, bytes compared\n"
	"  idle    opens streams, prints \"held N\", holds them until a line or EOF on stdin\n"
	"  fetch   one request; its body goes to stdout (the reference of stream)\n"
	"  open    an open loop: requests at the times of a plan (load_open.c); a line each to --results\n"
	"  --plan FILE --results FILE --key SECRET (may be repeated; the plan counts them from 0)\n"
	"  --host A --path P --connections N --seconds S --warmup S --ramp-ms N\n"
	"  --body-bytes N --model M --model-count N (M0..MN-1 over the connections)\n"
	"  --max-tokens N --stream (implied by stream and idle) --reference FILE\n"
	"  --header 'K: V' (may be repeated)\n"
	"  --pid N (may be repeated): count the CPU time of that process in the window\n";

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value > max)
		fatal("%s is not a number up to %u", text, max);
	return (unsigned)value;
}

static void add_header(const char *text)
{
	size_t used = strlen(opt.headers), room = sizeof(opt.headers) - used;

	if (strlen(text) + 3 > room)
		fatal("too many headers");
	snprintf(opt.headers + used, room, "%s\r\n", text);
}

static void add_key(const char *text)
{
	if (opt.key_count == KEYS_MAX)
		fatal("more than %d keys", KEYS_MAX);
	opt.keys[opt.key_count++] = text;
}

static void add_pid(const char *text)
{
	if (opt.pid_count == PIDS_MAX)
		fatal("more than %d processes", PIDS_MAX);
	opt.pids[opt.pid_count++] = (pid_t)number(text, 1U << 30);
}

enum kind { KIND_NUMBER, KIND_SECONDS, KIND_TEXT, KIND_FLAG, KIND_CALL };

static const struct setting {
	const char *name;
	enum kind kind;
	void *at;
	unsigned max;
	void (*call)(const char *value);
} settings[] = {
	{"--host", KIND_TEXT, &opt.host},
	{"--port", KIND_NUMBER, &opt.port, 65535},
	{"--path", KIND_TEXT, &opt.path},
	{"--connections", KIND_NUMBER, &opt.connections, 60000},
	{"--seconds", KIND_SECONDS, &opt.seconds},
	{"--warmup", KIND_SECONDS, &opt.warmup_seconds},
	{"--ramp-ms", KIND_NUMBER, &opt.ramp_ms, 600000},
	{"--body-bytes", KIND_NUMBER, &opt.body_bytes, 64U << 20},
	{"--model", KIND_TEXT, &opt.model},
	{"--model-count", KIND_NUMBER, &opt.model_count, 1U << 20},
	{"--max-tokens", KIND_NUMBER, &opt.max_tokens, 1U << 30},
	{"--stream", KIND_FLAG, &opt.stream},
	{"--reference", KIND_TEXT, &opt.reference},
	{"--header", KIND_CALL, NULL, 0, add_header},
	{"--plan", KIND_TEXT, &opt.plan},
	{"--results", KIND_TEXT, &opt.results},
	{"--key", KIND_CALL, NULL, 0, add_key},
	{"--pid", KIND_CALL, NULL, 0, add_pid},
};

static _Noreturn void bad_usage(void)
{
	fputs(usage, stderr);
	exit(2);
}

static void take_setting(const struct setting *s, char *value)
{
	switch (s->kind) {
	case KIND_NUMBER:
		*(unsigned *)s->at = number(value, s->max);
		break;
	case KIND_SECONDS:
		*(double *)s->at = strtod(value, NULL);
		break;
	case KIND_TEXT:
		*(const char **)s->at = value;
		break;
	case KIND_FLAG:
		*(bool *)s->at = true;
		break;
	case KIND_CALL:
		s->call(value);
		break;
	}
}

static void take_arguments(int argc, char **argv)
{
	const size_t count = sizeof(settings) / sizeof(settings[0]);
	unsigned mode = 0;

	while (mode <= MODE_OPEN && argc > 1 && strcmp(argv[1], mode_names[mode]) != 0)
		mode++;
	if (argc < 2 || mode > MODE_OPEN)
		bad_usage();
	opt.mode = (enum mode)mode;
	for (int i = 2; i < argc; i++) {
		const struct setting *s = settings;

		while (s < settings + count && strcmp(argv[i], s->name) != 0)
			s++;
		if (s == settings + count || (s->kind != KIND_FLAG && ++i == argc))
			bad_usage();
		take_setting(s, argv[i]);
	}
	if (opt.port == 0 || opt.connections == 0)
		bad_usage();
	if (opt.mode == MODE_STREAM || opt.mode == MODE_IDLE)
		opt.stream = true;
	if (opt.mode == MODE_FETCH)
		opt.connections = 1;
}

static void read_reference(const char *path)
{
	FILE *file = fopen(path, "rb");
	long size;

	if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) <= 0)
		fatal("%s: no reference there", path);
	rewind(file);
	load.reference_len = (size_t)size;
	load.reference = calloc(1, load.reference_len);
	if (!load.reference || fread(load.reference, 1, load.reference_len, file) != (size_t)size)
		fatal("%s: cannot be read", path);
	fclose(file);
}

static void raise_file_limit(void)
{
	struct rlimit limit, wanted = {opt.connections + 64, opt.connections + 64};

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= wanted.rlim_cur)
		return;
	if (limit.rlim_max > wanted.rlim_max)
		wanted.rlim_max = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &wanted) < 0)
		fatal("%u connections need more open files (ulimit -n)", opt.connections);
}

int main(int argc, char **argv)
{
	take_arguments(argc, argv);
	raise_file_limit();
	if (opt.reference)
		read_reference(opt.reference);
	conns_init();
	switch (opt.mode) {
	case MODE_FETCH:
		return run_fetch();
	case MODE_IDLE:
		run_idle();
		return 0;
	case MODE_OPEN:
		run_open();
		return 0;
	default:
		run_window();
		return 0;
	}
}
