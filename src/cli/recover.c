/* recover.c - `valet recover`: looks whether journal and store are whole, brings the books up to date after a crash, or makes anew what is damaged.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api.h"
#include "admin/state.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/print.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_CHECK, OPT_REBUILD, OPT_FORCE, OPT_JSON };

static const struct option options[] = {
	{"check", 0, NULL, "changes nothing: says whether all is whole"},
	{"rebuild", 0, NULL, "makes anew what is damaged, from all that can be read"},
	{"force", 0, NULL, "with --rebuild: also where something that was used is charged to nobody then"},
	{"json", 0, NULL, "for programs: one JSON object"},
	{"state", 0, "DIR", "the state folder (default: $VALET_STATE, or where the server keeps it)"},
	{"config", 'c', "FILE", "settings, which may say where (default: as for serve)"},
};

enum { REPORT_MAX = 1 << 20, PATH_BYTES = 4096 };

/* One thing that was looked at. */
struct finding {
	const char *name;
	bool whole;
	struct buf report; /* lines */
};

enum { JOURNAL, STORE, BOOKS, FINDINGS };

struct check {
	const char *folder;
	struct finding findings[FINDINGS];
};

/* ---- the folder ---- */

/* Takes the lock that a server holds, where there is one; *fd -1: nobody has ever used the folder. False: in use. It need not be writable: what is
 * looked at may be a copy that nobody can change. */
static bool take_lock(const char *folder, int *fd)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/lock", folder);
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return *fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) == 0;
}

static bool exists(const char *folder, const char *name)
{
	char path[PATH_BYTES];
	struct stat st;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return stat(path, &st) == 0;
}

/* ---- looking ---- */

static void check_journal(struct check *c)
{
	struct finding *f = &c->findings[JOURNAL];
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/journal", c->folder);
	f->whole = true;
	if (exists(c->folder, "journal"))
		f->whole = journal_verify(path, &f->report);
	else
		BUF_ADD(&f->report, "there is none yet\n");
}

struct books_check {
	struct store *store;
};

static bool call_store(void *user, void (*run)(struct store *s, void *arg), void *arg)
{
	struct books_check *b = user;
	run(b->store, arg);
	return true;
}

/* The books as a server would begin with them: every key can be read, what it used is loaded, and the identity holds for each budget. */
static void check_books(struct check *c, struct store *store)
{
	struct finding *f = &c->findings[BOOKS];
	struct books_check of = {store};
	struct books *books = books_new(NULL);
	const struct api_options options_of = {.call = call_store, .user = &of, .folder = c->folder, .books = books};
	struct api *api = api_new(&options_of, &f->report);
	f->whole = api != NULL;
	if (api) {
		struct keyring *ring = api_keyring(api);
		f->whole = api_load_books(api, clock_wall_us() / 1000000, &f->report) && books_audit(books, &f->report) == 0;
		if (f->whole)
			buf_addf(&f->report, "%zu key%s; what is settled, held and leased adds up in every budget\n", api_key_count(api),
				 api_key_count(api) == 1 ? "" : "s");
		keyring_unref(ring);
	}
	api_free(api);
	books_free(books);
}

static bool has_requests(const char *folder)
{
	DIR *d = opendir(folder);
	bool found = false;
	for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d))
		found = str_starts(str_from(e->d_name), STR("requests-")) && str_ends(str_from(e->d_name), STR(".db"));
	if (d)
		closedir(d);
	return found;
}

static void check_store(struct check *c)
{
	struct finding *f = &c->findings[STORE];
	c->findings[BOOKS].whole = f->whole = true;
	if (!exists(c->folder, "valet.db")) {
		f->whole = !has_requests(c->folder) && !exists(c->folder, "valet.mark");
		buf_adds(&f->report, f->whole ? STR("there is none yet\n")
					      : STR("valet.db is missing, but this folder has been used: its keys and sums are lost\n"));
		return;
	}
	struct store *store = store_open(c->folder, &f->report);
	f->whole = store && store_check(store, &f->report);
	if (f->whole && f->report.len == 0)
		BUF_ADD(&f->report, "sums, rows of requests and checksums agree\n");
	if (store)
		check_books(c, store);
	else
		BUF_ADD(&c->findings[BOOKS].report, "not looked at, since the store cannot be read\n");
	store_close(store);
}

/* ---- telling ---- */

static bool is_whole(const struct check *c)
{
	return c->findings[JOURNAL].whole && c->findings[STORE].whole && c->findings[BOOKS].whole;
}

static void put_json(struct buf *out, const struct check *c)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str(&w, STR("folder"), str_from(c->folder));
	json_member_bool(&w, STR("whole"), is_whole(c));
	for (size_t i = 0; i < FINDINGS; i++) {
		struct str rest = str_trim(buf_str(&c->findings[i].report)), line;
		json_put_key(&w, str_from(c->findings[i].name));
		json_open_object(&w);
		json_member_bool(&w, STR("whole"), c->findings[i].whole);
		json_put_key(&w, STR("report"));
		json_open_array(&w);
		while (rest.len && str_split(&rest, '\n', &line))
			json_put_str(&w, line);
		json_close_array(&w);
		json_close_object(&w);
	}
	json_close_object(&w);
	BUF_ADD(out, "\n");
}

static void put_text(struct buf *out, const struct check *c)
{
	for (size_t i = 0; i < FINDINGS; i++) {
		struct str rest = str_trim(buf_str(&c->findings[i].report)), line;
		buf_addf(out, "%s: %s\n", c->findings[i].name, c->findings[i].whole ? "whole" : "DAMAGED");
		while (rest.len && str_split(&rest, '\n', &line)) {
			BUF_ADD(out, "  ");
			print_clean(out, line);
			BUF_ADD(out, "\n");
		}
	}
	if (is_whole(c))
		return;
	buf_addf(out,
		 "\nValet will not serve from these books, since a budget could begin again at zero.\n"
		 "valet recover --rebuild --state %s\n"
		 "makes anew what is damaged, from all that can be read: no budget begins again with less used\n"
		 "than the rows of requests say, and what is damaged is kept under another name. The other way\n"
		 "is the newest copy of the whole folder that this command calls whole: what was used since\n"
		 "that copy is missing in it.\n",
		 c->folder);
}

static int check(const char *folder, bool json)
{
	struct check c = {.folder = folder, .findings = {{.name = "journal"}, {.name = "store"}, {.name = "books"}}};
	struct buf out;
	int lock;
	if (!take_lock(folder, &lock)) {
		fprintf(stderr, "valet recover: %s is in use; expected the server stopped (valet live shows what it does)\n", folder);
		close(lock);
		return CLI_FAILED;
	}
	buf_init(&out, REPORT_MAX);
	for (size_t i = 0; i < FINDINGS; i++)
		buf_init(&c.findings[i].report, REPORT_MAX / 4);
	check_journal(&c);
	check_store(&c);
	(json ? put_json : put_text)(&out, &c);
	int code = cli_put(&out);
	for (size_t i = 0; i < FINDINGS; i++)
		buf_release(&c.findings[i].report);
	buf_release(&out);
	if (lock >= 0)
		close(lock);
	return code == CLI_DONE && !is_whole(&c) ? CLI_FAILED : code;
}

/* ---- recovering ---- */

static const char *const state_names[] = {
	[JOURNAL_CLEAN] = "clean",
	[JOURNAL_CRASHED] = "crashed",
	[JOURNAL_LOST] = "power_lost",
};

static void put_recovery_json(struct buf *out, const char *folder, const struct ledger_recovery *r)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str(&w, STR("folder"), str_from(folder));
	json_member_str(&w, STR("journal"), str_from(state_names[r->state]));
	json_member_i64(&w, STR("orphans"), (int64_t)r->orphans);
	json_member_i64(&w, STR("leases"), (int64_t)r->leases);
	json_member_i64(&w, STR("applied"), (int64_t)r->applied);
	json_member_i64(&w, STR("micros"), r->micros);
	json_close_object(&w);
	BUF_ADD(out, "\n");
}

static void put_recovery_text(struct buf *out, const char *folder, const struct ledger_recovery *r)
{
	static const char *const sentences[] = {
		[JOURNAL_CLEAN] = "the server had stopped as it should",
		[JOURNAL_CRASHED] = "the server had died; nothing of the journal is missing",
		[JOURNAL_LOST] = "the machine had died; the last moments of the journal may be missing",
	};
	buf_addf(out, "%s: %s\n", folder, sentences[r->state]);
	if (r->orphans)
		buf_addf(out, "requests that had not ended, and are charged at what they had reserved: %llu\n", (unsigned long long)r->orphans);
	if (r->leases)
		buf_addf(out, "parts of budgets that may have been spent in the lost moments, and are charged: %llu\n", (unsigned long long)r->leases);
	buf_addf(out, "records brought into the books: %llu, in ", (unsigned long long)r->applied);
	print_duration(out, r->micros / 1000);
	BUF_ADD(out, "; the books are up to date\n");
}

static void say_trouble(void *user, const char *sentence)
{
	fprintf(stderr, "valet recover: %s\n", sentence);
}

static int recover(const char *folder, bool json)
{
	const struct ledger_options of = {.folder = folder, .trouble = say_trouble};
	struct buf why, out;
	int code = CLI_FAILED;
	buf_init(&why, REPORT_MAX);
	buf_init(&out, REPORT_MAX);
	struct ledger *ledger = ledger_open(&of, &why);
	if (ledger) {
		(json ? put_recovery_json : put_recovery_text)(&out, folder, ledger_recovered(ledger));
		ledger_free(ledger);
		code = cli_put(&out);
	} else {
		fprintf(stderr, "valet recover: %.*s%s\n", STR_ARG(buf_str(&why)), cli_in_use(folder) ? "" : CLI_DAMAGE_HINT);
	}
	buf_release(&why);
	buf_release(&out);
	return code;
}

/* ---- rebuilding ---- */

/* What a start does, and then a look at all of it. False: something is damaged, and `why` says what. */
static bool is_sound(const char *folder, struct buf *why)
{
	const struct ledger_options of = {.folder = folder, .trouble = say_trouble};
	struct ledger *ledger = ledger_open(&of, why);
	bool fine = ledger && store_check(ledger_store(ledger), why);
	ledger_free(ledger);
	return fine;
}

static void put_lines(struct json_writer *w, const char *name, const struct buf *lines)
{
	struct str rest = str_trim(buf_str(lines)), line;
	json_put_key(w, str_from(name));
	json_open_array(w);
	while (rest.len && str_split(&rest, '\n', &line))
		json_put_str(w, line);
	json_close_array(w);
}

static void put_rebuild_json(struct buf *out, const char *folder, bool rebuilt, const struct rebuild_report *r)
{
	struct json_writer w;
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str(&w, STR("folder"), str_from(folder));
	json_member_bool(&w, STR("rebuilt"), rebuilt);
	json_member_bool(&w, STR("lost"), r->lost);
	json_member_i64(&w, STR("keys"), (int64_t)r->keys);
	json_member_i64(&w, STR("keys_lost"), (int64_t)r->keys_lost);
	json_member_i64(&w, STR("requests"), (int64_t)r->requests);
	json_member_i64(&w, STR("requests_lost"), (int64_t)r->requests_lost);
	json_member_i64(&w, STR("journal_records"), (int64_t)r->records);
	json_member_i64(&w, STR("journal_bytes_lost"), (int64_t)r->bytes_lost);
	json_member_i64(&w, STR("without_end"), (int64_t)r->open);
	put_lines(&w, "set_aside", &r->aside);
	put_lines(&w, "report", &r->said);
	json_close_object(&w);
	BUF_ADD(out, "\n");
}

static void put_rebuild_text(struct buf *out, const char *folder, bool rebuilt, const struct rebuild_report *r)
{
	struct str rest = str_trim(buf_str(&r->said)), line;
	if (!rebuilt) {
		buf_addf(out, "%s: journal, store and books are whole; nothing had to be made anew\n", folder);
		return;
	}
	buf_addf(out, "%s: %s\n", folder, r->lost ? "made anew, but not all could be saved" : "made anew, and all could be saved");
	while (rest.len && str_split(&rest, '\n', &line)) {
		BUF_ADD(out, "  ");
		print_clean(out, line);
		BUF_ADD(out, "\n");
	}
	rest = str_trim(buf_str(&r->aside));
	if (rest.len)
		BUF_ADD(out, "set aside, and not needed any more once you are content:\n");
	while (rest.len && str_split(&rest, '\n', &line))
		buf_addf(out, "  %.*s\n", STR_ARG(line));
}

/* Repeated: what finishes a rebuild that was broken off does nothing else. */
static bool rebuild_once(const char *folder, bool force, struct rebuild_report *all, struct buf *why)
{
	const struct rebuild_options of = {.folder = folder, .force = force, .now_s = clock_wall_us() / 1000000};
	struct rebuild_report one;
	int lock;
	if (!take_lock(folder, &lock)) {
		buf_addf(why, "%s is in use; expected the server stopped", folder);
		close(lock);
		return false;
	}
	bool fine = store_rebuild(&of, &one, why);
	struct buf said = all->said, aside = all->aside;
	buf_adds(&said, buf_str(&one.said));
	buf_adds(&aside, buf_str(&one.aside));
	bool lost = all->lost || one.lost;
	rebuild_report_release(&one);
	*all = one;
	all->said = said;
	all->aside = aside;
	all->lost = lost;
	if (lock >= 0)
		close(lock);
	return fine;
}

static int rebuild_until_sound(const char *folder, bool force, struct rebuild_report *r, bool *rebuilt)
{
	struct buf why;
	int code = CLI_FAILED;
	buf_init(&why, REPORT_MAX);
	for (bool done = false;; done = *rebuilt && !r->finished) {
		buf_clear(&why);
		if (is_sound(folder, &why)) {
			code = r->lost ? CLI_FAILED : CLI_DONE;
			break;
		}
		bool again = !done && !cli_in_use(folder); /* what a rebuild does not help with is no damage: a full disk, rights */
		if (again)
			buf_clear(&why);
		if (!again || !rebuild_once(folder, force, r, &why)) {
			fprintf(stderr, "valet recover: %.*s\n", STR_ARG(str_trim(buf_str(&why))));
			code = -1;
			break;
		}
		*rebuilt = true;
	}
	buf_release(&why);
	return code;
}

static int rebuild(const char *folder, bool force, bool json)
{
	struct rebuild_report r = {0};
	struct buf out;
	bool rebuilt = false;
	buf_init(&out, REPORT_MAX * 4);
	buf_init(&r.said, REPORT_MAX);
	buf_init(&r.aside, REPORT_MAX);
	int code = rebuild_until_sound(folder, force, &r, &rebuilt);
	if (code >= 0 || rebuilt)
		(json ? put_rebuild_json : put_rebuild_text)(&out, folder, rebuilt, &r);
	if (cli_put(&out) != CLI_DONE || code < 0)
		code = CLI_FAILED;
	rebuild_report_release(&r);
	buf_release(&out);
	return code;
}

/* ---- the command ---- */

struct recover_args {
	bool check, rebuild, force, json;
};

/* Where nothing can be read, nothing would be found damaged either. */
static bool is_state_folder(const char *folder, struct buf *why)
{
	struct stat st;
	int error = stat(folder, &st) != 0 ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
	if (error == 0)
		return state_can_look(folder, why);
	buf_addf(why, "%s: %s; expected a state folder (--state)", folder, strerror(error));
	return false;
}

static int run_in(const char *folder, const struct recover_args *a)
{
	struct buf why;
	buf_init(&why, REPORT_MAX);
	bool fine = is_state_folder(folder, &why);
	if (!fine)
		fprintf(stderr, "valet recover: %.*s\n", STR_ARG(buf_str(&why)));
	buf_release(&why);
	if (!fine)
		return CLI_FAILED;
	if (a->check)
		return check(folder, a->json);
	return a->rebuild ? rebuild(folder, a->force, a->json) : recover(folder, a->json);
}

static bool fits_together(const struct recover_args *a)
{
	const char *what = a->check && a->rebuild    ? "--check changes nothing, so expected no --rebuild"
			   : a->force && !a->rebuild ? "--force: expected --rebuild"
						     : NULL;
	if (what)
		fprintf(stderr, "valet recover: %s\n", what);
	return !what;
}

static bool read_args(struct recover_args *a, struct cli_place *place, int argc, char **argv)
{
	struct options o;
	int found;
	options_init(&o, "valet recover", options, sizeof(options) / sizeof(options[0]), 0, argc, argv);
	while ((found = options_next(&o)) >= 0) {
		bool *const flags[] = {[OPT_CHECK] = &a->check, [OPT_REBUILD] = &a->rebuild, [OPT_FORCE] = &a->force, [OPT_JSON] = &a->json};
		if (found <= OPT_JSON)
			*flags[found] = true;
		else
			cli_place_take(place, &options[found], o.value);
	}
	return found != OPTIONS_WRONG && fits_together(a);
}

static int run(int argc, char **argv)
{
	struct buf folder;
	struct cli_place place = {NULL};
	struct recover_args args = {0};
	if (!read_args(&args, &place, argc, argv))
		return CLI_USAGE;
	buf_init(&folder, PATH_BYTES / 2);
	int code = CLI_USAGE;
	cli_take_zone(&place); /* what is charged belongs to windows of that zone */
	if (!cli_folder(&place, &folder))
		fprintf(stderr, "valet recover: --state: the path is too long\n");
	else
		code = run_in(folder.ptr, &args);
	buf_release(&folder);
	return code;
}

const struct command command_recover = {
	.name = "recover",
	.arguments = "[--check | --rebuild [--force]] [--state DIR]",
	.summary = "checks the books of a stopped server, brings them up to date, or repairs them",
	.text = "On a state folder that no server uses. With --check it verifies the checksum of every\n"
		"record of the journal and of every row of the store, that sums and rows agree, and that\n"
		"the books of every budget add up; it changes nothing, and exits with 1 where something is\n"
		"damaged. Without, it does what a start does: requests that a crash cut off are charged at\n"
		"what they had reserved, and the journal is brought into the store.\n\n"
		"With --rebuild it also repairs: what is damaged is set aside under another name and made\n"
		"anew from the rows of requests, the journal and whatever of it can be read. No budget\n"
		"begins again with less used than the rows say; a key that cannot be read must be made\n"
		"again. It says what was lost, and exits with 1 then, with 0 where all could be saved. Where\n"
		"the sums and a file of requests are damaged at once, it refuses without --force.",
	.options = options,
	.option_count = sizeof(options) / sizeof(options[0]),
	.run = run,
};
