// Where the numbers of a head lie in the rows of attention and attention_backward.
#pragma once
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

struct Heads {
  uint32_t batch, time, heads, kv_heads, dim;
  float scale;

  // Of rows of y and dy, and of fused rows.
  __host__ __device__ size_t y_width() const { return static_cast<size_t>(heads) * dim; }
  __host__ __device__ size_t width() const { return y_width() + 2 * static_cast<size_t>(kv_heads) * dim; }
#ifdef __CUDACC__
  __device__ uint32_t group() const {
    return heads / kv_heads;
  }
  // First columns of a fused row; a query's is also that of y and dy.
  __device__ size_t query(uint32_t head) const {
    return static_cast<size_t>(head) * dim;
  }
  __device__ size_t key(uint32_t head) const {
    return y_width() + query(head);
  }
  __device__ size_t value(uint32_t head) const {
    return key(kv_heads + head);
  }
  // First element of a token.
  __device__ size_t fused(uint32_t sequence, uint32_t position) const {
    return (static_cast<size_t>(sequence) * time + position) * width();
  }
  __device__ size_t output(uint32_t sequence, uint32_t position) const {
    return (static_cast<size_t>(sequence) * time + position) * y_width();
  }
  // Place of a head's numbers in lse and delta.
  __device__ size_t statistics(uint32_t sequence, uint32_t head) const {
    return (static_cast<size_t>(sequence) * heads + head) * time;
  }
#endif
};

// Launch the kernels for tensor cores; false where there are none for heads this wide, or the device lacks the shared
// memory, and the general ones are to be used.
bool attention_bf16(Launch& l, const AttentionRow& row);
bool attention_backward_bf16(Launch& l, const AttentionBackwardRow& row, const float* delta);

}  // namespace sweetspot::cuda
