// A stage: so many steps of one model on one sampler. Two steps are in flight, so that the device never waits for a loss to
// be read. Checkpoints come every so many seconds and when the caller interrupts; a stage that finds one goes on from it.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import type { Batches } from '../data/blend.js';
import { appendLine } from '../io/atomic.js';
import type { AdamWSettings } from '../optim/adamw.js';
import type { MuonSettings } from '../optim/muon.js';
import { decayStart, learningRate, type Schedule } from '../optim/schedule.js';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { type LoadFigures, LoadMeter } from './loads.js';
import { type OnProgress, RateMeter } from './progress.js';
import { type BatchShape, type StepResult, type TrainableModel, TrainStep } from './step.js';

export interface StageOptions {
  /** Name in progress, metrics and checkpoint files; letters, digits and '-'. */
  readonly stage: string;
  readonly model: TrainableModel;
  readonly sampler: Batches;
  readonly shape: BatchShape;
  readonly steps: number;
  /** Where the stage lies in the schedule: its first step is number `offset` of `total`, counted from 0. Default: it is all of it. */
  readonly span?: { readonly offset: number; readonly total: number } | undefined;
  readonly adamw: AdamWSettings;
  /** For hidden matrices, in place of AdamW. Default: none. */
  readonly muon?: MuonSettings | null | undefined;
  readonly schedule: Schedule;
  /** Run folder: checkpoints go to checkpoints/, metrics to metrics.jsonl. Nothing is written when absent. */
  readonly folder?: string | undefined;
  /** Seconds between checkpoints. Default 60. */
  readonly checkpointSeconds?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called between steps, when all work submitted is done; returning true ends the stage early. `state()` may be saved. */
  readonly every?: { readonly steps: number; readonly call: (step: number) => Promise<boolean> } | undefined;
  /** More state to keep in checkpoints, and to get back from one. */
  readonly extra?: { save(): unknown; restore(state: unknown): void } | undefined;
}

export interface StageResult {
  readonly steps: number;
  /** Mean training loss over the last tenth of the steps, at least 10. */
  readonly loss: number;
  /** Time it took, earlier calls that were interrupted included (without what was lost since their last checkpoint). */
  readonly seconds: number;
  /** Over the same steps as the loss; undefined without routed layers. */
  readonly loads: LoadFigures | undefined;
}

interface SavedState {
  readonly sampler: unknown;
  readonly losses: readonly number[];
  /** Of earlier calls. */
  readonly seconds: number;
  readonly extra: unknown;
  readonly loads?: unknown;
}

/** Steps in flight. More would delay errors and the interrupt without feeding the device better. */
const IN_FLIGHT = 2;

/** Where the end of a plateau is kept. */
export const plateauFolder = (run: string): string => path.join(run, 'plateau');

/**
 * Runs the stage to its end. Throws SWEETSPOT_ABORTED after saving a checkpoint when `signal` fires, SWEETSPOT_PROGRAM when
 * the loss stops being finite.
 */
export async function runStage(backend: Backend, options: StageOptions): Promise<StageResult> {
  const { stage, model, sampler, shape, steps, folder, every } = options;
  const { offset, total: scheduled } = options.span ?? { offset: 0, total: steps };
  const checkpoints = folder === undefined ? undefined : path.join(folder, 'checkpoints');
  let step = 0;
  const begin = performance.now();
  let secondsBefore = 0;
  const seconds = () => secondsBefore + (performance.now() - begin) / 1000;
  // Of the whole stage's last steps, those of an earlier call included, so that a resumed stage reports the same loss.
  const losses: number[] = [];
  const keep = Math.max(10, Math.ceil(steps / 10));
  const loads = model.config.moe === null ? undefined : new LoadMeter(model.config.moe, keep);
  if (checkpoints !== undefined) {
    const state = loadCheckpoint(checkpoints, stage, model.parameters);
    if (state !== undefined) {
      const { sampler: samplerState, losses: earlier, seconds, extra, loads: earlierLoads } = state.extra as SavedState;
      secondsBefore = seconds;
      loads?.restore(earlierLoads);
      step = state.step;
      losses.push(...earlier);
      sampler.restore(samplerState);
      options.extra?.restore(extra);
    }
  }
  const trainStep = new TrainStep(backend, model, shape, options.adamw, options.muon);
  const meter = new RateMeter();
  const pending: { step: number; lr: number; result: Promise<StepResult> }[] = [];
  const tokensAStep = shape.batch * shape.time;
  let saved = performance.now();

  const settle = async (): Promise<void> => {
    const { step: at, lr, result } = pending.shift()!;
    const { loss, gradientNorm, routing } = await result;
    if (!Number.isFinite(loss)) {
      throw new SweetspotError('SWEETSPOT_PROGRAM', {
        what: `${stage}: the loss is ${loss} at step ${at}`,
        fix: 'lower the learning rate; the last checkpoint is intact',
      });
    }
    losses.push(loss);
    if (losses.length > keep) losses.shift();
    const load = routing && loads?.update(at, routing);
    const tokens = at * tokensAStep;
    if (folder !== undefined) {
      appendLine(
        path.join(folder, 'metrics.jsonl'),
        JSON.stringify({ stage, step: at, tokens, loss, lr, gradientNorm, ...load }),
      );
    }
    const total = steps * tokensAStep;
    const smooth = losses.slice(-20).reduce((a, b) => a + b, 0) / Math.min(20, losses.length);
    options.onProgress?.({ stage, done: tokens, total, unit: 'tokens', loss: smooth, ...meter.update(tokens, total) });
  };
  const drain = async (): Promise<void> => {
    while (pending.length > 0) await settle();
  };
  const save = async (to = checkpoints): Promise<void> => {
    if (to === undefined) return;
    mkdirSync(to, { recursive: true });
    const extra: SavedState = {
      sampler: sampler.state(),
      losses,
      seconds: seconds(),
      extra: options.extra?.save(),
      ...(loads && { loads: loads.state() }),
    };
    await saveCheckpoint(to, stage, model.parameters, { step, extra });
    saved = performance.now();
  };
  // The end of the plateau is kept: a longer run can branch off from it, if one stage is the whole schedule.
  const branches = folder !== undefined && options.schedule.shape === 'wsd' && options.span === undefined;
  const plateau = branches ? decayStart(options.schedule, steps) : -1;

  try {
    while (step < steps) {
      if (options.signal?.aborted === true) {
        await drain();
        await save();
        throw new SweetspotError('SWEETSPOT_ABORTED', {
          what: `interrupted at step ${step} of ${steps}${checkpoints === undefined ? '' : '; saved'}`,
          fix: checkpoints === undefined ? 'start again' : 'run the same command again to go on',
        });
      }
      if (checkpoints !== undefined && performance.now() - saved > 1000 * (options.checkpointSeconds ?? 60)) {
        await drain();
        await save();
      }
      if (step === plateau) {
        await drain();
        await save(plateauFolder(folder!));
      }
      const lr = learningRate(options.schedule, offset + step, scheduled);
      step++;
      pending.push({ step, lr, result: trainStep.run(sampler.next(), lr, offset + step) });
      if (pending.length >= IN_FLIGHT) await settle();
      if (every !== undefined && step % every.steps === 0) {
        await drain();
        if (await every.call(step)) break;
      }
    }
    await drain();
    await save();
  } finally {
    // What is still in flight must not become an unhandled rejection.
    await Promise.allSettled(pending.map((one) => one.result));
    trainStep.dispose();
  }
  const loss = losses.reduce((a, b) => a + b, 0) / Math.max(1, losses.length);
  return { steps: step, loss, seconds: seconds(), loads: loads?.summary() };
}
