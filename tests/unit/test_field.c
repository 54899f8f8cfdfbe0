/* test_field.c - field tables: durations, sizes, every type from YAML and from JSON, every kind of
 * mistake, the reference.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/field.h"

#include "base/yaml.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum colour { RED, GREEN };

struct wheel {
	struct str name;
	int64_t size;
};

struct thing {
	struct str text, path;
	int64_t number, time_ms, bytes;
	bool flag;
	enum colour colour;
	struct secret secret;
	struct str_list list;
	struct str_map map;
	struct wheel spare;
	struct wheel *wheels;
	size_t wheel_count;
	int64_t price, fee;
	struct secret hook;
};

static const char *const colours[] = {"red", "green", NULL};

static const char *check_list(struct str text)
{
	return str_eq(text, STR("bad")) ? "bad is bad" : NULL;
}

static const char *check_hook(struct str text)
{
	return str_starts(text, STR("http")) ? NULL : "";
}

static const struct field wheel_fields[] = {
	{"name", FIELD_STR, offsetof(struct wheel, name), .required = true, .min = 1, .max = 8,
	 .help = "What it is called."},
	{"size", FIELD_INT, offsetof(struct wheel, size), .standard = "7", .min = 1, .max = 99,
	 .help = "Large | small."},
};
static const struct field_table wheel_table = FIELD_TABLE(wheel_fields, struct wheel);

static const struct field spare_fields[] = {
	{"name", FIELD_STR, offsetof(struct wheel, name), .help = "What it is called."},
	{"size", FIELD_INT, offsetof(struct wheel, size), .standard = "5", .min = 1, .max = 99,
	 .help = "How large it is."},
};
static const struct field_table spare_table = FIELD_TABLE(spare_fields, struct wheel);

#define AT(member) offsetof(struct thing, member)
static const struct field thing_fields[] = {
	{"text", FIELD_STR, AT(text), .standard = "so", .off = true, .help = "A text."},
	{"path", FIELD_PATH, AT(path), .help = "A path."},
	{"number", FIELD_INT, AT(number), .standard = "3", .min = -5, .max = 5,
	 .help = "A number."},
	{"time", FIELD_MS, AT(time_ms), .standard = "5s", .off = true, .min = 10, .max = 3600000,
	 .help = "A time."},
	{"bytes", FIELD_BYTES, AT(bytes), .standard = "1MiB", .max = 1 << 30, .help = "A size."},
	{"flag", FIELD_BOOL, AT(flag), .standard = "yes", .help = "A flag."},
	{"colour", FIELD_CHOICE, AT(colour), .standard = "green", .choices = colours,
	 .help = "A colour."},
	{"secret", FIELD_SECRET, AT(secret), .help = "A secret."},
	{"list", FIELD_STR_LIST, AT(list), .standard = "a, b", .check = check_list,
	 .help = "A list."},
	{"map", FIELD_MAP, AT(map), .help = "A map."},
	{"spare", FIELD_OBJECT, AT(spare), .sub = &spare_table, .help = "An object."},
	{"wheels", FIELD_LIST, AT(wheels), AT(wheel_count), .sub = &wheel_table, .bare = true,
	 .help = "A list of objects."},
	{"price", FIELD_MONEY, AT(price), .min = 5, .max = 1000000000000, .help = "Money."},
	{"fee", FIELD_MONEY, AT(fee), .standard = "0.5", .max = INT64_MAX, .off = true, .help = "More."},
	{"hook", FIELD_SECRET, AT(hook), .literal = true, .check = check_hook, .expects = "a hook or env:NAME",
	 .help = "A secret that may stand here."},
};
static const struct field_table thing_table = FIELD_TABLE(thing_fields, struct thing);

/* ---- helpers ---- */

static struct arena arena;
static struct field_reader reader;
static struct thing thing;

static int begin(void **state)
{
	arena_init(&arena, 1024);
	return 0;
}

static int end(void **state)
{
	fields_release(&thing_table, &thing);
	arena_release(&arena);
	return 0;
}

static bool read_tree(const struct json *tree)
{
	fields_release(&thing_table, &thing);
	memset(&thing, 0, sizeof(thing));
	reader = (struct field_reader){.arena = &arena, .values = &arena, .folder = STR("/folder")};
	return fields_read(&reader, tree, &thing_table, &thing);
}

static bool read_yaml(const char *text)
{
	struct yaml_fail fail;
	struct json *tree = yaml_parse(&arena, str_from(text), &fail);
	assert_non_null(tree);
	return read_tree(tree);
}

static bool read_json(const char *text)
{
	struct json_fail fail;
	struct json *tree = json_parse(&arena, str_from(text), &fail);
	assert_non_null(tree);
	return read_tree(tree);
}

static void expect_report(const char *report)
{
	struct buf out;
	buf_init(&out, 1 << 20);
	for (const struct field_problem *p = reader.problems; p; p = p->next)
		field_problem_print(&out, STR("f"), p);
	buf_addc(&out, '\0');
	assert_string_equal(out.ptr, report);
	buf_release(&out);
}

static void refuse(const char *yaml, const char *report)
{
	assert_false(read_yaml(yaml));
	expect_report(report);
}

static void assert_str(struct str s, const char *text)
{
	assert_true(str_eq(s, str_from(text)));
	assert_int_equal(s.ptr[s.len], 0);
}

/* ---- tests ---- */

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {{"0ms", 0},     {"500ms", 500},  {"5s", 5000},
		    {"2m", 120000}, {"1h", 3600000}, {"7d", 604800000},
		    {"05s", 5000},  {"10S", 10000},  {"9223372036854775807ms", INT64_MAX}};
	static const char *const bad[] = {"",
					  "5",
					  "s",
					  "-5s",
					  "+5s",
					  "1.5s",
					  "5 s",
					  " 5s",
					  "5sec",
					  "1m30s",
					  "5s ",
					  "9223372036854775808ms",
					  "9223372036854775807s"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int64_t ms = -1;
		assert_true(field_parse_ms(str_from(good[i].text), &ms));
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t ms = -1;
		assert_false(field_parse_ms(str_from(bad[i]), &ms));
		assert_int_equal(ms, -1);
	}
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = {{"0", 0},           {"4096", 4096},      {"7b", 7},
		    {"512k", 524288},   {"512K", 524288},    {"1KiB", 1024},
		    {"1kB", 1000},      {"64MiB", 67108864}, {"64m", 67108864},
		    {"1MB", 1000000},   {"1GiB", 1 << 30},   {"2G", INT64_C(1) << 31},
		    {"1gb", 1000000000}};
	static const char *const bad[] = {
		"", "k", "-1", "1.5M", "1 M", "1T", "1Mib/s", "0x10", "9223372036854775807k"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int64_t bytes = -1;
		assert_true(field_parse_bytes(str_from(good[i].text), &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t bytes = -1;
		assert_false(field_parse_bytes(str_from(bad[i]), &bytes));
		assert_int_equal(bytes, -1);
	}
}

static void expect_standards(void)
{
	assert_str(thing.text, "so");
	assert_int_equal(thing.path.len, 0);
	assert_int_equal(thing.number, 3);
	assert_int_equal(thing.time_ms, 5000);
	assert_int_equal(thing.bytes, 1 << 20);
	assert_true(thing.flag);
	assert_int_equal(thing.colour, GREEN);
	assert_true(secret_is_off(&thing.secret));
	assert_int_equal(thing.list.count, 2);
	assert_str(thing.list.items[1], "b");
	assert_int_equal(thing.map.count, 0);
	assert_int_equal(thing.spare.size, 5);
	assert_int_equal(thing.wheel_count, 0);
	assert_int_equal(thing.price, MONEY_NONE);
	assert_int_equal(thing.fee, 500000000);
	assert_true(secret_is_off(&thing.hook));
}

static void standards(void **state)
{
	assert_true(read_tree(NULL));
	expect_standards();
	assert_true(read_yaml("# nothing\n"));
	expect_standards();
	assert_true(read_yaml("text:\npath: ~\nnumber: null\nlist:\nspare:\nwheels:\nsecret:\n"));
	expect_standards();
	assert_true(read_json("{}"));
	expect_standards();
}

static void expect_values(void)
{
	assert_str(thing.text, "a b");
	assert_str(thing.path, "/folder/x/y");
	assert_int_equal(thing.number, -5);
	assert_int_equal(thing.time_ms, 0);
	assert_int_equal(thing.bytes, 4096);
	assert_false(thing.flag);
	assert_int_equal(thing.colour, RED);
	assert_true(str_eq(secret_view(&thing.secret), STR("s3cret")));
	assert_int_equal(thing.list.count, 1);
	assert_str(thing.list.items[0], "one");
	assert_int_equal(thing.map.count, 2);
	assert_str(thing.map.items[0].name, "x/y:1");
	assert_str(thing.map.items[0].value, "z");
	assert_str(thing.spare.name, "n");
	assert_int_equal(thing.spare.size, 5);
	assert_int_equal(thing.wheel_count, 2);
	assert_str(thing.wheels[0].name, "w0");
	assert_int_equal(thing.wheels[0].size, 7);
	assert_str(thing.wheels[1].name, "w1");
	assert_int_equal(thing.wheels[1].size, 9);
}

static void values(void **state)
{
	setenv("VALET_TEST_SECRET", " s3cret\n", 1);
	assert_true(read_yaml("text: a b\npath: x/y\nnumber: -5\ntime: off\nbytes: 4096\nflag: no\n"
			      "colour: red\nsecret: env:VALET_TEST_SECRET\nlist: one\n"
			      "map: {\"x/y:1\": z, b: c}\nspare: {name: n}\n"
			      "wheels: [w0, {name: w1, size: 9}]\n"));
	expect_values();
	assert_true(
		read_json("{\"text\":\"a\\u0020b\",\"path\":\"x/y\",\"number\":-5,\"time\":false,"
			  "\"bytes\":4096,\"fl\\u0061g\":false,\"colour\":\"red\","
			  "\"secret\":\"env:VALET_TEST_SECRET\",\"list\":[\"one\"],"
			  "\"map\":{\"x\\/y:1\":\"z\",\"b\":\"c\"},\"spare\":{\"name\":\"n\"},"
			  "\"wheels\":[\"w0\",{\"name\":\"w1\",\"size\":9}]}"));
	expect_values();
	assert_true(read_yaml("wheels: alone\nlist: []\npath: /abs\ntext: off\n"));
	assert_int_equal(thing.wheel_count, 1);
	assert_str(thing.wheels[0].name, "alone");
	assert_int_equal(thing.list.count, 0);
	assert_str(thing.path, "/abs");
	assert_int_equal(thing.text.len, 0);
}

static void money(void **state)
{
	static const struct {
		const char *text;
		int64_t nanos;
	} good[] = {{"price: 2.5\n", 2500000000}, {"price: $2.50\n", 2500000000}, {"price: \"$3\"\n", 3000000000},
		    {"price: 0.00000002\n", 20},   {"price: 1000\n", 1000000000000}, {"price: 007\n", 7000000000}};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(read_yaml(good[i].text));
		assert_int_equal(thing.price, good[i].nanos);
	}
	assert_true(read_json("{\"price\":2.5,\"fee\":0.000000001}"));
	assert_int_equal(thing.price, 2500000000);
	assert_int_equal(thing.fee, 1);
	assert_true(read_yaml("fee: off\n"));
	assert_int_equal(thing.fee, 0);
	assert_true(read_yaml("fee: 9223372036.854775807\n"));
	assert_int_equal(thing.fee, INT64_MAX);
	refuse("price: 0.000000004\n", "f:1:1: price: expected an amount of dollars such as 2.50, found \"0.000000004\" (it is too little)\n");
	refuse("price: 1000.01\n", "f:1:1: price: expected an amount of dollars such as 2.50, found \"1000.01\" (it is too much)\n");
	refuse("price: off\n", "f:1:1: price: expected an amount of dollars such as 2.50, found \"off\"\n");
	refuse("price: -1\n", "f:1:1: price: expected an amount of dollars such as 2.50, found \"-1\"\n");
	refuse("price: 1e3\n", "f:1:1: price: expected an amount of dollars such as 2.50, found \"1e3\"\n");
	refuse("price: 0.0000000001\n", "f:1:1: price: expected an amount of dollars such as 2.50, found \"0.0000000001\"\n");
	refuse("fee: [1]\n", "f:1:1: fee: expected an amount of dollars such as 2.50, or off, found a list\n");
	refuse("fee: 9223372036.854775808\n",
	       "f:1:1: fee: expected an amount of dollars such as 2.50, or off, found \"9223372036.854775808\"\n");
	assert_false(read_json("{\"price\":1e2}"));
	expect_report("f: price: expected an amount of dollars such as 2.50, found 1e2\n");
}

static void decimals(void **state)
{
	static const struct {
		const char *text;
		unsigned decimals;
		int64_t value;
	} good[] = {{"0", 0, 0}, {"12", 0, 12}, {"12", 3, 12000}, {"1.5", 1, 15}, {"1.05", 3, 1050}, {"9.223372036854775807", 18, INT64_MAX}};
	static const struct {
		const char *text;
		unsigned decimals;
	} bad[] = {{"", 3},   {".", 3},	 {"1.", 3},	{".1", 3},  {"1.5", 0},	 {"1.0005", 3}, {"-1", 3},
		   {"+1", 3}, {"1 ", 3}, {"1.2.3", 3}, {"1,5", 3}, {"10", 18}, {"9.223372036854775808", 18}, {"99999999999999999999", 0}};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int64_t value = -1;
		assert_true(field_parse_decimal(str_from(good[i].text), good[i].decimals, &value));
		assert_int_equal(value, good[i].value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t value = -1;
		assert_false(field_parse_decimal(str_from(bad[i].text), bad[i].decimals, &value));
		assert_int_equal(value, -1);
	}
}

/* A secret that may stand in the file itself is checked like one that came from elsewhere, and shown as little. */
static void literal_secrets(void **state)
{
	assert_true(read_yaml("hook: https://h/canary\n"));
	assert_true(str_eq(secret_view(&thing.hook), STR("https://h/canary")));
	setenv("VALET_TEST_HOOK", " https://h/x\n", 1);
	assert_true(read_yaml("hook: env:VALET_TEST_HOOK\n"));
	assert_true(str_eq(secret_view(&thing.hook), STR("https://h/x")));
	setenv("VALET_TEST_HOOK", "ftp://canary", 1);
	refuse("hook: env:VALET_TEST_HOOK\n", "f:1:1: hook: expected a hook or env:NAME\n");
	unsetenv("VALET_TEST_HOOK");
	refuse("hook: env:VALET_TEST_HOOK\n", "f:1:1: hook: the environment variable VALET_TEST_HOOK is not set\n");
	refuse("hook: evn:canary\n", "f:1:1: hook: expected a hook or env:NAME\n");
	refuse("hook: [https://canary]\n", "f:1:1: hook: expected a hook or env:NAME\n");
	assert_true(read_yaml("hook: \"\"\n"));
	expect_report("f:1:1: hook: warning: the secret is empty: none will be sent\n");
}

static void mistakes(void **state)
{
	refuse("number: 6\n", "f:1:1: number: expected a whole number from -5 to 5, found \"6\"\n");
	refuse("number: 1.0\n",
	       "f:1:1: number: expected a whole number from -5 to 5, found \"1.0\"\n");
	refuse("number: [1]\n",
	       "f:1:1: number: expected a whole number from -5 to 5, found a list\n");
	refuse("time: 5\n",
	       "f:1:1: time: expected a time from 10ms to 1h, such as 500ms, 5s, 2m or 1h, "
	       "or off, found \"5\"\n");
	refuse("bytes: 2GiB\n",
	       "f:1:1: bytes: expected a size from 0 bytes to 1GiB, such as 512k, 64MiB "
	       "or 1GB, found \"2GiB\"\n");
	refuse("flag: maybe\n", "f:1:1: flag: expected on or off, found \"maybe\"\n");
	refuse("colour: gren\n",
	       "f:1:1: colour: expected red or green, found \"gren\"; did you mean "
	       "green?\n");
	refuse("colour: {}\n", "f:1:1: colour: expected red or green, found a mapping\n");
	refuse("path: \"\"\n", "f:1:1: path: expected the path of a file, found \"\"\n");
	refuse("text: \"a\\tb\"\n",
	       "f:1:1: text: expected a text, or off, found \"a?b\" (it has control "
	       "characters)\n");
	refuse("list: [a, bad, {}]\n",
	       "f:1:11: list[1]: expected a text, found \"bad\" (bad is bad)\n"
	       "f:1:16: list[2]: expected a text, found a mapping\n");
	refuse("list: {a: b}\n", "f:1:1: list: expected a list of texts, found a mapping\n");
	refuse("map: [a]\n", "f:1:1: map: expected a mapping of names to texts, found a list\n");
	refuse("map: {\"a.b\": []}\n", "f:1:7: map[\"a.b\"]: expected a text, found a list\n");
	refuse("spare: x\n", "f:1:1: spare: expected a mapping, found \"x\"\n");
	refuse("wheels:\n- name: toolongname\n- size: 8\n-\n- [a]\n",
	       "f:2:3: wheels[0].name: expected a text of 1 to 8 bytes, found \"toolongname\" (it "
	       "is too "
	       "long)\n"
	       "f:3:3: wheels[1].name: is missing; expected a text of 1 to 8 bytes\n"
	       "f:4:2: wheels[2]: expected a text or a mapping, found nothing\n"
	       "f:5:3: wheels[3]: expected a text or a mapping, found a list\n");
	refuse("colur: red\nzzz: 1\n",
	       "f:1:1: colur: there is no such setting; did you mean colour?\n"
	       "f:2:1: zzz: there is no such setting; expected one of text, path, number, time, "
	       "bytes, "
	       "flag, colour, secret, list, map, spare, wheels, price, fee, hook\n");
	refuse("spare: {siez: 1}\n",
	       "f:1:9: spare.siez: there is no such setting; did you mean size?\n");
	refuse("\"a\\e[2J\": x\n",
	       "f:1:1: [\"a?[2J\"]: there is no such setting; expected one of text, "
	       "path, number, time, bytes, flag, colour, secret, list, map, spare, "
	       "wheels, price, fee, hook\n");
	refuse("[a]\n",
	       "f:1:1: expected a mapping of settings, such as \"listen: 127.0.0.1:9300\"\n");
	refuse("word\n",
	       "f:1:1: expected a mapping of settings, such as \"listen: 127.0.0.1:9300\"\n");
	assert_false(read_json("{\"number\":1,\"number\":2}"));
	expect_report("f: number: stands here a second time\n");
	assert_false(read_json("{\"number\":1.5,\"flag\":1}"));
	expect_report("f: number: expected a whole number from -5 to 5, found 1.5\n"
		      "f: flag: expected on or off, found 1\n");
}

/* All mistakes at once, in the order of the lines, and no more than a report can hold. */
static void many_mistakes(void **state)
{
	struct buf text;
	refuse("wheels: [{size: 0}]\nflag: x\nnumber: x\n",
	       "f:1:10: wheels[0].name: is missing; expected a text of 1 to 8 bytes\n"
	       "f:1:11: wheels[0].size: expected a whole number from 1 to 99, found \"0\"\n"
	       "f:2:1: flag: expected on or off, found \"x\"\n"
	       "f:3:1: number: expected a whole number from -5 to 5, found \"x\"\n");
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 500; i++)
		buf_addf(&text, "unknown%d: 1\n", i);
	buf_addc(&text, '\0');
	assert_false(read_yaml(text.ptr));
	assert_int_equal(reader.errors, 500);
	assert_int_equal(reader.dropped, 500 - FIELD_PROBLEMS_MAX);
	buf_clear(&text);
	BUF_ADD(&text, "list: [x");
	for (int i = 0; i < FIELD_TEXTS_MAX; i++)
		BUF_ADD(&text, ",x");
	buf_add(&text, "]\n", 3);
	refuse(text.ptr, "f:1:1: list: expected a list of texts, found a list (it is too long)\n");
	buf_release(&text);
}

static void secrets(void **state)
{
	char folder[] = "/tmp/valet-test-XXXXXX", spec[64];
	assert_non_null(mkdtemp(folder));
	snprintf(spec, sizeof(spec), "%s/key", folder);
	int fd = open(spec, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "from-file\n", 10), 10);
	close(fd);
	struct secret s = {NULL, 0};
	struct buf why;
	buf_init(&why, 4096);
	assert_true(secret_load(&s, STR("file:key"), str_from(folder), &why));
	assert_true(str_eq(secret_view(&s), STR("from-file")));
	secret_release(&s);
	assert_true(secret_is_off(&s));
	assert_false(secret_load(&s, STR("file:/"), STR_NONE, &why));
	assert_false(secret_load(&s, STR("file:/dev/zero"), STR_NONE, &why));
	assert_false(secret_load(&s, STR("file:none"), str_from(folder), &why));
	unlink(spec);
	rmdir(folder);
	buf_release(&why);

	unsetenv("VALET_TEST_NONE");
	refuse("secret: env:VALET_TEST_NONE\n",
	       "f:1:1: secret: the environment variable VALET_TEST_NONE is not set\n");
	setenv("VALET_TEST_NONE", "two\nlines", 1);
	refuse("secret: env:VALET_TEST_NONE\n",
	       "f:1:1: secret: expected one line of printable ASCII without spaces in it\n");
	setenv("VALET_TEST_NONE", "", 1);
	assert_true(read_yaml("secret: env:VALET_TEST_NONE\n"));
	expect_report("f:1:1: secret: warning: the secret is empty: none will be sent\n");
	assert_true(secret_is_off(&thing.secret));
	unsetenv("VALET_TEST_NONE");
}

/* A secret or password in the wrong place is not repeated in a report. */
static void nothing_leaks(void **state)
{
	static const char *const texts[] = {
		"secret: sk-canary123\n",
		"secret: env:sk-canary123\n",
		"secret: [sk-canary123]\n",
		"secret: {a: sk-canary123}\n",
		"text: \"http://u:canary123@h/\\t\"\n",
		"number: http://canary123@h/?x@y\n",
		"number: http://h/?key=canary123\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_false(read_yaml(texts[i]));
		for (const struct field_problem *p = reader.problems; p; p = p->next)
			assert_int_equal(str_search(p->text, STR("canary123")), p->text.len);
	}
	refuse("number: http://me:pw@host/x\n",
	       "f:1:1: number: expected a whole number from -5 to 5, "
	       "found \"http://*@host/x\"\n");
}

static void near_names(void **state)
{
	const struct str names[] = {STR_INIT("url"), STR_INIT("name"), STR_INIT("max_body")};
	assert_ptr_equal(field_near(STR("ulr"), names, 3), &names[0]); /* swapped */
	assert_ptr_equal(field_near(STR("uxx"), names, 3), NULL);
	assert_ptr_equal(field_near(STR("urls"), names, 3), &names[0]);
	assert_ptr_equal(field_near(STR("Name"), names, 3), &names[1]);
	assert_ptr_equal(field_near(STR("max-bdoy"), names, 3), &names[2]);
	assert_ptr_equal(field_near(STR("other"), names, 3), NULL);
	assert_ptr_equal(field_near(STR(""), names, 3), NULL);
}

static void quoting(void **state)
{
	struct buf out;
	char utf8[200];
	for (size_t i = 0; i + 1 < sizeof(utf8); i += 2) {
		utf8[i] = '\xc3';
		utf8[i + 1] = '\xa9';
	}
	buf_init(&out, 4096);
	for (size_t n = 0; n <= sizeof(utf8); n++) {
		buf_clear(&out);
		field_quote(&out, str_of(utf8, n));
		assert_true(out.len <= 86);
		if (n % 2 == 0 || n > 80) /* a whole text, or a cut one: no half character */
			assert_int_equal(str_search(buf_str(&out), STR("\xef\xbf\xbd")), out.len);
	}
	buf_clear(&out);
	field_quote(&out, STR("a\"\x1b\n\\\xc2\x9b"));
	assert_true(str_eq(buf_str(&out), STR("\"a\\\"??\\\\?\"")));
	buf_release(&out);
}

static void reference(void **state)
{
	struct buf out;
	buf_init(&out, 1 << 16);
	field_print_reference(&out, &thing_table);
	assert_true(str_search(buf_str(&out),
			       STR("| `time` | a time from 10ms to 1h, such as 500ms, 5s, "
				   "2m or 1h, or off | `5s` | A time. |\n")) < out.len);
	assert_true(str_search(buf_str(&out),
			       STR("\n## `wheels[]`\n\n| Name | Value | Default | Meaning |\n"
				   "| --- | --- | --- | --- |\n"
				   "| `name` | a text of 1 to 8 bytes | required | What it is "
				   "called. |\n"
				   "| `size` | a whole number from 1 to 99 | `7` | Large \\| "
				   "small. |\n")) < out.len);
	assert_true(str_search(buf_str(&out), STR("| `price` | an amount of dollars such as 2.50 | none | Money. |\n"
						  "| `fee` | an amount of dollars such as 2.50, or off | `0.5` | More. |\n")) < out.len);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations),  cmocka_unit_test(sizes),
		cmocka_unit_test(standards),  cmocka_unit_test(values),
		cmocka_unit_test(mistakes),   cmocka_unit_test(many_mistakes),
		cmocka_unit_test(secrets),    cmocka_unit_test(nothing_leaks),
		cmocka_unit_test(near_names), cmocka_unit_test(quoting),
		cmocka_unit_test(reference),  cmocka_unit_test(money),
		cmocka_unit_test(decimals),   cmocka_unit_test(literal_secrets),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
