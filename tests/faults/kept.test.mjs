// kept.test.mjs - proves: connections to engines are kept and shared, one that has ended is replaced without anybody noticing, and no byte that
// an engine sent too much ever becomes part of the answer to another request.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { CALL, Client, ask, assertError, chat, contents, faultTest, freeze, head, until, withRaw } from './aid.mjs';
import { chunk, completion, event, finish, piece, STREAM_HEAD } from './raw.mjs';

const { valet, raw } = await withRaw([{}], { config: { workers: 1, timeouts: { first_byte: '2s', heartbeat: 'off' } } });
const calm = () => { raw.behave = (c) => c.answer(completion()); raw.forget(); };
const kept = (name, body) => faultTest(valet, name, body, { calm });
const content = (answer) => JSON.parse(answer.text).choices[0].message.content;
const marked = (request) => JSON.parse(request.body).user;

kept('several clients in turn are served by one connection', async () => {
  await ask(valet);
  const before = raw.connections, connections = new Set();
  raw.behave = (c, request) => { connections.add(c.number); c.answer(completion(marked(request))); };
  for (let i = 0; i < 20; i++) assert.equal(content(await ask(valet, { body: chat({ user: `client ${i}` }) })), `client ${i}`);
  assert.equal(raw.connections, before);
  assert.equal(connections.size, 1);
});

kept('a stream\'s connection is kept as well', async () => {
  await ask(valet);
  const before = raw.connections;
  raw.behave = (c) => c.stream('a');
  for (let i = 0; i < 10; i++) assert.equal(contents(await ask(valet, { body: chat({ stream: true }) })), 'a');
  assert.equal(raw.connections, before);
});

for (const [how, close] of [['closes', (c) => c.destroy()], ['resets', (c) => c.reset()]]) {
  kept(`an engine that ${how} a kept connection just when it is used again: the request is sent on a fresh one`, async () => {
    let closed = 0;
    raw.behave = (c, request) => {
      if (c.requests > 1 && request.body.includes('again')) { closed++; close(c); } else { c.answer(completion(marked(request))); }
    };
    for (let i = 0; i < 10; i++) {
      await ask(valet, { body: chat({ user: 'first' }) });
      const before = raw.calls.length;
      assert.equal(content(await ask(valet, { body: chat({ user: `again ${i}` }) })), `again ${i}`);
      assert.equal(raw.calls.length, before + 2, 'sent twice: on the kept and on a fresh connection');
    }
    assert.equal(closed, 10);
  });
}

kept('an engine that closes idle connections: the next request finds a fresh one', async () => {
  for (let i = 0; i < 20; i++) {
    await ask(valet);
    for (const c of raw.live) c.end();
    if (i % 2) await until('closed', () => raw.open === 0); // else at once
    assert.equal((await ask(valet)).status, 200);
  }
});

kept('a fresh connection that is closed as well is an error, not a loop', async () => {
  await ask(valet);
  raw.behave = (c) => c.destroy();
  const before = raw.calls.length;
  assertError(await ask(valet), 502, 'upstream_disconnect');
  assert.ok(raw.calls.length - before <= 2);
});

// What an engine may do wrong at the end of an answer; `poison` must never reach anybody.
const poison = completion('POISON');
const second = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${poison.length}\r\n\r\n${poison}`;
const wrongs = [
  (c, good) => c.answer(good),
  (c, good) => c.send(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(good)}\r\n\r\n${good}${second}`), // two answers in one
  (c, good) => c.send(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(good)}\r\n\r\n${good}POISON`), // too short a length
  (c, good) => { c.send(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(good) + 40}\r\n\r\n${good}`); c.end(); }, // too long
  (c, good) => c.send(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${chunk(good)}0\r\n\r\n${second}`),
  (c, good) => c.send(STREAM_HEAD + chunk(piece(JSON.parse(good).choices[0].message.content)) + chunk(finish()) + chunk(event('[DONE]')) + chunk(piece('POISON')) + '0\r\n\r\n' + second),
  (c) => c.send(`HTTP/1.1 204 No Content\r\n\r\n${second}`),
  (c) => c.send(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n${second}`),
  (c, good) => c.send(`HTTP/1.1 400 Bad Request\r\ncontent-length: ${Buffer.byteLength(good)}\r\n\r\n${good}${second}`),
];

kept('2,000 requests over kept connections: nobody gets what was not for them', async () => {
  let served = 0, fine = 0, errors = 0;
  raw.behave = (c, request) => {
    const wrong = wrongs[served++ % wrongs.length];
    wrong(c, completion(marked(request)));
  };
  const jobs = Array.from({ length: 2000 }, (_, i) => i);
  const lane = async () => {
    while (jobs.length) {
      const marker = `for ${jobs.pop()} only`;
      const answer = await ask(valet, { body: chat({ user: marker }) });
      assert.ok(!answer.text.includes('POISON'), answer.text);
      if (answer.status !== 200) {
        errors++;
        assert.ok([400, 502].includes(answer.status), answer.text);
      } else if (answer.whole) {
        fine++;
        assert.equal(answer.headers['content-type'].startsWith('text/event-stream') ? contents(answer) : content(answer), marker);
      } else {
        errors++;
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
  assert.ok(fine > 1000 && errors > 400, `${fine} fine, ${errors} errors`);
  assert.ok(served >= 2000);
});

kept('a second answer that comes later, on an idle connection: dropped with it, also where a request is read in the same turn', async () => {
  const client = await Client.connect(valet.port);
  for (let i = 0; i < 100; i++) {
    let used;
    raw.behave = (c, request) => { used = c; c.answer(completion(marked(request))); };
    assert.equal(content(await ask(valet, { body: chat({ user: `first ${i}` }) })), `first ${i}`);
    const idle = used, body = chat({ user: `second ${i}` });
    const stopped = i % 2 === 0;
    if (stopped) await freeze(valet.program); // both stand in the queue when Valet goes on, the request first
    if (stopped) await client.send(head(CALL, body.length) + body);
    await idle.send(second);
    if (stopped) valet.signal('SIGCONT');
    else client.send(head(CALL, body.length) + body);
    assert.equal(content(await client.answer()), `second ${i}`);
    assert.notEqual(used, idle, 'another connection');
    await idle.closed;
  }
  client.close();
});
