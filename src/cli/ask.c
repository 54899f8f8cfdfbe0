/* ask.c - a question to the admin API: what stands behind its path, what to say where it is refused, and its answer on standard output.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/ask.h"

#include "cli/cli.h"
#include "cli/print.h"
#include "http/url.h"

#include <stdio.h>

#define ANSWER_MAX ((size_t)256 << 20)

/* "model_rpm.qwen*: expected …" as "--model-rpm.qwen*: expected …": what the API calls a member is an option here; but a key's name is none. */
static void add_message(struct buf *out, struct str message, struct str param)
{
	size_t dot = str_find(param, '.'), bracket = str_find(param, '[');
	struct str member = str_head(param, dot < bracket ? dot : bracket);
	if (member.len && str_starts(message, member) && !str_eq(member, STR("name"))) {
		BUF_ADD(out, "--");
		for (size_t i = 0; i < member.len; i++)
			buf_addc(out, member.ptr[i] == '_' ? '-' : member.ptr[i]);
		message = str_skip(message, member.len);
	}
	print_clean(out, message);
}

static int refuse(struct cli_answer *a, const char *command)
{
	const struct json *error = json_get(a->json, STR("error"));
	struct str message = cli_text(a, error, "message"), param = cli_text(a, error, "param");
	struct buf line;
	buf_init(&line, 65536);
	buf_addf(&line, "%s: ", command);
	if (a->status == 401) {
		BUF_ADD(&line, "the server refuses the admin secret; expected the one that it uses itself: "
			       "$VALET_ADMIN_KEY, or admin.key in its state folder (--state)");
	} else if (message.len) {
		add_message(&line, message, param);
	} else {
		buf_addf(&line, "answered with HTTP status %d and nothing that Valet would say; is that Valet's admin address?", a->status);
	}
	fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&line)));
	buf_release(&line);
	return a->status == 400 ? CLI_USAGE : CLI_FAILED;
}

/* CLI_DONE; else it has said on stderr what is wrong: CLI_USAGE where the API did not like what was asked, else CLI_FAILED. */
static int ask(const struct cli_question *q, struct cli_answer *out)
{
	*out = (struct cli_answer){.json = NULL};
	arena_init(&out->arena, 4096);
	buf_init(&out->body, ANSWER_MAX);
	out->status = cli_request(q->place, q->method, buf_str(q->target), q->body, &out->body);
	if (out->status < 0) {
		fprintf(stderr, "%s: %.*s\n", q->command, STR_ARG(buf_str(&out->body)));
		return CLI_FAILED;
	}
	struct str text = out->body.len ? buf_str(&out->body) : STR("null");
	out->json = json_parse(&out->arena, text, NULL);
	if (out->status >= 400 || !out->json)
		return refuse(out, q->command);
	return CLI_DONE;
}

/* ---- answers ---- */

struct str cli_text(struct cli_answer *a, const struct json *object, const char *name)
{
	const struct json *m = json_get(object, str_from(name));
	return m && m->type == JSON_STRING ? json_text(&a->arena, m) : STR_NONE;
}

int64_t cli_number(const struct json *object, const char *name)
{
	int64_t n = 0;
	return json_i64(json_get(object, str_from(name)), &n) ? n : 0;
}

bool cli_flag(const struct json *object, const char *name)
{
	const struct json *m = json_get(object, str_from(name));
	return m && m->type == JSON_BOOL && m->boolean;
}

/* ---- the whole of a command ---- */

void cli_add_part(struct buf *target, const char *part)
{
	buf_addc(target, '/');
	url_encode(str_from(part), target);
}

void cli_add_query(struct buf *target, const char *name, const char *value)
{
	if (!value)
		return;
	buf_addf(target, "%c%s=", str_find(buf_str(target), '?') < target->len ? '&' : '?', name);
	url_encode(str_from(value), target);
}

int cli_tell(const struct cli_question *q)
{
	struct cli_answer a;
	struct buf out;
	if (q->target->over) {
		fprintf(stderr, "%s: what it is asked about is too long\n", q->command);
		return CLI_USAGE;
	}
	buf_init(&out, ANSWER_MAX);
	int code = ask(q, &a);
	if (code == CLI_DONE) {
		if (q->clears)
			BUF_ADD(&out, "\033[H\033[2J");
		if (q->json)
			print_json(&out, a.json);
		else
			q->print(&out, &a, q->user);
		code = cli_put(&out);
	}
	cli_wipe(&out);
	cli_wipe(&a.body);
	arena_release(&a.arena);
	return code;
}
