// Causal attention, forward. Flash style: queries in blocks of tile_rows, keys in tiles of 288, a running maximum and
// sum per query, so that scores exist only as one (tile_rows, 288) tile a thread. Sequences up to 288 need a single
// tile and never rescale. Keys are packed transposed, so that a vector of keys is scored at once; values keep their
// order. A block multiplies the keys that all its rows see together; the triangle at the end of the block is a
// product of its own, because a masked value must not even be multiplied by 0 (it could be infinite).
//
// Work is split by (query chunk, batch, head). Every task packs the keys it needs, a cost of a few percent with 96
// queries a chunk. Late chunks see more keys and go first, so that the last tasks are the short ones.
// attention_decode uses the same code for prompts; for a few tokens it reads the caches in place, one dot a key.
#include "cpu/kernels/attention_tile.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

constexpr size_t key_tile = 288;  // a multiple of every Vec::N
// Queries a task: the long chunk when there are heads enough to keep many threads busy, else the short one.
constexpr size_t long_chunk = 288, short_chunk = 96, many_heads = 16;
// Up to this many new tokens, packing the caches costs more than it saves.
constexpr size_t few_rows = 4;

// One head: rows of queries, keys, values and outputs at their strides. Query i is at position first + i and sees the
// keys 0..first + i. lse may be nullptr.
struct Head {
  const float *q, *k, *v;
  float *y, *lse;
  size_t q_stride, kv_stride, y_stride, first, dim;
  float scale;
};

// One thread's scratch: the packed key tile, one block of queries with its scores, and a chunk's sums so far.
struct Workspace {
  float *keys, *values, *queries, *scores, *sums, *maximum, *denominator;

  static size_t floats(size_t chunk, size_t dim) {
    const size_t padded = round_up(dim, Vec::N);
    return round_up(
        dim * key_tile + key_tile * padded + tile_rows * (padded + key_tile) + (chunk + tile_rows) * (padded + 2), 16);
  }
  Workspace(float* p, size_t chunk, size_t dim) {
    const size_t padded = round_up(dim, Vec::N);
    keys = p;
    values = keys + dim * key_tile;
    queries = values + key_tile * padded;
    scores = queries + tile_rows * padded;
    sums = scores + tile_rows * key_tile;
    maximum = sums + (chunk + tile_rows) * padded;
    denominator = maximum + chunk + tile_rows;
  }
};

// Scores of one row of a block become probabilities; what earlier tiles gave is rescaled to the new maximum.
void softmax_row(const Workspace& w, size_t query, float* scores, size_t limit, size_t padded, bool initial) {
  float maximum = row_max(scores, limit);
  if (initial) {
    w.maximum[query] = maximum;
    w.denominator[query] = row_exp<true>(scores, scores, limit, maximum);
    return;
  }
  const float before = w.maximum[query];
  if (!(maximum > before)) maximum = before;
  const float rescale = std::exp(before - maximum);
  w.maximum[query] = maximum;
  w.denominator[query] = w.denominator[query] * rescale + row_exp<true>(scores, scores, limit, maximum);
  row_scale(w.sums + query * padded, padded, rescale);
}

// Queries begin..end of one head; end - begin is at most the chunk that the workspace was made for.
void attend(const Head& head, size_t begin, size_t end, const Workspace& w) {
  const size_t dim = head.dim, padded = round_up(dim, Vec::N), keys = head.first + end;
  for (size_t start = 0; start < keys; start += key_tile) {
    const size_t tile_keys = min_size(key_tile, keys - start);
    pack_transposed(head.k + start * head.kv_stride, head.kv_stride, tile_keys, dim, w.keys, key_tile);
    pack_rows(head.v + start * head.kv_stride, head.kv_stride, tile_keys, dim, 1.0f, w.values, padded);
    const auto visible = [&](size_t query) {
      const size_t seen = head.first + query + 1;
      return seen <= start ? 0 : min_size(tile_keys, seen - start);
    };
    for (size_t block = begin; block < end; block += tile_rows) {
      const size_t rows = min_size(tile_rows, end - block), most = visible(block + rows - 1), common = visible(block);
      if (most == 0) continue;
      pack_rows(head.q + block * head.q_stride, head.q_stride, rows, dim, head.scale, w.queries, padded);
      for (size_t i = rows * padded; i < tile_rows * padded; i++) w.queries[i] = 0.0f;
      multiply<tile_rows>({w.queries, padded, 1}, w.keys, key_tile, dim, w.scores, key_tile, most, false);
      for (size_t r = 0; r < rows; r++)
        if (const size_t limit = visible(block + r))
          softmax_row(w, block - begin + r, w.scores + r * key_tile, limit, padded, start == 0);
      float* y = w.sums + (block - begin) * padded;
      multiply<tile_rows>({w.scores, key_tile, 1}, w.values, padded, common, y, padded, padded, start != 0);
      if (most == common) continue;
      if (common > 0 && most == common + rows - 1 && common + tile_rows <= key_tile) {
        // Rows past the end, if any, gather numbers that nobody reads.
        triangle<false>({w.scores + common, key_tile, 1}, w.values + common * padded, padded, y, padded, padded);
        continue;
      }
      for (size_t r = 1; r < rows; r++)
        multiply<1>({w.scores + r * key_tile + common, 0, 1}, w.values + common * padded, padded,
                    visible(block + r) - common, y + r * padded, padded, padded, true);
    }
  }
  for (size_t query = begin; query < end; query++) {
    const float denominator = w.denominator[query - begin];
    const float* sums = w.sums + (query - begin) * padded;
    const Vec inverse = Vec::set(1.0f / denominator);
    each_vec(dim, [&](size_t i, auto lanes) {
      lanes.store(lanes.load(sums + i) * inverse, head.y + query * head.y_stride + i);
    });
    if (head.lse != nullptr) head.lse[query] = w.maximum[query - begin] + std::log(denominator);
  }
}

// One query: scores by dot products over the cache rows, then the weighted sum of values, four keys at a time.
void attend_one(const Head& head, size_t query, float* scores) {
  const size_t dim = head.dim, keys = head.first + query + 1, stride = head.kv_stride;
  const float* q = head.q + query * head.q_stride;
  for (size_t key = 0; key < keys; key++) scores[key] = row_dot(q, head.k + key * stride, dim) * head.scale;
  const float total = row_exp<true>(scores, scores, keys, row_max(scores, keys));
  each_vec(dim, [&](size_t i, auto lanes) {
    const float* v = head.v + i;
    Vec a = Vec::zero(), b = a, c = a, d = a;
    size_t key = 0;
    for (; key + 4 <= keys; key += 4) {
      a = fma(Vec::set(scores[key]), lanes.load(v + key * stride), a);
      b = fma(Vec::set(scores[key + 1]), lanes.load(v + (key + 1) * stride), b);
      c = fma(Vec::set(scores[key + 2]), lanes.load(v + (key + 2) * stride), c);
      d = fma(Vec::set(scores[key + 3]), lanes.load(v + (key + 3) * stride), d);
    }
    for (; key < keys; key++) a = fma(Vec::set(scores[key]), lanes.load(v + key * stride), a);
    lanes.store(((a + b) + (c + d)) * Vec::set(1.0f / total), head.y + query * head.y_stride + i);
  });
}

// `heads` independent heads of `rows` queries each, made by head(index).
template <class F>
void attend_all(Context& ctx, size_t heads, size_t rows, size_t dim, F head) {
  const size_t chunk = min_size(rows, heads >= many_heads ? long_chunk : short_chunk);
  if (heads == 0 || rows == 0) return;
  const size_t chunks = ceil_div(rows, chunk), floats = Workspace::floats(chunk, dim);
  auto* scratch = static_cast<float*>(ctx.scratch(ctx.threads * floats * sizeof(float)));
  if (scratch == nullptr) return;
  parallel(ctx, static_cast<uint32_t>(heads * chunks), [&](uint32_t task, uint32_t thread) {
    const size_t begin = (chunks - 1 - task / heads) * chunk;
    attend(head(task % heads), begin, min_size(rows, begin + chunk), Workspace(scratch + thread * floats, chunk, dim));
  });
}

}  // namespace

void attention(Context& ctx, const AttentionRow& row) {
  const size_t time = row.time, dim = row.headDim, heads = row.heads, group = heads / max_size(row.kvHeads, 1);
  const size_t width = (heads + 2 * size_t{row.kvHeads}) * dim, y_width = heads * dim;
  const float* qkv = ctx.f32(row.qkv);
  float *y = ctx.f32(row.y), *lse = ctx.f32(row.lse);
  attend_all(ctx, row.batch * heads, time, dim, [&](size_t index) {
    const size_t batch = index / heads, h = index % heads;
    const float* x = qkv + batch * time * width;
    const float *k = x + (heads + h / group) * dim, *v = k + row.kvHeads * dim;
    return Head{
        x + h * dim, k,   v,        y + batch * time * y_width + h * dim, lse + index * time, width, width, y_width,
        0,           dim, row.scale};
  });
}

void attention_decode(Context& ctx, const AttentionDecodeRow& row) {
  const size_t rows = row.rows, dim = row.headDim, heads = row.heads, group = heads / max_size(row.kvHeads, 1);
  const size_t kv_width = row.kvHeads * dim, width = heads * dim + 2 * kv_width, y_width = heads * dim;
  const float* qkv = ctx.f32(row.qkv);
  float *keys = ctx.f32(row.keys), *values = ctx.f32(row.values), *y = ctx.f32(row.y);
  const int32_t position = ctx.i32(row.position)[0];
  if (position < 0 || position + rows > row.capacity) {
    ctx.fail("%u new tokens at position %d do not fit in a cache of %u", row.rows, position, row.capacity);
    return;
  }
  const size_t start = static_cast<size_t>(position);
  for (size_t r = 0; r < rows; r++) {
    const float* k = qkv + r * width + y_width;
    std::memcpy(keys + (start + r) * kv_width, k, kv_width * sizeof(float));
    std::memcpy(values + (start + r) * kv_width, k + kv_width, kv_width * sizeof(float));
  }
  const auto head = [&](size_t h) {
    const size_t column = h / group * dim;
    return Head{qkv + h * dim, keys + column, values + column, y + h * dim, nullptr,  width,
                kv_width,      y_width,       start,           dim,         row.scale};
  };
  if (rows > few_rows) {
    attend_all(ctx, heads, rows, dim, head);
    return;
  }
  if (rows == 0 || heads == 0 || dim == 0) return;
  const size_t floats = round_up(start + rows, 16);
  auto* scratch = static_cast<float*>(ctx.scratch(ctx.threads * floats * sizeof(float)));
  if (scratch == nullptr) return;
  // Heads do not meet, so grouping them changes no result: 32768 products are worth a thread's while.
  const size_t each = 1 + 32768 / (rows * (start + rows) * dim);
  parallel(ctx, ceil_div(heads, each), [&](uint32_t task, uint32_t thread) {
    for (size_t h = task * each; h < min_size(heads, (task + 1) * each); h++)
      for (size_t r = 0; r < rows; r++) attend_one(head(h), r, scratch + thread * floats);
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
