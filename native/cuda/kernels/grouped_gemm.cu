// grouped_gemm and its weight gradient: rows sorted by group, each group with a matrix of its own. How many rows a
// group has is known on the device only, so the grid has room for any grouping: every group ends with at most one
// partial tile. A first kernel checks the offsets and writes which rows each tile takes.
#include "cuda/gemm/product.cuh"

namespace sweetspot::cuda {

namespace {

constexpr int kThreads = 256;

// grouped_gemm_dw with a count: groups from there on have no rows, or the row fails.
__global__ void check_count_kernel(Fault fault, const int32_t* offsets, const int32_t* count, uint32_t groups) {
  if (fault.stopped()) return;
  const uint32_t present = static_cast<uint32_t>(*count);
  if (present > groups)
    fault.raise(kCount, *count, groups);
  else if (offsets[present] != offsets[groups])
    fault.raise(kRowsLeftOut, *count);
}

// tiles: count entries, or nullptr to check only.
__global__ void __launch_bounds__(kThreads)
    plan_groups_kernel(Fault fault, const int32_t* offsets, uint32_t groups, uint32_t rows, uint32_t size,
                       GroupTile* tiles, uint32_t count) {
  if (fault.stopped()) return;
  int wrong = 0;
  for (uint32_t g = threadIdx.x; g <= groups; g += kThreads) {
    const int32_t here = offsets[g];
    const bool bad = g == 0 ? here != 0 : here < offsets[g - 1];
    if (bad || (g == groups && static_cast<int64_t>(here) != rows)) {
      fault.raise(kOffsets, static_cast<int32_t>(g), rows);
      wrong = 1;
    }
  }
  // Where a group's tiles begin depends on all groups before it: each thread takes a run of groups and counts theirs.
  __shared__ uint32_t starts[kThreads];
  if (__syncthreads_or(wrong) || tiles == nullptr) return;
  const uint32_t run = ceil_div(groups, kThreads);
  const uint32_t first = min(groups, threadIdx.x * run), last = min(groups, first + run);
  uint32_t mine = 0;
  for (uint32_t g = first; g < last; g++) mine += ceil_div(offsets[g + 1] - offsets[g], size);
  starts[threadIdx.x] = mine;
  __syncthreads();
  uint32_t at = 0, all = 0;
  for (int i = 0; i < kThreads; i++) {
    if (i < threadIdx.x) at += starts[i];
    all += starts[i];
  }
  for (uint32_t g = first; g < last; g++) {
    const uint32_t end = static_cast<uint32_t>(offsets[g + 1]);
    for (uint32_t row = static_cast<uint32_t>(offsets[g]); row < end; row += size)
      tiles[at++] = {g, row, min(size, end - row)};
  }
  for (uint32_t i = all + threadIdx.x; i < count; i += kThreads) tiles[i] = {0, 0, 0};
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
  launch(l, plan_groups_kernel, 1, kThreads, 0, l.fault(), l.i32(row.offsets), row.groups, row.rows, size, tiles,
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
  launch(l, plan_groups_kernel, 1, kThreads, 0, l.fault(), p.offsets, row.groups, row.rows, 1u,
         static_cast<GroupTile*>(nullptr), 0u);
  if (row.count.present()) {
    p.count = l.i32(row.count);
    launch(l, check_count_kernel, 1, 1, 0, l.fault(), p.offsets, p.count, row.groups);
  }
  const Matmul precision = row.precision == 1 ? Matmul::bf16 : l.matmul;
  if (precision == Matmul::bf16) p.a_half = l.factor(row.a), p.b_half = l.factor(row.b);
  multiply(l, p, precision);
}

}  // namespace sweetspot::cuda
