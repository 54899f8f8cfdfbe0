/* tap.c - see tap.h. Most events hold nothing that matters, so the first look is one pass for quotes followed by u, f, e or s; only
 * what it finds is compared, and only an event with usage is parsed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/tap.h"

#include "base/json.h"
#include "dialect/walk.h"
#include "http/sse.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TOKENS_ABSURD (1ll << 32)
#define COST_ABSURD   1e6 /* dollars */
#define DONE_MAX 64 /* bytes of the event that says [DONE], with its name and white space */

/* ---- usage objects: valid JSON already, so they are only walked ---- */

struct counts {
	int64_t prompt, input, output, cached, created, total, told_cached;
	bool told; /* any number that can be believed */
};

static const struct {
	struct str name;
	size_t offset;
} counted[] = { /* OpenAI's and Anthropic's words */
	{STR_INIT("prompt_tokens"), offsetof(struct counts, prompt)},
	{STR_INIT("input_tokens"), offsetof(struct counts, input)},
	{STR_INIT("completion_tokens"), offsetof(struct counts, output)},
	{STR_INIT("output_tokens"), offsetof(struct counts, output)},
	{STR_INIT("total_tokens"), offsetof(struct counts, total)},
	{STR_INIT("cached_tokens"), offsetof(struct counts, told_cached)},
	{STR_INIT("prompt_cache_hit_tokens"), offsetof(struct counts, told_cached)}, /* DeepSeek */
	{STR_INIT("cache_read_input_tokens"), offsetof(struct counts, cached)},
	{STR_INIT("cache_creation_input_tokens"), offsetof(struct counts, created)},
};

static void take_count(struct counts *c, size_t offset, struct str value, struct usage *usage)
{
	int64_t n;
	if (str_eq(value, STR("null")))
		return;
	if (json_raw_i64(value, &n) && n >= 0 && n <= TOKENS_ABSURD) {
		*(int64_t *)((char *)c + offset) = n;
		c->told = true;
	} else {
		usage->flagged = true;
	}
}

/* Dollars with decimals, perhaps with an exponent. */
static void take_cost(struct str value, struct usage *usage)
{
	char text[48], *end;
	if (str_eq(value, STR("null")))
		return;
	if (value.len == 0 || value.len >= sizeof(text)) {
		usage->flagged = true;
		return;
	}
	memcpy(text, value.ptr, value.len);
	text[value.len] = 0;
	double dollars = strtod(text, &end);
	if (end != text + value.len || !(dollars >= 0 && dollars <= COST_ABSURD)) {
		usage->flagged = true;
		return;
	}
	double nanos = dollars * 1e9, slip = nanos * 1e-15 + 1e-9; /* 0.0000003 is not quite that, and must not cost 301 */
	int64_t nearest = (int64_t)(nanos + 0.5);
	usage->cost = (double)nearest + slip >= nanos ? nearest : nearest + 1;
	usage->priced = true;
}

static bool holds_details(struct str name, struct str value)
{
	return value.len > 1 && value.ptr[0] == '{' &&
	       (str_eq(name, STR("prompt_tokens_details")) || str_eq(name, STR("input_tokens_details")));
}

static void read_counts(struct str object, struct counts *c, struct usage *usage)
{
	struct walk members = walk_into(object);
	struct str name, value;
	while (walk_member(&members, &name, &value)) {
		if (holds_details(name, value)) {
			struct counts inner = {0};
			read_counts(value, &inner, usage);
			if (inner.told_cached > c->told_cached) /* some tell it twice */
				c->told_cached = inner.told_cached;
			continue;
		}
		for (size_t i = 0; i < sizeof(counted) / sizeof(*counted); i++)
			if (str_eq(name, counted[i].name))
				take_count(c, counted[i].offset, value, usage);
	}
}

void tap_usage(struct str object, struct usage *usage)
{
	struct counts c = {0};
	struct str cost = walk_get(object, STR("cost"));
	read_counts(object, &c, usage);
	if (cost.ptr)
		take_cost(cost, usage);
	if (!c.told)
		return;
	if (c.prompt == 0)
		c.prompt = c.input + c.cached + c.created; /* Anthropic's input leaves out what the cache gave or took */
	if (c.prompt == 0 && c.output == 0)
		c.prompt = c.total; /* rerankers tell only a total */
	if (c.told_cached > c.cached)
		c.cached = c.told_cached;
	/* Anthropic tells the input first and the output at the end: what is told later and is not 0 holds */
	usage->input = c.prompt ? c.prompt : usage->input;
	usage->output = c.output ? c.output : usage->output;
	usage->cached = c.cached ? c.cached : usage->cached;
	usage->known = true;
}

/* ---- the first look at an event ---- */

/* True if `at`, which stands behind a quote, goes on with `name`, a quote, a colon and a value that is not null. */
static bool member_here(const char *at, const char *end, struct str name)
{
	if ((size_t)(end - at) < name.len + 2 || memcmp(at, name.ptr, name.len) != 0 || at[name.len] != '"')
		return false;
	at += name.len + 1;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (at == end || *at++ != ':')
		return false;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return !(end - at >= 4 && memcmp(at, "null", 4) == 0);
}

/* `at` stands at the name of a finish reason: true if the reason is a failure. */
static bool ends_badly(const char *at, const char *end)
{
	const char *colon = memchr(at, ':', (size_t)(end - at));
	struct str value = colon ? str_trim(str_head(str_of(colon + 1, (size_t)(end - colon) - 1), 64)) : STR_NONE;
	return str_starts(value, STR("\"error\"")) || str_starts(value, STR("\"insufficient_system_resource\""));
}

/* `at` stands behind a quote. */
static unsigned marks_here(const char *at, const char *end)
{
	switch (*at) {
	case 'u':
		return member_here(at, end, STR("usage")) ? TAP_USAGE : 0;
	case 'f':
		if (!member_here(at, end, STR("finish_reason")))
			return 0;
		return ends_badly(at, end) ? TAP_FINISH | TAP_ERROR : TAP_FINISH;
	case 'e':
		return member_here(at, end, STR("error")) ? TAP_ERROR : 0;
	case 's':
		return member_here(at, end, STR("stop_reason")) ? TAP_FINISH : 0;
	default:
		return 0;
	}
}

static unsigned marks_slow(const char *at, const char *end)
{
	unsigned marks = 0;
	for (; at + 1 < end; at++)
		if (*at == '"')
			marks |= marks_here(at + 1, end);
	return marks;
}

static unsigned find_marks(struct str event)
{
	const char *at = event.ptr, *end = event.ptr + event.len;
	unsigned marks = 0;
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), u = _mm_set1_epi8('u'), f = _mm_set1_epi8('f'), e = _mm_set1_epi8('e'),
		      s = _mm_set1_epi8('s');
	for (; end - at >= 17; at += 16) {
		__m128i here = _mm_loadu_si128((const __m128i *)at), next = _mm_loadu_si128((const __m128i *)(at + 1));
		__m128i letter = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(next, u), _mm_cmpeq_epi8(next, f)),
					      _mm_or_si128(_mm_cmpeq_epi8(next, e), _mm_cmpeq_epi8(next, s)));
		int found = _mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(here, quote), letter));
		for (; found; found &= found - 1)
			marks |= marks_here(at + __builtin_ctz((unsigned)found) + 1, end);
	}
#endif
	return marks | marks_slow(at, end);
}

/* ---- events ---- */

/* What the name of an event says: those of Responses and Messages that end a stream, and errors. */
static unsigned name_marks(struct str name)
{
	static const struct str terminal[] = {
		STR_INIT("response.completed"), STR_INIT("response.incomplete"), STR_INIT("response.failed"),
		STR_INIT("message_stop"), STR_INIT("transcript.text.done"), STR_INIT("image_generation.completed"),
	};
	for (size_t i = 0; i < sizeof(terminal) / sizeof(*terminal); i++)
		if (str_eq(name, terminal[i]))
			return TAP_FINISH;
	return str_eq(name, STR("error")) ? TAP_ERROR : 0;
}

/* The lines before the data: comments, a name. Most events begin with their data. */
static unsigned line_marks(struct str event)
{
	struct str name, value;
	unsigned marks = 0;
	if (str_starts(event, STR("data:")))
		return TAP_DATA;
	while (!(marks & TAP_DATA) && sse_next_line(&event, &name, &value)) {
		if (str_eq(name, STR("event")))
			marks |= name_marks(str_trim(value));
		else if (name.len > 0 && !str_eq(name, STR("id")) && !str_eq(name, STR("retry")))
			marks |= TAP_DATA; /* the rest of a long event as well, whose beginning has passed */
	}
	return marks;
}

/* True if `object` is one and holds an error. */
static bool member_error(struct str object)
{
	struct str error = walk_get(object, STR("error"));
	return error.ptr && !walk_null(error);
}

/* The same of a choice, which may say it by the reason of its end. */
static bool choice_error(struct str choice)
{
	struct str finish = walk_get(choice, STR("finish_reason"));
	return member_error(choice) || walk_is(finish, STR("error")) || walk_is(finish, STR("insufficient_system_resource"));
}

/* An error of the event, of its response or of one of its choices; not a word of a tool's schema that the event repeats. */
static bool holds_error(struct str event)
{
	struct json_want w[] = {
		{.name = STR("error")}, {.name = STR("response")}, {.name = STR("x_groq")}, {.name = STR("choices")},
	};
	struct json_scan scan;
	struct str data = sse_data(event);
	if (!data.ptr || !json_scan(data, w, 4, &scan, NULL) || w[0].type > JSON_NULL)
		return true; /* what cannot be read is taken for what it looks like */
	struct str first = STR_NONE;
	struct walk root = walk_into(scan.type == JSON_ARRAY ? scan.whole : STR_NONE); /* Gemini's errors come in a list */
	if (walk_element(&root, &first) && member_error(first))
		return true;
	if (member_error(w[1].value) || member_error(w[2].value))
		return true;
	struct walk list = walk_into(w[3].type == JSON_ARRAY ? w[3].value : STR_NONE);
	for (struct str choice; walk_element(&list, &choice);)
		if (choice_error(choice))
			return true;
	return false;
}

/* The usage of an event: at the top level of its data, or inside "response" (Responses), "message" (Messages) or "x_groq". */
static unsigned read_usage(struct str event, struct usage *usage)
{
	struct json_want w[] = {
		{.name = STR("usage")}, {.name = STR("choices")}, {.name = STR("response")}, {.name = STR("message")}, {.name = STR("x_groq")},
	};
	struct json_want inner = {.name = STR("usage")};
	struct json_scan scan;
	struct json_fail fail;
	struct str data = sse_data(event);
	if (!data.ptr || !json_scan(data, w, 5, &scan, &fail))
		return 0;
	if (w[0].type == JSON_OBJECT) {
		tap_usage(w[0].value, usage);
		struct str list = w[1].type == JSON_ARRAY ? str_trim(str_of(w[1].value.ptr + 1, w[1].value.len - 2)) : STR("x");
		return TAP_USAGE | (list.len == 0 ? TAP_ONLY_USAGE : 0);
	}
	if (w[0].type != JSON_NONE && w[0].type != JSON_NULL)
		usage->flagged = true;
	struct str holder = STR("{}");
	for (int i = 4; i >= 2; i--)
		holder = w[i].type == JSON_OBJECT ? w[i].value : holder;
	if (json_scan(holder, &inner, 1, &scan, &fail) && inner.type == JSON_OBJECT)
		tap_usage(inner.value, usage);
	return TAP_USAGE;
}

unsigned tap_event(struct str event, struct usage *usage)
{
	unsigned marks = line_marks(event);
	if (!(marks & TAP_DATA))
		return marks;
	if (event.len < DONE_MAX && str_eq(str_trim(sse_data(event)), STR("[DONE]")))
		return marks | TAP_DONE;
	unsigned found = find_marks(event);
	if (found & TAP_USAGE)
		found |= read_usage(event, usage);
	if (found & TAP_ERROR && !holds_error(event))
		found &= ~(unsigned)TAP_ERROR;
	return marks | found;
}

static struct str model_of(struct str json)
{
	struct json_want w = {.name = STR("model")};
	struct json_scan scan;
	struct json_fail fail;
	if (!json_scan(json, &w, 1, &scan, &fail) || w.type != JSON_STRING)
		return STR_NONE;
	return w.value;
}

struct str tap_event_model(struct str event)
{
	struct json_want w[] = {{.name = STR("model")}, {.name = STR("response")}, {.name = STR("message")}};
	struct json_scan scan;
	struct json_fail fail;
	struct str data = str_trim(sse_data(event));
	if (!data.ptr || data.len < 2 || data.ptr[0] != '{' || !json_scan(data, w, 3, &scan, &fail))
		return STR_NONE;
	if (w[0].type == JSON_STRING)
		return w[0].value;
	if (w[1].type == JSON_OBJECT)
		return model_of(w[1].value);
	return w[2].type == JSON_OBJECT ? model_of(w[2].value) : STR_NONE;
}

bool tap_whole(struct str body, struct usage *usage, struct str *model, bool *error)
{
	struct json_want w[] = {{.name = STR("usage")}, {.name = STR("model")}, {.name = STR("error")}};
	struct json_scan scan;
	struct json_fail fail;
	*model = STR_NONE;
	if (!json_scan(body, w, 3, &scan, &fail))
		return false;
	struct str first = STR_NONE;
	struct walk root = walk_into(scan.type == JSON_ARRAY ? scan.whole : STR_NONE);
	*error = w[2].type == JSON_OBJECT || w[2].type == JSON_STRING || (walk_element(&root, &first) && member_error(first));
	if (w[0].type == JSON_OBJECT)
		tap_usage(w[0].value, usage);
	else if (w[0].type != JSON_NONE && w[0].type != JSON_NULL)
		usage->flagged = true;
	if (w[1].type == JSON_STRING)
		*model = w[1].value;
	return true;
}

static struct str skip_blanks(struct str s)
{
	size_t n = 0;
	while (n < s.len && (s.ptr[n] == ' ' || s.ptr[n] == '\t' || s.ptr[n] == '\r' || s.ptr[n] == '\n'))
		n++;
	return str_skip(s, n);
}

/* What stands behind the colon of the last "usage" whose value begins as an object does; ptr NULL where there is none. */
static struct str last_usage(struct str tail)
{
	struct str name = STR("\"usage\""), last = STR_NONE;
	for (size_t found; (found = str_search(tail, name)) < tail.len;) {
		tail = str_skip(tail, found + name.len);
		struct str rest = skip_blanks(tail);
		if (rest.len == 0 || rest.ptr[0] != ':')
			continue;
		rest = skip_blanks(str_skip(rest, 1));
		if (rest.len > 0 && rest.ptr[0] == '{')
			last = rest;
	}
	return last;
}

void tap_tail(struct str tail, struct usage *usage)
{
	struct str rest = last_usage(tail);
	if (!rest.ptr)
		return;
	struct walk w = {rest.ptr, rest.ptr + rest.len};
	struct str object;
	if (walk_element(&w, &object) && json_scan(object, NULL, 0, NULL, NULL))
		tap_usage(object, usage);
}
