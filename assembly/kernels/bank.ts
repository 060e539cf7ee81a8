// A bank of slices, interleaved as t[tile][slice][256] so that all that belongs to 256 weights lies together: w[g] = s + sum_r c[g, r] t_r
// for several groups at once, and its gradient with respect to c. Both read the bank once, from front to back: the first group takes
// a tile from memory, the others from the caches. Tasks are ranges of tiles.
import {
  bankWork, combine, dotRows, dotRowsTwice, knownSlices, packTile, sumPacked, TILE, TILE_BYTES, tilesPerTask, WIDENS, widenTile,
  ZEROS,
} from '../bank_tile';
import { scratch } from '../control';
import { countInside } from '../count';
import { BankMixBackwardRow, BankMixRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv } from '../rows';

// @ts-ignore: decorator
@inline
function widens(dtype: u32, groups: usize): bool {
  return dtype == 1 && groups >= WIDENS;
}

export function bank_mix(row: BankMixRow): void {
  const given = countInside(row.count, row.groups);
  if (given < 0 || !knownSlices(row.dtype)) return;
  const work = bankWork(), groups: usize = given;
  work.groups = groups;
  work.tiles = row.size / <u32>TILE;
  work.perTask = tilesPerTask(work.tiles, (<usize>row.slices + groups) * TILE_BYTES);
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  if (widens(row.dtype, groups)) {
    work.room = <usize>row.slices * TILE_BYTES;
    work.rooms = scratch(tasks * work.room);
    if (work.rooms == 0) return;
  }
  parallel(<u32>tasks, mixTask, changetype<usize>(row));
}

function mixTask(at: usize, task: u32): void {
  const row = changetype<BankMixRow>(at), work = bankWork();
  const begin = <usize>task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  const slices: usize = row.slices, wide = work.rooms + <usize>task * work.room;
  for (let tile = begin; tile < end; tile++) {
    const own = row.t + tile * slices * (row.dtype == 1 ? TILE_BYTES / 2 : TILE_BYTES);
    if (widens(row.dtype, work.groups)) {
      widenTile(own, slices, wide);
      mixTile<f32>(row, work.groups, tile, wide);
    } else if (row.dtype == 1) mixTile<u16>(row, work.groups, tile, own);
    else mixTile<f32>(row, work.groups, tile, own);
  }
}

function mixTile<T>(row: BankMixRow, groups: usize, tile: usize, own: usize): void {
  const slices: usize = row.slices, size: usize = row.size;
  const base = row.s == 0 ? ZEROS : row.s + tile * TILE_BYTES;
  let w = row.w + tile * TILE_BYTES, c = row.c;
  for (let g: usize = 0; g < groups; g++, w += size << 2, c += slices << 2) combine<T>(w, base, own, slices, c, 4);
}

/** At most, so that their sums stay small beside the bank. */
const BACKWARD_TASKS: usize = 256;
/** Pairs of group and slice whose sums one task adds. */
const PAIRS: usize = 64;

export function bank_mix_backward(row: BankMixBackwardRow): void {
  const given = countInside(row.count, row.groups);
  if (given < 0 || !knownSlices(row.dtype)) return;
  const work = bankWork(), groups: usize = given, slices: usize = row.slices;
  const pairs = groups * slices;
  work.groups = groups;
  // Nothing to do over the tiles when nothing comes of it.
  work.tiles = pairs == 0 && row.ds == 0 ? 0 : row.size / <u32>TILE;
  work.perTask = max<usize>(tilesPerTask(work.tiles, (slices + groups) * TILE_BYTES), ceilDiv(work.tiles, BACKWARD_TASKS));
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  const partialBytes = (tasks * pairs * 8 + 63) & ~63;
  work.room = (groups + (widens(row.dtype, groups) ? slices : 0)) * TILE_BYTES;
  work.partial = scratch(partialBytes + tasks * work.room);
  if (work.partial == 0) return;
  work.rooms = work.partial + partialBytes;
  parallel(<u32>tasks, dotTask, changetype<usize>(row));
  parallel(ceilDiv(<usize>row.groups * slices, PAIRS), totalsTask, changetype<usize>(row));
}

function dotTask(at: usize, task: u32): void {
  const row = changetype<BankMixBackwardRow>(at), work = bankWork();
  const begin = <usize>task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  const groups = work.groups, slices: usize = row.slices;
  const packed = work.rooms + <usize>task * work.room, wide = packed + groups * TILE_BYTES;
  const bytes = (groups * slices) << 3;
  const totals = work.partial + <usize>task * bytes;
  memory.fill(totals, 0, bytes);
  for (let tile = begin; tile < end; tile++) {
    packTile(row.dw, groups, row.size, tile, packed);
    if (row.ds != 0) {
      const base = row.adds == 0 ? ZEROS : row.adds + tile * TILE_BYTES;
      sumPacked(packed, groups, base, row.ds + tile * TILE_BYTES);
    }
    const own = row.t + tile * slices * (row.dtype == 1 ? TILE_BYTES / 2 : TILE_BYTES);
    if (widens(row.dtype, groups)) {
      widenTile(own, slices, wide);
      dotTile<f32>(packed, groups, wide, slices, totals);
    } else if (row.dtype == 1) dotTile<u16>(packed, groups, own, slices, totals);
    else dotTile<f32>(packed, groups, own, slices, totals);
  }
}

function dotTile<T>(packed: usize, groups: usize, own: usize, slices: usize, totals: usize): void {
  const across = slices << 3;
  let g: usize = 0;
  for (; g + 2 <= groups; g += 2) dotRowsTwice<T>(packed + g * TILE_BYTES, own, slices, totals + g * across, across);
  if (g < groups) dotRows<T>(packed + g * TILE_BYTES, own, slices, totals + g * across);
}

/** dc = the sums of all tasks (+ add), zeros where a group is absent. */
function totalsTask(at: usize, task: u32): void {
  const row = changetype<BankMixBackwardRow>(at), work = bankWork();
  const pairs = work.groups * row.slices, all = <usize>row.groups * row.slices;
  const begin = <usize>task * PAIRS, end = min<usize>(begin + PAIRS, all);
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  for (let p = begin; p < end; p++) {
    let total: f64 = 0;
    if (p < pairs) for (let k: usize = 0; k < tasks; k++) total += load<f64>(work.partial + ((k * pairs + p) << 3));
    if (row.add != 0) total += load<f32>(row.add + (p << 2));
    store<f32>(row.dc + (p << 2), <f32>total);
  }
}
