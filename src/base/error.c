/* error.c - the table of error.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

const struct error_row error_rows[ERROR_COUNT] = {
	[ERROR_NONE] = {200, "", "", "", false, ""},
#define X(id, status, type, code, anthropic, elsewhere, text) \
	[ERROR_##id] = {status, type, code, anthropic, elsewhere, text},
	ERRORS(X)
#undef X
};
