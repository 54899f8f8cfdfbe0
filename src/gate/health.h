/* health.h - whether a target is fit to be asked: a breaker that failures of requests open, with one probe while it is half open; a budget for retries;
 * maintenance. One struct in each target's live state; atomics, any thread; time is an argument. All zero is a target that nothing is known against.
 *
 * Closed: all requests pass. Failures in a row (or half of the last sixteen) open it; open: none pass until the cool-down is over, which doubles with
 * each failed probe, up to four seconds (thirty where it was silent instead of failing at once); half open: one request passes as the probe, and its outcome closes or opens it again. For HEALTH_PROBATION_MS after that, fewer failures open
 * it again, and with the next longer cool-down, so that a flapping target costs little. What a watcher sees from outside (a target that
 * answers its probes again) ends the cool-down early. Requests that were sent before it opened change nothing when they end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_HEALTH_H
#define VALET_GATE_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HEALTH_FAILURES       5      /* in a row open it */
#define HEALTH_FAILURES_SHARE 8      /* of the last 16 do as well */
#define HEALTH_FAILURES_AGAIN 2      /* on probation */
#define HEALTH_PROBATION_MS   30000  /* after a good probe */
#define HEALTH_COOL_MS        1000   /* the first cool-down; doubles up to the next two; plus up to a tenth by chance */
#define HEALTH_COOL_MAX_MS    4000   /* so that it is used again within five seconds of its recovery */
#define HEALTH_SILENT_MAX_MS  30000  /* where it was silent: the request that is the probe may wait for long */
#define HEALTH_DENIED_MS      60000  /* set aside where the secret is not accepted; doubles up to HEALTH_DENIED_MAX_MS; plus up to a tenth */
#define HEALTH_DENIED_MAX_MS  600000
#define HEALTH_WAIT_MAX_MS    60000  /* the longest Retry-After that is honoured */
#define HEALTH_BUSY_MS        250    /* busy without Retry-After: a pause; doubles while that goes on up to HEALTH_BUSY_MAX_MS */
#define HEALTH_BUSY_MAX_MS    4000
#define HEALTH_PROBE_MS       60000  /* a probe that has told nothing for so long does not keep another from trying */
#define HEALTH_RETRY_SHARE    10     /* per cent of a target's requests that may be retries coming to it, beyond HEALTH_RETRY_MIN a second */
#define HEALTH_RETRY_MIN      3

enum health_mode { HEALTH_CLOSED, HEALTH_OPEN, HEALTH_HALF_OPEN };

/* How an attempt ended, as far as the target's fitness is concerned. */
enum health_outcome {
	HEALTH_GOOD,      /* an answer, or an error that is the client's own doing */
	HEALTH_BAD,       /* refused, broke off, 5xx */
	HEALTH_SILENT,    /* no answer in time: as bad, and longer to be left alone */
	HEALTH_BUSY,      /* 429, 503: come later; no failure, but honoured: nothing is sent until Retry-After */
	HEALTH_DENIED,    /* 401, 403: the secret is not accepted: set aside until the settings change or a probe succeeds a minute later */
	HEALTH_CANCELLED, /* the client left before it was known: gives a probe back, says nothing else */
};

struct health {
	_Atomic uint64_t state;      /* mode, history, cool-downs and until when: packed, changed by compare-and-swap; see health.c */
	_Atomic int64_t until_ms;    /* busy: nothing is sent before; only grows */
	_Atomic uint64_t counts;     /* the retry budget: requests and retries of this second and the one before, packed */
	_Atomic bool drained;        /* maintenance: no new requests */
};

enum health_verdict { HEALTH_ASK, HEALTH_ASK_AS_PROBE, HEALTH_DO_NOT };

/* Whether a request may be sent now; taking a probe's place is part of it, so ask only for a target that will be used if it says yes, and report the
 * outcome exactly once. `probe` of the answer must be handed to health_report(). */
enum health_verdict health_take(struct health *h, int64_t now_ms);
/* The same without taking anything: for choosing. */
bool health_would(const struct health *h, int64_t now_ms);
/* `retry_after_ms`: 0 where none was told. `random`: any number, for jitter. */
void health_report(struct health *h, enum health_outcome how, bool probe, int64_t retry_after_ms, int64_t now_ms, uint32_t random);
/* The watcher saw it answer: an open breaker becomes half open at once. Not where a secret was denied: the watcher's question may need none. */
void health_seen_up(struct health *h, int64_t now_ms);
/* The target's settings have changed: what was held against it is forgotten, but for maintenance and the retry budget. */
void health_reset(struct health *h);
/* Counts a request; for a retry, whether the budget has room (then it is counted). A retry that finds none may wait and ask again. */
bool health_count(struct health *h, bool retry, int64_t now_ms);
enum health_mode health_mode(const struct health *h);
/* When it may be asked again; 0: now. INT64_MAX: drained. While a probe is on its way: a guess. */
int64_t health_until_ms(const struct health *h, int64_t now_ms);
void health_drain(struct health *h, bool drained);
bool health_drained(const struct health *h);
/* Set aside since its secret is not accepted: from the refusal on until a request succeeds again, fails for another reason, or health_reset(). */
bool health_denied(const struct health *h);

#endif
