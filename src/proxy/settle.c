/* settle.c - SETTLE: runs once for every request, whatever became of it: counts, one log line, and everything is given back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"

/* ---- counting ---- */

static void count_series(struct request *r, int64_t now_us)
{
	struct series *s = request_series(r);
	if (!s)
		return;
	count(&s->requests);
	if (r->error)
		count(&s->errors);
	if (r->streaming)
		count_down(&s->streams);
	if (r->usage.known) {
		count_add(&s->tokens_in, (uint64_t)r->usage.input);
		count_add(&s->tokens_cached, (uint64_t)r->usage.cached);
		count_add(&s->tokens_out, (uint64_t)r->usage.output);
	} else if (r->op->counts_output && !r->error) {
		count(&s->usage_missing);
	}
	histogram_add(&s->duration, now_us - r->began_us);
}

static void count_request(struct request *r, int64_t now_us)
{
	struct metrics *m = &r->worker->metrics;
	count_add(&m->bytes_in, r->bytes_in);
	count_add(&m->bytes_out, r->bytes_out);
	count_down(&m->in_flight);
	if (r->error)
		count(&m->errors[r->error]);
	if (r->error == ERROR_CLIENT_CLOSED)
		count(&m->client_closed);
	count_series(r, now_us);
}

/* ---- the log line ---- */

struct line {
	char *at, *end;
};

static void put(struct line *l, struct str s)
{
	size_t n = s.len < (size_t)(l->end - l->at) ? s.len : (size_t)(l->end - l->at);
	memcpy(l->at, s.ptr ? s.ptr : "", n);
	l->at += n;
}

static void put_number(struct line *l, int64_t n)
{
	char digits[20], *at = digits + sizeof(digits);
	uint64_t rest = n < 0 ? 0 : (uint64_t)n;
	do
		*--at = (char)('0' + rest % 10);
	while (rest /= 10);
	put(l, str_of(at, (size_t)(digits + sizeof(digits) - at)));
}

/* Names come from outside: nothing in them may look like another field or another line. */
static void put_name(struct line *l, struct str s)
{
	for (size_t i = 0; i < s.len && i < 128; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		char shown = c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=' ? '?' : (char)c;
		put(l, str_of(&shown, 1));
	}
	if (s.len == 0)
		put(l, STR("-"));
}

struct writer {
	struct line line;
	bool json;
};

static void key(struct writer *w, struct str name)
{
	if (w->json) {
		put(&w->line, STR(",\""));
		put(&w->line, name);
		put(&w->line, STR("\":"));
	} else {
		put(&w->line, STR(" "));
		put(&w->line, name);
		put(&w->line, STR("="));
	}
}

static void field_name(struct writer *w, struct str name, struct str value)
{
	key(w, name);
	if (w->json)
		put(&w->line, STR("\""));
	put_name(&w->line, value);
	if (w->json)
		put(&w->line, STR("\""));
}

static void field_number(struct writer *w, struct str name, int64_t value)
{
	key(w, name);
	put_number(&w->line, value);
}

static void begin_line(struct writer *w, const char *id, int64_t now_us)
{
	char time[24];
	log_time(time, now_us);
	if (w->json)
		put(&w->line, STR("{\"time\":\""));
	put(&w->line, str_of(time, sizeof(time)));
	put(&w->line, w->json ? STR("\",\"level\":\"info\",\"request\":\"") : STR(" info  request "));
	put(&w->line, str_from(id));
	if (w->json)
		put(&w->line, STR("\""));
}

static void log_facts(struct writer *w, struct request *r)
{
	struct attempt *a = request_attempt(r);
	field_name(w, STR("op"), str_from(r->op ? r->op->name : "-"));
	if (r->model || r->facts.model.len)
		field_name(w, STR("model"), r->model ? r->model->name : r->facts.model);
	if (r->key)
		field_name(w, STR("key"), r->key->name);
	if (a)
		field_name(w, STR("target"), a->place->target->name);
	if (r->overflow)
		field_name(w, STR("overflow"), str_from(r->overflow));
	field_number(w, STR("status"), r->error == ERROR_CLIENT_CLOSED ? 499 : r->status);
	if (r->error)
		field_name(w, STR("error"), str_from(error_rows[r->error].code));
}

static void log_numbers(struct writer *w, struct request *r, int64_t now_us)
{
	field_number(w, STR("ms"), (now_us - r->began_us) / 1000);
	if (r->first_us)
		field_number(w, STR("first_ms"), (r->first_us - r->sent_us) / 1000);
	if (r->used.source != SOURCE_NONE) {
		field_number(w, STR("in"), r->used.input);
		field_number(w, STR("out"), r->used.output);
		if (r->used.cost)
			field_number(w, STR("nanodollars"), r->used.cost);
		if (r->used.source != SOURCE_UPSTREAM)
			field_name(w, STR("by"), str_from(source_names[r->used.source]));
	}
	if (request_queue_ms(r))
		field_number(w, STR("queue_ms"), request_queue_ms(r));
	if (r->attempt_count > 1)
		field_number(w, STR("attempts"), r->attempt_count);
	if (r->resumed)
		field_number(w, STR("resumed"), r->resumed);
	field_number(w, STR("bytes"), (int64_t)r->bytes_out);
}

static void log_request(struct request *r, int64_t now_us)
{
	struct writer w = {.line = {r->worker->loop.compose, r->worker->loop.compose + 2048}};
	w.json = log_format_now() == LOG_JSON;
	begin_line(&w, r->id, now_us);
	log_facts(&w, r);
	log_numbers(&w, r, now_us);
	put(&w.line, w.json ? STR("}\n") : STR("\n"));
	log_line(str_of(r->worker->loop.compose, (size_t)(w.line.at - r->worker->loop.compose)));
}

/* ---- */

static bool is_quiet(const struct request *r)
{
	return r->op && (r->op->op == OP_HEALTH || r->op->op == OP_READY || r->op->op == OP_METRICS) && !r->error;
}

const struct step *step_settle(struct request *r)
{
	request_book(r, 0);
	int64_t now_us = r->ended_us;
	route_leave_queue(r);
	request_end_attempt(r, r->error != ERROR_NONE);
	timer_stop(&r->timer);
	claim_stop_waiting(r);
	count_request(r, now_us);
	if (r->catalog->log_requests && log_wants(LOG_INFO) && !is_quiet(r))
		log_request(r, now_us);
	list_remove(&r->link);
	catalog_unref(r->catalog);
	buf_release(&r->hold);
	if (r->resume)
		resume_release(r->resume);
	arena_release(&r->arena);
	free(r);
	return STEP_DONE;
}
