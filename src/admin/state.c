/* state.c - the state folder: its place, its two secret files, and the note of who serves from it; see state.h.
 *
 * A secret file is written beside its place, synced, and then linked to its name: whoever finds it finds all of it, and of two processes that make
 * it at the same time one wins and the other reads what the winner wrote.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/state.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEPPER_BYTES    32
#define ADMIN_KEY_CHARS 43
#define FILE_MAX        4096

static bool path_of(const char *folder, const char *name, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
	return n > 0 && n < PATH_MAX;
}

static bool told(const char *name, char out[PATH_MAX], const char *folder, struct buf *why)
{
	if (path_of(folder, name, out))
		return true;
	BUF_ADD(why, "the path of the state folder is too long");
	return false;
}

/* ---- the folder ---- */

/* Appends the value of an environment variable, up to the first colon ($STATE_DIRECTORY may name several). */
static bool add_env(struct buf *out, const char *name, const char *below)
{
	const char *value = getenv(name);
	if (!value || !*value)
		return false;
	buf_add(out, value, strcspn(value, strcmp(name, "STATE_DIRECTORY") == 0 ? ":" : ""));
	buf_adds(out, str_from(below));
	return true;
}

void state_folder(const char *given, struct buf *out)
{
	if (given && *given)
		buf_adds(out, str_from(given));
	else if (!add_env(out, "VALET_STATE", "") && !add_env(out, "STATE_DIRECTORY", "") && !add_env(out, "XDG_STATE_HOME", "/valet") &&
		 !add_env(out, "HOME", "/.local/state/valet"))
		BUF_ADD(out, "/var/lib/valet");
}

static bool make_one(const char *path, struct buf *why)
{
	struct stat st;
	if (mkdir(path, 0700) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
		return true;
	buf_addf(why, "cannot make the state folder %s: %s", path, errno == EEXIST ? "it is not a folder" : strerror(errno));
	return false;
}

bool state_make(const char *folder, struct buf *why)
{
	struct stat st;
	char path[PATH_MAX];
	size_t len = strlen(folder);
	if (len == 0 || len >= sizeof(path)) {
		buf_addf(why, "the path of the state folder is %s", len ? "too long" : "empty");
		return false;
	}
	for (size_t i = 1; i <= len; i++) {
		if (folder[i] != '/' && i != len)
			continue;
		memcpy(path, folder, i);
		path[i] = '\0';
		/* What is there already may stand in a folder that we must not write to. */
		if ((stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) && !make_one(path, why))
			return false;
	}
	return true;
}

/* ---- files ---- */

static bool write_all(int fd, struct str bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno != EINTR)
			return false;
		bytes = str_skip(bytes, n < 0 ? 0 : (size_t)n);
	}
	return true;
}

/* A name beside `name` that nobody else uses. */
static bool draft_name(const char *folder, const char *name, char out[PATH_MAX])
{
	uint32_t number;
	random_bytes(&number, sizeof(number));
	int n = snprintf(out, PATH_MAX, "%s/.%s.%08x", folder, name, number);
	return n > 0 && n < PATH_MAX;
}

/* Writes and syncs a file that is not there. */
static bool write_draft(const char *path, struct str bytes, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return false;
	bool fine = fchmod(fd, mode) == 0 && write_all(fd, bytes) && fsync(fd) == 0;
	int error = errno;
	close(fd);
	if (!fine)
		unlink(path);
	errno = error;
	return fine;
}

static void sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* True also where another process was faster. */
static bool put_new(const char *folder, const char *name, struct str bytes, struct buf *why)
{
	char path[PATH_MAX], draft[PATH_MAX];
	if (!told(name, path, folder, why))
		return false;
	bool fine = draft_name(folder, name, draft) && write_draft(draft, bytes, 0600);
	if (fine) {
		fine = link(draft, path) == 0 || errno == EEXIST;
		int error = errno;
		unlink(draft);
		errno = error;
	}
	if (fine)
		sync_folder(folder);
	else
		buf_addf(why, "cannot make %s: %s", path, strerror(errno));
	return fine;
}

enum got { GOT_NONE, GOT_FILE, GOT_FAILED };

/* Whether an open secret file is one, and nobody else's. */
static bool is_private(int fd, const char *path, struct buf *why)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		buf_addf(why, "%s is not a regular file", path);
		return false;
	}
	if (st.st_mode & 077) {
		buf_addf(why, "%s may be read or changed by others; run: chmod 600 %s", path, path);
		return false;
	}
	return true;
}

static enum got read_secret(const char *path, char *into, size_t size, size_t *len, struct buf *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return GOT_NONE;
	if (fd < 0) {
		buf_addf(why, "cannot read %s: %s", path, strerror(errno));
		return GOT_FAILED;
	}
	enum got got = is_private(fd, path, why) ? GOT_FILE : GOT_FAILED;
	*len = 0;
	for (ssize_t n = 1; got == GOT_FILE && n != 0 && *len < size;) {
		n = read(fd, into + *len, size - *len);
		if (n < 0 && errno != EINTR) {
			buf_addf(why, "cannot read %s: %s", path, strerror(errno));
			got = GOT_FAILED;
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	return got;
}

/* ---- the pepper ---- */

static bool read_pepper(const char *path, uint8_t out[PEPPER_BYTES], enum got *got, struct buf *why)
{
	char bytes[PEPPER_BYTES + 1];
	size_t len = 0;
	*got = read_secret(path, bytes, sizeof(bytes), &len, why);
	if (*got == GOT_FILE && len == PEPPER_BYTES)
		memcpy(out, bytes, PEPPER_BYTES);
	else if (*got == GOT_FILE)
		buf_addf(why, "%s is damaged: it must have %d bytes; bring it back from a backup (without it no key is valid any more)", path,
			 PEPPER_BYTES);
	explicit_bzero(bytes, sizeof(bytes));
	return *got == GOT_FILE && len == PEPPER_BYTES;
}

bool state_pepper(const char *folder, uint8_t out[32], struct buf *why)
{
	char path[PATH_MAX];
	uint8_t fresh[PEPPER_BYTES];
	enum got got;
	if (!told("pepper", path, folder, why))
		return false;
	if (read_pepper(path, out, &got, why))
		return true;
	if (got != GOT_NONE || !state_make(folder, why))
		return false;
	random_bytes(fresh, sizeof(fresh));
	bool fine = put_new(folder, "pepper", str_of((const char *)fresh, sizeof(fresh)), why) && read_pepper(path, out, &got, why);
	explicit_bzero(fresh, sizeof(fresh));
	return fine;
}

bool state_has_pepper(const char *folder)
{
	char path[PATH_MAX];
	return path_of(folder, "pepper", path) && (access(path, F_OK) == 0 || errno != ENOENT);
}

/* ---- the admin secret ---- */

/* "va_", characters without a bias, a newline. */
static void make_admin_key(char out[ADMIN_KEY_CHARS + 4])
{
	static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t len = 3;
	memcpy(out, "va_", 3);
	while (len < ADMIN_KEY_CHARS + 3) {
		uint8_t byte;
		random_bytes(&byte, 1);
		if (byte < 248) /* 4 * 62 */
			out[len++] = letters[byte % 62];
	}
	out[len] = '\n';
}

static bool take_admin_key(const char *path, struct secret *out, enum got *got, struct buf *why)
{
	char bytes[FILE_MAX];
	size_t len = 0;
	*got = read_secret(path, bytes, sizeof(bytes), &len, why);
	struct str text = str_trim(str_of(bytes, len));
	bool fine = *got == GOT_FILE && text.len > 0 && text.len < FILE_MAX;
	for (size_t i = 0; fine && i < text.len; i++)
		fine = text.ptr[i] > ' ' && text.ptr[i] < 0x7f;
	if (fine)
		secret_set(out, text);
	else if (*got == GOT_FILE && text.len == 0)
		buf_addf(why, "%s is empty; delete it, and Valet makes a new one", path);
	else if (*got == GOT_FILE)
		buf_addf(why, "%s is no admin secret: one line of printable ASCII without spaces is expected", path);
	explicit_bzero(bytes, sizeof(bytes));
	return fine;
}

static bool env_admin_key(const char *value, struct secret *out, struct buf *why)
{
	for (const char *c = value; *c; c++) {
		if (*c <= ' ' || *c >= 0x7f) {
			BUF_ADD(why, "VALET_ADMIN_KEY: expected printable ASCII without spaces");
			return false;
		}
	}
	secret_set(out, str_from(value));
	return true;
}

bool state_admin_key(const char *folder, bool make, struct secret *out, struct buf *why)
{
	char path[PATH_MAX], fresh[ADMIN_KEY_CHARS + 4];
	const char *given = getenv("VALET_ADMIN_KEY");
	enum got got;
	if (given && *given)
		return env_admin_key(given, out, why);
	if (!told("admin.key", path, folder, why))
		return false;
	if (take_admin_key(path, out, &got, why))
		return true;
	if (got == GOT_NONE && !make)
		buf_addf(why, "there is no admin secret: %s does not exist, and VALET_ADMIN_KEY is not set", path);
	if (got != GOT_NONE || !make || !state_make(folder, why))
		return false;
	make_admin_key(fresh);
	bool fine = put_new(folder, "admin.key", str_of(fresh, sizeof(fresh)), why) && take_admin_key(path, out, &got, why);
	explicit_bzero(fresh, sizeof(fresh));
	return fine;
}

/* ---- who serves ---- */

bool state_announce(const char *folder, struct str admin, struct str listen, struct buf *why)
{
	char path[PATH_MAX], draft[PATH_MAX];
	struct json_writer w;
	struct buf text;
	if (!told("server.json", path, folder, why))
		return false;
	buf_init(&text, FILE_MAX);
	json_writer_init(&w, &text);
	json_open_object(&w);
	json_member_i64(&w, STR("pid"), getpid());
	json_member_str(&w, STR("admin"), admin);
	json_member_str(&w, STR("listen"), listen);
	json_member_str(&w, STR("version"), STR(VALET_VERSION));
	json_close_object(&w);
	buf_addc(&text, '\n');
	bool fine = draft_name(folder, "server.json", draft) && write_draft(draft, buf_str(&text), 0600);
	if (fine && rename(draft, path) != 0) {
		fine = false;
		int error = errno;
		unlink(draft);
		errno = error;
	}
	if (!fine)
		buf_addf(why, "cannot write %s: %s", path, strerror(errno));
	buf_release(&text);
	return fine;
}

void state_withdraw(const char *folder)
{
	char path[PATH_MAX];
	if (path_of(folder, "server.json", path))
		unlink(path);
}

static size_t read_small(int fd, char *into, size_t size)
{
	ssize_t n = fd < 0 ? 0 : read(fd, into, size);
	return n > 0 ? (size_t)n : 0;
}

/* Whether somebody holds FOLDER/lock, and what it says of its pid (0: nothing). A shared lock, so that two who look at once do not take each
 * other for a server. */
static bool is_locked(const char *folder, int64_t *pid)
{
	char path[PATH_MAX], text[32];
	*pid = 0;
	int fd = path_of(folder, "lock", path) ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (fd < 0)
		return false;
	bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
	if (locked)
		str_to_i64(str_trim(str_of(text, read_small(fd, text, sizeof(text)))), pid);
	close(fd); /* gives the lock back */
	return locked;
}

bool state_can_look(const char *folder, struct buf *why)
{
	char path[PATH_MAX];
	if (!told("lock", path, folder, why))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT) {
		buf_addf(why, "cannot look into the state folder %s: %s", folder, strerror(errno));
		return false;
	}
	if (fd >= 0)
		close(fd);
	return true;
}

bool state_server(const char *folder, struct buf *admin, bool *running)
{
	char path[PATH_MAX], text[FILE_MAX];
	struct json_want wants[2] = {{.name = STR("pid")}, {.name = STR("admin")}};
	int64_t holder, pid = 0;
	*running = is_locked(folder, &holder);
	if (!*running || !path_of(folder, "server.json", path))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct str whole = str_of(text, read_small(fd, text, sizeof(text)));
	if (fd >= 0)
		close(fd);
	/* A note of a server that died may be left over while another process holds the folder. */
	if (!json_scan(whole, wants, 2, NULL, NULL) || !json_raw_i64(wants[0].value, &pid) || (holder > 0 && holder != pid))
		return false;
	struct str address = wants[1].value;
	if (wants[1].type != JSON_STRING || address.len <= 2)
		return false;
	return json_unescape(str_of(address.ptr + 1, address.len - 2), admin);
}
