// drain.test.mjs - proves: after SIGTERM nobody new is let in, everybody who was promised an answer gets it whole, no connection is reset, and
// Valet ends by itself; a second signal or the drain's limit ends it at once.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALL, Client, chat, contents, events, head, slow, until, withRaw } from './aid.mjs';
import { chunk, completion, event, finish, piece, STREAM_HEAD } from './raw.mjs';

const streaming = chat({ stream: true });
const request = (body) => head(CALL, body.length) + body;

// An engine whose streams go on until the test says so.
function held() {
  const waiting = [];
  const behave = (c, r) => {
    if (!JSON.parse(r.body).stream) { c.answer(completion()); return; }
    c.send(STREAM_HEAD + chunk(piece('begun ')));
    waiting.push(() => c.send([piece('and ended'), finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n'));
  };
  return { behave, release: () => { for (const go of waiting.splice(0)) go(); }, waiting };
}

test('49: streams finish, idle connections end in order, new ones are refused, and the exit is clean', async () => {
  const engine = held();
  const { valet } = await withRaw([{ behave: engine.behave }], { config: { workers: 2 } });
  const streams = await Promise.all(Array.from({ length: 20 }, () => Client.connect(valet.port)));
  for (const client of streams) client.send(request(streaming));
  const idle = await Promise.all(Array.from({ length: 20 }, () => Client.connect(valet.port)));
  for (const client of idle.slice(10)) {
    client.send(request(chat()));
    assert.equal((await client.answer()).status, 200);
  }
  const slowBody = await Client.connect(valet.port), body = chat();
  await slowBody.send(request(body).slice(0, -20));
  await until('all streams have begun', () => engine.waiting.length === 20 && streams.every((c) => c.text.includes('begun')));
  valet.signal('SIGTERM');
  await until('idle connections are closed', () => idle.every((c) => c.over === 'end'));
  await until('nobody is let in', () => Client.connect(valet.port).then(async (c) => { // whoever gets through anyhow is told
    c.send('GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n');
    await c.ended();
    return c.text.startsWith('HTTP/1.1 503');
  }, (error) => error.code === 'ECONNREFUSED'));
  assert.ok(!valet.program.over && streams.every((c) => !c.over), 'streams go on');
  slowBody.send(body.slice(-20));
  const late = await slowBody.answer();
  assert.equal(late.headers.connection, 'close');
  assert.ok([200, 503].includes(late.status), late.text); // whole in any case
  engine.release();
  for (const client of streams) {
    const answer = await client.answer();
    assert.ok(answer.whole && contents(answer) === 'begun and ended' && events(answer).at(-1) === '[DONE]', answer.text);
    await client.ended();
    assert.equal(client.over, 'end', 'no reset');
  }
  const { code } = await valet.program.ended;
  valet.program.expectedEnd = true;
  assert.equal(code, 0);
});

test('49: a stream on a connection that is kept alive learns that it will be closed', async () => {
  const engine = held();
  const { valet } = await withRaw([{ behave: engine.behave }], { config: { workers: 1 } });
  const stream = await Client.connect(valet.port);
  stream.send(request(streaming));
  await until('it has begun', () => stream.text.includes('begun'));
  valet.signal('SIGTERM');
  await until('draining', () => valet.log.includes('stopping'));
  stream.send(request(chat())); // pipelined behind the stream, too late
  engine.release();
  assert.ok((await stream.answer()).whole);
  await stream.ended();
  valet.program.expectedEnd = true;
  assert.equal((await valet.program.ended).code, 0);
});

test('49: under load every request is answered whole or not at all; nothing is reset', async () => {
  const { valet } = await withRaw([{}], { config: { workers: 2 } });
  const body = chat({ user: 'u'.repeat(2000) });
  let answered = 0, refused = 0, told = 0, closed = 0;
  const bad = [];
  const lane = async () => {
    for (;;) {
      const client = await Client.connect(valet.port).catch((error) => error);
      if (client instanceof Error) { // the listener is closed, or was while we stood in its queue
        assert.ok(['ECONNREFUSED', 'ECONNRESET'].includes(client.code), client.code);
        refused++;
        return;
      }
      for (let i = 0; i < 50 && !client.over; i++) {
        client.send(request(body));
        const answer = await client.answer().catch(() => null);
        if (answer?.status === 200 && answer.whole) answered++;
        else if (answer?.status === 503 && answer.whole) told++;
        else if (answer) bad.push(answer.line);
        else if (client.over === 'reset' && i > 0) bad.push(`reset behind ${i} answers`);
        else closed++; // in order, before the request was read: a kept connection may end between two
      }
      client.close();
    }
  };
  const lanes = Array.from({ length: 16 }, lane);
  await until('under load', () => answered > 500);
  valet.signal('SIGTERM');
  const { code } = await valet.program.ended;
  valet.program.expectedEnd = true;
  await Promise.all(lanes);
  assert.equal(code, 0);
  assert.deepEqual(bad, [], `${answered} answered, ${told} told, ${closed} closed, ${refused} refused`);
});

test('49: the limit: a stream that does not end is broken off so that the client sees it, and Valet ends', async () => {
  const engine = held();
  const { valet } = await withRaw([{ behave: engine.behave }], { config: { workers: 1, timeouts: { drain: '500ms' } } });
  const stream = await Client.connect(valet.port);
  stream.send(request(streaming));
  await until('it has begun', () => stream.text.includes('begun'));
  const began = performance.now();
  valet.signal('SIGTERM');
  const { code } = await valet.program.ended;
  valet.program.expectedEnd = true;
  assert.equal(code, 0);
  assert.ok(performance.now() - began < 3000 * slow + 1000);
  const answer = await stream.answer();
  assert.ok(!answer.whole && !answer.text.includes('[DONE]'), answer.text);
});

test('49: a second signal ends it at once', async () => {
  const engine = held();
  const { valet } = await withRaw([{ behave: engine.behave }], { config: { workers: 1 } });
  const stream = await Client.connect(valet.port);
  stream.send(request(streaming));
  await until('it has begun', () => stream.text.includes('begun'));
  valet.signal('SIGTERM');
  await until('draining', () => valet.log.includes('stopping'));
  valet.signal('SIGTERM');
  valet.program.expectedEnd = true;
  assert.equal((await valet.program.ended).code, 0);
});
