/* secret.c - a credential of ours at a target: kept on the heap, wiped when it goes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void secret_set(struct secret *s, struct str bytes)
{
	char *copy = bytes.len ? mem_str(bytes) : NULL;
	secret_release(s);
	s->bytes = copy;
	s->len = bytes.len;
}

struct str secret_view(const struct secret *s)
{
	return str_of(s->bytes, s->len);
}

bool secret_is_off(const struct secret *s)
{
	return s->len == 0;
}

void secret_release(struct secret *s)
{
	if (s->bytes) {
		explicit_bzero(s->bytes, s->len);
		free(s->bytes);
	}
	s->bytes = NULL;
	s->len = 0;
}

/* A secret goes into a header line: what could end that line must not stand in it. */
static bool keep(struct secret *s, struct str bytes, struct buf *why)
{
	bytes = str_trim(bytes);
	for (size_t i = 0; i < bytes.len; i++) {
		unsigned char c = (unsigned char)bytes.ptr[i];
		if (c < 0x21 || c > 0x7e) {
			BUF_ADD(why, "expected one line of printable ASCII without spaces in it");
			return false;
		}
	}
	secret_set(s, bytes);
	return true;
}

/* Something else than a name may be the secret itself: then it must not be quoted. */
static bool is_variable_name(struct str name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];
		bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return name.len > 0 && name.len <= 64;
}

static bool load_env(struct secret *s, struct str name, struct buf *why)
{
	if (!is_variable_name(name)) {
		BUF_ADD(why, "expected the name of an environment variable after \"env:\" "
			     "(letters, digits, _)");
		return false;
	}
	char text[65];
	snprintf(text, sizeof(text), "%.*s", STR_ARG(name));
	const char *value = getenv(text);
	if (!value) {
		buf_addf(why, "the environment variable %s is not set", text);
		return false;
	}
	if (strlen(value) <= SECRET_MAX_BYTES)
		return keep(s, str_from(value), why);
	buf_addf(why, "the environment variable %s holds more than %d bytes", text,
		 SECRET_MAX_BYTES);
	return false;
}

/* Bytes read; -1: failed, with errno; -2: not a regular file; more than SECRET_MAX_BYTES: too long.
 */
static ssize_t read_whole(const char *path, char *into, size_t size)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	ssize_t got = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? 0 : -2;
	for (ssize_t n = 1; n > 0 && got >= 0 && (size_t)got < size;) {
		n = read(fd, into + got, size - (size_t)got);
		got = n < 0 ? -1 : got + n;
	}
	int error = errno;
	close(fd);
	errno = error;
	return got;
}

static bool load_file(struct secret *s, struct str path, struct str folder, struct buf *why)
{
	char name[PATH_MAX], bytes[SECRET_MAX_BYTES + 1];
	bool relative = folder.len && !str_starts(path, STR("/"));
	if (!relative)
		folder = STR_NONE;
	int n = snprintf(name, sizeof(name), "%.*s%s%.*s", STR_ARG(folder), relative ? "/" : "",
			 STR_ARG(path));
	if (path.len == 0 || n < 0 || (size_t)n >= sizeof(name)) {
		BUF_ADD(why, "expected the path of a file after \"file:\"");
		return false;
	}
	ssize_t got = read_whole(name, bytes, sizeof(bytes));
	bool ok = false;
	if (got == -1)
		buf_addf(why, "cannot read %s: %s", name, strerror(errno));
	else if (got == -2)
		buf_addf(why, "%s is not a regular file", name);
	else if (got > SECRET_MAX_BYTES)
		buf_addf(why, "%s holds more than %d bytes", name, SECRET_MAX_BYTES);
	else
		ok = keep(s, str_of(bytes, (size_t)got), why);
	explicit_bzero(bytes, sizeof(bytes));
	return ok;
}

bool secret_load(struct secret *s, struct str spec, struct str folder, struct buf *why)
{
	if (str_starts(spec, STR("env:")))
		return load_env(s, str_skip(spec, 4), why);
	if (str_starts(spec, STR("file:")))
		return load_file(s, str_skip(spec, 5), folder, why);
	BUF_ADD(why, "expected env:NAME or file:PATH (the secret itself must not stand here)");
	return false;
}

bool secret_same(struct str a, struct str b)
{
	volatile unsigned char different = a.len != b.len;
	for (size_t i = 0; i < a.len && i < b.len; i++)
		different |= (unsigned char)(a.ptr[i] ^ b.ptr[i]);
	return different == 0;
}
