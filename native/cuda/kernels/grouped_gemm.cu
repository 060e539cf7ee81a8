// grouped_gemm and its weight gradient: rows sorted by group, each group with a matrix of its own. How many rows a
// group has is known on the device only, so the grid has room for any grouping: every group ends with at most one
// partial tile. A first kernel checks the offsets and writes which rows each tile, or part of a sum, takes.
#include <algorithm>

#include "cuda/gemm/product.cuh"

namespace sweetspot::cuda {

namespace {

constexpr int kThreads = 256;

// Whether offsets do not ascend from 0 to rows, which raises a fault; every thread of the block gets the answer.
__device__ bool wrong_offsets(Fault fault, const int32_t* offsets, uint32_t groups, uint32_t rows) {
  int wrong = 0;
  for (uint32_t g = threadIdx.x; g <= groups; g += kThreads) {
    const int32_t here = offsets[g];
    const bool bad = g == 0 ? here != 0 : here < offsets[g - 1];
    if (bad || (g == groups && static_cast<int64_t>(here) != rows)) {
      fault.raise(kOffsets, static_cast<int32_t>(g), rows);
      wrong = 1;
    }
  }
  return __syncthreads_or(wrong) != 0;
}

// What a thread finds in its groups, then what all threads before it do and all together. Where a group's entries of a
// list begin depends on all groups before it: each thread takes a run of groups and counts theirs.
struct Counts {
  uint32_t full, rest, slots, sums;
  __device__ void add(const Counts& other) {
    full += other.full, rest += other.rest, slots += other.slots, sums += other.sums;
  }
};
__device__ void count_before(Counts& mine, Counts& all) {
  __shared__ Counts counts[kThreads];
  counts[threadIdx.x] = mine;
  __syncthreads();
  mine = all = {};
  for (int i = 0; i < kThreads; i++) {
    if (i < threadIdx.x) mine.add(counts[i]);
    all.add(counts[i]);
  }
}

__global__ void __launch_bounds__(kThreads)
    plan_tiles_kernel(Fault fault, const int32_t* offsets, uint32_t groups, uint32_t rows, uint32_t size,
                      GroupTile* tiles, uint32_t count) {
  if (fault.stopped() || wrong_offsets(fault, offsets, groups, rows)) return;
  const uint32_t run = ceil_div(groups, kThreads);
  const uint32_t first = min(groups, threadIdx.x * run), last = min(groups, first + run);
  Counts at{}, all;
  for (uint32_t g = first; g < last; g++) at.full += ceil_div(offsets[g + 1] - offsets[g], size);
  count_before(at, all);
  for (uint32_t g = first; g < last; g++) {
    const uint32_t end = static_cast<uint32_t>(offsets[g + 1]);
    for (uint32_t row = static_cast<uint32_t>(offsets[g]); row < end; row += size)
      tiles[at.full++] = {g, row, min(size, end - row)};
  }
  for (uint32_t i = all.full + threadIdx.x; i < count; i += kThreads) tiles[i] = {0, 0, 0};
}

// Cuts a group's rows into parts of `depth` and a rest, which is there too when the group has no rows: its dw is zeros.
struct Cut {
  uint32_t first, full, left;
  __device__ Cut(const int32_t* offsets, uint32_t group, uint32_t depth) {
    first = static_cast<uint32_t>(offsets[group]);
    const uint32_t rows = static_cast<uint32_t>(offsets[group + 1]) - first;
    full = rows / depth;
    left = rows % depth;
  }
  __device__ uint32_t rest() const { return left > 0 || full == 0 ? 1 : 0; }
  __device__ bool several() const { return full + rest() > 1; }
};

// The list begins with the parts of full length, so that the short ones fill the end of the launch.
__global__ void __launch_bounds__(kThreads)
    plan_parts_kernel(Fault fault, const int32_t* offsets, const int32_t* count, uint32_t groups, uint32_t rows,
                      uint32_t depth, GroupPart* parts, uint32_t part_count, PartSum* sums, uint32_t sum_count) {
  if (fault.stopped() || wrong_offsets(fault, offsets, groups, rows)) return;
  const uint32_t present = count != nullptr ? static_cast<uint32_t>(*count) : groups;
  if (present > groups || offsets[present] != offsets[groups]) {
    if (threadIdx.x != 0) return;
    if (present > groups)
      fault.raise(kCount, *count, groups);
    else
      fault.raise(kRowsLeftOut, *count);
    return;
  }
  const uint32_t run = ceil_div(present, kThreads);
  const uint32_t first = min(present, threadIdx.x * run), last = min(present, first + run);
  Counts at{}, all;
  for (uint32_t g = first; g < last; g++) {
    const Cut cut(offsets, g, depth);
    at.full += cut.full;
    at.rest += cut.rest();
    if (cut.several()) at.slots += cut.full + cut.rest(), at.sums++;
  }
  count_before(at, all);
  for (uint32_t g = first; g < last; g++) {
    const Cut cut(offsets, g, depth);
    if (cut.several()) sums[at.sums++] = {g, at.slots, cut.full + cut.rest()};
    const auto slot = [&] { return cut.several() ? at.slots++ : kAbsent; };
    for (uint32_t i = 0; i < cut.full; i++) parts[at.full++] = {g, cut.first + i * depth, depth, slot()};
    if (cut.rest() > 0) parts[all.full + at.rest++] = {g, cut.first + cut.full * depth, cut.left, slot()};
  }
  for (uint32_t i = all.full + all.rest + threadIdx.x; i < part_count; i += kThreads) parts[i] = {kAbsent, 0, 0, 0};
  for (uint32_t i = all.sums + threadIdx.x; i < sum_count; i += kThreads) sums[i] = {kAbsent, 0, 0};
}

}  // namespace

void grouped_gemm(Launch& l, const GroupedGemmRow& row) {
  Product p;
  p.a = l.f32(row.a), p.b = l.f32(row.b), p.c = l.out(row.c), p.add = l.optional(row.add);
  p.m = row.rows, p.n = row.n, p.k = row.k;
  p.trans_b = row.transB != 0;
  p.lda = row.k, p.ldb = p.trans_b ? row.k : row.n, p.ldc = row.n;
  p.stride_b = static_cast<size_t>(row.n) * row.k;
  p.group_count = row.groups;
  const uint32_t size = takes_large_tiles(p) ? kLargeTile : kSmallTile;
  p.group_tile_count = ceil_div(row.rows, size) + row.groups;
  auto* tiles = static_cast<GroupTile*>(l.scratch(p.group_tile_count * sizeof(GroupTile)));
  p.group_tiles = tiles;
  launch(l, plan_tiles_kernel, 1, kThreads, 0, l.fault(), l.i32(row.offsets), row.groups, row.rows, size, tiles,
         p.group_tile_count);
  const Matmul precision = row.precision == 1 ? Matmul::bf16 : l.matmul;
  if (precision == Matmul::bf16) p.a_half = l.factor(row.a), p.b_half = l.factor(row.b);
  multiply(l, p, precision);
}

void grouped_gemm_dw(Launch& l, const GroupedGemmDwRow& row) {
  Product p;
  p.a = l.f32(row.a), p.b = l.f32(row.b), p.c = l.out(row.dw), p.offsets = l.i32(row.offsets);
  p.batch = row.groups, p.m = row.m, p.n = row.n, p.k = row.rows;
  p.trans_a = true;
  p.lda = row.m, p.ldb = row.n, p.ldc = row.n;
  p.stride_c = static_cast<size_t>(row.m) * row.n;
  if (row.count.present()) p.count = l.i32(row.count);
  const uint32_t depth = choose_part_depth(p);
  // Only groups of more rows than `depth` have several parts.
  p.part_count = row.rows / depth + row.groups;
  p.part_sum_count = std::min(row.groups, row.rows / (depth + 1));
  p.slots = p.part_sum_count > 0 ? row.rows / depth + p.part_sum_count : 0;
  auto* parts = static_cast<GroupPart*>(l.scratch(p.part_count * sizeof(GroupPart)));
  auto* sums = static_cast<PartSum*>(l.scratch(p.part_sum_count * sizeof(PartSum)));
  p.parts = parts, p.part_sums = sums;
  launch(l, plan_parts_kernel, 1, kThreads, 0, l.fault(), p.offsets, p.count, row.groups, row.rows, depth, parts,
         p.part_count, sums, p.part_sum_count);
  const Matmul precision = row.precision == 1 ? Matmul::bf16 : l.matmul;
  if (precision == Matmul::bf16) p.a_half = l.factor(row.a), p.b_half = l.factor(row.b);
  multiply(l, p, precision);
}

}  // namespace sweetspot::cuda
