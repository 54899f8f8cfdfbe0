/* answer.c - the lines that every answer carries: ids, target, CORS; and whole answers of our own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "proxy/answer.h"
#include "proxy/worker.h"

#include <stdio.h>

/* x-ratelimit-* and the rest must be listed by name: `*` does not cover them for all browsers. */
#define EXPOSED \
	"access-control-expose-headers: x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, " \
	"x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, " \
	"x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, openai-processing-ms, " \
	"x-valet-target, x-valet-model, x-valet-queue-ms, x-valet-overflow\r\n"

static void borrow(struct request *r, struct buf *b)
{
	buf_init(b, WORKER_FIELDS);
	b->ptr = r->worker->fields;
	b->cap = WORKER_FIELDS;
}

static void add_line(struct buf *b, struct str name, struct str value)
{
	buf_adds(b, name);
	BUF_ADD(b, ": ");
	size_t at = b->len;
	buf_adds(b, value);
	for (; at < b->len; at++) /* names of models come from outside: nothing may break the line */
		if ((unsigned char)b->ptr[at] < ' ' || b->ptr[at] == 0x7f)
			b->ptr[at] = '?';
	BUF_ADD(b, "\r\n");
}

bool answer_origin_allowed(const struct catalog *c, struct str origin)
{
	for (size_t i = 0; i < c->cors.count; i++)
		if (str_glob(c->cors.items[i], origin))
			return true;
	return false;
}

static void add_cors(struct request *r, struct buf *b)
{
	if (r->origin.len == 0 || !answer_origin_allowed(r->catalog, r->origin))
		return;
	add_line(b, STR("access-control-allow-origin"), r->origin);
	BUF_ADD(b, "vary: origin\r\n" EXPOSED);
}

/* Valet answers itself. */
static void add_own(struct request *r, struct buf *b)
{
	BUF_ADD(b, "x-valet-target: valet\r\n");
	add_line(b, STR("x-valet-model"), r->model ? r->model->name : STR("-"));
}

static void add_reset(struct buf *b, struct str name, int64_t us)
{
	buf_adds(b, name);
	buf_addu(b, (uint64_t)((us + 999) / 1000));
	BUF_ADD(b, "ms\r\n");
}

static void add_count(struct buf *b, struct str name, int64_t n)
{
	buf_adds(b, name);
	buf_addu(b, n > 0 ? (uint64_t)n : 0);
	BUF_ADD(b, "\r\n");
}

/* In OpenAI's words, for the tightest limit of each kind. */
static void add_rates(const struct request *r, struct buf *b)
{
	const struct rate_view *requests = &r->rates[0], *tokens = &r->rates[1];
	if (requests->limit) {
		add_count(b, STR("x-ratelimit-limit-requests: "), requests->limit);
		add_count(b, STR("x-ratelimit-remaining-requests: "), requests->remaining);
		add_reset(b, STR("x-ratelimit-reset-requests: "), requests->reset_us);
	}
	if (tokens->limit) {
		add_count(b, STR("x-ratelimit-limit-tokens: "), tokens->limit);
		add_count(b, STR("x-ratelimit-remaining-tokens: "), tokens->remaining);
		add_reset(b, STR("x-ratelimit-reset-tokens: "), tokens->reset_us);
	}
}

struct str answer_fields(struct request *r, struct str content_type, struct str more)
{
	struct attempt *a = request_attempt(r);
	struct buf b;
	borrow(r, &b);
	BUF_ADD(&b, "x-request-id: ");
	buf_adds(&b, str_from(r->id));
	BUF_ADD(&b, "\r\n");
	if (r->op && r->op->op == OP_MESSAGES)
		add_line(&b, STR("request-id"), str_from(r->id));
	if (a)
		buf_adds(&b, a->place->lines);
	else
		add_own(r, &b);
	add_count(&b, STR("x-valet-queue-ms: "), request_queue_ms(r));
	add_rates(r, &b);
	if (r->overflow)
		add_line(&b, STR("x-valet-overflow"), str_from(r->overflow));
	if (content_type.len)
		add_line(&b, STR("content-type"), content_type);
	add_cors(r, &b);
	buf_adds(&b, more);
	return buf_str(&b);
}

static const struct step *answer_whole(struct request *r, int status, struct str type, struct str body, struct str more)
{
	struct http_conn *c = r->conn;
	r->status = status;
	request_book(r, body.len);
	struct str fields = answer_fields(r, type, more);
	r->committed = true;
	r->bytes_out += body.len;
	r->conn = NULL;
	http_respond(c, status, fields, body);
	return STEP_SETTLE;
}

const struct step *answer_json(struct request *r, int status, struct str body, struct str more)
{
	return answer_whole(r, status, body.len ? STR("application/json") : STR_NONE, body, more);
}

const struct step *answer_text(struct request *r, struct str text)
{
	return answer_whole(r, 200, STR("text/plain; version=0.0.4; charset=utf-8"), text, STR_NONE);
}
