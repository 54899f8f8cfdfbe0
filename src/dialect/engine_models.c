/* engine_models.c - see engine.h: lists of models as the engines write them.
 *
 * No tree is built: an engine's answer of some megabytes would become a tree of hundreds. The text
 * is validated as a whole once; then each entry is cut out and scanned for the few members that
 * matter.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/engine_parts.h"

#include <time.h>

#define OWNER_MAX   64
#define TOKENS_MAX  1000000000
#define SECONDS_MAX 253402300799 /* the end of the year 9999 */

/* ---- JSON without a tree ---- */

bool engine_scan(struct str text, struct json_want *wants, size_t n, enum json_type type)
{
	struct json_scan out;
	struct json_fail fail;
	return json_scan(text, wants, n, &out, &fail) && out.type == type;
}

/* The end of the string that begins at text[at]; the text is valid. */
static size_t skip_string(struct str text, size_t at)
{
	for (at++; at < text.len && text.ptr[at] != '"'; at++)
		if (text.ptr[at] == '\\')
			at++;
	return at;
}

static bool ends_element(char c)
{
	return c == ',' || c == ']' || c == '}';
}

bool engine_next_element(struct str *rest, struct str *element)
{
	size_t at = 0, depth = 0;
	while (at < rest->len && (rest->ptr[at] == ',' || (unsigned char)rest->ptr[at] <= ' '))
		at++;
	size_t from = at;
	for (; at < rest->len; at++) {
		char c = rest->ptr[at];
		if (depth == 0 && ends_element(c))
			break;
		if (c == '"')
			at = skip_string(*rest, at);
		else if (c == '[' || c == '{')
			depth++;
		else if (c == ']' || c == '}')
			depth--;
	}
	if (at > rest->len)
		at = rest->len;
	*element = str_trim(str_of(rest->ptr + from, at - from));
	*rest = str_skip(*rest, at);
	return element->len > 0;
}

static bool is_object(struct str element)
{
	return element.len > 0 && element.ptr[0] == '{';
}

bool engine_array_of(struct str body, struct str name, bool bare, struct str *inside)
{
	struct json_want want = {.name = name};
	struct json_scan out;
	struct json_fail fail;
	if (!json_scan(body, &want, 1, &out, &fail))
		return false;
	struct str array = out.type == JSON_ARRAY && bare ? out.whole : want.value;
	if (array.len < 2 || array.ptr[0] != '[')
		return false;
	*inside = str_of(array.ptr + 1, array.len - 2);
	return true;
}

int64_t engine_number(const struct json_want *w, int64_t max)
{
	int64_t n;
	return w->type == JSON_NUMBER && json_raw_i64(w->value, &n) && n > 0 && n <= max ? n : 0;
}

static int64_t tokens(const struct json_want *w)
{
	return engine_number(w, TOKENS_MAX);
}

/* A positive number two objects down: value.name */
static int64_t tokens_in(const struct json_want *object, struct str name)
{
	struct json_want want = {.name = name};
	if (object->type != JSON_OBJECT || !engine_scan(object->value, &want, 1, JSON_OBJECT))
		return 0;
	return tokens(&want);
}

/* ---- texts ---- */

static bool is_clean(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		if (c < ' ' || c == 0x7f || c == '"')
			return false;
		/* C1 controls are C2 80 … C2 9F */
		if (c == 0xc2 && i + 1 < s.len && (unsigned char)s.ptr[i + 1] < 0xa0)
			return false;
	}
	return true;
}

struct str engine_decode(const struct json_want *w, char *room, size_t max)
{
	if (w->type != JSON_STRING || w->value.len < 3)
		return STR("");
	struct str inside = str_of(w->value.ptr + 1, w->value.len - 2);
	struct buf out;
	buf_init(&out, max);
	struct str s = STR("");
	if (inside.len <= 6 * max && json_unescape(inside, &out) && is_clean(buf_str(&out))) {
		memcpy(room, out.ptr, out.len);
		s = str_of(room, out.len);
	}
	buf_release(&out);
	return s;
}

static bool digits(struct str s, size_t at, size_t n, int *out)
{
	*out = 0;
	for (size_t i = at; i < at + n; i++) {
		if (i >= s.len || s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
		*out = *out * 10 + (s.ptr[i] - '0');
	}
	return true;
}

/* What stands behind the seconds of an RFC 3339 time, in seconds: ".123+02:00" is 7200. */
static int64_t zone_of(struct str s)
{
	size_t at = 0;
	int hours, minutes;
	while (at < s.len && (s.ptr[at] == '.' || (s.ptr[at] >= '0' && s.ptr[at] <= '9')))
		at++;
	if (at + 6 != s.len || !digits(s, at + 1, 2, &hours) || !digits(s, at + 4, 2, &minutes))
		return 0;
	int64_t offset = hours * 3600 + minutes * 60;
	return s.ptr[at] == '-' ? -offset : offset;
}

/* "2026-01-02T03:04:05.678901+02:00"; 0: no such time. */
static int64_t time_of(const struct json_want *w)
{
	char room[64];
	struct str s = engine_decode(w, room, sizeof(room));
	struct tm tm = {0};
	if (!digits(s, 0, 4, &tm.tm_year) || !digits(s, 5, 2, &tm.tm_mon) ||
	    !digits(s, 8, 2, &tm.tm_mday) || !digits(s, 11, 2, &tm.tm_hour) ||
	    !digits(s, 14, 2, &tm.tm_min) || !digits(s, 17, 2, &tm.tm_sec))
		return 0;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday > 31 ||
	    tm.tm_hour > 23 || tm.tm_min > 59)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	int64_t at = timegm(&tm) - zone_of(str_skip(s, 19));
	return at > 0 ? at : 0;
}

/* ---- one entry ---- */

/* An id that is missing, empty or unclean leaves m->id empty. Texts stand in `id` and `owner`. */
struct entry {
	struct engine_model model;
	char id[ENGINE_MODEL_ID_MAX];
	char owner[OWNER_MAX];
};

enum {
	W_ID,
	W_OWNER,
	W_CREATED,
	W_MAX_MODEL_LEN,
	W_CONTEXT_LENGTH,
	W_META,
	W_MODEL,
	W_NAME,
	W_MODIFIED,
	W_DETAILS,
	W_COUNT
};

static const struct str entry_names[W_COUNT] = {
	[W_ID] = STR_INIT("id"),
	[W_OWNER] = STR_INIT("owned_by"),
	[W_CREATED] = STR_INIT("created"),
	[W_MAX_MODEL_LEN] = STR_INIT("max_model_len"),
	[W_CONTEXT_LENGTH] = STR_INIT("context_length"),
	[W_META] = STR_INIT("meta"),
	[W_MODEL] = STR_INIT("model"),
	[W_NAME] = STR_INIT("name"),
	[W_MODIFIED] = STR_INIT("modified_at"),
	[W_DETAILS] = STR_INIT("details"),
};

static void read_openai(struct entry *e, const struct json_want *w)
{
	struct engine_model *m = &e->model;
	m->id = engine_decode(&w[W_ID], e->id, sizeof(e->id));
	m->owned_by = engine_decode(&w[W_OWNER], e->owner, sizeof(e->owner));
	m->created = engine_number(&w[W_CREATED], SECONDS_MAX);
	m->context = tokens(&w[W_MAX_MODEL_LEN]);
	if (m->context == 0)
		m->context = tokens(&w[W_CONTEXT_LENGTH]);
	if (m->context == 0)
		m->context = tokens_in(&w[W_META], STR("n_ctx"));
	m->context_max = tokens_in(&w[W_META], STR("n_ctx_train"));
}

static void read_ollama(struct entry *e, const struct json_want *w)
{
	struct engine_model *m = &e->model;
	m->id = engine_decode(&w[w[W_MODEL].type == JSON_STRING ? W_MODEL : W_NAME], e->id, sizeof(e->id));
	m->created = time_of(&w[W_MODIFIED]);
	m->context_max = tokens_in(&w[W_DETAILS], STR("context_length"));
}

static bool read_entry(enum engine_kind kind, struct str element, struct entry *e)
{
	struct json_want wants[W_COUNT];
	for (size_t i = 0; i < W_COUNT; i++)
		wants[i] = (struct json_want){.name = entry_names[i]};
	e->model = (struct engine_model){.id = STR(""), .owned_by = STR("")};
	if (!is_object(element) || !engine_scan(element, wants, W_COUNT, JSON_OBJECT))
		return false;
	if (kind == ENGINE_OLLAMA)
		read_ollama(e, wants);
	else
		read_openai(e, wants);
	return e->model.id.len > 0;
}

/* ---- the list ---- */

static int compare_ids(struct str a, struct str b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = memcmp(a.ptr, b.ptr, common);
	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_models(const void *a, const void *b)
{
	return compare_ids(((const struct engine_model *)a)->id,
			   ((const struct engine_model *)b)->id);
}

static void sort_and_unite(struct engine_models *models)
{
	uint32_t kept = 0;
	if (models->count > 0)
		qsort(models->list, models->count, sizeof(models->list[0]), compare_models);
	for (uint32_t i = 0; i < models->count; i++) {
		if (kept > 0 && str_eq(models->list[kept - 1].id, models->list[i].id))
			models->refused++;
		else
			models->list[kept++] = models->list[i];
	}
	models->count = kept;
}

static uint32_t count_elements(struct str inside)
{
	struct str element;
	uint32_t n = 0;
	while (n < ENGINE_MODELS_MAX && engine_next_element(&inside, &element))
		n++;
	return n;
}

static struct str list_name(enum engine_kind kind)
{
	return kind == ENGINE_OLLAMA ? STR("models") : STR("data");
}

bool engine_models_parse(enum engine_kind kind, struct str body, struct arena *a,
			 struct engine_models *out)
{
	struct str inside, element;
	struct entry entry;
	*out = (struct engine_models){NULL, 0, 0};
	if (!engine_array_of(body, list_name(kind), kind == ENGINE_OPENAI, &inside))
		return false;
	uint32_t room = count_elements(inside);
	out->list = room > 0 ? arena_alloc(a, room * sizeof(out->list[0])) : NULL;
	for (uint32_t visits = 0; visits < ENGINE_VISITS_MAX && engine_next_element(&inside, &element);
	     visits++) {
		if (out->count == room || !read_entry(kind, element, &entry)) {
			out->refused++;
			continue;
		}
		entry.model.id = arena_dup(a, entry.model.id);
		entry.model.owned_by = arena_dup(a, entry.model.owned_by);
		out->list[out->count++] = entry.model;
	}
	sort_and_unite(out);
	return true;
}

bool engine_models_is_list(struct str body)
{
	struct str inside;
	return engine_array_of(body, STR("data"), false, &inside);
}

struct engine_owner engine_models_owner(struct str body)
{
	struct engine_owner owner = {STR(""), false};
	struct json_want wants[] = {{.name = STR("owned_by")}, {.name = STR("max_model_len")}};
	struct str inside, element;
	if (!engine_array_of(body, STR("data"), false, &inside) || !engine_next_element(&inside, &element) ||
	    !is_object(element))
		return owner;
	if (!engine_scan(element, wants, 2, JSON_OBJECT))
		return owner;
	if (wants[0].type == JSON_STRING)
		owner.name = str_of(wants[0].value.ptr + 1, wants[0].value.len - 2);
	owner.max_model_len = wants[1].type == JSON_NUMBER;
	return owner;
}

struct engine_model *engine_models_find(const struct engine_models *models, struct str id)
{
	uint32_t from = 0, to = models->count;
	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		int order = compare_ids(models->list[middle].id, id);
		if (order == 0)
			return &models->list[middle];
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

/* ---- windows from other answers ---- */

static struct engine_model *find_want(struct engine_models *models, const struct json_want *id)
{
	char room[ENGINE_MODEL_ID_MAX];
	struct str s = engine_decode(id, room, sizeof(room));
	return s.len > 0 ? engine_models_find(models, s) : NULL;
}

/* llama.cpp: the window of a slot counts for each of its models (there is one). */
static void add_props(struct engine_models *models, struct str body)
{
	struct json_want want = {.name = STR("default_generation_settings")};
	if (!engine_scan(body, &want, 1, JSON_OBJECT))
		return;
	int64_t n_ctx = tokens_in(&want, STR("n_ctx"));
	for (uint32_t i = 0; i < models->count && n_ctx > 0; i++)
		models->list[i].context = n_ctx;
}

static void add_ps_entry(struct engine_models *models, struct str element)
{
	struct json_want w[] = {
		{.name = STR("model")}, {.name = STR("name")}, {.name = STR("context_length")}};
	if (!engine_scan(element, w, 3, JSON_OBJECT))
		return;
	struct engine_model *m = find_want(models, &w[w[0].type == JSON_STRING ? 0 : 1]);
	if (m && tokens(&w[2]) > 0)
		m->context = tokens(&w[2]);
}

static void add_lm_v0_entry(struct engine_models *models, struct str element)
{
	struct json_want w[] = {{.name = STR("id")},
				{.name = STR("max_context_length")},
				{.name = STR("loaded_context_length")}};
	if (!engine_scan(element, w, 3, JSON_OBJECT))
		return;
	struct engine_model *m = find_want(models, &w[0]);
	if (!m)
		return;
	m->context_max = tokens(&w[1]);
	m->context = tokens(&w[2]);
}

/* A loaded instance is a model by its own id too; the model it came from gets the first one's
 * window. */
static void add_lm_instances(struct engine_models *models, struct engine_model *of, int64_t max,
			     struct str array)
{
	struct str inside = str_of(array.ptr + 1, array.len - 2), element;
	while (engine_next_element(&inside, &element)) {
		struct json_want w[] = {{.name = STR("id")}, {.name = STR("config")}};
		if (!is_object(element) || !engine_scan(element, w, 2, JSON_OBJECT))
			continue;
		int64_t context = tokens_in(&w[1], STR("context_length"));
		struct engine_model *m = find_want(models, &w[0]);
		if (m) {
			m->context = context;
			m->context_max = max;
		}
		if (of && of->context == 0)
			of->context = context;
	}
}

static void add_lm_v1_entry(struct engine_models *models, struct str element)
{
	struct json_want w[] = {{.name = STR("key")},
				{.name = STR("max_context_length")},
				{.name = STR("loaded_instances")}};
	if (!engine_scan(element, w, 3, JSON_OBJECT))
		return;
	struct engine_model *m = find_want(models, &w[0]);
	if (m)
		m->context_max = tokens(&w[1]);
	if (w[2].type == JSON_ARRAY)
		add_lm_instances(models, m, tokens(&w[1]), w[2].value);
}

void engine_models_add(struct engine_models *models, enum engine_ask ask, struct str body)
{
	struct str inside, element;
	if (ask == ASK_PROPS) {
		add_props(models, body);
		return;
	}
	if (!engine_array_of(body, ask == ASK_LM_V0 ? STR("data") : STR("models"), false, &inside))
		return;
	for (uint32_t visits = 0; visits < ENGINE_VISITS_MAX && engine_next_element(&inside, &element);
	     visits++) {
		if (!is_object(element))
			continue;
		if (ask == ASK_PS)
			add_ps_entry(models, element);
		else if (ask == ASK_LM_V0)
			add_lm_v0_entry(models, element);
		else if (ask == ASK_LM_V1)
			add_lm_v1_entry(models, element);
	}
}

/* model_info["<architecture>.context_length"] */
static int64_t trained_window(const struct json_want *info)
{
	char room[64], name[96];
	struct json_want architecture = {.name = STR("general.architecture")};
	if (info->type != JSON_OBJECT || !engine_scan(info->value, &architecture, 1, JSON_OBJECT))
		return 0;
	struct str s = engine_decode(&architecture, room, sizeof(room));
	if (s.len == 0)
		return 0;
	memcpy(name, s.ptr, s.len);
	memcpy(name + s.len, ".context_length", 15);
	return tokens_in(info, str_of(name, s.len + 15));
}

/* `parameters` is text, a line each: "num_ctx                        8192". */
static int64_t num_ctx_of(const struct json_want *parameters)
{
	struct buf text;
	int64_t n = 0, found = 0;
	if (parameters->type != JSON_STRING)
		return 0;
	buf_init(&text, 64 * 1024);
	json_unescape(str_of(parameters->value.ptr + 1, parameters->value.len - 2), &text);
	struct str rest = buf_str(&text), line;
	while (str_split(&rest, '\n', &line))
		if (str_starts(line, STR("num_ctx ")) &&
		    str_to_i64(str_trim(str_skip(line, 8)), &n))
			found = n > 0 && n <= TOKENS_MAX ? n : 0;
	buf_release(&text);
	return found;
}

void engine_model_add_show(struct engine_model *model, struct str body)
{
	struct json_want w[] = {{.name = STR("model_info")}, {.name = STR("parameters")}};
	model->shown = true;
	if (!engine_scan(body, w, 2, JSON_OBJECT))
		return;
	int64_t trained = trained_window(&w[0]);
	if (trained > 0)
		model->context_max = trained;
	if (model->context == 0)
		model->context = num_ctx_of(&w[1]);
}

void engine_models_keep(struct engine_models *models, const struct engine_models *last)
{
	for (uint32_t i = 0; last && i < models->count; i++) {
		struct engine_model *m = &models->list[i];
		const struct engine_model *old = engine_models_find(last, m->id);
		if (!old || !old->shown || old->created != m->created)
			continue;
		m->shown = true;
		if (m->context == 0 && !old->context_guessed)
			m->context = old->context;
		if (old->context_max > 0)
			m->context_max = old->context_max;
	}
}

void engine_models_keep_dates(struct engine_models *models, const struct engine_models *last)
{
	for (uint32_t i = 0; last && i < models->count; i++) {
		const struct engine_model *old = engine_models_find(last, models->list[i].id);
		if (old && old->created > 0)
			models->list[i].created = old->created;
	}
}

void engine_models_finish(struct engine_models *models)
{
	for (uint32_t i = 0; i < models->count; i++) {
		struct engine_model *m = &models->list[i];
		if (m->context_max < m->context)
			m->context_max = m->context;
		if (m->context == 0) {
			m->context = m->context_max;
			m->context_guessed = true;
		}
	}
}

static bool same_model(const struct engine_model *a, const struct engine_model *b)
{
	return str_eq(a->id, b->id) && str_eq(a->owned_by, b->owned_by) &&
	       a->context == b->context && a->context_max == b->context_max &&
	       a->context_guessed == b->context_guessed && a->created == b->created;
}

bool engine_models_same(const struct engine_models *a, const struct engine_models *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!same_model(&a->list[i], &b->list[i]))
			return false;
	return true;
}
