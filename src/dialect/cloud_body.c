/* cloud_body.c - writes a request as a cloud takes it. Two tables say what happens to which member where: one for the body, one for its
 * messages. What no row names passes, but for clouds that refuse what they do not know: there only what a row keeps goes out.
 *
 * The text is validated once; after that everything is views on it, so a body of any size needs no memory beside `out`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/cloud_parts.h"
#include "dialect/walk.h"

#define O CLOUD_BIT(CLOUD_OPENAI)
#define M CLOUD_BIT(CLOUD_MISTRAL)
#define R CLOUD_BIT(CLOUD_OPENROUTER)
#define T CLOUD_BIT(CLOUD_TOGETHER)
#define G CLOUD_BIT(CLOUD_GROQ)
#define D CLOUD_BIT(CLOUD_DEEPSEEK)
#define V CLOUD_BIT(CLOUD_GEMINI)
#define C CLOUD_BIT(CLOUD_COMPATIBLE)

#define STRICT          (M | V)     /* refuse members of the body that they do not know */
#define STRICT_MESSAGES (M | G | V) /* and of messages */
/* Not a cloud: a model of OpenAI's that reasons. Their rows come first. */
#define THINKER CLOUD_BIT(CLOUD_COUNT)

enum action {
	KEEP,
	DROP,
	DROP_NULL,
	RENAME,      /* to `with` */
	REFUSE,      /* another target must do it; `with` says what cannot be done */
	REFUSE_TRUE, /* where it is asked for: false and null are dropped */
	REFUSE_MANY, /* more than one */
	ONE_OF,      /* kept where it is one of the words in `with` */
	AS_COUNT,    /* logprobs: an integer instead of a switch */
	TOOLS,       /* schemas; an empty list is dropped where `with` is set */
	MESSAGES,
	/* of messages */
	DEVELOPER,   /* developer → system */
	FILLED,      /* null → "" where the message calls no tools */
	CALLS,       /* tool calls of which each has an id of nine letters and digits, and nothing unknown */
	CALL_ID,
	THOUGHT,     /* goes back only where the message calls tools and the model is of the newer line */
};

struct rule {
	struct str member;
	uint32_t clouds;
	enum action action;
	const char *with;
};

#define RULE(member, ...) {STR_INIT(member), __VA_ARGS__}

/* The first row with the member and the cloud counts. `model` and the caps are nobody's row, nor is `stream_options` where it is
 * written anew: cloud_body() does that. */
static const struct rule body_rules[] = {
	RULE("messages", O | M | R | T | G | D | V | C, MESSAGES),
	RULE("tools", O | M | G | D | V, TOOLS, .with = "drop"),
	RULE("tools", R | T | C, TOOLS),
	RULE("temperature", THINKER, DROP),
	RULE("temperature", STRICT, KEEP),
	RULE("top_p", THINKER, DROP),
	RULE("top_p", STRICT, KEEP),
	RULE("stream", STRICT, KEEP),
	RULE("stream_options", V, KEEP), /* where it need not be asked for */
	RULE("stop", STRICT, KEEP),
	RULE("tool_choice", STRICT, KEEP),
	RULE("response_format", STRICT, KEEP),
	RULE("parallel_tool_calls", STRICT, KEEP),
	RULE("reasoning_effort", STRICT, KEEP),
	RULE("reasoning_effort", D, DROP),
	RULE("seed", M, RENAME, .with = "random_seed"),
	RULE("seed", V, KEEP),
	RULE("logprobs", THINKER, DROP),
	RULE("logprobs", M | G, REFUSE_TRUE, .with = "token probabilities"),
	RULE("logprobs", T, AS_COUNT),
	RULE("logprobs", V, KEEP),
	RULE("top_logprobs", THINKER | M | G | T, DROP),
	RULE("top_logprobs", V, KEEP),
	RULE("logit_bias", M | G | D | V, DROP),
	RULE("n", G | D, REFUSE_MANY, .with = "more than one choice"),
	RULE("n", STRICT, KEEP),
	RULE("frequency_penalty", THINKER | V, DROP),
	RULE("frequency_penalty", M, KEEP),
	RULE("presence_penalty", THINKER | V, DROP),
	RULE("presence_penalty", M, KEEP),
	RULE("store", M | R | T | G | D | V, DROP),
	RULE("metadata", M, KEEP),
	RULE("metadata", R | T | G | D | V, DROP),
	RULE("user", M | T | D | V, DROP),
	RULE("safety_identifier", M | R | T | G | D | V, DROP),
	RULE("prompt_cache_key", M, KEEP),
	RULE("prompt_cache_key", R | T | G | D | V, DROP),
	RULE("verbosity", M | R | T | G | D | V, DROP),
	RULE("prediction", M, KEEP),
	RULE("prediction", R | T | G | D | V, DROP),
	RULE("service_tier", M, KEEP),
	RULE("service_tier", G, ONE_OF, .with = "auto on_demand flex performance"),
	RULE("random_seed", M, KEEP),
	RULE("prompt_mode", M, KEEP),
	RULE("guardrails", M, KEEP),
	RULE("safe_prompt", M, KEEP),
	RULE("extra_body", V, KEEP),
	RULE("extra_body", O | G, DROP),
	RULE("functions", M | V, REFUSE, .with = "functions in their old form"),
	RULE("audio", M | V, REFUSE, .with = "sound as an answer"),
	RULE("top_k", O | G | D, DROP),
	RULE("min_p", O | G | D, DROP),
	RULE("repetition_penalty", O | G | D, DROP),
	RULE("reasoning", O | G | T | D, DROP),
	RULE("reasoning_format", O, DROP),
	RULE("include_reasoning", O, DROP),
};

/* What local engines take beside OpenAI's members, and OpenRouter's own: refused by those that know all of theirs. */
#define KNOWING (O | G)
static const struct str engine_members[] = {
	STR_INIT("length_penalty"), STR_INIT("stop_token_ids"), STR_INIT("include_stop_str_in_output"), STR_INIT("ignore_eos"),
	STR_INIT("min_tokens"), STR_INIT("skip_special_tokens"), STR_INIT("truncate_prompt_tokens"), STR_INIT("prompt_logprobs"), STR_INIT("echo"),
	STR_INIT("add_generation_prompt"), STR_INIT("continue_final_message"), STR_INIT("chat_template"), STR_INIT("chat_template_kwargs"),
	STR_INIT("mm_processor_kwargs"), STR_INIT("structured_outputs"), STR_INIT("guided_json"), STR_INIT("guided_regex"),
	STR_INIT("guided_choice"), STR_INIT("guided_grammar"), STR_INIT("priority"), STR_INIT("request_id"), STR_INIT("session_id"),
	STR_INIT("return_token_ids"), STR_INIT("return_tokens_as_token_ids"), STR_INIT("cache_salt"), STR_INIT("cache_prompt"), STR_INIT("id_slot"),
	STR_INIT("n_predict"), STR_INIT("grammar"), STR_INIT("json_schema"), STR_INIT("samplers"), STR_INIT("timings_per_token"),
	STR_INIT("return_progress"), STR_INIT("sse_ping_interval"), STR_INIT("lora"), STR_INIT("n_probs"), STR_INIT("post_sampling_probs"),
	STR_INIT("response_fields"), STR_INIT("regex"), STR_INIT("ebnf"), STR_INIT("separate_reasoning"), STR_INIT("stream_reasoning"),
	STR_INIT("rid"), STR_INIT("lora_path"), STR_INIT("return_hidden_states"), STR_INIT("models"), STR_INIT("route"), STR_INIT("provider"),
	STR_INIT("transforms"), STR_INIT("plugins"), STR_INIT("usage"),
};

static const struct rule message_rules[] = {
	RULE("role", M | T | D | C, DEVELOPER),
	RULE("role", STRICT_MESSAGES, KEEP),
	RULE("content", O | M | T | G | D | V, FILLED),
	RULE("name", M, DROP_NULL),
	RULE("name", STRICT_MESSAGES, KEEP),
	RULE("tool_calls", M, CALLS),
	RULE("tool_calls", STRICT_MESSAGES, DROP_NULL),
	RULE("tool_call_id", M, CALL_ID),
	RULE("tool_call_id", STRICT_MESSAGES, KEEP),
	RULE("prefix", M, KEEP),
	RULE("reasoning_content", D, THOUGHT),
	RULE("reasoning", D, DROP),
	RULE("reasoning_details", D, DROP),
};

#undef RULE
#define ROWS(table) (sizeof(table) / sizeof(*(table)))

/* NULL: no row. */
static const struct rule *rule_for(const struct rule *rows, size_t count, struct str name, uint32_t bits)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].clouds & bits && walk_says(name, rows[i].member))
			return &rows[i];
	return NULL;
}

/* ---- what is made ---- */

struct making {
	const struct cloud_row *cloud;
	uint32_t bits; /* of the cloud, and THINKER */
	const struct body_changes *changes;
	struct arena *a;
	struct buf *out, *why;
	struct str cap_name, cap; /* the one member that caps, and its number; cap empty: none is written. cap_name empty: as the client wrote it */
	struct str options;       /* stream_options as it stands */
	int64_t top_logprobs;
	bool stream, ask, model_written, cap_written, options_written, comma;
	bool chat, no_tools, old_line;
};

static void put_name(struct making *m, bool *comma, struct str name)
{
	cloud_put_name(m->out, comma, name);
}

static void put_member(struct making *m, bool *comma, struct str name, struct str value)
{
	put_name(m, comma, name);
	buf_adds(m->out, value);
}

static bool refuse(struct making *m, const char *what)
{
	buf_addf(m->why, "'%s' cannot give %s", m->cloud->name, what);
	return false;
}

/* ---- messages ---- */

/* What has been seen of the messages so far. */
struct dialogue {
	bool after_tool, last;
};

static bool has_calls(struct str message)
{
	struct str calls = walk_get(message, STR("tool_calls"));
	return walk_array(calls) && !walk_empty(calls);
}

static void put_call(struct making *m, struct str call)
{
	static const struct str known[] = {STR_INIT("id"), STR_INIT("type"), STR_INIT("function")};
	struct walk w = walk_into(call);
	struct str name, value;
	bool comma = false;
	buf_addc(m->out, '{');
	while (walk_member(&w, &name, &value)) {
		if (walk_null(value))
			continue;
		if (walk_says(name, known[0])) {
			put_name(m, &comma, name);
			cloud_put_id(m->out, value);
		} else if (walk_says(name, known[1]) || walk_says(name, known[2])) {
			put_member(m, &comma, name, value);
		}
	}
	buf_addc(m->out, '}');
}

static void put_calls(struct making *m, struct str calls)
{
	struct walk w = walk_into(calls);
	struct str call;
	bool comma = false;
	buf_addc(m->out, '[');
	while (walk_element(&w, &call)) {
		if (comma)
			buf_addc(m->out, ',');
		comma = true;
		if (walk_object(call))
			put_call(m, call);
		else
			buf_adds(m->out, call);
	}
	buf_addc(m->out, ']');
}

static void put_message_member(struct making *m, struct str message, const struct rule *rule, bool *comma, struct str name, struct str value)
{
	switch (rule ? rule->action : m->bits & STRICT_MESSAGES ? DROP : KEEP) {
	case DROP:
		return;
	case DROP_NULL:
		if (walk_null(value))
			return;
		break;
	case DEVELOPER:
		if (walk_is(value, STR("developer")))
			value = STR("\"system\"");
		break;
	case FILLED:
		if (walk_null(value) && !has_calls(message))
			value = STR("\"\"");
		break;
	case CALLS:
		if (!walk_array(value))
			return;
		put_name(m, comma, name);
		put_calls(m, value);
		return;
	case CALL_ID:
		put_name(m, comma, name);
		cloud_put_id(m->out, value);
		return;
	case THOUGHT:
		if (m->old_line || !has_calls(message))
			return;
		break;
	default:
		break;
	}
	put_member(m, comma, name, value);
}

/* Mistral: the last message is the user's, a tool's, or says that it is a beginning; after a tool's result comes the assistant. */
static bool follow(struct making *m, struct str message, struct dialogue *d, bool *begins)
{
	struct str role = walk_get(message, STR("role"));
	bool assistant = walk_is(role, STR("assistant")), tool = walk_is(role, STR("tool"));
	*begins = d->last && assistant && !has_calls(message) && !walk_get(message, STR("prefix")).ptr;
	if (d->after_tool && !assistant && !tool)
		return refuse(m, "an answer where the result of a tool is not followed by the assistant's words");
	d->after_tool = tool;
	return true;
}

static bool put_message(struct making *m, struct str message, struct dialogue *d)
{
	struct walk w = walk_into(message);
	struct str name, value;
	bool comma = false, begins = false;
	if (!walk_object(message)) {
		buf_adds(m->out, message);
		return true;
	}
	if (m->bits & M && !follow(m, message, d, &begins))
		return false;
	buf_addc(m->out, '{');
	while (walk_member(&w, &name, &value))
		put_message_member(m, message, rule_for(message_rules, ROWS(message_rules), name, m->bits), &comma, name, value);
	if (begins)
		put_member(m, &comma, STR("prefix"), STR("true"));
	buf_addc(m->out, '}');
	return true;
}

static bool put_messages(struct making *m, struct str messages)
{
	struct walk w = walk_into(messages);
	struct dialogue d = {0};
	struct str message, next;
	bool comma = false, more = walk_element(&w, &message);
	buf_addc(m->out, '[');
	while (more) {
		more = walk_element(&w, &next);
		d.last = !more;
		if (comma)
			buf_addc(m->out, ',');
		comma = true;
		if (!put_message(m, message, &d))
			return false;
		message = next;
	}
	buf_addc(m->out, ']');
	return true;
}

/* ---- the body ---- */

static bool one_of(struct str value, const char *words)
{
	struct str rest = str_from(words), word;
	while (str_split(&rest, ' ', &word))
		if (walk_is(value, word))
			return true;
	return false;
}

/* stream_options with include_usage true, whatever it was. */
static void put_options(struct making *m)
{
	struct walk w = walk_into(walk_object(m->options) ? m->options : STR_NONE);
	struct str name, value;
	bool comma = false;
	m->options_written = true;
	put_name(m, &m->comma, STR("stream_options"));
	buf_addc(m->out, '{');
	while (walk_member(&w, &name, &value))
		if (!walk_says(name, STR("include_usage")))
			put_member(m, &comma, name, value);
	put_member(m, &comma, STR("include_usage"), STR("true"));
	buf_addc(m->out, '}');
}

static void put_model(struct making *m)
{
	if (m->model_written)
		return;
	m->model_written = true;
	put_name(m, &m->comma, STR("model"));
	json_quote(m->out, m->changes->model);
}

static struct str capped(struct making *m, struct str value)
{
	int64_t n, most = m->changes->cap;
	if (most <= 0 || (json_raw_i64(value, &n) && n > 0 && n <= most))
		return value;
	return arena_printf(m->a, "%lld", (long long)most);
}

static void put_cap(struct making *m, struct str name, struct str value)
{
	if (!m->chat || !m->cap_name.len) { /* under the name that the client gave it */
		put_member(m, &m->comma, name, capped(m, value));
		m->cap_written = true;
	} else if (!m->cap_written && m->cap.len) {
		put_member(m, &m->comma, m->cap_name, m->cap);
		m->cap_written = true;
	}
}

static bool is_cap(const struct making *m, struct str name)
{
	if (m->chat)
		return walk_says(name, STR("max_tokens")) || walk_says(name, STR("max_completion_tokens"));
	return m->cap_name.len && walk_says(name, m->cap_name);
}

/* Members that a few clouds want otherwise. False: what is asked for cannot be done there. */
static bool put_ruled(struct making *m, const struct rule *rule, struct str name, struct str value)
{
	int64_t n;
	switch (rule->action) {
	case DROP:
		return true;
	case RENAME:
		name = str_from(rule->with);
		break;
	case REFUSE:
		return walk_null(value) || refuse(m, rule->with);
	case REFUSE_TRUE:
		return value.ptr[0] != 't' || refuse(m, rule->with);
	case REFUSE_MANY:
		if (json_raw_i64(value, &n) && n > 1)
			return refuse(m, rule->with);
		break;
	case ONE_OF:
		if (!one_of(value, rule->with))
			return true;
		break;
	case AS_COUNT:
		if (value.ptr[0] == 'f' || walk_null(value))
			return true;
		if (value.ptr[0] == 't')
			value = arena_printf(m->a, "%lld", (long long)(m->top_logprobs > 0 ? m->top_logprobs : 1));
		break;
	case TOOLS:
		if (rule->with && walk_array(value) && walk_empty(value))
			return true;
		put_name(m, &m->comma, name);
		cloud_put_tools(m->out, value, (m->bits & V) != 0);
		return true;
	case MESSAGES:
		put_name(m, &m->comma, name);
		return put_messages(m, value);
	default:
		break;
	}
	put_member(m, &m->comma, name, value);
	return true;
}

static bool is_foreign(const struct making *m, struct str name)
{
	for (size_t i = 0; m->bits & KNOWING && i < ROWS(engine_members); i++)
		if (walk_says(name, engine_members[i]))
			return true;
	return false;
}

static bool put_chat_member(struct making *m, struct str name, struct str value)
{
	const struct rule *rule = rule_for(body_rules, ROWS(body_rules), name, m->bits);
	if (m->no_tools && (walk_says(name, STR("tool_choice")) || walk_says(name, STR("parallel_tool_calls"))))
		return true; /* of tools that are not sent */
	if (m->bits & STRICT && (!rule || walk_null(value)))
		return true;
	if (rule)
		return put_ruled(m, rule, name, value);
	if (!is_foreign(m, name))
		put_member(m, &m->comma, name, value);
	return true;
}

static bool put_body_member(struct making *m, struct str name, struct str value)
{
	if (walk_says(name, STR("model"))) {
		put_model(m);
	} else if (is_cap(m, name)) {
		put_cap(m, name, value);
	} else if (walk_says(name, STR("stream_options")) && (m->ask || (m->bits & M))) {
		if (m->ask && !m->options_written)
			put_options(m);
	} else if (m->chat) {
		return put_chat_member(m, name, value);
	} else if (m->bits & V && walk_says(name, STR("encoding_format")) && walk_is(value, STR("base64"))) {
		put_member(m, &m->comma, name, STR("\"float\"")); /* its base64 cannot be relied on; clients take lists as well */
	} else {
		put_member(m, &m->comma, name, value);
	}
	return true;
}

/* ---- what is known before ---- */

/* o1, o3-mini, gpt-5 and later: they refuse what steers sampling. */
static bool is_thinker(struct str model)
{
	if (model.len > 1 && model.ptr[0] == 'o' && model.ptr[1] >= '1' && model.ptr[1] <= '9')
		return true;
	if (!str_starts(model, STR("gpt-")) || model.len < 5)
		return false;
	char first = model.ptr[4], second = model.len > 5 ? model.ptr[5] : 0;
	return (first >= '5' && first <= '9') || (first >= '1' && first <= '9' && second >= '0' && second <= '9');
}

enum want { WANT_MODEL, WANT_STREAM, WANT_OPTIONS, WANT_CAP, WANT_CAP_NEW, WANT_TOP, WANT_TOOLS, WANTS };

static const struct json_want wants_template[WANTS] = {
	[WANT_MODEL] = {.name = STR_INIT("model")},
	[WANT_STREAM] = {.name = STR_INIT("stream")},
	[WANT_OPTIONS] = {.name = STR_INIT("stream_options")},
	[WANT_CAP] = {.name = STR_INIT("max_tokens")},
	[WANT_CAP_NEW] = {.name = STR_INIT("max_completion_tokens")},
	[WANT_TOP] = {.name = STR_INIT("top_logprobs")},
	[WANT_TOOLS] = {.name = STR_INIT("tools")},
};

static bool is_given(const struct json_want *w)
{
	return w->type > JSON_NULL;
}

static void look_ahead(struct making *m, const struct operation_row *op, struct json_want *w)
{
	m->stream = w[WANT_STREAM].type == JSON_BOOL && w[WANT_STREAM].value.len == 4;
	m->ask = m->changes->ask_usage && m->stream && op->usage_on_request && m->cloud->stream_options && !m->cloud->usage_anyway;
	m->options = w[WANT_OPTIONS].value;
	if (w[WANT_TOP].type != JSON_NUMBER || !json_raw_i64(w[WANT_TOP].value, &m->top_logprobs))
		m->top_logprobs = 0;
	if (m->chat && m->cap_name.len) { /* where both stand there, the newer one counts */
		const struct json_want *given = is_given(&w[WANT_CAP_NEW]) ? &w[WANT_CAP_NEW] : &w[WANT_CAP];
		m->cap = is_given(given) ? capped(m, given->value) : m->changes->cap > 0 ? capped(m, STR_NONE) : STR_NONE;
	}
	const struct rule *tools = rule_for(body_rules, ROWS(body_rules), STR("tools"), m->bits);
	m->no_tools = m->chat && tools && tools->with && w[WANT_TOOLS].type == JSON_ARRAY && walk_empty(w[WANT_TOOLS].value);
}

/* Members that the client left out. */
static void put_missing(struct making *m)
{
	if (m->ask && !m->options_written)
		put_options(m);
	if (m->cap_written)
		return;
	if (m->chat && m->cap.len)
		put_member(m, &m->comma, m->cap_name, m->cap);
	else if (m->changes->cap > 0 && (m->chat || m->cap_name.len))
		put_member(m, &m->comma, m->cap_name.len ? m->cap_name : STR("max_tokens"), capped(m, STR_NONE));
}

bool cloud_body(enum cloud cloud, const struct operation_row *op, struct str body, const struct body_changes *changes, struct arena *a,
		struct buf *out, struct buf *why)
{
	struct making m = {.cloud = &clouds[cloud], .bits = CLOUD_BIT(cloud), .changes = changes, .a = a, .out = out, .why = why, .chat = op->op == OP_CHAT};
	struct json_want wants[WANTS];
	struct json_scan scan;
	struct str name, value;
	memcpy(wants, wants_template, sizeof(wants));
	if (op->body != BODY_JSON || !json_scan(body, wants, WANTS, &scan, NULL) || scan.type != JSON_OBJECT || wants[WANT_MODEL].type != JSON_STRING) {
		BUF_ADD(why, "the body is not a JSON object with a model");
		return false;
	}
	if (cloud == CLOUD_OPENAI && is_thinker(changes->model))
		m.bits |= THINKER;
	m.old_line = str_search(changes->model, STR("v3")) < changes->model.len;
	m.cap_name = m.chat ? str_from(m.cloud->cap) : body_cap_name(op);
	look_ahead(&m, op, wants);
	buf_addc(out, '{');
	for (struct walk w = walk_into(scan.whole); walk_member(&w, &name, &value);)
		if (!put_body_member(&m, name, value))
			return false;
	put_missing(&m);
	buf_addc(out, '}');
	if (out->over)
		BUF_ADD(why, "the request is too large");
	return !out->over;
}
