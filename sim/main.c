/* main.c - valet-sim: an engine simulator for tests and benchmarks. Starts the workers and waits
 * for a signal.
 *
 * The first worker runs on the main thread. See sim.h for the whole, options.c for the command
 * line.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "base/clock.h"
#include "net/resolve.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

static struct sim sim;

static void build_fields(void)
{
	static const char *const types[FIELDS_COUNT] = {
		[FIELDS_JSON] = "application/json",
		[FIELDS_SSE] = "text/event-stream; charset=utf-8\r\ncache-control: no-cache",
		[FIELDS_NDJSON] = "application/x-ndjson",
		[FIELDS_TEXT] = "text/plain; charset=utf-8",
		[FIELDS_METRICS] = "text/plain; version=0.0.4; charset=utf-8",
		[FIELDS_HTML] = "text/html",
		[FIELDS_BYTES] = "application/octet-stream",
	};
	for (int i = 0; i < FIELDS_COUNT; i++) {
		buf_init(&sim.fields[i], 4096);
		bool charset = i == FIELDS_JSON && sim.dialect == &dialect_ollama;
		buf_addf(&sim.fields[i], "content-type: %s%s\r\n", types[i],
			 charset ? "; charset=utf-8" : "");
		if (sim.dialect->server)
			buf_addf(&sim.fields[i], "server: %s\r\n", sim.dialect->server);
	}
}

static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void *run_thread(void *arg)
{
	struct worker *w = arg;
	loop_run(&w->loop);
	worker_stop(w);
	return NULL;
}

static void on_signal(struct loop_signal *s, int signum)
{
	for (size_t i = 0; i < sim.worker_count; i++)
		loop_stop(&sim.workers[i].loop);
}

/* The port is known once the first worker listens; the others share it. */
static bool start_workers(void)
{
	sim.port = sim.options.port;
	for (size_t i = 0; i < sim.worker_count; i++) {
		int rc = worker_start(&sim.workers[i], &sim);
		if (rc) {
			fprintf(stderr, "valet-sim: cannot listen on %.*s:%u: %s\n",
				STR_ARG(sim.options.host), sim.port, strerror(rc));
			return false;
		}
		if (sim.port == 0)
			sim.port = worker_port(&sim.workers[i]);
	}
	return true;
}

static void run(void)
{
	struct loop_signal term, interrupt;
	loop_on_signal(&sim.workers[0].loop, &term, SIGTERM, on_signal);
	loop_on_signal(&sim.workers[0].loop, &interrupt, SIGINT, on_signal);
	for (size_t i = 1; i < sim.worker_count; i++)
		pthread_create(&sim.workers[i].thread, NULL, run_thread, &sim.workers[i]);
	if (!sim.options.quiet || sim.options.port == 0) {
		char name[64];
		listener_name(&sim.workers[0].listener, name, sizeof(name));
		printf("listening on %s\n", name);
		fflush(stdout);
	}
	loop_run(&sim.workers[0].loop);
	for (size_t i = 1; i < sim.worker_count; i++)
		pthread_join(sim.workers[i].thread, NULL);
	worker_stop(&sim.workers[0]);
}

static void release(void)
{
	for (int i = 0; i < FIELDS_COUNT; i++)
		buf_release(&sim.fields[i]);
	cache_free(sim.engine.cache);
	models_release(&sim);
	free(sim.log);
	free(sim.workers);
}

int main(int argc, char **argv)
{
	switch (options_read(&sim.options, argc, argv)) {
	case OPTIONS_RUN:
		break;
	case OPTIONS_DONE:
		return 0;
	case OPTIONS_WRONG:
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	sim.dialect = sim.options.dialect;
	sim.worker_count = (size_t)sim.options.threads;
	sim.workers = mem_array(sim.worker_count, sizeof(*sim.workers));
	sim.log = mem_array(LOG_ENTRIES, sizeof(*sim.log));
	sim.started_us = clock_mono_us();
	pthread_mutex_init(&sim.lock, NULL);
	list_init(&sim.engine.waiting);
	if (sim.options.cache_blocks > 0)
		sim.engine.cache = cache_new((size_t)sim.options.cache_blocks);
	models_read(&sim);
	stats_reset(&sim);
	build_fields();
	if (!start_workers())
		return 1;
	run();
	release();
	return 0;
}
