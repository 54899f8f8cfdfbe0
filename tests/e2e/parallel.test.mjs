// parallel.test.mjs - proves: two hundred streams at once are each whole and each its own.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, start, until, user } from './harness.mjs';

const valet = await start({ targets: [{ sim: { slots: 256, rate: 2000 } }] });
const client = valet.client();
const N = 200;

test('200 streams at once, each with its own words', async () => {
  const text = (i) => `request ${i} ` + `word${i} `.repeat(20);
  const answers = await Promise.all(Array.from({ length: N }, async (_, i) => {
    const stream = await client.chat.completions.create({ model: 'm', messages: user(text(i)), stream: true }, { headers: { 'x-sim-echo': 'body' } });
    return collect(stream);
  }));
  answers.forEach(({ text: got, last }, i) => {
    assert.equal(JSON.parse(got).messages[0].content, text(i));
    assert.equal(last.choices[0].finish_reason, 'stop');
  });
});

test('200 whole answers at once', async () => {
  const answers = await Promise.all(Array.from({ length: N }, (_, i) =>
    client.chat.completions.create({ model: 'm', messages: user(`number ${i}`) }, { headers: { 'x-sim-echo': 'body' } })));
  answers.forEach((answer, i) => assert.equal(JSON.parse(answer.choices[0].message.content).messages[0].content, `number ${i}`));
});

test('afterwards nothing is in flight', async () => {
  await until('the engine is idle', async () => (await valet.sim.stats()).active === 0);
});
