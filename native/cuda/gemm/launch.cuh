// The kernel of a product of float32 factors and the choice of its instantiation; gemm/fp32.cu and tf32.cu include it
// for one precision each.
#pragma once
#include "cuda/gemm/tile.cuh"

namespace sweetspot::cuda {

using LargeTile = TileShape<kLargeTile, kLargeTile, 2, 4, 2>;
using SmallTile = TileShape<kSmallTile, kSmallTile, 2, 2, 3>;

// Precision<A, B> has the padding of its tiles (kPad) and Math<M, N>, what a warp does for M x N elements.
template <class Shape, template <class, class> class Precision, bool KMajorA, bool KMajorB>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    product_kernel(Fault fault, Product p, Split split, uint32_t first) {
  if (fault.failed()) return;
  using A = TileLayout<KMajorA, Shape::kM, Precision<void, void>::kPad>;
  using B = TileLayout<KMajorB, Shape::kN, Precision<void, void>::kPad>;
  constexpr int kWarpM = Shape::kM / Shape::kWarpsM, kWarpN = Shape::kN / Shape::kWarpsN;
  const Place& at = find_place<Shape::kM, Shape::kN>(p, split, first);
  if (at.entry == kAbsent) return;
  const Factors f{at.a(p), at.b(p), p.lda, p.ldb, at.rows, at.cols(p), at.depth};
  const int warp = threadIdx.x / 32;
  const int row0 = warp / Shape::kWarpsN * kWarpM, col0 = warp % Shape::kWarpsN * kWarpN;
  typename Precision<A, B>::template Math<kWarpM, kWarpN> math;
  multiply_tile<Shape, A, B>(f, math, row0, col0);
  math.store(p, split, at, row0, col0);
}

template <class Shape, template <class, class> class Precision, bool KMajorA, bool KMajorB>
inline void launch_layout(Launch& l, const Product& p, const Split& split) {
  constexpr int kPad = Precision<void, void>::kPad;
  constexpr size_t kShared =
      Shape::kStages * sizeof(float) *
      (TileLayout<KMajorA, Shape::kM, kPad>::kFloats + TileLayout<KMajorB, Shape::kN, kPad>::kFloats);
  launch_tiles<Shape::kM, Shape::kN>(l, product_kernel<Shape, Precision, KMajorA, KMajorB>, Shape::kThreads, kShared, p,
                                     split);
}

template <class Shape, template <class, class> class Precision>
inline void launch_shape(Launch& l, const Product& p, const Split& split) {
  if (p.trans_a) {
    if (p.trans_b)
      launch_layout<Shape, Precision, false, true>(l, p, split);
    else
      launch_layout<Shape, Precision, false, false>(l, p, split);
  } else {
    if (p.trans_b)
      launch_layout<Shape, Precision, true, true>(l, p, split);
    else
      launch_layout<Shape, Precision, true, false>(l, p, split);
  }
}

template <template <class, class> class Precision>
inline void launch_precision(Launch& l, const Product& p, const Split& split, bool large) {
  if (large)
    launch_shape<LargeTile, Precision>(l, p, split);
  else
    launch_shape<SmallTile, Precision>(l, p, split);
}

}  // namespace sweetspot::cuda
