/* live.h - for admin_http.c: the live view. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_LIVE_H
#define VALET_ADMIN_LIVE_H

#include "admin/control.h"

/* Answers on `conn` when all workers have: {"queue":{…},"data":[…]}: how many wait, and a row for each request under way. */
void live_list(struct control *c, struct http_conn *conn);
/* The same: {"stopped":true,"id":…}, or 404. False: that is no id. */
bool live_stop(struct control *c, struct http_conn *conn, struct str id);
/* The client has left. */
void live_gone(struct http_conn *conn);

#endif
