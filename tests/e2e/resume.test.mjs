// resume.test.mjs - proves: with `resume: true` a stream of text that breaks off goes on at another engine, and the client sees one stream, word for word the
// one that it would have got; what cannot be continued ends with a typed error event as before.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { OpenAI, bearer, collect, slow, start, until, user } from './harness.mjs';

const times = { first_byte: '5s', idle: '1s', total: '60s' };
const pair = (dialect, more = {}) => start({
  targets: [{ name: 'a', sim: { dialect, rate: 2000 } }, { name: 'b', sim: { dialect, rate: 2000 } }],
  config: { timeouts: times, workers: 1, routing: { breaker: 'off', strategy: 'round_robin' }, models: [{ name: 'm', resume: true }], ...more },
});
const valet = await pair('vllm');
const kinds = { vllm: valet, sglang: await pair('sglang'), llamacpp: await pair('llamacpp'), ollama: await pair('ollama') };
const words = { 'x-sim-tokens': '40' };
const ask = (more = {}) => ({ model: 'm', messages: user('Tell me "a story".\n'), stream: true, ...more });
const send = (v, more, headers = {}) => v.client().chat.completions.create(ask(more), { headers: { ...words, ...headers } });
const calm = (v) => Promise.all(v.sims.map((sim) => sim.faults()));
const resumed = (v) => v.metric('valet_streams_resumed_total');

// What the engines say when nothing happens.
async function unbroken(v, more) {
  await calm(v);
  return collect(await send(v, more));
}

// One stream of one answer: told once who speaks, why it ends, and what it took.
function assertOne({ chunks, text }, whole, usage) {
  assert.equal(text, whole.text);
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1, 'one id');
  assert.equal(new Set(chunks.map((c) => c.created)).size, 1, 'one time');
  assert.equal(new Set(chunks.map((c) => c.model)).size, 1, 'one model');
  const choices = chunks.flatMap((c) => c.choices);
  assert.equal(choices.filter((c) => c.finish_reason).length, 1, 'one finish');
  assert.equal(choices.findLast((c) => c.finish_reason).finish_reason, whole.chunks.flatMap((c) => c.choices).find((c) => c.finish_reason).finish_reason);
  const said = chunks.filter((c) => c.usage);
  assert.equal(said.length, usage ? 1 : 0);
  if (usage) assert.deepEqual(said[0].usage, whole.last.usage);
}

// The bytes of a stream.
async function bytes(v, more, headers) {
  const answer = await v.post('/v1/chat/completions', ask(more), { ...words, ...headers });
  const parts = [];
  let cut = false;
  try {
    for await (const part of answer.body) parts.push(part);
  } catch {
    cut = true;
  }
  const text = Buffer.concat(parts).toString();
  return { text, cut, events: text.split('\n\n').filter((e) => e.startsWith('data: ')).map((e) => e.slice(6)) };
}

function assertBroken({ text, cut, events }, code) {
  assert.ok(cut, 'the connection breaks off');
  assert.ok(!text.includes('[DONE]'));
  assert.equal(JSON.parse(events.at(-1)).error.code, code, text);
}

for (const [kind, v] of Object.entries(kinds)) {
  test(`${kind}: a stream that is reset, cut, or stalls at any place is the one that it would have been`, async () => {
    for (const usage of [false, true]) {
      const more = usage ? { stream_options: { include_usage: true } } : {};
      const whole = await unbroken(v, more);
      for (const what of ['cut-after=1', 'reset-after=7', 'cut-after=39', 'error-in-stream=9', 'stall-after=12']) {
        const before = await resumed(v);
        await v.sims[0].faults([{ fault: what }]);
        for (let i = 0; i < 2; i++) assertOne(await collect(await send(v, more)), whole, usage);
        assert.ok(await resumed(v) === before + 1, `${what}: one of two went on elsewhere`);
      }
    }
  });
}

test('one role, one finish, one [DONE], whole events, and nothing of the break', async () => {
  await calm(valet);
  await valet.sims[0].faults([{ fault: 'cut-after=20' }]);
  for (let i = 0; i < 2; i++) {
    const { text, cut, events } = await bytes(valet);
    assert.ok(!cut);
    assert.equal(text.match(/"role"/g).length, 1);
    assert.equal(text.match(/"finish_reason":"/g).length, 1);
    assert.equal(events.filter((e) => e === '[DONE]').length, 1);
    assert.equal(events.at(-1), '[DONE]');
    for (const event of events.slice(0, -1)) JSON.parse(event);
  }
});

test('the ceiling of tokens holds for all of it together', async () => {
  for (const cap of [{ max_tokens: 30 }, { max_completion_tokens: 30 }, { max_tokens: 5 }]) {
    const more = { ...cap, stream_options: { include_usage: true } };
    const whole = await unbroken(valet, more);
    assert.equal(whole.last.usage.completion_tokens, Object.values(cap)[0]);
    await valet.sims[0].faults([{ fault: 'reset-after=4' }]);
    for (let i = 0; i < 2; i++) assertOne(await collect(await send(valet, more)), whole, true);
  }
  const whole = await unbroken(valet, { max_tokens: 8 }); // all of the text had come, but not why it ended
  await valet.sims[0].faults([{ fault: 'reset-after=8' }]);
  for (let i = 0; i < 2; i++) {
    const { text, chunks } = await collect(await send(valet, { max_tokens: 8 }));
    assert.equal(text, whole.text);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'length');
  }
});

test('the SDK\'s own helper reads the joined stream', async () => {
  const whole = await unbroken(valet);
  await valet.sims[0].faults([{ fault: 'reset-after=10' }]);
  for (let i = 0; i < 2; i++) {
    const runner = valet.client().chat.completions.stream(ask(), { headers: words });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.content, whole.text);
    assert.equal(final.choices[0].message.role, 'assistant');
    assert.equal(final.choices[0].finish_reason, 'stop');
  }
});

test('it can break more than once, as often as there are other targets', async () => {
  const three = await start({
    targets: ['a', 'b', 'c'].map((name) => ({ name, sim: { dialect: 'vllm', rate: 2000 } })),
    config: { timeouts: times, workers: 1, routing: { breaker: 'off', strategy: 'round_robin' }, models: [{ name: 'm', resume: true }] },
  });
  const whole = await unbroken(three, { stream_options: { include_usage: true } });
  for (const sim of three.sims.slice(0, 2)) await sim.faults([{ fault: 'reset-after=6' }]);
  for (let i = 0; i < 3; i++) assertOne(await collect(await send(three, { stream_options: { include_usage: true } })), whole, true);
  assert.ok(await resumed(three) >= 3);
  await three.sims[2].faults([{ fault: 'reset-after=6' }]);
  assertBroken(await bytes(three), 'upstream_disconnect');
});

test('its record stands in the books once, with what the client was told', async () => {
  const kept = await pair('vllm');
  const secret = await kept.key('one');
  await until('the key is known', async () => (await kept.fetch('/v1/models', { headers: bearer(secret) })).status === 200);
  await kept.sims[0].faults([{ fault: 'reset-after=11' }]);
  const client = kept.client({ apiKey: secret });
  const told = [];
  for (let i = 0; i < 2; i++) told.push((await collect(await client.chat.completions.create(ask({ stream_options: { include_usage: true } }), { headers: words }))).last.usage);
  assert.deepEqual(told[0], told[1]);
  const total = await until('the records', async () => { const { total: t } = await kept.json('usage', '--key', 'one'); return t?.requests === 2 && t; });
  assert.equal(total.input_tokens, told[0].prompt_tokens + told[1].prompt_tokens);
  assert.equal(total.output_tokens, told[0].completion_tokens + told[1].completion_tokens);
  assert.match(kept.log, /key=one .*by=counted.* attempts=2 resumed=1/);
});

// An engine as scripted: it lists a model, and does with chats what it is told.
async function scripted(chat) {
  const server = http.createServer((request, response) => {
    let text = '';
    request.on('data', (data) => { text += data; }).on('end', () => {
      if (request.url === '/v1/models') response.setHeader('content-type', 'application/json').end(JSON.stringify({ object: 'list', data: [{ id: 'm', object: 'model', owned_by: 'vllm', max_model_len: 4096 }] }));
      else if (request.method === 'POST') chat(JSON.parse(text), response.setHeader('content-type', 'text/event-stream'));
      else response.writeHead(404).end();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}/v1`;
}
const event = (delta, more = {}) => `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: null, ...more }] })}\n\n`;

test('an answer that shows its thinking is not continued, and none that thinks anew is taken for the rest', async () => {
  const asked = [];
  const breaks = (...deltas) => (body, response) => {
    asked.push(body);
    for (const delta of deltas) response.write(event(delta));
    setTimeout(() => response.destroy(), 20);
  };
  const run = async (...chats) => {
    const targets = [];
    for (const chat of chats) targets.push({ name: `s${targets.length}`, kind: 'vllm', url: await scripted(chat) });
    const v = await start({ targets, config: { workers: 1, routing: { breaker: 'off', strategy: 'round_robin' }, models: [{ name: 'm', resume: true }] } });
    const answers = [];
    for (let i = 0; i < 2; i++) answers.push(await bytes(v));
    return answers;
  };
  for (const answer of await run(breaks({ role: 'assistant', reasoning: 'hm' }, { content: 'a' }), breaks({ role: 'assistant', reasoning_content: 'hm' }))) assertBroken(answer, 'upstream_disconnect');
  assert.equal(asked.length, 2);
  const thinks = (body, response) => response.end(event(body.continue_final_message ? { reasoning: 'Let me see.' } : { content: 'whole' }, {}) + event({}, { finish_reason: 'stop' }) + 'data: [DONE]\n\n');
  const [one, other] = (await run(breaks({ role: 'assistant', content: 'a' }), thinks)).sort((a, b) => b.cut - a.cut);
  assertBroken(one, 'upstream_error');
  assert.match(one.text, /thinks anew/);
  assert.ok(!other.cut);
  assert.deepEqual(asked.at(-1).messages, ask().messages);
});

test('half an event never reaches the client, however long it is; white space is neither lost nor said twice', async () => {
  const long = 'é\\"\n'.repeat(20000);
  const speak = (body, response) => {
    const said = body.continue_final_message ? body.messages.at(-1).content : '';
    const rest = `One. \n${long}`.slice(said.length); // what it was given has lost the white space at its end
    if (said) return response.end(event({ role: 'assistant', content: '' }) + event({ content: rest }) + event({}, { finish_reason: 'stop' }) + 'data: [DONE]\n\n');
    response.write(event({ role: 'assistant', content: '' }) + event({ content: 'One. \n' }));
    response.write(event({ content: long }).slice(0, 50000));
    return setTimeout(() => response.destroy(), 50);
  };
  const v = await start({
    targets: [{ name: 'a', kind: 'vllm', url: await scripted(speak) }, { name: 'b', kind: 'vllm', url: await scripted(speak) }],
    config: { routing: { breaker: 'off' }, models: [{ name: 'm', resume: true }] },
  });
  const { cut, events } = await bytes(v);
  assert.ok(!cut);
  const chunks = events.slice(0, -1).map((text) => JSON.parse(text));
  assert.equal(chunks.map((c) => c.choices[0].delta.content ?? '').join(''), `One. \n${long}`);
});

test('tool calls, probabilities, several choices, grammars: a typed error event as ever', async () => {
  await calm(valet);
  const before = await resumed(valet);
  for (const sim of valet.sims) await sim.faults([{ fault: 'reset-after=3' }]);
  const tools = [{ type: 'function', function: { name: 'look_up', parameters: { type: 'object', properties: { what: { type: 'string' }, where: { type: 'string' } }, required: ['what', 'where'] } } }];
  for (const more of [{ tools, tool_choice: 'required' }, { logprobs: true }, { n: 2 }, { response_format: { type: 'json_object' } },
    { messages: [...user('x'), { role: 'assistant', content: 'It' }] }]) {
    const broken = await bytes(valet, more, more.tools ? { 'x-sim-fault': 'reset-after=1' } : {});
    assertBroken(broken, 'upstream_disconnect');
  }
  assert.equal(await resumed(valet), before);
});

test('no other target that could continue: a typed error event', async () => {
  const odd = await start({ // two that are not known to continue
    targets: [{ name: 'a', sim: { dialect: 'vllm', models: ['m'] } }, { name: 'b', sim: { dialect: 'openai', models: ['m'] } }, { name: 'c', sim: { dialect: 'lmstudio', models: ['m'] } }],
    config: { workers: 1, routing: { breaker: 'off', strategy: 'round_robin' }, models: [{ name: 'm', resume: true, targets: ['a', 'b', 'c'] }] },
  });
  const one = await start({ targets: [{ sim: { dialect: 'vllm' } }], config: { routing: { breaker: 'off' }, models: [{ name: 'm', resume: true }] } });
  for (const v of [one, odd]) {
    await v.sims[0].faults([{ fault: 'cut-after=5' }]);
    const answers = [];
    for (let i = 0; i < 6; i++) answers.push(await bytes(v));
    const broken = answers.filter((answer) => answer.cut);
    for (const answer of broken) assertBroken(answer, 'upstream_disconnect');
    assert.equal(broken.length, v === one ? 6 : 2);
    assert.equal(await resumed(v), 0);
  }
});

test('the engines may call the model differently', async () => {
  const two = await start({
    targets: [{ name: 'a', sim: { dialect: 'vllm', models: ['org/m'] } }, { name: 'b', sim: { dialect: 'llamacpp', models: ['m.gguf'] } }],
    config: { workers: 1, routing: { breaker: 'off', strategy: 'round_robin' },
      models: [{ name: 'm', resume: true, targets: [{ target: 'a', model: 'org/m' }, { target: 'b', model: 'm.gguf' }] }] },
  });
  await two.sims[0].faults([{ fault: 'cut-after=5' }]);
  for (let i = 0; i < 4; i++) assert.equal((await bytes(two)).cut, false);
  assert.equal(await resumed(two), 2);
});

test('a target that refuses to continue: the error says so, and is not the client\'s', async () => {
  await calm(valet);
  await valet.sims[0].faults([{ fault: 'cut-after=5', count: 1 }, { fault: 'status=400' }]);
  await valet.sims[1].faults([{ fault: 'cut-after=5', count: 1 }, { fault: 'status=400' }]);
  assertBroken(await bytes(valet), 'upstream_disconnect');
  await calm(valet);
  await valet.sims[0].faults([{ fault: 'cut-after=5' }]);
  await valet.sims[1].faults([{ fault: 'cut-after=5', count: 0 }, { fault: 'reset-before' }]);
  await until('a stream that began at the first', async () => { const got = await bytes(valet); return got.cut && got; });
});

test('the other target is full: the stream waits for a place there, with comments', async () => {
  const tight = await start({
    targets: [{ name: 'a', sim: { dialect: 'vllm' }, max_concurrency: 1 }, { name: 'b', sim: { dialect: 'vllm' }, max_concurrency: 1 }],
    config: { timeouts: { ...times, heartbeat: '50ms' }, queue: { heartbeat_after: '50ms' }, routing: { breaker: 'off', strategy: 'least_busy' }, models: [{ name: 'm', resume: true }] },
  });
  const whole = await unbroken(tight);
  const busy = bytes(tight, { messages: user('long') }, { 'x-sim-tokens': '40', 'x-sim-interval-ms': '25' });
  const holder = await until('one is busy', async () => { for (const sim of tight.sims) if ((await sim.stats()).active) return sim; });
  await tight.sims.find((sim) => sim !== holder).faults([{ fault: 'reset-after=10' }]);
  const { text, cut, events } = await bytes(tight);
  assert.ok(!cut && events.at(-1) === '[DONE]', text);
  assert.equal(events.slice(0, -1).map((e) => JSON.parse(e).choices[0].delta.content ?? '').join(''), whole.text);
  assert.match(text, /: queued position=1/);
  assert.ok(!(await busy).cut);
});

test('an engine that dies while the client has got comments alone: another one answers', async () => {
  const early = await start({
    targets: [{ name: 'a', sim: { dialect: 'vllm', ttft: 1000 * slow } }, { name: 'b', sim: { dialect: 'vllm', ttft: 10 } }],
    config: { timeouts: { ...times, idle: '20s', heartbeat: '50ms' }, workers: 1, routing: { breaker: 'off', strategy: 'round_robin' }, models: [{ name: 'm', resume: true }] },
  });
  for (let died = false; !died;) { // until it begins at the first
    const answering = bytes(early);
    died = await until('one is busy', async () => { for (const [i, sim] of early.sims.entries()) if ((await sim.stats()).calls) return [i]; }).then(([i]) => i === 0);
    if (died) {
      await until('it has got a comment', async () => (await early.json('live')).data.some((row) => row.status === 200));
      early.sims[0].program.expectedEnd = true;
      early.sims[0].program.signal('SIGKILL');
    }
    const { text, cut, events } = await answering;
    assert.ok(!cut && events.at(-1) === '[DONE]', text);
    assert.equal(events.slice(0, -1).filter((e) => JSON.parse(e).choices[0].delta.role).length, 1);
    if (died) assert.match(text, /^: keep-alive/);
    if (!died) await fetch(early.sims[1].url + '/sim/reset', { method: 'POST' });
  }
  await early.sims[0].program.ended;
  await early.sims[0].restart();
});

test('a client that leaves while its stream waits to go on gives everything back', async () => {
  await calm(valet);
  await valet.sims[0].faults([{ fault: 'reset-after=10' }]);
  await valet.sims[1].faults([{ fault: `slow-head=${1000 * slow}` }]);
  for (let waited = false; !waited;) { // until it begins at the first
    const control = new AbortController();
    const { data: stream, response } = await valet.client().chat.completions.create(ask(), { headers: words, signal: control.signal }).withResponse();
    waited = response.headers.get('x-valet-target') === 'a';
    if (waited) await until('it waits', async () => (await valet.json('live')).data.some((row) => row.attempts === 2 && row.step === 'HEAD'));
    control.abort();
    await collect(stream).catch(() => {});
  }
  await calm(valet);
  await until('nothing runs', async () => (await valet.json('live')).data.length === 0 && (await Promise.all(valet.sims.map((s) => s.stats()))).every((s) => s.active === 0));
  assert.equal(await valet.metric('valet_streams', 'model="m"'), 0);
});

test('without resume: as ever', async () => {
  const plain = await pair('vllm', { models: [{ name: 'm' }] });
  for (const sim of plain.sims) await sim.faults([{ fault: 'cut-after=5' }]);
  const stream = await send(plain, {});
  await assert.rejects(collect(stream), (error) => error instanceof OpenAI.APIError && error.code === 'upstream_disconnect');
  assert.equal(await resumed(plain), 0);
});

test('kill -9 of an engine under 200 streams, again and again: all of them end whole and in order', async () => {
  const crowd = await start({
    targets: [{ name: 'a', sim: { dialect: 'vllm', rate: 60, slots: 400 } }, { name: 'b', sim: { dialect: 'vllm', rate: 60, slots: 400 } }],
    config: { models: [{ name: 'm', resume: true }], auth: 'off', routing: { strategy: 'least_busy' } },
  });
  const client = crowd.client();
  const tokens = { 'x-sim-tokens': '60' };
  const one = async (i) => collect(await client.chat.completions.create({ ...ask({ messages: user(`story ${i}`), stream_options: { include_usage: true } }) }, { headers: tokens }));
  const fast = { ...tokens, 'x-sim-interval-ms': '0' };
  const want = await Promise.all(Array.from({ length: 200 }, async (_, i) => (await client.chat.completions.create(
    { model: 'm', messages: user(`story ${i}`) }, { headers: fast })).choices[0].message.content));
  let whole = 0, all = 0;
  const seen = [];
  for (let round = 0; round < 4; round++) {
    const victim = crowd.sims[round % 2];
    const streams = Array.from({ length: 200 }, (_, i) => one(i).catch((error) => ({ error })));
    await until('both have half of them', async () => (await Promise.all(crowd.sims.map((sim) => sim.stats()))).every((s) => s.active >= 80));
    await new Promise((resolve) => setTimeout(resolve, 120 * (round + 1)));
    victim.program.expectedEnd = true;
    victim.program.signal('SIGKILL');
    for (const [i, got] of (await Promise.all(streams)).entries()) {
      all++;
      const fine = !got.error && got.text === want[i] && got.chunks.filter((c) => c.choices[0]?.finish_reason === 'stop').length === 1 &&
        new Set(got.chunks.map((c) => c.id)).size === 1 && got.last.usage.completion_tokens === 60;
      whole += fine;
      if (!fine) seen.push(got.error ?? { text: got.text, want: want[i], last: got.last });
    }
    await victim.program.ended;
    await victim.restart();
    await until('it is used again', async () => { await crowd.healthy(); const [a, b] = await Promise.all(crowd.sims.map((s) => s.stats())); return a.calls > 0 && b.calls > 0; }, 20000 * slow);
  }
  console.log(`${whole} of ${all} streams whole and in order, ${await resumed(crowd)} of them went on elsewhere`);
  assert.ok(whole >= 0.999 * all, `${whole} of ${all}: ${JSON.stringify(seen.slice(0, 3), Object.getOwnPropertyNames(seen[0] ?? {}))}`);
  assert.ok(await resumed(crowd) >= 200, 'many of them were broken off');
});
