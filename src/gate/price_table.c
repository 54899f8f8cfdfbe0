/* price_table.c - the built-in list of prices: facts of the day PRICES_AS_OF, for a million tokens.
 *
 * Never too cheap: where a price rises with the length of the prompt or with the hour, the highest one stands here; where a vendor says nothing of
 * cached input, it costs what input costs; and where a name could mean several models, or a part of the price is not by tokens (searching the web, as
 * at Perplexity), there is no row, so that a budget in money refuses the model until the settings give it a price.
 *
 * A pattern is a whole name, so that "gpt-4o" is not "gpt-4o-mini"; the macros add the forms with a date.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/price.h"

/* In hundredths of a cent: 25000 is $2.50. */
#define USD(n) ((int64_t)(n) * 100000)

#define ROW(vendor, pattern, input, cached, output) {vendor, pattern, {true, USD(input), USD(cached), USD(output), 0}}
/* Two digits; written so because two question marks and a hyphen in one literal would be a trigraph. */
#define TWO "?" "?"
/* "o3", "o3-2025-04-16" */
#define DATED(vendor, name, input, cached, output) \
	ROW(vendor, name, input, cached, output), ROW(vendor, name "-20" TWO "-" TWO "-" TWO, input, cached, output)
/* "claude-opus-5", "claude-opus-5-20260801" */
#define DATED8(vendor, name, input, cached, output) \
	ROW(vendor, name, input, cached, output), ROW(vendor, name "-20??????", input, cached, output)
/* "gemini-2.5-pro", "gemini-2.5-pro-001", "gemini-2.5-pro-preview", "gemini-2.5-pro-preview-06-05", "gemini-2.5-pro-preview-09-2025" */
#define PREVIEW(vendor, name, input, cached, output)                                                              \
	ROW(vendor, name, input, cached, output), ROW(vendor, name "-00?", input, cached, output),                \
		ROW(vendor, name "-preview", input, cached, output),                                              \
		ROW(vendor, name "-preview-" TWO "-" TWO, input, cached, output),                                        \
		ROW(vendor, name "-preview-" TWO "-20" TWO, input, cached, output)

/* vendor, name: input, cached input, output */
const struct price_row price_rows[] = {
	/* OpenAI. From 272,000 tokens of prompt on, gpt-5.4 and later large ones cost twice as much, their output half as much again. */
	ROW("openai", "gpt-4o-2024-05-13", 50000, 50000, 150000), /* dearer than those after it */
	DATED("openai", "gpt-6-astra", 200000, 20000, 750000),
	DATED("openai", "gpt-6-sol", 40000, 4000, 150000),
	DATED("openai", "gpt-6-luna", 2000, 200, 7500),
	DATED("openai", "gpt-5.6-sol", 80000, 8000, 300000),
	DATED("openai", "gpt-5.6-terra", 40000, 4000, 180000),
	DATED("openai", "gpt-5.6-luna", 4000, 400, 18000),
	DATED("openai", "gpt-5.5", 100000, 10000, 450000),
	DATED("openai", "gpt-5.4", 50000, 5000, 225000),
	DATED("openai", "gpt-5.4-mini", 7500, 750, 45000),
	DATED("openai", "gpt-5.4-nano", 2000, 200, 12500),
	DATED("openai", "gpt-5.2", 17500, 1750, 140000),
	DATED("openai", "gpt-5.1", 12500, 1250, 100000),
	DATED("openai", "gpt-5", 12500, 1250, 100000),
	DATED("openai", "gpt-5-mini", 2500, 250, 20000),
	DATED("openai", "gpt-5-nano", 500, 50, 4000),
	DATED("openai", "gpt-4.1", 20000, 5000, 80000),
	DATED("openai", "gpt-4.1-mini", 4000, 1000, 16000),
	DATED("openai", "gpt-4.1-nano", 1000, 250, 4000),
	DATED("openai", "gpt-4o", 25000, 12500, 100000),
	DATED("openai", "gpt-4o-mini", 1500, 750, 6000),
	DATED("openai", "o3", 20000, 5000, 80000),
	DATED("openai", "o4-mini", 11000, 2750, 44000),
	ROW("openai", "text-embedding-3-small", 200, 200, 0),
	ROW("openai", "text-embedding-3-large", 1300, 1300, 0),
	ROW("openai", "text-embedding-ada-002", 1000, 1000, 0),

	/* Anthropic. Sonnet 4.5 costs twice as much from 200,000 tokens of prompt on. Writing into the cache costs a quarter more than input and has no
	 * place here: the OpenAI-compatible API does not do it. */
	DATED8("anthropic", "claude-fable-5?1", 100000, 2500, 500000),
	DATED8("anthropic", "claude-fable-5", 100000, 10000, 500000),
	DATED8("anthropic", "claude-opus-5?5", 40000, 2000, 200000),
	DATED8("anthropic", "claude-opus-5", 50000, 5000, 250000),
	DATED8("anthropic", "claude-opus-4?8", 50000, 5000, 250000),
	DATED8("anthropic", "claude-opus-4?7", 50000, 5000, 250000),
	DATED8("anthropic", "claude-opus-4?6", 50000, 5000, 250000),
	DATED8("anthropic", "claude-opus-4?5", 50000, 5000, 250000),
	DATED8("anthropic", "claude-sonnet-5", 20000, 2000, 100000),
	DATED8("anthropic", "claude-sonnet-4?6", 30000, 3000, 150000),
	DATED8("anthropic", "claude-sonnet-4?5", 60000, 6000, 225000),
	DATED8("anthropic", "claude-haiku-4?5", 10000, 1000, 50000),

	/* Google. Pro models cost more from 200,000 tokens of prompt on; the 3.6 to 3.8 ones are half of this until the end of 2026. Prompts that are sound
	 * cost more at some of them, which the usage of this API does not tell apart. */
	PREVIEW("gemini", "gemini-3.8-flash", 15000, 1500, 75000),
	PREVIEW("gemini", "gemini-3.7-flash", 15000, 1500, 75000),
	PREVIEW("gemini", "gemini-3.6-flash", 15000, 1500, 75000),
	PREVIEW("gemini", "gemini-3.5-flash", 15000, 1500, 90000),
	PREVIEW("gemini", "gemini-3.5-flash-lite", 3000, 300, 25000),
	PREVIEW("gemini", "gemini-3.1-pro", 40000, 4000, 180000),
	PREVIEW("gemini", "gemini-3-flash", 5000, 500, 30000),
	PREVIEW("gemini", "gemini-3.1-flash-lite", 2500, 250, 15000),
	PREVIEW("gemini", "gemini-2.5-pro", 25000, 2500, 150000),
	PREVIEW("gemini", "gemini-2.5-flash", 3000, 300, 25000),
	PREVIEW("gemini", "gemini-2.5-flash-lite", 1000, 100, 4000),

	/* Mistral. Its "-latest" names are not here: they become other models. */
	ROW("mistral", "mistral-large-2512", 5000, 5000, 15000),
	ROW("mistral", "mistral-medium-3?5", 15000, 15000, 75000),
	ROW("mistral", "mistral-small-2603", 1500, 1500, 6000),
	ROW("mistral", "devstral-2512", 4000, 4000, 20000),
	ROW("mistral", "codestral-2508", 3000, 3000, 9000),
	ROW("mistral", "ministral-14b-2512", 2000, 2000, 2000),
	ROW("mistral", "ministral-8b-2512", 1500, 1500, 1500),
	ROW("mistral", "ministral-3b-2512", 1000, 1000, 1000),

	/* DeepSeek, at the hours when it costs most. */
	ROW("deepseek", "deepseek-v4-pro", 13200, 440, 39600),
	ROW("deepseek", "deepseek-v4-flash", 4400, 140, 13200),
	ROW("deepseek", "deepseek-v3.2", 2288, 2288, 3432),

	/* xAI. Twice as much from 200,000 tokens of prompt on for 4.3 to 4.6. */
	DATED8("xai", "grok-4.6", 40000, 10000, 120000),
	DATED8("xai", "grok-4.5", 40000, 6000, 120000),
	DATED8("xai", "grok-4.3", 25000, 4000, 50000),
	ROW("xai", "grok-4-fast", 2000, 500, 5000),
	ROW("xai", "grok-4-fast-reasoning", 2000, 500, 5000),
	ROW("xai", "grok-4-fast-non-reasoning", 2000, 500, 5000),
	ROW("xai", "grok-code-fast-1", 2000, 2000, 15000),

	/* Who serves open models. */
	ROW("groq", "openai/gpt-oss-120b", 1500, 750, 6000),
	ROW("groq", "openai/gpt-oss-20b", 750, 375, 3000),
	ROW("groq", "llama-3.3-70b-versatile", 5900, 5900, 7900),
	ROW("groq", "llama-3.1-8b-instant", 500, 500, 800),
	ROW("groq", "meta-llama/llama-4-scout-17b-16e-instruct", 1100, 1100, 3400),
	ROW("groq", "meta-llama/llama-4-maverick-17b-128e-instruct", 2000, 2000, 6000),
	ROW("groq", "qwen/qwen3-32b", 2900, 2900, 5900),
	ROW("groq", "moonshotai/kimi-k2-instruct", 10000, 10000, 30000),
	ROW("groq", "moonshotai/kimi-k2-instruct-0905", 10000, 10000, 30000),
	ROW("cerebras", "gpt-oss-120b", 3500, 3500, 7500),
	ROW("cerebras", "gemma-4-31b", 9900, 9900, 14900),
	ROW("fireworks", "gpt-oss-120b", 1500, 1500, 6000),
	ROW("fireworks", "gpt-oss-20b", 700, 700, 3000),
	ROW("fireworks", "deepseek-v4-flash", 1400, 1400, 2800),
	ROW("fireworks", "deepseek-v4-pro", 17400, 17400, 34800),
	ROW("fireworks", "llama-v3p1-8b-instruct", 2000, 2000, 2000),
	ROW("fireworks", "qwen3-235b-a22b", 2200, 2200, 8800),
	ROW("fireworks", "kimi-k3", 30000, 30000, 150000),
	ROW("together", "meta-llama/llama-3.3-70b-instruct-turbo", 8800, 8800, 8800),

	/* Makers of open models, at their own API. */
	ROW("moonshot", "kimi-k2.5", 6000, 6000, 30000),
	ROW("moonshot", "kimi-k2.6", 9500, 9500, 40000),
	ROW("moonshot", "kimi-k3", 30000, 30000, 150000),
	ROW("zai", "glm-5.3", 14000, 14000, 44000),
	ROW("zai", "glm-5.3-flash", 750, 750, 2500),
	ROW("minimax", "minimax-m2.7", 3000, 3000, 12000),

	/* Cohere and Voyage. */
	ROW("cohere", "command-a", 25000, 25000, 100000),
	ROW("cohere", "command-a-03-2025", 25000, 25000, 100000),
	ROW("cohere", "command-r", 1500, 1500, 6000),
	ROW("cohere", "command-r-08-2024", 1500, 1500, 6000),
	ROW("cohere", "command-r7b", 375, 375, 1500),
	ROW("cohere", "command-r7b-12-2024", 375, 375, 1500),
	ROW("cohere", "embed-v4.0", 1200, 1200, 0),
	ROW("voyage", "voyage-4-large", 1200, 1200, 0),
	ROW("voyage", "voyage-4", 600, 600, 0),
	ROW("voyage", "voyage-3.5", 600, 600, 0),
	ROW("voyage", "voyage-4-lite", 200, 200, 0),
	ROW("voyage", "voyage-code-3", 1800, 1800, 0),
	{NULL, NULL, {.known = false}},
};

/* The lowest that the model is offered for elsewhere: what it would have cost at least. */
const struct price_row price_open_rows[] = {
	ROW("open", "gpt-oss-120b", 390, 390, 1800),
	ROW("open", "gpt-oss-20b", 290, 290, 1400),
	ROW("open", "qwen3-8b", 350, 350, 1380),
	ROW("open", "qwen3-14b", 600, 600, 2400),
	ROW("open", "qwen3-32b", 1000, 1000, 3000),
	ROW("open", "qwen3-30b", 800, 800, 2900),
	ROW("open", "qwen3-coder-30b", 700, 700, 2700),
	ROW("open", "qwen3-coder-480b", 2200, 2200, 18000),
	ROW("open", "qwen3-235b", 900, 900, 1000),
	ROW("open", "qwen3.5-9b", 1000, 1000, 1500),
	ROW("open", "qwen3.5-27b", 1950, 1950, 15600),
	ROW("open", "qwen3.5-35b", 1400, 1400, 10000),
	ROW("open", "qwen3.6-27b", 2890, 2890, 24000),
	ROW("open", "gemma-3-4b", 200, 200, 400),
	ROW("open", "gemma-3-12b", 500, 500, 1000),
	ROW("open", "gemma-3-27b", 1000, 1000, 2000),
	ROW("open", "gemma-4-26b", 600, 600, 3300),
	ROW("open", "gemma-4-31b", 900, 900, 3400),
	ROW("open", "llama-3.1-8b", 200, 200, 300),
	ROW("open", "llama-3.1-70b", 1000, 1000, 2800),
	ROW("open", "llama-3.3-70b", 500, 500, 2400),
	ROW("open", "llama-4-scout", 800, 800, 3000),
	ROW("open", "llama-4-maverick", 1500, 1500, 6000),
	ROW("open", "mistral-small-3.2", 750, 750, 2000),
	{"open", "phi-4-mini", {.known = false}},
	{"open", "phi-4-multimodal", {.known = false}},
	ROW("open", "phi-4", 700, 700, 1400),
	ROW("open", "nemotron-3-nano-30b", 500, 500, 2000),
	ROW("open", "deepseek-v3.2", 2288, 2288, 3432),
	ROW("open", "kimi-k2.5", 4000, 4000, 19000),
	ROW("open", "kimi-k3", 30000, 30000, 150000),
	{NULL, NULL, {.known = false}},
};
