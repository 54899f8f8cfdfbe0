/* dialects.h - what the files of the dialects share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_DIALECTS_H
#define SIM_DIALECTS_H

#include "sim.h"

#define MODEL_CREATED 1767225600 /* 2026-01-01 */

/* The members that every entry of /v1/models has; the caller closes the object. */
void model_entry_put(struct sim *sim, struct buf *out, const struct model *m);
void model_entry_plain(struct sim *sim, struct buf *out, const struct model *m);
/* 200 with nothing in it. */
void empty_run(struct worker *w, struct http_conn *c, const struct request_line *line);

/* Two lines of Prometheus' text. `labels`: with their braces, or "". */
void metric_put(struct buf *out, const char *name, const char *type, const char *labels,
		double value);

struct load {
	uint32_t running, waiting;
	double kv_usage; /* 0 .. 1 */
	int64_t kv_tokens;
};
struct load engine_load(struct sim *sim);

#endif
