// aid.mjs - what the tests of faults share: a client that sees every byte, and the promise behind every row: after a fault a healthy
// call succeeds at once and no descriptor is left behind.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { Sim, slow, start, until, user } from '../e2e/harness.mjs';
import { Proxy } from './proxy.mjs';
import { Raw } from './raw.mjs';

export { slow, until, user };
export const CALL = '/v1/chat/completions';
export const chat = (more = {}) => JSON.stringify({ model: 'm', messages: user('x'), ...more });

// ---- a client --------------------------------------------------------------------------------------------------------------

// One message of HTTP taken from the front of `bytes`; null while it is not there yet. `over`: the connection has ended.
export function takeAnswer(bytes, over, { headOnly = false } = {}) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const lines = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const headers = {};
  for (const line of lines.slice(1)) {
    const at = line.indexOf(':');
    headers[line.slice(0, at).toLowerCase()] = line.slice(at + 1).trim();
  }
  const answer = { status: Number(lines[0].split(' ')[1]), line: lines[0], headers, whole: true, size: end + 4 };
  const rest = bytes.subarray(end + 4);
  const put = (body, size, whole) => Object.assign(answer, { body, text: body.toString(), size: end + 4 + size, whole });
  if (answer.status < 200 || answer.status === 204 || answer.status === 304 || headOnly) return put(Buffer.alloc(0), 0, true);
  if (headers['transfer-encoding'] === 'chunked') {
    const parts = [];
    for (let at = 0; ;) {
      const line = rest.indexOf('\r\n', at);
      const size = line < 0 ? NaN : parseInt(rest.subarray(at, line).toString('latin1'), 16);
      if (size === 0 && rest.length >= line + 4) return put(Buffer.concat(parts), line + 4, true);
      if (Number.isNaN(size) || size === 0 || rest.length < line + 4 + size) {
        if (Number.isNaN(size)) return over ? put(Buffer.concat(parts), rest.length, false) : null;
        return over ? put(Buffer.concat([...parts, rest.subarray(line + 2)]), rest.length, false) : null;
      }
      parts.push(rest.subarray(line + 2, line + 2 + size));
      at = line + 4 + size;
    }
  }
  if (headers['content-length'] !== undefined) {
    const length = Number(headers['content-length']);
    if (rest.length >= length) return put(rest.subarray(0, length), length, true);
    return over ? put(rest, rest.length, false) : null;
  }
  return over ? put(rest, rest.length, over !== 'reset') : null;
}

// A connection of a client. `bytes`: all that came; `over`: undefined, 'end' or 'reset'.
export class Client {
  static connect(port, { limitMs = 30000 * slow } = {}) {
    return new Promise((resolve, reject) => {
      const client = new Client();
      Object.assign(client, { parts: [], got: 0, over: undefined, limitMs });
      client.socket = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }, () => resolve(client));
      client.socket.on('data', (data) => { client.parts.push(data); client.got += data.length; client.onData?.(data); });
      client.socket.on('error', (error) => { client.over ??= error.code === 'EPIPE' ? 'end' : 'reset'; reject(error); });
      client.socket.on('end', () => { client.over ??= 'end'; client.socket.end(); });
      client.socket.on('close', () => { client.over ??= 'end'; });
    });
  }

  get bytes() {
    if (this.parts.length > 1) this.parts = [Buffer.concat(this.parts)];
    return this.parts[0] ?? Buffer.alloc(0);
  }

  get text() { return this.bytes.toString('latin1'); }

  send(bytes) {
    return new Promise((resolve) => { if (!this.socket.write(bytes, (error) => resolve(!error))) this.full = true; });
  }

  // The next whole answer, taken off the front; also a cut one if the connection is over.
  async answer(options) {
    const { found, over } = await until('an answer', () => {
      const found = takeAnswer(this.bytes, this.over, options);
      if (found) {
        this.parts = [this.bytes.subarray(found.size)];
        return { found };
      }
      return this.over && { over: this.over };
    }, this.limitMs);
    assert.ok(found, `the connection ended (${over}) before an answer: ${this.text.slice(0, 300)}`);
    return found;
  }

  ended() { return until('the connection has ended', () => this.over, this.limitMs); }
  close() { this.socket.destroy(); }
  reset() { this.socket.resetAndDestroy(); }
}

export const head = (path, length, fields = '', method = 'POST') =>
  `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n${length === undefined ? '' : `content-length: ${length}\r\n`}${fields}\r\n`;

// One request on a connection of its own; the answer with `over`, the way the connection ended, and `ms`.
export async function ask(valet, { path = CALL, body = chat(), fields = '', method = 'POST', limitMs } = {}) {
  const began = performance.now();
  const client = await Client.connect(valet.port, { limitMs });
  client.send(head(path, method === 'POST' ? Buffer.byteLength(body) : undefined, `connection: close\r\n${fields}`, method));
  if (method === 'POST') client.send(body);
  const answer = await client.answer({ headOnly: method === 'HEAD' });
  answer.ms = performance.now() - began;
  await client.ended();
  answer.over = client.over;
  client.close();
  return answer;
}

export const fault = (what) => ({ fields: `x-sim-fault: ${what}\r\n` });
export const events = (answer) => answer.text.split('\n\n').filter((e) => e.startsWith('data: ')).map((e) => e.slice(6));
export const contents = (answer) => events(answer).filter((e) => e.startsWith('{')).map((e) => JSON.parse(e).choices?.[0]?.delta?.content ?? '').join('');

export function assertError(answer, status, code) {
  assert.equal(answer.status, status, answer.text.slice(0, 500));
  const { error } = JSON.parse(answer.text);
  assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
  if (code) assert.equal(error.code, code, answer.text);
  return error;
}

// A stream that broke off: an error event, no [DONE], no last chunk.
export function assertBroken(answer, code) {
  assert.equal(answer.status, 200, answer.text);
  const list = events(answer);
  assert.equal(JSON.parse(list.at(-1)).error?.code, code, `the last event: ${list.at(-1)}`);
  assert.ok(!list.includes('[DONE]'), 'no [DONE] after an error');
  assert.equal(answer.whole, false, 'no last chunk: nobody may take it for whole');
}

// ---- what a process holds --------------------------------------------------------------------------------------------------

// Undefined where it may not be read (Valet is not dumpable: only root may).
// A database of the state folder opens with its first record, and stays open.
function isLedger(link) {
  try {
    return /\.db(-wal|-shm)?$/.test(fs.readlinkSync(link));
  } catch {
    return false; // closed meanwhile
  }
}

export function descriptors(pid, { ledger = true } = {}) {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).filter((fd) => ledger || !isLedger(`/proc/${pid}/fd/${fd}`)).length;
  } catch {
    return undefined;
  }
}

export function memory(pid) { // bytes that are resident; a sanitizer's own say nothing
  if (slow > 1) return 0;
  return Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}

export function cpuMs(pid) { // of all threads, user and system
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

// Stops a program; all of its threads stand when this resolves. SIGCONT lets it go on.
export async function freeze(program) {
  program.signal('SIGSTOP');
  const tasks = `/proc/${program.pid}/task`;
  await until('every thread stands', () => fs.readdirSync(tasks).every((id) => / T /.test(fs.readFileSync(`${tasks}/${id}/stat`, 'latin1').replace(/^.*\)/, ''))));
}

// Connections that the process's port has with clients, other than those that are over.
function clientsOf(port) {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return fs.readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1).map((line) => line.trim().split(/\s+/))
    .filter((f) => f.length > 3 && f[1].endsWith(hex) && !['0A', '06', '07'].includes(f[3]) && f[9] !== '0').length;
}

// Descriptors that no open connection accounts for: the same before and after every case.
async function unexplained(valet) {
  const count = descriptors(valet.program.pid, { ledger: false });
  if (count === undefined) return undefined;
  const left = clientsOf(valet.port) + clientsOf(valet.adminPort);
  return count - left - valet.upstreams.reduce((sum, u) => sum + u.open, 0);
}

async function steady(valet) {
  let last, since = performance.now();
  return until('the count of descriptors is steady', async () => {
    const now = await unexplained(valet);
    if (now !== last) [last, since] = [now, performance.now()];
    return performance.now() - since > 60 && { count: last };
  }).then((found) => found.count);
}

// A case on `valet`: the body, then a healthy call that succeeds, then the descriptors are those of before. `calm` makes the upstreams healthy, before and after.
export function faultTest(valet, name, body, { calm = () => {}, model = 'm', retry = true } = {}) {
  test(name, async (t) => {
    await calm();
    const before = await steady(valet);
    try {
      await body(t);
    } finally {
      await calm();
    }
    const well = async () => {
      const answer = await ask(valet, { body: chat({ model, max_tokens: 2 }), limitMs: 10000 * slow });
      return answer.status === 200 && answer.whole && JSON.parse(answer.text).choices.length === 1;
    };
    if (retry) await until('a healthy call right after', well);
    else assert.ok(await well(), 'a healthy call right after');
    await until('no descriptor is left behind', async () => {
      const now = await unexplained(valet);
      if (now === before) return true;
      throw new Error(`${before} before, ${now} after`);
    });
    assert.ok(!valet.program.over, 'Valet runs');
  });
}

// ---- Valet with its upstreams ----------------------------------------------------------------------------------------------

const asked = { routing: { strategy: 'least_busy', breaker: 'off' } }; // each case meets the fault itself; the breaker has tests of its own
const later = { discovery_interval: '1h' }; // no look for models in between: what is tested is what calls see

// Valet with scripted upstreams: `raws` options of Raw. Their order is the order of targets of the model `m`.
export async function withRaw(raws = [{}], options = {}) {
  const upstreams = [];
  for (const raw of raws) upstreams.push(await Raw.start(raw));
  const targets = upstreams.map((raw, i) => ({ url: raw.url, ...options.targets?.[i] }));
  const valet = await start({ ...options, targets: [...targets, ...options.more ?? []], config: { ...later, ...asked, ...options.config } });
  valet.upstreams = upstreams;
  after(() => Promise.all(upstreams.map((raw) => raw.stop())));
  return { valet, raw: upstreams[0], raws: upstreams };
}

// Valet with simulated engines, each behind a proxy.
export async function withSims(sims = [{}], options = {}) {
  const engines = [], proxies = [];
  for (const sim of sims) {
    engines.push(await Sim.start(sim));
    proxies.push(await Proxy.start(engines.at(-1).port));
  }
  const targets = proxies.map((proxy, i) => ({ url: proxy.url, ...options.targets?.[i] }));
  const valet = await start({ ...options, targets, config: { ...later, ...asked, ...options.config } });
  valet.upstreams = proxies;
  after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    const ends = await Promise.all(engines.map((engine) => engine.stop()));
    for (const { code, signal } of ends) assert.ok(code === 0 || signal, `valet-sim ended with ${code}`);
  });
  return { valet, sim: engines[0], sims: engines, proxy: proxies[0], proxies };
}

// ---- the ledger ------------------------------------------------------------------------------------------------------------

// A call as bytes, for connections that are kept.
export const call = (secret, body, fields = '') => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return head(CALL, Buffer.byteLength(text), `${secret ? `authorization: Bearer ${secret}\r\n` : ''}${fields}`) + text;
};

// Calls one after the other on each of some kept connections. `make(i)`: the i-th call as bytes; `more(i)`: whether there is one; `heard` gets every whole
// answer { i, status, head, text, sentAt, ms }. A connection that ends is replaced while `more` says so. Resolves with how many ended inside an answer.
export async function drive(port, { connections = 8, make, more, heard }) {
  let next = 0, broken = 0;
  const one = () => new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    let bytes = '', i = -1, sentAt = 0;
    const send = () => {
      if (!more(next)) { socket.destroy(); return; }
      i = next++;
      sentAt = performance.now();
      socket.write(make(i));
    };
    const take = () => {
      const end = bytes.indexOf('\r\n\r\n');
      const length = end < 0 ? undefined : Number(/\r\ncontent-length: (\d+)/i.exec(bytes.slice(0, end))?.[1]);
      assert.ok(!Number.isNaN(length), bytes.slice(0, 500));
      if (end < 0 || bytes.length < end + 4 + length) return;
      const answer = { i, status: Number(bytes.slice(9, 12)), head: bytes.slice(0, end), text: bytes.slice(end + 4), sentAt, ms: performance.now() - sentAt };
      [bytes, i] = ['', -1];
      heard(answer);
      send();
    };
    socket.setEncoding('latin1').on('connect', send).on('error', () => {}).on('data', (data) => { bytes += data; take(); });
    socket.on('close', () => { broken += i >= 0; resolve(i >= 0 || sentAt === 0); });
  });
  const line = async () => {
    while (more(next)) {
      if (await one()) await new Promise((resolve) => setTimeout(resolve, 10)); // no busy loop where nobody listens
    }
  };
  await Promise.all(Array.from({ length: connections }, line));
  return broken;
}

// All records of requests that the database has.
export function records(valet) {
  const all = [];
  for (const name of fs.readdirSync(valet.state).filter((f) => /^requests-.*\.db$/.test(f)).sort()) {
    const db = new DatabaseSync(path.join(valet.state, name), { readOnly: true });
    for (const row of db.prepare('SELECT * FROM requests').iterate()) all.push(row);
    db.close();
  }
  return all;
}

export const sum = (list, member) => list.reduce((total, row) => total + Number(row[member]), 0);

// The same by id; there is one for each.
export function recordsById(valet) {
  const all = new Map();
  for (const row of records(valet)) {
    assert.ok(row.id === '' || !all.has(row.id), `two records of ${row.id}`);
    all.set(row.id, row);
  }
  return all;
}

// Everything that was appended to the journal is in the database: a question about usage is answered from there, so it brings what it can.
export const fed = (valet, limitMs = 20000 * slow) => until('all is in the database', async () => {
  assert.equal((await valet.api('GET', '/api/usage')).status, 200);
  const left = await valet.metric('valet_ledger_unapplied');
  if (left === 0) return true;
  throw new Error(`${left} records are not`);
}, limitMs);

// A key that holds already.
export async function readyKey(valet, name, ...args) {
  const secret = await valet.key(name, ...args);
  await until(`the key ${name} holds`, async () => (await valet.fetch('/v1/models', { headers: { authorization: `Bearer ${secret}` } })).status === 200);
  return secret;
}

export async function limitsOf(valet, name) {
  const { status, body } = await valet.api('GET', `/api/keys/${name}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body.key.limits;
}

// Kills Valet as a crash would, and waits for its end.
export async function crash(valet) {
  valet.program.expectedEnd = true;
  valet.signal('SIGKILL');
  await valet.program.ended;
}

// CPU time of all threads that live, in microseconds; finer than cpuMs().
export function cpuUs(pid) {
  const tasks = `/proc/${pid}/task`;
  return fs.readdirSync(tasks).reduce((all, id) => all + Number(fs.readFileSync(`${tasks}/${id}/schedstat`, 'latin1').split(' ')[0]) / 1000, 0);
}

// A small file system mounted on a folder that nobody uses; undefined where this process may not mount. fill() leaves no byte free.
export function smallDisk(folder, megabytes) {
  const system = (...args) => { try { execFileSync(args[0], args.slice(1), { stdio: 'ignore' }); return true; } catch { return false; } };
  if (process.platform !== 'linux' || !system('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs', folder)) return undefined;
  const ballast = path.join(folder, 'ballast');
  const release = () => { process.off('exit', release); system('umount', folder) || system('umount', '-l', folder); };
  process.on('exit', release);
  const fill = () => {
    const file = fs.openSync(ballast, 'a');
    for (let size = 1 << 20; size >= 1;) {
      try { if (fs.writeSync(file, Buffer.alloc(size)) < size) size >>= 1; } catch (error) { if (error.code !== 'ENOSPC') throw error; size >>= 1; }
    }
    fs.closeSync(file);
  };
  return { fill, free: () => fs.rmSync(ballast), release };
}
