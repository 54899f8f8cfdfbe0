/* url.c - URLs of targets and the paths clients ask for; see url.h.
 *
 * Strict: what two parsers could read differently is refused instead of guessed at.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/url.h"

#include "net/resolve.h"

#define HOST_MAX 253

static bool is_alnum(char c)
{
	char lower = (char)(c | 0x20);
	return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z');
}

static bool is_unreserved(char c)
{
	return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* No space, control, DEL or byte over ASCII: nothing that could end a line or a word of a
 * request. */
static bool all_visible(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		if (c <= ' ' || c >= 0x7f)
			return false;
	}
	return true;
}

/* ---- URLs of targets ---- */

static bool is_name(struct str host)
{
	for (size_t i = 0; i < host.len; i++)
		if (!is_unreserved(host.ptr[i]) || host.ptr[i] == '~')
			return false;
	return host.len > 0 && host.len <= HOST_MAX && host.ptr[0] != '.';
}

static bool is_v6(struct str host)
{
	union address unused;
	return str_find(host, ':') < host.len && host.ptr[0] != '[' &&
	       address_parse(host, 0, &unused);
}

static bool take_port(struct str digits, uint16_t *port)
{
	int64_t n;
	if (digits.len == 0 || digits.len > 5 || digits.ptr[0] == '-' || !str_to_i64(digits, &n))
		return false;
	if (n < 1 || n > 65535)
		return false;
	*port = (uint16_t)n;
	return true;
}

static const char *take_authority(struct str text, struct url *out)
{
	struct str host, rest;
	if (text.len > 0 && text.ptr[0] == '[') {
		size_t close = str_find(text, ']');
		if (close == text.len)
			return "an IPv6 address without its closing bracket";
		host = str_of(text.ptr + 1, close - 1);
		rest = str_skip(text, close + 1);
		if (!is_v6(host))
			return "not an IPv6 address between the brackets";
	} else {
		host = str_head(text, str_find(text, ':'));
		rest = str_skip(text, host.len);
		if (host.len == 0)
			return "no host";
		if (!is_name(host))
			return "a host that is neither a name nor an address";
	}
	out->host = host;
	out->authority = text;
	if (rest.len > 0 && (rest.ptr[0] != ':' || !take_port(str_skip(rest, 1), &out->port)))
		return "a port that is not a number from 1 to 65535";
	return NULL;
}

const char *url_parse(struct str text, struct url *out)
{
	*out = (struct url){0};
	if (!all_visible(text) || str_find(text, '\\') < text.len)
		return "a character that has no place in a URL";
	if (str_istarts(text, STR("https://")))
		out->https = true;
	else if (!str_istarts(text, STR("http://")))
		return "a URL begins with http:// or https://";
	out->port = out->https ? 443 : 80;
	struct str rest = str_skip(text, out->https ? 8 : 7);
	if (str_find(rest, '?') < rest.len)
		return "a base URL has no query";
	if (str_find(rest, '#') < rest.len)
		return "a base URL has no fragment";
	struct str authority = str_head(rest, str_find(rest, '/'));
	if (str_find(authority, '@') < authority.len)
		return "a user name or password does not belong in a URL";
	out->path = str_skip(rest, authority.len);
	while (str_ends(out->path, STR("/")))
		out->path.len--;
	return take_authority(authority, out);
}

/* ---- what clients ask for ---- */

/* Leaves the path of an absolute form; the authority in it decides nothing here. */
static bool cut_authority(struct str *target)
{
	size_t scheme = str_istarts(*target, STR("http://")) ? 7 : 8;
	if (scheme == 8 && !str_istarts(*target, STR("https://")))
		return false;
	struct str rest = str_skip(*target, scheme);
	size_t n = 0;
	while (n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?')
		n++;
	*target = str_skip(rest, n);
	return n > 0;
}

bool url_split_target(struct str target, struct str *path, struct str *query)
{
	if (target.len == 0 || !all_visible(target) || str_find(target, '#') < target.len)
		return false;
	if (target.ptr[0] != '/' && !cut_authority(&target))
		return false;
	*path = str_head(target, str_find(target, '?'));
	*query = str_skip(target, path->len + 1);
	if (path->len == 0)
		*path = STR("/");
	return true;
}

struct str url_query_get(struct str query, struct str name)
{
	struct str part;
	while (str_split(&query, '&', &part)) {
		size_t equals = str_find(part, '=');
		if (part.len > 0 && str_eq(str_head(part, equals), name))
			return str_skip(part, equals + 1);
	}
	return STR_NONE;
}

/* ---- escapes ---- */

bool url_decode(struct str s, struct buf *out)
{
	size_t before = out->len;
	while (s.len > 0) {
		size_t plain = str_find(s, '%');
		bool ok = buf_add(out, s.ptr, plain);
		s = str_skip(s, plain);
		if (ok && s.len > 0) {
			int high = s.len >= 3 ? hex_value(s.ptr[1]) : -1;
			int low = s.len >= 3 ? hex_value(s.ptr[2]) : -1;
			/* %00 is nobody's honest request and ends strings in programs behind us */
			ok = high >= 0 && low >= 0 && high + low > 0 &&
			     buf_addc(out, (char)(high << 4 | low));
			s = str_skip(s, 3);
		}
		if (!ok) {
			out->len = before;
			return false;
		}
	}
	return true;
}

bool url_encode(struct str s, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t before = out->len;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
		bool ok =
			is_unreserved(s.ptr[i]) ? buf_addc(out, s.ptr[i]) : buf_add(out, escape, 3);
		if (!ok) {
			out->len = before;
			return false;
		}
	}
	return true;
}

struct str url_host_name(struct str host)
{
	if (host.len && host.ptr[0] == '[')
		return str_head(host, str_find(host, ']') + 1);
	return str_head(host, str_find(host, ':'));
}
