// gemm: c[b] = alpha * op(a[b]) op(b[b]) (+ bias) (+ add), and the choices behind every product.
#include "cuda/gemm/cublaslt.h"
#include "cuda/gemm/store.cuh"
#include "cuda/gemm/wgmma.cuh"

namespace sweetspot::cuda {

namespace {

// Blocks that one GPU runs at the same time, in whose number products are cut up whatever GPU it is: 108
// multiprocessors with two blocks of large tiles or four of small ones.
constexpr uint32_t kLargeSlots = 216;
constexpr uint32_t kSmallSlots = 432;
// Parts of K are not shorter than this, and where K is cut blocks fill the GPU at most kMostRounds times: partial
// products take memory.
constexpr uint32_t kLeastDepth = 256;
constexpr uint32_t kMostRounds = 4;
// What it costs to write a tile, to start a second kernel and to wait for another number there, in steps of K.
constexpr uint32_t kStoreCost = 128;
constexpr uint32_t kSumCost = 256;
constexpr uint32_t kPartCost = 4;
constexpr uint32_t kSumThreads = 256;
constexpr uint32_t kSumBlocks = 2048;
constexpr uint32_t kAtOnce = 4;  // loads under way

uint64_t tiles(const Product& p, uint32_t size) {
  return uint64_t{p.batch} * ceil_div(p.m, size) * ceil_div(p.n, size);
}

// Rows of the shared dimension, on average when groups share them.
uint32_t typical_depth(const Product& p) {
  return p.offsets != nullptr ? p.k / (p.batch > 0 ? p.batch : 1) : p.k;
}

uint32_t slots(bool large) {
  return large ? kLargeSlots : kSmallSlots;
}

// The number of parts that takes the fewest steps, when blocks run in rounds of as many as there are slots.
uint32_t choose_splits(const Product& p, bool large) {
  if (p.group_count > 0 || p.parts != nullptr) return 1;
  const uint64_t blocks = tiles(p, large ? kLargeTile : kSmallTile), most = uint64_t{kMostRounds} * slots(large);
  uint32_t best = 1;
  uint64_t least = ceil_div(blocks, slots(large)) * (uint64_t{p.k} + kStoreCost);
  for (uint32_t splits = 2; splits <= p.k / kLeastDepth && blocks * splits <= most; splits++) {
    // Partial products are written and read again.
    const uint64_t round = p.k / splits + uint64_t{2} * kStoreCost;
    const uint64_t steps = ceil_div(blocks * splits, slots(large)) * round + kSumCost + kPartCost * splits;
    if (steps < least) best = splits, least = steps;
  }
  return best;
}

// Adds the partial products of `entries` in order of k. A matrix of 2^34 elements has no room for partial products, so
// groups of four elements are counted in 32 bits.
__global__ void __launch_bounds__(kSumThreads) sum_parts_kernel(Fault fault, Product p, Split split, uint32_t entries) {
  if (fault.failed()) return;
  const size_t size = static_cast<size_t>(p.m) * split.pitch;
  const uint32_t wide = split.pitch / 4, quads = p.m * wide;
  for (uint32_t i = blockIdx.y; i < entries; i += gridDim.y) {
    const PartSum what = p.part_sums != nullptr ? p.part_sums[i] : PartSum{i, i * split.splits, split.splits};
    if (what.entry == kAbsent) continue;
    if (p.part_sums == nullptr && p.count != nullptr && i >= static_cast<uint32_t>(*p.count)) return;
    for (uint32_t quad = blockIdx.x * kSumThreads + threadIdx.x; quad < quads; quad += gridDim.x * kSumThreads) {
      const float* from = split.sums + what.slot * size + size_t{quad} * 4;
      float4 sum{0, 0, 0, 0};
      for (uint32_t part = 0; part < what.parts; part += kAtOnce) {
        float4 x[kAtOnce];
#pragma unroll
        for (uint32_t j = 0; j < kAtOnce; j++)
          x[j] = part + j < what.parts ? load4(from + (part + j) * size) : float4{0, 0, 0, 0};
#pragma unroll
        for (uint32_t j = 0; j < kAtOnce; j++) sum = add4(sum, x[j]);
      }
      const uint32_t row = quad / wide, col = quad % wide * 4;
      finish_some(p, what.entry * p.stride_c + row * p.ldc + col, col, sum);
    }
  }
}

// Lines of bf16 from anywhere to multiples of 16 bytes.
__global__ void __launch_bounds__(kSumThreads) align_kernel(Fault fault, const bf16* from, bf16* to, uint32_t lines,
                                                            uint32_t length, size_t ld, size_t stride, size_t total) {
  if (fault.failed()) return;
  const uint32_t pieces = ceil_div(length, 8);
  for (size_t i = size_t{blockIdx.x} * kSumThreads + threadIdx.x; i < total; i += size_t{gridDim.x} * kSumThreads) {
    const size_t line = i / pieces;
    const uint32_t first = static_cast<uint32_t>(i % pieces) * 8;
    const bf16* source = from + line / lines * stride + line % lines * ld + first;
    union {
      uint4 all;
      uint16_t each[8];
    } piece;
#pragma unroll
    for (uint32_t j = 0; j < 8; j++) piece.each[j] = first + j < length ? __bfloat16_as_ushort(source[j]) : 0;
    reinterpret_cast<uint4*>(to)[i] = piece.all;
  }
}

// Tensor cores are fed by copies of 16 bytes: a factor whose lines do not begin at such places is copied to where they
// do, once for all tiles that read it.
void align_factor(Launch& l, const bf16*& factor, uint32_t entries, uint32_t lines, uint32_t length, size_t& ld,
                  size_t& stride) {
  if (stride == 0) entries = 1;
  if ((lines <= 1 || ld % 8 == 0) && (entries <= 1 || stride % 8 == 0)) return;
  const uint32_t pieces = ceil_div(length, 8);
  const size_t total = size_t{entries} * lines * pieces;
  auto* copy = static_cast<bf16*>(l.scratch(total * 16));
  launch(l, align_kernel, ceil_div(total, 4 * kSumThreads), kSumThreads, 0, l.fault(), factor, copy, lines, length, ld,
         stride, total);
  factor = copy;
  ld = size_t{pieces} * 8;
  if (stride != 0) stride = lines * ld;
}

void launch_precision(Launch& l, const Product& p, const Split& split, bool large, Matmul precision) {
  if (precision == Matmul::fp32) launch_fp32(l, p, split, large);
  if (precision == Matmul::tf32) launch_tf32(l, p, split, large);
  if (precision == Matmul::bf16) launch_bf16(l, p, split, large);
}

}  // namespace

bool takes_large_tiles(const Product& p) {
  const uint32_t rows = p.group_count > 0 ? p.m / p.group_count : p.m;
  if (rows <= kSmallTile || p.n <= kSmallTile) return false;
  const uint64_t parts = typical_depth(p) / kLeastDepth;
  return tiles(p, kLargeTile) * (parts > 1 ? parts : 1) >= kLargeSlots / 2;
}

void sum_parts(Launch& l, const Product& p, const Split& split, uint32_t entries) {
  const size_t size = static_cast<size_t>(p.m) * split.pitch;
  const uint32_t high = std::min(entries, kSumBlocks);
  const uint32_t wide = std::min(ceil_div(size, 4 * kSumThreads), ceil_div(kSumBlocks, high));
  launch(l, sum_parts_kernel, dim3(wide, high), kSumThreads, 0, l.fault(), p, split, entries);
}

uint32_t choose_part_depth(const Product& p) {
  // Parts enough for all slots, and none that others have to wait for.
  const bool large = takes_large_tiles(p);
  const uint64_t groups = p.batch > 0 ? p.batch : 1;
  const uint64_t even = p.k * tiles(p, large ? kLargeTile : kSmallTile) / groups / slots(large);
  const uint64_t longest = uint64_t{4} * ceil_div(p.k, groups);
  return ceil_div(std::max<uint64_t>(kLeastDepth, std::min(even, longest)), 32) * 32;
}

void multiply(Launch& l, Product p, Matmul precision) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (precision == Matmul::bf16) {
    align_factor(l, p.a_half, p.batch, p.trans_a ? p.k : p.m, p.trans_a ? p.m : p.k, p.lda, p.stride_a);
    align_factor(l, p.b_half, p.group_count > 0 ? p.group_count : p.batch, p.trans_b ? p.n : p.k, p.trans_b ? p.k : p.n,
                 p.ldb, p.stride_b);
    if (multiply_cublaslt(l, p) || multiply_wgmma(l, p)) return;
  }
  const bool large = takes_large_tiles(p);
  Split split{1, p.k, nullptr, ceil_div(p.n, 4) * 4};
  uint32_t partial = p.slots, sums = p.part_sum_count;
  if (const uint32_t splits = choose_splits(p, large); splits > 1) {
    split.depth = ceil_div(ceil_div(p.k, splits), 32) * 32;
    split.splits = ceil_div(p.k, split.depth);
    partial = p.batch * split.splits;
    sums = p.batch;
  }
  const size_t size = static_cast<size_t>(p.m) * split.pitch;
  if (partial > 0) split.sums = static_cast<float*>(l.scratch(partial * size * sizeof(float)));
  launch_precision(l, p, split, large, precision);
  if (sums > 0) sum_parts(l, p, split, sums);
}

void gemm(Launch& l, const GemmRow& row) {
  Product p;
  p.a = l.f32(row.a), p.b = l.f32(row.b), p.c = l.out(row.c);
  p.bias = l.optional(row.bias), p.add = l.optional(row.add);
  p.batch = row.batch, p.m = row.m, p.n = row.n, p.k = row.k;
  p.trans_a = row.transA != 0, p.trans_b = row.transB != 0;
  p.lda = row.lda, p.ldb = row.ldb, p.ldc = row.ldc;
  p.stride_a = row.strideA, p.stride_b = row.strideB, p.stride_c = row.strideC;
  p.alpha = row.alpha;
  // Entries that lie behind each other and share B are one taller product.
  if (!p.trans_a && p.stride_b == 0 && p.stride_a == uint64_t{p.m} * p.lda && p.stride_c == uint64_t{p.m} * p.ldc &&
      uint64_t{p.m} * p.batch < (uint64_t{1} << 31)) {
    p.m *= p.batch;
    p.batch = 1;
  }
  const Matmul precision = row.precision == 1 ? Matmul::bf16 : l.matmul;
  if (precision == Matmul::bf16) p.a_half = l.factor(row.a), p.b_half = l.factor(row.b);
  multiply(l, p, precision);
}

}  // namespace sweetspot::cuda
