// The kernel of a product and the choice of its instantiation; gemm/fp32.cu, tf32.cu and bf16.cu include it for one
// precision each.
#pragma once
#include "cuda/gemm/product.cuh"
#include "cuda/gemm/tile.cuh"

namespace sweetspot::cuda {

using LargeTile = TileShape<kLargeTile, kLargeTile, 2, 4, 2>;
using SmallTile = TileShape<kSmallTile, kSmallTile, 2, 2, 3>;

// Precision<A, B> has the padding of its tiles (kPad) and Math<M, N>, what a warp does for M x N elements.
template <class Shape, template <class, class> class Precision, bool KMajorA, bool KMajorB>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) product_kernel(Fault fault, Product p, Split split) {
  if (fault.failed()) return;
  using A = TileLayout<KMajorA, Shape::kM, Precision<void, void>::kPad>;
  using B = TileLayout<KMajorB, Shape::kN, Precision<void, void>::kPad>;
  using Math = typename Precision<A, B>::template Math<Shape::kM / Shape::kWarpsM, Shape::kN / Shape::kWarpsN>;
  const uint32_t entry = blockIdx.z / split.splits, part = blockIdx.z % split.splits;
  uint32_t row = blockIdx.x * Shape::kM, end = p.m, b_entry = entry, k0 = part * split.depth, k1 = p.k;
  if (p.group_tiles != nullptr) {
    const GroupTile tile = p.group_tiles[blockIdx.x];
    if (tile.rows == 0) return;
    row = tile.first;
    end = tile.first + tile.rows;
    b_entry = tile.group;
  } else if (p.offsets != nullptr) {
    if (p.left_alone(entry)) return;
    const uint32_t first = static_cast<uint32_t>(p.offsets[entry]), rows = p.offsets[entry + 1] - first;
    const uint32_t depth = ceil_div(rows, split.splits * kDepth) * kDepth;
    k0 = first + min(rows, part * depth);
    k1 = first + min(rows, (part + 1) * depth);
  } else if (split.splits > 1) {
    k1 = min(k1, k0 + split.depth);
  }
  const uint32_t col = blockIdx.y * Shape::kN;
  const Factors f{p.a + entry * p.stride_a + (KMajorA ? row * p.lda + k0 : k0 * p.lda + row),
                  p.b + b_entry * p.stride_b + (KMajorB ? col * p.ldb + k0 : k0 * p.ldb + col),
                  p.lda,
                  p.ldb,
                  end - row,
                  p.n - col,
                  k1 - k0};
  const size_t c = entry * p.stride_c;
  float* partial = split.partial + (static_cast<size_t>(part) * p.batch + entry) * p.m * p.n;
  multiply_tile<Shape, A, B, Math>(f, [&](int i, int j, float sum) {
    if (i >= f.rows || j >= f.cols) return;
    if (split.splits > 1) {
      partial[static_cast<size_t>(row + i) * p.n + col + j] = sum;
      return;
    }
    const size_t at = c + (row + i) * p.ldc + col + j;
    float value = p.alpha * sum;
    if (p.bias != nullptr) value += p.bias[col + j];
    if (p.add != nullptr) value += p.add[at];
    p.c.put(at, value);
  });
}

template <class Shape, template <class, class> class Precision, bool KMajorA, bool KMajorB>
inline void launch_layout(Launch& l, const Product& p, const Split& split) {
  constexpr int kPad = Precision<void, void>::kPad;
  constexpr size_t kShared =
      Shape::kStages * sizeof(float) *
      (TileLayout<KMajorA, Shape::kM, kPad>::kFloats + TileLayout<KMajorB, Shape::kN, kPad>::kFloats);
  const uint32_t rows = p.group_tiles != nullptr ? p.group_tile_count : ceil_div(p.m, Shape::kM);
  launch(l, product_kernel<Shape, Precision, KMajorA, KMajorB>,
         dim3(rows, ceil_div(p.n, Shape::kN), p.batch * split.splits), Shape::kThreads, kShared, l.fault(), p, split);
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
