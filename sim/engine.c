/* engine.c - slots, the queue for them, and the time that an answer takes.
 *
 * The life of a job: NEW, HELD by a slow head, WAITING for a slot, PREFILL until the first token,
 * DECODE, or STUCK (a fault left it without an end). Steps that cost no time are taken at once, so
 * that a job without any waits is answered inside the callback that brought its request and never
 * touches the heap.
 *
 * A slot is granted under the lock by whoever leaves one, and told by a message, also on the same
 * worker. That other one touches nothing of the job but `link`, `granted` and the message. A client
 * that leaves in between finds its job granted: the job then stays, without a connection, until the
 * message has come.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "base/clock.h"

#define INSTANT_US 1000 /* delays below the pacer's resolution are none */

static void enter(struct job *j);
static void on_due(struct pace *p);
static void receive_grant(struct message *m);

/* ---- keeping ---- */

struct job *job_keep(struct job *j)
{
	if (j->on_heap)
		return j;
	struct job *kept = mem_alloc(sizeof(*kept));
	*kept = *j;
	kept->on_heap = true;
	list_init(&kept->link);
	pace_init(&kept->pace, on_due);
	kept->grant.receive = receive_grant;
	if (kept->source == SOURCE_TEXT)
		kept->text = arena_dup(&kept->arena, kept->text);
	if (kept->model_json.ptr != kept->model->json.ptr)
		kept->model_json = arena_dup(&kept->arena, kept->model_json);
	kept->conn->user = kept;
	http_release_input(kept->conn);
	worker_count(kept->worker, COUNT_ACTIVE, 1);
	return kept;
}

void job_stick(struct job *j)
{
	j = job_keep(j);
	j->state = JOB_STUCK;
}

/* ---- slots ---- */

static void grant_next(struct sim *sim)
{
	struct engine *e = &sim->engine;
	if (list_empty(&e->waiting)) {
		e->running--;
		return;
	}
	struct job *next = CONTAINER_OF(e->waiting.next, struct job, link);
	list_remove(&next->link);
	e->waiting_count--;
	next->granted = true;
	mailbox_post(&next->worker->loop, &next->grant);
}

static void leave(struct job *j)
{
	struct sim *sim = j->worker->sim;
	sim_lock(sim);
	sim->engine.kv_tokens -= j->kv_tokens;
	grant_next(sim);
	sim_unlock(sim);
	j->has_slot = false;
}

/* Out of the queue. False: the slot has been granted, its message will come. */
static bool withdraw(struct job *j)
{
	struct sim *sim = j->worker->sim;
	sim_lock(sim);
	bool granted = j->granted;
	if (!granted) {
		list_remove(&j->link);
		sim->engine.waiting_count--;
	}
	sim_unlock(sim);
	return !granted;
}

/* Takes a slot; false: the job has to wait and is in the queue. */
static bool take_slot(struct job **j)
{
	struct sim *sim = (*j)->worker->sim;
	struct engine *e = &sim->engine;
	sim_lock(sim);
	bool free_slot = sim->options.slots == 0 || e->running < sim->options.slots;
	if (free_slot) {
		e->running++;
		(*j)->has_slot = true;
	} else {
		*j = job_keep(*j);
		(*j)->state = JOB_WAITING;
		list_push_back(&e->waiting, &(*j)->link);
		e->waiting_count++;
	}
	sim_unlock(sim);
	return free_slot;
}

/* ---- the end ---- */

void job_end(struct job *j)
{
	if (j->state == JOB_WAITING && !withdraw(j)) {
		j->conn = NULL;
		return;
	}
	if (j->on_heap)
		pace_stop(&j->pace);
	if (j->has_slot)
		leave(j);
	if (j->conn && j->conn->user == j)
		j->conn->user = NULL;
	stats_job(j);
	arena_release(&j->arena);
	if (j->on_heap) {
		worker_count(j->worker, COUNT_ACTIVE, -1);
		free(j);
	}
}

void job_gone(struct job *j)
{
	j->aborted = true;
	j->conn = NULL;
	__atomic_store_n(&j->worker->last_abort_us, clock_mono_us(), __ATOMIC_RELAXED);
	job_end(j);
}

/* ---- answering ---- */

static void send_whole(struct job *j)
{
	struct worker *w = j->worker;
	struct http_conn *c = j->conn;
	struct fault fault = j->fault;
	struct buf *out = worker_compose(w);
	j->made = j->tokens;
	j->surface->whole(j, out);
	struct str body = worker_composed(w),
		   fields = sim_fields(w->sim, (enum field_set)j->fields);
	j->bytes = body.len;
	if (fault_is(&fault, PHASE_RUN) && fault_break(c, &fault, fields, body)) {
		job_stick(j);
		return;
	}
	job_end(j); /* before the answer goes out: who has it finds our numbers complete */
	if (c->state != CONN_ANSWER)
		return;
	if (fault_is(&fault, PHASE_WIRE))
		fault_send(w, c, &fault, fields, body);
	else
		http_respond(c, 200, fields, body);
}

/* ---- time ---- */

static int64_t load_of(struct job *j, int64_t us)
{
	struct sim *sim = j->worker->sim;
	if (sim->options.load <= 0)
		return us;
	sim_lock(sim);
	uint32_t running = sim->engine.running;
	sim_unlock(sim);
	return running > 1 ? us + (int64_t)((double)us * sim->options.load * (running - 1)) : us;
}

static void set_times(struct job *j)
{
	const struct options *o = &j->worker->sim->options;
	if (j->ttft_us < 0) {
		double us = o->ttft_ms * 1000;
		if (o->prefill_tps > 0)
			us += 1e6 * (j->prompt_tokens - j->cached_tokens) / o->prefill_tps;
		j->ttft_us = load_of(j, (int64_t)us);
	}
	if (j->interval_us < 0)
		j->interval_us = o->tokens_per_second > 0
					 ? load_of(j, (int64_t)(1e6 / o->tokens_per_second))
					 : 0;
	if (j->fault.kind == FAULT_SLOW_TOKEN)
		j->ttft_us = j->interval_us = j->fault.arg * 1000;
	if (j->fault.kind == FAULT_ENDLESS)
		j->tokens = UINT32_MAX;
}

static void begin(struct job *j)
{
	set_times(j);
	int64_t whole_us = j->ttft_us + j->interval_us * j->tokens;
	if (j->has_slot) {
		uint64_t tokens = (uint64_t)j->prompt_tokens + j->tokens;
		j->kv_tokens = tokens < (uint64_t)j->model->context ? (uint32_t)tokens
								    : (uint32_t)j->model->context;
		sim_lock(j->worker->sim);
		j->worker->sim->engine.kv_tokens += j->kv_tokens;
		sim_unlock(j->worker->sim);
	}
	if (!j->stream && whole_us < INSTANT_US) {
		send_whole(j);
		return;
	}
	j = job_keep(j);
	j->state = JOB_PREFILL;
	int64_t now_us = clock_mono_us();
	j->first_us = now_us + j->ttft_us;
	if (!j->stream) {
		pace_at(&j->worker->pacer, &j->pace, now_us + whole_us);
		return;
	}
	if (j->ttft_us >= INSTANT_US && !stream_head(j))
		return;
	if (j->ttft_us < INSTANT_US) {
		j->state = JOB_DECODE;
		stream_go(j);
	} else {
		pace_at(&j->worker->pacer, &j->pace, j->first_us);
	}
}

static void on_due(struct pace *p)
{
	struct job *j = CONTAINER_OF(p, struct job, pace);
	if (j->state == JOB_HELD) {
		j->state = JOB_NEW;
		enter(j);
	} else if (j->stream) {
		j->state = JOB_DECODE;
		stream_go(j);
	} else {
		send_whole(j);
	}
}

static void receive_grant(struct message *m)
{
	struct job *j = CONTAINER_OF(m, struct job, grant);
	j->state = JOB_NEW;
	j->has_slot = true;
	if (j->conn)
		begin(j);
	else
		job_end(j);
}

/* True if the job takes no time, so that it need not count as running. */
static bool instant(const struct job *j)
{
	const struct options *o = &j->worker->sim->options;
	if (j->surface == &surface_fixed)
		return true;
	return !j->stream && o->slots == 0 && o->ttft_ms <= 0 && o->prefill_tps <= 0 &&
	       o->tokens_per_second <= 0 && j->ttft_us <= 0 && j->interval_us <= 0;
}

static void enter(struct job *j)
{
	if (instant(j) || take_slot(&j))
		begin(j);
	else if (j->stream && !j->headed)
		stream_head(j);
}

void engine_run(struct job *j)
{
	bool inside = j->worker->sim->dialect->error_chunk && j->surface == &surface_chat; /* told with status 200 */
	if (j->fault.kind == FAULT_ERROR_IN_STREAM && !j->stream && !inside) {
		worker_complain(
			j->worker, j->conn,
			&(struct complaint){.status = 500,
					    .shape = j->surface->shape,
					    .type = "server_error",
					    .text = STR("The simulated engine has failed.")});
		j->status = 500;
		j->conn = NULL;
		job_end(j);
		return;
	}
	if (j->fault.kind == FAULT_ENDLESS && !j->stream) {
		j->surface = &surface_endless;
		j->stream = true;
	}
	if (j->fault.kind != FAULT_SLOW_HEAD) {
		enter(j);
		return;
	}
	j = job_keep(j);
	j->state = JOB_HELD;
	pace_at(&j->worker->pacer, &j->pace, clock_mono_us() + j->fault.arg * 1000);
}
