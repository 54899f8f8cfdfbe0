// storage.test.mjs - rows 39 to 42 and 48: a full disk, a database that another program keeps locked, damaged files, and the loss of power. What was answered
// stays in the books, what cannot be written down is refused where a budget counts, and no budget is ever more generous than before.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { start } from '../e2e/harness.mjs';
import { Client, call, crash, drive, fed, limitsOf, readyKey, records, recordsById, slow, smallDisk, sum, until, user } from './aid.mjs';
import { completion, Raw } from './raw.mjs';

const PRICE = { input: '0.5', output: '2' };
const COST = (usage) => usage.prompt_tokens * 500 + usage.completion_tokens * 2000;
const LONG = 'm'.repeat(190); // records that name it fill the journal sooner
const quiet = { log: { requests: 'off' }, discovery_interval: '1h' };
const idOf = (answer) => /\r\nx-request-id: (\S+)/i.exec(answer.head)[1];
const assertHolds = async (valet) => {
  const { body } = await valet.api('GET', '/api/ledger');
  assert.equal(body.identity, 'holds', JSON.stringify(body));
};

// ---- row 39 ----------------------------------------------------------------------------------------------------------------

test('39: the disk is full; then it has room again', async (t) => {
  const held = await Raw.start({ models: ['held'], behave: () => {} });
  after(() => held.stop());
  const valet = await start({
    targets: [{ name: 'n'.repeat(60), sim: { models: [LONG], slots: 100 } }, { name: 'held', url: held.url }],
    config: { ...quiet, workers: 1, journal_max: '16MiB', models: [{ name: LONG, price: PRICE }, { name: 'held', price: PRICE }] },
  });
  await valet.stop();
  const disk = smallDisk(valet.state, 24);
  if (!disk) return t.skip('no file system can be mounted here');
  try {
    await valet.launch();
    const paid = await readyKey(valet, 'paid', '--budget', '$1000/month'), free = await readyKey(valet, 'free');
    const calls = [paid, free].map((secret) => call(secret, { model: LONG, messages: user('hi'), max_tokens: 3 }, 'x-sim-tokens: 3\r\n'));
    const answered = [new Map(), new Map()]; // request id → cost
    const take = (which, answer) => answered[which].set(idOf(answer), COST(JSON.parse(answer.text).usage));
    await drive(valet.port, { make: (i) => calls[i % 2], more: (i) => i < 100, heard: (a) => { assert.equal(a.status, 200); take(a.i % 2, a); } });
    const waiting = await Client.connect(valet.port); // begins before, ends while nothing can be written
    waiting.send(call(paid, { model: 'held', messages: user('hi'), max_tokens: 3 }));
    await until('it is at the engine', () => held.calls.length === 1);
    await fed(valet);

    disk.fill();
    let refused; // the first who is
    await drive(valet.port, { connections: 16, make: (i) => calls[i % 2], more: () => !refused, heard: (a) => {
      if (a.status === 200) take(a.i % 2, a);
      else if (a.i % 2 === 0) refused ??= a;
      else assert.fail(`without a budget: ${a.status} ${a.text}`);
    } });
    assert.equal(refused.status, 503, refused.text);
    assert.equal(JSON.parse(refused.text).error.code, 'ledger_unavailable');
    assert.match(refused.head, /\r\nretry-after: \d+/i);
    assert.ok(await valet.metric('valet_ledger_feed_failures_total') > 0);
    assert.match(valet.log, /the database does not take what is used; the journal keeps it: .*no space left/);
    const before = answered[0].size;
    await drive(valet.port, { make: (i) => calls[i % 2], more: (i) => i < 200, heard: (a) => {
      assert.equal(a.status, a.i % 2 ? 200 : 503, a.text);
      if (a.i % 2) take(1, a);
    } });
    assert.ok(before > 500 && (await limitsOf(valet, 'paid'))[0].held > 0);
    await held.calls[0].connection.answer(completion('late'));
    const late = await waiting.answer();
    assert.equal(late.status, 200, 'what had begun ends');
    answered[0].set(late.headers['x-request-id'], COST(JSON.parse(late.text).usage));
    waiting.close();

    disk.free();
    await until('a key with a budget is served again', async () => {
      const [answer] = await new Promise((resolve) => { const all = []; drive(valet.port, { connections: 1, make: () => calls[0], more: (i) => i < 1, heard: (a) => all.push(a) }).then(() => resolve(all)); });
      if (answer.status === 200) take(0, answer);
      return answer.status === 200;
    });
    await fed(valet);
    assert.match(valet.log, /the database takes what is used again/);
    const rows = recordsById(valet), lost = await valet.metric('valet_records_lost_total');
    for (const [id, cost] of answered[0]) assert.equal(Number(rows.get(id)?.cost), cost, `${id} of ${answered[0].size} with a budget`);
    const gone = [...answered[1]].filter(([id]) => !rows.has(id)).length;
    assert.ok(gone <= lost, `${gone} records of a key without a budget are missing, ${lost} are said to be`);
    const [{ settled, held: left }] = await limitsOf(valet, 'paid');
    assert.equal(settled, [...answered[0].values()].reduce((all, cost) => all + cost, 0));
    assert.equal(left, 0);
    await assertHolds(valet);
    t.diagnostic(`${before} answers with a budget while the disk was full, ${gone} of ${answered[1].size} records without one lost`);
    await valet.stop();
    assert.equal((await valet.cli('recover', '--check')).code, 0);
  } finally {
    if (!valet.program.over) await valet.stop();
    disk.release();
  }
});

// ---- row 40 ----------------------------------------------------------------------------------------------------------------

test('40: another program keeps a database locked', async (t) => {
  const valet = await start({ config: { ...quiet, models: [{ name: 'm', price: PRICE }] } });
  const secret = await readyKey(valet, 'k', '--budget', '$1000/month');
  const bytes = call(secret, { model: 'm', messages: user('hi'), max_tokens: 3 }, 'x-sim-tokens: 3\r\n');
  const answered = new Map();
  const load = async (more) => {
    const times = [];
    await drive(valet.port, { connections: 4, make: () => bytes, more, heard: (a) => {
      assert.equal(a.status, 200, a.text);
      answered.set(idOf(a), COST(JSON.parse(a.text).usage));
      times.push(a.ms);
    } });
    return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)];
  };
  await load((i) => i < 200);
  const usual = await load((i) => i < 1000);
  const month = fs.readdirSync(valet.state).find((f) => /^requests-.*\.db$/.test(f));
  for (const name of ['valet.db', month]) {
    const failures = await valet.metric('valet_ledger_feed_failures_total');
    const other = new DatabaseSync(path.join(valet.state, name));
    other.exec('BEGIN EXCLUSIVE');
    let failed = false; // it waits two seconds for the lock before it says so
    const watch = until('the database was asked for in vain', async () => await valet.metric('valet_ledger_feed_failures_total') > failures).then(() => { failed = true; });
    const locked = await load((i) => i < 500 || !failed);
    await watch;
    assert.ok(locked < Math.max(usual * 3, 25 * slow), `${name}: p99 ${locked.toFixed(1)} ms while it is locked, ${usual.toFixed(1)} before`);
    assert.ok(await valet.metric('valet_ledger_unapplied') > 500);
    other.exec('ROLLBACK');
    other.close();
    await fed(valet);
    t.diagnostic(`${name}: p99 ${locked.toFixed(1)} ms locked, ${usual.toFixed(1)} ms before`);
  }
  assert.equal(await valet.metric('valet_records_lost_total'), 0);
  const rows = recordsById(valet);
  for (const [id, cost] of answered) assert.equal(Number(rows.get(id)?.cost), cost, id);
  assert.equal((await limitsOf(valet, 'k'))[0].settled, [...answered.values()].reduce((all, cost) => all + cost, 0));
});

// ---- row 41 ----------------------------------------------------------------------------------------------------------------

const HEAD = 4096, HEAD_AT = 128, SYNCED_AT = 192; // as src/store/journal_parts.h lays a segment out
const segments = (valet) => fs.readdirSync(path.join(valet.state, 'journal')).filter((f) => /^lane-/.test(f)).sort().map((f) => path.join(valet.state, 'journal', f));

// Valet does not start, and says why: exit status 1 and a sentence that matches.
async function assertRefused(valet, sentence) {
  valet.options.wait = false;
  await valet.launch();
  const { code } = await valet.program.ended;
  valet.program.expectedEnd = true;
  valet.options.wait = true;
  assert.equal(code, 1, valet.log);
  assert.match(valet.log, sentence);
}

test('41: damaged and missing files: no start, and a sentence that says which', async () => {
  const valet = await start({ config: { ...quiet, models: [{ name: 'm', price: PRICE }] } });
  const secret = await readyKey(valet, 'k', '--budget', '$1000/month');
  const bytes = call(secret, { model: 'm', messages: user('hi'), max_tokens: 3 }, 'x-sim-tokens: 3\r\n');
  await drive(valet.port, { make: () => bytes, more: (i) => i < 300, heard: (a) => assert.equal(a.status, 200) });
  await fed(valet);
  const [{ settled }] = await limitsOf(valet, 'k');
  await crash(valet);
  const kept = path.join(valet.dir, 'kept');
  fs.cpSync(valet.state, kept, { recursive: true });
  const restore = () => { fs.rmSync(valet.state, { recursive: true }); fs.cpSync(kept, valet.state, { recursive: true }); };

  const file = segments(valet).find((f) => /lane-0[1-9]/.test(f) && fs.readFileSync(f).readUInt32LE(HEAD_AT) > 1000);
  const at = HEAD + (fs.readFileSync(file).readUInt32LE(HEAD_AT) >> 1);
  for (const [where, length] of [[at, 1], [at, 64], [HEAD, 8], [40, 1]]) {
    const damaged = fs.readFileSync(file);
    for (let i = 0; i < length; i++) damaged[where + i] ^= 0x40;
    fs.writeFileSync(file, damaged);
    await assertRefused(valet, new RegExp(`${path.basename(file)}: .*damaged at byte \\d+`));
    const said = Number(/damaged at byte (\d+)/.exec(valet.log)[1]);
    assert.ok(said <= where && said >= where - 1400, `byte ${said}, and ${where} was changed`);
    const { code, stdout } = await valet.cli('recover', '--check');
    assert.equal(code, 1);
    assert.ok(stdout.includes(`${path.basename(file)}: `) && stdout.includes(`damaged at byte ${said}`), stdout);
    assert.equal((await valet.cli('recover')).code, 1, 'neither does a recovery go on with it');
    restore();
  }
  fs.rmSync(file);
  const whole = await valet.cli('recover', '--check');
  restore();
  assert.ok(whole.code === 0 || whole.code === 1);

  await valet.launch(); // nothing was wrong with what was kept
  assert.ok((await limitsOf(valet, 'k'))[0].settled >= settled);
  await valet.stop();
  const good = fs.readFileSync(path.join(valet.state, 'valet.db'));
  for (const length of [good.length >> 1, good.length - 4096, 100, 0]) {
    fs.writeFileSync(path.join(valet.state, 'valet.db'), good.subarray(0, length));
    await assertRefused(valet, /valet\.db: .*(damaged|malformed|cannot be read)/);
    assert.equal((await valet.cli('recover', '--check')).code, 1, `${length} bytes of it`);
  }
  fs.writeFileSync(path.join(valet.state, 'valet.db'), good);
  await valet.launch();
  assert.ok((await limitsOf(valet, 'k'))[0].settled >= settled);
});
