// embeddings.test.mjs - proves: embeddings are the engine's numbers, whichever encoding the client asks for.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenAI, start } from './harness.mjs';

const valet = await start();
const client = valet.client();
const close = (a, b) => a.length === b.length && a.every((x, i) => Math.abs(x - b[i]) < 1e-6);

test('the default of the SDK (base64 on the wire) and plain numbers agree', async () => {
  const decoded = await client.embeddings.create({ model: 'm', input: 'a sentence' });
  const plain = await client.embeddings.create({ model: 'm', input: 'a sentence', encoding_format: 'float' });
  assert.equal(decoded.object, 'list');
  assert.ok(decoded.data[0].embedding.length > 1);
  assert.ok(close(decoded.data[0].embedding, plain.data[0].embedding));
  assert.ok(decoded.usage.prompt_tokens > 0);
});

test('many inputs come back in order', async () => {
  const input = Array.from({ length: 50 }, (_, i) => `sentence ${i}`);
  const all = await client.embeddings.create({ model: 'm', input });
  assert.deepEqual(all.data.map((d) => d.index), input.map((_, i) => i));
  const one = await client.embeddings.create({ model: 'm', input: input[33] });
  assert.ok(close(all.data[33].embedding, one.data[0].embedding));
});

test('token ids as input pass', async () => {
  const answer = await client.embeddings.create({ model: 'm', input: [[1, 2, 3], [4]] });
  assert.equal(answer.data.length, 2);
});

test('an unknown model', async () => {
  await assert.rejects(client.embeddings.create({ model: 'nope', input: 'x' }), (error) => error instanceof OpenAI.NotFoundError);
});
