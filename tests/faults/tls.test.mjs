// tls.test.mjs - proves: an engine behind TLS is spoken to only if its certificate is valid, names the host and comes from a trusted
// authority; otherwise the client gets an error and not one byte of the request, or of the secret, leaves, encrypted or not.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { build, start } from '../e2e/harness.mjs';
import { ask, assertError, chat, contents, events, faultTest } from './aid.mjs';
import { Proxy } from './proxy.mjs';
import { Raw, completion } from './raw.mjs';

// ---- certificates ----

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'valet-tls-'));
after(() => fs.rmSync(dir, { recursive: true, force: true }));
const openssl = (...args) => execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
const file = (name) => path.join(dir, name);

function authority(name) {
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.pem`);
}

// `when`: the beginning and the end of its validity, as openssl ca has it.
function certificate(name, { ca = 'ca', names = 'IP:127.0.0.1,DNS:localhost', when } = {}) {
  openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
  fs.writeFileSync(file(`${name}.cnf`), `[ca]\ndefault_ca=d\n[d]\ndatabase=${name}.db\nnew_certs_dir=.\nserial=${name}.serial\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=${names}\n`);
  fs.writeFileSync(file(`${name}.db`), '');
  fs.writeFileSync(file(`${name}.serial`), Math.floor(Math.random() * 1e12).toString(16).padStart(12, '0'));
  openssl('ca', '-batch', '-config', `${name}.cnf`, '-extensions', 'e', '-cert', `${ca}.pem`, '-keyfile', `${ca}.key`, '-in', `${name}.csr`, '-out', `${name}.pem`, '-notext',
    ...(when ? ['-startdate', when[0], '-enddate', when[1]] : ['-days', '10']));
  return { key: fs.readFileSync(file(`${name}.key`)), cert: fs.readFileSync(file(`${name}.pem`)) };
}

authority('ca');
authority('other');
const good = certificate('good');

// ---- engines ----

const engines = {
  good: { secure: good },
  tls12: { secure: { ...good, maxVersion: 'TLSv1.2' } },
  tls11: { secure: { ...good, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }, bad: true },
  host: { secure: certificate('host', { names: 'DNS:engine.example' }), bad: true },
  address: { secure: certificate('address', { names: 'IP:127.0.0.2' }), bad: true },
  expired: { secure: certificate('expired', { when: ['20200101000000Z', '20200201000000Z'] }), bad: true },
  future: { secure: certificate('future', { when: ['20990101000000Z', '20990201000000Z'] }), bad: true },
  unknown: { secure: certificate('unknown', { ca: 'other' }), bad: true },
  plain: { secure: null, bad: true },
};
const secret = 'sk-secret-of-the-target';
for (const [name, engine] of Object.entries(engines)) {
  engine.raw = await Raw.start({ models: [name], secure: engine.secure, behave: (c) => c.answer(completion(name)) });
  engine.wire = await Proxy.start(engine.raw.port);
}
const httpsUrl = (engine) => engine.wire.url.replace('http:', 'https:');
const targets = Object.entries(engines).map(([name, engine]) => ({ name, kind: 'openai', url: httpsUrl(engine), ca_file: file('ca.pem'), secret: 'env:TARGET_SECRET' }));
targets.push({ name: 'nofile', kind: 'openai', url: httpsUrl(engines.good), secret: 'env:TARGET_SECRET' }); // the right engine, but nobody said whom to trust
const models = [...Object.keys(engines), 'nofile'].map((name) => ({ name, targets: [{ target: name, model: name }] }));
const valet = await start({ targets, config: { workers: 1, discovery_interval: '1h', timeouts: { connect: '1s' }, models }, env: { TARGET_SECRET: secret } });
valet.upstreams = Object.values(engines).map((engine) => engine.wire);
after(() => Promise.all(Object.values(engines).flatMap((engine) => [engine.wire.stop(), engine.raw.stop()])));

const proven = (name, body) => faultTest(valet, name, body, { model: 'good' });
const content = (answer) => JSON.parse(answer.text).choices[0].message.content;

proven('57: the right certificate: whole answers and streams, over one kept connection', async () => {
  const { raw } = engines.good;
  await ask(valet, { body: chat({ model: 'good' }) });
  const before = raw.connections;
  for (let i = 0; i < 10; i++) assert.equal(content(await ask(valet, { body: chat({ model: 'good', user: 'u'.repeat(i * 30000) }) })), 'good');
  assert.equal(raw.connections, before);
  raw.behave = (c) => c.stream(...Array.from({ length: 200 }, (_, i) => `${i} `));
  const answer = await ask(valet, { body: chat({ model: 'good', stream: true }) });
  assert.ok(answer.whole && events(answer).at(-1) === '[DONE]' && contents(answer).endsWith(' 199 '));
  raw.behave = (c) => c.answer(completion('x'.repeat(5 << 20)));
  assert.equal(content(await ask(valet, { body: chat({ model: 'good' }) })).length, 5 << 20);
  raw.behave = (c) => c.answer(completion('good'));
  assert.match(raw.calls.at(-1).head, new RegExp(`authorization: Bearer ${secret}\r\n`));
});

proven('57: TLS 1.2 is spoken as well', async () => {
  assert.equal(content(await ask(valet, { body: chat({ model: 'tls12' }) })), 'tls12');
});

for (const [name, engine] of Object.entries(engines).filter(([, e]) => e.bad)) {
  proven(`57: ${name}: an error, no plaintext, no byte of the request`, async () => {
    engine.wire.heard = [];
    for (const stream of [false, true]) {
      const answer = await ask(valet, { body: chat({ model: name, stream }) });
      assertError(answer, ...(name === 'plain' ? [503, 'no_target_available'] : [502, 'upstream_invalid_answer'])); // it never says a word
      assert.ok(!answer.text.includes(secret));
    }
    assert.equal(engine.raw.calls.length, 0);
    const wire = Buffer.concat(engine.wire.heard);
    assert.ok(wire.length > 0 && !wire.includes('POST') && !wire.includes(secret), 'it was tried, and nothing of the request left');
  });
}

proven('57: without a ca_file an authority of our own is not trusted', async () => {
  const before = engines.good.raw.calls.length;
  const answer = await ask(valet, { body: chat({ model: 'nofile' }) });
  assertError(answer, 502, 'upstream_invalid_answer');
  assert.equal(engines.good.raw.calls.length, before);
});

proven('57: an engine whose TLS breaks in the middle: an error, not a whole answer', async () => {
  const { raw } = engines.good;
  for (const what of ['cut', 'reset', 'garble']) { // the end of the bytes is not the end of the answer without TLS saying so
    raw.behave = (c) => c.answer(completion('g'.repeat(100000)));
    assert.equal((await ask(valet, { body: chat({ model: 'good' }) })).status, 200);
    engines.good.wire.strike({ what, after: 20000 });
    assertError(await ask(valet, { body: chat({ model: 'good' }) }), 502, 'upstream_disconnect');
  }
  raw.behave = (c) => c.answer(completion('good'));
});

test('57: a ca_file that cannot be read is said at the start', () => {
  fs.writeFileSync(file('lame.yaml'), `listen: 127.0.0.1:0\nadmin_listen: off\ndiscovery: off\ntargets:\n  - {name: good, kind: openai, url: "${httpsUrl(engines.good)}", ca_file: missing.pem}\n`);
  const run = spawnSync(path.join(build, 'valet'), ['serve', '-c', 'lame.yaml'], { cwd: dir, timeout: 10000, encoding: 'utf8' });
  assert.equal(run.error, undefined, 'it did not end by itself');
  assert.notEqual(run.status, 0);
  assert.match(run.stderr, /missing\.pem/);
});
