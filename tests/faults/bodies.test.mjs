// bodies.test.mjs - proves: a body is judged before anything is sent: bad UTF-8, JSON that is too deep or no JSON, and members that stand twice
// are answered with 400; everything else reaches the engine byte for byte; and no body costs much time or more than about its own memory.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { Client, ask, assertError, chat, cpuMs, faultTest, head, memory, slow, until, withRaw } from './aid.mjs';
import { completion } from './raw.mjs';

const { valet, raw } = await withRaw([{}], { config: { workers: 1, timeouts: { heartbeat: 'off' } } });
const calm = () => { raw.behave = (c) => c.answer(completion()); raw.forget(); };
const proven = (name, body) => faultTest(valet, name, body, { calm });
const around = (bytes) => Buffer.concat([Buffer.from('{"model":"m","messages":[{"role":"user","content":"'), Buffer.from(bytes), Buffer.from('"}]}')]);

proven('34: bad UTF-8 anywhere: 400 that says so, and the answer and the log are clean', async () => {
  for (const bytes of [[0xff], [0xc0, 0x80], [0xc3], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0xe2, 0x82], [0x80], [0xfe, 0xff]]) {
    const answer = await ask(valet, { body: around(bytes) });
    assertError(answer, 400, 'invalid_json');
    assert.ok(!answer.text.includes('\ufffd'));
  }
  assertError(await ask(valet, { body: Buffer.from([...Buffer.from('{"model":"m\xff","messages":[]}', 'latin1')]) }), 400, 'invalid_json');
  assert.equal(raw.bytes.length, 0);
  assert.ok(!valet.log.includes('\ufffd'));
});

proven('34: what is valid passes byte for byte: lone surrogates as escapes, NUL as an escape, all planes, any spelling and order', async () => {
  for (const text of ['\\ud83d', '\\udc00 x \\ud800', '\\u0000', '\\ud83d\\ude00', '😀 é \u0800 \u{10ffff}', '\\/\\b\\f\\n\\r\\t\\"\\\\']) {
    const body = around(text);
    assert.equal((await ask(valet, { body })).status, 200, text);
    assert.ok(raw.calls.at(-1).body.equals(body), text);
  }
  for (const body of [
    '{ "messages" : [ ] ,\r\n\t"unknown":{"a":[1,2.50e+07,-0.0,1E400]} , "model":"m", "temperature":0.70 }',
    '{"model":"m","messages":[],"seed":123456789012345678901234567890,"x":1e-99999}',
    `{"model":"m","messages":[],"${'k'.repeat(100000)}":null}`,
  ]) {
    assert.equal((await ask(valet, { body })).status, 200, body.slice(0, 100));
    assert.equal(raw.calls.at(-1).body.toString(), body);
  }
});

proven('34: names of models that nobody has may hold anything: the answer is valid JSON, the header lines are whole', async () => {
  for (const name of ['\\ud83d', '\\u0000', '\\r\\nx-evil: 1', '"quoted"'.replaceAll('"', '\\"'), '<script>', '\\u001b[31m', 'é']) {
    const answer = await ask(valet, { body: `{"model":"${name}","messages":[]}` });
    assertError(answer, 404, 'model_not_found');
    assert.equal(answer.headers['x-evil'], undefined);
  }
  assert.ok(!/[\u0000-\u0009\u000b-\u001f]/.test(valet.log.replaceAll('\t', ' ')), 'no control characters in the log');
});

proven('35: a million brackets, a million members, huge numbers: judged in little time', async () => {
  const million = 1000000;
  const cases = [
    ['[', 400, '['.repeat(million)],
    ['{"a":', 400, '{"a":'.repeat(million)],
    ['deep and closed', 400, `{"model":"m","messages":[],"x":${'['.repeat(million)}${']'.repeat(million)}}`],
    ['97 levels', 400, `{"model":"m","messages":[],"x":${'['.repeat(97)}${']'.repeat(97)}}`],
    ['90 levels', 200, `{"model":"m","messages":[],"x":${'['.repeat(90)}${']'.repeat(90)}}`],
    ['members', 200, `{"model":"m","messages":[],${Array.from({ length: million }, (_, i) => `"k${i}":1`).join(',')}}`],
    ['the same member', 200, `{"model":"m","messages":[],${'"k":1,'.repeat(million)}"z":1}`],
    ['elements', 200, `{"model":"m","messages":[],"x":[${'1,'.repeat(million)}1]}`],
    ['a number of a million digits', 200, `{"model":"m","messages":[],"x":${'1'.repeat(million)}}`],
    ['n of a million digits', 400, `{"model":"m","messages":[],"n":${'1'.repeat(million)}}`],
    ['max_tokens of 1e400', 400, '{"model":"m","messages":[],"max_tokens":1e400}'],
    ['a million escapes', 200, `{"model":"m","messages":[{"role":"user","content":"${'\\u0041'.repeat(million)}"}]}`],
    ['a model name of a million bytes', 400, `{"model":"${'m'.repeat(million)}","messages":[]}`],
  ];
  for (const [name, status, body] of cases) {
    const before = cpuMs(valet.program.pid);
    const answer = await ask(valet, { body });
    assert.equal(answer.status, status, `${name}: ${answer.text.slice(0, 300)}`);
    const spent = cpuMs(valet.program.pid) - before;
    assert.ok(spent <= 100 * slow, `${name}: ${spent} ms`); // 50 ms, reading and sending 10 MB included twice over
  }
});

proven('36: members that gateway and engine might read differently stand once, however they are spelled', async () => {
  for (const [name, body] of [
    ['model', '{"model":"m","messages":[],"model":"other"}'],
    ['model', '{"model":"m","messages":[],"m\\u006fdel":"other"}'],
    ['stream', '{"model":"m","messages":[],"stream":false,"stream":true}'],
    ['stream', '{"model":"m","messages":[],"stream":true,"str\\u0065am":false}'],
    ['max_tokens', '{"model":"m","messages":[],"max_tokens":1,"max_tokens":100000}'],
    ['max_completion_tokens', '{"model":"m","messages":[],"max_completion_tokens":1,"max_completion_tokens":100000}'],
    ['n', '{"n":1,"model":"m","messages":[],"n":128}'],
    ['n', '{"n":1,"model":"m","messages":[],"\\u006e":128}'],
  ]) {
    const error = assertError(await ask(valet, { body }), 400, 'duplicate_parameter');
    assert.equal(error.param, name);
  }
  for (const nested of ['{"model":"m","messages":[],"x":{"model":"a","model":"b"}}', '{"model":"m","messages":[],"user":"a","user":"b"}']) {
    assert.equal((await ask(valet, { body: nested })).status, 200, 'others are the engine\'s to judge');
  }
  const form = (fields) => fields.map(([n, v]) => `--B\r\ncontent-disposition: form-data; name="${n}"\r\n\r\n${v}\r\n`).join('') + '--B--\r\n';
  const answer = await ask(valet, { path: '/v1/audio/transcriptions', body: form([['model', 'm'], ['model', 'other']]), fields: 'content-type: multipart/form-data; boundary=B\r\n' });
  assert.ok(answer.status === 400, answer.text);
});

proven('33: absurd n and max_tokens: 400 that names the member', async () => {
  for (const [name, value] of [['n', 0], ['n', 1000000], ['n', -1], ['n', '1e9'], ['max_tokens', 1e18], ['max_tokens', '"many"'], ['max_completion_tokens', -5], ['max_tokens', 1.5]]) {
    const answer = await ask(valet, { body: `{"model":"m","messages":[],"${name}":${typeof value === 'number' ? value.toString().replace('+', '') : value}}` });
    assert.equal(answer.status, 400, `${name} ${value}: ${answer.text}`);
    assert.equal(JSON.parse(answer.text).error.param, name);
  }
  assert.equal(raw.bytes.length, 0);
});

proven('a file of 20 MB in a form passes byte for byte and is held about once', async () => {
  const SIZE = 20 << 20, file = Buffer.alloc(SIZE);
  for (let i = 0; i < SIZE; i += 4) file.writeUInt32LE((i * 2654435761) >>> 0, i);
  const body = Buffer.concat([Buffer.from('--BOUNDARY\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--BOUNDARY\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'),
    file, Buffer.from('\r\n--BOUNDARY--\r\n')]);
  raw.atHead = (c) => { c.socket.pause(); return false; }; // the engine is slow, so that Valet has to hold it
  raw.behave = (c) => c.answer('{"text":"fine"}');
  const before = memory(valet.program.pid);
  const client = await Client.connect(valet.port);
  client.send(head('/v1/audio/transcriptions', body.length).replace('application/json', 'multipart/form-data; boundary=BOUNDARY'));
  client.send(body);
  await until('the engine has the head', () => raw.calls.length === 1, 20000 * slow);
  const grown = memory(valet.program.pid) - before;
  raw.atHead = null;
  for (const c of raw.live) c.socket.resume();
  const answer = await client.answer();
  client.close();
  assert.equal(answer.text, '{"text":"fine"}');
  assert.ok(raw.calls[0].body.equals(body), 'byte for byte');
  assert.ok(grown < 1.6 * SIZE, `${(grown / SIZE).toFixed(2)} times its size`);
});

proven('a JSON body of 20 MB passes byte for byte, and is held about once', async () => {
  const body = chat({ user: 'é'.repeat(10 << 20) }), size = Buffer.byteLength(body);
  raw.atHead = (c) => { c.socket.pause(); return false; };
  const before = memory(valet.program.pid);
  const asking = ask(valet, { body });
  await until('the engine has the head', () => raw.calls.length === 1, 20000 * slow);
  const grown = memory(valet.program.pid) - before;
  raw.atHead = null;
  for (const c of raw.live) c.socket.resume();
  assert.equal((await asking).status, 200);
  assert.equal(raw.calls[0].body.toString(), body);
  assert.ok(grown < 1.6 * size, `${(grown / size).toFixed(2)} times its size`);
});

proven('a large answer passes without being held', async () => {
  const SIZE = 40 << 20;
  raw.behave = async (c) => {
    const text = completion('z'.repeat(SIZE));
    c.send(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n`);
    c.send(text);
  };
  const before = memory(valet.program.pid);
  let most = 0;
  const watching = setInterval(() => { most = Math.max(most, memory(valet.program.pid) - before); }, 5);
  const answer = await ask(valet);
  clearInterval(watching);
  assert.equal(JSON.parse(answer.text).choices[0].message.content.length, SIZE);
  assert.ok(most < 8 << 20, `${most >> 10} KiB`);
});
