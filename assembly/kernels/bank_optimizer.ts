// The optimizer's step on the slices of a bank (bank.ts). The gradient of a slice, dt_r = sum_g c[g, r] dw[g], is formed a tile at a
// time from the few dw and used up at once, for its norm and for AdamW: it is never stored. Tasks are ranges of tiles.
import { AdamwStep } from '../adamw';
import {
  BankWork, bankWork, combine, dotRows, dotRowsTwice, knownSlices, loadSlice, packTile, TILE, TILE_BYTES, tilesPerTask, ZEROS,
} from '../bank_tile';
import { locals, scratch } from '../control';
import { countInside } from '../count';
import { BankAdamwRow, BankSumSquaresRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv } from '../rows';
import { StochasticRounding } from '../stochastic';
import { fma, sum, zero } from '../vec';

/** Tasks of bank_sum_squares at most, so that their sums stay small beside dw. */
const SQUARES_TASKS: usize = 256;

export function bank_sum_squares(row: BankSumSquaresRow): void {
  const given = countInside(row.count, row.groups);
  if (given < 0) return;
  const work = bankWork(), groups: usize = given;
  work.groups = groups;
  work.tiles = row.size / <u32>TILE;
  work.perTask = max<usize>(tilesPerTask(work.tiles, groups * TILE_BYTES), ceilDiv(work.tiles, SQUARES_TASKS));
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  const partialBytes = (tasks * max<usize>(groups * groups, 1) * 8 + 63) & ~63;
  work.room = (groups + 1) * TILE_BYTES;
  work.partial = scratch(partialBytes + tasks * work.room);
  if (work.partial == 0) return;
  work.rooms = work.partial + partialBytes;
  let total: f64 = NaN;
  if (groups * (groups + 4) / 2 <= <usize>row.slices * (groups + 1)) {
    parallel(<u32>tasks, pairsTask, changetype<usize>(row));
    total = max<f64>(totalOfPairs(row, work, tasks), 0); // below 0 by rounding, when the dw cancel
  }
  // Products may meet infinities of both signs where the sum of squares has one answer.
  if (!isFinite(total)) {
    parallel(<u32>tasks, slicesTask, changetype<usize>(row));
    total = 0;
    for (let k: usize = 0; k < tasks; k++) total += load<f64>(work.partial + (k << 3));
  }
  store<f32>(row.y, <f32>total);
}

/** The norm through the products of the few dw, whatever the number of slices: <dw[g], dw[h]> for h <= g. */
function pairsTask(at: usize, task: u32): void {
  const row = changetype<BankSumSquaresRow>(at), work = bankWork();
  const groups = work.groups, across = groups << 3;
  const begin = <usize>task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  const packed = work.rooms + <usize>task * work.room;
  const products = work.partial + <usize>task * groups * across;
  memory.fill(products, 0, groups * across);
  for (let tile = begin; tile < end; tile++) {
    packTile(row.dw, groups, row.size, tile, packed);
    let g: usize = 0;
    for (; g + 2 <= groups; g += 2) {
      // Whole blocks of four rows, which costs less than one row on its own.
      const rows = min<usize>((g + 5) & ~3, groups);
      dotRowsTwice<f32>(packed + g * TILE_BYTES, packed, rows, products + g * across, across);
    }
    if (g < groups) dotRows<f32>(packed + g * TILE_BYTES, packed, groups, products + g * across);
  }
}

/** sum over r of |sum_g c[g, r] dw[g]|^2 = sum over g, h of (c transpose(c))[g, h] <dw[g], dw[h]> */
function totalOfPairs(row: BankSumSquaresRow, work: BankWork, tasks: usize): f64 {
  const groups = work.groups, slices: usize = row.slices;
  let total: f64 = 0;
  for (let g: usize = 0; g < groups; g++) {
    for (let h: usize = 0; h <= g; h++) {
      let factor: f64 = 0, product: f64 = 0;
      const a = row.c + ((g * slices) << 2), b = row.c + ((h * slices) << 2);
      for (let r: usize = 0; r < slices; r++) factor += <f64>load<f32>(a + (r << 2)) * load<f32>(b + (r << 2));
      const pair = work.partial + ((g * groups + h) << 3);
      for (let k: usize = 0; k < tasks; k++) product += load<f64>(pair + ((k * groups * groups) << 3));
      total += (h < g ? 2 : 1) * factor * product;
    }
  }
  return total;
}

/** The norm slice by slice. */
function slicesTask(at: usize, task: u32): void {
  const row = changetype<BankSumSquaresRow>(at), work = bankWork();
  const groups = work.groups, slices: usize = row.slices;
  const begin = <usize>task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  const packed = work.rooms + <usize>task * work.room, gradient = packed + groups * TILE_BYTES;
  let total: f64 = 0;
  for (let tile = begin; tile < end; tile++) {
    packTile(row.dw, groups, row.size, tile, packed);
    for (let r: usize = 0; r < slices; r++) {
      combine<f32>(gradient, ZEROS, packed, groups, row.c + (r << 2), slices << 2);
      let squares = zero();
      for (let i: usize = 0; i < TILE_BYTES; i += 16) {
        const g = v128.load(gradient + i);
        squares = fma(g, g, squares);
      }
      total += sum(squares);
    }
  }
  store<f64>(work.partial + (task << 3), total);
}

export function bank_adamw(row: BankAdamwRow): void {
  const given = countInside(row.count, row.groups);
  if (given < 0 || !knownSlices(row.dtype)) return;
  const work = bankWork(), groups: usize = given;
  work.groups = groups;
  work.tiles = row.size / <u32>TILE;
  work.perTask = tilesPerTask(work.tiles, (3 * <usize>row.slices + groups) * TILE_BYTES);
  const tasks: usize = ceilDiv(work.tiles, work.perTask);
  work.room = (groups + 1) * TILE_BYTES;
  work.rooms = scratch(tasks * work.room);
  if (work.rooms == 0) return;
  changetype<AdamwStep>(locals()).prepare(row.hyper, row.clip, row.lrScale, row.decayScale);
  const number = load<f32>(row.hyper, 28);
  rounding().prepare(row.seed, number > 0 && number < 4e9 ? <u32>number : 0);
  parallel(<u32>tasks, adamwTask, changetype<usize>(row));
}

// @ts-ignore: decorator
@inline
function rounding(): StochasticRounding {
  return changetype<StochasticRounding>(locals() + 512);
}

function adamwTask(at: usize, task: u32): void {
  const row = changetype<BankAdamwRow>(at), work = bankWork();
  const slices: usize = row.slices;
  const begin = <usize>task * work.perTask, end = min<usize>(begin + work.perTask, work.tiles);
  const packed = work.rooms + <usize>task * work.room, gradient = packed + work.groups * TILE_BYTES;
  for (let tile = begin; tile < end; tile++) {
    packTile(row.dw, work.groups, row.size, tile, packed);
    // One slice after the other: t, m and v are three walks from front to back, which the processor foresees.
    for (let r: usize = 0; r < slices; r++) {
      combine<f32>(gradient, ZEROS, packed, work.groups, row.c + (r << 2), slices << 2);
      if (row.dtype == 1) stepSlice<u16>(row, gradient, (tile * slices + r) * TILE);
      else stepSlice<f32>(row, gradient, (tile * slices + r) * TILE);
    }
  }
}

/** The step on one tile of one slice, whose first weight is at place `first`. */
function stepSlice<T>(row: BankAdamwRow, gradient: usize, first: usize): void {
  const adam = changetype<AdamwStep>(locals()), random = rounding();
  let t = row.t + first * sizeof<T>(), m = row.m + (first << 2), v = row.v + (first << 2);
  let places = i32x4.add(i32x4.splat(<i32>first), i32x4(0, 1, 2, 3));
  for (const end = gradient + TILE_BYTES; gradient < end; gradient += 16, t += 4 * sizeof<T>(), m += 16, v += 16) {
    const stepped = adam.step(v128.load(gradient), loadSlice<T>(t), m, v, 4);
    if (sizeof<T>() == 2) {
      random.store(stepped, places, t);
      places = i32x4.add(places, i32x4.splat(4));
    } else v128.store(t, stepped);
  }
}
