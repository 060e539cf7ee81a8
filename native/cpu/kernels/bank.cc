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
#include "cpu/kernels/stochastic.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

// Generated weights of this many bytes and more do not fit the caches beside the bank, and are stored past them.
constexpr size_t kStreamBytes = size_t{8} << 20;

// T: how slices are kept.
template <class T>
struct Mix {
  size_t groups, slices, size;
  const T* t;
  const float *c, *s;
  float* w;

  // Groups g .. g + O - 1 in V vectors of columns, of which `first` is the first in w and `from` in the tile.
  template <size_t O, size_t V, bool Stream>
  void block(size_t g, size_t first, const T* from, const T* ahead, size_t share) const {
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
  void single(size_t tile) const {
    constexpr size_t V = Vec::N == 16 ? 16 : 8;
    const T* from = t + tile * kTile * slices;
    for (size_t j = 0; j < kTile; j += V * Vec::N) {
      block<1, V, Stream>(0, tile * kTile + j, from + j, from, 0);
    }
  }

  template <bool Stream>
  void several(size_t tile) const {
    const size_t turns = ceil_div(groups, 4);
    for (size_t strip = 0; strip < kTile; strip += kStrip) {
      const T* from = t + tile * kTile * slices + strip;
      // The blocks of groups take turns in asking for the next tile while they work on this one.
      const T* next = t + ((tile + 1) * kTile + strip) * slices;
      by_four(groups, [&](size_t g, auto rows) {
        constexpr size_t O = rows.value, V = kWide<O>;
        const size_t share = ceil_div(V * Vec::N, turns);
        for (size_t j = 0; j < kStrip; j += V * Vec::N) {
          const T* ahead = next + (g / 4 * kStrip + j) * slices / turns;
          block<O, V, Stream>(g, tile * kTile + strip + j, from + j, ahead, share);
        }
      });
    }
  }

  template <bool Stream>
  void run(Context& ctx) const {
    const size_t tiles = size / kTile;
    const size_t per_task = tiles_per_task(tiles, (slices + groups) * kTileBytes);
    parallel(ctx, ceil_div(tiles, per_task), [&](uint32_t task, uint32_t) {
      const size_t end = min_size((task + size_t{1}) * per_task, tiles);
      for (size_t tile = task * per_task; tile < end; tile++) {
        groups == 1 ? single<Stream>(tile) : several<Stream>(tile);
      }
      if (Stream) stream_end();
    });
  }

  void operator()(Context& ctx) const {
    const bool aligned = reinterpret_cast<uintptr_t>(w) % sizeof(Vec) == 0;
    if (aligned && groups * size * sizeof(float) >= kStreamBytes) {
      run<true>(ctx);
    } else {
      run<false>(ctx);
    }
  }
};

template <class T>
void mix(Context& ctx, const BankMixRow& row, size_t groups, const T* t) {
  const float* s = row.s.present() ? ctx.f32(row.s) : nullptr;
  Mix<T>{groups, row.slices, row.size, t, ctx.f32(row.c), s, ctx.f32(row.w)}(ctx);
}

}  // namespace

void bank_mix(Context& ctx, const BankMixRow& row) {
  uint32_t groups;
  if (!count_inside(ctx, row.count, row.groups, groups)) return;
  with_slices(ctx, row, [&](const auto* t) { mix(ctx, row, groups, t); });
}

namespace {

// acc[g * across + r] += products of row g of `left` and row r of `right`, one tile of each, still spread over the
// lanes of a vector.
template <size_t G, size_t R, class T>
inline void dot_tile(const float* left, const T* right, float* acc, size_t across) {
  Vec dot[G][R];
  for (size_t g = 0; g < G; g++)
    for (size_t r = 0; r < R; r++) dot[g][r] = Vec::load(acc + (g * across + r) * Vec::N);
  for (size_t i = 0; i < kTile; i += Vec::N) {
    Vec slice[R];
    for (size_t r = 0; r < R; r++) slice[r] = load_slice(right + r * kTile + i);
    for (size_t g = 0; g < G; g++) {
      const Vec d = Vec::load(left + g * kTile + i);
      for (size_t r = 0; r < R; r++) dot[g][r] = fma(d, slice[r], dot[g][r]);
    }
  }
  for (size_t g = 0; g < G; g++)
    for (size_t r = 0; r < R; r++) dot[g][r].store(acc + (g * across + r) * Vec::N);
}

// dot_tile in halves where 16 sums and their factors are more than there are registers.
template <size_t G, size_t R, class T>
inline void dot_block(const float* left, const T* right, float* acc, size_t across) {
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
inline void dot_columns(const float* columns, const float* t, float* acc, const void* ahead, size_t share,
                        RowsAhead& rows) {
  Vec dot[R];
  for (size_t r = 0; r < R; r++) dot[r] = Vec::zero();
  const char* next = static_cast<const char*>(ahead);
  for (size_t j = 0; j < kTile; j += 16) {
    for (size_t i = 0; i < share; i += 64) __builtin_prefetch(next + i, 0, 2);
    next += share;
    rows.share();
    for (size_t k = j; k < j + 16; k++) {
      const Vec d = Vec::load(columns + k * Vec::N);
      for (size_t r = 0; r < R; r++) dot[r] = fma(Vec::set(t[r * kTile + k]), d, dot[r]);
    }
  }
  for (size_t r = 0; r < R; r++) (Vec::load(acc + r * Vec::N) + dot[r]).store(acc + r * Vec::N);
}
// Slices that dot_columns takes at once: a register each.
constexpr size_t kDotColumns = Vec::N == 16 ? 24 : 12;

// A tile of slices as floats: dot_columns takes them one at a time.
inline const float* widened(const float* own, size_t, float*) {
  return own;
}
inline const float* widened(const uint16_t* own, size_t slices, float* wide) {
  for (size_t i = 0; i < slices * kTile; i += Vec::N) widen(own + i).store(wide + i);
  return wide;
}

// Tiles added lane by lane in float before they go to a sum in double.
constexpr size_t kFloatTiles = 8;

// total[g * slices + r] = <dw[g], t_r> over the tiles begin .. end - 1 and, unless ds is nullptr, ds = adds + sum of
// dw[g] there. `acc` has room for a vector a pair, with groups rounded up to a whole vector; `packed` for as many rows
// of a tile, `wide` for a tile of slices in bf16.
template <class T>
void dot_range(const float* dw, const T* t, size_t groups, size_t slices, size_t size, size_t begin, size_t end,
               float* acc, float* packed, float* wide, double* total, const float* adds, float* ds) {
  const size_t pairs = groups * slices, chunks = ceil_div(groups, Vec::N);
  const bool by_columns = groups > 4;
  const size_t acc_size = by_columns ? chunks * slices * Vec::N : pairs * Vec::N;
  for (size_t p = 0; p < pairs; p++) total[p] = 0;
  for (; begin < end; begin += kFloatTiles) {
    std::memset(acc, 0, acc_size * sizeof(float));
    for (size_t tile = begin; tile < min_size(begin + kFloatTiles, end); tile++) {
      const T* own = t + tile * slices * kTile;
      const float* base = adds == nullptr ? nullptr : adds + tile * kTile;
      float* sums = ds == nullptr ? nullptr : ds + tile * kTile;
      if (!by_columns) {
        pack_tile(dw, groups, size, tile, packed);
        RowsAhead next(dw, groups, size, tile + 1, ceil_div(slices, 4));
        if (sums != nullptr) sum_packed(packed, groups, base, sums);
        by_four(slices, [&](size_t r, auto cols) {
          next.share();
          by_four(groups, [&](size_t g, auto rows) {
            dot_block<rows.value, cols.value>(packed + g * kTile, own + r * kTile, acc + (g * slices + r) * Vec::N,
                                              slices);
          });
        });
        continue;
      }
      const float* each = widened(own, slices, wide);
      const size_t blocks = max_size(ceil_div(slices, kDotColumns), 1), block = ceil_div(slices, blocks);
      RowsAhead next(dw, groups, size, tile + 1, chunks * blocks * (kTile / 16));
      for (size_t chunk = 0; chunk < chunks; chunk++) {
        const size_t first = chunk * Vec::N, count = min_size(Vec::N, groups - first);
        pack_columns(dw + first * size, count, size, tile, packed, chunk == 0 ? base : sums, sums);
        for (size_t r = 0; r < slices; r += block) {
          by_count<kDotColumns>(min_size(block, slices - r), [&](auto n) {
            const size_t share = chunk == 0 ? n.value * 16 * sizeof(T) : 0;
            dot_columns<n.value>(packed, each + r * kTile, acc + (chunk * slices + r) * Vec::N,
                                 own + (slices + r) * kTile, share, next);
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
  const size_t own_bytes = acc_bytes + packed_bytes + (row.dtype == 1 ? slices * kTileBytes : 0);
  auto* scratch = static_cast<uint8_t*>(ctx.scratch(partial_bytes + ctx.threads * own_bytes));
  if (scratch == nullptr) return;
  auto* partial = reinterpret_cast<double*>(scratch);

  with_slices(ctx, row, [&](const auto* t) {
    parallel(ctx, static_cast<uint32_t>(tasks), [&](uint32_t task, uint32_t thread) {
      auto* acc = reinterpret_cast<float*>(scratch + partial_bytes + thread * own_bytes);
      float *packed = acc + acc_bytes / sizeof(float), *wide = packed + packed_bytes / sizeof(float);
      const size_t begin = task * per_task, end = min_size(begin + per_task, tiles);
      dot_range(dw, t, groups, slices, size, begin, end, acc, packed, wide, partial + task * pairs, adds, ds);
    });
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
    RowsAhead next(dw, groups, size, tile + 1, ceil_div(slices, 4));
    by_four(slices, [&](size_t r, auto rows) {
      next.share();
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
      const size_t across = ceil_div(groups, 4);
      RowsAhead next(dw, groups, size, tile + 1, across * (across + 1) / 2);
      by_four(groups, [&](size_t g, auto rows) {
        by_four(min_size(g + 4, groups), [&](size_t h, auto cols) {
          next.share();
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

namespace {

inline void store_slice(Vec x, float* t, size_t i, const StochasticRounding&) {
  x.store(t + i);
}
inline void store_slice(Vec x, uint16_t* t, size_t i, const StochasticRounding& rounding) {
  rounding.store(x, static_cast<uint32_t>(i), t + i);
}

template <class T>
void update(Context& ctx, const BankAdamwRow& row, size_t groups, T* t, const StochasticRounding& rounding) {
  const size_t slices = row.slices, size = row.size, tiles = size / kTile;
  const float *dw = ctx.f32(row.dw), *c = ctx.f32(row.c), *hyper = ctx.f32(row.hyper);
  float *m = ctx.f32(row.m), *v = ctx.f32(row.v);
  const AdamwStep step(hyper, *ctx.f32(row.clip), row.lrScale, row.decayScale);
  const size_t packed_size = groups * kTile;
  auto* packed = static_cast<float*>(ctx.scratch(max_size(ctx.threads * packed_size, 1) * sizeof(float)));
  if (packed == nullptr) return;
  const size_t per_task = tiles_per_task(tiles, (3 * slices + groups) * kTileBytes);
  // Sums enough to hide how long one takes, and the square root and division after them.
  constexpr size_t V = Vec::N == 16 ? 8 : 4;
  parallel(ctx, ceil_div(tiles, per_task), [&](uint32_t task, uint32_t thread) {
    float* own = packed + thread * packed_size;
    const size_t end = min_size((task + size_t{1}) * per_task, tiles);
    for (size_t tile = task * per_task; tile < end; tile++) {
      pack_tile(dw, groups, size, tile, own);
      RowsAhead next(dw, groups, size, tile + 1, slices * (kTile / (V * Vec::N)));
      // One slice after the other: t, m and v are three walks from front to back, which the processor foresees. In
      // blocks of four slices, with requests ahead in the order of addresses, this took longer.
      for (size_t r = 0; r < slices; r++) {
        for (size_t j = 0; j < kTile; j += V * Vec::N) {
          Vec gradient[1][V];
          for (size_t k = 0; k < V; k++) gradient[0][k] = Vec::zero();
          combine(gradient, c + r, 1, slices, own + j, kTile, groups, own, 0);
          next.share();
          for (size_t k = 0; k < V; k++) {
            const size_t i = (tile * slices + r) * kTile + j + k * Vec::N;
            Vec ti = load_slice(t + i), mi = Vec::load(m + i), vi = Vec::load(v + i);
            step(gradient[0][k], ti, mi, vi);
            store_slice(ti, t, i, rounding);
            mi.store(m + i);
            vi.store(v + i);
          }
        }
      }
    }
  });
}

}  // namespace

void bank_adamw(Context& ctx, const BankAdamwRow& row) {
  uint32_t groups;
  if (!count_inside(ctx, row.count, row.groups, groups)) return;
  const float number = ctx.f32(row.hyper)[7];
  const StochasticRounding rounding(row.seed, number > 0 && number < 4e9f ? static_cast<uint32_t>(number) : 0);
  with_slices(ctx, row, [&](auto* t) { update(ctx, row, groups, t, rounding); });
}

}  // namespace sweetspot::SWEETSPOT_ISA
