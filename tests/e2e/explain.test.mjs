// explain.test.mjs - proves: `valet explain` says what then happens: the target, the queue, the cloud and why, or the error; and nothing is sent or counted for it.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bearer, start, until, user } from './harness.mjs';

const valet = await start({
  targets: [{ name: 'gpu', sim: { dialect: 'llamacpp', slots: 1, rate: 100, models: ['m=ctx4096'] } },
    { name: 'cloud', kind: 'openai_compatible', secret: 'env:CLOUD_SECRET', sim: { models: ['big'], args: ['--api-key', 'cloud-secret'] } }],
  config: {
    models: [{ name: 'm', aliases: ['gpt-4o'], targets: [{ target: 'gpu', model: 'm' }], price: { input: '1', output: '1' }, overflow: { to: ['cloud/big'], wait: '500ms' } },
      { name: 'careful', targets: [{ target: 'gpu', model: 'm' }], price: { input: '1', output: '1' }, overflow: { to: ['cloud/big'], when: ['always'], budget: ['500/day'] } },
      { name: 'home', targets: [{ target: 'gpu', model: 'm' }], price: { input: '1', output: '1' } }],
    discovery_interval: '500ms',
  },
  env: { CLOUD_SECRET: 'cloud-secret' },
});
const explain = (...args) => valet.json('explain', ...args);
const ask = (model, more = {}, headers = {}) => valet.post('/v1/chat/completions', { model, messages: user('hi'), max_tokens: 10, ...more }, { 'x-sim-tokens': '10', ...headers });
const calls = async () => (await valet.sims[0].stats()).calls + (await valet.sims[1].stats()).calls;
const gist = ({ decision: d }) => [d.what, d.target, d.overflow, d.error];

test('a place: the target that a request then goes to', async () => {
  await until('one place', async () => await valet.metric('valet_target_places', 'target="gpu"') === 1);
  const before = await calls();
  const said = await explain('--model', 'gpt-4o');
  assert.deepEqual([said.model, said.asked, ...gist(said)], ['m', 'gpt-4o', 'place', 'gpu', null, null]);
  assert.deepEqual(said.places.map((p) => [p.target, p.fit, p.taken, p.limit, p.context, p.chosen]), [['gpu', 'fits', 0, 1, 4096, true]]);
  assert.deepEqual([said.overflow.when, said.overflow.wait_ms], [['wait', 'context', 'down'], 500]);
  assert.equal(await calls(), before, 'nothing was sent');
  assert.equal((await ask('gpt-4o')).headers.get('x-valet-target'), 'gpu');
});

test('context, always, and a budget of overflow that does not suffice', async () => {
  assert.deepEqual(gist(await explain('--model', 'm', '--tokens', '6000')), ['overflow', 'cloud', 'context', null]);
  assert.deepEqual(gist(await explain('--model', 'careful')), ['overflow', 'cloud', 'always', null]);
  const spent = await explain('--model', 'careful', '--tokens', '600');
  assert.deepEqual(gist(spent), ['place', 'gpu', null, null]);
  assert.match(spent.decision.why, /budget of overflow does not suffice/);
  const local = await explain('--model', 'm', '--tokens', '6000', '--local-only');
  assert.deepEqual([...gist(local), local.places[0].fit], ['place', 'gpu', null, null, 'too_small']);
});

test('queue and wait, while the place is taken', async () => {
  const busy = ask('home', { max_tokens: 400 }, { 'x-sim-tokens': '400' });
  await until('the place is taken', async () => (await valet.sims[0].stats()).active === 1);
  assert.deepEqual(gist(await explain('--model', 'home')), ['queue', null, null, null]);
  const said = gist(await explain('--model', 'm')), answer = await ask('m');
  assert.equal(answer.headers.get('x-valet-overflow'), 'wait');
  assert.ok(said[0] === 'overflow' || said[0] === 'queue', 'at once where the wait can be predicted, else from the queue');
  await busy;
});

test('a key: its models, its budget, its end; in the words that the client gets', async () => {
  const secret = await valet.key('narrow', '--models', 'm', '--budget', '50/day');
  await until('it holds', async () => (await valet.fetch('/v1/models', { headers: bearer(secret) })).status === 200);
  assert.deepEqual(gist(await explain('--model', 'home', '--key', 'narrow')), ['refused', null, null, 'model_not_allowed']);
  const said = await explain('--model', 'm', '--key', 'narrow', '--tokens', '100'), got = await ask('m', { messages: user('word '.repeat(100)) }, bearer(secret));
  assert.deepEqual(gist(said), ['refused', null, null, 'insufficient_quota']);
  assert.equal(got.status, 429);
  const words = (await got.json()).error;
  assert.equal(words.code, said.decision.error);
  assert.equal(words.message, said.decision.why);
  await valet.cli('key', 'revoke', 'narrow');
  await until('it is gone', async () => gist(await explain('--model', 'm', '--key', 'narrow'))[3] === 'invalid_api_key');
});

test('down, and nowhere', async () => {
  await valet.sims[0].stop('SIGKILL');
  await until('it is down', async () => (await explain('--model', 'm')).places[0].state === 'down');
  assert.deepEqual(gist(await explain('--model', 'm')), ['overflow', 'cloud', 'down', null]);
});

test('wrong questions', async () => {
  for (const [args, code, text] of [[['explain'], 2, /--model/], [['explain', '--model', 'hom'], 1, /did you mean 'home'/],
    [['explain', '--model', 'm', '--key', 'narow'], 1, /no key 'narow'.*narrow/], [['explain', '--model', 'm', '--tokens', 'many'], 2, /tokens/]]) {
    const got = await valet.cli(...args);
    assert.equal(got.code, code, args.join(' ') + ': ' + got.stderr);
    assert.match(got.stderr, text);
  }
  const shown = (await valet.cli('explain', '-m', 'm')).stdout;
  assert.match(shown, /goes to cloud by overflow, down/);
  assert.match(shown, /gpu +m +down/);
});
