// A bank of slices: w[g] = s + sum_r c[g, r] t_r for several groups at once, its gradient with respect to c, and the
// optimizer step on the slices. Slices are interleaved, t[tile][slice][256], so that everything that belongs to 256
// weights lies together and each kernel reads the bank once, from front to back, whatever the number of groups.
//
// Within a tile each kernel is a small matrix product that stays in the first-level caches, in blocks of 4 groups or
// slices by a few vectors held in registers:
//   mix           w (groups x 256)  = c (groups x slices) t (slices x 256)
//   gradient of t   (slices x 256)  = transpose of c times dw (groups x 256), used up in registers, never stored
//   gradient of c (groups x slices) = dw transpose(t), summed over tiles
// Tasks are ranges of tiles, fixed by the shape.
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/kernels/adamw.h"
#include "cpu/kernels/bank_tile.h"

namespace sweetspot::SWEETSPOT_ISA {

void bank_mix(Context& ctx, const BankMixRow& row) {
  const size_t groups = row.groups, slices = row.slices, size = row.size, tiles = size / kTile;
  const float *t = ctx.f32(row.t), *c = ctx.f32(row.c);
  const float* s = row.s.present() ? ctx.f32(row.s) : nullptr;
  float* w = ctx.f32(row.w);
  const size_t per_task = tiles_per_task(slices + groups), turns = ceil_div(groups, 4);
  parallel(ctx, ceil_div(tiles, per_task), [&](uint32_t task, uint32_t) {
    const size_t begin = task * per_task * kTile, end = min_size(begin + per_task * kTile, size);
    for (size_t strip = begin; strip < end; strip += kStrip) {
      const float* tile = t + strip / kTile * kTile * slices;
      const float* from = tile + strip % kTile;
      // The blocks of groups take turns in asking for the next tile while they work on this one.
      const float* next = tile + (kTile + strip % kTile) * slices;
      by_four(groups, [&](size_t g, auto rows) {
        constexpr size_t O = rows.value, V = kWide<O>;
        const size_t share = ceil_div(V * Vec::N, turns);
        for (size_t j = 0; j < kStrip; j += V * Vec::N) {
          Vec acc[O][V];
          for (size_t o = 0; o < O; o++)
            for (size_t v = 0; v < V; v++) {
              acc[o][v] = s == nullptr ? Vec::zero() : Vec::load(s + strip + j + v * Vec::N);
            }
          const float* ahead = next + (g / 4 * kStrip + j) * slices / turns;
          combine(acc, c + g * slices, slices, 1, from + j, kTile, slices, ahead, share);
          for (size_t o = 0; o < O; o++)
            for (size_t v = 0; v < V; v++) acc[o][v].store(w + (g + o) * size + strip + j + v * Vec::N);
        }
      });
    }
  });
}

namespace {

// acc[g * slices + r] += products of one packed tile of dw[g] and slice r, still spread over the lanes of a vector. The
// blocks of groups take turns in asking for the slices after these.
template <size_t G, size_t R>
inline void dot_tile(const float* dw, const float* t, float* acc, size_t slices, size_t turn, size_t turns) {
  const float* ahead = t + 4 * kTile + turn * R * kTile / turns;
  const size_t share = ceil_div(R * Vec::N, turns);
  Vec dot[G][R];
  for (size_t g = 0; g < G; g++)
    for (size_t r = 0; r < R; r++) dot[g][r] = Vec::load(acc + (g * slices + r) * Vec::N);
  for (size_t i = 0; i < kTile; i += Vec::N) {
    ask(ahead + i / Vec::N * share, share);
    Vec slice[R];
    for (size_t r = 0; r < R; r++) slice[r] = Vec::load(t + r * kTile + i);
    for (size_t g = 0; g < G; g++) {
      const Vec d = Vec::load(dw + g * kTile + i);
      for (size_t r = 0; r < R; r++) dot[g][r] = fma(d, slice[r], dot[g][r]);
    }
  }
  for (size_t g = 0; g < G; g++)
    for (size_t r = 0; r < R; r++) dot[g][r].store(acc + (g * slices + r) * Vec::N);
}

// Tiles added lane by lane in float before they go to a sum in double.
constexpr size_t kFloatTiles = 8;

}  // namespace

void bank_mix_backward(Context& ctx, const BankMixBackwardRow& row) {
  const size_t groups = row.groups, slices = row.slices, size = row.size, tiles = size / kTile;
  const size_t pairs = groups * slices;
  if (pairs == 0) return;
  const float *dw = ctx.f32(row.dw), *t = ctx.f32(row.t);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  float* dc = ctx.f32(row.dc);
  // At most 256 tasks, so that their sums stay small beside the bank.
  const size_t per_task = max_size(max_size(tiles_per_task(slices + groups), kFloatTiles), ceil_div(tiles, 256));
  const size_t tasks = ceil_div(tiles, per_task), turns = ceil_div(groups, 4);
  const size_t partial_bytes = round_up(tasks * pairs * sizeof(double), 64);
  const size_t lanes_bytes = round_up(pairs * sizeof(Vec), 64), packed_bytes = groups * kTile * sizeof(float);
  auto* scratch = static_cast<uint8_t*>(ctx.scratch(partial_bytes + ctx.threads * (lanes_bytes + packed_bytes)));
  if (scratch == nullptr) return;
  auto* partial = reinterpret_cast<double*>(scratch);

  parallel(ctx, static_cast<uint32_t>(tasks), [&](uint32_t task, uint32_t thread) {
    auto* acc = reinterpret_cast<float*>(scratch + partial_bytes + thread * (lanes_bytes + packed_bytes));
    float* packed = acc + lanes_bytes / sizeof(float);
    double* total = partial + task * pairs;
    for (size_t p = 0; p < pairs; p++) total[p] = 0;
    const size_t end = min_size((task + size_t{1}) * per_task, tiles);
    for (size_t begin = task * per_task; begin < end; begin += kFloatTiles) {
      std::memset(acc, 0, lanes_bytes);
      for (size_t tile = begin; tile < min_size(begin + kFloatTiles, end); tile++) {
        pack_tile(dw, groups, size, tile, packed);
        by_four(slices, [&](size_t r, auto cols) {
          by_four(groups, [&](size_t g, auto rows) {
            constexpr size_t G = rows.value, R = cols.value;
            const float *left = packed + g * kTile, *right = t + (tile * slices + r) * kTile;
            float* at = acc + (g * slices + r) * Vec::N;
            if constexpr (Vec::N < 16 && G > 2 && R > 2) {
              dot_tile<G, 2>(left, right, at, slices, g / 4, turns);
              dot_tile<G, R - 2>(left, right + 2 * kTile, at + 2 * Vec::N, slices, g / 4, turns);
            } else {
              dot_tile<G, R>(left, right, at, slices, g / 4, turns);
            }
          });
        });
      }
      for (size_t p = 0; p < pairs; p++) total[p] += sum(Vec::load(acc + p * Vec::N));
    }
  });
  parallel(ctx, ceil_div(pairs, 256), [&](uint32_t task, uint32_t) {
    const size_t begin = task * size_t{256}, end = min_size(begin + 256, pairs);
    double total[256] = {};
    for (size_t k = 0; k < tasks; k++)
      for (size_t p = begin; p < end; p++) total[p - begin] += partial[k * pairs + p];
    for (size_t p = begin; p < end; p++) {
      dc[p] = static_cast<float>(add == nullptr ? total[p - begin] : total[p - begin] + add[p]);
    }
  });
}

namespace {

// body(offset, gradient) for every block of `tile` of the gradient of the slices, where offset counts from the start of
// the tile in t and gradient is Vec[rows][wide], rows kTile apart. `packed` has room for groups * kTile floats.
template <class F>
inline void slice_gradient(const float* dw, const float* c, size_t groups, size_t slices, size_t size, size_t tile,
                           float* packed, F&& body) {
  pack_tile(dw, groups, size, tile, packed);
  by_four(slices, [&](size_t r, auto rows) {
    constexpr size_t O = rows.value, V = kWide<O>;
    for (size_t j = 0; j < kTile; j += V * Vec::N) {
      Vec gradient[O][V];
      for (size_t o = 0; o < O; o++)
        for (size_t v = 0; v < V; v++) gradient[o][v] = Vec::zero();
      combine(gradient, c + r, 1, slices, packed + j, kTile, groups, nullptr, 0);
      body(r * kTile + j, gradient);
    }
  });
}

}  // namespace

void bank_sum_squares(Context& ctx, const BankSumSquaresRow& row) {
  const size_t groups = row.groups, slices = row.slices, size = row.size, tiles = size / kTile;
  const float *dw = ctx.f32(row.dw), *c = ctx.f32(row.c);
  const size_t per_task = tiles_per_task(groups + groups * slices / 4);
  const size_t tasks = ceil_div(tiles, per_task), partial_bytes = round_up(max_size(tasks, 1) * sizeof(double), 64);
  const size_t packed_size = groups * kTile;
  auto* partial = static_cast<double*>(ctx.scratch(partial_bytes + ctx.threads * packed_size * sizeof(float)));
  if (partial == nullptr) return;
  float* packed = reinterpret_cast<float*>(reinterpret_cast<uint8_t*>(partial) + partial_bytes);
  parallel(ctx, static_cast<uint32_t>(tasks), [&](uint32_t task, uint32_t thread) {
    double total = 0;
    const size_t end = min_size((task + size_t{1}) * per_task, tiles);
    for (size_t tile = task * per_task; tile < end; tile++) {
      Vec squares = Vec::zero();
      const auto square = [&](size_t, const auto& gradient) {
        for (const auto& slice : gradient) {
          Vec own = Vec::zero();
          for (const Vec& g : slice) own = fma(g, g, own);
          squares = squares + own;
        }
      };
      slice_gradient(dw, c, groups, slices, size, tile, packed + thread * packed_size, square);
      total += sum(squares);
    }
    partial[task] = total;
  });
  double total = 0;
  for (size_t k = 0; k < tasks; k++) total += partial[k];
  *ctx.f32(row.y) = static_cast<float>(total);
}

void bank_adamw(Context& ctx, const BankAdamwRow& row) {
  const size_t groups = row.groups, slices = row.slices, size = row.size, tiles = size / kTile;
  const float *dw = ctx.f32(row.dw), *c = ctx.f32(row.c);
  const AdamwStep step(ctx.f32(row.hyper), *ctx.f32(row.clip), row.lrScale, row.decayScale);
  const size_t packed_size = groups * kTile;
  auto* packed = static_cast<float*>(ctx.scratch(max_size(ctx.threads * packed_size, 1) * sizeof(float)));
  if (packed == nullptr) return;
  const size_t per_task = tiles_per_task(6 * slices + groups);
  parallel(ctx, ceil_div(tiles, per_task), [&](uint32_t task, uint32_t thread) {
    const size_t end = min_size((task + size_t{1}) * per_task, tiles);
    for (size_t tile = task * per_task; tile < end; tile++) {
      const size_t base = tile * kTile * slices;
      float *t = ctx.f32(row.t) + base, *m = ctx.f32(row.m) + base, *v = ctx.f32(row.v) + base;
      const auto update = [&](size_t offset, const auto& gradient) {
        constexpr size_t rows = sizeof(gradient) / sizeof(gradient[0]);
        constexpr size_t columns = sizeof(gradient[0]) / sizeof(Vec) * Vec::N;
        size_t ahead = offset / kTile * kTile + rows * kTile + offset % kTile * rows;
        for (const auto& slice : gradient) {
          ask<true>(t + ahead, columns);
          ask<true>(m + ahead, columns);
          ask<true>(v + ahead, columns);
          ahead += columns;
          size_t i = offset;
          for (const Vec& g : slice) {
            Vec ti = Vec::load(t + i), mi = Vec::load(m + i), vi = Vec::load(v + i);
            step(g, ti, mi, vi);
            ti.store(t + i);
            mi.store(m + i);
            vi.store(v + i);
            i += Vec::N;
          }
          offset += kTile;
        }
      };
      slice_gradient(dw, c, groups, slices, size, tile, packed + thread * packed_size, update);
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
