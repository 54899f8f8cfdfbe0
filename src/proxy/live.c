/* live.c - what a worker's requests are doing now, and stopping one: for the live view of operators.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "proxy/request.h"
#include "proxy/worker.h"

#include <stdio.h>

#define LIST_MAX  (64 << 20)
#define NAME_SHOWN 128

/* ---- listing ---- */

struct list_message {
	struct message message;
	struct worker *worker;
	void (*give)(void *user, struct str rows);
	void *user;
};

static void put_name(struct json_writer *w, struct str key, struct str name)
{
	char clean[NAME_SHOWN + 1];
	log_clean(clean, NAME_SHOWN, name);
	json_member_str(w, key, str_from(clean));
}

/* For a limit or a budget, a place, or a target's pause. */
static bool is_waiting(const struct request *r)
{
	return r->step == STEP_CLAIM || r->step == STEP_QUEUE || r->step == STEP_ROUTE;
}

/* What it has waited in all, up to now. */
static int64_t waited_ms(const struct request *r, int64_t now_us)
{
	if (r->step == STEP_CLAIM)
		return (now_us - r->began_us) / 1000;
	int64_t more = is_waiting(r) && r->queue_began_ms ? now_us / 1000 - r->queue_began_ms : 0;
	return request_queue_ms(r) + (more > 0 ? more : 0);
}

static void put_wait(struct json_writer *w, const struct request *r, int64_t now_us)
{
	json_member_bool(w, STR("waiting"), is_waiting(r));
	json_member_i64(w, STR("position"), r->ticket ? queue_position(r->worker->queue, r->ticket) : 0);
	json_member_i64(w, STR("queue_ms"), waited_ms(r, now_us));
}

static void put_what(struct json_writer *w, struct request *r)
{
	struct attempt *a = request_attempt(r);
	json_member_str(w, STR("id"), str_from(r->id));
	put_name(w, STR("key"), r->key ? r->key->name : STR("-"));
	put_name(w, STR("model"), r->model ? r->model->name : r->facts.model.len ? r->facts.model : STR("-"));
	put_name(w, STR("target"), a ? a->place->target->name : STR("-"));
	json_member_str(w, STR("op"), str_from(r->op ? r->op->name : "-"));
	json_member_str(w, STR("step"), str_from(r->step->name));
	json_member_bool(w, STR("stream"), r->facts.stream);
}

static void put_row(struct json_writer *w, struct request *r, int64_t now_us)
{
	json_open_object(w);
	put_what(w, r);
	put_wait(w, r, now_us);
	json_member_i64(w, STR("since_ms"), (now_us - r->began_us) / 1000);
	json_member_i64(w, STR("attempts"), r->attempt_count);
	json_member_i64(w, STR("status"), r->status);
	json_member_i64(w, STR("hold_tokens"), r->granted ? r->claim.hold_tokens : 0);
	json_member_i64(w, STR("hold_nanos"), r->granted ? r->claim.hold_nanos : 0);
	json_member_i64(w, STR("tokens_out"), r->usage.known && r->usage.output ? r->usage.output : (int64_t)r->events);
	json_close_object(w);
}

static void receive_list(struct message *m)
{
	struct list_message *lm = CONTAINER_OF(m, struct list_message, message);
	int64_t now_us = clock_mono_us();
	struct buf rows;
	buf_init(&rows, LIST_MAX);
	LIST_EACH(&lm->worker->requests, at) {
		struct request *r = CONTAINER_OF(at, struct request, link);
		struct json_writer w;
		if (!r->op || r->op->body == BODY_NONE)
			continue;
		if (rows.len)
			buf_addc(&rows, ',');
		json_writer_init(&w, &rows);
		put_row(&w, r, now_us);
	}
	lm->give(lm->user, buf_str(&rows));
	buf_release(&rows);
	free(lm);
}

void worker_list(struct worker *w, void (*give)(void *user, struct str rows), void *user)
{
	struct list_message *m = mem_zero(sizeof(*m));
	m->message.receive = receive_list;
	m->worker = w;
	m->give = give;
	m->user = user;
	mailbox_post(&w->loop, &m->message);
}

/* ---- stopping ---- */

struct stop_message {
	struct message message;
	struct worker *worker;
	char id[32];
	void (*done)(void *user, bool found);
	void *user;
};

static void receive_stop(struct message *m)
{
	struct stop_message *sm = CONTAINER_OF(m, struct stop_message, message);
	bool found = false;
	LIST_EACH(&sm->worker->requests, at) {
		struct request *r = CONTAINER_OF(at, struct request, link);
		if (found || strcmp(r->id, sm->id) != 0)
			continue;
		found = true;
		r->stopped = true;
		request_run(r);
	}
	sm->done(sm->user, found);
	free(sm);
}

void worker_stop_request(struct worker *w, const char *id, void (*done)(void *user, bool found), void *user)
{
	struct stop_message *m = mem_zero(sizeof(*m));
	m->message.receive = receive_stop;
	m->worker = w;
	m->done = done;
	m->user = user;
	snprintf(m->id, sizeof(m->id), "%s", id);
	mailbox_post(&w->loop, &m->message);
}
