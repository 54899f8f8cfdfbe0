// reload.test.mjs - proves: the settings can be changed under load, by SIGHUP or by saving the file; a bad file is refused with line and
// reason while the old settings go on; and no stream notices.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sim, collect, start, until, user } from './harness.mjs';

const valet = await start({ targets: [{ sim: { models: ['m', 'second', 'third', 'fourth'], rate: 100 }, models: { include: ['m'] } }] });
const client = valet.client();
const models = async () => (await client.models.list()).data.map((m) => m.id).sort();
const target = valet.targets[0];

function write(change) {
  Object.assign(target, change);
  valet.write();
}

test('SIGHUP reads the file again', async () => {
  write({ models: { include: ['m', 'second'] } });
  valet.signal('SIGHUP');
  await until('the new model is listed', async () => (await models()).includes('second'));
});

test('saving the file is enough', async () => {
  write({ models: { include: ['m', 'third'] } });
  await until('the change is seen', async () => (await models()).includes('third'));
  assert.deepEqual(await models(), ['m', 'third']);
});

test('a bad file is refused, with its line and the reason, and the old settings go on', async () => {
  const before = await models();
  for (const bad of ['targets: [', 'targets:\n  - name: x\n    url: not-an-address\n', valet.text() + 'no_such_setting: 1\n']) {
    const from = valet.log.length;
    valet.write(bad);
    valet.signal('SIGHUP');
    await until('the log says so', () => /valet\.yaml(:| line )\d+/.test(valet.log.slice(from)));
    assert.deepEqual(await models(), before);
    assert.equal((await client.chat.completions.create({ model: 'm', messages: user('x'), max_tokens: 2 })).object, 'chat.completion');
  }
  valet.write();
  valet.signal('SIGHUP');
});

test('streams go on through reloads, even when their target is gone', async () => {
  const { data: stream, response } = await client.chat.completions.create({ model: 'm', messages: user('x'), stream: true }, { headers: { 'x-sim-tokens': '150' } }).withResponse();
  assert.ok(response.headers.get('x-request-id'));
  const reading = collect(stream);
  const other = await Sim.start({ models: ['m', 'fourth'] });
  try {
    write({ name: 'another', url: other.url + '/v1', models: undefined });
    valet.signal('SIGHUP');
    await until('the reload is done', async () => (await models()).includes('fourth'));
    const { headers } = await client.chat.completions.create({ model: 'm', messages: user('x'), max_tokens: 2 }).asResponse();
    assert.equal(headers.get('x-valet-target'), 'another');
    const { last, text } = await reading;
    assert.ok(['stop', 'length'].includes(last.choices[0].finish_reason));
    assert.ok(text.length > 0);
  } finally {
    await other.stop();
  }
});
