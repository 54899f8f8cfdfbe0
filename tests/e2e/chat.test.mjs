// chat.test.mjs - proves: a chat through Valet is what the client sent and what the engine answered, whole or streamed, with the
// official SDK; nothing is lost, added or respelled on the way.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, start, user } from './harness.mjs';

const valet = await start({ targets: [{ sim: { models: ['m', 'org/m:1'] } }] });
const client = valet.client();
const echo = { headers: { 'x-sim-echo': 'body' } };
const echoed = async (body, headers = {}) => {
  const answer = await valet.post('/v1/chat/completions', body, { ...echo.headers, ...headers });
  assert.equal(answer.status, 200, await answer.clone().text());
  return (await answer.json()).choices[0].message.content;
};

test('a whole answer', async () => {
  const { data, response, request_id: id } = await client.chat.completions.create({ model: 'm', messages: user('Say something') }).withResponse();
  assert.equal(data.object, 'chat.completion');
  assert.equal(data.model, 'm');
  assert.equal(data.choices.length, 1);
  assert.equal(data.choices[0].message.role, 'assistant');
  assert.ok(data.choices[0].message.content.length > 0);
  assert.equal(data.choices[0].finish_reason, 'stop');
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.ok(id);
  assert.match(response.headers.get('content-type'), /^application\/json/);
});

test('a streamed answer: one id, the role first, a reason at the end, no usage that nobody asked for', async () => {
  const { data: stream, response } = await client.chat.completions.create({ model: 'm', messages: user('Say something'), stream: true }).withResponse();
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);
  assert.match(response.headers.get('cache-control'), /no-cache/);
  assert.equal(response.headers.get('x-accel-buffering'), 'no');
  assert.equal(response.headers.get('content-length'), null);
  const { chunks, text } = await collect(stream);
  assert.ok(text.length > 0);
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  assert.ok(chunks.every((c) => c.object === 'chat.completion.chunk' && c.model === 'm'));
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.ok(chunks.every((c) => c.choices.length === 1), 'no chunk without a choice');
  assert.ok(chunks.every((c) => c.usage == null), 'no usage');
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
});

test('the streamed text is the whole text', async () => {
  const ask = { model: 'm', messages: user('The same question'), seed: 7, max_tokens: 50 };
  const whole = await client.chat.completions.create(ask);
  const { text } = await collect(await client.chat.completions.create({ ...ask, stream: true }));
  assert.equal(text, whole.choices[0].message.content);
});

test('the wire format of a stream: data lines with one space, LF, [DONE] at the end', async () => {
  const answer = await valet.post('/v1/chat/completions', { model: 'm', messages: user('x'), stream: true, max_tokens: 5 });
  const text = await answer.text();
  assert.ok(text.endsWith('data: [DONE]\n\n'));
  for (const event of text.split('\n\n').slice(0, -2)) assert.ok(/^(data: \{.*\}|: .*)$/.test(event), `an event: ${JSON.stringify(event)}`);
});

test('usage in a stream when it is asked for: one last chunk without choices', async () => {
  const stream = await client.chat.completions.create({ model: 'm', messages: user('x'), stream: true, stream_options: { include_usage: true } });
  const { chunks } = await collect(stream);
  assert.equal(chunks.filter((c) => c.choices.length === 0).length, 1);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

test('the engine is asked for usage although the client did not ask', async () => {
  const { text } = await collect(await client.chat.completions.create({ model: 'm', messages: user('x'), stream: true }, echo));
  assert.equal(JSON.parse(text).stream_options.include_usage, true);
});

test('other stream options reach the engine beside the one that Valet needs', async () => {
  const { text } = await collect(await client.chat.completions.create(
    { model: 'm', messages: user('x'), stream: true, stream_options: { include_usage: false, include_obfuscation: false } }, echo));
  assert.deepEqual(JSON.parse(text).stream_options, { include_usage: true, include_obfuscation: false });
});

test('the stream helper of the SDK', async () => {
  const runner = client.chat.completions.stream({ model: 'm', messages: user('Say something') });
  let deltas = '';
  runner.on('content', (delta) => { deltas += delta; });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content, deltas);
  assert.equal(final.choices[0].finish_reason, 'stop');
});

const tool = { headers: { 'x-sim-tool': '1' } };
const weather = { type: 'function', function: { name: 'get_weather', description: 'Weather of a place',
  parameters: { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } };

test('a tool call, whole', async () => {
  const answer = await client.chat.completions.create({ model: 'm', messages: user('Weather in Rome?'), tools: [weather], tool_choice: 'required' }, tool);
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(answer.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.type, 'function');
  assert.equal(call.function.name, 'get_weather');
  assert.equal(typeof JSON.parse(call.function.arguments), 'object');
});

test('a tool call, streamed and put together by the SDK', async () => {
  const runner = client.chat.completions.stream({ model: 'm', messages: user('Weather in Rome?'), tools: [weather], tool_choice: 'required' }, tool);
  const final = await runner.finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  assert.equal(final.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.function.name, 'get_weather');
  assert.equal(typeof JSON.parse(call.function.arguments), 'object');
});

test('the turn after a tool call reaches the engine as it was sent', async () => {
  const messages = [...user('Weather in Rome?'),
    { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } }] },
    { role: 'tool', tool_call_id: 'call_1', content: 'sunny' }];
  const answer = await client.chat.completions.create({ model: 'm', messages, tools: [weather] }, echo);
  const seen = JSON.parse(answer.choices[0].message.content);
  assert.deepEqual(seen.messages, messages);
  assert.deepEqual(seen.tools, [weather]);
});

test('several choices', async () => {
  const answer = await client.chat.completions.create({ model: 'm', messages: user('x'), n: 3 });
  assert.deepEqual(answer.choices.map((c) => c.index), [0, 1, 2]);
  const runner = client.chat.completions.stream({ model: 'm', messages: user('x'), n: 3 });
  assert.equal((await runner.finalChatCompletion()).choices.length, 3);
});

test('log probabilities', async () => {
  const answer = await client.chat.completions.create({ model: 'm', messages: user('x'), logprobs: true, top_logprobs: 2, max_tokens: 3 });
  const { content } = answer.choices[0].logprobs;
  assert.equal(content.length, answer.usage.completion_tokens);
  assert.equal(content[0].top_logprobs.length, 2);
});

test('pictures, sound and files in messages reach the engine', async () => {
  const content = [{ type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'low' } },
    { type: 'input_audio', input_audio: { data: 'UklGRg==', format: 'wav' } },
    { type: 'file', file: { file_data: 'data:application/pdf;base64,JVBERi0=', filename: 'a.pdf' } }];
  const answer = await client.chat.completions.create({ model: 'm', messages: user(content) }, echo);
  assert.deepEqual(JSON.parse(answer.choices[0].message.content).messages[0].content, content);
});

test('a body passes byte for byte: unknown members, order, white space, the spelling of numbers and of escapes', async () => {
  const body = '{ "top_k":40,"model" : "m",\n"temperature":1.0e0,"x_unknown":{"b":1,"a":[ ]},"big":12345678901234567890.10,' +
    '"messages":[{"role":"user","content":"\\u00e9\\n\\/ é 漢字 🙂 \\ud83d\\ude42"}],"min_p":5E-2}';
  assert.equal(await echoed(body), body);
});

test('text in every script survives the way there and back', async () => {
  const content = 'naïve Ελληνικά العربية हिन्दी 漢字 🙂👩‍👩‍👧 \u0000\u0007 "quoted" \\ back';
  const { text } = await collect(await client.chat.completions.create({ model: 'm', messages: user(content), stream: true }, echo));
  assert.equal(JSON.parse(text).messages[0].content, content);
});

test('null stands for absent, and still reaches the engine', async () => {
  const body = JSON.stringify({ model: 'm', messages: user('x'), max_tokens: null, stop: null, tools: null, stream: null, n: null });
  assert.equal(await echoed(body), body);
});

test('bodies of clients that bend the rules', async (t) => {
  const body = JSON.stringify({ model: 'm', messages: user('x') });
  await t.test('no content type', async () => {
    const answer = await valet.fetch('/v1/chat/completions', { method: 'POST', body: new TextEncoder().encode(body) });
    assert.equal(answer.status, 200);
  });
  await t.test('the content type of a form', async () => {
    assert.equal((await valet.post('/v1/chat/completions', body, { 'content-type': 'application/x-www-form-urlencoded' })).status, 200);
  });
  await t.test('a byte order mark', async () => {
    assert.equal((await valet.post('/v1/chat/completions', '\ufeff' + body)).status, 200);
  });
  await t.test('half of a surrogate pair', async () => {
    assert.equal((await valet.post('/v1/chat/completions', '{"model":"m","messages":[{"role":"user","content":"cut \\ud83d"}]}')).status, 200);
  });
  await t.test('a chunked body without length', async () => {
    const parts = new ReadableStream({ start(c) { for (const byte of body) c.enqueue(new TextEncoder().encode(byte)); c.close(); } });
    const answer = await valet.fetch('/v1/chat/completions', { method: 'POST', body: parts, duplex: 'half', headers: { 'content-type': 'application/json' } });
    assert.equal(answer.status, 200);
  });
});

test('base addresses that people get wrong', async (t) => {
  for (const where of ['/chat/completions', '/v1/v1/chat/completions', '/v1/chat/completions/', '//v1//chat/completions', '/api/v1/chat/completions']) {
    await t.test(where, async () => {
      const answer = await valet.post(where, { model: 'm', messages: user('x') });
      assert.equal(answer.status, 200, await answer.text());
    });
  }
});

test('a model id with a slash and a colon', async () => {
  const answer = await client.chat.completions.create({ model: 'org/m:1', messages: user('x') });
  assert.equal(answer.model, 'org/m:1');
});

test('a large prompt passes whole', async () => {
  const content = 'word '.repeat(400_000); // 2 MB
  const answer = await client.chat.completions.create({ model: 'm', messages: user(content) }, echo);
  assert.equal(JSON.parse(answer.choices[0].message.content).messages[0].content, content);
});
