/* cloud.c - the table of clouds, and errors that mean something of their own at one of them.
 *
 * A cloud's row lists the operations that it is known to serve; where nothing certain is known, chat alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/cloud.h"

#define BEARER .field = "authorization", .scheme = "Bearer "
#define CHAT   OP_BIT(OP_CHAT)

const struct cloud_row clouds[CLOUD_COUNT] = {
	[CLOUD_NONE] = {.name = ""},
	[CLOUD_OPENAI] = {.name = "openai", .url = "https://api.openai.com/v1", .variable = "OPENAI_API_KEY", BEARER,
			  .operations = CHAT | OP_BIT(OP_COMPLETIONS) | OP_BIT(OP_EMBEDDINGS) | OP_BIT(OP_MODERATIONS) | OP_BIT(OP_RESPONSES) |
					OP_BIT(OP_TRANSCRIPTIONS) | OP_BIT(OP_TRANSLATIONS) | OP_BIT(OP_SPEECH) | OP_BIT(OP_IMAGES_GENERATIONS) |
					OP_BIT(OP_IMAGES_EDITS),
			  .cap = "max_completion_tokens", .stream_options = true},
	[CLOUD_MISTRAL] = {.name = "mistral", .url = "https://api.mistral.ai/v1", .variable = "MISTRAL_API_KEY", BEARER, .operations = CHAT,
			   .cap = "max_tokens", .usage_anyway = true},
	[CLOUD_OPENROUTER] = {.name = "openrouter", .url = "https://openrouter.ai/api/v1", .variable = "OPENROUTER_API_KEY", BEARER,
			      .operations = CHAT | OP_BIT(OP_MESSAGES), .cap = "max_tokens", .stream_options = true, .usage_anyway = true},
	[CLOUD_TOGETHER] = {.name = "together", .url = "https://api.together.xyz/v1", .variable = "TOGETHER_API_KEY", BEARER, .operations = CHAT,
			    .cap = "max_tokens", .stream_options = true},
	[CLOUD_GROQ] = {.name = "groq", .url = "https://api.groq.com/openai/v1", .variable = "GROQ_API_KEY", BEARER, .operations = CHAT,
			.cap = "max_completion_tokens", .stream_options = true, .usage_anyway = true},
	[CLOUD_DEEPSEEK] = {.name = "deepseek", .url = "https://api.deepseek.com", .variable = "DEEPSEEK_API_KEY", BEARER, .operations = CHAT,
			    .cap = "max_tokens", .stream_options = true},
	[CLOUD_GEMINI] = {.name = "gemini", .url = "https://generativelanguage.googleapis.com/v1beta/openai", .variable = "GEMINI_API_KEY", BEARER,
			  .operations = CHAT | OP_BIT(OP_EMBEDDINGS), .cap = "max_tokens", .stream_options = true},
	[CLOUD_COMPATIBLE] = {.name = "openai_compatible", BEARER,
			      .operations = CHAT | OP_BIT(OP_COMPLETIONS) | OP_BIT(OP_EMBEDDINGS) | OP_BIT(OP_RERANK) | OP_BIT(OP_MODERATIONS) |
					    OP_BIT(OP_RESPONSES) | OP_BIT(OP_TRANSCRIPTIONS) | OP_BIT(OP_TRANSLATIONS) | OP_BIT(OP_SPEECH) |
					    OP_BIT(OP_IMAGES_GENERATIONS) | OP_BIT(OP_IMAGES_EDITS),
			      .stream_options = true},
};

enum cloud cloud_find(struct str name)
{
	for (int c = CLOUD_NONE + 1; c < CLOUD_COUNT; c++)
		if (str_eq(name, str_from(clouds[c].name)))
			return (enum cloud)c;
	return CLOUD_NONE;
}

void cloud_failure(enum cloud cloud, int status, struct str body, struct arena *a, struct failure *out)
{
	failure_read(status, body, a, out);
	if (cloud == CLOUD_GROQ && status == 413 && out->error != ERROR_CONTEXT_LENGTH_EXCEEDED) {
		/* more tokens than the model takes, or than the account may send in a minute: either way the prompt is too long for it */
		out->error = ERROR_CONTEXT_LENGTH_EXCEEDED;
		out->status = 400;
		out->code = STR_NONE;
		out->param = STR("messages");
	}
}
