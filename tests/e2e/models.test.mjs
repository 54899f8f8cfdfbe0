// models.test.mjs - proves: the list of models is what clients can ask for, and each can be looked up however its id is written
// in the path.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenAI, start } from './harness.mjs';

const valet = await start({ targets: [{ sim: { models: ['plain', 'org/name:1b-q4', 'shared'] } }, { sim: { models: ['shared', 'other'] } }] });
const client = valet.client();
const ids = ['org/name:1b-q4', 'other', 'plain', 'shared'];

test('the list names each model once', async () => {
  const page = await client.models.list();
  assert.equal(page.object, 'list');
  assert.deepEqual(page.data.map((m) => m.id).sort(), ids);
  for (const model of page.data) {
    assert.equal(model.object, 'model');
    assert.ok(Number.isInteger(model.created));
    assert.equal(typeof model.owned_by, 'string');
  }
});

test('the list is there under the addresses that clients use', async () => {
  for (const where of ['/v1/models', '/models', '/v1/models/', '/v1/v1/models', '/v1/models?limit=1000']) {
    const answer = await valet.fetch(where);
    assert.equal(answer.status, 200, where);
    assert.equal((await answer.json()).data.length, ids.length, where);
  }
});

test('HEAD works where GET does', async () => {
  const answer = await valet.fetch('/v1/models', { method: 'HEAD' });
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), '');
});

test('a model by its id, as the SDK writes it', async () => {
  for (const id of ids) assert.equal((await client.models.retrieve(id)).id, id);
});

test('a model by its id, with the slash left plain or everything encoded', async () => {
  for (const where of ['/v1/models/org/name:1b-q4', '/v1/models/org%2Fname%3A1b-q4', '/models/org%2Fname:1b-q4']) {
    const answer = await valet.fetch(where);
    assert.equal(answer.status, 200, where);
    assert.equal((await answer.json()).id, 'org/name:1b-q4');
  }
});

test('a model that does not exist', async () => {
  await assert.rejects(client.models.retrieve('nope'), (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
});

test('an id is decoded exactly once', async () => {
  assert.equal((await valet.fetch('/v1/models/org%252Fname:1b-q4')).status, 404);
});

test('the list does not wait for engines that are down', async () => {
  await valet.sims[1].stop();
  const began = performance.now();
  const page = await client.models.list();
  assert.ok(performance.now() - began < 1000, 'under a second');
  assert.ok(page.data.some((m) => m.id === 'plain'));
});
