/* ollama_window.c - which window a chat at Ollama needs and gets, the fewest tokens that a prompt can have, and whether it was cut.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/ollama_window.h"

#include "base/json.h"
#include "dialect/walk.h"

#include <stdbool.h>

#define ANSWER_DEFAULT 1024 /* tokens of answer to leave room for where the client says nothing */
#define ANSWER_MOST    2048

/* ---- before ---- */

int64_t ollama_tokens_needed(int64_t input, int64_t output)
{
	int64_t answer = output <= 0 ? ANSWER_DEFAULT : output < ANSWER_MOST ? output : ANSWER_MOST;
	return (input < INT64_MAX / 2 ? input : INT64_MAX / 2) + answer;
}

static int64_t bucket_of(int64_t tokens)
{
	int64_t n = OLLAMA_NUM_CTX_LEAST;
	while (n < tokens && n <= INT64_MAX / 4)
		n *= 2;
	return n;
}

/* The largest window there may be; 0: not known. */
static int64_t limit_of(int64_t known, int64_t context_max, int64_t allowed_max)
{
	int64_t limit = allowed_max;
	if (limit > 0 && context_max > 0 && context_max < limit)
		limit = context_max;
	return limit > known ? limit : known; /* what it has already it may have */
}

int64_t ollama_num_ctx(int64_t known_window, int64_t context_max, int64_t allowed_max, int64_t tokens_needed, int64_t input_low)
{
	int64_t known = known_window > 0 ? known_window : 0, limit = limit_of(known, context_max, allowed_max);
	if (context_max > 0 && known <= context_max && input_low > context_max)
		return OLLAMA_NOWHERE;
	if (tokens_needed <= (known ? known : OLLAMA_SURE_WINDOW))
		return 0;
	if (limit <= 0)
		return OLLAMA_UNSURE;
	if (input_low > limit)
		return OLLAMA_NOWHERE;
	int64_t n = bucket_of(tokens_needed);
	if (n > limit)
		n = limit;
	return n > known ? n : known;
}

static int64_t look(const _Atomic uint32_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

static void note(_Atomic uint32_t *number, int64_t n)
{
	atomic_store_explicit(number, n < 0 ? 0 : n < UINT32_MAX ? (uint32_t)n : UINT32_MAX, memory_order_relaxed);
}

/* Nothing is raised any more. */
static void give_up(struct ollama_raised *r, int64_t ignored)
{
	note(&r->ignored, ignored);
	note(&r->num_ctx, 0);
}

/* The raised window that the model is taken to be loaded with; 0: none. What the engine tells may be older than the last raise; only once it has told the
 * raised window, or tells a larger one, it says that somebody has loaded the model anew. */
static int64_t still_raised(struct ollama_raised *r, int64_t told, int64_t now_s)
{
	int64_t num_ctx = look(&r->num_ctx);
	if (num_ctx == 0)
		return 0;
	if (told == num_ctx)
		atomic_store_explicit(&r->seen, true, memory_order_relaxed);
	else if (told > 0 && (atomic_load_explicit(&r->seen, memory_order_relaxed) || (told > num_ctx && told != look(&r->ignored))))
		give_up(r, 0);
	if (now_s - look(&r->needed_s) > OLLAMA_RAISED_S)
		give_up(r, told);
	return look(&r->num_ctx);
}

/* What a request without num_ctx gets: what the engine tells, unless that is what Valet has raised it to, which stays known when the model is unloaded. */
static int64_t plain_window(struct ollama_raised *r, int64_t told)
{
	int64_t ignored = look(&r->ignored);
	if (look(&r->num_ctx) == 0 && (ignored == 0 || told != ignored)) {
		note(&r->plain, told);
		note(&r->ignored, 0);
	}
	return look(&r->plain);
}

int64_t ollama_plain_window(struct ollama_raised *r, int64_t told, int64_t now_s)
{
	still_raised(r, told, now_s);
	return plain_window(r, told);
}

int64_t ollama_way(struct ollama_raised *r, int64_t told, int64_t context_max, int64_t allowed_max, int64_t tokens_needed, int64_t input_low,
		   int64_t now_s)
{
	int64_t raised = still_raised(r, told, now_s), plain = plain_window(r, told);
	if (allowed_max <= 0)
		raised = 0;
	int64_t num_ctx = ollama_num_ctx(raised ? raised : plain, context_max, allowed_max, tokens_needed, input_low);
	if (num_ctx < 0)
		return num_ctx;
	if (num_ctx == 0)
		num_ctx = raised; /* it fits into what is loaded: nothing is loaded anew */
	if (num_ctx > raised && num_ctx > plain) {
		note(&r->num_ctx, num_ctx);
		atomic_store_explicit(&r->seen, false, memory_order_relaxed);
	}
	if (num_ctx > 0 && tokens_needed > plain)
		note(&r->needed_s, now_s);
	return num_ctx;
}

/* ---- the fewest tokens of a prompt ---- */

#define STRETCH     24 /* units of a word that one token reaches over at most, on average */
#define SEEN_BITS   (1u << 18)
#define SEEN_WORDS  (SEEN_BITS / 64)
#define NAME_WORDS  8 /* of the name of one token, at most */

/* How many units of STRETCH a character takes. */
enum { UNITS_LETTER = 1, UNITS_TWO_BYTES = 2, UNITS_THREE_BYTES = 3, UNITS_IDEOGRAPH = 6 };

struct counting {
	uint64_t seen[SEEN_WORDS]; /* which groups of three characters have come in long words, by hash */
	uint32_t last[2];          /* the two characters before */
	int64_t tokens;
	int64_t name_from;         /* tokens before the name */
	uint32_t units;            /* of this word, since its last token */
	bool word, longer;         /* a word has begun; it is longer than a token may be */
	bool name;                 /* what stands since a bracket opened may be the name of one token */
	bool words_only;           /* a vocabulary that may have one token for any word, however long */
};

/* A text that nothing before it reaches into. */
static void begin_text(struct counting *c)
{
	c->word = c->name = false;
}

static bool is_new(struct counting *c, uint32_t character)
{
	uint64_t h = ((uint64_t)character << 42 ^ (uint64_t)c->last[1] << 21 ^ c->last[0]) * 0x9e3779b97f4a7c15u;
	uint32_t bit = (uint32_t)(h >> 46); /* 18 bits */
	bool was = c->seen[bit / 64] >> (bit % 64) & 1;
	c->seen[bit / 64] |= (uint64_t)1 << (bit % 64);
	return !was;
}

/* Text that repeats itself may fit into few tokens, whatever its length: only what is new makes a long word longer. */
static void add_character(struct counting *c, uint32_t character, uint32_t units)
{
	if (!c->word) {
		c->word = true;
		c->longer = false;
		c->units = c->last[0] = c->last[1] = 0;
		c->tokens++;
	}
	if (c->words_only)
		return;
	c->longer |= c->units + units > STRETCH;
	if (!c->longer || is_new(c, character))
		c->units += units;
	c->last[0] = c->last[1];
	c->last[1] = character;
	if (c->units <= STRETCH)
		return;
	c->units -= STRETCH;
	c->tokens++;
}

/* Chinese, Japanese, Korean. */
static bool is_ideograph(uint32_t c)
{
	return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7af) || (c >= 0xf900 && c <= 0xfaff);
}

/* Letters that no vocabulary leaves out: Latin, Greek, Cyrillic, and the ideographs. */
static bool is_letter(uint32_t c)
{
	return (c >= 0xc0 && c < 0x250 && c != 0xd7 && c != 0xf7) || (c >= 0x370 && c < 0x483) || (c >= 0x48a && c < 0x530) || is_ideograph(c);
}

static void add_wide(struct counting *c, uint32_t character)
{
	if ((character >= 0x2000 && character <= 0x206f) || (character >= 0x3000 && character <= 0x303f) || character == 0xa0)
		return; /* blanks and punctuation: they neither count nor part what stands around them, since not all vocabularies part there */
	if (c->words_only && !is_letter(character))
		return;
	uint32_t units = character < 0x800 ? UNITS_TWO_BYTES : is_ideograph(character) || character > 0xffff ? UNITS_IDEOGRAPH : UNITS_THREE_BYTES;
	add_character(c, character, units);
}

/* "<|im_start|>", "</s>", "[INST]": several words that are one token where a vocabulary has it. */
static void end_name(struct counting *c)
{
	if (c->name && c->tokens > c->name_from && c->tokens <= c->name_from + NAME_WORDS)
		c->tokens = c->name_from + 1;
	c->name = false;
}

/* What parts words. */
static void add_mark(struct counting *c, uint32_t mark)
{
	if ((mark < ' ' && mark != '\t' && mark != '\n' && mark != '\r') || mark == 0x7f)
		return; /* some vocabularies leave them out */
	c->word = false;
	if (mark == '<' || mark == '[') {
		c->name = true;
		c->name_from = c->tokens;
	} else if (mark == '>' || mark == ']') {
		end_name(c);
	} else if (mark != '_' && mark != '|' && mark != '/' && mark != '-' && mark != '.' && mark != ':') {
		c->name = false;
	}
}

/* The code of the UTF-8 character at the front (valid, or what stands for it), and its length. */
static uint32_t decode(struct str s, size_t *length)
{
	unsigned char c = (unsigned char)s.ptr[0];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
	uint32_t code = n == 4 ? c & 7u : n == 3 ? c & 15u : n == 2 ? c & 31u : c;
	if (n > s.len)
		n = s.len;
	for (size_t i = 1; i < n; i++)
		code = code << 6 | ((unsigned char)s.ptr[i] & 63u);
	*length = n;
	return code;
}

static bool is_word(uint32_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'';
}

static void add_ascii(struct counting *c, uint32_t character)
{
	if (is_word(character))
		add_character(c, character, UNITS_LETTER);
	else
		add_mark(c, character);
}

/* What the letter behind a backslash stands for. */
static uint32_t escaped(char letter)
{
	if (letter == 'b' || letter == 'f')
		return '\b';
	return letter == 'n' || letter == 'r' || letter == 't' ? '\n' : (unsigned char)letter;
}

/* An escape; its length. \u escapes of surrogates count as two characters of three bytes: no more than the four of what they stand for. */
static size_t take_escape(struct counting *c, struct str s)
{
	uint32_t code = 0;
	if (s.len < 6 || s.ptr[1] != 'u') {
		add_mark(c, s.len < 2 ? ' ' : escaped(s.ptr[1]));
		return s.len < 2 ? s.len : 2;
	}
	for (int i = 2; i < 6; i++) {
		char digit = s.ptr[i];
		code = code << 4 | (uint32_t)(digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
	}
	if (code >= 0x80)
		add_wide(c, code);
	else
		add_ascii(c, code);
	return 6;
}

/* The inside of a string literal. It goes on where the text before it ended, unless that was ended. */
static void count_text(struct counting *c, struct str text)
{
	size_t n = 1;
	for (; text.len > 0; text = str_skip(text, n)) {
		n = 1;
		if ((unsigned char)text.ptr[0] >= 0x80)
			add_wide(c, decode(text, &n));
		else if (text.ptr[0] == '\\')
			n = take_escape(c, text);
		else
			add_ascii(c, (unsigned char)text.ptr[0]);
	}
}

/* ---- what of a body is counted ---- */

/* How an operation says text in parts. */
struct form {
	struct str type, other; /* of parts that are text */
	bool joins;             /* parts become one text; else each is a message */
};

static const struct form chat_form = {STR_INIT("text"), STR_INIT("text"), false};
static const struct form messages_form = {STR_INIT("text"), STR_INIT("text"), true};
static const struct form responses_form = {STR_INIT("input_text"), STR_INIT("output_text"), true};

/* The inside of the text of a part; ptr NULL: it is none. */
static struct str part_text(const struct form *form, struct str part)
{
	struct str type = walk_get(part, STR("type"));
	return walk_is(type, form->type) || walk_is(type, form->other) ? walk_inside(walk_get(part, STR("text"))) : STR_NONE;
}

/* Also a call or whatever else is marked by tokens of its own. */
static bool is_thoughtful(struct str text)
{
	static const struct str signs[] = {STR_INIT("think"), STR_INIT("<|"), STR_INIT("u003c|"), STR_INIT("u003C|")};
	for (size_t i = 0; i < sizeof(signs) / sizeof(*signs); i++)
		if (text.ptr && str_search(text, signs[i]) < text.len)
			return true;
	return false;
}

/* Templates leave out what an assistant has thought, also where it stands in its text. */
static bool holds_thoughts(const struct form *form, struct str content)
{
	struct walk parts = walk_into(walk_array(content) ? content : STR_NONE);
	if (is_thoughtful(walk_inside(content)))
		return true;
	for (struct str part; walk_element(&parts, &part);)
		if (is_thoughtful(part_text(form, part)))
			return true;
	return false;
}

static void count_content(struct counting *c, const struct form *form, struct str content)
{
	struct walk parts = walk_into(walk_array(content) ? content : STR_NONE);
	begin_text(c);
	if (walk_inside(content).ptr)
		count_text(c, walk_inside(content));
	for (struct str part; walk_element(&parts, &part);) {
		if (!form->joins)
			begin_text(c);
		count_text(c, part_text(form, part));
	}
}

static void count_message(struct counting *c, const struct form *form, struct str message, bool tools)
{
	struct str role = walk_get(message, STR("role")), content = walk_get(message, STR("content"));
	if (walk_is(role, STR("assistant"))) {
		if (!holds_thoughts(form, content))
			count_content(c, form, content);
	} else if (walk_is(role, STR("user")) || walk_is(role, STR("system")) || (tools && walk_is(role, STR("tool")))) {
		count_content(c, form, content);
	}
}

/* /v1/messages: results of tools stand beside the text and become messages of their own. */
static void count_results(struct counting *c, struct str message)
{
	struct str content = walk_get(message, STR("content"));
	struct walk blocks = walk_into(walk_array(content) ? content : STR_NONE);
	if (!walk_is(walk_get(message, STR("role")), STR("user")))
		return;
	for (struct str block; walk_element(&blocks, &block);)
		if (walk_is(walk_get(block, STR("type")), STR("tool_result")))
			count_content(c, &messages_form, walk_get(block, STR("content")));
}

/* /v1/messages: all blocks become one text. Claude Code's first one is a header that releases may leave out. */
static void count_system(struct counting *c, struct str system)
{
	struct walk blocks = walk_into(walk_array(system) ? system : STR_NONE);
	begin_text(c);
	if (walk_inside(system).ptr)
		count_text(c, walk_inside(system));
	for (struct str block; walk_element(&blocks, &block);)
		if (!str_starts(part_text(&messages_form, block), STR("x-anthropic-")))
			count_text(c, part_text(&messages_form, block));
}

/* An item of /v1/responses. */
static void count_item(struct counting *c, struct str item, bool tools)
{
	struct str type = walk_get(item, STR("type"));
	if (walk_null(type) || walk_is(type, STR("message"))) {
		count_message(c, &responses_form, item, false);
	} else if (tools && walk_is(type, STR("function_call_output")) && walk_inside(walk_get(item, STR("output"))).ptr) {
		begin_text(c);
		count_text(c, walk_inside(walk_get(item, STR("output"))));
	}
}

/* A text, or a list of texts of which each is read by itself. */
static void count_inputs(struct counting *c, struct str value, struct ollama_low *low)
{
	struct walk list = walk_into(walk_array(value) ? value : STR_NONE);
	if (walk_inside(value).ptr)
		count_text(c, walk_inside(value));
	low->largest = c->tokens;
	for (struct str input; walk_element(&list, &input); low->inputs++) {
		int64_t before = c->tokens;
		begin_text(c);
		if (walk_inside(input).ptr)
			count_text(c, walk_inside(input));
		if (c->tokens - before > low->largest)
			low->largest = c->tokens - before;
	}
}

enum { WANT_MESSAGES, WANT_TOOLS, WANT_PROMPT, WANT_INPUT, WANT_INSTRUCTIONS, WANT_SYSTEM, WANT_COUNT };

static void count_list(struct counting *c, enum operation op, struct str value, bool tools)
{
	struct walk list = walk_into(walk_array(value) ? value : STR_NONE);
	for (struct str item; walk_element(&list, &item);) {
		if (op == OP_RESPONSES)
			count_item(c, item, tools);
		else
			count_message(c, op == OP_CHAT ? &chat_form : &messages_form, item, op == OP_CHAT && tools);
		if (op == OP_MESSAGES && tools)
			count_results(c, item);
	}
}

static void count_body(struct counting *c, enum operation op, const struct json_want *w, struct ollama_low *low)
{
	bool tools = w[WANT_TOOLS].type == JSON_ARRAY && !walk_empty(w[WANT_TOOLS].value);
	switch (op) {
	case OP_COMPLETIONS:
	case OP_EMBEDDINGS:
		c->words_only = op == OP_EMBEDDINGS;
		count_inputs(c, w[op == OP_EMBEDDINGS ? WANT_INPUT : WANT_PROMPT].value, low);
		break;
	case OP_RESPONSES:
		count_system(c, walk_inside(w[WANT_INSTRUCTIONS].value).ptr ? w[WANT_INSTRUCTIONS].value : STR_NONE);
		begin_text(c);
		if (w[WANT_INPUT].type == JSON_STRING)
			count_text(c, walk_inside(w[WANT_INPUT].value));
		count_list(c, op, w[WANT_INPUT].value, tools);
		break;
	case OP_MESSAGES:
		count_system(c, w[WANT_SYSTEM].value);
		count_list(c, op, w[WANT_MESSAGES].value, tools);
		break;
	case OP_CHAT:
		count_list(c, op, w[WANT_MESSAGES].value, tools);
		break;
	default:
		break;
	}
}

struct ollama_low ollama_input_low(enum operation op, struct str body)
{
	struct counting c = {0};
	struct ollama_low low = {0};
	struct json_want w[WANT_COUNT] = {
		[WANT_MESSAGES] = {.name = STR("messages")}, [WANT_TOOLS] = {.name = STR("tools")}, [WANT_PROMPT] = {.name = STR("prompt")},
		[WANT_INPUT] = {.name = STR("input")}, [WANT_INSTRUCTIONS] = {.name = STR("instructions")}, [WANT_SYSTEM] = {.name = STR("system")},
	};
	struct json_scan scan;
	if (json_scan(body, w, WANT_COUNT, &scan, NULL))
		count_body(&c, op, w, &low);
	low.tokens = c.tokens;
	if (low.inputs <= 1) {
		low.inputs = 1;
		low.largest = c.tokens;
	}
	return low;
}

/* ---- after ---- */

#define LEFT_MOST 8 /* tokens beyond half the window that are left of a prompt which was cut: num_keep / 2 and what begins a text */

/* As many as are left of a prompt that was too long. */
static bool is_left_over(int64_t told, int64_t window)
{
	return told > window / 2 && told <= window / 2 + LEFT_MOST;
}

enum ollama_verdict ollama_judge(int64_t told, int64_t window, int64_t input_low, int64_t input_bound)
{
	if (told <= 0)
		return OLLAMA_WHOLE;
	bool fits = input_bound <= OLLAMA_SURE_WINDOW && (window <= 0 || input_bound <= window); /* a known window may be known wrongly */
	bool fewer = told < input_low - input_low / 8 - 16;
	if (fits)
		return fewer ? OLLAMA_MISCOUNTS : OLLAMA_WHOLE;
	if (fewer || (window > 0 && (told >= window || (told < input_low && is_left_over(told, window)))))
		return OLLAMA_CUT;
	return OLLAMA_WHOLE;
}

enum ollama_verdict ollama_judge_inputs(int64_t told, int64_t window, const struct ollama_low *low)
{
	if (told <= 0)
		return OLLAMA_WHOLE;
	bool fewer = told < low->tokens - low->tokens / 8 - 16, full = window > 0 && low->inputs > 0 && told / low->inputs >= window;
	return fewer || full ? OLLAMA_CUT : OLLAMA_WHOLE;
}

bool ollama_was_truncated(int64_t told, int64_t window, int64_t input_low, int64_t input_bound)
{
	return ollama_judge(told, window, input_low, input_bound) == OLLAMA_CUT;
}
