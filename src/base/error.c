/* error.c - the table of error.h, and the object that an error is in JSON.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include "base/json.h"

const struct error_row error_rows[ERROR_COUNT] = {
	[ERROR_NONE] = {200, "", "", "", false, AGAIN_UNSAID, ""},
#define X(id, status, type, code, anthropic, elsewhere, again, text) \
	[ERROR_##id] = {status, type, code, anthropic, elsewhere, AGAIN_##again, text},
	ERRORS(X)
#undef X
};

void error_put(struct json_writer *w, struct str message, struct str type, struct str param, struct str code)
{
	json_put_key(w, STR("error"));
	json_open_object(w);
	json_member_str(w, STR("message"), message);
	json_member_str(w, STR("type"), type);
	json_member_str_or_null(w, STR("param"), param);
	json_member_str(w, STR("code"), code);
	json_close_object(w);
}
