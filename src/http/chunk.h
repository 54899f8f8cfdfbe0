/* chunk.h - the chunked coding of HTTP/1.1: a strict decoder that works in place, and the frame around our own chunks.
 *
 * Sans-I/O. Refuses extensions, signs, spaces, bare LF and sizes over 15 hexadecimal digits; trailers are read and dropped (at most 8 KiB).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_CHUNK_H
#define VALET_HTTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chunk_decoder {
	uint64_t left;    /* bytes of the current chunk still to come */
	uint16_t trailer; /* bytes of trailers read */
	uint8_t state;    /* enum in chunk.c; 0 = at the beginning */
	uint8_t digits;
};

enum chunk_result { CHUNK_MORE, CHUNK_END, CHUNK_BAD };

/* Decodes bytes[0 .. *len) in place: the data of all chunks ends up contiguous; `*data` and `*data_len` say where (inside bytes).
 * `*used`: how many bytes were consumed (all, except at CHUNK_END where what follows belongs to the next message).
 * The first chunk's data is not moved, so at least 3 bytes ("1\r\n") stand before it in the same call, or it begins at bytes. */
enum chunk_result chunk_decode(struct chunk_decoder *d, char *bytes, size_t len, char **data, size_t *data_len, size_t *used);

#define CHUNK_HEADER_MAX 18 /* 16 digits, CR, LF */
/* Writes the line "size CR LF" so that it ends right before `end`; returns where it begins. */
char *chunk_header_before(char *end, uint64_t size);

#endif
