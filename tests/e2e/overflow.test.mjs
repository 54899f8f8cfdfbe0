// overflow.test.mjs - proves: the cloud is asked exactly when the policy says so, up to what it may cost, and never for what is local only; every answer says why.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bearer, start, until, user } from './harness.mjs';

const valet = await start({
  targets: [{ name: 'gpu', sim: { dialect: 'llamacpp', slots: 1, rate: 100, models: ['m=ctx4096'] } },
    { name: 'cloud', kind: 'openai_compatible', secret: 'env:CLOUD_SECRET', sim: { models: ['big'], args: ['--api-key', 'cloud-secret'] } },
    { name: 'second', kind: 'openai_compatible', secret: 'env:CLOUD_SECRET', sim: { models: ['big'], args: ['--api-key', 'cloud-secret'] } }],
  config: {
    models: [{ name: 'm', targets: [{ target: 'gpu', model: 'm' }], price: { input: '1', output: '1' }, overflow: { to: ['cloud/big', 'second/big'], wait: '500ms' } },
      { name: 'careful', targets: [{ target: 'gpu', model: 'm' }], price: { input: '1', output: '1' }, overflow: { to: ['cloud/big'], when: ['always'], budget: ['2k/day'] } },
      { name: 'home', local_only: 'on', targets: [{ target: 'gpu', model: 'm' }] }],
    overflow: { to: ['cloud/big'] }, discovery_interval: '500ms',
  },
  env: { CLOUD_SECRET: 'cloud-secret' },
});
const ask = (more = {}, headers = {}) => valet.post('/v1/chat/completions', { model: 'm', messages: user('hi'), max_tokens: 10, ...more }, { 'x-sim-tokens': '10', ...headers });
const from = (answer) => [answer.status, answer.headers.get('x-valet-target'), answer.headers.get('x-valet-overflow')];
const cloudCalls = async () => (await valet.sims[1].stats()).calls + (await valet.sims[2].stats()).calls;

test('as long as there is a place at home, nothing leaves', async () => {
  await until('one place', async () => await valet.metric('valet_target_places', 'target="gpu"') === 1);
  for (let i = 0; i < 5; i++) assert.deepEqual(from(await ask()), [200, 'gpu', null]);
  assert.equal(await cloudCalls(), 0);
});

test('wait: who would wait longer than the policy allows goes to the cloud, and its answer names the model as it was asked for', async () => {
  const busy = valet.post('/v1/chat/completions', { model: 'm', messages: user('x'), max_tokens: 300 }, { 'x-sim-tokens': '300' });
  await until('the place is taken', async () => (await valet.sims[0].stats()).active === 1);
  const answer = await ask();
  assert.deepEqual(from(answer), [200, 'cloud', 'wait']);
  assert.equal((await answer.json()).model, 'm');
  const streamed = await ask({ stream: true });
  assert.equal(streamed.headers.get('x-valet-overflow'), 'wait');
  assert.match(await streamed.text(), /\[DONE\]/);
  assert.deepEqual(from(await busy), [200, 'gpu', null]);
  assert.ok(await valet.metric('valet_overflows_total') >= 2);
});

test('context: what does not fit into the window at home', async () => {
  const answer = await ask({ messages: user('word '.repeat(8000)) });
  assert.deepEqual(from(answer), [200, 'cloud', 'context']);
});

test('local only fails closed: a request, a model, a key', async () => {
  const before = await cloudCalls();
  const long = { messages: user('word '.repeat(8000)) };
  assert.ok((await ask(long, { 'x-valet-local-only': '1' })).status >= 400);
  assert.ok((await ask({ ...long, model: 'home' })).status >= 400);
  const secret = await valet.key('inside', '--local-only');
  await until('it holds', async () => (await valet.fetch('/v1/models', { headers: bearer(secret) })).status === 200);
  assert.ok((await ask(long, bearer(secret))).status >= 400);
  assert.equal(await cloudCalls(), before);
});

test('what overflow may cost is a budget of its own', async () => {
  const secret = await valet.key('spender');
  await until('it holds', async () => (await ask({ model: 'careful', max_tokens: 300 }, { ...bearer(secret), 'x-sim-tokens': '300' })).headers.get('x-valet-overflow') === 'always');
  const seen = [];
  for (let i = 0; i < 8; i++) seen.push((await ask({ model: 'careful', max_tokens: 300 }, { ...bearer(secret), 'x-sim-tokens': '300' })).headers.get('x-valet-overflow'));
  assert.ok(seen.includes('always') && seen.at(-1) === null, `${seen}`);
});

test('down: the engine is gone; and where a cloud fails as well, the next one', async () => {
  const secret = await valet.key('last');
  valet.sims[0].program.expectedEnd = true;
  await valet.sims[0].stop('SIGKILL');
  assert.deepEqual(from(await until('a key holds', async () => { const a = await ask({}, bearer(secret)); return a.status === 200 && a; })), [200, 'cloud', 'down']);
  await valet.sims[1].faults([{ fault: 'status=503' }]);
  assert.deepEqual(from(await ask({}, bearer(secret))), [200, 'second', 'down']);
});
