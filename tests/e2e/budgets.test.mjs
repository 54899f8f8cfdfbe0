// budgets.test.mjs - proves: a budget holds exactly, in parallel, with streams, with clients that leave, across a reload and a restart; what cannot be counted
// is counted on the safe side; a model without a price is loud.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { bearer, freePort, slow, start, until, user } from './harness.mjs';

const hook = [];
const hookPort = await freePort();
const hookServer = http.createServer((request, response) => {
  let text = '';
  request.on('data', (data) => { text += data; }).on('end', () => { hook.push(JSON.parse(text)); response.end(); });
}).listen(hookPort, '127.0.0.1');
hookServer.unref();

const valet = await start({
  targets: [{ name: 'priced', sim: { models: ['m', 'other', 'small=ctx4096'], slots: 500, dialect: 'vllm' } }, { name: 'bare', sim: { models: ['unpriced'] } }],
  config: {
    models: [{ name: 'm', price: { input: '1', output: '10' } }, { name: 'other', price: { input: '0', output: '0' } }],
    webhook: { url: `http://127.0.0.1:${hookPort}/hook`, kind: 'json' }, time_zone: 'Europe/Berlin',
  },
});
const body = (more = {}) => ({ model: 'm', messages: user('hi'), max_tokens: 100, ...more });
const ask = (secret, more = {}, headers = {}) => valet.post('/v1/chat/completions', body(more), { ...bearer(secret), ...headers });
const key = async (name, ...args) => {
  const secret = await valet.key(name, ...args);
  await until('the key is known', async () => (await valet.fetch('/v1/models', { headers: bearer(secret) })).status === 200);
  return secret;
};
const show = async (name) => { const shown = await valet.json('key', 'show', name); return shown.key ?? shown; };
const line = async (name, budget) => (await show(name)).limits.find((l) => !budget || l.budget === budget);
const total = async (name) => (await valet.json('usage', '--key', name)).total;

// What a request of this shape holds: seen in the live view while it runs.
async function holdOf(secret, more) {
  const asking = ask(secret, more, { 'x-sim-ttft-ms': '500' });
  const row = await until('it is in the live view', async () => (await valet.json('live')).data.find((r) => r.hold_tokens > 0));
  const answer = await asking;
  assert.equal(answer.status, 200);
  await answer.text();
  await until('it is over', async () => (await valet.json('live')).data.length === 0);
  return row;
}

test('a budget worth 10, 200 requests at once: exactly 10 are admitted', async () => {
  const probe = await key('probe', '--budget', '1M/day');
  for (const stream of [false, true]) {
    const { hold_tokens: hold } = await holdOf(probe, { stream });
    assert.ok(hold > 100 && hold < 400, `${hold}`);
    const name = stream ? 'ten-streams' : 'ten';
    const secret = await key(name, '--budget', `${hold * 10 + 5}/day`, '--max-wait', 'off');
    await ask(secret, { max_tokens: 1 }, { 'x-sim-tokens': '1', 'x-sim-fault': 'status=500' }); // the lease is there
    const answers = await Promise.all(Array.from({ length: 200 }, () => ask(secret, { stream }, { 'x-sim-ttft-ms': String(1500 * slow), 'x-sim-tokens': '100' })));
    const statuses = answers.map((a) => a.status);
    assert.equal(statuses.filter((s) => s === 200).length, 10, `${name}: ${statuses.filter((s) => s === 200).length} admitted`);
    assert.ok(statuses.every((s) => s === 200 || s === 429));
    await Promise.all(answers.map((a) => a.text()));
    const { settled, held, amount } = await line(name);
    assert.equal(held, 0);
    assert.ok(settled <= amount && settled > 10 * 100, `${settled} of ${amount}`);
  }
});

test('used up: insufficient_quota, and SDKs are told not to try again', async () => {
  const secret = await key('small', '--budget', '300/day', '--max-wait', 'off');
  assert.equal((await ask(secret, { max_tokens: 120 }, { 'x-sim-tokens': '120' })).status, 200);
  const refused = await until('it is used up', async () => { const a = await ask(secret, { max_tokens: 120 }, { 'x-sim-tokens': '120' }); return a.status === 429 && a; });
  assert.equal(refused.headers.get('x-should-retry'), 'false');
  const { error } = await refused.json();
  assert.equal(error.code, 'insufficient_quota');
  assert.equal(error.type, 'insufficient_quota');
  assert.match(error.message, /300\/day of the key 'small'.*left.*begins anew at \d{4}-\d\d-\d\d 00:00/);
  let calls = 0;
  await assert.rejects(valet.client({ apiKey: secret, maxRetries: 3, fetch: (...a) => { calls++; return fetch(...a); } }).chat.completions.create(body({ max_tokens: 250 })));
  assert.equal(calls, 1);
});

test('who does not say how long the answer may be gets what the budget still buys, and the engine is told', async () => {
  const secret = await key('open-ended', '--budget', '2000/day');
  const echoed = async (...how) => JSON.parse((await (await ask(...how, { 'x-sim-echo': 'body' })).json()).choices[0].message.content);
  const sent = await echoed(secret, { max_tokens: undefined });
  assert.ok(sent.max_tokens > 1500 && sent.max_tokens < 2000, `${sent.max_tokens}`);
  const free = await key('no-budget');
  assert.equal((await echoed(free, { max_tokens: undefined })).max_tokens, undefined, 'without a budget nothing is added');
  const capped = await key('capped', '--max-output', 50);
  assert.equal((await echoed(capped, { max_tokens: 1000 })).max_tokens, 50);
  assert.equal((await echoed(capped, { max_tokens: undefined, max_completion_tokens: 700 })).max_completion_tokens, 50);
});

test('money: nano-dollars, exactly as the prices say', async () => {
  const secret = await key('rich', '--budget', '$1/month');
  const answer = await ask(secret, {}, { 'x-sim-tokens': '100' });
  const { usage } = await answer.json();
  const cost = usage.prompt_tokens * 1000 + usage.completion_tokens * 10000;
  assert.equal((await until('it is settled', async () => { const l = await line('rich'); return l.settled > 0 && l; })).settled, cost);
  assert.equal((await total('rich')).cost_nanos, cost);
});

test('a model without a price is refused where money counts, and free to use elsewhere', async () => {
  const secret = await key('careful', '--budget', '$1/month');
  const refused = await ask(secret, { model: 'unpriced' });
  assert.equal(refused.status, 403);
  assert.equal((await refused.json()).error.code, 'model_without_price');
  const tokens = await key('by-tokens', '--budget', '1M/day');
  assert.equal((await ask(tokens, { model: 'unpriced' })).status, 200);
  assert.equal((await total('by-tokens')).unpriced, 1);
});

test('strict and soft: the last request', async () => {
  const strict = await key('strict', '--budget', '1000/day', '--max-wait', 'off'), soft = await key('soft', '--budget', '1000/day', '--soft', '--max-wait', 'off');
  assert.equal((await ask(strict, { max_tokens: 5000 })).status, 429);
  assert.equal((await ask(soft, { max_tokens: 5000 }, { 'x-sim-tokens': '1500' })).status, 200);
  await until('spent', async () => (await ask(soft, { max_tokens: 10 })).status === 429);
});

test('usage that cannot be true, or is missing: never free, never beyond the hold', async () => {
  for (const fault of ['usage-negative', 'usage-huge', 'usage-string', 'no-usage']) {
    for (const stream of [false, true]) {
      const name = `${fault}-${stream ? 'stream' : 'whole'}`;
      const secret = await key(name, '--budget', '100k/day', '--budget', '$5/month');
      const answer = await ask(secret, { stream, max_tokens: 60 }, { 'x-sim-fault': fault, 'x-sim-tokens': '60' });
      assert.equal(answer.status, 200, name);
      await answer.text();
      const sum = await until(`${name} is in the books`, async () => { const t = await total(name); return t.requests === 1 && t; });
      assert.ok(sum.output_tokens >= (stream ? 60 : 1) && sum.output_tokens <= 60, `${name}: ${sum.output_tokens} tokens`);
      assert.ok(sum.input_tokens > 0 && sum.cost_nanos > 0, name);
      assert.equal(sum.counted + sum.estimated, 1, `${name}: ${JSON.stringify(sum)}`);
      const [tokens, money] = [await line(name, '100k/day'), await line(name, '$5/month')];
      assert.equal(tokens.settled, sum.input_tokens + sum.output_tokens, name);
      assert.equal(money.settled, sum.cost_nanos, name);
    }
  }
});

test('an engine that gives more than it was told to: the budget holds, the record says so', async () => {
  const secret = await key('cheated', '--budget', '1000/day');
  await (await ask(secret, { max_tokens: 50, stream: true }, { 'x-sim-fault': 'endless' })).body.cancel();
  await until('settled', async () => (await total('cheated')).requests === 1);
  const { settled, amount } = await line('cheated');
  assert.ok(settled > 0 && settled <= amount);
});

test('a failed request costs nothing; a budget for some models; tokens and money together', async () => {
  const secret = await key('several', '--budget', '100k/day', '--budget', '$2/month', '--model-budget', 'oth*=1k/day', '--max-wait', 'off');
  assert.equal((await ask(secret, {}, { 'x-sim-fault': 'status=500' })).status, 500);
  await until('settled', async () => (await line('several', '100k/day')).held === 0);
  assert.equal((await line('several', '100k/day')).settled, 0);
  assert.equal((await ask(secret, { model: 'other', max_tokens: 5000 })).status, 429);
  assert.equal((await ask(secret, { model: 'other' })).status, 200);
  assert.equal((await ask(secret, { max_tokens: 5000 })).status, 200);
});

test('clients that leave at random: each pays at least for what was produced, nothing stays held', async () => {
  const secret = await key('leaving', '--budget', '10M/day');
  const before = await valet.sims[0].stats();
  const count = 100;
  await Promise.allSettled(Array.from({ length: count }, async (_, i) => {
    const control = new AbortController();
    setTimeout(() => control.abort(), 5 + (i * 37) % 400);
    const answer = await fetch(valet.base + '/chat/completions', { method: 'POST', signal: control.signal, body: JSON.stringify(body({ stream: true, max_tokens: 400 })),
      headers: { ...bearer(secret), 'content-type': 'application/json', 'x-sim-tokens': '400', 'x-sim-interval-ms': '2' } });
    await answer.text();
  }));
  const after = await until('the engine is idle', async () => { const s = await valet.sims[0].stats(); return s.active === 0 && s; });
  const produced = after.tokens - before.tokens;
  const sum = await until('all are in the books', async () => { const t = await total('leaving'); return (await line('leaving')).held === 0 && t.requests > 0 && t; });
  assert.ok(Number.isInteger(produced), JSON.stringify(after));
  assert.ok(sum.requests <= count && sum.requests > count / 2);
  assert.ok(sum.output_tokens >= produced, `${sum.output_tokens} booked, ${produced} produced`);
  assert.deepEqual((await valet.json('live')).data, []);
});

test('warnings at 50, 80 and 100 %: in the log, in the metrics, at the webhook', async () => {
  const secret = await key('watched', '--budget', '1000/day', '--max-wait', 'off');
  await until('it is used up', async () => (await ask(secret, { max_tokens: 90 }, { 'x-sim-tokens': '90' })).status === 429);
  for (let left = 300; left > 0; left = Math.floor(left / 2)) await ask(secret, { max_tokens: left }, { 'x-sim-tokens': String(left) });
  await until('two warnings', () => hook.filter((h) => h.key === 'watched').length >= 2);
  const seen = hook.filter((h) => h.key === 'watched');
  assert.deepEqual(seen.slice(0, 2).map((h) => h.percent), [50, 80]);
  assert.equal(seen[0].amount, 1000);
  assert.match(valet.log, /budget 1k\/day of the key 'watched': 50 % used/);
  assert.ok(await valet.metric('valet_budget_warnings_total') >= 2);
  assert.ok(await valet.metric('valet_budget_settled', 'key="watched"') > 800);
});

test('a reload and a restart change nothing of what was used', async () => {
  const secret = await key('lasting', '--budget', '100k/day', '--budget', '$5/total', '--model-budget', 'm=50k/week');
  for (let i = 0; i < 5; i++) assert.equal((await ask(secret, {}, { 'x-sim-tokens': '100' })).status, 200);
  const before = (await show('lasting')).limits;
  assert.ok(before.every((l) => l.settled > 0), JSON.stringify(before));
  valet.write(valet.text({ attempts: 2 }));
  await until('reloaded', () => /settings reloaded/.test(valet.log));
  assert.deepEqual((await show('lasting')).limits, before);
  await valet.stop();
  await valet.launch();
  assert.deepEqual((await show('lasting')).limits, before);
  const ledger = await valet.api('GET', '/api/ledger');
  assert.equal(ledger.body.identity, 'holds', JSON.stringify(ledger.body));
});

test('the live view shows who holds what, and an operator can stop a request', async () => {
  const secret = await key('endless', '--budget', '1M/day');
  const asking = ask(secret, { stream: true, max_tokens: 5000 }, { 'x-sim-tokens': '5000', 'x-sim-interval-ms': '20' });
  const row = await until('it is there', async () => (await valet.json('live')).data.find((r) => r.key === 'endless' && r.tokens_out > 2));
  assert.equal(row.model, 'm');
  assert.equal(row.step, 'RELAY');
  assert.equal((await valet.cli('live', 'stop', row.id)).code, 0);
  const text = await (await asking).text().catch((error) => String(error));
  assert.match(text, /request_stopped|terminated/);
  const sum = await until('booked', async () => { const t = await total('endless'); return t.requests === 1 && t; });
  assert.equal(sum.aborted, 1);
  assert.equal((await line('endless')).held, 0);
  assert.equal((await valet.cli('live', 'stop', 'req_nothing')).code, 1);
});

test('the cap that an engine is told leaves room for the prompt in its window', async () => {
  const secret = await key('windowed', '--budget', '1M/day');
  const sent = async (content) => JSON.parse((await (await ask(secret, { model: 'small', messages: user(content), max_tokens: undefined }, { 'x-sim-echo': 'body' })).json())
    .choices[0].message.content).max_tokens;
  const short = await sent('hi');
  assert.ok(short > 3500 && short < 4096, `${short}`);
  const long = await sent('word '.repeat(2000)); // 10,000 bytes, some 2,500 tokens
  assert.ok(long >= 1 && long < 4096 - 2500, `${long}`);
});

test('an engine that does not keep to the cap that it was told is stopped, and the budget is not passed', async () => {
  const secret = await key('stubborn', '--budget', '5k/day');
  const answer = await ask(secret, { stream: true }, { 'x-sim-fault': 'endless' });
  let text = '', cut = false;
  try { for await (const part of answer.body) text += Buffer.from(part); } catch { cut = true; }
  assert.ok(cut && !text.includes('[DONE]'), text.slice(-300));
  assert.match(text, /more than the budget lets this answer have/);
  const { settled, held } = await until('it is settled', async () => { const l = await line('stubborn'); return l.held === 0 && l.settled > 0 && l; });
  assert.ok(settled <= 5000 && held === 0, `${settled}`);
  await until('the engine was let go', async () => (await valet.sims[0].stats()).active === 0);
});
