/* targets.h - for control.c: targets that are set aside, by the operator or for a refused secret. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_TARGETS_H
#define VALET_ADMIN_TARGETS_H

#include "admin/api.h"
#include "net/loop.h"

struct control;

struct targets {
	struct timer look;
	bool *told;     /* by the index of a target's state: its refused secret was told */
	uint32_t count;
};

/* What the admin API asks of the server; its user is the control. */
extern const struct api_server targets_server;

/* Begins to look for refused secrets; with the loop. */
void targets_begin(struct control *c);
/* A catalog was made, before workers get it: what is set aside gets nothing from the beginning. */
void targets_catalog_made(struct control *c);
void targets_release(struct control *c);

#endif
