// headers.test.mjs - proves: every answer, good or bad, says which request it was and who answered it.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { start, user } from './harness.mjs';

const valet = await start({ targets: [{ name: 'gpu0', sim: {} }] });
const ask = (body, headers) => valet.post('/v1/chat/completions', { model: 'm', messages: user('x'), ...body }, headers);

function assertServed(answer) {
  assert.equal(answer.status, 200);
  assert.ok(answer.headers.get('x-request-id'));
  assert.equal(answer.headers.get('x-valet-target'), 'gpu0');
  assert.equal(answer.headers.get('x-valet-model'), 'm');
  assert.match(answer.headers.get('x-valet-queue-ms'), /^\d+(\.\d+)?$/);
}

test('a whole answer and a stream name request, target, model and time in the queue', async () => {
  for (const stream of [false, true]) {
    const answer = await ask({ stream });
    assertServed(answer);
    await answer.text();
  }
});

test('every answer has a request id of its own', async () => {
  const ids = new Set();
  const answers = [() => ask(), () => ask({ model: 'nope' }), () => valet.fetch('/v1/models'), () => valet.fetch('/nowhere'),
    () => valet.post('/v1/chat/completions', '{'), () => valet.fetch('/health'), () => valet.fetch('/v1/chat/completions', { method: 'DELETE' })];
  for (const get of answers) {
    const answer = await get();
    const id = answer.headers.get('x-request-id');
    assert.ok(id, `x-request-id on ${answer.url} (${answer.status})`);
    ids.add(id);
    await answer.text();
  }
  assert.equal(ids.size, answers.length);
});

test('an id that the client sends cannot take the place of Valet\'s own', async () => {
  for (const id of ['mine-42', 'x'.repeat(600), 'two words "quoted"']) {
    const answer = await ask({}, { 'x-request-id': id });
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('x-request-id'), /^req_\w+$/);
  }
});

test('headers that belong to one connection are not passed on', async () => {
  const answer = await ask();
  for (const name of ['proxy-authenticate', 'upgrade', 'trailer']) assert.equal(answer.headers.get(name), null, name);
  assert.equal(answer.headers.get('server')?.match(/llama|vllm|uvicorn/i) ?? null, null, 'the name of the engine\'s server stays inside');
});

test('health and readiness answer without a key', async () => {
  for (const where of ['/health', '/ready', '/']) {
    for (const method of ['GET', 'HEAD']) assert.equal((await valet.fetch(where, { method })).status, 200, `${method} ${where}`);
  }
});
