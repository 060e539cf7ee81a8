// Rows of a table by id, and the sum of rows by id that is its gradient. k-means also sums members of a cluster with
// the latter, so it must be good for many ids with few rows each and for few ids with thousands.
//
// The sum sorts row numbers by id. The sort is stable, so rows of one id stay ascending and are added in that order,
// whatever else is in the batch; nothing is written by two blocks.
#include <cub/device/device_radix_sort.cuh>

#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) embedding_kernel(Fault fault, const float* table, const int32_t* ids,
                                                             float* y, size_t rows, size_t cols, uint32_t vocab) {
  if (fault.stopped()) return;
  const size_t r = Team<32>::row();
  if (r >= rows) return;
  const int32_t id = ids[r];
  if (static_cast<uint32_t>(id) >= vocab) return fault.raise(kIdOutside, id, vocab);
  const float* from = table + id * cols;
  for (size_t i = Team<32>::lane(); i < cols; i += 32) y[r * cols + i] = from[i];
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

// The first place in ascending keys that is not below v.
__device__ size_t first_of(const uint32_t* keys, size_t rows, uint32_t v) {
  size_t low = 0, high = rows;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (keys[middle] < v)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

constexpr uint32_t kPerLane = 4, kWidth = 32 * kPerLane, kIds = kThreads / 32;
constexpr size_t kFew = 64;

// sums[c] = sum over members begin..end of column `column` + 32 c.
__device__ void sum_members(const float* dy, const uint32_t* order, size_t begin, size_t end, size_t cols,
                            size_t column, float* sums) {
#pragma unroll 4
  for (size_t k = begin; k < end; k++) {
    const float* from = dy + order[k] * cols;
#pragma unroll
    for (uint32_t c = 0; c < kPerLane; c++)
      if (column + 32 * c < cols) sums[c] += from[column + 32 * c];
  }
}

// A block owns eight ids and 128 columns. Each warp adds up one id that has few rows; then all warps together take the
// ids that have many, one after the other.
__global__ void __launch_bounds__(kThreads)
    sum_by_id_kernel(Fault fault, const float* dy, const uint32_t* keys, const uint32_t* order, const float* add,
                     float* dtable, size_t rows, size_t cols, uint32_t vocab) {
  if (fault.failed()) return;
  __shared__ size_t starts[kIds + 1];
  __shared__ float part[kIds][kWidth];
  const size_t chunks = ceil_div(cols, kWidth), first = blockIdx.x / chunks * kIds;
  const size_t column = blockIdx.x % chunks * kWidth + threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  if (threadIdx.x <= kIds) {
    const size_t v = first + threadIdx.x;
    starts[threadIdx.x] = first_of(keys, rows, static_cast<uint32_t>(v < vocab ? v : vocab));
  }
  __syncthreads();
  const auto store = [&](size_t v, const float* sums) {
#pragma unroll
    for (uint32_t c = 0; c < kPerLane; c++) {
      const size_t i = column + 32 * c, at = v * cols + i;
      if (i < cols) dtable[at] = add == nullptr ? sums[c] : sums[c] + add[at];
    }
  };
  if (starts[warp + 1] - starts[warp] <= kFew && first + warp < vocab) {
    float sums[kPerLane] = {};
    sum_members(dy, order, starts[warp], starts[warp + 1], cols, column, sums);
    store(first + warp, sums);
  }
  for (uint32_t k = 0; k < kIds; k++) {
    const size_t begin = starts[k], members = starts[k + 1] - begin, share = (members + kIds - 1) / kIds;
    if (members <= kFew) continue;
    float sums[kPerLane] = {};
    const size_t from = min(warp * share, members), to = min(from + share, members);
    sum_members(dy, order, begin + from, begin + to, cols, column, sums);
#pragma unroll
    for (uint32_t c = 0; c < kPerLane; c++) part[warp][threadIdx.x % 32 + 32 * c] = sums[c];
    __syncthreads();
    if (warp == 0) {
      float total[kPerLane] = {};
      for (uint32_t w = 0; w < kIds; w++)
        for (uint32_t c = 0; c < kPerLane; c++) total[c] += part[w][threadIdx.x + 32 * c];
      store(first + k, total);
    }
    __syncthreads();
  }
}

}  // namespace

void embedding(Launch& l, const EmbeddingRow& row) {
  launch(l, embedding_kernel, Team<32>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.table), l.i32(row.ids),
         l.f32(row.y), row.rows, row.cols, row.vocab);
}

void embedding_backward(Launch& l, const EmbeddingBackwardRow& row) {
  const size_t bytes = row.rows * sizeof(uint32_t);
  auto* keys = static_cast<uint32_t*>(l.scratch(bytes));
  auto* order = static_cast<uint32_t*>(l.scratch(bytes));
  auto* sorted_keys = static_cast<uint32_t*>(l.scratch(bytes));
  auto* sorted_order = static_cast<uint32_t*>(l.scratch(bytes));
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
  launch(l, sum_by_id_kernel, static_cast<uint32_t>(size_t{ceil_div(row.vocab, kIds)} * ceil_div(row.cols, kWidth)),
         kThreads, 0, l.fault(), l.f32(row.dy), sorted_keys, sorted_order, l.optional(row.add), l.f32(row.dtable),
         row.rows, row.cols, row.vocab);
}

}  // namespace sweetspot::cuda
