/* relay_events.c - a stream of server-sent events: whole events go out as they come, the chunk with the usage that only we asked for is left
 * out, and the model is called as the client calls it.
 *
 * Nearly always one read brings whole events of which none is changed: then the bytes leave from where they were read into, with the frame of
 * a chunk written around them. An incomplete event is held until its rest comes; nothing waits on a timer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/relay_events.h"

#include "base/clock.h"
#include "base/json.h"
#include "http/sse.h"
#include "proxy/judge.h"
#include "proxy/native.h"
#include "proxy/resuming.h"
#include "proxy/worker.h"

/* The bytes at hand, and what of them goes out: kept events are moved together to `out`. */
struct batch {
	char *bytes;
	size_t len, at;  /* at: looked at up to here */
	char *out;       /* in bytes, or in `renamed` */
	size_t out_len;
	bool roomy;
	bool copies;     /* all of them go into `renamed` */
	bool broken;     /* the target has gone wrong; what follows is of no use */
	bool cut;        /* the prompt was cut: the answer is none */
	struct buf renamed;
};

static void first_event(struct request *r)
{
	r->first_us = clock_mono_us();
	histogram_add(&request_series(r)->first_token, r->first_us - r->sent_us);
	target_first_token(request_attempt(r)->place->target->state, r->worker->queue, r->first_us - r->sent_us, request_attempt(r)->others, r->first_us);
	pace_first(&request_attempt(r)->place->learned->pace, r->first_us - r->sent_us, r->input_guess, request_attempt(r)->others);
}

static void keep(struct batch *b, struct str event)
{
	if (b->out_len == 0)
		b->out = (char *)event.ptr;
	else if (b->out + b->out_len != event.ptr)
		memmove(b->out + b->out_len, event.ptr, event.len);
	b->out_len += event.len;
}

static void keep_renamed(struct request *r, struct batch *b, struct str event)
{
	struct str model = r->rename ? tap_event_model(event) : STR_NONE;
	if (b->renamed.len == 0) {
		buf_init(&b->renamed, 4 * EVENT_MAX);
		buf_reserve(&b->renamed, HTTP_ROOM + b->len + 1024 + HTTP_ROOM);
		b->renamed.len = HTTP_ROOM;
	}
	if (model.ptr) {
		const char *rest = model.ptr + model.len;
		buf_add(&b->renamed, event.ptr, (size_t)(model.ptr - event.ptr));
		json_quote(&b->renamed, r->facts.model);
		buf_add(&b->renamed, rest, (size_t)(event.ptr + event.len - rest));
	} else {
		buf_adds(&b->renamed, event);
	}
}

/* An event of a cloud, in OpenAI's words. */
static void take_event(struct request *r, struct batch *b, struct str event);

static void take_cloud_event(struct request *r, struct batch *b, struct str event)
{
	struct buf out;
	buf_init(&out, 4 * EVENT_MAX);
	struct cloud_stream *state = r->cloud;
	r->cloud = NULL; /* what it wrote is OpenAI's */
	take_event(r, b, cloud_event(request_attempt(r)->place->target->cloud, state, event, &r->arena, &out) ? buf_str(&out) : event);
	r->cloud = state;
	buf_release(&out);
}

static void put_event(struct request *r, struct batch *b, struct str event)
{
	if (b->copies)
		keep_renamed(r, b, event);
	else
		keep(b, event);
}

/* Streams that end with [DONE]: before it comes usage that was asked for. */
static bool needs_done(const struct request *r)
{
	return r->op->op == OP_CHAT || r->op->op == OP_COMPLETIONS;
}

static void put_finish(struct request *r, struct batch *b)
{
	b->copies = true; /* what is held does not stand beside the rest */
	put_event(r, b, r->native->finish);
	r->native->finish = STR_NONE;
}

/* The end of an answer whose prompt may have been cut goes out once its usage says that it was not. True: it is held. The chunks of a completion all
 * have usage, of zeros but for the last. */
static bool hold_finish(struct request *r, struct batch *b, struct str event, unsigned marks)
{
	if (!r->native)
		return false;
	bool told = marks & TAP_USAGE && (r->usage.input > 0 || marks & TAP_ONLY_USAGE);
	if (marks & TAP_USAGE && native_event_was_cut(r, event)) {
		b->cut = true;
		return true;
	}
	if (marks & TAP_FINISH && !told && needs_done(r)) {
		r->native->finish = arena_dup(&r->arena, event);
		return true;
	}
	if ((told || marks & TAP_DONE) && r->native->finish.len)
		put_finish(r, b);
	return false;
}

static void pass_event(struct request *r, struct batch *b, struct str event)
{
	unsigned marks = tap_event(event, &r->usage);
	r->mid_event = false;
	if (marks & TAP_DATA) {
		r->events++;
		if (r->first_us == 0)
			first_event(r);
	}
	r->saw_finish |= (marks & TAP_FINISH) != 0;
	r->saw_done |= (marks & TAP_DONE) != 0;
	r->saw_error |= (marks & TAP_ERROR) != 0;
	if (hold_finish(r, b, event, marks) || (r->hide_usage && marks & TAP_ONLY_USAGE))
		return;
	put_event(r, b, event);
}

/* An event of a stream that may go on elsewhere, or does. */
static void take_resumable(struct request *r, struct batch *b, struct str event)
{
	struct buf changed;
	buf_init(&changed, 4 * EVENT_MAX);
	switch (resume_event(r->resume, event, &changed)) {
	case RESUME_SAME:
		pass_event(r, b, event);
		break;
	case RESUME_CHANGED:
		pass_event(r, b, buf_str(&changed));
		break;
	case RESUME_NOTHING:
		break;
	case RESUME_BROKEN:
		b->broken = true;
		break;
	}
	buf_release(&changed);
	if (r->resume->barred && !r->resume->continued && !b->broken)
		resuming_stop(r);
}

static void take_event(struct request *r, struct batch *b, struct str event)
{
	if (r->cloud)
		take_cloud_event(r, b, event);
	else if (r->resume)
		take_resumable(r, b, event);
	else
		pass_event(r, b, event);
}

static void take_events(struct request *r, struct batch *b)
{
	while (b->at < b->len && !r->saw_done && !b->broken && !b->cut) {
		struct str rest = str_of(b->bytes + b->at, b->len - b->at);
		size_t n = sse_event_length(rest);
		if (n == 0)
			return;
		take_event(r, b, str_head(rest, n));
		b->at += n;
	}
}

static void choose_output(struct batch *b)
{
	if (b->renamed.len == 0)
		return;
	buf_reserve(&b->renamed, HTTP_ROOM);
	b->out = b->renamed.ptr + HTTP_ROOM;
	b->out_len = b->renamed.len - HTTP_ROOM;
	b->roomy = true;
}

/* The last event need not end in a blank line. */
static void take_unfinished(struct request *r, struct batch *b)
{
	struct str rest = str_of(b->bytes + b->at, b->len - b->at);
	if (rest.len == 0 || r->saw_done || b->broken || b->cut)
		return;
	b->at = b->len;
	if (r->resume && !resume_whole(rest))
		return; /* half an event could not be taken back */
	take_event(r, b, rest);
	r->mid_event = true;
}

/* The finish that is still held at the end: no usage came. */
static void put_last(struct request *r, struct batch *b)
{
	if (r->mid_event && str_ends(r->native->finish, STR("\n"))) { /* another event is the unfinished one */
		put_event(r, b, STR("\n\n"));
		r->mid_event = false;
	}
	put_finish(r, b);
}

/* Long events of which nothing is changed need not be whole. */
static void let_long_pass(struct request *r, struct batch *b)
{
	if (b->len - b->at < EVENT_WHOLE || r->rename || r->hide_usage || r->resume || r->native)
		return;
	keep(b, str_of(b->bytes + b->at, b->len - b->at));
	b->at = b->len;
	r->mid_event = true;
}

/* Sends the whole events and keeps the incomplete one for the next read. It is copied away first: the frame that is written around what
 * leaves from the same bytes covers its beginning. False: it has grown too large. */
static bool send_and_hold(struct request *r, struct batch *b)
{
	bool from_hold = b->bytes == r->hold.ptr;
	bool fits = from_hold || b->at == b->len || buf_add(&r->hold, b->bytes + b->at, b->len - b->at);
	relay_write(r, b->out, b->out_len, b->roomy, -1);
	if (!from_hold)
		return fits;
	buf_drop(&r->hold, b->at);
	if (r->hold.len == 0)
		buf_release(&r->hold);
	return !r->hold.over;
}

static const struct step *end_broken(struct request *r, enum error e, const char *what)
{
	struct attempt *a = request_attempt(r);
	count(&request_series(r)->streams_broken);
	a->outcome = HEALTH_BAD;
	const struct step *failed = request_failf(r, e, "target '%.*s' %s", STR_ARG(a->place->target->name), what);
	return resuming_elsewhere(r, failed);
}

static bool needs_finish(const struct request *r)
{
	return needs_done(r) || r->op->op == OP_RESPONSES || r->op->op == OP_MESSAGES;
}

/* The stream is over, in HTTP's order or by [DONE]; `b` holds the last events. */
static const struct step *finish(struct request *r, struct batch *b)
{
	char done[] = "\n\ndata: [DONE]\n\n", *from = r->mid_event ? done : done + 2;
	if (r->saw_error)
		request_fail(r, ERROR_UPSTREAM_ERROR, STR("the target sent an error inside the stream"));
	else if (!r->saw_done && !r->saw_finish && needs_finish(r)) {
		relay_write(r, b->out, b->out_len, b->roomy, -1);
		return end_broken(r, ERROR_UPSTREAM_DISCONNECT, "ended the stream before the answer was complete");
	}
	if (r->upstream && !r->data_last && !r->ended) {
		upstream_put_soon(r->upstream); /* [DONE] is here, the end of the chunked body may come in a moment */
		r->upstream = NULL;
	}
	if (r->saw_done || r->saw_error || !needs_done(r))
		return relay_finish(r, b->out, b->out_len, b->roomy, -1);
	relay_write(r, b->out, b->out_len, b->roomy, -1);
	return relay_finish(r, from, strlen(from), false, -1);
}

/* An error as the first thing of a stream: another target may do better. */
static bool error_first(const struct request *r)
{
	return r->saw_error && !r->committed && r->events == 1 && request_may_retry(r) && r->model->place_count > 1;
}

static void open_batch(struct request *r, struct batch *b)
{
	bool copies = r->rename || r->native || resuming_continues(r);
	*b = (struct batch){.bytes = r->data, .len = r->data_len, .out = r->data, .roomy = true, .copies = copies};
	if (r->hold.len > 0) {
		buf_add(&r->hold, r->data, r->data_len);
		*b = (struct batch){.bytes = r->hold.ptr, .len = r->hold.len, .out = r->hold.ptr, .copies = copies};
	}
	r->data_len = 0;
}

static const struct step *relay_batch(struct request *r, struct batch *b)
{
	bool last = r->data_last || r->ended;
	take_events(r, b);
	if (last)
		take_unfinished(r, b);
	if (last && r->native && r->native->finish.len && !b->cut && !b->broken)
		put_last(r, b);
	if (error_first(r))
		return end_broken(r, ERROR_UPSTREAM_ERROR, "answered with an error");
	if (!last && !r->saw_done)
		let_long_pass(r, b);
	choose_output(b);
	if (b->cut) {
		relay_write(r, b->out, b->out_len, b->roomy, -1);
		return native_too_long(r);
	}
	if (b->broken) {
		relay_write(r, b->out, b->out_len, b->roomy, -1);
		return end_broken(r, ERROR_UPSTREAM_ERROR, r->resume->why);
	}
	if (last || r->saw_done)
		return finish(r, b);
	if (!send_and_hold(r, b))
		return end_broken(r, ERROR_UPSTREAM_INVALID, "sent an event larger than 1 MiB");
	return STEP_WAIT;
}

/* Ollama's lines become events; half a line is held. */
static const struct step *relay_lines(struct request *r)
{
	struct buf events;
	struct batch b;
	buf_init(&events, 8 * EVENT_MAX);
	buf_add(&r->hold, r->data, r->data_len);
	r->data_len = 0;
	buf_drop(&r->hold, ollama_chat_lines(&r->native->about, &r->native->stream, buf_str(&r->hold), r->data_last || r->ended, &r->arena, &events));
	const struct failure *f = &r->native->stream.failure;
	if (f->error == ERROR_CONTEXT_LENGTH_EXCEEDED && !r->committed) {
		buf_release(&events);
		request_fail(r, f->error, f->message);
		return native_too_long(r);
	}
	b = (struct batch){.bytes = events.ptr, .len = events.len, .out = events.ptr, .copies = true};
	const struct step *next = r->hold.over || events.over ? end_broken(r, ERROR_UPSTREAM_INVALID, "sent a line larger than 1 MiB") : relay_batch(r, &b);
	buf_release(&b.renamed);
	buf_release(&events);
	return next;
}

const struct step *relay_events(struct request *r)
{
	struct batch b;
	if (r->native && r->native->spoken)
		return relay_lines(r);
	if (r->data_len == 0)
		r->data = r->hold.ptr; /* only the end has come */
	open_batch(r, &b);
	const struct step *next = relay_batch(r, &b);
	buf_release(&b.renamed);
	return next;
}
