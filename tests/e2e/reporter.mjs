// reporter.mjs - a quiet reporter for node --test: prints failures with their output, then the totals; writes the totals
// (passed failed skipped) to the file that VALET_TOTALS names.
// SPDX-License-Identifier: Apache-2.0
import fs from 'node:fs';
import path from 'node:path';

const isFile = (data) => data.nesting === 0 && path.isAbsolute(data.name);
const parentOnly = (data) => data.details?.type === 'suite' || data.details?.error?.failureType === 'subtestsFailed';

function describe(data) {
  const error = data.details?.error;
  const cause = error?.cause ?? error;
  const text = cause?.stack ?? cause?.message ?? String(cause);
  const shown = cause?.code === 'ERR_ASSERTION' ? `${cause.message}\n${(cause.stack ?? '').split('\n').filter((l) => /^\s+at /.test(l) && !l.includes('node:internal')).join('\n')}` : text;
  return shown.split('\n').map((line) => '    ' + line).join('\n');
}

// The test's own file, also where it was registered through a helper: the one that the stack of the error goes through.
function testFile(data) {
  const error = data.details?.error;
  const stack = (error?.cause?.stack ?? error?.stack ?? '').match(/\/[^\s:]*\.test\.mjs/);
  return stack?.[0] ?? data.file ?? '';
}

export default async function* report(source) {
  let passed = 0, failed = 0, skipped = 0;
  const output = new Map(); // file -> what it printed
  const failures = new Map(); // file -> how many of its tests failed
  for await (const { type, data } of source) {
    const file = data?.file ?? '';
    if (type === 'test:stdout' || type === 'test:stderr') {
      output.set(file, ((output.get(file) ?? '') + data.message).slice(-60000));
    } else if (type === 'test:pass' && !isFile(data)) {
      if (data.skip !== undefined || data.todo !== undefined) skipped++;
      else if (data.details?.type !== 'suite') passed++;
    } else if (type === 'test:fail' && !(isFile(data) && failures.get(data.name)) && !parentOnly(data)) {
      failed++;
      const of = isFile(data) ? data.name : testFile(data);
      failures.set(of, (failures.get(of) ?? 0) + 1);
      yield `FAILED: ${path.basename(of)}: ${data.name}\n${describe(data)}\n`;
      yield* flush(output, of);
    }
  }
  for (const file of failures.keys()) yield* flush(output, file);
  yield `    ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}\n`;
  if (process.env.VALET_TOTALS) fs.writeFileSync(process.env.VALET_TOTALS, `${passed} ${failed} ${skipped}\n`);
}

function* flush(output, file) {
  if (output.get(file)) yield output.get(file).replace(/^/gm, '    | ').replace(/ {4}\| $/, '');
  output.delete(file);
}
