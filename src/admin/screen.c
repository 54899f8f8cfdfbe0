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

/* A model that most likely chats: not one for embeddings, reranking or speech. */
static const struct catalog_model *chat_model(const struct catalog *c)
{
	static const struct str others[] = {
		STR_INIT("embed"), STR_INIT("rerank"), STR_INIT("whisper"), STR_INIT("tts"), STR_INIT("bge-"), STR_INIT("moderation"),
	};
	for (uint32_t i = 0; i < c->model_count; i++) {
		bool chats = (c->models[i].operations & OP_BIT(OP_CHAT)) != 0;
		for (size_t k = 0; k < sizeof(others) / sizeof(*others); k++)
			chats &= str_search(c->models[i].name, others[k]) == c->models[i].name.len;
		if (chats)
			return &c->models[i];
	}
	return NULL;
}

static void show_curl(struct control *c)
{
	const struct catalog_model *m = chat_model(c->catalog);
	struct buf name;
	if (!m)
		return;
	buf_init(&name, 4096);
	json_quote(&name, m->name);
	printf("\ntry it:\n  curl http://%s/v1/chat/completions -H 'content-type: application/json' \\\n"
	       "    -d '{\"model\":%.*s,\"messages\":[{\"role\":\"user\",\"content\":\"Say hello in one sentence.\"}]}'\n",
	       c->address, STR_ARG(buf_str(&name)));
	buf_release(&name);
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
