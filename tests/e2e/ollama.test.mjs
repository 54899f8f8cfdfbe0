// ollama.test.mjs - proves: a prompt that is longer than the window that Ollama has for a model is answered whole where the window may be raised, and is
// an error that says so everywhere else; never is the answer to a prompt that was cut passed off as whole, whichever operation asked for it.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, OpenAI, start, until, user } from './harness.mjs';

// Windows of 4096 tokens that num_ctx raises to 32768; a token is four bytes to the simulated engine, and a word is one and a half.
const models = (...names) => names.map((name) => `${name}=ctx4096/32768`);
const operations = ['completions', 'responses', 'messages', 'embeddings'];
// One model for each test of a window that nobody knows: the first answer makes it known.
const unseen = operations.flatMap((o) => [`${o}-whole`, `${o}-stream`, `${o}-fits`]);
const valet = await start({
  targets: [
    { name: 'raises', num_ctx_max: 32768, sim: { dialect: 'ollama', models: models('a', 'b', 'c', 'e', 'f') } },
    { name: 'limited', num_ctx_max: 8192, sim: { dialect: 'ollama', models: models('g') } },
    { name: 'stays', sim: { dialect: 'ollama', models: models('h', 'k1', 'k2', 'k3', 'o', ...unseen) } },
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

// ---- what has no way but /v1 ----

const asked = {
  completions: (text) => ({ prompt: text }),
  responses: (text) => ({ instructions: 'Be brief.', input: [{ role: 'user', content: [{ type: 'input_text', text }] }] }),
  messages: (text) => ({ max_tokens: 50, system: 'Be brief.', messages: [{ role: 'user', content: [{ type: 'text', text }] }] }),
  embeddings: (text) => ({ input: text }),
};
const finishes = { completions: /"finish_reason":"/, responses: /response\.(completed|incomplete)/, messages: /message_delta|message_stop/ };
const told = (usage) => usage.prompt_tokens ?? usage.input_tokens;
const ask = (operation, model, text, more) => valet.post(`/v1/${operation}`, { model, ...asked[operation](text), ...more });
const refused = async (operation, answer) => {
  const text = await answer.text();
  assert.equal(answer.status, 400, text.slice(0, 500));
  const { error } = JSON.parse(text);
  assert.deepEqual([error.type, error.code], ['invalid_request_error', 'context_length_exceeded']);
  assert.equal(error.param, { completions: 'prompt', messages: 'messages' }[operation] ?? 'input');
  return error;
};
// A stream that failed once it had begun: its last event is the error, and nothing before it says that the answer is complete.
const brokenOff = async (operation, answer) => {
  assert.equal(answer.status, 200);
  const text = await readAll(answer), events = text.trim().split('\n\n'), data = events.at(-1).split('\n').at(-1);
  const { error } = JSON.parse(data.slice(6));
  assert.deepEqual([error.type, error.code], ['invalid_request_error', 'context_length_exceeded']);
  if (operation !== 'completions') assert.ok(events.at(-1).startsWith('event: error\n'));
  assert.ok(!text.includes('[DONE]') && !finishes[operation].test(text), text.slice(-600));
};

test('the simulated engine cuts the other operations as Ollama, and tells usage as it does', async () => {
  const post = async (where, body) => (await fetch(raises.url + where, { method: 'POST', body: JSON.stringify({ model: 'f', ...body }) })).text();
  for (const operation of operations) assert.equal(told(JSON.parse(await post(`/v1/${operation}`, asked[operation](words(9000)))).usage), 4096, operation);
  assert.equal(JSON.parse(await post('/v1/embeddings', { input: [words(9000), words(300), words(5000)] })).usage.prompt_tokens, 4096 + 300 + 4096);
  assert.equal(JSON.parse(await post('/api/embed', { input: words(9000) })).prompt_eval_count, 4096);
  assert.match(JSON.parse(await post('/api/embed', { input: words(9000), truncate: false })).error, /exceeds the context length/);
  const chunks = (await post('/v1/completions', { prompt: words(9000), stream: true, stream_options: { include_usage: true } })).trim().split('\n\n').slice(0, -1).map((e) => JSON.parse(e.slice(6)));
  assert.ok(chunks.slice(0, -1).every((c) => c.usage.prompt_tokens === 0 && c.choices.length === 1));
  assert.equal(chunks.at(-1).usage.prompt_tokens, 4096);
  const events = (await post('/v1/messages', { ...asked.messages(words(9000)), stream: true })).trim().split('\n\n').map((e) => JSON.parse(e.split('\ndata: ')[1]));
  assert.ok(events[0].message.usage.input_tokens > 9000, 'a guess by length');
  assert.equal(events.find((e) => e.type === 'message_delta').usage.input_tokens, 4096);
});

for (const operation of operations) {
  test(`${operation}: what surely does not fit into a known window is not sent`, async () => {
    await until('the window is known', async () => {
      assert.equal((await ask(operation, 'o', 'hello')).status, 200);
      return (await ask(operation, 'o', words(9000))).status === 400 && (await valet.post(`/v1/${operation}`, { model: 'o', ...asked[operation](words(9000)) })).status === 400;
    });
    const error = await until('it is refused by the window', async () => {
      const e = await refused(operation, await ask(operation, 'o', words(9000)));
      return /4096/.test(e.message) && e;
    });
    if (operation === 'messages') assert.match(error.message, /^prompt is too long: \d+ tokens > 4096 maximum$/);
    else assert.match(error.message, /maximum context length is 4096 tokens, and the (prompt|input) has at least 6\d\d\d$/);
    const before = (await stays.stats()).paths[`/v1/${operation}`];
    await refused(operation, await ask(operation, 'o', words(9000)));
    if (operation !== 'embeddings') await refused(operation, await ask(operation, 'o', words(9000), { stream: true }));
    assert.equal((await stays.stats()).paths[`/v1/${operation}`], before);
  });

  test(`${operation}: what may fit is sent, and refused once the answer tells that it was cut`, async () => {
    const before = (await stays.stats()).paths[`/v1/${operation}`];
    await refused(operation, await ask(operation, 'o', words(5000)));
    if (operation !== 'embeddings') await brokenOff(operation, await ask(operation, 'o', words(5000), { stream: true }));
    assert.ok((await stays.stats()).paths[`/v1/${operation}`] > before);
  });

  test(`${operation}: an unknown window`, async () => {
    await refused(operation, await ask(operation, `${operation}-whole`, words(9000)));
    if (operation !== 'embeddings') await brokenOff(operation, await ask(operation, `${operation}-stream`, words(9000), { stream: true }));
  });

  test(`${operation}: what fits is answered, and nothing is taken for cut`, async () => {
    for (const model of [`${operation}-fits`, 'o']) {
      const whole = await ask(operation, model, words(3900));
      assert.equal(whole.status, 200);
      assert.ok(Math.abs(told((await whole.json()).usage) - 3900) < 10);
      if (operation === 'embeddings') continue;
      const text = await (await ask(operation, model, words(3900), { stream: true })).text();
      assert.ok(!/error"/.test(text.replaceAll('"error":null', '')), text.slice(-600));
      assert.match(text, finishes[operation]);
    }
  });
}

test('completions: the finish comes once, before the usage, whether or not the client asked for that', async () => {
  for (const include_usage of [true, false]) {
    const { chunks } = await collect(await client.completions.create({ model: 'o', prompt: words(3000), stream: true, stream_options: { include_usage } }));
    const at = chunks.findIndex((c) => c.choices[0]?.finish_reason);
    assert.equal(chunks.filter((c) => c.choices[0]?.finish_reason).length, 1);
    assert.equal(at, chunks.length - (include_usage ? 2 : 1));
    if (include_usage) assert.equal(chunks.at(-1).usage.prompt_tokens, 3000);
  }
});

test('embeddings: each input of a list has the window to itself', async () => {
  const list = Array.from({ length: 12 }, (_, i) => `${i} ${words(3000)}`);
  const { data, usage } = await client.embeddings.create({ model: 'o', input: list });
  assert.equal(data.length, 12);
  assert.ok(usage.prompt_tokens > 36000);
  assert.match((await refused('embeddings', await ask('embeddings', 'o', ['short', words(9000), 'short']))).message, /the input has at least 6000$/);
  await refused('embeddings', await ask('embeddings', 'o', Array(8).fill(words(5000)))); // each may fit, all are cut
});

test('a prompt beyond the window goes to the overflow that is for such', async () => {
  const two = await start({
    targets: [{ name: 'small', sim: { dialect: 'ollama', models: models('m') } }, { name: 'large', sim: { dialect: 'ollama', models: ['m=ctx65536'] } }],
    config: { routing: { breaker: 'off' }, models: [{ name: 'm', targets: ['small'].map((target) => ({ target, model: 'm:latest' })), overflow: { to: ['large/m:latest'], when: ['context'] } }] },
  });
  for (const operation of operations) {
    for (let i = 0; i < 3; i++) { // the window is not known at first
      const answer = await two.post(`/v1/${operation}`, { model: 'm', ...asked[operation](words(9000)) });
      assert.equal(answer.status, 200);
      assert.ok(told((await answer.json()).usage) >= 9000);
    }
  }
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
