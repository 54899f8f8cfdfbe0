// errors.test.mjs - proves: whatever goes wrong reaches the client as an error object of the OpenAI form, with the class that the SDK
// makes of it, and says what to do; an engine's own error text does not leak secrets or confuse whose key was wrong.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenAI, collect, fault, raw, start, user } from './harness.mjs';

const valet = await start({ targets: [{ sim: { models: ['llama3.1-8b', 'llama3.1-70b', 'qwen2.5-coder'] } }],
  config: { routing: { breaker: 'off' } } }); // each test meets the error itself; the breaker is targets.test.mjs's
const client = valet.client();
const model = 'llama3.1-8b';

async function assertError(answer, status, { code, type } = {}) {
  const text = await answer.text();
  assert.equal(answer.status, status, text);
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, text);
  const { error } = JSON.parse(text);
  assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type'], text);
  assert.equal(typeof error.message, 'string');
  assert.ok(error.message.length > 0);
  assert.equal(typeof error.type, 'string');
  assert.ok(error.code === null || typeof error.code === 'string', text);
  if (code !== undefined) assert.equal(error.code, code, text);
  if (type !== undefined) assert.equal(error.type, type, text);
  return error;
}

test('an unknown model: 404, model_not_found, and near names in the message', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'llama3.1-8B', messages: user('x') }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    assert.match(error.message, /llama3\.1-8b/);
    return true;
  }).catch(async (error) => { // names may be matched without regard to case: then a typing error must be named instead
    if (error.code !== 'ERR_ASSERTION' || !/Missing expected rejection/.test(error.message)) throw error;
  });
  await assert.rejects(client.chat.completions.create({ model: 'lama3.1-8b', messages: user('x') }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    assert.match(error.message, /llama3\.1-8b/);
    return true;
  });
});

test('bodies that are not JSON', async (t) => {
  for (const body of ['', '{', '{"model":"m",}', '[1,2', 'hello', '{"model":"m"} x', '{"a":01}', '{"a":"\u0001"}', '{"a":tru}', '\u0000']) {
    await t.test(JSON.stringify(body), async () => {
      await assertError(await valet.post('/v1/chat/completions', body), 400, { type: 'invalid_request_error' });
    });
  }
  await t.test('bytes that are not UTF-8', async () => {
    const body = Buffer.concat([Buffer.from(`{"model":"${model}","messages":[{"role":"user","content":"`), Buffer.from([0xff, 0xc0, 0xaf]), Buffer.from('"}]}')]);
    await assertError(await valet.post('/v1/chat/completions', body), 400, { type: 'invalid_request_error' });
  });
  await t.test('a million brackets', async () => {
    const began = performance.now();
    await assertError(await valet.post('/v1/chat/completions', '['.repeat(1e6)), 400);
    assert.ok(performance.now() - began < 2000);
  });
});

test('JSON that is no request', async (t) => {
  const messages = user('x');
  const cases = { 'an array': [], 'a string': '"x"', 'no model': { messages }, 'a number as model': { model: 7, messages }, 'null as model': { model: null, messages },
    'an empty model': { model: '', messages }, 'a word as stream': { model, messages, stream: 'yes' }, 'an object as stream': { model, messages, stream: {} } };
  for (const [name, body] of Object.entries(cases)) {
    await t.test(name, async () => { await assertError(await valet.post('/v1/chat/completions', body), 400, { type: 'invalid_request_error' }); });
  }
});

test('members that decide who pays must not stand twice', async (t) => {
  for (const twice of ['"model":"x","model":"', '"stream":true,"stream":false,"model":"', '"n":1,"n":50,"model":"', '"max_tokens":1,"max_tokens":9999,"model":"',
    '"mod\\u0065l":"x","model":"']) {
    await t.test(twice, async () => {
      await assertError(await valet.post('/v1/chat/completions', `{${twice}${model}","messages":[]}`), 400, { type: 'invalid_request_error' });
    });
  }
});

test('an address that does not exist: 404, unknown_url', async () => {
  for (const where of ['/v1/nothing', '/nothing', '/v1/chat', '/favicon.ico', '/robots.txt', '/.well-known/x', '/v1/assistants', '/v1/chat/completions/../../etc/passwd']) {
    await assertError(await valet.fetch(where), 404, { type: 'invalid_request_error' });
  }
  await assertError(await valet.post('/v1/nothing', {}), 404, { code: 'unknown_url' });
});

test('management paths of engines stay closed', async () => {
  for (const where of ['/api/pull', '/api/create', '/api/delete', '/api/push', '/slots', '/props', '/sleep', '/v1/load_lora_adapter', '/lora-adapters', '/upstream/x']) {
    const answer = await valet.post(where, { model, name: 'x' });
    assert.ok([403, 404, 405].includes(answer.status), `${where}: ${answer.status}`);
  }
});

test('the wrong method', async () => {
  const answer = await valet.fetch('/v1/chat/completions', { method: 'PUT', body: '{}' });
  assert.match(answer.headers.get('allow') ?? '', /POST/);
  await assertError(answer, 405);
});

test('what the engine refuses reaches the client with the engine\'s reason', async () => {
  const failing = (status) => client.chat.completions.create({ model, messages: user('x') }, { headers: fault(`status=${status}`) });
  await assert.rejects(failing(400), (e) => e instanceof OpenAI.BadRequestError && typeof e.code !== 'number');
  await assert.rejects(failing(422), (e) => e instanceof OpenAI.UnprocessableEntityError || e instanceof OpenAI.BadRequestError);
});

test('an engine that does not accept Valet\'s secret is not the client\'s fault', async () => {
  for (const status of [401, 403]) {
    const answer = await valet.post('/v1/chat/completions', { model, messages: user('x') }, fault(`status=${status}`));
    assert.ok([502, 503].includes(answer.status), `${status} became ${answer.status}`);
    await assertError(answer, answer.status);
    await valet.healthy(model);
  }
});

test('an engine that is full', async () => {
  const answer = await valet.post('/v1/chat/completions', { model, messages: user('x') }, fault('status=429,1'));
  assert.ok([429, 503].includes(answer.status), `${answer.status}`);
  await assertError(answer, answer.status);
  await valet.healthy(model);
});

test('an engine that breaks', async () => {
  for (const status of [500, 503]) {
    const answer = await valet.post('/v1/chat/completions', { model, messages: user('x') }, fault(`status=${status}`));
    assert.ok([500, 502, 503].includes(answer.status), `${status} became ${answer.status}`);
    await assertError(answer, answer.status);
    await valet.healthy(model);
  }
});

test('an engine that answers with a page of HTML', async () => {
  const answer = await valet.post('/v1/chat/completions', { model, messages: user('x') }, fault('html-error=200'));
  await assertError(answer, 502);
});

test('a stream that breaks in the middle ends with an error, never as if it were whole', async () => {
  const stream = await client.chat.completions.create({ model, messages: user('x'), stream: true, max_tokens: 50 }, { headers: { ...fault('cut-after=10'), 'x-sim-tokens': '50' } });
  await assert.rejects(collect(stream), (error) => error instanceof OpenAI.APIError && error.code === 'upstream_disconnect');
});

test('an engine that is not there', async () => {
  const broken = await start({ targets: [{ url: 'http://127.0.0.1:1/v1' }], config: { models: [{ name: 'gone', targets: [{ target: 't0' }] }] }, wait: false });
  await broken.listening();
  const answer = await broken.post('/v1/chat/completions', { model: 'gone', messages: user('x') });
  const error = await assertError(answer, answer.status);
  assert.ok([502, 503].includes(answer.status), `${answer.status} ${error.message}`);
});

test('broken HTTP gets 400 and a closed connection', async (t) => {
  for (const [name, bytes] of Object.entries({
    'no HTTP': 'hello\r\n\r\n', 'two lengths': 'POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'length and chunks': 'POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'no host': 'GET /v1/models HTTP/1.1\r\n\r\n' })) {
    await t.test(name, async () => { assert.match(await raw(valet.port, bytes), /^HTTP\/1\.1 400 [^]*connection: close/i); });
  }
});
