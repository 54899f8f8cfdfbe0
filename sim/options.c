/* options.c - the command line of valet-sim: one table for parsing and for --help.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <stdio.h>

enum kind {
	KIND_TEXT,
	KIND_COUNT,
	KIND_NUMBER,
	KIND_SWITCH,
	KIND_DIALECT,
	KIND_FAULT,
	KIND_PORT,
	KIND_SEED,
	KIND_HELP,
	KIND_VERSION
};

struct option {
	const char *name, *arg;
	enum kind kind;
	size_t at;
	int64_t most; /* of a count */
	const char *help;
};

#define AT(member) offsetof(struct options, member)
static const struct option table[] = {
	{"--host", "ADDRESS", KIND_TEXT, AT(host), 0, "where to listen (127.0.0.1)"},
	{"--port", "P", KIND_PORT, AT(port), 65535, "needed; 0 picks a free one"},
	{"--dialect", "D", KIND_DIALECT, AT(dialect), 0,
	 "vllm, llamacpp, ollama, openai (default), lmstudio, sglang, mistral, openrouter, together, "
	 "groq, deepseek, gemini"},
	{"--models", "LIST", KIND_TEXT, AT(models), 0,
	 "names, with =ctxN for a context of N tokens: a,b=ctx32768; Ollama: =ctxN/M, num_ctx raises it to M"},
	{"--model-count", "N", KIND_COUNT, AT(model_count), 1000000,
	 "so many more models: model-0, model-1 ..."},
	{"--model-prefix", "TEXT", KIND_TEXT, AT(model_prefix), 0,
	 "what these names begin with (model-)"},
	{"--slots", "N", KIND_COUNT, AT(slots), 1000000,
	 "requests at a time, others queue (0: no limit)"},
	{"--ttft-ms", "X", KIND_NUMBER, AT(ttft_ms), 0, "time to the first token (0)"},
	{"--prefill-tps", "X", KIND_NUMBER, AT(prefill_tps), 0,
	 "and that of the prompt, tokens a second (0: none)"},
	{"--tokens-per-second", "R", KIND_NUMBER, AT(tokens_per_second), 0,
	 "of a stream (0: as fast as possible)"},
	{"--load", "X", KIND_NUMBER, AT(load), 0,
	 "each further running request adds this share to all times (0)"},
	{"--tokens", "N", KIND_COUNT, AT(tokens), 1 << 24, "length of an answer (16)"},
	{"--cache-blocks", "N", KIND_COUNT, AT(cache_blocks), 1 << 26,
	 "prompt cache, blocks of 64 bytes (0: none)"},
	{"--echo", NULL, KIND_SWITCH, AT(echo), 0, "answers are the body of the request"},
	{"--seed", "N", KIND_SEED, AT(seed), 0, "of all that looks random (0)"},
	{"--api-key", "KEY", KIND_TEXT, AT(api_key), 0, "needed for paths under /v1"},
	{"--fault", "RULE", KIND_FAULT, 0, 0,
	 "NAME[=ARG][@calls|@probes|@all][:RATE], may be repeated"},
	{"--threads", "N", KIND_COUNT, AT(threads), 64, "(1)"},
	{"--quiet", NULL, KIND_SWITCH, AT(quiet), 0, "no line when it is ready (but with --port 0)"},
	{"--version", NULL, KIND_VERSION, 0, 0, ""},
	{"--help", NULL, KIND_HELP, 0, 0, ""},
};
#define OPTION_COUNT (sizeof(table) / sizeof(*table))

static void print_help(void)
{
	puts("usage: valet-sim --port P [options]\n\nSimulates an engine that serves language "
	     "models over HTTP.\n");
	for (size_t i = 0; i < OPTION_COUNT; i++)
		printf("  %-20s %-9s%s\n", table[i].name, table[i].arg ? table[i].arg : "",
		       table[i].help);
	puts("\nA request is steered by headers: x-sim-echo: body|headers, x-sim-tokens, "
	     "x-sim-ttft-ms, x-sim-interval-ms,\n"
	     "x-sim-seed, x-sim-tool: 1, x-sim-fault: NAME[=ARG]. Also: GET /sim/stats, GET "
	     "/sim/log?since=N,\n"
	     "GET and POST /sim/faults, POST /sim/reset.\n\nFaults (with the argument's default):");
	for (unsigned k = FAULT_NONE + 1; k < FAULT_COUNT; k++)
		printf("  %-20s %-9lld%s\n", fault_info(k)->name, (long long)fault_info(k)->arg,
		       fault_info(k)->help);
}

static bool read_double(const char *text, double *out)
{
	char *end;
	*out = strtod(text, &end);
	return *text && *end == '\0' && *out >= 0 && *out < 1e15;
}

static bool read_dialect(struct options *o, struct str name)
{
	for (const struct dialect *const *d = dialects; *d; d++) {
		if (str_eq(str_from((*d)->name), name)) {
			o->dialect = *d;
			return true;
		}
	}
	return false;
}

static bool read_value(struct options *o, const struct option *option, const char *text)
{
	void *at = (char *)o + option->at;
	struct str value = str_from(text);
	int64_t n;
	switch (option->kind) {
	case KIND_TEXT:
		*(struct str *)at = value;
		return value.len > 0;
	case KIND_NUMBER:
		return read_double(text, at);
	case KIND_DIALECT:
		return read_dialect(o, value);
	case KIND_FAULT:
		return o->rule_count < FAULT_RULES_MAX &&
		       fault_rule_parse(value, &o->rules[o->rule_count]) && ++o->rule_count;
	default:
		break;
	}
	if (!str_to_i64(value, &n) || n < 0 || (option->most && n > option->most))
		return false;
	if (option->kind == KIND_PORT)
		*(uint16_t *)at = (uint16_t)n;
	else if (option->kind == KIND_SEED)
		*(uint64_t *)at = (uint64_t)n;
	else
		*(int64_t *)at = n;
	return true;
}

static const struct option *find(struct str name)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (str_eq(name, str_from(table[i].name)))
			return &table[i];
	return NULL;
}

static enum options_result wrong(const char *what, const char *name)
{
	fprintf(stderr, "valet-sim: %s%s; see valet-sim --help\n", what, name);
	return OPTIONS_WRONG;
}

/* One option, and what it takes. */
static enum options_result read_one(struct options *o, char **argv, int *i, bool *has_port)
{
	const char *equals = strchr(argv[*i], '=');
	struct str name =
		equals ? str_of(argv[*i], (size_t)(equals - argv[*i])) : str_from(argv[*i]);
	const struct option *option = find(name);
	if (!option || (equals && !option->arg))
		return wrong("unknown option ", argv[*i]);
	if (option->kind == KIND_HELP) {
		print_help();
		return OPTIONS_DONE;
	}
	if (option->kind == KIND_VERSION) {
		puts("valet-sim " VALET_VERSION);
		return OPTIONS_DONE;
	}
	if (option->kind == KIND_SWITCH) {
		*(bool *)((char *)o + option->at) = true;
		return OPTIONS_RUN;
	}
	const char *text = equals ? equals + 1 : argv[++*i];
	if (!text)
		return wrong("a value is missing behind ", option->name);
	if (!read_value(o, option, text))
		return wrong("a wrong value for ", option->name);
	*has_port |= option->kind == KIND_PORT;
	return OPTIONS_RUN;
}

enum options_result options_read(struct options *o, int argc, char **argv)
{
	bool has_port = false;
	*o = (struct options){
		.host = STR_INIT("127.0.0.1"),
		.dialect = &dialect_openai,
		.model_prefix = STR_INIT("model-"),
		.tokens = 16,
		.threads = 1,
	};
	for (int i = 1; i < argc; i++) {
		enum options_result r = read_one(o, argv, &i, &has_port);
		if (r != OPTIONS_RUN)
			return r;
	}
	if (!has_port)
		return wrong("--port is needed", "");
	if (o->threads < 1)
		o->threads = 1;
	return OPTIONS_RUN;
}
