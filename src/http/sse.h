/* sse.h - server-sent events: finds the ends of events in a stream of bytes, at any split. Sans-I/O.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_SSE_H
#define VALET_HTTP_SSE_H

#include "base/str.h"

/* Looks for the end of the first event in `bytes` (LF LF, CR LF CR LF, CR CR, or a mix). Returns the length of the event with its blank line,
 * or 0 if it is not complete. */
size_t sse_event_length(struct str bytes);

/* Walks the lines of one complete event. Sets *name to the field ("data", "event"; empty for a comment) and *value to what stands
 * behind the colon without one leading space. False at the end. */
bool sse_next_line(struct str *event, struct str *name, struct str *value);
/* The data of an event that has exactly one data line (views into it); ptr NULL where there is none or more than one. */
struct str sse_data(struct str event);

#endif
