/* price.c - what a request costs, and which row of the list of prices is a model's.
 *
 * Owns nothing; any thread. Sums are kept in millionths of a nano-dollar, wide enough that nothing overflows before it saturates, and are rounded up
 * once. price_cost() is never above price_bound(), so that what was reserved by a bound covers what is charged.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/price.h"

/* Millionths of a nano-dollar. */
__extension__ typedef unsigned __int128 micro_sum;

#define MILLION  ((micro_sum)1000000)
#define SUM_MAX  ((micro_sum)INT64_MAX * MILLION)
#define NAME_MAX_BYTES 256

/* ---- arithmetic ---- */

/* a * b where neither is negative (one that is counts as 0); a product above SUM_MAX stays above it, but small enough to be added to others. */
static micro_sum product(int64_t a, int64_t b, micro_sum scale)
{
	if (a <= 0 || b <= 0)
		return 0;
	micro_sum p = (micro_sum)a * (micro_sum)b;
	return p > SUM_MAX / scale ? SUM_MAX + MILLION : p * scale;
}

static int64_t to_nanos(micro_sum sum)
{
	return sum > SUM_MAX ? INT64_MAX : (int64_t)((sum + MILLION - 1) / MILLION);
}

/* Of all but the output. A cached token may cost more than another one where somebody wrote it so. */
static micro_sum bound_without_output(const struct price *p, int64_t input, int64_t seconds)
{
	return product(p->input > p->cached ? p->input : p->cached, input, 1) + product(p->per_second, seconds, MILLION);
}

int64_t price_bound(const struct price *p, int64_t input, int64_t output, int64_t seconds)
{
	return to_nanos(bound_without_output(p, input, seconds) + product(p->output, output, 1));
}

int64_t price_cost(const struct price *p, int64_t input, int64_t cached, int64_t output, int64_t micros)
{
	if (input < 0)
		input = 0;
	if (cached < 0 || cached > input)
		cached = cached < 0 ? 0 : input;
	return to_nanos(product(p->input, input - cached, 1) + product(p->cached, cached, 1) + product(p->output, output, 1) +
			product(p->per_second, micros, 1));
}

int64_t price_buys(const struct price *p, int64_t nanos, int64_t input, int64_t seconds)
{
	micro_sum spent = bound_without_output(p, input, seconds), have = nanos > 0 ? (micro_sum)nanos * MILLION : 0;
	if (nanos < 0 || spent > have)
		return 0;
	if (p->output <= 0)
		return INT64_MAX;
	micro_sum n = (have - spent) / (micro_sum)p->output;
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

/* ---- vendors ---- */

static const struct {
	const char *host, *vendor;
} hosts[] = {
	{"api.openai.com", "openai"},
	{"api.anthropic.com", "anthropic"},
	{"generativelanguage.googleapis.com", "gemini"},
	{"api.mistral.ai", "mistral"},
	{"codestral.mistral.ai", "mistral"},
	{"api.deepseek.com", "deepseek"},
	{"api.x.ai", "xai"},
	{"api.groq.com", "groq"},
	{"api.cerebras.ai", "cerebras"},
	{"api.fireworks.ai", "fireworks"},
	{"api.together.xyz", "together"},
	{"api.together.ai", "together"},
	{"api.moonshot.ai", "moonshot"},
	{"api.z.ai", "zai"},
	{"api.minimax.io", "minimax"},
	{"api.perplexity.ai", "perplexity"},
	{"api.cohere.com", "cohere"},
	{"api.cohere.ai", "cohere"},
	{"api.voyageai.com", "voyage"},
	{"openrouter.ai", "openrouter"},
};

const char *price_vendor(struct str host)
{
	if (str_ends(host, STR(".")))
		host.len--;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (str_ieq(host, str_from(hosts[i].host)))
			return hosts[i].vendor;
	return NULL;
}

/* What a vendor's own lists put before the names of its models. */
static const struct {
	const char *vendor, *prefix;
} prefixes[] = {
	{"gemini", "models/"},
	{"fireworks", "accounts/fireworks/models/"},
};

/* The closed models of these are served at their makers' prices by OpenRouter. */
static const struct {
	const char *author, *vendor;
} authors[] = {
	{"openai/", "openai"}, {"anthropic/", "anthropic"}, {"google/", "gemini"}, {"x-ai/", "xai"}, {"cohere/", "cohere"},
};

/* Variants of a model that cost no more than the model. */
static const char *const variants[] = {":free", ":nitro", ":floor"};

/* ---- the list ---- */

static const struct price unknown = {.known = false};

static struct price listed(const char *vendor, struct str model)
{
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strcmp(vendor, prefixes[i].vendor) == 0 && str_starts(model, str_from(prefixes[i].prefix)))
			model = str_skip(model, strlen(prefixes[i].prefix));
	for (const struct price_row *row = price_rows; row->vendor; row++)
		if (strcmp(row->vendor, vendor) == 0 && str_glob(str_from(row->pattern), model))
			return row->price;
	return unknown;
}

static struct price listed_by_author(struct str model)
{
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		if (str_ends(model, str_from(variants[i])))
			model.len -= strlen(variants[i]);
	for (size_t i = 0; i < sizeof(authors) / sizeof(authors[0]); i++)
		if (str_starts(model, str_from(authors[i].author)))
			return listed(authors[i].vendor, str_skip(model, strlen(authors[i].author)));
	return unknown;
}

/* In small letters, within `room`; empty where it is too long for any name. */
static struct str in_small_letters(struct str name, char room[static NAME_MAX_BYTES])
{
	if (name.len > NAME_MAX_BYTES)
		return STR_NONE;
	for (size_t i = 0; i < name.len; i++)
		room[i] = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (char)(name.ptr[i] | 0x20) : name.ptr[i];
	return str_of(room, name.len);
}

struct price price_listed(const char *vendor, struct str model)
{
	char room[NAME_MAX_BYTES];
	if (!vendor)
		return unknown;
	model = in_small_letters(model, room);
	return strcmp(vendor, "openrouter") == 0 ? listed_by_author(model) : listed(vendor, model);
}

/* ---- the same open model elsewhere ---- */

#define WORDS_MAX 48

/* A run of letters or of digits in a name. */
struct word {
	struct str text;
	bool number;
	bool after_point; /* a point stands right before it: "3.5" */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_separator(char c)
{
	return strchr("-_:/. ", c) != NULL;
}

static size_t split_words(struct str name, struct word words[static WORDS_MAX])
{
	size_t count = 0;
	for (size_t i = 0, end; i < name.len && count < WORDS_MAX; i = end) {
		end = i + 1;
		if (is_separator(name.ptr[i]))
			continue;
		bool number = is_digit(name.ptr[i]);
		while (end < name.len && !is_separator(name.ptr[end]) && is_digit(name.ptr[end]) == number)
			end++;
		words[count++] = (struct word){str_of(name.ptr + i, end - i), number, i > 0 && name.ptr[i - 1] == '.'};
	}
	return count;
}

static bool same_word(const struct word *row, const struct word *name)
{
	return str_ieq(row->text, name->text) && !(name->number && name->after_point && !row->after_point);
}

/* Separators make no difference, but where a point makes two numbers one: "kimi-k3" is not in "kimi-k3.5", and "8b" not in "1.8b". */
static bool words_are_in(const struct word *row, size_t n, const struct word *name, size_t count)
{
	for (size_t at = 0; n > 0 && at + n <= count; at++) {
		size_t i = 0;
		while (i < n && same_word(&row[i], &name[at + i]))
			i++;
		const struct word *next = at + n < count ? &name[at + n] : NULL;
		if (i == n && !(row[n - 1].number && next && next->number && next->after_point))
			return true;
	}
	return false;
}

static struct price open_price(struct str model)
{
	struct word words[WORDS_MAX], row[WORDS_MAX];
	size_t count = split_words(model, words);
	for (const struct price_row *r = price_open_rows; r->vendor; r++) {
		size_t n = split_words(str_from(r->pattern), row);
		if (words_are_in(row, n, words, count))
			return r->price;
	}
	return unknown;
}

/* Those who make models and serve them at a price of their own. */
static const char *const makers[] = {"openai",   "anthropic", "gemini", "mistral", "deepseek", "xai",
				     "moonshot", "zai",	      "minimax", "cohere",  "voyage"};

struct price price_reference(struct str model)
{
	char room[NAME_MAX_BYTES];
	model = in_small_letters(model, room);
	struct str name = model;
	for (size_t slash = str_find(name, '/'); slash < name.len; slash = str_find(name, '/'))
		name = str_skip(name, slash + 1);
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		struct price p = listed(makers[i], name);
		if (p.known)
			return p;
	}
	return open_price(model);
}
