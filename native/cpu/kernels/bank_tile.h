// The parts of the bank kernels: register blocks within one tile of a bank, t[tile][slice][256].
#pragma once
#include <cstring>

#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

constexpr size_t kTile = 256;
// Columns of a tile done together: every block of four groups reads a strip again, from the first-level cache.
constexpr size_t kStrip = 64;

// A number known when compiling, passed as an argument.
template <size_t n>
struct Count {
  static constexpr size_t value = n;
};

// body(first, Count<k>) over 0 .. n - 1 in blocks of 4 and one of the 1 to 3 left.
template <class F>
inline void by_four(size_t n, F&& body) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) body(i, Count<4>{});
  if (n - i == 3) body(i, Count<3>{});
  if (n - i == 2) body(i, Count<2>{});
  if (n - i == 1) body(i, Count<1>{});
}

// Vectors across in a block of `rows` rows: up to 16 accumulators of 32 registers, up to 8 of 16.
template <size_t rows>
constexpr size_t kWide = Vec::N == 16 || rows <= 2 ? 4 : 2;

// Asks for the cache lines of `n` <= 64 floats, which may lie past the end of the operand. Blocks walk through a tile
// in pieces too short for the processor to foresee; asking for what comes next in the order of addresses, whatever the
// order of use, made bank_adamw on a large bank about 1.6 times as fast on Zen 4 with one thread (asking in the order
// of use, 1.3). No loop: it would cost more than it asks for. Inlined by force, because GCC takes a function that only
// prefetches for one without effect and drops calls to it.
template <bool write = false>
__attribute__((always_inline)) inline void ask(const float* p, size_t n) {
  __builtin_prefetch(p, write);
  if (n > 16) __builtin_prefetch(p + 16, write);
  if (n > 32) {
    __builtin_prefetch(p + 32, write);
    __builtin_prefetch(p + 48, write);
  }
}

// acc[o] += sum over k < n of c[o * across + k * along] * x[k * stride ..]; every step asks for
// `share` floats of `ahead`, unless that is 0.
template <size_t O, size_t V>
inline void combine(Vec (&acc)[O][V], const float* c, size_t across, size_t along, const float* x, size_t stride,
                    size_t n, const float* ahead, size_t share) {
  for (size_t k = 0; k < n; k++, c += along, x += stride) {
    if (share > 0) ask(ahead + k * share, share);
    Vec row[V];
    for (size_t v = 0; v < V; v++) row[v] = Vec::load(x + v * Vec::N);
    for (size_t o = 0; o < O; o++) {
      const Vec factor = Vec::set(c[o * across]);
      for (size_t v = 0; v < V; v++) acc[o][v] = fma(factor, row[v], acc[o][v]);
    }
  }
}

// Tiles of a task that touches `kib` KiB for each: at least about 128 KiB.
inline size_t tiles_per_task(size_t kib) {
  return max_size(128 / max_size(kib, 1), 1);
}

// Copies one tile of every dw to `packed` (groups x kTile): rows of dw are far apart, often by a power of two, and
// would push each other out of the cache. Asks for each row while the one before it is copied.
inline void pack_tile(const float* dw, size_t groups, size_t size, size_t tile, float* packed) {
  for (size_t g = 0; g < groups; g++) {
    const float* from = dw + g * size + tile * kTile;
    const float* next = g + 1 < groups ? from + size : dw + (tile + 1) * kTile;
    for (size_t i = 0; i < kTile; i += 64) ask(next + i, 64);
    std::memcpy(packed + g * kTile, from, kTile * sizeof(float));
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
