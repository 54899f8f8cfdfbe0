/* relay_events.h - between relay.c and relay_events.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_RELAY_EVENTS_H
#define VALET_PROXY_RELAY_EVENTS_H

#include "proxy/request.h"

/* RELAY of a stream of events. */
const struct step *relay_events(struct request *r);

/* relay.c: writes a part of the answer, beginning it if need be (`length`: of the whole body, -1: chunked). `roomy`: as http_respond_body(). */
bool relay_write(struct request *r, char *data, size_t len, bool roomy, int64_t length);
/* The same for the last part; ends the answer. */
const struct step *relay_finish(struct request *r, char *data, size_t len, bool roomy, int64_t length);

#endif
