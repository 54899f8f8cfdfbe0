// retry.test.mjs - proves: failures that can be mended are mended before the client sees them; the SDK's own retries wait as long as Valet
// says; and nobody tries again where that is useless.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenAI, collect, fault, start, user } from './harness.mjs';

const one = await start();
const two = await start({ targets: [{ name: 'first', sim: {} }, { name: 'second', sim: {} }] });
const ask = { model: 'm', messages: user('x') };
const stats = async (valet, name) => Promise.all(valet.sims.map(async (sim) => (await sim.stats())[name]));
const sum = (list) => list.reduce((a, b) => a + b, 0);

test('an engine that is full: its Retry-After reaches the client, and the SDK waits that long', async () => {
  const refused = await one.post('/v1/chat/completions', ask, fault('status=429,2'));
  assert.equal(refused.status, 429, await refused.text());
  const wait = Number(refused.headers.get('retry-after'));
  assert.ok(wait >= 1 && wait <= 3, `retry-after: ${refused.headers.get('retry-after')}`);
  await one.healthy();
  await one.sim.faults([{ fault: 'status=429,1', count: 3 }]);
  const began = performance.now();
  const answer = await one.client({ maxRetries: 5 }).chat.completions.create(ask);
  await one.sim.faults();
  assert.equal(answer.object, 'chat.completion');
  assert.ok(performance.now() - began >= 900, 'not before the second was over');
});

test('a request that cannot succeed is tried once, by Valet and by the SDK', async () => {
  const refused = async () => sum(await stats(two, 'faults'));
  const before = await refused();
  await assert.rejects(two.client({ maxRetries: 3 }).chat.completions.create(ask, { headers: fault('status=400') }), OpenAI.BadRequestError);
  assert.equal(await refused(), before + 1);
});

test('an engine that fails: another one answers, and the client notices nothing', async () => {
  for (const what of ['status=500', 'status=503', 'reset-before', 'garbage', 'bad-json', 'html-error=502', 'loading']) {
    for (const sim of two.sims) await sim.faults();
    await two.healthy();
    await two.sims[0].faults([{ fault: what, count: 1 }]);
    await two.sims[1].faults([{ fault: what, count: 0 }]);
    for (let i = 0; i < 4; i++) {
      const answer = await two.client().chat.completions.create(ask);
      assert.ok(answer.choices[0].message.content, what);
    }
  }
});

test('an engine that is gone: the other one answers', async () => {
  for (const sim of two.sims) await sim.faults();
  await two.sims[0].stop();
  for (let i = 0; i < 4; i++) {
    const { data, response } = await two.client().chat.completions.create(ask).withResponse();
    assert.ok(data.choices[0].message.content);
    assert.equal(response.headers.get('x-valet-target'), 'second');
  }
  await two.sims[0].restart();
});

test('after the first byte nothing is tried again', async () => {
  const calls = async () => sum(await stats(one, 'calls'));
  const before = await calls();
  const stream = await one.client({ maxRetries: 3 }).chat.completions.create({ ...ask, stream: true }, { headers: { ...fault('cut-after=10'), 'x-sim-tokens': '50' } });
  await assert.rejects(collect(stream), (error) => error instanceof OpenAI.APIError);
  assert.equal(await calls(), before + 1);
});
