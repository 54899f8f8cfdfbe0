/* state.h - the state folder: where it is, its secrets, and who serves from it. Blocking; main thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_STATE_H
#define VALET_ADMIN_STATE_H

#include "base/buf.h"
#include "base/secret.h"

/* Appends the path: `given` (--state) where it is not NULL, else $VALET_STATE, else the first of $STATE_DIRECTORY (systemd), else
 * $XDG_STATE_HOME/valet, else $HOME/.local/state/valet, else /var/lib/valet. */
void state_folder(const char *given, struct buf *out);
/* Makes the folder and those above it (0700). */
bool state_make(const char *folder, struct buf *why);

/* FOLDER/pepper: 32 bytes, made at the first use, 0600. Refused where others may read it. */
bool state_pepper(const char *folder, uint8_t out[32], struct buf *why);
/* Whether there is one already. */
bool state_has_pepper(const char *folder);
/* The admin secret: $VALET_ADMIN_KEY where it is set and not empty, else FOLDER/admin.key (0600), made at the first use where `make`: "va_" and 43
 * base62 characters. An empty file is refused. */
bool state_admin_key(const char *folder, bool make, struct secret *out, struct buf *why);

/* FOLDER/server.json: who serves: {"pid":123,"admin":"127.0.0.1:9301","listen":"127.0.0.1:9300","version":"…"}. Written whole by a rename. */
bool state_announce(const char *folder, struct str admin, struct str listen, struct buf *why);
void state_withdraw(const char *folder);
/* Whether anybody can tell who serves: FOLDER/lock can be opened, or is not there. Else false and a sentence. */
bool state_can_look(const char *folder, struct buf *why);
/* Appends the admin address of the server that runs on this folder. False: none runs (nobody holds FOLDER/lock); *running says whether one does run
 * but has no admin listener. */
bool state_server(const char *folder, struct buf *admin, bool *running);

#endif
