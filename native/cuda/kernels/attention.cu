// Causal attention, forward, and decoding with a cache; heads of bf16 up to 128 wide are attention_bf16.cu's. Flash
// style: a block owns 64 queries of one head and walks over the keys in tiles of 64 with a running maximum and sum, so
// scores exist only as one tile. A few new tokens against a long cache would leave most of the machine idle: there the
// cache is cut into pieces of 256 keys, each with a block and a softmax of its own, and a second kernel joins the
// pieces.
#include "cuda/kernels/attention_tile.cuh"

namespace sweetspot::cuda {
namespace {

// Rows of queries, keys, values and outputs, of `batch` sequences. Query i is at position `first + i`, where first is
// read from `position` (0 without), and sees the keys up to itself. lse may be nullptr.
template <class T>
struct Sequences {
  const T *q, *k, *v;
  Out y;
  float* lse;
  const int32_t* position;
  size_t q_batch, kv_batch, y_batch, q_stride, kv_stride, y_stride;
  uint32_t batch, rows, heads, group, dim;
  float scale;
};

// Over the 16 threads that share rows of a tile.
__device__ float sum16(float x) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}
__device__ float max16(float x) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}

// What powers of two are relative to. Before they are rounded it is a whole number: then rescaling changes no bits.
template <class T>
__device__ float reference(float maximum) {
  return std::is_same_v<T, float> ? maximum : ceilf(maximum);
}

// Late queries see more keys and go first, so that the last blocks are the short ones.
template <int C, class T>
__global__ void __launch_bounds__(kThreads) attention_kernel(Fault fault, Sequences<T> all) {
  if (fault.failed()) return;
  __shared__ Tile<C> tile;
  const uint32_t chunks = ceil_div(all.dim, Tile<C>::width), tiles = ceil_div(all.rows, kPairs);
  const uint32_t column = blockIdx.x % chunks * Tile<C>::width, head = blockIdx.x / chunks % all.heads;
  const uint32_t sequence = blockIdx.x / chunks / all.heads % all.batch;
  const uint32_t begin = (tiles - 1 - blockIdx.x / chunks / all.heads / all.batch) * kPairs;
  const uint32_t queries = min(kPairs, all.rows - begin), first = (all.position == nullptr ? 0 : *all.position) + begin;
  const size_t key_head = head / all.group * static_cast<size_t>(all.dim);
  const Rows<T> q{all.q + sequence * all.q_batch + begin * all.q_stride + static_cast<size_t>(head) * all.dim,
                  all.q_stride, queries};
  const T *k = all.k + sequence * all.kv_batch + key_head, *v = all.v + sequence * all.kv_batch + key_head;
  const float scale = all.scale * kLog2e;

  float maximum[4], total[4] = {}, sums[4][C] = {};
#pragma unroll
  for (int i = 0; i < 4; i++) maximum[i] = -INFINITY;
  for (uint32_t start = 0; start < first + queries; start += kPairs) {
    const uint32_t keys = min(kPairs, first + queries - start);
    const bool masked = start + kPairs - 1 > first;
    const auto sees = [&](uint32_t query, uint32_t key) { return start + key <= first + query; };
    float s[4][4];
    score(tile, q, Rows<T>{k + start * all.kv_stride, all.kv_stride, keys}, all.dim, s);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float most = maximum[i];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const bool hidden = masked && !sees(4 * thread_y() + i, 4 * thread_x() + j);
        s[i][j] = hidden ? -INFINITY : s[i][j] * scale;
        most = fmaxf(most, s[i][j]);
      }
      most = reference<T>(max16(most));
      const float shift = safe_shift(most), rescale = exp2f(maximum[i] - shift);
      maximum[i] = most;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        s[i][j] = exp2f(s[i][j] - shift);
        sum += s[i][j];
      }
      total[i] = total[i] * rescale + sum16(sum);
#pragma unroll
      for (int c = 0; c < C; c++) sums[i][c] *= rescale;
    }
    put_left<T>(tile, s);
    accumulate(tile, Rows<T>{v + start * all.kv_stride, all.kv_stride, keys}, column, all.dim, sums, masked, sees);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t row = 4 * thread_y() + i;
    const float inverse = 1.0f / total[i];
#pragma unroll
    for (int c = 0; c < C; c++) sums[i][c] *= inverse;
    if (all.lse != nullptr && column == 0 && thread_x() == 0 && row < queries)
      all.lse[(static_cast<size_t>(sequence) * all.heads + head) * all.rows + begin + row] =
          maximum[i] * kLn2 + logf(total[i]);
  }
  store_rows(sums, 1.0f, all.y, sequence * all.y_batch + begin * all.y_stride + static_cast<size_t>(head) * all.dim,
             all.y_stride, queries, column, all.dim);
}

template <class T>
void attend(Launch& l, const Sequences<T>& all) {
  by_head<T>(all.dim, [&](auto count) {
    constexpr int C = decltype(count)::value;
    const size_t heads = static_cast<size_t>(all.batch) * all.heads * ceil_div(all.dim, Tile<C>::width);
    launch(l, attention_kernel<C, T>, static_cast<uint32_t>(heads * ceil_div(all.rows, kPairs)), kThreads, 0, l.fault(),
           all);
  });
}

// Up to this many new tokens the cache is cut into pieces.
constexpr uint32_t kFewRows = 8;
constexpr uint32_t kPiece = 256, kWarps = kThreads / 32;

// What a piece knows of one query and head, followed by dim unnormalized sums.
constexpr uint32_t kMaximum = 0, kTotal = 1, kSums = 2;

__global__ void __launch_bounds__(kThreads)
    append_kernel(Fault fault, const float* qkv, const int32_t* position, float* keys, float* values, uint32_t rows,
                  uint32_t capacity, size_t q_width, size_t kv_width) {
  if (fault.stopped()) return;
  const int64_t start = *position;
  if (start < 0 || start + rows > capacity) {
    if (flat_index() == 0) fault.raise(kCachePosition, static_cast<int32_t>(start), capacity);
    return;
  }
  for (size_t at = flat_index(); at < rows * kv_width; at += flat_stride()) {
    const size_t r = at / kv_width, i = at % kv_width;
    const float* k = qkv + r * (q_width + 2 * kv_width) + q_width + i;
    keys[start * kv_width + at] = k[0];
    values[start * kv_width + at] = k[kv_width];
  }
}

// Block (piece, head, row). Pieces that the row does not see write nothing.
__global__ void __launch_bounds__(kThreads)
    decode_kernel(Fault fault, Sequences<float> all, float* partial, uint32_t pieces) {
  if (fault.failed()) return;
  __shared__ float scores[kPiece];
  __shared__ float part[kWarps][32];
  const uint32_t piece = blockIdx.x % pieces, head = blockIdx.x / pieces % all.heads;
  const uint32_t row = blockIdx.x / pieces / all.heads, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t seen = *all.position + row + 1, start = piece * kPiece;
  if (start >= seen) return;
  const uint32_t keys = min(kPiece, seen - start);
  const size_t offset = start * all.kv_stride + head / all.group * static_cast<size_t>(all.dim);
  const float *q = all.q + row * all.q_stride + static_cast<size_t>(head) * all.dim, *k = all.k + offset;
  const float* v = all.v + offset;
  for (uint32_t key = warp; key < keys; key += kWarps) {
    float dot = 0;
    for (uint32_t i = lane; i < all.dim; i += 32) dot = fmaf(q[i], k[key * all.kv_stride + i], dot);
    dot = warp_sum(dot);
    if (lane == 0) scores[key] = dot * all.scale;
  }
  __syncthreads();
  const float mine = threadIdx.x < keys ? scores[threadIdx.x] : -INFINITY;
  const float maximum = block_max<kThreads>(mine);
  const float weight = expf(mine - safe_shift(maximum));
  const float total = block_sum<kThreads>(weight);
  scores[threadIdx.x] = weight;
  float* to = partial + blockIdx.x * (static_cast<size_t>(all.dim) + kSums);
  if (threadIdx.x == 0) {
    to[kMaximum] = maximum;
    to[kTotal] = total;
  }
  for (uint32_t begin = 0; begin < all.dim; begin += 32) {
    __syncthreads();
    float sum = 0;
    if (begin + lane < all.dim) {
#pragma unroll 4
      for (uint32_t key = warp; key < keys; key += kWarps)
        sum = fmaf(scores[key], v[key * all.kv_stride + begin + lane], sum);
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || begin + lane >= all.dim) continue;
    float column = 0;
    for (uint32_t w = 0; w < kWarps; w++) column += part[w][lane];
    to[kSums + begin + lane] = column;
  }
}

// Block (head, row).
__global__ void __launch_bounds__(kThreads)
    join_kernel(Fault fault, Sequences<float> all, const float* partial, uint32_t pieces) {
  if (fault.failed()) return;
  const uint32_t head = blockIdx.x % all.heads, row = blockIdx.x / all.heads;
  const uint32_t live = ceil_div(static_cast<uint32_t>(*all.position) + row + 1, kPiece);
  const size_t size = static_cast<size_t>(all.dim) + kSums;
  const float* from = partial + static_cast<size_t>(blockIdx.x) * pieces * size;
  float maximum = -INFINITY, total = 0;
  for (uint32_t p = 0; p < live; p++) maximum = fmaxf(maximum, from[p * size + kMaximum]);
  const float shift = safe_shift(maximum);
  for (uint32_t p = 0; p < live; p++) total += from[p * size + kTotal] * expf(from[p * size + kMaximum] - shift);
  float* y = all.y.f32 + row * all.y_stride + static_cast<size_t>(head) * all.dim;
  for (uint32_t i = threadIdx.x; i < all.dim; i += kThreads) {
    float sum = 0;
    for (uint32_t p = 0; p < live; p++)
      sum = fmaf(from[p * size + kSums + i], expf(from[p * size + kMaximum] - shift), sum);
    y[i] = sum / total;
  }
}

}  // namespace

void attention(Launch& l, const AttentionRow& row) {
  if (row.kvHeads == 0) return;
  if (row.precision == 1 && attention_bf16(l, row)) return;
  const size_t dim = row.headDim, width = (row.heads + 2 * size_t{row.kvHeads}) * dim, y_width = row.heads * dim;
  const auto with = [&](const auto* qkv) {
    using T = std::remove_cvref_t<decltype(*qkv)>;
    const T *k = qkv + y_width, *v = k + row.kvHeads * dim;
    attend<T>(l,
              {qkv, k, v, l.out(row.y), l.f32(row.lse), nullptr, row.time * width, row.time * width, row.time * y_width,
               width, width, y_width, row.batch, row.time, row.heads, row.heads / row.kvHeads, row.headDim, row.scale});
  };
  row.precision == 1 ? with(l.factor(row.qkv)) : with(l.f32(row.qkv));
}

void attention_decode(Launch& l, const AttentionDecodeRow& row) {
  const size_t dim = row.headDim, kv_width = row.kvHeads * dim, y_width = row.heads * dim;
  const size_t width = y_width + 2 * kv_width;
  const float* qkv = l.f32(row.qkv);
  const int32_t* position = l.i32(row.position);
  float *keys = l.f32(row.keys), *values = l.f32(row.values);
  // One block at least, to look at the position.
  const uint32_t grid = flat_grid(l, row.rows * kv_width);
  launch(l, append_kernel, grid > 0 ? grid : 1, kThreads, 0, l.fault(), qkv, position, keys, values, row.rows,
         row.capacity, y_width, kv_width);
  if (row.kvHeads == 0) return;
  const Sequences<float> all{
      qkv, keys,     values,    {l.f32(row.y), nullptr}, nullptr,     position, 0, 0, 0, width, kv_width, y_width,
      1,   row.rows, row.heads, row.heads / row.kvHeads, row.headDim, row.scale};
  if (row.rows > kFewRows) return attend(l, all);
  const uint32_t pieces = ceil_div(row.capacity, kPiece), heads = row.rows * row.heads;
  auto* partial = static_cast<float*>(l.scratch(size_t{heads} * pieces * (dim + kSums) * sizeof(float)));
  launch(l, decode_kernel, heads * pieces, kThreads, 0, l.fault(), all, partial, pieces);
  launch(l, join_kernel, heads, kThreads, 0, l.fault(), all, partial, pieces);
}

}  // namespace sweetspot::cuda
