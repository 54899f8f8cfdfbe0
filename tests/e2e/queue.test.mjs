// queue.test.mjs - proves: an engine never gets more requests than it has places; the others wait, fairly between keys, and are told how long; whoever leaves frees
// the place in line; nobody gets an error because it is busy for a moment.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { bearer, slow, start, until, user } from './harness.mjs';

const valet = await start({
  targets: [{ sim: { dialect: 'llamacpp', slots: 2, rate: 200 } }],
  config: { queue: { max_wait: '20s', heartbeat_after: '300ms', total: 60, per_key: 40 }, timeouts: { heartbeat: '300ms' } },
});
const ask = (headers = {}, more = {}) => valet.post('/v1/chat/completions', { model: 'm', messages: user('hi'), max_tokens: 20, ...more }, { 'x-sim-tokens': '20', ...headers });
const waiting = () => valet.metric('valet_queue_waiting');
let a, b;

test('the engine says how many places it has, and never gets more', async () => {
  await until('two places', async () => await valet.metric('valet_target_places') === 2);
  let most = 0, over = 0;
  const calls = Array.from({ length: 20 }, () => ask());
  const watching = (async () => {
    for (let done = false; !done;) {
      const stats = await valet.sim.stats();
      most = Math.max(most, stats.active);
      over = Math.max(over, stats.waiting);
      done = (await Promise.race([Promise.all(calls).then(() => true), new Promise((r) => setTimeout(r, 20))])) === true;
    }
  })();
  const answers = await Promise.all(calls);
  await watching;
  assert.ok(answers.every((x) => x.status === 200));
  assert.equal(over, 0, 'nothing waits inside the engine');
  assert.equal(most, 2);
  assert.ok(answers.some((x) => Number(x.headers.get('x-valet-queue-ms')) > 100));
  assert.equal(await waiting(), 0);
  const told = new Map(answers.map((x) => [x.headers.get('x-request-id'), Number(x.headers.get('x-valet-queue-ms'))]));
  const rows = await until('all are in the database', () => {
    const file = fs.readdirSync(valet.state).find((f) => /^requests-.*\.db$/.test(f));
    const db = file && new DatabaseSync(path.join(valet.state, file), { readOnly: true });
    const found = db?.prepare('SELECT * FROM requests').all().filter((row) => told.has(String(row.request ?? row.request_id ?? row.id)));
    db?.close();
    return found?.length === told.size && found;
  });
  for (const row of rows) assert.ok(Math.abs(Number(row.queue_ms) - told.get(String(row.request ?? row.request_id ?? row.id))) <= 1, 'the record tells the same wait');
});

test('a flood of one key does not make another wait for it', async () => {
  a = await valet.key('flood');
  b = await valet.key('chat');
  await until('keys hold', async () => (await valet.fetch('/v1/models', { headers: bearer(b) })).status === 200);
  const flood = Array.from({ length: 38 }, () => ask(bearer(a)));
  await until('they wait', async () => await waiting() > 30);
  const waits = [];
  for (let i = 0; i < 5; i++) waits.push(Number((await ask(bearer(b))).headers.get('x-valet-queue-ms')));
  assert.ok(Math.max(...waits) < 450 * slow, `the other key waited ${waits} ms; a request takes 100`);
  assert.ok((await Promise.all(flood)).every((x) => x.status === 200), 'the flood is served as well');
});

test('interactive goes before batch', async () => {
  const batch = await valet.key('nightly', '--class', 'batch');
  await until('it holds', async () => (await valet.fetch('/v1/models', { headers: bearer(batch) })).status === 200);
  const order = [];
  const run = (key, name) => ask(bearer(key)).then((x) => { order.push(name); return x; });
  const first = Array.from({ length: 12 }, () => run(batch, 'batch'));
  await until('they wait', async () => await waiting() >= 8);
  const second = Array.from({ length: 4 }, () => run(b, 'interactive'));
  await Promise.all([...first, ...second]);
  const last = order.lastIndexOf('interactive');
  assert.ok(last < 10, `order of the ends: ${order}`);
});

test('a stream that waits is told its position in comments, and then gets its answer', async () => {
  const busy = Array.from({ length: 12 }, () => ask(bearer(a), {}));
  await until('they wait', async () => await waiting() >= 8);
  const answer = await ask(bearer(a), { stream: true });
  const text = await answer.text();
  assert.equal(answer.status, 200);
  assert.match(text, /^: queued position=\d+ eta=\d+\.\ds\n\n/);
  assert.match(text, /data: \[DONE\]/);
  await Promise.all(busy);
});

test('who leaves the line frees its place; per key and in all no more than allowed wait', async () => {
  const controls = Array.from({ length: 42 }, () => new AbortController());
  const calls = controls.map((c) => fetch(valet.base + '/chat/completions', { method: 'POST', signal: c.signal, headers: { ...bearer(a), 'content-type': 'application/json', 'x-sim-tokens': '400' },
    body: JSON.stringify({ model: 'm', messages: user('x'), max_tokens: 400 }) }).catch((error) => error));
  await until('the line of the key is full', async () => await waiting() === 40);
  const refused = await ask(bearer(a));
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  assert.equal((await refused.json()).error.code, 'queue_full');
  const other = ask(bearer(b));
  for (const c of controls) c.abort();
  await Promise.all(calls);
  assert.equal((await other).status, 200);
  await until('nobody waits', async () => await waiting() === 0);
  await until('nothing is in flight', async () => await valet.metric('valet_target_in_flight') === 0);
  assert.deepEqual((await valet.json('live')).data, []);
});

test('whoever waited too long is told the position that it reached', async () => {
  valet.write(valet.text({ queue: { max_wait: '400ms' } }));
  await until('reloaded', () => /settings reloaded/.test(valet.log));
  const hold = [0, 1].map(() => valet.post('/v1/chat/completions', { model: 'm', messages: user('x'), max_tokens: 400 }, { ...bearer(a), 'x-sim-tokens': '400' }));
  await until('places are taken', async () => (await valet.sim.stats()).active === 2 && await waiting() === 0);
  const late = await ask(bearer(b));
  assert.equal(late.status, 503);
  const { error } = await late.json();
  assert.equal(error.code, 'queue_timeout');
  assert.match(error.message, /position \d+/);
  assert.ok(Number(late.headers.get('retry-after')) >= 1);
  await Promise.all(hold);
});
