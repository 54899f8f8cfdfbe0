/* capacity.h - for control.c: the queue and the table of prefixes that all workers share, and what engines tell of their load. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_CAPACITY_H
#define VALET_ADMIN_CAPACITY_H

#include "admin/discover.h"
#include "base/buf.h"
#include "gate/choose.h"
#include "gate/queue.h"

struct control;

struct capacity {
	struct queue *queue;
	struct prefixes *prefixes;
	uint64_t prefix_seed;
};

/* Before workers exist. */
void capacity_open(struct control *c);
/* New settings. */
void capacity_settings(struct control *c);
/* A new catalog was published: targets may have more places, or be back. */
void capacity_catalog_made(struct control *c);
/* The watcher has looked at an engine. */
void capacity_looked(struct control *c, const struct engine *e);
void capacity_close(struct control *c);
void capacity_metrics(struct control *c, struct buf *out);

#endif
