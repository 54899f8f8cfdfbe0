/* answer.c - see answer.h: hashes, words, tokens, ids.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- hashes and words ---- */

#define HASH_LANES 4
#define HASH_PRIME 0xff51afd7ed558ccdu

static uint64_t word_at(const char *p)
{
	uint64_t word;
	memcpy(&word, p, sizeof(word));
	return word;
}

/* Four lanes side by side, so that no multiplication waits for the one before. */
uint64_t text_hash(struct str bytes, uint64_t seed)
{
	uint64_t lanes[HASH_LANES], h = seed ^ bytes.len * 0x9e3779b97f4a7c15u, last = 0;
	const char *p = bytes.ptr;
	size_t left = bytes.len;
	for (int i = 0; i < HASH_LANES; i++)
		lanes[i] = h + (uint64_t)i;
	for (; left >= 8 * HASH_LANES; left -= 8 * HASH_LANES) {
		for (int i = 0; i < HASH_LANES; i++, p += 8) {
			lanes[i] = (lanes[i] ^ word_at(p)) * HASH_PRIME;
			lanes[i] ^= lanes[i] >> 32;
		}
	}
	for (int i = 0; i < HASH_LANES; i++)
		h = (h ^ lanes[i]) * HASH_PRIME + (h >> 32);
	for (; left >= 8; left -= 8, p += 8)
		h = text_mix(h ^ word_at(p));
	if (left)
		memcpy(&last, p, left);
	return text_mix((h ^ last) * HASH_PRIME);
}

/* Each with the space before it, which the first word of an answer goes without. */
#define W(word) STR_INIT(" " word)
static const struct str words[256] = {
	W("able"),    W("about"),   W("above"),   W("across"), W("after"),  W("again"),
	W("air"),     W("all"),     W("along"),   W("also"),   W("always"), W("and"),
	W("animal"),  W("answer"),  W("any"),     W("apple"),  W("area"),   W("around"),
	W("art"),     W("ask"),     W("autumn"),  W("away"),   W("back"),   W("bag"),
	W("ball"),    W("band"),    W("bank"),    W("base"),   W("basket"), W("bath"),
	W("bay"),     W("beach"),   W("bear"),    W("beat"),   W("bed"),    W("bee"),
	W("before"),  W("begin"),   W("bell"),    W("below"),  W("bench"),  W("best"),
	W("better"),  W("between"), W("big"),     W("bird"),   W("blue"),   W("board"),
	W("boat"),    W("body"),    W("bone"),    W("book"),   W("both"),   W("bottle"),
	W("bottom"),  W("box"),     W("branch"),  W("bread"),  W("break"),  W("bridge"),
	W("bright"),  W("bring"),   W("broad"),   W("brown"),  W("build"),  W("busy"),
	W("butter"),  W("cabin"),   W("cake"),    W("call"),   W("calm"),   W("camp"),
	W("candle"),  W("card"),    W("care"),    W("carry"),  W("case"),   W("castle"),
	W("cat"),     W("catch"),   W("centre"),  W("chair"),  W("chance"), W("change"),
	W("cheese"),  W("child"),   W("choose"),  W("circle"), W("city"),   W("class"),
	W("clean"),   W("clear"),   W("climb"),   W("clock"),  W("close"),  W("cloud"),
	W("coast"),   W("coat"),    W("coffee"),  W("cold"),   W("come"),   W("cook"),
	W("copper"),  W("corn"),    W("corner"),  W("cost"),   W("count"),  W("country"),
	W("cover"),   W("cross"),   W("cup"),     W("curve"),  W("dance"),  W("dark"),
	W("day"),     W("deep"),    W("deer"),    W("desk"),   W("door"),   W("down"),
	W("draw"),    W("dream"),   W("dress"),   W("drink"),  W("drive"),  W("drop"),
	W("dry"),     W("dust"),    W("each"),    W("early"),  W("earth"),  W("east"),
	W("easy"),    W("edge"),    W("egg"),     W("eight"),  W("else"),   W("empty"),
	W("end"),     W("enough"),  W("evening"), W("every"),  W("eye"),    W("face"),
	W("fair"),    W("fall"),    W("family"),  W("far"),    W("farm"),   W("fast"),
	W("father"),  W("feather"), W("field"),   W("fifty"),  W("fill"),   W("find"),
	W("fine"),    W("fire"),    W("first"),   W("fish"),   W("five"),   W("flat"),
	W("floor"),   W("flower"),  W("fly"),     W("fold"),   W("follow"), W("food"),
	W("foot"),    W("forest"),  W("form"),    W("forty"),  W("four"),   W("fox"),
	W("free"),    W("fresh"),   W("friend"),  W("from"),   W("front"),  W("fruit"),
	W("full"),    W("garden"),  W("gate"),    W("gather"), W("gentle"), W("gift"),
	W("give"),    W("glad"),    W("glass"),   W("go"),     W("gold"),   W("good"),
	W("grain"),   W("grass"),   W("great"),   W("green"),  W("ground"), W("group"),
	W("grow"),    W("half"),    W("hall"),    W("hand"),   W("happy"),  W("harbour"),
	W("hat"),     W("have"),    W("hay"),     W("head"),   W("hear"),   W("heart"),
	W("heavy"),   W("help"),    W("here"),    W("hill"),   W("hold"),   W("home"),
	W("honey"),   W("horse"),   W("hour"),    W("house"),  W("ice"),    W("idea"),
	W("inside"),  W("iron"),    W("island"),  W("jacket"), W("join"),   W("journey"),
	W("jump"),    W("keep"),    W("kettle"),  W("key"),    W("kind"),   W("king"),
	W("kitchen"), W("know"),    W("lake"),    W("lamp"),   W("land"),   W("large"),
	W("last"),    W("late"),    W("laugh"),   W("leaf"),   W("learn"),  W("leave"),
	W("left"),    W("letter"),  W("life"),    W("light"),  W("line"),   W("lion"),
	W("list"),    W("little"),  W("long"),    W("look"),
};
#undef W

struct str text_word(uint64_t hash, uint64_t index)
{
	struct str word = words[text_mix(hash + index * 0x9e3779b97f4a7c15u) & 255];
	return index == 0 ? str_skip(word, 1) : word;
}

static bool inside_sequence(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

bool text_piece(struct str *rest, struct str *piece)
{
	if (rest->len == 0)
		return false;
	size_t most = rest->len < PIECE_MAX ? rest->len : PIECE_MAX, n = 1;
	while (n < most && rest->ptr[n - 1] != ' ')
		n++;
	while (n < rest->len && n > 1 && inside_sequence(rest->ptr[n]))
		n--;
	*piece = str_head(*rest, n);
	*rest = str_skip(*rest, n);
	return true;
}

uint32_t text_pieces(struct str text)
{
	struct str piece;
	uint32_t n = 0;
	while (text_piece(&text, &piece))
		n++;
	return n;
}

/* ---- the text of a prompt ---- */

static bool counting_name(struct str name)
{
	static const struct str names[] = {
		STR_INIT("content"), STR_INIT("text"),         STR_INIT("prompt"),
		STR_INIT("input"),   STR_INIT("query"),        STR_INIT("documents"),
		STR_INIT("system"),  STR_INIT("instructions"),
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (str_eq(names[i], name))
			return true;
	return false;
}

/* The inside of the literal whose first quote is at p; *p is moved behind it. */
static struct str take_literal(const char **p, const char *end)
{
	const char *from = *p + 1, *at = from;
	for (;;) {
		const char *quote = memchr(at, '"', (size_t)(end - at));
		const char *slash = quote ? quote : end;
		while (slash > from && slash[-1] == '\\')
			slash--;
		if (!quote || (quote - slash) % 2 == 0) {
			*p = quote ? quote + 1 : end;
			return str_of(from, (size_t)((quote ? quote : end) - from));
		}
		at = quote + 1;
	}
}

static unsigned hex4(const char *p)
{
	unsigned n = 0;
	for (int i = 0; i < 4; i++)
		n = n << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
	return n;
}

/* Bytes of UTF-8 that one escape stands for; *at is moved behind it. A lone surrogate counts as
 * U+FFFD. */
static size_t escape_bytes(struct str s, size_t *at)
{
	if (s.ptr[*at + 1] != 'u' || *at + 6 > s.len) {
		*at += 2;
		return 1;
	}
	unsigned c = hex4(s.ptr + *at + 2);
	*at += 6;
	if (c >= 0xd800 && c < 0xdc00 && *at + 6 <= s.len && s.ptr[*at] == '\\' &&
	    s.ptr[*at + 1] == 'u') {
		unsigned low = hex4(s.ptr + *at + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			*at += 6;
			return 4;
		}
	}
	return c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
}

static size_t decoded_bytes(struct str inside)
{
	size_t n = 0, at = 0;
	while (at < inside.len) {
		const char *slash = memchr(inside.ptr + at, '\\', inside.len - at);
		if (!slash)
			return n + inside.len - at;
		n += (size_t)(slash - inside.ptr) - at;
		at = (size_t)(slash - inside.ptr);
		if (at + 1 >= inside.len)
			return n;
		n += escape_bytes(inside, &at);
	}
	return n;
}

static void take(struct text_taker *t, struct str inside)
{
	size_t bytes = decoded_bytes(inside);
	t->bytes += bytes;
	if (t->take)
		t->take(t, inside, bytes);
}

struct walk {
	const char *p, *end;
	unsigned depth;
	bool key; /* the next string is a member's name */
	struct {
		bool object, counts;
	} open[128];
};

static void walk_string(struct walk *w, struct text_taker *t)
{
	struct str inside = take_literal(&w->p, w->end);
	if (w->key) {
		w->open[w->depth].counts = counting_name(inside);
		w->key = false;
	} else if (w->open[w->depth].counts) {
		take(t, inside);
	}
}

static void walk_number(struct walk *w, struct text_taker *t)
{
	while (w->p < w->end && strchr("+-.eE0123456789", *w->p))
		w->p++;
	if (w->depth > 0 && w->open[w->depth].counts && !w->open[w->depth].object)
		t->bytes += 4;
}

static void walk_open(struct walk *w, bool object)
{
	bool counts = w->open[w->depth].counts && !object;
	if (w->depth + 1 < sizeof(w->open) / sizeof(*w->open))
		w->depth++;
	w->open[w->depth].object = w->key = object;
	w->open[w->depth].counts = counts;
	w->p++;
}

void text_walk(struct str json, bool counts, struct text_taker *t)
{
	struct walk w = {.p = json.ptr, .end = json.ptr + json.len};
	w.open[0].object = false;
	w.open[0].counts = counts;
	while (w.p < w.end) {
		char c = *w.p;
		if (c == '"') {
			walk_string(&w, t);
		} else if (c == '{' || c == '[') {
			walk_open(&w, c == '{');
		} else if (c == '-' || (c >= '0' && c <= '9')) {
			walk_number(&w, t);
		} else {
			if (c == '}' || c == ']') {
				w.depth -= w.depth > 0;
				w.key = false;
			} else if (c == ',') {
				w.key = w.open[w.depth].object;
			}
			w.p++;
		}
	}
}

/* ---- ids and times ---- */

void id_hex(struct buf *out, uint64_t hash)
{
	static const char digits[] = "0123456789abcdef";
	char id[32];
	uint64_t bits = text_mix(hash ^ 0x1d);
	for (int i = 0; i < 32; i++, bits >>= 4) {
		if (i == 16)
			bits = text_mix(hash ^ 0x2d);
		id[i] = digits[bits & 15];
	}
	buf_add(out, id, sizeof(id));
}

void id_letters(struct buf *out, uint64_t hash, unsigned count)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab";
	uint64_t bits = 0;
	for (unsigned i = 0; i < count; i++, bits >>= 6) {
		if (i % 10 == 0)
			bits = text_mix(hash + i + 1);
		buf_addc(out, letters[bits & 63]);
	}
}

void time_put(struct buf *out, int64_t us)
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1,
		 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us % 1000000));
}
