// grouped_gemm and its weight gradient: rows sorted by group, each group with a matrix of its own. Every group is one
// Product of cpu/gemm/loops.h whose number of rows comes from `offsets`, so groups may be uneven or empty.
#include "cpu/gemm/loops.h"
#include "cpu/kernels/ids.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

// True when offsets run from 0 to rows without ever descending; otherwise fails the row.
bool offsets_valid(Context& ctx, const int32_t* offsets, uint32_t groups, uint32_t rows) {
  if (offsets[0] != 0 || static_cast<int64_t>(offsets[groups]) != static_cast<int64_t>(rows)) {
    ctx.fail("group offsets run from %d to %d instead of from 0 to %u", offsets[0], offsets[groups], rows);
    return false;
  }
  for (uint32_t g = 0; g < groups; g++) {
    if (offsets[g + 1] < offsets[g]) {
      ctx.fail("group offsets descend from %d to %d at group %u of %u", offsets[g], offsets[g + 1], g, groups);
      return false;
    }
  }
  return true;
}

}  // namespace

void grouped_gemm(Context& ctx, const GroupedGemmRow& row) {
  const int32_t* offsets = ctx.i32(row.offsets);
  if (!offsets_valid(ctx, offsets, row.groups, row.rows)) return;
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  const size_t n = row.n, k = row.k;
  run_products(ctx, row.precision, row.groups, [&](size_t g) {
    const size_t first = static_cast<size_t>(offsets[g]), rows = static_cast<size_t>(offsets[g + 1]) - first;
    return Product{ctx.f32(row.a) + first * k,
                   ctx.f32(row.b) + g * n * k,
                   nullptr,
                   add == nullptr ? nullptr : add + first * n,
                   ctx.f32(row.c) + first * n,
                   rows,
                   n,
                   k,
                   k,
                   row.transB != 0 ? k : n,
                   n,
                   false,
                   row.transB != 0,
                   1.0f};
  });
}

void grouped_gemm_dw(Context& ctx, const GroupedGemmDwRow& row) {
  const int32_t* offsets = ctx.i32(row.offsets);
  uint32_t present;
  if (!offsets_valid(ctx, offsets, row.groups, row.rows)) return;
  if (!count_inside(ctx, row.count, row.groups, present)) return;
  if (offsets[present] != offsets[row.groups]) {
    return ctx.fail("a count of %u groups leaves out rows from %d on", present, offsets[present]);
  }
  const size_t m = row.m, n = row.n;
  // The rows of a group are the K of its product; a group without rows is a product with K = 0, which writes zeros.
  run_products(ctx, row.precision, present, [&](size_t g) {
    const size_t first = static_cast<size_t>(offsets[g]), rows = static_cast<size_t>(offsets[g + 1]) - first;
    return Product{ctx.f32(row.a) + first * m,
                   ctx.f32(row.b) + first * n,
                   nullptr,
                   nullptr,
                   ctx.f32(row.dw) + g * m * n,
                   m,
                   n,
                   rows,
                   m,
                   n,
                   n,
                   true,
                   false,
                   1.0f};
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
