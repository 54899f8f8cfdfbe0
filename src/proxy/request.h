/* request.h - one API request on a worker, from its last byte read to its log line: a table of named steps.
 *
 * A step does its work and returns the next one, or WAIT. Callbacks (an upstream's head, data, end, failure; a timer; a client that left) note
 * what happened in the request and call request_run(); they decide nothing. Two promises: before the first byte to the client a failure may go
 * back to ROUTE, after it none may but for a stream that can be resumed (resuming.h); and SETTLE runs exactly once. A request, its client and its upstream never leave their worker.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_REQUEST_H
#define VALET_PROXY_REQUEST_H

#include "base/error.h"
#include "dialect/body.h"
#include "dialect/tap.h"
#include "gate/books.h"
#include "gate/catalog.h"
#include "http/client.h"
#include "http/server.h"

#define REQUEST_STEPS(X) /* in the order of a request's life */ \
	X(auth, AUTH)     /* intake.c: may this be asked here at all, and with which key */ \
	X(admit, ADMIT)   /* intake.c: what is asked; Valet's own answers */ \
	X(claim, CLAIM)   /* claim.c: limits and budgets; the first record in the journal */ \
	X(route, ROUTE)   /* route.c: the next target */ \
	X(queue, QUEUE)   /* route.c: a place there */ \
	X(send, SEND)     /* dispatch.c: a connection, and the request on it */ \
	X(head, HEAD)     /* judge.c: take the answer, try elsewhere, or give up */ \
	X(relay, RELAY)   /* relay.c: the answer goes to the client as it comes */ \
	X(fail, FAIL)     /* fail.c: the error in the words the client understands */ \
	X(settle, SETTLE) /* settle.c: counts, log line, everything given back */

struct request;
typedef const struct step *step_fn(struct request *r);
struct step {
	const char *name;
	step_fn *run;
};

#define X(lower, UPPER) step_fn step_##lower; extern const struct step STEP_##UPPER[1];
REQUEST_STEPS(X)
#undef X
extern const struct step STEP_WAIT[1]; /* stay until something happens */
extern const struct step STEP_DONE[1]; /* the request is over and its memory gone */

#define ATTEMPTS_MAX  4
#define ERROR_BODY_MAX (64 * 1024)  /* bytes of an engine's error that are read */
#define ANSWER_HELD_MAX      (256 * 1024)  /* a whole JSON answer up to this is looked at before it goes out */
#define TAIL_KEEP     (8 * 1024)    /* the end of a larger one that is looked at for usage */
#define EVENT_MAX     (1 << 20)     /* one event of a stream */
#define EVENT_WHOLE   (16 * 1024)   /* an event is held back until it is complete up to this size, if nothing in it is changed */
#define ERROR_STATUS_IN_BODY 1      /* upstream_status of an error that came with status 200 */

enum relay_mode {
	RELAY_RAW,    /* bytes pass */
	RELAY_WHOLE,  /* a JSON answer, held while it is small */
	RELAY_EVENTS, /* server-sent events */
	RELAY_ERROR,  /* an error's body, collected */
};

struct worker;

/* One try at one place. */
struct attempt {
	const struct catalog_place *place;
	enum error error;
	bool refreshed; /* a kept connection had ended; a fresh one was taken for the same attempt */
	bool probe;     /* of a target whose breaker is half open */
	bool reported;  /* health knows how it ended */
	uint32_t others; /* requests in flight there when it was sent */
	enum health_outcome outcome;
};

struct request {
	const struct step *step;
	struct worker *worker;
	struct http_conn *conn;       /* NULL once the client is gone or the answer is complete */
	struct catalog *catalog;      /* one reference */
	const struct operation_row *op; /* NULL: unknown path */
	struct arena arena;
	struct list link;             /* in worker->requests */
	char id[32];                  /* "req_…", NUL-terminated */

	/* who asks, and what that is allowed to use */
	const struct key *key;        /* NULL: none is needed */
	struct claim claim;           /* given back by request_book() */
	struct rate_view rates[2];    /* requests, tokens: for the answer's fields */
	struct list waiting;          /* in worker->waiting, while CLAIM waits for others */
	int64_t now_us;               /* book time when the key was looked at; 0: there was none to look at */
	int64_t book_us;              /* book time of the claim; 0: nothing is to be written down */
	int64_t claim_began_ms;       /* loop time; 0: not yet */
	int64_t claim_until_ms;       /* granted, but not to begin before then */
	int64_t output_cap;           /* tokens of an answer that targets are told; 0: none */
	int64_t input_bound;          /* tokens of the prompt at most */
	int64_t claim_us;             /* time spent in CLAIM */
	uint32_t claim_scopes;        /* number of scopes that were asked */
	uint32_t settle_room;         /* bytes set aside for its SETTLE */
	uint64_t begin_seq;           /* its BEGIN in the worker's lane; 0: none */
	bool reserved;                /* room for its SETTLE is set aside */
	bool granted;                 /* the claim was granted; it may still be waiting for its time */
	bool booked;                  /* request_book() has done its work */
	bool announced;               /* books_wait() was called */
	bool stopped;                 /* by the operator */
	bool cut;                     /* and the target was at work on it */
	bool budgeted;                /* a budget covers it */
	bool local_only;              /* may not leave for a cloud: its key, its model or the request itself says so */

	/* what is asked */
	struct body_facts facts;
	const struct catalog_model *model; /* NULL: none, or not known yet */
	struct str own_answer;        /* /metrics: what the control thread has written */
	struct str path_rest;         /* of /models/{id} */
	struct str origin;            /* of a browser; empty otherwise */

	/* its way to a place */
	struct ticket *ticket;        /* while it waits */
	struct places *given;         /* by a grant; consumed by QUEUE */
	uint64_t *prefix;             /* hashes of the prompt's beginning, in the arena; NULL: not made */
	uint32_t prefix_count;
	uint32_t turn;
	int64_t input_guess, output_guess; /* tokens, most likely */
	int64_t queue_began_ms, queue_until_ms, queue_beat_ms;
	int64_t queue_since_ms;       /* it waits for a place; 0: it does not */
	int64_t queue_us;             /* time that it has waited for a place */
	const char *overflow;         /* why it went beyond the places of its model; NULL: it did not */
	struct claim overflow_claim;  /* in the budgets of overflow */
	uint32_t lease_looks;         /* times that its lease was not on the disk yet */
	bool too_long;                /* a target said that the prompt does not fit */
	bool charged;                 /* the queue has charged the guesses already */

	/* attempts */
	struct attempt attempts[ATTEMPTS_MAX];
	uint32_t attempt_count;
	struct upstream *upstream;    /* of the current attempt; NULL between */
	struct iovec parts[BODY_PARTS + 1]; /* what is still to be sent of head and body */
	int part_count, part_next;
	bool counted;                 /* a place at the target is ours */

	/* what happened; noted by callbacks, consumed by steps */
	const struct http_head *answer; /* valid inside one run */
	char *data;                   /* valid inside one run */
	size_t data_len;
	bool data_last, ended, gone, timed_out;
	bool upstream_failed;
	enum upstream_failure failure;
	const char *why;              /* static text of the failure */

	/* the answer */
	enum relay_mode mode;
	int status;                   /* sent to the client; 0 = none yet */
	bool committed;               /* bytes have gone to the client */
	bool as_events;               /* the head that it has got is a stream's */
	bool streaming;               /* counted in the gauge of streams */
	bool rename;                  /* events and answers are written anew: the model has another name there, or it is a cloud with quirks */
	struct cloud_stream *cloud;   /* of an answer of such a cloud; NULL: none */
	struct native *native;        /* of a request at Ollama that must be looked after (native.h); NULL: none */
	bool hide_usage;              /* the usage chunk is ours, not the client's */
	bool saw_finish, saw_done, saw_error;
	bool watching;                /* the timer looks at the body's progress */
	bool mid_event;               /* what the client has got does not end with a whole event */
	bool keep_tail;               /* RAW: `hold` keeps the end of a JSON answer */
	bool paused;                  /* the upstream waits for the client */
	struct resume *resume;        /* if it breaks off it may go on elsewhere (resuming.h); NULL: it may not */
	uint32_t resumed;             /* times that it did */
	struct buf hold;              /* an incomplete event; a whole answer; an error's body */
	int upstream_status;
	int64_t answer_length;        /* of the upstream's answer; -1: not told */
	int64_t retry_after_ms;       /* told by a target; -1: not */
	struct str content_type;

	/* the error, if it fails */
	enum error error;
	int error_status;             /* 0: the table's */
	struct str error_param, error_message; /* in the arena or static; param empty: null */
	struct str error_code;        /* empty: the table's */

	/* times (monotonic µs) and numbers */
	struct timer timer;
	int64_t began_us, sent_us, first_us, ended_us, progress_ms, deadline_ms, beat_ms, total_ms;
	uint64_t bytes_in, bytes_out, events;
	struct usage usage;           /* as the target tells it */
	struct {
		int64_t input, cached, output, cost; /* as it was settled */
		enum source source;
	} used;

	bool running, again;
};

/* A complete request on `conn`: makes the request and runs it. */
void request_begin(struct worker *w, struct http_conn *conn);
/* The one door: runs steps until one waits. The request may be gone afterwards. */
void request_run(struct request *r);
/* Goes to FAIL with that error. `message`: in the arena or static. */
const struct step *request_fail(struct request *r, enum error e, struct str message);
const struct step *request_failf(struct request *r, enum error e, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Ends the current attempt: its connection is given back and its place freed. `spoil`: the connection may not be used again. */
void request_end_attempt(struct request *r, bool spoil);
/* The current attempt, NULL before the first. */
struct attempt *request_attempt(struct request *r);
/* Whether another attempt may be made: nothing sent to the client that it could not go on from, attempts left. */
bool request_may_retry(const struct request *r);
struct series *request_series(struct request *r);

extern const struct upstream_events request_upstream_events; /* dispatch.c */
void request_on_timer(struct timer *t);                       /* dispatch.c */

/* book.c: what was used is settled and written down, before the last byte goes to the client; at most once. `more`: bytes of the body that are
 * about to be sent. */
void request_book(struct request *r, size_t more);
/* claim.c: CLAIM does not wait any more. */
void claim_stop_waiting(struct request *r);
/* route.c: gives up its ticket, or the place that it was given and has not used. */
void route_leave_queue(struct request *r);
/* route.c: a target says that the prompt does not fit. True: the policy of overflow has places for that, and ROUTE knows. */
bool route_goes_beyond_window(struct request *r);
/* Milliseconds that it waited before it went to a target. */
int64_t request_queue_ms(const struct request *r);

/* answer.c: the lines that every answer carries, and `more`; into the worker's buffer, valid until the next call. */
struct str answer_fields(struct request *r, struct str content_type, struct str more);
/* Sends a whole JSON answer of our own and ends. */
const struct step *answer_json(struct request *r, int status, struct str body, struct str more);
/* fail.c: appends an error object as the client's surface has it. */
void fail_body(struct request *r, struct buf *out);
void fail_refused(struct worker *w, struct http_conn *c, int status, const char *why); /* a message that cannot be read */
/* log line of a settled request */
void settle_log(struct request *r);

#endif
