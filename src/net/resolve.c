/* resolve.c - addresses and names; getaddrinfo runs on libuv's threads, one at a time for a name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/resolve.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>

#define KEEP_MS 30000

/* What is known of a name; lives as long as the loop (the names are those of configured targets). */
struct known {
	struct list link;
	char *host;
	struct addresses addresses; /* ports are 0 */
	int64_t until_ms;
	struct list waiting; /* of struct resolve; a look-up is under way while it is not empty */
	uv_getaddrinfo_t request;
	bool busy;
};

struct resolver {
	struct list names; /* of struct known */
};

bool address_parse(struct str host, uint16_t port, union address *out)
{
	char text[64];
	if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		host = str_of(host.ptr + 1, host.len - 2);
	if (host.len == 0 || host.len >= sizeof(text))
		return false;
	memcpy(text, host.ptr, host.len);
	text[host.len] = 0;
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) != 1)
		return false;
	out->v6.sin6_family = AF_INET6;
	out->v6.sin6_port = htons(port);
	return true;
}

bool address_split(struct str text, struct str *host, uint16_t *port)
{
	size_t colon = text.len;
	while (colon > 0 && text.ptr[colon - 1] != ':')
		colon--;
	struct str name = colon ? str_head(text, colon - 1) : STR("127.0.0.1");
	int64_t number;
	struct str digits = str_skip(text, colon);
	if (str_find(digits, '-') < digits.len || !str_to_i64(digits, &number) || number > 65535)
		return false;
	bool brackets = name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';
	if (!brackets && (str_find(name, ':') < name.len || str_find(name, '[') < name.len ||
			  str_find(name, ']') < name.len))
		return false; /* a bare v6 address (where would its port begin?) or half a bracketed one */
	*host = name.len ? name : STR("127.0.0.1");
	*port = (uint16_t)number;
	return true;
}

socklen_t address_len(const union address *a)
{
	return a->any.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

bool address_is_loopback(const union address *a)
{
	if (a->any.sa_family == AF_INET)
		return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}

void address_text(const union address *a, char *out, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "";
	if (a->any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->v6.sin6_addr, text, sizeof(text));
		snprintf(out, size, "[%s]:%u", text, ntohs(a->v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &a->v4.sin_addr, text, sizeof(text));
		snprintf(out, size, "%s:%u", text, ntohs(a->v4.sin_port));
	}
}

static struct known *known_of(struct loop *loop, struct str host)
{
	struct resolver *r = loop->resolver;
	if (!r) {
		r = loop->resolver = mem_zero(sizeof(*r));
		list_init(&r->names);
	}
	LIST_EACH(&r->names, at) {
		struct known *k = CONTAINER_OF(at, struct known, link);
		if (str_eq(str_from(k->host), host))
			return k;
	}
	struct known *k = mem_zero(sizeof(*k));
	k->host = mem_str(host);
	list_init(&k->waiting);
	list_push_back(&r->names, &k->link);
	return k;
}

static void answer(struct resolve *r, const struct addresses *known)
{
	struct addresses with_port = *known;
	for (unsigned i = 0; i < with_port.count; i++) { /* the port stands at the same place in both forms */
		with_port.list[i].v4.sin_port = htons(r->port);
	}
	r->done(r, &with_port);
}

static void take_addresses(struct known *k, const struct addrinfo *info)
{
	k->addresses.count = 0;
	for (; info && k->addresses.count < RESOLVE_MAX; info = info->ai_next)
		if (info->ai_addrlen <= sizeof(union address))
			memcpy(&k->addresses.list[k->addresses.count++], info->ai_addr, info->ai_addrlen);
}

static void on_info(uv_getaddrinfo_t *request, int status, struct addrinfo *info)
{
	struct known *k = CONTAINER_OF(request, struct known, request);
	k->busy = false;
	take_addresses(k, status == 0 ? info : NULL);
	uv_freeaddrinfo(info);
	k->until_ms = (int64_t)uv_now(request->loop) + (k->addresses.count ? KEEP_MS : 1000);
	while (!list_empty(&k->waiting)) {
		struct resolve *r = CONTAINER_OF(k->waiting.next, struct resolve, link);
		list_remove(&r->link);
		answer(r, &k->addresses);
	}
}

void resolve_start(struct loop *loop, struct resolve *r, struct str host, uint16_t port)
{
	struct addresses literal = {.count = 1};
	list_init(&r->link);
	r->port = port;
	if (address_parse(host, port, &literal.list[0])) {
		r->done(r, &literal);
		return;
	}
	struct known *k = known_of(loop, host);
	if (!k->busy && loop_now_ms(loop) < k->until_ms) {
		answer(r, &k->addresses);
		return;
	}
	list_push_back(&k->waiting, &r->link);
	if (k->busy)
		return;
	k->busy = true;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
	if (uv_getaddrinfo(&loop->uv, &k->request, on_info, k->host, NULL, &hints) != 0)
		on_info(&k->request, UV_EAI_FAIL, NULL);
}

void resolve_cancel(struct resolve *r)
{
	list_remove(&r->link);
}

void resolve_release(struct loop *loop)
{
	struct resolver *r = loop->resolver;
	if (!r)
		return;
	LIST_EACH(&r->names, at) {
		struct known *k = CONTAINER_OF(at, struct known, link);
		free(k->host);
		free(k);
	}
	free(r);
	loop->resolver = NULL;
}
