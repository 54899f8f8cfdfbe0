/* capacity.h - for control.c: the queue and the table of prefixes that all workers share, and what engines tell of their load. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_CAPACITY_H
#define VALET_ADMIN_CAPACITY_H

#include "admin/discover.h"
#include "base/buf.h"
#include "base/table.h"
#include "gate/choose.h"
#include "gate/queue.h"

struct control;
struct capacity_place;
struct capacity_seen;

struct capacity {
	struct queue *queue;
	struct prefixes *prefixes;
	uint64_t prefix_seed;
	/* of the catalog that is published: which places are a target's */
	struct table targets;             /* name → its index in the catalog + 1 */
	uint32_t *first;                  /* where those of each target begin in `places`; one more behind the last */
	struct capacity_place *places;
	/* by the index of a target in the registry */
	struct capacity_seen *seen;
	uint32_t seen_count;
};

/* Before workers exist. */
void capacity_open(struct control *c);
/* New settings. */
void capacity_settings(struct control *c);
/* A new catalog was published, and the old one still is there: targets may have more places, or be back. */
void capacity_catalog_made(struct control *c);
/* The watcher has looked at an engine. */
void capacity_looked(struct control *c, const struct engine *e);
void capacity_close(struct control *c);
void capacity_metrics(struct control *c, struct buf *out);

#endif
