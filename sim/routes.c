/* routes.c - the paths that every dialect answers, and finding the one of a request. A dialect's
 * own come first.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

const struct route common_routes[] = {
	{"POST", "/v1/chat/completions", .surface = &surface_chat},
	{"POST", "/v1/completions", .surface = &surface_completions},
	{"POST", "/v1/responses", .surface = &surface_responses},
	{"POST", "/v1/messages", .surface = &surface_messages},
	{"POST", "/v1/embeddings", .run = embeddings_run},
	{"GET", "/v1/models", .run = models_run},
	{"GET", "/v1/models/*", .run = model_run},
	{"POST", "/v1/rerank", .run = rerank_run},
	{"POST", "/v1/moderations", .run = moderations_run},
	{"POST", "/v1/audio/transcriptions", .run = transcriptions_run},
	{"POST", "/v1/audio/translations", .run = transcriptions_run},
	{"POST", "/v1/audio/speech", .run = speech_run},
	{"POST", "/v1/images/generations", .run = images_run},
	{"POST", "/v1/images/edits", .run = images_run},
	{0},
};

static bool path_matches(const struct route *r, struct str path, struct str *rest)
{
	struct str pattern = str_from(r->path);
	if (!str_ends(pattern, STR("*")))
		return str_eq(pattern, path);
	pattern.len--;
	*rest = str_skip(path, pattern.len);
	return str_starts(path, pattern) && rest->len > 0;
}

static const struct route *find_in(const struct route *list, struct request_line *line,
				   bool *other_method)
{
	const char *method =
		http_method_name(line->method == METHOD_HEAD ? METHOD_GET : line->method);
	for (const struct route *r = list; r->path; r++) {
		if (!path_matches(r, line->path, &line->rest))
			continue;
		if (!r->method || strcmp(r->method, method) == 0)
			return r;
		*other_method = true;
	}
	return NULL;
}

const struct route *route_find(const struct sim *sim, struct request_line *line, bool *other_method)
{
	*other_method = false;
	if (line->method == METHOD_POST && str_eq(line->path, STR("/v1/chat/completions")))
		return &common_routes[0];
	if (str_starts(line->path, STR("/sim/")))
		return find_in(stats_routes, line, other_method);
	const struct route *r = find_in(sim->dialect->routes, line, other_method);
	return r ? r : find_in(common_routes, line, other_method);
}
