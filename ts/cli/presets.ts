// What presets hold, as the flags that would say the same.
import { PRESETS, type Preset } from '../methods/presets.js';

type Words<T> = { readonly [K in keyof T]-?: (value: NonNullable<T[K]>) => string };

/** A flag for true, and its negation for false. */
const flag = (name: string) => (value: boolean) => `--${value ? '' : 'no-'}${name}`;

const ADAMW: Words<NonNullable<Preset['adamw']>> = {
  weightDecay: (x) => `--weight-decay ${x}`,
  clip: (x) => `--clip ${x}`,
};
const MODEL: Words<NonNullable<Preset['model']>> = {
  qkNorm: flag('qk-norm'),
  logitCap: (x) => `--logit-cap ${x}`,
  tieEmbeddings: (tied) => flag('untied')(!tied),
};
const ALL: Words<Preset> = {
  muon: () => '--optimizer muon',
  rateScale: (x) => `${x} times the default --learning-rate`,
  warmup: (n) => `--warmup ${n}`,
  schedule: (shape) => `--schedule ${shape}`,
  zeroOutputs: flag('zero-outputs'),
  packing: (name) => `--packing ${name}`,
  adamw: (settings) => sayAll(ADAMW, settings),
  model: (settings) => sayAll(MODEL, settings),
};

function sayAll<T extends object>(words: Words<T>, settings: T): string {
  return (Object.keys(settings) as (keyof T)[])
    .filter((name) => settings[name] !== undefined)
    .map((name) => words[name](settings[name]!))
    .join(', ');
}

/** Each preset and its settings, below the flags in --help. */
export const presetHelp = [
  '',
  'Presets:',
  ...Object.entries(PRESETS).map(([name, preset]) => `  ${name.padEnd(12)}${sayAll(ALL, preset as Preset)}`),
  'Flags given beside a preset win over it; --no-qk-norm, --no-zero-outputs and --no-untied take these back.',
].join('\n');
