/* json_tree.c - the tree of views on the text; what its strings and numbers mean.
 *
 * The tree lives in the caller's arena; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lex.h"

/* ---- decoding ---- */

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* The code point of the escape at p, and how many bytes it takes there. A surrogate without its
 * other half is U+FFFD. */
static uint32_t escape_value(const char *p, const char *end, size_t *len)
{
	static const char letters[] = "bfnrt", meaning[] = "\b\f\n\r\t";
	int unit = json_lex_unit(p, end);
	if (unit < 0) {
		*len = end - p < 2 ? 1 : 2;
		const char *letter = *len == 2 ? memchr(letters, p[1], sizeof(letters) - 1) : NULL;
		return (unsigned char)(letter ? meaning[letter - letters] : p[*len - 1]);
	}
	*len = 6;
	if (unit < 0xd800 || unit > 0xdfff)
		return (uint32_t)unit;
	int low = unit < 0xdc00 ? json_lex_unit(p + 6, end) : -1;
	if (low < 0xdc00 || low > 0xdfff)
		return 0xfffd;
	*len = 12;
	return 0x10000 + ((uint32_t)(unit - 0xd800) << 10 | (uint32_t)(low - 0xdc00));
}

bool json_lex_piece(struct str *rest, char utf8[4], struct str *piece)
{
	if (rest->len == 0)
		return false;
	size_t len = str_find(*rest, '\\');
	if (len) {
		*piece = str_head(*rest, len);
	} else {
		uint32_t c = escape_value(rest->ptr, rest->ptr + rest->len, &len);
		*piece = str_of(utf8, put_utf8(utf8, c));
	}
	*rest = str_skip(*rest, len);
	return true;
}

bool json_lex_same(struct str inside, struct str text)
{
	char utf8[4];
	struct str piece;
	while (json_lex_piece(&inside, utf8, &piece)) {
		if (!str_starts(text, piece))
			return false;
		text = str_skip(text, piece.len);
	}
	return text.len == 0;
}

/* ---- the tree ---- */

/* The containers that are open, and where their next child goes. */
struct tree {
	struct arena *arena;
	struct json_lex lex;
	struct json *root;
	struct json **tail; /* of the innermost */
	struct json *open[JSON_MAX_DEPTH + 1];
	struct json **outer[JSON_MAX_DEPTH +
			    1]; /* [depth]: the tail to go on with when that container closes */
};

static struct json *tree_add(struct tree *t, uint32_t depth)
{
	const struct json_lex *l = &t->lex;
	struct json *j = arena_alloc(t->arena, sizeof(*j));
	*j = (struct json){.type = l->type, .raw = l->raw};
	if (l->type == JSON_STRING) {
		j->escaped = l->escaped;
		j->raw = json_lex_inside(l->raw);
	} else if (l->type == JSON_BOOL) {
		j->boolean = l->raw.ptr[0] == 't';
	}
	if (l->key.ptr) {
		j->key_escaped = l->key_escaped;
		j->key = json_lex_inside(l->key);
	}
	if (depth)
		t->open[depth]->count++;
	*t->tail = j;
	t->tail = &j->next;
	return j;
}

static void tree_open(struct tree *t)
{
	uint32_t depth = t->lex.depth;
	struct json *j = tree_add(t, depth - 1);
	t->open[depth] = j;
	t->outer[depth] = t->tail;
	t->tail = &j->first;
}

static void tree_close(struct tree *t)
{
	uint32_t depth = t->lex.depth + 1;
	struct json *j = t->open[depth];
	j->raw.len = (size_t)(t->lex.at - j->raw.ptr);
	t->tail = t->outer[depth];
}

struct json *json_parse(struct arena *a, struct str text, struct json_fail *fail)
{
	struct tree t;
	t.arena = a;
	t.root = NULL;
	t.tail = &t.root;
	json_lex_init(&t.lex, text);
	for (;;) {
		switch (json_lex_next(&t.lex)) {
		case JSON_SCALAR:
			tree_add(&t, t.lex.depth);
			break;
		case JSON_OPENED:
			tree_open(&t);
			break;
		case JSON_CLOSED:
			tree_close(&t);
			break;
		case JSON_ENDED:
			return t.root;
		case JSON_FAILED:
			if (fail)
				*fail = t.lex.fail;
			return NULL;
		}
	}
}

static bool is_called(const struct json *member, struct str name)
{
	if (member->key_escaped)
		return json_lex_same(member->key, name);
	return str_eq(member->key, name);
}

const struct json *json_get(const struct json *object, struct str name)
{
	const struct json *found = NULL;
	if (!object || object->type != JSON_OBJECT)
		return NULL;
	for (const struct json *member = object->first; member; member = member->next)
		if (is_called(member, name))
			found = member;
	return found;
}

/* ---- text ---- */

/* Decoded text is never longer than its spelling: six bytes stand for three at most. */
static struct str decoded(struct arena *a, struct str inside)
{
	char utf8[4], *text = arena_alloc(a, inside.len);
	struct str piece;
	size_t len = 0;
	while (json_lex_piece(&inside, utf8, &piece)) {
		memcpy(text + len, piece.ptr, piece.len);
		len += piece.len;
	}
	return str_of(text, len);
}

struct str json_text(struct arena *a, const struct json *string)
{
	if (!string || string->type != JSON_STRING)
		return STR_NONE;
	return string->escaped ? decoded(a, string->raw) : string->raw;
}

struct str json_key(struct arena *a, const struct json *member)
{
	if (!member)
		return STR_NONE;
	return member->key_escaped ? decoded(a, member->key) : member->key;
}

bool json_unescape(struct str inside, struct buf *out)
{
	char utf8[4];
	struct str piece;
	size_t before = out->len;
	while (json_lex_piece(&inside, utf8, &piece)) {
		if (!buf_adds(out, piece)) {
			out->len = before;
			return false;
		}
	}
	return true;
}

/* ---- integers ---- */

/* A decimal number read digit by digit: n * 10^(zeros - fraction). Zeros are put off, as
 * those of "1.000" must not overflow. */
struct decimal {
	uint64_t n;
	int64_t zeros, fraction;
};

/* Ends after 20 steps at most, however large `power` is: n is not 0. */
static bool decimal_scale(struct decimal *d, int64_t power)
{
	for (; power > 0; power--)
		if (__builtin_mul_overflow(d->n, 10, &d->n))
			return false;
	return true;
}

static bool decimal_digit(struct decimal *d, char c)
{
	if (c == '0') {
		d->zeros += d->n != 0;
		return true;
	}
	if (d->n && !decimal_scale(d, d->zeros + 1))
		return false;
	d->zeros = 0;
	return !__builtin_add_overflow(d->n, (uint64_t)(c - '0'), &d->n);
}

/* What stands behind the 'e'; large ones are cut to what no text can make up for. */
static int64_t exponent(struct str s)
{
	enum { LIMIT = 1000000 };
	const int64_t most = INT64_MAX / LIMIT;
	bool minus = str_starts(s, STR("-"));
	int64_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			continue;
		n = n * 10 + (s.ptr[i] - '0');
		if (n > most)
			n = most;
	}
	return minus ? -n : n;
}

/* The digits before the exponent; false where they are too many for 64 bits. */
static bool decimal_read(struct decimal *d, struct str digits)
{
	bool point = false;
	for (size_t i = 0; i < digits.len; i++) {
		char c = digits.ptr[i];
		if (c == '.')
			point = true;
		else if (c != '-' && !decimal_digit(d, c))
			return false;
		else
			d->fraction += point;
	}
	return true;
}

bool json_raw_i64(struct str raw, int64_t *out)
{
	const char *end = raw.len ? raw.ptr + raw.len : NULL;
	if (!end || json_lex_number(raw.ptr, end) != end)
		return false;
	struct decimal d = {.n = 0};
	size_t e = 0;
	while (e < raw.len && (raw.ptr[e] | 0x20) != 'e')
		e++;
	if (!decimal_read(&d, str_head(raw, e)))
		return false;
	if (d.n) {
		int64_t power = exponent(str_skip(raw, e + 1)) + d.zeros - d.fraction;
		if (power < 0 || !decimal_scale(&d, power))
			return false;
	}
	bool minus = raw.ptr[0] == '-';
	if (d.n > (uint64_t)INT64_MAX + minus)
		return false;
	*out = minus ? (int64_t)(0 - d.n) : (int64_t)d.n;
	return true;
}

bool json_i64(const struct json *number, int64_t *out)
{
	return number && number->type == JSON_NUMBER && json_raw_i64(number->raw, out);
}
