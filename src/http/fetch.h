/* fetch.h - one small HTTP request for the control thread: probes, discovery. Whole answers up to a
 * ceiling, one time-out for all.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_FETCH_H
#define VALET_HTTP_FETCH_H

#include "base/buf.h"
#include "http/client.h"
#include "http/url.h"

struct fetch {
	struct origin origin;
	struct upstream *upstream; /* NULL once over */
	struct timer timer;
	struct buf body;           /* of the answer */
	struct buf type;           /* its Content-Type */
	struct buf server;         /* its Server */
	int status;                /* 0: no answer; `why` says */
	const char *why;           /* static text; NULL where there is a status */
	void (*done)(struct fetch *); /* called once, never from inside fetch_start(); fetch_free() may be called in it */
	void *user;                /* the caller's; set it before or after fetch_start() */
	char *host;                /* what origin.host views */
};

/* GET, or POST with `body` where it is not empty: JSON, unless `fields` begins with another "content-type:". `url`:
 * "http://host:port" or with a base path; `path` is appended. `fields`: more lines "name: value\r\n" (a secret's
 * Authorization …). `tls` may be NULL (then https fails with a reason). A body over `max_body` bytes is no answer
 * ("answer too large"). All is copied. `f` is zeroed memory (mem_zero()); it stays in use until fetch_free(). */
void fetch_start(struct fetch *f, struct loop *loop, struct tls_client *tls, const struct url *url, struct str path,
		 struct str fields, struct str body, int64_t timeout_ms, size_t max_body, void (*done)(struct fetch *));
/* Gives up or cleans up; `done` is not called any more. Frees `f`, at the latest at the end of the loop's turn. */
void fetch_free(struct fetch *f);

#endif
