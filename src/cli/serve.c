/* serve.c - `valet serve`: reads the command line and the settings, then hands over to the control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"
#include "base/civil.h"
#include "base/log.h"
#include "cli/cli.h"

#include <malloc.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Every stream costs two descriptors: take what the system allows. */
static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Secrets of targets stand in our memory: no core dumps, no ptrace by others. */
static void hide_memory(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
#if defined(PR_SET_DUMPABLE) && !defined(__SANITIZE_ADDRESS__) /* the leak checker traces us */
	prctl(PR_SET_DUMPABLE, 0);
#endif
}

/* Large prompts come and go: keep their memory instead of mapping it anew (page faults cost more than the parse). */
static void tune_memory(void)
{
#ifdef M_MMAP_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}

/* Before any thread. */
static bool set_zone(const struct settings *s)
{
	struct buf why;
	buf_init(&why, 1024);
	bool fine = civil_set_zone(s->time_zone.len ? s->time_zone.ptr : "", &why);
	if (!fine)
		fprintf(stderr, "valet: %.*s\n", STR_ARG(buf_str(&why)));
	buf_release(&why);
	return fine;
}

int cli_serve(int argc, char **argv)
{
	struct serve_args args;
	struct settings *settings = NULL;
	struct buf report;
	const char *why = NULL;
	int code = serve_args_read(&args, argc, argv);
	if (code != CLI_DONE)
		return code;
	buf_init(&report, 1 << 20);
	bool loaded = settings_load(args.config, args.over, args.over_count, &settings, &report);
	fprintf(stderr, "%.*s", STR_ARG(buf_str(&report)));
	buf_release(&report);
	if (!loaded)
		return CLI_FAILED;
	if (!set_zone(settings)) {
		settings_free(settings);
		return CLI_FAILED;
	}
	struct log_options log = {settings->log.level, settings->log.format, settings->log.file.ptr};
	if (!log_start(&log, &why)) {
		fprintf(stderr, "valet: %s: %.*s\n", why, STR_ARG(settings->log.file));
		settings_free(settings);
		return CLI_FAILED;
	}
	raise_descriptors();
	hide_memory();
	tune_memory();
	struct control_options options = {settings, args.config, args.over, args.over_count, args.state};
	code = control_run(&options);
	log_stop();
	return code;
}
