/* messages.c - Anthropic's /v1/messages, text only, whole and streamed.
 *
 * Its input_tokens do not contain what came from the cache; ours do, so it is taken off.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

static void put_usage(struct job *j, struct buf *out, uint32_t made)
{
	BUF_ADD(out, "{\"input_tokens\":");
	job_number_put(j, out, j->prompt_tokens - j->cached_tokens);
	BUF_ADD(out, ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":");
	job_number_put(j, out, j->cached_tokens);
	BUF_ADD(out, ",\"output_tokens\":");
	job_number_put(j, out, made);
	buf_addc(out, '}');
}

static void put_start(struct job *j, struct buf *out)
{
	BUF_ADD(out, "{\"id\":\"msg_");
	id_letters(out, j->hash, 24);
	BUF_ADD(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
	buf_adds(out, j->model_json);
	BUF_ADD(out, ",\"content\":[");
}

static void messages_whole(struct job *j, struct buf *out)
{
	put_start(j, out);
	BUF_ADD(out, "{\"type\":\"text\",\"text\":\"");
	job_text_put(j, out, 0);
	buf_adds(out, j->cut ? STR("\"}],\"stop_reason\":\"max_tokens\"")
			     : STR("\"}],\"stop_reason\":\"end_turn\""));
	BUF_ADD(out, ",\"stop_sequence\":null");
	if (j->fault.kind != FAULT_NO_USAGE) {
		BUF_ADD(out, ",\"usage\":");
		put_usage(j, out, j->made);
	}
	buf_addc(out, '}');
}

static void messages_open(struct job *j, struct buf *out)
{
	BUF_ADD(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
	put_start(j, out);
	BUF_ADD(out, "],\"stop_reason\":null,\"stop_sequence\":null");
	if (j->fault.kind != FAULT_NO_USAGE) {
		BUF_ADD(out, ",\"usage\":");
		put_usage(j, out, 1);
	}
	BUF_ADD(out, "}}\n\n"
		     "event: content_block_start\n"
		     "data: "
		     "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
		     "\"text\",\"text\":\"\"}}\n\n"
		     "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void messages_piece(struct job *j, struct buf *out, uint32_t choice, struct str text)
{
	BUF_ADD(out, "event: content_block_delta\n"
		     "data: "
		     "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_"
		     "delta\",\"text\":");
	json_quote(out, text);
	BUF_ADD(out, "}}\n\n");
}

static void messages_close(struct job *j, struct buf *out)
{
	BUF_ADD(out,
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
		"event: message_delta\ndata: "
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
	buf_adds(out, j->cut ? STR("\"max_tokens\"") : STR("\"end_turn\""));
	BUF_ADD(out, ",\"stop_sequence\":null}");
	if (j->fault.kind != FAULT_NO_USAGE) {
		BUF_ADD(out, ",\"usage\":{\"output_tokens\":");
		job_number_put(j, out, j->made);
		buf_addc(out, '}');
	}
	BUF_ADD(out, "}\n\n");
	if (j->fault.kind != FAULT_NO_DONE)
		BUF_ADD(out, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void messages_broken(struct job *j, struct buf *out)
{
	BUF_ADD(out, "event: error\ndata: ");
	error_put(j->worker->sim, out,
		  &(struct complaint){
			  .status = 529,
			  .shape = SHAPE_ANTHROPIC,
			  .text = STR(
				  "The simulated engine has failed in the middle of its answer.")});
	BUF_ADD(out, "\n\n");
}

const struct surface surface_messages = {
	.name = "messages",
	.stream_fields = FIELDS_SSE,
	.shape = SHAPE_ANTHROPIC,
	.whole = messages_whole,
	.open = messages_open,
	.piece = messages_piece,
	.close = messages_close,
	.broken = messages_broken,
};
