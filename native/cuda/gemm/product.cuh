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

constexpr uint32_t kAbsent = 0xffffffffu;

// A part of a group's rows, which grouped_gemm_dw sums over; device memory, written by grouped_gemm.cu.
struct GroupPart {
  uint32_t group;  // kAbsent: nothing to do
  uint32_t first;  // row of the whole matrices
  uint32_t rows;
  uint32_t slot;  // number of the partial product; kAbsent: the group has no other part, so this is the result
};

// Partial products `slot` to `slot + parts` are those of `entry`, in order of k.
struct PartSum {
  uint32_t entry;  // kAbsent: nothing to do
  uint32_t slot;
  uint32_t parts;
};

struct Product {
  const float* a = nullptr;
  const float* b = nullptr;
  const float* bias = nullptr;
  const float* add = nullptr;
  // The same factors in bf16, which products of that precision read instead. Places are multiples of 16 bytes.
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
  // grouped_gemm_dw: the K of batch entry g are rows offsets[g] to offsets[g + 1] of both factors, and none of groups
  // from *count on, unless nullptr. `parts` says how they are cut, `part_sums` which groups have several parts; `slots`
  // is the most partial products there can be.
  const int32_t* offsets = nullptr;
  const int32_t* count = nullptr;
  const GroupPart* parts = nullptr;
  const PartSum* part_sums = nullptr;
  uint32_t part_count = 0, part_sum_count = 0, slots = 0;
};

// Parts of K, each `depth` long. Partial products are (m, pitch); those of an entry lie behind each other.
struct Split {
  uint32_t splits = 1;
  uint32_t depth = 0;
  float* sums = nullptr;
  uint32_t pitch = 0;  // n and up to 3 more, so that rows are aligned
};

// Enqueues a product. Small products on large GPUs leave multiprocessors idle, so K is cut into parts then, and a
// second kernel adds the partial products in order.
void multiply(Launch& l, Product p, Matmul precision);
// Adds the partial products of the first `entries` entries (of those in p.part_sums, if there are any) in order of k.
void sum_parts(Launch& l, const Product& p, const Split& split, uint32_t entries);
// Whether multiply() takes the large tiles, so that group_tiles can be made for them.
bool takes_large_tiles(const Product& p);
// How long the parts of a grouped_gemm_dw are to be.
uint32_t choose_part_depth(const Product& p);

// One for each precision: gemm/fp32.cu and so on.
void launch_fp32(Launch& l, const Product& p, const Split& split, bool large);
void launch_tf32(Launch& l, const Product& p, const Split& split, bool large);
void launch_bf16(Launch& l, const Product& p, const Split& split, bool large);

}  // namespace sweetspot::cuda
