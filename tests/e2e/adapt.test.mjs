// adapt.test.mjs - proves: places that nobody tells are learned. An engine that lets requests wait inside gets no more than it works on, so that they wait in the fair
// queue instead; one that works on all of them at once is not held back.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { bearer, slow, start, until, user } from './harness.mjs';

const queueing = { dialect: 'openai', slots: 2, ttft: 50, rate: 200, args: ['--tokens', '20'] };
const sharing = { dialect: 'openai', slots: 0, ttft: 50, rate: 200, args: ['--tokens', '20', '--load', '0.05'] };
const limits = { queue: { total: 1000, per_key: 500, max_wait: '60s' } };

const engines = { streams: await start({ targets: [{ sim: queueing }], config: limits }), whole: await start({ targets: [{ sim: queueing }], config: limits }),
  sharing: await start({ targets: [{ sim: sharing }], config: limits }) };

const ask = (valet, key, stream = true) => valet.post('/v1/chat/completions', { model: 'm', messages: user('hi'), max_tokens: 20, stream }, bearer(key));

const floods = [];
afterEach(() => floods.forEach((state) => { state.on = false; })); // one that a failure left running

// So many clients of one key that ask again and again until stopped; counts answers.
function flood(valet, key, clients, stream = true) {
  const state = { on: true, answers: 0 };
  const one = async () => {
    while (state.on) {
      const answer = await ask(valet, key, stream);
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      state.answers++;
    }
  };
  state.over = Promise.all(Array.from({ length: clients }, one)).catch((error) => { state.on = false; state.error = error; });
  state.stop = async () => { state.on = false; await state.over; assert.ifError(state.error); };
  floods.push(state);
  return state;
}

// Milliseconds to the first event with content; the median of a few.
async function firstToken(valet, key, times = 7) {
  const all = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    const answer = await ask(valet, key);
    let text = '';
    for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
      if (!all[i] && /"content":"[^"]/.test(text += part)) all[i] = performance.now() - began;
    }
  }
  return all.sort((a, b) => a - b)[times >> 1];
}

async function keys(valet) {
  const [a, b] = [await valet.key('flood'), await valet.key('chat')];
  await until('keys hold', async () => (await valet.fetch('/v1/models', { headers: bearer(b) })).status === 200);
  return [a, b];
}

for (const stream of [true, false]) {
  test(`two hidden slots are found (${stream ? 'streams' : 'whole answers'}), and the queue is fair from then on`, async () => {
    const valet = stream ? engines.streams : engines.whole;
    const [a, b] = await keys(valet);
    const alone = await firstToken(valet, b);
    if (!stream) await (await ask(valet, b, false)).text(); // what it takes alone
    assert.equal(await valet.metric('valet_target_places'), 0, 'nobody says it');
    const load = flood(valet, a, 24, stream);
    await until('places are learned', async () => [1, 2, 3].includes(await valet.metric('valet_target_places')), 30000 * slow);
    await until('what had piled up inside is done', async () => await valet.metric('valet_target_in_flight') <= 3, 20000 * slow);
    const beside = await firstToken(valet, b);
    const stats = await valet.sim.stats();
    const places = await valet.metric('valet_target_places');
    await load.stop();
    assert.ok(places >= 1 && places <= 3, `places: ${places}`);
    assert.ok(stats.waiting <= 1, `${stats.waiting} wait inside`);
    assert.ok(beside < alone + 300 * slow, `to the first token: ${alone} ms alone, ${beside} ms beside a flood that takes 1800 ms to work off`);
  });
}

test('an engine that works on all at once does as much as without', async () => {
  const valet = engines.sharing;
  const [a] = await keys(valet);
  const rates = [];
  for (const clients of [2, 8, 32]) {
    const load = flood(valet, a, clients);
    await until('it has begun', () => load.answers >= clients);
    const from = load.answers, began = performance.now();
    await until('enough', () => load.answers - from >= 60 + 4 * clients, 60000 * slow);
    rates.push((load.answers - from) / (performance.now() - began) * 1000);
    await load.stop();
  }
  const places = await valet.metric('valet_target_places');
  assert.ok(places === 0 || places >= 24, `places: ${places}`);
  if (slow === 1) assert.ok(rates[1] > rates[0] * 2 && rates[2] > rates[1] * 1.3, `answers a second with 2, 8 and 32 at a time: ${rates.map((r) => r.toFixed(1))}`);
});
