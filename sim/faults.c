/* faults.c - the table of faults, their spelling, and the rules. See faults.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>

static const struct fault_kind_info kinds[] = {{"none", "", 0, PHASE_NONE},
#define X(kind, name, arg, phase, help) {name, help, arg, phase},
					       FAULTS(X)
#undef X
};

const struct fault_kind_info *fault_info(unsigned kind)
{
	return &kinds[kind < FAULT_COUNT ? kind : FAULT_NONE];
}

/* ---- spelling ---- */

static bool read_arguments(struct str text, struct fault *out)
{
	struct str first;
	if (!str_split(&text, ',', &first) || !str_to_i64(str_trim(first), &out->arg))
		return false;
	return text.len == 0 || str_to_i64(str_trim(text), &out->second);
}

bool fault_parse(struct str text, struct fault *out)
{
	size_t equals = str_find(text, '=');
	struct str name = str_trim(str_head(text, equals)), arg = str_skip(text, equals + 1);
	for (unsigned kind = FAULT_NONE + 1; kind < FAULT_COUNT; kind++) {
		if (!str_ieq(name, str_from(kinds[kind].name)))
			continue;
		*out = (struct fault){(uint8_t)kind, kinds[kind].arg, -1};
		return equals == text.len || read_arguments(arg, out);
	}
	return false;
}

static bool on_parse(struct str text, uint8_t *out)
{
	static const char *const names[] = {"calls", "probes", "all"};
	for (uint8_t i = 0; i < 3; i++) {
		if (str_eq(text, str_from(names[i]))) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool number_parse(struct str text, double *out)
{
	char copy[32], *end;
	if (text.len == 0 || text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	*out = strtod(copy, &end);
	return *end == '\0' && *out >= 0;
}

bool fault_rule_parse(struct str text, struct fault_rule *out)
{
	*out = (struct fault_rule){.rate = 1, .left = -1};
	size_t colon = str_find(text, ':');
	if (colon < text.len && !number_parse(str_trim(str_skip(text, colon + 1)), &out->rate))
		return false;
	text = str_head(text, colon);
	size_t at = str_find(text, '@');
	if (at < text.len && !on_parse(str_skip(text, at + 1), &out->on))
		return false;
	return fault_parse(str_head(text, at), &out->fault);
}

/* ---- rules ---- */

struct fault fault_pick(struct fault_rules *rules, bool call)
{
	for (size_t i = 0; i < rules->count; i++) {
		struct fault_rule *r = &rules->list[i];
		if (r->left == 0 || (r->on != ON_ALL && (r->on == ON_CALLS) != call))
			continue;
		r->debt += r->rate;
		if (r->debt < 1 - 1e-9)
			continue;
		r->debt -= 1;
		if (r->left > 0)
			r->left--;
		return r->fault;
	}
	return (struct fault){0};
}

static bool read_object(struct arena *a, const struct json *entry, struct fault_rule *out)
{
	const struct json *rate = json_get(entry, STR("rate")), *on = json_get(entry, STR("on"));
	const struct json *count = json_get(entry, STR("count"));
	if (!fault_rule_parse(json_text(a, json_get(entry, STR("fault"))), out))
		return false;
	if (rate && (rate->type != JSON_NUMBER || !number_parse(rate->raw, &out->rate)))
		return false;
	if (on && !on_parse(json_text(a, on), &out->on))
		return false;
	return !count || json_i64(count, &out->left);
}

static const char *read_rules(struct arena *a, struct str body, struct fault_rules *out)
{
	struct json_fail fail;
	const struct json *root = json_parse(a, body, &fail);
	const struct json *list = json_get(root, STR("faults"));
	if (!list || list->type != JSON_ARRAY)
		return "expected {\"faults\":[...]}";
	if (list->count > FAULT_RULES_MAX)
		return "too many faults";
	for (const struct json *e = list->first; e; e = e->next, out->count++) {
		struct fault_rule *r = &out->list[out->count];
		if (e->type == JSON_OBJECT ? !read_object(a, e, r)
					   : !fault_rule_parse(json_text(a, e), r))
			return "a fault that is not known, or not written as "
			       "NAME[=ARG][@calls|@probes|@all][:RATE]";
	}
	return NULL;
}

bool fault_rules_read(struct fault_rules *rules, struct str body, const char **why)
{
	struct arena a;
	struct fault_rules fresh = {.count = 0};
	arena_init(&a, 1024);
	*why = read_rules(&a, body, &fresh);
	arena_release(&a);
	if (!*why)
		*rules = fresh;
	return !*why;
}

void fault_rules_put(const struct fault_rules *rules, struct buf *out)
{
	static const char *const on[] = {"calls", "probes", "all"};
	BUF_ADD(out, "{\"faults\":[");
	for (size_t i = 0; i < rules->count; i++) {
		const struct fault_rule *r = &rules->list[i];
		buf_addf(out, "%s{\"fault\":\"%s=%lld", i ? "," : "",
			 fault_info(r->fault.kind)->name, (long long)r->fault.arg);
		if (r->fault.second >= 0)
			buf_addf(out, ",%lld", (long long)r->fault.second);
		buf_addf(out, "\",\"rate\":%g,\"on\":\"%s\"", r->rate, on[r->on]);
		if (r->left >= 0)
			buf_addf(out, ",\"count\":%lld", (long long)r->left);
		buf_addc(out, '}');
	}
	BUF_ADD(out, "]}");
}
