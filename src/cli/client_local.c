/* client_local.c - the admin API on a state folder that no server uses: opens the books, asks, closes them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api.h"
#include "base/civil.h"
#include "base/clock.h"
#include "cli/client.h"
#include "http/url.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* What an api_call() needs. */
struct local {
	struct ledger *ledger;
	struct api *api;
	struct settings *settings;
};

static bool call_store(void *user, void (*run)(struct store *s, void *arg), void *arg)
{
	struct local *l = user;
	run(ledger_store(l->ledger), arg);
	return true;
}

static void say_trouble(void *user, const char *sentence)
{
	fprintf(stderr, "valet: %s\n", sentence);
}

/* Settings say what new keys may do, and the time zone of days. Only a new key needs them: what is wrong in them, or a secret that the server alone
 * knows, does not keep an operator from looking at the books or from revoking a key. */
static bool load_settings(struct local *l, const char *config, bool needed, struct buf *why)
{
	struct buf report;
	buf_init(&report, 1 << 20);
	bool loaded = settings_load(config, NULL, 0, &l->settings, &report);
	if (!loaded && needed)
		buf_addf(why, "what new keys may do is not known, since the settings are wrong:\n%.*s", STR_ARG(str_trim(buf_str(&report))));
	else if (!loaded)
		fprintf(stderr, "valet: %s has mistakes, so the standard settings are taken (valet check says more)\n", settings_find(config));
	if (!loaded && !needed)
		l->settings = settings_defaults();
	buf_release(&report);
	return l->settings && civil_set_zone(l->settings->time_zone.len ? l->settings->time_zone.ptr : "", why);
}

static bool open_local(struct local *l, const char *folder, struct buf *why)
{
	const struct ledger_options options = {.folder = folder, .trouble = say_trouble};
	l->ledger = ledger_open(&options, why);
	if (!l->ledger && !cli_in_use(folder))
		BUF_ADD(why, CLI_DAMAGE_HINT);
	if (!l->ledger)
		return false;
	const struct api_options of = {.call = call_store, .user = l, .folder = folder};
	l->api = api_new(&of, why);
	if (!l->api)
		return false;
	api_use_settings(l->api, l->settings);
	return true;
}

static void close_local(struct local *l)
{
	if (l->api)
		api_free(l->api);
	if (l->ledger)
		ledger_free(l->ledger);
	settings_free(l->settings);
}

/* The books never go back in time, whatever the clock says. */
static int64_t book_now_s(const struct ledger *l)
{
	int64_t now = clock_wall_us(), newest = ledger_newest_us(l);
	return (now > newest ? now : newest) / 1000000;
}

int cli_request_local(const struct cli_place *p, const char *folder, const char *method, struct str target, struct str body, struct buf *out)
{
	struct local l = {NULL};
	struct api_request r = {.method = str_from(method), .body = body};
	int status = -1;
	if (!url_split_target(target, &r.path, &r.query)) {
		BUF_ADD(out, "not a path");
		return -1;
	}
	bool creates = str_eq(r.method, STR("POST")) && str_eq(r.path, STR("/api/keys"));
	if (api_needs_server(r.path))
		buf_addf(out, "no server runs on %s; only a running server can tell", folder);
	else if (p->state && str_eq(r.method, STR("GET")) && access(folder, F_OK) != 0 && errno == ENOENT)
		buf_addf(out, "there is no state folder %s: nothing was ever kept there", folder);
	else if (load_settings(&l, p->config, creates, out) && open_local(&l, folder, out)) {
		r.now_s = book_now_s(l.ledger);
		status = api_do(l.api, &r, out);
		if (status == 0)
			buf_addf(out, "there is no %s %.*s", method, STR_ARG(r.path));
		status = status ? status : -1;
	}
	close_local(&l);
	return status;
}
