/* ollama.c - Ollama's own /api/chat and /api/generate: lines of JSON, whole or streamed; and how it
 * tells usage in the streams of /v1/completions and /v1/messages.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

static void put_start(struct job *j, struct buf *out)
{
	BUF_ADD(out, "{\"model\":");
	buf_adds(out, j->model_json);
	BUF_ADD(out, ",\"created_at\":\"");
	time_put(out, job_created(j) * 1000000 + (int64_t)(j->hash % 1000000));
	buf_addc(out, '"');
}

static void put_metric(struct job *j, struct buf *out, const char *name, int64_t n)
{
	if (n == 0)
		return;
	buf_addf(out, ",\"%s\":", name);
	job_number_put(j, out, n);
}

/* From the times that were planned: the same request gives the same bytes. A duration of 0 ns would
 * be left out, as there. */
static void put_end(struct job *j, struct buf *out)
{
	int64_t prompt_ns = j->ttft_us * 1000 + 1000,
		decode_ns = j->interval_us * j->made * 1000 + 1000;
	const char *reason = j->unload ? "unload" : j->load ? "load" : j->cut ? "length" : "stop";
	buf_addf(out, ",\"done\":true,\"done_reason\":\"%s\"", reason);
	if (j->surface == &surface_ollama_generate && !j->load)
		BUF_ADD(out, ",\"context\":[1,2,3]");
	if (j->load || j->fault.kind == FAULT_NO_USAGE)
		return;
	buf_addf(out, ",\"total_duration\":%lld,\"load_duration\":1000",
		 (long long)(prompt_ns + decode_ns + 1000));
	put_metric(j, out, "prompt_eval_count", j->prompt_tokens);
	put_metric(j, out, "prompt_eval_duration", prompt_ns);
	put_metric(j, out, "eval_count", j->made);
	put_metric(j, out, "eval_duration", decode_ns);
}

static bool is_chat(const struct job *j)
{
	return j->surface == &surface_ollama_chat;
}

static void put_call(struct job *j, struct buf *out)
{
	BUF_ADD(out, ",\"tool_calls\":[{\"id\":\"call_");
	id_letters(out, j->hash, 8);
	BUF_ADD(out, "\",\"function\":{\"index\":0,\"name\":");
	buf_adds(out, j->tool);
	BUF_ADD(out, ",\"arguments\":");
	buf_adds(out, j->text);
	BUF_ADD(out, "}}]");
}

/* Chat has a message, generate a text. */
static void content_start(struct job *j, struct buf *out)
{
	if (is_chat(j))
		BUF_ADD(out, ",\"message\":{\"role\":\"assistant\",\"content\":\"");
	else
		BUF_ADD(out, ",\"response\":\"");
}

static void ollama_whole(struct job *j, struct buf *out)
{
	put_start(j, out);
	content_start(j, out);
	if (j->source != SOURCE_TOOL)
		job_text_put(j, out, 0);
	buf_addc(out, '"');
	if (j->source == SOURCE_TOOL)
		put_call(j, out);
	if (is_chat(j))
		buf_addc(out, '}');
	put_end(j, out);
	buf_addc(out, '}');
}

static void ollama_open(struct job *j, struct buf *out)
{
	if (j->source != SOURCE_TOOL)
		return;
	put_start(j, out);
	content_start(j, out);
	buf_addc(out, '"');
	put_call(j, out);
	BUF_ADD(out, "},\"done\":false}\n");
}

static void ollama_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	if (j->source == SOURCE_TOOL)
		return;
	put_start(j, out);
	content_start(j, out);
	json_inside(out, text);
	buf_adds(out, is_chat(j) ? STR("\"},\"done\":false}\n") : STR("\",\"done\":false}\n"));
}

static void ollama_close(struct job *j, struct buf *out)
{
	if (j->fault.kind == FAULT_NO_DONE)
		return;
	put_start(j, out);
	content_start(j, out);
	buf_adds(out, is_chat(j) ? STR("\"}") : STR("\""));
	put_end(j, out);
	BUF_ADD(out, "}\n");
}

static void ollama_broken(struct job *j, struct buf *out)
{
	BUF_ADD(out,
		"{\"error\":\"the simulated engine has failed in the middle of its answer\"}\n");
}

const struct surface surface_ollama_chat = {
	.name = "ollama-chat",
	.streams_by_default = true,
	.stream_fields = FIELDS_NDJSON,
	.shape = SHAPE_NATIVE,
	.tools = true,
	.whole = ollama_whole,
	.open = ollama_open,
	.piece = ollama_piece,
	.close = ollama_close,
	.broken = ollama_broken,
};

const struct surface surface_ollama_generate = {
	.name = "ollama-generate",
	.streams_by_default = true,
	.stream_fields = FIELDS_NDJSON,
	.shape = SHAPE_NATIVE,
	.whole = ollama_whole,
	.open = ollama_open,
	.piece = ollama_piece,
	.close = ollama_close,
	.broken = ollama_broken,
};

/* ---- /v1/completions: with include_usage each chunk has usage, of zeros but for the last ---- */

#define CHUNK_END "]}\n\n"

/* Puts zeros into the first event of what stands from `at` on. */
static void put_zeros(struct job *j, struct buf *out, size_t at)
{
	struct buf rest;
	struct str said = str_skip(buf_str(out), at), end = STR(CHUNK_END);
	size_t chunk = str_search(said, end);
	if (!j->usage || chunk == said.len)
		return;
	buf_init(&rest, said.len + 1);
	buf_adds(&rest, str_skip(said, chunk));
	out->len = at + chunk;
	BUF_ADD(out, "],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}\n\n");
	buf_adds(out, str_skip(buf_str(&rest), end.len));
	buf_release(&rest);
}

static void completions_whole(struct job *j, struct buf *out)
{
	surface_completions.whole(j, out);
}

static void completions_open(struct job *j, struct buf *out)
{
	surface_completions.open(j, out);
}

static void completions_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	size_t at = out->len;
	surface_completions.piece(j, out, choice, text);
	put_zeros(j, out, at);
}

static void completions_close(struct job *j, struct buf *out)
{
	size_t at = out->len;
	surface_completions.close(j, out);
	put_zeros(j, out, at);
}

static void completions_broken(struct job *j, struct buf *out)
{
	surface_completions.broken(j, out);
}

const struct surface surface_ollama_completions = {
	.name = "completions",
	.stream_fields = FIELDS_SSE,
	.whole = completions_whole,
	.open = completions_open,
	.piece = completions_piece,
	.close = completions_close,
	.broken = completions_broken,
};

/* ---- /v1/messages: a stream begins with a guess (the prompt's bytes / 4, cut or not), and tells what was counted at its end ---- */

static void messages_whole(struct job *j, struct buf *out)
{
	surface_messages.whole(j, out);
}

/* Its events have no numbers: `sequence` is the guess. */
static void messages_open(struct job *j, struct buf *out)
{
	uint32_t counted = j->prompt_tokens;
	j->prompt_tokens = j->sequence;
	surface_messages.open(j, out);
	j->prompt_tokens = counted;
}

static void messages_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	surface_messages.piece(j, out, choice, text);
}

static void messages_close(struct job *j, struct buf *out)
{
	struct buf rest;
	size_t from = out->len;
	surface_messages.close(j, out);
	struct str said = str_skip(buf_str(out), from), usage = STR("\"usage\":{");
	size_t at = str_search(said, usage);
	if (at == said.len)
		return;
	buf_init(&rest, said.len + 1);
	buf_adds(&rest, str_skip(said, at + usage.len));
	out->len = from + at + usage.len;
	BUF_ADD(out, "\"input_tokens\":");
	job_number_put(j, out, j->prompt_tokens);
	buf_addc(out, ',');
	buf_adds(out, buf_str(&rest));
	buf_release(&rest);
}

static void messages_broken(struct job *j, struct buf *out)
{
	surface_messages.broken(j, out);
}

const struct surface surface_ollama_messages = {
	.name = "messages",
	.stream_fields = FIELDS_SSE,
	.shape = SHAPE_ANTHROPIC,
	.whole = messages_whole,
	.open = messages_open,
	.piece = messages_piece,
	.close = messages_close,
	.broken = messages_broken,
};
