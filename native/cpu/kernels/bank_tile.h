// The parts of the bank kernels: register blocks within one tile of a bank, t[tile][slice][256].
#pragma once
#include <cstring>

#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

constexpr size_t kTile = 256, kTileBytes = kTile * sizeof(float);
// Columns of a tile done together: every block of four groups reads a strip again, from the first-level cache.
constexpr size_t kStrip = 64;

// body(first, Count<k>) over 0 .. n - 1 in blocks of 4 and one of the 1 to 3 left.
template <class F>
inline void by_four(size_t n, F&& body) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) body(i, Count<4>{});
  if (n - i == 3) body(i, Count<3>{});
  if (n - i == 2) body(i, Count<2>{});
  if (n - i == 1) body(i, Count<1>{});
}

// body(Count<n>), for n from 1 to `most`.
template <size_t most, class F>
inline void by_count(size_t n, F&& body) {
  if constexpr (most > 1)
    if (n < most) return by_count<most - 1>(n, body);
  body(Count<most>{});
}

// Vectors across in a block of `rows` rows: up to 16 accumulators of 32 registers, up to 8 of 16.
template <size_t rows>
constexpr size_t kWide = Vec::N == 16 || rows <= 2 ? 4 : 2;

// Asks for the cache lines of `bytes` <= 256 bytes, which may lie past the end of the operand. Blocks of several rows
// walk through a tile in pieces too short for the processor to foresee; asking for what comes next in the order of
// addresses, whatever the order of use, helps there. Where a kernel itself walks from front to back it only hurts. No
// loop: it would cost more than it asks for. Inlined by force, because GCC takes a function that only prefetches for
// one without effect and drops calls to it.
__attribute__((always_inline)) inline void ask(const void* address, size_t bytes) {
  const char* p = static_cast<const char*>(address);
  __builtin_prefetch(p);
  if (bytes > 64) __builtin_prefetch(p + 64);
  if (bytes > 128) {
    __builtin_prefetch(p + 128);
    __builtin_prefetch(p + 192);
  }
}

// acc[o] += sum over k < n of c[o * across + k * along] * x[k * stride ..]; every step asks for
// `share` elements of `ahead`, unless that is 0.
template <size_t O, size_t V>
inline void combine(Vec (&acc)[O][V], const float* c, size_t across, size_t along, const float* x, size_t stride,
                    size_t n, const float* ahead, size_t share) {
  for (size_t k = 0; k < n; k++, c += along, x += stride) {
    if (share > 0) ask(ahead + k * share, share * sizeof(float));
    Vec row[V];
    for (size_t v = 0; v < V; v++) row[v] = Vec::load(x + v * Vec::N);
    for (size_t o = 0; o < O; o++) {
      const Vec factor = Vec::set(c[o * across]);
      for (size_t v = 0; v < V; v++) acc[o][v] = fma(factor, row[v], acc[o][v]);
    }
  }
}

// Tiles of a task when a tile takes `bytes`: about 1 MiB, because the processor foresees a long walk through memory and
// every task starts one anew (tasks of 128 KiB were slower than those of 1 MiB), but no fewer than 64 tasks.
inline size_t tiles_per_task(size_t tiles, size_t bytes) {
  return max_size(min_size((size_t{1} << 20) / max_size(bytes, 1), tiles / 64), 1);
}

// Copies one tile of every dw to `packed` (groups x kTile): rows of dw are far apart, often by a power of two, and
// would push each other out of the cache. Asks for the next tile of each row on the way.
inline void pack_tile(const float* dw, size_t groups, size_t size, size_t tile, float* packed) {
  for (size_t g = 0; g < groups; g++) {
    const float* from = dw + g * size + tile * kTile;
    if (groups > 1)
      for (size_t i = 0; i < kTile; i += 64) ask(from + kTile + i, 256);
    std::memcpy(packed + g * kTile, from, kTileBytes);
  }
}

// The same with columns and rows exchanged and room for Vec::N groups: packed[column][group], absent groups 0. Unless
// `sum` is nullptr, also sum[column] = base[column] + the sum over the groups, with base nullptr for zeros.
inline void pack_columns(const float* dw, size_t groups, size_t size, size_t tile, float* packed, const float* base,
                         float* sum) {
  for (size_t j = 0; j < kTile; j += Vec::N) {
    Vec block[Vec::N];
    for (size_t g = 0; g < Vec::N; g++) {
      const float* from = dw + g * size + tile * kTile + j;
      if (g < groups) __builtin_prefetch(from + kTile);
      block[g] = g < groups ? Vec::load(from) : Vec::zero();
    }
    if (sum != nullptr) {
      Vec total = base == nullptr ? Vec::zero() : Vec::load(base + j);
      for (size_t g = 0; g < Vec::N; g++) total = total + block[g];
      total.store(sum + j);
    }
    transpose(block);
    for (size_t i = 0; i < Vec::N; i++) block[i].store(packed + (j + i) * Vec::N);
  }
}

// sum = base + the sum over the groups of what pack_tile made.
inline void sum_packed(const float* packed, size_t groups, const float* base, float* sum) {
  for (size_t j = 0; j < kTile; j += Vec::N) {
    Vec total = base == nullptr ? Vec::zero() : Vec::load(base + j);
    for (size_t g = 0; g < groups; g++) total = total + Vec::load(packed + g * kTile + j);
    total.store(sum + j);
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
