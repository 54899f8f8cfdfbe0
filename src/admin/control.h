/* control.h - the control thread: settings, workers, the watcher of engines, the catalog, the admin listener, signals.
 *
 * control_run() is the main thread's from then on. Everything here belongs to it but what is posted to its loop.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_CONTROL_H
#define VALET_ADMIN_CONTROL_H

#include "admin/capacity.h"
#include "admin/discover.h"
#include "admin/govern.h"
#include "admin/targets.h"
#include "gate/catalog.h"
#include "gate/settings.h"
#include "http/server.h"
#include "proxy/worker.h"

#define CONTROL_WORKERS_MAX 64

struct control_options {
	struct settings *settings; /* taken over */
	const char *config;        /* as given on the command line; NULL: none */
	const struct settings_override *over;
	size_t over_count;
	const char *state;         /* --state; NULL: not given */
};

struct control {
	struct control_options options;
	struct loop loop;
	struct settings *settings;
	struct registry *registry;
	struct discovery *discovery;
	struct tls_client *tls;          /* for probes */
	struct catalog *catalog;
	struct govern govern;
	struct capacity capacity;
	struct targets targets;
	struct worker *workers[CONTROL_WORKERS_MAX];
	unsigned worker_count, ended_count;
	struct listener admin_listener;
	struct http_server admin_server;
	struct worker_listen listen[WORKER_LISTENERS];
	size_t listen_count;
	char address[80];                /* the first listener's, as bound */
	char admin_address[80];          /* empty: off */
	struct timer watch, drain;       /* looks at the file; ends a drain that takes too long */
	struct loop_signal on_term, on_int, on_hup;
	int64_t file_mtime, file_size;   /* at the last load */
	int64_t began_us;
	bool ready, draining, screen_shown, admin_open;
};

/* Serves until a signal says to stop. The exit code. */
int control_run(const struct control_options *options);

/* admin_http.c */
bool admin_open(struct control *c, struct buf *why);
void admin_close(struct control *c);
void admin_metrics(struct control *c, struct buf *out);
/* screen.c: what the operator sees at the start (stdout). */
void screen_show(struct control *c);
/* publish.c: makes a catalog from the settings and the engines, and gives it to the workers. */
void control_publish(struct control *c);
/* reload.c */
void reload_begin_watching(struct control *c);
void reload_now(struct control *c);
/* Hands settings to the watcher of engines. */
void control_set_targets(struct control *c);

#endif
