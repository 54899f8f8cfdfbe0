// again.test.mjs - proves: an engine that fails again and again, asks to be left alone, refuses its secret, or comes and goes, costs clients nothing as long as another is
// well, is asked rarely meanwhile, and is used again soon after it is well. The breaker is on, as it is where nobody says otherwise.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, call, chat, drive, events, slow, until, user, withRaw } from './aid.mjs';
import { STREAM_HEAD, chunk, completion, event, finish, piece } from './raw.mjs';

const pair = (more = {}, count = 2) => withRaw(Array.from({ length: count }, () => ({})), {
  config: { routing: { strategy: 'least_busy', affinity: 'off' }, workers: 1, log: { requests: 'off' }, timeouts: { connect: '300ms', first_byte: '5s' }, ...more } });
const fine = (c) => c.answer(completion('fine'));
const failing = (c) => c.answer('{"error":{"message":"out of memory"}}', { status: 500 });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Calls at a steady pace until `stop()`; what they were answered with.
function pacing(valet, everyMs, body = chat()) {
  const statuses = {}, all = [];
  const timer = setInterval(() => all.push(ask(valet, { body }).then((a) => { statuses[a.status] = (statuses[a.status] ?? 0) + 1; })), everyMs).unref();
  return { statuses, async stop() { clearInterval(timer); await Promise.all(all); return statuses; } };
}

const [asking, failingOften, failingAlways, flaps, hangs] = [await pair(), await pair({ queue: { max_wait: '60ms' } }, 4), await pair(), await pair({ discovery_interval: '1s' }), await pair({}, 1)];
const refusing = { 401: await pair(), 403: await pair() };

// ---- 15 ----

test('15: Retry-After is kept to: nothing is sent before, and the next within a tenth more; others serve meanwhile', async () => {
  const { valet, raws: [busy, other] } = asking;
  [busy.behave, other.behave] = [fine, fine];
  let refusedAt = 0, nextAt = 0;
  busy.behave = (c) => {
    if (!refusedAt) { refusedAt = performance.now(); c.answer('{"error":{"message":"slow down"}}', { status: 429, fields: 'retry-after: 2\r\n' }); return; }
    nextAt ||= performance.now();
    fine(c);
  };
  const load = pacing(valet, 10);
  await until('it is asked again', () => nextAt, 6000 * slow);
  assert.deepEqual(Object.keys(await load.stop()), ['200']);
  assert.ok(nextAt - refusedAt >= 1990 && nextAt - refusedAt <= 2200 + 100 * slow, `${nextAt - refusedAt} ms`);
});

// ---- 16 ----

test('16: four engines that fail three times in ten: three attempts a request at most, and a tenth of each one\'s requests are retries at most', async () => {
  const { valet, raws } = failingOften;
  const seen = new Map();
  let turn = 0;
  for (const raw of raws) {
    raw.retries = raw.asked = 0;
    raw.behave = (c, request) => {
      const name = JSON.parse(request.body).user, times = (seen.get(name) ?? 0) + 1;
      seen.set(name, times);
      raw.asked++;
      raw.retries += times > 1;
      if ((turn++ * 7919) % 10 < 3) failing(c); else fine(c);
    };
  }
  const count = Math.ceil(3000 / slow), statuses = {}, began = performance.now();
  await drive(valet.port, { connections: 16, make: (i) => call(null, { model: 'm', messages: user('x'), user: `r${i}` }), more: (i) => i < count,
    heard: (answer) => { statuses[answer.status] = (statuses[answer.status] ?? 0) + 1; } });
  const seconds = (performance.now() - began) / 1000;
  assert.ok(Math.max(...seen.values()) <= 3);
  let retries = 0;
  for (const raw of raws) {
    retries += raw.retries;
    assert.ok(raw.retries <= 0.1 * raw.asked + 3 * (seconds + 2), `${raw.retries} retries of ${raw.asked} requests in ${seconds} s`); // and three a second
  }
  assert.ok(retries > 0 && statuses[200] > 0.6 * count, JSON.stringify(statuses));
});

test('16: five failures and it is left alone; then one request at a time tries it', async () => {
  const { valet, raws: [bad, good] } = failingAlways;
  good.behave = fine;
  let open = 0, most = 0;
  bad.behave = (c) => failing(c);
  for (let i = 0; i < 40; i++) assert.equal((await ask(valet)).status, 200);
  assert.equal(bad.calls.length, 5);
  bad.behave = (c) => { most = Math.max(most, ++open); setTimeout(() => { open--; failing(c); }, 300); }; // a slow probe
  const load = pacing(valet, 10);
  await pause(2600);
  assert.deepEqual(Object.keys(await load.stop()), ['200']);
  assert.equal(most, 1, 'one probe at a time');
  assert.ok(bad.calls.length >= 6 && bad.calls.length <= 7, `${bad.calls.length - 5} probes in 2.6 s: the pause doubles`);
});

// ---- 17 ----

test('17: an engine that comes and goes: no client notices, it is tried once a second at most while it is away, and used again within five seconds', async () => {
  const { valet, raws: [flapping, good] } = flaps;
  good.behave = fine;
  const load = pacing(valet, 10);
  for (let flap = 0; flap < 2; flap++) {
    flapping.atConnect = (c) => { c.reset(); return true; };
    for (const c of flapping.live) c.reset();
    await pause(500); // it is left alone by now
    const before = flapping.connections;
    await pause(1500);
    const tried = flapping.connections - before;
    assert.ok(tried <= 4, `asked ${tried} times in 1.5 s of being away`); // Valet looks once a second, and so does a request at most
    let backAt = 0;
    flapping.behave = (c) => { backAt ||= performance.now(); fine(c); };
    flapping.atConnect = null;
    const well = performance.now();
    await until('it is used again', () => backAt, 6000 * slow);
    assert.ok(backAt - well < 5000 * slow, `${backAt - well} ms`);
    await pause(300);
  }
  const statuses = await load.stop();
  assert.deepEqual(Object.keys(statuses), ['200'], JSON.stringify(statuses));
});

// ---- 19 ----

for (const status of [401, 403]) {
  test(`19: ${status}: it is not asked with that secret again; clients are served by the other`, async () => {
    const { valet, raws: [locked, good] } = refusing[status];
    good.behave = fine;
    locked.behave = (c) => c.answer('{"error":{"message":"Incorrect API key provided: sk-secret"}}', { status });
    for (let i = 0; i < 50; i++) {
      const answer = await ask(valet);
      assert.equal(answer.status, 200);
      assert.ok(!answer.text.includes('sk-secret'));
    }
    assert.equal(locked.calls.length, 1);
    assert.equal(await valet.metric('valet_target_breaker', 'target="t0"'), 1);
  });
}

// ---- 20 ----

test('20: it hangs after [DONE]: the client is done and its connection free for the next call within 50 ms', async () => {
  const { valet, raws: [hanging] } = hangs;
  const took = [];
  let doneAt = 0;
  hanging.behave = (c) => c.send(STREAM_HEAD + [piece('a'), finish(), event('[DONE]')].map(chunk).join('')).then(() => { doneAt = performance.now(); }); // and nothing more
  for (let i = 0; i < 15; i++) {
    const answer = await ask(valet, { body: chat({ stream: true }) });
    took.push(performance.now() - doneAt);
    assert.ok(answer.whole && events(answer).at(-1) === '[DONE]');
  }
  took.sort((a, b) => a - b);
  assert.ok(took[7] < 50 * slow, `half of them took more than ${took[7]} ms`);
  await until('its connections were closed', () => hanging.open === 0);
});
