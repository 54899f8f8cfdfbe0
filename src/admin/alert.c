/* alert.c - warnings to a webhook; see alert.h.
 *
 * The queue is a ring of messages that are written already but for the words of the webhook's kind, which is known when they are sent. The first one
 * stays in it until it was taken or given up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/alert.h"

#include "base/json.h"
#include "base/log.h"
#include "http/fetch.h"

#include <stdio.h>

#define QUEUE      32
#define TRIES      4 /* the first one and three more */
#define DELAY_MS   2000
#define TIMEOUT_MS 10000
#define ANSWER_MAX (64 << 10)
#define TEXT_MAX   2000
#define PATTERN_SHOWN 200
#define NAME_SHOWN    200

const char *const alert_kind_names[ALERT_KIND_COUNT + 1] = {"auto", "ntfy", "discord", "slack", "json", NULL};

struct note {
	char *title, *text, *json;
	bool urgent;
};

struct alert {
	struct loop *loop;
	struct tls_client *tls;
	char *url; /* without its query; NULL: nowhere */
	char *query;
	enum alert_kind kind; /* never ALERT_AUTO */
	struct note notes[QUEUE];
	size_t first, count;
	struct fetch *fetch;  /* NULL: none under way */
	struct timer again;
	unsigned tries;       /* of the first note */
	int64_t delay_ms;
	struct alert_counts counts;
};

static void send_first(struct alert *a);

/* ---- the queue ---- */

static void note_free(struct note *n)
{
	free(n->title);
	free(n->text);
	free(n->json);
	*n = (struct note){0};
}

static void drop_first(struct alert *a)
{
	note_free(&a->notes[a->first]);
	a->first = (a->first + 1) % QUEUE;
	a->count--;
	a->tries = 0;
}

/* ---- sending ---- */

static void add_title(struct buf *out, const struct note *n)
{
	BUF_ADD(out, "content-type: text/plain; charset=utf-8\r\ntitle: ");
	buf_adds(out, str_from(n->title));
	buf_addf(out, "\r\npriority: %s\r\ntags: warning\r\n", n->urgent ? "high" : "default");
}

static void add_member(struct buf *out, const char *name, const char *text)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str(&w, str_from(name), str_from(text));
	json_close_object(&w);
}

static void write_note(const struct alert *a, const struct note *n, struct buf *fields, struct buf *body)
{
	switch (a->kind) {
	case ALERT_NTFY:
		add_title(fields, n);
		buf_adds(body, str_from(n->text));
		break;
	case ALERT_DISCORD:
		add_member(body, "content", n->text);
		break;
	case ALERT_SLACK:
		add_member(body, "text", n->text);
		break;
	default:
		buf_adds(body, str_from(n->json));
	}
}

static void log_failure(const struct alert *a, const struct fetch *f, bool over)
{
	char why[80];
	if (f->why)
		snprintf(why, sizeof(why), "%s", f->why);
	else
		snprintf(why, sizeof(why), "it answered with status %d", f->status);
	log_warn("the webhook at %.*s did not take a warning: %s%s", STR_ARG(f->origin.host), why, over ? "; given up" : "; it is tried again");
}

/* A request that is wrong does not become right by waiting. */
static bool may_help(const struct fetch *f)
{
	return f->status < 400 || f->status >= 500 || f->status == 408 || f->status == 429;
}

static void on_done(struct fetch *f)
{
	struct alert *a = f->user;
	bool fine = f->status >= 200 && f->status < 300;
	bool over = fine || !a->url || a->tries >= TRIES || !may_help(f);
	if (!fine)
		log_failure(a, f, over);
	a->fetch = NULL;
	fetch_free(f);
	a->counts.sent += fine;
	a->counts.failed += over && !fine;
	int64_t delay_ms = over ? 0 : a->delay_ms << (2 * (a->tries - 1));
	if (over)
		drop_first(a);
	if (a->count)
		timer_start(a->loop, &a->again, delay_ms);
}

static void send_first(struct alert *a)
{
	struct url url;
	struct buf fields, body;
	if (a->fetch || a->count == 0 || !a->url || url_parse(str_from(a->url), &url) != NULL)
		return;
	buf_init(&fields, 4096);
	buf_init(&body, (size_t)16 << 10);
	write_note(a, &a->notes[a->first], &fields, &body);
	a->tries++;
	a->fetch = mem_zero(sizeof(*a->fetch));
	a->fetch->user = a;
	fetch_start(a->fetch, a->loop, a->tls, &url, str_from(a->query), buf_str(&fields), buf_str(&body), TIMEOUT_MS, ANSWER_MAX, on_done);
	buf_release(&fields);
	buf_release(&body);
}

static void on_again(struct timer *t)
{
	send_first(CONTAINER_OF(t, struct alert, again));
}

/* ---- what is said ---- */

static void add_amount(struct buf *out, const struct budget *b, int64_t amount)
{
	budget_print_amount(out, b->unit, amount, false);
	if (b->unit == UNIT_TOKENS)
		BUF_ADD(out, " tokens");
}

static void add_scope(struct buf *out, const struct budget_warning *w, struct str key_name)
{
	if (w->key)
		buf_addf(out, "key %.*s", STR_ARG(key_name));
	else
		buf_addf(out, "%s", w->pattern.len ? "all keys" : "the whole gateway");
	if (w->pattern.len)
		buf_addf(out, ", models %.*s", STR_ARG(str_head(w->pattern, PATTERN_SHOWN)));
}

static char *text_of(const struct buf *b)
{
	return mem_str(buf_str(b));
}

static char *write_text(const struct budget_warning *w, struct str key_name, int64_t resets_s)
{
	struct buf out;
	buf_init(&out, TEXT_MAX);
	buf_addf(&out, "%d %% of a budget is used up: ", w->percent);
	add_scope(&out, w, key_name);
	BUF_ADD(&out, ": ");
	add_amount(&out, &w->budget, w->settled);
	BUF_ADD(&out, " of ");
	add_amount(&out, &w->budget, w->budget.amount);
	buf_addf(&out, " (%s).", period_names[w->budget.period]);
	if (w->budget.period != PERIOD_TOTAL) {
		BUF_ADD(&out, " It begins anew on ");
		civil_print_minute(&out, resets_s);
		buf_addc(&out, '.');
	}
	char *text = text_of(&out);
	buf_release(&out);
	return text;
}

/* Goes into a field's line: ASCII, nothing that could end it. */
static char *line_of(const struct buf *b)
{
	char *line = text_of(b);
	for (char *c = line; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return line;
}

static char *write_title(const struct budget_warning *w, struct str key_name)
{
	struct buf out;
	buf_init(&out, TEXT_MAX);
	buf_addf(&out, "Valet: %d %% of the budget of ", w->percent);
	add_scope(&out, w, key_name);
	char *title = line_of(&out);
	buf_release(&out);
	return title;
}

static char *write_json(const struct budget_warning *warning, struct str key_name, int64_t resets_s, int64_t now_s)
{
	struct buf out, text;
	struct json_writer w;
	buf_init(&out, (size_t)8 << 10);
	buf_init(&text, 256);
	budget_print(&text, &warning->budget);
	json_writer_init(&w, &out);
	json_open_object(&w);
	json_member_str(&w, STR("event"), STR("budget_warning"));
	json_member_i64(&w, STR("at"), now_s);
	json_member_str(&w, STR("key"), key_name);
	json_put_key(&w, STR("scope"));
	if (warning->pattern.len == 0)
		json_put_str(&w, warning->key ? STR("key") : STR("gateway"));
	else {
		struct buf scope;
		buf_init(&scope, 8192);
		BUF_ADD(&scope, "model:");
		buf_adds(&scope, warning->pattern);
		json_put_str(&w, buf_str(&scope));
		buf_release(&scope);
	}
	json_member_str(&w, STR("budget"), buf_str(&text));
	json_member_str(&w, STR("unit"), warning->budget.unit == UNIT_MONEY ? STR("money") : STR("tokens"));
	json_member_i64(&w, STR("settled"), warning->settled);
	json_member_i64(&w, STR("amount"), warning->budget.amount);
	json_member_i64(&w, STR("percent"), warning->percent);
	json_member_i64_or_null(&w, STR("resets_at"), warning->budget.period != PERIOD_TOTAL, resets_s);
	json_close_object(&w);
	char *json = text_of(&out);
	buf_release(&out);
	buf_release(&text);
	return json;
}

static bool has_room(struct alert *a)
{
	if (!a->url)
		return false;
	if (a->count < QUEUE)
		return true;
	a->counts.dropped++;
	log_warn("a warning for the webhook is dropped: %d of them wait already", QUEUE);
	return false;
}

static void put(struct alert *a, struct note note)
{
	a->notes[(a->first + a->count) % QUEUE] = note;
	a->count++;
	if (!timer_running(&a->again))
		send_first(a);
}

void alert_budget(struct alert *a, const struct budget_warning *warning, struct str key_name, int64_t now_s)
{
	int64_t resets_s = civil_window(warning->budget.period, now_s).to_s;
	if (has_room(a))
		put(a, (struct note){
			.title = write_title(warning, key_name),
			.text = write_text(warning, key_name, resets_s),
			.json = write_json(warning, key_name, resets_s, now_s),
			.urgent = warning->percent >= 100,
		});
}

/* ---- a refused secret ---- */

static char *write_denied(struct str target, struct str host, int64_t now_s)
{
	struct json_writer w;
	struct buf out;
	buf_init(&out, (size_t)8 << 10);
	json_writer_init(&w, &out);
	json_open_object(&w);
	json_member_str(&w, STR("event"), STR("secret_refused"));
	json_member_i64(&w, STR("at"), now_s);
	json_member_str(&w, STR("target"), target);
	json_member_str(&w, STR("host"), host);
	json_close_object(&w);
	char *json = text_of(&out);
	buf_release(&out);
	return json;
}

void alert_denied(struct alert *a, struct str target, struct str host, int64_t now_s)
{
	struct buf title, text;
	if (!has_room(a))
		return;
	buf_init(&title, TEXT_MAX);
	buf_init(&text, TEXT_MAX);
	buf_addf(&title, "Valet: target %.*s refuses its secret", STR_ARG(str_head(target, NAME_SHOWN)));
	buf_addf(&text, "The target %.*s (%.*s) refuses the secret that is configured for it, or its account has no credit. It is set aside until a request is taken again, "
			"or the settings change.",
		 STR_ARG(str_head(target, NAME_SHOWN)), STR_ARG(str_head(host, NAME_SHOWN)));
	put(a, (struct note){.title = line_of(&title), .text = text_of(&text), .json = write_denied(target, host, now_s), .urgent = true});
	buf_release(&title);
	buf_release(&text);
}

/* ---- where to ---- */

static bool host_is(struct str host, struct str name)
{
	return str_ieq(host, name) || (host.len > name.len && host.ptr[host.len - name.len - 1] == '.' && str_ieq(str_skip(host, host.len - name.len), name));
}

static enum alert_kind guess(struct str host)
{
	if (host_is(host, STR("discord.com")) || host_is(host, STR("discordapp.com")))
		return ALERT_DISCORD;
	if (host_is(host, STR("hooks.slack.com")))
		return ALERT_SLACK;
	if (host_is(host, STR("ntfy.sh")) || str_istarts(host, STR("ntfy.")) || str_ieq(host, STR("ntfy")))
		return ALERT_NTFY;
	return ALERT_JSON;
}

static const char *parse(struct str text, struct url *url, struct str *query)
{
	size_t mark = str_find(text, '?');
	*query = str_skip(text, mark);
	for (size_t i = 0; i < query->len; i++)
		if (query->ptr[i] <= ' ' || query->ptr[i] > '~' || query->ptr[i] == '#')
			return "a query with a byte that must be written as %XX";
	return url_parse(str_head(text, mark), url);
}

const char *alert_check(struct str url)
{
	struct url parsed;
	struct str query;
	return url.len ? parse(url, &parsed, &query) : NULL;
}

/* A query needs a path before it. */
static char *copy_query(struct str query, bool has_path)
{
	struct buf b;
	buf_init(&b, query.len + 2);
	if (query.len && !has_path)
		buf_addc(&b, '/');
	buf_adds(&b, query);
	char *copy = mem_str(buf_str(&b));
	buf_release(&b);
	return copy;
}

const char *alert_set(struct alert *a, struct str text, enum alert_kind kind)
{
	struct url url;
	struct str query = STR_NONE;
	const char *wrong = text.len ? parse(text, &url, &query) : NULL;
	if (wrong)
		return wrong;
	free(a->url);
	free(a->query);
	a->url = text.len ? mem_str(str_head(text, text.len - query.len)) : NULL;
	a->query = copy_query(query, text.len == 0 || url.path.len > 0);
	a->kind = kind != ALERT_AUTO || !text.len ? kind : guess(url.host);
	while (!a->url && a->count > (a->fetch ? 1 : 0)) {
		a->count--;
		note_free(&a->notes[(a->first + a->count) % QUEUE]);
	}
	return NULL;
}

struct alert *alert_new(struct loop *loop, struct tls_client *tls)
{
	struct alert *a = mem_zero(sizeof(*a));
	a->loop = loop;
	a->tls = tls;
	a->delay_ms = DELAY_MS;
	a->kind = ALERT_JSON;
	timer_init(&a->again, on_again);
	return a;
}

void alert_free(struct alert *a)
{
	if (!a)
		return;
	timer_stop(&a->again);
	if (a->fetch)
		fetch_free(a->fetch);
	while (a->count)
		drop_first(a);
	free(a->url);
	free(a->query);
	free(a);
}

void alert_set_delay(struct alert *a, int64_t first_ms)
{
	a->delay_ms = first_ms;
}

void alert_look(const struct alert *a, struct alert_counts *out)
{
	*out = a->counts;
	out->waiting = a->count;
}
