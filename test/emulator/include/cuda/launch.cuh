// native/cuda/launch.cuh for the CPU.
#pragma once
#include "cuda_runtime.h"

namespace sweetspot::cuda {

inline uint8_t* dynamic_shared() {
  return emulator::shared_memory();
}

template <class... P>
inline void load(void (*)(P...), size_t) {}

template <class... P, class... A>
inline void start(cudaStream_t stream, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... arguments) {
  emulator::enqueue(stream,
                    [=] { emulator::run_grid([&] { kernel(static_cast<P>(arguments)...); }, grid, block, shared); });
}

}  // namespace sweetspot::cuda
