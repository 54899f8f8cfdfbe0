/* gzip.h - writes a gzip file that is small and becomes large: a text and a run of spaces behind
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_GZIP_H
#define SIM_GZIP_H

#include "base/buf.h"

/* Appends a gzip member that unpacks to `text` and `spaces` spaces. */
void gzip_with_spaces(struct buf *out, struct str text, uint64_t spaces);

#endif
