// clouds.test.mjs - proves: what OpenAI's SDK sends arrives at each cloud in a form that it takes, and its answers, errors and odd words come back as OpenAI's; what is
// for local models only never leaves.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bearer, collect, OpenAI, start, until, user } from './harness.mjs';

const kinds = ['mistral', 'openrouter', 'together', 'groq', 'deepseek', 'gemini'];
const valet = await start({
  targets: [...kinds.map((kind) => ({ name: kind, kind, secret: 'env:CLOUD_SECRET', sim: { dialect: kind, models: [`${kind}-model`], args: ['--api-key', 'cloud-secret'] } })),
    { name: 'home', sim: { models: ['home-model'] } }],
  config: { models: [...kinds.map((kind) => ({ name: kind, targets: [{ target: kind, model: `${kind}-model` }] })),
    { name: 'stays', local_only: 'on', targets: [{ target: 'mistral', model: 'mistral-model' }, { target: 'home', model: 'home-model' }] }] },
  env: { CLOUD_SECRET: 'cloud-secret' },
});
const client = valet.client();
const hostile = (model) => ({
  model, max_completion_tokens: 20, seed: 7, user: 'somebody', store: true, metadata: { a: 'b' }, parallel_tool_calls: false,
  messages: [{ role: 'developer', content: 'Be brief.' }, { role: 'user', content: 'hi', name: null }],
});
const reasons = ['stop', 'length', 'tool_calls', 'content_filter'];

for (const kind of kinds) {
  test(`${kind}: whole and streamed`, async () => {
    const answer = await client.chat.completions.create(hostile(kind));
    assert.equal(answer.model, kind);
    assert.ok(reasons.includes(answer.choices[0].finish_reason), answer.choices[0].finish_reason);
    assert.equal(typeof answer.choices[0].message.content, 'string');
    assert.ok(answer.usage.completion_tokens > 0);
    const { chunks, text } = await collect(await client.chat.completions.create({ ...hostile(kind), stream: true, stream_options: { include_usage: true } }));
    assert.ok(text.length > 0);
    assert.ok(reasons.includes(chunks.map((c) => c.choices[0]?.finish_reason).find(Boolean)));
    assert.ok(chunks.every((c) => c.model === kind));
    await assert.rejects(client.chat.completions.create(hostile(kind), { headers: { 'x-sim-fault': 'status=500' } }), OpenAI.InternalServerError);
  });
}

test('Gemini lists its models with a prefix that clients do not write', async () => {
  const names = await until('the list is there', async () => { const list = (await client.models.list()).data.map((m) => m.id); return list.includes('gemini-model') && list; });
  assert.ok(!names.some((name) => name.startsWith('models/')), names.join());
  assert.equal((await client.chat.completions.create({ model: 'gemini-model', messages: user('hi') })).model, 'gemini-model');
});

test('a cloud that says what it takes is believed: the books have its cost, not the list\'s', async () => {
  const told = [];
  const before = (await valet.json('usage', '--by', 'model')).data.find((row) => row.model === 'openrouter')?.cost_nanos ?? 0;
  for (const stream of [false, true]) {
    const answer = await client.chat.completions.create({ ...hostile('openrouter'), stream, ...stream && { stream_options: { include_usage: true } } });
    const usage = stream ? (await collect(answer)).chunks.map((c) => c.usage).findLast(Boolean) : answer.usage;
    told.push(Math.round(usage.cost * 1e9));
  }
  assert.ok(told.every((n) => n > 0), String(told));
  const row = () => valet.json('usage', '--by', 'model').then(({ data }) => data.find((r) => r.model === 'openrouter'));
  await until('the records are there', async () => (await row())?.cost_nanos - before === told[0] + told[1]);
});

test('what is for local models only never leaves: a key, a model, a request', async () => {
  const before = (await valet.sims[0].stats()).calls;
  for (let i = 0; i < 6; i++) {
    const answer = await valet.post('/v1/chat/completions', { model: 'stays', messages: user('x'), max_tokens: 2 });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('x-valet-target'), 'home');
  }
  const refused = await valet.post('/v1/chat/completions', { model: 'mistral', messages: user('x') }, { 'x-valet-local-only': '1' });
  assert.equal(refused.status, 403);
  assert.match((await refused.json()).error.message, /local/);
  const secret = await valet.key('at-home', '--local-only');
  await until('the key holds', async () => (await valet.fetch('/v1/models', { headers: bearer(secret) })).status === 200);
  assert.equal((await valet.post('/v1/chat/completions', { model: 'mistral', messages: user('x') }, bearer(secret))).status, 403);
  await valet.sims.at(-1).faults([{ fault: 'status=500' }]);
  const failed = await valet.post('/v1/chat/completions', { model: 'stays', messages: user('x') }, bearer(secret));
  assert.ok(failed.status >= 500);
  assert.equal((await valet.sims[0].stats()).calls, before, 'no byte went to the cloud');
});
