/* cloud_parts.h - what the files of cloud.h share: pieces of JSON as they are written, ids of tool calls, schemas of tools.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_DIALECT_CLOUD_PARTS_H
#define VALET_DIALECT_CLOUD_PARTS_H

#include "dialect/cloud.h"

/* The name of a member, as it stands between its quotes, with a comma before it where one is needed. */
static inline void cloud_put_name(struct buf *out, bool *comma, struct str name)
{
	if (*comma)
		buf_addc(out, ',');
	*comma = true;
	buf_addc(out, '"');
	buf_adds(out, name);
	BUF_ADD(out, "\":");
}

uint64_t cloud_hash(struct str bytes, uint64_t seed);
/* Nine letters and digits: the id itself where it is that already, else always the same ones for the same id. */
void cloud_put_id(struct buf *out, struct str id);
/* An id in OpenAI's manner for a call that was given none. */
void cloud_put_call_id(struct buf *out, uint64_t hash);

/* The list of tools with what no cloud wants in a schema left out; `picky`: and what Gemini refuses. */
void cloud_put_tools(struct buf *out, struct str tools, bool picky);

#endif
