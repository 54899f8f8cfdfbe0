// discovery.test.mjs - proves: engines of each kind are found where Valet is told to look, with their models and context windows;
// what comes and goes is noticed without a restart; and no Valet is taken for an engine.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sim, freePort, start, until, user } from './harness.mjs';

const windows = { vllm: 4096, llamacpp: 8192, ollama: 16384, lmstudio: 32768, sglang: 65536 };
const dialects = [...Object.keys(windows), 'openai'];
const id = (dialect) => (dialect === 'ollama' ? 'ollama-model:latest' : `${dialect}-model`);
const look = { targets: undefined, discovery_interval: '200ms', discovery_grace: '1s' };

const sims = {};
for (const dialect of dialects) {
  sims[dialect] = await Sim.start({ dialect, models: [id(dialect) + (windows[dialect] ? `=ctx${windows[dialect]}` : '')] });
}
const later = await freePort();
const addresses = [...Object.values(sims).map((sim) => sim.port), later].map((port) => `127.0.0.1:${port}`);
const valet = await start({ targets: [], config: look, args: addresses.flatMap((address) => ['--discover', address]) });
valet.sims.push(...Object.values(sims));

const models = async (from = valet) => (await (await from.fetch('/v1/models')).json()).data;
const listed = async (model, from = valet) => (await models(from)).some((m) => m.id === model);

test('the models of all engines are one list', async () => {
  await until('all are listed', async () => (await models()).length === dialects.length);
  assert.deepEqual((await models()).map((m) => m.id).sort(), dialects.map(id).sort());
});

test('with the context window that each engine tells', async () => {
  const list = await models();
  for (const [dialect, window] of Object.entries(windows)) {
    assert.equal(list.find((m) => m.id === id(dialect)).max_model_len, window, dialect);
  }
});

test('each kind is known by its name', () => {
  for (const dialect of dialects) assert.match(valet.log, new RegExp(`${dialect}: found .* at ${sims[dialect].url},`));
});

test('a chat goes to the engine that has the model', async () => {
  for (const dialect of dialects) {
    const answer = await valet.post('/v1/chat/completions', { model: id(dialect), messages: user('x'), max_tokens: 3 });
    assert.equal(answer.status, 200, dialect);
  }
});

test('looking costs an engine two small requests a round, and no generation', async () => {
  const before = await sims.ollama.stats();
  await new Promise((resolve) => setTimeout(resolve, 1000)); // about five rounds
  const after = await sims.ollama.stats();
  assert.equal(after.calls, before.calls);
  assert.ok(after.requests - before.requests <= 14, `${after.requests - before.requests} requests`);
  assert.ok(after.requests > before.requests);
});

test('an engine that comes later is found, and one that goes is dropped after the grace time', async () => {
  const sim = await Sim.start({ port: later, dialect: 'vllm', models: ['late'] });
  valet.sims.push(sim);
  await until('the late model is listed', () => listed('late'));
  const killed = performance.now();
  await sim.stop('SIGKILL');
  await until('the late model is gone', async () => !(await listed('late')));
  assert.ok(performance.now() - killed > 900, 'it stays listed for the grace time');
  assert.equal((await models()).length, dialects.length);
});

test('an engine that comes back within the grace time keeps its models listed', async () => {
  await sims.vllm.stop('SIGKILL');
  await until('valet has noticed', () => /vllm: down/.test(valet.log));
  assert.ok(await listed(id('vllm')));
  await sims.vllm.restart();
  await until('valet has noticed', () => /vllm: up/.test(valet.log));
  assert.ok(await listed(id('vllm')));
});

test('a model that an engine has got is listed', async () => {
  sims.llamacpp.options.models.push('fresh');
  await sims.llamacpp.stop('SIGKILL');
  await sims.llamacpp.restart();
  await until('the new model is listed', () => listed('fresh'));
});

test('a Valet does not discover itself nor another one', async () => {
  const port = await freePort();
  const other = await start({ targets: [], wait: false, args: ['--discover', `127.0.0.1:${port}`, '--discover', `127.0.0.1:${valet.port}`,
    '--discover', `127.0.0.1:${sims.openai.port}`], config: { ...look, listen: `127.0.0.1:${port}` } });
  other.port = port;
  other.origin = `http://127.0.0.1:${port}`;
  await until('it has looked', () => listed(id('openai'), other));
  await new Promise((resolve) => setTimeout(resolve, 1000)); // five rounds
  assert.deepEqual((await models(other)).map((m) => m.id), [id('openai')]);
});

test('a configured target at the same address counts once', async () => {
  const both = await start({ targets: [{ name: 'mine', url: `http://localhost:${sims.openai.port}/v1` }],
    config: { discovery_interval: '200ms' }, args: ['--discover', `127.0.0.1:${sims.openai.port}`] });
  await until('the model is listed', () => listed(id('openai'), both));
  assert.doesNotMatch(both.log, /openai: found/);
});
