// What the driver checks when a tensor map is made, from its manual.
#include "cuda.h"

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                const cuuint64_t* size, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* element_strides, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const uint32_t element = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
  if (rank < 2 || rank > 3 || reinterpret_cast<uintptr_t>(map) % 64 != 0) return CUDA_ERROR_INVALID_VALUE;
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  *map = {static_cast<uint8_t*>(address), {1, 1, 1}, {element, 0, 0}, {1, 1, 1}, rank, element, swizzle};
  for (uint32_t i = 0; i < rank; i++) {
    if (size[i] == 0 || size[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 || element_strides[i] != 1)
      return CUDA_ERROR_INVALID_VALUE;
    map->size[i] = size[i];
    map->box[i] = box[i];
    if (i == 0) continue;
    const uint64_t stride = strides[i - 1];
    if (stride % 16 != 0 || stride >= uint64_t{1} << 40) return CUDA_ERROR_INVALID_VALUE;
    map->stride[i] = stride;
  }
  const uint32_t line = box[0] * element;
  if (line % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_128B && line > 128) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}
