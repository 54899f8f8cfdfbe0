/* client.h - how a command reaches the admin API: over HTTP where a server runs on the state folder, else by the same code on the folder itself.
 *
 * Blocking, at most 10 seconds without a byte. The admin secret goes to the server that state.h names, to an address of this machine, or where the
 * operator gave both address and secret; never elsewhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_CLI_CLIENT_H
#define VALET_CLI_CLIENT_H

#include "cli/options.h"
#include "net/resolve.h"

/* What the command line says of where; zeroed: nothing. Views into argv. */
struct cli_place {
	const char *state;  /* --state: the state folder */
	const char *admin;  /* --admin: the server's admin address; else $VALET_ADMIN */
	const char *config; /* --config: settings; they may name the folder */
};

/* The options for it, to stand in a command's table. */
#define CLI_PLACE_OPTIONS \
	{"state", 0, "DIR", "the state folder (default: $VALET_STATE, or where the server keeps it)"}, \
	{"admin", 0, "HOST:PORT", "the server's admin address (default: $VALET_ADMIN, or what it wrote there)"}, \
	{"config", 'c', "FILE", "settings, which may say where (default: as for serve)"}
/* Takes one of them; false: it is another option. */
bool cli_place_take(struct cli_place *p, const struct option *option, const char *value);
#define CLI_PATH_MAX 4096
/* Appends the state folder, with a NUL behind it: --state, $VALET_STATE, the settings, or where state_folder() looks. False: too long. */
bool cli_folder(const struct cli_place *p, struct buf *out);
/* Whether another process holds the folder. */
bool cli_in_use(const char *folder);
/* Behind what ledger_open() says where nobody does. */
#define CLI_DAMAGE_HINT "; valet recover --check says what is damaged, and what to do"
/* Days are shown in the time zone of the settings, where they can be read; else in the system's. */
void cli_take_zone(const struct cli_place *p);
/* Appends where clients find the server: "http://127.0.0.1:9300/v1". */
void cli_base_url(const struct cli_place *p, struct buf *out);

/* Where a request goes. */
struct cli_door {
	char text[300]; /* as given, for messages */
	union address address;
	char name[80];  /* the address in numbers: the admin listener takes no names, since a web page could make one point at it */
};
/* Fills in the address of d->text. False and a sentence in `why`. */
bool cli_find_address(struct cli_door *d, struct buf *why);

/* One request. `target`: path and query, encoded. Appends the body of the answer. The HTTP status; -1 and a sentence in `out` where there is no
 * answer. */
int cli_request(const struct cli_place *p, const char *method, struct str target, struct str body, struct buf *out);

/* Releases what may hold a secret, overwritten. */
void cli_wipe(struct buf *b);

/* client_answer.c: whether all that was announced is there; more may come where the length was not told. */
bool client_answer_whole(struct str all);
/* Appends the body; decodes it in place. The HTTP status; -1: no whole answer stands in `all`. */
int client_answer_take(struct buf *all, struct buf *out);

/* client_local.c: the same on the folder itself, as cli_request(). */
int cli_request_local(const struct cli_place *p, const char *folder, const char *method, struct str target, struct str body, struct buf *out);

#endif
