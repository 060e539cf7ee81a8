// Learning rates over a run.
import test from 'ava';
import { learningRate, type Schedule } from '../../ts/optim/schedule.js';

const rates = (schedule: Partial<Schedule>, total = 100) =>
  Array.from({ length: total }, (_, step) =>
    learningRate({ shape: 'cosine', peak: 2, warmup: 10, floor: 0.1, ...schedule }, step, total),
  );

for (const shape of ['cosine', 'linear', 'constant', 'wsd'] as const) {
  test(`${shape}: rises to the peak, then never rises again`, (t) => {
    const all = rates({ shape });
    t.is(all[0], 0.2);
    t.is(all[9], 2);
    for (let i = 10; i < all.length; i++) t.true(all[i]! <= all[i - 1]! + 1e-12);
    t.is(shape === 'constant', all.at(-1) === 2);
  });
}

test('wsd: stable, then linear to the floor', (t) => {
  const all = rates({ shape: 'wsd', decay: 0.4 });
  t.true(all.slice(10, 60).every((rate) => rate === 2));
  t.true(Math.abs(all[80]! - 2 * (0.1 + 0.9 * 0.5)) < 1e-12);
  t.true(all[99]! < 0.25);
});

test('the plateau of wsd does not depend on the length of the run', (t) => {
  t.deepEqual(rates({ shape: 'wsd' }, 100).slice(0, 80), rates({ shape: 'wsd' }, 200).slice(0, 80));
});
