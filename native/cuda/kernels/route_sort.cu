// Sorts the choices of a router by group: a counting sort, which keeps their order within a group. Blocks count the
// groups of their choices; then each adds up what the blocks before it have found, and knows where its own go. That
// takes 256 groups at a time: with more, they are sorted by the lower bits of the group first.
#include <utility>

#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

constexpr uint32_t kBins = 256, kSortThreads = 1024, kSortWarps = kSortThreads / 32;
// Choices of a block, and of a warp: a run of neighbours.
constexpr uint32_t kChunk = 4096, kRun = kChunk / kSortWarps;

// One pass over choices in some order, by `bins` values of the bits from `shift` on.
struct Pass {
  const int32_t* ids;
  const uint32_t* order;  // nullptr: as they come
  size_t n;
  uint32_t shift, bins;

#ifdef __CUDACC__
  __device__ uint32_t choice(size_t i) const {
    return order == nullptr ? static_cast<uint32_t>(i) : order[i];
  }
  __device__ uint32_t bin(uint32_t choice) const {
    return static_cast<uint32_t>(ids[choice]) >> shift & (kBins - 1);
  }
#endif
};

__global__ void __launch_bounds__(kThreads) count_kernel(Fault fault, Pass pass, uint32_t groups, uint32_t* counts) {
  // The first pass checks the groups; without it there is no order.
  if (pass.order == nullptr ? fault.stopped() : fault.failed()) return;
  __shared__ uint32_t bins[kBins];
  for (uint32_t b = threadIdx.x; b < kBins; b += kThreads) bins[b] = 0;
  __syncthreads();
  const size_t begin = static_cast<size_t>(blockIdx.x) * kChunk, end = min(begin + kChunk, pass.n);
#pragma unroll 4
  for (size_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const uint32_t choice = pass.choice(i);
    const int32_t id = pass.ids[choice];
    if (static_cast<uint32_t>(id) < groups)
      atomicAdd(bins + pass.bin(choice), 1u);
    else
      fault.raise(kIdOutside, id, groups);
  }
  __syncthreads();
  for (uint32_t b = threadIdx.x; b < pass.bins; b += kThreads)
    counts[static_cast<size_t>(blockIdx.x) * pass.bins + b] = bins[b];
}

// Where each choice goes, to `sorted` or, in the last pass, to source and position. offsets: unless nullptr.
__global__ void __launch_bounds__(kSortThreads)
    place_kernel(Fault fault, Pass pass, const uint32_t* counts, uint32_t blocks, uint32_t* sorted, uint32_t k,
                 int32_t* offsets, int32_t* source, int32_t* position) {
  if (fault.failed()) return;
  __shared__ uint32_t all[kBins], before[kBins], places[kSortWarps][kBins];
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (threadIdx.x < kBins) all[threadIdx.x] = before[threadIdx.x] = 0;
  for (uint32_t b = lane; b < kBins; b += 32) places[warp][b] = 0;
  __syncthreads();

  // Of each bin how many there are, and how many in the blocks before this one. Some threads share a bin.
  const uint32_t across = pass.bins == 0 ? 32 : ceil_div(pass.bins, 32) * 32, own = threadIdx.x % across;
  if (own < pass.bins && threadIdx.x / across < kSortThreads / across) {
    uint32_t every = 0, earlier = 0;
#pragma unroll 4
    for (uint32_t b = threadIdx.x / across; b < blocks; b += kSortThreads / across) {
      const uint32_t count = counts[static_cast<size_t>(b) * pass.bins + own];
      every += count;
      if (b < blockIdx.x) earlier += count;
    }
    atomicAdd(all + own, every);
    atomicAdd(before + own, earlier);
  }
  // Of the run of this warp how many.
  const size_t begin = static_cast<size_t>(blockIdx.x) * kChunk + warp * kRun, end = min(begin + kRun, pass.n);
  for (size_t i = begin + lane; i < end; i += 32) atomicAdd(&places[warp][pass.bin(pass.choice(i))], 1u);
  __syncthreads();

  // Where bins begin: a warp adds up eight a lane.
  if (warp == 0) {
    constexpr uint32_t each = kBins / 32;
    uint32_t mine = 0;
    for (uint32_t b = 0; b < each; b++) mine += all[lane * each + b];
    uint32_t sum = mine;
    for (uint32_t apart = 1; apart < 32; apart *= 2) {
      const uint32_t lower = __shfl_up_sync(0xffffffffu, sum, apart);
      if (lane >= apart) sum += lower;
    }
    uint32_t at = sum - mine;
    for (uint32_t b = lane * each; b < (lane + 1) * each; b++) {
      const uint32_t count = all[b];
      all[b] = at;
      at += count;
    }
  }
  __syncthreads();
  if (threadIdx.x < pass.bins) {
    uint32_t at = all[threadIdx.x] + before[threadIdx.x];
    for (uint32_t w = 0; w < kSortWarps; w++) {
      const uint32_t count = places[w][threadIdx.x];
      places[w][threadIdx.x] = at;
      at += count;
    }
    if (offsets != nullptr && blockIdx.x == 0) offsets[threadIdx.x] = static_cast<int32_t>(all[threadIdx.x]);
  }
  if (offsets != nullptr && blockIdx.x == 0 && threadIdx.x == 0) offsets[pass.bins] = static_cast<int32_t>(pass.n);
  __syncthreads();

  for (size_t first = begin; first < end; first += 32) {
    const size_t i = first + lane;
    const uint32_t choice = i < end ? pass.choice(i) : 0, bin = i < end ? pass.bin(choice) : kBins;
    const uint32_t same = __match_any_sync(0xffffffffu, bin), rank = __popc(same & ((1u << lane) - 1));
    const uint32_t place = i < end ? places[warp][bin] + rank : 0;
    __syncwarp();
    if (i < end && rank == 0) places[warp][bin] += __popc(same);
    __syncwarp();
    if (i >= end) continue;
    if (sorted != nullptr) sorted[place] = choice;
    if (source != nullptr) {
      source[place] = static_cast<int32_t>(choice / k);
      position[choice] = static_cast<int32_t>(place);
    }
  }
}

// offsets from sorted choices: a choice behind one of a lower group begins its own and the empty ones between.
__global__ void __launch_bounds__(kThreads) bounds_kernel(Fault fault, const int32_t* ids, const uint32_t* sorted,
                                                          size_t n, uint32_t groups, int32_t* offsets) {
  if (fault.failed()) return;
  for (size_t i = flat_index(); i <= n; i += flat_stride()) {
    const uint32_t last = i < n ? static_cast<uint32_t>(ids[sorted[i]]) : groups;
    for (uint32_t g = i == 0 ? 0 : static_cast<uint32_t>(ids[sorted[i - 1]]) + 1; g <= last; g++)
      offsets[g] = static_cast<int32_t>(i);
  }
}

}  // namespace

void route_sort(Launch& l, const RouteSortRow& row) {
  const size_t n = static_cast<size_t>(row.rows) * row.k;
  const uint32_t blocks = ceil_div(n, kChunk), bins = row.groups < kBins ? row.groups : kBins;
  const bool several = row.groups > kBins;
  auto* counts = static_cast<uint32_t*>(l.scratch(size_t{blocks} * bins * sizeof(uint32_t)));
  uint32_t* sorted[2] = {};
  if (several)
    for (uint32_t*& order : sorted) order = static_cast<uint32_t*>(l.scratch(n * sizeof(uint32_t)));
  Pass pass{l.i32(row.ids), nullptr, n, 0, bins};
  for (uint32_t left = row.groups;;) {
    const bool last = left <= kBins;
    launch(l, count_kernel, blocks, kThreads, 0, l.fault(), pass, row.groups, counts);
    launch(l, place_kernel, blocks == 0 ? 1 : blocks, kSortThreads, 0, l.fault(), pass, counts, blocks, sorted[0],
           row.k, several ? nullptr : l.i32(row.offsets), last ? l.i32(row.source) : nullptr,
           last ? l.i32(row.position) : nullptr);
    if (last) break;
    pass.order = sorted[0];
    pass.shift += 8;
    left = ceil_div(left, kBins);
    std::swap(sorted[0], sorted[1]);
  }
  if (several)
    launch(l, bounds_kernel, flat_grid(l, n + 1), kThreads, 0, l.fault(), l.i32(row.ids), sorted[0], n, row.groups,
           l.i32(row.offsets));
}

}  // namespace sweetspot::cuda
