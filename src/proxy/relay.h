/* relay.h - for judge.c: the beginning of an answer on its way to the client.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_RELAY_H
#define VALET_PROXY_RELAY_H

#include "proxy/request.h"

/* An answer was taken: counts a stream. */
void relay_begin(struct request *r);
/* A comment to a client that waits for its first event; begins the answer if need be. */
void relay_heartbeat(struct request *r);
/* The same with a comment of one's own; writable, ends with a blank line. */
void relay_comment(struct request *r, char *text, size_t len);

#endif
