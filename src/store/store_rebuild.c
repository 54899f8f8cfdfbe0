/* store_rebuild.c - see store.h: a folder whose files are damaged becomes one that a start accepts, with all that can be read of it.
 *
 * What must not happen: that a budget begins again with less used than the rows of requests say. So whatever tells of use is believed, the larger number
 * where two tell differently; what nothing tells of any more is said.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/rebuild_parts.h"

#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define DATABASE "valet.db"
#define SAID_MAX (1u << 20)

void rebuild_at(struct rebuild *b, const char *step)
{
	if (b->o->at)
		b->o->at(b->o->user, step);
}

void rebuild_say(struct rebuild *b, bool lost, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (lost)
		BUF_ADD(&b->report->said, "LOST: ");
	buf_addv(&b->report->said, format, args);
	BUF_ADD(&b->report->said, "\n");
	b->report->lost |= lost;
	va_end(args);
}

void rebuild_report_release(struct rebuild_report *report)
{
	buf_release(&report->said);
	buf_release(&report->aside);
}

/* ---- what a rebuild that was broken off has left ---- */

static void delete_drafts(const char *folder)
{
	char path[PATH_BYTES];
	DIR *dir = opendir(folder);
	for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
		struct str name = str_from(e->d_name);
		bool ours = str_starts(name, STR(DATABASE ".")) || str_starts(name, STR("requests-")) || str_starts(name, STR("lane-"));
		if (!ours || (str_search(name, STR(DRAFT)) == name.len && str_search(name, STR(COPY)) == name.len))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		unlink(path);
	}
	if (dir)
		closedir(dir);
}

/* ---- refusing ---- */

static bool may_go_on(struct rebuild *b)
{
	char name[MONTH_NAME];
	size_t damaged = 0;
	for (size_t i = 0; i < b->month_count && !b->o->force; i++) {
		if (!b->months[i].damaged || b->kept.whole)
			continue;
		month_name(name, b->months[i].number);
		if (damaged++ == 0)
			buf_addf(b->why, "valet.db is damaged (%s), and so is %s", b->kept.why, name);
		else
			buf_addf(b->why, ", %s", name);
	}
	if (damaged)
		buf_addf(b->why, "; what cannot be read in either would be charged to nobody. Put back a copy of one of them, or give --force to go on "
				 "without it");
	return damaged == 0;
}

/* ---- the plan ---- */

static bool begin_lanes(struct rebuild *b)
{
	bool fine = true;
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX && fine; lane++) {
		const struct salvaged_lane *l = &b->journal.lanes[lane];
		uint64_t last = l->newest > b->applied[lane] ? l->newest : b->applied[lane];
		fine = !l->damaged || journal_salvage_begin(b->o->folder, lane, l->number + 1, last + l->skip + 1, b->why);
	}
	return fine;
}

static void plan_database(struct plan *p, const char *name)
{
	static const char *const parts[] = {"-wal", "-shm", "-journal", ""};
	char part[MONTH_NAME + 16];
	for (size_t i = 0; i < 4; i++) {
		snprintf(part, sizeof(part), "%s%s", name, parts[i]);
		plan_aside(p, part);
	}
	plan_place(p, name);
}

static void plan_lanes(const struct rebuild *b, struct plan *p)
{
	char path[80];
	for (size_t i = 0; i < b->journal.survey.count; i++) {
		const struct found *f = &b->journal.survey.files[i];
		bool aside = f->lane >= JOURNAL_LANES_MAX || b->journal.lanes[f->lane].damaged;
		snprintf(path, sizeof(path), "journal/lane-%02u-%012llu.vj", f->lane, (unsigned long long)f->number);
		if (aside)
			plan_aside(p, path);
	}
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++) {
		snprintf(path, sizeof(path), "journal/lane-%02u-%012llu.vj", lane, (unsigned long long)b->journal.lanes[lane].number + 1);
		if (b->journal.lanes[lane].damaged)
			plan_place(p, path);
	}
}

/* The names that files will have had given. */
static void note_aside(struct rebuild *b, const struct plan *p)
{
	struct str rest = buf_str(&p->text), line, word;
	while (str_split(&rest, '\n', &line)) {
		if (!str_starts(line, STR("aside ")))
			continue;
		str_split(&line, ' ', &word);
		str_split(&line, ' ', &word);
		buf_adds(&b->report->aside, line);
		BUF_ADD(&b->report->aside, "\n");
	}
}

static bool switch_over(struct rebuild *b)
{
	struct plan p;
	char name[MONTH_NAME];
	bool did;
	plan_init(&p, b->o->folder, b->stamp);
	plan_database(&p, DATABASE);
	for (size_t i = 0; i < b->month_count; i++) {
		month_name(name, b->months[i].number);
		if (b->months[i].drafted)
			plan_database(&p, name);
	}
	plan_lanes(b, &p);
	note_aside(b, &p);
	bool fine = plan_write(&p, b->why);
	rebuild_at(b, "plan");
	fine = fine && plan_run(b->o->folder, &did, b->o->at, b->o->user, b->why);
	plan_release(&p);
	return fine;
}

/* ---- telling ---- */

static void tell_keys(struct rebuild *b)
{
	const struct rebuild_report *r = b->report;
	if (b->behind)
		rebuild_say(b, true, "valet.db was an older one, or had lost its valet.db-wal: its last %llu changes are missing. Keys that were revoked or "
				     "limited by them are not, and the last ones that were made are unknown: compare valet key list",
			    (unsigned long long)b->behind);
	if (b->kept.tables[KEPT_KEYS].whole)
		rebuild_say(b, false, "keys: all %llu were saved", (unsigned long long)r->keys);
	else
		rebuild_say(b, true, "%llu key%s could be saved; the others must be made again (valet key create), and a key that is made again begins with "
				     "full budgets. In the place of %llu that %s known to have been used stand%s a revoked one (lost-NUMBER)",
			    (unsigned long long)r->keys, r->keys == 1 ? "" : "s", (unsigned long long)r->keys_lost, r->keys_lost == 1 ? "is" : "are",
			    r->keys_lost == 1 ? "s" : "");
}

static void tell_month(struct rebuild *b, const struct rebuild_month *m)
{
	char name[MONTH_NAME];
	month_name(name, m->number);
	b->report->requests_lost += m->lost;
	if (m->damaged)
		rebuild_say(b, false, "%s was damaged (%s); %llu of its rows could be read", name, m->sentence, (unsigned long long)m->kept);
	if (m->lacks)
		rebuild_say(b, true, "%s lacks the rows of %llu request%s; what %s used stays charged, as the sums had it", name,
			    (unsigned long long)m->lost, m->lost == 1 ? "" : "s", m->lost == 1 ? "it" : "they");
	if (m->damaged && !b->kept.whole)
		rebuild_say(b, true, "what %s held beyond that IS NOT CHARGED TO ANYBODY, since the sums of valet.db are damaged as well", name);
}

static void tell_journal(struct rebuild *b)
{
	for (unsigned lane = 0; lane < JOURNAL_LANES_MAX; lane++)
		if (b->journal.lanes[lane].damaged)
			rebuild_say(b, false, "lane %u of the journal was damaged; every record of it that could be read is in the books", lane);
	b->report->records = b->journal.count;
	b->report->bytes_lost = b->journal.bytes_lost;
	if (b->journal.bytes_lost)
		rebuild_say(b, true, "%llu bytes of the journal could not be read", (unsigned long long)b->journal.bytes_lost);
}

static void tell(struct rebuild *b)
{
	if (b->kept.whole)
		rebuild_say(b, false, "valet.db was whole; it was made anew from itself and from what the other files say");
	else
		rebuild_say(b, false, "valet.db was damaged (%s); it was made anew from %llu rows of requests and what could be read of it", b->kept.why,
			    (unsigned long long)b->report->requests);
	tell_keys(b);
	for (size_t i = 0; i < b->month_count; i++)
		tell_month(b, &b->months[i]);
	tell_journal(b);
	if (b->report->open)
		rebuild_say(b, false, "requests without an end, which are charged at what they had reserved: %llu", (unsigned long long)b->report->open);
}

/* ---- all of it ---- */

static bool read_all(struct rebuild *b)
{
	int64_t *numbers;
	size_t count = months_list(b->o->folder, &numbers);
	int64_t from = count ? month_begins_s(numbers[0]) : b->o->now_s - 86400 * 62;
	int64_t to = b->o->now_s + 86400;
	if (count && month_begins_s(numbers[count - 1] + 1) > to)
		to = month_begins_s(numbers[count - 1] + 1);
	free(numbers);
	if (!journal_salvage(&b->journal, b->o->folder, b->why))
		return false;
	if (!kept_read(&b->kept, b->o->folder, from, to, b->why))
		return false;
	main_behind(b);
	main_fed(b);
	return months_look(b);
}

static bool run(struct rebuild *b)
{
	if (!read_all(b) || !may_go_on(b))
		return false;
	begins_collect(b);
	if (!months_fill(b) || !months_sum(b) || !main_sum(b) || !main_draft(b) || !begin_lanes(b))
		return false;
	months_close(b->files);
	if (!switch_over(b))
		return false;
	tell(b);
	return true;
}

static void start(struct rebuild *b, const struct rebuild_options *o, struct rebuild_report *report, struct buf *why)
{
	struct tm tm;
	time_t now = (time_t)o->now_s;
	*b = (struct rebuild){.o = o, .report = report, .why = why};
	b->files = mem_zero(sizeof(*b->files));
	b->files->folder = mem_str(str_from(o->folder));
	table_init(&b->ids, 64);
	sums_init(&b->rows);
	sums_init(&b->said);
	arena_init(&b->texts, 4096);
	arena_init(&b->kept.arena, 64);
	arena_init(&b->journal.arena, 64);
	gmtime_r(&now, &tm);
	strftime(b->stamp, sizeof(b->stamp), "%Y%m%d-%H%M%S", &tm);
}

static void end(struct rebuild *b)
{
	months_close(b->files);
	free(b->files->folder);
	free(b->files);
	journal_salvage_release(&b->journal);
	kept_release(&b->kept);
	free(b->months);
	free(b->begins);
	table_release(&b->ids);
	sums_release(&b->rows);
	sums_release(&b->said);
	arena_release(&b->texts);
}

/* A name of what is set aside that nobody has yet: a second rebuild within one second must not take the first one's files for its own. */
static void choose_stamp(struct rebuild *b)
{
	char stamp[sizeof(b->stamp)], name[80];
	snprintf(stamp, sizeof(stamp), "%s", b->stamp);
	for (int i = 2; i < 1000; i++) {
		bool taken = false;
		DIR *dir = opendir(b->o->folder);
		snprintf(name, sizeof(name), ".damaged-%s", b->stamp);
		for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
			taken |= str_ends(str_from(e->d_name), str_from(name));
		if (dir)
			closedir(dir);
		if (!taken)
			return;
		snprintf(b->stamp, sizeof(b->stamp), "%.17s-%d", stamp, i);
	}
}

bool store_rebuild(const struct rebuild_options *o, struct rebuild_report *report, struct buf *why)
{
	struct rebuild b;
	char journal[PATH_BYTES];
	*report = (struct rebuild_report){0};
	buf_init(&report->said, SAID_MAX);
	buf_init(&report->aside, SAID_MAX);
	if (!plan_run(o->folder, &report->finished, o->at, o->user, why))
		return false;
	if (report->finished) {
		BUF_ADD(&report->said, "a rebuild that had been broken off was brought to its end\n");
		return true;
	}
	snprintf(journal, sizeof(journal), "%s/journal", o->folder);
	delete_drafts(o->folder);
	delete_drafts(journal);
	start(&b, o, report, why);
	choose_stamp(&b);
	bool fine = run(&b);
	end(&b);
	if (!fine && !file_exists(o->folder, REBUILD_PLAN)) { /* a disk that is full gets its room back */
		delete_drafts(o->folder);
		delete_drafts(journal);
	}
	return fine;
}
