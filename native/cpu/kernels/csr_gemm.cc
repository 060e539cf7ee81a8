// csr_gemm: y = S b with S in compressed rows. A row of y is a weighted sum of rows of b; it is built a few vectors of
// columns at a time, kept in registers while the entries of the row pass by. Tasks are blocks of rows.
#include "cpu/kernel.h"
#include "cpu/kernels/ids.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

constexpr size_t kVecs = 4;

struct Entries {
  const int32_t* columns;
  const float* values;
  size_t count;
};

template <size_t Vecs>
void sum_entries(const Entries& entries, const float* b, size_t n, float* y) {
  Vec acc[Vecs];
  for (size_t v = 0; v < Vecs; v++) acc[v] = Vec::zero();
  for (size_t e = 0; e < entries.count; e++) {
    const Vec value = Vec::set(entries.values[e]);
    const float* from = b + static_cast<size_t>(entries.columns[e]) * n;
    for (size_t v = 0; v < Vecs; v++) acc[v] = fma(value, Vec::load(from + v * Vec::N), acc[v]);
  }
  for (size_t v = 0; v < Vecs; v++) acc[v].store(y + v * Vec::N);
}

void sum_entries_tail(const Entries& entries, const float* b, size_t n, float* y, size_t width) {
  Vec acc = Vec::zero();
  for (size_t e = 0; e < entries.count; e++) {
    const float* from = b + static_cast<size_t>(entries.columns[e]) * n;
    acc = fma(Vec::set(entries.values[e]), Vec::load(from, width), acc);
  }
  acc.store(y, width);
}

bool pointers_valid(Context& ctx, const int32_t* indptr, uint32_t rows, uint32_t nnz) {
  if (indptr[0] != 0 || static_cast<int64_t>(indptr[rows]) > static_cast<int64_t>(nnz)) {
    ctx.fail("row pointers run from %d to %d instead of from 0 to at most %u", indptr[0], indptr[rows], nnz);
    return false;
  }
  for (uint32_t r = 0; r < rows; r++) {
    if (indptr[r + 1] < indptr[r]) {
      ctx.fail("row pointers descend from %d to %d at row %u of %u", indptr[r], indptr[r + 1], r, rows);
      return false;
    }
  }
  return true;
}

}  // namespace

void csr_gemm(Context& ctx, const CsrGemmRow& row) {
  const int32_t* indptr = ctx.i32(row.indptr);
  const int32_t* indices = ctx.i32(row.indices);
  if (!pointers_valid(ctx, indptr, row.rows, row.nnz)) return;
  if (!ids_inside(ctx, "column", indices, static_cast<size_t>(indptr[row.rows]), row.cols, false)) return;
  const float* values = ctx.f32(row.values);
  const float* b = ctx.f32(row.b);
  float* y = ctx.f32(row.y);
  const size_t rows = row.rows, n = row.n;
  // Blocks of rows with some 100,000 multiply-adds if the entries were spread evenly.
  const size_t per_row = max_size((row.nnz / max_size(rows, 1) + 1) * n, 1);
  const size_t block = max_size(1, 100000 / per_row);
  parallel(ctx, ceil_div(rows, block), [&](uint32_t task, uint32_t) {
    for (size_t r = task * block; r < min_size(rows, (task + size_t{1}) * block); r++) {
      const size_t first = static_cast<size_t>(indptr[r]);
      const Entries entries{indices + first, values + first, static_cast<size_t>(indptr[r + 1]) - first};
      size_t j = 0;
      for (; j + kVecs * Vec::N <= n; j += kVecs * Vec::N) sum_entries<kVecs>(entries, b + j, n, y + r * n + j);
      for (; j + Vec::N <= n; j += Vec::N) sum_entries<1>(entries, b + j, n, y + r * n + j);
      if (j < n) sum_entries_tail(entries, b + j, n, y + r * n + j, n - j);
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
