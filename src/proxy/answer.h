/* answer.h - CORS, for intake.c and answer.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_PROXY_ANSWER_H
#define VALET_PROXY_ANSWER_H

#include "proxy/request.h"

/* True if `cors` lists the origin. */
bool answer_origin_allowed(const struct catalog *c, struct str origin);
/* Sends the exposition of metrics and ends. */
const struct step *answer_text(struct request *r, struct str text);

#endif
