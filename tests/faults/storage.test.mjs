// storage.test.mjs - rows 39 to 42 and 48: a full disk, a database that another program keeps locked, damaged files, and the loss of power. What was answered
// stays in the books, what cannot be written down is refused where a budget counts, and no budget is ever more generous than before.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
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

const plain = await start({ config: { ...quiet, models: [{ name: 'm', price: PRICE }] } }); // of rows 40 and 41

// ---- row 39 ----------------------------------------------------------------------------------------------------------------

test('39: the disk is full; then it has room again', async (t) => {
  const held = await Raw.start({ models: ['held'], behave: () => {} });
  const valet = await start({
    targets: [{ name: 'n'.repeat(60), sim: { models: [LONG], slots: 100 } }, { name: 'held', url: held.url }],
    config: { ...quiet, workers: 1, journal_max: '16MiB', models: [{ name: LONG, price: PRICE }, { name: 'held', price: PRICE }] },
  });
  await valet.stop();
  const disk = smallDisk(valet.state, 24);
  if (!disk) {
    await held.stop();
    return t.skip('no file system can be mounted here');
  }
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
    let closed = 0; // a piece of the journal may still become free once, so not each must be
    await drive(valet.port, { make: (i) => calls[i % 2], more: (i) => i < 200, heard: (a) => {
      if (a.status === 200) take(a.i % 2, a);
      else if (a.i % 2 === 0 && a.status === 503) closed++;
      else assert.fail(`${a.i % 2 ? 'without' : 'with'} a budget: ${a.status} ${a.text}`);
    } });
    assert.ok(closed >= 50, `${closed} of 100 with a budget were refused`);
    assert.ok(before > 500 && (await limitsOf(valet, 'paid'))[0].held > 0);
    await held.calls[0].connection.answer(completion('late'));
    const late = await waiting.answer();
    assert.equal(late.status, 200, 'what had begun ends');
    answered[0].set(late.headers['x-request-id'], COST(JSON.parse(late.text).usage));
    waiting.close();

    disk.free();
    let served = false;
    await until('a key with a budget is served again', async () => {
      await drive(valet.port, { connections: 1, make: () => calls[0], more: (i) => i < 1, heard: (a) => { served = a.status === 200; if (served) take(0, a); } });
      return served;
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
    await held.stop();
  }
});

// ---- row 40 ----------------------------------------------------------------------------------------------------------------

test('40: another program keeps a database locked', async (t) => {
  const valet = plain;
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
  await fed(valet);
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
  const valet = plain;
  const secret = await readyKey(valet, 'k41', '--budget', '$1000/month');
  const bytes = call(secret, { model: 'm', messages: user('hi'), max_tokens: 3 }, 'x-sim-tokens: 3\r\n');
  await drive(valet.port, { make: () => bytes, more: (i) => i < 300, heard: (a) => assert.equal(a.status, 200) });
  await fed(valet);
  const [{ settled }] = await limitsOf(valet, 'k41');
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
  for (const name of databases(valet.state)) if (name.startsWith('valet.db')) fs.rmSync(path.join(valet.state, name));
  await assertRefused(valet, /valet\.db/);
  restore();

  await valet.launch(); // nothing was wrong with what was kept
  assert.ok((await limitsOf(valet, 'k41'))[0].settled >= settled);
  await valet.stop();
  const good = fs.readFileSync(path.join(valet.state, 'valet.db'));
  for (const length of [good.length >> 1, good.length - 4096, 100, 0]) {
    fs.writeFileSync(path.join(valet.state, 'valet.db'), good.subarray(0, length));
    await assertRefused(valet, /valet\.db: .*(damaged|malformed|cannot be read)/);
    assert.equal((await valet.cli('recover', '--check')).code, 1, `${length} bytes of it`);
  }
  fs.writeFileSync(path.join(valet.state, 'valet.db'), good);
  await valet.launch();
  assert.ok((await limitsOf(valet, 'k41'))[0].settled >= settled);
});

// ---- rows 42 and 48 --------------------------------------------------------------------------------------------------------

const TABLE = Array.from({ length: 256 }, (_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1; return n >>> 0; });
const crc32c = (bytes) => ~bytes.reduce((crc, byte) => TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8), 0xffffffff) >>> 0;

// What a power loss leaves of the journal: segments of another boot, and of each what a sync has covered. `share`: of that, so much in lanes of workers,
// as if the last syncs had taken longer. Returns how many bytes of records went.
function losePower(valet, share = 1) {
  let lost = 0;
  for (const file of segments(valet)) {
    const bytes = fs.readFileSync(file), number = (at) => bytes.readUInt32LE(at);
    const mark = (n) => { const b = Buffer.alloc(8); b.writeUInt32LE(n); b.writeUInt32LE(~n >>> 0, 4); return b; };
    assert.equal(number(92), crc32c(bytes.subarray(0, 92)), 'the header is laid out as this test takes it');
    bytes.write('00000000-1111-4222-8333-444444444444', 52, 'latin1');
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, 92)), 92);
    const head = number(HEAD_AT), synced = number(SYNCED_AT), worker = number(12) > 0;
    let keep = 0;
    for (let size; worker && share < 1 && (size = (number(HEAD + keep) + 17 + 7) & ~7) && keep + size <= synced * share;) keep += size;
    if (!worker || share === 1) keep = synced;
    bytes.fill(0, HEAD + keep, HEAD + head);
    mark(keep).copy(bytes, SYNCED_AT);
    lost += head - keep;
    fs.writeFileSync(file, bytes);
  }
  return lost;
}

const databases = (folder) => fs.readdirSync(folder).filter((f) => /\.db(-wal|-shm)?$|^valet\.mark$/.test(f));

test('48: the power fails, again and again: the budget holds, and what may have been spent is charged', async (t) => {
  const valet = await start({ config: { ...quiet, models: [{ name: 'm', price: PRICE }] } });
  const amounts = { money: '$1000/month', tight: '30k/total' }, secrets = {};
  for (const [name, budget] of Object.entries(amounts)) secrets[name] = await readyKey(valet, name, '--budget', budget, '--max-wait', 'off');
  const calls = Object.values(secrets).map((s) => call(s, { model: 'm', messages: user('x'.repeat(40)), max_tokens: 30 }, 'x-sim-tokens: 30\r\n'));
  const answered = { money: { cost: 0, tokens: 0 }, tight: { cost: 0, tokens: 0 } };
  let dead = false, spent = false, whole = 0;
  const heard = (a) => {
    if (a.i % 2 && a.status === 429) { spent = true; return; }
    assert.equal(a.status, 200, a.text);
    const { usage } = JSON.parse(a.text), to = answered[a.i % 2 ? 'tight' : 'money'];
    to.cost += COST(usage);
    to.tokens += usage.total_tokens;
    whole++;
  };
  const rounds = [{}, { share: 0.5 }, { older: true }, { share: 0.7, older: true }, {}];
  for (const [number, { share = 1, older = false }] of rounds.entries()) {
    const copy = path.join(valet.dir, 'copy');
    if (older) { // the database comes back as it was before the load: it was not synced since
      await crash(valet);
      fs.rmSync(copy, { recursive: true, force: true });
      fs.mkdirSync(copy);
      for (const name of databases(valet.state)) fs.copyFileSync(path.join(valet.state, name), path.join(copy, name));
      await valet.launch();
    }
    const before = { money: (await limitsOf(valet, 'money'))[0].settled, tight: (await limitsOf(valet, 'tight'))[0].settled }, had = whole;
    dead = false;
    const load = drive(valet.port, { make: (i) => calls[i % 2], more: () => !dead, heard });
    await until('there is load', () => whole > had + 60);
    await crash(valet);
    dead = true;
    await load;
    if (older) {
      for (const name of databases(valet.state)) fs.rmSync(path.join(valet.state, name));
      for (const name of databases(copy)) fs.copyFileSync(path.join(copy, name), path.join(valet.state, name));
    }
    const lost = losePower(valet, share);
    if (share < 1) assert.ok(lost > 1000, `${lost} bytes were lost`);
    assert.equal((await valet.cli('recover', '--check')).code, 0, 'what a power loss takes is no damage');
    const said = await valet.json('recover');
    assert.equal(said.journal, 'power_lost', JSON.stringify(said));
    assert.ok(said.leases >= 1, JSON.stringify(said));
    await valet.launch();
    for (const name of Object.keys(amounts)) {
      const [{ settled, held, amount, unit }] = await limitsOf(valet, name);
      const known = answered[name][unit === 'money' ? 'cost' : 'tokens'];
      assert.ok(settled >= known && settled >= before[name], `round ${number}, ${name}: ${settled} settled, ${known} answered, ${before[name]} before`);
      assert.ok(settled <= amount && held === 0, `round ${number}, ${name}: ${settled} + ${held} of ${amount}`);
    }
    await assertHolds(valet);
    t.diagnostic(`round ${number}: ${lost} bytes lost, ${said.leases} leases charged`);
  }
  await drive(valet.port, { make: () => calls[1], more: () => !spent, heard: (a) => heard({ ...a, i: 1 }) });
  assert.ok(answered.tight.tokens <= 30000, `${answered.tight.tokens} of 30000 tokens were answered`);
  recordsById(valet);
});

test('41: the journal, or a lane of it, is gone after a crash: what may have been spent is charged', async () => {
  const valet = await start({ config: { ...quiet, workers: 1, models: [{ name: 'm', price: PRICE }] } });
  const secret = await readyKey(valet, 'k', '--budget', '$1000/month'), bytes = call(secret, { model: 'm', messages: user('hi'), max_tokens: 3 }, 'x-sim-tokens: 3\r\n');
  const load = () => drive(valet.port, { make: () => bytes, more: (i) => i < 300, heard: (a) => assert.equal(a.status, 200) });
  for (const take of [() => fs.rmSync(segments(valet).find((f) => /lane-01/.test(f))), () => fs.rmSync(path.join(valet.state, 'journal'), { recursive: true })]) {
    await load();
    await fed(valet);
    await load();
    const [{ settled }] = await limitsOf(valet, 'k');
    await crash(valet);
    take();
    await valet.launch();
    assert.ok((await limitsOf(valet, 'k'))[0].settled >= settled);
    await assertHolds(valet);
  }
});

test('41: valet.db-wal is gone after a crash: no start with the keys of yesterday', async () => {
  const valet = await start({ config: { ...quiet, models: [{ name: 'm', price: PRICE }] } });
  await readyKey(valet, 'old', '--budget', '$5/month');
  await valet.stop();
  await valet.launch();
  await readyKey(valet, 'new', '--budget', '$5/month');
  assert.equal((await valet.cli('key', 'revoke', 'old')).code, 0, 'revoked');
  await crash(valet);
  fs.rmSync(path.join(valet.state, 'valet.db-wal'));
  await assertRefused(valet, /lacks the last \d+ changes.*valet recover --rebuild/);
  const { code, stdout } = await valet.cli('recover', '--rebuild');
  assert.equal(code, 1, stdout); // something is lost, and it is said
  assert.match(stdout, /LOST: .*last \d+ changes are missing/);
  await valet.launch();
  assert.deepEqual((await valet.json('key', 'list')).data.map((k) => k.name), ['old']);
});
