/* price_of.c - see price_of.h.
 *
 * Owns nothing; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/price_of.h"

#include "net/resolve.h"

/* ---- one's own engines ---- */

static bool is_private_v4(uint32_t a)
{
	return a >> 24 == 10 || a >> 24 == 127 || a >> 20 == 0xac1 /* 172.16/12 */ || a >> 16 == 0xc0a8 /* 192.168/16 */ ||
	       a >> 16 == 0xa9fe /* 169.254/16 */ || a >> 22 == 0x191 /* 100.64/10: networks such as Tailscale's */;
}

static bool is_private_v6(const struct in6_addr *a)
{
	const uint8_t *b = a->s6_addr;
	if (IN6_IS_ADDR_V4MAPPED(a))
		return is_private_v4((uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15]);
	return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a) || (b[0] & 0xfe) == 0xfc /* fc00::/7 */;
}

static bool is_private_name(struct str host)
{
	static const struct str ends[] = {STR_INIT(".localhost"), STR_INIT(".local"),	     STR_INIT(".lan"),
					  STR_INIT(".internal"),  STR_INIT(".home.arpa"), STR_INIT(".localdomain")};
	if (str_ends(host, STR(".")))
		host.len--;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (host.len > ends[i].len && str_ieq(str_skip(host, host.len - ends[i].len), ends[i]))
			return true;
	return host.len > 0 && str_find(host, '.') == host.len;
}

static bool is_private(struct str host)
{
	union address address;
	if (!address_parse(host, 0, &address))
		return is_private_name(host);
	if (address.any.sa_family == AF_INET6)
		return is_private_v6(&address.v6.sin6_addr);
	return is_private_v4(ntohl(address.v4.sin_addr.s_addr));
}

bool price_is_local(enum engine_kind kind, struct str host)
{
	if (price_vendor(host))
		return false;
	return (kind != ENGINE_OPENAI && kind != ENGINE_NONE) || is_private(host);
}

/* ---- which price ---- */

static const struct price unknown = {.known = false};

struct price price_written(const struct price_conf *p)
{
	if (p->input == MONEY_NONE)
		return unknown;
	return (struct price){true, p->input, p->cached == MONEY_NONE ? p->input : p->cached, p->output, 0};
}

/* Nano-dollars a second: a kilowatt-hour is 3,600,000 watts for a second. */
static int64_t electricity(const struct electricity_conf *e)
{
	const int64_t kwh = 3600000;
	return e->kwh == MONEY_NONE ? 0 : (e->kwh * e->watts + kwh - 1) / kwh;
}

static struct price local_price(const struct prices_conf *prices)
{
	struct price p = price_written(&prices->local);
	p.known |= prices->electricity.kwh != MONEY_NONE;
	p.per_second = electricity(&prices->electricity);
	return p;
}

/* Without what the settings say of the model itself. */
struct price price_at(const struct settings *s, const struct target_conf *target, bool local, struct str host, struct str engine_model,
			     bool *ceiling)
{
	const struct ceiling_price_conf *c = &s->prices.ceiling;
	struct price p = target ? price_written(&target->price) : unknown;
	if (!p.known)
		p = price_listed(price_vendor(host), engine_model);
	if (!p.known && local)
		p = local_price(&s->prices);
	if (!p.known && c->input != MONEY_NONE) {
		*ceiling = true;
		p = (struct price){true, c->input, c->input, c->output, 0};
	}
	return p;
}

struct price price_for(const struct settings *s, const struct target_conf *target, bool local, struct str host, struct str public_model,
		       struct str engine_model, bool *ceiling)
{
	bool unused;
	if (!ceiling)
		ceiling = &unused;
	*ceiling = false;
	for (size_t i = 0; i < s->model_count; i++)
		if (str_eq(s->models[i].name, public_model) && s->models[i].price.input != MONEY_NONE)
			return price_written(&s->models[i].price);
	return price_at(s, target, local, host, engine_model, ceiling);
}

/* ---- what has none ---- */

#define ADVICE "budgets in dollars refuse it; write models[].price, targets[].price or prices"

/* What is looked at, and where warnings go. */
struct price_look {
	const struct settings *settings;
	const struct json *tree;
	struct field_reader *reader;
};

static void warn(struct price_look *l, struct str path, struct str text)
{
	field_problem_at(l->reader, l->tree, true, path, text);
}

static struct str quoted(struct price_look *l, struct str name)
{
	struct buf text;
	buf_init(&text, 4096);
	field_quote(&text, name);
	struct str copy = arena_dup(l->reader->arena, buf_str(&text));
	buf_release(&text);
	return copy;
}

static bool is_own(const struct target_conf *t)
{
	enum engine_kind kind = target_engine(t->kind);
	return price_is_local(kind, t->url.host);
}

static bool costs_known(const struct settings *s, const struct target_conf *t, struct str engine_model)
{
	bool unused;
	return price_at(s, t, is_own(t), t->url.host, engine_model, &unused).known;
}

/* A model that names its targets: the first one without a price; NULL: none. */
static const struct target_conf *unpriced_place(const struct settings *s, const struct model_conf *m, size_t *count)
{
	const struct target_conf *first = NULL;
	*count = 0;
	for (size_t i = 0; i < m->target_count; i++) {
		const struct model_target *place = &m->targets[i];
		const struct target_conf *t = &s->targets[place->index];
		if (costs_known(s, t, place->model.len ? place->model : m->name))
			continue;
		if (!first)
			first = t;
		*count += 1;
	}
	return first;
}

/* A model that any target may serve: whether one that could has a price for it. */
static bool some_place_has_price(const struct settings *s, struct str name)
{
	bool found = s->discovery || s->discover.count;
	if (found && local_price(&s->prices).known)
		return true;
	for (size_t i = 0; i < s->target_count; i++)
		if (target_lists(&s->targets[i], name) && costs_known(s, &s->targets[i], name))
			return true;
	return false;
}

static void check_model(struct price_look *l, size_t i)
{
	const struct model_conf *m = &l->settings->models[i];
	struct arena *a = l->reader->arena;
	struct str path = arena_printf(a, "models[%zu].name", i), name = quoted(l, m->name);
	size_t count;
	if (m->price.input != MONEY_NONE)
		return;
	const struct target_conf *at = unpriced_place(l->settings, m, &count);
	if (at && count < m->target_count)
		warn(l, path, arena_printf(a, "%.*s has no price at %.*s: " ADVICE, STR_ARG(name), STR_ARG(at->name)));
	else if (at || (m->target_count == 0 && !some_place_has_price(l->settings, m->name)))
		warn(l, path, arena_printf(a, "%.*s has no price: " ADVICE, STR_ARG(name)));
}

static bool is_pattern(struct str name)
{
	return str_find(name, '*') < name.len || str_find(name, '?') < name.len;
}

/* Models that the target is asked to list by name. */
static void check_included(struct price_look *l, size_t i)
{
	const struct target_conf *t = &l->settings->targets[i];
	for (size_t j = 0; j < t->models.include.count; j++) {
		struct str engine = t->models.include.items[j];
		if (is_pattern(engine) || !target_lists(t, engine))
			continue;
		if (!price_for(l->settings, t, false, t->url.host, target_public_name(t, engine), engine, NULL).known)
			warn(l, arena_printf(l->reader->arena, "targets[%zu].models.include[%zu]", i, j),
			     arena_printf(l->reader->arena, "%.*s has no price: " ADVICE, STR_ARG(quoted(l, engine))));
	}
}

/* Whether each model that the target may list is one of `models` that has a price. */
static bool all_models_priced(const struct settings *s, const struct target_conf *t)
{
	for (size_t j = 0; j < t->models.include.count; j++) {
		struct str engine = t->models.include.items[j];
		if (is_pattern(engine) || !price_for(s, t, false, t->url.host, target_public_name(t, engine), engine, NULL).known)
			return false;
	}
	return t->models.include.count > 0;
}

static void check_target(struct price_look *l, size_t i)
{
	const struct target_conf *t = &l->settings->targets[i];
	if (t->price.input != MONEY_NONE || is_own(t))
		return;
	if (price_vendor(t->url.host))
		check_included(l, i);
	else if (!all_models_priced(l->settings, t))
		warn(l, arena_printf(l->reader->arena, "targets[%zu].name", i),
		     arena_printf(l->reader->arena, "models of %.*s have no price: budgets in dollars refuse them; write models[].price, targets[].price or prices",
				  STR_ARG(t->name)));
}

void price_check(const struct settings *s, const struct json *tree, struct field_reader *r)
{
	struct price_look l = {s, tree, r};
	if (s->prices.ceiling.input != MONEY_NONE)
		return;
	for (size_t i = 0; i < s->target_count; i++)
		check_target(&l, i);
	for (size_t i = 0; i < s->model_count; i++)
		check_model(&l, i);
}
