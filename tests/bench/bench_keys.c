/* bench_keys.c - whether the time of a refusal tells if a key's id exists: what somebody who guesses keys can measure from this machine
 *
 * bench_keys PORT KEY [SAMPLES]: asks a running Valet for its models, one request after the other on one connection, with the id of KEY and a wrong secret or
 * with an unknown id, by chance. The slowest twentieth of all (interrupts) is left out. Prints one line a row, for run.py: NAME NUMBER. `t` is Welch's:
 * below 4.5 there is nothing to be seen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gate/token.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOKENS 1000

struct sample {
	uint32_t ns;
	bool known;
};

static char tokens[2][TOKENS][TOKEN_LENGTH + 1]; /* [known] */

static void die(const char *what)
{
	fprintf(stderr, "valet-bench-keys: %s\n", what);
	exit(1);
}

static void make_tokens(const char *key)
{
	struct token t;
	if (!token_parse(str_from(key), &t))
		die("expected a key, as valet key create prints it");
	for (int i = 0; i < TOKENS; i++) {
		token_make(NULL, tokens[0][i]);
		token_make(t.id, tokens[1][i]); /* another secret */
	}
}

static int dial(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		die("cannot connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* Nanoseconds until the answer, which comes in one piece, has come. */
static uint32_t time_of(int fd, const char *token)
{
	char ask[256], answer[8192];
	struct timespec a, b;
	int n = snprintf(ask, sizeof(ask), "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %s\r\n\r\n", token);
	clock_gettime(CLOCK_MONOTONIC, &a);
	ssize_t sent = write(fd, ask, (size_t)n), got = read(fd, answer, sizeof(answer));
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (sent != n || got < 12 || memcmp(answer + 9, "401", 3) != 0)
		die("something else than 401 was answered");
	return (uint32_t)((b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec));
}

static int by_time(const void *a, const void *b)
{
	uint32_t x = ((const struct sample *)a)->ns, y = ((const struct sample *)b)->ns;
	return x < y ? -1 : x > y;
}

static void ask_all(int fd, struct sample *samples, int count)
{
	uint64_t random = (uint64_t)time(NULL) * 2654435761 | 1;
	for (int i = -1000; i < count; i++) { /* the first ones warm up */
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		bool is_known = random >> 40 & 1;
		uint32_t ns = time_of(fd, tokens[is_known][(random >> 20) % TOKENS]);
		if (i >= 0)
			samples[i] = (struct sample){ns, is_known};
	}
}

static void print(const struct sample *samples, int count)
{
	double n[2] = {0}, sum[2] = {0}, squares[2] = {0}, mean[2], part[2];
	for (int i = 0; i < count; i++) {
		int c = samples[i].known;
		n[c]++;
		sum[c] += samples[i].ns;
		squares[c] += (double)samples[i].ns * samples[i].ns;
	}
	for (int c = 0; c < 2; c++) {
		mean[c] = sum[c] / n[c];
		part[c] = (squares[c] / n[c] - mean[c] * mean[c]) / n[c];
	}
	printf("unknown_ns %.1f\nknown_ns %.1f\nt %.2f\n", mean[0], mean[1], fabs(mean[1] - mean[0]) / sqrt(part[0] + part[1]));
}

int main(int argc, char **argv)
{
	int count = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1000000;
	if (argc < 3 || count < 100)
		die("usage: valet-bench-keys PORT KEY [SAMPLES]");
	struct sample *samples = calloc((size_t)count, sizeof(*samples));
	if (!samples)
		die("no memory");
	make_tokens(argv[2]);
	int fd = dial((int)strtol(argv[1], NULL, 10));
	ask_all(fd, samples, count);
	qsort(samples, (size_t)count, sizeof(*samples), by_time);
	print(samples, count / 20 * 19);
	free(samples);
	close(fd);
	return 0;
}
