/* settings_check.c - what no single setting can tell: names that stand twice, names of nothing,
 * what contradicts.
 *
 * Texts that a field has refused already are empty here, and are passed over.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/settings_parts.h"

#include "gate/budget.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void check_tell(struct check *c, bool warning, struct str path, const char *format, ...)
{
	struct buf text;
	va_list args;
	buf_init(&text, 4096);
	va_start(args, format);
	buf_addv(&text, format, args);
	va_end(args);
	field_problem_at(c->reader, c->tree, warning, path, buf_str(&text));
	buf_release(&text);
}

bool check_told(const struct check *c, struct str path)
{
	for (const struct field_problem *p = c->reader->problems; p; p = p->next)
		if (!p->warning && str_eq(p->path, path))
			return true;
	return false;
}

struct str check_quoted(struct check *c, struct str name)
{
	struct buf text;
	buf_init(&text, 4096);
	field_quote(&text, name);
	struct str copy = arena_dup(c->reader->arena, buf_str(&text));
	buf_release(&text);
	return copy;
}

/* ---- names that must not stand twice ---- */

#define ITSELF SIZE_MAX

/* Who uses a name: element i, or its j-th alias. Sorted, since a list may be long. */
struct use {
	struct str name;
	size_t i, j;
	size_t order;
};

struct uses {
	struct use *items;
	size_t count;
};

static int compare_names(struct str a, struct str b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_uses(const void *left, const void *right)
{
	const struct use *a = left, *b = right;
	int order = compare_names(a->name, b->name);
	return order ? order : (a->order > b->order) - (a->order < b->order);
}

static void uses_add(struct uses *uses, struct str name, size_t i, size_t j)
{
	if (name.len) {
		uses->items[uses->count] = (struct use){name, i, j, uses->count};
		uses->count++;
	}
}

static void uses_sort(struct uses *uses)
{
	if (uses->count)
		qsort(uses->items, uses->count, sizeof(*uses->items), compare_uses);
}

/* The first who uses `name`; NULL: nobody. */
static const struct use *uses_find(const struct uses *uses, struct str name)
{
	size_t low = 0, high = uses->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare_names(uses->items[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	bool found = low < uses->count && str_eq(uses->items[low].name, name);
	return found ? &uses->items[low] : NULL;
}

size_t check_target_index(const struct check *c, struct str name)
{
	const struct use *found = uses_find(c->targets, name);
	return found ? found->i : SIZE_MAX;
}

/* ---- listening ---- */

static bool same_address(const struct settings_address *a, const struct settings_address *b)
{
	return a->port != 0 && a->port == b->port && str_eq(a->host, b->host);
}

static void check_listen(struct check *c)
{
	const struct settings *s = c->settings;
	const struct settings_address *beyond = NULL;
	if (s->listen_texts.count == 0)
		check_tell(c, false, STR("listen"),
		     "expected at least one HOST:PORT, found an empty list");
	for (size_t i = 0; i < s->listen.count; i++) {
		if (!s->listen.items[i].loopback)
			beyond = &s->listen.items[i];
		for (size_t j = 0; j < i && i < 100; j++)
			if (same_address(&s->listen.items[i], &s->listen.items[j]))
				check_tell(c, false, CHECK_PATH(c, "listen[%zu]", i), "%.*s stands here twice",
				     STR_ARG(s->listen.items[i].text));
		if (same_address(&s->listen.items[i], &s->admin_listen))
			check_tell(c, false, STR("admin_listen"),
			     "expected another address than listen, found %.*s for both",
			     STR_ARG(s->admin_listen.text));
	}
	if (beyond && s->auth == AUTH_OFF)
		check_tell(c, true, STR("auth"), "off: everyone who can reach %.*s may use every model",
		     STR_ARG(beyond->text));
	if (s->admin_listen.text.len && !s->admin_listen.loopback)
		check_tell(c, true, STR("admin_listen"),
		     "everyone who can reach %.*s may administer Valet; expected a loopback "
		     "address",
		     STR_ARG(s->admin_listen.text));
}

static void check_cors(struct check *c)
{
	const struct settings *s = c->settings;
	for (size_t i = 0; i < s->cors.count; i++) {
		if (s->cors.count > 1 && str_eq(s->cors.items[i], STR("off")))
			check_tell(c, false, CHECK_PATH(c, "cors[%zu]", i),
			     "off must stand alone, found it in a list with others");
		if (s->auth == AUTH_OFF && str_eq(s->cors.items[i], STR("*")))
			check_tell(c, true, STR("cors"),
			     "with auth off, every web page that is opened here may use every "
			     "model");
	}
}

/* ---- targets ---- */

static void check_secret(struct check *c, size_t i)
{
	const struct target_conf *t = &c->settings->targets[i];
	if (secret_is_off(&t->secret) || t->url.https || t->url.host.len == 0)
		return;
	if (!settings_is_loopback(t->url.host))
		check_tell(c, true, CHECK_PATH(c, "targets[%zu].url", i),
		     "the secret goes over the network unencrypted; expected an https:// URL");
}

static void check_ca_file(struct check *c, size_t i)
{
	const struct target_conf *t = &c->settings->targets[i];
	if (t->ca_file.len == 0)
		return;
	if (access(t->ca_file.ptr, R_OK) != 0)
		check_tell(c, false, CHECK_PATH(c, "targets[%zu].ca_file", i), "cannot read %.*s: %s",
		     STR_ARG(t->ca_file), strerror(errno));
	else if (t->url.host.len && !t->url.https)
		check_tell(c, true, CHECK_PATH(c, "targets[%zu].ca_file", i),
		     "it has no use; expected an https:// URL");
}

/* `aliases`: all names of `models`, sorted. */
static void check_rename(struct check *c, size_t i, const struct uses *names)
{
	const struct target_conf *t = &c->settings->targets[i];
	const struct str_map *rename = &t->models.rename;
	struct uses values = {arena_alloc(c->reader->arena, rename->count * sizeof(struct use)),
				0};
	struct str where = CHECK_PATH(c, "targets[%zu].models.rename", i);
	for (size_t j = 0; j < rename->count; j++) {
		const struct str_pair *pair = &rename->items[j];
		const struct use *taken = uses_find(names, pair->value);
		if (pair->name.len && !target_lists(t, pair->name))
			check_tell(c, true, where,
			     "%.*s is renamed but not listed: see include and exclude",
			     STR_ARG(check_quoted(c, pair->name)));
		if (taken && taken->j != ITSELF)
			check_tell(c, false, where, "%.*s is an alias of models[%zu] already",
			     STR_ARG(check_quoted(c, pair->value)), taken->i);
		uses_add(&values, pair->value, j, ITSELF);
	}
	uses_sort(&values);
	for (size_t j = 1; j < values.count; j++)
		if (str_eq(values.items[j - 1].name, values.items[j].name))
			check_tell(c, false, where, "two models of this target would both be %.*s",
			     STR_ARG(check_quoted(c, values.items[j].name)));
}

static struct uses target_uses(struct check *c, bool urls)
{
	const struct settings *s = c->settings;
	struct uses all = {arena_alloc(c->reader->arena, s->target_count * sizeof(struct use)),
			     0};
	for (size_t i = 0; i < s->target_count; i++)
		uses_add(&all, urls ? s->targets[i].url_text : s->targets[i].name, i, ITSELF);
	uses_sort(&all);
	return all;
}

static void check_twice(struct check *c, const struct uses *all, bool urls)
{
	for (size_t k = 1; k < all->count; k++) {
		const struct use *use = &all->items[k];
		if (!str_eq(all->items[k - 1].name, use->name))
			continue;
		size_t first = uses_find(all, use->name)->i;
		if (urls && target_cloud(&c->settings->targets[use->i]) != CLOUD_NONE)
			continue; /* another account */
		if (urls)
			check_tell(c, true, CHECK_PATH(c, "targets[%zu].url", use->i),
			     "the same URL as targets[%zu]", first);
		else
			check_tell(c, false, CHECK_PATH(c, "targets[%zu].name", use->i),
			     "expected a name of its own, found %.*s, which targets[%zu] has",
			     STR_ARG(check_quoted(c, use->name)), first);
	}
}

/* ---- models ---- */

/* Names and aliases share one space: a client's word must mean one model. */
static struct uses model_uses(struct check *c)
{
	const struct settings *s = c->settings;
	size_t n = s->model_count;
	for (size_t i = 0; i < s->model_count; i++)
		n += s->models[i].aliases.count;
	struct uses all = {arena_alloc(c->reader->arena, n * sizeof(struct use)), 0};
	for (size_t i = 0; i < s->model_count; i++)
		uses_add(&all, s->models[i].name, i, ITSELF);
	for (size_t i = 0; i < s->model_count; i++)
		for (size_t j = 0; j < s->models[i].aliases.count; j++)
			uses_add(&all, s->models[i].aliases.items[j], i, j);
	uses_sort(&all);
	return all;
}

static void check_names(struct check *c, const struct uses *all)
{
	for (size_t k = 1; k < all->count; k++) {
		const struct use *use = &all->items[k];
		if (!str_eq(all->items[k - 1].name, use->name))
			continue;
		const struct use *first = uses_find(all, use->name);
		struct str path = use->j == ITSELF
					  ? CHECK_PATH(c, "models[%zu].name", use->i)
					  : CHECK_PATH(c, "models[%zu].aliases[%zu]", use->i, use->j);
		check_tell(c, false, path,
		     "expected a name of its own, found %.*s, which is %s models[%zu]",
		     STR_ARG(check_quoted(c, use->name)),
		     first->j == ITSELF ? "the name of" : "an alias of", first->i);
	}
}

void check_unknown_target(struct check *c, struct str path, struct str name)
{
	const struct settings *s = c->settings;
	struct field_reader *r = c->reader;
	const struct str *near = NULL;
	struct str *names = NULL;
	if (r->dropped == 0) {
		names = arena_alloc(r->arena, s->target_count * sizeof(*names));
		for (size_t i = 0; i < s->target_count; i++)
			names[i] = s->targets[i].name;
		near = field_near(name, names, s->target_count);
	}
	if (near)
		check_tell(c, false, path,
		     "expected the name of a target, found %.*s; did you mean %.*s?",
		     STR_ARG(check_quoted(c, name)), STR_ARG(*near));
	else
		check_tell(c, false, path, "expected the name of a target, found %.*s%s",
		     STR_ARG(check_quoted(c, name)), s->target_count ? "" : "; there are no targets");
}

static void check_model(struct check *c, size_t i, const struct uses *targets)
{
	struct model_conf *m = &c->settings->models[i];
	for (size_t j = 0; j < m->target_count; j++) {
		struct model_target *t = &m->targets[j];
		struct str path = CHECK_PATH(c, "models[%zu].targets[%zu]", i, j);
		const struct use *found = uses_find(targets, t->target);
		if (t->target.len == 0)
			continue;
		if (found)
			t->index = found->i;
		else
			check_unknown_target(c, path, t->target);
		for (size_t k = 0; found && k < j && k < 100; k++)
			if (str_eq(m->targets[k].target, t->target) &&
			    str_eq(m->targets[k].model, t->model))
				check_tell(c, true, path, "the same as targets[%zu] of this model", k);
	}
}

/* ---- limits and prices ---- */

void check_budget_list(struct check *c, struct str where, const struct str_list *texts)
{
	bool seen[UNIT_COUNT][PERIOD_COUNT] = {{false}};
	for (size_t i = 0; i < texts->count; i++) {
		struct budget b;
		if (texts->items[i].len == 0 || budget_parse(texts->items[i], &b))
			continue;
		if (seen[b.unit][b.period])
			check_tell(c, false, CHECK_PATH(c, "%.*s.budget[%zu]", STR_ARG(where), i), "expected one budget of %s for a period, found a second one (%s)",
			     b.unit == UNIT_MONEY ? "dollars" : "tokens", period_names[b.period]);
		seen[b.unit][b.period] = true;
	}
}

/* A price says both or nothing: what is left out must not be taken for free. */
static void check_pair(struct check *c, struct str where, int64_t input, int64_t output)
{
	if ((input == MONEY_NONE) != (output == MONEY_NONE))
		check_tell(c, false, where, "%s is missing: a price has both input and output (0 where there is none)",
		     input == MONEY_NONE ? "input" : "output");
}

static void check_price(struct check *c, struct str where, const struct price_conf *p)
{
	check_pair(c, where, p->input, p->output);
	if (p->cached != MONEY_NONE && p->input == MONEY_NONE && p->output == MONEY_NONE)
		check_tell(c, false, where, "input and output are missing: the price of cached input is not all of a price");
	else if (p->cached != MONEY_NONE && p->input != MONEY_NONE && p->cached > p->input)
		check_tell(c, true, CHECK_PATH(c, "%.*s.cached", STR_ARG(where)), "cached input costs more than other input");
}

static void check_prices(struct check *c)
{
	const struct prices_conf *p = &c->settings->prices;
	check_price(c, STR("prices.local"), &p->local);
	check_pair(c, STR("prices.ceiling"), p->ceiling.input, p->ceiling.output);
	if ((p->electricity.kwh == MONEY_NONE) != (p->electricity.watts == 0))
		check_tell(c, false, STR("prices.electricity"), "%s is missing: expected both kwh and watts",
		     p->electricity.watts ? "kwh" : "watts");
}

/* As libc's files of zones begin. */
static bool is_zone_file(const char *path)
{
	char magic[4];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool ok = fd >= 0 && read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) && memcmp(magic, "TZif", sizeof(magic)) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* What civil_set_zone() will say at the start, without setting anything. */
static void check_time_zone(struct check *c)
{
	struct str zone = c->settings->time_zone;
	const char *folder = getenv("TZDIR");
	if (zone.len == 0 || str_eq(zone, STR("UTC")))
		return;
	if (!folder || !*folder)
		folder = "/usr/share/zoneinfo";
	if (access(folder, X_OK) != 0)
		check_tell(c, true, STR("time_zone"), "there is no list of time zones in %s (install tzdata): Valet starts only without this setting", folder);
	else if (!is_zone_file(CHECK_PATH(c, "%s/%.*s", folder, STR_ARG(zone)).ptr))
		check_tell(c, false, STR("time_zone"), "there is no time zone %.*s; expected a name such as Europe/Berlin", STR_ARG(check_quoted(c, zone)));
}

static void check_webhook(struct check *c)
{
	const struct webhook_conf *w = &c->settings->webhook;
	if (w->kind != WEBHOOK_AUTO && secret_is_off(&w->url))
		check_tell(c, true, STR("webhook.kind"), "it has no use without a url");
}

void settings_check(struct settings *s, const struct json *tree, struct field_reader *r)
{
	struct uses targets;
	struct check c = {s, tree, r, &targets};
	targets = target_uses(&c, false);
	struct uses urls = target_uses(&c, true);
	struct uses names = model_uses(&c);
	check_listen(&c);
	check_cors(&c);
	check_twice(&c, &targets, false);
	check_twice(&c, &urls, true);
	for (size_t i = 0; i < s->target_count; i++) {
		check_secret(&c, i);
		check_ca_file(&c, i);
		check_rename(&c, i, &names);
		check_price(&c, CHECK_PATH(&c, "targets[%zu].price", i), &s->targets[i].price);
	}
	check_names(&c, &names);
	for (size_t i = 0; i < s->model_count; i++) {
		check_model(&c, i, &targets);
		check_budget_list(&c, CHECK_PATH(&c, "models[%zu].limits", i), &s->models[i].limits.budgets);
		check_price(&c, CHECK_PATH(&c, "models[%zu].price", i), &s->models[i].price);
	}
	check_budget_list(&c, STR("limits"), &s->limits.budgets);
	check_budget_list(&c, STR("probation"), &s->probation.budgets);
	check_prices(&c);
	check_time_zone(&c);
	check_webhook(&c);
	check_routes(&c);
	if (!s->discovery && s->discover_texts.count == 0 && s->target_count == 0)
		check_tell(&c, true, STR("targets"),
		     "there is nowhere to send a request: no targets, and discovery is off");
}
