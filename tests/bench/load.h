/* load.h - what the files of the load generator share
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef VALET_BENCH_LOAD_H
#define VALET_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NS_PER_S 1000000000ULL
#define PIDS_MAX 32

#define KEYS_MAX 128

enum mode { MODE_RPS, MODE_STREAM, MODE_IDLE, MODE_FETCH, MODE_OPEN };

struct options {
	enum mode mode;
	const char *host;
	unsigned port;
	const char *path;
	unsigned connections;
	double seconds;
	double warmup_seconds;
	unsigned ramp_ms;
	unsigned body_bytes;
	const char *model;
	unsigned model_count; /* > 1: connection i asks for MODEL followed by a number below this */
	unsigned max_tokens;
	bool stream;
	const char *reference; /* file with the body that each stream must have */
	char headers[4096];
	pid_t pids[PIDS_MAX];
	unsigned pid_count;
	const char *plan;      /* open: file with the requests and their times */
	const char *results;   /* open: file for a line each */
	const char *keys[KEYS_MAX];
	unsigned key_count;
};

/* The bytes of one request, head and body. */
struct request {
	char *bytes;
	size_t length;
	size_t room;
};

/* Log-linear: 128 steps for each power of two, so a reading is within 0.8 % of the value. */
#define HIST_BITS 7
#define HIST_SIZE ((65 - HIST_BITS) << HIST_BITS)

struct hist {
	uint64_t total;
	uint64_t count[HIST_SIZE];
};

struct counts {
	uint64_t requests;
	uint64_t errors;
	uint64_t reconnects;
	uint64_t events;
	uint64_t event_reads;
	uint64_t bytes;
	uint64_t mismatched;
};

struct conn;

/* One request of a plan: planned, sent, and what became of it. Times in ns since the start of the run. */
struct shot {
	uint64_t planned_ns, sent_ns, first_ns, end_ns;
	uint64_t think_ns;  /* of `after`: the least time between its end and this one */
	int after, next;    /* shots of the same talk, or -1 */
	unsigned group, tokens;
	int key;            /* index of --key, or -1 */
	bool stream;
	int status;         /* 0: no whole answer */
	char *text;         /* the messages as the plan has them */
	struct request request; /* while it is out */
};

/* All of the state of the program; one thread. */
struct load {
	int epoll_fd;
	struct conn *conns;
	unsigned opened;
	unsigned held; /* connections on which an event has come */
	bool stopping;
	char *reference;
	size_t reference_len;
	struct counts counts;
	struct hist latency; /* whole requests, ns */
	struct hist gap;     /* between two reads with events in them, ns */
};

extern struct options opt;
extern struct load load;

/* load.c */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);

/* load_hist.c: VALUE is in ns; the answer is the value, in µs, below which SHARE (0..1) lies. */
void hist_add(struct hist *h, uint64_t value);
double hist_us(const struct hist *h, double share);

/* load_request.c: what connection number CONNECTION sends; lives as long as the process. */
const struct request *request_for(unsigned connection);
/* Appends; there must be room. */
void request_put(struct request *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* load_conn.c */
void conns_init(void);
/* Opens the connections that are due, a ramp that began at BEGUN_NS, a few at each call. */
void conns_open_due(uint64_t begun_ns);
/* Waits for events and works them off; input on stdin stops the run where it is watched. */
void conns_turn(int timeout_ms);

/* Sends it on a connection that is free, or a new one. */
void conns_fire(struct shot *s);
/* The same with a finer time-out. */
void conns_turn_ns(uint64_t timeout_ns);

/* load_open.c: an open loop. Requests go out when the plan says so, whatever became of those before, and their times count from then. */
void run_open(void);
void open_event(struct shot *s); /* its first event is here */
void open_end(struct shot *s, int status);

#endif
