// Tables of what a run on a GPU found, from the files in $OUT (or the folder given): node dist/bench/gpu/figures.js [folder].
// The last one holds the figures to reach, and whether they were; what was not measured says why. Also writes figures.json.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

type Line = Readonly<Record<string, unknown>>;
const folder = process.argv[2] ?? process.env['OUT'] ?? '.';

function read(name: string): readonly Line[] {
  const file = path.join(folder, name);
  if (!existsSync(file)) return [];
  try {
    const content: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return (Array.isArray(content) ? content : [content]) as Line[];
  } catch {
    return [];
  }
}
const [own, library, peer] = [read('gpu_bench.json'), read('cublaslt.json'), read('peer.json')];

const find = (lines: readonly Line[], wanted: Line): Line | undefined =>
  lines.find((line) => !('failed' in line) && Object.entries(wanted).every(([key, value]) => line[key] === value));
const number = (line: Line | undefined, key: string): number | undefined =>
  typeof line?.[key] === 'number' ? (line[key] as number) : undefined;
const text = (value: number | undefined, digits = 3) =>
  value === undefined ? '' : String(Number(value.toPrecision(digits)));
const times = (value: number | undefined) => (value === undefined ? '' : `${value.toFixed(2)}x`);
const percent = (value: number) => `${(100 * value).toFixed(0)}%`;

function table(title: string, head: readonly string[], rows: readonly (readonly string[])[]): void {
  if (rows.length === 0) return;
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]!.length)));
  const print = (row: readonly string[]) =>
    console.log(`| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`);
  console.log(`\n${title}`);
  print(head);
  print(widths.map((width) => '-'.repeat(width)));
  for (const row of rows) print(row);
}

// Products.
const bf16 = own.filter(({ op, matmul, output }) => op === 'gemm' && matmul === 'bf16' && output === 'f32');
/** Microseconds of a shape: ours as a step has it, in bf16 where only products read it, and the others'. */
const products = bf16.map((line) => {
  const name = line['name'];
  const half = number(find(own, { op: 'gemm', matmul: 'bf16', name, output: 'bf16' }), 'us');
  return {
    line,
    ours: half ?? number(line, 'us')!,
    float: number(line, 'us')!,
    half,
    lt: number(find(library, { op: 'gemm', matmul: 'bf16', name }), 'us'),
    torch: number(find(peer, { op: 'gemm', matmul: 'bf16', name }), 'us'),
  };
});
const rate = (line: Line, us: number | undefined) =>
  us === undefined ? undefined : (2 * number(line, 'm')! * number(line, 'n')! * number(line, 'k')!) / us / 1e6;
table(
  'Products in bf16, TFLOP/s (result in float32 or bf16; the library through us, in float32; PyTorch, in bf16)',
  ['product', 'm n k', 'f32', 'bf16', 'cuBLASLt', 'PyTorch', 'ours / PyTorch'],
  products.map(({ line, ours, float, half, lt, torch }) => [
    String(line['name']),
    `${line['m']} ${line['n']} ${line['k']}`,
    text(rate(line, float)),
    text(rate(line, half)),
    text(rate(line, lt)),
    text(rate(line, torch)),
    times(torch === undefined ? undefined : torch / ours),
  ]),
);
const rates = [...own, ...library, ...peer].filter(({ op, matmul }) => op === 'gemm' && matmul === 'bf16');
const roofLine = find(own, { op: 'roof' });
const matrixRoof = Math.max(number(roofLine, 'bf16Tflops') ?? 0, ...rates.map((line) => number(line, 'tflops') ?? 0));

// Memory.
const memoryRoof = Math.max(
  number(roofLine, 'readGBs') ?? 0,
  number(roofLine, 'copyGBs') ?? 0,
  number(find(peer, { op: 'roof' }), 'copyGBs') ?? 0,
);
const moving = own.filter((line) => typeof line['GBs'] === 'number');
const share = (line: Line) => number(line, 'GBs')! / memoryRoof;
table(
  `Memory, GB/s; the best seen is ${text(memoryRoof, 4)}`,
  ['op', 'groups', 'GB/s', 'share'],
  moving.map((line) => [
    String(line['op']),
    String(line['groups'] ?? ''),
    text(number(line, 'GBs'), 4),
    percent(share(line)),
  ]),
);

// Attention.
table(
  'Attention in bf16, TFLOP/s',
  ['op', 'ours', 'PyTorch'],
  own
    .filter(({ op }) => op === 'attention' || op === 'attention_backward')
    .map((line) => [
      String(line['op']),
      text(number(line, 'tflops')),
      text(number(find(peer, { op: line['op'] }), 'tflops')),
    ]),
);

// Steps.
const steps = [...own, ...library, ...peer].filter(({ op }) => op === 'train step');
table(
  'Training steps in bf16',
  ['by', 'clusters', 'windows', 'ms', 'tokens/s', 'TFLOP/s', 'memory, GB'],
  steps.map((line) => [
    peer.includes(line) ? 'PyTorch' : line['library'] === 'own' ? 'ours' : `ours, ${line['library']}`,
    String(line['clusters']),
    String(line['sequences']),
    'failed' in line ? String(line['failed']).slice(0, 60) : text(number(line, 'ms'), 4),
    text(number(line, 'tokensPerSecond'), 4),
    text(number(line, 'tflops')),
    text(number(line, 'allocatedGB')),
  ]),
);
for (const line of own.filter(({ op }) => op === 'profile')) {
  table(
    `Where a step goes, ${line['clusters']} clusters: ${line['rowsMs']} ms in rows, the 14 longest`,
    ['op', 'rows', 'ms', 'share', 'TFLOP/s', 'GB/s', 'of its ceiling'],
    (line['table'] as Line[])
      .slice(0, 14)
      .map((row) => [
        String(row['op']),
        String(row['rows']),
        text(number(row, 'ms')),
        percent(number(row, 'share')!),
        text(number(row, 'tflops')),
        text(number(row, 'GBs')),
        percent(Math.max(number(row, 'tflops')! / matrixRoof, number(row, 'GBs')! / memoryRoof)),
      ]),
  );
}

// What the issue asks for.
interface Figure {
  readonly name: string;
  readonly wanted: string;
  readonly seen: string;
  readonly reached: boolean | undefined;
}
/** Why there is nothing: the first failure that says so. */
function missing(lines: readonly Line[], file: string, op: string): string {
  const failed = lines.find((line) => 'failed' in line && (line['op'] === op || line['part'] !== undefined));
  return `not measured: ${failed === undefined ? `${file} has no ${op}` : String(failed['failed']).slice(0, 80)}`;
}
const figures: Figure[] = [];
const figure = (name: string, wanted: string, value: () => { seen: string; reached: boolean } | string) => {
  const found = value();
  if (typeof found === 'string') figures.push({ name, wanted, seen: found, reached: undefined });
  else figures.push({ name, wanted, ...found });
};

figure('bf16 products of a step, share of cuBLAS', '0.85 of its speed', () => {
  const counted = products.filter(({ line, torch }) => number(line, 'step')! > 0 && torch !== undefined);
  if (counted.length === 0)
    return own.length === 0 ? missing(own, 'gpu_bench.json', 'gemm') : missing(peer, 'peer.json', 'gemm');
  const sum = (of: (product: (typeof counted)[number]) => number) =>
    counted.reduce((total, product) => total + number(product.line, 'step')! * of(product), 0);
  const all = sum(({ torch }) => torch!) / sum(({ ours }) => ours);
  const worst = counted.reduce((a, b) => (a.torch! / a.ours < b.torch! / b.ours ? a : b));
  const seen = `${all.toFixed(2)} over a step; worst ${(worst.torch! / worst.ours).toFixed(2)} (${worst.line['name']})`;
  return { seen, reached: all >= 0.85 };
});

const plain = own.filter(({ op, clusters, failed }) => op === 'train step' && clusters === 0 && failed === undefined);
figure('training step, 126M, against torch.compile', '1.00 or more', () => {
  for (const line of plain) {
    const other = find(peer, { op: 'train step', sequences: line['sequences'] });
    if (other === undefined) continue;
    const ratio = number(line, 'tokensPerSecond')! / number(other, 'tokensPerSecond')!;
    const how = other['compiled'] === true ? '' : ', which was not compiled';
    return { seen: `${times(ratio)} with ${line['tokens']} tokens${how}`, reached: ratio >= 1 && how === '' };
  }
  return plain.length === 0 ? missing(own, 'gpu_bench.json', 'train step') : missing(peer, 'peer.json', 'train step');
});
figure('the same, share of the best matrix rate seen', '0.45', () => {
  const best = plain[0];
  if (best === undefined || matrixRoof === 0) return missing(own, 'gpu_bench.json', 'train step');
  const reached = number(best, 'tflops')! / matrixRoof;
  return {
    seen: `${reached.toFixed(2)}: ${text(number(best, 'tflops'))} of ${text(matrixRoof)} TFLOP/s`,
    reached: reached >= 0.45,
  };
});

figure('projected net over plain, same tokens', '1.10 or less', () => {
  const ratios = own
    .filter(({ op, clusters, failed }) => op === 'train step' && clusters !== 0 && failed === undefined)
    .flatMap((line) => {
      const beside = plain.find(({ sequences }) => sequences === line['sequences']);
      return beside === undefined ? [] : [{ line, ratio: number(line, 'ms')! / number(beside, 'ms')! }];
    });
  if (ratios.length === 0) return missing(own, 'gpu_bench.json', 'train step');
  const seen = ratios.map(({ line, ratio }) => `${ratio.toFixed(2)} with ${line['clusters']} clusters`).join(', ');
  return { seen, reached: ratios.every(({ ratio }) => ratio <= 1.1) };
});

figure('weight generation and slice update', '0.85 of memory bandwidth', () => {
  const shares = moving.filter(({ op }) => op === 'bank_mix' || op === 'bank_adamw');
  if (shares.length === 0) return missing(own, 'gpu_bench.json', 'bank_mix');
  const seen = shares.map((line) => `${line['op']} ${share(line).toFixed(2)} (${line['groups']} groups)`).join(', ');
  return { seen, reached: shares.every((line) => share(line) >= 0.85) };
});

figure('routing and grouped products, 64 experts', 'ahead of PyTorch eager', () => {
  const [ours, other] = [find(own, { op: 'routed experts' }), find(peer, { op: 'routed experts', how: 'eager' })];
  if (ours === undefined) return missing(own, 'gpu_bench.json', 'routed experts');
  if (other === undefined) return missing(peer, 'peer.json', 'routed experts');
  const ratio = number(other, 'us')! / number(ours, 'us')!;
  const grouped = number(find(peer, { op: 'routed experts', how: 'grouped_mm' }), 'us');
  const more = grouped === undefined ? '' : `; ${times(grouped / number(ours, 'us')!)} of its grouped_mm`;
  return { seen: `${times(ratio)}${more}`, reached: ratio > 1 };
});

// Correct first.
const [conformance, training] = [read('conformance.json')[0], read('training.json')];
const suspects = read('suspects.json')[0];
const suspected = ((suspects?.['lines'] ?? []) as { name: string; good: boolean }[]).filter(({ good }) => !good);
const lines = (conformance?.['table'] ?? []) as { cases: number; failures: string[] }[];
const cases = lines.reduce((sum, line) => sum + line.cases, 0);
const wrong = lines.reduce((sum, line) => sum + line.failures.length, 0);
const bad = training.filter(({ good }) => good !== true);
/** Of a result's norm: tf32 rounds its factors, tensor cores cut off what they add, attention rounds probabilities. */
const allowed = (line: Line) =>
  String(line['op']).startsWith('attention')
    ? 1e-2
    : line['matmul'] === 'tf32' || line['matmul'] === 'bf16'
      ? 1e-3
      : 1e-4;
const off = [...own, ...library].filter(
  (line) =>
    line['plausible'] === false || ('error' in line && !((number(line, 'error') ?? Number.NaN) <= allowed(line))),
);
table(
  'Correctness',
  ['check', 'result'],
  [
    [
      'suspects',
      suspects === undefined
        ? 'not run'
        : suspected.length === 0
          ? 'all right'
          : `WRONG: ${suspected.map(({ name }) => name).join('; ')}`,
    ],
    ...(suspects?.['wgmma'] === 'wrong' || suspects?.['wgmma'] === 'off'
      ? [
          [
            'products in bf16',
            `mma.sync: wgmma was ${suspects['wgmma'] === 'off' ? 'turned off' : 'WRONG, and left out'}`,
          ],
        ]
      : []),
    ['conformance', cases === 0 ? 'not run' : `${cases - wrong} of ${cases} cases`],
    [
      'training beside the CPU, and again',
      training.length === 0
        ? 'not run'
        : bad.length === 0
          ? 'all as they should be'
          : `BAD: ${bad.map(({ name }) => name).join('; ')}`,
    ],
    [
      'samples of large results, losses of large steps',
      own.length === 0
        ? 'not run'
        : off.length === 0
          ? 'as float64 has them'
          : `WRONG: ${off.map(({ op, name }) => name ?? op).join('; ')}`,
    ],
  ],
);
table(
  `Figures on ${String((own[0]?.['device'] as Line | undefined)?.['name'] ?? 'no device')}`,
  ['figure', 'to reach', 'seen', 'reached'],
  figures.map(({ name, wanted, seen, reached }) => [
    name,
    wanted,
    seen,
    reached === undefined ? '-' : reached ? 'yes' : 'NO',
  ]),
);
writeFileSync(path.join(folder, 'figures.json'), JSON.stringify({ matrixRoof, memoryRoof, figures }, null, 1));
