/* govern.c - keys, books and ledger of a running gateway, and what they call back for. Control thread, but where it says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"
#include "admin/state.h"
#include "base/log.h"

#include <stdio.h>

#define DRAIN_LEDGER_MS 10000

/* ---- what the books call for: any thread ---- */

static void on_lease_wanted(void *user)
{
	struct control *c = user;
	if (c->govern.ledger)
		ledger_wake(c->govern.ledger);
}

static void on_freed(void *user)
{
	struct control *c = user;
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_wake(c->workers[i]);
}

struct warning_note {
	struct message message;
	struct control *control;
};

static void tell_warning(struct control *c, const struct budget_warning *w)
{
	struct buf text;
	struct str name = api_key_name(c->govern.api, w->key);
	buf_init(&text, 1024);
	budget_print(&text, &w->budget);
	BUF_ADD(&text, " of ");
	if (w->key)
		buf_addf(&text, "the key '%.*s'%s%.*s", STR_ARG(name), w->pattern.len ? " for models " : "", STR_ARG(w->pattern));
	else if (w->pattern.len)
		buf_addf(&text, "the model '%.*s'", STR_ARG(w->pattern));
	else
		BUF_ADD(&text, "the gateway");
	log_warn("budget %.*s: %d %% used", STR_ARG(buf_str(&text)), w->percent);
	buf_release(&text);
	c->govern.warnings++;
	if (c->govern.alert)
		alert_budget(c->govern.alert, w, name, books_now_us(c->govern.books) / 1000000);
}

static void receive_warning(struct message *m)
{
	struct warning_note *n = CONTAINER_OF(m, struct warning_note, message);
	struct budget_warning w;
	while (n->control->govern.api && books_next_warning(n->control->govern.books, &w))
		tell_warning(n->control, &w);
	free(n);
}

static void on_warning(void *user)
{
	struct control *c = user;
	struct warning_note *n = mem_zero(sizeof(*n));
	n->message.receive = receive_warning;
	n->control = c;
	mailbox_post(&c->loop, &n->message);
}

/* ---- what the ledger calls for: its threads ---- */

static size_t on_leases(void *user, struct record_lease *out, size_t max)
{
	struct control *c = user;
	return books_leases_wanted(c->govern.books, out, max);
}

static void on_synced(void *user, bool fine)
{
	struct control *c = user;
	books_leases_synced(c->govern.books, fine);
}

static void on_trouble(void *user, const char *sentence)
{
	log_error("%s", sentence);
}

/* ---- the store, from the control thread ---- */

static bool call_store(void *user, void (*run)(struct store *s, void *arg), void *arg)
{
	struct control *c = user;
	if (c->govern.running)
		return ledger_call(c->govern.ledger, run, arg);
	run(ledger_store(c->govern.ledger), arg);
	return true;
}

/* ---- keys ---- */

static void on_keys_changed(void *user)
{
	struct control *c = user;
	struct govern *g = &c->govern;
	size_t had = keyring_count(g->keyring);
	keyring_unref(g->keyring);
	g->keyring = api_keyring(g->api);
	if (had == 0 && keyring_count(g->keyring) > 0)
		log_info("the first key exists: from now on a key is needed");
	if (had > 0 && keyring_count(g->keyring) == 0)
		log_warn(c->catalog->guard ? "the last key is gone: programs on this machine need none now" : "the last key is gone: nobody can use the gateway now");
	control_publish(c);
}

struct keyring *govern_keyring(struct control *c)
{
	return c->govern.keyring ? keyring_ref(c->govern.keyring) : NULL;
}

void govern_catalog_made(struct control *c)
{
	struct buf why;
	buf_init(&why, 1024);
	if (c->govern.running && !api_load_books(c->govern.api, books_now_us(c->govern.books) / 1000000, &why))
		log_error("what was used cannot be read: %.*s", STR_ARG(buf_str(&why)));
	buf_release(&why);
}

/* ---- opening ---- */

static void find_folder(struct control *c)
{
	struct buf path;
	const char *given = c->options.state, *env = getenv("VALET_STATE");
	buf_init(&path, 4096);
	if (!given && !(env && *env) && c->settings->state.len)
		given = c->settings->state.ptr;
	state_folder(given, &path);
	c->govern.folder = mem_str(buf_str(&path));
	buf_release(&path);
}

static void tell_recovery(const struct ledger_recovery *r)
{
	if (r->state == JOURNAL_CLEAN && r->orphans == 0 && r->leases == 0)
		return;
	log_warn("the last run did not end cleanly (%s): %llu unfinished requests settled at what they held, %llu leases charged, %llu records applied, %lld ms",
		 r->state == JOURNAL_LOST ? "the machine stopped" : "the process was killed", (unsigned long long)r->orphans, (unsigned long long)r->leases,
		 (unsigned long long)r->applied, (long long)r->micros / 1000);
}

static bool open_ledger(struct control *c, unsigned workers, struct buf *why)
{
	struct govern *g = &c->govern;
	struct books_events events = {.leases = on_lease_wanted, .freed = on_freed, .warning = on_warning, .user = c};
	struct ledger_options o = {
		.folder = g->folder, .workers = workers, .journal_max = (size_t)c->settings->journal_max, .leases_wanted = on_leases,
		.leases_synced = on_synced, .trouble = on_trouble, .user = c,
	};
	g->books = books_new(&events);
	g->ledger = ledger_open(&o, why);
	if (!g->ledger)
		return false;
	books_set_clock(g->books, ledger_newest_us(g->ledger));
	tell_recovery(ledger_recovered(g->ledger));
	return true;
}

static bool open_api(struct control *c, struct buf *why)
{
	struct govern *g = &c->govern;
	struct api_options o = {.call = call_store, .user = c, .folder = g->folder, .books = g->books, .keys_changed = on_keys_changed,
				 .server = &targets_server};
	g->api = api_new(&o, why);
	if (!g->api)
		return false;
	api_use_settings(g->api, c->settings);
	g->keyring = api_keyring(g->api);
	return true;
}

bool govern_open(struct control *c, unsigned workers, struct buf *why)
{
	find_folder(c);
	return state_make(c->govern.folder, why) && state_admin_key(c->govern.folder, true, &c->govern.admin_secret, why) && open_ledger(c, workers, why) &&
	       open_api(c, why);
}

bool govern_start(struct control *c, struct buf *why)
{
	struct govern *g = &c->govern;
	if (!api_load_books(g->api, books_now_us(g->books) / 1000000, why))
		return false;
	for (unsigned i = 0; i < c->worker_count; i++) {
		c->workers[i]->ledger = g->ledger;
		c->workers[i]->lane = ledger_lane(g->ledger, i);
	}
	g->running = ledger_start(g->ledger);
	if (!g->running)
		buf_addf(why, "cannot start a thread");
	return g->running;
}

_Static_assert((int)ALERT_AUTO == (int)WEBHOOK_AUTO && (int)ALERT_JSON == (int)WEBHOOK_JSON, "the kinds of webhooks are one list");

static void use_webhook(struct control *c, const struct webhook_conf *conf)
{
	const char *why = NULL;
	struct str url = secret_view(&conf->url);
	if (url.len && !c->tls && str_istarts(url, STR("https:")))
		c->tls = tls_client_new(NULL, &why);
	if (!c->govern.alert && url.len)
		c->govern.alert = alert_new(&c->loop, c->tls);
	if (c->govern.alert)
		why = alert_set(c->govern.alert, url, (enum alert_kind)conf->kind);
	if (why)
		log_error("webhook: %s", why);
}

void govern_settings(struct control *c)
{
	struct govern *g = &c->govern;
	const struct settings *s = c->settings;
	api_use_settings(g->api, s);
	keyring_unref(g->keyring);
	g->keyring = api_keyring(g->api); /* probation may have changed */
	use_webhook(c, &s->webhook);
}

void govern_announce(struct control *c)
{
	struct buf why;
	buf_init(&why, 1024);
	c->govern.announced = state_announce(c->govern.folder, str_from(c->admin_open ? c->admin_address : ""), str_from(c->address), &why);
	if (!c->govern.announced)
		log_warn("the command line will not find this server: %.*s", STR_ARG(buf_str(&why)));
	buf_release(&why);
}

void govern_stop(struct control *c)
{
	if (c->govern.running)
		ledger_stop(c->govern.ledger, DRAIN_LEDGER_MS);
	c->govern.running = false;
}

void govern_close(struct control *c)
{
	struct govern *g = &c->govern;
	if (g->announced)
		state_withdraw(g->folder);
	alert_free(g->alert);
	keyring_unref(g->keyring);
	api_free(g->api);
	g->api = NULL;
	if (g->ledger)
		ledger_free(g->ledger);
	if (g->books)
		books_free(g->books);
	secret_release(&g->admin_secret);
	free(g->folder);
}

/* ---- metrics ---- */

#define BUDGETS_SHOWN 1000

static void print_budget(struct control *c, struct buf *out, const struct scope_view *v, const struct budget_view *b, const char *name, int64_t value)
{
	struct buf text;
	buf_init(&text, 64);
	budget_print(&text, &b->budget);
	buf_addf(out, "%s{key=", name);
	metrics_quote(out, v->key ? api_key_name(c->govern.api, v->key) : STR("-"));
	BUF_ADD(out, ",models=");
	metrics_quote(out, v->pattern.len ? v->pattern : STR("*"));
	BUF_ADD(out, ",budget=");
	metrics_quote(out, buf_str(&text));
	if (b->budget.unit == UNIT_MONEY)
		buf_addf(out, "} %lld.%09lld\n", (long long)(value / 1000000000), (long long)(value % 1000000000));
	else
		buf_addf(out, "} %lld\n", (long long)value);
	buf_release(&text);
}

static void print_budgets(struct control *c, struct buf *out, const char *name, bool limit)
{
	struct scope_view v;
	int64_t now_us = books_now_us(c->govern.books);
	size_t shown = 0;
	for (size_t i = 0; shown < BUDGETS_SHOWN && books_view_at(c->govern.books, i, now_us, &v); i++)
		for (unsigned k = 0; k < v.limits.budget_count; k++, shown++)
			print_budget(c, out, &v, &v.budgets[k], name, limit ? v.budgets[k].budget.amount : v.budgets[k].settled);
}

void govern_metrics(struct control *c, struct buf *out)
{
	struct govern *g = &c->govern;
	struct ledger_status s;
	ledger_look(g->ledger, &s);
	metrics_print_one(out, OTHER_KEYS, (double)keyring_count(g->keyring));
	metrics_print_one(out, OTHER_BUDGET_WARNINGS, (double)g->warnings);
	metrics_print_one(out, OTHER_JOURNAL_BYTES, (double)s.journal_bytes);
	metrics_print_one(out, OTHER_JOURNAL_FAILED, s.journal_failed);
	metrics_print_one(out, OTHER_LEDGER_UNAPPLIED, (double)s.unapplied);
	metrics_print_one(out, OTHER_LEDGER_APPLIED, (double)s.applied);
	metrics_print_one(out, OTHER_SYNC_FAILURES, (double)s.sync_failures);
	metrics_print_one(out, OTHER_FEED_FAILURES, (double)s.feed_failures);
	metrics_print_one(out, OTHER_SYNC_SECONDS, (double)s.slowest_sync_us / 1e6);
	metrics_print_head(out, OTHER_BUDGET_SETTLED);
	print_budgets(c, out, "valet_budget_settled", false);
	metrics_print_head(out, OTHER_BUDGET_LIMIT);
	print_budgets(c, out, "valet_budget_limit", true);
}
