// doors.test.mjs - proves: an open listener serves programs of this machine, not web pages of elsewhere that had their name pointed here; and
// Valet does not begin to listen where everybody could use it unless it was told to.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { build, freePort } from '../e2e/harness.mjs';
import { CALL, Client, assertError, chat, faultTest, withRaw } from './aid.mjs';
import { completion } from './raw.mjs';

const { valet, raw } = await withRaw([{}], { config: { workers: 1 } });
const calm = () => { raw.behave = (c) => c.answer(completion()); raw.forget(); };
const guarded = (name, body) => faultTest(valet, name, body, { calm });

async function knock(method, path_, host, fields = '') {
  const client = await Client.connect(valet.port), body = method === 'POST' ? chat() : '';
  client.send(`${method} ${path_} HTTP/1.1\r\n${host === null ? '' : `host: ${host}\r\n`}connection: close\r\n${fields}content-length: ${body.length}\r\n\r\n${body}`);
  const answer = await client.answer({ headOnly: method === 'HEAD' });
  await client.ended();
  client.close();
  return answer;
}

guarded('a Host of another name: 403, and nothing goes to an engine; health checks are answered', async () => {
  for (const host of ['evil.example', `evil.example:${valet.port}`, 'localhost.evil.example', '127.0.0.1.evil.example', 'evil-localhost', 'local', 'xlocal', 'evil.example.', '127.0.0.1@evil.example']) {
    assertError(await knock('POST', CALL, host), 403, 'origin_not_allowed');
    assertError(await knock('GET', '/v1/models', host), 403, 'origin_not_allowed');
    assert.equal((await knock('GET', '/health', host)).status, 200, host);
    assert.equal((await knock('GET', '/ready', host)).status, 200, host);
  }
  assert.equal(raw.bytes.length, 0);
});

guarded('a Host of this machine: served', async () => {
  for (const host of ['127.0.0.1', `127.0.0.1:${valet.port}`, 'localhost', `LOCALHOST:${valet.port}`, '[::1]', '[::1]:9300', 'valet.localhost', '192.168.1.5:9300']) {
    assert.equal((await knock('POST', CALL, host)).status, 200, host);
  }
});

guarded('a foreign Origin: 403; one of this machine and the listed apps: served', async () => {
  for (const origin of ['https://evil.example', 'http://localhost.evil.example', 'https://evil.example:443', 'http://127.0.0.1.evil.example', 'evil://x', 'javascript:alert(1)']) {
    const answer = await knock('POST', CALL, '127.0.0.1', `origin: ${origin}\r\n`);
    assertError(answer, 403, 'origin_not_allowed');
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
    const preflight = await knock('OPTIONS', CALL, '127.0.0.1', `origin: ${origin}\r\naccess-control-request-method: POST\r\n`);
    assert.equal(preflight.headers['access-control-allow-origin'], undefined, origin);
    assert.equal((await knock('GET', '/health', '127.0.0.1', `origin: ${origin}\r\n`)).status, 200);
  }
  assert.equal(raw.bytes.length, 0);
  for (const origin of ['app://obsidian.md', 'http://localhost:3000', 'http://127.0.0.1:8080']) {
    const answer = await knock('POST', CALL, '127.0.0.1', `origin: ${origin}\r\n`);
    assert.equal(answer.status, 200, origin);
    assert.equal(answer.headers['access-control-allow-origin'], origin);
  }
});

guarded('a foreign Host cannot come in by another door: absolute URLs, several cases, missing Host in HTTP/1.0', async () => {
  assertError(await knock('GET', 'http://evil.example/v1/models', 'evil.example'), 403, 'origin_not_allowed');
  assertError(await knock('GET', '/v1//models/', 'evil.example'), 403, 'origin_not_allowed');
  assertError(await knock('GET', '/%76%31/models', 'evil.example'), 403);
});

test('listening beyond loopback is refused at the start, with a sentence that says what to do', async () => {
  const port = await freePort();
  for (const listen of [`0.0.0.0:${port}`, `[::]:${port}`]) {
    const run = spawnSync(path.join(build, 'valet'), ['serve', '--listen', listen, '--admin-listen', 'off', '--discovery', 'off'],
      { cwd: valet.dir, env: { ...process.env, VALET_CONFIG: '' }, timeout: 10000, encoding: 'utf8' });
    assert.equal(run.error, undefined, 'it did not end by itself');
    assert.notEqual(run.status, 0);
    assert.match(run.stderr, /loopback|127\.0\.0\.1/);
    assert.match(run.stderr, /auth: off/, run.stderr);
  }
});
