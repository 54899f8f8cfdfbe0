// metrics.test.mjs - proves: /metrics is what Prometheus reads, counts what happened, and is not told to clients.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { collect, start, until, user } from './harness.mjs';

const valet = await start({ targets: [{ name: 'gpu0', sim: {} }] });
const client = valet.client();
const scrape = async () => (await fetch(valet.admin + '/metrics')).text();

test('the admin listener answers in the format of Prometheus', async () => {
  const answer = await fetch(valet.admin + '/metrics');
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get('content-type'), /^text\/plain/);
  const text = await answer.text();
  assert.match(text, /^# HELP valet_/m);
  assert.match(text, /^# TYPE valet_\w+ (counter|gauge|histogram)$/m);
});

test('promtool finds nothing to complain about', async (t) => {
  await client.chat.completions.create({ model: 'm', messages: user('x') });
  const check = spawnSync('promtool', ['check', 'metrics'], { input: await scrape(), encoding: 'utf8' });
  if (check.error) return t.skip('promtool is not installed');
  assert.equal(check.status, 0, check.stdout + check.stderr);
  assert.equal(check.stderr.trim(), '');
});

test('requests and tokens are counted, once each', async () => {
  const before = await scrape();
  for (let i = 0; i < 3; i++) await client.chat.completions.create({ model: 'm', messages: user('x') });
  await collect(await client.chat.completions.create({ model: 'm', messages: user('x'), stream: true }));
  const sum = (text, name) => text.split('\n').filter((l) => new RegExp(`^${name}(\\{|\\s)`).test(l)).reduce((s, l) => s + Number(l.split(' ').at(-1)), 0);
  await until('four more requests', async () => sum(await scrape(), 'valet_requests_total') - sum(before, 'valet_requests_total') === 4);
});

test('clients are not shown the metrics', async () => {
  assert.equal((await valet.fetch('/metrics')).status, 401);
  assert.equal((await valet.fetch('/metrics', { headers: { authorization: 'Bearer something' } })).status, 401);
});
