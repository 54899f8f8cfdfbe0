// secrets.test.mjs - rows 37, 38 and 46: guessing keys costs the gateway next to nothing; a key that is taken away or narrowed is refused within a second on
// every worker; and no secret, no prompt and no answer stands in a log, a metric, an error, an answer of the admin API, or on the disk.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { start } from '../e2e/harness.mjs';
import { ask, call, cpuUs, crash, drive, fed, readyKey, slow, until, user } from './aid.mjs';
import { completion, Raw } from './raw.mjs';

const quiet = { log: { requests: 'off' }, discovery_interval: '1h' };

// ---- row 38 ----------------------------------------------------------------------------------------------------------------

const crowd = await start({ targets: [{ sim: { slots: 200 } }], config: { ...quiet, workers: 4 } });

test('38: a key that is revoked, narrowed or limited while it is in use: refused within a second on every worker', async (t) => {
  const changes = [
    ['revoked', 401, 'revoke'], ['narrowed', 403, 'update', '--models', 'other'], ['expired', 401, 'update', '--expires', '1s'],
    ['rotated', 401, 'rotate', '--overlap', '0'], ['limited', 429, 'update', '--rpm', '1', '--max-wait', 'off'], ['deleted', 401, 'delete', '--yes'],
  ];
  for (const [name, status, command, ...options] of changes) {
    const secret = await readyKey(crowd, name);
    const bytes = call(secret, { model: 'm', messages: user('hi'), max_tokens: 3 }, 'x-sim-tokens: 3\r\n');
    const connections = 48; // enough that each of four workers has some
    let fine = 0, refused = 0, asked, done = Infinity, last = 0, wrong;
    const load = drive(crowd.port, { connections, make: () => bytes, more: () => refused < 2000 && !wrong, heard: (a) => {
      if (a.status === 200 && status !== 429) last = Math.max(last, a.sentAt);
      if (a.status === 200) fine++;
      else if (a.status === status && asked) refused++;
      else wrong = `${a.status} ${a.text}`;
      if (status === 429 && a.status === 200 && done < Infinity && a.sentAt > done + 1000) wrong = 'let in over its rate'; // 1 a minute, and that one is long over
    } });
    await until('it is in use', () => fine > 500);
    asked = performance.now();
    const { code, stderr } = await crowd.cli('key', command, name, ...options);
    done = performance.now() + (name === 'expired' ? 1000 : 0);
    if (code !== 0) wrong = stderr;
    await load;
    assert.equal(wrong, undefined, name);
    assert.ok(last - done < 1000, `${name}: let in ${(last - done).toFixed(0)} ms after the command had ended`);
    t.diagnostic(`${name}: the last request that was let in began ${(last ? last - asked : 0).toFixed(0)} ms after the command began, which took ${(done - asked).toFixed(0)} ms`);
  }
});

// ---- row 37 ----------------------------------------------------------------------------------------------------------------

test('37: guessing keys: what a wrong one costs', async (t) => {
  const good = await readyKey(crowd, 'guessed');
  const [, id, secret] = good.split('_');
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const random = (n) => Array.from(crypto.randomBytes(n), (byte) => alphabet[byte % 62]).join('');
  const crc32 = (text) => ~Buffer.from(text).reduce((crc, byte) => { crc ^= byte; for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1; return crc >>> 0; }, 0xffffffff) >>> 0;
  const check = (text) => { let n = crc32(text), out = ''; for (let i = 0; i < 6; i++) { out = alphabet[n % 62] + out; n = Math.floor(n / 62); } return out; };
  const sealed = (who, what) => { const text = `vk_${who}_${what}`; return `${text}_${check(text)}`; };
  assert.equal(sealed(id, secret), good, 'this test knows how keys are sealed');
  const kinds = {
    malformed: () => 'sk-' + random(48), mistyped: () => `vk_${random(10)}_${random(43)}_${random(6)}`,
    'unknown id': () => sealed(random(10), random(43)), 'right id, wrong secret': () => sealed(id, random(43)),
  };
  const body = JSON.stringify({ model: 'm', messages: user('hi') }), refusals = await crowd.metric('valet_keys_refused_total');
  const count = 2000, spent = {};
  for (const [kind, make] of Object.entries(kinds)) {
    const calls = Array.from({ length: count }, () => call(make(), body));
    let heard = 0;
    const before = cpuUs(crowd.program.pid);
    await drive(crowd.port, { connections: 4, make: (i) => calls[i], more: (i) => i < count, heard: (a) => { heard++; assert.equal(a.status, 401, a.text); } });
    spent[kind] = (cpuUs(crowd.program.pid) - before) / count;
    assert.equal(heard, count);
  }
  t.diagnostic(`CPU of one refusal, HTTP and system calls included: ${Object.entries(spent).map(([kind, us]) => `${kind} ${us.toFixed(1)} µs`).join(', ')}`);
  for (const [kind, us] of Object.entries(spent)) assert.ok(us < 60 * slow * slow, `${kind}: ${us.toFixed(1)} µs`);
  assert.equal(await crowd.metric('valet_keys_refused_total') - refusals, count * Object.keys(kinds).length);
});

// ---- row 46 ----------------------------------------------------------------------------------------------------------------

test('46: secrets, prompts and answers leave no trace', async () => {
  const canary = (what) => `canary${what}${crypto.randomBytes(9).toString('hex')}`;
  const word = { target: canary('target'), admin: canary('admin'), prompt: canary('prompt'), answer: canary('answer'), foreign: canary('foreign'), query: canary('query'), hook: canary('hook'), field: canary('field') };
  const echo = (c, request) => {
    const text = request.body.toString();
    if (text.includes('"refuse"')) return c.answer(JSON.stringify({ error: { message: `Incorrect API key provided: ${word.target}`, type: 'x', code: 'invalid_api_key' } }), { status: 401 });
    if (text.includes('"break"')) return c.answer('<html>' + word.target, { status: 500, type: 'text/html' });
    if (text.includes('"stream":true')) return c.stream(word.answer, ' and more');
    return c.answer(completion(word.answer));
  };
  const engine = await Raw.start({ behave: echo }), hook = await Raw.start({ behave: (c) => c.answer('{}') });
  const valet = await start({
    targets: [{ name: 'cloud', url: engine.url, secret: 'env:CANARY' }], env: { CANARY: word.target, VALET_ADMIN_KEY: word.admin },
    config: { ...quiet, log: { level: 'debug', requests: 'on' }, models: [{ name: 'm', price: { input: '1', output: '10' } }],
      webhook: { url: `http://127.0.0.1:${hook.port}/${word.hook}`, kind: 'json' } },
  });
  const seen = []; // [where, text]
  const note = (where, text) => seen.push([where, text]);
  const admin = async (method, where, body) => note(`${method} ${where}`, JSON.stringify(await valet.api(method, where, body)));
  const disk = (folder = valet.state) => {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const name = path.join(folder, entry.name);
      if (entry.isDirectory()) disk(name);
      else note(name, fs.readFileSync(name).toString('latin1'));
    }
  };
  const made = JSON.parse((await valet.cli('key', 'create', 'k', '--budget', '200/day', '--budget', '$5/month', '--max-wait', 'off', '--json', '--admin', `127.0.0.1:${valet.adminPort}`)).stdout || '{}');
  const secret = made.secret ?? (await valet.api('POST', '/api/keys', { name: 'k', budget: ['200/day', '$5/month'], max_wait: 'off' })).body.secret;
  assert.match(secret, /^vk_/);
  word.key = secret.split('_')[2];
  await until('it holds', async () => (await valet.fetch('/v1/models', { headers: { authorization: `Bearer ${secret}` } })).status === 200);

  for (const format of ['text', 'json']) {
    valet.write(valet.text({ log: { level: 'debug', requests: 'on', format } }));
    if (format === 'json') await until('reloaded', () => /settings reloaded/.test(valet.log));
    const mine = `authorization: Bearer ${secret}\r\n`, say = (more) => JSON.stringify({ model: 'm', max_tokens: 20, messages: user(word.prompt), ...more });
    const answers = [];
    for (const more of [{}, { stream: true }]) answers.push(await ask(valet, { body: say(more), fields: mine }));
    for (const answer of answers) assert.ok(answer.status !== 200 || answer.text.includes(word.answer));
    const errors = {
      foreign: { body: say(), fields: `authorization: Bearer sk-${word.foreign}\r\n` }, mistyped: { body: say(), fields: mine.replace(/..\r\n$/, 'zz\r\n') },
      'wrong secret': { body: say(), fields: `x-api-key: ${secret.replace(/_.{4}/, '_0000')}\r\n` }, refused: { body: say({ user: 'refuse' }), fields: mine },
      broken: { body: say({ user: 'break' }), fields: mine }, 'no such model': { body: say({ model: 'nothing' }), fields: mine },
      'no JSON': { body: `{"model":"m","messages":"${word.prompt}`, fields: mine }, 'too many tokens': { body: say({ max_tokens: 100000 }), fields: mine },
      'unknown path': { path: `/v1/nothing?api_key=${word.query}`, body: say(), fields: mine }, 'bad field': { body: say(), fields: `${mine}x-note: ${word.field}\r\nx-bad header: ${word.field}\r\n` },
    };
    for (const [what, how] of Object.entries(errors)) {
      const answer = await ask(valet, how);
      assert.ok(answer.status >= 400, `${what}: ${answer.status}`);
      note(`the answer to: ${what}`, answer.line + JSON.stringify(answer.headers) + answer.text.replace(how.path, '')); // who asked may read its own address
    }
  }
  await until('used up', async () => (await ask(valet, { body: JSON.stringify({ model: 'm', max_tokens: 40, messages: user(word.prompt) }), fields: `authorization: Bearer ${secret}\r\n` })).status === 429);
  note('the target\'s own copy', engine.bytes.includes(word.target) && engine.bytes.includes(word.prompt) ? '' : assert.fail('the canaries were used'));
  await fed(valet);
  for (const where of ['/api/keys', '/api/keys/k', '/api/keys/nobody', '/api/advice', '/api/keys/k/advice', '/api/usage', '/api/usage?by=target', '/api/usage?by=model&key=k', '/api/ledger', '/api/live', '/api/nothing']) await admin('GET', where);
  await admin('PATCH', '/api/keys/k', { rpm: 'many' });
  const wrongAdmin = await fetch(`${valet.admin}/api/keys`, { headers: { authorization: `Bearer ${word.admin}x` } });
  assert.equal(wrongAdmin.status, 401);
  note('a wrong admin secret', await wrongAdmin.text());
  note('/metrics', await (await fetch(`${valet.admin}/metrics`)).text());
  note('/v1/models', await (await valet.fetch('/v1/models', { headers: { authorization: `Bearer ${secret}` } })).text());
  for (const args of [['key', 'list'], ['key', 'show', 'k'], ['key', 'advise', 'k'], ['usage'], ['usage', '--by', 'target'], ['live']]) {
    const { stdout, stderr } = await valet.cli(...args, '--json', '--admin', `127.0.0.1:${valet.adminPort}`);
    note(`valet ${args.join(' ')}`, stdout + stderr);
  }
  note('the command line', fs.readFileSync(`/proc/${valet.program.pid}/cmdline`, 'latin1'));
  disk();
  await crash(valet); // what a crash leaves
  disk();
  note('recover', Object.values(await valet.cli('recover', '--check', '--json')).join(''));
  note('the log of the first run', valet.log);
  await valet.launch();
  await valet.stop();
  disk();
  note('the log of the second run', valet.log);
  await Promise.all([engine.stop(), hook.stop()]);
  assert.match(seen.find(([where]) => where === 'the log of the first run')[1], /request req_.*\n(.*\n)*.*\{"time":.*"request":"req_/, 'both formats were written');
  assert.ok(seen.filter(([where]) => /\.(vj|db|db-wal)$/.test(where)).length >= 6, 'journal and databases were looked at');

  const found = [];
  for (const [what, text] of Object.entries(word)) {
    const forms = [text, Buffer.from(text).toString('hex'), ...[0, 1, 2].map((n) => Buffer.from('x'.repeat(n) + text).toString('base64').slice(4, -4))];
    for (const [where, bytes] of seen) for (const form of forms) if (bytes.includes(form)) found.push(`${what} in ${where}: …${bytes.slice(Math.max(0, bytes.indexOf(form) - 80), bytes.indexOf(form) + 20).replace(/[^ -~]/g, '.')}…`);
  }
  assert.deepEqual(found, []);
});
