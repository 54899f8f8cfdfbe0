/* embed.c - embeddings, reranking and moderation: answers in one go that derive from the texts
 * alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

/* Newton's way, which converges quickly for the sums that occur here; it saves a library. */
static double square_root(double n)
{
	double x = n > 1 ? n : 1;
	for (int i = 0; i < 60 && x * x > n * 1.000000000001; i++)
		x = (x + n / x) / 2;
	return x;
}

void vector_make(float *out, size_t dimensions, struct str text, uint64_t seed)
{
	uint64_t bits = text_hash(text, seed);
	double sum = 0;
	for (size_t i = 0; i < dimensions; i++) {
		bits = text_mix(bits + i + 1);
		out[i] = (float)((double)(bits >> 40) / (1 << 23) - 1);
		sum += (double)out[i] * (double)out[i];
	}
	double length = sum > 0 ? square_root(sum) : 1;
	for (size_t i = 0; i < dimensions; i++)
		out[i] = (float)((double)out[i] / length);
}

void base64_put(struct buf *out, const void *bytes, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = bytes;
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (n > 2 ? p[i + 2] : 0);
		char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
				n > 1 ? digits[v >> 6 & 63] : '=', n > 2 ? digits[v & 63] : '='};
		buf_add(out, four, 4);
	}
}

/* A value's own text: a string decoded, anything else as it stands (a list of token ids …). */
static struct str text_of(struct arena *a, const struct json *value)
{
	return value->type == JSON_STRING ? json_text(a, value) : value->raw;
}

/* The bytes that count of a value which is the member `input`. */
static size_t counted(const struct json *value)
{
	struct text_taker taker = {0};
	if (value && value->type == JSON_STRING)
		text_walk(str_of(value->raw.ptr - 1, value->raw.len + 2), true, &taker);
	else if (value)
		text_walk(value->raw, true, &taker);
	return taker.bytes;
}

static bool is_one_input(const struct json *input)
{
	return input->type == JSON_STRING || (input->first && input->first->type == JSON_NUMBER);
}

static void complain(struct worker *w, struct http_conn *c, const char *param, struct str text)
{
	worker_complain(w, c,
			&(struct complaint){.status = 400,
					    .type = "invalid_request_error",
					    .param = param,
					    .code = "invalid_value",
					    .text = text});
}

/* ---- embeddings ---- */

struct embedding {
	size_t dimensions;
	bool base64;
	uint64_t seed;
};

static void put_embedding(struct buf *out, const struct embedding *e, struct str text, size_t index)
{
	float vector[VECTOR_MAX];
	vector_make(vector, e->dimensions, text, e->seed);
	buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index ? "," : "",
		 index);
	if (e->base64) {
		buf_addc(out, '"');
		base64_put(out, vector, e->dimensions * sizeof(*vector));
		BUF_ADD(out, "\"}");
		return;
	}
	buf_addc(out, '[');
	for (size_t i = 0; i < e->dimensions; i++)
		buf_addf(out, "%s%.9g", i ? "," : "", (double)vector[i]);
	BUF_ADD(out, "]}");
}

static void embeddings_send(struct worker *w, struct http_conn *c, struct arena *a,
			    const struct json *body, const struct model *m)
{
	const struct json *input = json_get(body, STR("input"));
	struct embedding e = {VECTOR_DEFAULT, false, w->sim->options.seed ^ m->hash};
	int64_t dimensions = VECTOR_DEFAULT;
	size_t index = 0;
	if (!input ||
	    (input->type != JSON_STRING && (input->type != JSON_ARRAY || !input->first))) {
		complain(w, c, "input", STR("input must be a string or a list that is not empty."));
		return;
	}
	json_i64(json_get(body, STR("dimensions")), &dimensions);
	if (dimensions < 1 || dimensions > VECTOR_MAX) {
		complain(w, c, "dimensions", STR("dimensions must be an integer from 1 to 4096."));
		return;
	}
	e.dimensions = (size_t)dimensions;
	e.base64 = str_eq(json_text(a, json_get(body, STR("encoding_format"))), STR("base64"));
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"object\":\"list\",\"data\":[");
	if (is_one_input(input))
		put_embedding(out, &e, text_of(a, input), index);
	else
		for (const struct json *i = input->first; i; i = i->next)
			put_embedding(out, &e, text_of(a, i), index++);
	BUF_ADD(out, "],\"model\":");
	buf_adds(out, m->json);
	uint32_t tokens = text_tokens(counted(input));
	worker_count(w, COUNT_PROMPT, tokens);
	buf_addf(out, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}", tokens, tokens);
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

/* Reads the body, then calls `send`. */
static void with_body(struct worker *w, struct http_conn *c, enum shape shape,
		      void (*send)(struct worker *, struct http_conn *, struct arena *,
				   const struct json *, const struct model *))
{
	struct arena a;
	const struct model *m;
	arena_init(&a, 4096);
	const struct json *body = request_tree(w, c, &a, &m, shape);
	if (body)
		send(w, c, &a, body, m);
	arena_release(&a);
}

void embeddings_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	with_body(w, c, line->shape, embeddings_send);
}

/* ---- rerank ---- */

struct ranked {
	const struct json *document;
	struct str text;
	uint32_t index, score; /* of 1,000,000 */
};

static int higher_first(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static struct ranked *rank(struct arena *a, const struct json *documents, struct str query)
{
	struct ranked *list = arena_zero(a, (documents->count + 1) * sizeof(*list));
	uint32_t i = 0;
	for (const struct json *d = documents->first; d; d = d->next, i++) {
		const struct json *text = d->type == JSON_OBJECT ? json_get(d, STR("text")) : d;
		list[i] = (struct ranked){.document = d, .text = json_text(a, text), .index = i};
		list[i].score = (uint32_t)(text_hash(list[i].text, text_hash(query, 1)) % 1000000);
	}
	qsort(list, documents->count, sizeof(*list), higher_first);
	return list;
}

static void rerank_send(struct worker *w, struct http_conn *c, struct arena *a,
			const struct json *body, const struct model *m)
{
	const struct json *documents = json_get(body, STR("documents")),
			  *query = json_get(body, STR("query"));
	const struct json *wants = json_get(body, STR("return_documents"));
	int64_t top = INT64_MAX;
	if (!documents || documents->type != JSON_ARRAY || !query) {
		complain(w, c, "documents", STR("query and documents are needed."));
		return;
	}
	json_i64(json_get(body, STR("top_n")), &top);
	struct ranked *list = rank(a, documents, json_text(a, query));
	struct buf *out = worker_compose(w);
	uint32_t tokens = text_tokens(counted(documents) + counted(query));
	BUF_ADD(out, "{\"model\":");
	buf_adds(out, m->json);
	buf_addf(out,
		 ",\"object\":\"list\",\"usage\":{\"total_tokens\":%u,\"prompt_tokens\":%u},"
		 "\"results\":[",
		 tokens, tokens);
	for (uint32_t i = 0; i < documents->count && i < top; i++) {
		buf_addf(out, "%s{\"index\":%u,\"relevance_score\":0.%06u", i ? "," : "",
			 list[i].index, list[i].score);
		if (wants && wants->boolean) {
			BUF_ADD(out, ",\"document\":{\"text\":");
			json_quote(out, list[i].text);
			buf_addc(out, '}');
		}
		buf_addc(out, '}');
	}
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

void rerank_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	with_body(w, c, line->shape, rerank_send);
}

/* ---- moderation: flags what holds the word "flag-me" ---- */

static void put_result(struct buf *out, struct str text)
{
	static const char *const names[] = {
		"harassment",
		"harassment/threatening",
		"hate",
		"hate/threatening",
		"illicit",
		"illicit/violent",
		"self-harm",
		"self-harm/intent",
		"self-harm/instructions",
		"sexual",
		"sexual/minors",
		"violence",
		"violence/graphic",
	};
	enum { COUNT = sizeof(names) / sizeof(*names) };
	bool flagged = str_search(text, STR("flag-me")) < text.len;
	buf_addf(out, "{\"flagged\":%s,\"categories\":{", flagged ? "true" : "false");
	for (int i = 0; i < COUNT; i++)
		buf_addf(out, "%s\"%s\":%s", i ? "," : "", names[i],
			 flagged && i == 0 ? "true" : "false");
	BUF_ADD(out, "},\"category_scores\":{");
	for (int i = 0; i < COUNT; i++)
		buf_addf(out, "%s\"%s\":%s", i ? "," : "", names[i],
			 flagged && i == 0 ? "0.98" : "0.01");
	BUF_ADD(out, "},\"category_applied_input_types\":{");
	for (int i = 0; i < COUNT; i++)
		buf_addf(out, "%s\"%s\":[\"text\"]", i ? "," : "", names[i]);
	BUF_ADD(out, "}}");
}

static void moderations_send(struct worker *w, struct http_conn *c, struct arena *a,
			     const struct json *body, const struct model *m)
{
	const struct json *input = json_get(body, STR("input"));
	struct buf *out = worker_compose(w);
	BUF_ADD(out, "{\"id\":\"modr-");
	id_hex(out, text_hash(c->body, w->sim->options.seed));
	BUF_ADD(out, "\",\"model\":");
	buf_adds(out, m->json);
	BUF_ADD(out, ",\"results\":[");
	bool strings = input && input->type == JSON_ARRAY && input->first &&
		       input->first->type == JSON_STRING;
	for (const struct json *i = strings ? input->first : input; i;
	     i = strings ? i->next : NULL) {
		if (strings && i != input->first)
			buf_addc(out, ',');
		put_result(out, text_of(a, i));
	}
	BUF_ADD(out, "]}");
	worker_send(w, c, 200, FIELDS_JSON, worker_composed(w));
}

void moderations_run(struct worker *w, struct http_conn *c, const struct request_line *line)
{
	with_body(w, c, line->shape, moderations_send);
}
