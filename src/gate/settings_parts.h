/* settings_parts.h - what the settings files share among themselves.
 *
 * Private to src/gate/settings*.c. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_SETTINGS_PARTS_H
#define VALET_GATE_SETTINGS_PARTS_H

#include "gate/settings.h"

/* "HOST:PORT", "[v6]:PORT", ":PORT" or "PORT", with a numeric host, "localhost" or "*". Views into
 * `text` or static. */
bool settings_listen_address(struct str text, struct settings_address *out);
/* "HOST" or "HOST:PORT". NULL, or static text that says what is wrong. */
const char *settings_engine_address(struct str text, struct settings_address *out);
/* True for names and addresses that never leave this host. */
bool settings_is_loopback(struct str host);

/* What no single field can tell: names that stand twice, names of nothing, what contradicts. Fills
 * in model_target.index. `tree`: for the places of what is wrong. */
void settings_check(struct settings *s, const struct json *tree, struct field_reader *r);

#endif
