/* settings_table.c - the tables behind valet.yaml: names, types, standards, ranges and what the
 * reference says of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/settings_parts.h"

#include "gate/budget.h"
#include "gate/choose.h"
#include "net/resolve.h"

#include <stdio.h>

/* ---- checks of single texts ---- */

static const char *check_listen(struct str text)
{
	struct settings_address unused;
	return settings_listen_address(text, &unused) ? NULL : "";
}

static const char *check_discover(struct str text)
{
	struct settings_address unused;
	return settings_engine_address(text, &unused);
}

static const char *check_url(struct str text)
{
	struct url unused;
	if (!str_istarts(text, STR("http://")) && !str_istarts(text, STR("https://")))
		return "";
	return url_parse(text, &unused);
}

static const char *check_target_name(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i], lower = (char)(c | 0x20);
		bool fine = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
		if (!fine && c != '-' && c != '_' && c != '.')
			return "";
	}
	return NULL;
}

static const char *check_model_name(struct str text)
{
	return str_trim(text).len == text.len ? NULL : "it begins or ends with a space";
}

static const char *check_origin(struct str text)
{
	if (str_eq(text, STR("*")) || str_eq(text, STR("off")) || str_eq(text, STR("local")))
		return NULL;
	size_t scheme = str_search(text, STR("://"));
	struct str host = str_skip(text, scheme + 3);
	if (scheme == 0 || host.len == 0)
		return "";
	return str_find(host, '/') < host.len ? "an origin has no path and no slash at its end"
					      : NULL;
}

static const char *check_budget(struct str text)
{
	struct budget unused;
	return budget_parse(text, &unused);
}

/* The URL of a hook may have a query: some services take a token there. */
static const char *check_webhook(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] <= ' ' || (unsigned char)text.ptr[i] >= 0x7f)
			return "it has a character that has no place in a URL";
	return check_url(str_head(text, str_find(text, '?')));
}

static const char *check_overflow_to(struct str text)
{
	size_t slash = str_find(text, '/');
	if (slash == 0)
		return "the target before the slash is missing";
	if (slash + 1 == text.len)
		return "the model behind the slash is missing";
	const char *wrong = check_target_name(str_head(text, slash));
	return !wrong && slash < text.len ? check_model_name(str_skip(text, slash + 1)) : wrong;
}

static const char *check_overflow_when(struct str text)
{
	struct str names[OVERFLOW_WHENS];
	for (size_t i = 0; i < OVERFLOW_WHENS; i++) {
		names[i] = str_from(overflow_when_names[i]);
		if (str_eq(text, names[i]))
			return NULL;
	}
	static const char *const near[OVERFLOW_WHENS] = {"did you mean wait?", "did you mean context?", "did you mean down?", "did you mean always?"};
	const struct str *found = field_near(text, names, OVERFLOW_WHENS);
	return found ? near[found - names] : "";
}

/* A path inside the list of time zones, and nothing else. */
static const char *check_zone(struct str text)
{
	if (str_starts(text, STR("right/")))
		return "those zones count leap seconds";
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i], lower = (char)(c | 0x20);
		bool fine = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '+';
		if (!fine && (c != '/' || i == 0))
			return "";
	}
	return NULL;
}

/* ---- tables ---- */

#define AT(type, member) offsetof(struct type, member)

static const char *const auth_names[] = {"keys", "off", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};
static const char *const format_names[] = {"text", "json", NULL};
const char *const target_kind_names[TARGET_KINDS + 1] = {"auto",	   "vllm",     "llamacpp", "ollama",   "lmstudio", "sglang", "openai",	       "mistral",
							 "openrouter", "together", "groq",     "deepseek", "gemini",   "openai_compatible", NULL};
const char *const overflow_order_names[] = {"listed", "round_robin", "cheapest", NULL};
const char *const overflow_when_names[OVERFLOW_WHENS] = {"wait", "context", "down", "always"};

const char *const webhook_kind_names[] = {"auto", "ntfy", "discord", "slack", "json", NULL};

static const struct field log_fields[] = {
	{"level", FIELD_CHOICE, AT(settings_log, level), .standard = "info", .choices = level_names,
	 .help = "The least important lines that are written."},
	{"format", FIELD_CHOICE, AT(settings_log, format), .standard = "text",
	 .choices = format_names, .help = "Lines for people, or one JSON object a line."},
	{"file", FIELD_PATH, AT(settings_log, file), .off = true, .standard_note = "standard error",
	 .help = "Where lines go; a relative path begins at the folder of the settings file."},
	{"requests", FIELD_BOOL, AT(settings_log, requests), .standard = "on",
	 .help = "One line for each request (never with its text)."},
};
static const struct field_table log_table = FIELD_TABLE(log_fields, struct settings_log);

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

static const struct field timeout_fields[] = {
	{"connect", FIELD_MS, AT(settings_timeouts, connect_ms), .standard = "3s", .min = 10,
	 .max = 5 * MINUTE,
	 .help = "To connect to a target, TLS included; then the next one is tried."},
	{"first_byte", FIELD_MS, AT(settings_timeouts, first_byte_ms), .standard = "300s",
	 .min = 10, .max = DAY,
	 .help = "From sending a request to the first byte of the answer. Long prompts and models "
		 "that are still being loaded need minutes."},
	{"idle", FIELD_MS, AT(settings_timeouts, idle_ms), .standard = "120s", .min = 10,
	 .max = DAY, .help = "Between two pieces of an answer."},
	{"total", FIELD_MS, AT(settings_timeouts, total_ms), .standard = "1h", .min = 10,
	 .max = 7 * DAY, .help = "A whole request, with all its attempts."},
	{"heartbeat", FIELD_MS, AT(settings_timeouts, heartbeat_ms), .standard = "15s", .off = true,
	 .min = 10, .max = HOUR,
	 .help = "A stream that waits gets a comment line this often, so that nothing between "
		 "client and Valet cuts it."},
	{"client_idle", FIELD_MS, AT(settings_timeouts, client_idle_ms), .standard = "180s",
	 .min = 10, .max = DAY,
	 .help = "How long a client's connection may stand open between requests."},
	{"drain", FIELD_MS, AT(settings_timeouts, drain_ms), .standard = "30s", .min = 0,
	 .max = DAY, .help = "How long running answers may go on after Valet was told to stop."},
};
static const struct field_table timeout_table =
	FIELD_TABLE(timeout_fields, struct settings_timeouts);

static const struct field ceiling_fields[] = {
	{"max_body", FIELD_BYTES, AT(settings_ceilings, max_body), .standard = "64MiB", .min = 1024,
	 .max = 1 << 30,
	 .help = "The largest body of a request; a larger one is answered with 413."},
	{"max_answer", FIELD_BYTES, AT(settings_ceilings, max_answer), .standard = "256MiB", .min = 1024, .max = INT64_C(1) << 40, .off = true,
	 .help = "The largest answer; a stream that goes on beyond is ended with an error."},
	{"max_connections", FIELD_INT, AT(settings_ceilings, max_connections), .standard = "16384",
	 .min = 1, .max = 1000000, .help = "Connections of clients at the same time."},
};
static const struct field_table ceiling_table =
	FIELD_TABLE(ceiling_fields, struct settings_ceilings);

#define TOKENS_MAX INT64_C(1000000000000)
#define DOLLAR     INT64_C(1000000000) /* nano-dollars */
#define PRICE_MAX  (1000000 * DOLLAR)

static const struct field limits_fields[] = {
	{"rpm", FIELD_INT, AT(limits_conf, rpm), .standard = "0", .standard_note = "no limit", .min = 0, .max = TOKENS_MAX, .off = true,
	 .help = "Requests a minute."},
	{"tpm", FIELD_INT, AT(limits_conf, tpm), .standard = "0", .standard_note = "no limit", .min = 0, .max = TOKENS_MAX, .off = true,
	 .help = "Tokens a minute, of prompts and answers together."},
	{"concurrency", FIELD_INT, AT(limits_conf, concurrency), .standard = "0", .standard_note = "no limit", .min = 0, .max = 1000000,
	 .off = true, .help = "Requests at the same time."},
	{"budget", FIELD_STR_LIST, AT(limits_conf, budgets), .min = 1, .max = 64, .check = check_budget,
	 .expects = "a budget such as 1M/day, $20/month or $100/total (or a list of them)",
	 .help = "What may be used: tokens (`200k`, `1.5M`, `2G`) or dollars (`$2.50`), for each `/day`, `/week` (from Monday on), `/month`, "
		 "or once (`/total`, or nothing behind the amount). Tokens and dollars may have one for each of these; all of them hold. "
		 "Budgets in dollars refuse models without a price."},
	{"soft", FIELD_BOOL, AT(limits_conf, soft), .standard = "off",
	 .help = "Off: a request is let in only where its budgets hold it at its largest, so that none is ever passed. On: while anything is "
		 "left, so that the last request may go over."},
};
static const struct field_table limits_table = FIELD_TABLE(limits_fields, struct limits_conf);

static const struct field price_fields[] = {
	{"input", FIELD_MONEY, AT(price_conf, input), .max = PRICE_MAX, .help = "Dollars for a million tokens of prompts; 0 is free."},
	{"output", FIELD_MONEY, AT(price_conf, output), .max = PRICE_MAX,
	 .help = "Dollars for a million tokens of answers, thinking included; 0 for models that give none, such as those for embeddings."},
	{"cached", FIELD_MONEY, AT(price_conf, cached), .max = PRICE_MAX, .standard_note = "`input`",
	 .help = "Dollars for a million tokens of prompts that the target had in its cache."},
};
static const struct field_table price_table = FIELD_TABLE(price_fields, struct price_conf);

static const struct field electricity_fields[] = {
	{"kwh", FIELD_MONEY, AT(electricity_conf, kwh), .max = 1000 * DOLLAR, .help = "Dollars for a kilowatt-hour."},
	{"watts", FIELD_INT, AT(electricity_conf, watts), .min = 1, .max = 1000000,
	 .help = "What the machine draws while it answers."},
};
static const struct field_table electricity_table = FIELD_TABLE(electricity_fields, struct electricity_conf);

static const struct field ceiling_price_fields[] = {
	{"input", FIELD_MONEY, AT(ceiling_price_conf, input), .max = PRICE_MAX, .help = "Dollars for a million tokens of prompts."},
	{"output", FIELD_MONEY, AT(ceiling_price_conf, output), .max = PRICE_MAX, .help = "Dollars for a million tokens of answers."},
};
static const struct field_table ceiling_price_table = FIELD_TABLE(ceiling_price_fields, struct ceiling_price_conf);

static const struct field prices_fields[] = {
	{"local", FIELD_OBJECT, AT(prices_conf, local), .sub = &price_table,
	 .help = "Of all models on local engines. Without it (and without `electricity`) they have no price; write 0 where they are free."},
	{"electricity", FIELD_OBJECT, AT(prices_conf, electricity), .sub = &electricity_table,
	 .help = "The price of the time that a local engine works on a request, besides `local`. Requests that share a machine each pay all "
		 "of it."},
	{"ceiling", FIELD_OBJECT, AT(prices_conf, ceiling), .sub = &ceiling_price_table,
	 .help = "The price of models that have none otherwise; set it so high that none costs more. Without it, budgets in dollars refuse "
		 "them."},
};
static const struct field_table prices_table = FIELD_TABLE(prices_fields, struct prices_conf);

static const struct field webhook_fields[] = {
	{"url", FIELD_SECRET, AT(webhook_conf, url), .literal = true, .check = check_webhook,
	 .expects = "an http:// or https:// URL, env:NAME or file:PATH", .standard_note = "no webhook",
	 .help = "Where warnings go: a budget is used up to 50, 80 or 100 %. Whoever knows such an address can write there, so it is never shown; "
		 "it may also come from the environment or a file."},
	{"kind", FIELD_CHOICE, AT(webhook_conf, kind), .standard = "auto", .choices = webhook_kind_names,
	 .help = "What it is told: the message of ntfy, Discord or Slack, or a JSON object with all members. `auto` knows these services by "
		 "the host of the URL, and takes `json` for all others."},
};
static const struct field_table webhook_table = FIELD_TABLE(webhook_fields, struct webhook_conf);

static const struct field probation_fields[] = {
	{"new_keys", FIELD_BOOL, AT(probation_conf, new_keys), .standard = "off",
	 .help = "New keys begin on probation; it ends when somebody takes it from the key."},
	{"budget", FIELD_STR_LIST, AT(probation_conf, budgets), .standard = "100k/day", .min = 1, .max = 64, .check = check_budget,
	 .expects = "a budget such as 1M/day, $20/month or $100/total (or a list of them)", .help = "As in `limits`, for each key on probation."},
	{"rpm", FIELD_INT, AT(probation_conf, rpm), .standard = "10", .min = 0, .max = TOKENS_MAX, .off = true,
	 .help = "Requests a minute of each key on probation."},
};
static const struct field_table probation_table = FIELD_TABLE(probation_fields, struct probation_conf);

static const struct field routing_fields[] = {
	{"strategy", FIELD_CHOICE, AT(routing_conf, strategy), .standard = "capacity", .choices = strategy_names,
	 .help = "How one of a model's targets is chosen. `capacity`: where the first token is expected soonest, by free places, measured speed and "
		 "the engine's own queue; `round_robin`: in turn; `least_busy`: the smallest share of taken places; `weighted`: by `targets[].weight`; "
		 "`warm_first`: where the model is loaded."},
	{"affinity", FIELD_BOOL, AT(routing_conf, affinity), .standard = "on",
	 .help = "Requests that share a long beginning go to the target that has it in its cache, as long as that one is not much busier than the "
		 "others."},
	{"breaker", FIELD_BOOL, AT(routing_conf, breaker), .standard = "on",
	 .help = "A target that fails again and again, or refuses its secret, is left alone for a while, and then asked by one request at a time until it is well. `off`: "
		 "every request may try it."},
};
static const struct field_table routing_table = FIELD_TABLE(routing_fields, struct routing_conf);

static const struct field queue_fields[] = {
	{"max_wait", FIELD_MS, AT(queue_conf, max_wait_ms), .standard = "60s", .off = true, .min = 10, .max = HOUR,
	 .help = "How long a request waits for a place before it is refused with 503. `off`: none waits."},
	{"heartbeat_after", FIELD_MS, AT(queue_conf, heartbeat_after_ms), .standard = "5s", .min = 10, .max = HOUR,
	 .help = "A stream that has waited so long gets comment lines with its position; until then a failure can still be a status code."},
	{"total", FIELD_INT, AT(queue_conf, total), .standard = "10000", .min = 1, .max = 1000000,
	 .help = "Requests that wait at the same time; further ones are refused with 429."},
	{"per_key", FIELD_INT, AT(queue_conf, per_key), .standard = "1000", .min = 1, .max = 1000000, .help = "The same for the requests of one key."},
	{"age", FIELD_MS, AT(queue_conf, age_ms), .standard = "30s", .min = 10, .max = DAY,
	 .help = "Requests of keys of the class `batch` stand behind all others; after this time they count like them."},
	{"starve", FIELD_MS, AT(queue_conf, starve_ms), .standard = "10s", .min = 10, .max = DAY,
	 .help = "Where an engine has to load one model in place of another, requests for the loaded one go first, but no longer than another has "
		 "waited for this time."},
};
static const struct field_table queue_table = FIELD_TABLE(queue_fields, struct queue_conf);

static const struct field overflow_fields[] = {
	{"to", FIELD_STR_LIST, AT(overflow_conf, to), .required = true, .min = 1, .max = 265, .check = check_overflow_to,
	 .expects = "the name of a target, or target/model (or a list of them)",
	 .help = "Where requests go that overflow: a target, which has the model under its own name, or `target/model` with the name that it has "
		 "there. An empty list: nowhere."},
	{"when", FIELD_STR_LIST, AT(overflow_conf, whens), .standard = "wait, context, down", .min = 1, .max = 16, .check = check_overflow_when,
	 .expects = "wait, context, down or always (or a list of them)",
	 .help = "`wait`: the request would have to wait, or has waited, longer than `wait`; `context`: it does not fit into the window of any of the "
		 "model's targets; `down`: none of them is up; `always`: every request goes there first."},
	{"wait", FIELD_MS, AT(overflow_conf, wait_ms), .standard = "5s", .min = 0, .max = HOUR,
	 .standard_note = "`5s`, or `queue.max_wait` where that is shorter", .help = "How long a request waits for a place of its own; see `when`."},
	{"order", FIELD_CHOICE, AT(overflow_conf, order), .standard = "listed", .choices = overflow_order_names,
	 .help = "Which of several is tried first: as they stand in `to`, in turn, or the one where the request costs least."},
	{"budget", FIELD_STR_LIST, AT(overflow_conf, budgets), .min = 1, .max = 64, .check = check_budget,
	 .expects = "a budget such as 1M/day, $20/month or $100/total (or a list of them)",
	 .help = "What all overflow of the model may use, written as in `limits`; at the top, what the overflow of all models together may. Where it "
		 "is used up, requests wait for a place instead."},
};
static const struct field_table overflow_table = FIELD_TABLE(overflow_fields, struct overflow_conf);

static const struct field target_models_fields[] = {
	{"include", FIELD_STR_LIST, AT(target_models, include), .standard_note = "all", .min = 1,
	 .max = 200, .expects = "model names (* and ? allowed)",
	 .help = "Only these of the engine's models are listed. Names as the engine gives them."},
	{"exclude", FIELD_STR_LIST, AT(target_models, exclude), .min = 1, .max = 200,
	 .expects = "model names (* and ? allowed)",
	 .help = "These are not listed, whatever `include` says."},
	{"rename", FIELD_MAP, AT(target_models, rename), .min = 1, .max = 200,
	 .check = check_model_name, .expects = "the engine's names with public names",
	 .help = "Lists a model under another name: `engine-name: public-name`."},
};
static const struct field_table target_models_table =
	FIELD_TABLE(target_models_fields, struct target_models);

static const struct field target_timeout_fields[] = {
	{"connect", FIELD_MS, AT(target_timeouts, connect_ms), .min = 10, .max = 5 * MINUTE,
	 .standard_note = "`timeouts.connect`", .help = "As in `timeouts`, for this target."},
	{"first_byte", FIELD_MS, AT(target_timeouts, first_byte_ms), .min = 10, .max = DAY,
	 .standard_note = "`timeouts.first_byte`", .help = "As in `timeouts`, for this target."},
	{"idle", FIELD_MS, AT(target_timeouts, idle_ms), .min = 10, .max = DAY,
	 .standard_note = "`timeouts.idle`", .help = "As in `timeouts`, for this target."},
	{"total", FIELD_MS, AT(target_timeouts, total_ms), .min = 10, .max = 7 * DAY,
	 .standard_note = "`timeouts.total`", .help = "One attempt at this target."},
};
static const struct field_table target_timeout_table =
	FIELD_TABLE(target_timeout_fields, struct target_timeouts);

static const struct field model_timeout_fields[] = {
	{"first_byte", FIELD_MS, AT(target_timeouts, first_byte_ms), .min = 10, .max = DAY,
	 .standard_note = "as its target says", .help = "As in `timeouts`, for this model: more for one that is slow to load."},
	{"idle", FIELD_MS, AT(target_timeouts, idle_ms), .min = 10, .max = DAY,
	 .standard_note = "as its target says", .help = "As in `timeouts`, for this model."},
	{"total", FIELD_MS, AT(target_timeouts, total_ms), .min = 10, .max = 7 * DAY,
	 .standard_note = "as its target says", .help = "One attempt at this model."},
};
static const struct field_table model_timeout_table =
	FIELD_TABLE(model_timeout_fields, struct target_timeouts);

static const struct field target_fields[] = {
	{"name", FIELD_STR, AT(target_conf, name), .required = true, .min = 1, .max = 64,
	 .check = check_target_name, .expects = "1 to 64 letters, digits, '-', '_' or '.'",
	 .help = "The target's name in `models`, logs and metrics."},
	{"url", FIELD_STR, AT(target_conf, url_text), .min = 1, .max = 2048,
	 .check = check_url, .expects = "an http:// or https:// URL", .standard_note = "of a cloud its usual one; else required",
	 .help = "The engine's base URL. A `/v1` at its end is allowed and makes no difference to "
		 "clients."},
	{"kind", FIELD_CHOICE, AT(target_conf, kind), .standard = "auto",
	 .choices = target_kind_names,
	 .help = "What runs there. `auto` asks it; `openai` is OpenAI's cloud where the host is `api.openai.com` or no `url` is given, else any "
		 "server that speaks the OpenAI API. From `mistral` on they are clouds, which want a `secret`; `openai_compatible` is any cloud that "
		 "is not named here."},
	{"secret", FIELD_SECRET, AT(target_conf, secret),
	 .help = "Sent as bearer token to this target only. The secret itself never stands in this "
		 "file; a relative path begins at the folder of the settings file."},
	{"models", FIELD_OBJECT, AT(target_conf, models), .sub = &target_models_table,
	 .help = "Which of its models are listed, and under which names; see below."},
	{"max_concurrency", FIELD_INT, AT(target_conf, max_concurrency), .standard = "0", .min = 0,
	 .max = 100000, .off = true, .standard_note = "as many as the engine tells, else learned",
	 .help = "Its places: requests sent to it at the same time; further ones wait. 0 is the default."},
	{"num_ctx_max", FIELD_INT, AT(target_conf, num_ctx_max), .standard = "0", .standard_note = "never raised", .min = 0, .max = 100000000,
	 .off = true,
	 .help = "Ollama only: a prompt that does not fit into the window of a model loads it again with more, up to so many tokens and to what the model was "
		 "made for. That takes seconds, and more memory as long as such prompts come. Without it, such a prompt is refused."},
	{"weight", FIELD_INT, AT(target_conf, weight), .standard = "100", .min = 1, .max = 1000,
	 .help = "Its share of the requests with the strategy `weighted`, compared with the others."},
	{"drain", FIELD_BOOL, AT(target_conf, drain), .standard = "off", .help = "Maintenance: it gets no new requests; running answers go on."},
	{"timeouts", FIELD_OBJECT, AT(target_conf, timeouts), .sub = &target_timeout_table,
	 .help = "Its own time-outs; see below."},
	{"ca_file", FIELD_PATH, AT(target_conf, ca_file), .off = true,
	 .help = "Certificates (PEM) to trust for this target besides the system's."},
	{"price", FIELD_OBJECT, AT(target_conf, price), .sub = &price_table,
	 .help = "Of all its models. Goes before `prices.local` and before the built-in list of cloud prices; the price of a model goes before "
		 "it."},
};
static const struct field_table target_table = FIELD_TABLE(target_fields, struct target_conf);

static const struct field model_target_fields[] = {
	{"target", FIELD_STR, AT(model_target, target), .required = true, .min = 1, .max = 64,
	 .expects = "the name of a target", .help = "One of `targets`."},
	{"model", FIELD_STR, AT(model_target, model), .min = 1, .max = 200,
	 .standard_note = "the model's own name", .check = check_model_name,
	 .help = "What the engine calls the model."},
};
static const struct field_table model_target_table =
	FIELD_TABLE(model_target_fields, struct model_target);

static const struct field model_fields[] = {
	{"name", FIELD_STR, AT(model_conf, name), .required = true, .min = 1, .max = 200,
	 .check = check_model_name, .help = "What clients call it."},
	{"aliases", FIELD_STR_LIST, AT(model_conf, aliases), .min = 1, .max = 200,
	 .check = check_model_name, .expects = "names",
	 .help = "Further names for clients; they are not listed."},
	{"targets", FIELD_LIST, AT(model_conf, targets), AT(model_conf, target_count), .bare = true,
	 .sub = &model_target_table, .standard_note = "every target that lists the model",
	 .expects = "target names, or {target, model}",
	 .help = "Where it is served, best first. The next one is tried when one fails."},
	{"limits", FIELD_OBJECT, AT(model_conf, limits), .sub = &limits_table, .help = "What all keys together may use of it."},
	{"price", FIELD_OBJECT, AT(model_conf, price), .sub = &price_table, .help = "Its price, wherever it is served; goes before all others."},
	{"max_output", FIELD_INT, AT(model_conf, max_output), .standard = "0", .standard_note = "not known", .min = 0, .max = 100000000,
	 .off = true,
	 .help = "The most tokens that one answer can have. Budgets set so much aside for a request that does not say `max_tokens` itself."},
	{"context", FIELD_INT, AT(model_conf, context), .standard = "0", .standard_note = "as its targets tell", .min = 0, .max = 100000000,
	 .off = true, .help = "Tokens of prompt and answer that a request can have, where the targets tell nothing or too much."},
	{"strategy", FIELD_CHOICE, AT(model_conf, strategy), .choices = strategy_names, .standard_note = "`routing.strategy`",
	 .help = "As in `routing`, for this model."},
	{"affinity", FIELD_BOOL, AT(model_conf, affinity), .standard_note = "`routing.affinity`", .help = "As in `routing`, for this model."},
	{"local_only", FIELD_BOOL, AT(model_conf, local_only), .standard = "off", .help = "Its requests never leave for a cloud."},
	{"resume", FIELD_BOOL, AT(model_conf, resume), .standard = "off",
	 .help = "A streamed chat that breaks off goes on at another of its targets (vLLM, SGLang, llama.cpp or Ollama): that one is given "
		 "the text so far as the beginning of its answer, and the client sees one stream. Not for answers with tool calls or thoughts, with probabilities, "
		 "several choices or a grammar."},
	{"timeouts", FIELD_OBJECT, AT(model_conf, timeouts), .sub = &model_timeout_table,
	 .help = "Its own time-outs; go before those of its targets."},
	{"overflow", FIELD_OBJECT, AT(model_conf, overflow), .sub = &overflow_table,
	 .help = "Where its requests go when its own targets cannot take them; instead of the `overflow` of all models."},
};
static const struct field_table model_table = FIELD_TABLE(model_fields, struct model_conf);

static const struct field settings_fields[] = {
	{"listen", FIELD_STR_LIST, AT(settings, listen_texts), .standard = "127.0.0.1:9300",
	 .check = check_listen, .expects = "HOST:PORT with a numeric host (or a list of them)",
	 .help = "Where clients connect. `0.0.0.0:9300` is every IPv4 address of this host, "
		 "`[::]:9300` every IPv6 address; port 0 picks a free one."},
	{"admin_listen", FIELD_STR, AT(settings, admin_listen_text), .standard = "127.0.0.1:9301",
	 .off = true, .check = check_listen, .expects = "HOST:PORT with a numeric host",
	 .help = "Where the admin API, the live view and `/metrics` are."},
	{"auth", FIELD_CHOICE, AT(settings, auth), .standard = "keys", .choices = auth_names,
	 .help = "`keys`: beyond loopback Valet only listens when there are API keys. `off`: "
		 "everyone who reaches it may use it."},
	{"workers", FIELD_INT, AT(settings, workers), .standard = "0", .min = 0, .max = 64,
	 .standard_note = "`0`: as many as cores, at most 4",
	 .help = "Threads that serve requests."},
	{"cors", FIELD_STR_LIST, AT(settings, cors), .standard = "local", .check = check_origin,
	 .expects = "local, *, off, or a list of origins such as https://chat.example.org",
	 .help = "Which web pages may call Valet from a browser (* allowed inside an origin). "
		 "`local`: apps and pages of this host (Obsidian, Tauri, Ionic, Capacitor, VS "
		 "Code, localhost); may stand in a list with others."},
	{"forward_headers", FIELD_STR_LIST, AT(settings, forward_headers), .min = 1, .max = 100,
	 .expects = "header names (* allowed)",
	 .help = "Further headers of clients that go on to engines, such as `x-openwebui-user-*`. What "
		 "the APIs themselves define goes on anyway; credentials, cookies and origins never do."},
	{"discovery", FIELD_BOOL, AT(settings, discovery), .standard = "on",
	 .help = "Looks for engines at their usual ports on this host."},
	{"discover", FIELD_STR_LIST, AT(settings, discover_texts), .check = check_discover,
	 .min = 1, .max = 300, .expects = "HOST or HOST:PORT (or a list of them)",
	 .help = "Further places to look at; without a port, at the usual ones."},
	{"discovery_interval", FIELD_MS, AT(settings, discovery_interval_ms), .standard = "5s",
	 .min = 100, .max = HOUR, .help = "How often Valet looks."},
	{"discovery_grace", FIELD_MS, AT(settings, discovery_grace_ms), .standard = "60s", .min = 0,
	 .max = DAY, .help = "How long the models of an engine that is gone stay listed."},
	{"log", FIELD_OBJECT, AT(settings, log), .sub = &log_table, .help = "See below."},
	{"timeouts", FIELD_OBJECT, AT(settings, timeouts), .sub = &timeout_table,
	 .help = "See below."},
	{"ceilings", FIELD_OBJECT, AT(settings, ceilings), .sub = &ceiling_table,
	 .help = "See below."},
	{"attempts", FIELD_INT, AT(settings, attempts), .standard = "3", .min = 1, .max = 3,
	 .help = "How many targets a request is tried at before its first byte went to the "
		 "client."},
	{"targets", FIELD_LIST, AT(settings, targets), AT(settings, target_count),
	 .sub = &target_table,
	 .help = "Engines and cloud addresses, besides those that are found; see below."},
	{"models", FIELD_LIST, AT(settings, models), AT(settings, model_count), .sub = &model_table,
	 .help = "Models with aliases, an order of targets, limits or a price; all others need no "
		 "entry. See below."},
	{"time_zone", FIELD_STR, AT(settings, time_zone), .min = 1, .max = 64, .check = check_zone,
	 .expects = "the name of a time zone such as Europe/Berlin", .standard_note = "the system's",
	 .help = "Where the days, weeks and months of budgets begin. A change takes effect at the next start."},
	{"state", FIELD_PATH, AT(settings, state), .standard_note = "`$STATE_DIRECTORY`, else `$XDG_STATE_HOME/valet`, else `~/.local/state/valet`",
	 .expects = "the path of a folder",
	 .help = "Keys and books; `--state` and `VALET_STATE` go before it. A relative path begins at the folder of the settings file. A change "
		 "takes effect at the next start."},
	{"limits", FIELD_OBJECT, AT(settings, limits), .sub = &limits_table,
	 .help = "What all requests together may use, besides the limits of keys and models; see below."},
	{"prices", FIELD_OBJECT, AT(settings, prices), .sub = &prices_table,
	 .help = "What models cost that say nothing of it themselves. A model's price is the first of: `models[].price`, `targets[].price`, the "
		 "built-in list for clouds, `prices.local` and `prices.electricity` for local engines, `prices.ceiling`. See below."},
	{"webhook", FIELD_OBJECT, AT(settings, webhook), .sub = &webhook_table, .help = "Who is told when a budget runs out; see below."},
	{"probation", FIELD_OBJECT, AT(settings, probation), .sub = &probation_table,
	 .help = "Narrow limits for keys that have to prove themselves first; see below."},
	{"routing", FIELD_OBJECT, AT(settings, routing), .sub = &routing_table, .help = "Which of a model's targets a request goes to; see below."},
	{"queue", FIELD_OBJECT, AT(settings, queue), .sub = &queue_table, .help = "Requests that find no free place wait for one; see below."},
	{"overflow", FIELD_OBJECT, AT(settings, overflow), .sub = &overflow_table,
	 .help = "Where requests go that a model's own targets cannot take: of all models that say nothing of it themselves. Without it, nowhere. "
		 "Requests of models and keys that are `local_only` never go to a cloud. See below."},
	{"journal_max", FIELD_BYTES, AT(settings, journal_max), .standard = "256MiB", .min = 16 << 20, .max = INT64_C(1) << 40,
	 .help = "How large the journal may become while the database cannot take its records."},
};
const struct field_table settings_table = FIELD_TABLE(settings_fields, struct settings);

_Static_assert(sizeof(enum auth_mode) == sizeof(int) && sizeof(enum target_kind) == sizeof(int) &&
		       sizeof(enum log_level) == sizeof(int) && sizeof(enum webhook_kind) == sizeof(int) &&
		       sizeof(enum log_format) == sizeof(int) && sizeof(enum overflow_order) == sizeof(int),
	       "FIELD_CHOICE writes an int");
