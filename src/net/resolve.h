/* resolve.h - names to addresses, without blocking the loop; answers are kept for 30 s per loop.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_NET_RESOLVE_H
#define VALET_NET_RESOLVE_H

#include "base/str.h"
#include "net/loop.h"

#include <netinet/in.h>

#define RESOLVE_MAX 4

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct addresses {
	union address list[RESOLVE_MAX];
	unsigned count; /* 0: no such name */
};

/* Parses a numeric address ("127.0.0.1", "::1", "[::1]"). False if it is a name. */
bool address_parse(struct str host, uint16_t port, union address *out);
/* "HOST:PORT", "[v6]:PORT", ":PORT" or "PORT" (then `host` is set to 127.0.0.1). False on anything else. */
bool address_split(struct str text, struct str *host, uint16_t *port);
socklen_t address_len(const union address *a);
bool address_is_loopback(const union address *a);
void address_text(const union address *a, char *out, size_t size); /* "127.0.0.1:80" */

/* One look-up, embedded in its user. `done` may be called from within resolve_start() when the answer is known. */
struct resolve {
	struct list link;
	void (*done)(struct resolve *, const struct addresses *);
	uint16_t port;
};
void resolve_start(struct loop *loop, struct resolve *r, struct str host, uint16_t port);
void resolve_cancel(struct resolve *r); /* `done` will not be called; may be called at any time after resolve_start() */
void resolve_release(struct loop *loop);

#endif
