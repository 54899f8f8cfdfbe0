// cors.test.mjs - proves: a program in a browser or an Electron shell on this host can use Valet, error bodies and streams included,
// and a page from elsewhere cannot.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { start, user } from './harness.mjs';

const valet = await start();
const local = ['http://localhost:5173', 'http://127.0.0.1:8000', 'app://obsidian.md', 'capacitor://localhost', 'tauri://localhost', 'vscode-webview://abc'];

// fetch() refuses to set Origin and Host as a browser would; this does not.
function request(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    const req = http.request({ port: valet.port, host: '127.0.0.1', method, path, headers }, (res) => {
      let text = '';
      res.setEncoding('utf8').on('data', (d) => { text += d; }).on('end', () => resolve({ status: res.statusCode, headers: res.headers, text }));
    });
    req.on('error', reject).end(body);
  });
}

const preflight = (origin, extra = {}) => request('OPTIONS', '/v1/chat/completions', { origin, 'access-control-request-method': 'POST',
  'access-control-request-headers': 'authorization,content-type,x-stainless-os', ...extra });

test('a preflight request needs no key and is answered with what was asked for', async () => {
  for (const origin of local) {
    const answer = await preflight(origin);
    assert.equal(answer.status, 204, origin);
    assert.equal(answer.text, '');
    assert.ok([origin, '*'].includes(answer.headers['access-control-allow-origin']), origin);
    assert.match(answer.headers['access-control-allow-methods'], /POST/);
    assert.match(answer.headers['access-control-allow-headers'], /authorization/i);
    assert.match(answer.headers['access-control-allow-headers'], /x-stainless-os/i);
    assert.ok(Number(answer.headers['access-control-max-age']) > 0);
  }
});

test('access from a public page to a private network is granted only when it is asked for', async () => {
  const asked = await preflight(local[0], { 'access-control-request-private-network': 'true' });
  assert.equal(asked.headers['access-control-allow-private-network'], 'true');
  assert.equal((await preflight(local[0])).headers['access-control-allow-private-network'], undefined);
});

test('answers, errors and streams carry the headers as well', async () => {
  for (const [body, status] of [[{ model: 'm', messages: user('x') }, 200], [{ model: 'm', messages: user('x'), stream: true }, 200], [{ model: 'nope', messages: user('x') }, 404]]) {
    const answer = await request('POST', '/v1/chat/completions', { origin: local[0], 'content-type': 'application/json' }, JSON.stringify(body));
    assert.equal(answer.status, status);
    assert.ok([local[0], '*'].includes(answer.headers['access-control-allow-origin']));
    if (answer.headers['access-control-allow-origin'] !== '*') assert.match(answer.headers.vary, /origin/i);
    assert.match(answer.headers['access-control-expose-headers'], /x-request-id/i);
  }
});

test('a page from elsewhere gets no permission', async () => {
  for (const origin of ['https://evil.example', 'http://localhost.evil.example', 'http://127.0.0.1.evil.example']) {
    const before = await preflight(origin);
    assert.equal(before.headers['access-control-allow-origin'], undefined, origin);
  }
});

test('a request without Origin carries no CORS headers that it does not need', async () => {
  assert.equal((await request('GET', '/v1/models', {})).status, 200);
});

test('values that would be echoed without bound are refused or left out, and nothing breaks', async () => {
  const long = await request('GET', '/v1/models', { origin: `http://localhost:${'9'.repeat(12000)}` });
  assert.equal(long.status, 403);
  const asked = await preflight(local[0], { 'access-control-request-headers': 'a,'.repeat(6000) });
  assert.equal(asked.status, 204);
  assert.ok(asked.headers['access-control-allow-headers'].length < 3000);
  assert.equal((await request('GET', '/v1/models', {})).status, 200);
});
