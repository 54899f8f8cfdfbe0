/* bench_json.c - how long the scanner and the tree take for requests and answers of usual sizes.
 *
 * One line a text: bytes, then medians in microseconds. The texts are made here, so runs compare.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <stdio.h>
#include <time.h>

enum { ROUNDS = 301 };

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- texts ---- */

static const char *const sentences[] = {
	"The quick brown fox jumps over the lazy dog while the gateway counts its tokens. ",
	"Please summarise the following report in three bullet points, keep the numbers.\n",
	"She said: \"do not touch that\", and the log shows the same.\n\n",
	"int main(void)\n{\n\tprintf(\"hello\\n\");\n\treturn 0;\n}\n",
	"Die Größe der Prüfsumme überschreitet das zulässige Maß - naïve façade, déjà vu. ",
	"Retrieval passages follow; cite them by number and say so where none of them fits. ",
};
static const char *const foreign[] = {"模型网关会在转发之前检查每一个请求，并记录所用的令牌数量。",
				      "Шлюз проверяет каждый запрос перед отправкой. "};

static void add_prose(struct buf *text, size_t len)
{
	for (size_t i = 0; text->len < len; i++)
		buf_adds(text, str_from(sentences[i * 7 % 6]));
}

static void add_foreign(struct buf *text, size_t len)
{
	for (size_t i = 0; text->len < len; i++)
		buf_adds(text, str_from(foreign[i / 8 % 2]));
}

static void put_message(struct json_writer *w, const char *role, struct str content)
{
	json_open_object(w);
	json_member_str(w, STR("role"), str_from(role));
	json_member_str(w, STR("content"), content);
	json_close_object(w);
}

static void make_chat(struct buf *out, size_t len, int turns, void (*add)(struct buf *, size_t))
{
	struct buf prose;
	struct json_writer w;
	buf_init(&prose, SIZE_MAX);
	add(&prose, len / (size_t)turns);
	buf_init(out, SIZE_MAX);
	json_writer_init(&w, out);
	json_open_object(&w);
	json_member_str(&w, STR("model"), STR("qwen3-coder-30b"));
	json_put_key(&w, STR("messages"));
	json_open_array(&w);
	for (int i = 0; i < turns; i++)
		put_message(&w, i == 0 ? "system" : i % 2 ? "user" : "assistant", buf_str(&prose));
	json_close_array(&w);
	json_put_key(&w, STR("temperature"));
	json_put_raw(&w, STR("0.7"));
	json_member_i64(&w, STR("max_tokens"), 1024);
	json_member_bool(&w, STR("stream"), true);
	json_put_key(&w, STR("stream_options"));
	json_put_raw(&w, STR("{\"include_usage\": true}"));
	json_close_object(&w);
	buf_release(&prose);
}

static void make_embeddings(struct buf *out, size_t len)
{
	uint64_t seed = 88172645463325252u;
	buf_init(out, SIZE_MAX);
	BUF_ADD(out, "{\"object\":\"list\",\"data\":[");
	for (int i = 0; out->len < len; i++) {
		buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":[",
			 i ? "," : "", i);
		for (int k = 0; k < 1024; k++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			buf_addf(out, "%s%.*g", k ? "," : "", 6 + (int)(seed % 4),
				 (double)(int64_t)seed / 1.2e20);
		}
		BUF_ADD(out, "]}");
	}
	BUF_ADD(out, "],\"model\":\"bge-m3\",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}");
}

/* ---- measuring ---- */

static struct json_want wants[] = {
	{.name = STR_INIT("model")},      {.name = STR_INIT("stream")},
	{.name = STR_INIT("max_tokens")}, {.name = STR_INIT("n")},
	{.name = STR_INIT("messages")},   {.name = STR_INIT("stream_options")},
};

static bool run_scan(struct str text)
{
	struct json_scan scan;
	struct json_fail fail;
	return json_scan(text, wants, sizeof(wants) / sizeof(wants[0]), &scan, &fail);
}

static bool run_tree(struct str text)
{
	struct arena a;
	struct json_fail fail;
	arena_init(&a, 4096);
	bool ok = json_parse(&a, text, &fail) != NULL;
	arena_release(&a);
	return ok;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median_us(bool (*work)(struct str), struct str text)
{
	static double times[ROUNDS];
	size_t repeat = 200000 / text.len + 1;
	size_t rounds = text.len > 1000000 ? 31 : ROUNDS;
	for (size_t r = 0; r < rounds; r++) {
		uint64_t start = now_ns();
		for (size_t i = 0; i < repeat; i++) {
			if (!work(text)) {
				fprintf(stderr, "bench_json: a text of its own is refused\n");
				abort();
			}
		}
		times[r] = (double)(now_ns() - start) / 1000 / (double)repeat;
	}
	qsort(times, rounds, sizeof(times[0]), compare);
	return times[rounds / 2];
}

static void report(const char *name, struct buf *text)
{
	printf("%-24s %9zu bytes   scan %9.2f us   tree %9.2f us\n", name, text->len,
	       median_us(run_scan, buf_str(text)), median_us(run_tree, buf_str(text)));
	buf_release(text);
}

int main(void)
{
	struct buf text;
	make_chat(&text, 700, 2, add_prose);
	report("chat 1 KB", &text);
	make_chat(&text, 9400, 8, add_prose);
	report("chat 10 KB", &text);
	make_chat(&text, 210000, 4, add_prose);
	report("chat 220 KB", &text);
	make_chat(&text, 215000, 4, add_foreign);
	report("chat 220 KB, not Latin", &text);
	make_embeddings(&text, 7000000);
	report("embeddings 7 MB", &text);
	return 0;
}
