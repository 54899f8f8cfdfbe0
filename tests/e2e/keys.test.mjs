// keys.test.mjs - proves: without keys a loopback listener is open; the first key turns keys on; a key opens what it may use and nothing else; changes hold
// within a second and break nothing that runs.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { bearer, freePort, OpenAI, slow, start, until, user, Valet } from './harness.mjs';

const valet = await start({ targets: [{ sim: { models: ['qwen-7b', 'qwen-72b', 'nomic-embed'], rate: 100 } }] });
const chat = (more = {}) => ({ model: 'qwen-7b', messages: user('hi'), max_tokens: 4, ...more });
const ask = (headers = {}, more = {}) => valet.post('/v1/chat/completions', chat(more), headers);
const code = async (answer) => (await answer.json()).error.code;
const TOKEN = /^vk_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/;
let first;

test('no key exists: any or none is accepted, but no foreign Host or Origin', async () => {
  assert.equal((await ask()).status, 200);
  assert.equal((await ask(bearer('anything'))).status, 200);
  assert.equal((await ask({ origin: 'https://evil.example' })).status, 403);
  assert.match(valet.log, /Open to programs of this machine/);
});

test('the first key turns keys on, and is shown once', async () => {
  const made = await valet.cli('key', 'create', 'first');
  assert.equal(made.code, 0, made.stderr);
  first = /vk_\w+/.exec(made.stdout)[0];
  assert.match(first, TOKEN);
  assert.match(made.stdout, /again/, 'says that it is not shown again');
  await until('keys are on', async () => (await ask()).status === 401);
  assert.equal((await ask(bearer(first))).status, 200);
  assert.equal((await ask({ ...bearer(first), origin: 'https://some.example' })).status, 200, 'whoever has a key may call from anywhere');
  const shown = await valet.cli('key', 'show', 'first', '--json');
  assert.ok(!shown.stdout.includes(first.split('_')[2]), 'nothing of the secret comes back');
  for (const file of fs.readdirSync(valet.state)) {
    const where = path.join(valet.state, file);
    if (fs.statSync(where).isFile()) assert.ok(!fs.readFileSync(where).includes(first.split('_')[2]), `the secret stands in ${file}`);
  }
  assert.ok(!valet.log.includes(first.split('_')[2]));
});

test('a key comes in any of three headers, and with the official SDK', async () => {
  for (const headers of [bearer(first), { authorization: `bearer ${first}` }, { 'x-api-key': first }, { 'api-key': first }]) {
    assert.equal((await ask(headers)).status, 200, JSON.stringify(Object.keys(headers)));
  }
  assert.ok((await valet.client({ apiKey: first }).chat.completions.create(chat())).choices.length);
});

test('wrong, mistyped and missing keys: 401 with OpenAI\'s code, the same words for an unknown id and a wrong secret', async () => {
  const other = first.slice(0, 14) + (first[14] === 'a' ? 'b' : 'a') + first.slice(15);
  const answers = [];
  for (const headers of [{}, bearer(''), bearer('sk-123'), bearer(first.slice(0, -1)), bearer(other), bearer('vk_' + 'x'.repeat(5000)), bearer('vk_\u00e9')]) {
    const answer = await ask(headers);
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    const { error } = await answer.json();
    assert.equal(error.code, 'invalid_api_key');
    answers.push(error.message);
  }
  assert.equal(new Set(answers.slice(2)).size, 1);
  await assert.rejects(valet.client({ apiKey: 'sk-wrong' }).chat.completions.create(chat()), OpenAI.AuthenticationError);
  for (const where of ['/v1/models', '/models', '/v1/nothing']) assert.equal((await valet.fetch(where)).status, 401, where);
  for (const where of ['/health', '/ready']) assert.equal((await valet.fetch(where)).status, 200, where);
});

test('a key for some models sees these and no others', async () => {
  const secret = await valet.key('narrow', '--models', 'qwen-7*,nomic*');
  const models = await until('the key works', async () => {
    const answer = await valet.fetch('/v1/models', { headers: bearer(secret) });
    return answer.status === 200 && (await answer.json()).data.map((m) => m.id);
  });
  assert.deepEqual(models, ['nomic-embed', 'qwen-72b', 'qwen-7b']);
  const one = await valet.key('one', '--models', 'qwen-7b');
  await until('the key works', async () => (await ask(bearer(one))).status === 200);
  assert.deepEqual((await (await valet.fetch('/v1/models', { headers: bearer(one) })).json()).data.map((m) => m.id), ['qwen-7b']);
  const refused = await ask(bearer(one), { model: 'qwen-72b' });
  assert.equal(refused.status, 403);
  const { error } = await refused.json();
  assert.equal(error.code, 'model_not_allowed');
  assert.match(error.message, /'one'.*'qwen-72b'/);
  await assert.rejects(valet.client({ apiKey: one }).chat.completions.create(chat({ model: 'qwen-72b' })), OpenAI.PermissionDeniedError);
  assert.equal((await valet.fetch('/v1/models/qwen-72b', { headers: bearer(one) })).status, 403);
});

test('rotation: both secrets work during the overlap, then the new one alone', async () => {
  const old = await valet.key('turning');
  await until('it works', async () => (await ask(bearer(old))).status === 200);
  const { secret } = await valet.json('key', 'rotate', 'turning', '--overlap', '1h');
  assert.match(secret, TOKEN);
  assert.notEqual(secret, old);
  await until('the new one works', async () => (await ask(bearer(secret))).status === 200);
  assert.equal((await ask(bearer(old))).status, 200);
  const { secret: third } = await valet.json('key', 'rotate', 'turning', '--overlap', '0s');
  await until('the newest works', async () => (await ask(bearer(third))).status === 200);
  await until('the one before does not', async () => (await ask(bearer(secret))).status === 401);
});

test('a revoked key is refused within a second, while its stream goes on', async () => {
  const secret = await valet.key('doomed');
  await until('it works', async () => (await ask(bearer(secret))).status === 200);
  const stream = await valet.client({ apiKey: secret }).chat.completions.create(chat({ stream: true, max_tokens: 150 }), { headers: { 'x-sim-tokens': '150' } });
  let chunks = 0;
  const reading = (async () => { for await (const _ of stream) chunks++; })();
  await until('text', () => chunks > 2);
  const began = performance.now();
  assert.equal((await valet.cli('key', 'revoke', 'doomed')).code, 0);
  const answer = await until('refused', async () => { const a = await ask(bearer(secret)); return a.status === 401 && a; });
  assert.ok(performance.now() - began < 1000 * slow);
  assert.match((await answer.json()).error.message, /revoked/);
  await reading;
  assert.ok(chunks >= 150, `the stream was whole (${chunks})`);
});

test('an expired key is refused and says so', async () => {
  const secret = await valet.key('brief', '--expires', '2s');
  await until('it works', async () => (await ask(bearer(secret))).status === 200);
  const answer = await until('it has expired', async () => { const a = await ask(bearer(secret)); return a.status === 401 && a; });
  assert.match((await answer.json()).error.message, /expired/);
});

test('nonsense is refused with the field\'s name', async () => {
  for (const [args, word] of [[['--rpm', '-1'], /rpm/], [['--budget', 'lots'], /budget/], [['--budget', '5/fortnight'], /budget/], [['--class', 'vip'], /class/],
    [['--expires', 'soon'], /expires/], [['--model-budget', 'x=1/eon'], /model_budget/], [['--max-output', '0.5'], /max_output/]]) {
    const { code: status, stderr } = await valet.cli('key', 'create', 'bad', ...args);
    assert.ok(status === 1 || status === 2, args.join(' ') + stderr);
    assert.match(stderr.replaceAll('-', '_'), word);
  }
  assert.equal((await valet.cli('key', 'create', 'first')).code, 1, 'a name that exists');
  assert.equal((await valet.cli('key', 'create')).code, 2);
  assert.equal((await valet.cli('key', 'destroy', 'first')).code, 2);
  const unknown = await valet.cli('key', 'show', 'firs');
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /first/, 'a near name is shown');
});

test('the admin API wants the admin secret, and no browser', async () => {
  assert.equal((await fetch(valet.admin + '/api/keys')).status, 401);
  assert.equal((await fetch(valet.admin + '/api/keys', { headers: bearer(first) })).status, 401, 'a key is not the admin secret');
  assert.equal((await valet.api('GET', '/api/keys')).status, 200);
  assert.equal((await fetch(valet.admin + '/api/keys', { headers: { origin: 'http://localhost:1' } })).status, 403);
  assert.equal(fs.statSync(path.join(valet.state, 'admin.key')).mode & 0o777, 0o600);
  assert.equal(fs.statSync(path.join(valet.state, 'pepper')).mode & 0o777, 0o600);
  const made = await valet.api('POST', '/api/keys', { name: 'by-api', models: ['qwen*'], rpm: 100, budget: ['1M/month'] });
  assert.equal(made.status, 201);
  assert.match(made.body.secret, TOKEN);
  assert.equal((await valet.api('POST', '/api/keys', { name: 'by-api' })).status, 409);
  const bad = await valet.api('POST', '/api/keys', { name: 'x', rmp: 3 });
  assert.equal(bad.status, 400);
  assert.match(bad.body.error.message, /rmp.*rpm/);
  assert.equal((await valet.api('PATCH', '/api/keys/by-api', { rpm: null, tpm: 5000 })).body.key?.tpm ?? (await valet.api('GET', '/api/keys/by-api')).body.key?.tpm
    ?? (await valet.api('GET', '/api/keys/by-api')).body.tpm, 5000);
  assert.equal((await valet.api('DELETE', '/api/keys/by-api')).status, 200);
  assert.equal((await valet.api('GET', '/api/keys/by-api')).status, 404);
  assert.equal((await fetch(valet.origin + '/api/keys', { headers: bearer(first) })).status, 404, 'clients find no admin API');
});

test('/metrics on the main listener: with the admin secret', async () => {
  const secret = fs.readFileSync(path.join(valet.state, 'admin.key'), 'utf8').trim();
  assert.equal((await valet.fetch('/metrics', { headers: bearer(secret) })).status, 200);
  assert.equal((await valet.fetch('/metrics', { headers: bearer(first) })).status, 401);
  assert.ok(await valet.metric('valet_keys_refused_total') > 5);
});

test('keys outlive a restart; the command line works without a server', async () => {
  const before = (await valet.json('key', 'list')).data.map((k) => k.name).sort();
  await valet.stop();
  const offline = await valet.key('made-offline');
  assert.deepEqual((await valet.json('key', 'list')).data.map((k) => k.name).sort(), [...before, 'made-offline'].sort());
  await valet.launch();
  assert.equal((await ask(bearer(first))).status, 200);
  assert.equal((await ask(bearer(offline))).status, 200);
  assert.equal((await ask()).status, 401);
});

test('beyond loopback: refused without keys, served with them', async () => {
  const port = await freePort();
  const closed = await start({ config: { listen: `0.0.0.0:${port}` }, wait: false, targets: [{ url: 'http://127.0.0.1:9/v1' }] });
  const { code: status } = await closed.program.ended;
  closed.program.expectedEnd = true;
  assert.equal(status, 1);
  assert.match(closed.log, /valet key create/);
  const secret = await closed.key('for-the-network');
  closed.port = port;
  closed.origin = `http://127.0.0.1:${port}`;
  closed.options.wait = true;
  await closed.launch();
  const host = { host: 'gateway.example' };
  assert.equal((await closed.fetch('/v1/models', { headers: host })).status, 401);
  assert.equal((await closed.fetch('/v1/models', { headers: { ...host, ...bearer(secret) } })).status, 200);
  assert.equal((await closed.cli('key', 'delete', 'for-the-network', '--yes')).code, 0);
  await until('nobody gets in', async () => (await closed.fetch('/v1/models', { headers: bearer(secret) })).status === 401);
  assert.equal((await closed.fetch('/v1/models')).status, 401);
  await closed.stop('SIGKILL');
});

test('the last key deleted: a loopback listener is open again', async () => {
  for (const { name } of (await valet.json('key', 'list')).data) assert.equal((await valet.cli('key', 'delete', name, '--yes')).code, 0);
  await until('open', async () => (await ask()).status === 200);
  assert.match(valet.log, /the last key is gone/);
});
