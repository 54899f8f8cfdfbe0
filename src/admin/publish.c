/* publish.c - from settings and engines to the catalog that workers use; and the settings' targets to the watcher.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/control.h"

#include <stdio.h>
#include <time.h>

static const struct target_conf *conf_named(const struct settings *s, struct str name)
{
	for (size_t i = 0; i < s->target_count; i++)
		if (str_eq(s->targets[i].name, name))
			return &s->targets[i];
	return NULL;
}

static size_t collect(struct control *c, struct catalog_engine *list)
{
	static const struct engine_models none;
	size_t n = 0;
	for (size_t i = 0; !c->discovery && i < c->settings->target_count; i++) { /* nobody has looked yet: what the settings say holds */
		const struct target_conf *t = &c->settings->targets[i];
		list[n++] = (struct catalog_engine){
			.name = t->name, .url = t->url_text, .kind = target_engine(t->kind), .up = ENGINE_PENDING, .models = &none, .conf = t};
	}
	if (!c->discovery)
		return n;
	for (const struct engine *e = discovery_next(c->discovery, NULL); e; e = discovery_next(c->discovery, e))
		list[n++] = (struct catalog_engine){
			.name = str_from(e->name), .url = str_from(e->url), .kind = e->kind, .up = e->state, .places = e->load.places,
			.models = e->models, .conf = e->configured ? conf_named(c->settings, str_from(e->name)) : NULL,
		};
	return n;
}

void control_publish(struct control *c)
{
	struct catalog_engine *list = mem_array(DISCOVER_PLACES_MAX + DISCOVER_TARGETS_MAX, sizeof(*list));
	size_t n = collect(c, list);
	struct catalog *old = c->catalog;
	c->catalog = catalog_build(c->registry, c->settings, list, n, (int64_t)time(NULL));
	c->catalog->ready = c->ready;
	catalog_govern(c->catalog, c->settings, c->govern.books, govern_keyring(c));
	govern_catalog_made(c);
	targets_catalog_made(c);
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_set_catalog(c->workers[i], c->catalog);
	capacity_catalog_made(c);
	catalog_unref(old);
	free(list);
}

void control_set_targets(struct control *c)
{
	const struct settings *s = c->settings;
	struct discover_target *list = mem_array(s->target_count + 1, sizeof(*list));
	struct buf *fields = mem_array(s->target_count + 1, sizeof(*fields));
	for (size_t i = 0; i < s->target_count; i++) {
		const struct target_conf *t = &s->targets[i];
		buf_init(&fields[i], SECRET_MAX_BYTES + 64);
		if (!secret_is_off(&t->secret)) {
			BUF_ADD(&fields[i], "authorization: Bearer ");
			buf_adds(&fields[i], secret_view(&t->secret));
			BUF_ADD(&fields[i], "\r\n");
		}
		list[i] = (struct discover_target){t->name, t->url_text, target_engine(t->kind), buf_str(&fields[i])};
	}
	discovery_set_targets(c->discovery, list, s->target_count);
	for (size_t i = 0; i < s->target_count; i++) {
		if (fields[i].ptr)
			explicit_bzero(fields[i].ptr, fields[i].cap);
		buf_release(&fields[i]);
	}
	free(fields);
	free(list);
}
