/* adapt.c - see adapt.h: a target's places, learned.
 *
 * Any thread. Relaxed atomics: each number by itself, and the sums of a window need not fit each other to the last answer. `deciding` is taken for as long as the
 * state changes, and whoever finds it taken goes on without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/adapt.h"

#include <math.h>
#include <stddef.h>

#define WINDOW      16
#define SHORT       8     /* the window of a probe of few places */
#define WINDOW_MOST 64
#define STRIKES     2
#define MEANS       16    /* one answer moves what is known of their length by a sixteenth */
#define UNITS_MORE  16    /* tokens of an answer that the prompt stands for */
#define SOME_WAIT   20    /* percent of a service time: a probe of fewer places may be worth while */
#define FELT_US     20000 /* mean wait of a window: shorter ones are nobody's business */
#define LONG_WAIT   45    /* percent of a service time: waits of a window that are a queue's */
#define KEEPS_WINDOW 48   /* a trial that is not clear by then is decided by what is likelier */
#define KEEPS       90    /* percent of what it did before that a limit must reach to stay */
#define GAINS       40    /* percent of what more places promise that they must bring to stay */
#define LIMIT_MOST  256   /* a larger one is none */
#define OTHERS_MOST 4096
#define TIME_MOST   (INT64_C(1000) * 1000 * 1000)
#define WAIT_MOST   (INT64_C(100) * 1000 * 1000) /* in ms */
#define PROBE_US    (INT64_C(5) * 1000 * 1000)   /* pause after the first vain probe, at least; it doubles */
#define PROBE_MOST  (INT64_C(160) * 1000 * 1000)
#define PAUSE_TIMES 32                           /* the same in service times */
#define LIFT_US     (INT64_C(30) * 1000 * 1000)  /* pause after a trial that failed; it quadruples */
#define LIFT_MOST   3                            /* times */

static uint32_t get(const _Atomic uint32_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void set(_Atomic uint32_t *n, uint32_t value)
{
	atomic_store_explicit(n, value, memory_order_relaxed);
}

static void add(_Atomic uint32_t *n, uint32_t value)
{
	atomic_fetch_add_explicit(n, value, memory_order_relaxed);
}

static int64_t get64(const _Atomic int64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void set64(_Atomic int64_t *n, int64_t value)
{
	atomic_store_explicit(n, value, memory_order_relaxed);
}

static void add64(_Atomic int64_t *n, int64_t value)
{
	atomic_fetch_add_explicit(n, value, memory_order_relaxed);
}

static int64_t within(int64_t n, int64_t least, int64_t most)
{
	return n < least ? least : n > most ? most : n;
}

/* ---- windows ---- */

static void window_begin(struct adapt *a, int64_t now_us)
{
	_Atomic uint32_t *small[] = {&a->full, &a->votes, &a->count};
	_Atomic int64_t *large[] = {&a->ahead, &a->wait_us, &a->service_us, &a->square_ms2};
	for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++)
		set64(large[i], 0);
	for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++)
		set(small[i], 0);
	set64(&a->began_us, now_us);
}

/* Of the window; others add to it meanwhile, and where one has just begun there is nothing to be divided by. */
static uint32_t counted(const struct adapt *a)
{
	uint32_t n = get(&a->count);
	return n ? n : 1;
}

/* N / (1 + w) in 1/256, w in percent. */
static uint32_t work_of(const struct adapt *a, int64_t percent)
{
	int64_t n = get64(&a->ahead) * 256 / counted(a);
	return (uint32_t)(n * 100 / (percent > -50 ? 100 + percent : 50));
}

/* The mean wait in percent of a service time; less than nothing where requests were quicker than alone. */
static int64_t wait_percent(const struct adapt *a)
{
	return get64(&a->wait_us) * 100 / (get64(&a->service_us) + 1);
}

/* How much that may be by chance: its standard error. */
static int64_t error_percent(const struct adapt *a)
{
	double n = counted(a), mean = (double)get64(&a->wait_us) / n / 1000, square = (double)get64(&a->square_ms2) / n - mean * mean;
	double service = (double)get64(&a->service_us) / n / 1000 + 0.001;
	return (int64_t)(square > 0 ? sqrt(square / n) / service * 100 : 0);
}

static int64_t service_us(const struct adapt *a)
{
	return get64(&a->service_us) / counted(a);
}

/* By its mean and by most of its answers, so that one of them is no evidence. `usual`: percent that are no queue's. */
static bool waits_long(const struct adapt *a, int64_t usual)
{
	return get(&a->votes) * 2 >= get(&a->count) && wait_percent(a) - error_percent(a) >= (usual > 0 ? usual : 0) + LONG_WAIT;
}

/* A target that holds all up for a while (it loads a model) and then lets them go is no queue: that lets one go after the other. */
static bool is_drawn_out(const struct adapt *a, uint32_t slots, int64_t now_us)
{
	int64_t needs = get(&a->count) * service_us(a) / (slots ? slots : 1);
	return (now_us - get64(&a->began_us)) * 3 >= needs;
}

/* ---- states ---- */

static void enter(struct adapt *a, struct places *p, enum adapt_state state, uint32_t limit, int64_t now_us)
{
	uint32_t before = atomic_exchange(&p->limit, limit);
	set(&a->state, state);
	set(&a->strikes, 0);
	if (before != limit) {
		set64(&a->since_us, now_us);
		set(&a->settle, state == ADAPT_OPEN ? 0 : limit);
	}
}

static void lift(struct adapt *a, struct places *p, int64_t now_us)
{
	uint32_t times = get(&a->lifted);
	set64(&a->until_us, now_us + LIFT_US * (INT64_C(1) << 2 * times));
	set(&a->lifted, times < LIFT_MOST ? times + 1 : times);
	enter(a, p, ADAPT_OPEN, 0, now_us);
}

static bool try_less(struct adapt *a, struct places *p, int64_t now_us)
{
	uint32_t limit = atomic_load(&p->limit), did = work_of(a, wait_percent(a)), slots = did < 128 ? 1 : (did + 128) / 256;
	if (!is_drawn_out(a, slots, now_us))
		return false;
	set(&a->strikes, get(&a->strikes) + 1);
	set64(&a->since_us, now_us); /* what came all at once is one strike */
	if (get(&a->strikes) < STRIKES || slots > LIMIT_MOST || (limit && slots >= limit))
		return true;
	set(&a->reference, did);
	set(&a->crowd, (uint32_t)(get64(&a->ahead) / counted(a)));
	set(&a->before, limit);
	set64(&a->usual, wait_percent(a));
	enter(a, p, ADAPT_TRIAL, slots, now_us);
	return true;
}

/* False: the window goes on. */
/* Shorter waits harm nobody, and may be our own doing: a worker that has much to do reads an answer late. */
static bool is_felt(const struct adapt *a)
{
	return get64(&a->wait_us) / counted(a) >= FELT_US;
}

static bool decide_open(struct adapt *a, struct places *p, int64_t now_us)
{
	if (now_us >= get64(&a->until_us) && is_felt(a) && waits_long(a, 0))
		return try_less(a, p, now_us);
	set(&a->strikes, 0);
	return true;
}

/* Whether the target does what it did, were the mean wait `percent`. */
static bool keeps(const struct adapt *a, uint32_t limit, int64_t percent)
{
	uint64_t reference = get(&a->reference), most = (uint64_t)limit * 256;
	return (uint64_t)work_of(a, percent) * 100 >= (reference < most ? reference : most) * KEEPS;
}

static void refuse(struct adapt *a, struct places *p, uint32_t limit, int64_t now_us)
{
	uint32_t did = work_of(a, wait_percent(a)), before = get(&a->before);
	uint64_t next = (uint64_t)limit * get(&a->reference) / (did ? did : 1) + 1;
	if (before)
		enter(a, p, ADAPT_HOLD, before, now_us);
	else if (next * 2 <= get(&a->crowd)) { /* what was taken for waits was only partly such */
		set(&a->crowd, 0);
		enter(a, p, ADAPT_TRIAL, (uint32_t)next, now_us);
	} else
		lift(a, p, now_us);
}

/* False: the window goes on, it is not clear yet. */
static bool decide_trial(struct adapt *a, struct places *p, int64_t now_us)
{
	uint32_t limit = atomic_load(&p->limit);
	int64_t wait = wait_percent(a), by_chance = get(&a->count) < KEEPS_WINDOW ? error_percent(a) : 0;
	if (!keeps(a, limit, wait - by_chance)) {
		refuse(a, p, limit, now_us);
		return true;
	}
	if (!keeps(a, limit, wait + by_chance))
		return false;
	set64(&a->usual, wait);
	set(&a->lifted, 0);
	set(&a->vain, 0);
	set(&a->step, 0);
	set64(&a->until_us, now_us);
	enter(a, p, ADAPT_HOLD, limit, now_us);
	return true;
}

static void probe(struct adapt *a, struct places *p, uint32_t limit, int64_t now_us)
{
	uint32_t step = get(&a->step);
	bool less = get(&a->vain) % 2 && limit > 1 && wait_percent(a) >= SOME_WAIT;
	if (!step)
		step = limit < 8 ? 1 : limit / 4;
	set(&a->step, step);
	set(&a->before, limit);
	set(&a->reference, work_of(a, get64(&a->usual)));
	enter(a, p, ADAPT_PROBE, less ? limit - step : limit + step, now_us);
}

static bool decide_hold(struct adapt *a, struct places *p, int64_t now_us)
{
	uint32_t limit = atomic_load(&p->limit);
	if (waits_long(a, get64(&a->usual)))
		return try_less(a, p, now_us);
	set(&a->strikes, 0);
	set64(&a->usual, (get64(&a->usual) + wait_percent(a)) / 2);
	if (now_us >= get64(&a->until_us) && get(&a->full) * 4 >= get(&a->count) * 3)
		probe(a, p, limit, now_us);
	return true;
}

/* Fewer places were worse: what requests wait with as many is no queue's, they take as long. */
static void take_for_usual(struct adapt *a)
{
	int64_t usual = within(get64(&a->usual), 0, 400);
	set64(&a->unit_ns, get64(&a->unit_ns) * (100 + usual) / 100);
	set64(&a->whole_us, get64(&a->whole_us) * (100 + usual) / 100);
	set64(&a->usual, 0);
}

static void give_up_probe(struct adapt *a, struct places *p, int64_t now_us)
{
	uint32_t vain = get(&a->vain);
	int64_t least = service_us(a) * PAUSE_TIMES, most = least * 4;
	int64_t pause = (least > PROBE_US ? least : PROBE_US) << (vain < 5 ? vain : 5);
	if (most < PROBE_MOST)
		most = PROBE_MOST;
	set64(&a->until_us, now_us + (pause < most ? pause : most));
	set(&a->vain, vain + 1);
	set(&a->step, 0);
	if (atomic_load(&p->limit) < get(&a->before) && get64(&a->whole_us))
		take_for_usual(a);
	enter(a, p, ADAPT_HOLD, get(&a->before), now_us);
}

/* False: the window goes on, it is not clear yet. */
static bool decide_probe(struct adapt *a, struct places *p, int64_t now_us)
{
	uint32_t limit = atomic_load(&p->limit), before = get(&a->before), step = get(&a->step);
	if (error_percent(a) * 6 * before > step * 100 && get(&a->count) < WINDOW_MOST)
		return false;
	int64_t gain = (int64_t)work_of(a, wait_percent(a)) - get(&a->reference), more = (int64_t)(get64(&a->ahead) * 256 / counted(a)) - (int64_t)before * 256;
	if (gain * 100 < more * GAINS) { /* fewer: a loss of more than that */
		give_up_probe(a, p, now_us);
		return true;
	}
	set64(&a->usual, wait_percent(a));
	set(&a->vain, limit < before);
	set(&a->step, limit > before && (int64_t)step * 2 <= within(limit / 2, 1, LIMIT_MOST) ? step * 2 : 0);
	set64(&a->until_us, now_us);
	if (limit > LIMIT_MOST)
		lift(a, p, now_us);
	else
		enter(a, p, ADAPT_HOLD, limit, now_us);
	return true;
}

static uint32_t window_of(const struct adapt *a)
{
	switch (get(&a->state)) {
	case ADAPT_HOLD:
		return 2 * WINDOW;
	case ADAPT_PROBE:
		return SHORT;
	default:
		return WINDOW;
	}
}

static void decide(struct adapt *a, struct places *p, struct queue *q, int64_t now_us)
{
	bool over = true;
	uint32_t before = atomic_load(&p->limit), after;
	if (get(&a->count) < window_of(a) || atomic_exchange(&a->deciding, 1))
		return;
	switch (get(&a->count) < window_of(a) || !get(&a->on) ? ADAPT_STATES : get(&a->state)) {
	case ADAPT_OPEN:
		over = decide_open(a, p, now_us);
		break;
	case ADAPT_TRIAL:
		over = decide_trial(a, p, now_us);
		break;
	case ADAPT_HOLD:
		over = decide_hold(a, p, now_us);
		break;
	case ADAPT_PROBE:
		over = decide_probe(a, p, now_us);
		break;
	default: /* another thread has just done it, or it is off */
		over = false;
		break;
	}
	if (over)
		window_begin(a, now_us);
	after = atomic_load(&p->limit);
	atomic_store(&a->deciding, 0);
	if (q && before && (after == 0 || after > before))
		queue_offer(q, p, now_us / 1000);
}

/* ---- answers ---- */

/* Says the request something in the present state? */
static bool counts(const struct adapt *a, const struct places *p, uint32_t in_flight, int64_t sent_us)
{
	uint32_t limit = atomic_load_explicit(&p->limit, memory_order_relaxed);
	if (sent_us < get64(&a->since_us))
		return false;
	switch (get(&a->state)) {
	case ADAPT_OPEN:
		return in_flight > 1;
	case ADAPT_PROBE:
		return in_flight > get(&a->before) || in_flight >= limit;
	default:
		return in_flight * 4 >= limit * 3;
	}
}

static bool settles(struct adapt *a, int64_t now_us)
{
	uint32_t left = get(&a->settle);
	if (left == 0)
		return false;
	set(&a->settle, left - 1);
	if (left == 1 && !atomic_exchange(&a->deciding, 1)) { /* else whoever decides begins a window anyway, or goes on with what there is */
		window_begin(a, now_us);
		atomic_store(&a->deciding, 0);
	}
	return true;
}

/* Towards what an idle target showed; never far up at once (a model was loaded, a cache was cold). */
static void learn_idle(_Atomic int64_t *idle, int64_t seen)
{
	int64_t old = get64(idle);
	set64(idle, old <= 0 ? seen : seen < old ? old - (old - seen) / 4 : old + (seen - old < old ? seen - old : old) / 8);
}

static bool is_settled(const struct adapt *a)
{
	uint32_t state = get(&a->state);
	return state == ADAPT_OPEN || state == ADAPT_HOLD;
}

/* A request that took `took_us` until it showed something, for which it would have needed `idle_us` alone, and `service_us` in all. */
static void note(struct adapt *a, struct places *p, struct queue *q, const struct adapt_answer *answer, int64_t took_us, int64_t idle_us, int64_t service_us)
{
	uint32_t in_flight = (answer->others < OTHERS_MOST ? answer->others : OTHERS_MOST) + 1;
	int64_t wait = within(took_us - idle_us, -idle_us, service_us * in_flight); /* no queue of so many makes a longer one */
	if (!counts(a, p, in_flight, answer->now_us - took_us) || settles(a, answer->now_us))
		return;
	add64(&a->ahead, in_flight);
	add64(&a->wait_us, wait);
	add64(&a->service_us, service_us);
	add64(&a->square_ms2, within(wait / 1000, -WAIT_MOST, WAIT_MOST) * within(wait / 1000, -WAIT_MOST, WAIT_MOST));
	add(&a->full, in_flight >= atomic_load_explicit(&p->limit, memory_order_relaxed));
	add(&a->votes, wait > service_us / 4);
	add(&a->count, 1);
	decide(a, p, q, answer->now_us);
}

void adapt_first(struct adapt *a, struct places *p, struct queue *q, const struct adapt_answer *answer)
{
	int64_t took = within(answer->first_us, 1, TIME_MOST), decode = get64(&a->decode_us), idle;
	if (!get(&a->on))
		return;
	if (is_settled(a) && (answer->others == 0 || took < get64(&a->idle_us) / 2))
		learn_idle(&a->idle_us, took);
	if (!decode)
		return;
	idle = get64(&a->idle_us); /* not seen: rather too little, an experiment will say; very long: most likely a model was loaded */
	if (idle == 0 || idle > decode / 2)
		idle = idle ? decode / 2 : decode / 8;
	note(a, p, q, answer, took, idle, idle + decode);
}

/* What is learned of a service time stays as it is during an experiment, which compares. */
static void learn_mean(const struct adapt *a, _Atomic int64_t *mean, int64_t took_us)
{
	int64_t old = get64(mean), took = within(took_us, 1, TIME_MOST);
	if (is_settled(a))
		set64(mean, old ? old + (took - old) / MEANS : took);
}

/* Before one was seen alone there is a guess, below 0: rather too little, an experiment will say. */
static void learn_unit(struct adapt *a, int64_t seen_ns, uint32_t others)
{
	int64_t old = get64(&a->unit_ns), guess = -within(seen_ns / (others + 1), 1, TIME_MOST);
	if (others == 0 || (old > 0 && seen_ns < old / 2))
		learn_idle(&a->unit_ns, seen_ns);
	else if (old == 0 || (old < 0 && guess > old))
		set64(&a->unit_ns, guess);
}

void adapt_done(struct adapt *a, struct places *p, struct queue *q, const struct adapt_answer *answer)
{
	int64_t took = within(answer->took_us, 1, TIME_MOST), units = within(answer->output, 0, 1 << 24) + UNITS_MORE;
	if (!get(&a->on) || answer->output <= 0)
		return;
	if (answer->first_us > 0) {
		learn_mean(a, &a->decode_us, took - answer->first_us);
		return;
	}
	if (is_settled(a))
		learn_unit(a, took * 1000 / units, answer->others);
	int64_t unit = get64(&a->unit_ns), idle = within((unit < 0 ? -unit : unit) * units / 1000, 1, TIME_MOST);
	learn_mean(a, &a->whole_us, idle);
	if (get64(&a->whole_us))
		note(a, p, q, answer, took, idle, get64(&a->whole_us));
}

void adapt_forget(struct adapt *a, struct places *p)
{
	if (!get(&a->on))
		return;
	while (atomic_exchange(&a->deciding, 1))
		;
	enter(a, p, ADAPT_OPEN, 0, 0);
	_Atomic uint32_t *all[] = {&a->step, &a->vain, &a->lifted, &a->settle};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		set(all[i], 0);
	set64(&a->until_us, 0);
	_Atomic int64_t *large[] = {&a->since_us, &a->usual, &a->idle_us, &a->decode_us, &a->unit_ns, &a->whole_us};
	for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++)
		set64(large[i], 0);
	window_begin(a, 0);
	atomic_store(&a->deciding, 0);
}

void adapt_switch(struct adapt *a, struct places *p, bool on)
{
	if (get(&a->on) == on)
		return;
	set(&a->on, on);
	if (on) {
		adapt_forget(a, p);
		return;
	}
	while (atomic_exchange(&a->deciding, 1)) /* who decides now does not do so later */
		;
	atomic_store(&a->deciding, 0);
}
