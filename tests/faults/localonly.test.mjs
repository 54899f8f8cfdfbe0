// localonly.test.mjs - proves: a request that may not leave does not leave, whatever fails at home: its key, its model or its header says so, and not a byte of
// 10,000 of them, nor a connection, reaches a cloud; while beside each fault one that may leave does.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { ask, call, chat, drive, readyKey, slow, until, user, withRaw } from './aid.mjs';
import { Raw, completion } from './raw.mjs';

const TOTAL = 10000;

// ---- a cloud that counts everything ----

const cloud = await Raw.start({ models: ['big'], behave: (c) => c.answer(completion('from the cloud')) });
const sockets = [];
cloud.server.on('connection', (socket) => {
  sockets.push(socket);
  socket.bytes = 0;
  socket.on('data', (data) => { if (data.subarray(0, 15).toString() === 'GET /v1/models ') socket.looks = true; else socket.bytes += data.length; });
});
// All but Valet's own look for models, which is no request of anybody.
const heard = () => ({ connections: sockets.filter((s) => !s.looks || s.bytes > 0).length, bytes: sockets.reduce((sum, s) => sum + s.bytes, 0) });

const to = ['cloud/big'], when = ['wait', 'context', 'down', 'always'];
const places = [{ target: 'home', model: 'm' }, { target: 'cloud', model: 'big' }];
const models = [
  { name: 'm', targets: [places[0]] },
  { name: 'both', targets: places },
  { name: 'stays', local_only: 'on', targets: places },
  { name: 'small', context: 50, targets: [places[0]] },
  { name: 'small-stays', context: 50, local_only: 'on', targets: [places[0]] },
];
const { valet, raw: home } = await withRaw([{}], {
  targets: [{ name: 'home', max_concurrency: 0 }],
  more: [{ name: 'cloud', kind: 'openai_compatible', url: cloud.url, secret: 'env:CLOUD_SECRET', models: { exclude: '*' } }],
  config: { models, overflow: { to, when: when.slice(0, 3), wait: '10ms' }, timeouts: { connect: '300ms', first_byte: '80ms' }, workers: 1, log: { requests: 'off' }, queue: { max_wait: '50ms', total: 20 } },
  env: { CLOUD_SECRET: 'secret-of-the-cloud' },
});
const inside = await readyKey(valet, 'inside', '--local-only'), free = await readyKey(valet, 'free');

// The ways to say that it stays, in turn; streams and whole answers.
const header = 'x-valet-local-only: 1\r\n';
const ways = [[inside, 'm', ''], [free, 'stays', ''], [free, 'm', header], [inside, 'both', ''], [free, 'both', header]];
const smallWays = [[inside, 'small', ''], [free, 'small-stays', ''], [free, 'small', header]];
const bytesOf = (list, content) => list.flatMap(([key, model, fields]) => [false, true].map((stream) => call(key, { model, messages: user(content), stream }, fields)));
const stays = bytesOf(ways, 'x'), staysLong = bytesOf(smallWays, 'word '.repeat(400));

let sent = 0;
const seen = {};

// So many of them with the fault; then one that may leave, which must. `statuses`: what they may be answered with.
async function phase(name, count, { make = stays, statuses, connections = 32, control = 'm', content = 'x', overflow = /context|down|wait/ } = {}) {
  const before = heard(), found = new Set();
  let answers = 0;
  const broken = await drive(valet.port, { connections, make: (i) => make[i % make.length], more: (i) => i < count,
    heard: (answer) => {
      answers++;
      found.add(answer.status);
      assert.doesNotMatch(answer.head, /x-valet-overflow|x-valet-target: cloud/i);
      assert.doesNotMatch(answer.text, /from the cloud/);
    } });
  assert.deepEqual([broken, answers], [0, count]);
  assert.deepEqual(heard(), before, `${name}: nothing goes to the cloud`);
  for (const status of found) assert.ok(statuses.includes(status), `${name}: ${[...found]}`);
  sent += count;
  seen[name] = [...found].join();
  if (!control) return;
  const answer = await ask(valet, { body: chat({ model: control, messages: user(content) }), fields: `authorization: Bearer ${free}\r\n` });
  assert.equal(answer.status, 200, `${name}: one that may leave: ${answer.text}`);
  assert.equal(answer.headers['x-valet-target'], 'cloud');
  assert.match(answer.headers['x-valet-overflow'] ?? '', overflow);
  assert.ok(heard().bytes > before.bytes);
}

const reload = async (config) => {
  const count = () => valet.log.split('settings reloaded').length;
  const before = count();
  valet.write(valet.text(config));
  await until('reloaded', () => count() > before);
};

test('the cloud is there and hears nothing by itself', async () => {
  assert.deepEqual((await ask(valet, { body: chat({ model: 'm' }), fields: `authorization: Bearer ${free}\r\n` })).headers['x-valet-target'], 'home');
  assert.deepEqual(heard(), { connections: 0, bytes: 0 });
});

test('resets', async () => {
  home.behave = (c) => c.reset();
  await phase('resets', 1200, { statuses: [502] });
});

test('500', async () => {
  home.behave = (c) => c.answer('{"error":{"message":"out of memory"}}', { status: 500 });
  await phase('500', 1500, { statuses: [500] });
});

test('429', async () => {
  home.behave = (c) => c.answer('{"error":{"message":"slow down"}}', { status: 429, fields: 'retry-after: 9\r\n' });
  await phase('429', 1500, { statuses: [429] });
});

test('the engine says that the context is too long', async () => {
  home.behave = (c) => c.answer(JSON.stringify({ object: 'error', message: "This model's maximum context length is 40 tokens. However, you requested 900 tokens.", code: 400 }), { status: 400 });
  await phase('context', 1000, { statuses: [400] });
});

test('the prompt does not fit into the window at home', async () => {
  await phase('window', 1000, { make: staysLong, statuses: [400], control: 'small', content: 'word '.repeat(400) });
});

test('silence until the time for the first byte is over', async () => {
  home.behave = () => {};
  await phase('silence', Math.ceil(600 / slow), { statuses: [504], connections: 100 });
});

test('no place: waited too long, or too many wait', async () => {
  await reload({ targets: [{ ...valet.targets[0], max_concurrency: 1 }, valet.targets[1]], timeouts: { first_byte: '60s' } });
  home.behave = () => {};
  const holder = net.connect(valet.port, '127.0.0.1').on('error', () => {});
  holder.write(call(free, { model: 'm', messages: user('hold') }, header));
  await until('the place is taken', async () => await valet.metric('valet_target_in_flight', 'target="home"') === 1);
  await phase('queue', 800, { statuses: [503, 429], connections: 60 });
  holder.destroy();
  await reload({});
});

test('maintenance', async () => {
  await reload({ targets: [{ ...valet.targets[0], drain: 'on' }, valet.targets[1]] });
  home.behave = (c) => c.answer(completion());
  await phase('drained', 1000, { statuses: [503] });
  await reload({});
});

test('left alone by the breaker', async () => {
  await reload({ routing: { breaker: 'on' } });
  home.behave = (c) => c.answer('{}', { status: 500 });
  await phase('breaker', 1000, { statuses: [500, 503] });
  await reload({});
});

test('connection refused, and the policy always', async () => {
  await home.stop();
  await phase('refused', 400, { statuses: [502, 503] });
  await reload({ overflow: { to, when: ['always'] } });
  await phase('always', TOTAL - sent, { statuses: [502, 503], overflow: /always/ });
  assert.ok(sent >= TOTAL, `${sent} requests`);
});
