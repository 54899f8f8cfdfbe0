/* prefix.c - hashes of a prompt's beginning, and the table of who has seen which.
 *
 * The table steers and nothing more: a hash must be good and keyed, so that nobody can aim at another's entries, but a wrong answer costs a cache miss only. So
 * readers and writers use no lock, and two words of an entry may be of different times. Sets of four entries; in a full set the entry that was
 * noted longest ago goes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "gate/choose.h"

#include <string.h>

/* ---- hashes ---- */

#define LANES 4 /* that many multiplications are on their way at once */

__extension__ typedef unsigned __int128 wide;

static uint64_t fold(uint64_t a, uint64_t b)
{
	wide product = (wide)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const char *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
	return word;
}

/* The next of a sequence that looks like chance. */
static uint64_t stretch(uint64_t *seed)
{
	*seed += UINT64_C(0x9e3779b97f4a7c15);
	return fold(*seed ^ UINT64_C(0x2545f4914f6cdd1d), *seed | 1) | 1;
}

static uint64_t block_hash(const char *at, uint64_t before, const uint64_t key[LANES])
{
	uint64_t a = before ^ key[3], b = before ^ key[2], c = before ^ key[1], d = before ^ key[0];
	for (const char *end = at + PREFIX_BLOCK; at < end; at += 16 * LANES) {
		a = fold(load(at) ^ a, load(at + 8) ^ key[0]);
		b = fold(load(at + 16) ^ b, load(at + 24) ^ key[1]);
		c = fold(load(at + 32) ^ c, load(at + 40) ^ key[2]);
		d = fold(load(at + 48) ^ d, load(at + 56) ^ key[3]);
	}
	return fold(fold(a ^ key[1], b ^ key[2]) ^ before, fold(c ^ key[3], d ^ key[0]) ^ key[2]);
}

uint32_t prefix_hashes(const char *bytes, uint64_t len, uint64_t seed, uint64_t out[PREFIX_BLOCKS])
{
	uint32_t count = len / PREFIX_BLOCK < PREFIX_BLOCKS ? (uint32_t)(len / PREFIX_BLOCK) : PREFIX_BLOCKS;
	uint64_t key[LANES], hash = seed;
	for (int k = 0; k < LANES; k++)
		key[k] = stretch(&seed);
	for (uint32_t i = 0; i < count; i++)
		out[i] = hash = block_hash(bytes + (size_t)i * PREFIX_BLOCK, hash, key);
	return count;
}

/* ---- the table ---- */

#define WAYS      4
#define HOLDERS   4  /* targets that an entry remembers */
#define AGE_BITS  16
#define AGE_SHIFT 6  /* notes that are of the same age */
#define TICK      16 /* blocks that a target is asked for between two ticks of its clock, which comes round after a million */
#define AHEAD     8  /* sets that are fetched before they are needed */
#define FORGOTTEN UINT16_MAX /* a holder that is nobody */

struct entry {
	_Atomic uint64_t tag;               /* the hash but for its lowest bits, which chose the set; below them the age */
	_Atomic uint32_t holders[HOLDERS];  /* index + 1, and above it the target's clock at that time; the latest first; 0: nobody */
};

struct set {
	struct entry ways[WAYS];
};

struct prefixes {
	_Atomic(struct set *) sets; /* NULL: nothing noted yet */
	uint32_t mask;
	_Atomic uint32_t notes;
	_Atomic uint32_t asked[PREFIX_TARGETS]; /* blocks of each target, those that it had included */
};

struct prefixes *prefixes_new(uint32_t entries)
{
	struct prefixes *p = mem_zero(sizeof(*p));
	uint32_t sets = 1;
	while ((uint64_t)sets * WAYS < (entries ? entries : PREFIX_ENTRIES) && sets < 1U << 24)
		sets *= 2;
	p->mask = sets - 1;
	return p;
}

void prefixes_free(struct prefixes *p)
{
	free(atomic_load(&p->sets));
	free(p);
}

static struct set *sets_of(const struct prefixes *p)
{
	return atomic_load_explicit(&p->sets, memory_order_acquire);
}

/* Two may come first at once: the table of one is kept. */
static struct set *make_sets(struct prefixes *p)
{
	struct set *mine = mem_array((size_t)p->mask + 1, sizeof(*mine)), *before = NULL;
	if (atomic_compare_exchange_strong(&p->sets, &before, mine))
		return mine;
	free(mine);
	return before;
}

static uint64_t tag_of(uint64_t hash)
{
	uint64_t tag = hash >> AGE_BITS << AGE_BITS;
	return tag ? tag : 1 << AGE_BITS; /* 0 is a free entry */
}

static struct entry *find(struct set *s, uint64_t hash)
{
	uint64_t tag = tag_of(hash);
	for (int i = 0; i < WAYS; i++)
		if ((atomic_load_explicit(&s->ways[i].tag, memory_order_relaxed) ^ tag) >> AGE_BITS == 0)
			return &s->ways[i];
	return NULL;
}

static struct entry *oldest(struct set *s, uint32_t age)
{
	struct entry *best = &s->ways[0];
	uint32_t most = 0;
	for (int i = 0; i < WAYS; i++) {
		uint64_t tag = atomic_load_explicit(&s->ways[i].tag, memory_order_relaxed);
		uint32_t years = tag ? (uint16_t)(age - (uint32_t)tag) : UINT32_MAX;
		if (years > most) {
			most = years;
			best = &s->ways[i];
		}
	}
	return best;
}

static uint32_t get(const _Atomic uint32_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void set_if_new(_Atomic uint32_t *n, uint32_t value)
{
	if (get(n) != value)
		atomic_store_explicit(n, value, memory_order_relaxed);
}

static uint32_t clock_of(const struct prefixes *p, uint32_t target)
{
	return get(&p->asked[target]) / TICK & UINT16_MAX;
}

/* Puts it first; those before its old place move up, and the last goes where it is new. */
static void put_first(struct entry *e, uint32_t holder)
{
	for (int i = 0; i < HOLDERS; i++) {
		uint32_t old = get(&e->holders[i]);
		set_if_new(&e->holders[i], holder);
		if (old == 0 || ((old ^ get(&e->holders[0])) & UINT16_MAX) == 0)
			return;
		holder = old;
	}
}

static void note_one(struct set *s, uint64_t hash, uint32_t holder, uint32_t age)
{
	struct entry *e = find(s, hash);
	if (!e) {
		e = oldest(s, age);
		for (int i = 0; i < HOLDERS; i++)
			set_if_new(&e->holders[i], 0);
	}
	put_first(e, holder);
	if (atomic_load_explicit(&e->tag, memory_order_relaxed) != (tag_of(hash) | age))
		atomic_store_explicit(&e->tag, tag_of(hash) | age, memory_order_relaxed);
}

void prefixes_note(struct prefixes *p, const uint64_t *hashes, uint32_t count, uint32_t target)
{
	struct set *sets = sets_of(p);
	if (count == 0 || target >= PREFIX_TARGETS)
		return;
	if (!sets)
		sets = make_sets(p);
	uint32_t age = (atomic_fetch_add_explicit(&p->notes, 1, memory_order_relaxed) >> AGE_SHIFT) & UINT16_MAX;
	uint32_t asked = atomic_fetch_add_explicit(&p->asked[target], count, memory_order_relaxed) + count;
	uint32_t holder = (target + 1) | (asked / TICK) << 16;
	for (uint32_t i = 0; i < count; i++) {
		if (i + AHEAD < count)
			__builtin_prefetch(&sets[hashes[i + AHEAD] & p->mask], 1);
		note_one(&sets[hashes[i] & p->mask], hashes[i], holder, age);
	}
}

/* Whether the target has got that block, and how much it was asked for since. */
static bool holds(const struct prefixes *p, const struct entry *e, uint32_t target, uint32_t *since)
{
	for (int i = 0; e && i < HOLDERS; i++) {
		uint32_t holder = get(&e->holders[i]);
		if ((holder & UINT16_MAX) != target + 1)
			continue;
		*since = ((clock_of(p, target) - (holder >> 16)) & UINT16_MAX) * TICK;
		return true;
	}
	return false;
}

void prefixes_look(const struct prefixes *p, const uint64_t *hashes, uint32_t count, const uint32_t *targets, uint32_t n, struct prefix_look *out)
{
	struct set *sets = sets_of(p);
	uint64_t left = 0; /* those that have all so far */
	memset(out, 0, n * sizeof(*out));
	for (uint32_t at = 0; sets && at < n && at < PREFIX_TARGETS; at++)
		left |= (uint64_t)(targets[at] < PREFIX_TARGETS) << at;
	for (uint32_t i = 0; left && i < count; i++) {
		if (i + AHEAD < count)
			__builtin_prefetch(&sets[hashes[i + AHEAD] & p->mask]);
		const struct entry *e = find(&sets[hashes[i] & p->mask], hashes[i]);
		for (uint64_t todo = left; todo; todo &= todo - 1) {
			uint32_t at = (uint32_t)__builtin_ctzll(todo);
			if (holds(p, e, targets[at], &out[at].since))
				out[at].blocks = i + 1;
			else
				left &= ~(UINT64_C(1) << at);
		}
	}
}

void prefixes_forget(struct prefixes *p, uint32_t target)
{
	struct set *sets = target < PREFIX_TARGETS ? sets_of(p) : NULL;
	for (size_t i = 0; sets && i < ((size_t)p->mask + 1) * WAYS * HOLDERS; i++) {
		_Atomic uint32_t *holder = &sets[i / (WAYS * HOLDERS)].ways[i / HOLDERS % WAYS].holders[i % HOLDERS];
		if ((get(holder) & UINT16_MAX) == target + 1)
			set_if_new(holder, FORGOTTEN);
	}
}
