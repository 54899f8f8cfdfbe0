/* fuzz_url.c - URLs, targets, queries and escapes: what is taken can be put together again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "http/url.h"

#include <stdlib.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool clean(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] <= ' ' || (unsigned char)s.ptr[i] >= 0x7f)
			return false;
	return true;
}

static void check_url(struct str text)
{
	struct url url, again;
	struct buf b;
	if (url_parse(text, &url))
		return;
	REQUIRE(url.host.len > 0 && url.port > 0 && clean(url.host) && clean(url.authority) &&
		clean(url.path));
	REQUIRE(str_find(url.authority, '@') == url.authority.len);
	REQUIRE(url.path.len == 0 || (url.path.ptr[0] == '/' && !str_ends(url.path, STR("/"))));
	buf_init(&b, SIZE_MAX / 2);
	buf_adds(&b, url.https ? STR("https://") : STR("http://"));
	buf_adds(&b, url.authority);
	buf_adds(&b, url.path);
	REQUIRE(url_parse(buf_str(&b), &again) == NULL);
	REQUIRE(str_eq(again.host, url.host) && again.port == url.port && again.https == url.https);
	REQUIRE(str_eq(again.path, url.path));
	buf_release(&b);
}

static void check_target(struct str text)
{
	struct str path, query;
	if (!url_split_target(text, &path, &query))
		return;
	REQUIRE(path.len > 0 && path.ptr[0] == '/' && clean(path) && clean(query));
	REQUIRE(str_find(path, '?') == path.len);
	struct str value = url_query_get(query, STR("a"));
	REQUIRE(!value.ptr ||
		(value.ptr >= query.ptr && value.ptr + value.len <= query.ptr + query.len));
	REQUIRE(!value.ptr || str_find(value, '&') == value.len);
}

static void check_escapes(struct str text)
{
	struct buf encoded, decoded;
	buf_init(&encoded, SIZE_MAX / 2);
	buf_init(&decoded, SIZE_MAX / 2);
	REQUIRE(url_encode(text, &encoded));
	REQUIRE(clean(buf_str(&encoded)));
	bool ok = url_decode(buf_str(&encoded), &decoded);
	REQUIRE(ok == (str_find(text, 0) == text.len));
	REQUIRE(!ok || str_eq(buf_str(&decoded), text));
	buf_clear(&decoded);
	if (url_decode(text, &decoded))
		REQUIRE(decoded.len <= text.len);
	else
		REQUIRE(decoded.len == 0);
	buf_release(&encoded);
	buf_release(&decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = str_of((const char *)data, size);
	check_url(text);
	check_target(text);
	check_escapes(text);
	return 0;
}
