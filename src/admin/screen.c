/* screen.c - what the operator sees: the address, each engine with its models, and a curl line that works when pasted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"
#include "base/json.h"

#include <stdio.h>

#define MODELS_SHOWN 12

static const char *state_text(const struct engine *e)
{
	switch (e->state) {
	case ENGINE_UP:
		return "";
	case ENGINE_LOADING:
		return "  (loading its model)";
	case ENGINE_PENDING:
		return "  (not looked at yet)";
	default:
		return "  (down)";
	}
}

static void print_context(int64_t tokens)
{
	if (tokens >= 1024)
		printf("  %lldk tokens", (long long)(tokens / 1024));
	else if (tokens > 0)
		printf("  %lld tokens", (long long)tokens);
}

static void show_engine(const struct engine *e)
{
	const char *kind = e->kind == ENGINE_NONE ? "unknown kind" : engines[e->kind].display;
	printf("  %-16s %s  %s%s%s%s\n", e->name, e->url, kind, e->version[0] ? " " : "", e->version, state_text(e));
	if (e->state == ENGINE_DOWN && e->error[0])
		printf("      %s\n", e->error);
	for (uint32_t i = 0; i < e->models->count && i < MODELS_SHOWN; i++) {
		printf("      %-40.*s", STR_ARG(e->models->list[i].id));
		print_context(e->models->list[i].context);
		printf("\n");
	}
	if (e->models->count > MODELS_SHOWN)
		printf("      … and %u more\n", e->models->count - MODELS_SHOWN);
}

/* True if it most likely chats: not one for embeddings, reranking or speech. */
static bool is_chatty(const struct catalog_model *m)
{
	static const struct str others[] = {
		STR_INIT("embed"), STR_INIT("rerank"), STR_INIT("whisper"), STR_INIT("tts"), STR_INIT("bge-"), STR_INIT("moderation"),
	};
	for (size_t k = 0; k < sizeof(others) / sizeof(*others); k++)
		if (str_search(m->name, others[k]) < m->name.len)
			return false;
	return (m->operations & OP_BIT(OP_CHAT)) != 0;
}

static bool is_at_home(const struct catalog_model *m)
{
	for (uint32_t i = 0; i < m->place_count; i++)
		if (m->places[i].target->local)
			return true;
	return false;
}

/* One that costs nothing to try where there is one. */
static const struct catalog_model *chat_model(const struct catalog *c)
{
	const struct catalog_model *found = NULL;
	for (uint32_t i = 0; i < c->model_count; i++) {
		if (!is_chatty(&c->models[i]))
			continue;
		if (is_at_home(&c->models[i]))
			return &c->models[i];
		found = found ? found : &c->models[i];
	}
	return found;
}

static bool needs_key(const struct control *c)
{
	return c->settings->auth != AUTH_OFF && keyring_count(c->govern.keyring) > 0;
}

/* The text between single quotes of a shell: the name of a model is its engine's, and what is pasted must not run it. */
static void put_quoted(struct buf *out, struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '\'')
			BUF_ADD(out, "'\\''");
		else
			buf_addc(out, text.ptr[i]);
	}
}

static void show_curl(struct control *c)
{
	const struct catalog_model *m = chat_model(c->catalog);
	struct buf name, quoted;
	if (!m)
		return;
	buf_init(&name, 4096);
	buf_init(&quoted, 4 * 4096);
	json_quote(&name, m->name);
	put_quoted(&quoted, buf_str(&name));
	printf("\ntry it:\n  curl http://%s/v1/chat/completions -H 'content-type: application/json' %s\\\n"
	       "    -d '{\"model\":%.*s,\"messages\":[{\"role\":\"user\",\"content\":\"Say hello in one sentence.\"}]}'\n",
	       c->address, needs_key(c) ? "-H \"authorization: Bearer $OPENAI_API_KEY\" " : "", STR_ARG(buf_str(&quoted)));
	buf_release(&name);
	buf_release(&quoted);
}

static void show_none(struct control *c)
{
	printf("  none found yet. %s\n",
	       c->settings->discovery ? "Looked at this host's ports 11434 (Ollama), 8000 (vLLM), 8080 (llama.cpp), 1234 (LM Studio) and 30000 (SGLang)."
				      : "Discovery is off.");
	printf("  Start an engine, or name one with --discover HOST:PORT; Valet goes on looking.\n");
}

static void show_keys(struct control *c)
{
	size_t keys = keyring_count(c->govern.keyring);
	if (c->settings->auth == AUTH_OFF)
		printf("Keys are off: everybody who reaches this address may use it.\n");
	else if (keys == 0)
		printf("Open to programs of this machine: any key or none is accepted. The first key turns keys on: valet key create NAME\n");
	else
		printf("A key is needed; there %s %zu (valet key list).\n", keys == 1 ? "is" : "are", keys);
	printf("Keys and books are kept in %s\n", c->govern.folder);
}

/* Shown once, when the first look is over. Changes afterwards are told in the log by the watcher. */
void screen_show(struct control *c)
{
	bool any = false;
	if (c->screen_shown)
		return;
	c->screen_shown = true;
	printf("\nValet %s serves on http://%s/v1", VALET_VERSION, c->address);
	if (c->admin_open)
		printf("   (metrics: http://%s/metrics)", c->admin_address);
	printf("\n");
	show_keys(c);
	printf("\nengines:\n");
	for (const struct engine *e = discovery_next(c->discovery, NULL); e; e = discovery_next(c->discovery, e)) {
		show_engine(e);
		any = true;
	}
	if (!any)
		show_none(c);
	show_curl(c);
	printf("\n");
	fflush(stdout);
}
