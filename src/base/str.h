/* str.h - borrowed views of bytes.
 *
 * A `struct str` never owns and need not end in NUL; whoever made it says how long the bytes live. Passed by value.
 * No function here allocates, blocks or touches shared state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_BASE_STR_H
#define VALET_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *ptr;
	size_t len;
};

/* A view of a string literal, as an expression and as an initialiser. */
#define STR(literal)      ((struct str){(literal), sizeof(literal) - 1})
#define STR_INIT(literal) {(literal), sizeof(literal) - 1}
#define STR_NONE          ((struct str){NULL, 0})

/* For printf: "%.*s" takes STR_ARG(s). */
#define STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct str str_of(const char *ptr, size_t len)
{
	return (struct str){ptr, len};
}

/* A view of a NUL-terminated string; NULL gives the empty view. */
static inline struct str str_from(const char *cstr)
{
	return (struct str){cstr, cstr ? strlen(cstr) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool str_ieq_bytes(struct str a, struct str b); /* of one length */
/* Equal when ASCII letters are compared without case. */
static inline bool str_ieq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || (((a.ptr[0] ^ b.ptr[0]) & ~0x20) == 0 && str_ieq_bytes(a, b)));
}
bool str_starts(struct str s, struct str prefix);
bool str_istarts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Offset of the first `c` or of the first `needle`; s.len where there is none. */
size_t str_find(struct str s, char c);
size_t str_search(struct str s, struct str needle);
struct str str_skip(struct str s, size_t n);            /* without the first n bytes (n may pass the end) */
struct str str_head(struct str s, size_t n);            /* the first n bytes (n may pass the end) */
struct str str_trim(struct str s);                      /* without spaces and tabs, CR and LF at both ends */
/* Cuts `*rest` at the first `sep`: returns what stands before it and leaves what stands after it. False at the end. */
bool str_split(struct str *rest, char sep, struct str *part);
/* Decimal digits with an optional minus, nothing else. False (and *out untouched) on anything else or on overflow. */
bool str_to_i64(struct str s, int64_t *out);
/* True if `s` matches `pattern`, in which '*' stands for any run of bytes and '?' for one byte. Linear in practice:
 * backtracks only to the last star. */
bool str_glob(struct str pattern, struct str s);
/* Number of single-byte edits between a and b, compared without case; stops counting above `limit` and returns limit + 1. */
size_t str_distance(struct str a, struct str b, size_t limit);

#endif
