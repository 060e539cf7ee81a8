// A bank of slices: w[g] = s + sum_r c[g, r] t_r for several groups at once, its gradient with respect to c, and the
// optimizer step on the slices. Slices are interleaved, t[tile][slice][256], so that everything that belongs to 256
// weights lies together and each kernel reads the bank once, from front to back, whatever the number of groups.
//
// Within a tile each kernel is a small matrix product that stays in the first-level caches:
//   mix           w (groups x 256)  = c (groups x slices) t (slices x 256)
//   gradient of t   (slices x 256)  = transpose of c times dw (groups x 256), used up in registers, never stored
//   gradient of c (groups x slices) = dw transpose(t), summed over tiles
// Tasks are ranges of tiles, fixed by the shape.
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/kernels/adamw.h"
#include "cpu/kernels/bank_tile.h"
#include "cpu/kernels/ids.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

// Generated weights of this many bytes and more do not fit the caches beside the bank, and are stored past them.
constexpr size_t kStreamBytes = size_t{8} << 20;

struct Mix {
  size_t groups, slices, size;
  const float *c, *s;
  float* w;

  // Groups g .. g + O - 1 in V vectors of columns, of which `first` is the first in w and `from` in the tile.
  template <size_t O, size_t V, bool Stream>
  void block(size_t g, size_t first, const float* from, const float* ahead, size_t share) const {
    Vec acc[O][V];
    for (size_t o = 0; o < O; o++)
      for (size_t v = 0; v < V; v++) acc[o][v] = s == nullptr ? Vec::zero() : Vec::load(s + first + v * Vec::N);
    combine(acc, c + g * slices, slices, 1, from, kTile, slices, ahead, share);
    for (size_t o = 0; o < O; o++)
      for (size_t v = 0; v < V; v++) {
        float* to = w + (g + o) * size + first + v * Vec::N;
        Stream ? stream(acc[o][v], to) : acc[o][v].store(to);
      }
  }

  // One group: with a sum for every column of the tile, slices are read from front to back.
  template <bool Stream>
  void single(size_t tile, const float* t) const {
    constexpr size_t V = Vec::N == 16 ? 16 : 8;
    for (size_t j = 0; j < kTile; j += V * Vec::N) {
      block<1, V, Stream>(0, tile * kTile + j, t + tile * kTile * slices + j, t, 0);
    }
  }

  template <bool Stream>
  void several(size_t tile, const float* t) const {
    const size_t turns = ceil_div(groups, 4);
    for (size_t strip = 0; strip < kTile; strip += kStrip) {
      const float* from = t + tile * kTile * slices + strip;
      // The blocks of groups take turns in asking for the next tile while they work on this one.
      const float* next = t + ((tile + 1) * kTile + strip) * slices;
      by_four(groups, [&](size_t g, auto rows) {
        constexpr size_t O = rows.value, V = kWide<O>;
        const size_t share = ceil_div(V * Vec::N, turns);
        for (size_t j = 0; j < kStrip; j += V * Vec::N) {
          const float* ahead = next + (g / 4 * kStrip + j) * slices / turns;
          block<O, V, Stream>(g, tile * kTile + strip + j, from + j, ahead, share);
        }
      });
    }
  }

  template <bool Stream>
  void operator()(Context& ctx, const float* t) const {
    const size_t tiles = size / kTile;
    const size_t per_task = tiles_per_task(tiles, (slices + groups) * kTileBytes);
    parallel(ctx, ceil_div(tiles, per_task), [&](uint32_t task, uint32_t) {
      const size_t end = min_size((task + size_t{1}) * per_task, tiles);
      for (size_t tile = task * per_task; tile < end; tile++) {
        groups == 1 ? single<Stream>(tile, t) : several<Stream>(tile, t);
      }
      if (Stream) stream_end();
    });
  }
};

}  // namespace

void bank_mix(Context& ctx, const BankMixRow& row) {
  uint32_t groups;
  if (!count_inside(ctx, row.count, row.groups, groups)) return;
  const Mix mix{groups,        row.slices, row.size, ctx.f32(row.c), row.s.present() ? ctx.f32(row.s) : nullptr,
                ctx.f32(row.w)};
  const bool aligned = reinterpret_cast<uintptr_t>(mix.w) % sizeof(Vec) == 0;
  if (aligned && mix.groups * mix.size * sizeof(float) >= kStreamBytes) {
    mix.operator()<true>(ctx, ctx.f32(row.t));
  } else {
    mix.operator()<false>(ctx, ctx.f32(row.t));
  }
}

namespace {

// acc[g * across + r] += products of row g of `left` and row r of `right`, one tile of each, still spread over the
// lanes of a vector.
template <size_t G, size_t R>
inline void dot_tile(const float* left, const float* right, float* acc, size_t across) {
  Vec dot[G][R];
  for (size_t g = 0; g < G; g++)
    for (size_t r = 0; r < R; r++) dot[g][r] = Vec::load(acc + (g * across + r) * Vec::N);
  for (size_t i = 0; i < kTile; i += Vec::N) {
    Vec slice[R];
    for (size_t r = 0; r < R; r++) slice[r] = Vec::load(right + r * kTile + i);
    for (size_t g = 0; g < G; g++) {
      const Vec d = Vec::load(left + g * kTile + i);
      for (size_t r = 0; r < R; r++) dot[g][r] = fma(d, slice[r], dot[g][r]);
    }
  }
  for (size_t g = 0; g < G; g++)
    for (size_t r = 0; r < R; r++) dot[g][r].store(acc + (g * across + r) * Vec::N);
}

// dot_tile in halves where 16 sums and their factors are more than there are registers.
template <size_t G, size_t R>
inline void dot_block(const float* left, const float* right, float* acc, size_t across) {
  if constexpr (Vec::N < 16 && G > 2 && R > 2) {
    dot_tile<G, 2>(left, right, acc, across);
    dot_tile<G, R - 2>(left, right + 2 * kTile, acc + 2 * Vec::N, across);
  } else {
    dot_tile<G, R>(left, right, acc, across);
  }
}

// acc[r] += sum over the columns k of a tile of columns[k] * t[r, k]: a lane is a group, so that no sum is spread over
// lanes, and all sums stay in registers for the whole tile. Asks for the tile after this one on the way.
template <size_t R>
inline void dot_columns(const float* columns, const float* t, float* acc, const void* ahead, size_t share) {
  Vec dot[R];
  for (size_t r = 0; r < R; r++) dot[r] = Vec::zero();
  const char* next = static_cast<const char*>(ahead);
  for (size_t j = 0; j < kTile; j += 16) {
    for (size_t i = 0; i < share; i += 64) __builtin_prefetch(next + i, 0, 2);
    next += share;
    for (size_t k = j; k < j + 16; k++) {
      const Vec d = Vec::load(columns + k * Vec::N);
      for (size_t r = 0; r < R; r++) dot[r] = fma(Vec::set(t[r * kTile + k]), d, dot[r]);
    }
  }
  for (size_t r = 0; r < R; r++) (Vec::load(acc + r * Vec::N) + dot[r]).store(acc + r * Vec::N);
}
// Slices that dot_columns takes at once: a register each.
constexpr size_t kDotColumns = Vec::N == 16 ? 24 : 12;

// Tiles added lane by lane in float before they go to a sum in double.
constexpr size_t kFloatTiles = 8;

// total[g * slices + r] = <dw[g], t_r> over the tiles begin .. end - 1 and, unless ds is nullptr, ds = adds + sum of
// dw[g] there. `acc` has room for a vector a pair, with groups rounded up to a whole vector; `packed` for as many rows
// of a tile.
void dot_range(const float* dw, const float* t, size_t groups, size_t slices, size_t size, size_t begin, size_t end,
               float* acc, float* packed, double* total, const float* adds, float* ds) {
  const size_t pairs = groups * slices, chunks = ceil_div(groups, Vec::N);
  const bool by_columns = groups > 4;
  const size_t acc_size = by_columns ? chunks * slices * Vec::N : pairs * Vec::N;
  for (size_t p = 0; p < pairs; p++) total[p] = 0;
  for (; begin < end; begin += kFloatTiles) {
    std::memset(acc, 0, acc_size * sizeof(float));
    for (size_t tile = begin; tile < min_size(begin + kFloatTiles, end); tile++) {
      const float* own = t + tile * slices * kTile;
      const float* base = adds == nullptr ? nullptr : adds + tile * kTile;
      float* sums = ds == nullptr ? nullptr : ds + tile * kTile;
      if (!by_columns) {
        pack_tile(dw, groups, size, tile, packed);
        if (sums != nullptr) sum_packed(packed, groups, base, sums);
        by_four(slices, [&](size_t r, auto cols) {
          by_four(groups, [&](size_t g, auto rows) {
            dot_block<rows.value, cols.value>(packed + g * kTile, own + r * kTile, acc + (g * slices + r) * Vec::N,
                                              slices);
          });
        });
        continue;
      }
      for (size_t chunk = 0; chunk < chunks; chunk++) {
        const size_t first = chunk * Vec::N, count = min_size(Vec::N, groups - first);
        pack_columns(dw + first * size, count, size, tile, packed, chunk == 0 ? base : sums, sums);
        const size_t blocks = max_size(ceil_div(slices, kDotColumns), 1), block = ceil_div(slices, blocks);
        for (size_t r = 0; r < slices; r += block) {
          by_count<kDotColumns>(min_size(block, slices - r), [&](auto n) {
            const size_t share = chunk == 0 ? n.value * 16 * sizeof(float) : 0;
            dot_columns<n.value>(packed, own + r * kTile, acc + (chunk * slices + r) * Vec::N,
                                 own + (slices + r) * kTile, share);
          });
        }
      }
    }
    for (size_t g = 0; g < groups; g++)
      for (size_t r = 0; r < slices; r++) {
        total[g * slices + r] += by_columns ? acc[(g / Vec::N * slices + r) * Vec::N + g % Vec::N]
                                            : sum(Vec::load(acc + (g * slices + r) * Vec::N));
      }
  }
}

}  // namespace

void bank_mix_backward(Context& ctx, const BankMixBackwardRow& row) {
  uint32_t present;
  if (!count_inside(ctx, row.count, row.groups, present)) return;
  const size_t groups = present, slices = row.slices, size = row.size, tiles = size / kTile;
  const size_t pairs = groups * slices, rounded = round_up(groups, Vec::N);
  const float* dw = ctx.f32(row.dw);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  const float* adds = row.adds.present() ? ctx.f32(row.adds) : nullptr;
  float *dc = ctx.f32(row.dc), *ds = row.ds.present() ? ctx.f32(row.ds) : nullptr;
  // At most 256 tasks, so that their sums stay small beside the bank.
  const size_t tile_bytes = (slices + groups) * kTileBytes;
  const size_t per_task = max_size(max_size(tiles_per_task(tiles, tile_bytes), kFloatTiles), ceil_div(tiles, 256));
  const size_t tasks = pairs == 0 && ds == nullptr ? 0 : ceil_div(tiles, per_task);
  const size_t partial_bytes = round_up(max_size(tasks * pairs, 1) * sizeof(double), 64);
  const size_t acc_bytes = round_up(rounded * slices * sizeof(Vec), 64), packed_bytes = rounded * kTileBytes;
  auto* scratch = static_cast<uint8_t*>(ctx.scratch(partial_bytes + ctx.threads * (acc_bytes + packed_bytes)));
  if (scratch == nullptr) return;
  auto* partial = reinterpret_cast<double*>(scratch);

  const float* t = ctx.f32(row.t);
  parallel(ctx, static_cast<uint32_t>(tasks), [&](uint32_t task, uint32_t thread) {
    auto* acc = reinterpret_cast<float*>(scratch + partial_bytes + thread * (acc_bytes + packed_bytes));
    const size_t begin = task * per_task, end = min_size(begin + per_task, tiles);
    dot_range(dw, t, groups, slices, size, begin, end, acc, acc + acc_bytes / sizeof(float), partial + task * pairs,
              adds, ds);
  });
  const size_t all = row.groups * slices;
  parallel(ctx, ceil_div(all, 256), [&](uint32_t task, uint32_t) {
    const size_t begin = task * size_t{256}, end = min_size(begin + 256, all);
    double total[256] = {};
    for (size_t k = 0; k < tasks; k++)
      for (size_t p = begin; p < min_size(end, pairs); p++) total[p - begin] += partial[k * pairs + p];
    for (size_t p = begin; p < end; p++) {
      dc[p] = static_cast<float>(add == nullptr ? total[p - begin] : total[p - begin] + add[p]);
    }
  });
}

namespace {

// The squared norm of the gradient of the slices over the tiles begin .. end - 1, formed slice by slice.
double squares_of_slices(const float* dw, const float* c, size_t groups, size_t slices, size_t size, size_t begin,
                         size_t end, float* packed) {
  double total = 0;
  for (size_t tile = begin; tile < end; tile++) {
    Vec squares = Vec::zero();
    pack_tile(dw, groups, size, tile, packed);
    by_four(slices, [&](size_t r, auto rows) {
      constexpr size_t O = rows.value, V = kWide<O>;
      for (size_t j = 0; j < kTile; j += V * Vec::N) {
        Vec gradient[O][V];
        for (size_t o = 0; o < O; o++)
          for (size_t v = 0; v < V; v++) gradient[o][v] = Vec::zero();
        combine(gradient, c + r, 1, slices, packed + j, kTile, groups, packed, 0);
        for (const auto& slice : gradient) {
          Vec own = Vec::zero();
          for (const Vec& g : slice) own = fma(g, g, own);
          squares = squares + own;
        }
      }
    });
    total += sum(squares);
  }
  return total;
}

// The same through the products of the few dw, whatever the number of slices:
//   sum over r of |sum_g c[g, r] dw[g]|^2 = sum over g, h of (c transpose(c))[g, h] <dw[g], dw[h]>
// Blocks of 4 x 4 pairs on and below the diagonal are enough; c2 holds the factor of each pair, doubled below them.
double squares_of_pairs(const float* dw, const float* c2, size_t groups, size_t size, size_t begin, size_t end,
                        float* acc, float* packed) {
  double total = 0;
  for (; begin < end; begin += kFloatTiles) {
    std::memset(acc, 0, groups * groups * sizeof(Vec));
    for (size_t tile = begin; tile < min_size(begin + kFloatTiles, end); tile++) {
      pack_tile(dw, groups, size, tile, packed);
      by_four(groups, [&](size_t g, auto rows) {
        by_four(min_size(g + 4, groups), [&](size_t h, auto cols) {
          dot_block<rows.value, cols.value>(packed + g * kTile, packed + h * kTile, acc + (g * groups + h) * Vec::N,
                                            groups);
        });
      });
    }
    for (size_t g = 0; g < groups; g++)
      for (size_t h = 0; h < min_size(g / 4 * 4 + 4, groups); h++) {
        const size_t pair = g * groups + h;
        total += static_cast<double>(c2[pair]) * sum(Vec::load(acc + pair * Vec::N));
      }
  }
  return total;
}

}  // namespace

void bank_sum_squares(Context& ctx, const BankSumSquaresRow& row) {
  uint32_t present;
  if (!count_inside(ctx, row.count, row.groups, present)) return;
  const size_t groups = present, slices = row.slices, size = row.size, tiles = size / kTile;
  const float *dw = ctx.f32(row.dw), *c = ctx.f32(row.c);
  const size_t per_task = max_size(tiles_per_task(tiles, groups * kTileBytes), kFloatTiles);
  const size_t tasks = ceil_div(tiles, per_task), partial_bytes = round_up(max_size(tasks, 1) * sizeof(double), 64);
  const size_t packed_size = groups * kTile, acc_size = groups * groups * Vec::N;
  const size_t c2_size = round_up(groups * groups, 16), own_size = packed_size + acc_size;
  auto* partial = static_cast<double*>(ctx.scratch(partial_bytes + (c2_size + ctx.threads * own_size) * sizeof(float)));
  if (partial == nullptr) return;
  float* c2 = reinterpret_cast<float*>(reinterpret_cast<uint8_t*>(partial) + partial_bytes);
  const auto sum_tasks = [&](auto&& body) {
    parallel(ctx, static_cast<uint32_t>(tasks), [&](uint32_t task, uint32_t thread) {
      const size_t begin = task * per_task, end = min_size(begin + per_task, tiles);
      float* packed = c2 + c2_size + thread * own_size;
      partial[task] = body(begin, end, packed, packed + packed_size);
    });
    double total = 0;
    for (size_t k = 0; k < tasks; k++) total += partial[k];
    return total;
  };

  double total = NAN;
  if (groups * (groups + 4) / 2 <= slices * (groups + 1)) {
    for (size_t g = 0; g < groups; g++)
      for (size_t h = 0; h < groups; h++) {
        double product = 0;
        for (size_t r = 0; r < slices; r++) product += static_cast<double>(c[g * slices + r]) * c[h * slices + r];
        c2[g * groups + h] = static_cast<float>(h < g / 4 * 4 ? 2 * product : product);
      }
    total = sum_tasks([&](size_t begin, size_t end, float* packed, float* acc) {
      return squares_of_pairs(dw, c2, groups, size, begin, end, acc, packed);
    });
    if (total < 0) total = 0;  // rounding, when the dw cancel
  }
  // Products may meet infinities of both signs where the sum of squares has one answer.
  if (!std::isfinite(total)) {
    total = sum_tasks([&](size_t begin, size_t end, float* packed, float*) {
      return squares_of_slices(dw, c, groups, slices, size, begin, end, packed);
    });
  }
  *ctx.f32(row.y) = static_cast<float>(total);
}

void bank_adamw(Context& ctx, const BankAdamwRow& row) {
  uint32_t present;
  if (!count_inside(ctx, row.count, row.groups, present)) return;
  const size_t groups = present, slices = row.slices, size = row.size, tiles = size / kTile;
  const float *dw = ctx.f32(row.dw), *c = ctx.f32(row.c), *hyper = ctx.f32(row.hyper);
  const AdamwStep step(hyper, *ctx.f32(row.clip), row.lrScale, row.decayScale);
  const size_t packed_size = groups * kTile;
  auto* packed = static_cast<float*>(ctx.scratch(max_size(ctx.threads * packed_size, 1) * sizeof(float)));
  if (packed == nullptr) return;
  const size_t per_task = tiles_per_task(tiles, (3 * slices + groups) * kTileBytes);
  parallel(ctx, ceil_div(tiles, per_task), [&](uint32_t task, uint32_t thread) {
    float* own = packed + thread * packed_size;
    const size_t end = min_size((task + size_t{1}) * per_task, tiles);
    for (size_t tile = task * per_task; tile < end; tile++) {
      const size_t base = tile * kTile * slices;
      float *t = ctx.f32(row.t) + base, *m = ctx.f32(row.m) + base, *v = ctx.f32(row.v) + base;
      pack_tile(dw, groups, size, tile, own);
      // One slice after the other: t, m and v are three walks from front to back, which the processor foresees. In
      // blocks of four slices, with requests ahead in the order of addresses, this took longer.
      for (size_t r = 0; r < slices; r++) {
        constexpr size_t V = kWide<1>;
        for (size_t j = 0; j < kTile; j += V * Vec::N) {
          Vec gradient[1][V];
          for (size_t k = 0; k < V; k++) gradient[0][k] = Vec::zero();
          combine(gradient, c + r, 1, slices, own + j, kTile, groups, own, 0);
          for (size_t k = 0; k < V; k++) {
            const size_t i = r * kTile + j + k * Vec::N;
            Vec ti = Vec::load(t + i), mi = Vec::load(m + i), vi = Vec::load(v + i);
            step(gradient[0][k], ti, mi, vi);
            ti.store(t + i);
            mi.store(m + i);
            vi.store(v + i);
          }
        }
      }
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
