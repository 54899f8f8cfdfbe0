// abort.test.mjs - proves: a client that leaves stops the work at the engine within 100 ms, at every stage of a request.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slow, start, until, user } from './harness.mjs';

const valet = await start({ targets: [{ sim: { slots: 1, rate: 50 } }] });
const client = valet.client();
const long = { model: 'm', messages: user('a long answer'), max_tokens: 5000 };
const manyTokens = { 'x-sim-tokens': '5000' };
const nowUs = () => Number(process.hrtime.bigint() / 1000n); // the monotonic clock that valet-sim reads as well

async function assertStops(abort, aborted) {
  const before = await valet.sim.stats();
  const began = nowUs();
  abort();
  await assert.rejects(aborted);
  const after = await until('the engine counts one more aborted request', async () => {
    const now = await valet.sim.stats();
    return now.aborted > before.aborted && now;
  }, 5000);
  const tookMs = (after.last_abort_us - began) / 1000;
  assert.ok(tookMs < 100 * slow, `the engine heard of it after ${tookMs.toFixed(1)} ms`);
  assert.equal(after.aborted, before.aborted + 1);
  await until('nothing runs at the engine', async () => (await valet.sim.stats()).active === 0);
}

test('leaving in the middle of a stream', async () => {
  const control = new AbortController();
  const stream = await client.chat.completions.create({ ...long, stream: true }, { signal: control.signal, headers: manyTokens });
  let seen = 0;
  const reading = (async () => {
    for await (const _ of stream) seen++;
    throw new Error('the stream is over');
  })();
  reading.catch(() => {});
  await until('some text', () => seen > 3);
  await assertStops(() => control.abort(), reading);
});

test('leaving before the first token', async () => {
  const control = new AbortController();
  const asking = client.chat.completions.create({ ...long, stream: true }, { signal: control.signal, headers: { ...manyTokens, 'x-sim-ttft-ms': '60000' } })
    .then(async (stream) => { for await (const _ of stream); throw new Error('the stream is over'); });
  asking.catch(() => {});
  await until('the request is at the engine', async () => (await valet.sim.stats()).active === 1);
  await assertStops(() => control.abort(), asking);
});

test('leaving while a whole answer is being made', async () => {
  const control = new AbortController();
  const asking = client.chat.completions.create(long, { signal: control.signal, headers: manyTokens });
  asking.catch(() => {});
  await until('the request is at the engine', async () => (await valet.sim.stats()).active === 1);
  await assertStops(() => control.abort(), asking);
});

test('leaving while the engine has not begun: the request waits for the engine\'s only slot', async () => {
  const first = new AbortController(), second = new AbortController();
  const running = client.chat.completions.create(long, { signal: first.signal, headers: manyTokens });
  running.catch(() => {});
  await until('the slot is taken', async () => (await valet.sim.stats()).running === 1);
  const waiting = client.chat.completions.create(long, { signal: second.signal, headers: manyTokens });
  waiting.catch(() => {});
  await until('one request waits', async () => (await valet.sim.stats()).waiting === 1);
  second.abort();
  await assert.rejects(waiting);
  await until('nobody waits', async () => (await valet.sim.stats()).waiting === 0);
  assert.equal((await valet.sim.stats()).running, 1, 'the other one goes on');
  await assertStops(() => first.abort(), running);
});

test('leaving while the body is being sent: the engine never hears of it', async () => {
  const before = await valet.sim.stats();
  const control = new AbortController();
  const body = new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('{"model":"m","messages":[')); } });
  const asking = valet.fetch('/v1/chat/completions', { method: 'POST', body, duplex: 'half', signal: control.signal });
  asking.catch(() => {});
  await until('the connection is there', async () => (await valet.metric('valet_connections')) > 0);
  control.abort();
  await assert.rejects(asking);
  await until('nothing is in flight', async () => (await valet.metric('valet_requests_in_flight')) === 0);
  assert.equal((await valet.sim.stats()).calls, before.calls);
});

test('a healthy call afterwards, and nothing is left behind', async () => {
  assert.equal((await client.chat.completions.create({ model: 'm', messages: user('x'), max_tokens: 2 })).object, 'chat.completion');
  await until('no request in flight', async () => (await valet.metric('valet_requests_in_flight')) === 0);
  await until('no request at the target', async () => (await valet.metric('valet_target_in_flight')) === 0);
});
