// Runs one case on one device and returns what is wrong. Checks, in this order: nothing outside the outputs was written; the
// result is the oracle's within tolerance; a replay gives the same bits; so do other thread counts; so does every output
// placed on the input whose memory the table lets it take.
import type { Backend } from '../../ts/backend/backend.js';
import { OPS } from '../../ts/backend/ops.gen.js';
import { OracleBuffer } from '../support/oracle/memory.js';
import { OracleBackend } from '../support/oracle.js';
import type { Case, Values } from './case.js';
import { drawInputs, sequence } from './generators.js';
import { type Layout, layOut, type Span, trespass } from './layout.js';
import { disagreement, EPSILON, type Expected, type Results } from './tolerance.js';

export interface Prepared {
  readonly item: Case;
  readonly inputs: Values;
  readonly layout: Layout;
  readonly expected: Expected;
}

/** Draws the inputs of a case and asks the oracle, once for all devices. */
export async function prepare(item: Case): Promise<Prepared> {
  const inputs = drawInputs(item);
  const layout = layOut(item, inputs);
  const want = await consult(layout);
  const random = sequence(item.name);
  const moved = await consult(layout, (value) => value * (1 + EPSILON * (2 * random() - 1)));
  return { item, inputs, layout, expected: { want, moved } };
}

/** The oracle's outputs; `move` changes each float32 input first. */
async function consult(layout: Layout, move?: (value: number) => number): Promise<Results> {
  const oracle = new OracleBackend();
  const buffer = oracle.alloc(layout.image.length);
  oracle.write(buffer, 0, layout.image);
  for (const { role, kind, offset, count } of layout.spans) {
    if (move === undefined || role === 'out' || kind !== 'f32') continue;
    oracle.writeF32(buffer, offset, oracle.readF64(buffer, offset, count).map(move));
  }
  oracle.run(oracle.compile({ words: layout.words(buffer) }));
  await oracle.fence();
  const outputs = layout.spans.filter((span) => span.role !== 'in');
  return Object.fromEntries(
    outputs.map((span) => [span.name, oracle.readF64(buffer, span.offset, span.count, span.kind)]),
  );
}

/** `backends` are one device with different thread counts; the first one is compared with the oracle. Undefined: all is well. */
export async function check(prepared: Prepared, backends: readonly Backend[]): Promise<string | undefined> {
  const { item, inputs, layout, expected } = prepared;
  const [main, ...others] = backends;
  const [first, replay] = await execute(main!, layout, 2);
  const stray = trespass(layout, first!);
  if (stray !== undefined) return stray;
  const wrong = disagreement(item, inputs, expected, results(layout, first!));
  if (wrong !== undefined) return wrong;
  if (!same(first!, replay!)) return `a replay differs from the first run at byte ${firstDifference(first!, replay!)}`;

  for (const other of others) {
    const [image] = await execute(other, layout, 1);
    if (!same(first!, image!)) {
      return `${other.capabilities.threads} threads differ from ${main!.capabilities.threads} at ${where(layout, first!, image!)}`;
    }
  }

  for (const [output, input] of inPlaceChoices(item)) {
    const shared = layOut(item, inputs, { [output]: input });
    const [image] = await execute(main!, shared, 1);
    const strayed = trespass(shared, image!);
    if (strayed !== undefined) return `${output} on ${input}: ${strayed}`;
    for (const span of layout.spans) {
      if (span.role === 'in') continue;
      const at = shared.spans.find((other) => other.name === span.name)!.offset;
      const differs = firstChange(layout, first!, span, shared, image!, at);
      if (differs !== undefined) return `${output} on ${input}: ${span.name}[${differs}] differs`;
    }
  }
  return undefined;
}

/** The buffer after each of `times` runs of one Program, each from the same start. */
async function execute(backend: Backend, layout: Layout, times: number): Promise<Uint8Array[]> {
  const buffer = backend.alloc(layout.image.length);
  const program = backend.compile({ words: layout.words(buffer) });
  const images: Uint8Array[] = [];
  try {
    for (let i = 0; i < times; i++) {
      backend.write(buffer, 0, layout.image);
      backend.run(program);
      await backend.fence();
      images.push(await backend.read(buffer, 0, layout.image.length));
    }
  } finally {
    backend.release(program);
    backend.free(buffer);
  }
  return images;
}

/** Pairs (output, input) that may share memory in this case. */
export function inPlaceChoices(item: Case): [string, string][] {
  const has = (name: string) => {
    const operand = OPS[item.op].operands.find((candidate) => candidate.name === name)!;
    return !operand.optional || item.present.includes(name);
  };
  return OPS[item.op].operands.flatMap((operand) =>
    has(operand.name) ? operand.inplace.filter(has).map((input): [string, string] => [operand.name, input]) : [],
  );
}

function results(layout: Layout, image: Uint8Array): Results {
  const memory = new OracleBuffer(image.length);
  memory.storeBytes(0, image);
  const outputs = layout.spans.filter((span) => span.role !== 'in');
  return Object.fromEntries(outputs.map((span) => [span.name, memory.load(span.offset, span.count, span.kind)]));
}

/**
 * The first element of an output that a run in place got differently. Elements between the rows of a padded matrix belong
 * to nobody: the run apart left them poisoned, the run in place must leave what was there.
 */
function firstChange(
  layout: Layout,
  image: Uint8Array,
  span: Span,
  shared: Layout,
  other: Uint8Array,
  at: number,
): number | undefined {
  const words = (bytes: Uint8Array, offset: number) =>
    new Uint32Array(bytes.slice(offset, offset + span.count * 4).buffer);
  const [apart, together] = [words(image, span.offset), words(other, at)];
  const [before, host] = [words(layout.image, span.offset), words(shared.image, at)];
  const differs = apart.findIndex((word, i) => together[i] !== (word === before[i] ? host[i] : word));
  return differs < 0 ? undefined : differs;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const firstDifference = (a: Uint8Array, b: Uint8Array): number => a.findIndex((byte, i) => byte !== b[i]);

function where(layout: Layout, a: Uint8Array, b: Uint8Array): string {
  const at = firstDifference(a, b);
  const span = layout.spans.findLast((candidate) => candidate.offset <= at);
  return span === undefined ? `byte ${at}` : `byte ${at - span.offset} of ${span.name}`;
}
