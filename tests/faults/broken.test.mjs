// broken.test.mjs - proves: whatever an engine does to its answer, the client gets a whole answer or sees that it is none: an error in its own
// words, or a stream that ends with an error event, without [DONE] and without its last chunk. Never a fake success, never a hang.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { ask, assertBroken, assertError, chat, contents, events, fault, faultTest, memory, slow, until, withRaw, withSims } from './aid.mjs';
import { chunk, completion, event, finish, piece, STREAM_HEAD, usage } from './raw.mjs';

const times = { first_byte: '3s', idle: '1s', total: '20s', heartbeat: 'off' };
const { valet, sim, proxy } = await withSims([{}], { config: { timeouts: times, workers: 1 } });
const stream = (more) => ({ body: chat({ stream: true, ...more }) });
const isolated = (name, body, options) => faultTest(valet, name, body, { calm: () => proxy.disarm(), ...options });
const tokens = () => valet.metric('valet_output_tokens_total');

// ---- what breaks off ----

for (const [row, what, code] of [
  ['7', 'reset-after=3', 'upstream_disconnect'], ['8', 'cut-after=3', 'upstream_disconnect'],
]) {
  isolated(`${row}: ${what}: a stream ends with an error event and does not look whole; a whole answer becomes 502`, async () => {
    const answer = await ask(valet, { ...stream(), ...fault(what) });
    assertBroken(answer, code);
    assert.ok(contents(answer).length > 0, 'what came before the break has reached the client');
    assertError(await ask(valet, fault(what)), 502, code);
  });
}

isolated('9: a stall in the middle is seen within a second of the idle limit, in a stream and in a whole answer', async () => {
  for (const how of [stream(), {}]) {
    const answer = await ask(valet, { ...how, ...fault('stall-after=2') });
    if (how.body) assertBroken(answer, 'upstream_timeout');
    else assertError(answer, 504, 'upstream_timeout');
    assert.ok(answer.ms >= 900 && answer.ms < 2300 * slow + 500, `${answer.ms} ms`);
  }
  await until('the engine was let go', async () => (await sim.stats()).active === 0);
});

isolated('5: a slow stream lives as long as each piece comes within the idle limit', async () => {
  const answer = await ask(valet, { ...stream(), fields: 'x-sim-fault: slow-token=500\r\nx-sim-tokens: 8\r\n' });
  assert.ok(answer.ms > 2500, `${answer.ms} ms`);
  assert.ok(answer.whole && events(answer).at(-1) === '[DONE]', answer.text);
});

isolated('10: the last chunk is cut or missing: after [DONE] the client has its answer, a whole answer without its end is none', async () => {
  for (const what of ['truncated-chunk', 'missing-final-chunk']) {
    const answer = await ask(valet, { ...stream(), ...fault(what) });
    assert.ok(answer.whole && events(answer).at(-1) === '[DONE]', answer.text);
    assertError(await ask(valet, fault(what)), 502, 'upstream_disconnect');
  }
});

isolated('11: Content-Length too small, too large, twice, and with Transfer-Encoding', async () => {
  assertError(await ask(valet, fault('length-short')), 502, 'upstream_invalid_answer');
  assertError(await ask(valet, fault('length-long')), 502, 'upstream_disconnect');
  assertError(await ask(valet, fault('length-twice')), 502, 'upstream_invalid_answer');
  assertError(await ask(valet, fault('length-and-chunked')), 502, 'upstream_invalid_answer');
});

isolated('12: giant headers, thousands of headers, folded headers: 502 within bounds of memory', async () => {
  for (const what of ['giant-header=64', 'giant-header=10000', 'many-headers=10000', 'obs-fold']) {
    const before = memory(valet.program.pid);
    assertError(await ask(valet, fault(what)), 502, 'upstream_invalid_answer');
    assertError(await ask(valet, { ...stream(), ...fault(what) }), 502, 'upstream_invalid_answer');
    assert.ok(memory(valet.program.pid) - before < 2 << 20, what);
  }
});

isolated('13: no JSON, another content type, a proxy\'s error page: 502 in the shape of OpenAI\'s errors, without the page', async () => {
  assertError(await ask(valet, fault('bad-json')), 502, 'upstream_invalid_answer');
  assertError(await ask(valet, fault('wrong-type')), 502, 'upstream_invalid_answer');
  const error = assertError(await ask(valet, fault('html-error=502')), 502, 'upstream_error');
  assert.ok(!/</.test(error.message), error.message);
  for (const what of ['garbage', 'garbage=100000']) assertError(await ask(valet, fault(what)), 502, 'upstream_invalid_answer');
});

isolated('14: malformed events pass, the stream completes, and its usage is found', async () => {
  const before = await tokens();
  const answer = await ask(valet, { ...stream(), ...fault('bad-sse=2') });
  assert.ok(answer.whole && answer.text.endsWith('data: [DONE]\n\n'), answer.text);
  await until('usage', async () => await tokens() > before);
});

isolated('7: an error inside a stream reaches the client as the event that it is', async () => {
  const answer = await ask(valet, { ...stream(), ...fault('error-in-stream=2') });
  assert.equal(answer.status, 200);
  const last = events(answer).at(-1);
  assert.ok(last !== '[DONE]' && JSON.parse(last).error, last);
});

// ---- ends ----

isolated('20: an engine that hangs after [DONE]: the client has its end at once, the connection is not kept for others', async () => {
  const quick = await ask(valet, stream());
  const answer = await ask(valet, { ...stream(), ...fault('hang-after-done') });
  assert.ok(answer.whole && events(answer).at(-1) === '[DONE]');
  assert.ok(answer.ms < quick.ms + 50 + 200 * slow, `${answer.ms} ms, ${quick.ms} without the fault`);
  await until('the engine\'s connection was closed', async () => (await sim.stats()).active === 0, 2000 * slow);
});

isolated('21: a stream without [DONE] is finished by Valet, with its usage counted', async () => {
  const before = await tokens();
  const answer = await ask(valet, { ...stream(), ...fault('no-done') });
  assert.ok(answer.whole && events(answer).at(-1) === '[DONE]', answer.text);
  assert.ok(answer.ms < 1000 * slow);
  await until('usage', async () => await tokens() > before);
});

isolated('23: no usage from the engine: the answer is whole and counted as one without', async () => {
  const missing = () => valet.metric('valet_usage_missing_total');
  const before = await missing();
  for (const how of [stream(), {}]) {
    const answer = await ask(valet, { ...how, ...fault('no-usage') });
    assert.ok(answer.status === 200 && answer.whole, answer.text);
  }
  await until('counted', async () => await missing() === before + 2);
});

isolated('24: absurd usage breaks nothing and is not believed', async () => {
  for (const what of ['usage-negative', 'usage-huge', 'usage-string']) {
    const before = await tokens();
    for (const how of [stream({ stream_options: { include_usage: true } }), stream(), {}]) {
      const answer = await ask(valet, { ...how, ...fault(what) });
      assert.ok(answer.status === 200 && answer.whole, `${what}: ${answer.text}`);
      if (how.body) assert.equal(events(answer).at(-1), '[DONE]');
    }
    assert.equal(await tokens(), before, what);
  }
});

isolated('25: a flood of 1xx, 101 and redirects become 502; compression that nobody asked for does as well', async () => {
  for (const what of ['1xx-flood=1000', '1xx-flood=9', 'switching-101', 'redirect=301', 'redirect=307', 'gzip=10']) {
    for (const how of [{}, stream()]) {
      const before = memory(valet.program.pid);
      assertError(await ask(valet, { ...how, ...fault(what) }), 502, 'upstream_invalid_answer');
      assert.ok(memory(valet.program.pid) - before < 4 << 20, what);
    }
  }
  for (const how of [{}, stream()]) assert.equal((await ask(valet, { ...how, ...fault('1xx-flood=3') })).status, 200, 'a few are allowed');
});

// ---- between Valet and the engine ----

isolated('7, 8, 9: the network resets, cuts, stalls, delays or garbles', async () => {
  const length = { fields: 'x-sim-tokens: 200\r\n' };
  for (const [what, whole, broken] of [
    ['reset', [502, 'upstream_disconnect'], 'upstream_disconnect'], ['cut', [502, 'upstream_disconnect'], 'upstream_disconnect'],
    ['stall', [504, 'upstream_timeout'], 'upstream_timeout'], ['garble', [502, 'upstream_invalid_answer'], 'upstream_invalid_answer'],
  ]) {
    proxy.arm({ what, after: 700 });
    assertError(await ask(valet, length), ...whole);
    proxy.disarm();
    proxy.arm({ what, after: 3000 });
    assertBroken(await ask(valet, { ...stream(), ...length }), broken);
    proxy.disarm();
  }
  proxy.arm({ what: 'delay', delay: 30 });
  const answer = await ask(valet, { ...stream(), ...length });
  assert.ok(answer.whole && events(answer).at(-1) === '[DONE]');
});

// ---- scripts ----

const scripted = await withRaw([{}], { config: { timeouts: { ...times, total: '2s' }, workers: 1 } });
const { raw } = scripted;
const calm = () => { raw.behave = (c) => c.answer(completion()); raw.forget(); };
const script = (name, body) => faultTest(scripted.valet, name, body, { calm });

const narrow = await withSims([{}], { config: { ceilings: { max_answer: '200KiB' }, workers: 1 } });
faultTest(narrow.valet, '22: a stream that never ends is ended at ceilings.max_answer, and the engine is let go', async () => {
  const answer = await ask(narrow.valet, { ...stream(), ...fault('endless') });
  assertBroken(answer, 'upstream_invalid_answer');
  assert.ok(answer.text.length >= 200 << 10 && answer.text.length < 600 << 10, `${answer.text.length} bytes`);
  await until('the engine was let go', async () => (await narrow.sim.stats()).active === 0);
});

script('22: a stream that never ends is ended at the total time, and the engine is let go', async () => {
  let running;
  raw.behave = (c) => {
    c.send(STREAM_HEAD);
    running = setInterval(() => c.send(chunk(piece('and on '))), 20);
    c.closed.then(() => clearInterval(running));
  };
  const answer = await ask(scripted.valet, stream());
  assertBroken(answer, 'upstream_timeout');
  assert.ok(answer.ms >= 1900 && answer.ms < 3500 * slow + 500, `${answer.ms} ms`);
  await until('the upstream is closed', () => running._destroyed);
});

script('21: a last event without its blank line is still an event of its own, and [DONE] follows', async () => {
  const last = finish().trimEnd();
  raw.behave = (c) => c.send(STREAM_HEAD + [piece('one '), last].map((e) => chunk(e).toString()).join('') + '0\r\n\r\n');
  const answer = await ask(scripted.valet, stream());
  assert.ok(answer.whole, answer.text);
  const got = events(answer);
  assert.equal(got.at(-1), '[DONE]');
  assert.equal(JSON.parse(got.at(-2)).choices[0].finish_reason, 'stop');
});

script('8: an answer that is cut anywhere is never taken for whole', async () => {
  const words = ['one ', 'two ', 'three ', 'four '];
  const streamed = Buffer.from(STREAM_HEAD + [...words.map((w) => piece(w)), finish(), usage(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n');
  const body = completion(words.join(''));
  const whole = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  let cuts = 0, successes = 0;
  const one = async (bytes, at, how, reset) => {
    const marker = `cut-${at}-${reset}-${bytes === whole}`;
    cutAt.set(marker, [bytes.subarray(0, at), reset]);
    const answer = await ask(scripted.valet, { body: chat({ ...how, user: marker }) });
    cuts++;
    if (answer.status !== 200) return assertError(answer, 502);
    if (!answer.whole) return assertBroken(answer, JSON.parse(events(answer).at(-1)).error?.code);
    successes++;
    assert.equal(bytes === whole ? JSON.parse(answer.text).choices[0].message.content : contents(answer), words.join(''), `cut at ${at}`);
    return undefined;
  };
  const cutAt = new Map();
  raw.behave = (c, request) => {
    const [bytes, reset] = cutAt.get(JSON.parse(request.body).user);
    c.send(bytes).then(() => (reset ? setTimeout(() => c.reset(), 3) : c.end()));
  };
  const jobs = [];
  for (let at = 0; at < streamed.length; at += 7) for (const reset of [false, true]) jobs.push([streamed, at, { stream: true }, reset]);
  for (let at = 0; at < whole.length; at += 5) for (const reset of [false, true]) jobs.push([whole, at, {}, reset]);
  const lanes = Array.from({ length: 8 }, async () => { while (jobs.length) await one(...jobs.pop()); });
  await Promise.all(lanes);
  assert.ok(cuts > 300 && successes < 40, `${successes} of ${cuts}`); // cut behind the finish_reason the answer may be whole
});

script('8: a stream that comes in any pieces arrives byte for byte', async () => {
  const parts = [...'abcdefgh'].map((letter) => piece(letter.repeat(9))), all = [...parts, finish(), event('[DONE]')].join('');
  const first = Buffer.from(STREAM_HEAD + chunk(parts[0]));
  const rest = Buffer.from([...parts.slice(1), finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n');
  raw.behave = async (c, request) => { // three sends, the second of which ends anywhere
    const at = Number(JSON.parse(request.body).user), pause = () => new Promise((resolve) => setTimeout(resolve, 4));
    for (const bytes of [first, rest.subarray(0, at), rest.subarray(at)]) {
      await c.send(bytes);
      await pause();
    }
  };
  const jobs = Array.from({ length: rest.length }, (_, at) => at).filter((at) => at % 3 === 0);
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let at = jobs.pop(); at !== undefined; at = jobs.pop()) {
      const answer = await ask(scripted.valet, stream({ user: String(at) }));
      assert.ok(answer.whole);
      assert.equal(answer.text, all, `cut at ${at}`);
    }
  }));
});

script('13: of what an engine says at most 512 clean bytes are passed on', async () => {
  raw.behave = (c) => c.answer(JSON.stringify({ error: { message: `bad \u0000\u001b[31m\u007f\n<b>${'é'.repeat(3000)}` } }), { status: 500 });
  const error = assertError(await ask(scripted.valet), 500, 'upstream_error');
  assert.ok(Buffer.byteLength(error.message) <= 512, `${Buffer.byteLength(error.message)} bytes`);
  assert.ok(!/[\u0000-\u001f\u007f\ufffd]/.test(error.message), JSON.stringify(error.message));
  raw.behave = (c) => c.answer(Buffer.from([0xff, 0xfe, 0x80]).toString('latin1'), { status: 500, type: 'text/plain' });
  assertError(await ask(scripted.valet), 500, 'upstream_error');
});

script('23: usage is asked for always, and hidden from a client that did not ask', async () => {
  raw.behave = (c) => c.stream('a', 'b');
  const last = () => JSON.parse(raw.calls.at(-1).body);
  let answer = await ask(scripted.valet, stream());
  assert.deepEqual(last().stream_options, { include_usage: true });
  assert.ok(answer.whole && !answer.text.includes('"usage"') && contents(answer) === 'ab', answer.text);
  answer = await ask(scripted.valet, stream({ stream_options: { include_usage: false, include_obfuscation: true } }));
  assert.deepEqual(last().stream_options, { include_usage: true, include_obfuscation: true });
  assert.ok(!answer.text.includes('"usage"'));
  answer = await ask(scripted.valet, stream({ stream_options: { include_usage: true } }));
  assert.ok(answer.text.includes('"usage":{"prompt_tokens":3') && events(answer).at(-1) === '[DONE]');
});

script('10: an answer with surplus bytes, without a length or cut: its connection is never used again', async () => {
  const end = 'content-type: application/json\r\n';
  for (const [what, how] of [
    ['surplus', (c) => c.send(`HTTP/1.1 200 OK\r\n${end}content-length: ${completion().length}\r\n\r\n${completion()}HTTP/1.1 200 OK\r\n`)],
    ['connection: close', (c) => c.answer(completion(), { fields: 'connection: close\r\n' })],
    ['no length', (c) => { c.send(`HTTP/1.1 200 OK\r\n${end}\r\n${completion()}`); c.end(); }],
    ['HTTP/1.0', (c) => { c.send(`HTTP/1.0 200 OK\r\n${end}\r\n${completion()}`); c.end(); }],
    ['error in the middle', (c) => { c.send(STREAM_HEAD + chunk(piece('x')) + 'zz\r\n'); }],
  ]) {
    let used;
    raw.behave = (c) => { used ??= [c, c.requests]; how(c); };
    const answer = await ask(scripted.valet, what === 'error in the middle' ? stream() : {});
    if (what !== 'error in the middle') assert.equal(answer.status, 200, `${what}: ${answer.text}`);
    const [bad, requests] = used;
    await Promise.race([bad.closed, new Promise((_, no) => setTimeout(no, 5000, new Error(`${what}: not closed`)))]);
    assert.equal(bad.requests, requests, what);
  }
});
