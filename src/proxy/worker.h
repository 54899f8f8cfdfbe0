/* worker.h - one thread with a loop: accepts clients, runs their requests, owns the connections to upstreams.
 *
 * Everything here belongs to the worker's thread but what worker_*() functions marked "any thread" post to it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_WORKER_H
#define VALET_PROXY_WORKER_H

#include "base/metrics.h"
#include "gate/catalog.h"
#include "http/client.h"
#include "http/server.h"
#include "net/stream.h"

#define WORKER_LISTENERS 8
#define WORKER_TURNS     256
#define WORKER_FIELDS    (2 * HTTP_MAX_HEAD + 16 * 1024) /* bytes of the buffer in which heads are written */

struct request;

/* What is the worker's of a target: where its connections hang. Kept by target_state.index. */
struct worker_target {
	struct origin origin;
	char *address;              /* catalog_target.address it was made for */
	char *host;
	struct tls_client *own_tls; /* with the target's own CA file */
};

struct worker {
	struct loop loop;
	struct http_server server;
	struct listener listeners[WORKER_LISTENERS];
	unsigned listener_count;
	struct catalog *catalog;    /* the newest; one reference */
	struct worker_target **targets;
	uint32_t target_count;
	struct tls_client *tls;     /* made when the first https target is used */
	struct metrics metrics;
	struct series_table series;
	struct list requests;       /* all that are under way */
	struct list waiting;        /* those in CLAIM that wait for others to give something back */
	struct ledger *ledger;      /* NULL: nothing is written down */
	struct lane *lane;          /* of its journal: this worker's */
	struct queue *queue;        /* of all workers */
	struct prefixes *prefixes;  /* of all workers; NULL: no affinity */
	struct message woken;       /* posted by worker_wake() */
	_Atomic bool wake_posted;
	uint32_t turns[WORKER_TURNS]; /* of a model, by its id: ties between targets are broken in turn */
	uint64_t prefix_seed;       /* the same for all workers */
	uint64_t id_state[2];       /* of request ids */
	char hostname[256];         /* this machine's */
	char *fields;               /* WORKER_FIELDS bytes; valid inside one call */
	pthread_t thread;
	unsigned number;
	bool draining;
	struct timer drain;         /* looks whether the last client has gone */
	/* up: what a worker asks the control thread for. Any thread may be called back on. */
	void (*metrics_wanted)(void *user, struct worker *w, const char *request_id); /* answered by worker_give_metrics() */
	void (*ended)(void *user); /* the thread is about to end */
	void *user;
	struct str admin_key;       /* empty: /metrics is not served here */
};

struct worker_listen {
	union address address;
};

/* Makes a worker with its loop; listens on the addresses. NULL and `why` if one cannot be bound. */
struct worker *worker_new(unsigned number, const struct worker_listen *listen, size_t n, struct catalog *catalog, struct buf *why);
bool worker_start(struct worker *w);                              /* starts its thread */
void worker_set_catalog(struct worker *w, struct catalog *c);     /* any thread; takes a reference of its own */
void worker_drain(struct worker *w);                              /* any thread: no new clients; ends when all requests have ended */
void worker_stop(struct worker *w);                               /* any thread: ends now */
void worker_give_metrics(struct worker *w, const char *request_id, struct str text); /* any thread; copies */
/* Any thread: something was given back that a waiting request may want. */
void worker_wake(struct worker *w);
/* Any thread: a ticket of this worker's was given a place. */
void worker_granted(struct worker *w, struct ticket *t);
/* Any thread: `give` is called on the worker's thread with a JSON object for each request that is under way, separated by commas. */
void worker_list(struct worker *w, void (*give)(void *user, struct str rows), void *user);
/* Any thread: stops the request of that id ("req_…") if it is this worker's; `done` is called on the worker's thread. */
void worker_stop_request(struct worker *w, const char *id, void (*done)(void *user, bool found), void *user);
void worker_join(struct worker *w);
void worker_free(struct worker *w);
/* Where connections to a target hang; made or remade as needed. NULL: TLS cannot be started, *why says. */
struct origin *worker_origin(struct worker *w, const struct catalog_target *t, const char **why);
/* Any number: no secret, but not the same twice. */
uint32_t worker_random(struct worker *w);
/* A new request id into out[32]. */
void worker_new_id(struct worker *w, char *out);

#endif
