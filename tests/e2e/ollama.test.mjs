// ollama.test.mjs - proves: a prompt that is longer than the window that Ollama has for a model is answered whole where the window may be raised, and is
// an error that says so everywhere else; never is the answer to a prompt that was cut passed off as whole.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, OpenAI, start, until, user } from './harness.mjs';

// Windows of 4096 tokens that num_ctx raises to 32768; a token is four bytes to the simulated engine, and a word is one and a half.
const models = (...names) => names.map((name) => `${name}=ctx4096/32768`);
const valet = await start({
  targets: [
    { name: 'raises', num_ctx_max: 32768, sim: { dialect: 'ollama', models: models('a', 'b', 'c', 'e', 'f') } },
    { name: 'limited', num_ctx_max: 8192, sim: { dialect: 'ollama', models: models('g') } },
    { name: 'stays', sim: { dialect: 'ollama', models: models('h', 'k1', 'k2', 'k3') } },
  ],
});
const [raises, limited, stays] = valet.sims;
const client = valet.client();
const words = (tokens) => 'lorem '.repeat(tokens * 2 / 3);
const log = async (sim) => (await (await fetch(sim.url + '/sim/log')).json()).entries;
const last = async (sim, model) => until('the log has it', async () => (await log(sim)).filter((e) => e.model === `${model}:latest`).at(-1));
const reloads = async (sim) => (await sim.stats()).reloads;
const tool = { type: 'function', function: { name: 'look_up', parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } };
// What a stream brought until it ended, well or not: after an error it is broken off.
const readAll = async (answer) => {
  const decoder = new TextDecoder();
  let text = '';
  try { for await (const piece of answer.body) text += decoder.decode(piece, { stream: true }); } catch { /* broken off */ }
  return text;
};
const tooLong = (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError, String(error));
  assert.equal(error.code, 'context_length_exceeded');
  assert.equal(error.type, 'invalid_request_error');
  return true;
};

test('the simulated engine does as Ollama: cuts in silence, raises by num_ctx, refuses with truncate:false, counts loads', async () => {
  const post = async (where, body) => {
    const answer = await fetch(raises.url + where, { method: 'POST', body: JSON.stringify({ model: 'f', messages: user(words(9000)), stream: false, ...body }) });
    return [answer.status, await answer.json()];
  };
  const before = await reloads(raises);
  const cut = await post('/v1/chat/completions', {});
  assert.deepEqual([cut[0], cut[1].usage.prompt_tokens], [200, 4096]);
  assert.deepEqual(await post('/api/chat', { truncate: false }), [400, { error: 'the input length exceeds the context length' }]);
  assert.equal(await reloads(raises), before);
  const whole = await post('/api/chat', { truncate: false, options: { num_ctx: 16384 } });
  assert.deepEqual([whole[0], whole[1].prompt_eval_count], [200, 9000]);
  const { models: loaded } = await (await fetch(raises.url + '/api/ps')).json();
  assert.equal(loaded.find((m) => m.name === 'f:latest').context_length, 16384);
  assert.equal(await reloads(raises), before + 1);
  assert.equal((await post('/api/chat', { truncate: false, messages: user(words(33000)), options: { num_ctx: 99999 } }))[0], 400, 'no window is larger than the model');
});

test('a prompt that fits goes through /v1, byte for byte', async () => {
  const body = '{ "model": "a:latest", "messages": [{"role": "user", "content": "sh\\u006frt"}], "top_k": 7 }';
  const answer = await valet.post('/v1/chat/completions', body, { 'x-sim-echo': 'body' });
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).choices[0].message.content, body);
  assert.equal((await last(raises, 'a')).surface, 'chat');
});

test('a longer one is answered whole, and streamed, with one more load of the model for all that follow', async () => {
  const before = await reloads(raises);
  const small = await client.chat.completions.create({ model: 'b', messages: user('hello') });
  assert.equal((await last(raises, 'b')).surface, 'chat');
  assert.ok(small.usage.prompt_tokens < 100);
  const whole = await client.chat.completions.create({ model: 'b', messages: user(words(9000)), max_completion_tokens: 20 });
  assert.equal(whole.object, 'chat.completion');
  assert.equal(whole.model, 'b');
  assert.equal(whole.usage.prompt_tokens, 9000, 'all of it was read');
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  assert.ok(whole.choices[0].message.content.length > 0);
  assert.ok(['stop', 'length'].includes(whole.choices[0].finish_reason));
  let entry = await last(raises, 'b');
  assert.deepEqual([entry.surface, entry.context, entry.prompt_tokens], ['ollama-chat', 16384, 9000]);
  const { chunks, text } = await collect(await client.chat.completions.create(
    { model: 'b', messages: user(words(9000)), stream: true, stream_options: { include_usage: true }, max_completion_tokens: 20 }));
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  assert.ok(chunks.every((c) => c.object === 'chat.completion.chunk' && c.model === 'b'));
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.at(-1).usage.prompt_tokens, 9000);
  assert.equal(chunks.filter((c) => c.choices[0]?.finish_reason).length, 1);
  const quiet = await collect(await client.chat.completions.create({ model: 'b', messages: user(words(9000)), stream: true }));
  assert.ok(quiet.chunks.every((c) => c.usage == null && c.choices.length === 1), 'no usage that nobody asked for');
  for (let i = 0; i < 3; i++) await client.chat.completions.create({ model: 'b', messages: user('short again') });
  entry = await last(raises, 'b');
  assert.deepEqual([entry.surface, entry.context], ['ollama-chat', 16384], 'a short one does not load the model anew with less');
  assert.equal(await reloads(raises), before + 1);
});

test('a raw stream ends with [DONE], and each event is one data line', async () => {
  const answer = await valet.post('/v1/chat/completions', { model: 'e', messages: user(words(9000)), stream: true });
  assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
  const text = await answer.text();
  assert.ok(text.endsWith('data: [DONE]\n\n'));
  for (const event of text.split('\n\n').slice(0, -2)) assert.match(event, /^(data: \{.*\}|: .*)$/);
});

test('tools: the call comes with its arguments as text, and its result goes back', async () => {
  const messages = [{ role: 'developer', content: 'Be brief.' }, ...user(words(9000))];
  for (const stream of [false, true]) {
    let call;
    if (stream) {
      const runner = client.chat.completions.stream({ model: 'c', messages, tools: [tool] }, { headers: { 'x-sim-tool': '1' } });
      [call] = (await runner.finalMessage()).tool_calls;
    } else {
      const first = await client.chat.completions.create({ model: 'c', messages, tools: [tool] }, { headers: { 'x-sim-tool': '1' } });
      assert.equal(first.choices[0].finish_reason, 'tool_calls');
      [call] = first.choices[0].message.tool_calls;
    }
    assert.deepEqual([call.type, call.function.name, typeof JSON.parse(call.function.arguments).city], ['function', 'look_up', 'string']);
    assert.ok(call.id.length > 0);
    const second = await client.chat.completions.create({ model: 'c', tools: [tool], messages: [...messages,
      { role: 'assistant', content: null, tool_calls: [{ id: call.id, type: 'function', function: call.function }] }, { role: 'tool', tool_call_id: call.id, content: 'rain' }] });
    assert.ok(second.choices[0].message.content.length > 0);
    assert.ok(second.usage.prompt_tokens > 9000);
  }
  assert.equal((await last(raises, 'c')).surface, 'ollama-chat');
});

test('what cannot be said to it is an error, not an answer without it', async () => {
  const picture = { type: 'image_url', image_url: { url: 'https://example.org/a.png' } };
  await assert.rejects(client.chat.completions.create({ model: 'b', messages: [{ role: 'user', content: [{ type: 'text', text: words(9000) }, picture] }] }),
    (error) => error instanceof OpenAI.BadRequestError && /image/.test(error.message));
});

test('beyond what is allowed, or what the model was made for: an error', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'g', messages: user(words(12000)) }), tooLong);
  await assert.rejects(client.chat.completions.create({ model: 'g', messages: user(words(12000)), stream: true }), tooLong);
  await assert.rejects(client.chat.completions.create({ model: 'b', messages: user(words(60000)) }), tooLong);
  const fits = await client.chat.completions.create({ model: 'g', messages: user(words(6000)) });
  assert.equal(fits.usage.prompt_tokens, 6000);
  assert.equal((await last(limited, 'g')).context, 8192);
});

test('where no window may be raised, it is an error, whole or streamed', async () => {
  const small = await client.chat.completions.create({ model: 'h', messages: user('hello') });
  assert.ok(small.choices[0].message.content.length > 0);
  for (const stream of [false, true]) {
    await until('the window is known', async () => (await valet.post('/v1/chat/completions', { model: 'h', messages: user(words(9000)), stream })).status === 400);
    await assert.rejects(client.chat.completions.create({ model: 'h', messages: user(words(9000)), stream }), tooLong);
  }
  assert.equal(await reloads(stays), 0);
  assert.ok((await log(stays)).every((e) => e.context === 4096));
});

// These models have never been loaded: nobody knows their window, and the only sign is what the answer says of itself.
test('an unknown window: a whole answer to a cut prompt is an error', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'k1', messages: user(words(9000)) }), tooLong);
});

test('an unknown window: a stream ends with an error and no [DONE]', async () => {
  const answer = await valet.post('/v1/chat/completions', { model: 'k2', messages: user(words(9000)), stream: true });
  const text = await readAll(answer);
  if (answer.status === 200) {
    assert.ok(!text.includes('[DONE]'), text.slice(-300));
    const events = text.trim().split('\n\n');
    const { error } = JSON.parse(events.at(-1).slice(6));
    assert.deepEqual([error.type, error.code], ['invalid_request_error', 'context_length_exceeded']);
    assert.ok(!events.some((e) => /"finish_reason":"(stop|length)"/.test(e)), 'nor is a finish told');
  } else {
    assert.equal(answer.status, 400);
    assert.equal(JSON.parse(text).error.code, 'context_length_exceeded');
  }
});

test('an unknown window: what fits is answered, and nothing is taken for cut', async () => {
  const fits = await client.chat.completions.create({ model: 'k3', messages: user(words(3900)), max_tokens: 5 });
  assert.equal(fits.usage.prompt_tokens, 3900);
});

test('a long stream that breaks off goes on at another Ollama, in the raised window there', async () => {
  const two = await start({
    targets: ['one', 'two'].map((name) => ({ name, num_ctx_max: 32768, sim: { dialect: 'ollama', models: models('m') } })),
    config: { workers: 1, routing: { breaker: 'off', strategy: 'round_robin' }, models: [{ name: 'm', resume: true, targets: ['one', 'two'].map((target) => ({ target, model: 'm:latest' })) }] },
  });
  const ask = async () => collect(await two.client().chat.completions.create({ model: 'm', messages: user(words(9000)), max_tokens: 20, stream: true, stream_options: { include_usage: true } }));
  const whole = await ask();
  assert.equal(whole.text.split(' ').length, (await ask()).text.split(' ').length);
  await two.sims[0].faults([{ fault: 'cut-after=5' }]);
  for (let i = 0; i < 4; i++) {
    const { text, chunks } = await ask();
    assert.equal(text, whole.text);
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
    assert.equal(chunks.filter((c) => c.choices[0]?.finish_reason).length, 1);
  }
  assert.equal(await two.metric('valet_streams_resumed_total'), 2);
  for (const entry of (await log(two.sims[1])).slice(-2)) assert.deepEqual([entry.surface, entry.context], ['ollama-chat', 16384]);
});
