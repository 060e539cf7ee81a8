// Branching: a run with a warm-up/stable/decay schedule goes on from the end of another run's plateau, as if it had been asked for
// more tokens in the first place. The bits are those of a run from the start.
import { copyFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { SweetspotError } from '../backend/errors.js';
import { decayStart } from '../optim/schedule.js';
import { listCheckpoints } from '../train/checkpoint.js';
import { plateauFolder } from '../train/stage.js';
import { type FinishedRun, type RunConfig, type RunFolder, requireSame } from './run.js';

const STAGE = 'main';

/** Checks that a run of `config` can branch off from `from`. Throws SWEETSPOT_USAGE or SWEETSPOT_MISMATCH. */
export function requireBranch(from: FinishedRun, config: RunConfig): void {
  const refuse = (what: string, fix: string): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', { what, fix });
  };
  if (from.config.schedule.shape !== 'wsd' || config.schedule.shape !== 'wsd')
    refuse('only runs with --schedule wsd have a plateau to branch off from', 'pretrain both with --schedule wsd');
  if (config.method === 'mixture')
    refuse('a mixture trains many models, and has no plateau of its own', 'pretrain it from the start');
  if (config.trunkShare > 0)
    refuse('a bank that grows from a trunk has no plateau of its own', 'pretrain it from the start');
  const steps = ({ tokens, batch, model }: RunConfig) =>
    Math.max(1, Math.round(tokens / (batch * model.contextLength)));
  const [ended, falls] = [
    decayStart(from.config.schedule, steps(from.config)),
    decayStart(config.schedule, steps(config)),
  ];
  if (falls < ended) {
    refuse(
      `the plateau of ${from.path} ends at step ${ended}, after this run's rate begins to fall at step ${falls}`,
      'ask for more tokens than that run had',
    );
  }
  // All but the length must be the same.
  requireSame(from.path, { ...from.config, tokens: 0 }, { ...config, tokens: 0 });
  if (listCheckpoints(plateauFolder(from.path), STAGE).length === 0)
    refuse(`${from.path}/plateau has no checkpoint`, 'pretrain that run again');
}

/** Puts the checkpoint where the stage will find it, unless it has gone further already. */
export function branch(from: FinishedRun, run: RunFolder): void {
  const checkpoints = path.join(run.path, 'checkpoints');
  if (listCheckpoints(checkpoints, STAGE).length > 0 || run.finished(STAGE)) return;
  const [file] = listCheckpoints(plateauFolder(from.path), STAGE);
  const to = path.join(checkpoints, path.basename(file!));
  // Under another name first: a copy that was cut short must not look like a checkpoint.
  copyFileSync(file!, `${to}.part`);
  renameSync(`${to}.part`, to);
}
