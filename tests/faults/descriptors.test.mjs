// descriptors.test.mjs - proves: when the table of descriptors is full, Valet neither spins nor breaks the streams that run, and serves everybody
// again as soon as there is room.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { CALL, Client, ask, chat, contents, cpuMs, descriptors, faultTest, head, slow, until, withRaw } from './aid.mjs';
import { chunk, completion, event, finish, piece, STREAM_HEAD } from './raw.mjs';

const { valet, raw } = await withRaw([{}], { config: { workers: 1, timeouts: { heartbeat: 'off' } } });
const calm = () => { raw.behave = (c) => c.answer(completion()); raw.forget(); };
const limit = (n) => {
  const run = spawnSync('prlimit', ['--pid', String(valet.program.pid), `--nofile=${n}:`], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
};
const original = /Max open files\s+(\d+)/.exec(spawnSync('cat', [`/proc/${process.pid}/limits`], { encoding: 'utf8' }).stdout)[1];

faultTest(valet, '51: a full table: running streams go on, no busy loop, everybody is served once there is room', async () => {
  let ticking;
  raw.behave = (c) => {
    c.send(STREAM_HEAD);
    let n = 0;
    ticking = setInterval(() => c.send(chunk(piece(`${n++} `))), 20);
    c.finish = () => { clearInterval(ticking); c.send([finish(), event('[DONE]')].map(chunk).join('') + '0\r\n\r\n'); };
  };
  const body = chat({ stream: true });
  const stream = await Client.connect(valet.port);
  stream.send(head(CALL, body.length) + body);
  await until('the stream runs', () => stream.text.includes('content'));
  const engine = raw.calls[0].connection;
  const used = descriptors(valet.program.pid) ?? 64;
  limit(used + 4);
  const crowd = [];
  for (let i = 0; i < 60; i++) crowd.push(await Client.connect(valet.port).catch(() => null));
  await until('the table is full', () => crowd.filter((c) => c && !c.over).length < 60 && (descriptors(valet.program.pid) ?? used + 4) >= used + 3);
  const cpu = cpuMs(valet.program.pid), began = performance.now(), seen = stream.got;
  await until('two seconds have passed', () => performance.now() - began > 2000);
  const spent = cpuMs(valet.program.pid) - cpu;
  assert.ok(spent <= 150 * slow, `${spent} ms of CPU in 2 s`); // 5 % are 100 ms
  assert.ok(!stream.over && stream.got > seen, 'the stream goes on');
  const inside = crowd.find((c) => c && !c.over); // one that was let in is served, though no connection to an engine can be opened
  const plain = chat();
  inside.send(head(CALL, plain.length) + plain);
  const refused = await inside.answer();
  assert.ok(refused.status >= 500 && refused.whole, refused.line);
  for (const client of crowd) client?.close();
  limit(original);
  raw.behave = (c) => c.answer(completion());
  await until('everybody is served again', async () => (await ask(valet)).status === 200);
  engine.finish();
  const answer = await stream.answer();
  assert.ok(answer.whole && contents(answer).startsWith('0 1 2 '), answer.text.slice(0, 200));
  stream.close();
}, { calm });

faultTest(valet, '51: ceilings.max_connections is kept', async () => {
  const few = await withRaw([{}], { config: { workers: 1, ceilings: { max_connections: 20 } } });
  const crowd = await Promise.all(Array.from({ length: 60 }, () => Client.connect(few.valet.port)));
  await until('the rest is closed', () => crowd.filter((c) => c.over).length >= 35);
  assert.ok(crowd.filter((c) => !c.over).length >= 15);
  for (const client of crowd) client.close();
  await until('room again', async () => (await ask(few.valet).catch(() => ({}))).status === 200);
}, { calm });
