// Products in tensor cores with factors of 8 significant bits.
#include "cuda/gemm/half.cuh"
#include "cuda/gemm/store.cuh"

namespace sweetspot::cuda {

namespace {

// A warp's 64 x 64 wants 128 registers for sums and 64 for two steps' fragments. Stages are 24, 16 and 8 KiB, so that
// the widest block fits where 99 KiB is all that a block can have.
using WideShape = HalfShape<kLargeTile, 256, 2, 4, 4, 1>;
using LargeShape = HalfShape<kLargeTile, kLargeTile, 2, 2, 4, 2>;
using SmallShape = HalfShape<kSmallTile, kSmallTile, 2, 2, 4, 4>;

template <class Shape, bool KMajorA, bool KMajorB>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    half_product_kernel(Fault fault, Product p, Split split, uint32_t first) {
  if (fault.failed()) return;
  const Place& at = find_place<Shape::kM, Shape::kN>(p, split, first);
  if (at.entry == kAbsent) return;
  const int warp = threadIdx.x / 32;
  const int row0 = warp / Shape::kWarpsN * Shape::kWarpM, col0 = warp % Shape::kWarpsN * Shape::kWarpN;
  float sum[Shape::kRows][Shape::kCols][4] = {};
  multiply_halves<Shape, HalfLayout<KMajorA, Shape::kM>, HalfLayout<KMajorB, Shape::kN>>(p, at, row0, col0, sum);
  store_fragments(p, split, at, row0, col0, sum);
}

template <class Shape, bool KMajorA, bool KMajorB>
void launch_layout(Launch& l, const Product& p, const Split& split) {
  constexpr size_t kShared = Shape::kStages * sizeof(bf16) * kHalfDepth * (Shape::kM + Shape::kN);
  launch_tiles<Shape::kM, Shape::kN>(l, half_product_kernel<Shape, KMajorA, KMajorB>, Shape::kThreads, kShared, p,
                                     split);
}

template <class Shape>
void launch_shape(Launch& l, const Product& p, const Split& split) {
  if (p.trans_a)
    (p.trans_b ? launch_layout<Shape, false, true> : launch_layout<Shape, false, false>)(l, p, split);
  else
    (p.trans_b ? launch_layout<Shape, true, true> : launch_layout<Shape, true, false>)(l, p, split);
}

// A wide block reads a quarter less for its products, but it is alone on its multiprocessor, which waits while the
// block begins and ends: for long sums and many tiles. Few of the columns may lie outside the matrix. Which tile it is
// changes no result.
bool takes_wide_tiles(const Product& p, const Split& split) {
  constexpr uint32_t kLeastDepth = 4096, kLeastTiles = 256;
  const uint64_t high = p.group_tiles != nullptr ? p.group_tile_count : ceil_div(p.m, WideShape::kM);
  const uint64_t entries = p.parts != nullptr ? p.part_count : p.batch * split.splits;
  const uint64_t wide = ceil_div(p.n, WideShape::kN);
  const uint32_t depth = p.parts != nullptr ? p.k / p.batch : split.depth;
  return depth >= kLeastDepth && high * wide * entries >= kLeastTiles &&
         16 * wide * WideShape::kN <= 17 * uint64_t{p.n};
}

}  // namespace

void launch_bf16(Launch& l, const Product& p, const Split& split, bool large) {
  if (!large)
    launch_shape<SmallShape>(l, p, split);
  else if (takes_wide_tiles(p, split))
    launch_shape<WideShape>(l, p, split);
  else
    launch_shape<LargeShape>(l, p, split);
}

}  // namespace sweetspot::cuda
