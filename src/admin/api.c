/* api.c - the admin API: from a method and a path to an endpoint, its query and its body; errors; the reference. See api.h.
 *
 * One row in api_endpoints[] is one endpoint; api_keys.c, api_usage.c, api_advice.c and api_targets.c have their functions. An endpoint appends its answer and
 * returns the status. Nothing here is kept from one call to the next but the list of keys, and that of targets set aside.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#include "admin/state.h"
#include "http/url.h"

#include <assert.h>
#include <stdio.h>

/* ---- the store ---- */

struct job {
	bool (*run)(struct store *s, void *arg);
	void *arg;
	bool fine;
	char why[400];
};

static void run_job(struct store *s, void *arg)
{
	struct job *j = arg;
	j->fine = j->run(s, j->arg);
	if (!j->fine)
		snprintf(j->why, sizeof(j->why), "%s", store_why(s));
}

bool api_store(const struct api *a, bool (*run)(struct store *s, void *arg), void *arg, struct buf *why)
{
	struct job j = {.run = run, .arg = arg, .fine = false, .why = "the store is closed"};
	if (!a->o.call(a->o.user, run_job, &j))
		j.fine = false;
	if (!j.fine)
		buf_adds(why, str_from(j.why));
	return j.fine;
}

bool api_store_answer(struct api_call *c, bool (*run)(struct store *s, void *arg), void *arg)
{
	struct buf why;
	buf_init(&why, 1024);
	bool fine = api_store(c->api, run, arg, &why);
	if (!fine)
		api_fail(c, 500, "store_failed", STR_NONE, "the store says: %.*s", STR_ARG(buf_str(&why)));
	buf_release(&why);
	return fine;
}

/* ---- new and free ---- */

/* Keys are worth nothing without the pepper that they were hashed with; a wrong one would refuse them all without a word. */
#define PEPPER_FACT "pepper_check"

struct fact {
	struct buf value;
	struct str wanted;
};

static bool pepper_job(struct store *s, void *arg)
{
	struct fact *f = arg;
	if (!store_get_fact(s, PEPPER_FACT, &f->value))
		return false;
	return f->value.len > 0 || store_put_fact(s, PEPPER_FACT, f->wanted);
}

static bool pepper_fits(struct api *a, struct buf *why)
{
	uint8_t digest[DIGEST_SIZE];
	char text[33];
	struct fact f;
	hmac_sha256(&a->pepper, "valet pepper check", 18, digest);
	for (int i = 0; i < 16; i++)
		snprintf(text + i * 2, 3, "%02x", digest[i]);
	f.wanted = str_of(text, 32);
	buf_init(&f.value, 256);
	bool fine = api_store(a, pepper_job, &f, why);
	if (fine && f.value.len > 0 && !str_eq(buf_str(&f.value), f.wanted)) {
		fine = false;
		buf_addf(why, "%s/pepper is not the one that the keys were made with; bring back the right one from a backup", a->folder);
	}
	buf_release(&f.value);
	return fine;
}

static bool take_pepper(struct api *a, struct buf *why)
{
	uint8_t pepper[32];
	if (a->count > 0 && !state_has_pepper(a->folder)) {
		buf_addf(why, "%s/pepper is missing, and without it none of the %zu keys is valid; bring it back from a backup", a->folder, a->count);
		return false;
	}
	if (!state_pepper(a->folder, pepper, why))
		return false;
	hmac_key_init(&a->pepper, pepper, sizeof(pepper));
	explicit_bzero(pepper, sizeof(pepper));
	return pepper_fits(a, why);
}

struct api *api_new(const struct api_options *o, struct buf *why)
{
	struct api *a = mem_zero(sizeof(*a));
	a->o = *o;
	a->folder = mem_str(str_from(o->folder));
	a->gone = mem_array(API_NAMES, sizeof(*a->gone));
	if (api_list_load(a, why) && take_pepper(a, why) && api_drain_load(a, why))
		return a;
	api_free(a);
	return NULL;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	api_list_release(a);
	api_drain_release(a);
	hmac_key_wipe(&a->pepper);
	free(a->gone);
	free(a->folder);
	free(a);
}

void api_use_settings(struct api *a, const struct settings *s)
{
	a->settings = s;
}

/* ---- errors ---- */

void api_put_error(struct buf *out, int status, struct str code, struct str param, struct str message)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	error_put(&w, message, status >= 500 ? STR("server_error") : STR("invalid_request_error"), param, code);
	json_close_object(&w);
}

int api_fail(struct api_call *c, int status, const char *code, struct str param, const char *format, ...)
{
	struct buf text;
	va_list args;
	buf_init(&text, 64 << 10);
	va_start(args, format);
	buf_addv(&text, format, args);
	va_end(args);
	c->out->len = c->out_start;
	c->out->over = false;
	api_put_error(c->out, status, str_from(code), param, buf_str(&text));
	buf_release(&text);
	return status;
}

/* ---- the path ---- */

/* Compares segment by segment; {key} and the like take any segment that is not empty. */
static bool path_matches(const char *pattern, struct str path, struct str *named)
{
	struct str want = str_from(pattern), have = path, a, b;
	*named = STR_NONE;
	for (;;) {
		bool more = str_split(&want, '/', &a), got = str_split(&have, '/', &b);
		if (!more || !got)
			return more == got;
		if (str_starts(a, STR("{")) && b.len > 0)
			*named = b;
		else if (!str_eq(a, b))
			return false;
	}
}

bool api_needs_server(struct str path)
{
	struct str named;
	for (const struct api_endpoint *e = api_endpoints; e->method; e++)
		if (path_matches(e->path, path, &named))
			return e->server;
	return false;
}

/* Decoded, in the arena; ptr NULL: a bad escape. */
static struct str decode(struct arena *arena, struct str text)
{
	struct buf plain;
	struct str result = STR_NONE;
	buf_init(&plain, 4096);
	if (url_decode(text, &plain))
		result = arena_dup(arena, buf_str(&plain));
	buf_release(&plain);
	return result;
}

static int wrong_method(struct api_call *c)
{
	struct buf names;
	struct str named;
	buf_init(&names, 256);
	for (const struct api_endpoint *e = api_endpoints; e->method; e++)
		if (path_matches(e->path, c->request->path, &named))
			buf_addf(&names, "%s%s", names.len ? ", " : "", e->method);
	api_fail(c, 405, "method_not_supported", STR_NONE, "this path exists, but not with this method; it takes %.*s", STR_ARG(buf_str(&names)));
	buf_release(&names);
	return 405;
}

/* ---- the query ---- */

struct str api_value(const struct api_call *c, const char *name)
{
	for (int i = 0; i < API_QUERY_MAX && c->endpoint->queries[i].name; i++)
		if (strcmp(c->endpoint->queries[i].name, name) == 0)
			return c->values[i];
	assert(!"a query that the table has not got");
	return STR_NONE;
}

static int unknown_query(struct api_call *c, struct str name)
{
	struct str known[API_QUERY_MAX];
	size_t n = 0;
	for (; n < API_QUERY_MAX && c->endpoint->queries[n].name; n++)
		known[n] = str_from(c->endpoint->queries[n].name);
	const struct str *near = field_near(name, known, n);
	return api_fail(c, 400, "unknown_parameter", name, "%.*s is not known here%s%.*s%s", STR_ARG(name), near ? "; did you mean " : "",
			near ? (int)near->len : 0, near ? near->ptr : "", near ? "?" : "");
}

static int read_query_part(struct api_call *c, struct str part)
{
	size_t equals = str_find(part, '=');
	struct str name = decode(&c->arena, str_head(part, equals)), value = decode(&c->arena, str_skip(part, equals + 1));
	if (!name.ptr || !value.ptr)
		return api_fail(c, 400, "invalid_value", STR_NONE, "the query is not written as a URL's: a bad %% escape, or longer than 4096 bytes");
	for (int i = 0; i < API_QUERY_MAX && c->endpoint->queries[i].name; i++) {
		if (!str_eq(name, str_from(c->endpoint->queries[i].name)))
			continue;
		if (c->values[i].ptr)
			return api_fail(c, 400, "duplicate_parameter", name, "%.*s stands twice", STR_ARG(name));
		c->values[i] = value;
		return 0;
	}
	return unknown_query(c, name);
}

static int read_query(struct api_call *c)
{
	struct str rest = c->request->query, part;
	int status = 0;
	while (!status && str_split(&rest, '&', &part))
		if (part.len > 0)
			status = read_query_part(c, part);
	return status;
}

/* ---- the body ---- */

static int check_twice(struct api_call *c)
{
	size_t n = 0;
	for (const struct json *m = c->body->first; m && n < 64; m = m->next, n++) {
		struct str name = json_key(&c->arena, m);
		for (const struct json *other = m->next; other; other = other->next)
			if (str_eq(json_key(&c->arena, other), name))
				return api_fail(c, 400, "duplicate_parameter", name, "%.*s: stands twice", STR_ARG(name));
	}
	return 0;
}

static int read_body(struct api_call *c)
{
	struct str text = str_trim(c->request->body);
	struct json_fail fail;
	if (text.len == 0)
		return c->endpoint->body == API_BODY ? api_fail(c, 400, "invalid_json", STR_NONE, "expected a JSON object as the body") : 0;
	if (text.len > API_BODY_MAX)
		return api_fail(c, 413, "request_too_large", STR_NONE, "the body is larger than %zu KiB", API_BODY_MAX >> 10);
	c->body = json_parse(&c->arena, text, &fail);
	if (!c->body)
		return api_fail(c, 400, "invalid_json", STR_NONE, "the body is not JSON: %s at byte %zu", fail.what, fail.at);
	if (c->body->type != JSON_OBJECT)
		return api_fail(c, 400, "invalid_json", STR_NONE, "expected a JSON object as the body");
	if (c->endpoint->body == API_NO_BODY && c->body->first)
		return api_fail(c, 400, "unknown_parameter", json_key(&c->arena, c->body->first), "no body is expected here");
	return check_twice(c);
}

/* ---- one call ---- */

static int run(struct api_call *c)
{
	if (c->named.ptr) {
		c->named = decode(&c->arena, c->named);
		if (!c->named.ptr)
			return api_fail(c, 400, "invalid_value", STR_NONE, "the path is not written as a URL's: a bad %% escape");
	}
	if (!c->endpoint->run || (c->endpoint->server && !c->api->o.server))
		return api_fail(c, 503, "no_server", STR_NONE, "only a running server can answer that, and none runs here, or it is stopping");
	int status = read_query(c);
	if (!status)
		status = read_body(c);
	if (!status)
		status = c->endpoint->run(c);
	if (c->out->over)
		status = api_fail(c, 500, "answer_too_large", STR_NONE, "the answer is too large; ask for less of it at a time");
	return status;
}

int api_do(struct api *a, const struct api_request *r, struct buf *out)
{
	struct api_call c = {.api = a, .request = r, .out = out, .out_start = out->len};
	bool path_known = false;
	for (const struct api_endpoint *e = api_endpoints; e->method; e++) {
		if (!path_matches(e->path, r->path, &c.named))
			continue;
		path_known = true;
		if (!str_eq(r->method, str_from(e->method)))
			continue;
		c.endpoint = e;
		break;
	}
	if (!path_known)
		return 0;
	if (!c.endpoint)
		return wrong_method(&c);
	arena_init(&c.arena, 4096);
	int status = run(&c);
	arena_release(&c.arena);
	return status;
}
