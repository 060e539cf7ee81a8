// A matrix product as the kernel files ask for it, and how it is cut up. All choices follow from the shape: results
// depend on nothing else.
#pragma once
#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

constexpr uint32_t kLargeTile = 128;
constexpr uint32_t kSmallTile = 64;

// A group's rows, cut into tiles; device memory, written by grouped_gemm.cu.
struct GroupTile {
  uint32_t group;
  uint32_t first;  // row of the whole matrix
  uint32_t rows;   // 0: nothing to do
};

struct Product {
  const float* a = nullptr;
  const float* b = nullptr;
  const float* bias = nullptr;
  const float* add = nullptr;
  // The same factors in bf16, which products of that precision read instead.
  const bf16* a_half = nullptr;
  const bf16* b_half = nullptr;
  Out c{};
  uint32_t batch = 1, m = 0, n = 0, k = 0;
  bool trans_a = false, trans_b = false;
  size_t lda = 0, ldb = 0, ldc = 0, stride_a = 0, stride_b = 0, stride_c = 0;
  float alpha = 1;
  // grouped_gemm: tile i of the rows and the group whose b it takes. batch is 1, stride_b the size of a group's b.
  const GroupTile* group_tiles = nullptr;
  uint32_t group_tile_count = 0, group_count = 0;
  // grouped_gemm_dw: the K of batch entry g are rows offsets[g] to offsets[g + 1] of both factors.
  const int32_t* offsets = nullptr;
  // Unless nullptr: groups from *count on are left alone. The first batch entry is this group.
  const int32_t* count = nullptr;
  uint32_t first_group = 0;

#ifdef __CUDACC__
  __device__ bool left_alone(size_t entry) const {
    return count != nullptr && first_group + entry >= static_cast<uint32_t>(*count);
  }
#endif
};

// Parts of K, each `depth` long; partial products lie in (splits, batch, m, n).
struct Split {
  uint32_t splits = 1;
  uint32_t depth = 0;
  float* partial = nullptr;
};

// Enqueues a product. Small products on large GPUs leave multiprocessors idle, so K is cut into equal parts then, and a
// second kernel adds the partial products in order.
void multiply(Launch& l, Product p, Matmul precision);
// Whether multiply() takes the large tiles, so that group_tiles can be made for them.
bool takes_large_tiles(const Product& p);

// One for each precision: gemm/fp32.cu and so on.
void launch_fp32(Launch& l, const Product& p, const Split& split, bool large);
void launch_tf32(Launch& l, const Product& p, const Split& split, bool large);
void launch_bf16(Launch& l, const Product& p, const Split& split, bool large);

}  // namespace sweetspot::cuda
