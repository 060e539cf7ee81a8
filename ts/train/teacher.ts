// A teacher's word on every token of a text, computed once and kept: k tokens and probabilities each. Kept by the place of
// the input in the corpus, so that batches made in any order find theirs.
import { existsSync } from 'node:fs';
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import type { Corpus } from '../data/corpus.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { Windows } from '../data/windows.js';
import { readSafetensors, writeSafetensors } from '../io/safetensors.js';
import { forwardFlops } from '../models/cost.js';
import type { DenseModel } from '../models/dense.js';
import { outputMatrix, transformer } from '../models/transformer.js';
import { topTokens } from '../ops/teacher.js';
import { Program } from '../program/program.js';
import { bufferTensor } from '../tensor/tensor.js';
import type { OnProgress } from './progress.js';
import { RateMeter } from './progress.js';

export interface TeacherSettings {
  /** Share of the divergence from the teacher in the loss, 0 to 1. Default 0.5. */
  readonly weight: number;
  /** Above 1 the teacher's less likely tokens count more. Default 2. */
  readonly temperature: number;
  /** k: tokens of the teacher kept for each place; the others are one bucket. Default 16. */
  readonly topK: number;
}

/** Fills defaults and checks. Throws SWEETSPOT_USAGE. */
export function teacherSettings(given: Partial<TeacherSettings>, vocab: number): TeacherSettings {
  const { weight = 0.5, temperature = 2, topK = Math.min(16, vocab) } = given;
  const refuse = (what: string, expected: string, found: number): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', { what, expected, found: String(found) });
  };
  if (!(weight >= 0 && weight <= 1)) refuse('the weight of the teacher', '0 to 1', weight);
  if (!(temperature >= 0.1 && temperature <= 100)) refuse('the temperature of the teacher', '0.1 to 100', temperature);
  const most = Math.min(256, vocab);
  if (!Number.isInteger(topK) || topK < 1 || topK > most)
    refuse('tokens of the teacher', `a whole number from 1 to ${most}`, topK);
  return { weight, temperature, topK };
}

/** The teacher's word on a corpus: entry i k + j is about the input at token i of the corpus. */
export interface Lessons {
  readonly k: number;
  /** Tokens, -1 where the place is no input. */
  readonly ids: Int32Array;
  readonly p: Float32Array;
}

/** Throws SWEETSPOT_MISMATCH unless a teacher speaks the tokens of its student. */
export function requireTokenizer(teacher: Pick<Tokenizer, 'hash'>, student: string): void {
  if (teacher.hash === student) return;
  throw new SweetspotError('SWEETSPOT_MISMATCH', {
    what: 'the teacher has another tokenizer than the student',
    expected: student,
    found: teacher.hash,
    fix: 'pretrain both on the same corpus folder',
  });
}

const BATCH_TOKENS = 4096;

/**
 * Runs the teacher over every window of a text. Throws SWEETSPOT_MISMATCH when its tokenizer is not the corpus's or its context
 * is shorter than the windows, SWEETSPOT_ABORTED.
 */
export async function teach(
  backend: Backend,
  teacher: DenseModel,
  corpus: Corpus,
  windows: Windows,
  { temperature, topK: k }: TeacherSettings,
  options: { onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Lessons> {
  const { config, parameters } = teacher;
  requireTokenizer(teacher.tokenizer, corpus.tokenizerHash);
  const time = windows.contextLength;
  if (config.contextLength < time) {
    throw new SweetspotError('SWEETSPOT_MISMATCH', {
      what: 'the teacher was trained on shorter windows than the student',
      expected: `a context of at least ${time}`,
      found: String(config.contextLength),
    });
  }
  const batch = Math.max(1, Math.floor(BATCH_TOKENS / time));
  const rows = batch * time;
  const bytes = Math.ceil((rows * 4) / 64) * 64;
  const buffer = backend.alloc(2 * bytes);
  const tokens = new Int32Array(rows);
  const window = new Int32Array(time + 1);
  const ids = new Int32Array(corpus.tokens * k).fill(-1);
  const p = new Float32Array(corpus.tokens * k);
  const input = (name: string, shape: number[], offset: number) => bufferTensor(name, shape, 'i32', { buffer, offset });
  const program = Program.record(backend, 'teach', (t) => {
    const hidden = transformer(
      config,
      parameters,
      input('tokens', [batch, time], 0),
      input('positions', [rows], bytes),
    );
    const top = topTokens(hidden, outputMatrix(config, parameters), k, temperature, config.logitCap);
    t.output('ids', top.ids);
    t.output('p', top.p);
  });
  const meter = new RateMeter();
  try {
    const positions = Int32Array.from({ length: rows }, (_, i) => i % time);
    backend.write(buffer, bytes, new Uint8Array(positions.buffer));
    for (let first = 0; first < windows.count; first += batch) {
      if (options.signal?.aborted === true)
        throw new SweetspotError('SWEETSPOT_ABORTED', { what: 'interrupted while the teacher was reading' });
      const count = Math.min(batch, windows.count - first);
      tokens.fill(0);
      for (let b = 0; b < count; b++) {
        const length = windows.length[first + b]!;
        corpus.read(windows.start[first + b]!, length + 1, window, 0);
        tokens.set(window.subarray(0, length), b * time);
      }
      backend.write(buffer, 0, new Uint8Array(tokens.buffer));
      program.run();
      const [raw, foundP] = await Promise.all([program.read('ids'), program.read('p')]);
      const foundIds = new Int32Array(raw.buffer, raw.byteOffset, raw.length);
      for (let b = 0; b < count; b++) {
        const [from, to, n] = [b * time * k, windows.start[first + b]! * k, windows.length[first + b]! * k];
        ids.set(foundIds.subarray(from, from + n), to);
        p.set(foundP.subarray(from, from + n), to);
      }
      const [done, total] = [(first + count) * time, windows.count * time];
      options.onProgress?.({ stage: 'teacher', done, total, unit: 'tokens', ...meter.update(done, total) });
    }
  } finally {
    program.release();
    backend.free(buffer);
  }
  return { k, ids, p };
}

const view = (values: Int32Array | Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Keeps lessons in a file; `key` says what they depend on. */
export function saveLessons(file: string, { k, ids, p }: Lessons, key: string): void {
  const shape = [ids.length / k, k];
  const tensors = {
    ids: { dtype: 'I32', shape, data: view(ids) },
    p: { dtype: 'F32', shape, data: view(p) },
  } as const;
  writeSafetensors(file, tensors, { key }, { checksum: true });
}

/** Lessons of saveLessons; undefined when the file was made for another key. */
export function loadLessons(file: string, key: string): Lessons | undefined {
  const { metadata, tensors } = readSafetensors(file);
  const [ids, p] = [tensors.get('ids'), tensors.get('p')];
  if (metadata['key'] !== key || ids === undefined || p === undefined) return undefined;
  const copy = (data: Uint8Array) => data.slice().buffer;
  return { k: ids.shape[1]!, ids: new Int32Array(copy(ids.data)), p: new Float32Array(copy(p.data)) };
}

/**
 * What `teach` gives, from `file` when an earlier call left it there; and the FLOPs of reading.
 * @param identity of the teacher's weights
 */
export async function keptLessons(
  teacher: DenseModel,
  identity: string,
  corpus: Corpus,
  windows: Windows,
  settings: TeacherSettings,
  file: string,
  options: Parameters<typeof teach>[5],
): Promise<{ readonly word: Lessons; readonly flops: number }> {
  const flops = forwardFlops(teacher.config, windows.contextLength) * corpus.tokens;
  const key = JSON.stringify({ ...settings, weight: undefined, hash: identity, tokens: corpus.tokens });
  const kept = existsSync(file) ? loadLessons(file, key) : undefined;
  if (kept !== undefined) return { word: kept, flops };
  const word = await teach(teacher.backend, teacher, corpus, windows, settings, options);
  saveLessons(file, word, key);
  return { word, flops };
}
