/* yaml.h - YAML read into the same tree that JSON gives.
 *
 * A plain, quoted or block scalar becomes JSON_STRING with its text, whatever it looks like: the
 * reader of a field knows what it wants ("on" is a word to one and true to another). Plain null, ~
 * and nothing at all become JSON_NULL. `line` and `column` count from 1; those of a member are
 * where its name stands, those of an element where it begins. Refused, with a reason: anchors,
 * aliases, merge keys, tags, several documents, a name that stands twice in a mapping, names that
 * are no plain text, and what is beyond the ceilings below. Pure; no I/O.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_YAML_H
#define VALET_BASE_YAML_H

#include "base/json.h"

#define YAML_MAX_BYTES (1024 * 1024)
#define YAML_MAX_NODES 200000
#define YAML_MAX_DEPTH 32

/* Where (from 1) and why a text was refused. */
struct yaml_fail {
	uint32_t line, column;
	char what[200];
};

/* The tree lives in `a` and needs `text` no longer. An empty document gives JSON_NULL. NULL:
 * refused. */
struct json *yaml_parse(struct arena *a, struct str text, struct yaml_fail *fail)
	__attribute__((warn_unused_result));

#endif
