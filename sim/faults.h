/* faults.h - how the simulator misbehaves: the table of faults, and the rules that say which
 * request gets one.
 *
 * A fault is asked for by one request (header "x-sim-fault: NAME[=ARG]") or by a rule (--fault,
 * POST /sim/faults). A rule with rate R strikes exactly every 1/R-th request that it looks at, not
 * by chance. What each one does on the wire is in fault_wire.c and stream.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"

struct worker;
struct http_conn;

/* When a fault strikes: at once instead of an answer; while a stream runs (an answer that is whole
 * is cut in its middle); when the finished answer is put on the wire, in one piece; or it changes
 * what the answer says. */
enum fault_phase { PHASE_NONE, PHASE_EARLY, PHASE_RUN, PHASE_WIRE, PHASE_TEXT };

/* kind, name, argument where none is given, phase, what it does (for --help) */
#define FAULTS(X) \
	X(REFUSE, "refuse", 1, PHASE_EARLY, "resets, and closes the listener for ARG seconds") \
	X(HANG, "hang", 0, PHASE_EARLY, "never answers") \
	X(RESET_BEFORE, "reset-before", 0, PHASE_EARLY, "resets the connection at once") \
	X(STATUS, "status", 500, PHASE_EARLY, "answers CODE[,RETRY-AFTER]") \
	X(LOADING, "loading", 0, PHASE_EARLY, "answers 503 as an engine that loads its model") \
	X(HTML_ERROR, "html-error", 502, PHASE_EARLY, "a proxy's error page with status ARG") \
	X(REDIRECT, "redirect", 307, PHASE_EARLY, "redirects elsewhere with status ARG") \
	X(SWITCHING, "switching-101", 0, PHASE_EARLY, "101 Switching Protocols") \
	X(GARBAGE, "garbage", 512, PHASE_EARLY, "ARG bytes that are not HTTP, then the end") \
	X(SLOW_HEAD, "slow-head", 1000, PHASE_RUN, "the head comes after ARG ms") \
	X(SLOW_TOKEN, "slow-token", 1000, PHASE_RUN, "head at once, then ARG ms before each event") \
	X(RESET_AFTER, "reset-after", 2, PHASE_RUN, "resets after ARG events") \
	X(CUT_AFTER, "cut-after", 2, PHASE_RUN, "ends without the last chunk after ARG events") \
	X(STALL_AFTER, "stall-after", 2, PHASE_RUN, "sends nothing more after ARG events") \
	X(ERROR_IN_STREAM, "error-in-stream", 2, PHASE_RUN, "an error event after ARG events") \
	X(BAD_SSE, "bad-sse", 1, PHASE_RUN, "malformed events after ARG events; the rest is whole") \
	X(HANG_AFTER_DONE, "hang-after-done", 0, PHASE_RUN, "all but the last chunk; stays open") \
	X(ENDLESS, "endless", 0, PHASE_RUN, "never stops producing") \
	X(NO_DONE, "no-done", 0, PHASE_TEXT, "a stream without its end mark") \
	X(NO_USAGE, "no-usage", 0, PHASE_TEXT, "no usage") \
	X(USAGE_NEGATIVE, "usage-negative", 0, PHASE_TEXT, "negative usage") \
	X(USAGE_HUGE, "usage-huge", 0, PHASE_TEXT, "a usage of 10^18") \
	X(USAGE_STRING, "usage-string", 0, PHASE_TEXT, "strings where usage has numbers") \
	X(BAD_JSON, "bad-json", 0, PHASE_WIRE, "JSON that breaks off") \
	X(WRONG_TYPE, "wrong-type", 0, PHASE_WIRE, "Content-Type: text/plain") \
	X(TRUNCATED_CHUNK, "truncated-chunk", 0, PHASE_WIRE, "a chunk that is cut short, then the end") \
	X(MISSING_FINAL_CHUNK, "missing-final-chunk", 0, PHASE_WIRE, "the end without the last chunk") \
	X(LENGTH_SHORT, "length-short", 10, PHASE_WIRE, "Content-Length ARG bytes too small") \
	X(LENGTH_LONG, "length-long", 10, PHASE_WIRE, "Content-Length ARG too large, then the end") \
	X(LENGTH_TWICE, "length-twice", 1, PHASE_WIRE, "a second Content-Length, ARG larger") \
	X(LENGTH_AND_CHUNKED, "length-and-chunked", 0, PHASE_WIRE, "Content-Length and chunked") \
	X(GIANT_HEADER, "giant-header", 64, PHASE_WIRE, "a header line of ARG KiB") \
	X(MANY_HEADERS, "many-headers", 10000, PHASE_WIRE, "ARG header lines") \
	X(OBS_FOLD, "obs-fold", 0, PHASE_WIRE, "a folded header line") \
	X(FLOOD_1XX, "1xx-flood", 1000, PHASE_WIRE, "ARG times 103 Early Hints before the answer") \
	X(GZIP, "gzip", 10, PHASE_WIRE, "the answer and ARG MiB of spaces, compressed") \
	X(SURPLUS, "surplus", 0, PHASE_WIRE, "a second answer behind the answer (or ARG bytes)") \
	X(CLOSE_IDLE, "close-idle", 50, PHASE_WIRE, "closes the connection ARG ms after the answer")

enum fault_kind {
	FAULT_NONE,
#define X(kind, name, arg, phase, help) FAULT_##kind,
	FAULTS(X)
#undef X
	FAULT_COUNT,
};

struct fault {
	uint8_t kind; /* enum fault_kind */
	int64_t arg, second; /* second: status's Retry-After, -1 = none */
};

/* Which requests a rule looks at. */
enum fault_on { ON_CALLS, ON_PROBES, ON_ALL };

struct fault_rule {
	struct fault fault;
	double rate, debt;
	int64_t left; /* how often it still strikes; -1: no limit */
	uint8_t on;   /* enum fault_on */
};

#define FAULT_RULES_MAX 32
struct fault_rules {
	struct fault_rule list[FAULT_RULES_MAX];
	size_t count;
};

struct fault_kind_info {
	const char *name, *help;
	int64_t arg;
	enum fault_phase phase;
};
const struct fault_kind_info *fault_info(unsigned kind);
static inline bool fault_is(const struct fault *f, enum fault_phase phase)
{
	return f->kind != FAULT_NONE && fault_info(f->kind)->phase == phase;
}

/* "NAME[=ARG[,SECOND]]". False: no such fault, or not a number. */
bool fault_parse(struct str text, struct fault *out);
/* "NAME[=ARG][@calls|@probes|@all][:RATE]", rate 1 where none is given. */
bool fault_rule_parse(struct str text, struct fault_rule *out);
/* The fault that the rules give to this request; the kind is FAULT_NONE mostly. Under the owner's
 * lock. */
struct fault fault_pick(struct fault_rules *rules, bool call);
/* {"faults":[…]} and back. An entry is text for fault_rule_parse() or
 * {"fault","rate"?,"count"?,"on"?}. */
bool fault_rules_read(struct fault_rules *rules, struct str body, const char **why);
void fault_rules_put(const struct fault_rules *rules, struct buf *out);

/* fault_wire.c: does a fault of PHASE_EARLY instead of an answer. */
void fault_strike(struct worker *w, struct http_conn *c, const struct fault *f, int shape);
/* Sends an answer with status 200 and a fault of PHASE_WIRE. `fields`: its lines. */
void fault_send(struct worker *w, struct http_conn *c, const struct fault *f, struct str fields,
		struct str body);
/* An answer that is not streamed, broken off in its middle as a fault of PHASE_RUN says. True: the
 * connection stays open and is not answered any further. */
bool fault_break(struct http_conn *c, const struct fault *f, struct str fields, struct str body);
/* Closes with RST at once. */
void conn_reset(struct http_conn *c);

#endif
