/* url.h - http and https URLs of targets, and the paths that clients ask for. No allocation.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_URL_H
#define VALET_HTTP_URL_H

#include "base/buf.h"
#include "base/str.h"

/* Views into the parsed text. */
struct url {
	bool https;
	struct str host;      /* without brackets */
	uint16_t port;        /* 80 or 443 where none was given */
	struct str authority; /* as written: host[:port] */
	struct str path;      /* base path without a trailing slash; empty for "/" */
};

/* NULL, or static text that says what is wrong. User names and passwords, queries and fragments are refused. */
const char *url_parse(struct str text, struct url *out);

/* Splits a request target ("/v1/models?x=1", or absolute form "http://host/path") into path and query. False: not a path. */
bool url_split_target(struct str target, struct str *path, struct str *query);
/* The name in a Host field: without the port, an IPv6 address with its brackets. */
struct str url_host_name(struct str host);
/* The value of `name` in a query, still encoded; ptr NULL where there is none. */
struct str url_query_get(struct str query, struct str name);
/* Appends `s` with %XX decoded exactly once. False: bad escape or over the ceiling. */
bool url_decode(struct str s, struct buf *out);
/* Appends `s` with everything but unreserved characters encoded. */
bool url_encode(struct str s, struct buf *out);

#endif
