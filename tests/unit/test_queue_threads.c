/* test_queue_threads.c - the queue from several threads at once: no wake-up is lost, and no place where a grant crosses a leaving.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "gate/queue.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 10000
#else
#define ROUNDS 100000
#endif
#define DUEL_US 3000000

/* ---- two ---- */

/* One place, two threads: one gives it back while the other enters. Whoever entered must have the place without anything else happening. */
struct duel {
	struct queue *q;
	struct places place;
	_Atomic uint32_t round, done;
	_Atomic(struct ticket *) told;
	bool over; /* told by the next round */
};

static void duel_grant(void *user, struct ticket *t, void *worker)
{
	atomic_store(&((struct duel *)user)->told, t);
}

static void await(_Atomic uint32_t *number, uint32_t value)
{
	for (uint32_t looks = 1; atomic_load(number) != value; looks++)
		if (looks % 1024 == 0)
			sched_yield();
}

static void *duel_giver(void *arg)
{
	struct duel *d = arg;
	for (uint32_t i = 1;; i++) {
		await(&d->round, i);
		if (d->over)
			return NULL;
		for (volatile uint32_t spin = 0; spin < i % 64; spin++)
			;
		queue_give_back(d->q, &d->place, i);
		atomic_fetch_add(&d->done, 1);
	}
}

static void no_wake_up_is_lost(void **state)
{
	struct duel d = {.place = {.limit = 1}};
	pthread_t giver;
	uint32_t waited = 0, delay = 100, i = 1;
	int64_t until = clock_mono_us() + DUEL_US; /* a round is short, but not where the machine is busy */
	d.q = queue_new(&(struct queue_options){.granted = duel_grant, .user = &d});
	pthread_create(&giver, NULL, duel_giver, &d);
	for (; i <= ROUNDS && clock_mono_us() < until; i++) {
		struct places *place = &d.place, *const targets[] = {place};
		struct ticket *t;
		assert_true(places_take(place));
		atomic_store(&d.told, NULL);
		atomic_store(&d.round, i);
		for (volatile uint32_t spin = 0; spin < delay; spin++)
			;
		struct queue_ask a = {.model = 1, .targets = targets, .target_count = 1, .now_ms = i};
		enum queue_verdict v = queue_enter(d.q, &a, &t, &place);
		await(&d.done, i);
		if (v == QUEUE_WAITS) {
			assert_ptr_equal(atomic_load(&d.told), t);
			place = queue_receive(d.q, t, i);
			waited++;
			delay += 1 + i % 7; /* stays where both come at the same time */
		} else if (delay > 8) {
			delay -= 1 + i % 7;
		}
		assert_ptr_equal(place, &d.place);
		assert_int_equal(atomic_load(&d.place.taken), 1);
		queue_give_back(d.q, place, i);
	}
	d.over = true;
	atomic_store(&d.round, i);
	pthread_join(giver, NULL);
	print_message("           %u of %u entered before the place was back\n", waited, i - 1);
	assert_int_equal(atomic_load(&d.place.taken), 0);
	queue_free(d.q);
}

/* ---- four ---- */

/* Four workers, two targets of four places, many requests each. A worker has a mailbox; messages lie in it for a while. */
#define WORKERS 4
#define TABLE   12 /* requests of a worker at once */

enum life { ABSENT, WAITS, HAS_PLACE };

struct mail {
	struct mail *next;
	struct ticket *ticket;
};

struct worker {
	struct crowd *crowd;
	pthread_mutex_t lock;
	struct mail *mail;
	struct request {
		enum life life;
		struct ticket *ticket;
		struct places *place;
	} requests[TABLE];
	uint32_t begun, served, gone, open;
	uint64_t random;
};

struct crowd {
	struct queue *q;
	struct places targets[2];
	struct worker workers[WORKERS];
	uint32_t each;
	bool leaving;
	_Atomic uint32_t mails, most;
	_Atomic bool over;
};

static uint32_t draw(struct worker *w, uint32_t n)
{
	return (uint32_t)(random_next(&w->random) >> 20) % n;
}

static void post_mail(void *user, struct ticket *t, void *to)
{
	struct crowd *c = user;
	struct worker *w = to;
	struct mail *m = mem_zero(sizeof(*m));
	m->ticket = t;
	pthread_mutex_lock(&w->lock);
	m->next = w->mail;
	w->mail = m;
	pthread_mutex_unlock(&w->lock);
	atomic_fetch_add(&c->mails, 1);
}

static int64_t mono_ms(void)
{
	return clock_mono_us() / 1000;
}

static void got_place(struct worker *w, struct request *r, struct places *p)
{
	r->life = HAS_PLACE;
	r->ticket = NULL;
	r->place = p;
	uint32_t taken = atomic_load(&p->taken), most = atomic_load(&w->crowd->most);
	while (taken > most && !atomic_compare_exchange_weak(&w->crowd->most, &most, taken))
		;
}

static void read_mail(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	struct mail *m = w->mail;
	w->mail = NULL;
	pthread_mutex_unlock(&w->lock);
	for (struct mail *next; m; m = next) {
		next = m->next;
		struct request *r = queue_owner(m->ticket);
		struct ticket *t = m->ticket;
		struct places *p = queue_receive(w->crowd->q, t, mono_ms());
		assert(!r == !p && (!r || r->ticket == t));
		if (r)
			got_place(w, r, p);
		free(m);
	}
}

static void begin(struct worker *w, struct request *r)
{
	struct crowd *c = w->crowd;
	uint32_t model = 1 + draw(w, 3), which = draw(w, 3);
	struct places *const both[] = {&c->targets[0], &c->targets[1]};
	struct places *const *targets = which == 2 ? both : &both[which], *place = targets[0];
	uint32_t count = which == 2 ? 2 : 1;
	w->begun++;
	w->open++;
	if (!queue_must_wait(c->q, model) && places_take(place)) {
		queue_charge_begin(c->q, draw(w, 5), 100, 50, 50);
		got_place(w, r, place);
		return;
	}
	struct queue_ask a = {.model = model, .key = draw(w, 5), .weight = 100, .batch = draw(w, 4) == 0, .input = draw(w, 1000), .output = draw(w, 1000),
			      .targets = targets, .target_count = count, .owner = r, .worker = w, .now_ms = mono_ms()};
	switch (queue_enter(c->q, &a, &r->ticket, &place)) {
	case QUEUE_WAITS:
		r->life = WAITS;
		break;
	case QUEUE_TAKEN:
		got_place(w, r, place);
		break;
	default:
		assert(!"full");
	}
}

static void end(struct worker *w, struct request *r)
{
	r->life = ABSENT;
	w->open--;
	if (r->place) {
		w->served++;
		queue_give_back(w->crowd->q, r->place, mono_ms());
		queue_charge(w->crowd->q, draw(w, 5), 100, (int64_t)draw(w, 100) - 50, 0);
	} else {
		w->gone++;
		queue_leave(w->crowd->q, r->ticket, mono_ms());
	}
	*r = (struct request){0};
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct crowd *c = w->crowd;
	while (w->begun < c->each || w->open) {
		struct request *r = &w->requests[draw(w, TABLE)];
		if (r->life == ABSENT && w->begun < c->each)
			begin(w, r);
		else if (r->life == HAS_PLACE && draw(w, 3) == 0)
			end(w, r);
		else if (r->life == WAITS && c->leaving && draw(w, 60) == 0)
			end(w, r);
		if (draw(w, 4) == 0)
			read_mail(w);
		if (draw(w, 16) == 0)
			sched_yield();
	}
	return NULL;
}

/* Places must not lie free for long beside one that waits for any of them: the third model of the crowd waits at both. */
static void *watch(void *arg)
{
	struct crowd *c = arg;
	int64_t since = 0;
	while (!atomic_load(&c->over)) {
		bool idle = false;
		for (int i = 0; i < 2; i++)
			idle = idle || (atomic_load(&c->targets[i].wanted) && atomic_load(&c->targets[i].taken) < atomic_load(&c->targets[i].limit));
		int64_t now = mono_ms();
		since = idle ? since ? since : now : 0;
		assert(!since || now - since < 2000);
		sched_yield();
	}
	return NULL;
}

static void run_crowd(struct crowd *c)
{
	pthread_t threads[WORKERS], watcher;
	c->q = queue_new(&(struct queue_options){.age_ms = 20, .starve_ms = 10, .granted = post_mail, .user = c});
	for (uint32_t i = 0; i < 2; i++) {
		c->targets[i].id = i;
		atomic_store(&c->targets[i].limit, 4);
	}
	atomic_store(&c->targets[1].loaded, 1);
	for (int i = 0; i < WORKERS; i++) {
		c->workers[i] = (struct worker){.crowd = c, .lock = PTHREAD_MUTEX_INITIALIZER, .random = 88172645463325252u + (uint64_t)i};
		pthread_create(&threads[i], NULL, work, &c->workers[i]);
	}
	pthread_create(&watcher, NULL, watch, c);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&c->over, true);
	pthread_join(watcher, NULL);
	for (int i = 0; i < WORKERS; i++)
		read_mail(&c->workers[i]); /* grants to those that had left: places go on, to nobody */
}

static void assert_crowd_is_gone(struct crowd *c)
{
	const char *why = NULL;
	struct queue_look look;
	uint32_t served = 0, gone = 0;
	if (!queue_check(c->q, &why))
		fail_msg("%s", why);
	for (int i = 0; i < WORKERS; i++) {
		assert_null(c->workers[i].mail);
		served += c->workers[i].served;
		gone += c->workers[i].gone;
	}
	queue_look(c->q, mono_ms(), &look);
	print_message("           %u served, %u left, %u of them with a grant on its way; %u messages\n", served, gone, (uint32_t)(look.granted + look.left - look.entered),
		      atomic_load(&c->mails));
	assert_int_equal(served + gone, c->each * WORKERS);
	assert_int_equal(look.waiting, 0);
	assert_int_equal(look.left, gone);
	assert_int_equal(atomic_load(&c->most), 4);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(atomic_load(&c->targets[i].taken), 0);
		assert_int_equal(atomic_load(&c->targets[i].wanted), 0);
	}
	if (c->leaving)
		assert_true(look.granted + look.left > look.entered + 10); /* the race was there */
	else
		assert_int_equal(gone, 0);
	queue_free(c->q);
}

static void all_are_served(void **state)
{
	static struct crowd c = {.each = 25000};
	run_crowd(&c);
	assert_crowd_is_gone(&c);
}

static void clients_leave_at_any_moment(void **state)
{
	static struct crowd c = {.each = 25000, .leaving = true};
	run_crowd(&c);
	assert_crowd_is_gone(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_wake_up_is_lost),
		cmocka_unit_test(all_are_served),
		cmocka_unit_test(clients_leave_at_any_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
