/* client.c - see client.h: finding the server, and one HTTP request.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include "admin/state.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TIMEOUT_S = 10, HEAD_MAX = 64 * 1024, PATIENCE = 20 };
#define ANSWER_MAX ((size_t)256 << 20)

/* ---- the connection ---- */

static int open_socket(const struct addrinfo *a)
{
	struct timeval limit = {TIMEOUT_S, 0};
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return fd;
	int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
	close(fd);
	errno = error;
	return -1;
}

/* A server that listens everywhere is reached at this machine's own address. */
static void leave_wildcard(union address *a)
{
	if (a->any.sa_family == AF_INET && a->v4.sin_addr.s_addr == htonl(INADDR_ANY))
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr))
		a->v6.sin6_addr = in6addr_loopback;
}

bool cli_find_address(struct cli_door *d, struct buf *why)
{
	struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	struct str text = str_from(d->text), host;
	uint16_t port;
	char name[256];
	if (str_istarts(text, STR("http://")))
		text = str_skip(text, 7);
	if (!address_split(text, &host, &port) || host.len >= sizeof(name)) {
		buf_addf(why, "--admin: expected HOST:PORT, found \"%s\"", d->text);
		return false;
	}
	if (!address_parse(host, port, &d->address)) {
		snprintf(name, sizeof(name), "%.*s", STR_ARG(host));
		int rc = getaddrinfo(name, NULL, &want, &found);
		if (rc != 0 || found->ai_addrlen > sizeof(d->address)) {
			buf_addf(why, "no address for \"%s\": %s", name, rc ? gai_strerror(rc) : "not an internet address");
			return false;
		}
		memcpy(&d->address, found->ai_addr, found->ai_addrlen);
		freeaddrinfo(found);
		if (d->address.any.sa_family == AF_INET)
			d->address.v4.sin_port = htons(port);
		else
			d->address.v6.sin6_port = htons(port);
	}
	leave_wildcard(&d->address);
	address_text(&d->address, d->name, sizeof(d->name));
	return true;
}

static int connect_to(const struct cli_door *d, struct buf *why)
{
	const struct addrinfo at = {
		.ai_family = d->address.any.sa_family,
		.ai_addr = (struct sockaddr *)(uintptr_t)&d->address.any,
		.ai_addrlen = address_len(&d->address),
	};
	int fd = open_socket(&at);
	if (fd < 0)
		buf_addf(why, "cannot reach the server's admin address %s: %s", d->text, strerror(errno));
	return fd;
}

static bool send_all(int fd, const struct buf *bytes)
{
	for (size_t at = 0; at < bytes->len;) {
		ssize_t n = send(fd, bytes->ptr + at, bytes->len - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* ---- the answer ---- */

/* Reads until the answer is whole or the server closes. errno 0: it closed. */
static bool receive(int fd, struct buf *all)
{
	for (;;) {
		if (!buf_reserve(all, 16384)) {
			errno = EFBIG;
			return false;
		}
		ssize_t n = recv(fd, all->ptr + all->len, all->cap - all->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		all->len += (size_t)n;
		if (n == 0)
			return true;
		if (client_answer_whole(buf_str(all)))
			return true;
	}
}

static const char *trouble_text(int error)
{
	return error == 0 ? "it closed the connection before the answer was whole"
	       : error == EAGAIN || error == EWOULDBLOCK ? "no answer within 10 seconds" : strerror(error);
}

void cli_wipe(struct buf *b)
{
	if (b->ptr)
		explicit_bzero(b->ptr, b->cap);
	buf_release(b);
}

static int exchange(const struct cli_door *d, const struct buf *request, struct buf *out)
{
	struct buf all;
	int fd = connect_to(d, out), status = -1;
	if (fd < 0)
		return -1;
	buf_init(&all, ANSWER_MAX);
	errno = 0;
	bool fine = send_all(fd, request) && receive(fd, &all);
	int error = fine ? 0 : errno;
	if (fine)
		status = client_answer_take(&all, out);
	if (status < 0)
		buf_addf(out, "the server at %s did not answer: %s", d->text, trouble_text(error));
	cli_wipe(&all);
	close(fd);
	return status;
}

static bool is_header_text(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
			return false;
	return true;
}

static int request_remote(const struct cli_door *d, const struct secret *secret, const char *method, struct str target, struct str body,
			  struct buf *out)
{
	struct buf request;
	struct str key = secret_view(secret);
	if (!is_header_text(key)) {
		BUF_ADD(out, "the admin secret has spaces or control characters; expected one word (look at $VALET_ADMIN_KEY)");
		return -1;
	}
	buf_init(&request, body.len + HEAD_MAX);
	buf_addf(&request, "%s %.*s HTTP/1.1\r\nhost: %s\r\nauthorization: Bearer %.*s\r\naccept: application/json\r\nconnection: close\r\n", method,
		 STR_ARG(target), d->name, STR_ARG(key));
	if (body.len || strcmp(method, "GET") != 0)
		buf_addf(&request, "content-type: application/json\r\ncontent-length: %zu\r\n", body.len);
	BUF_ADD(&request, "\r\n");
	buf_adds(&request, body);
	int status = exchange(d, &request, out);
	cli_wipe(&request);
	return status;
}

/* ---- which server ---- */

/* Fills d->text where a server is to be asked. False and a sentence: one runs, but cannot be, or nobody can tell. Whoever holds the folder without an
 * address may be a server that is starting, or a command that will be over soon. */
static bool find_server(const struct cli_place *p, const char *folder, struct cli_door *d, struct buf *why)
{
	const char *given = p->admin ? p->admin : getenv("VALET_ADMIN");
	struct buf announced;
	bool running = false;
	d->text[0] = 0;
	if (given && *given) {
		snprintf(d->text, sizeof(d->text), "%s", given);
		return true;
	}
	if (!state_can_look(folder, why))
		return false;
	buf_init(&announced, sizeof(d->text) - 1);
	for (int i = 0; i < PATIENCE && !d->text[0] && (i == 0 || running); i++) {
		if (i)
			usleep(100000);
		if (state_server(folder, &announced, &running))
			snprintf(d->text, sizeof(d->text), "%.*s", STR_ARG(buf_str(&announced)));
	}
	buf_release(&announced);
	if (!running || d->text[0])
		return true;
	buf_addf(why,
		 "a server runs on %s, but it has no admin listener (admin_listen: off); "
		 "expected one in its settings, or the server stopped",
		 folder);
	return false;
}

/* The secret of the folder stays on this machine: an address elsewhere needs $VALET_ADMIN_KEY. */
static bool find_secret(const struct cli_door *d, bool given, const char *folder, struct secret *out, struct buf *why)
{
	const char *key = getenv("VALET_ADMIN_KEY");
	if (given && !address_is_loopback(&d->address) && (!key || !*key)) {
		buf_addf(why, "%s is not on this machine; expected its admin secret in $VALET_ADMIN_KEY", d->text);
		return false;
	}
	return state_admin_key(folder, false, out, why);
}

static int ask_server(struct cli_door *d, bool given, const char *folder, const char *method, struct str target, struct str body,
		      struct buf *out)
{
	struct secret secret = {0};
	int status = -1;
	if (cli_find_address(d, out) && find_secret(d, given, folder, &secret, out))
		status = request_remote(d, &secret, method, target, body, out);
	secret_release(&secret);
	return status;
}

int cli_request(const struct cli_place *p, const char *method, struct str target, struct str body, struct buf *out)
{
	struct buf folder;
	struct cli_door door;
	const char *variable = getenv("VALET_ADMIN");
	bool given = p->admin || (variable && *variable);
	int status = -1;
	buf_init(&folder, CLI_PATH_MAX);
	if (!cli_folder(p, &folder)) {
		BUF_ADD(out, "--state: the path is too long");
	} else if (!find_server(p, folder.ptr, &door, out)) {
		status = -1;
	} else if (door.text[0]) {
		cli_take_zone(p);
		status = ask_server(&door, given, folder.ptr, method, target, body, out);
	} else {
		status = cli_request_local(p, folder.ptr, method, target, body, out);
	}
	buf_release(&folder);
	return status;
}
