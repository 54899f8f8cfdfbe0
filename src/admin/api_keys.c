/* api_keys.c - the endpoints that show, make, change, rotate, revoke and delete keys.
 *
 * A change is checked, put into the store, then into the list in memory, and then told (keys_changed), so that what is answered holds already. Where the
 * store fails nothing has changed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#define DOCUMENT_MAX    ((size_t)64 << 10)
#define OVERLAP_S       (24 * 3600)
#define OVERLAP_MAX_S   (365 * 24 * 3600)

/* ---- answers ---- */

/* {"key": KEY} with what else stands before and behind it. `secret` may be empty. */
static int answer_key(struct api_call *c, int status, const struct api_key *k, struct str secret, bool deleted)
{
	struct api_sums sums = {.only = k->serial};
	struct json_writer w;
	json_writer_init(&w, c->out);
	json_open_object(&w);
	if (deleted)
		json_member_bool(&w, STR("deleted"), true);
	json_put_key(&w, STR("key"));
	bool fine = api_put_key(c, &w, k, &sums);
	if (fine && secret.len)
		json_member_str(&w, STR("secret"), secret);
	if (fine)
		json_close_object(&w);
	api_sums_release(&sums);
	return fine ? status : 500;
}

int api_keys_list(struct api_call *c)
{
	struct api *a = c->api;
	struct api_sums sums = {0};
	struct json_writer w;
	bool fine = true;
	json_writer_init(&w, c->out);
	json_open_object(&w);
	json_put_key(&w, STR("data"));
	json_open_array(&w);
	for (size_t i = 0; i < a->count && fine && !c->out->over; i++)
		fine = api_put_key(c, &w, a->by_name[i], &sums);
	if (fine) {
		json_close_array(&w);
		json_close_object(&w);
	}
	api_sums_release(&sums);
	return fine ? 200 : 500;
}

int api_keys_show(struct api_call *c)
{
	int status = 0;
	const struct api_key *k = api_target(c, &status);
	return k ? answer_key(c, 200, k, STR_NONE, false) : status;
}

/* ---- changes ---- */

struct put_job {
	const struct stored_key *key;
	uint32_t serial;
};

static bool run_put(struct store *s, void *arg)
{
	struct put_job *j = arg;
	return store_put_key(s, j->key, &j->serial);
}

static bool run_delete(struct store *s, void *arg)
{
	return store_delete_key(s, *(const uint32_t *)arg);
}

static void tell_change(struct api *a)
{
	a->stale = true;
	if (a->o.keys_changed)
		a->o.keys_changed(a->o.user);
}

/* Into the store and the list. NULL: the store failed, and the answer says so. */
static struct api_key *put(struct api_call *c, struct stored_key *key)
{
	struct put_job job = {key, key->serial};
	bool born = key->serial == 0;
	if (!api_store_answer(c, run_put, &job))
		return NULL;
	key->serial = job.serial;
	struct api_key *k = api_list_put(c->api, key);
	k->born |= born;
	tell_change(c->api);
	return api_list_serial(c->api, key->serial);
}

/* All mistakes in one message; the place of the first one as `param`. */
static int fail_document(struct api_call *c, const struct field_reader *r)
{
	const struct field_problem *first = NULL;
	struct buf text;
	buf_init(&text, 32 << 10);
	for (const struct field_problem *p = r->problems; p; p = p->next) {
		if (p->warning)
			continue;
		buf_addf(&text, "%s%.*s%s%.*s", first ? "; " : "", STR_ARG(p->path), p->path.len ? ": " : "", STR_ARG(p->text));
		if (!first)
			first = p;
	}
	int status = api_fail(c, 400, "invalid_value", first ? first->path : STR_NONE, "%.*s", STR_ARG(buf_str(&text)));
	buf_release(&text);
	return status;
}

/* Checks a document and appends it as it is stored. `old`: of the key that is changed; NULL: of none. 0: fine. */
static int take_document(struct api_call *c, const struct json *document, const struct api_key *old, struct stored_key *key, struct buf *text)
{
	struct field_reader r = {.arena = &c->arena, .values = &c->arena};
	struct key_conf conf;
	if (!key_conf_read(&r, document, c->request->now_s, &conf))
		return fail_document(c, &r);
	if (conf.name.len == 0)
		return api_fail(c, 400, "missing_required_parameter", STR("name"), "name: is required");
	/* "-" stands for requests without a key; the others mean something in the path of a URL. */
	if (str_eq(conf.name, STR("-")) || str_eq(conf.name, STR(".")) || str_eq(conf.name, STR("..")))
		return api_fail(c, 400, "invalid_value", STR("name"), "name: %.*s cannot be the name of a key", STR_ARG(conf.name));
	const struct api_key *same = api_list_name(c->api, conf.name);
	if (same && same != old)
		return api_fail(c, 409, "key_exists", STR("name"), "there is a key %.*s already%s", STR_ARG(conf.name),
				same->revoked_s ? " (revoked)" : "");
	const struct settings *settings = c->api->settings;
	if (!old && settings && settings->probation.new_keys && !json_get(document, STR("probation")))
		conf.probation = true;
	key_conf_write(&conf, text);
	if (text->over)
		return api_fail(c, 400, "invalid_value", STR_NONE, "what is said of a key takes more than %zu KiB", DOCUMENT_MAX >> 10);
	key->name = conf.name;
	key->document = buf_str(text);
	return 0;
}

/* ---- secrets ---- */

/* A new secret for an id, or with a new id; its hash goes into `key`. */
static void give_secret(struct api *a, bool new_id, struct stored_key *key, char token[TOKEN_LENGTH + 1])
{
	struct token parts;
	do {
		token_make(new_id ? NULL : key->id, token);
		if (!token_parse(str_of(token, TOKEN_LENGTH), &parts))
			abort();
	} while (new_id && api_list_has_id(a, parts.id));
	memcpy(key->id, parts.id, TOKEN_ID);
	token_hash(&a->pepper, &parts, key->hash);
}

int api_keys_create(struct api_call *c)
{
	struct stored_key key = {.created_s = c->request->now_s};
	char token[TOKEN_LENGTH + 1];
	struct buf text;
	buf_init(&text, DOCUMENT_MAX);
	int status = take_document(c, c->body, NULL, &key, &text);
	if (!status) {
		give_secret(c->api, true, &key, token);
		const struct api_key *k = put(c, &key);
		status = k ? answer_key(c, 201, k, str_of(token, TOKEN_LENGTH), false) : 500;
		explicit_bzero(token, sizeof(token));
	}
	buf_release(&text);
	return status;
}

int api_keys_update(struct api_call *c)
{
	int status = 0;
	const struct api_key *k = api_target(c, &status);
	struct buf merged, text;
	if (!k)
		return status;
	struct stored_key key;
	api_key_unpack(k, &key);
	buf_init(&merged, API_BODY_MAX + DOCUMENT_MAX);
	buf_init(&text, DOCUMENT_MAX);
	const struct json *old = json_parse(&c->arena, key.document, NULL);
	key_conf_merge(&c->arena, old, c->body, &merged);
	const struct json *document = merged.over ? NULL : json_parse(&c->arena, buf_str(&merged), NULL);
	if (document)
		status = take_document(c, document, k, &key, &text);
	else
		status = api_fail(c, 400, "invalid_value", STR_NONE, "the change and what is stored do not fit together");
	if (!status) {
		k = put(c, &key);
		status = k ? answer_key(c, 200, k, STR_NONE, false) : 500;
	}
	buf_release(&merged);
	buf_release(&text);
	return status;
}

int api_keys_delete(struct api_call *c)
{
	int status = 0;
	struct api_key *k = api_target(c, &status);
	if (!k)
		return status;
	uint32_t serial = k->serial;
	/* Shown as it was: afterwards there is nothing to show. */
	status = answer_key(c, 200, k, STR_NONE, true);
	if (status != 200 || !api_store_answer(c, run_delete, &serial))
		return 500;
	api_list_remove(c->api, k);
	tell_change(c->api);
	return 200;
}

/* 0: fine. */
static int read_overlap(struct api_call *c, int64_t *overlap_s)
{
	static const char wanted[] = "overlap: expected a time of at most 365 days, such as 24h or 7d, or 0";
	int64_t ms = -1;
	*overlap_s = OVERLAP_S;
	for (const struct json *m = c->body ? c->body->first : NULL; m; m = m->next) {
		struct str name = json_key(&c->arena, m), text = json_text(&c->arena, m);
		if (!str_eq(name, STR("overlap")))
			return api_fail(c, 400, "unknown_parameter", name, "%.*s: is not known here; there is overlap", STR_ARG(name));
		if (m->type == JSON_NULL)
			continue;
		if (m->type == JSON_NUMBER ? !json_i64(m, &ms) || ms != 0 : !str_eq(text, STR("0")) && !field_parse_ms(text, &ms))
			return api_fail(c, 400, "invalid_value", name, "%s", wanted);
		*overlap_s = ms < 0 ? 0 : (ms + 999) / 1000;
		if (*overlap_s > OVERLAP_MAX_S)
			return api_fail(c, 400, "invalid_value", name, "%s", wanted);
	}
	return 0;
}

int api_keys_rotate(struct api_call *c)
{
	int status = 0;
	int64_t overlap_s = 0;
	char token[TOKEN_LENGTH + 1];
	const struct api_key *k = api_target(c, &status);
	if (!k)
		return status;
	if (k->revoked_s)
		return api_fail(c, 409, "key_revoked", STR_NONE, "the key %.*s is revoked; make a new one", STR_ARG(api_key_text(k)));
	status = read_overlap(c, &overlap_s);
	if (status)
		return status;
	struct stored_key key;
	api_key_unpack(k, &key);
	memset(key.old_hash, 0, sizeof(key.old_hash));
	key.old_until_s = 0;
	if (overlap_s > 0) {
		memcpy(key.old_hash, key.hash, sizeof(key.old_hash));
		key.old_until_s = c->request->now_s + overlap_s;
	}
	give_secret(c->api, false, &key, token);
	k = put(c, &key);
	status = k ? answer_key(c, 200, k, str_of(token, TOKEN_LENGTH), false) : 500;
	explicit_bzero(token, sizeof(token));
	return status;
}

int api_keys_revoke(struct api_call *c)
{
	int status = 0;
	const struct api_key *k = api_target(c, &status);
	if (!k)
		return status;
	if (!k->revoked_s) {
		struct stored_key key;
		api_key_unpack(k, &key);
		key.revoked_s = c->request->now_s;
		k = put(c, &key);
		if (!k)
			return 500;
	}
	return answer_key(c, 200, k, STR_NONE, false);
}
