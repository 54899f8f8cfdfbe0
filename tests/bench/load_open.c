/* load_open.c - an open loop: requests go out when a plan says so, however long those before them take
 *
 * So the load does not wait with a server that is slow, and the time of a request counts from when it was planned, not from when
 * there was room for it. Only the turns of one talk wait for each other.
 *
 * A line of the plan:  AT GROUP KEY TOKENS STREAM AFTER THINK MESSAGE...
 *   AT      milliseconds since the start; of a later turn: not before
 *   GROUP   a number for the reader of the results; KEY: index of --key, or -
 *   TOKENS  max_tokens; STREAM: 0 or 1
 *   AFTER   line number (from 0) of the turn before this one, or -; THINK: milliseconds after its end
 *   MESSAGE s:SEED:BYTES, u:SEED:BYTES or a:SEED:BYTES: of system, user, assistant; one seed gives one text
 *
 * A line of the results: GROUP KEY PLANNED SENT FIRST END STATUS, times in microseconds since the start, 0 where it did not happen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_NS 50000000U /* longest wait for events */

static struct shot *shots;
static unsigned shot_count, shots_left;
static unsigned *due; /* heap of those that wait for their time */
static unsigned due_count;
static uint64_t begun_ns;

/* ---- the plan ---- */

static int number_or_none(const char *text)
{
	return strcmp(text, "-") == 0 ? -1 : (int)strtol(text, NULL, 10);
}

static void read_line(struct shot *s, unsigned index, const char *line)
{
	char key[16], after[16];
	double at, think;
	unsigned stream;
	int used = 0;

	if (sscanf(line, "%lf %u %15s %u %u %15s %lf %n", &at, &s->group, key, &s->tokens, &stream, after, &think, &used) != 7)
		fatal("line %u of the plan is no request", index);
	s->planned_ns = (uint64_t)(at * 1e6);
	s->think_ns = (uint64_t)(think * 1e6);
	s->key = number_or_none(key);
	s->after = number_or_none(after);
	s->next = -1;
	s->stream = stream != 0;
	s->text = strdup(line + used);
	if (s->key >= (int)opt.key_count || s->after >= (int)index)
		fatal("line %u of the plan names a key or a line that is not there", index);
	if (s->after >= 0)
		shots[s->after].next = (int)index;
}

static void read_plan(void)
{
	FILE *file = opt.plan ? fopen(opt.plan, "r") : NULL;
	char *line = NULL;
	size_t room = 0;
	unsigned cap = 0;

	if (!file)
		fatal("open needs a --plan that can be read");
	while (getline(&line, &room, file) > 0) {
		if (shot_count == cap) {
			cap = cap ? cap * 2 : 1024;
			shots = realloc(shots, cap * sizeof(*shots));
			if (!shots)
				fatal("out of memory");
		}
		shots[shot_count] = (struct shot){0};
		read_line(&shots[shot_count], shot_count, line);
		shot_count++;
	}
	free(line);
	fclose(file);
	due = calloc(shot_count + 1, sizeof(*due));
	if (!due)
		fatal("out of memory");
	shots_left = shot_count;
}

/* ---- what is due: a heap ---- */

static bool sooner(unsigned a, unsigned b)
{
	return shots[a].planned_ns < shots[b].planned_ns || (shots[a].planned_ns == shots[b].planned_ns && a < b);
}

static void due_add(unsigned index)
{
	unsigned at = due_count++;

	for (; at > 0 && sooner(index, due[(at - 1) / 2]); at = (at - 1) / 2)
		due[at] = due[(at - 1) / 2];
	due[at] = index;
}

static unsigned due_take(void)
{
	unsigned first = due[0], last = due[--due_count], at = 0;

	for (unsigned child = 1; child < due_count; child = at * 2 + 1) {
		child += child + 1 < due_count && sooner(due[child + 1], due[child]);
		if (!sooner(due[child], last))
			break;
		due[at] = due[child];
		at = child;
	}
	due[at] = last;
	return first;
}

/* ---- a request ---- */

/* One seed gives one text. */
static void put_text(struct request *r, unsigned seed, size_t bytes)
{
	static const char *const words[] = {"the ", "gateway ", "keeps ", "its ", "budget, ", "while ", "every ", "user ", "of ", "a ", "household ",
					    "asks ", "models; ", "and ", "waits. "};
	size_t end = r->length + bytes;
	uint64_t state = (uint64_t)seed * 0x9e3779b97f4a7c15U + 1;

	if (end >= r->room)
		fatal("a request of more than %zu bytes", r->room);
	while (r->length < end) {
		state = state * 6364136223846793005U + 1442695040888963407U;
		for (const char *word = words[(state >> 33) % (sizeof(words) / sizeof(words[0]))]; *word && r->length < end;)
			r->bytes[r->length++] = *word++;
	}
}

/* The next message of the list and how far it goes; false at its end. */
static bool next_message(const char **list, char *role, unsigned *seed, unsigned *bytes)
{
	int used = 0;

	if (sscanf(*list, " %c:%u:%u%n", role, seed, bytes, &used) != 3)
		return false;
	*list += used;
	return true;
}

static size_t room_for(const char *list)
{
	unsigned seed, bytes;
	size_t sum = 1024;
	char role;

	while (next_message(&list, &role, &seed, &bytes))
		sum += bytes + 64;
	return sum;
}

static struct request room_of(size_t bytes)
{
	struct request r = {.bytes = malloc(bytes), .room = bytes};

	if (!r.bytes)
		fatal("out of memory");
	return r;
}

static void build(struct shot *s)
{
	struct request body = room_of(room_for(s->text)), whole = room_of(body.room + sizeof(opt.headers) + 1024);
	const char *list = s->text;
	unsigned seed, bytes;
	char role, comma = '[';

	request_put(&body, "{\"model\":\"%s\",\"messages\":", opt.model);
	for (; next_message(&list, &role, &seed, &bytes); comma = ',') {
		request_put(&body, "%c{\"role\":\"%s\",\"content\":\"", comma, role == 's' ? "system" : role == 'a' ? "assistant" : "user");
		put_text(&body, seed, bytes);
		request_put(&body, "\"}");
	}
	request_put(&body, "],\"max_tokens\":%u%s}", s->tokens, s->stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "");
	request_put(&whole, "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\n%s", opt.path, opt.host, opt.port, opt.headers);
	if (s->key >= 0)
		request_put(&whole, "Authorization: Bearer %s\r\n", opt.keys[s->key]);
	request_put(&whole, "Content-Length: %zu\r\n\r\n", body.length);
	memcpy(whole.bytes + whole.length, body.bytes, body.length);
	whole.length += body.length;
	free(body.bytes);
	s->request = whole;
}

void open_event(struct shot *s)
{
	s->first_ns = now_ns() - begun_ns;
}

void open_end(struct shot *s, int status)
{
	s->end_ns = now_ns() - begun_ns;
	s->status = status;
	free(s->request.bytes);
	s->request = (struct request){0};
	shots_left--;
	if (s->next < 0)
		return;
	struct shot *next = &shots[s->next]; /* a talk goes on whatever became of this turn */
	if (next->planned_ns < s->end_ns + next->think_ns)
		next->planned_ns = s->end_ns + next->think_ns;
	due_add((unsigned)s->next);
}

/* ---- the run ---- */

static void fire_due(void)
{
	while (due_count && shots[due[0]].planned_ns <= now_ns() - begun_ns) {
		struct shot *s = &shots[due_take()];

		build(s);
		s->sent_ns = now_ns() - begun_ns;
		conns_fire(s);
	}
}

static void write_results(void)
{
	FILE *file = opt.results ? fopen(opt.results, "w") : stdout;

	if (!file)
		fatal("%s cannot be written", opt.results);
	for (const struct shot *s = shots; s < shots + shot_count; s++)
		fprintf(file, "%u %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n", s->group, s->key, s->planned_ns / 1000, s->sent_ns / 1000,
			s->first_ns / 1000, s->end_ns / 1000, s->status);
	if (file != stdout && fclose(file) != 0)
		fatal("%s cannot be written", opt.results);
}

void run_open(void)
{
	uint64_t limit = (uint64_t)(opt.seconds * 1e9);

	read_plan();
	for (unsigned i = 0; i < shot_count; i++)
		if (shots[i].after < 0)
			due_add(i);
	begun_ns = now_ns();
	while (shots_left && now_ns() - begun_ns < limit) {
		uint64_t now, wait = TURN_NS;

		fire_due();
		now = now_ns() - begun_ns;
		if (due_count && shots[due[0]].planned_ns < now + TURN_NS)
			wait = shots[due[0]].planned_ns > now ? shots[due[0]].planned_ns - now : 0;
		conns_turn_ns(wait);
	}
	write_results();
}
