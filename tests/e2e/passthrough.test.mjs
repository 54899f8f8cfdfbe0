// passthrough.test.mjs - proves: the other operations of the API reach the engine and come back unharmed: completions, responses,
// messages, rerank, moderations, images, and audio in both directions.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenAI, start, user } from './harness.mjs';

const valet = await start();
const client = valet.client();

test('completions, whole and streamed', async () => {
  const whole = await client.completions.create({ model: 'm', prompt: 'Once upon a time', max_tokens: 10 });
  assert.equal(whole.object, 'text_completion');
  assert.ok(whole.choices[0].text.length > 0);
  let text = '';
  for await (const chunk of await client.completions.create({ model: 'm', prompt: 'Once upon a time', max_tokens: 10, stream: true })) {
    assert.equal(chunk.object, 'text_completion');
    assert.equal(chunk.choices.length, 1, 'no chunk of usage that nobody asked for');
    text += chunk.choices[0].text;
  }
  assert.equal(text, whole.choices[0].text);
});

test('responses, whole and streamed', async () => {
  const whole = await client.responses.create({ model: 'm', input: 'Say something' });
  assert.equal(whole.object, 'response');
  assert.ok(whole.output_text.length > 0);
  const types = [];
  for await (const event of await client.responses.create({ model: 'm', input: 'Say something', stream: true })) types.push(event.type);
  assert.equal(types[0], 'response.created');
  assert.equal(types.at(-1), 'response.completed');
});

test('messages, whole and streamed', async () => {
  const body = { model: 'm', max_tokens: 20, messages: user('Say something') };
  const whole = await (await valet.post('/v1/messages', body, { 'anthropic-version': '2023-06-01' })).json();
  assert.equal(whole.type, 'message');
  assert.equal(whole.role, 'assistant');
  const text = await (await valet.post('/v1/messages', { ...body, stream: true }, { 'anthropic-version': '2023-06-01' })).text();
  assert.match(text, /^event: message_start\ndata: \{/);
  assert.match(text, /event: message_stop\ndata: .*\n\n$/);
});

test('rerank, under the addresses that clients use', async () => {
  for (const where of ['/v1/rerank', '/rerank', '/v2/rerank']) {
    const answer = await valet.post(where, { model: 'm', query: 'q', documents: ['a', 'b', 'c'], top_n: 2 });
    assert.equal(answer.status, 200, where);
    const { results } = await answer.json();
    assert.equal(results.length, 2);
    assert.ok(results.every((r) => Number.isInteger(r.index) && typeof r.relevance_score === 'number'));
  }
});

test('moderations', async () => {
  const answer = await client.moderations.create({ model: 'm', input: 'hello' });
  assert.equal(typeof answer.results[0].flagged, 'boolean');
});

test('images', async () => {
  const answer = await client.images.generate({ model: 'm', prompt: 'a cat', response_format: 'b64_json' });
  assert.ok(Buffer.from(answer.data[0].b64_json, 'base64').length > 0);
});

test('speech comes back as bytes', async () => {
  const answer = await client.audio.speech.create({ model: 'm', voice: 'alloy', input: 'hello' });
  assert.match(answer.headers.get('content-type'), /^audio\//);
  assert.ok((await answer.arrayBuffer()).byteLength > 0);
});

test('a recording goes to the engine byte for byte', async () => {
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) & 255)); // every byte value, boundaries' bytes included
  const file = await OpenAI.toFile(bytes, 'speech "1".wav', { type: 'audio/wav' });
  const answer = await client.audio.transcriptions.create({ model: 'm', file, language: 'en', timestamp_granularities: ['word', 'segment'], response_format: 'verbose_json' });
  assert.equal(typeof answer.text, 'string');
});

test('a multipart body without a model, or with an unknown one', async () => {
  const form = (fields) => { const f = new FormData(); for (const [k, v] of Object.entries(fields)) f.append(k, v); return f; };
  const file = new Blob(['RIFF']);
  const missing = await valet.fetch('/v1/audio/transcriptions', { method: 'POST', body: form({ file }) });
  assert.equal(missing.status, 400, await missing.text());
  const unknown = await valet.fetch('/v1/audio/transcriptions', { method: 'POST', body: form({ file, model: 'nope' }) });
  assert.equal(unknown.status, 404, await unknown.text());
});
