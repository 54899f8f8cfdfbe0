// drain.test.mjs - proves: an operator sets a target aside and takes it back without a failed request, and it stays aside across a restart; what only it serves is
// refused in words; a secret that is refused is told once; the queue can be seen.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { start, until, user } from './harness.mjs';

const sim = { slots: 4, dialect: 'llamacpp', rate: 400 };
const valet = await start({ targets: [{ sim }, { sim }], config: { discovery_interval: '500ms', queue: { max_wait: '20s' } } });
const ask = (tokens = 10, more = {}) => valet.post('/v1/chat/completions', { model: 'm', messages: user('hi'), max_tokens: tokens, ...more }, { 'x-sim-tokens': String(tokens) });
const arrived = async (i) => (await valet.sims[i].stats()).calls;
const target = async (name) => (await valet.json('target', 'show', name)).target;
const places = () => until('eight places', async () => await valet.metric('valet_target_places') === 8);

test('all targets can be seen, in words and as JSON', async () => {
  await places();
  assert.equal((await ask(20)).status, 200);
  const { data } = await valet.json('target', 'list');
  assert.deepEqual(data.map((t) => [t.name, t.kind, t.url, t.local, t.state, t.breaker, t.drained]),
    valet.sims.map((s, i) => [`t${i}`, 'llamacpp', s.url, true, 'up', 'closed', null]));
  assert.deepEqual(data.map((t) => t.places), [{ taken: 0, limit: 4, from: 'engine' }, { taken: 0, limit: 4, from: 'engine' }]);
  const learned = await until('the answer has taught', async () => (await valet.json('target', 'list')).data.map((t) => t.models[0]).find((m) => m.answers === 1));
  assert.equal(learned.model, 'm');
  assert.ok(learned.service_ms > 0);
  const list = await valet.cli('target', 'list');
  assert.equal(list.code, 0, list.stderr);
  assert.match(list.stdout, /^NAME +KIND +ADDRESS +STATE +PLACES +MODELS\nt0 +llamacpp +http:\/\/127\.0\.0\.1:\d+ +up +0 of 4 +m\nt1 /);
  const one = await valet.cli('target', 'show', 't1');
  assert.match(one.stdout, /^name +t1\nkind +llamacpp\naddress +http.*\nstate +up\n/);
  assert.match(one.stdout, /\nplaces +0 of 4 \(the engine says so\)\n/);
  const wrong = await valet.cli('target', 'drain', 't11');
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /there is no target t11; did you mean t[01]\?/);
  assert.equal((await valet.cli('target', 'drain')).code, 2);
  assert.equal((await valet.api('POST', '/api/targets/t0', { drain: true, now: 1 })).status, 400);
});

test('under load: what is set aside gets nothing new, and no request fails; resumed it is used again', async () => {
  let running = true, failed = 0, done = 0;
  const clients = Array.from({ length: 12 }, async () => {
    while (running) {
      const answer = await ask();
      if (answer.status === 200) done++; else { failed++; console.log(answer.status, await answer.text()); }
      await answer.arrayBuffer().catch(() => {});
    }
  });
  await until('both serve', async () => await arrived(0) > 10 && await arrived(1) > 10);
  const said = await valet.cli('target', 'drain', 't1');
  assert.equal(said.code, 0, said.stderr);
  assert.match(said.stdout, /^t1 is set aside: it gets no new requests, also after a restart/);
  await until('what ran there has ended', async () => (await target('t1')).places.taken === 0);
  const before = await arrived(1), mark = done;
  await until('the other serves on', () => done > mark + 60);
  assert.equal(await arrived(1), before, 'nothing new has arrived');
  assert.equal((await target('t1')).drained, 'operator');
  assert.match((await valet.cli('target', 'list')).stdout, /\nt1 .* up, set aside \(operator\) /);
  assert.equal((await valet.cli('target', 'resume', 't1')).code, 0);
  await until('it is used again', async () => await arrived(1) > before + 10);
  running = false;
  await Promise.all(clients);
  assert.equal(failed, 0, `${failed} of ${done + failed} failed`);
  assert.equal((await target('t1')).drained, null);
});

test('it holds across a reload and a restart', async () => {
  await valet.cli('target', 'drain', 't1');
  valet.write(valet.text({ log: { level: 'debug' } }));
  await until('reloaded', () => /settings reloaded/.test(valet.log));
  assert.equal((await target('t1')).drained, 'operator');
  await valet.stop();
  const none = await valet.cli('target', 'list');
  assert.equal(none.code, 1);
  assert.match(none.stderr, /no server runs/);
  await valet.launch();
  assert.equal((await target('t1')).drained, 'operator');
  const before = await arrived(1);
  const answers = await Promise.all(Array.from({ length: 12 }, () => ask()));
  assert.ok(answers.every((x) => x.status === 200 && x.headers.get('x-valet-target') === 't0'));
  assert.equal(await arrived(1), before);
});

test('with all targets set aside: 503 in words for what comes; what waits already waits on, and is served at once when one comes back', async () => {
  await places();
  const running = Array.from({ length: 4 }, () => ask(200));
  await until('they run', async () => (await valet.sims[0].stats()).active === 4);
  const waiting = ask(10);
  await until('one waits', async () => await valet.metric('valet_queue_waiting') === 1);
  assert.equal((await valet.cli('target', 'drain', 't0')).code, 0);
  assert.ok((await Promise.all(running)).every((x) => x.status === 200), 'what runs goes on to its end');
  await until('nothing runs', async () => (await target('t0')).places.taken === 0);
  assert.equal(await valet.metric('valet_queue_waiting'), 1);
  const live = await valet.json('live');
  assert.equal(live.queue.waiting, 1);
  assert.ok(live.data.length === 1 && live.data[0].waiting && live.data[0].position === 1 && live.data[0].queue_ms > 0 && live.data[0].target === '-', JSON.stringify(live));
  assert.match((await valet.cli('live')).stdout, /^1 request; 1 waits for a place, the oldest for .*\n\nREQUEST .*\nreq_.* QUEUE, position 1 /);
  const hasty = await ask();
  assert.equal(hasty.status, 503, 'what comes now is told at once');
  assert.match((await hasty.json()).error.message, /maintenance/);
  const ready = await fetch(valet.admin + '/ready');
  assert.equal(ready.status, 503);
  assert.match(await ready.text(), /all targets are in maintenance/);
  assert.deepEqual(await (await valet.fetch('/ready')).json(), { status: 'maintenance' });
  assert.equal((await valet.cli('target', 'resume', 't0')).code, 0);
  assert.equal((await waiting).status, 200);
  assert.equal((await valet.cli('target', 'drain', 't0')).code, 0);
  const refused = await ask();
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  const { error } = await refused.json();
  assert.equal(error.code, 'no_target_available');
  assert.match(error.message, /maintenance/);
  for (const name of ['t0', 't1']) assert.equal((await valet.cli('target', 'resume', name)).code, 0);
  assert.equal((await ask()).status, 200);
});

test('what the settings have set aside is taken back there', async () => {
  valet.targets[1].drain = 'on';
  valet.write();
  await until('it is set aside', async () => (await target('t1')).drained === 'settings');
  const refused = await valet.cli('target', 'resume', 't1');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /set aside by the settings/);
  valet.targets[1].drain = 'off';
  valet.write();
  await until('it is back', async () => (await target('t1')).drained === null);
});

test('maintenance holds without the breaker as well', async () => {
  valet.write(valet.text({ routing: { breaker: 'off' } }));
  await until('reloaded', () => (valet.log.match(/settings reloaded/g) ?? []).length >= 3);
  assert.equal((await valet.cli('target', 'drain', 't1')).code, 0);
  const before = await arrived(1);
  const answers = await Promise.all(Array.from({ length: 16 }, () => ask()));
  assert.ok(answers.every((x) => x.status === 200 && x.headers.get('x-valet-target') === 't0'));
  assert.equal(await arrived(1), before);
  assert.equal((await valet.cli('target', 'resume', 't1')).code, 0);
});

test('a refused secret: told once in the log and at the webhook; the client hears nothing of the upstream', async () => {
  const told = [];
  const hook = http.createServer((request, response) => {
    let body = '';
    request.on('data', (data) => { body += data; }).on('end', () => { told.push(JSON.parse(body)); response.end(); });
  });
  await new Promise((resolve) => hook.listen(0, '127.0.0.1', resolve));
  const bad = await start({
    targets: [{ name: 'locked', sim: { args: ['--api-key', 'right-secret'] }, secret: 'env:VALET_TEST_SECRET' }], env: { VALET_TEST_SECRET: 'wrong-secret-canary' },
    config: { webhook: { url: `http://127.0.0.1:${hook.address().port}/hook`, kind: 'json' }, models: [{ name: 'm', targets: ['locked'] }] },
  });
  const answer = await bad.post('/v1/chat/completions', { model: 'm', messages: user('x') });
  assert.equal(answer.status, 502);
  const { error } = await answer.json();
  assert.match(error.message, /does not accept the secret/);
  assert.ok(!/canary|right-secret/.test(JSON.stringify(error)));
  const again = await bad.post('/v1/chat/completions', { model: 'm', messages: user('x') });
  assert.equal(again.status, 503, 'it is not asked again');
  await until('it is told', () => told.length > 0);
  const shown = (await bad.json('target', 'show', 'locked')).target;
  assert.ok(shown.secret_refused && shown.breaker === 'open' && shown.asked_again_at > Date.now() / 1000 + 50, JSON.stringify(shown));
  assert.match((await bad.cli('target', 'list')).stdout, /secret refused/);
  for (let i = 0; i < 5; i++) await bad.post('/v1/chat/completions', { model: 'm', messages: user('x') });
  bad.write(bad.text({ log: { level: 'debug' } })); // forgives: then it is refused anew, and told anew
  await until('reloaded', () => /settings reloaded/.test(bad.log));
  assert.equal((await bad.post('/v1/chat/completions', { model: 'm', messages: user('x') })).status, 502);
  await until('it is told again', () => told.length > 1);
  assert.equal(told.length, 2);
  assert.deepEqual({ ...told[0], at: 0 }, { event: 'secret_refused', at: 0, target: 'locked', host: '127.0.0.1' });
  assert.equal((bad.log.match(/warn.*target locked refuses the secret/g) ?? []).length, 2);
  assert.ok(!/canary|right-secret/.test(bad.log + JSON.stringify(told)));
  hook.close();
});
