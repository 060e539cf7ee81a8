import test from 'ava';
import { clusterWarnings, pretrainWarnings, specializeWarnings } from '../../ts/cli/warnings.js';
import type { ClusterSummary } from '../../ts/data/clusters.js';
import type { RunResult } from '../../ts/methods/run.js';
import type { SpecializeResult } from '../../ts/methods/specialize.js';

const sizes = (...list: number[]) =>
  clusterWarnings({
    sizes: list,
    clusters: list.length,
    windows: list.reduce((a, b) => a + b, 0),
  } as unknown as ClusterSummary);
const facts = (values: Record<string, number>) => pretrainWarnings({ facts: values } as unknown as RunResult);
const specialized = (change: Partial<SpecializeResult>, expert: string, covered: number | undefined) =>
  specializeWarnings(
    {
      method: 'projected',
      histogram: [0.25, 0.25, 0.25, 0.25],
      entropy: 0.5,
      bestStep: 5,
      steps: 9,
      ...change,
    } as SpecializeResult,
    expert,
    covered,
  );

test('one cluster that holds most of the corpus', (t) => {
  t.deepEqual(sizes(5, 4, 4), []);
  t.deepEqual(sizes(9, 1), []);
  t.regex(sizes(1, 8, 1)[0]!, /cluster 1 holds 80\.0%/);
});

test('repeats above four, experts that are all alike', (t) => {
  t.deepEqual(facts({ largestRepeat: 4, coefficientSpread: 0.02 }), []);
  t.regex(facts({ largestRepeat: 6.5 })[0]!, /6\.5 times.*--shrink/);
  t.regex(facts({ coefficientSpread: 0.01 })[0]!, /1\.0% only/);
});

test('routed experts without tokens, and with few', (t) => {
  t.deepEqual(facts({ experts: 8, loadEntropy: 1.9, deadExperts: 0 }), []);
  t.deepEqual(facts({ experts: 8 }), []);
  t.regex(facts({ experts: 8, loadEntropy: 1.9, deadExperts: 0.25 })[0]!, /25\.0% of the routed experts.*--balance/);
  t.regex(facts({ experts: 8, loadEntropy: 0.9, deadExperts: 0 })[0]!, /0\.90 of at most 2\.08 nats/);
});

test('a flat histogram, by what the method makes of it', (t) => {
  const flat = { entropy: 1.38 };
  t.deepEqual(specialized({}, 'frequent', 0.9), []);
  t.regex(specialized(flat, 'frequent', 0.9)[0]!, /1\.38 of at most 1\.39 nats.*--expert histogram/);
  t.regex(specialized(flat, 'histogram', 0.9)[0]!, /average of all/);
  t.regex(specialized({ ...flat, method: 'importance' }, 'histogram', 0.9)[0]!, /generic text/);
  t.deepEqual(specialized({ histogram: [], entropy: 0 }, 'histogram', undefined), []);
});

test('a domain that generic text does not cover, fine-tuning without a gain', (t) => {
  t.regex(specialized({}, 'histogram', 0.3)[0]!, /covers 30\.0%/);
  t.regex(specialized({ bestStep: 0 }, 'histogram', 0.9)[0]!, /did not lower/);
  t.deepEqual(specialized({ bestStep: 0, steps: 0 }, 'histogram', 0.9), []);
});
