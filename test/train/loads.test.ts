// What is read from the loads of routed experts: entropy, the largest, the dead; and that a stage may be interrupted between.
import test from 'ava';
import { routedConfig, transformerConfig } from '../../ts/models/config.js';
import { balanceSettings, figureWidth } from '../../ts/train/balance.js';
import { DEAD_AFTER, LoadMeter } from '../../ts/train/loads.js';

const dense = transformerConfig({ vocabSize: 64, hiddenSize: 16, layers: 2, heads: 2 });
const moe = routedConfig(dense, { experts: 4 }).moe!;

/** Figures of a step, as the device leaves them: loads, load balance, z; the rest of a line is never looked at. */
function figures(...layers: readonly (readonly number[])[]): Float32Array {
  const all = new Float32Array(layers.length * figureWidth(moe)).fill(Number.NaN);
  for (const [l, values] of layers.entries()) all.set(values, l * figureWidth(moe));
  return all;
}

test('figures of a step', (t) => {
  const meter = new LoadMeter(moe, 10);
  const step = meter.update(1, figures([0.25, 0.25, 0.25, 0.25, 1, 4], [0.5, 0.5, 0, 0, 2, 6]));
  t.true(Math.abs(step.loadEntropy - (Math.log(4) + Math.log(2)) / 2) < 1e-6);
  t.like(step, { largestLoad: 2, deadExperts: 0, balanceLoss: 1.5, zLoss: 5 });
});

test('an expert is dead after so many steps without a token, and a token wakes it', (t) => {
  let meter = new LoadMeter(moe, 3);
  const even = [0.25, 0.25, 0.25, 0.25, 1, 0];
  const run = (from: number, to: number, second: readonly number[]) => {
    let dead = 0;
    for (let step = from; step <= to; step++) dead = meter.update(step, figures(even, second)).deadExperts;
    return dead;
  };
  t.is(run(1, 7, even), 0);
  t.is(run(8, 6 + DEAD_AFTER, [1, 0, 0, 0, 4, 0]), 0);
  const state = JSON.parse(JSON.stringify(meter.state()));
  meter = new LoadMeter(moe, 3);
  meter.restore(state);
  t.is(run(7 + DEAD_AFTER, 7 + DEAD_AFTER, [1, 0, 0, 0, 4, 0]), 3 / 8);
  t.is(meter.summary().largestLoad, 4);
  t.is(run(8 + DEAD_AFTER, 8 + DEAD_AFTER, [0.5, 0.5, 0, 0, 2, 0]), 2 / 8);
});

test('settings that cannot be are refused', (t) => {
  const usage = { code: 'SWEETSPOT_USAGE' };
  t.throws(() => balanceSettings({ kind: 'even' as 'loss' }), { ...usage, message: /loss, bias, none/ });
  t.throws(() => balanceSettings({ rate: -1 }), { ...usage, message: /rate/ });
  t.throws(() => routedConfig(dense, { experts: 4, topK: 5 }), { ...usage, message: /topK.*1 to 4/s });
  t.throws(() => routedConfig(dense, { width: 24 }), { ...usage, message: /width/ });
  t.throws(() => routedConfig(dense, { layers: [0, 0] }), { ...usage, message: /layers/ });
});
