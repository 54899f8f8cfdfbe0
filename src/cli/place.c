/* place.c - where a command works: the state folder, what its settings and its server say of addresses and days. See client.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include "admin/state.h"
#include "base/civil.h"
#include "base/yaml.h"
#include "gate/settings.h"

#include <stdio.h>

bool cli_place_take(struct cli_place *p, const struct option *option, const char *value)
{
	struct str name = str_from(option->name);
	if (str_eq(name, STR("state")))
		p->state = value;
	else if (str_eq(name, STR("admin")))
		p->admin = value;
	else if (str_eq(name, STR("config")))
		p->config = value;
	else
		return false;
	return true;
}

/* ---- the folder ---- */

/* The setting `state`, relative to the settings file. Nothing else of the file needs to be right for it: it may name secrets that the server alone
 * has. */
static void configured_state(const char *config, struct buf *out)
{
	const char *file = settings_find(config);
	struct arena arena;
	struct buf text, why;
	struct yaml_fail fail;
	arena_init(&arena, 4096);
	buf_init(&text, YAML_MAX_BYTES);
	buf_init(&why, 1024);
	if (file && settings_read_file(file, &text, &why)) {
		struct str state = json_text(&arena, json_get(yaml_parse(&arena, buf_str(&text), &fail), STR("state")));
		const char *slash = strrchr(file, '/');
		if (state.len && state.ptr[0] != '/' && slash)
			buf_add(out, file, (size_t)(slash - file) + 1);
		buf_adds(out, state);
	}
	buf_release(&why);
	buf_release(&text);
	arena_release(&arena);
}

/* As the server finds it. */
bool cli_folder(const struct cli_place *p, struct buf *out)
{
	const char *env = getenv("VALET_STATE");
	size_t before = out->len;
	if (!p->state && !(env && *env))
		configured_state(p->config, out);
	if (out->len == before && !out->over)
		state_folder(p->state, out);
	buf_addc(out, 0);
	return !out->over;
}

bool cli_in_use(const char *folder)
{
	struct buf unused;
	bool running = false;
	buf_init(&unused, CLI_PATH_MAX);
	state_server(folder, &unused, &running);
	buf_release(&unused);
	return running;
}

/* ---- days ---- */

void cli_take_zone(const struct cli_place *p)
{
	struct settings *s = NULL;
	struct buf report;
	buf_init(&report, 1 << 20);
	bool fine = settings_load(p->config, NULL, 0, &s, &report) && civil_set_zone(s->time_zone.len ? s->time_zone.ptr : "", &report);
	(void)fine; /* else the system's zone holds */
	settings_free(s);
	buf_release(&report);
}

/* ---- where clients connect ---- */

/* Reads what the server wrote of itself. */
static bool announced_listener(const char *folder, struct buf *out)
{
	struct json_want want = {.name = STR("listen")};
	char path[CLI_PATH_MAX], text[4096];
	snprintf(path, sizeof(path), "%s/server.json", folder);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	size_t len = fread(text, 1, sizeof(text), f);
	fclose(f);
	return json_scan(str_of(text, len), &want, 1, NULL, NULL) && want.type == JSON_STRING && want.value.len > 2 &&
	       json_unescape(str_of(want.value.ptr + 1, want.value.len - 2), out);
}

/* Where no server has said it: where one would listen. */
static void configured_listener(const char *config, struct buf *out)
{
	struct settings *s = NULL;
	struct buf report;
	buf_init(&report, 1 << 20);
	if (settings_load(config, NULL, 0, &s, &report) && s->listen.count)
		buf_adds(out, s->listen.items[0].text);
	settings_free(s);
	buf_release(&report);
}

void cli_base_url(const struct cli_place *p, struct buf *out)
{
	const char *admin = p->admin ? p->admin : getenv("VALET_ADMIN");
	struct buf folder, at;
	struct cli_door door = {.text = ""};
	buf_init(&folder, CLI_PATH_MAX);
	buf_init(&at, sizeof(door.text) - 1);
	if (cli_folder(p, &folder) && !(admin && *admin) && !announced_listener(folder.ptr, &at))
		configured_listener(p->config, &at);
	snprintf(door.text, sizeof(door.text), "%.*s", STR_ARG(buf_str(&at)));
	buf_clear(&at);
	bool known = door.text[0] && cli_find_address(&door, &at);
	buf_addf(out, "http://%s/v1", known ? door.name : "HOST:PORT");
	buf_release(&at);
	buf_release(&folder);
}
