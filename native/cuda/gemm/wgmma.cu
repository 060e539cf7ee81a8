// Which products wgmma computes, in tiles of which shape and in how many parts.
#include <algorithm>

#include "cuda/gemm/tensor_map.h"
#include "cuda/gemm/wgmma.cuh"

namespace sweetspot::cuda {

namespace {

// Tests set both lower, so that small products pass through everything below.
#ifndef SWEETSPOT_WGMMA_SIDE
#define SWEETSPOT_WGMMA_SIDE 256
#define SWEETSPOT_WGMMA_MULTIPROCESSORS 132
#endif
// Products of less than the cube of this, or of no more than a quarter of it in rows or columns, are left to smaller
// tiles.
constexpr uint64_t kSide = SWEETSPOT_WGMMA_SIDE;

// How a product is cut up, by a model of the time that it takes. The model's machine has the multiprocessors of an H100
// whichever runs it, because results may depend on shapes alone. Its figures are estimates, not yet measured ones.
struct Cut {
  uint32_t columns = 0, splits = 1;
  double cycles = 0;
};
constexpr uint64_t kMultiprocessors = SWEETSPOT_WGMMA_MULTIPROCESSORS;
constexpr uint32_t kMostSplits = 32, kLeastSteps = 4;
constexpr double kBytesPerCycle = 2048;  // of all multiprocessors together, to memory
constexpr double kSecondLaunch = 5000;   // of the kernel that adds the parts

uint64_t layers(const Product& p, uint32_t splits) {
  return uint64_t{p.batch} * splits;
}
uint64_t tiles(const Product& p, const Cut& cut) {
  const uint32_t rows = WgmmaShape<256>::kM;
  return layers(p, cut.splits) * wgmma_rows_of_tiles(p, rows) * ceil_div(p.n, cut.columns);
}
// Of one tile; in groups, of the average one.
uint32_t typical_steps(const Product& p) {
  return ceil_div(p.offsets != nullptr ? p.k / std::max(1u, p.batch) : p.k, kWgmmaDepth);
}

double cycles(const Product& p, const Cut& cut) {
  // 4096 multiply-adds take two cycles. Narrow tiles read a third more through the cache for each; what a tile costs
  // besides is the start of its ring and the part of its end that nothing hides.
  const double step = cut.columns == 256 ? 1024 : 615, around = cut.columns == 256 ? 2500 : 1500;
  const double rounds = ceil_div(tiles(p, cut), kMultiprocessors);
  const double products = rounds * (ceil_div(typical_steps(p), cut.splits) * step + around);
  if (cut.splits == 1) return products;
  const double parts = 2.0 * sizeof(float) * static_cast<double>(layers(p, cut.splits)) * p.m * p.n;
  return products + parts / kBytesPerCycle + kSecondLaunch;
}

Cut choose_cut(const Product& p) {
  const uint32_t steps = std::max(1u, typical_steps(p));
  const uint32_t most = p.group_tiles != nullptr ? 1 : std::clamp(steps / kLeastSteps, 1u, kMostSplits);
  Cut best;
  for (uint32_t columns : {256u, 128u})
    for (uint32_t splits = 1; splits <= most; splits++) {
      // Parts of equal length, none of them empty.
      if (ceil_div(steps, ceil_div(steps, splits)) != splits) continue;
      Cut cut{columns, splits};
      cut.cycles = cycles(p, cut);
      if (best.columns == 0 || cut.cycles < best.cycles) best = cut;
    }
  return best;
}

bool pays(const Product& p) {
  const uint64_t rows = p.group_tiles != nullptr ? p.m / std::max(1u, p.group_count) : p.m;
  const double volume = static_cast<double>(p.batch) * p.m * p.n * typical_steps(p) * kWgmmaDepth;
  return rows > kSide / 4 && p.n > kSide / 4 && volume >= static_cast<double>(kSide * kSide * kSide);
}

// A factor with `rows` rows, or columns of B.
BoxedMatrix boxed(const bf16* base, bool k_major, uint32_t rows, uint32_t k, size_t ld, size_t stride, uint32_t entries,
                  uint32_t tile) {
  BoxedMatrix m{base, k, rows, entries, ld, stride, tile};
  if (!k_major) {
    std::swap(m.inner, m.outer);
    m.box = kWgmmaDepth;
  }
  return m;
}

WgmmaOutput output_of(const Product& p, const Split& split) {
  constexpr uint32_t kRows = 16;
  WgmmaOutput output{};
  if (split.splits > 1) {
    output.boxes = make_map(output.f32, {split.sums, p.n, p.m, layers(p, split.splits), split.pitch,
                                         static_cast<size_t>(p.m) * split.pitch, kRows, sizeof(float)});
    return output;
  }
  const auto map = [&](CUtensorMap& made, const void* base, uint32_t element) {
    return base == nullptr || make_map(made, {base, p.n, p.m, p.batch, p.ldc, p.stride_c, kRows, element});
  };
  output.boxes = map(output.f32, p.c.f32, sizeof(float)) && map(output.half, p.c.half, sizeof(bf16));
  return output;
}

template <class Shape>
void launch_shape(Launch& l, const Product& p, const Split& split, const CUtensorMap& a, const CUtensorMap& b,
                  const WgmmaOutput& output, uint32_t count) {
  const auto launch_layout = [&](auto kernel) {
    launch(l, kernel, std::min(count, static_cast<uint32_t>(l.sms)), kWgmmaThreads, Shape::kShared, l.fault(), a, b,
           output, p, split, count);
  };
  if (p.trans_a) {
    if (p.trans_b)
      launch_layout(wgmma_kernel<Shape, false, true>);
    else
      launch_layout(wgmma_kernel<Shape, false, false>);
  } else {
    if (p.trans_b)
      launch_layout(wgmma_kernel<Shape, true, true>);
    else
      launch_layout(wgmma_kernel<Shape, true, false>);
  }
}

}  // namespace

bool multiply_wgmma(Launch& l, const Product& p) {
  if (!l.sm90a || p.m == 0 || p.n == 0 || p.k == 0 || p.batch == 0 || !pays(p)) return false;
  const Cut cut = choose_cut(p);
  const uint64_t count = tiles(p, cut);
  if (count > INT32_MAX) return false;
  const uint32_t entries = p.offsets != nullptr ? 1 : p.batch,
                 groups = p.group_tiles != nullptr ? p.group_count : entries;
  CUtensorMap a, b;
  if (!make_map(a, boxed(p.a_half, !p.trans_a, p.m, p.k, p.lda, p.stride_a, entries, WgmmaShape<256>::kM)) ||
      !make_map(b, boxed(p.b_half, p.trans_b, p.n, p.k, p.ldb, p.stride_b, groups, cut.columns)))
    return false;
  Split split;
  if (cut.splits > 1) {
    split = {cut.splits, ceil_div(typical_steps(p), cut.splits) * kWgmmaDepth, nullptr, ceil_div(p.n, 4) * 4};
    split.sums = static_cast<float*>(l.scratch(layers(p, split.splits) * p.m * split.pitch * sizeof(float)));
  }
  const WgmmaOutput output = output_of(p, split);
  if (cut.columns == 256)
    launch_shape<WgmmaShape<256>>(l, p, split, a, b, output, static_cast<uint32_t>(count));
  else
    launch_shape<WgmmaShape<128>>(l, p, split, a, b, output, static_cast<uint32_t>(count));
  if (split.splits > 1) {
    Product whole = p;  // every entry has the same number of parts here, whatever others would cut it into
    whole.part_sums = nullptr;
    sum_parts(l, whole, split, p.batch);
  }
  return true;
}

}  // namespace sweetspot::cuda
