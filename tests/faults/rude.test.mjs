// rude.test.mjs - proves: clients that leave, do not read, or never finish what they began cost little, hold nothing for long, and nobody else
// notices them.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALL, Client, ask, chat, contents, cpuMs, events, faultTest, head, memory, slow, until, withRaw } from './aid.mjs';
import { chunk, completion, event, finish, piece, STREAM_HEAD } from './raw.mjs';

const { valet, raw } = await withRaw([{}], { config: { workers: 1, timeouts: { heartbeat: 'off' } } });
const calm = () => { raw.behave = (c) => c.answer(completion()); raw.forget(); };
const rude = (name, body) => faultTest(valet, name, body, { calm });
const streaming = chat({ stream: true });
const connections = () => valet.metric('valet_connections');

// An engine that produces as fast as it is read from; `c.taken` counts what has left.
const filler = chunk(piece('x'.repeat(16000)));
function endless(c) {
  c.taken = 0;
  c.send(STREAM_HEAD);
  const pump = () => {
    while (!c.socket.destroyed) {
      c.taken += filler.length;
      if (!c.socket.write(filler)) return;
    }
  };
  c.socket.on('drain', pump);
  pump();
}

// ---- 60 s take 60 s: these clients wait in the background until the last case looks at them ----

const stalled = await withRaw([{ behave: endless }], { config: { workers: 1, timeouts: { heartbeat: 'off', idle: '10m', total: '10m' } } });
const stuck = await Client.connect(stalled.valet.port, { limitMs: 120000 });
stuck.socket.pause();
stuck.send(head(CALL, streaming.length) + streaming);
const stuckSince = performance.now();

// ---- leaving ----

rude('27: leaving while sending the head or the body: no engine hears of it', async () => {
  for (let i = 0; i < 100; i++) {
    const message = head(CALL, streaming.length) + streaming;
    const client = await Client.connect(valet.port);
    await client.send(message.slice(0, Math.floor(message.length * i / 100)));
    if (i % 2) client.reset(); else client.close();
  }
  const body = chat({ user: 'u'.repeat(300000) });
  for (let i = 0; i < 10; i++) {
    const client = await Client.connect(valet.port);
    await client.send((head(CALL, body.length) + body).slice(0, 290000));
    if (i % 2) client.reset(); else client.close();
  }
  await until('nobody is connected', async () => await connections() === 0);
  assert.equal(raw.bytes.length, 0);
});

rude('28: leaving in the middle of a stream closes the engine\'s connection within 100 ms, with FIN and with RST', async () => {
  for (let i = 0; i < 10; i++) {
    let upstream, ticking;
    raw.behave = (c) => {
      upstream = c;
      c.send(STREAM_HEAD);
      ticking = setInterval(() => c.send(chunk(piece('tick'))), 5);
      c.closed.then(() => clearInterval(ticking));
    };
    const client = await Client.connect(valet.port);
    client.send(head(CALL, streaming.length) + streaming);
    await until('some of the stream', () => client.text.includes('tick'));
    const began = performance.now();
    if (i % 2) client.reset(); else client.close();
    await upstream.closed;
    const took = performance.now() - began;
    assert.ok(took < 100 * slow + 100, `${took} ms`); // and 100 for a machine that is busy
  }
});

rude('28: a thousand clients leave at any moment: nothing stays in flight, all are settled', async () => {
  raw.behave = (c) => { // some 30 ms for an answer
    c.send(STREAM_HEAD);
    let n = 0;
    const ticking = setInterval(() => {
      if (++n <= 10) c.send(chunk(piece(`token ${n} `)));
      else { clearInterval(ticking); c.send([finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n'); }
    }, 3);
    c.closed.then(() => clearInterval(ticking));
  };
  const settled = async () => await valet.metric('valet_requests_total', 'model="m"');
  const before = await settled();
  const jobs = Array.from({ length: 1000 }, (_, i) => i);
  let asked = 0;
  await Promise.all(Array.from({ length: 20 }, async () => {
    for (let i = jobs.pop(); i !== undefined; i = jobs.pop()) {
      const client = await Client.connect(valet.port);
      await client.send(head(CALL, streaming.length) + streaming);
      await new Promise((resolve) => setTimeout(resolve, i % 45));
      asked++;
      if (i % 2) client.reset(); else client.close();
    }
  }));
  await until('nothing is in flight', async () => await valet.metric('valet_requests_in_flight') === 0);
  assert.equal(await valet.metric('valet_target_in_flight'), 0);
  assert.equal(await valet.metric('valet_streams'), 0);
  await until('all are settled', async () => { // requests that were left before they were read never were requests
    const n = await settled() - before;
    return n >= raw.calls.length && n <= asked;
  });
  assert.ok(raw.calls.length > 900, `${raw.calls.length}`);
});

rude('28: leaving before the head of the answer closes the engine\'s connection as well', async () => {
  let upstream;
  raw.behave = (c) => { upstream = c; };
  for (const body of [streaming, chat()]) {
    upstream = undefined;
    const client = await Client.connect(valet.port);
    client.send(head(CALL, body.length) + body);
    await until('the request is at the engine', () => upstream);
    client.close();
    await upstream.closed;
  }
});

// ---- not reading ----

test('29: 200 clients that do not read: at most 256 KiB each, the engine is held back, others are served, and reading goes on', async (t) => {
  const SIZE = 24 << 20, READERS = 200;
  raw.behave = (c, request) => { if (JSON.parse(request.body).stream) endless(c); else c.answer(completion()); };
  const before = memory(valet.program.pid);
  const clients = await Promise.all(Array.from({ length: READERS }, () => Client.connect(valet.port)));
  t.after(() => { for (const client of clients) client.close(); });
  for (const client of clients) {
    client.socket.pause();
    client.send(head(CALL, streaming.length) + streaming);
  }
  const engines = () => [...raw.live].filter((c) => c.taken !== undefined);
  await until('all streams run', () => engines().length === READERS, 30000 * slow);
  let last = -1;
  await until('the engines are held back', async () => {
    await new Promise((resolve) => setTimeout(resolve, 250));
    const now = engines().reduce((sum, c) => sum + c.socket.bytesWritten - c.socket.writableLength, 0);
    const still = now === last;
    last = now;
    return still;
  }, 30000 * slow);
  const grown = (memory(valet.program.pid) - before) / READERS;
  assert.ok(last / READERS < SIZE, `${(last / READERS) >> 20} MiB were taken from each engine`);
  assert.ok(grown <= 256 * 1024, `${grown >> 10} KiB each`);
  const cpu = cpuMs(valet.program.pid);
  const began = performance.now();
  for (let i = 0; i < 20; i++) {
    const answer = await ask(valet);
    assert.equal(answer.status, 200);
    assert.ok(answer.ms < 200 * slow + 200, `${answer.ms} ms beside slow readers`);
  }
  await until('a second has passed', () => performance.now() - began > 1000);
  assert.ok(cpuMs(valet.program.pid) - cpu < 500, 'and they cost no time');
  const one = clients[0], from = one.got;
  one.socket.resume();
  await until('one that reads again gets on', () => { one.parts = []; return one.got - from > SIZE; }, 30000 * slow);
  for (const client of clients) client.close();
  await until('nothing is in flight', async () => await valet.metric('valet_requests_in_flight') === 0);
  await until('memory is given back', () => memory(valet.program.pid) - before < 32 << 20);
  calm();
});

rude('29: a reader that is slow, not dead, gets a large stream whole', async () => {
  const pieces = 300;
  raw.behave = (c) => {
    c.send(STREAM_HEAD);
    for (let i = 0; i < pieces; i++) c.send(chunk(piece(`<${i}>${'y'.repeat(8000)}`)));
    c.send([finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n');
  };
  const client = await Client.connect(valet.port);
  const breather = setInterval(() => { client.socket.pause(); setTimeout(() => client.socket.resume(), 15); }, 20);
  client.send(head(CALL, streaming.length) + streaming);
  const answer = await client.answer();
  clearInterval(breather);
  client.close();
  assert.ok(answer.whole && events(answer).at(-1) === '[DONE]');
  const text = contents(answer);
  for (let i = 0; i < pieces; i++) assert.ok(text.includes(`<${i}>y`), `piece ${i}`);
  assert.equal(text.length, pieces * 8000 + Array.from({ length: pieces }, (_, i) => `<${i}>`).join('').length);
});

// ---- never finishing ----

test('30: 400 clients that send a byte now and then: cut after 10 s, healthy calls are not slower', { timeout: 60000 * slow }, async () => {
  raw.behave = (c) => c.answer(completion());
  const calls = async () => {
    const times = [];
    for (let i = 0; i < 40; i++) {
      const answer = await ask(valet);
      assert.equal(answer.status, 200);
      times.push(answer.ms);
    }
    return times.sort((a, b) => a - b)[Math.floor(times.length * 0.9)];
  };
  const alone = await calls();
  const memoryBefore = memory(valet.program.pid);
  const clients = await Promise.all(Array.from({ length: 400 }, () => Client.connect(valet.port)));
  const began = performance.now();
  for (const [i, client] of clients.entries()) {
    client.send(i % 2 ? 'POST / HTTP/1.1\r\nx: ' : head(CALL, 100000) + '{');
    client.drip = setInterval(() => client.send(i % 2 ? 'y' : ' '), 700);
    client.socket.on('close', () => clearInterval(client.drip));
  }
  const beside = await calls();
  assert.ok(beside < 2 * alone + 50 * slow, `${beside} ms beside them, ${alone} ms alone`);
  assert.ok((memory(valet.program.pid) - memoryBefore) / 400 < 64 * 1024, 'memory each');
  await until('all of them are cut', () => clients.every((c) => c.over), 20000 * slow);
  const took = performance.now() - began;
  assert.ok(took > 9000 && took < 14000 * slow + 4000, `${took} ms`);
  const refused = clients.filter((c) => c.text.startsWith('HTTP/1.1 408')).length;
  assert.ok(refused > 390, `${refused} were told why`);
  await until('nobody is connected', async () => await connections() === 0);
  assert.equal((await ask(valet)).status, 200);
});

test('30: connections that never say a word are closed after client_idle', async () => {
  const idle = await withRaw([{}], { config: { workers: 1, timeouts: { client_idle: '1s' } } });
  const clients = await Promise.all(Array.from({ length: 50 }, () => Client.connect(idle.valet.port)));
  await until('closed', () => clients.every((c) => c.over === 'end'), 10000 * slow);
});

test('29: a client that does not read for a minute is cut, and its engine let go', { timeout: 100000 * slow }, async () => {
  assert.ok(!stuck.over, 'not before');
  await until('the engine was let go', () => stalled.raw.calls.length === 1 && ![...stalled.raw.live].some((c) => c.taken !== undefined), 90000 * slow);
  const took = performance.now() - stuckSince;
  assert.ok(took > 58000 && took < 70000 * slow, `${took} ms`);
  stuck.close();
  await until('nothing is in flight', async () => await stalled.valet.metric('valet_requests_in_flight') === 0);
});
