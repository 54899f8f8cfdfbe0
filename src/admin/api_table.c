/* api_table.c - the endpoints of the admin API in one table, and the reference that is printed from it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/api_parts.h"

#define KEY_EXAMPLE                                                                                                                                  \
	"{\"key\": {\"id\": \"7GxQ2mPz0A\", \"name\": \"obsidian\", \"serial\": 3, \"state\": \"active\", \"created_at\": 1795305600,\n"                       \
	" \"revoked_at\": null, \"expires_at\": null, \"rotated_until\": null, \"models\": [\"qwen*\"], \"rpm\": 60, \"budget\": [\"1M/month\"],\n"  \
	" \"in_flight\": 1, \"limits\": [{\"scope\": \"key\", \"budget\": \"1M/month\", \"unit\": \"tokens\", \"amount\": 1000000,\n"                \
	"  \"settled\": 250000, \"held\": 4096, \"left\": 745904, \"resets_at\": 1796083200}]}}"

#define SINCE_HELP \
	"From when on: `7d` or `24h` before now, a day (`2026-11-01`: its beginning), or seconds since 1970. Use is counted by quarters of an hour; the one " \
	"that holds this moment counts as a whole."

const struct api_endpoint api_endpoints[] = {
	{"GET", "/api/keys", api_keys_list, API_NO_BODY, {{NULL}}, "all keys",
	 "All keys, by name, as `{\"data\": [KEY, …]}`. A key never shows its secret, nor anything that it could be found from.", NULL},
	{"POST", "/api/keys", api_keys_create, API_BODY, {{NULL}}, "makes a key",
	 "The body is the key's document: the members below; `name` is required. The answer has status 201. The secret is shown here and never "
	 "again. A name that exists is refused with 409. Where the setting `probation.new_keys` is on, the key begins on probation unless "
	 "the body says otherwise.",
	 "{\"key\": KEY, \"secret\": \"vk_…\"}"},
	{"GET", "/api/keys/{key}", api_keys_show, API_NO_BODY, {{NULL}}, "one key",
	 "`{key}` is a name or an id (names are looked up first). What a KEY looks like: the members of its document as they are stored, and around them\n\n"
	 "- `state`: `active`, `revoked` or `expired`; times are seconds since 1970;\n"
	 "- `rotated_until`: until then the secret before the last rotation is still valid;\n"
	 "- `in_flight`: requests that are running; 0 where no server runs;\n"
	 "- `limits`: each budget with what of it is used up (`settled`), reserved by running requests (`held`) and `left`, in tokens or in\n"
	 "  nano-dollars (`unit` is `tokens` or `money`). `scope` is `key`, or `model:PATTERN` for a budget of some models.",
	 KEY_EXAMPLE},
	{"PATCH", "/api/keys/{key}", api_keys_update, API_BODY, {{NULL}}, "changes a key",
	 "The members of the body replace those of the key's document; `null` takes one away. A new `name` renames the key. What was used stays "
	 "used: a change of limits never begins a window anew.",
	 "{\"key\": KEY}"},
	{"DELETE", "/api/keys/{key}", api_keys_delete, API_NO_BODY, {{NULL}}, "deletes a key",
	 "The key is refused from now on and forgotten; what it used stays in the books, under its number (`#17`). To keep its name there, revoke it "
	 "instead.",
	 "{\"deleted\": true, \"key\": KEY}"},
	{"POST", "/api/keys/{key}/rotate", api_keys_rotate, API_MAY_BODY, {{NULL}}, "gives a key a new secret",
	 "The id stays. The old secret is valid until `overlap` is over: `24h` unless the body says otherwise (`{\"overlap\": \"7d\"}`), "
	 "at most 365 days; 0 ends it at once. A second rotation ends the overlap of the first. A revoked key is refused with 409.",
	 "{\"key\": KEY, \"secret\": \"vk_…\"}"},
	{"POST", "/api/keys/{key}/revoke", api_keys_revoke, API_NO_BODY, {{NULL}}, "refuses a key from now on",
	 "Both its secrets are refused for ever; it stays in the list. Revoking it again changes nothing.", "{\"key\": KEY}"},
	{"GET", "/api/keys/{key}/advice", api_advice_one, API_NO_BODY, {{NULL}}, "proposes limits for a key",
	 "From what the key used in the last 30 days: a budget for a day of half as much again as its 95th percentile, and rates of three times the "
	 "busiest quarter of an hour of its last seven days with use, rounded up to two digits. `why` says which numbers led there. With less than three days of use `proposal` is "
	 "`null`. Money is in nano-dollars.",
	 "{\"data\": [{\"key\": \"obsidian\", \"days\": 12, \"requests\": 3120, \"p95_day_tokens\": 41000, \"p95_day_nanos\": 0,\n"
	 "  \"max_day_tokens\": 52000, \"max_day_nanos\": 0, \"peak_quarter_requests\": 75, \"peak_quarter_tokens\": 21000,\n"
	 "  \"proposal\": {\"budget\": [\"62k/day\"], \"rpm\": 15, \"tpm\": 4200}, \"why\": [\"…\"]}]}"},
	{"GET", "/api/advice", api_advice_all, API_NO_BODY, {{NULL}}, "proposes limits for all keys",
	 "The same for every key that is not revoked.", NULL},
	{"GET", "/api/usage", api_usage, API_NO_BODY,
	 {{"by", "One row for each `key` (the default), `model`, `target` or `day`."},
	  {"since", SINCE_HELP " Default: `7d`."},
	  {"until", "Until when, not included; written in the same way. Default: now."},
	  {"key", "Only of this key: name, id, `#17` for one that is deleted, `-` for requests without a key."},
	  {NULL}},
	 "what was used",
	 "Rows come in order of cost and tokens, days in their order. `cost_nanos` is what was to be paid, `reference_nanos` what the same "
	 "would have cost in the cloud, both in nano-dollars. `upstream`, `counted`, `estimated` and `aborted` say for how many requests the "
	 "numbers come from the target's own count, from events and the learned ratio of bytes to tokens, from bytes or a reservation alone, or "
	 "from an answer that was broken off. `orphans` were charged at their reservation after a crash, `unpriced` had no price, and with "
	 "`over_hold` the target used more than its own cap allowed. `cached_tokens` are part of `input_tokens`.",
	 "{\"by\": \"key\", \"from\": 1794700800, \"to\": 1795305600,\n"
	 " \"data\": [{\"key\": \"obsidian\", \"requests\": 120, \"errors\": 1, \"input_tokens\": 90000, \"cached_tokens\": 4000,\n"
	 "  \"output_tokens\": 31000, \"cost_nanos\": 0, \"reference_nanos\": 41000000, \"upstream\": 118, \"counted\": 1, \"estimated\": 0,\n"
	 "  \"aborted\": 1, \"orphans\": 0, \"unpriced\": 0, \"over_hold\": 0}],\n"
	 " \"total\": {\"requests\": 120, …}}"},
	{"GET", "/api/targets", api_targets_list, API_NO_BODY, {{NULL}}, "all targets",
	 "All targets, configured ones first, as `{\"data\": [TARGET, …]}`. Never shows a secret.", NULL, true},
	{"GET", "/api/targets/{target}", api_targets_show, API_NO_BODY, {{NULL}}, "one target",
	 "What a TARGET looks like:\n\n"
	 "- `state` is what the watcher sees: `up`, `loading`, `down`, `pending` (not looked at yet), or `gone` where it is set aside but neither\n"
	 "  configured nor found any more; `since`, seconds since 1970; `error`, why it is not up;\n"
	 "- `breaker`: `closed`, `open` or `half_open`. `asked_again_at`: until then it is left alone, for its failures or since it asked for a pause;\n"
	 "  `null`: it may be asked now. `secret_refused`: it is left alone because it does not accept its secret;\n"
	 "- `drained`: `null`, or `settings` or `operator`: who has set it aside;\n"
	 "- `places`: requests that it has now (`taken`) and may have (`limit`, `null`: no limit), and where the limit comes `from`: `configured`,\n"
	 "  `engine` (it tells), `learned`, or `null`. `engine_waiting`: requests in its own queue, as it last told;\n"
	 "- `models`: what it serves, by public name, `as` the target calls it. `warm`: it says that it has the model loaded. `first_token_ms` (of a short\n"
	 "  prompt, were it idle), `tokens_per_second` and `service_ms` (of a whole request) are what `answers` answers have taught; `null`:\n"
	 "  nothing yet. `overflow`: only by that policy.",
	 "{\"target\": {\"name\": \"gpu1\", \"kind\": \"vllm\", \"cloud\": null, \"url\": \"http://10.0.0.5:8000\", \"local\": true,\n"
	 "  \"state\": \"up\", \"since\": 1795305600, \"error\": null, \"breaker\": \"closed\", \"asked_again_at\": null,\n"
	 "  \"secret_refused\": false, \"drained\": null, \"places\": {\"taken\": 3, \"limit\": 8, \"from\": \"configured\"},\n"
	 "  \"engine_waiting\": 0, \"models\": [{\"model\": \"qwen3\", \"as\": \"Qwen/Qwen3-8B\", \"overflow\": false, \"warm\": true,\n"
	 "   \"first_token_ms\": 85, \"tokens_per_second\": 61, \"service_ms\": 4100, \"answers\": 320}]}}",
	 true},
	{"POST", "/api/targets/{target}", api_targets_change, API_BODY, {{NULL}}, "sets a target aside, or takes it back",
	 "`{\"drain\": true}`: it gets no new requests; those that run go on, those that wait go elsewhere or wait on. Holds across restarts, until\n"
	 "`{\"drain\": false}`; then requests that wait get its places at once. What the settings have set aside is refused with 409.",
	 "{\"target\": TARGET}", true},
	{"GET", "/api/explain", api_explain, API_NO_BODY,
	 {{"model", "the model or alias, as clients name it; needed"}, {"key", "as if this key asked: name or id"}, {"tokens", "length of the prompt, normally 100"},
	  {"operation", "`chat` (the default), `completions`, `embeddings` …"}, {"local_only", "`1`: as if the request said `x-valet-local-only: 1`"}},
	 "where a request would go now, and why",
	 "What would be done with such a request as things stand; nothing is sent and nothing is counted.\n\n"
	 "- `decision`: `what` is `place`, `overflow` (then why), `queue` or `refused` (then with the `error` that the client would get); `why`, in words;\n"
	 "- `places` of the model in the order of the settings: `fit` is `fits`, `not_served` (not this operation), `not_local`, `drained`, `left_alone` (it\n"
	 "  fails, refuses its secret, or asked for a pause) or `too_small` (its window, and another's is larger); `first_token_ms`: predicted for this\n"
	 "  length and what it has to do now; `null`: not known yet;\n"
	 "- `overflow`: the policy and its places, or `null`. `waiting`: requests in the queue for this model.",
	 "{\"model\": \"qwen3\", \"asked\": \"gpt-4o\", \"operation\": \"chat\", \"key\": \"obsidian\", \"tokens\": 900, \"local_only\": false,\n"
	 "  \"strategy\": \"capacity\", \"waiting\": 0,\n"
	 "  \"decision\": {\"what\": \"place\", \"target\": \"gpu1\", \"overflow\": null, \"error\": null, \"why\": \"the only one\"},\n"
	 "  \"places\": [{\"target\": \"gpu1\", \"as\": \"Qwen/Qwen3-8B\", \"local\": true, \"state\": \"up\", \"fit\": \"fits\", \"taken\": 3, \"limit\": 8,\n"
	 "    \"engine_waiting\": 0, \"context\": 32768, \"warm\": true, \"first_token_ms\": 85, \"chosen\": true}], \"overflow\": null}",
	 true},
	{"GET", "/api/live", NULL, API_NO_BODY, {{NULL}}, "the requests in flight",
	 "`queue`: how many wait for a place, how many of them of class batch, and for how long the oldest has. In `data` each request: `since_ms` since\n"
	 "it began, `step` of its life, `waiting` for a place, a rate or a budget, and for how long in all (`queue_ms`); `position` in the queue (0: it\n"
	 "is not in it), `target` that serves it (`-`: none yet), `hold_tokens` and `hold_nanos` reserved of budgets, `tokens_out` streamed so far.",
	 "{\"queue\": {\"waiting\": 2, \"waiting_batch\": 0, \"oldest_ms\": 840},\n"
	 " \"data\": [{\"id\": \"req_…\", \"key\": \"obsidian\", \"model\": \"qwen3\", \"target\": \"ollama\", \"op\": \"chat\", \"step\": \"RELAY\",\n"
	 "  \"stream\": true, \"waiting\": false, \"position\": 0, \"queue_ms\": 310, \"since_ms\": 1200, \"attempts\": 1, \"status\": 200,\n"
	 "  \"hold_tokens\": 4096, \"hold_nanos\": 0, \"tokens_out\": 120}]}",
	 true},
	{"POST", "/api/live/{request}/stop", NULL, API_NO_BODY, {{NULL}}, "stops a request",
	 "Its client gets an error, its target is left, and what was produced is charged. 404 where it is over already.",
	 "{\"stopped\": true, \"id\": \"req_…\"}", true},
	{"GET", "/api/ledger", api_ledger, API_NO_BODY, {{NULL}}, "whether the books are right",
	 "`identity` is `holds` where for every budget what is settled, held and leased but unused adds up to what was leased, else `broken`, "
	 "and `problems` says where. `scopes` has each budget of the running server (`key` `-` and an empty `pattern`: of the whole "
	 "gateway). Without a server the database is checked against itself instead, and `scopes` is empty.",
	 "{\"identity\": \"holds\", \"problems\": [], \"scopes\": [{\"key\": \"obsidian\", \"pattern\": \"\", \"budget\": \"1M/month\",\n"
	 "  \"amount\": 1000000, \"settled\": 250000, \"held\": 4096, \"leased\": 300000, \"remainder\": 45904}]}"},
	{NULL},
};

/* ---- the reference ---- */

static void print_overview(struct buf *out)
{
	BUF_ADD(out, "| Method | Path | What it does |\n| --- | --- | --- |\n");
	for (const struct api_endpoint *e = api_endpoints; e->method; e++)
		buf_addf(out, "| %s | `%s` | %s |\n", e->method, e->path, e->summary);
}

static void print_endpoint(struct buf *out, const struct api_endpoint *e)
{
	buf_addf(out, "\n## `%s %s`\n\n%s%s\n", e->method, e->path, e->text, e->server ? " Only where a server runs." : "");
	if (e->queries[0].name)
		BUF_ADD(out, "\n| Query | Meaning |\n| --- | --- |\n");
	for (int i = 0; i < API_QUERY_MAX && e->queries[i].name; i++)
		buf_addf(out, "| `%s` | %s |\n", e->queries[i].name, e->queries[i].help);
	if (e->example)
		buf_addf(out, "\n```text\n%s\n```\n", e->example);
}

void api_print_reference(struct buf *out)
{
	BUF_ADD(out, "# Admin API\n\n"
		     "What `admin_listen` serves below `/api/`, as JSON, and what `valet key`, `usage`, `target` and `live` use. Keys and usage need no\n"
		     "running server. Each request carries the admin secret: `Authorization: Bearer va_…`. Valet makes it at its first start, in the file `admin.key` of its\n"
		     "state folder; `VALET_ADMIN_KEY` overrides it.\n\n"
		     "Errors look as with OpenAI's API:\n\n"
		     "```json\n{\"error\": {\"message\": \"rpm: expected a whole number from 1 to 1000000000, or off, found \\\"many\\\"\",\n"
		     "           \"type\": \"invalid_request_error\", \"param\": \"rpm\", \"code\": \"invalid_value\"}}\n```\n\n"
		     "Status 400: something in the body or the query is wrong (`message` has all mistakes of a document, `param` the first one's place);\n"
		     "404: no such key or target; 405: not with this method; 409: against what is there already; 500: the store failed, nothing was changed;\n"
		     "503: a running server is needed for that.\n"
		     "A member or a query that is not known is refused.\n\n");
	print_overview(out);
	for (const struct api_endpoint *e = api_endpoints; e->method; e++)
		print_endpoint(out, e);
	BUF_ADD(out, "\n## The document of a key\n\n");
	field_print_reference(out, &key_table);
}
