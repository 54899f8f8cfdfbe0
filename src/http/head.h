/* head.h - the head of an HTTP/1.1 message: parsed by llhttp, checked more strictly than it does, kept as offsets.
 *
 * Sans-I/O: bytes in, facts out, any split. The bytes of a head stand contiguously in a slab, which is borrowed from a pool of the
 * loop while a head is being read and for as long as its owner needs its fields; an idle connection holds none.
 * Refused as ambiguous (400): bare CR or LF, NUL, folded lines, spaces before a colon, more than one Content-Length or Host, both
 * Content-Length and Transfer-Encoding, any coding but exactly "chunked", HTTP versions other than 1.0 and 1.1.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_HEAD_H
#define VALET_HTTP_HEAD_H

#include "base/str.h"
#include "net/loop.h"

#define HTTP_MAX_FIELDS 128
#define HTTP_MAX_HEAD   (32 * 1024) /* bytes of a whole head */
#define HTTP_MAX_URL    (8 * 1024)
#define HTTP_SLAB_BYTES (8 * 1024 - 512)
#define HTTP_SLAB_ROOM  64          /* writable bytes before `bytes` and behind `cap` */
#define HTTP_SLAB_SPARE 4096        /* bytes that fit behind the largest head */
#define HTTP_SLAB_LARGE (HTTP_MAX_HEAD + HTTP_SLAB_SPARE)

enum http_method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_PATCH, METHOD_DELETE, METHOD_OPTIONS, METHOD_OTHER };
const char *http_method_name(enum http_method m);

struct http_field {
	uint32_t name_at, value_at; /* from the beginning of the head */
	uint16_t name_len, value_len;
};

/* What a head says. Views into the slab's bytes are got with the functions below. */
struct http_head {
	const char *base;      /* the first byte of the head */
	struct http_field *fields;
	uint32_t field_count;
	uint32_t size;         /* bytes of the head, the empty line included */
	int64_t content_length; /* -1: none given */
	uint32_t url_at, url_len; /* request */
	uint16_t status;       /* answer */
	uint8_t method;        /* request: enum http_method */
	uint8_t minor;         /* HTTP/1.minor */
	bool chunked;
	bool keep_alive;       /* as the version and Connection say */
	bool expect_continue;
};

/* Lines that a head may hold are at most HTTP_MAX_FIELDS. */
struct http_slab {
	struct http_slab *next;   /* in the pool */
	struct http_head head;
	struct http_field fields[HTTP_MAX_FIELDS];
	void *parser;             /* llhttp's state while a head is being read */
	char *bytes;              /* what has been read: `len` of `cap` */
	size_t len, cap;
	size_t fed;               /* bytes given to llhttp */
	char own[HTTP_SLAB_ROOM + HTTP_SLAB_BYTES + HTTP_SLAB_ROOM];
};

/* Takes a slab from the loop's pool / gives it back. */
struct http_slab *http_slab_take(struct loop *loop);
void http_slab_give(struct loop *loop, struct http_slab *slab);
/* Makes room for more bytes up to HTTP_MAX_HEAD; false if the head has reached it. */
bool http_slab_room(struct http_slab *slab);
/* Makes sure that HTTP_SLAB_SPARE bytes fit behind the first `used` ones, a head's. The bytes may move (views do not hold). */
void http_slab_spare(struct http_slab *slab, size_t used);
void http_slabs_release(struct loop *loop);

enum http_parse {
	HTTP_PARSE_MORE,     /* the head is not complete */
	HTTP_PARSE_DONE,     /* slab->head is set; what stands after head.size belongs to the body */
	HTTP_PARSE_BAD,      /* 400: not HTTP, or ambiguous */
	HTTP_PARSE_TOO_LARGE, /* 431 */
	HTTP_PARSE_URL_TOO_LONG, /* 414 */
};
/* Parses slab->bytes[slab->fed .. slab->len). `request`: else an answer. `*why`: static text, for BAD. */
enum http_parse http_head_parse(struct http_slab *slab, bool request, const char **why);
/* Starts anew on the same slab, with the bytes from `at` on moved to the front. */
void http_slab_restart(struct http_slab *slab, size_t at);

struct str http_head_url(const struct http_head *h);
struct str http_field_name(const struct http_head *h, const struct http_field *f);
struct str http_field_value(const struct http_head *h, const struct http_field *f);
/* The first field called `name` (any case), trimmed; ptr NULL where there is none. */
struct str http_head_get(const struct http_head *h, struct str name);
/* True if the comma-separated value holds the token (any case). */
bool http_has_token(struct str value, struct str token);
/* "OK", "Not Found"; "Unknown" for the rest. */
const char *http_reason(int status);
/* The credential of a request: behind "Bearer" in Authorization, else x-api-key; empty: none. */
struct str http_head_credential(const struct http_head *h);

#endif
