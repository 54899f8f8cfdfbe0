/* health.h - whether a target is fit to be asked: a breaker that failures of requests open, with one probe while it is half open; a budget for retries;
 * maintenance. One struct in each target's live state; atomics, any thread; time is an argument.
 *
 * Closed: all requests pass. Failures in a row (or a share of the last ones) open it; open: none pass until the cool-down is over, which doubles with
 * each failed probe; half open: one request passes as the probe, and its outcome closes or opens it again. What a watcher sees from outside (a target that
 * answers its probes again) may end the cool-down early.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_HEALTH_H
#define VALET_GATE_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HEALTH_FAILURES      5      /* in a row open it */
#define HEALTH_COOL_MS       1000   /* the first cool-down; doubles up to HEALTH_COOL_MAX_MS; plus up to a tenth by chance */
#define HEALTH_COOL_MAX_MS   30000
#define HEALTH_RETRY_SHARE   10     /* per cent of a target's requests that may be retries coming to it, beyond HEALTH_RETRY_MIN a second */
#define HEALTH_RETRY_MIN     3

enum health_mode { HEALTH_CLOSED, HEALTH_OPEN, HEALTH_HALF_OPEN };

/* How an attempt ended, as far as the target's fitness is concerned. */
enum health_outcome {
	HEALTH_GOOD,      /* an answer, or an error that is the client's own doing */
	HEALTH_BAD,       /* refused, silent, broke off, 5xx */
	HEALTH_BUSY,      /* 429, 503: come later; no failure, but honoured: nothing is sent until Retry-After */
	HEALTH_DENIED,    /* 401, 403: the secret is not accepted: set aside until the settings change or a probe succeeds a minute later */
	HEALTH_CANCELLED, /* the client left before it was known: gives a probe back, says nothing else */
};

struct health {
	_Atomic uint64_t state;      /* mode, failures, cool-downs: packed, changed by compare-and-swap; see health.c */
	_Atomic int64_t until_ms;    /* open, or busy: nothing is sent before */
	_Atomic int64_t window_ms;   /* the retry budget's second */
	_Atomic uint64_t counts;     /* requests and retries in it, packed */
	_Atomic bool drained;        /* maintenance: no new requests */
};

enum health_verdict { HEALTH_ASK, HEALTH_ASK_AS_PROBE, HEALTH_DO_NOT };

/* Whether a request may be sent now; taking a probe's place is part of it, so ask only for a target that will be used if it says yes, and report the
 * outcome exactly once. `probe` of the answer must be handed to health_report(). */
enum health_verdict health_take(struct health *h, int64_t now_ms);
/* The same without taking anything: for choosing. */
bool health_would(const struct health *h, int64_t now_ms);
/* `random`: any number, for jitter. */
void health_report(struct health *h, enum health_outcome how, bool probe, int64_t retry_after_ms, int64_t now_ms, uint32_t random);
/* The watcher saw it answer: an open breaker becomes half open at once. */
void health_seen_up(struct health *h, int64_t now_ms);
/* Counts a request; for a retry, whether the budget has room (then it is counted). */
bool health_count(struct health *h, bool retry, int64_t now_ms);
enum health_mode health_mode(const struct health *h);
/* When it may be asked again; 0: now. */
int64_t health_until_ms(const struct health *h, int64_t now_ms);
void health_drain(struct health *h, bool drained);

#endif
