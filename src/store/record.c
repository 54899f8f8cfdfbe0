/* record.c - see record.h. A record is the beginning of its struct as it is in memory, then each text behind a byte with its length.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include <stddef.h>

/* What is copied as it is must have no padding, or bytes that mean nothing would be written. */
#define BEGIN_BYTES  (offsetof(struct record_begin, id) + RECORD_ID)
#define SETTLE_BYTES (offsetof(struct record_settle, id) + RECORD_ID)
#define LEASE_BYTES  (offsetof(struct record_lease, period) + 1)
_Static_assert(BEGIN_BYTES == 4 * 8 + 4 + RECORD_ID, "padding in record_begin");
_Static_assert(SETTLE_BYTES == 10 * 8 + 4 * 4 + 2 + 2 + 4 + RECORD_ID, "padding in record_settle");
_Static_assert(LEASE_BYTES == 2 * 8 + 4 + 2, "padding in record_lease");
_Static_assert(SETTLE_BYTES + 4 * (1 + RECORD_TEXT) <= RECORD_MAX, "RECORD_MAX is too small");
_Static_assert(RECORD_TEXT <= UINT8_MAX, "the length of a text is one byte");

const char *const source_names[SOURCE_COUNT + 1] = {"none", "upstream", "counted", "estimated", "aborted", NULL};

/* Cut where no character is torn apart. */
static size_t text_bytes(struct str text)
{
	if (text.len <= RECORD_TEXT)
		return text.len;
	size_t n = RECORD_TEXT;
	while (n > RECORD_TEXT - 3 && ((unsigned char)text.ptr[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static char *put_text(char *at, struct str text)
{
	size_t n = text_bytes(text);
	*at++ = (char)(unsigned char)n;
	if (n)
		memcpy(at, text.ptr, n);
	return at + n;
}

static bool get_text(struct str *rest, struct str *out)
{
	if (rest->len == 0)
		return false;
	size_t n = (unsigned char)rest->ptr[0];
	if (n > RECORD_TEXT || n > rest->len - 1)
		return false;
	*out = str_of(rest->ptr + 1, n);
	*rest = str_skip(*rest, n + 1);
	return true;
}

static bool get_fixed(struct str *rest, void *out, size_t n)
{
	if (rest->len < n)
		return false;
	memcpy(out, rest->ptr, n);
	*rest = str_skip(*rest, n);
	return true;
}

size_t record_put_begin(void *out, const struct record_begin *r)
{
	char *at = out;
	memcpy(at, r, BEGIN_BYTES);
	at = put_text(at + BEGIN_BYTES, r->model);
	at = put_text(at, r->target);
	at = put_text(at, r->op);
	return (size_t)(at - (char *)out);
}

size_t record_put_settle(void *out, const struct record_settle *r)
{
	char *at = out;
	memcpy(at, r, SETTLE_BYTES);
	at = put_text(at + SETTLE_BYTES, r->model);
	at = put_text(at, r->target);
	at = put_text(at, r->op);
	at = put_text(at, r->error);
	return (size_t)(at - (char *)out);
}

size_t record_put_lease(void *out, const struct record_lease *r)
{
	char *at = out;
	memcpy(at, r, LEASE_BYTES);
	at = put_text(at + LEASE_BYTES, r->pattern);
	return (size_t)(at - (char *)out);
}

bool record_get_begin(struct str bytes, struct record_begin *out)
{
	*out = (struct record_begin){0};
	return get_fixed(&bytes, out, BEGIN_BYTES) && get_text(&bytes, &out->model) && get_text(&bytes, &out->target) &&
	       get_text(&bytes, &out->op) && bytes.len == 0;
}

bool record_get_settle(struct str bytes, struct record_settle *out)
{
	*out = (struct record_settle){0};
	return get_fixed(&bytes, out, SETTLE_BYTES) && get_text(&bytes, &out->model) && get_text(&bytes, &out->target) &&
	       get_text(&bytes, &out->op) && get_text(&bytes, &out->error) && bytes.len == 0 && out->source < SOURCE_COUNT;
}

bool record_get_lease(struct str bytes, struct record_lease *out)
{
	*out = (struct record_lease){0};
	return get_fixed(&bytes, out, LEASE_BYTES) && get_text(&bytes, &out->pattern) && bytes.len == 0;
}
