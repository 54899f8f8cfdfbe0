/* chunk.c - see chunk.h. A small state machine over the framing bytes; data is skipped in one step.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/chunk.h"

#include <string.h>

#define TRAILER_MAX 8192
#define DIGITS_MAX  15

enum state {
	SIZE_FIRST, SIZE, SIZE_LF, DATA, DATA_CR, DATA_LF,
	TRAILER_FIRST, TRAILER, TRAILER_LF, LAST_LF, ENDED, BAD,
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum state size_digit(struct chunk_decoder *d, char c)
{
	int value = hex_value(c);
	if (value >= 0 && ++d->digits <= DIGITS_MAX) {
		d->left = d->left << 4 | (unsigned)value;
		return SIZE;
	}
	return c == '\r' && value < 0 && d->digits > 0 ? SIZE_LF : BAD;
}

static enum state trailer_byte(struct chunk_decoder *d, char c)
{
	if (++d->trailer > TRAILER_MAX || c == '\n' || c == 0)
		return BAD;
	return c == '\r' ? TRAILER_LF : TRAILER;
}

/* One byte of framing: every state but DATA. */
static enum state frame_byte(struct chunk_decoder *d, char c)
{
	switch ((enum state)d->state) {
	case SIZE_FIRST:
		d->left = 0;
		d->digits = 0;
		return hex_value(c) >= 0 ? size_digit(d, c) : BAD;
	case SIZE:
		return size_digit(d, c);
	case SIZE_LF:
		return c != '\n' ? BAD : d->left ? DATA : TRAILER_FIRST;
	case DATA_CR:
		return c == '\r' ? DATA_LF : BAD;
	case DATA_LF:
		return c == '\n' ? SIZE_FIRST : BAD;
	case TRAILER_FIRST:
		return c == '\r' ? LAST_LF : trailer_byte(d, c);
	case TRAILER:
		return trailer_byte(d, c);
	case TRAILER_LF:
		return c == '\n' ? TRAILER_FIRST : BAD;
	case LAST_LF:
		return c == '\n' ? ENDED : BAD;
	default:
		return BAD;
	}
}

/* The data at `at` joins what was decoded before it in this call. */
static void take_data(char **data, size_t *data_len, char *at, size_t n)
{
	if (*data_len == 0)
		*data = at;
	else if (*data + *data_len != at)
		memmove(*data + *data_len, at, n);
	*data_len += n;
}

enum chunk_result chunk_decode(struct chunk_decoder *d, char *bytes, size_t len, char **data, size_t *data_len, size_t *used)
{
	char *at = bytes, *end = bytes + len;
	*data = bytes;
	*data_len = 0;
	while (at < end && d->state < ENDED) {
		if (d->state != DATA) {
			d->state = (uint8_t)frame_byte(d, *at++);
			continue;
		}
		size_t n = (size_t)(end - at) < d->left ? (size_t)(end - at) : (size_t)d->left;
		take_data(data, data_len, at, n);
		at += n;
		d->left -= n;
		if (d->left == 0)
			d->state = DATA_CR;
	}
	*used = (size_t)(at - bytes);
	return d->state == BAD ? CHUNK_BAD : d->state == ENDED ? CHUNK_END : CHUNK_MORE;
}

char *chunk_header_before(char *end, uint64_t size)
{
	*--end = '\n';
	*--end = '\r';
	do {
		*--end = "0123456789abcdef"[size & 15];
		size >>= 4;
	} while (size);
	return end;
}
