// engine.test.mjs - proves: everything above holds with a real engine (llama.cpp's server) and not only with our own simulator.
// VALET_ENGINE is its address; `./dev test engine` starts one.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { OpenAI, collect, freePort, root, start, until, user } from './harness.mjs';

const engine = process.env.VALET_ENGINE;
if (!engine) throw new Error('VALET_ENGINE is not set; run ./dev test engine');
const model = 'smollm2-135m';
const valet = await start({ targets: [], args: ['--discover', engine], config: { targets: undefined } });
const client = valet.client();
const slots = async () => (await (await fetch(`http://${engine}/slots`)).json());
const busy = async () => (await slots()).filter((slot) => slot.is_processing).length;

test('the engine is found, and its model listed', async () => {
  assert.ok((await client.models.list()).data.some((m) => m.id === model));
});

test('a chat is what the engine itself says', async () => {
  const ask = { model, messages: user('What is the capital of France?'), max_tokens: 30, temperature: 0, seed: 1, cache_prompt: false };
  const answer = await client.chat.completions.create(ask);
  const direct = await (await fetch(`http://${engine}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(ask) })).json();
  assert.equal(answer.choices[0].message.content, direct.choices[0].message.content);
  assert.ok(answer.choices[0].message.content.length > 0);
  assert.deepEqual(answer.usage, direct.usage);
});

test('a stream, with the same words as the whole answer', async () => {
  const ask = { model, messages: user('Name three colours.'), max_tokens: 40, temperature: 0, seed: 1, cache_prompt: false };
  const whole = await client.chat.completions.create(ask);
  const { text, chunks } = await collect(await client.chat.completions.create({ ...ask, stream: true }));
  assert.equal(text, whole.choices[0].message.content);
  assert.ok(chunks.every((c) => c.choices.length === 1 && c.usage == null));
});

test('usage in a stream', async () => {
  const { last } = await collect(await client.chat.completions.create({ model, messages: user('Hi'), max_tokens: 5, stream: true, stream_options: { include_usage: true } }));
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
});

test('leaving stops the engine', async () => {
  await until('the engine is idle', async () => (await busy()) === 0);
  const control = new AbortController();
  const stream = await client.chat.completions.create({ model, messages: user('Tell a very long story.'), max_tokens: 3000, stream: true, ignore_eos: true }, { signal: control.signal });
  for await (const chunk of stream) if (chunk.choices[0]?.delta?.content) break;
  control.abort();
  const began = performance.now();
  await until('the engine is idle again', async () => (await busy()) === 0, 5000);
  assert.ok(performance.now() - began < 1000, 'within a second');
});

test('an engine without embeddings says so, in our form', async () => {
  await assert.rejects(client.embeddings.create({ model, input: 'x' }), (error) => {
    assert.ok(error instanceof OpenAI.APIError);
    assert.ok(error.status >= 400 && error.status < 600);
    assert.ok(error.code === null || typeof error.code === 'string');
    assert.ok(error.message.length > 10);
    return true;
  });
});

test('a prompt beyond the context is the client\'s mistake, with the code that agents look for', async () => {
  await assert.rejects(client.chat.completions.create({ model, messages: user('word '.repeat(20000)), max_tokens: 5 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.code, 'context_length_exceeded');
    return true;
  });
});

test('more requests than the engine has slots are all served', async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, (_, i) =>
    client.chat.completions.create({ model, messages: user(`Say the number ${i}.`), max_tokens: 8 })));
  assert.ok(answers.every((a) => a.choices[0].message.content.length > 0));
});

test('kill -9 of an engine in the middle of a stream, with resume: another one goes on, and the text is the one that it would have been', { timeout: 120000 }, async () => {
  const port = await freePort();
  const dies = spawn(path.join(root, 'dev'), ['engine', '--port', String(port)], { detached: true, stdio: 'ignore' }); // a group of its own: all of it dies
  process.on('exit', () => { try { process.kill(-dies.pid, 'SIGKILL'); } catch { /* is gone */ } });
  await until('the second engine is ready', async () => (await fetch(`http://127.0.0.1:${port}/health`)).status === 200, 60000);
  const pair = await start({
    targets: [{ name: 'stays', kind: 'llamacpp', url: `http://${engine}/v1` }, { name: 'dies', kind: 'llamacpp', url: `http://127.0.0.1:${port}/v1` }],
    config: { workers: 1, routing: { strategy: 'round_robin' }, models: [{ name: model, resume: true }] },
  });
  const ask = { model, messages: user('Repeat the numbers 1, 2, 3, 4, 5 and go on up to 100.'), max_tokens: 160, temperature: 0, seed: 1, cache_prompt: false, stream: true, stream_options: { include_usage: true } };
  const whole = await collect(await pair.client().chat.completions.create(ask));
  for (let killed = false; !killed;) {
    const { data: stream, response } = await pair.client().chat.completions.create(ask).withResponse();
    const chunks = [];
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (chunks.length < 40 || killed || response.headers.get('x-valet-target') !== 'dies') continue;
      killed = true;
      process.kill(-dies.pid, 'SIGKILL');
    }
    const text = chunks.map((c) => c.choices[0]?.delta?.content ?? '').join('');
    assert.equal(text, whole.text);
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
    assert.deepEqual(chunks.map((c) => c.choices[0]?.finish_reason).filter(Boolean), ['length']);
    const { prompt_tokens: prompt, completion_tokens: made } = chunks.at(-1).usage;
    assert.ok(Math.abs(made - 160) <= 2 && Math.abs(prompt - whole.last.usage.prompt_tokens) <= 2, `${prompt} in, ${made} out`); // words are cut in tokens anew
  }
  assert.equal(await pair.metric('valet_streams_resumed_total', 'target="stays"'), 1);
});
