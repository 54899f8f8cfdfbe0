/* govern.h - for control.c: what keeps keys, books and ledger together: opened before workers exist, closed after they have ended. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_GOVERN_H
#define VALET_ADMIN_GOVERN_H

#include "admin/alert.h"
#include "admin/api.h"

struct control;

struct govern {
	char *folder;             /* of the state */
	struct ledger *ledger;
	struct books *books;
	struct api *api;
	struct keyring *keyring;  /* the newest; one reference */
	struct secret admin_secret;
	struct alert *alert;
	uint64_t warnings;        /* of budgets, so far */
	bool running;             /* the ledger's threads run */
	bool announced;
	bool empty;               /* there were no keys when it was last looked */
};

/* Opens the state folder: recovers, loads keys. False and a sentence. */
bool govern_open(struct control *c, unsigned workers, struct buf *why);
/* After the first catalog: what was used goes into the books; the ledger's threads begin. */
bool govern_start(struct control *c, struct buf *why);
/* What a new catalog needs: a reference to the keyring. */
struct keyring *govern_keyring(struct control *c);
/* Scopes that a new catalog has made are loaded. */
void govern_catalog_made(struct control *c);
/* New settings. */
void govern_settings(struct control *c);
void govern_announce(struct control *c);
/* After the workers have ended. */
void govern_stop(struct control *c);
void govern_close(struct control *c);
/* Appends the metrics of budgets and of the ledger. */
void govern_metrics(struct control *c, struct buf *out);

#endif
