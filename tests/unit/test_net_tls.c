/* test_net_tls.c - streams with TLS against a blocking OpenSSL server in a thread, with a certificate made on the spot.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "net/resolve.h"
#include "net/stream.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define RECORD 16000

static struct loop loop;

#define UNTIL(condition)                                                                       \
	do {                                                                                   \
		for (int64_t end_ = clock_mono_us() + 5000000; !(condition); loop_turn(&loop)) \
			if (clock_mono_us() > end_)                                            \
				fail_msg("never came true: %s", #condition);                   \
	} while (0)

static void turns(int n)
{
	for (; n > 0; n--, usleep(200))
		loop_turn(&loop);
}

/* ---- the server ---- */

enum mode { ECHOES, ONE_RECORD, HANGS_UP, CUTS };

static atomic_int mode, resumed, served, stopping;
static int listening;
static union address where;
static pthread_t thread;
static SSL_CTX *server_ctx;
static char ca_file[] = "/tmp/valet-test-ca-XXXXXX";

static void echo(SSL *ssl)
{
	char bytes[5000];
	for (int n; (n = SSL_read(ssl, bytes, sizeof(bytes))) > 0;)
		if (SSL_write(ssl, bytes, n) <= 0)
			return;
}

static void serve(SSL *ssl)
{
	char bytes[RECORD];
	if (SSL_accept(ssl) != 1)
		return;
	resumed += SSL_session_reused(ssl);
	served++;
	memset(bytes, 'r', sizeof(bytes));
	if (mode == ECHOES)
		echo(ssl);
	else
		SSL_write(ssl, bytes, mode == ONE_RECORD ? RECORD : 5);
	if (mode == ONE_RECORD)
		SSL_read(ssl, bytes, 1);
	if (mode == HANGS_UP)
		SSL_shutdown(ssl);
}

static void *run_server(void *arg)
{
	for (int fd; (fd = accept(listening, NULL, NULL)) >= 0; close(fd)) {
		struct timeval patience = {.tv_sec = 6}; /* a test that failed leaves its end open */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		SSL *ssl = SSL_new(server_ctx);
		SSL_set_fd(ssl, fd);
		if (!stopping)
			serve(ssl);
		SSL_free(ssl);
		if (stopping)
			break;
	}
	return NULL;
}

/* A certificate for localhost and 127.0.0.1 that is its own authority. */
static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	static const struct {
		int nid;
		const char *value;
	} extensions[] = {{NID_basic_constraints, "critical,CA:TRUE"},
			  {NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1"}};
	for (int i = 0; i < 2; i++) {
		X509_EXTENSION *e =
			X509V3_EXT_conf_nid(NULL, NULL, extensions[i].nid, extensions[i].value);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_sign(x, key, EVP_sha256());
	return x;
}

static int setup(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = make_certificate(key);
	FILE *file = fdopen(mkstemp(ca_file), "w");
	PEM_write_X509(file, certificate);
	fclose(file);
	server_ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(server_ctx, certificate);
	SSL_CTX_use_PrivateKey(server_ctx, key);
	SSL_CTX_set_session_id_context(server_ctx, (const unsigned char *)"t", 1);
	X509_free(certificate);
	EVP_PKEY_free(key);
	socklen_t len = sizeof(where);
	address_parse(STR("127.0.0.1"), 0, &where);
	listening = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listening, &where.any, address_len(&where)) != 0 || listen(listening, 8) != 0)
		return -1;
	getsockname(listening, &where.any, &len);
	loop_init(&loop);
	return pthread_create(&thread, NULL, run_server, NULL);
}

static int teardown(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	stopping = 1;
	connect(fd, &where.any, address_len(&where));
	pthread_join(thread, NULL);
	close(fd);
	close(listening);
	SSL_CTX_free(server_ctx);
	unlink(ca_file);
	loop_release(&loop);
	return 0;
}

/* ---- our end ---- */

static struct end {
	struct stream s;
	int connected, failed, closed, drained, ended;
	char why[100];
	size_t got, piece; /* piece: bytes of a read; one read an event */
	size_t pause_at;
	bool all_same;
} ours;

static struct end *end_of(struct stream *s)
{
	return CONTAINER_OF(s, struct end, s);
}

static void on_connected(struct stream *s)
{
	end_of(s)->connected++;
}

static void on_readable(struct stream *s)
{
	struct end *e = end_of(s);
	char bytes[RECORD];
	ssize_t n = stream_read(s, bytes, e->piece);
	if (n < 0) {
		e->ended = (int)n;
		stream_pause(s);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		e->all_same &= bytes[i] == 'r';
	e->got += (size_t)n;
	if (e->pause_at && e->got >= e->pause_at) {
		e->pause_at = 0;
		stream_pause(s);
	}
}

static void on_drained(struct stream *s)
{
	end_of(s)->drained++;
}

static void on_failed(struct stream *s, const char *why)
{
	end_of(s)->failed++;
	snprintf(end_of(s)->why, sizeof(end_of(s)->why), "%s", why);
}

static void on_closed(struct stream *s)
{
	end_of(s)->closed++;
}

static const struct stream_events events = {
	.connected = on_connected,
	.readable = on_readable,
	.drained = on_drained,
	.failed = on_failed,
	.closed = on_closed,
};

static void open_ours(struct tls_client *tls, enum mode m, const char *name)
{
	mode = m;
	memset(&ours, 0, sizeof(ours));
	ours.all_same = true;
	ours.piece = RECORD;
	assert_int_equal(
		stream_connect(&ours.s, &loop, &where.any, address_len(&where), tls, name, &events),
		0);
	UNTIL(ours.connected || ours.failed);
}

static void close_ours(void)
{
	stream_close(&ours.s, false);
	UNTIL(ours.closed);
}

static struct tls_client *client(bool trusts)
{
	const char *why = NULL;
	struct tls_client *c = tls_client_new(trusts ? ca_file : NULL, &why);
	assert_non_null(c);
	return c;
}

static void test_echo(void **state)
{
	static const char *const names[] = {"localhost", "127.0.0.1"};
	for (int i = 0; i < 2; i++) {
		struct tls_client *c = client(true);
		open_ours(c, ECHOES, names[i]);
		assert_int_equal(ours.connected, 1);
		struct iovec parts[2] = {{(char[]){"rrr"}, 3}, {(char[]){"rr"}, 2}};
		assert_true(stream_write(&ours.s, parts, 2));
		UNTIL(ours.got == 5);
		close_ours();
		tls_client_free(c);
	}
}

/* More than the sockets take, both ways at once. */
static void test_large(void **state)
{
	enum { SIZE = 20 << 20 };
	struct tls_client *c = client(true);
	char *bytes = mem_alloc(SIZE);
	memset(bytes, 'r', SIZE);
	open_ours(c, ECHOES, "localhost");
	struct iovec part = {bytes, SIZE};
	assert_true(stream_write(&ours.s, &part, 1));
	assert_true(stream_backlog(&ours.s) > STREAM_HIGH);
	assert_int_equal(ours.drained, 0);
	UNTIL(ours.got == SIZE);
	assert_true(ours.all_same);
	assert_int_equal(ours.drained, 1);
	assert_int_equal(stream_backlog(&ours.s), 0);
	close_ours();
	free(bytes);
	tls_client_free(c);
}

/* Bytes that are decrypted already come although the socket is empty: read by read, and after a pause. */
static void test_pieces_of_a_record(void **state)
{
	static const size_t pauses[] = {0, 100, 3000};
	struct tls_client *c = client(true);
	for (int i = 0; i < 3; i++) {
		open_ours(c, ONE_RECORD, "localhost");
		ours.piece = 100;
		ours.pause_at = pauses[i];
		UNTIL(ours.got >= (pauses[i] ? pauses[i] : RECORD));
		turns(20);
		if (pauses[i])
			assert_int_equal(ours.got, pauses[i]);
		stream_resume(&ours.s);
		UNTIL(ours.got == RECORD);
		assert_true(ours.all_same);
		turns(5);
		assert_false(ours.s.kicked); /* else the loop would spin */
		close_ours();
	}
	tls_client_free(c);
}

static void test_not_trusted(void **state)
{
	struct tls_client *c = client(false);
	open_ours(c, ECHOES, "localhost");
	assert_int_equal(ours.connected, 0);
	assert_non_null(strstr(ours.why, "certificate"));
	close_ours();
	tls_client_free(c);
}

static void test_wrong_name(void **state)
{
	static const char *const names[] = {"other.example", "127.0.0.2"};
	struct tls_client *c = client(true);
	for (int i = 0; i < 2; i++) {
		open_ours(c, ECHOES, names[i]);
		assert_int_equal(ours.connected, 0);
		assert_non_null(strstr(ours.why, "mismatch"));
		close_ours();
	}
	tls_client_free(c);
}

static void test_resumption(void **state)
{
	struct tls_client *c = client(true);
	resumed = 0;
	for (int i = 0; i < 3; i++) {
		int before = served;
		open_ours(c, ONE_RECORD, "localhost");
		UNTIL(ours.got == RECORD); /* the ticket came before */
		close_ours();
		assert_int_equal(served, before + 1);
	}
	assert_int_equal(resumed, 2);
	tls_client_free(c);
}

/* An end in order is one that TLS says; a bare end of the socket may be an attack. */
static void test_ends(void **state)
{
	struct tls_client *c = client(true);
	open_ours(c, HANGS_UP, "localhost");
	UNTIL(ours.ended);
	assert_int_equal(ours.ended, STREAM_EOF);
	assert_int_equal(ours.got, 5);
	close_ours();
	open_ours(c, CUTS, "localhost");
	UNTIL(ours.ended);
	assert_int_equal(ours.ended, STREAM_ERROR);
	assert_int_equal(ours.got, 5);
	close_ours();
	tls_client_free(c);
}

/* No SIGPIPE, and the end is told from the loop. */
static void test_write_to_the_dead(void **state)
{
	struct tls_client *c = client(true);
	open_ours(c, CUTS, "localhost");
	stream_pause(&ours.s);
	usleep(20000);
	struct iovec part = {(char[]){"x"}, 1};
	bool ok = true;
	for (int i = 0; i < 100 && ok; i++, usleep(1000))
		ok = stream_write(&ours.s, &part, 1);
	assert_false(ok);
	stream_resume(&ours.s);
	UNTIL(ours.ended || ours.failed);
	close_ours();
	tls_client_free(c);
}

static void test_bad_ca_file(void **state)
{
	const char *why = NULL;
	assert_null(tls_client_new("/nonexistent", &why));
	assert_non_null(why);
	tls_client_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_pieces_of_a_record),
		cmocka_unit_test(test_not_trusted),
		cmocka_unit_test(test_wrong_name),
		cmocka_unit_test(test_resumption),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_write_to_the_dead),
		cmocka_unit_test(test_bad_ca_file),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
