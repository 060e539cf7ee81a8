#include <cuda_runtime.h>

#include "cuda/gemm/tensor_map.h"

namespace sweetspot::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function, asked for by name: the library is not linked to the driver, so that it loads without one.
Encode find_encode() {
  constexpr const char* kName = "cuTensorMapEncodeTiled";
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION < 12050
  const cudaError_t status = cudaGetDriverEntryPoint(kName, &function, cudaEnableDefault, &result);
#else
  const cudaError_t status = cudaGetDriverEntryPointByVersion(kName, &function, 12000, cudaEnableDefault, &result);
#endif
  if (status != cudaSuccess || result != cudaDriverEntryPointSuccess) {
    cudaGetLastError();  // must not be found by the next launch
    return nullptr;
  }
  return reinterpret_cast<Encode>(function);
}

}  // namespace

bool make_map(CUtensorMap& map, const BoxedMatrix& m) {
  static const Encode encode = find_encode();
  if (encode == nullptr || m.base == nullptr || m.inner == 0 || m.outer == 0 || m.entries == 0) return false;
  const uint64_t entries = m.stride == 0 ? 1 : m.entries;
  const size_t stride = entries == 1 ? m.outer * m.ld : m.stride;
  // What the driver's manual asks for: lines and entries at multiples of 16 bytes, lines that do not overlap, and each
  // stride a multiple of the one before.
  constexpr uint64_t kMostNumbers = uint64_t{1} << 31, kMostStride = uint64_t{1} << 39;
  if (reinterpret_cast<uintptr_t>(m.base) % 16 != 0 || m.ld * m.element % 16 != 0 || m.ld < m.inner) return false;
  if (stride % m.ld != 0 || stride < m.outer * m.ld || stride >= kMostStride) return false;
  if (m.inner > kMostNumbers || m.outer > kMostNumbers || entries > kMostNumbers) return false;
  const cuuint64_t size[] = {m.inner, m.outer, entries}, strides[] = {m.ld * m.element, stride * m.element};
  const cuuint32_t box[] = {128 / m.element, m.box, 1}, every[] = {1, 1, 1};
  const auto type = m.element == sizeof(bf16) ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  return encode(&map, type, 3, const_cast<void*>(m.base), size, strides, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace sweetspot::cuda
