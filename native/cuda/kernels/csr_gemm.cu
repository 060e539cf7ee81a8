// csr_gemm: y = S b with S in compressed rows. One warp builds up to 128 columns of a row of y from the rows of b that
// the entries name, entry by entry.
#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kColumns = 4;  // of a lane, 32 apart

__global__ void __launch_bounds__(256)
    check_pointers_kernel(Fault fault, const int32_t* indptr, uint32_t rows, uint32_t nnz) {
  if (fault.stopped()) return;
  for (uint32_t r = blockIdx.x * 256 + threadIdx.x; r <= rows; r += gridDim.x * 256) {
    const int32_t here = indptr[r];
    if (r == 0 ? here != 0 : here < indptr[r - 1] || static_cast<int64_t>(here) > nnz)
      fault.raise(kSparse, static_cast<int32_t>(r), nnz);
  }
}

__global__ void __launch_bounds__(256)
    check_columns_kernel(Fault fault, const int32_t* indptr, const int32_t* indices, uint32_t rows, uint32_t cols) {
  if (fault.stopped()) return;
  // Pointers that failed the check before are not followed.
  if ((fault.error->where >> 56) == kSparse) return;
  const uint32_t entries = static_cast<uint32_t>(indptr[rows]);
  for (uint32_t i = blockIdx.x * 256 + threadIdx.x; i < entries; i += gridDim.x * 256)
    if (static_cast<uint32_t>(indices[i]) >= cols) fault.raise(kIdOutside, indices[i], cols);
}

__global__ void __launch_bounds__(32 * kWarps)
    csr_gemm_kernel(Fault fault, const int32_t* indptr, const int32_t* indices, const float* values, const float* b,
                    float* y, uint32_t rows, uint32_t n) {
  if (fault.failed()) return;
  const uint32_t row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const uint32_t column = blockIdx.y * 32 * kColumns + threadIdx.x % 32;
  float sum[kColumns] = {};
  for (int32_t e = indptr[row]; e < indptr[row + 1]; e++) {
    const float value = values[e];
    const float* from = b + static_cast<size_t>(indices[e]) * n;
#pragma unroll
    for (int j = 0; j < kColumns; j++)
      if (column + 32 * j < n) sum[j] = fmaf(value, from[column + 32 * j], sum[j]);
  }
#pragma unroll
  for (int j = 0; j < kColumns; j++)
    if (column + 32 * j < n) y[static_cast<size_t>(row) * n + column + 32 * j] = sum[j];
}

}  // namespace

void csr_gemm(Launch& l, const CsrGemmRow& row) {
  const int32_t* indptr = l.i32(row.indptr);
  const int32_t* indices = l.i32(row.indices);
  const uint32_t blocks = static_cast<uint32_t>(l.sms) * 8;
  launch(l, check_pointers_kernel, min(blocks, ceil_div(row.rows + uint64_t{1}, 256)), 256, 0, l.fault(), indptr,
         row.rows, row.nnz);
  launch(l, check_columns_kernel, min(blocks, ceil_div(row.nnz, 256)), 256, 0, l.fault(), indptr, indices, row.rows,
         row.cols);
  launch(l, csr_gemm_kernel, dim3(ceil_div(row.rows, kWarps), ceil_div(row.n, 32 * kColumns)), 32 * kWarps, 0,
         l.fault(), indptr, indices, l.f32(row.values), l.f32(row.b), l.f32(row.y), row.rows, row.n);
}

}  // namespace sweetspot::cuda
