// csr_gemm: y = S b with S in compressed rows. One warp builds up to 128 columns of a row of y from the rows of b that
// the entries name, entry by entry.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {

namespace {

constexpr int kWarps = 4;

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

// A warp reads 32 entries at once, which its lanes then pass round.
template <class C>
__global__ void __launch_bounds__(32 * kWarps)
    csr_gemm_kernel(Fault fault, const int32_t* indptr, const int32_t* indices, const float* values, const float* b,
                    float* y, uint32_t rows, uint32_t n) {
  if (fault.failed()) return;
  const uint32_t row = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  const size_t column = blockIdx.y * (C::V * C::step) + lane * C::W;
  Pack<C::W> sums[C::V] = {};
  const int32_t end = indptr[row + 1];
  for (int32_t first = indptr[row]; first < end; first += 32) {
    const int32_t count = min(end - first, 32);
    const bool there = static_cast<int32_t>(lane) < count;
    const int32_t index = there ? indices[first + lane] : 0;
    const float value = there ? values[first + lane] : 0.0f;
#pragma unroll 4
    for (int32_t e = 0; e < count; e++) {
      const float* from = b + static_cast<size_t>(__shfl_sync(0xffffffffu, index, e)) * n;
      const float factor = __shfl_sync(0xffffffffu, value, e);
      each_of<C::V>(column, C::step, n, [&](int k, size_t i) {
        sums[k] = each([=](float v, float sum) { return fmaf(factor, v, sum); }, load<C::W>(from, i), sums[k]);
      });
    }
  }
  each_of<C::V>(column, C::step, n, [&](int k, size_t i) {
    store({y, nullptr}, static_cast<size_t>(row) * n + i, sums[k]);
  });
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
  const auto multiply = [&](auto cut) {
    using C = decltype(cut);
    launch(l, csr_gemm_kernel<C>, dim3(ceil_div(row.rows, kWarps), ceil_div(row.n, C::V * C::step)), 32 * kWarps, 0,
           l.fault(), indptr, indices, l.f32(row.values), l.f32(row.b), l.f32(row.y), row.rows, row.n);
  };
  if (row.n % 4 == 0)
    multiply(Cut<32, 4, 1>{});
  else
    multiply(Cut<32, 1, 4>{});
}

}  // namespace sweetspot::cuda
