/* judge.h - for relay.c: failures and time, as long as nothing has gone to the client.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_JUDGE_H
#define VALET_PROXY_JUDGE_H

#include "proxy/request.h"

/* Ends the attempt, whose error stands in the request; ROUTE if another may be made, else `failed`. */
const struct step *judge_elsewhere(struct request *r, const struct step *failed);
/* The timer before the first event: a heartbeat, or the end of the attempt. */
const struct step *judge_clock(struct request *r);

#endif
