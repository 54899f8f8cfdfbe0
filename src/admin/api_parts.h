/* api_parts.h - what the files of the admin API share: the list of keys, the call that is being answered, its errors. For api*.c alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_API_PARTS_H
#define VALET_ADMIN_API_PARTS_H

#include "admin/api.h"
#include "base/json.h"

#define API_BODY_MAX  ((size_t)256 << 10)
#define API_NAMES     16 /* "#17" and the like that are valid at a time */
#define API_QUERY_MAX 6

/* One key as it stands in the store, packed: there may be very many. One block of memory. */
struct api_key {
	int64_t created_s, revoked_s;
	uint8_t hash[DIGEST_SIZE];
	uint32_t serial, name_len, document_len;
	char id[TOKEN_ID];
	bool born;    /* made since the last keyring: it cannot have used anything */
	bool rotated; /* has an old secret: then its hash and its end come first in bytes */
	char bytes[]; /* name, document */
};

struct api {
	struct api_options o;
	char *folder;
	const struct settings *settings; /* NULL: none yet */
	struct hmac_key pepper;
	struct api_key **by_serial, **by_name; /* the same keys in two orders */
	size_t count, cap;
	bool begun;               /* api_load_books() was called: from then on a new keyring loads its new scopes */
	size_t loaded;            /* so many scopes of the books have been loaded */
	bool stale;               /* keys were changed since the last keyring */
	char (*gone)[16];         /* API_NAMES texts, one after the other */
	unsigned gone_next;
	char **drained;           /* names of targets that the operator has set aside, in the order of that */
	size_t drained_count;
};

/* One request. All that is read of it lives in `arena`. */
struct api_call {
	struct api *api;
	const struct api_request *request;
	const struct api_endpoint *endpoint;
	struct arena arena;
	struct str named;                 /* what stands in the path for {…}, decoded; ptr NULL: the path has none */
	struct str values[API_QUERY_MAX]; /* of the endpoint's queries, decoded; ptr NULL: not given */
	struct json *body;                /* an object; NULL: none */
	struct buf *out;
	size_t out_start;
};

enum api_body { API_NO_BODY, API_MAY_BODY, API_BODY };

struct api_query {
	const char *name, *help;
};

struct api_endpoint {
	const char *method, *path;        /* "/api/keys/{key}" */
	int (*run)(struct api_call *c);   /* the status; NULL: the listener has answered it already, since workers must be asked (live.c) */
	enum api_body body;
	struct api_query queries[API_QUERY_MAX]; /* ends with name NULL */
	const char *summary;              /* for the overview */
	const char *text;                 /* markdown */
	const char *example;              /* an answer; NULL: said in the text */
	bool server;                      /* only a running server can answer it */
};
extern const struct api_endpoint api_endpoints[]; /* ends with method NULL */

/* ---- api.c ---- */

/* Puts an error in place of whatever was appended so far; returns the status. */
int api_fail(struct api_call *c, int status, const char *code, struct str param, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Runs `run` on the store and waits for it; false and a sentence where it fails or where there is no store any more. */
bool api_store(const struct api *a, bool (*run)(struct store *s, void *arg), void *arg, struct buf *why);
/* The same for an answer: false means that it says so already, with status 500. */
bool api_store_answer(struct api_call *c, bool (*run)(struct store *s, void *arg), void *arg);
/* The value of a query; ptr NULL where it was not given. */
struct str api_value(const struct api_call *c, const char *name);

/* ---- api_list.c: the keys in memory ---- */

bool api_list_load(struct api *a, struct buf *why);
void api_list_release(struct api *a);
struct api_key *api_list_serial(const struct api *a, uint32_t serial);
struct api_key *api_list_name(const struct api *a, struct str name);
/* By name or id. */
struct api_key *api_list_find(const struct api *a, struct str name);
/* The closest name that a misspelling explains; empty: none. */
struct str api_list_near(const struct api *a, struct str name);
bool api_list_has_id(const struct api *a, const char id[TOKEN_ID]);
struct str api_key_text(const struct api_key *k); /* its name */
/* The whole of it; texts live as long as `k`. */
void api_key_unpack(const struct api_key *k, struct stored_key *out);
/* Puts a copy of `k` in, or in place of the one with its serial. */
struct api_key *api_list_put(struct api *a, const struct stored_key *k);
void api_list_remove(struct api *a, struct api_key *k);
/* What the document of a key says, its texts in `arena`; false: it cannot be read (then `out` holds the standards). `why` may be NULL. */
bool api_key_read(struct arena *arena, const struct stored_key *k, struct key_conf *out, struct buf *why);

/* ---- api_drain.c: targets that the operator has set aside ---- */

bool api_drain_load(struct api *a, struct buf *why);
void api_drain_release(struct api *a);
/* Puts it into the store and holds it. 0, or the status of an answer that says why not. */
int api_drain_set(struct api_call *c, struct str target, bool drained);

/* ---- api_load.c ---- */

/* Tokens that count against a budget. */
int64_t api_tokens(const struct usage_sum *sum);
/* Saturates. */
int64_t api_add(int64_t a, int64_t b);

/* ---- api_view.c: a key as JSON ---- */

/* What the store knows of running windows, read when it is first asked for. Zeroed is empty. */
struct api_sums {
	struct api_sum *rows[PERIOD_COUNT];
	size_t counts[PERIOD_COUNT];
	bool have[PERIOD_COUNT];
	uint32_t only; /* 0: of all keys */
	struct arena arena;
	bool begun;
};
void api_sums_release(struct api_sums *s);
/* False: the store cannot be read, and the answer says so. */
bool api_put_key(struct api_call *c, struct json_writer *w, const struct api_key *k, struct api_sums *sums);
/* The key that the path names, or NULL and *status of an answer that says that there is none. */
struct api_key *api_target(struct api_call *c, int *status);

/* ---- the endpoints ---- */

int api_keys_list(struct api_call *c);
int api_keys_create(struct api_call *c);
int api_keys_show(struct api_call *c);
int api_keys_update(struct api_call *c);
int api_keys_delete(struct api_call *c);
int api_keys_rotate(struct api_call *c);
int api_keys_revoke(struct api_call *c);
/* "pending", "up", "loading" or "down". */
const char *api_target_state(const struct target_state *s);
int api_explain(struct api_call *c);
int api_targets_list(struct api_call *c);
int api_targets_show(struct api_call *c);
int api_targets_change(struct api_call *c);
int api_usage(struct api_call *c);
int api_ledger(struct api_call *c);
int api_advice_one(struct api_call *c);
int api_advice_all(struct api_call *c);

#endif
