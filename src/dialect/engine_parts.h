/* engine_parts.h - what the readers of engines' answers share: JSON without a tree.
 *
 * Private to src/dialect/engine*.c. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_ENGINE_PARTS_H
#define VALET_DIALECT_ENGINE_PARTS_H

#include "base/json.h"
#include "dialect/engine.h"

#define ENGINE_VISITS_MAX (4 * ENGINE_MODELS_MAX) /* elements of a list that are looked at */

/* Validates the text and finds `wants` at its top. False: it is no JSON, or of another type. */
bool engine_scan(struct str text, struct json_want *wants, size_t n, enum json_type type);
/* The inside of the array `name` at the top, or of the text itself where it is an array and `bare` is allowed. Validates all of it. */
bool engine_array_of(struct str body, struct str name, bool bare, struct str *inside);
/* Cuts the next element from the inside of a valid array; `rest` begins behind the bracket. False at the end. */
bool engine_next_element(struct str *rest, struct str *element);
/* A whole number from 1 to `max`; else 0. */
int64_t engine_number(const struct json_want *w, int64_t max);
/* Decodes a string of at most `max` bytes into `room`; the JSON reader has seen to UTF-8. Empty: none, too long, or unclean. */
struct str engine_decode(const struct json_want *w, char *room, size_t max);

#endif
