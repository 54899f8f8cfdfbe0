/* multipart.c - multipart/form-data; see multipart.h.
 *
 * Strict, because the engine behind us parses the same bytes again: a body that two parsers could
 * read differently (and so find different models in) is BAD. Linear: a delimiter begins with an LF
 * and has no other, so that what was compared in vain is never compared again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/multipart.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BOUNDARY_MAX     70
#define PART_HEADERS_MAX 16384

static bool is_alnum(char c)
{
	char lower = (char)(c | 0x20);
	return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z');
}

static bool is_token(char c)
{
	return is_alnum(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

/* ---- parameters of a header field: *( ";" name "=" value ) ---- */

static void skip_blanks(struct str *s)
{
	while (s->len > 0 && (s->ptr[0] == ' ' || s->ptr[0] == '\t'))
		*s = str_skip(*s, 1);
}

/* Cuts a quoted string; *inside views what stands between the quotes, escapes and all. */
static bool cut_quoted(struct str *s, struct str *inside)
{
	size_t i = 1;
	while (i < s->len && s->ptr[i] != '"')
		i += s->ptr[i] == '\\' ? 2 : 1;
	if (i >= s->len)
		return false;
	*inside = str_of(s->ptr + 1, i - 1);
	*s = str_skip(*s, i + 1);
	return true;
}

static bool cut_while(struct str *s, bool (*wanted)(char), struct str *part)
{
	size_t n = 0;
	while (n < s->len && wanted(s->ptr[n]))
		n++;
	*part = str_head(*s, n);
	*s = str_skip(*s, n);
	return n > 0;
}

/* An unquoted boundary often holds what is no token. */
static bool is_plain_value(char c)
{
	return is_token(c) || (c != 0 && strchr("()/:=?@,[]", c));
}

enum cut { CUT_ONE, CUT_END, CUT_BAD };

static enum cut cut_parameter(struct str *s, struct str *name, struct str *value)
{
	skip_blanks(s);
	if (s->len == 0)
		return CUT_END;
	if (s->ptr[0] != ';')
		return CUT_BAD;
	*s = str_skip(*s, 1);
	skip_blanks(s);
	if (s->len == 0)
		return CUT_END; /* a semicolon too many */
	if (!cut_while(s, is_token, name) || s->len == 0 || s->ptr[0] != '=')
		return CUT_BAD;
	*s = str_skip(*s, 1);
	bool quoted = s->len > 0 && s->ptr[0] == '"';
	return (quoted ? cut_quoted(s, value) : cut_while(s, is_plain_value, value)) ? CUT_ONE
										     : CUT_BAD;
}

/* ---- the boundary ---- */

static bool good_boundary(struct str b)
{
	if (b.len == 0 || b.len > BOUNDARY_MAX || b.ptr[b.len - 1] == ' ')
		return false;
	for (size_t i = 0; i < b.len; i++)
		if (!is_alnum(b.ptr[i]) && (b.ptr[i] == 0 || !strchr("'()+_,-./:=? ", b.ptr[i])))
			return false;
	return true;
}

struct str multipart_boundary(struct str content_type)
{
	struct str rest = str_trim(content_type), name, value, boundary = STR_NONE;
	if (!str_istarts(rest, STR("multipart/form-data")))
		return STR_NONE;
	rest = str_skip(rest, sizeof("multipart/form-data") - 1);
	for (;;) {
		enum cut cut = cut_parameter(&rest, &name, &value);
		if (cut == CUT_END)
			return boundary;
		if (cut == CUT_BAD)
			return STR_NONE;
		if (!str_ieq(name, STR("boundary")))
			continue;
		if (boundary.ptr || !good_boundary(value))
			return STR_NONE;
		boundary = value;
	}
}

/* ---- delimiters ---- */

/* The first "LF - -"; `end` where there is none. */
static const char *find_dashes(const char *at, const char *end)
{
#ifdef __SSE2__
	const __m128i lf = _mm_set1_epi8('\n'), dash = _mm_set1_epi8('-');
	for (; end - at >= 18; at += 16) {
		__m128i first =
			_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), lf);
		__m128i second = _mm_loadu_si128((const __m128i *)(const void *)(at + 1));
		__m128i third = _mm_loadu_si128((const __m128i *)(const void *)(at + 2));
		__m128i dashes =
			_mm_and_si128(_mm_cmpeq_epi8(second, dash), _mm_cmpeq_epi8(third, dash));
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_and_si128(first, dashes));
		if (mask)
			return at + __builtin_ctz(mask);
	}
#endif
	for (; end - at >= 3; at++)
		if (at[0] == '\n' && at[1] == '-' && at[2] == '-')
			return at;
	return end;
}

/* The LF of the first "LF - - boundary" from `at` on; NULL where there is none. */
static const char *find_delimiter(const char *at, const char *end, struct str boundary)
{
	for (; (at = find_dashes(at, end)) < end; at++)
		if ((size_t)(end - at) >= boundary.len + 3 &&
		    memcmp(at + 3, boundary.ptr, boundary.len) == 0)
			return at;
	return NULL;
}

/* ---- the headers of a part ---- */

struct part {
	struct str name;
	bool named; /* a Content-Disposition was read */
};

static bool take_disposition(struct part *p, struct str value)
{
	struct str kind, name, text;
	if (p->named || !cut_while(&value, is_token, &kind) || !str_ieq(kind, STR("form-data")))
		return false;
	for (;;) {
		enum cut cut = cut_parameter(&value, &name, &text);
		if (cut != CUT_ONE)
			return cut == CUT_END && p->named;
		if (str_ieq(name, STR("name*")))
			return false;
		if (!str_ieq(name, STR("name")))
			continue;
		/* parsers do not agree on escapes in names */
		if (p->named || str_find(text, '\\') < text.len)
			return false;
		p->name = text;
		p->named = true;
	}
}

/* Some parsers decode base64 or quoted-printable, others pass it on. */
static bool plain_encoding(struct str value)
{
	return str_ieq(value, STR("binary")) || str_ieq(value, STR("8bit")) ||
	       str_ieq(value, STR("7bit"));
}

static bool take_line(struct part *p, struct str line)
{
	struct str name;
	for (size_t i = 0; i < line.len; i++)
		if (line.ptr[i] == '\r' || line.ptr[i] == 0)
			return false;
	if (!cut_while(&line, is_token, &name) || line.len == 0 || line.ptr[0] != ':')
		return false; /* a folded line as well: it begins with a blank */
	struct str value = str_trim(str_skip(line, 1));
	if (str_ieq(name, STR("content-disposition")))
		return take_disposition(p, value);
	return !str_ieq(name, STR("content-transfer-encoding")) || plain_encoding(value);
}

/* Reads header lines up to the empty one; the part's content begins at the result. NULL: bad. */
static const char *take_headers(struct part *p, const char *at, const char *end)
{
	if (end - at > PART_HEADERS_MAX)
		end = at + PART_HEADERS_MAX;
	for (;;) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		if (!lf || lf == at || lf[-1] != '\r')
			return NULL;
		if (lf - at == 1)
			return p->named ? lf + 1 : NULL;
		if (!take_line(p, str_of(at, (size_t)(lf - 1 - at))))
			return NULL;
		at = lf + 1;
	}
}

/* ---- the body ---- */

struct found {
	struct str name, *value;
	unsigned times;
};

static void take_part(struct found *f, const struct part *p, struct str content)
{
	if (!str_eq(p->name, f->name))
		return;
	if (f->times == 0)
		*f->value = content;
	if (f->times < 2)
		f->times++;
}

/* The part that begins at *at, behind its delimiter line; *at goes behind the boundary of the next one. */
static bool walk_part(struct found *f, const char **at, const char *end, struct str boundary)
{
	struct part part = {.named = false};
	const char *content = take_headers(&part, *at, end);
	if (!content)
		return false;
	/* from the LF before the content on: a delimiter without its own CR LF is seen, and refused */
	const char *lf = find_delimiter(content - 1, end, boundary);
	if (!lf || lf[-1] != '\r' || lf - 1 < content)
		return false;
	take_part(f, &part, str_of(content, (size_t)(lf - 1 - content)));
	*at = lf + 3 + boundary.len;
	return true;
}

enum multipart_result multipart_find(struct str body, struct str boundary, struct str name,
				     struct str *value)
{
	struct found f = {.name = name, .value = value};
	const char *at = body.ptr, *end = body.ptr + body.len;
	if (!good_boundary(boundary) || body.len < boundary.len + 2 ||
	    !str_starts(body, STR("--")) || memcmp(at + 2, boundary.ptr, boundary.len) != 0)
		return MULTIPART_BAD;
	at += 2 + boundary.len;
	for (;;) {
		struct str rest = str_of(at, (size_t)(end - at));
		if (str_eq(rest, STR("--")) || str_eq(rest, STR("--\r\n")))
			break;
		if (!str_starts(rest, STR("\r\n")))
			return MULTIPART_BAD;
		at += 2;
		if (!walk_part(&f, &at, end, boundary))
			return MULTIPART_BAD;
	}
	return f.times == 0 ? MULTIPART_ABSENT : f.times == 1 ? MULTIPART_FOUND : MULTIPART_TWICE;
}
