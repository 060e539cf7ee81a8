// Every op on every device this machine has, against the oracle. A device that is not here is named and skipped.
import test from 'ava';
import type { Backend } from '../../ts/backend/index.js';
import { CASES } from './cases/index.js';
import { check, prepare } from './runner.js';
import { VARIANTS, type Variant } from './variants.js';

/** The first is compared with the oracle, the others with the first. */
const THREADS = [2, 1, 3];
/** Failures shown of one op on one device; the rest are counted. */
const SHOWN = 5;

const opened = new Map<Variant, Backend[]>();
const available = VARIANTS.filter((variant) => variant.available());

test.before(() => {
  for (const variant of available)
    opened.set(
      variant,
      THREADS.map((threads) => variant.open(threads)),
    );
});

test.after.always(async () => {
  for (const backends of opened.values()) for (const backend of backends) await backend.close();
});

test('which devices are checked', (t) => {
  for (const variant of VARIANTS)
    if (!available.includes(variant)) t.log(`skipped: ${variant.name} is not available here`);
  t.true(available.length > 0, 'no device at all: build the addon with `npm run build`');
});

for (const [op, cases] of Object.entries(CASES)) {
  test.serial(`${op} on ${available.map((variant) => variant.name).join(', ')}`, async (t) => {
    const failures = new Map<Variant, string[]>(available.map((variant) => [variant, []]));
    for (const item of cases) {
      const prepared = await prepare(item);
      for (const [variant, found] of failures) {
        const message = await check(prepared, opened.get(variant)!).catch((error: Error) => error.message);
        if (message !== undefined) found.push(`${item.name}: ${message}`);
      }
    }
    const report = [...failures]
      .filter(([, found]) => found.length > 0)
      .map(([variant, found]) => {
        const more = found.length > SHOWN ? `\n  and ${found.length - SHOWN} more` : '';
        return `${variant.name} fails ${found.length} of ${cases.length} cases\n  ${found.slice(0, SHOWN).join('\n  ')}${more}`;
      });
    if (report.length > 0) t.fail(`${op}\n${report.join('\n')}`);
    else t.pass();
  });
}
