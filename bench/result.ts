// What a run of the benches leaves: the machine, its roofs, and one row a measurement, ours (peer null) or a peer's.
import { z } from 'zod';

export const resultSchema = z.object({
  /** Unique together with `peer`: what was measured, on what, in which precision. */
  name: z.string(),
  op: z.string(),
  shape: z.string(),
  /** 'fp32' or 'bf16': of the factors of products; sums are float32. */
  dtype: z.string(),
  threads: z.number(),
  /** 'cpu/avx512' for ours; version and kernel of a peer. */
  backend: z.string(),
  peer: z.string().nullable(),
  /** Median. */
  value: z.number(),
  unit: z.enum(['GFLOP/s', 'GB/s', 'tokens/s', 'ms', 'us', 'MB', 'x']),
  /** Of the roof measured beside it; null where none applies (the data stays in caches; a latency; memory). */
  shareOfRoof: z.number().nullable(),
  /** Interquartile range over the median. */
  spread: z.number(),
});
export type Result = z.infer<typeof resultSchema>;

/** GFLOP/s and GB/s; null where the machine or the build has no such kernel. */
export const roofSchema = z.object({
  fp32: z.number(),
  fp32OneThread: z.number(),
  bf16: z.number().nullable(),
  bf16OneThread: z.number().nullable(),
  read: z.number(),
  readOneThread: z.number(),
});
export type Roof = z.infer<typeof roofSchema>;

export const reportSchema = z.object({
  machine: z.object({
    cpu: z.string(),
    cores: z.number(),
    memoryMB: z.number(),
    node: z.string(),
    isa: z.string(),
    threads: z.number(),
    /** Peers that took part, and why others did not. */
    peers: z.record(z.string(), z.string()),
    seconds: z.number(),
  }),
  roof: roofSchema,
  results: z.array(resultSchema),
});
export type Report = z.infer<typeof reportSchema>;

/** More is better for rates, less for times and sizes. */
export const isRate = (unit: Result['unit']): boolean => unit.endsWith('/s');

/** Three significant digits, whole numbers from 100 up. */
export function figure(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return value === 0 ? '0' : String(Number(value.toPrecision(3)));
}

export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

/** Columns padded to their widest cell; the first is left-aligned. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** One line a measurement: ours, its share and spread, then every peer with our advantage over it. */
export function table(results: readonly Result[]): string {
  const names = [...new Set(results.map((row) => row.name))];
  const peers = [...new Set(results.flatMap((row) => (row.peer === null ? [] : [row.peer])))];
  const lines = names.map((name) => {
    const rows = results.filter((row) => row.name === name);
    const ours = rows.find((row) => row.peer === null);
    const unit = rows[0]!.unit;
    return [
      name,
      ours === undefined ? '-' : figure(ours.value),
      unit,
      ours?.shareOfRoof === null || ours === undefined ? '' : percent(ours.shareOfRoof),
      ours === undefined ? '' : `+-${percent(ours.spread / 2)}`,
      ...peers.map((peer) => {
        const row = rows.find((one) => one.peer === peer);
        if (row === undefined) return '';
        if (ours === undefined) return figure(row.value);
        const advantage = isRate(unit) ? ours.value / row.value : row.value / ours.value;
        return `${figure(row.value)} (${advantage.toFixed(2)}x)`;
      }),
    ];
  });
  return columns([['', 'sweetspot', 'unit', 'of roof', 'spread', ...peers], ...lines]);
}
