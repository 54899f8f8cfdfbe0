/* error.c - the table of error.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

const struct error_row error_rows[ERROR_COUNT] = {
	[ERROR_NONE] = {200, "", "", "", false, AGAIN_UNSAID, ""},
#define X(id, status, type, code, anthropic, elsewhere, again, text) \
	[ERROR_##id] = {status, type, code, anthropic, elsewhere, AGAIN_##again, text},
	ERRORS(X)
#undef X
};
