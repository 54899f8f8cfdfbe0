/* rebuild_plan.c - a list of renames that is carried out to its end whatever breaks it off.
 *
 * FOLDER/rebuild.plan has a line for each: "aside FROM TO" or "place FROM TO". What is set aside gets a name that did not exist, so that a line whose TO is
 * there has been carried out; for what is put in its place the same is told by FROM, which is gone then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/rebuild_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PLAN_MAX (1u << 20)

void plan_init(struct plan *p, const char *folder, const char *stamp)
{
	*p = (struct plan){.folder = folder, .stamp = stamp};
	buf_init(&p->text, PLAN_MAX);
}

void plan_release(struct plan *p)
{
	buf_release(&p->text);
}

void plan_aside(struct plan *p, const char *name)
{
	if (file_exists(p->folder, name))
		buf_addf(&p->text, "aside %s %s.damaged-%s\n", name, name, p->stamp);
}

void plan_place(struct plan *p, const char *name)
{
	buf_addf(&p->text, "place %s" DRAFT " %s\n", name, name);
}

static bool say(const char *folder, const char *name, struct buf *why)
{
	buf_addf(why, "%s/%s: %s", folder, name, strerror(errno));
	return false;
}

static bool sync_folders(const char *folder, struct buf *why)
{
	char journal[PATH_BYTES];
	snprintf(journal, sizeof(journal), "%s/journal", folder);
	if (folder_sync(folder) && (!file_exists(folder, "journal") || folder_sync(journal)))
		return true;
	return say(folder, "", why);
}

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

bool plan_write(const struct plan *p, struct buf *why)
{
	char path[PATH_BYTES], made[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/" REBUILD_PLAN, p->folder);
	snprintf(made, sizeof(made), "%s/" REBUILD_PLAN ".new", p->folder);
	if (p->text.over) {
		BUF_ADD(why, "too many files must be set aside at once");
		return false;
	}
	if (!sync_folders(p->folder, why)) /* the drafts are there before the plan is */
		return false;
	int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool fine = fd >= 0 && write_all(fd, buf_str(&p->text)) && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return (fine && rename(made, path) == 0 && folder_sync(p->folder)) || say(p->folder, REBUILD_PLAN, why);
}

static bool run_line(const char *folder, struct str line, struct buf *why)
{
	char from[PATH_BYTES], to[PATH_BYTES];
	struct str kind, name;
	if (!str_split(&line, ' ', &kind) || !str_split(&line, ' ', &name) || name.len + line.len > 1000) {
		BUF_ADD(why, REBUILD_PLAN " is damaged");
		return false;
	}
	snprintf(from, sizeof(from), "%s/%.*s", folder, STR_ARG(name));
	snprintf(to, sizeof(to), "%s/%.*s", folder, STR_ARG(line));
	bool aside = str_eq(kind, STR("aside"));
	if (aside ? access(to, F_OK) == 0 : access(from, F_OK) != 0)
		return true;
	if (rename(from, to) == 0)
		return true;
	buf_addf(why, "%s cannot be renamed to %s: %s", from, to, strerror(errno));
	return false;
}

static bool read_plan(const char *folder, struct buf *out, struct buf *why)
{
	char path[PATH_BYTES], part[4096];
	snprintf(path, sizeof(path), "%s/" REBUILD_PLAN, folder);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = -1;
	while (fd >= 0 && (n = read(fd, part, sizeof(part))) > 0)
		buf_add(out, part, (size_t)n);
	if (fd >= 0)
		close(fd);
	return (n == 0 && !out->over) || say(folder, REBUILD_PLAN, why);
}

static bool finish(const char *folder, struct buf *why)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/" REBUILD_PLAN, folder);
	return sync_folders(folder, why) && ((unlink(path) == 0 && folder_sync(folder)) || say(folder, REBUILD_PLAN, why));
}

bool plan_run(const char *folder, bool *did, void (*at)(void *user, const char *step), void *user, struct buf *why)
{
	struct buf text;
	struct str line;
	*did = file_exists(folder, REBUILD_PLAN);
	if (!*did)
		return true;
	buf_init(&text, PLAN_MAX);
	bool fine = read_plan(folder, &text, why);
	struct str rest = str_trim(buf_str(&text));
	while (fine && rest.len && str_split(&rest, '\n', &line)) {
		fine = run_line(folder, line, why);
		if (at)
			at(user, "rename");
	}
	fine = fine && finish(folder, why);
	buf_release(&text);
	return fine;
}
