/* openai.c - chat completions and text completions, whole and streamed, and the pieces that other
 * surfaces share.
 *
 * Everything that looks random (ids, `created`, words, probabilities) derives from the job's hash.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#define CREATED_FIRST 1767225600 /* 2026-01-01 */

static const struct dialect *dialect_of(const struct job *j)
{
	return j->worker->sim->dialect;
}

/* ---- shared pieces ---- */

int64_t job_created(const struct job *j)
{
	return CREATED_FIRST + (int64_t)(j->hash % 20000000);
}

void id_put(const struct sim *sim, struct buf *out, uint64_t hash)
{
	switch (sim->dialect->ids) {
	case ID_HEX:
		id_hex(out, hash);
		return;
	case ID_LETTERS:
		id_letters(out, hash, 28);
		return;
	case ID_SMALL:
		buf_addu(out, hash % 999 + 1);
		return;
	}
}

void json_inside(struct buf *out, struct str text)
{
	size_t at = out->len;
	json_quote(out, text);
	if (out->over || out->len < at + 2)
		return;
	memmove(out->ptr + at, out->ptr + at + 1, out->len - at - 2);
	out->len -= 2;
}

void job_text_put(struct job *j, struct buf *out, uint32_t choice)
{
	if (j->source != SOURCE_WORDS) {
		json_inside(out, j->text);
		return;
	}
	for (uint32_t done = 0; done < j->tokens;) { /* words are at most 8 bytes long */
		uint32_t some = j->tokens - done < 1024 ? j->tokens - done : 1024;
		if (!buf_reserve(out, some * 16))
			return;
		char *at = out->ptr + out->len;
		for (uint32_t i = 0; i < some; i++, done++) {
			struct str word = text_word(j->hash + choice, j->from + done);
			memcpy(at, word.ptr, word.len);
			at += word.len;
		}
		out->len = (size_t)(at - out->ptr);
	}
}

void job_number_put(struct job *j, struct buf *out, int64_t n)
{
	switch (j->fault.kind) {
	case FAULT_USAGE_NEGATIVE:
		buf_addc(out, '-');
		break;
	case FAULT_USAGE_HUGE:
		n = 1000000000000000000;
		break;
	case FAULT_USAGE_STRING:
		buf_addc(out, '"');
		buf_addu(out, (uint64_t)n);
		buf_addc(out, '"');
		return;
	default:
		break;
	}
	buf_addu(out, (uint64_t)n);
}

static void put_details(struct job *j, struct buf *out)
{
	const struct dialect *d = dialect_of(j);
	if (d->no_details || (!d->usage_details && !j->worker->sim->engine.cache))
		return;
	BUF_ADD(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
	job_number_put(j, out, j->cached_tokens);
	BUF_ADD(out, "}");
	if (d == &dialect_openai)
		BUF_ADD(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":0}");
}

static void put_usage(struct job *j, struct buf *out)
{
	int64_t made = (int64_t)j->made * j->choices;
	BUF_ADD(out, "{\"prompt_tokens\":");
	job_number_put(j, out, j->prompt_tokens);
	BUF_ADD(out, ",\"completion_tokens\":");
	job_number_put(j, out, made);
	BUF_ADD(out, ",\"total_tokens\":");
	job_number_put(j, out, j->prompt_tokens + made);
	put_details(j, out);
	if (dialect_of(j)->usage_tail)
		dialect_of(j)->usage_tail(j, out);
	BUF_ADD(out, "}");
}

static double per_second(int64_t tokens, int64_t us)
{
	return us > 0 ? 1e6 * (double)tokens / (double)us : 0;
}

/* From the times that were planned, not measured: the same request gives the same bytes. */
static void put_timings(struct job *j, struct buf *out)
{
	int64_t computed = j->prompt_tokens - j->cached_tokens,
		decode_us = j->interval_us * j->made;
	buf_addf(out,
		 ",\"timings\":{\"cache_n\":%u,\"prompt_n\":%lld,\"prompt_ms\":%.3f,\"prompt_per_"
		 "second\":%.3f,"
		 "\"predicted_n\":%u,\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f}",
		 j->cached_tokens, (long long)computed, (double)j->ttft_us / 1000,
		 per_second(computed, j->ttft_us), j->made, (double)decode_us / 1000,
		 per_second(j->made, decode_us));
}

static const char *finish_reason(const struct job *j)
{
	const struct dialect *d = dialect_of(j);
	if (j->source == SOURCE_TOOL && !d->bare_tools)
		return "tool_calls";
	if (!j->cut)
		return d->stop_word ? d->stop_word : "stop";
	bool window = j->prompt_tokens + (int64_t)j->tokens >= j->model->context;
	return window && d->window_word ? d->window_word : "length";
}

/* The id of a tool call, as a JSON string. */
static void put_call_id(struct job *j, struct buf *out, uint32_t choice)
{
	const struct dialect *d = dialect_of(j);
	buf_adds(out, d->bare_tools || d->short_ids ? STR("\"") : STR("\"call_"));
	if (!d->bare_tools)
		id_letters(out, j->hash + choice, d->short_ids ? 9 : 24);
	buf_addc(out, '"');
}

static void put_finish(struct job *j, struct buf *out)
{
	buf_addc(out, '"');
	buf_adds(out, str_from(finish_reason(j)));
	buf_addc(out, '"');
}

/* ---- probabilities ---- */

static void put_probability(struct buf *out, uint64_t hash)
{
	buf_addf(out, "-%u.%04u", (unsigned)(hash % 3), (unsigned)(hash >> 8) % 10000);
}

static void put_token(struct job *j, struct buf *out, struct str token, uint64_t hash)
{
	BUF_ADD(out, "{\"token\":");
	json_quote(out, token);
	BUF_ADD(out, ",\"logprob\":");
	put_probability(out, hash);
	BUF_ADD(out, ",\"bytes\":[");
	for (size_t i = 0; i < token.len; i++)
		buf_addf(out, "%s%u", i ? "," : "", (unsigned char)token.ptr[i]);
	BUF_ADD(out, "]");
}

static void put_chat_logprob(struct job *j, struct buf *out, struct str token, uint64_t hash)
{
	put_token(j, out, token, hash);
	BUF_ADD(out, ",\"top_logprobs\":[");
	for (unsigned i = 0; i < j->top_logprobs; i++) {
		if (i)
			buf_addc(out, ',');
		put_token(j, out, i ? text_word(hash, i) : token, i ? text_mix(hash + i) : hash);
		buf_addc(out, '}');
	}
	BUF_ADD(out, "]}");
}

/* Calls `put` for each piece of the whole answer. */
static void each_piece(struct job *j, struct buf *out, uint32_t choice,
		       void (*put)(struct job *, struct buf *, struct str, uint64_t))
{
	struct str rest = j->text, piece = STR_NONE;
	for (uint32_t i = 0; i < j->tokens; i++) {
		if (j->source == SOURCE_WORDS)
			piece = text_word(j->hash + choice, j->from + i);
		else
			text_piece(&rest, &piece);
		if (i)
			buf_addc(out, ',');
		put(j, out, piece, text_mix(j->hash + i));
	}
}

static void put_name(struct job *j, struct buf *out, struct str token, uint64_t hash)
{
	json_quote(out, token);
}

static void put_plain_probability(struct job *j, struct buf *out, struct str token, uint64_t hash)
{
	put_probability(out, hash);
}

static void put_top(struct job *j, struct buf *out, struct str token, uint64_t hash)
{
	buf_addc(out, '{');
	json_quote(out, token);
	buf_addc(out, ':');
	put_probability(out, hash);
	buf_addc(out, '}');
}

/* Where each piece begins in the text. */
static void put_offsets(struct job *j, struct buf *out, uint32_t choice)
{
	struct str rest = j->text, piece = STR_NONE;
	size_t at = 0;
	for (uint32_t i = 0; i < j->tokens; i++, at += piece.len) {
		if (j->source == SOURCE_WORDS)
			piece = text_word(j->hash + choice, j->from + i);
		else
			text_piece(&rest, &piece);
		if (i)
			buf_addc(out, ',');
		buf_addu(out, at);
	}
}

static void put_text_logprobs(struct job *j, struct buf *out, uint32_t choice)
{
	BUF_ADD(out, "{\"text_offset\":[");
	put_offsets(j, out, choice);
	BUF_ADD(out, "],\"token_logprobs\":[");
	each_piece(j, out, choice, put_plain_probability);
	BUF_ADD(out, "],\"tokens\":[");
	each_piece(j, out, choice, put_name);
	BUF_ADD(out, "],\"top_logprobs\":[");
	each_piece(j, out, choice, put_top);
	BUF_ADD(out, "]}");
}

/* ---- whole answers ---- */

static void put_start(struct job *j, struct buf *out, struct str prefix, struct str object)
{
	buf_adds(out, prefix);
	id_put(j->worker->sim, out, j->hash);
	buf_adds(out, object);
	buf_addu(out, (uint64_t)job_created(j));
	BUF_ADD(out, ",\"model\":");
	buf_adds(out, j->model_json);
	if (dialect_of(j)->fingerprint) {
		BUF_ADD(out, ",\"system_fingerprint\":\"");
		buf_adds(out, str_from(dialect_of(j)->fingerprint));
		BUF_ADD(out, "\"");
	}
	BUF_ADD(out, ",\"choices\":[");
}

static void put_end(struct job *j, struct buf *out)
{
	buf_addc(out, ']');
	if (j->fault.kind != FAULT_NO_USAGE) {
		BUF_ADD(out, ",\"usage\":");
		put_usage(j, out);
	}
	buf_adds(out, dialect_of(j)->answer_tail);
	if (dialect_of(j)->timings)
		put_timings(j, out);
	buf_addc(out, '}');
}

static void put_message(struct job *j, struct buf *out, uint32_t choice)
{
	BUF_ADD(out, "{\"role\":\"assistant\",\"content\":");
	if (j->source == SOURCE_TOOL) {
		BUF_ADD(out, "null,\"tool_calls\":[{\"id\":");
		put_call_id(j, out, choice);
		BUF_ADD(out, ",\"type\":\"function\",\"function\":{\"name\":");
		buf_adds(out, j->tool);
		BUF_ADD(out, ",\"arguments\":\"");
		json_inside(out, j->text);
		BUF_ADD(out, "\"}}]");
	} else {
		buf_addc(out, '"');
		job_text_put(j, out, choice);
		buf_addc(out, '"');
	}
	buf_adds(out, dialect_of(j)->message_tail);
	buf_addc(out, '}');
}

static void put_choice_end(struct job *j, struct buf *out)
{
	BUF_ADD(out, ",\"finish_reason\":");
	put_finish(j, out);
	buf_adds(out, dialect_of(j)->choice_tail);
	buf_addc(out, '}');
}

static void chat_whole(struct job *j, struct buf *out)
{
	buf_adds(out, dialect_of(j)->before_whole);
	if (j->fault.kind == FAULT_ERROR_IN_STREAM && dialect_of(j)->error_chunk) {
		cloud_broken_whole(out);
		return;
	}
	put_start(j, out, STR("{\"id\":\"chatcmpl-"),
		  STR("\",\"object\":\"chat.completion\",\"created\":"));
	for (uint32_t i = 0; i < j->choices; i++) {
		buf_adds(out, i ? STR(",{\"index\":") : STR("{\"index\":"));
		buf_addu(out, i);
		BUF_ADD(out, ",\"message\":");
		put_message(j, out, i);
		if (j->logprobs) {
			BUF_ADD(out, ",\"logprobs\":{\"content\":[");
			each_piece(j, out, i, put_chat_logprob);
			BUF_ADD(out, "]}");
		} else {
			BUF_ADD(out, ",\"logprobs\":null");
		}
		put_choice_end(j, out);
	}
	put_end(j, out);
}

static void completions_whole(struct job *j, struct buf *out)
{
	put_start(j, out, STR("{\"id\":\"cmpl-"),
		  STR("\",\"object\":\"text_completion\",\"created\":"));
	for (uint32_t i = 0; i < j->choices; i++) {
		buf_adds(out, i ? STR(",{\"text\":\"") : STR("{\"text\":\""));
		job_text_put(j, out, i);
		BUF_ADD(out, "\",\"index\":");
		buf_addu(out, i);
		BUF_ADD(out, ",\"logprobs\":");
		if (j->logprobs)
			put_text_logprobs(j, out, i);
		else
			BUF_ADD(out, "null");
		put_choice_end(j, out);
	}
	put_end(j, out);
}

/* ---- streams ---- */

static void chunk_start(struct job *j, struct buf *out)
{
	if (j->surface == &surface_chat)
		put_start(j, out, STR("data: {\"id\":\"chatcmpl-"),
			  STR("\",\"object\":\"chat.completion.chunk\",\"created\":"));
	else
		put_start(j, out, STR("data: {\"id\":\"cmpl-"),
			  STR("\",\"object\":\"text_completion\",\"created\":"));
}

static void chunk_end(struct job *j, struct buf *out)
{
	if (j->usage && dialect_of(j)->usage_place == USAGE_IN_EACH) {
		BUF_ADD(out, "],\"usage\":");
		put_usage(j, out);
		BUF_ADD(out, "}\n\n");
	} else if (j->usage && dialect_of(j)->usage_null)
		BUF_ADD(out, "],\"usage\":null}\n\n");
	else
		BUF_ADD(out, "]}\n\n");
}

/* One event with `delta` in front of what ends it. */
static void delta_start(struct job *j, struct buf *out, uint32_t choice)
{
	chunk_start(j, out);
	BUF_ADD(out, "{\"index\":");
	buf_addu(out, choice);
	BUF_ADD(out, ",\"delta\":{");
}

static void delta_end(struct job *j, struct buf *out)
{
	BUF_ADD(out, "},\"logprobs\":null,\"finish_reason\":null}");
	chunk_end(j, out);
}

static void tool_start(struct job *j, struct buf *out, uint32_t choice)
{
	bool whole = dialect_of(j)->whole_tools;
	delta_start(j, out, choice);
	buf_adds(out, dialect_of(j)->bare_tools ? STR("\"tool_calls\":[{\"id\":") : STR("\"tool_calls\":[{\"index\":0,\"id\":"));
	put_call_id(j, out, choice);
	BUF_ADD(out, ",\"type\":\"function\",\"function\":{\"name\":");
	buf_adds(out, j->tool);
	BUF_ADD(out, ",\"arguments\":\"");
	if (whole)
		json_inside(out, j->text);
	BUF_ADD(out, "\"}}]");
	delta_end(j, out);
}

static void chat_open(struct job *j, struct buf *out)
{
	buf_adds(out, dialect_of(j)->comment);
	for (uint32_t i = 0; i < j->choices; i++) {
		delta_start(j, out, i);
		if (j->source == SOURCE_TOOL)
			BUF_ADD(out, "\"role\":\"assistant\",\"content\":null");
		else
			BUF_ADD(out, "\"role\":\"assistant\",\"content\":\"\"");
		delta_end(j, out);
		if (j->source == SOURCE_TOOL)
			tool_start(j, out, i);
	}
}

static void chat_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	if (j->source == SOURCE_TOOL && dialect_of(j)->whole_tools)
		return;
	delta_start(j, out, choice);
	if (j->source == SOURCE_TOOL) {
		BUF_ADD(out, "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
		json_quote(out, text);
		BUF_ADD(out, "}}]");
	} else {
		BUF_ADD(out, "\"content\":");
		json_quote(out, text);
	}
	if (!j->logprobs) {
		delta_end(j, out);
		return;
	}
	BUF_ADD(out, "},\"logprobs\":{\"content\":[");
	put_chat_logprob(j, out, text, text_mix(j->hash + j->made));
	BUF_ADD(out, "]},\"finish_reason\":null}");
	chunk_end(j, out);
}

static void text_open(struct job *j, struct buf *out)
{
}

static void text_piece_put(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	chunk_start(j, out);
	BUF_ADD(out, "{\"text\":");
	json_quote(out, text);
	BUF_ADD(out, ",\"index\":");
	buf_addu(out, choice);
	BUF_ADD(out, ",\"logprobs\":null,\"finish_reason\":null}");
	chunk_end(j, out);
}

static void put_finish_chunk(struct job *j, struct buf *out, uint32_t choice)
{
	if (j->surface == &surface_chat) {
		delta_start(j, out, choice);
		BUF_ADD(out, "},\"logprobs\":null");
	} else {
		chunk_start(j, out);
		BUF_ADD(out, "{\"text\":\"\",\"index\":");
		buf_addu(out, choice);
		BUF_ADD(out, ",\"logprobs\":null");
	}
	put_choice_end(j, out);
	bool last = choice + 1 == j->choices && j->fault.kind != FAULT_NO_USAGE;
	if (last && dialect_of(j)->usage_place == USAGE_AT_FINISH) {
		BUF_ADD(out, "],\"usage\":");
		put_usage(j, out);
		BUF_ADD(out, "}\n\n");
	} else if (last && dialect_of(j)->usage_place == USAGE_IN_X_GROQ) {
		BUF_ADD(out, "],\"x_groq\":{\"id\":\"req_sim\",\"usage\":");
		put_usage(j, out);
		BUF_ADD(out, "}}\n\n");
	} else if (dialect_of(j)->timings && !j->usage && choice + 1 == j->choices) {
		buf_addc(out, ']');
		put_timings(j, out);
		BUF_ADD(out, "}\n\n");
	} else {
		chunk_end(j, out);
	}
}

static void put_usage_chunk(struct job *j, struct buf *out)
{
	chunk_start(j, out);
	BUF_ADD(out, "],\"usage\":");
	put_usage(j, out);
	if (dialect_of(j)->timings)
		put_timings(j, out);
	BUF_ADD(out, "}\n\n");
}

static void openai_close(struct job *j, struct buf *out)
{
	for (uint32_t i = 0; i < j->choices; i++)
		put_finish_chunk(j, out, i);
	bool place = dialect_of(j)->usage_place == USAGE_ASKED || dialect_of(j)->usage_place == USAGE_IN_X_GROQ;
	if (((j->usage && place) || dialect_of(j)->usage_place == USAGE_ALWAYS) && j->fault.kind != FAULT_NO_USAGE)
		put_usage_chunk(j, out);
	if (j->fault.kind != FAULT_NO_DONE)
		BUF_ADD(out, "data: [DONE]\n\n");
}

static void openai_broken(struct job *j, struct buf *out)
{
	if (dialect_of(j)->error_chunk || dialect_of(j)->broken_word) {
		cloud_broken_chunk(j, out);
		return;
	}
	BUF_ADD(out, "data: ");
	error_put(j->worker->sim, out,
		  &(struct complaint){
			  .status = 500,
			  .type = "server_error",
			  .text = STR(
				  "The simulated engine has failed in the middle of its answer.")});
	BUF_ADD(out, "\n\n");
	if (dialect_of(j) == &dialect_vllm)
		BUF_ADD(out, "data: [DONE]\n\n");
}

const struct surface surface_chat = {
	.name = "chat",
	.stream_fields = FIELDS_SSE,
	.tools = true,
	.whole = chat_whole,
	.open = chat_open,
	.piece = chat_piece,
	.close = openai_close,
	.broken = openai_broken,
};

const struct surface surface_completions = {
	.name = "completions",
	.stream_fields = FIELDS_SSE,
	.whole = completions_whole,
	.open = text_open,
	.piece = text_piece_put,
	.close = openai_close,
	.broken = openai_broken,
};

/* ---- an answer without an end, where the client wanted a whole one ---- */

static void endless_open(struct job *j, struct buf *out)
{
	BUF_ADD(out, "{\"id\":\"chatcmpl-endless\",\"object\":\"chat.completion\",\"choices\":[{"
		     "\"message\":{\"content\":\"");
}

static void endless_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	json_inside(out, text);
}

const struct surface surface_endless = {
	.name = "endless",
	.stream_fields = FIELDS_JSON,
	.open = endless_open,
	.piece = endless_piece,
	.close = text_open,
	.broken = text_open,
};

/* ---- an answer that was composed already and waits for its fault ---- */

static void fixed_whole(struct job *j, struct buf *out)
{
	if (j->text.ptr != out->ptr + out->len) /* where it stands already */
		buf_adds(out, j->text);
	else
		out->len += j->text.len;
}

const struct surface surface_fixed = {.name = "other", .whole = fixed_whole};
