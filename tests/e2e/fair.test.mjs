// fair.test.mjs - proves: a key that asks for fifty times its share takes nothing from another; keys that always wait are served by their weights, in tokens; and no place is
// idle while anybody waits. `./dev bench --only capacity --parts flood,shares` measures the same at length.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bearer, slow, start, until, user } from './harness.mjs';

const SLOTS = 8, STEP = 5; // places; ms a token
const valet = await start({
  targets: [{ max_concurrency: SLOTS, sim: { slots: SLOTS, rate: 1000 / STEP } }],
  config: { queue: { per_key: 150 }, log: { requests: 'off' } },
});
const secrets = {};
for (const [name, weight] of [['flood', 100], ['chat', 100], ['one', 100], ['three', 300]]) secrets[name] = await valet.key(name, '--weight', weight);
await until('keys hold', async () => (await valet.fetch('/v1/models', { headers: bearer(secrets.three) })).status === 200);

const ask = async (name, tokens, content = 'hi') => {
  const began = performance.now();
  const answer = await valet.post('/v1/chat/completions', { model: 'm', messages: user(content), max_tokens: tokens, stream: true }, { ...bearer(secrets[name]), 'x-sim-tokens': String(tokens) });
  let first;
  for await (const piece of answer.body) first ??= Buffer.from(piece).includes('data:') ? performance.now() - began : undefined;
  return { status: answer.status, first, took: performance.now() - began };
};
const share = (list, part) => list.sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * part))];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Of all places between the two moments, how much was in use.
async function busy(since, from, to) {
  const { entries } = await (await fetch(`${valet.sim.url}/sim/log?since=${since}`)).json();
  const used = entries.reduce((sum, e) => sum + Math.max(0, Math.min(e.ended_us, to) - Math.max(e.begun_us, from)), 0);
  return { share: used / (to - from) / SLOTS, entries };
}
const stamp = async () => (await valet.sim.stats()).now_us;
const next = async () => (await (await fetch(`${valet.sim.url}/sim/log?since=1000000000`)).json()).next;

test('a flood of fifty times its share: the other key waits for one place at most', async () => {
  const calls = (ms) => Promise.all(Array.from({ length: Math.floor(ms / 50) }, async (_, i) => { await pause(i * 50); return ask('chat', 20); }));
  const alone = await calls(1500);
  const service = share(alone.map((c) => c.took), 0.5);
  let flooding = true, refused = 0;
  const flood = Array.from({ length: 170 }, async () => { // as many as may wait, and more that are refused
    while (flooding) { const { status } = await ask('flood', 20); if (status === 429) { refused++; await pause(100); } }
  });
  await until('the line is full', async () => await valet.metric('valet_queue_waiting') >= 145);
  const seq = await next(), from = await stamp();
  const flooded = await calls(2500);
  const to = await stamp();
  flooding = false;
  await Promise.all(flood);
  assert.ok([...alone, ...flooded].every((c) => c.status === 200));
  assert.ok(refused > 0, 'the line of the key was full');
  const [before, now] = [alone, flooded].map((list) => share(list.map((c) => c.first), 0.99));
  assert.ok(now <= 1.2 * before + service * (slow > 1 ? slow : 1.3), `p99 to the first token: ${before} ms alone, ${now} in the flood; a request takes ${service}`); // .3: a busy machine
  const use = await busy(seq, from, to);
  assert.ok(use.share > (slow > 1 ? 0.6 : 0.9), `${use.share} of the places were in use while many waited`);
});

test('weights 1 and 3: tokens, in spite of requests of different kinds, within the bound', async () => {
  let running = true;
  const kinds = { one: [4, 'x'.repeat(1200)], three: [24, 'y'] };
  const clients = [];
  for (const name of ['three', 'one']) { // the first eight find places: the cheap ones
    const [tokens, content] = kinds[name];
    for (let i = 0; i < 30; i++) clients.push((async () => { while (running) await ask(name, tokens, content); })());
    await until('they wait', async () => await valet.metric('valet_queue_waiting') >= 20);
  }
  await until('both wait', async () => await valet.metric('valet_queue_waiting') >= 40);
  const seq = await next(), from = await stamp();
  await pause(3000);
  const to = await stamp();
  running = false;
  const { entries, share: use } = await busy(seq, from, to);
  await Promise.all(clients);
  const served = { one: 0, three: 0 };
  let worst = 0, costs = [0, 0];
  for (const e of entries.filter((x) => x.begun_us >= from && x.ended_us <= to).sort((a, b) => a.begun_us - b.begun_us)) {
    const name = e.completion_tokens === kinds.one[0] ? 'one' : 'three', weight = name === 'one' ? 1 : 3;
    served[name] += (e.prompt_tokens + 2 * e.completion_tokens) / weight;
    costs = [Math.max(costs[0], e.prompt_tokens), Math.max(costs[1], 2 * e.completion_tokens * SLOTS / weight)];
    worst = Math.max(worst, Math.abs(served.one - served.three));
  }
  const bound = 2 * Math.max(...costs);
  assert.ok(entries.length > 200 / slow, `${entries.length} requests`);
  assert.ok(worst <= bound * slow, `the weighted difference grew to ${worst}; the bound is ${bound}`);
  assert.ok(use > (slow > 1 ? 0.5 : 0.9), `${use} of the places were in use`);
});
