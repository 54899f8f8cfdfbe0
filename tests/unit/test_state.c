/* test_state.c - the state folder: where it is, its secret files, who serves from it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/state.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[PATH_MAX];
static struct buf why, text;

static const char *in(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void put(const char *name, const char *bytes, mode_t mode)
{
	FILE *file = fopen(in(name), "w");
	assert_non_null(file);
	fputs(bytes, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

static mode_t mode_of(const char *name)
{
	struct stat st;
	assert_int_equal(stat(in(name), &st), 0);
	return st.st_mode & 0777;
}

static void expect_why(const char *part)
{
	if (str_search(buf_str(&why), str_from(part)) == why.len)
		fail_msg("expected \"%s\" in \"%.*s\"", part, STR_ARG(buf_str(&why)));
	buf_clear(&why);
}

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/valet-state-XXXXXX");
	assert_non_null(mkdtemp(folder));
	buf_init(&why, 4096);
	buf_init(&text, 4096);
	unsetenv("VALET_ADMIN_KEY");
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
	buf_release(&why);
	buf_release(&text);
	return 0;
}

static void expect_folder(const char *given, const char *wanted)
{
	buf_clear(&text);
	state_folder(given, &text);
	if (!str_eq(buf_str(&text), str_from(wanted)))
		fail_msg("%.*s instead of %s", STR_ARG(buf_str(&text)), wanted);
}

static void test_folder(void **state)
{
	setenv("VALET_STATE", "/a/b", 1);
	setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
	setenv("XDG_STATE_HOME", "/x", 1);
	setenv("HOME", "/h/me", 1);
	expect_folder("/given", "/given");
	expect_folder(NULL, "/a/b");
	setenv("VALET_STATE", "", 1); /* empty is as good as none */
	expect_folder("", "/var/lib/one");
	unsetenv("STATE_DIRECTORY");
	expect_folder(NULL, "/x/valet");
	unsetenv("XDG_STATE_HOME");
	expect_folder(NULL, "/h/me/.local/state/valet");
	unsetenv("HOME");
	expect_folder(NULL, "/var/lib/valet");
}

static void test_make(void **state)
{
	char deep[128];
	snprintf(deep, sizeof(deep), "%s/a//b/c", folder);
	assert_true(state_make(deep, &why));
	assert_true(state_make(deep, &why)); /* it is there */
	assert_int_equal(mode_of("a"), 0700);
	assert_int_equal(mode_of("a/b/c"), 0700);
	put("file", "x", 0600);
	assert_false(state_make(in("file/below"), &why));
	expect_why("it is not a folder");
	assert_false(state_make("", &why));
	expect_why("empty");
}

static void test_pepper(void **state)
{
	uint8_t first[32], again[32];
	assert_false(state_has_pepper(folder));
	assert_true(state_pepper(folder, first, &why));
	assert_true(state_has_pepper(folder));
	assert_int_equal(mode_of("pepper"), 0600);
	assert_true(state_pepper(folder, again, &why));
	assert_memory_equal(first, again, 32);
	unlink(in("pepper"));
	assert_true(state_pepper(folder, again, &why));
	assert_memory_not_equal(first, again, 32);
}

static void test_pepper_refused(void **state)
{
	uint8_t pepper[32];
	put("pepper", "0123456789abcdef0123456789abcdef", 0640);
	assert_false(state_pepper(folder, pepper, &why));
	expect_why("chmod 600 /tmp/valet-state-");
	put("pepper", "0123456789abcdef0123456789abcdef", 0602);
	assert_false(state_pepper(folder, pepper, &why));
	expect_why("chmod 600");
	put("pepper", "short", 0600);
	assert_false(state_pepper(folder, pepper, &why));
	expect_why("damaged");
	put("pepper", "0123456789abcdef0123456789abcdefg", 0600);
	assert_false(state_pepper(folder, pepper, &why));
	expect_why("damaged");
	unlink(in("pepper"));
	assert_int_equal(mkdir(in("pepper"), 0700), 0);
	assert_false(state_pepper(folder, pepper, &why));
	expect_why("not a regular file");
}

/* Many that come at once agree on one. */
static void test_pepper_race(void **state)
{
	enum { MANY = 8 };
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	for (int i = 0; i < MANY; i++) {
		if (fork() != 0)
			continue;
		uint8_t pepper[32] = {0};
		struct buf w;
		buf_init(&w, 1000);
		bool fine = state_pepper(folder, pepper, &w) && write(pipes[1], pepper, 32) == 32;
		_exit(fine ? 0 : 1);
	}
	uint8_t all[MANY][32];
	for (int i = 0; i < MANY; i++) {
		int status;
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(read(pipes[0], all, sizeof(all)), sizeof(all));
	for (int i = 1; i < MANY; i++)
		assert_memory_equal(all[0], all[i], 32);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_admin_key(void **state)
{
	struct secret s = {0}, again = {0};
	assert_false(state_admin_key(folder, false, &s, &why));
	expect_why("no admin secret");
	assert_true(state_admin_key(folder, true, &s, &why));
	struct str view = secret_view(&s);
	assert_int_equal(view.len, 46);
	assert_true(str_starts(view, STR("va_")));
	for (size_t i = 3; i < view.len; i++)
		assert_true((view.ptr[i] >= '0' && view.ptr[i] <= '9') || ((view.ptr[i] | 32) >= 'a' && (view.ptr[i] | 32) <= 'z'));
	assert_int_equal(mode_of("admin.key"), 0600);
	assert_true(state_admin_key(folder, false, &again, &why));
	assert_true(secret_same(view, secret_view(&again)));
	setenv("VALET_ADMIN_KEY", "mine", 1);
	assert_true(state_admin_key(folder, true, &again, &why));
	assert_true(str_eq(secret_view(&again), STR("mine")));
	setenv("VALET_ADMIN_KEY", "my own", 1);
	assert_false(state_admin_key(folder, true, &again, &why));
	expect_why("VALET_ADMIN_KEY");
	setenv("VALET_ADMIN_KEY", "", 1); /* no key is ever empty */
	assert_true(state_admin_key(folder, true, &again, &why));
	assert_true(secret_same(view, secret_view(&again)));
	secret_release(&s);
	secret_release(&again);
}

static void test_admin_key_refused(void **state)
{
	struct secret s = {0};
	put("admin.key", " \n", 0600);
	assert_false(state_admin_key(folder, true, &s, &why));
	expect_why("is empty");
	put("admin.key", "two words", 0600);
	assert_false(state_admin_key(folder, true, &s, &why));
	expect_why("no admin secret");
	put("admin.key", "fine", 0644);
	assert_false(state_admin_key(folder, true, &s, &why));
	expect_why("chmod 600");
	assert_true(secret_is_off(&s));
}

static int hold_lock(const char *pid)
{
	int fd = open(in("lock"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(write(fd, pid, strlen(pid)), (ssize_t)strlen(pid));
	return fd;
}

static void test_server(void **state)
{
	char pid[32];
	bool running = true;
	assert_false(state_server(folder, &text, &running));
	assert_false(running);
	assert_true(state_announce(folder, STR("127.0.0.1:9301"), STR("[::1]:9300"), &why));
	assert_int_equal(mode_of("server.json"), 0600);
	assert_false(state_server(folder, &text, &running)); /* a note alone means nothing */
	assert_false(running);

	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	int fd = hold_lock(pid);
	assert_true(state_server(folder, &text, &running));
	assert_true(running);
	assert_true(str_eq(buf_str(&text), STR("127.0.0.1:9301")));
	buf_clear(&text);
	assert_true(state_announce(folder, STR(""), STR("127.0.0.1:9300"), &why));
	assert_false(state_server(folder, &text, &running));
	assert_true(running);
	state_withdraw(folder);
	assert_false(state_server(folder, &text, &running));
	assert_true(running);
	close(fd);

	assert_true(state_announce(folder, STR("127.0.0.1:9301"), STR("x"), &why));
	fd = hold_lock("1"); /* somebody else's */
	assert_false(state_server(folder, &text, &running));
	assert_true(running);
	close(fd);
	assert_false(state_server(folder, &text, &running));
	assert_false(running);
	assert_int_equal(text.len, 0);
}

static void test_who_can_look(void **state)
{
	char below[PATH_MAX];
	assert_true(state_can_look(folder, &why)); /* nobody has ever used it */
	assert_true(state_can_look("/nowhere/at/all", &why));
	close(hold_lock("1"));
	assert_true(state_can_look(folder, &why));
	snprintf(below, sizeof(below), "%s/lock", folder);
	assert_false(state_can_look(below, &why)); /* a file */
	expect_why("cannot look into the state folder");
	unlink(below);
	assert_int_equal(symlink("nowhere", below), 0); /* what is no lock of ours says nothing, least of all that nobody serves */
	assert_false(state_can_look(folder, &why));
	expect_why("cannot look into the state folder");
}

static void test_server_note_damaged(void **state)
{
	bool running;
	int fd = hold_lock("");
	static const char *const notes[] = {"", "{", "[]", "{\"pid\":1}", "{\"pid\":1,\"admin\":7}", "{\"admin\":\"a:1\"}", "{\"pid\":\"x\",\"admin\":\"a:1\"}"};
	for (size_t i = 0; i < sizeof(notes) / sizeof(*notes); i++) {
		put("server.json", notes[i], 0600);
		assert_false(state_server(folder, &text, &running));
		assert_true(running);
	}
	put("server.json", "{\"pid\":1,\"admin\":\"a:1\"}", 0600); /* the lock's file says nothing yet */
	assert_true(state_server(folder, &text, &running));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_folder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_make, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pepper, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pepper_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pepper_race, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_admin_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_admin_key_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_server, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_can_look, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_server_note_damaged, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
