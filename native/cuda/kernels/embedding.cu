// Rows of a table by id, and the sum of rows by id that is its gradient. k-means also sums members of a cluster with
// the latter, so it must be good for many ids with few rows each and for few ids with thousands.
//
// The sum sorts row numbers by id. The sort is stable, so rows of one id stay ascending and are added in that order,
// whatever else is in the batch. An id with many rows is cut into pieces, which are added up first. Nothing is written
// by two warps.
#include <cub/device/device_radix_sort.cuh>

#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

constexpr int kMany = 4;  // packs that a thread reads at once

template <class C>
__global__ void __launch_bounds__(kThreads) embedding_kernel(Fault fault, const float* table, const int32_t* ids, Out y,
                                                             size_t rows, size_t cols, uint32_t vocab) {
  if (fault.stopped()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const int32_t id = ids[r];
  if (static_cast<uint32_t>(id) >= vocab) return fault.raise(kIdOutside, id, vocab);
  const float* from = table + id * cols;
  y = y.from(r * cols);
  for (size_t first = C::Members::lane() * C::W; first < cols; first += kMany * C::step) {
    Pack<C::W> some[kMany];
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) { some[k] = load<C::W>(from, i); });
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) { store(y, i, some[k]); });
  }
}

// Keys to sort rows by: the id, or vocab for a row to skip.
__global__ void __launch_bounds__(kThreads)
    key_kernel(Fault fault, const int32_t* ids, size_t rows, uint32_t vocab, uint32_t* keys, uint32_t* order) {
  if (fault.stopped()) return;
  for (size_t r = flat_index(); r < rows; r += flat_stride()) {
    const int32_t id = ids[r];
    const bool outside = id >= 0 && static_cast<uint32_t>(id) >= vocab;
    if (outside) fault.raise(kIdOutside, id, vocab);
    keys[r] = id < 0 || outside ? vocab : static_cast<uint32_t>(id);
    order[r] = static_cast<uint32_t>(r);
  }
}

// starts[v] = the first place in ascending keys that is not below v, for v up to vocab.
__global__ void __launch_bounds__(kThreads)
    starts_kernel(Fault fault, const uint32_t* keys, size_t rows, uint32_t vocab, uint32_t* starts) {
  if (fault.failed()) return;
  for (size_t v = flat_index(); v <= vocab; v += flat_stride()) {
    size_t low = 0, high = rows;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (keys[middle] < v)
        low = middle + 1;
      else
        high = middle;
    }
    starts[v] = static_cast<uint32_t>(low);
  }
}

// Members of a piece. An id with more has pieces, and piece p of id v begins at place starts[v] + p kPiece. Of the
// kPiece places behind a multiple of it at most two are the beginning of a piece: one of the id at the first of these
// places, and the first piece of the id at the last one. Sums of pieces are therefore kept two to that many places.
constexpr uint32_t kPiece = 64;

// What a warp adds up of a row: packs of each lane, next to those of the other lanes.
template <int W>
using Columns = Cut<32, W, 2>;

// sums[k] = sum of row(0) .. row(count - 1) of x.
template <class C, class F>
__device__ void sum_rows(Pack<C::W> (&sums)[C::V], const float* x, size_t count, size_t cols, size_t column, F row) {
#pragma unroll 4
  for (size_t m = 0; m < count; m++) {
    const float* from = x + row(m) * cols;
    each_of<C::V>(column, C::step, cols, [&](int k, size_t i) {
      sums[k] = each([](float a, float b) { return a + b; }, sums[k], load<C::W>(from, i));
    });
  }
}

// The sum of the piece, if any, that has slot `warp` / chunks.
template <class C>
__global__ void __launch_bounds__(kThreads)
    sum_piece_kernel(Fault fault, const float* dy, const uint32_t* keys, const uint32_t* order, const uint32_t* starts,
                     float* pieces, size_t rows, size_t cols, uint32_t vocab) {
  if (fault.failed()) return;
  const size_t chunks = ceil_div(cols, C::V * C::step), slot = C::Members::row() / chunks;
  const size_t place = slot / 2 * kPiece;
  if (place >= rows) return;
  const size_t last = min(place + kPiece, rows) - 1;
  const uint32_t v = keys[slot % 2 == 0 ? place : last];
  if (v >= vocab) return;
  const size_t start = starts[v], end = starts[v + 1];
  if (end - start <= kPiece) return;
  // The even slot is of a piece of the id at `place`, the odd one of an id that begins behind it.
  size_t begin = start;
  if (slot % 2 == 0)
    begin += ceil_div(place - start, kPiece) * size_t{kPiece};
  else if (start <= place)
    return;
  if (begin > last || begin >= end) return;
  const size_t column = C::Members::row() % chunks * (C::V * C::step) + C::Members::lane() * C::W;
  Pack<C::W> sums[C::V] = {};
  sum_rows<C>(sums, dy, min(begin + kPiece, end) - begin, cols, column, [&](size_t m) { return order[begin + m]; });
  each_of<C::V>(column, C::step, cols, [&](int k, size_t i) { store({pieces, nullptr}, slot * cols + i, sums[k]); });
}

// A warp owns an id and some columns.
template <class C>
__global__ void __launch_bounds__(kThreads)
    sum_by_id_kernel(Fault fault, const float* dy, const uint32_t* order, const uint32_t* starts, const float* pieces,
                     const float* add, float* dtable, size_t cols, uint32_t vocab) {
  if (fault.failed()) return;
  const size_t chunks = ceil_div(cols, C::V * C::step), v = C::Members::row() / chunks;
  if (v >= vocab) return;
  const size_t column = C::Members::row() % chunks * (C::V * C::step) + C::Members::lane() * C::W;
  const size_t start = starts[v], members = starts[v + 1] - start;
  Pack<C::W> sums[C::V] = {};
  if (members <= kPiece) {
    sum_rows<C>(sums, dy, members, cols, column, [&](size_t m) { return order[start + m]; });
  } else {
    sum_rows<C>(sums, pieces, ceil_div(members, kPiece), cols, column, [&](size_t p) {
      // A first piece that does not begin at a multiple is the one behind another id's.
      return (start / kPiece + p) * 2 + (p == 0 && start % kPiece > 0 ? 1 : 0);
    });
  }
  each_of<C::V>(column, C::step, cols, [&](int k, size_t i) {
    const size_t at = v * cols + i;
    if (add != nullptr) sums[k] = each([](float a, float b) { return a + b; }, sums[k], load<C::W>(add, at));
    store({dtable, nullptr}, at, sums[k]);
  });
}

}  // namespace

void embedding(Launch& l, const EmbeddingRow& row) {
  by_width(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, embedding_kernel<C>, C::Members::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.table), l.i32(row.ids),
           l.out(row.y), row.rows, row.cols, row.vocab);
  });
}

void embedding_backward(Launch& l, const EmbeddingBackwardRow& row) {
  const size_t bytes = row.rows * sizeof(uint32_t), slots = size_t{ceil_div(row.rows, kPiece)} * 2;
  auto* keys = static_cast<uint32_t*>(l.scratch(bytes));
  auto* order = static_cast<uint32_t*>(l.scratch(bytes));
  auto* sorted_keys = static_cast<uint32_t*>(l.scratch(bytes));
  auto* sorted_order = static_cast<uint32_t*>(l.scratch(bytes));
  auto* starts = static_cast<uint32_t*>(l.scratch((row.vocab + size_t{1}) * sizeof(uint32_t)));
  auto* pieces = static_cast<float*>(l.scratch(slots * row.cols * sizeof(float)));
  int bits = 1;
  while (bits < 32 && row.vocab >> bits != 0) bits++;
  size_t temporary = 0;
  cub::DeviceRadixSort::SortPairs(nullptr, temporary, keys, sorted_keys, order, sorted_order, row.rows, 0, bits,
                                  l.stream);
  void* space = l.scratch(temporary);
  launch(l, key_kernel, flat_grid(l, row.rows), kThreads, 0, l.fault(), l.i32(row.ids), row.rows, row.vocab, keys,
         order);
  if (!l.dry && row.rows > 0)
    cub::DeviceRadixSort::SortPairs(space, temporary, keys, sorted_keys, order, sorted_order, row.rows, 0, bits,
                                    l.stream);
  launch(l, starts_kernel, flat_grid(l, row.vocab + size_t{1}), kThreads, 0, l.fault(), sorted_keys, row.rows,
         row.vocab, starts);
  const auto sum = [&](auto cut) {
    using C = decltype(cut);
    const size_t chunks = ceil_div(row.cols, C::V * C::step);
    launch(l, sum_piece_kernel<C>, C::Members::grid(slots * chunks), kThreads, 0, l.fault(), l.f32(row.dy), sorted_keys,
           sorted_order, starts, pieces, row.rows, row.cols, row.vocab);
    launch(l, sum_by_id_kernel<C>, C::Members::grid(row.vocab * chunks), kThreads, 0, l.fault(), l.f32(row.dy),
           sorted_order, starts, pieces, l.optional(row.add), l.f32(row.dtable), row.cols, row.vocab);
  };
  if (row.cols % 4 == 0)
    sum(Columns<4>{});
  else
    sum(Columns<1>{});
}

}  // namespace sweetspot::cuda
