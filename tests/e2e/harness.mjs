// harness.mjs - starts Valet and simulated engines on free ports in a folder of their own, for the tests in this directory.
//
// A test file calls `await start({...})` at its top and gets addresses, an SDK client and ways to look inside. Readiness is asked
// for, never slept for. What the programs print is shown when a test fails. Everything is stopped when the file is done, and must
// stop well: an exit status other than 0 (a sanitizer's report, for one) fails the file. VALET_BUILD names the build folder.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, '../..');
export const build = path.resolve(root, process.env.VALET_BUILD || 'build');
export const OpenAI = createRequire(path.join(here, 'package.json'))('openai').OpenAI;
export const slow = /asan|tsan/.test(build) ? 5 : 1; // sanitizers slow everything down: limits of time are multiplied by this

// ---- programs --------------------------------------------------------------------------------------------------------------

const running = new Set();

class Program {
  constructor(name, file, args, options = {}) {
    this.name = name;
    this.log = '';
    this.expectedEnd = false;
    this.child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.pid = this.child.pid;
    running.add(this);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { this.log = (this.log + text).slice(-200000); });
    }
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => { this.log += `cannot start ${file}: ${error.message}\n`; running.delete(this); resolve({ code: 127 }); });
      this.child.on('close', (code, signal) => { running.delete(this); this.status = { code, signal }; resolve(this.status); });
    });
  }

  get over() { return this.status !== undefined || this.child.exitCode !== null || this.child.signalCode !== null || !this.pid; }

  signal(name) { this.child.kill(name); }

  // Asks the program to end; resolves with { code, signal }. One that does not end in time is killed, which fails the test file.
  async stop(signal = 'SIGTERM', limitMs = 15000 * slow) {
    this.expectedEnd = true;
    if (!this.over) this.child.kill(signal);
    const timer = setTimeout(() => { this.log += `\n${this.name} did not end in ${limitMs} ms: killed\n`; this.child.kill('SIGKILL'); }, limitMs);
    const status = await this.ended;
    clearTimeout(timer);
    return status;
  }
}

process.on('exit', () => { for (const program of running) program.child.kill('SIGKILL'); });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

// ---- small helpers ---------------------------------------------------------------------------------------------------------

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// Calls `ask` until it gives something truthy, and gives that back.
export async function until(what, ask, limitMs = 10000 * slow) {
  const end = performance.now() + limitMs;
  for (let last; ;) {
    try {
      const got = await ask();
      if (got) return got;
      last = got;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) assert.fail(`waited ${limitMs} ms for: ${what}${last === undefined ? '' : `; last seen: ${last?.stack ?? last}`}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// A value as YAML; plain words stay plain, so that `off` means what it means in a file written by hand.
export function yaml(value, indent = '') {
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== 'object')) return ` [${value.map(scalar).join(', ')}]\n`;
    return '\n' + value.map((item) => `${indent}  -${yaml(item, indent + '    ').replace(/^\n\s+/, ' ')}`).join('');
  }
  if (value && typeof value === 'object') {
    return '\n' + Object.entries(value).filter(([, v]) => v !== undefined)
      .map(([key, v]) => `${indent}${scalar(key)}:${yaml(v, indent + '  ')}`).join('');
  }
  return ` ${scalar(value)}\n`;
}
const scalar = (value) => (/^[\w/][\w./:@+-]*$/.test(String(value)) && !/:$/.test(String(value)) ? String(value) : JSON.stringify(value));

// Sends bytes on a socket of its own and reads until the other side closes or `enough(text)` says so.
export function raw(port, bytes, { enough = () => false, limitMs = 10000 * slow, host = '127.0.0.1' } = {}) {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(port, host, () => socket.write(bytes));
    const timer = setTimeout(() => socket.destroy(new Error(`no full answer in ${limitMs} ms; got: ${text.slice(0, 500)}`)), limitMs);
    socket.setEncoding('latin1');
    socket.on('data', (data) => { text += data; if (enough(text)) socket.end(); });
    socket.on('error', (error) => { clearTimeout(timer); if (text) resolve(text); else reject(error); });
    socket.on('close', () => { clearTimeout(timer); resolve(text); });
  });
}

// The environment without what would point Valet at another's settings or state.
const clean = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VALET_')));

// Headers that carry a key.
export const bearer = (secret) => ({ authorization: `Bearer ${secret}` });

// Headers that make the simulated engine misbehave for one request: fault('status=503').
export const fault = (what) => ({ 'x-sim-fault': what });

export const user = (content) => [{ role: 'user', content }];

// Collects a stream of chat chunks.
export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return { chunks, text: chunks.map((c) => c.choices[0]?.delta?.content ?? '').join(''), last: chunks.at(-1) };
}

// ---- the simulated engine --------------------------------------------------------------------------------------------------

export class Sim {
  // options: models, slots, ttft (ms), rate (tokens a second; 0: as fast as it can), dialect, args
  static async start(options = {}) {
    const sim = new Sim();
    sim.options = { models: ['m'], slots: 64, ttft: 0, rate: 0, dialect: 'openai', args: [], ...options };
    sim.port = options.port ?? await freePort();
    sim.url = `http://127.0.0.1:${sim.port}`;
    await sim.restart();
    return sim;
  }

  async restart() {
    const { models, slots, ttft, rate, dialect, args } = this.options;
    this.program = new Program('valet-sim', path.join(build, 'valet-sim'), ['--port', this.port, '--dialect', dialect, '--models', models.join(','),
      '--slots', slots, '--ttft-ms', ttft, '--tokens-per-second', rate, '--quiet', ...args].map(String));
    await until('valet-sim answers', async () => {
      assert.ok(!this.program.over, `valet-sim ended: ${this.program.log}`);
      return [200, 401].includes((await fetch(this.url + '/v1/models')).status); // 401: it wants a key
    });
  }

  async stats() { return (await fetch(this.url + '/sim/stats')).json(); }

  // Faults for requests of anybody: [{ fault: 'status=503', count: 1 }]; none clears them.
  async faults(list = []) {
    const answer = await fetch(this.url + '/sim/faults', { method: 'POST', body: JSON.stringify({ faults: list }) });
    assert.equal(answer.status, 200, await answer.text());
  }

  stop(signal) { return this.program.stop(signal); }
}

// ---- Valet -----------------------------------------------------------------------------------------------------------------

export class Valet {
  // options: targets [{ sim: options of Sim, or url; and further settings of a target }], config (further settings), args, env,
  // yaml (the file as text instead), wait (false: do not wait for /ready)
  static async start(options = {}) {
    const valet = new Valet();
    valet.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'valet-e2e-'));
    valet.port = await freePort();
    valet.adminPort = await freePort();
    valet.origin = `http://127.0.0.1:${valet.port}`;
    valet.base = valet.origin + '/v1';
    valet.admin = `http://127.0.0.1:${valet.adminPort}`;
    valet.file = path.join(valet.dir, 'valet.yaml');
    valet.options = options;
    valet.sims = [];
    valet.targets = [];
    for (const { sim, ...target } of options.targets ?? [{ sim: {} }]) {
      const engine = target.url ? undefined : await Sim.start(sim);
      if (engine) valet.sims.push(engine);
      valet.targets.push({ name: `t${valet.targets.length}`, kind: engine?.options.dialect ?? 'openai', url: engine && engine.url + '/v1', ...target });
    }
    valet.sim = valet.sims[0];
    valet.write();
    await valet.launch();
    return valet;
  }

  // The settings as text; `config` overrides what the harness would write.
  text(config = {}) {
    return this.options.yaml ?? yaml({ listen: `127.0.0.1:${this.port}`, admin_listen: `127.0.0.1:${this.adminPort}`, discovery: 'off', forward_headers: ['x-sim-*'],
      targets: this.targets, ...this.options.config, ...config }).slice(1);
  }

  write(text = this.text()) {
    fs.writeFileSync(this.file + '.new', text);
    fs.renameSync(this.file + '.new', this.file);
  }

  async launch() {
    const { args = [], env = {}, wait = true } = this.options;
    this.program = new Program('valet', path.join(build, 'valet'),
      ['serve', '-c', this.file, '--state', path.join(this.dir, 'state'), ...args].map(String), { cwd: this.dir, env: { ...clean(), ...env } });
    if (wait) await this.ready();
  }

  get state() { return path.join(this.dir, 'state'); }

  // `valet ARGS --state …` to its end: { code, stdout, stderr }.
  cli(...args) {
    return new Promise((resolve) => {
      const child = spawn(path.join(build, 'valet'), [...args, '--state', this.state].map(String), { cwd: this.dir, env: clean(), stdio: ['ignore', 'pipe', 'pipe'] });
      const result = { code: 127, stdout: '', stderr: '' };
      child.stdout.setEncoding('utf8').on('data', (text) => { result.stdout += text; });
      child.stderr.setEncoding('utf8').on('data', (text) => { result.stderr += text; });
      child.on('error', (error) => { result.stderr += error.message; resolve(result); });
      child.on('close', (code) => resolve({ ...result, code }));
    });
  }

  // The same, which must succeed; its --json output as a value.
  async json(...args) {
    const { code, stdout, stderr } = await this.cli(...args, '--json');
    assert.equal(code, 0, `valet ${args.join(' ')}: ${stderr}${stdout}`);
    return JSON.parse(stdout);
  }

  // Makes a key; its secret.
  async key(name, ...args) {
    const { code, stdout, stderr } = await this.cli('key', 'create', name, '--quiet', ...args);
    assert.equal(code, 0, stderr + stdout);
    return stdout.trim();
  }

  // A call of the admin API with the admin secret.
  async api(method, where, body) {
    const secret = this.options.env?.VALET_ADMIN_KEY ?? fs.readFileSync(path.join(this.state, 'admin.key'), 'utf8').trim();
    const answer = await fetch(this.admin + where, { method, headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  }

  ready() {
    return until('valet is ready', async () => {
      if (this.program.over) throw new Error('valet ended');
      return (await fetch(this.origin + '/ready')).status === 200;
    }).catch((error) => { throw new Error(`${error.message}\n--- settings\n${fs.readFileSync(this.file)}\n--- log\n${this.program.log}`); });
  }

  listening() {
    return until('valet listens', async () => (await fetch(this.origin + '/health')).status === 200);
  }

  // A chat that must succeed, asked again while the target is kept out after a failure.
  healthy(model = 'm') {
    return until('a healthy call', async () => (await this.post('/v1/chat/completions', { model, messages: user('x'), max_tokens: 2 })).status === 200);
  }

  get log() { return this.program.log; }
  signal(name) { this.program.signal(name); }
  stop(signal) { return this.program.stop(signal); }

  client(options = {}) { return new OpenAI({ apiKey: 'none', baseURL: this.base, maxRetries: 0, timeout: 60000 * slow, ...options }); }

  fetch(where, options = {}) { return fetch(this.origin + where, options); }

  post(where, body, headers = {}) {
    return this.fetch(where, { method: 'POST', headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body) });
  }

  // The value of a metric, summed over the series whose labels contain all of `labels` ('model="m"').
  async metric(name, ...labels) {
    const text = await (await fetch(this.admin + '/metrics')).text();
    return text.split('\n').filter((line) => (line.startsWith(name + '{') || line.startsWith(name + ' ')) && labels.every((l) => line.includes(l)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }
}

// ---- one file's life -------------------------------------------------------------------------------------------------------

const started = [];
let watching = false;

function watch() {
  if (watching) return;
  watching = true;
  afterEach((t) => {
    if (t.passed !== false) return;
    for (const { program, sims } of started) {
      for (const { name, log } of [program, ...sims.map((sim) => sim.program)]) {
        if (log) console.log(`--- ${name}, when "${t.name}" failed\n${log.slice(-4000)}`);
      }
    }
  });
  after(async () => {
    const bad = [];
    for (const valet of started) {
      for (const program of [valet.program, ...valet.sims.map((sim) => sim.program)]) {
        const early = program.over && !program.expectedEnd;
        const { code, signal } = await program.stop();
        if (early || (code !== 0 && !['SIGTERM', 'SIGKILL', 'SIGINT'].includes(signal)) || / killed\n$/.test(program.log)) {
          bad.push(`${program.name} ${early ? 'ended by itself' : 'ended badly'} (${signal ?? code})\n${program.log.slice(-8000)}`);
        }
      }
      fs.rmSync(valet.dir, { recursive: true, force: true });
    }
    assert.equal(bad.length, 0, `after ${path.basename(process.argv[1])}: ` + bad.join('\n'));
  });
}

export async function start(options) {
  watch();
  const valet = await Valet.start(options);
  started.push(valet);
  return valet;
}
