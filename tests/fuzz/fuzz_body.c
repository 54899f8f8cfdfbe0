/* fuzz_body.c - any bytes as a request's body: what is accepted goes out as valid as it came, with the other model and asking for usage.
 *
 * The first byte says which operation; a form's boundary is "b".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "dialect/body.h"
#include "http/multipart.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                               \
	do {                                                                           \
		if (!(condition)) {                                                    \
			fprintf(stderr, "fuzz_body.c:%d: %s\n", __LINE__, #condition); \
			abort();                                                       \
		}                                                                      \
	} while (0)

#define CAP  77
#define TYPE STR("multipart/form-data; boundary=b")

static struct str joined(const struct body_facts *facts, struct str body, struct str model,
			 bool ask_usage, int64_t cap, struct arena *a)
{
	struct iovec parts[BODY_PARTS];
	size_t length = 0, at = 0;
	int n = body_parts(facts, body, &(struct body_changes){model, ask_usage, cap}, a, parts, &length);
	CHECK(n >= 1 && n <= BODY_PARTS);
	char *text = arena_alloc(a, length + 1);
	for (int i = 0; i < n; i++) {
		CHECK(parts[i].iov_len > 0 && at + parts[i].iov_len <= length);
		memcpy(text + at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	CHECK(at == length);
	return str_of(text, length);
}

static void check_json(const struct operation_row *op, const struct body_facts *f, struct str out,
		       struct str model, uint32_t members, struct arena *a)
{
	const struct json *root = json_parse(a, out, NULL);
	CHECK(root && root->type == JSON_OBJECT);
	CHECK(str_eq(json_text(a, json_get(root, STR("model"))), model));
	CHECK(root->count >= members && root->count <= members + 2);
	if (!f->stream || !op->usage_on_request)
		return;
	const struct json *usage =
		json_get(json_get(root, STR("stream_options")), STR("include_usage"));
	CHECK(usage && usage->type == JSON_BOOL && usage->boolean);
}

static void check_form(struct str out, struct str model)
{
	struct str found;
	CHECK(multipart_find(out, STR("b"), STR("model"), &found) == MULTIPART_FOUND);
	CHECK(str_eq(str_trim(found), model));
}

static void check_accepted(const struct operation_row *op, const struct body_facts *f,
			   struct str body, struct str model, struct arena *a)
{
	struct body_facts again;
	struct str param;
	struct buf why;
	struct str out = joined(f, body, model, true, CAP, a);
	buf_init(&why, 4096);
	CHECK(body_read(op, out, TYPE, a, &again, &param, &why) == ERROR_NONE);
	CHECK(str_eq(again.model, model) && again.stream == f->stream && !again.usage.at);
	if (op->body == BODY_MULTIPART)
		check_form(out, model);
	else
		check_json(op, f, out, model, json_parse(a, body, NULL)->count, a);
	if (again.cap_name.len) /* whatever it said: no choice may have more */
		CHECK(again.output > 0 && again.output <= CAP * again.choices && again.choices == f->choices);
	CHECK(body_input_bound(body) > 0);
	CHECK(str_eq(joined(f, body, f->model, false, 0, a), body));
	buf_release(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct str models[] = {STR_INIT("x"),
					    STR_INIT("engine/Some \"model\" \\ \xc3\xa9")};
	struct body_facts facts;
	struct arena a;
	struct str param;
	struct buf why;
	if (size == 0)
		return 0;
	const struct operation_row *op = &operations[data[0] % OP_COUNT];
	struct str body = str_of((const char *)data + 1, size - 1);
	arena_init(&a, 4096);
	buf_init(&why, 4096);
	enum error e = body_read(op, body, TYPE, &a, &facts, &param, &why);
	CHECK(e < ERROR_COUNT && (e == ERROR_NONE) == (why.len == 0));
	if (e == ERROR_NONE) {
		CHECK(facts.model.len >= 1 && facts.model.len <= 512);
		CHECK(facts.model_raw.ptr >= body.ptr &&
		      facts.model_raw.ptr + facts.model_raw.len <= body.ptr + body.len);
		for (int i = 0; i < 2; i++)
			check_accepted(op, &facts, body, models[i], &a);
	}
	buf_release(&why);
	arena_release(&a);
	return 0;
}
