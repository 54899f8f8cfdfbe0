/* media.c - audio and images: enough to see that files and bytes pass unharmed.
 *
 * A transcription names the size of the file that came; speech is bytes that derive from the text;
 * an image is a dot.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "http/multipart.h"

static void complain(struct worker *w, struct http_conn *c, const char *param, struct str text)
{
	worker_complain(w, c,
			&(struct complaint){.status = 400,
					    .type = "invalid_request_error",
					    .param = param,
					    .code = "invalid_value",
					    .text = text});
}

/* Answers with a Content-Type of its own. */
static void send_as(struct worker *w, struct http_conn *c, const char *type, struct str body)
{
	struct buf fields;
	buf_init(&fields, 1024);
	buf_addf(&fields, "content-type: %s\r\n", type);
	worker_count(w, COUNT_BYTES_OUT, (int64_t)body.len);
	http_respond(c, 200, buf_str(&fields), body);
	buf_release(&fields);
}

/* ---- forms ---- */

struct form {
	struct str body, boundary;
};

static struct str form_get(const struct form *f, struct str name)
{
	struct str value;
	return multipart_find(f->body, f->boundary, name, &value) == MULTIPART_FOUND ? value
										     : STR_NONE;
}

/* Reads a form with a file and a model. False: an error was sent. */
static bool form_read(struct worker *w, struct http_conn *c, struct str file_name, struct form *f,
		      struct str *file, const struct model **model)
{
	f->body = c->body;
	f->boundary = multipart_boundary(http_head_get(c->head, STR("content-type")));
	if (!f->boundary.ptr) {
		complain(w, c, NULL, STR("expected multipart/form-data"));
		return false;
	}
	struct str name = form_get(f, STR("model"));
	*file = form_get(f, file_name);
	if (!file->ptr) {
		complain(w, c, "file", STR("a file is needed"));
		return false;
	}
	*model = name.ptr ? models_find(w->sim, name) : &w->sim->models[0];
	if (!*model)
		model_missing(w, c, name, SHAPE_OPENAI);
	return *model != NULL;
}

/* ---- audio ---- */

static void put_verbose(struct buf *out, const char *task, struct str text, double seconds)
{
	buf_addf(out, "{\"task\":\"%s\",\"language\":\"english\",\"duration\":%.2f,\"text\":", task,
		 seconds);
	json_quote(out, text);
	buf_addf(out, ",\"segments\":[{\"id\":0,\"seek\":0,\"start\":0.0,\"end\":%.2f,\"text\":",
		 seconds);
	json_quote(out, text);
	BUF_ADD(out,
		",\"tokens\":[],\"temperature\":0.0,\"avg_logprob\":-0.1,\"compression_ratio\":1.0,"
		"\"no_speech_prob\":0.0}]}");
}

static void put_captions(struct buf *out, struct str text, bool vtt)
{
	if (vtt)
		BUF_ADD(out, "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n");
	else
		BUF_ADD(out, "1\n00:00:00,000 --> 00:00:01,000\n");
	buf_adds(out, text);
	buf_addc(out, '\n');
}

static void stream_text(struct worker *w, struct http_conn *c, struct str text)
{
	struct buf *out = worker_compose(w);
	struct str rest = text, piece;
	while (text_piece(&rest, &piece)) {
		BUF_ADD(out, "data: {\"type\":\"transcript.text.delta\",\"delta\":");
		json_quote(out, piece);
		BUF_ADD(out, "}\n\n");
	}
	BUF_ADD(out, "data: {\"type\":\"transcript.text.done\",\"text\":");
	json_quote(out, text);
	BUF_ADD(out, "}\n\n");
	struct str body = worker_composed(w);
	if (http_respond_begin(c, 200, sim_fields(w->sim, FIELDS_SSE), -1, body))
		http_respond_end(c);
}

static void send_text(struct worker *w, struct http_conn *c, struct str format, const char *task,
		      struct str text, size_t size)
{
	struct buf *out = worker_compose(w);
	double seconds = (double)size / 16000;
	if (str_eq(format, STR("text")) || str_eq(format, STR("srt")) ||
	    str_eq(format, STR("vtt"))) {
		if (str_eq(format, STR("text")))
			buf_adds(out, text);
		else
			put_captions(out, text, str_eq(format, STR("vtt")));
		worker_send(w, c, 200, FIELDS_TEXT, worker_composed(w));
		return;
	}
	if (str_eq(format, STR("verbose_json"))) {
		put_verbose(out, task, text, seconds);
	} else {
		BUF_ADD(out, "{\"text\":");
		json_quote(out, text);
		buf_addf(out, ",\"usage\":{\"type\":\"duration\",\"seconds\":%.2f}}", seconds);
	}
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

void transcriptions_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct form form;
	struct str file;
	const struct model *m;
	struct buf text;
	bool translate = str_ends(line->path, STR("translations"));
	if (!form_read(w, c, STR("file"), &form, &file, &m))
		return;
	buf_init(&text, 256);
	buf_addf(&text, "a file of %zu bytes, %s", file.len,
		 translate ? "translated" : "transcribed");
	if (str_eq(form_get(&form, STR("stream")), STR("true")))
		stream_text(w, c, buf_str(&text));
	else
		send_text(w, c, form_get(&form, STR("response_format")),
			  translate ? "translate" : "transcribe", buf_str(&text), file.len);
	buf_release(&text);
}

static const char *audio_type(struct str format)
{
	static const char *const types[][2] = {
		{"opus", "audio/opus"}, {"aac", "audio/aac"}, {"flac", "audio/flac"},
		{"wav", "audio/wav"},   {"pcm", "audio/pcm"},
	};
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (str_eq(format, str_from(types[i][0])))
			return types[i][1];
	return "audio/mpeg";
}

/* 100 bytes for each byte of text. */
void speech_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct arena a;
	const struct model *m;
	arena_init(&a, 4096);
	const struct json *body = request_tree(w, c, &a, &m, line->shape);
	if (body) {
		struct str text = json_text(&a, json_get(body, STR("input")));
		const char *type =
			audio_type(json_text(&a, json_get(body, STR("response_format"))));
		struct buf *out = worker_compose(w);
		uint64_t bits = text_hash(text, w->sim->options.seed);
		for (size_t i = 0; i < text.len * 100; i += 8) {
			bits = text_mix(bits + 1);
			buf_add(out, &bits, text.len * 100 - i < 8 ? text.len * 100 - i : 8);
		}
		send_as(w, c, type, worker_composed(w));
	}
	arena_release(&a);
}

/* ---- images ---- */

/* A picture of one dot. */
static const char dot[] = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA"
			  "60e6kgAAAABJRU5ErkJggg==";

static void send_images(struct worker *w, struct http_conn *c, int64_t n, bool urls,
			uint32_t tokens)
{
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"created\":1767225600,\"data\":[");
	for (int64_t i = 0; i < n && i < 10; i++)
		buf_addf(out,
			 urls ? "%s{\"url\":\"http://127.0.0.1:9/%s\"}" : "%s{\"b64_json\":\"%s\"}",
			 i ? "," : "", urls ? "dot.png" : dot);
	buf_addf(out,
		 "],\"usage\":{\"input_tokens\":%u,\"output_tokens\":%lld,\"total_tokens\":%lld,"
		 "\"input_tokens_details\":{\"text_tokens\":%u,\"image_tokens\":0}}}",
		 tokens, (long long)n * 100, (long long)(tokens + n * 100), tokens);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

static void edit(struct worker *w, struct http_conn *c)
{
	struct form form;
	struct str file;
	const struct model *m;
	int64_t n = 1;
	struct str name = STR("image");
	form.body = c->body;
	form.boundary = multipart_boundary(http_head_get(c->head, STR("content-type")));
	if (form.boundary.ptr && !form_get(&form, name).ptr)
		name = STR("image[]");
	if (!form_read(w, c, name, &form, &file, &m))
		return;
	str_to_i64(form_get(&form, STR("n")), &n);
	send_images(w, c, n, false, text_tokens(form_get(&form, STR("prompt")).len));
}

void images_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	struct arena a;
	const struct model *m;
	int64_t n = 1;
	if (str_ends(line->path, STR("edits"))) {
		edit(w, c);
		return;
	}
	arena_init(&a, 4096);
	const struct json *body = request_tree(w, c, &a, &m, line->shape);
	if (body) {
		bool urls =
			str_eq(json_text(&a, json_get(body, STR("response_format"))), STR("url"));
		json_i64(json_get(body, STR("n")), &n);
		send_images(w, c, n, urls,
			    text_tokens(json_text(&a, json_get(body, STR("prompt"))).len));
	}
	arena_release(&a);
}
