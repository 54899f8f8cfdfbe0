/* cloud_tools.c - schemas of tools as clouds take them, and ids of tool calls.
 *
 * A schema is walked by what its keywords mean, so that a parameter called "format" or "$schema" stays what it is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "dialect/cloud_parts.h"
#include "dialect/walk.h"

/* ---- ids ---- */

uint64_t cloud_hash(struct str bytes, uint64_t seed)
{
	uint64_t h = seed ^ 0xcbf29ce484222325u;
	for (size_t i = 0; i < bytes.len; i++)
		h = (h ^ (unsigned char)bytes.ptr[i]) * 0x100000001b3u;
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

#define ID_LENGTH 9

static bool is_short_id(struct str id)
{
	for (size_t i = 0; i < id.len; i++) {
		char c = id.ptr[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
			return false;
	}
	return id.len == ID_LENGTH;
}

void cloud_put_id(struct buf *out, struct str value)
{
	static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	struct str id = walk_inside(value);
	if (!id.ptr || is_short_id(id)) {
		buf_adds(out, value);
		return;
	}
	uint64_t h = cloud_hash(id, 0);
	buf_addc(out, '"');
	for (int i = 0; i < ID_LENGTH; i++, h /= 62)
		buf_addc(out, letters[h % 62]);
	buf_addc(out, '"');
}

void cloud_put_call_id(struct buf *out, uint64_t hash)
{
	buf_addf(out, "\"call_%016llx\"", (unsigned long long)hash);
}

/* ---- schemas ---- */

enum holds { VALUE, SCHEMA, SCHEMAS_BY_NAME, LIST_OF_SCHEMAS };

/* What a keyword holds; all others hold a plain value. */
static const struct {
	struct str keyword;
	enum holds holds;
} keywords[] = {
	{STR_INIT("properties"), SCHEMAS_BY_NAME}, {STR_INIT("patternProperties"), SCHEMAS_BY_NAME}, {STR_INIT("$defs"), SCHEMAS_BY_NAME},
	{STR_INIT("definitions"), SCHEMAS_BY_NAME}, {STR_INIT("dependentSchemas"), SCHEMAS_BY_NAME}, {STR_INIT("items"), SCHEMA},
	{STR_INIT("additionalProperties"), SCHEMA}, {STR_INIT("not"), SCHEMA}, {STR_INIT("contains"), SCHEMA}, {STR_INIT("if"), SCHEMA},
	{STR_INIT("then"), SCHEMA}, {STR_INIT("else"), SCHEMA}, {STR_INIT("propertyNames"), SCHEMA}, {STR_INIT("anyOf"), LIST_OF_SCHEMAS},
	{STR_INIT("oneOf"), LIST_OF_SCHEMAS}, {STR_INIT("allOf"), LIST_OF_SCHEMAS}, {STR_INIT("prefixItems"), LIST_OF_SCHEMAS},
};

static enum holds holds_of(struct str keyword)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords); i++)
		if (walk_says(keyword, keywords[i].keyword))
			return keywords[i].holds;
	return VALUE;
}

static void put_schema(struct buf *out, struct str schema, bool picky);

static void put_by_name(struct buf *out, struct str map, bool picky)
{
	struct walk w = walk_into(map);
	struct str name, value;
	bool comma = false;
	buf_addc(out, '{');
	while (walk_member(&w, &name, &value)) {
		cloud_put_name(out, &comma, name);
		put_schema(out, value, picky);
	}
	buf_addc(out, '}');
}

static void put_list(struct buf *out, struct str list, bool picky)
{
	struct walk w = walk_into(list);
	struct str value;
	bool comma = false;
	buf_addc(out, '[');
	while (walk_element(&w, &value)) {
		if (comma)
			buf_addc(out, ',');
		comma = true;
		put_schema(out, value, picky);
	}
	buf_addc(out, ']');
}

static void put_held(struct buf *out, enum holds holds, struct str value, bool picky)
{
	if (holds == SCHEMAS_BY_NAME && walk_object(value))
		put_by_name(out, value, picky);
	else if (holds != VALUE && walk_array(value))
		put_list(out, value, picky);
	else if (holds == SCHEMA)
		put_schema(out, value, picky);
	else
		buf_adds(out, value);
}

static bool is_unwanted(struct str keyword, struct str value, bool has_const, bool picky)
{
	if (walk_says(keyword, STR("$schema")))
		return true;
	if (!picky)
		return false;
	if (walk_says(keyword, STR("format")))
		return !walk_is(value, STR("enum")) && !walk_is(value, STR("date-time"));
	if (walk_says(keyword, STR("enum")))
		return has_const; /* which is the stricter of the two, and takes its place */
	return walk_says(keyword, STR("additionalProperties"));
}

static void put_schema(struct buf *out, struct str schema, bool picky)
{
	struct walk w = walk_into(schema);
	struct str name, value;
	bool comma = false, has_const = picky && walk_get(schema, STR("const")).ptr;
	if (!walk_object(schema)) { /* true, false */
		buf_adds(out, schema);
		return;
	}
	buf_addc(out, '{');
	while (walk_member(&w, &name, &value)) {
		if (is_unwanted(name, value, has_const, picky))
			continue;
		if (picky && walk_says(name, STR("const"))) {
			cloud_put_name(out, &comma, STR("enum"));
			buf_addc(out, '[');
			buf_adds(out, value);
			buf_addc(out, ']');
			continue;
		}
		cloud_put_name(out, &comma, name);
		put_held(out, holds_of(name), value, picky);
	}
	buf_addc(out, '}');
}

/* ---- tools ---- */

static void put_function(struct buf *out, struct str function, bool picky)
{
	struct walk w = walk_into(function);
	struct str name, value;
	bool comma = false;
	if (!walk_object(function)) {
		buf_adds(out, function);
		return;
	}
	buf_addc(out, '{');
	while (walk_member(&w, &name, &value)) {
		cloud_put_name(out, &comma, name);
		if (walk_says(name, STR("parameters")))
			put_schema(out, value, picky);
		else
			buf_adds(out, value);
	}
	buf_addc(out, '}');
}

static void put_tool(struct buf *out, struct str tool, bool picky)
{
	struct walk w = walk_into(tool);
	struct str name, value;
	bool comma = false;
	if (!walk_object(tool)) {
		buf_adds(out, tool);
		return;
	}
	buf_addc(out, '{');
	while (walk_member(&w, &name, &value)) {
		cloud_put_name(out, &comma, name);
		if (walk_says(name, STR("function")))
			put_function(out, value, picky);
		else
			buf_adds(out, value);
	}
	buf_addc(out, '}');
}

void cloud_put_tools(struct buf *out, struct str tools, bool picky)
{
	struct walk w = walk_into(tools);
	struct str tool;
	bool comma = false;
	if (!walk_array(tools) || (!picky && str_search(tools, STR("schema\"")) == tools.len && !memchr(tools.ptr, '\\', tools.len))) {
		buf_adds(out, tools); /* nothing to leave out */
		return;
	}
	buf_addc(out, '[');
	while (walk_element(&w, &tool)) {
		if (comma)
			buf_addc(out, ',');
		comma = true;
		put_tool(out, tool, picky);
	}
	buf_addc(out, ']');
}
