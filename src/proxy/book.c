/* book.c - what a request has used: measured, priced, settled in the books, and written into the journal before the last byte of the answer.
 *
 * Where the target tells its numbers they hold. Else output is counted by the events of a stream, or judged by bytes, and input by the ratio of bytes to
 * tokens that earlier answers have taught; always on the side that costs more, and the record says so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "proxy/request.h"
#include "proxy/worker.h"
#include "store/ledger.h"

#define TEXT_PER_TOKEN     (4 * 256) /* what surrounds the text makes short bodies look as if a token had more */
#define TOKENS_PER_SECOND  250       /* before anything is known of a model */
#define NOTICE_MS          250       /* how long a target may go on producing after its client has left */
#define TARGET_TEXT        64        /* bytes of a target's name in a record */
#define TOKENS_MOST        ((int64_t)1 << 40)

static uint32_t look(const _Atomic uint32_t *number, uint32_t otherwise)
{
	uint32_t n = atomic_load_explicit(number, memory_order_relaxed);
	return n ? n : otherwise;
}

/* ---- learning ---- */

static void teach(_Atomic uint32_t *number, int64_t seen)
{
	uint32_t old = atomic_load_explicit(number, memory_order_relaxed);
	if (seen > 0 && seen < 1 << 24)
		atomic_store_explicit(number, old ? (uint32_t)((old * (int64_t)7 + seen) / 8) : (uint32_t)seen, memory_order_relaxed);
}

/* The fewest bytes of a token count, and are forgotten slowly. */
static void teach_ratio(_Atomic uint32_t *number, int64_t seen)
{
	int64_t old = look(number, 0);
	if (old && seen > old)
		seen = old + (seen - old) / 64;
	if (seen > 0 && seen < 1 << 24)
		atomic_store_explicit(number, (uint32_t)seen, memory_order_relaxed);
}

static void learn(struct request *r)
{
	struct learned *l = request_attempt(r)->place->learned;
	if (r->resumed) /* several targets' work */
		return;
	int64_t from_us = r->first_us ? r->first_us : r->sent_us, took_us = r->ended_us - from_us;
	if (r->usage.input >= 16 && r->op->body == BODY_JSON)
		teach_ratio(&l->bytes_per_token, (int64_t)r->bytes_in * 256 / r->usage.input);
	int64_t first_us = r->first_us ? r->first_us - r->sent_us : 0, whole_us = r->ended_us - r->sent_us;
	target_answered(request_attempt(r)->place->target->state, r->worker->queue, first_us, whole_us, r->usage.output, request_attempt(r)->others, r->ended_us);
	if (r->usage.output < 16)
		return;
	if (r->events >= 8)
		teach(&l->tokens_per_event, r->usage.output * 256 / (int64_t)r->events);
	pace_done(&l->pace, first_us, whole_us, r->usage.output, request_attempt(r)->others);
	uint32_t old = look(&l->tokens_per_second, 0);
	int64_t rate = r->usage.output * 1000000 / (took_us > 0 ? took_us : 1), slower = (int64_t)old * 63 / 64;
	if (rate > slower) /* the fastest counts, and is forgotten slowly */
		slower = rate < 1 << 24 ? rate : 1 << 24;
	atomic_store_explicit(&l->tokens_per_second, (uint32_t)slower, memory_order_relaxed);
}

/* ---- measuring ---- */

/* The target was at work on it when the request was broken off. */
static bool was_cut(const struct request *r)
{
	return r->cut || (r->gone && r->upstream && r->part_next == r->part_count);
}

/* The error came after a part of the answer. */
static bool broke_inside(const struct request *r)
{
	return r->error && r->committed && r->attempt_count && (r->events > 0 || (!r->as_events && r->bytes_out > 0));
}

static int64_t judged_input(const struct request *r, const struct learned *l)
{
	uint32_t ratio = bytes_per_token(l);
	int64_t n = (int64_t)r->bytes_in * 256 / (ratio < TEXT_PER_TOKEN ? ratio : TEXT_PER_TOKEN);
	n += n / 8 + 8;
	return n < r->input_bound ? n : r->input_bound;
}

static int64_t counted_output(const struct request *r, const struct learned *l)
{
	uint32_t ratio = look(&l->tokens_per_event, 256);
	return ((int64_t)r->events * (ratio > 256 ? ratio : 256) + 255) / 256;
}

/* Tokens a second that the target may have gone on with. The stream's own pace says nothing in its first moment, when many events come in one read, but
 * is all there is where nothing has been learned. */
static int64_t pace(const struct request *r, const struct learned *l, int64_t seen)
{
	int64_t learned = look(&l->tokens_per_second, 0), took_us = r->ended_us - r->first_us;
	int64_t own = seen * 1000000 / (took_us > 1000 ? took_us : 1000), rate = learned ? learned : TOKENS_PER_SECOND;
	return own > rate && (!learned || took_us > NOTICE_MS * 1000) ? own : rate;
}

/* What was produced until it was broken off: what was seen, and what can have been on its way. */
static int64_t cut_output(const struct request *r, const struct learned *l)
{
	int64_t seen = counted_output(r, l), rate = look(&l->tokens_per_second, TOKENS_PER_SECOND);
	if (!r->op->counts_output)
		return 0;
	if (r->first_us) /* a stream */
		return seen + pace(r, l, seen) * NOTICE_MS / 1000 + 4;
	return rate * 2 * (r->ended_us - r->sent_us + NOTICE_MS * 1000) / 1000000 + 16;
}

static void measure_cut(struct request *r, const struct learned *l)
{
	int64_t cut = cut_output(r, l);
	r->used.source = SOURCE_ABORTED;
	r->used.input = r->usage.known && r->usage.input ? r->usage.input : judged_input(r, l);
	r->used.cached = r->usage.known ? r->usage.cached : 0;
	r->used.output = r->usage.known && r->usage.output > cut ? r->usage.output : cut;
	if (r->usage.known && r->saw_finish)
		r->used.output = r->usage.output;
}

static void measure_unsaid(struct request *r, const struct learned *l, size_t more)
{
	r->used.input = judged_input(r, l);
	if (r->as_events || r->mode == RELAY_EVENTS) {
		r->used.source = SOURCE_COUNTED;
		r->used.output = counted_output(r, l);
	} else {
		r->used.source = SOURCE_ESTIMATED;
		r->used.output = r->op->counts_output ? (int64_t)(r->bytes_out + more) * 256 / BYTES_PER_TOKEN + 1 : 0;
	}
}

static int64_t clamp(int64_t n, int64_t most, bool *over)
{
	*over |= n > most;
	return n < 0 ? 0 : n > most ? most : n;
}

/* Where a budget says what may be used, no answer can use more of it; what a target tells beyond is flagged. */
static uint32_t bound_used(struct request *r)
{
	bool over = false;
	int64_t output = r->budgeted ? r->claim.hold_tokens - r->input_bound : TOKENS_MOST;
	r->used.input = clamp(r->used.input, r->budgeted ? r->input_bound : TOKENS_MOST, &over);
	r->used.output = clamp(r->used.output, output > 0 ? output : 0, &over);
	r->used.cached = clamp(r->used.cached, r->used.input, &over);
	if (r->used.source != SOURCE_UPSTREAM)
		return r->usage.flagged ? FLAG_NONSENSE : 0; /* our own guess was too careful, nothing else */
	return (over ? FLAG_OVER_HOLD : 0) | (r->usage.flagged ? FLAG_NONSENSE : 0);
}

static uint32_t measure(struct request *r, size_t more)
{
	const struct attempt *a = request_attempt(r);
	if (!a || (r->error && !was_cut(r) && !broke_inside(r)))
		return 0;
	const struct learned *l = a->place->learned;
	if (r->error) {
		measure_cut(r, l);
	} else if (r->usage.known) {
		r->used.source = r->resumed ? SOURCE_COUNTED : SOURCE_UPSTREAM; /* what part of it was there before is counted, see resuming.c */
		r->used.input = r->usage.input;
		r->used.cached = r->usage.cached;
		r->used.output = r->usage.output;
		learn(r);
	} else {
		measure_unsaid(r, l, more);
	}
	return bound_used(r);
}

static uint32_t price(struct request *r)
{
	const struct price *p = &request_attempt(r)->place->price;
	int64_t micros = r->ended_us - r->sent_us;
	bool told = r->usage.priced && r->used.source == SOURCE_UPSTREAM && request_attempt(r)->place->target->cloud == CLOUD_OPENROUTER;
	if (!p->known && !told)
		return FLAG_UNPRICED;
	r->used.cost = told ? r->usage.cost : price_cost(p, r->used.input, r->used.cached, r->used.output, micros > 0 ? micros : 0);
	if (!r->budgeted || r->claim.hold_nanos == 0 || r->used.cost <= r->claim.hold_nanos)
		return 0;
	r->used.cost = r->claim.hold_nanos;
	return FLAG_OVER_HOLD;
}

/* ---- writing down ---- */

static uint32_t clipped_ms(int64_t us)
{
	return us < 0 ? 0 : us / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(us / 1000);
}

static void write_settle(struct request *r, uint32_t flags, size_t more)
{
	unsigned char payload[RECORD_MAX];
	const struct attempt *a = request_attempt(r);
	struct lane *lane = r->worker->lane;
	struct record_settle s = {
		.begin = r->begin_seq, .began_us = r->book_us, .ended_us = r->book_us + (r->ended_us - r->began_us),
		.input = r->used.input, .cached = r->used.cached, .output = r->used.output, .cost = r->used.cost,
		.bytes_in = r->bytes_in, .bytes_out = r->bytes_out + more, .key = key_serial(r->key),
		.total_ms = clipped_ms(r->ended_us - r->began_us), .first_ms = r->first_us ? clipped_ms(r->first_us - r->sent_us) : 0,
		.queue_ms = clipped_ms(r->claim_us + r->queue_us), .status = (uint16_t)(r->error == ERROR_CLIENT_CLOSED ? 499 : r->status),
		.source = (uint8_t)r->used.source, .attempts = (uint8_t)r->attempt_count, .flags = flags,
		.model = r->model ? str_head(r->model->name, RECORD_TEXT) : STR_NONE, .op = str_from(r->op->name),
		.target = a ? str_head(a->place->target->name, TARGET_TEXT) : STR_NONE,
		.error = r->error ? str_from(error_rows[r->error].code) : STR_NONE,
	};
	memcpy(s.id, r->id + 4, RECORD_ID);
	if (r->used.source != SOURCE_NONE && r->model->reference.known)
		s.reference = price_cost(&r->model->reference, s.input, s.cached, s.output, 0);
	if (r->reserved)
		lane_unreserve(lane, r->settle_room);
	r->reserved = false;
	if (!lane || !lane_append(lane, RECORD_SETTLE, payload, record_put_settle(payload, &s)))
		count(&r->worker->metrics.records_lost);
	else
		ledger_appended(r->worker->ledger);
}

void request_book(struct request *r, size_t more)
{
	if (r->booked)
		return;
	r->booked = true;
	r->ended_us = clock_mono_us();
	if (r->book_us == 0) /* nothing that goes to a target */
		return;
	uint32_t flags = (r->facts.stream ? FLAG_STREAM : 0) | (r->gone ? FLAG_CLIENT_LEFT : 0) | (r->stopped ? FLAG_STOPPED : 0) |
			 (r->overflow ? FLAG_OVERFLOW : 0);
	flags |= measure(r, more);
	if (r->used.source != SOURCE_NONE)
		flags |= price(r);
	if (r->granted && r->claim.count)
		books_settle(r->catalog->books, &r->claim, r->used.input + r->used.output, r->used.cost, r->ended_us);
	if (r->overflow_claim.count) /* what was used at its own places in the end is not overflow's */
		books_settle(r->catalog->books, &r->overflow_claim, r->overflow ? r->used.input + r->used.output : 0, r->overflow ? r->used.cost : 0, r->ended_us);
	if (r->used.source != SOURCE_NONE || r->charged) /* what the queue charged was a guess */
		queue_charge(r->worker->queue, key_serial(r->key), key_weight(r->key),
			     r->used.input - (r->charged ? r->input_guess : 0), r->used.output - (r->charged ? r->output_guess : 0));
	write_settle(r, flags, more);
}
