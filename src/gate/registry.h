/* registry.h - for catalog_build.c: states and series by name. Control thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_REGISTRY_H
#define VALET_GATE_REGISTRY_H

#include "gate/catalog.h"

/* The state of the target of that name, made where there is none. */
struct target_state *registry_target(struct registry *r, struct str name);
/* The id of that pair in the metrics. */
uint32_t registry_series(struct registry *r, struct str target, struct str model);

/* The id of the model of that name; from 1. */
uint32_t registry_model(struct registry *r, struct str name);
/* What was learned of the pair with that id. */
struct learned *registry_learned(struct registry *r, uint32_t series);

#endif
