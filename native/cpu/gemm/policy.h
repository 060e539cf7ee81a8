// Blocking of a matrix product: arithmetic on shapes and cache sizes, no SIMD. Everything here depends on the shape and
// never on the number of threads, so that results do not either.
//
// A product is cut into tasks: a tile of C times a chunk of K. Cutting K leaves partial tiles to be added, so it is the
// last resort, for a C too small to feed the cores (a weight gradient: K is every token of the step).
#pragma once
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

// Words of K (a step, or two of bf16) between two visits of a C tile. A packed block of B (256 columns) takes a third
// of a 1 MiB second-level cache. Where A is transposed, long pieces of its rows are copied ahead, and need room there
// too. These two decide the order of sums, and are the same on every machine.
constexpr size_t kDepth = 384;
constexpr size_t kTransposedDepth = 256;
// Words of packed B that a thread keeps from tile to tile, for the tokens of a step (4096) times kTileCols. A
// last-level cache holds this for each of a few cores; where K is longer B is packed again for every tile.
constexpr size_t kKeptWords = 5u << 18;
// A transposed A of this size and more comes from memory, which wants long pieces read (the whole tile's), where a
// cache gives short ones just as fast.
constexpr size_t kFarWords = 6u << 20;
constexpr size_t kTileRows = 256;
constexpr size_t kTileCols = 256;
// A chunk of K below this would spend its time writing and adding partial tiles.
constexpr size_t kChunk = 512;
// A task of less work than kTaskFlops is not worth a hand-over; more tasks than kTasks do not help any more, while
// smaller tiles cost more packing.
constexpr size_t kTaskFlops = 4u << 20;
constexpr size_t kTasks = 16;
// Up to this many rows of C a product is bound by reading B once; its tasks then share B by bytes, not by work.
constexpr size_t kThinRows = 8;
constexpr size_t kThinTaskFloats = 32768;
// The same where the rows of B run along C (outer.h).
constexpr size_t kOuterRows = 16;

struct Plan {
  size_t rows, cols, depth;             // of one task
  size_t row_tiles, col_tiles, chunks;  // tasks = their product
  size_t tasks() const { return row_tiles * col_tiles * chunks; }
};

// Length of equal parts of n, at most `most` each, a multiple of `unit`.
inline size_t even_part(size_t n, size_t most, size_t unit) {
  const size_t parts = max_size(1, ceil_div(n, most));
  return round_up(ceil_div(n, parts), unit);
}

// Blocking of an (m, n, k) product for a microkernel of unit_rows x unit_cols; m and n are not 0. b_rows: both factors
// are stored as they are multiplied.
inline Plan make_plan(size_t m, size_t n, size_t k, bool b_rows, size_t unit_rows, size_t unit_cols) {
  Plan plan{};
  const bool outer = b_rows && m <= kOuterRows;
  const size_t wanted =
      outer ? min_size(n * k / kThinTaskFloats + 1, kTasks) : min_size(2 * m * n * k / kTaskFlops + 1, kTasks);
  const auto tile = [&](size_t most_rows, size_t most_cols) {
    plan.rows = even_part(m, most_rows, unit_rows);
    plan.cols = even_part(n, most_cols, unit_cols);
    plan.row_tiles = ceil_div(m, plan.rows);
    plan.col_tiles = ceil_div(n, plan.cols);
  };
  if (m <= kThinRows && !outer) {
    tile(m, max_size(unit_cols, min_size(kTileCols, kThinTaskFloats / max_size(k, 1))));
    plan.depth = max_size(1, k);
    plan.chunks = 1;
    return plan;
  }
  // Short rows of C or a short K: more rows a task, until it is worth its hand-over.
  const size_t most_rows = max_size(kTileRows, kTaskFlops / 4 / max_size(min_size(n, kTileCols) * k, 1));
  const size_t most_chunks = max_size(1, k / kChunk);
  tile(most_rows, kTileCols);
  if (!outer && plan.row_tiles * plan.col_tiles * most_chunks < wanted) tile(kTileRows / 2, kTileCols);
  const size_t tiles = plan.row_tiles * plan.col_tiles;
  const size_t chunks = 2 * tiles >= wanted ? 1 : min_size(ceil_div(wanted, tiles), most_chunks);
  plan.depth = max_size(1, even_part(k, max_size(1, ceil_div(k, chunks)), 8));
  plan.chunks = max_size(1, ceil_div(k, plan.depth));
  return plan;
}

// What a product costs, in flops; reading an element of B counts as much as kThinRows rows of work. Only for the size
// of hand-overs.
inline double cost(size_t m, size_t n, size_t k) {
  return 2.0 * static_cast<double>(m + kThinRows) * static_cast<double>(n) * static_cast<double>(k);
}

}  // namespace sweetspot::SWEETSPOT_ISA
