/* intake.c - AUTH: may this be asked here at all. ADMIT: what is asked; and the answers that are Valet's own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/url.h"
#include "proxy/answer.h"
#include "proxy/worker.h"

#define ORIGIN_MAX 512
#define ASKED_MAX  2048 /* names of fields in a preflight that are echoed */

/* ---- AUTH ---- */

/* On a loopback listener: this machine's own names, and addresses. A name of another host means that a web page has had its name
 * pointed here (DNS rebinding). */
static bool host_is_ours(struct worker *w, struct str host)
{
	union address a;
	struct str name = url_host_name(host);
	return name.len == 0 || str_eq(name, STR("127.0.0.1")) || str_ieq(name, STR("localhost")) ||
	       address_parse(name, 0, &a) || str_ieq(name, str_from(w->hostname)) || str_ends(name, STR(".localhost")) || str_ends(name, STR(".local")) ||
	       str_ends(name, STR(".internal"));
}

/* The page itself is served from where it asks. */
static bool same_origin(struct str origin, struct str host)
{
	size_t at = str_search(origin, STR("://"));
	return at < origin.len && str_ieq(str_skip(origin, at + 3), host);
}

static const struct step *preflight(struct request *r)
{
	struct str asked = http_head_get(r->conn->head, STR("access-control-request-headers"));
	struct str local = http_head_get(r->conn->head, STR("access-control-request-private-network"));
	struct str lines = STR_NONE;
	if (asked.len > ASKED_MAX)
		asked = STR_NONE;
	if (r->origin.len && answer_origin_allowed(r->catalog, r->origin))
		lines = arena_printf(&r->arena,
				     "access-control-allow-methods: GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS\r\n"
				     "access-control-allow-headers: %.*s\r\naccess-control-max-age: 86400\r\n%s",
				     STR_ARG(asked.len ? asked : STR("authorization, content-type")),
				     str_ieq(local, STR("true")) ? "access-control-allow-private-network: true\r\n" : "");
	return answer_json(r, 204, STR_NONE, lines);
}

static void find_operation(struct request *r)
{
	const struct http_head *h = r->conn->head;
	struct str path, query;
	if (!url_split_target(http_head_url(h), &path, &query))
		return;
	enum operation op = operation_find(path, &r->path_rest);
	if (op != OP_NONE)
		r->op = &operations[op];
}

/* Where no key is needed, a page that the operator happens to open must not spend the GPU. */
static const struct step *guard(struct request *r, struct str host, bool preflighted)
{
	if (r->catalog->guard && !host_is_ours(r->worker, host))
		return request_failf(r, ERROR_ORIGIN_NOT_ALLOWED, "this listener serves this machine only, not the host '%.*s'",
				     STR_ARG(str_head(host, 100)));
	if (!preflighted && r->origin.len && !answer_origin_allowed(r->catalog, r->origin) && !same_origin(r->origin, host))
		return request_failf(r, ERROR_ORIGIN_NOT_ALLOWED, "the origin '%.*s' is not listed in 'cors'",
				     STR_ARG(str_head(r->origin, 100)));
	return NULL;
}

/* OpenAI's way, Anthropic's, Azure's. */
static struct str presented_key(const struct http_head *h)
{
	struct str value = http_head_credential(h);
	return value.len ? value : http_head_get(h, STR("api-key"));
}

static const struct step *check_key(struct request *r, const struct http_head *h)
{
	struct str given = presented_key(h);
	const char *why = NULL;
	r->now_us = books_now_us(r->catalog->books);
	switch (keyring_find(r->catalog->keys, given, r->now_us / 1000000, &r->key)) {
	case KEY_FINE:
		return NULL;
	case KEY_REVOKED:
		why = "this API key was revoked";
		break;
	case KEY_EXPIRED:
		why = "this API key has expired";
		break;
	default:
		why = given.len ? "incorrect API key" : "no API key: send one as 'Authorization: Bearer vk_...'; the operator makes them with 'valet key create NAME'";
		break;
	}
	r->key = NULL; /* nothing is counted for it */
	count(&r->worker->metrics.keys_refused);
	return request_fail(r, ERROR_INVALID_API_KEY, str_from(why));
}

const struct step *step_auth(struct request *r)
{
	const struct http_head *h = r->conn->head;
	struct str host = http_head_get(h, STR("host")), origin = http_head_get(h, STR("origin"));
	find_operation(r);
	r->origin = arena_dup(&r->arena, origin.len <= ORIGIN_MAX ? origin : STR("(too long)")); /* it is echoed where it is allowed */
	bool harmless = r->op && (r->op->op == OP_HEALTH || r->op->op == OP_READY);
	bool preflighted = h->method == METHOD_OPTIONS;
	const struct step *refused = NULL;
	if (!harmless && !r->catalog->keys_needed)
		refused = guard(r, host, preflighted);
	else if (!harmless && !preflighted && !(r->op && r->op->op == OP_METRICS)) /* /metrics wants the admin key */
		refused = check_key(r, h);
	if (refused)
		return refused;
	return preflighted ? preflight(r) : STEP_ADMIT;
}

/* ---- ADMIT: what Valet answers itself ---- */

static const struct step *admit_ready(struct request *r)
{
	if (r->worker->draining)
		return answer_json(r, 503, STR("{\"status\":\"draining\"}"), STR_NONE);
	if (!r->catalog->ready)
		return answer_json(r, 503, STR("{\"status\":\"starting\"}"), STR("retry-after: 1\r\n"));
	if (catalog_drained(r->catalog))
		return answer_json(r, 503, STR("{\"status\":\"maintenance\"}"), STR("retry-after: 5\r\n"));
	return answer_json(r, 200, STR("{\"status\":\"ready\"}"), STR_NONE);
}

static const struct step *no_such_model(struct request *r, struct str name)
{
	struct buf near;
	if (!r->catalog->ready) { /* engines have not been looked at yet */
		r->retry_after_ms = 1000;
		return request_fail(r, ERROR_NO_TARGET, STR("the gateway has just started and is still looking for engines"));
	}
	buf_init(&near, 4096);
	catalog_near(r->catalog, name, &near);
	const struct step *next = request_failf(r, ERROR_MODEL_NOT_FOUND, "the model '%.*s' does not exist%.*s",
						STR_ARG(str_head(name, 200)), STR_ARG(buf_str(&near)));
	r->error_param = STR("model");
	buf_release(&near);
	return next;
}

/* `asked`: the name or alias that the client used. */
static bool may_use(const struct request *r, const struct catalog_model *m, struct str asked)
{
	return !r->key || key_allows(r->key, m->name) || key_allows(r->key, asked);
}

static const struct step *not_allowed(struct request *r, struct str name)
{
	const struct step *next = request_failf(r, ERROR_MODEL_NOT_ALLOWED, "the key '%.*s' may not use the model '%.*s'", STR_ARG(r->key->name),
						STR_ARG(str_head(name, 200)));
	r->error_param = STR("model");
	return next;
}

/* What the key may use, by name or by an alias. */
static const struct step *admit_models(struct request *r)
{
	const struct catalog *c = r->catalog;
	struct buf list;
	if (!r->key || !r->key->rules || r->key->rules->models.count == 0)
		return answer_json(r, 200, c->list_json, STR_NONE);
	bool *allowed = mem_array(c->model_count + 1, sizeof(*allowed));
	for (size_t i = 0; i <= c->names.mask; i++) {
		const struct table_slot *slot = &c->names.slots[i];
		if (slot->key.ptr && key_allows(r->key, slot->key))
			allowed[(const struct catalog_model *)slot->value - c->models] = true;
	}
	buf_init(&list, 64 << 20);
	BUF_ADD(&list, "{\"object\":\"list\",\"data\":[");
	for (uint32_t i = 0, n = 0; i < c->model_count; i++) {
		if (!allowed[i])
			continue;
		if (n++)
			buf_addc(&list, ',');
		buf_adds(&list, c->models[i].json);
	}
	BUF_ADD(&list, "]}");
	const struct step *next = answer_json(r, 200, buf_str(&list), STR_NONE);
	buf_release(&list);
	free(allowed);
	return next;
}

static const struct step *admit_model(struct request *r)
{
	struct buf id;
	buf_init(&id, HTTP_MAX_URL);
	bool decoded = url_decode(r->path_rest, &id);
	struct str name = decoded ? arena_dup(&r->arena, buf_str(&id)) : r->path_rest;
	buf_release(&id);
	r->model = catalog_model(r->catalog, name);
	if (!r->model)
		return no_such_model(r, name);
	if (!may_use(r, r->model, name))
		return not_allowed(r, name);
	return answer_json(r, 200, r->model->json, STR_NONE);
}

static const struct step *admit_metrics(struct request *r)
{
	struct worker *w = r->worker;
	struct str key = w->admin_key, given = presented_key(r->conn->head);
	if (key.len == 0)
		return request_fail(r, ERROR_UNKNOWN_URL, STR("metrics are served on the admin listener"));
	if (!secret_same(given, key))
		return request_fail(r, ERROR_INVALID_API_KEY, STR("the admin key is needed for this"));
	if (r->own_answer.len)
		return answer_text(r, r->own_answer);
	w->metrics_wanted(w->user, w, r->id);
	return STEP_WAIT;
}

static const struct step *admit_own(struct request *r)
{
	switch (r->op->op) {
	case OP_MODELS:
		return admit_models(r);
	case OP_MODEL:
		return admit_model(r);
	case OP_READY:
		return admit_ready(r);
	case OP_METRICS:
		return admit_metrics(r);
	default:
		return answer_json(r, 200, STR("{\"status\":\"ok\"}"), STR("x-valet: 1\r\nserver: valet\r\n"));
	}
}

/* ---- ADMIT: what goes to a target ---- */

static const struct step *admit_body(struct request *r)
{
	struct http_conn *c = r->conn;
	struct str type = http_head_get(c->head, STR("content-type")), param;
	struct buf why;
	buf_init(&why, 1024);
	enum error e = body_read(r->op, c->body, type, &r->arena, &r->facts, &param, &why);
	r->facts.model = arena_dup(&r->arena, r->facts.model); /* outlives the body, for the log line of a refused request too */
	if (e) {
		const struct step *next = request_fail(r, e, arena_dup(&r->arena, buf_str(&why)));
		r->error_param = param;
		buf_release(&why);
		return next;
	}
	buf_release(&why);
	return NULL;
}

static const struct step *admit_routed(struct request *r)
{
	r->book_us = r->now_us ? r->now_us : books_now_us(r->catalog->books);
	const struct step *refused = admit_body(r);
	if (refused)
		return refused;
	r->model = catalog_model(r->catalog, r->facts.model);
	if (!r->model)
		return no_such_model(r, r->facts.model);
	if (!may_use(r, r->model, r->facts.model))
		return not_allowed(r, r->facts.model);
	r->local_only = (r->key && r->key->local_only) || r->model->local_only ||
			str_eq(http_head_get(r->conn->head, STR("x-valet-local-only")), STR("1"));
	if (!(r->model->operations & OP_BIT(r->op->op)))
		return request_failf(r, ERROR_UNSUPPORTED_OPERATION, "no engine that has the model '%.*s' serves /v1%s",
				     STR_ARG(r->model->name), r->op->path);
	if (r->worker->draining)
		return request_fail(r, ERROR_SHUTTING_DOWN, STR("the gateway is shutting down"));
	return STEP_CLAIM;
}

const struct step *step_admit(struct request *r)
{
	const struct http_head *h = r->conn->head;
	if (!r->op)
		return request_failf(r, ERROR_UNKNOWN_URL, "unknown URL: %s %.*s", http_method_name(h->method), /* the query may hold a key */
				     STR_ARG(str_head(str_head(http_head_url(h), str_find(http_head_url(h), '?')), 200)));
	bool own = r->op->body == BODY_NONE;
	if (own ? h->method != METHOD_GET && h->method != METHOD_HEAD : h->method != METHOD_POST)
		return request_failf(r, ERROR_METHOD_NOT_SUPPORTED, "%s is not supported here, only %s",
				     http_method_name(h->method), own ? "GET" : "POST");
	return own ? admit_own(r) : admit_routed(r);
}
