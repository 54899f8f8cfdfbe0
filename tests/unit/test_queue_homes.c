/* test_queue_homes.c - who gets a place at the target that has the beginning of some prompts cached, and how far that may bend the order.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/choose.h"
#include "gate/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TARGETS 4
#define STARVE  1000

struct scene {
	struct queue *queue;
	struct places places[TARGETS], *list[TARGETS];
	struct ticket *granted;
	int64_t now_ms;
};

static void on_granted(void *user, struct ticket *t, void *worker)
{
	struct scene *s = user;
	assert_null(s->granted);
	s->granted = t;
}

static void assert_sound(struct scene *s)
{
	const char *why = NULL;
	if (!queue_check(s->queue, &why))
		fail_msg("%s", why);
}

static void open_scene(struct scene *s)
{
	*s = (struct scene){.now_ms = 100};
	s->queue = queue_new(&(struct queue_options){.starve_ms = STARVE, .age_ms = 5000, .key_max = 10000, .granted = on_granted, .user = s});
	for (uint32_t i = 0; i < TARGETS; i++) {
		atomic_store(&s->places[i].limit, 1);
		s->places[i].id = i;
		s->list[i] = &s->places[i];
		assert_true(places_take(&s->places[i]));
	}
}

/* The owner is a number, so that the order can be seen. home -1: none. */
static struct ticket *enter(struct scene *s, uintptr_t name, uint32_t key, int home, int64_t input)
{
	struct ticket *t;
	struct places *place;
	struct queue_ask ask = {.model = 1, .key = key, .weight = 100, .input = input, .targets = s->list, .target_count = TARGETS, .home = home < 0 ? NULL : s->list[home],
				.owner = (void *)name, .now_ms = s->now_ms};
	assert_int_equal(queue_enter(s->queue, &ask, &t, &place), QUEUE_WAITS);
	return t;
}

/* A place of that target becomes free: who gets it. 0: nobody. */
static uintptr_t next(struct scene *s, int target)
{
	queue_give_back(s->queue, &s->places[target], s->now_ms);
	struct ticket *t = s->granted;
	s->granted = NULL;
	if (!t)
		return 0;
	uintptr_t name = (uintptr_t)queue_owner(t);
	assert_ptr_equal(queue_receive(s->queue, t, s->now_ms), &s->places[target]);
	return name;
}

static void a_place_goes_to_who_is_at_home_there(void **state)
{
	struct scene s;
	open_scene(&s);
	enter(&s, 1, 1, 0, 10);
	enter(&s, 2, 1, 1, 10);
	enter(&s, 3, 1, -1, 10);
	enter(&s, 4, 1, 2, 10);
	enter(&s, 5, 1, 0, 10);
	assert_sound(&s);
	assert_int_equal(next(&s, 2), 4); /* the others came before it */
	assert_int_equal(next(&s, 0), 1);
	assert_int_equal(next(&s, 0), 5);
	assert_int_equal(next(&s, 3), 2); /* nobody is at home there: the order of coming */
	assert_int_equal(next(&s, 1), 3); /* who has no home is at home everywhere */
	assert_int_equal(next(&s, 1), 0);
	assert_sound(&s);
	queue_free(s.queue);
}

static void who_has_no_home_is_not_overtaken(void **state)
{
	struct scene s;
	open_scene(&s);
	enter(&s, 1, 1, -1, 10);
	enter(&s, 2, 1, 0, 10);
	assert_int_equal(next(&s, 0), 1);
	assert_int_equal(next(&s, 0), 2);
	queue_free(s.queue);
}

static void nobody_is_overtaken_by_those_that_came_much_later(void **state)
{
	struct scene s;
	open_scene(&s);
	enter(&s, 1, 1, 1, 10);
	s.now_ms += STARVE / 4;
	enter(&s, 2, 1, 0, 10);
	s.now_ms += 1;
	enter(&s, 3, 1, 0, 10);
	assert_int_equal(next(&s, 0), 2);
	assert_int_equal(next(&s, 0), 1);
	assert_int_equal(next(&s, 0), 3);
	queue_free(s.queue);
}

static void another_key_may_be_ahead_by_one_request(void **state)
{
	struct scene s;
	open_scene(&s);
	enter(&s, 1, 1, 1, 10);
	enter(&s, 2, 2, 0, 10);
	enter(&s, 3, 2, 0, 10);
	enter(&s, 4, 2, 0, 10);
	assert_int_equal(next(&s, 0), 2); /* both keys are even */
	assert_int_equal(next(&s, 0), 3); /* ahead by one request */
	assert_int_equal(next(&s, 0), 1); /* ahead by two */
	assert_int_equal(next(&s, 0), 4);
	queue_free(s.queue);
}

static void nobody_waits_for_a_target_that_takes_nobody(void **state)
{
	struct scene s;
	open_scene(&s);
	enter(&s, 1, 1, 1, 10);
	enter(&s, 2, 1, 0, 10);
	atomic_store(&s.places[1].closed, 1);
	assert_int_equal(next(&s, 0), 1);
	assert_int_equal(next(&s, 0), 2);
	queue_free(s.queue);
}

static void who_leaves_leaves_its_home(void **state)
{
	struct scene s;
	open_scene(&s);
	struct ticket *gone = enter(&s, 1, 1, 1, 10);
	enter(&s, 2, 1, 0, 10);
	queue_leave(s.queue, gone, s.now_ms);
	assert_sound(&s);
	assert_int_equal(next(&s, 1), 2);
	assert_sound(&s);
	queue_free(s.queue);
}

/* Two keys that always wait, with homes at random: the difference of what they were served stays within the bound of the paper and one request more. */
static void the_bound_holds(void **state)
{
	const int64_t cost_most = 400;
	int64_t served[2] = {0}, worst = 0;
	uint32_t waiting[2] = {0};
	struct scene s;
	open_scene(&s);
	srand(7);
	for (int i = 0; i < 20000; i++, s.now_ms++) {
		for (uint32_t k = 0; k < 2; k++) /* the second has short requests, all at home at one target */
			for (; waiting[k] < 20; waiting[k]++) {
				int64_t input = k ? 50 : 1 + rand() % cost_most;
				enter(&s, (uintptr_t)(input << 1 | k), k + 1, k ? 0 : 1 + rand() % (TARGETS - 1), input);
			}
		uintptr_t name = next(&s, rand() % TARGETS);
		assert_true(name > 0);
		waiting[name & 1]--;
		served[name & 1] += (int64_t)(name >> 1);
		worst = llabs(served[0] - served[1]) > worst ? llabs(served[0] - served[1]) : worst;
		if (i % 100 == 0)
			assert_sound(&s);
	}
	assert_true(worst <= 3 * cost_most); /* 2 * input cost of a request, and one request */
	while (waiting[0] + waiting[1])
		waiting[next(&s, rand() % TARGETS) & 1]--;
	assert_sound(&s);
	queue_free(s.queue);
}

/* ---- which target is the home ---- */

static void the_home_is_where_most_is_cached(void **state)
{
	struct candidate list[3] = {{.usable = true, .limit = 1, .taken = 1}, {.usable = true, .limit = 1, .taken = 1}, {.usable = true, .limit = 1, .taken = 1}};
	uint64_t hashes[PREFIX_BLOCKS];
	bool is_new;
	for (int i = 0; i < PREFIX_BLOCKS; i++)
		hashes[i] = 1000003ULL * (uint64_t)(i + 1);
	assert_in_range(choose_home(hashes, 40, list, 3, &is_new), 0, 2);
	assert_true(is_new);
	list[1].prefix.blocks = 9; /* less than a quarter */
	choose_home(hashes, 40, list, 3, &is_new);
	assert_true(is_new);
	list[1].prefix.blocks = 10;
	assert_int_equal(choose_home(hashes, 40, list, 3, &is_new), 1);
	assert_false(is_new);
	list[2].prefix.blocks = 40;
	assert_int_equal(choose_home(hashes, 40, list, 3, &is_new), 2);
	list[2].usable = false;
	assert_int_equal(choose_home(hashes, 40, list, 3, &is_new), 1);
	list[1].prefix.blocks = list[0].prefix.blocks = 39;
	assert_int_equal(choose_home(hashes, 40, list, 3, &is_new), -1); /* all that are left have it */
	assert_false(is_new);
	assert_int_equal(choose_home(hashes, 1, list, 3, &is_new), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_place_goes_to_who_is_at_home_there),
		cmocka_unit_test(who_has_no_home_is_not_overtaken),
		cmocka_unit_test(nobody_is_overtaken_by_those_that_came_much_later),
		cmocka_unit_test(another_key_may_be_ahead_by_one_request),
		cmocka_unit_test(nobody_waits_for_a_target_that_takes_nobody),
		cmocka_unit_test(who_leaves_leaves_its_home),
		cmocka_unit_test(the_bound_holds),
		cmocka_unit_test(the_home_is_where_most_is_cached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
