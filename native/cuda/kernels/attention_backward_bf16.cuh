// What the two kernels of attention_backward on tensor cores share. As in attention_backward.cu one makes dk and dv,
// one dq, and both make scores and dy v^T of every pair: 7 products where 5 would do. One kernel would have to add up
// dq of a query over blocks of keys, in a fixed order: with 128 keys a block that moves 8 bytes of dq for every 256
// multiplications saved, and GPUs multiply more in that time.
//
// Factors of the block stay in shared memory, the others pass through two stages of it. A step is 32 rows: their p, ds
// and scores fit in registers beside the sums.
#pragma once
#include "cuda/kernels/attention_mma.cuh"

namespace sweetspot::cuda {

struct BackwardOperands : Heads {
  const bf16 *dy, *qkv;
  const float *lse, *delta;
  Out dqkv;
};

// Rows of queries or keys that a block owns.
constexpr uint32_t kOwnRows = 128;

// False where there is no such kernel for heads this wide, or no room for it: then nothing is launched. The kernel for
// keys wants more memory than the other.
bool launch_keys_bf16(Launch& l, const BackwardOperands& o);
bool launch_queries_bf16(Launch& l, const BackwardOperands& o);

}  // namespace sweetspot::cuda
