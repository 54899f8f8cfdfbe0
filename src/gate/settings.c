/* settings.c - finding, reading and completing valet.yaml.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/settings_parts.h"

#include "base/yaml.h"
#include "gate/books.h"
#include "net/resolve.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- addresses ---- */

bool settings_is_loopback(struct str host)
{
	union address address;
	if (address_parse(host, 0, &address))
		return address_is_loopback(&address);
	return str_ieq(host, STR("localhost")) || str_ends(host, STR(".localhost"));
}

static struct str without_brackets(struct str host)
{
	bool brackets = host.len > 2 && host.ptr[0] == '[';
	return brackets ? str_of(host.ptr + 1, host.len - 2) : host;
}

bool settings_listen_address(struct str text, struct settings_address *out)
{
	union address address;
	*out = (struct settings_address){.text = text};
	if (!address_split(text, &out->host, &out->port))
		return false;
	if (str_ieq(out->host, STR("localhost")))
		out->host = STR("127.0.0.1");
	if (str_eq(out->host, STR("*")))
		out->host = STR("0.0.0.0");
	if (!address_parse(out->host, out->port, &address))
		return false;
	out->host = without_brackets(out->host);
	out->loopback = address_is_loopback(&address);
	return true;
}

/* The host and port of a URL have the same form; so the URL's parser reads them. */
const char *settings_engine_address(struct str text, struct settings_address *out)
{
	char full[320];
	struct url url;
	*out = (struct settings_address){.text = text};
	if (str_search(text, STR("://")) < text.len)
		return "only host and port, not a URL";
	int n = snprintf(full, sizeof(full), "http://%.*s", STR_ARG(text));
	if (n < 0 || (size_t)n >= sizeof(full))
		return "it is too long";
	const char *wrong = url_parse(str_of(full, (size_t)n), &url);
	if (wrong)
		return wrong;
	if (url.path.len || text.ptr[text.len - 1] == '/')
		return "only host and port, without a path";
	bool port = text.ptr[text.len - 1] != ']' && str_find(text, ':') < text.len;
	out->host = str_of(text.ptr + (text.ptr[0] == '['), url.host.len);
	out->port = port ? url.port : 0;
	out->loopback = settings_is_loopback(out->host);
	return NULL;
}

/* A host that views into its text would not end in NUL. */
static void own_host(struct settings *s, struct settings_address *address)
{
	address->host = arena_dup(&s->arena, address->host);
}

static void complete_addresses(struct settings *s)
{
	const struct str_list *listen = &s->listen_texts, *discover = &s->discover_texts;
	struct settings_address address;
	s->listen.items = arena_zero(&s->arena, listen->count * sizeof(address));
	s->discover.items = arena_zero(&s->arena, discover->count * sizeof(address));
	for (size_t i = 0; i < listen->count; i++)
		if (settings_listen_address(listen->items[i], &address))
			s->listen.items[s->listen.count++] = address;
	for (size_t i = 0; i < discover->count; i++)
		if (discover->items[i].len &&
		    !settings_engine_address(discover->items[i], &address))
			s->discover.items[s->discover.count++] = address;
	if (s->admin_listen_text.len && settings_listen_address(s->admin_listen_text, &address))
		s->admin_listen = address;
	own_host(s, &s->admin_listen);
	for (size_t i = 0; i < s->listen.count; i++)
		own_host(s, &s->listen.items[i]);
	for (size_t i = 0; i < s->discover.count; i++)
		own_host(s, &s->discover.items[i]);
}

/* ---- completing what was read ---- */

static const struct str local_origins[] = {
	STR_INIT("app://obsidian.md"), STR_INIT("capacitor://localhost"),
	STR_INIT("http://localhost"),  STR_INIT("http://localhost:*"),
	STR_INIT("http://127.0.0.1"),  STR_INIT("http://127.0.0.1:*"),
	STR_INIT("tauri://localhost"), STR_INIT("https://tauri.localhost"),
	STR_INIT("ionic://localhost"), STR_INIT("vscode-webview://*"),
};

static void complete_cors(struct settings *s)
{
	const size_t local_count = sizeof(local_origins) / sizeof(local_origins[0]);
	const struct str_list given = s->cors;
	size_t n = 0;
	s->cors.items = arena_zero(&s->arena, (given.count + local_count) * sizeof(*s->cors.items));
	for (size_t i = 0, locals = 0; i < given.count; i++) {
		if (str_eq(given.items[i], STR("local"))) {
			for (size_t j = 0; locals == 0 && j < local_count; j++)
				s->cors.items[n++] = local_origins[j];
			locals++;
		} else if (given.items[i].len && !str_eq(given.items[i], STR("off"))) {
			s->cors.items[n++] = given.items[i];
		}
	}
	s->cors.count = n;
}

static void inherit(int64_t *own, int64_t common)
{
	if (*own == 0)
		*own = common;
}

static void complete_target(const struct settings *s, struct target_conf *target)
{
	inherit(&target->timeouts.connect_ms, s->timeouts.connect_ms);
	inherit(&target->timeouts.first_byte_ms, s->timeouts.first_byte_ms);
	inherit(&target->timeouts.idle_ms, s->timeouts.idle_ms);
	inherit(&target->timeouts.total_ms, s->timeouts.total_ms);
	if (target->url_text.len && url_parse(target->url_text, &target->url))
		target->url = (struct url){.https = false};
}

/* ---- the command line's part ---- */

static struct json *new_text(struct arena *a, struct str key, const char *value)
{
	struct json *j = arena_zero(a, sizeof(*j));
	j->type = JSON_STRING;
	j->key = key;
	j->raw = str_from(value);
	return j;
}

static void drop_member(struct json *object, struct str key)
{
	for (struct json **at = &object->first; *at;) {
		if (str_eq((*at)->key, key)) {
			*at = (*at)->next;
			object->count--;
		} else {
			at = &(*at)->next;
		}
	}
}

/* All values given for over[0].name, as a text or a list of texts. */
static struct json *override_node(struct arena *a, const struct settings_override *over, size_t n)
{
	struct json *list = new_text(a, str_from(over->name), ""), **tail = &list->first;
	list->type = JSON_ARRAY;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(over[i].name, over->name) != 0)
			continue;
		*tail = new_text(a, STR_NONE, over[i].value);
		tail = &(*tail)->next;
		list->count++;
	}
	if (list->count == 1)
		return new_text(a, str_from(over->name), over->value);
	return list;
}

static void apply_overrides(struct arena *a, struct json *tree,
			    const struct settings_override *over, size_t n)
{
	if (tree->type == JSON_NULL && n > 0)
		tree->type = JSON_OBJECT;
	for (size_t i = 0; i < n && tree->type == JSON_OBJECT; i++) {
		bool first = true;
		for (size_t j = 0; j < i; j++)
			first = first && strcmp(over[j].name, over[i].name) != 0;
		if (!first)
			continue;
		drop_member(tree, str_from(over[i].name));
		struct json *node = override_node(a, over + i, n - i);
		node->next = tree->first;
		tree->first = node;
		tree->count++;
	}
}

/* ---- loading ---- */

static struct str folder_of(struct str file)
{
	while (file.len && file.ptr[file.len - 1] != '/')
		file.len--;
	return file.len > 1 ? str_head(file, file.len - 1) : file;
}

static struct json *read_tree(struct str text, struct str file, struct field_reader *r)
{
	struct yaml_fail fail;
	struct json *tree = yaml_parse(r->arena, text, &fail);
	if (!tree)
		field_problem_add(r, false, fail.line, fail.column, STR_NONE, str_from(fail.what));
	else if (file.len == 0 && tree->type == JSON_NULL)
		tree->line = tree->column = 0; /* nothing was read: it has no place */
	return tree;
}

struct settings *settings_parse(struct str text, struct str file,
				const struct settings_override *over, size_t over_count,
				struct field_reader *r)
{
	struct settings *s = mem_zero(sizeof(*s));
	arena_init(&s->arena, 4096);
	s->file = arena_dup(&s->arena, file);
	r->values = &s->arena;
	r->folder = folder_of(file);
	struct json *tree = read_tree(text, file, r);
	if (tree) {
		apply_overrides(r->arena, tree, over, over_count);
		bool ok = fields_read(r, tree, &settings_table, s);
		complete_addresses(s);
		settings_complete_routes(s, tree);
		for (size_t i = 0; i < s->target_count; i++)
			complete_target(s, &s->targets[i]);
		settings_check(s, tree, r);
		complete_cors(s);
		if (ok && r->errors == 0) {
			settings_inherit_overflow(s);
			return s;
		}
	}
	settings_free(s);
	return NULL;
}

struct settings *settings_defaults(void)
{
	struct arena arena;
	struct field_reader r = {.arena = &arena};
	arena_init(&arena, 1024);
	struct settings *s = settings_parse(STR_NONE, STR_NONE, NULL, 0, &r);
	arena_release(&arena);
	assert(s);
	return s;
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	fields_release(&settings_table, s);
	arena_release(&s->arena);
	free(s);
}

const char *settings_find(const char *path)
{
	static const char *const places[] = {"valet.yaml", "/etc/valet/valet.yaml"};
	const char *named = getenv("VALET_CONFIG");
	if (path)
		return path;
	if (named && *named)
		return named;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], F_OK) == 0)
			return places[i];
	return NULL;
}

bool settings_read_file(const char *path, struct buf *text, struct buf *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t got = fd < 0 ? -1 : 1;
	while (got > 0 && buf_reserve(text, 16 * 1024)) {
		got = read(fd, text->ptr + text->len, 16 * 1024);
		text->len += got > 0 ? (size_t)got : 0;
	}
	if (got < 0)
		buf_addf(why, "cannot read it: %s", strerror(errno));
	if (got > 0)
		buf_addf(why, "too long: expected at most 1 MiB");
	if (fd >= 0)
		close(fd);
	return got == 0;
}

static void print_problems(struct buf *report, struct str file, const struct field_reader *r)
{
	for (const struct field_problem *p = r->problems; p; p = p->next)
		field_problem_print(report, p->line ? file : STR("command line"), p);
	if (r->dropped)
		buf_addf(report, "%.*s: and %zu more\n", STR_ARG(file), r->dropped);
}

bool settings_load(const char *path, const struct settings_override *over, size_t over_count,
		   struct settings **out, struct buf *report)
{
	struct arena arena;
	struct buf text, why;
	struct field_reader r = {.arena = &arena};
	const char *found = settings_find(path);
	*out = NULL;
	arena_init(&arena, 4096);
	buf_init(&text, YAML_MAX_BYTES + 32 * 1024);
	buf_init(&why, 4096);
	if (found && !settings_read_file(found, &text, &why)) {
		buf_addf(report, "%s: %.*s\n", found, STR_ARG(buf_str(&why)));
	} else {
		*out = settings_parse(buf_str(&text), str_from(found), over, over_count, &r);
		print_problems(report, str_from(found), &r);
	}
	buf_release(&text);
	buf_release(&why);
	arena_release(&arena);
	return *out != NULL;
}

/* ---- limits ---- */

struct limits settings_limits(const struct limits_conf *conf)
{
	struct limits l = {.rpm = conf->rpm, .tpm = conf->tpm, .concurrency = conf->concurrency, .soft = conf->soft};
	for (size_t i = 0; i < conf->budgets.count && l.budget_count < BUDGETS_MAX; i++)
		if (!budget_parse(conf->budgets.items[i], &l.budgets[l.budget_count]))
			l.budget_count++;
	return l;
}

struct limits settings_probation(const struct probation_conf *conf)
{
	return settings_limits(&(struct limits_conf){.rpm = conf->rpm, .budgets = conf->budgets});
}

/* ---- what a target lists ---- */

static bool any_matches(const struct str_list *globs, struct str name)
{
	for (size_t i = 0; i < globs->count; i++)
		if (str_glob(globs->items[i], name))
			return true;
	return false;
}

bool target_lists(const struct target_conf *target, struct str engine_name)
{
	const struct target_models *models = &target->models;
	if (models->include.count && !any_matches(&models->include, engine_name))
		return false;
	return !any_matches(&models->exclude, engine_name);
}

struct str target_public_name(const struct target_conf *target, struct str engine_name)
{
	const struct str_map *rename = &target->models.rename;
	for (size_t i = 0; i < rename->count; i++)
		if (str_eq(rename->items[i].name, engine_name))
			return rename->items[i].value;
	bool prefixed = target_cloud(target) == CLOUD_GEMINI && str_starts(engine_name, STR("models/"));
	return str_skip(engine_name, prefixed ? sizeof("models/") - 1 : 0); /* Gemini takes both forms and lists the longer one */
}
