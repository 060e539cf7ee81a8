// The progress line of an experiment.
import test from 'ava';
import { experimentLine } from '../../ts/cli/experiment_line.js';

const progress = { stage: 'main', done: 3e5, total: 1e6, unit: 'tokens', rate: 45_100, loss: 3.456 } as const;

test('cells, share of the work, time left, and what runs with its rate and loss', (t) => {
  const line = experimentLine(
    {
      done: 12,
      cells: 40,
      flopsShare: 0.5,
      secondsLeft: 125,
      running: [
        { title: 'pretrain SLM', progress },
        { title: 'fine-tune SLM to law', progress: undefined },
      ],
    },
    200,
  );
  t.is(
    line,
    '12/40 cells [========        ] 50%  2 min 5 s left  pretrain SLM 30% 45.1k tokens/s loss 3.46  fine-tune SLM to law',
  );
  t.is(experimentLine({ done: 1, cells: 4, flopsShare: 1, secondsLeft: undefined, running: [] }, 20).length, 20);
  const before = { done: 0, cells: 0, flopsShare: 0, secondsLeft: undefined };
  t.is(experimentLine({ ...before, running: [{ title: 'k-means', progress: undefined }] }, 80), 'k-means');
});
