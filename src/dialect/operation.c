/* operation.c - the table of operation.h, and how a path finds its row.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/operation.h"

const struct operation_row operations[OP_ALL] = {
	[OP_CHAT] = {OP_CHAT, "chat", "/chat/completions", BODY_JSON, true, true, true},
	[OP_COMPLETIONS] = {OP_COMPLETIONS, "completions", "/completions", BODY_JSON, true, true, true},
	[OP_EMBEDDINGS] = {OP_EMBEDDINGS, "embeddings", "/embeddings", BODY_JSON, false, false, false},
	[OP_RERANK] = {OP_RERANK, "rerank", "/rerank", BODY_JSON, false, false, false},
	[OP_MODERATIONS] = {OP_MODERATIONS, "moderations", "/moderations", BODY_JSON, false, false, false},
	[OP_RESPONSES] = {OP_RESPONSES, "responses", "/responses", BODY_JSON, true, false, true},
	[OP_MESSAGES] = {OP_MESSAGES, "messages", "/messages", BODY_JSON, true, false, true},
	[OP_TRANSCRIPTIONS] = {OP_TRANSCRIPTIONS, "transcriptions", "/audio/transcriptions", BODY_MULTIPART, true, false, false},
	[OP_TRANSLATIONS] = {OP_TRANSLATIONS, "translations", "/audio/translations", BODY_MULTIPART, true, false, false},
	[OP_SPEECH] = {OP_SPEECH, "speech", "/audio/speech", BODY_JSON, false, false, false},
	[OP_IMAGES_GENERATIONS] = {OP_IMAGES_GENERATIONS, "images", "/images/generations", BODY_JSON, true, false, false},
	[OP_IMAGES_EDITS] = {OP_IMAGES_EDITS, "image_edits", "/images/edits", BODY_MULTIPART, true, false, false},
	[OP_MODELS] = {OP_MODELS, "models", "/models", BODY_NONE, false, false, false},
	[OP_MODEL] = {OP_MODEL, "model", "/models/", BODY_NONE, false, false, false},
	[OP_HEALTH] = {OP_HEALTH, "health", "/health", BODY_NONE, false, false, false},
	[OP_READY] = {OP_READY, "ready", "/ready", BODY_NONE, false, false, false},
	[OP_METRICS] = {OP_METRICS, "metrics", "/metrics", BODY_NONE, false, false, false},
};

/* Other spellings of the same things. */
static const struct {
	struct str path;
	enum operation op;
} aliases[] = {
	{STR_INIT("/reranking"), OP_RERANK}, {STR_INIT("/healthz"), OP_HEALTH}, {STR_INIT(""), OP_HEALTH},
};

static struct str drop_slashes(struct str path)
{
	while (path.len > 1 && path.ptr[0] == '/' && path.ptr[1] == '/')
		path = str_skip(path, 1);
	return path;
}

/* "/v1/v1/x" → "/x"; "/v2/rerank" is Cohere's path of the same thing. */
static struct str drop_version(struct str path)
{
	path = drop_slashes(path);
	if (str_starts(path, STR("/api/v1/")))
		path = str_skip(path, 4);
	if (str_starts(path, STR("/v2/rerank")))
		return str_skip(path, 3);
	while (str_starts(path, STR("/v1")) && (path.len == 3 || path.ptr[3] == '/'))
		path = drop_slashes(str_skip(path, 3));
	return path;
}

#define PATH_LONGEST 64 /* longer than any path of the table */

/* "/chat//completions" → "/chat/completions"; the copy lies in `into`. */
static struct str single_slashes(struct str path, char into[PATH_LONGEST])
{
	size_t n = 0;
	if (str_search(path, STR("//")) == path.len)
		return path;
	for (size_t i = 0; i < path.len && n < PATH_LONGEST; i++)
		if (i == 0 || path.ptr[i] != '/' || path.ptr[i - 1] != '/')
			into[n++] = path.ptr[i];
	return str_of(into, n);
}

enum operation operation_find(struct str path, struct str *rest)
{
	char single[PATH_LONGEST];
	path = drop_version(path);
	if (str_starts(path, STR("/models/"))) {
		struct str id = drop_slashes(str_skip(path, 7));
		*rest = str_skip(id, 1);
		while (rest->len && rest->ptr[rest->len - 1] == '/')
			rest->len--;
		return rest->len ? OP_MODEL : OP_MODELS;
	}
	while (path.len > 0 && path.ptr[path.len - 1] == '/')
		path.len--;
	path = single_slashes(path, single);
	for (int op = 0; op < OP_ALL; op++)
		if (op != OP_MODEL && str_eq(path, str_from(operations[op].path)))
			return (enum operation)op;
	for (size_t i = 0; i < sizeof(aliases) / sizeof(*aliases); i++)
		if (str_eq(path, aliases[i].path))
			return aliases[i].op;
	return OP_NONE;
}
