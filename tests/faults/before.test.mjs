// before.test.mjs - proves: until the first byte has gone to the client, a target that fails costs the client nothing but time: it gets the
// answer of another target, or the right error, and no target is asked twice or more often than three are.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import { test } from 'node:test';
import { ask, assertError, chat, contents, events, faultTest, slow, until, withRaw } from './aid.mjs';
import { chunk, completion, event, finish, piece, STREAM_HEAD } from './raw.mjs';

const fast = { connect: '400ms', first_byte: '500ms', idle: '500ms', heartbeat: 'off' };

const { valet, raws } = await withRaw([{}, {}], { targets: [{ name: 'first' }, { name: 'second' }], config: { timeouts: fast, workers: 1 } });
const [first, second] = raws;
const named = (name) => (c) => c.answer(completion(name));
const calm = () => {
  for (const raw of raws) { raw.atHead = raw.atConnect = null; raw.forget(); }
  [first.behave, second.behave] = [named('first'), named('second')];
};
const proven = (name, body, options) => faultTest(valet, name, body, { calm, retry: false, ...options });
const content = (answer) => JSON.parse(answer.text).choices[0].message.content;

// Asks until the bad target was asked, and says what became of the call that it got; the targets take turns.
async function whenFirstIsAsked(options) {
  for (let i = 0; i < 4; i++) {
    const before = first.calls.length;
    const answer = await ask(valet, options);
    if (first.calls.length > before) return answer;
  }
  throw new Error('the first target was never asked');
}

calm();

proven('3: accepts and never answers: one attempt there within first_byte, then the other target', async () => {
  first.behave = () => {};
  const answer = await whenFirstIsAsked();
  assert.equal(content(answer), 'second');
  assert.equal(first.calls.length, 1);
  assert.ok(answer.ms >= 450 && answer.ms < 1500 * slow, `${answer.ms} ms`);
});

proven('3: and nobody answers: 504 after both, never longer than the times allow', async () => {
  first.behave = second.behave = () => {};
  const answer = await ask(valet);
  assertError(answer, 504, 'upstream_timeout');
  assert.ok(answer.ms < 2200 * slow, `${answer.ms} ms`);
  assert.equal(first.calls.length + second.calls.length, 2);
});

proven('4: slow headers beyond first_byte: the other target, before a byte has gone to the client', async () => {
  first.behave = (c) => setTimeout(() => c.stream('late'), 3000);
  const answer = await whenFirstIsAsked({ body: chat({ stream: true }) });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['x-valet-target'], 'second');
});

proven('6: reset before the first byte: the other target; the body is whole there', async () => {
  first.behave = (c) => c.reset();
  const body = chat({ user: 'u'.repeat(300000) });
  const answer = await whenFirstIsAsked({ body });
  assert.equal(content(answer), 'second');
  assert.equal(second.calls.at(-1).body.toString(), body);
  assert.ok(first.calls.length <= 2, 'asked again only where a kept connection had ended'); // on a fresh one
});

proven('6: closed in the middle of the request: the other target', async () => {
  first.atHead = (c) => { c.destroy(); return true; };
  const body = chat({ user: 'u'.repeat(3000000) });
  assert.equal(content(await whenFirstIsAsked({ body })), 'second');
  assert.equal(second.calls.at(-1).body.length, body.length);
});

proven('26: x-valet-target and the answer are those of the target that answered; the failed attempt is counted as one', async () => {
  first.behave = (c) => c.answer('{"error":{"message":"no"}}', { status: 500 });
  const failedBefore = await valet.metric('valet_attempts_failed_total', 'target="first"');
  const tokens = await valet.metric('valet_output_tokens_total', 'target="first"');
  const answer = await whenFirstIsAsked();
  assert.equal(content(answer), 'second');
  assert.equal(answer.headers['x-valet-target'], 'second');
  assert.equal(answer.headers['x-valet-model'], 'm');
  assert.equal(JSON.parse(answer.text).model, 'm');
  assert.equal(await valet.metric('valet_attempts_failed_total', 'target="first"'), failedBefore + 1);
  assert.equal(await valet.metric('valet_output_tokens_total', 'target="first"'), tokens, 'a failed attempt produced no tokens');
});

proven('15: 429 with Retry-After: the other target; and where there is none left, the header is passed on, at most 60 s', async () => {
  first.behave = (c) => c.answer('{"error":{"message":"slow down"}}', { status: 429, fields: 'retry-after: 7\r\n' });
  assert.equal(content(await whenFirstIsAsked()), 'second');
  second.behave = first.behave;
  let answer = await ask(valet);
  assertError(answer, 429, 'rate_limit_exceeded');
  assert.equal(answer.headers['retry-after'], '7');
  first.behave = second.behave = (c) => c.answer('{}', { status: 429, fields: 'retry-after: 86400\r\n' });
  answer = await ask(valet);
  assertError(answer, 429);
  assert.equal(answer.headers['retry-after'], '60');
});

proven('18: the context is too long: no other target of the same model, the code and the words reach the client', async () => {
  const message = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.";
  first.behave = second.behave = (c) => c.answer(JSON.stringify({ object: 'error', message, type: 'BadRequestError', code: 400 }), { status: 400 });
  const error = assertError(await ask(valet), 400, 'context_length_exceeded');
  assert.match(error.message, /maximum context length is 4096 tokens/);
  assert.equal(first.calls.length + second.calls.length, 1);
});

proven('18: a content filter: the reason reaches the client, nobody else is asked', async () => {
  first.behave = second.behave = (c) => c.answer(JSON.stringify({ error: { message: 'filtered', type: 'invalid_request_error', param: 'prompt', code: 'content_filter' } }), { status: 400 });
  const error = assertError(await ask(valet), 400, 'content_filter');
  assert.equal(error.message, 'filtered');
  assert.equal(first.calls.length + second.calls.length, 1);
});

for (const status of [401, 403]) {
  proven(`19: ${status} from every target: 502, and nothing of what the engine said`, async () => {
    const secret = 'sk-this-is-the-secret-that-was-sent';
    first.behave = second.behave = (c) => c.answer(JSON.stringify({ error: { message: `Incorrect API key provided: ${secret}`, type: secret, code: secret, param: secret } }),
      { status, fields: `www-authenticate: Bearer realm="${secret}"\r\nx-key: ${secret}\r\n` });
    const answer = await ask(valet);
    assertError(answer, 502, 'upstream_auth');
    assert.ok(!answer.text.includes(secret) && !JSON.stringify(answer.headers).includes(secret));
    assert.ok(!valet.log.includes(secret), 'nor does the log say it');
  });
}

// ---- targets that cannot be connected to ----

const gone = await withRaw([{}, {}, {}, {}], { config: { timeouts: fast, workers: 1, attempts: 3 } });

proven('16: three attempts and no more, each at another target', async () => {
  for (const raw of gone.raws) raw.behave = (c) => c.answer('{"error":"broken"}', { status: 503 });
  for (const raw of gone.raws) raw.forget();
  for (let i = 1; i <= 5; i++) {
    assertError(await ask(gone.valet), 503, 'server_is_overloaded');
    assert.equal(gone.raws.reduce((sum, raw) => sum + raw.calls.length, 0), 3 * i);
    for (const raw of gone.raws) assert.ok(raw.calls.length <= i, 'nobody is asked twice for one request');
  }
  for (const raw of gone.raws) raw.behave = (c) => c.answer(completion());
  assert.equal((await ask(gone.valet)).status, 200);
});

proven('16: a burst of errors from one of the targets: every call is answered by another', async () => {
  gone.raws[0].behave = (c) => c.answer('{}', { status: 500 });
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(gone.valet)));
  assert.deepEqual([...new Set(answers.map((a) => a.status))], [200]);
});

proven('1: connection refused: the next target within 100 ms, counted, and not tried twice in one request', async () => {
  await gone.raws[0].stop();
  const refused = () => gone.valet.metric('valet_attempts_failed_total', 'target="t0"');
  const before = await refused();
  let slowest = 0, hit = 0;
  for (let i = 0; i < 8; i++) {
    const now = await refused();
    const answer = await ask(gone.valet);
    assert.equal(answer.status, 200);
    const more = await refused() - now;
    assert.ok(more <= 1, 'once a request');
    if (more) [slowest, hit] = [Math.max(slowest, answer.ms), hit + 1];
  }
  assert.ok(hit > 0 && await refused() > before, 'the refusal was counted');
  assert.ok(slowest < 100 * slow + 100, `${slowest} ms`); // 100 ms more for a machine that is busy
});

// An engine of which nothing is left but its listener: the process is stopped and its queue full, so the kernel drops each SYN.
const child = spawn(process.execPath, ['-e', `require('http').createServer((q, a) => a.end('{"data":[{"id":"m"}]}'))
  .listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () { console.log(this.address().port) })`], { stdio: ['ignore', 'pipe', 'inherit'] });
process.on('exit', () => child.kill('SIGKILL'));
child.unref();
const hole = Number(await new Promise((resolve) => child.stdout.once('data', resolve)));
child.stdout.destroy();
const half = await withRaw([{}], { config: { timeouts: fast, workers: 1 }, targets: [{ name: 'good' }], more: [{ name: 'dark', kind: 'openai', url: `http://127.0.0.1:${hole}/v1` }] });

test('2: a black hole: the time for connecting, once, then the other target', async () => {
  const plugs = [];
  const failed = () => half.valet.metric('valet_attempts_failed_total', 'target="dark"');
  const models = await ask(half.valet, { path: '/v1/models', method: 'GET' });
  assert.equal(models.status, 200);
  child.kill('SIGSTOP');
  for (let full = false; !full;) {
    const plug = net.connect(hole, '127.0.0.1').on('error', () => {});
    plugs.push(plug);
    full = await new Promise((resolve) => { plug.once('connect', () => resolve(false)); setTimeout(() => resolve(true), 300); });
  }
  let answer, tries = 0;
  await until('the hole is tried', async () => {
    answer = await ask(half.valet);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['x-valet-target'], 'good');
    assert.ok(++tries < 5, 'never tried');
    return await failed() > 0;
  });
  for (const plug of plugs) plug.destroy();
  child.kill('SIGKILL');
  assert.equal(await failed(), 1);
  assert.ok(answer.ms >= 350 && answer.ms < 700 * slow + 300, `${answer.ms} ms`);
});

// ---- slow first tokens ----

const beating = await withRaw([{}], { config: { timeouts: { heartbeat: '200ms', first_byte: '20s' }, workers: 1 } });
const beats = (answer) => answer.text.split(': keep-alive\n\n').length - 1;
const calmBeat = () => { beating.raw.behave = (c) => c.answer(completion()); beating.raw.atHead = null; beating.raw.forget(); };

faultTest(beating.valet, '4: a stream waits for its first token: comments keep it alive, then it comes whole', async () => {
  beating.raw.behave = (c) => setTimeout(() => c.stream('a', 'b'), 900);
  const answer = await ask(beating.valet, { body: chat({ stream: true }) });
  assert.ok(beats(answer) >= 2, answer.text);
  assert.ok(answer.whole && contents(answer) === 'ab' && events(answer).at(-1) === '[DONE]');
}, { calm: calmBeat });

faultTest(beating.valet, '4: the head is there at once, the first token is not: the same', async () => {
  beating.raw.behave = (c) => { c.send(STREAM_HEAD); setTimeout(() => c.send([piece('a'), finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n'), 900); };
  const answer = await ask(beating.valet, { body: chat({ stream: true }) });
  assert.ok(beats(answer) >= 2 && answer.whole && contents(answer) === 'a', answer.text);
}, { calm: calmBeat });

faultTest(beating.valet, '4: silence in the middle of a stream: the same; never inside an event', async () => {
  const half = piece('b').length >> 1;
  for (const [first, rest] of [[piece('a'), piece('b')], [piece('a') + piece('b').slice(0, half), piece('b').slice(half)]]) {
    beating.raw.behave = (c) => {
      c.send(STREAM_HEAD + chunk(first));
      setTimeout(() => c.send([rest, finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n'), 2500);
    };
    const answer = await ask(beating.valet, { body: chat({ stream: true }) });
    assert.ok(beats(answer) >= 1 && answer.whole && contents(answer) === 'ab', answer.text);
  }
}, { calm: calmBeat });

faultTest(beating.valet, '4: no heartbeat for an answer that is no stream', async () => {
  beating.raw.behave = (c) => setTimeout(() => c.answer(completion()), 700);
  const answer = await ask(beating.valet);
  assert.equal(answer.status, 200);
  assert.ok(!answer.text.includes('keep-alive'));
}, { calm: calmBeat });

for (const [what, behave, code] of [
  ['an error', (c) => c.answer('{"error":{"message":"out of memory"}}', { status: 500 }), 'upstream_error'],
  ['something else than a stream', (c) => c.answer(completion()), 'upstream_invalid_answer'],
  ['a reset', (c) => c.reset(), 'upstream_disconnect'],
  ['a redirect', (c) => c.answer('', { status: 302, fields: 'location: /x\r\n' }), 'upstream_invalid_answer'],
]) {
  faultTest(beating.valet, `4: heartbeats, then ${what}: an error event, and the stream does not look whole`, async () => {
    beating.raw.behave = (c) => setTimeout(() => behave(c), 500);
    const answer = await ask(beating.valet, { body: chat({ stream: true }) });
    assert.equal(answer.status, 200);
    assert.equal(JSON.parse(events(answer).at(-1) ?? 'null')?.error?.code, code, answer.text);
    assert.ok(!answer.whole && !answer.text.includes('[DONE]'));
  }, { calm: calmBeat });
}

faultTest(beating.valet, '4: heartbeats while an engine is slow to read a large request: it still gets every byte', async () => {
  const body = chat({ stream: true, user: 'u'.repeat(12 << 20), stream_options: { include_usage: true } });
  beating.raw.atHead = (c) => {
    c.socket.pause();
    setTimeout(() => c.socket.resume(), 1000);
    beating.raw.atHead = null;
    return false;
  };
  beating.raw.behave = (c) => c.stream('a');
  const answer = await ask(beating.valet, { body });
  assert.ok(beats(answer) >= 2, 'the engine was slow');
  assert.ok(beating.raw.calls[0].body?.equals(Buffer.from(body)), 'the whole request');
  assert.ok(answer.whole && contents(answer) === 'a', answer.text.slice(0, 500));
}, { calm: calmBeat });
