/* reload.c - new settings while serving: by SIGHUP, or when the file changes. A bad file is refused with its reasons, the old settings go on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"
#include "base/log.h"

#include <sys/stat.h>

#define LOOK_MS 500

/* Whatever changes when the file is written: time, size, and which file it is. */
static void look(const char *path, int64_t *mtime, int64_t *size)
{
	struct stat st;
	*mtime = *size = -1;
	if (path && path[0] && stat(path, &st) == 0) {
		*mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec + (int64_t)st.st_ino;
		*size = (int64_t)st.st_size;
	}
}

static void log_report(const struct buf *report, bool failed)
{
	struct str rest = buf_str(report), line;
	while (str_split(&rest, '\n', &line)) {
		if (line.len == 0)
			continue;
		if (failed)
			log_error("%.*s", STR_ARG(line));
		else
			log_warn("%.*s", STR_ARG(line));
	}
}

static bool same_texts(const struct str_list *a, const struct str_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!str_eq(a->items[i], b->items[i]))
			return false;
	return true;
}

static void warn_of_restart(const struct settings *old, const struct settings *s)
{
	if (!same_texts(&old->listen_texts, &s->listen_texts) || !str_eq(old->admin_listen_text, s->admin_listen_text))
		log_warn("a change of 'listen' or 'admin_listen' takes effect at the next start");
	if (old->workers != s->workers)
		log_warn("a change of 'workers' takes effect at the next start");
}

static void apply(struct control *c, struct settings *s)
{
	struct settings *old = c->settings;
	struct str places[DISCOVER_PLACES_MAX];
	struct log_options log = {s->log.level, s->log.format, s->log.file.ptr};
	const char *why = NULL;
	size_t n = s->discover.count < DISCOVER_PLACES_MAX ? s->discover.count : DISCOVER_PLACES_MAX;
	warn_of_restart(old, s);
	if (!log_reopen(&log, &why))
		log_error("%s", why);
	c->settings = s;
	govern_settings(c);
	capacity_settings(c);
	for (size_t i = 0; i < n; i++)
		places[i] = s->discover.items[i].text;
	discovery_set_places(c->discovery, s->discovery, places, n);
	discovery_set_times(c->discovery, s->discovery_interval_ms, s->discovery_grace_ms);
	control_set_targets(c);
	control_publish(c); /* what does not depend on engines holds at once */
	settings_free(old);
}

void reload_now(struct control *c)
{
	struct settings *s = NULL;
	struct buf report;
	buf_init(&report, 1 << 20);
	look(c->settings->file.ptr, &c->file_mtime, &c->file_size);
	if (settings_load(c->options.config, c->options.over, c->options.over_count, &s, &report)) {
		log_report(&report, false);
		apply(c, s);
		log_info("settings reloaded");
	} else {
		log_report(&report, true);
		log_error("the new settings are refused; the old ones go on");
	}
	buf_release(&report);
}

static void on_watch(struct timer *t)
{
	struct control *c = CONTAINER_OF(t, struct control, watch);
	int64_t mtime, size;
	look(c->settings->file.ptr, &mtime, &size);
	if (size >= 0 && (mtime != c->file_mtime || size != c->file_size))
		reload_now(c);
	timer_start(&c->loop, t, LOOK_MS);
}

void reload_begin_watching(struct control *c)
{
	timer_init(&c->watch, on_watch);
	if (c->settings->file.len == 0)
		return;
	look(c->settings->file.ptr, &c->file_mtime, &c->file_size);
	timer_start(&c->loop, &c->watch, LOOK_MS);
}
