/* engine_load.c - see engine.h: how many requests an engine takes and has, and which models it has in memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/engine_parts.h"

#define PLACES_MAX 100000

/* ---- what is in memory ---- */

/* A list being made; `over`: it holds not all. */
struct loading {
	struct engine_load *out;
	struct arena *arena;
	bool over;
};

static bool is_in(const struct engine_load *load, struct str id)
{
	for (uint32_t i = 0; i < load->loaded_count; i++)
		if (str_eq(load->loaded[i], id))
			return true;
	return false;
}

static void add_id(struct loading *l, struct str id)
{
	struct engine_load *out = l->out;
	if (id.len == 0 || is_in(out, id))
		return;
	if (out->loaded_count == ENGINE_LOADED_MAX)
		l->over = true;
	else
		out->loaded[out->loaded_count++] = arena_dup(l->arena, id);
}

static void add_want(struct loading *l, const struct json_want *w)
{
	char room[ENGINE_MODEL_ID_MAX];
	add_id(l, engine_decode(w, room, sizeof(room)));
}

static bool is_text(const struct json_want *w, struct str text)
{
	char room[32];
	return str_eq(engine_decode(w, room, sizeof(room)), text);
}

static void take_ollama(struct loading *l, struct str element)
{
	struct json_want w[] = {{.name = STR("model")}, {.name = STR("name")}};
	if (engine_scan(element, w, 2, JSON_OBJECT))
		add_want(l, &w[w[0].type == JSON_STRING ? 0 : 1]);
}

/* By its key, and each of its instances by its own id. */
static void take_lm_v1(struct loading *l, struct str element)
{
	struct json_want w[] = {{.name = STR("key")}, {.name = STR("loaded_instances")}};
	struct str rest, instance;
	if (!engine_scan(element, w, 2, JSON_OBJECT) || w[1].type != JSON_ARRAY)
		return;
	rest = str_of(w[1].value.ptr + 1, w[1].value.len - 2);
	while (!l->over && engine_next_element(&rest, &instance)) {
		struct json_want id = {.name = STR("id")};
		add_want(l, &w[0]);
		if (engine_scan(instance, &id, 1, JSON_OBJECT))
			add_want(l, &id);
	}
}

static void take_lm_v0(struct loading *l, struct str element)
{
	struct json_want w[] = {{.name = STR("id")}, {.name = STR("state")}};
	if (engine_scan(element, w, 2, JSON_OBJECT) && is_text(&w[1], STR("loaded")))
		add_want(l, &w[0]);
}

/* Of a server that swaps models: each says whether it is there. */
static void take_llamacpp(struct loading *l, struct str element)
{
	struct json_want w[] = {{.name = STR("id")}, {.name = STR("status")}}, value = {.name = STR("value")};
	if (engine_scan(element, w, 2, JSON_OBJECT) && engine_scan(w[1].value, &value, 1, JSON_OBJECT) && is_text(&value, STR("loaded")))
		add_want(l, &w[0]);
}

static const struct engine_answer *good(const struct engine_evidence *e, enum engine_ask ask)
{
	return e->answers[ask].status == 200 ? &e->answers[ask] : NULL;
}

/* Reads the list `name` of an answer element by element. */
static void read_loaded(const struct engine_answer *from, struct str name, void (*take)(struct loading *, struct str), struct arena *a,
			struct engine_load *out)
{
	struct loading l = {out, a, false};
	struct str inside, element;
	if (!from || !engine_array_of(from->body, name, false, &inside))
		return;
	for (uint32_t visits = 0; !l.over && engine_next_element(&inside, &element); visits++) {
		l.over = visits == ENGINE_VISITS_MAX;
		if (!l.over && element.ptr[0] == '{')
			take(&l, element);
	}
	out->loaded_known = !l.over;
	if (l.over)
		out->loaded_count = 0;
}

/* Whether the entries of the list say it one by one. */
static bool swaps_models(const struct engine_answer *list)
{
	struct json_want status = {.name = STR("status")};
	struct str inside, element;
	return list && engine_array_of(list->body, STR("data"), false, &inside) && engine_next_element(&inside, &element) && element.ptr[0] == '{' &&
	       engine_scan(element, &status, 1, JSON_OBJECT) && status.type == JSON_OBJECT;
}

/* An engine that has all that it lists in memory, or nothing. */
static void all_or_none(const struct engine_models *models, bool all, struct arena *a, struct engine_load *out)
{
	struct loading l = {out, a, false};
	for (uint32_t i = 0; all && i < models->count; i++)
		add_id(&l, models->list[i].id);
	out->loaded_known = !l.over;
	if (l.over)
		out->loaded_count = 0;
}

static void read_llamacpp(const struct engine_evidence *e, const struct engine_models *models, struct arena *a, struct engine_load *out)
{
	struct json_want w[] = {{.name = STR("total_slots")}, {.name = STR("is_sleeping")}};
	const struct engine_answer *props = good(e, ASK_PROPS), *list = good(e, ASK_MODELS);
	bool told = props && engine_scan(props->body, w, 2, JSON_OBJECT);
	if (told)
		out->places = (uint32_t)engine_number(&w[0], PLACES_MAX);
	if (swaps_models(list)) {
		read_loaded(list, STR("data"), take_llamacpp, a, out);
		return;
	}
	if (told)
		all_or_none(models, !str_eq(w[1].value, STR("true")), a, out);
}

static void read_vllm(const struct engine_evidence *e, const struct engine_models *models, struct arena *a, struct engine_load *out)
{
	struct json_want w = {.name = STR("is_sleeping")};
	const struct engine_answer *metrics = good(e, ASK_METRICS), *sleeping = good(e, ASK_SLEEPING);
	out->counted = metrics && engine_metrics_read(metrics->body, &out->running, &out->waiting);
	if (!sleeping || !engine_scan(sleeping->body, &w, 1, JSON_OBJECT) || w.type != JSON_BOOL)
		return;
	out->asleep = str_eq(w.value, STR("true"));
	all_or_none(models, !out->asleep, a, out);
}

/* ---- Prometheus' text ---- */

/* "12", "12.0", "1.2e+01": a number of things, rounded down. False: none, negative, or more than ENGINE_COUNT_MAX. */
static bool count_of(struct str s, uint64_t *out)
{
	uint64_t n = 0;
	int digits = 0, behind = 0, exponent = 0;
	bool point = false, minus = false;
	size_t at = 0;
	for (; at < s.len && ((s.ptr[at] >= '0' && s.ptr[at] <= '9') || (s.ptr[at] == '.' && !point)); at++) {
		if (s.ptr[at] == '.') {
			point = true;
			continue;
		}
		n = n * 10 + (uint64_t)(s.ptr[at] - '0');
		behind += point;
		if (++digits > 18)
			return false;
	}
	if (digits && at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
		int64_t power = 0;
		struct str rest = str_skip(s, at + 1);
		minus = rest.len && rest.ptr[0] == '-';
		rest = str_skip(rest, rest.len && (minus || rest.ptr[0] == '+'));
		if (rest.len == 0 || rest.ptr[0] < '0' || rest.ptr[0] > '9' || !str_to_i64(rest, &power) || power > 18)
			return false;
		exponent = minus ? -(int)power : (int)power;
		at = s.len;
	}
	for (exponent -= behind; exponent > 0 && n && n <= ENGINE_COUNT_MAX; exponent--)
		n *= 10;
	for (; exponent < 0; exponent++)
		n /= 10;
	*out = n;
	return digits > 0 && at == s.len && n <= ENGINE_COUNT_MAX;
}

/* What stands behind the labels that begin at s.ptr[0] == '{'; empty where they have no end. */
static struct str skip_labels(struct str s)
{
	bool quoted = false;
	for (size_t at = 1; at < s.len; at++) {
		if (quoted && s.ptr[at] == '\\')
			at++;
		else if (s.ptr[at] == '"')
			quoted = !quoted;
		else if (s.ptr[at] == '}' && !quoted)
			return str_skip(s, at + 1);
	}
	return STR("");
}

/* A line's value, if it is a sample of that name. A time may stand behind it. */
static bool sample_of(struct str line, struct str name, uint64_t *out)
{
	struct str rest = str_skip(line, name.len);
	if (!str_starts(line, name) || rest.len == 0 || (rest.ptr[0] != '{' && rest.ptr[0] != ' ' && rest.ptr[0] != '\t'))
		return false;
	if (rest.ptr[0] == '{')
		rest = skip_labels(rest);
	rest = str_trim(rest);
	size_t end = 0;
	while (end < rest.len && rest.ptr[end] != ' ' && rest.ptr[end] != '\t')
		end++;
	return count_of(str_head(rest, end), out);
}

static uint32_t capped(uint64_t n)
{
	return n > ENGINE_COUNT_MAX ? ENGINE_COUNT_MAX : (uint32_t)n;
}

bool engine_metrics_read(struct str text, uint32_t *running, uint32_t *waiting)
{
	uint64_t sums[2] = {0, 0}, n;
	bool seen[2] = {false, false};
	static const struct str names[2] = {STR_INIT("vllm:num_requests_running"), STR_INIT("vllm:num_requests_waiting")};
	struct str rest = str_head(text, ENGINE_METRICS_MAX), line;
	while (str_split(&rest, '\n', &line)) {
		for (int i = 0; i < 2; i++) {
			if (!sample_of(line, names[i], &n))
				continue;
			sums[i] += n;
			seen[i] = true;
		}
	}
	*running = capped(sums[0]);
	*waiting = capped(sums[1]);
	return seen[0] && seen[1];
}

/* ---- SGLang's /get_load ---- */

/* Of one of its parallel parts. num_reqs has those that wait in it. False: it is not such an object. */
static bool add_part(struct str element, uint64_t *running, uint64_t *waiting)
{
	struct json_want w[] = {{.name = STR("num_reqs")}, {.name = STR("num_waiting_reqs")}};
	int64_t all, wait;
	if (element.ptr[0] != '{' || !engine_scan(element, w, 2, JSON_OBJECT) || w[0].type != JSON_NUMBER || w[1].type != JSON_NUMBER)
		return false;
	if (!json_raw_i64(w[0].value, &all) || !json_raw_i64(w[1].value, &wait) || wait < 0 || all < wait || all > ENGINE_COUNT_MAX)
		return false;
	*running += (uint64_t)(all - wait);
	*waiting += (uint64_t)wait;
	return true;
}

bool engine_get_load_read(struct str text, uint32_t *running, uint32_t *waiting)
{
	uint64_t sums[2] = {0, 0};
	struct str inside, element;
	uint32_t parts = 0;
	*running = *waiting = 0;
	if (!engine_array_of(text, STR_NONE, true, &inside))
		return false;
	while (engine_next_element(&inside, &element)) {
		if (parts++ == ENGINE_VISITS_MAX || !add_part(element, &sums[0], &sums[1]))
			return false;
	}
	*running = capped(sums[0]);
	*waiting = capped(sums[1]);
	return parts > 0;
}

/* ---- the whole ---- */

void engine_load_read(enum engine_kind kind, const struct engine_evidence *e, const struct engine_models *models, struct arena *a,
		      struct engine_load *out)
{
	const struct engine_answer *loads = good(e, ASK_GET_LOAD);
	*out = (struct engine_load){0};
	switch (kind) {
	case ENGINE_LLAMACPP:
		read_llamacpp(e, models, a, out);
		break;
	case ENGINE_OLLAMA:
		read_loaded(good(e, ASK_PS), STR("models"), take_ollama, a, out);
		break;
	case ENGINE_LMSTUDIO:
		read_loaded(good(e, ASK_LM_V1), STR("models"), take_lm_v1, a, out);
		if (!out->loaded_known)
			read_loaded(good(e, ASK_LM_V0), STR("data"), take_lm_v0, a, out);
		break;
	case ENGINE_VLLM:
		read_vllm(e, models, a, out);
		break;
	case ENGINE_SGLANG:
		out->counted = loads && engine_get_load_read(loads->body, &out->running, &out->waiting);
		break;
	default:
		break;
	}
	if (!out->counted)
		out->running = out->waiting = 0;
}

bool engine_load_has(const struct engine_load *load, struct str id)
{
	return load->loaded_known && is_in(load, id);
}

bool engine_load_same(const struct engine_load *a, const struct engine_load *b)
{
	if (a->places != b->places || a->asleep != b->asleep || a->loaded_known != b->loaded_known || a->loaded_count != b->loaded_count)
		return false;
	for (uint32_t i = 0; i < a->loaded_count; i++)
		if (!is_in(b, a->loaded[i]))
			return false;
	return true;
}
