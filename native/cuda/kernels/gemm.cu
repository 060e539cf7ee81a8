// gemm: c[b] = alpha * op(a[b]) op(b[b]) (+ bias) (+ add), and the choices behind every product.
#include "cuda/gemm/cublaslt.h"
#include "cuda/gemm/product.cuh"

namespace sweetspot::cuda {

namespace {

// Blocks that keep a large GPU busy, whatever GPU it is; K is not cut into parts shorter than kLeastDepth.
constexpr uint32_t kBlocks = 256;
constexpr uint32_t kLeastDepth = 256;
constexpr uint32_t kMostSplits = 32;
constexpr uint32_t kMostBatch = 65535;

uint64_t tiles(const Product& p, uint32_t size) {
  return uint64_t{p.batch} * ceil_div(p.m, size) * ceil_div(p.n, size);
}

// Rows of the shared dimension, on average when groups share them.
uint32_t typical_depth(const Product& p) {
  return p.offsets != nullptr ? p.k / (p.batch > 0 ? p.batch : 1) : p.k;
}

uint32_t choose_splits(const Product& p, bool large) {
  const uint64_t blocks = tiles(p, large ? kLargeTile : kSmallTile);
  if (p.group_count > 0 || blocks == 0) return 1;
  uint64_t splits = kBlocks / blocks;
  if (splits > typical_depth(p) / kLeastDepth) splits = typical_depth(p) / kLeastDepth;
  if (splits > kMostSplits) splits = kMostSplits;
  if (splits * p.batch > kMostBatch) splits = 1;
  return splits < 1 ? 1 : static_cast<uint32_t>(splits);
}

// Adds the partial products in order of k.
__global__ void __launch_bounds__(256) sum_parts_kernel(Fault fault, Product p, Split split) {
  if (fault.failed()) return;
  const size_t size = static_cast<size_t>(p.m) * p.n, total = p.batch * size;
  for (size_t i = blockIdx.x * 256 + threadIdx.x; i < total; i += static_cast<size_t>(gridDim.x) * 256) {
    if (p.left_alone(i / size)) continue;
    float sum = 0;
    for (uint32_t part = 0; part < split.splits; part++) sum += split.partial[part * total + i];
    const size_t entry = i / size, row = i % size / p.n, col = i % p.n;
    const size_t at = entry * p.stride_c + row * p.ldc + col;
    float value = p.alpha * sum;
    if (p.bias != nullptr) value += p.bias[col];
    if (p.add != nullptr) value += p.add[at];
    p.c.put(at, value);
  }
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
  return tiles(p, kLargeTile) * (parts > 1 ? parts : 1) >= kBlocks / 2;
}

void multiply(Launch& l, Product p, Matmul precision) {
  if (p.m == 0 || p.n == 0) return;
  if (precision == Matmul::bf16 && multiply_cublaslt(l, p)) return;
  const bool large = takes_large_tiles(p);
  Split split{choose_splits(p, large), 0, nullptr};
  if (split.splits > 1) {
    if (p.offsets == nullptr) {
      split.depth = ceil_div(ceil_div(p.k, split.splits), 32) * 32;
      split.splits = ceil_div(p.k, split.depth);
    }
    const size_t size = static_cast<size_t>(p.batch) * p.m * p.n;
    split.partial = static_cast<float*>(l.scratch(split.splits * size * sizeof(float)));
    launch_precision(l, p, split, large, precision);
    launch(l, sum_parts_kernel, ceil_div(size, 1024), 256, 0, l.fault(), p, split);
    return;
  }
  // blockIdx.z ends at 65535.
  for (uint32_t left = p.batch; left > 0;) {
    p.batch = left < kMostBatch ? left : kMostBatch;
    launch_precision(l, p, split, large, precision);
    left -= p.batch;
    p.a += p.batch * p.stride_a;
    p.b += p.batch * p.stride_b;
    if (p.a_half != nullptr) p.a_half += p.batch * p.stride_a, p.b_half += p.batch * p.stride_b;
    p.c = p.c.from(p.batch * p.stride_c);
    if (p.add != nullptr) p.add += p.batch * p.stride_c;
    if (p.offsets != nullptr) p.offsets += p.batch;
    p.first_group += p.batch;
  }
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
