/* responses.c - OpenAI's /v1/responses, text only, whole and streamed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

static void put_id(struct job *j, struct buf *out, struct str prefix)
{
	buf_addc(out, '"');
	buf_adds(out, prefix);
	id_hex(out, j->hash);
	buf_addc(out, '"');
}

static void put_part(struct job *j, struct buf *out)
{
	BUF_ADD(out, "{\"type\":\"output_text\",\"text\":\"");
	job_text_put(j, out, 0);
	BUF_ADD(out, "\",\"annotations\":[],\"logprobs\":[]}");
}

static const char *end_status(const struct job *j)
{
	return j->cut ? "incomplete" : "completed";
}

static void put_item(struct job *j, struct buf *out)
{
	BUF_ADD(out, "{\"type\":\"message\",\"id\":");
	put_id(j, out, STR("msg_"));
	BUF_ADD(out, ",\"status\":\"");
	buf_adds(out, str_from(end_status(j)));
	BUF_ADD(out, "\",\"role\":\"assistant\",\"content\":[");
	put_part(j, out);
	BUF_ADD(out, "]}");
}

static void put_usage(struct job *j, struct buf *out)
{
	BUF_ADD(out, "{\"input_tokens\":");
	job_number_put(j, out, j->prompt_tokens);
	BUF_ADD(out, ",\"input_tokens_details\":{\"cached_tokens\":");
	job_number_put(j, out, j->cached_tokens);
	BUF_ADD(out, "},\"output_tokens\":");
	job_number_put(j, out, j->made);
	BUF_ADD(out, ",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":");
	job_number_put(j, out, j->prompt_tokens + (int64_t)j->made);
	buf_addc(out, '}');
}

/* The response object, at its end or while it is under way. */
static void put_response(struct job *j, struct buf *out, bool ended)
{
	BUF_ADD(out, "{\"id\":");
	put_id(j, out, STR("resp_"));
	buf_addf(out,
		 ",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"error\":null,"
		 "\"incomplete_details\":%s",
		 (long long)job_created(j), ended ? end_status(j) : "in_progress",
		 ended && j->cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
	BUF_ADD(out, ",\"instructions\":null,\"max_output_tokens\":null,\"model\":");
	buf_adds(out, j->model_json);
	BUF_ADD(out, ",\"output\":[");
	if (ended)
		put_item(j, out);
	BUF_ADD(out, "],\"parallel_tool_calls\":true,\"previous_response_id\":null,"
		     "\"reasoning\":{\"effort\":null,\"summary\":null},\"store\":false,"
		     "\"temperature\":1.0,"
		     "\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"auto\",\"tools\":"
		     "[],\"top_p\":1.0,"
		     "\"truncation\":\"disabled\",\"usage\":");
	if (ended && j->fault.kind != FAULT_NO_USAGE)
		put_usage(j, out);
	else
		BUF_ADD(out, "null");
	BUF_ADD(out, ",\"user\":null,\"metadata\":{}}");
}

static void responses_whole(struct job *j, struct buf *out)
{
	put_response(j, out, true);
}

/* ---- streams ---- */

static void event_start(struct job *j, struct buf *out, const char *type)
{
	buf_addf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", type, type,
		 j->sequence++);
}

static void event_end(struct buf *out)
{
	BUF_ADD(out, "}\n\n");
}

static void put_place(struct job *j, struct buf *out)
{
	BUF_ADD(out, ",\"item_id\":");
	put_id(j, out, STR("msg_"));
	BUF_ADD(out, ",\"output_index\":0,\"content_index\":0");
}

static void response_event(struct job *j, struct buf *out, const char *type, bool ended)
{
	event_start(j, out, type);
	BUF_ADD(out, ",\"response\":");
	put_response(j, out, ended);
	event_end(out);
}

static void responses_open(struct job *j, struct buf *out)
{
	response_event(j, out, "response.created", false);
	response_event(j, out, "response.in_progress", false);
	event_start(j, out, "response.output_item.added");
	BUF_ADD(out, ",\"output_index\":0,\"item\":{\"type\":\"message\",\"id\":");
	put_id(j, out, STR("msg_"));
	BUF_ADD(out, ",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}");
	event_end(out);
	event_start(j, out, "response.content_part.added");
	put_place(j, out);
	BUF_ADD(out, ",\"part\":{\"type\":\"output_text\",\"text\":\"\",\"annotations\":[],"
		     "\"logprobs\":[]}");
	event_end(out);
}

static void responses_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	event_start(j, out, "response.output_text.delta");
	put_place(j, out);
	BUF_ADD(out, ",\"delta\":");
	json_quote(out, text);
	BUF_ADD(out, ",\"logprobs\":[]");
	event_end(out);
}

static void responses_close(struct job *j, struct buf *out)
{
	event_start(j, out, "response.output_text.done");
	put_place(j, out);
	BUF_ADD(out, ",\"text\":\"");
	job_text_put(j, out, 0);
	BUF_ADD(out, "\",\"logprobs\":[]");
	event_end(out);
	event_start(j, out, "response.content_part.done");
	put_place(j, out);
	BUF_ADD(out, ",\"part\":");
	put_part(j, out);
	event_end(out);
	event_start(j, out, "response.output_item.done");
	BUF_ADD(out, ",\"output_index\":0,\"item\":");
	put_item(j, out);
	event_end(out);
	if (j->fault.kind != FAULT_NO_DONE)
		response_event(j, out, j->cut ? "response.incomplete" : "response.completed", true);
}

static void responses_broken(struct job *j, struct buf *out)
{
	event_start(j, out, "error");
	BUF_ADD(out, ",\"code\":\"server_error\","
		     "\"message\":\"The simulated engine has failed in the middle of its "
		     "answer.\",\"param\":null");
	event_end(out);
}

const struct surface surface_responses = {
	.name = "responses",
	.stream_fields = FIELDS_SSE,
	.whole = responses_whole,
	.open = responses_open,
	.piece = responses_piece,
	.close = responses_close,
	.broken = responses_broken,
};
