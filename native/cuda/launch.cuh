// How kernels are started and find their dynamic shared memory: the two things besides ptx.cuh that only CUDA's own
// compiler understands. test/emulator has both for the CPU.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace sweetspot::cuda {

#ifdef __CUDACC__
// The block's dynamic shared memory, aligned as swizzled tiles need it.
__device__ inline uint8_t* dynamic_shared() {
  extern __shared__ __align__(1024) uint8_t shared_memory[];
  return shared_memory;
}

template <class... P, class... A>
inline void start(cudaStream_t stream, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... arguments) {
  if (shared > 48 * 1024)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  kernel<<<grid, block, shared, stream>>>(static_cast<P>(arguments)...);
}
#endif

}  // namespace sweetspot::cuda
