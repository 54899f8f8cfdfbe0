/* tls.h - TLS towards upstreams: OpenSSL directly on the socket of a stream.
 *
 * The client context verifies against the system's CAs and checks the name; there is no way to switch that off. Sessions are
 * kept per context and name, so that the second connection resumes. One context per loop; not shared between threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_NET_TLS_H
#define VALET_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tls;
struct tls_client;

/* Loads the system's CAs, or `ca_file` if not NULL (PEM; in addition). NULL and `*why` (static) on failure. */
struct tls_client *tls_client_new(const char *ca_file, const char **why);
void tls_client_free(struct tls_client *c);

/* For stream.c alone. */
struct tls *tls_new(struct tls_client *c, int fd, const char *name);
void tls_free(struct tls *t);
enum tls_result { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_CLOSED, TLS_FAILED };
enum tls_result tls_handshake(struct tls *t);
enum tls_result tls_read(struct tls *t, void *into, size_t size, size_t *got);
enum tls_result tls_write(struct tls *t, const void *from, size_t size, size_t *sent);
bool tls_pending(const struct tls *t); /* decrypted bytes wait inside */
const char *tls_why(const struct tls *t); /* the last failure, static text such as "certificate verify failed" */

#endif
