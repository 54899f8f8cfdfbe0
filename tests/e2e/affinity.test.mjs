// affinity.test.mjs - proves: prompts that share a long beginning find it cached, nearly as often as if each had an engine of its own, and their first token comes
// many times sooner than with round robin; and where nothing is shared, nothing is lost.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sim, slow, start, user } from './harness.mjs';

// Each holds a quarter of the prompts and a little more.
const PROMPTS = 24, LENGTH = 6000, RATE = 50;
const engines = [];
for (let i = 0; i < 4; i++) engines.push(await Sim.start({ slots: 16, ttft: 5, rate: 1000, args: ['--prefill-tps', '4000', '--cache-blocks', '900'] }));
const targets = engines.map((_, i) => ({ target: `e${i}`, model: 'm' }));
const valet = await start({
  targets: engines.map((engine, i) => ({ name: `e${i}`, url: engine.url + '/v1', max_concurrency: 16 })),
  config: { log: { requests: 'off' }, models: [{ name: 'affine', targets }, { name: 'busy', targets, strategy: 'least_busy', affinity: 'off' },
    { name: 'turns', targets, strategy: 'round_robin', affinity: 'off' }] },
});
valet.sims.push(...engines);

const share = (list, part) => list.sort((a, b) => a - b)[Math.floor(list.length * part)];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sums = async () => (await Promise.all(engines.map((e) => e.stats()))).reduce((sum, s) => ({ prompt: sum.prompt + s.prompt_tokens, cached: sum.cached + s.cached_tokens }), { prompt: 0, cached: 0 });

// Requests at a constant rate, whatever becomes of those before; the 90th percentile of the time to the first token since each was due, and the share of cached tokens.
async function play(model, count, messages) {
  const before = await sums(), began = performance.now();
  const waits = await Promise.all(Array.from({ length: count }, async (_, i) => {
    const due = began + i * 1000 / RATE;
    await pause(due - performance.now());
    const answer = await valet.post('/v1/chat/completions', { model, messages: messages(i), max_tokens: 4, stream: true }, { 'x-sim-tokens': '4' });
    assert.equal(answer.status, 200);
    let first;
    for await (const piece of answer.body) first ??= Buffer.from(piece).includes('data:') ? performance.now() - due : undefined;
    return first;
  }));
  const after = await sums();
  return { p90: share(waits, 0.9), cached: (after.cached - before.cached) / (after.prompt - before.prompt) };
}
const prompt = (i) => [{ role: 'system', content: `prompt ${i}: ` + `the ${i}th rule of the house is to be kind; `.repeat(200).slice(0, LENGTH) }];
let asked = 0;
const shared = () => [...prompt(asked * 7 % PROMPTS), ...user(`question ${asked++}`)];
const reset = () => Promise.all(engines.map((e) => fetch(e.url + '/sim/reset', { method: 'POST' })));

test('shared prompts: five times sooner than round robin, and cached nearly always', async () => {
  const result = {};
  for (const model of ['turns', 'affine']) {
    await reset();
    await play(model, 2 * PROMPTS, shared); // until all have been there
    result[model] = await play(model, 150, shared);
  }
  const best = LENGTH / (LENGTH + 150); // the question and the frame are new each time
  assert.ok(result.affine.cached >= (slow > 1 ? 0.8 : 0.95) * best, JSON.stringify(result));
  assert.ok(result.turns.p90 >= (slow > 1 ? 2 : 5) * result.affine.p90, JSON.stringify(result));
});

test('nothing shared: no worse than least busy', async () => {
  const result = {};
  for (const model of ['busy', 'affine']) {
    await reset();
    result[model] = await play(model, 100, (i) => user(`${model} ${i} ` + `word${i} `.repeat(150)));
  }
  assert.ok(result.affine.p90 <= 1.15 * slow * result.busy.p90, JSON.stringify(result));
});

test('in a line: whoever is at home at a target goes first there, so that the line gets shorter instead of longer', async () => {
  await reset();
  await play('affine', 2 * PROMPTS, shared);
  const before = await sums();
  const answers = await Promise.all(Array.from({ length: 400 }, () => valet.post('/v1/chat/completions', { model: 'affine', messages: shared(), max_tokens: 100 }, { 'x-sim-tokens': '100' })));
  assert.ok(answers.every((a) => a.status === 200));
  assert.ok(answers.filter((a) => Number(a.headers.get('x-valet-queue-ms')) > 0).length > 100, 'most of them waited');
  const after = await sums(), share = (after.cached - before.cached) / (after.prompt - before.prompt);
  assert.ok(share >= (slow > 1 ? 0.7 : 0.9) * LENGTH / (LENGTH + 150), `${share} of the tokens were cached`);
});
