// ledger.test.mjs - row 47 and its neighbours: Valet is killed again and again under load. Every answered request has its record, with the numbers of its answer; no
// budget is ever passed; the books hold at least what the engine says it produced; the next start is ready within a second.
//
// VALET_KILLS says how often (50); `./dev soak` does it a thousand times.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { bearer, slow, start, until, user } from '../e2e/harness.mjs';

const kills = Number(process.env.VALET_KILLS ?? (slow > 1 ? 10 : 50));
const valet = await start({
  targets: [{ sim: { slots: 1000 } }],
  config: { models: [{ name: 'm', price: { input: '0.5', output: '2' } }], log: { requests: 'off' } },
});
const budgets = { plenty: '$1000/month', tight: '60k/total', free: undefined };
const secrets = {};
const answered = new Map(); // request id → { key, tokens } of answers that came whole
let sent = 0;

// One client after the other on a connection of its own, until the server dies.
async function drive(key, number, alive) {
  for (let i = number; alive(); i++) {
    const stream = i % 3 === 0;
    sent++;
    try {
      const answer = await valet.post('/v1/chat/completions', { model: 'm', messages: user('x'.repeat(20 + (i % 50))), max_tokens: 20 + (i % 30), stream,
        ...(stream ? { stream_options: { include_usage: true } } : {}) }, { ...bearer(secrets[key]), 'x-sim-tokens': String(20 + (i % 30)), 'x-sim-ttft-ms': String(i % 7) });
      const text = await answer.text();
      if (answer.status !== 200) { if (answer.status === 429 && key === 'tight') return; continue; }
      const usage = stream ? JSON.parse(text.split('\n').filter((l) => l.includes('"usage":{')).at(-1).slice(6)).usage : JSON.parse(text).usage;
      if (!stream || text.includes('[DONE]')) answered.set(answer.headers.get('x-request-id'), { key, input: usage.prompt_tokens, output: usage.completion_tokens });
    } catch { /* killed */ }
  }
}

function rows() {
  const all = [];
  for (const name of fs.readdirSync(valet.state).filter((f) => /^requests-.*\.db$/.test(f))) {
    const db = new DatabaseSync(path.join(valet.state, name), { readOnly: true });
    for (const row of db.prepare('SELECT * FROM requests').iterate()) all.push(row);
    db.close();
  }
  return all;
}

test(`${kills} times kill -9 under load`, async () => {
  for (const [name, budget] of Object.entries(budgets)) secrets[name] = await valet.key(name, ...(budget ? ['--budget', budget, '--max-wait', 'off'] : []));
  await until('keys hold', async () => (await valet.fetch('/v1/models', { headers: bearer(secrets.free) })).status === 200);
  let slowest = 0;
  for (let round = 0; round < kills; round++) {
    let alive = true;
    const clients = Object.keys(secrets).flatMap((key) => Array.from({ length: 4 }, (_, i) => drive(key, round * 31 + i * 7, () => alive)));
    await new Promise((resolve) => setTimeout(resolve, 40 + ((round * 73) % 160)));
    valet.program.expectedEnd = true;
    valet.signal('SIGKILL');
    await valet.program.ended;
    alive = false;
    await Promise.all(clients);
    const began = performance.now();
    await valet.launch();
    slowest = Math.max(slowest, performance.now() - began);
  }
  assert.ok(slowest < 1000 * slow, `ready again after ${slowest.toFixed(0)} ms at worst`);
  assert.ok(answered.size > kills * 5, `${answered.size} answers`);
});

test('every answered request has exactly one record, with the numbers of its answer', async () => {
  await valet.stop(); // what is left goes into the database
  const seen = new Map();
  for (const row of rows()) {
    const id = String(row.request ?? row.request_id ?? row.id);
    assert.ok(!seen.has(id), `two records of ${id}`);
    seen.set(id, row);
  }
  let missing = 0, wrong = 0;
  for (const [id, { input, output }] of answered) {
    const row = seen.get(id);
    if (!row) missing++;
    else if (Number(row.input) !== input || Number(row.output) !== output || Number(row.cost) !== input * 500 + output * 2000) wrong++;
  }
  assert.equal(missing, 0, `${missing} of ${answered.size} answered requests have no record`);
  assert.equal(wrong, 0, `${wrong} of ${answered.size} records differ from the answer`);
});

test('the books hold at least what the engine produced, and no budget was passed', async () => {
  const { tokens, prompt_tokens: prompts } = await valet.sim.stats();
  const all = rows();
  const sum = (list, member) => list.reduce((total, row) => total + Number(row[member]), 0);
  assert.ok(sum(all, 'output') >= tokens, `${sum(all, 'output')} booked, ${tokens} produced`);
  assert.ok(sum(all, 'input') >= prompts, `${sum(all, 'input')} booked, ${prompts} read`);
  const keys = (await valet.json('key', 'list')).data;
  const serial = Object.fromEntries(keys.map((k) => [k.name, k.serial]));
  const tight = all.filter((row) => Number(row.key) === serial.tight);
  const used = sum(tight, 'input') + sum(tight, 'output');
  assert.ok(used <= 60000, `${used} of 60000 tokens`);
  assert.ok(used > 20000, `the budget was used (${used})`);
  for (const { name, limits } of keys) {
    for (const l of limits ?? []) {
      assert.ok(l.settled <= l.amount && l.held === 0, `${name}: ${JSON.stringify(l)}`);
      const own = all.filter((row) => Number(row.key) === serial[name]);
      assert.equal(l.settled, l.unit === 'money' ? sum(own, 'cost') : sum(own, 'input') + sum(own, 'output'), `${name}: the books equal the records`);
    }
  }
});

test('`valet recover --check` finds everything in order', async () => {
  const { code, stdout, stderr } = await valet.cli('recover', '--check');
  assert.equal(code, 0, stdout + stderr);
});

test('rows 39, 41: damage is found and said, and nothing is served with empty books', async () => {
  const journal = path.join(valet.state, 'journal');
  const file = path.join(valet.state, 'valet.db');
  const good = fs.readFileSync(file);
  const bad = Buffer.from(good);
  for (let at = 4096; at < bad.length; at += 512) bad[at + 100] ^= 0x55;
  fs.writeFileSync(file, bad);
  valet.options.wait = false;
  await valet.launch();
  const ended = await valet.program.ended;
  valet.program.expectedEnd = true;
  assert.equal(ended.code, 1, valet.log);
  assert.match(valet.log, /valet\.db.*(damage|malformed|checksum|corrupt)/i);
  assert.equal((await valet.cli('recover', '--check')).code, 1);
  fs.rmSync(file);
  assert.equal((await valet.cli('recover', '--check')).code, 1, 'one that is missing is no empty one');
  fs.writeFileSync(file, good);
  assert.ok(fs.readdirSync(journal).length > 0);
  assert.equal((await valet.cli('recover', '--check')).code, 0);
  valet.options.wait = true;
  await valet.launch();
  assert.equal((await valet.post('/v1/chat/completions', { model: 'm', messages: user('x'), max_tokens: 3 }, bearer(secrets.free))).status, 200);
});

test('47: a request that was still waiting for a place when Valet was killed costs nothing; the one at the engine costs all that it held', async () => {
  const small = await start({ targets: [{ sim: { slots: 1, dialect: 'llamacpp' } }], config: { models: [{ name: 'm', price: { input: '0.5', output: '2' } }] } });
  const keys = {};
  for (const name of ['served', 'waits']) keys[name] = await small.key(name, '--budget', '100k/total');
  await until('keys hold', async () => (await small.fetch('/v1/models', { headers: bearer(keys.waits) })).status === 200);
  await until('one place', async () => await small.metric('valet_target_places') === 1);
  const ask = (name) => small.post('/v1/chat/completions', { model: 'm', messages: user('x'), max_tokens: 500 }, { ...bearer(keys[name]), 'x-sim-ttft-ms': '20000' }).catch(() => {});
  const lost = [ask('served')];
  await until('one is at the engine', async () => (await small.sim.stats()).active === 1);
  lost.push(ask('waits'));
  await until('the other waits', async () => await small.metric('valet_queue_waiting') === 1);
  small.program.expectedEnd = true;
  small.signal('SIGKILL');
  await small.program.ended;
  await Promise.all(lost);
  await small.launch();
  const total = async (name) => (await small.json('usage', '--key', name)).total;
  const served = await until('the orphan is in the books', async () => { const t = await total('served'); return t?.orphans === 1 && t; });
  assert.ok(served.output_tokens >= 500, JSON.stringify(served));
  const waits = await total('waits');
  assert.deepEqual([waits.orphans, waits.input_tokens, waits.output_tokens, waits.cost_nanos], [1, 0, 0, 0]);
});
