/* json_write.c - the writer: JSON appended to a buf.
 *
 * Owns nothing; any thread, one at a time. A buf drops what is over its ceiling; its owner looks at
 * `over`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lex.h"

#include <assert.h>

/* ---- strings ---- */

static void put_control(struct buf *out, char c)
{
	static const char codes[] = "\b\f\n\r\t", letters[] = "bfnrt";
	static const char hex[] = "0123456789abcdef";
	const char *code = memchr(codes, c, sizeof(codes) - 1);
	char short_form[] = {'\\', code ? letters[code - codes] : c};
	char long_form[] = {'\\', 'u', '0', '0', hex[c >> 4 & 1], hex[c & 15]};
	if (code || c == '"' || c == '\\')
		buf_add(out, short_form, sizeof(short_form));
	else
		buf_add(out, long_form, sizeof(long_form));
}

/* Text that is valid UTF-8 throughout. */
static void put_valid(struct buf *out, struct str s)
{
	for (;;) {
		size_t run = (size_t)(json_lex_special(s.ptr, s.ptr + s.len) - s.ptr);
		buf_adds(out, str_head(s, run));
		if (run == s.len)
			return;
		put_control(out, s.ptr[run]);
		s = str_skip(s, run + 1);
	}
}

void json_quote(struct buf *out, struct str s)
{
	buf_addc(out, '"');
	while (s.len) {
		size_t valid = (size_t)(json_lex_utf8(s.ptr, s.ptr + s.len) - s.ptr);
		put_valid(out, str_head(s, valid));
		if (valid == s.len)
			break;
		BUF_ADD(out, "\xef\xbf\xbd");
		s = str_skip(s, valid + 1);
	}
	buf_addc(out, '"');
}

/* ---- structure ---- */

void json_writer_init(struct json_writer *w, struct buf *out)
{
	*w = (struct json_writer){.out = out};
}

/* The comma that a value or a member needs before it. */
static void next_item(struct json_writer *w)
{
	uint64_t bit = UINT64_C(1) << w->depth;
	if (w->after_key)
		w->after_key = false;
	else if (w->comma & bit)
		buf_addc(w->out, ',');
	w->comma |= bit;
}

static void open_bracket(struct json_writer *w, char bracket)
{
	assert(w->depth < 63);
	next_item(w);
	buf_addc(w->out, bracket);
	w->depth++;
	w->comma &= ~(UINT64_C(1) << w->depth);
}

static void close_bracket(struct json_writer *w, char bracket)
{
	assert(w->depth > 0 && !w->after_key);
	w->depth--;
	buf_addc(w->out, bracket);
}

void json_open_object(struct json_writer *w)
{
	open_bracket(w, '{');
}

void json_close_object(struct json_writer *w)
{
	close_bracket(w, '}');
}

void json_open_array(struct json_writer *w)
{
	open_bracket(w, '[');
}

void json_close_array(struct json_writer *w)
{
	close_bracket(w, ']');
}

void json_put_key(struct json_writer *w, struct str key)
{
	assert(w->depth > 0 && !w->after_key);
	next_item(w);
	json_quote(w->out, key);
	buf_addc(w->out, ':');
	w->after_key = true;
}

/* ---- values ---- */

void json_put_str(struct json_writer *w, struct str s)
{
	next_item(w);
	json_quote(w->out, s);
}

void json_put_i64(struct json_writer *w, int64_t n)
{
	next_item(w);
	if (n < 0)
		buf_addc(w->out, '-');
	buf_addu(w->out, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

void json_put_bool(struct json_writer *w, bool b)
{
	next_item(w);
	buf_adds(w->out, b ? STR("true") : STR("false"));
}

void json_put_null(struct json_writer *w)
{
	next_item(w);
	BUF_ADD(w->out, "null");
}

void json_put_raw(struct json_writer *w, struct str json)
{
	next_item(w);
	buf_adds(w->out, json);
}

void json_member_str(struct json_writer *w, struct str key, struct str value)
{
	json_put_key(w, key);
	json_put_str(w, value);
}

void json_member_str_or_null(struct json_writer *w, struct str key, struct str value)
{
	json_put_key(w, key);
	if (value.len)
		json_put_str(w, value);
	else
		json_put_null(w);
}

void json_member_i64_or_null(struct json_writer *w, struct str key, bool known, int64_t value)
{
	json_put_key(w, key);
	if (known)
		json_put_i64(w, value);
	else
		json_put_null(w);
}

void json_member_i64(struct json_writer *w, struct str key, int64_t value)
{
	json_put_key(w, key);
	json_put_i64(w, value);
}

void json_member_bool(struct json_writer *w, struct str key, bool value)
{
	json_put_key(w, key);
	json_put_bool(w, value);
}
