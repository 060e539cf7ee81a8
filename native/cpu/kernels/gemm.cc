// gemm: c[b] = alpha * op(a[b]) op(b[b]) (+ bias) (+ add). The work is in cpu/gemm/loops.h; here a row becomes
// Products, one for each batch entry.
#include "cpu/gemm/loops.h"

namespace sweetspot::SWEETSPOT_ISA {

void gemm(Context& ctx, const GemmRow& row) {
  size_t batch = row.batch, m = row.m;
  // Entries that lie behind each other and share B are one taller product, which packs B less often.
  if (!row.transA && row.strideB == 0 && row.strideA == uint64_t{row.m} * row.lda &&
      row.strideC == uint64_t{row.m} * row.ldc) {
    m *= batch;
    batch = batch == 0 ? 0 : 1;
  }
  const float* bias = row.bias.present() ? ctx.f32(row.bias) : nullptr;
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  run_products(ctx, row.precision, batch, [&](size_t i) {
    const size_t c = i * row.strideC;
    return Product{ctx.f32(row.a) + i * row.strideA,
                   ctx.f32(row.b) + i * row.strideB,
                   bias,
                   add == nullptr ? nullptr : add + c,
                   ctx.f32(row.c) + c,
                   m,
                   row.n,
                   row.k,
                   row.lda,
                   row.ldb,
                   row.ldc,
                   row.transA != 0,
                   row.transB != 0,
                   row.alpha};
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
