// targets.test.mjs - proves: all engines of a model are used; one that dies costs no client an error and is used again soon after it is back; what shares a long
// beginning goes where that is cached.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slow, start, until, user } from './harness.mjs';

const sim = { slots: 4, dialect: 'llamacpp', rate: 400, args: ['--cache-blocks', '4096', '--prefill-tps', '4000'] };
const valet = await start({ targets: [{ sim }, { sim }], config: { discovery_interval: '500ms' } });
const ask = (more = {}, headers = {}) => valet.post('/v1/chat/completions', { model: 'm', messages: user('hi'), max_tokens: 10, ...more }, { 'x-sim-tokens': '10', ...headers });
const sleepy = await start({ targets: [{ sim: { dialect: 'vllm' } }, { sim: { dialect: 'vllm' } }], config: { discovery_interval: '300ms', routing: { strategy: 'round_robin' } } });

test('two engines share the work', async () => {
  await until('eight places', async () => await valet.metric('valet_target_places') === 8);
  const answers = await Promise.all(Array.from({ length: 80 }, () => ask()));
  const by = { t0: 0, t1: 0 };
  for (const x of answers) { assert.equal(x.status, 200); by[x.headers.get('x-valet-target')]++; }
  assert.ok(Math.min(by.t0, by.t1) >= 28, JSON.stringify(by));
});

test('an engine killed under load: no request without a first byte fails; it is used again within five seconds', async () => {
  let running = true, failed = 0, done = 0, broken = 0;
  const clients = Array.from({ length: 20 }, async (_, i) => { // eight have places, the others wait; every second one streams
    while (running) {
      const answer = await ask({ stream: i % 2 === 1 }, { 'x-sim-ttft-ms': '40' });
      let text = '';
      try { for await (const piece of answer.body) text += Buffer.from(piece); } catch { /* broken off: what came is what counts */ }
      const begun = i % 2 === 1 && /data: {"(?!error)/.test(text), whole = i % 2 === 1 ? /data: \[DONE\]/.test(text) : /"finish_reason"/.test(text);
      if (answer.status === 200 && whole) done++;
      else if (answer.status === 200 && begun) broken++; // its first byte was out
      else { failed++; console.log(answer.status, text); }
    }
  });
  await until('some are done', () => done > 40);
  await until('it is full', async () => (await valet.sims[1].stats()).running === 4);
  valet.sims[1].program.expectedEnd = true;
  await valet.sims[1].stop('SIGKILL');
  const after = done;
  await until('the other serves on', () => done > after + 60);
  await valet.sims[1].restart();
  const began = performance.now();
  await until('it is used again', async () => (await valet.sims[1].stats()).finished > 0);
  assert.ok(performance.now() - began < 5000 * slow, `${performance.now() - began} ms`);
  running = false;
  await Promise.all(clients);
  assert.equal(failed, 0, `${failed} of ${done + failed} failed without a first byte`);
  assert.ok(broken <= 4, `${broken} streams broke off; it had four places`);
});

test('a conversation stays where its beginning is cached', async () => {
  const before = await Promise.all(valet.sims.map((s) => s.stats()));
  const talks = Array.from({ length: 6 }, (_, i) => [{ role: 'system', content: `conversation ${i}: ` + 'long instructions. '.repeat(300) }]);
  for (let turn = 0; turn < 5; turn++) {
    await Promise.all(talks.map(async (messages, i) => {
      messages.push({ role: 'user', content: `question ${turn} of ${i}` });
      const answer = await ask({ messages });
      assert.equal(answer.status, 200);
      messages.push((await answer.json()).choices[0].message);
    }));
  }
  const after = await Promise.all(valet.sims.map((s) => s.stats()));
  const sum = (list, member) => list.reduce((total, s) => total + s[member], 0);
  const prompts = sum(after, 'prompt_tokens') - sum(before, 'prompt_tokens'), cached = sum(after, 'cached_tokens') - sum(before, 'cached_tokens');
  assert.ok(cached / prompts > 0.7, `${cached} of ${prompts} tokens were cached; 0.8 is the best possible`);
});

test('maintenance: a target with drain gets no new requests', async () => {
  valet.targets[1].drain = 'on';
  valet.write();
  await until('reloaded', () => /settings reloaded/.test(valet.log));
  const answers = await Promise.all(Array.from({ length: 12 }, () => ask()));
  assert.ok(answers.every((x) => x.status === 200 && x.headers.get('x-valet-target') === 't0'));
});

test('an engine that fails again and again is left alone, and asked by one request at a time', async () => {
  const bad = await start({ targets: [{ sim: { args: ['--fault', 'status=500'] } }, { sim: {} }] });
  const again = (n) => Promise.all(Array.from({ length: n }, () => bad.post('/v1/chat/completions', { model: 'm', messages: user('x'), max_tokens: 2 })));
  for (let i = 0; i < 20; i++) assert.ok((await again(4)).every((x) => x.status === 200));
  const { requests } = { requests: (await bad.sims[0].stats()).faults };
  assert.ok(requests <= 12, `the bad one got ${requests} of 80`);
  assert.ok(await bad.metric('valet_target_breaker', 'target="t0"') > 0);
  await bad.sims[0].faults([]);
});

test('a vLLM that sleeps gets no requests while another is awake, and is used again once it wakes', async () => {
  const { sims: [first] } = sleepy, wake = (path) => fetch(first.url + path, { method: 'POST' });
  const shares = async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => sleepy.post('/v1/chat/completions', { model: 'm', messages: user('x'), max_tokens: 2 })));
    return answers.map((answer) => answer.headers.get('x-valet-target'));
  };
  const warm = async () => (await sleepy.json('target', 'show', 't0')).target.models[0].warm;
  await until('it is awake', async () => await warm() && (await shares()).includes('t0'));
  await wake('/sleep?level=1');
  await until('its sleep is seen', async () => !await warm());
  assert.deepEqual(new Set(await shares()), new Set(['t1']));
  await wake('/wake_up');
  await until('it is used again', async () => (await shares()).includes('t0'));
});
