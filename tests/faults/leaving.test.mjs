// leaving.test.mjs - rows 23 and 28: clients that leave, at any point. Each request that reached an engine has exactly one record that holds at least what the
// engine produced; nothing stays held; and a budget that fits ten requests never lets in an eleventh, whoever leaves and whatever is reloaded.
//
// VALET_LEAVERS says how many clients leave (1000); `./dev soak` lets ten thousand.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { bearer, start } from '../e2e/harness.mjs';
import { call, CALL, fed, limitsOf, readyKey, records, slow, sum, until, user } from './aid.mjs';

const leavers = Number(process.env.VALET_LEAVERS ?? (slow > 1 ? 200 : 1000));
const valet = await start({
  targets: [{ sim: { slots: 1000 } }],
  config: { workers: 2, models: [{ name: 'm', price: { input: '0.5', output: '2' } }], log: { requests: 'off' }, discovery_interval: '1h' },
});
const idle = () => until('all is over', async () => {
  const live = (await valet.api('GET', '/api/live')).body.data, { active } = await valet.sim.stats(), open = await valet.metric('valet_requests_in_flight');
  if (live.length === 0 && active === 0 && open === 0) return true;
  throw new Error(`${live.length} in the live view, ${active} at the engine, ${open} counted; ${JSON.stringify(live.slice(0, 3))}`);
}, 30000 * slow);

// The same numbers each time, so that a failure comes again.
function randoms(seed) {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

// ---- row 28 ----------------------------------------------------------------------------------------------------------------

// When each kind of client leaves, told by what it has sent and seen.
const kinds = ['in the head', 'in the body', 'when all is sent', 'before the first token', 'in the stream', 'at the end of the stream', 'without a stream', 'never', 'never, without a stream'];
const streams = (kind) => !/without/.test(kinds[kind]);

function plan(i, random) {
  const kind = i % kinds.length, tokens = 1 + random(60);
  const body = JSON.stringify({ model: 'm', messages: user('x'.repeat(8 * (i + 1))), max_tokens: tokens + (i % 2 ? 0 : 30), ...(streams(kind) ? { stream: true, stream_options: { include_usage: i % 3 > 0 } } : {}) });
  return { i, kind, body, tokens, ttft: random(25), interval: random(4), reset: random(2) === 1, at: random(1000) };
}

// One client; resolves with the text it got when it is gone.
function visit(secret, { kind, body, tokens, ttft, interval, reset, at }) {
  const bytes = Buffer.from(call(secret, body, `connection: close\r\nx-sim-tokens: ${tokens}\r\nx-sim-ttft-ms: ${ttft}\r\nx-sim-interval-ms: ${interval}\r\n`));
  const inHead = 1 + at % (bytes.length - body.length - 2), inBody = bytes.length - 1 - at % (body.length - 1);
  return new Promise((resolve) => {
    let text = '';
    const socket = net.connect({ port: valet.port, host: '127.0.0.1', noDelay: true });
    const leave = () => (reset ? socket.resetAndDestroy() : socket.destroy());
    const soon = (ms) => setTimeout(leave, ms);
    socket.on('connect', () => {
      if (kind === 0) socket.write(bytes.subarray(0, inHead), leave);
      else if (kind === 1) socket.write(bytes.subarray(0, inBody), leave);
      else if (kind === 2) socket.write(bytes, leave);
      else socket.write(bytes);
      if (kind === 3) soon(at % (ttft + 1));
      if (kind === 6) soon(at % (ttft + tokens * interval + 5));
    });
    const seen = () => {
      if (kind === 3 && text.includes('"content"')) leave();
      if (kind === 4 && text.split('"content"').length > 1 + at % tokens) leave();
      if (kind === 5 && text.includes(at % 2 ? '"finish_reason":"' : '[DONE]')) leave();
    };
    socket.setEncoding('latin1').on('data', (data) => { text += data; seen(); }).on('error', () => {}).on('close', () => resolve(text));
  });
}

async function wave(number, count, totals) {
  const name = `wave-${number}`, secret = await readyKey(valet, name, '--budget', '$1000/month', '--budget', '100M/day');
  const { next: from } = await (await fetch(`${valet.sim.url}/sim/log?since=999999999`)).json();
  const random = randoms(number + 1), plans = Array.from({ length: count }, (_, i) => plan(i, random)), texts = [];
  let next = 0;
  await Promise.all(Array.from({ length: 64 }, async () => { for (let p; (p = plans[next++]);) texts[p.i] = await visit(secret, p); }));
  await idle();
  await fed(valet);
  const { entries } = await (await fetch(`${valet.sim.url}/sim/log?since=${from}`)).json();
  const serial = (await valet.api('GET', `/api/keys/${name}`)).body.key.serial;
  const rows = records(valet).filter((row) => Number(row.key) === serial), bySize = new Map(plans.map((p) => [Buffer.byteLength(p.body), p]));
  const of = plans.map(() => ({ rows: [], entries: [] }));
  assert.equal(bySize.size, count, 'each body has a length of its own');
  for (const row of rows) of[bySize.get(Number(row.bytes_in)).i].rows.push(row);
  for (const entry of entries) of[(entry.prompt_tokens - totals.base) / 2].entries.push(entry);
  const wrong = [];
  for (const p of plans) {
    const { rows: own, entries: made } = of[p.i], [row] = own, what = () => `${kinds[p.kind]}: ${JSON.stringify({ ...p, body: p.body.length, made, own })}`;
    if (own.length > 1 || (made.length > 0 && own.length !== 1)) wrong.push(`${own.length} records, ${what()}`);
    else if (p.kind < 2 && (own.length || made.length)) wrong.push(`reached somebody, ${what()}`);
    else if (p.kind > 6 && (made.length !== 1 || row.output !== p.tokens || row.input !== made[0].prompt_tokens || row.source !== 1)) wrong.push(`not what was used, ${what()}`);
    else if (row && row.output < sum(made, 'completion_tokens')) wrong.push(`output too small, ${what()}`);
    else if (row && row.input < sum(made, 'prompt_tokens')) wrong.push(`input too small, ${what()}`);
    const t = (totals[kinds[p.kind]] ??= { clients: 0, reached: 0, produced: 0, booked: 0 });
    t.clients++;
    t.reached += made.length;
    t.produced += sum(made, 'completion_tokens');
    t.booked += sum(own, 'output');
  }
  const [money, tokens] = ['money', 'tokens'].map((unit) => limitsOf(valet, name).then((l) => l.find((x) => x.unit === unit)));
  const checks = [[await money, sum(rows, 'cost')], [await tokens, sum(rows, 'input') + sum(rows, 'output')]];
  for (const [limit, booked] of checks) {
    if (limit.held !== 0 || limit.settled !== booked) wrong.push(`${limit.unit}: ${limit.held} held, ${limit.settled} settled, ${booked} in the records`);
  }
  assert.equal((await valet.api('GET', `/api/keys/${name}`)).body.key.in_flight, 0);
  return wrong;
}

test(`${leavers} clients leave at any point: one record for each, with at least what was produced`, async (t) => {
  const probe = await readyKey(valet, 'probe');
  const first = await (await valet.post(CALL, { model: 'm', messages: user('x'.repeat(8)), max_tokens: 1 }, bearer(probe))).json();
  const totals = { base: first.usage.prompt_tokens }, wrong = [];
  for (let done = 0; done < leavers; done += 500) wrong.push(...await wave(done / 500, Math.min(500, leavers - done), totals));
  delete totals.base;
  for (const [kind, n] of Object.entries(totals)) t.diagnostic(`${kind}: ${n.clients} clients, ${n.reached} reached the engine, ${n.produced} tokens produced, ${n.booked} booked`);
  assert.deepEqual(wrong.slice(0, 5), [], `${wrong.length} of ${leavers}`);
  assert.equal(await valet.metric('valet_records_lost_total'), 0);
  assert.equal((await valet.api('GET', '/api/ledger')).body.identity, 'holds');
  const all = Object.values(totals), { tokens } = await valet.sim.stats();
  assert.ok(sum(all, 'booked') >= sum(all, 'produced') && sum(all, 'produced') + 1 === tokens, `${tokens} tokens were produced`);
});

// ---- row 23 ----------------------------------------------------------------------------------------------------------------

test('a budget that fits ten: 200 at once, some leave, and the settings are loaded again: never more than ten hold', async (t) => {
  const shape = { model: 'm', messages: user('hi'), max_tokens: 200, stream: true };
  const probe = await readyKey(valet, 'prober', '--budget', '1M/total');
  const asked = valet.post(CALL, shape, { ...bearer(probe), 'x-sim-ttft-ms': String(400 * slow), 'x-sim-tokens': '1' });
  const row = await until('it holds', async () => (await valet.api('GET', '/api/live')).body.data.find((r) => r.hold_tokens > 0));
  await (await asked).text();
  const amount = row.hold_tokens * 10 + 5;
  const secret = await readyKey(valet, 'ten', '--budget', `${amount}/total`, '--max-wait', `${5 * slow}s`);
  const random = randoms(7);
  let left = 200, most = 0, looks = 0, reloaded = false;
  const holders = async () => (await valet.api('GET', '/api/live')).body.data.filter((r) => r.key === 'ten' && r.hold_tokens > 0).length;
  const statuses = {};
  const visitor = async (i) => {
    const control = new AbortController();
    if (i >= 10 && i % 3 === 0) setTimeout(() => control.abort(), random(2500));
    try {
      const answer = await fetch(valet.origin + CALL, { method: 'POST', signal: control.signal, body: JSON.stringify(shape),
        headers: { ...bearer(secret), 'content-type': 'application/json', 'x-sim-ttft-ms': String(i < 10 ? 1000 * slow : 150), 'x-sim-interval-ms': '10', 'x-sim-tokens': String(1 + random(30)) } });
      await answer.text();
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
    } catch {
      statuses.left = (statuses.left ?? 0) + 1;
    }
    left--;
  };
  const numbers = Array.from({ length: left }, (_, i) => i), first = numbers.slice(0, 10).map(visitor);
  await until('ten hold', async () => await holders() === 10);
  const clients = Promise.all([...first, ...numbers.slice(10).map(visitor)]);
  while (left > 0) {
    const holding = await holders();
    const [{ settled, held }] = await limitsOf(valet, 'ten');
    most = Math.max(most, holding);
    looks++;
    assert.ok(holding <= 10, `${holding} hold`);
    assert.ok(settled + held <= amount, `${settled} settled and ${held} held of ${amount}`);
    if (!reloaded && settled > amount / 4) {
      reloaded = true;
      valet.write(valet.text({ attempts: 2 }));
      await until('reloaded', () => /settings reloaded/.test(valet.log));
    }
  }
  await clients;
  assert.equal(most, 10, 'all ten places were taken');
  assert.ok(reloaded);
  await idle();
  await fed(valet);
  const serial = (await valet.api('GET', '/api/keys/ten')).body.key.serial, own = records(valet).filter((r) => Number(r.key) === serial);
  const [{ settled, held }] = await limitsOf(valet, 'ten');
  assert.equal(settled, sum(own, 'input') + sum(own, 'output'));
  assert.equal(held, 0);
  assert.ok(settled > amount / 4 && settled <= amount, `${settled} of ${amount}`);
  t.diagnostic(`${looks} looks, ${JSON.stringify(statuses)}, ${own.filter((r) => r.output > 0).length} answers, ${settled} of ${amount} used`);
});
