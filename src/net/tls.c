/* tls.c - OpenSSL on a non-blocking socket, client side.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <string.h>

#define SESSIONS 64

/* A session to resume, by name of the server. */
struct session {
	char *name;
	SSL_SESSION *session;
};

struct tls_client {
	SSL_CTX *ctx;
	struct session sessions[SESSIONS]; /* a ring: the oldest is overwritten */
	unsigned next;
};

struct tls {
	SSL *ssl;
	struct tls_client *client;
	char *name;
	const char *why;
};

static struct session *find_session(struct tls_client *c, const char *name)
{
	for (unsigned i = 0; i < SESSIONS; i++)
		if (c->sessions[i].name && strcmp(c->sessions[i].name, name) == 0)
			return &c->sessions[i];
	return NULL;
}

/* OpenSSL gives us the reference when we return 1. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *t = SSL_get_app_data(ssl);
	struct session *slot = find_session(t->client, t->name);
	if (!slot) {
		slot = &t->client->sessions[t->client->next++ % SESSIONS];
		free(slot->name);
		slot->name = mem_str(str_from(t->name));
	}
	SSL_SESSION_free(slot->session);
	slot->session = session;
	return 1;
}

struct tls_client *tls_client_new(const char *ca_file, const char **why)
{
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx) {
		*why = "cannot start OpenSSL";
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	SSL_CTX_set_default_verify_paths(ctx);
	if (ca_file && SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1) {
		SSL_CTX_free(ctx);
		*why = "cannot read the CA file";
		return NULL;
	}
	struct tls_client *c = mem_zero(sizeof(*c));
	c->ctx = ctx;
	return c;
}

void tls_client_free(struct tls_client *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < SESSIONS; i++) {
		free(c->sessions[i].name);
		SSL_SESSION_free(c->sessions[i].session);
	}
	SSL_CTX_free(c->ctx);
	free(c);
}

/* The certificate must name the host: as a DNS name, or as an address where the host is one. SNI takes only names. */
static void expect_name(SSL *ssl, const char *name)
{
	unsigned char address[16];
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
		X509_VERIFY_PARAM_set1_ip_asc(param, name);
		return;
	}
	SSL_set_tlsext_host_name(ssl, name);
	SSL_set1_host(ssl, name);
}

struct tls *tls_new(struct tls_client *c, int fd, const char *name)
{
	struct tls *t = mem_zero(sizeof(*t));
	t->client = c;
	t->name = mem_str(str_from(name));
	t->why = "TLS failed";
	t->ssl = SSL_new(c->ctx);
	if (!t->ssl)
		abort();
	SSL_set_app_data(t->ssl, t);
	SSL_set_fd(t->ssl, fd);
	expect_name(t->ssl, name);
	struct session *known = find_session(c, name);
	if (known && known->session)
		SSL_set_session(t->ssl, known->session);
	SSL_set_connect_state(t->ssl);
	return t;
}

void tls_free(struct tls *t)
{
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN); /* keeps the session resumable; the socket closes anyway */
	SSL_free(t->ssl);
	free(t->name);
	free(t);
}

static enum tls_result failed(struct tls *t)
{
	long verify = SSL_get_verify_result(t->ssl);
	if (verify != X509_V_OK) {
		t->why = X509_verify_cert_error_string(verify);
	} else {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());
		t->why = reason ? reason : "TLS connection broke";
	}
	ERR_clear_error();
	return TLS_FAILED;
}

static enum tls_result result_of(struct tls *t, int rc)
{
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_NONE:
		return TLS_DONE;
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		return failed(t);
	}
}

enum tls_result tls_handshake(struct tls *t)
{
	ERR_clear_error();
	return result_of(t, SSL_do_handshake(t->ssl));
}

enum tls_result tls_read(struct tls *t, void *into, size_t size, size_t *got)
{
	ERR_clear_error();
	return result_of(t, SSL_read_ex(t->ssl, into, size, got) == 1 ? 1 : 0);
}

enum tls_result tls_write(struct tls *t, const void *from, size_t size, size_t *sent)
{
	ERR_clear_error();
	return result_of(t, SSL_write_ex(t->ssl, from, size, sent) == 1 ? 1 : 0);
}

bool tls_pending(const struct tls *t)
{
	return SSL_pending(t->ssl) > 0;
}

const char *tls_why(const struct tls *t)
{
	return t->why;
}
