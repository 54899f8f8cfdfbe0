/* continue.c - answers whose beginning stands in the prompt, as the assistant's message at its end: the simulated answer to the rest of the prompt, from
 * where that beginning ends.
 *
 * So an answer that was broken off and continued has the same words as one that was not. The beginning counts as so many tokens of the prompt as it has
 * pieces, as it would have counted in the answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

static const struct json *last_of(const struct json *list)
{
	const struct json *last = list ? list->first : NULL;
	while (last && last->next)
		last = last->next;
	return last;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The raw list without its last element and the comma before it. */
static struct str without(struct job *j, struct str list, const struct json *last)
{
	size_t n = (size_t)(last->raw.ptr - list.ptr);
	while (n > 1 && is_blank(list.ptr[n - 1]))
		n--;
	if (n > 1 && list.ptr[n - 1] == ',')
		n--;
	return arena_printf(&j->arena, "%.*s]", (int)n, list.ptr);
}

bool continue_read(struct job *j, struct str *messages, struct str *begun)
{
	struct json_fail fail;
	if (str_search(*messages, STR("assistant")) == messages->len)
		return false;
	const struct json *last = last_of(json_parse(&j->arena, *messages, &fail));
	if (!last || last->type != JSON_OBJECT || !str_eq(json_text(&j->arena, json_get(last, STR("role"))), STR("assistant")))
		return false;
	*begun = json_text(&j->arena, json_get(last, STR("content")));
	*messages = without(j, *messages, last);
	return true;
}

void continue_words(struct job *j, struct str begun)
{
	for (uint32_t i = 0; begun.len > 0 && i < j->tokens; i++) {
		struct str word = text_word(j->hash, i);
		if (!str_starts(begun, word))
			break; /* what does not fit shows in the text */
		begun = str_skip(begun, word.len);
		j->from++;
	}
	j->tokens -= j->from;
}
