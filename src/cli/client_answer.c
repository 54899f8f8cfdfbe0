/* client_answer.c - the bytes of an HTTP answer to its status and body. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include "http/chunk.h"

struct head {
	int status;
	size_t begin;   /* of the body */
	int64_t length; /* -1: not told */
	bool chunked;
};

/* False: the head is not complete yet, or (status -1) is none. */
static bool read_head(struct str all, struct head *out)
{
	size_t end = str_search(all, STR("\r\n\r\n"));
	struct str rest = str_head(all, end), line;
	int64_t status = -1;
	*out = (struct head){.status = -1, .length = -1};
	if (end == all.len)
		return false;
	out->begin = end + 4;
	str_split(&rest, '\n', &line);
	if (str_starts(line, STR("HTTP/1.")) && str_to_i64(str_head(str_skip(line, 9), 3), &status) && status >= 100 && status <= 599)
		out->status = (int)status;
	while (str_split(&rest, '\n', &line)) {
		size_t colon = str_find(line, ':');
		struct str name = str_head(line, colon), value = str_trim(str_skip(line, colon + 1));
		if (str_ieq(name, STR("content-length")) && (!str_to_i64(value, &out->length) || out->length < 0))
			out->status = -1;
		if (str_ieq(name, STR("transfer-encoding")))
			out->chunked = str_ieq(value, STR("chunked"));
	}
	return true;
}

bool client_answer_whole(struct str all)
{
	struct head head;
	return read_head(all, &head) && head.length >= 0 && !head.chunked && all.len - head.begin >= (size_t)head.length;
}

int client_answer_take(struct buf *all, struct buf *out)
{
	struct head head;
	if (!read_head(buf_str(all), &head) || head.status < 0)
		return -1;
	char *body = all->ptr + head.begin;
	size_t len = all->len - head.begin, used;
	if (head.chunked) {
		struct chunk_decoder decoder = {0};
		if (chunk_decode(&decoder, body, len, &body, &len, &used) != CHUNK_END)
			return -1;
	} else if (head.length >= 0) {
		if (len < (size_t)head.length)
			return -1;
		len = (size_t)head.length;
	}
	return buf_add(out, body, len) ? head.status : -1;
}
