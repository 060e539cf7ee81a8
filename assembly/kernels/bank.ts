// A bank of slices, interleaved as t[tile][slice][256] so that all that belongs to 256 weights lies together: w[g] = s + sum_r c[g, r] t_r
// for several groups at once, and its gradient with respect to c. Both read the bank once, from front to back: the first group takes
// a tile from memory, the others from the caches. Tasks are ranges of tiles.
import {
  BankWork, bankWork, combine, dotRows, dotRowsTwice, knownSlices, packTile, sumPacked, TILE, TILE_BYTES, tilesPerTask, ZEROS,
} from '../bank_tile';
import { scratch } from '../control';
import { countInside } from '../count';
import { BankMixBackwardRow, BankMixRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv } from '../rows';

export function bank_mix(row: BankMixRow): void {
  const groups = countInside(row.count, row.groups);
  if (groups < 0 || !knownSlices(row.dtype)) return;
  const work = bankWork();
  work.groups = groups;
  work.tiles = row.size / <u32>TILE;
  work.perTask = tilesPerTask(work.tiles, (<usize>row.slices + groups) * TILE_BYTES);
  parallel(ceilDiv(work.tiles, work.perTask), mixTask, changetype<usize>(row));
}

function mixTask(at: usize, task: u32): void {
  const row = changetype<BankMixRow>(at), work = bankWork();
  const begin = task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  for (let tile = begin; tile < end; tile++) {
    if (row.dtype == 1) mixTile<u16>(row, work, tile);
    else mixTile<f32>(row, work, tile);
  }
}

function mixTile<T>(row: BankMixRow, work: BankWork, tile: usize): void {
  const slices: usize = row.slices, size: usize = row.size;
  const own = row.t + tile * slices * TILE * sizeof<T>();
  const base = row.s == 0 ? ZEROS : row.s + tile * TILE_BYTES;
  let w = row.w + tile * TILE_BYTES, c = row.c;
  for (let g: usize = 0; g < work.groups; g++, w += size << 2, c += slices << 2) combine<T>(w, base, own, slices, c, 4);
}

/** At most, so that their sums stay small beside the bank. */
const BACKWARD_TASKS: usize = 256;
/** Pairs of group and slice whose sums one task adds. */
const PAIRS: usize = 64;

export function bank_mix_backward(row: BankMixBackwardRow): void {
  const groups = countInside(row.count, row.groups);
  if (groups < 0 || !knownSlices(row.dtype)) return;
  const work = bankWork(), slices: usize = row.slices;
  const pairs = groups * slices;
  work.groups = groups;
  // Nothing to do over the tiles when nothing comes of it.
  work.tiles = pairs == 0 && row.ds == 0 ? 0 : row.size / <u32>TILE;
  work.perTask = max<usize>(tilesPerTask(work.tiles, (slices + groups) * TILE_BYTES), ceilDiv(work.tiles, BACKWARD_TASKS));
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  const partialBytes = (tasks * pairs * 8 + 63) & ~63;
  work.room = groups * TILE_BYTES;
  work.partial = scratch(partialBytes + tasks * work.room);
  if (work.partial == 0) return;
  work.rooms = work.partial + partialBytes;
  parallel(<u32>tasks, dotTask, changetype<usize>(row));
  parallel(ceilDiv(<usize>row.groups * slices, PAIRS), totalsTask, changetype<usize>(row));
}

function dotTask(at: usize, task: u32): void {
  const row = changetype<BankMixBackwardRow>(at), work = bankWork();
  const begin = task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  const packed = work.rooms + task * work.room;
  const bytes = (work.groups * row.slices) << 3;
  const totals = work.partial + task * bytes;
  memory.fill(totals, 0, bytes);
  for (let tile = begin; tile < end; tile++) {
    packTile(row.dw, work.groups, row.size, tile, packed);
    if (row.ds != 0) {
      const base = row.adds == 0 ? ZEROS : row.adds + tile * TILE_BYTES;
      sumPacked(packed, work.groups, base, row.ds + tile * TILE_BYTES);
    }
    if (row.dtype == 1) dotTile<u16>(row, work.groups, tile, packed, totals);
    else dotTile<f32>(row, work.groups, tile, packed, totals);
  }
}

function dotTile<T>(row: BankMixBackwardRow, groups: usize, tile: usize, packed: usize, totals: usize): void {
  const slices: usize = row.slices, across = slices << 3;
  const own = row.t + tile * slices * TILE * sizeof<T>();
  let g: usize = 0;
  for (; g + 2 <= groups; g += 2) dotRowsTwice<T>(packed + g * TILE_BYTES, own, slices, totals + g * across, across);
  if (g < groups) dotRows<T>(packed + g * TILE_BYTES, own, slices, totals + g * across);
}

/** dc = the sums of all tasks (+ add), zeros where a group is absent. */
function totalsTask(at: usize, task: u32): void {
  const row = changetype<BankMixBackwardRow>(at), work = bankWork();
  const pairs = work.groups * row.slices, all = <usize>row.groups * row.slices;
  const begin = task * PAIRS, end = min<usize>(begin + PAIRS, all);
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  for (let p = begin; p < end; p++) {
    let total: f64 = 0;
    if (p < pairs) for (let k: usize = 0; k < tasks; k++) total += load<f64>(work.partial + ((k * pairs + p) << 3));
    if (row.add != 0) total += load<f32>(row.add + (p << 2));
    store<f32>(row.dc + (p << 2), <f32>total);
  }
}
