// limits.test.mjs - proves: requests and tokens a minute and requests at a time hold per key, model and gateway; who is over waits briefly or is told when to
// come back; every answer says in OpenAI's words what is left.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bearer, OpenAI, slow, start, until, user } from './harness.mjs';

const valet = await start({ targets: [{ sim: { models: ['m', 'narrow'] } }], config: { models: [{ name: 'narrow', limits: { concurrency: 2 } }] } });
const ask = (secret, more = {}, headers = {}) =>
  valet.post('/v1/chat/completions', { model: 'm', messages: user('hi'), max_tokens: 4, ...more }, { ...bearer(secret), ...headers });
const key = async (name, ...args) => {
  const secret = await valet.key(name, ...args);
  await until('the key is known', async () => (await valet.fetch('/v1/models', { headers: bearer(secret) })).status === 200);
  return secret;
};

test('requests a minute: a burst, then 429 with Retry-After, and the way back', async () => {
  const secret = await key('burst', '--rpm', 60, '--max-wait', 'off');
  const began = performance.now();
  const answers = [];
  for (let i = 0; i < 60; i++) answers.push(await ask(secret));
  assert.ok(answers.every((a) => a.status === 200));
  assert.equal(answers[0].headers.get('x-ratelimit-limit-requests'), '60');
  assert.equal(answers[0].headers.get('x-ratelimit-remaining-requests'), '59');
  assert.match(answers[0].headers.get('x-ratelimit-reset-requests'), /^\d+ms$/);
  assert.equal(answers[0].headers.get('x-ratelimit-limit-tokens'), null, 'no limit, no field');
  const refused = await until('over the rate', async () => { const a = await ask(secret); return a.status === 429 && a; });
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  assert.ok(Number(refused.headers.get('retry-after-ms')) <= 1000);
  const { error } = await refused.json();
  assert.equal(error.code, 'rate_limit_exceeded');
  assert.match(error.message, /60 requests a minute of the key 'burst'/);
  await assert.rejects(valet.client({ apiKey: secret }).chat.completions.create({ model: 'm', messages: user('x') }), OpenAI.RateLimitError);
  await until('a second later there is room for one', async () => (await ask(secret)).status === 200);
  assert.ok(performance.now() - began > 0);
});

test('the default is to wait briefly: a rate slows down, it does not refuse', async () => {
  const secret = await key('patient', '--rpm', 120);
  await Promise.all(Array.from({ length: 120 }, () => ask(secret)));
  const began = performance.now();
  const answers = await Promise.all(Array.from({ length: 3 }, () => ask(secret)));
  const took = performance.now() - began;
  assert.deepEqual(answers.map((a) => a.status), [200, 200, 200]);
  assert.ok(took > 700, `three more at two a second took ${took.toFixed(0)} ms`);
  assert.ok(answers.some((a) => Number(a.headers.get('x-valet-queue-ms')) > 300));
});

test('the official SDK waits by itself and succeeds', async () => {
  const secret = await key('sdk', '--rpm', 60, '--max-wait', 'off');
  for (let i = 0; i < 60; i++) await ask(secret);
  const client = valet.client({ apiKey: secret, maxRetries: 3 });
  assert.ok((await client.chat.completions.create({ model: 'm', messages: user('x') })).choices.length);
});

test('tokens a minute: what was really used counts', async () => {
  const secret = await key('tokens', '--tpm', 1000, '--max-wait', 'off');
  const first = await ask(secret, { max_tokens: 900 }, { 'x-sim-tokens': '900' });
  assert.equal(first.status, 200);
  assert.equal(first.headers.get('x-ratelimit-limit-tokens'), '1000');
  const used = (await first.json()).usage.total_tokens;
  assert.ok(used > 900);
  const second = await ask(secret, { max_tokens: 200 }, { 'x-sim-tokens': '200' });
  const left = Number(second.headers.get('x-ratelimit-remaining-tokens'));
  assert.ok(left < 1000 - 900 + 50, `${left} left`);
  await second.arrayBuffer();
  const refused = await ask(secret);
  assert.equal(refused.status, 429);
  assert.match((await refused.json()).error.message, /1000 tokens a minute/);
});

test('requests at a time: the next one waits until one is over, or is refused when its patience ends', async () => {
  const patient = await key('two-at-a-time', '--concurrency', 2, '--max-wait', '20s');
  const slowly = { 'x-sim-ttft-ms': '400' };
  const began = performance.now();
  const answers = await Promise.all(Array.from({ length: 6 }, () => ask(patient, {}, slowly)));
  const took = performance.now() - began;
  assert.ok(answers.every((a) => a.status === 200));
  assert.ok(took > 1100, `six, two at a time, took ${took.toFixed(0)} ms`);
  assert.ok(took < 4000 * slow, `nobody waited for a timer (${took.toFixed(0)} ms)`);
  const hasty = await key('hasty', '--concurrency', 1, '--max-wait', 'off');
  const [a, b] = await Promise.all([ask(hasty, {}, slowly), ask(hasty, {}, slowly)]);
  assert.deepEqual([a.status, b.status].sort(), [200, 429]);
});

test('places are given back whatever happens: errors, clients that leave, broken streams', async () => {
  const secret = await key('leaky', '--concurrency', 3, '--max-wait', 'off');
  const unhappy = [{ 'x-sim-fault': 'status=500' }, { 'x-sim-fault': 'reset-before' }, { 'x-sim-fault': 'cut-after=2' }, { 'x-sim-fault': 'bad-json' }];
  for (let round = 0; round < 12; round++) {
    const control = new AbortController();
    const calls = [ask(secret, { stream: true }, unhappy[round % 4]).then((a) => a.text()),
      fetch(valet.base + '/chat/completions', { method: 'POST', signal: control.signal, headers: { ...bearer(secret), 'content-type': 'application/json', 'x-sim-ttft-ms': '60000' },
        body: JSON.stringify({ model: 'm', messages: user('x') }) })];
    setTimeout(() => control.abort(), 20);
    await Promise.allSettled(calls);
  }
  await until('three at a time are possible again', async () => (await Promise.all([ask(secret), ask(secret), ask(secret)])).every((a) => a.status === 200));
  assert.equal((await valet.json('key', 'show', 'leaky')).key?.in_flight ?? (await valet.json('key', 'show', 'leaky')).in_flight, 0);
  assert.deepEqual((await valet.json('live')).data, []);
});

test('a limit of a model holds for all keys together', async () => {
  const one = await key('one', '--max-wait', 'off'), two = await key('two', '--max-wait', 'off');
  const answers = await Promise.all([one, two, one, two].map((secret) => ask(secret, { model: 'narrow' }, { 'x-sim-ttft-ms': '300' })));
  assert.deepEqual(answers.map((a) => a.status).sort(), [200, 200, 429, 429]);
  assert.match((await answers.find((a) => a.status === 429).json()).error.message, /2 requests at a time of the model 'narrow'/);
});

test('limits of a key for some models', async () => {
  const secret = await key('mixed', '--model-rpm', 'narrow=1', '--max-wait', 'off');
  assert.equal((await ask(secret, { model: 'narrow' })).status, 200);
  assert.equal((await ask(secret, { model: 'narrow' })).status, 429);
  assert.equal((await ask(secret)).status, 200);
});

test('a reload resets no limit', async () => {
  const secret = await key('steady', '--rpm', 3, '--max-wait', 'off');
  for (let i = 0; i < 3; i++) assert.equal((await ask(secret)).status, 200);
  valet.write(valet.text({ attempts: 2 }));
  await until('reloaded', () => /settings reloaded/.test(valet.log));
  assert.equal((await ask(secret)).status, 429);
  assert.equal((await valet.cli('key', 'update', 'steady', '--tpm', '100000')).code, 0);
  assert.equal((await ask(secret)).status, 429, 'nor does another limit');
});
