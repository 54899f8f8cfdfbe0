/* secret.h - a credential of ours at a target: bytes that no logger, error or JSON writer takes.
 *
 * Only secret_view() gives the bytes away; it is for the one place that writes them into a request.
 * An empty secret means "off": nothing is sent. Not thread-safe to change; any thread may view one
 * that no longer changes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_SECRET_H
#define VALET_BASE_SECRET_H

#include "base/buf.h"
#include "base/str.h"

/* Zeroed is a valid, empty secret. The members are for secret.c alone. */
struct secret {
	char *bytes; /* on the heap, wiped when released */
	size_t len;
};

#define SECRET_MAX_BYTES 8192

/* Keeps a copy of `bytes`; what was there before is wiped. */
void secret_set(struct secret *s, struct str bytes);

/* Fills `s` from "env:NAME" or "file:PATH"; a relative PATH begins at `folder` (empty: the working
 * directory). White space at both ends is dropped. False: nothing was read, and `why` says what was
 * expected; it never quotes what might be a secret written in the wrong place. An empty variable or
 * file gives an empty secret and true. Blocking (a file). */
bool secret_load(struct secret *s, struct str spec, struct str folder, struct buf *why)
	__attribute__((warn_unused_result));

/* The bytes, owned by the secret; for the one place that writes them into a request. */
struct str secret_view(const struct secret *s);
bool secret_is_off(const struct secret *s);

/* Compares in a time that depends on the lengths alone. */
bool secret_same(struct str a, struct str b);

/* Overwrites and frees; the secret is empty afterwards. */
void secret_release(struct secret *s);

#endif
