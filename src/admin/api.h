/* api.h - the admin API without its transport: a method, a path and a JSON body in; a status and a JSON body out.
 *
 * The admin listener uses it on the control thread, with the storage thread behind `call`; the command line uses the same code on the store itself where
 * no server runs. Blocking as far as `call` is. Errors have OpenAI's shape: {"error":{"message","type","param","code"}}. docs/reference/admin-api.md is
 * printed from its table of endpoints.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_API_H
#define VALET_ADMIN_API_H

#include "admin/discover.h"
#include "gate/catalog.h"
#include "gate/keyring.h"
#include "gate/settings.h"
#include "store/ledger.h"

struct api;

/* What only a running server knows. Called on the control thread, with the user of the options. */
struct api_server {
	const struct catalog *(*catalog)(void *user);                /* the newest */
	const struct engine *(*engine)(void *user, struct str name); /* what the watcher sees of a target; NULL: nothing */
	struct queue *(*queue)(void *user);                          /* who waits for a place */
	void (*drain_changed)(void *user);                           /* api_drained() may say something else now; called before the answer is written */
};

struct api_options {
	/* Runs `run` on the store and returns when it has; false: there is none any more. */
	bool (*call)(void *user, void (*run)(struct store *s, void *arg), void *arg);
	void *user;
	const char *folder;      /* the state folder: pepper */
	struct books *books;     /* NULL without a server: then views hold only what the store knows */
	/* A key was made, changed or taken away: build a new keyring (api_keyring()) and publish it. Called before the answer is written, so that this
	 * shows the new limits. NULL is allowed. */
	void (*keys_changed)(void *user);
	const struct api_server *server; /* NULL: none runs, and what only one knows is refused with a sentence */
};

/* Reads all keys, and which targets are set aside. NULL and a sentence where the store or the pepper cannot be read. */
struct api *api_new(const struct api_options *o, struct buf *why);
void api_free(struct api *a);
/* Of the newest settings: probation, new keys. The settings must live until the next call. */
void api_use_settings(struct api *a, const struct settings *s);

struct api_request {
	struct str method;  /* "GET" */
	struct str path;    /* "/api/keys/obsidian/rotate", decoded by segments inside */
	struct str query;   /* "by=key&since=7d", as it came */
	struct str body;    /* JSON or empty */
	int64_t now_s;      /* book time */
};
/* Answers; appends JSON to `out`. The HTTP status. 0: not one of these endpoints. */
int api_do(struct api *a, const struct api_request *r, struct buf *out);

/* Appends {"error":{…}}; `param` may be empty. */
void api_put_error(struct buf *out, int status, struct str code, struct str param, struct str message);
/* Whether only a running server can answer what that path names. */
bool api_needs_server(struct str path);
/* Whether the operator has set the target of that name aside. Holds across restarts. */
bool api_drained(const struct api *a, struct str target);

size_t api_key_count(const struct api *a);
/* A keyring of all keys; one reference. `books` of the options must not be NULL. Once api_load_books() was called, scopes that are new in the books are
 * loaded from the store. A key whose document cannot be read is in it as a revoked one, and the log says so. */
struct keyring *api_keyring(struct api *a);
/* Puts what the store says was used in the running windows into the scopes of the books that it has not done so for yet: at the start, and whenever
 * something else than api_keyring() may have made scopes, before requests may use them. False: the store cannot be read, and nothing was put anywhere; at
 * the start nothing may be served then. */
bool api_load_books(struct api *a, int64_t now_s, struct buf *why);
/* The name of a key, for logs and labels; "-" for 0, "#17" where it is gone. Valid until keys change. */
struct str api_key_name(const struct api *a, uint32_t serial);
/* Appends the reference of all endpoints (markdown). */
void api_print_reference(struct buf *out);

#endif
