/* resume.c - collects the text of a stream as it passes, writes the body that asks for the rest, and makes the rest look like the same stream.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/resume.h"

#include "base/json.h"
#include "dialect/walk.h"
#include "http/sse.h"

bool resume_engine(enum engine_kind kind)
{
	return kind == ENGINE_VLLM || kind == ENGINE_SGLANG || kind == ENGINE_LLAMACPP || kind == ENGINE_OLLAMA;
}

void resume_init(struct resume *s, struct arena *a)
{
	*s = (struct resume){.arena = a};
	buf_init(&s->text, RESUME_TEXT_MAX);
}

void resume_release(struct resume *s)
{
	buf_release(&s->text);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void resume_again(struct resume *s, int64_t tokens)
{
	s->continued = s->waits = true;
	for (s->blanks = 0; s->blanks < s->text.len && is_blank(s->text.ptr[s->text.len - s->blanks - 1]);)
		s->blanks++;
	s->before = s->blanks < s->text.len && tokens > s->blank_pieces ? tokens - s->blank_pieces : 0; /* white space is made once more */
}

/* ---- what may be continued ---- */

/* null, false, and what holds nothing. */
static bool says_nothing(struct str value)
{
	return walk_null(value) || value.ptr[0] == 'f' || str_eq(value, STR("\"\"")) || ((walk_object(value) || walk_array(value)) && walk_empty(value));
}

static bool is_any(struct str name, const struct str *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (walk_says(name, list[i]))
			return true;
	return false;
}
#define IS_ANY(name, list) is_any((name), (list), sizeof(list) / sizeof(*(list)))

/* Members of a body that ask for more than text, or for text that a grammar makes from its beginning on. */
static const struct str barring[] = {
	STR_INIT("logprobs"), STR_INIT("prompt_logprobs"), STR_INIT("n_probs"), STR_INIT("return_token_ids"), STR_INIT("echo"), STR_INIT("use_beam_search"),
	STR_INIT("best_of"), STR_INIT("audio"), STR_INIT("guided_json"), STR_INIT("guided_regex"), STR_INIT("guided_choice"), STR_INIT("guided_grammar"),
	STR_INIT("structured_outputs"), STR_INIT("structural_tag"), STR_INIT("json_schema"), STR_INIT("grammar"), STR_INIT("regex"), STR_INIT("ebnf"),
	STR_INIT("format"),
};

static bool is_one(struct str value)
{
	int64_t n;
	return walk_null(value) || (json_raw_i64(value, &n) && n == 1);
}

/* A beginning that the client gave itself would have to be joined with ours, and engines differ in what they make of it. */
static bool ends_with_answer(struct str messages)
{
	struct walk w = walk_into(walk_array(messages) ? messages : STR_NONE);
	struct str last = STR_NONE;
	while (walk_element(&w, &last))
		;
	return !last.ptr || walk_is(walk_get(last, STR("role")), STR("assistant"));
}

bool resume_allowed(struct str body)
{
	struct walk w = walk_into(walk_object(str_trim(body)) ? str_trim(body) : STR_NONE);
	struct str name, value;
	bool messages = false;
	while (walk_member(&w, &name, &value)) {
		if (walk_says(name, STR("messages"))) {
			if (messages || ends_with_answer(value))
				return false;
			messages = true;
		} else if (walk_says(name, STR("response_format"))) {
			if (!says_nothing(value) && !walk_is(walk_get(value, STR("type")), STR("text")))
				return false;
		} else if (walk_says(name, STR("n")) ? !is_one(value) : !says_nothing(value) && IS_ANY(name, barring)) {
			return false;
		}
	}
	return messages;
}

/* ---- the body of the next attempt ---- */

struct writer {
	struct buf *out;
	bool any;
};

/* `name` as it stands between its quotes; its value follows. */
static void put_name(struct writer *w, struct str name)
{
	if (w->any)
		buf_addc(w->out, ',');
	w->any = true;
	buf_addc(w->out, '"');
	buf_adds(w->out, name);
	BUF_ADD(w->out, "\":");
}

static void put_raw(struct writer *w, struct str name, struct str value)
{
	put_name(w, name);
	buf_adds(w->out, value);
}

static void put_number(struct writer *w, struct str name, int64_t n)
{
	put_name(w, name);
	buf_addf(w->out, "%lld", (long long)n);
}

static void put_messages(const struct resume *s, struct writer *w, struct str messages)
{
	put_name(w, STR("messages"));
	buf_add(w->out, messages.ptr, messages.len - 1);
	if (!walk_empty(messages))
		buf_addc(w->out, ',');
	BUF_ADD(w->out, "{\"role\":\"assistant\",\"content\":");
	json_quote(w->out, str_head(buf_str(&s->text), s->text.len - s->blanks));
	BUF_ADD(w->out, "}]");
}

/* What is left of a cap; at least one token, since none means no cap to some engines. */
static int64_t left_of(const struct resume *s, int64_t given, int64_t cap)
{
	int64_t n = given > 0 && (cap == 0 || given < cap) ? given : cap;
	return n > s->before ? n - s->before : 1;
}

static bool is_cap(struct str name)
{
	return walk_says(name, STR("max_tokens")) || walk_says(name, STR("max_completion_tokens"));
}

static void put_options(struct writer *w, struct str given)
{
	struct walk members = walk_into(walk_object(given) ? given : STR_NONE);
	struct str name, value;
	struct writer inner = {.out = w->out};
	put_name(w, STR("stream_options"));
	buf_addc(w->out, '{');
	put_raw(&inner, STR("include_usage"), STR("true"));
	while (walk_member(&members, &name, &value))
		if (!walk_says(name, STR("include_usage")))
			put_raw(&inner, name, value);
	buf_addc(w->out, '}');
}

/* What the body says of tokens: without a number that is a cap, only ours holds. */
static bool put_cap(const struct resume *s, const struct resume_ask *ask, struct writer *w, struct str name, struct str value)
{
	int64_t n;
	bool capped = json_raw_i64(value, &n) && n > 0;
	if (!capped && ask->cap == 0) {
		put_raw(w, name, value);
		return false;
	}
	put_number(w, name, left_of(s, capped ? n : 0, ask->cap));
	return true;
}

void resume_body(const struct resume *s, struct str body, const struct resume_ask *ask, struct buf *out)
{
	struct walk members = walk_into(str_trim(body));
	struct str name, value, options = STR_NONE;
	struct writer w = {.out = out};
	bool capped = false;
	buf_addc(out, '{');
	while (walk_member(&members, &name, &value)) {
		if (walk_says(name, STR("model"))) {
			put_name(&w, name);
			json_quote(out, ask->model);
		} else if (walk_says(name, STR("messages")) && walk_array(value)) {
			put_messages(s, &w, value);
		} else if (is_cap(name)) {
			capped |= put_cap(s, ask, &w, name, value);
		} else if (ask->usage && walk_says(name, STR("stream_options"))) {
			options = value;
		} else if (!walk_says(name, STR("continue_final_message")) && !walk_says(name, STR("add_generation_prompt"))) {
			put_raw(&w, name, value);
		}
	}
	if (ask->usage)
		put_options(&w, options);
	if (!capped && ask->cap > 0)
		put_number(&w, STR("max_tokens"), left_of(s, 0, ask->cap));
	if (ask->flags) {
		put_raw(&w, STR("continue_final_message"), STR("true"));
		put_raw(&w, STR("add_generation_prompt"), STR("false"));
	}
	buf_addc(out, '}');
}

/* ---- events ---- */

/* An event, taken apart: views. */
struct parts {
	struct str whole, choice, delta, content, finish, usage;
	bool role;
};

static const struct str thoughts[] = {STR_INIT("reasoning"), STR_INIT("reasoning_content"), STR_INIT("reasoning_details"), STR_INIT("thinking")};

/* The members of a delta. False: the engine thinks anew instead of going on. */
static bool read_delta(struct resume *s, struct parts *p)
{
	struct walk w = walk_into(walk_object(p->delta) ? p->delta : STR_NONE);
	struct str name, value;
	while (walk_member(&w, &name, &value)) {
		if (walk_says(name, STR("role")))
			p->role = value.ptr[0] == '"';
		else if (walk_says(name, STR("content")) && (value.ptr[0] == '"' || walk_null(value)))
			p->content = walk_inside(value);
		else if (!says_nothing(value) && s->continued && IS_ANY(name, thoughts))
			return false;
		else if (!says_nothing(value)) /* more than text */
			s->barred = true;
	}
	return true;
}

/* A finish reason that is none: engines say so when they are shut down. */
static bool ends_badly(struct str finish)
{
	return walk_is(finish, STR("error")) || walk_is(finish, STR("abort"));
}

static bool read_choice(struct resume *s, struct parts *p)
{
	struct str name, value;
	struct walk w = walk_into(p->choice);
	while (walk_member(&w, &name, &value)) {
		if (walk_says(name, STR("delta")))
			p->delta = value;
		else if (walk_says(name, STR("finish_reason")))
			p->finish = walk_null(value) ? STR_NONE : value;
		else if (walk_says(name, STR("index")) ? !str_eq(value, STR("0")) : walk_says(name, STR("logprobs")) && !says_nothing(value))
			s->barred = true;
	}
	return !ends_badly(p->finish) && read_delta(s, p);
}

/* False: the attempt is over. */
static bool read_parts(struct resume *s, const struct json_want *choices, struct parts *p)
{
	struct walk w = walk_into(choices->type == JSON_ARRAY ? choices->value : STR_NONE);
	struct str second;
	if (choices->type == JSON_NONE || !walk_element(&w, &p->choice))
		return true;
	if (!walk_object(p->choice) || walk_element(&w, &second)) {
		s->barred = true;
		return true;
	}
	return read_choice(s, p);
}

/* The event's text joins what the client has; white space that it has got already goes. Returns how many bytes were new; `repeated`: how many were not. */
static size_t join(struct resume *s, struct str content, size_t *repeated)
{
	size_t had = s->text.len;
	*repeated = 0;
	if (content.len == 0)
		return 0;
	if (!json_unescape(content, &s->text)) {
		s->text.len = had;
		s->barred = true;
		return 0;
	}
	char *fresh = s->text.ptr + had;
	size_t n = s->text.len - had;
	while (s->blanks > 0 && *repeated < n && fresh[*repeated] == fresh[-(ptrdiff_t)s->blanks]) {
		++*repeated;
		s->blanks--;
	}
	if (*repeated < n)
		s->blanks = 0;
	memmove(fresh, fresh + *repeated, n - *repeated);
	s->text.len -= *repeated;
	return n - *repeated;
}

static void note_first(struct resume *s, struct str id, struct str created)
{
	if (s->begun)
		return;
	s->begun = true;
	s->id = arena_dup(s->arena, id);
	s->created = arena_dup(s->arena, created);
}

/* ---- events of an attempt that continues ---- */

static int64_t number_of(struct str object, struct str name, int64_t otherwise)
{
	int64_t n;
	return json_raw_i64(walk_get(object, name), &n) && n >= 0 && n <= INT32_MAX ? n : otherwise;
}

static void put_details(struct writer *w, struct str name, struct str details, int64_t most)
{
	struct walk members = walk_into(details);
	struct str inner, value;
	struct writer in = {.out = w->out};
	put_name(w, name);
	buf_addc(w->out, '{');
	while (walk_member(&members, &inner, &value)) {
		int64_t n;
		if (walk_says(inner, STR("cached_tokens")) && json_raw_i64(value, &n) && n > most)
			put_number(&in, inner, most);
		else
			put_raw(&in, inner, value);
	}
	buf_addc(w->out, '}');
}

/* The text that the engine was given counts as answer, not as prompt. Numbers that cannot be stay for the tap to see. */
static void put_usage(const struct resume *s, struct writer *w, struct str usage)
{
	struct walk members = walk_into(usage);
	struct str name, value;
	struct writer in = {.out = w->out};
	int64_t prompt = number_of(usage, STR("prompt_tokens"), -1), answer = number_of(usage, STR("completion_tokens"), -1);
	put_name(w, STR("usage"));
	if (prompt < 0 || answer < 0) {
		buf_adds(w->out, usage);
		return;
	}
	prompt = prompt > s->before ? prompt - s->before : 0;
	answer += s->before;
	buf_addc(w->out, '{');
	while (walk_member(&members, &name, &value)) {
		if (walk_says(name, STR("prompt_tokens")))
			put_number(&in, name, prompt);
		else if (walk_says(name, STR("completion_tokens")))
			put_number(&in, name, answer);
		else if (walk_says(name, STR("total_tokens")))
			put_number(&in, name, prompt + answer);
		else if (walk_says(name, STR("prompt_tokens_details")) && walk_object(value))
			put_details(&in, name, value, prompt);
		else
			put_raw(&in, name, value);
	}
	buf_addc(w->out, '}');
}

static void put_delta(struct writer *w, const struct resume *s, const struct parts *p, struct str fresh, size_t repeated)
{
	struct walk members = walk_into(p->delta);
	struct str name, value;
	struct writer in = {.out = w->out};
	put_name(w, STR("delta"));
	buf_addc(w->out, '{');
	while (walk_member(&members, &name, &value)) {
		if (s->role && walk_says(name, STR("role")))
			continue;
		put_name(&in, name);
		if (repeated && walk_says(name, STR("content")))
			json_quote(w->out, fresh);
		else
			buf_adds(w->out, value);
	}
	buf_addc(w->out, '}');
}

static void put_choice(struct writer *w, const struct resume *s, const struct parts *p, struct str fresh, size_t repeated)
{
	struct walk members = walk_into(p->choice);
	struct str name, value;
	struct writer in = {.out = w->out};
	put_name(w, STR("choices"));
	BUF_ADD(w->out, "[{");
	while (walk_member(&members, &name, &value)) {
		if (walk_says(name, STR("delta")) && walk_object(value))
			put_delta(&in, s, p, fresh, repeated);
		else
			put_raw(&in, name, value);
	}
	BUF_ADD(w->out, "}]");
}

static void put_event(const struct resume *s, const struct parts *p, struct str fresh, size_t repeated, struct buf *out)
{
	struct walk members = walk_into(p->whole);
	struct str name, value;
	struct writer w = {.out = out};
	BUF_ADD(out, "data: {");
	while (walk_member(&members, &name, &value)) {
		if (walk_says(name, STR("id")) && s->id.len)
			put_raw(&w, name, s->id);
		else if (walk_says(name, STR("created")) && s->created.len)
			put_raw(&w, name, s->created);
		else if (walk_says(name, STR("choices")) && walk_object(p->choice))
			put_choice(&w, s, p, fresh, repeated);
		else if (walk_says(name, STR("usage")) && walk_object(value) && s->before)
			put_usage(s, &w, value);
		else
			put_raw(&w, name, value);
	}
	BUF_ADD(out, "}\n\n");
}

/* ---- one event ---- */

static bool has_data(struct str event)
{
	struct str name, value;
	while (sse_next_line(&event, &name, &value))
		if (str_eq(name, STR("data")))
			return true;
	return false;
}

/* An event of an attempt that continues another: nothing, where it holds nothing that the client has not got yet. */
static enum resume_verdict change(struct resume *s, const struct parts *p, size_t fresh, size_t repeated, struct buf *out)
{
	if (p->choice.ptr && fresh == 0 && !p->finish.ptr && !s->barred && s->role)
		return RESUME_NOTHING;
	put_event(s, p, str_skip(buf_str(&s->text), s->text.len - fresh), repeated, out);
	return RESUME_CHANGED;
}

static void count_piece(struct resume *s, size_t fresh)
{
	size_t blanks = 0;
	if (fresh == 0)
		return;
	while (blanks < fresh && is_blank(s->text.ptr[s->text.len - blanks - 1]))
		blanks++;
	s->pieces++;
	s->blank_pieces = blanks == fresh ? s->blank_pieces + 1 : 0;
}

static enum resume_verdict broken(struct resume *s, const char *why)
{
	s->why = why;
	return RESUME_BROKEN;
}

static enum resume_verdict take(struct resume *s, struct str data, struct json_want *w, struct buf *out)
{
	struct parts p = {.whole = data};
	bool first = !s->begun;
	size_t repeated;
	if (w[1].type == JSON_OBJECT || w[1].type == JSON_STRING || (w[4].type == JSON_STRING && walk_is(w[4].value, STR("error")))) /* SGLang's */
		return broken(s, "sent an error inside the stream");
	if (!read_parts(s, &w[0], &p))
		return broken(s, ends_badly(p.finish) ? "gave the answer up" : "thinks anew instead of continuing the answer");
	note_first(s, w[2].type == JSON_STRING ? w[2].value : STR_NONE, w[3].type == JSON_NUMBER ? w[3].value : STR_NONE);
	size_t fresh = join(s, p.content, &repeated);
	enum resume_verdict verdict = first || !s->continued ? RESUME_SAME : change(s, &p, fresh, repeated, out);
	count_piece(s, fresh);
	s->role |= p.role;
	s->finished |= p.finish.ptr != NULL;
	return verdict;
}

enum resume_verdict resume_event(struct resume *s, struct str event, struct buf *out)
{
	struct json_want w[] = {{.name = STR("choices")}, {.name = STR("error")}, {.name = STR("id")}, {.name = STR("created")}, {.name = STR("object")}};
	struct json_scan scan;
	if (!has_data(event))
		return RESUME_SAME;
	struct str data = str_trim(sse_data(event));
	s->waits = false;
	if (str_eq(data, STR("[DONE]")))
		return RESUME_SAME;
	if (!data.ptr || !json_scan(data, w, sizeof(w) / sizeof(*w), &scan, NULL) || scan.type != JSON_OBJECT) {
		s->barred = true; /* nobody knows what the client makes of it */
		return RESUME_SAME;
	}
	return take(s, scan.whole, w, out);
}

bool resume_whole(struct str event)
{
	struct str data = str_trim(sse_data(event));
	return data.ptr && (str_eq(data, STR("[DONE]")) || json_scan(data, NULL, 0, NULL, NULL));
}

void resume_end(const struct resume *s, struct str model, struct buf *out)
{
	if (!s->finished && s->begun) {
		struct writer w = {.out = out};
		BUF_ADD(out, "data: {");
		put_raw(&w, STR("id"), s->id.len ? s->id : STR("\"\""));
		put_raw(&w, STR("object"), STR("\"chat.completion.chunk\""));
		put_raw(&w, STR("created"), s->created.len ? s->created : STR("0"));
		put_name(&w, STR("model"));
		json_quote(out, model);
		put_raw(&w, STR("choices"), STR("[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]"));
		BUF_ADD(out, "}\n\n");
	}
	BUF_ADD(out, "data: [DONE]\n\n");
}
