// Causal attention, forward. Flash style: queries in blocks of tile_rows, keys in tiles of 288, a running maximum and
// sum per query, so that scores exist only as one (tile_rows, 288) tile a thread. Sequences up to 288 need a single
// tile and never rescale. Keys are packed transposed, so that a vector of keys is scored at once; values keep their
// order. A block multiplies the keys before it, which all its rows see; its own keys are a triangle, a product apart,
// because a masked value must not even be multiplied by 0 (it could be infinite).
//
// Probabilities are powers of two: scale and log2(e) take part in one multiply-add a score.
//
// Work is split by (query chunk, batch, head). Every task packs the keys it needs, a cost of a few percent with 96
// queries a chunk. Late chunks see more keys and go first, so that the last tasks are the short ones.
// attention_decode uses the same code for prompts; for a few tokens it reads the caches in place, one dot a key.
#include "cpu/kernels/attention_tile.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

constexpr size_t key_tile = 288;  // a multiple of tile_rows and of 2 Vec::N on every ISA
// Queries a task: the long chunk when there are heads enough to keep many threads busy, else the short one.
constexpr size_t long_chunk = 288, short_chunk = 96, many_heads = 16;
// Up to this many new tokens, packing the caches costs more than it saves.
constexpr size_t few_rows = 4;

// One head: rows of queries, keys, values and outputs at their strides. Query i is at position first + i and sees the
// keys 0..first + i. With pairs of bf16 first is 0, so that blocks begin at whole words. lse may be nullptr.
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

// What probabilities are relative to. Before they are rounded it is a whole number: rescaling is exact, so that they do
// not depend on where the tiles lie.
inline float reference(Fp32, float maximum) {
  return maximum;
}
inline float reference(Bf16, float maximum) {
  return std::ceil(maximum);
}

// Largest of the first `limit` scores; memory is read up to whole vectors.
inline float score_max(const float* scores, size_t limit) {
  const Vec low = Vec::set(-INFINITY);
  Vec a = low, b = low;
  size_t i = 0;
  for (; i + 2 * Vec::N <= limit; i += 2 * Vec::N) {
    a = max(a, Vec::load(scores + i));
    b = max(b, Vec::load(scores + i + Vec::N));
  }
  for (; i < limit; i += Vec::N) a = max(a, first(Vec::load(scores + i), low, min_size(Vec::N, limit - i)));
  return max_lane(max(a, b));
}

// Scores become words of 2^(c score - shift), 0 from `limit` on up to whole vectors of words; returns their sum.
template <class P>
float score_powers(float* scores, size_t limit, float c, float shift) {
  const Vec factor = Vec::set(c), minus = Vec::set(-shift);
  Vec total[P::kSteps];
  for (Vec& t : total) t = Vec::zero();
  const auto power = [&](size_t i) { return exp2(fma(Vec::load(scores + i), factor, minus)); };
  constexpr size_t step = P::kSteps * Vec::N;
  Vec x[P::kSteps];
  size_t i = 0;
  for (; i + step <= limit; i += step) {
    for (size_t s = 0; s < P::kSteps; s++) total[s] = total[s] + (x[s] = power(i + s * Vec::N));
    words_along(P{}, x).store(scores + i / P::kSteps);
  }
  if (i < limit) {
    for (size_t s = 0; s < P::kSteps; s++) {
      const size_t at = i + s * Vec::N;
      x[s] = at < limit ? first(power(at), Vec::zero(), min_size(Vec::N, limit - at)) : Vec::zero();
      total[s] = total[s] + x[s];
    }
    words_along(P{}, x).store(scores + i / P::kSteps);
  }
  for (size_t s = 1; s < P::kSteps; s++) total[0] = total[0] + total[s];
  return sum(total[0]);
}

// Scores of a block of rows become probabilities, and what earlier tiles gave is rescaled to the new maximum. Row r
// sees visible(r) keys; `query` is the place of the first. c is the scale times log2(e). Maxima of all rows come first,
// so that no row waits for its own.
template <class P, class F>
void softmax_block(const Workspace& w, size_t query, size_t rows, F visible, float c, size_t padded, bool initial) {
  float maximum[tile_rows];
  for (size_t r = 0; r < rows; r++) maximum[r] = score_max(w.scores + r * key_tile, visible(r));
  for (size_t r = 0; r < rows; r++) {
    const size_t limit = visible(r);
    if (limit == 0) continue;
    float &highest = w.maximum[query + r], &denominator = w.denominator[query + r];
    float shift = reference(P{}, maximum[r] * c);
    if (initial) {
      highest = shift;
      denominator = score_powers<P>(w.scores + r * key_tile, limit, c, shift);
      continue;
    }
    if (!(shift > highest)) shift = highest;
    const float rescale = std::exp2(highest - shift);
    highest = shift;
    denominator = denominator * rescale + score_powers<P>(w.scores + r * key_tile, limit, c, shift);
    row_scale(w.sums + (query + r) * padded, padded, rescale);
  }
}

// Queries begin..end of one head; end - begin is at most the chunk that the workspace was made for.
template <class P>
void attend(const Head& head, size_t begin, size_t end, const Workspace& w) {
  const size_t dim = head.dim, padded = round_up(dim, Vec::N), keys = head.first + end;
  const size_t depth = ceil_div(dim, P::kSteps), queries_ld = round_up(depth, Vec::N);
  const float c = head.scale * 1.44269504f;
  for (size_t start = 0; start < keys; start += key_tile) {
    const size_t tile_keys = min_size(key_tile, keys - start);
    pack_transposed<P>(head.k + start * head.kv_stride, head.kv_stride, tile_keys, dim, w.keys, key_tile,
                       round_up(tile_keys, Vec::N));
    pack_across<P>(head.v + start * head.kv_stride, head.kv_stride, tile_keys, dim, w.values, padded, tile_keys);
    for (size_t block = begin; block < end; block += tile_rows) {
      const size_t rows = min_size(tile_rows, end - block), position = head.first + block;
      const auto visible = [&](size_t r) {
        const size_t seen = position + r + 1;
        return seen <= start ? 0 : min_size(tile_keys, seen - start);
      };
      const size_t most = visible(rows - 1);
      if (most == 0) continue;
      pack_along<P>(head.q + block * head.q_stride, head.q_stride, rows, dim, w.queries, queries_ld, tile_rows);
      multiply<P, tile_rows>({w.queries, queries_ld, 1}, w.keys, key_tile, depth, w.scores, key_tile, most, false);
      softmax_block<P>(w, block - begin, rows, visible, c, padded, start == 0);
      float* y = w.sums + (block - begin) * padded;
      if (position >= start + tile_keys) {
        multiply<P, tile_rows>({w.scores, key_tile, 1}, w.values, padded, ceil_div(tile_keys, P::kSteps), y, padded,
                               padded, start != 0);
      } else if (position >= start && position - start + tile_rows <= key_tile) {
        const size_t before = (position - start) / P::kSteps;
        multiply<P, tile_rows>({w.scores, key_tile, 1}, w.values, padded, before, y, padded, padded, start != 0);
        // Rows past the end, if any, gather numbers that nobody reads.
        triangle<P, false>({w.scores + before, key_tile, 1}, w.values + before * padded, padded, y, padded, padded);
      } else {
        // The block lies across two tiles, as only tokens after a cache do.
        for (size_t r = 0; r < rows; r++)
          multiply<P, 1>({w.scores + r * key_tile, 0, 1}, w.values, padded, visible(r), y + r * padded, padded, padded,
                         start != 0);
      }
    }
  }
  for (size_t query = begin; query < end; query++) {
    const float denominator = w.denominator[query - begin];
    const float* sums = w.sums + (query - begin) * padded;
    const Vec inverse = Vec::set(1.0f / denominator);
    each_vec(dim, [&](size_t i, auto lanes) {
      lanes.store(lanes.load(sums + i) * inverse, head.y + query * head.y_stride + i);
    });
    if (head.lse != nullptr) head.lse[query] = w.maximum[query - begin] * 0.693147181f + std::log(denominator);
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
template <class P, class F>
void attend_all(Context& ctx, size_t heads, size_t rows, size_t dim, F head) {
  const size_t chunk = min_size(rows, heads >= many_heads ? long_chunk : short_chunk);
  if (heads == 0 || rows == 0) return;
  const size_t chunks = ceil_div(rows, chunk), floats = Workspace::floats(chunk, dim);
  auto* scratch = static_cast<float*>(ctx.scratch(ctx.threads * floats * sizeof(float)));
  if (scratch == nullptr) return;
  parallel(ctx, static_cast<uint32_t>(heads * chunks), [&](uint32_t task, uint32_t thread) {
    const size_t begin = (chunks - 1 - task / heads) * chunk;
    attend<P>(head(task % heads), begin, min_size(rows, begin + chunk),
              Workspace(scratch + thread * floats, chunk, dim));
  });
}

}  // namespace

void attention(Context& ctx, const AttentionRow& row) {
  const size_t time = row.time, dim = row.headDim, heads = row.heads, group = heads / max_size(row.kvHeads, 1);
  const size_t width = (heads + 2 * size_t{row.kvHeads}) * dim, y_width = heads * dim;
  const float* qkv = ctx.f32(row.qkv);
  float *y = ctx.f32(row.y), *lse = ctx.f32(row.lse);
  const auto head = [&](size_t index) {
    const size_t batch = index / heads, h = index % heads;
    const float* x = qkv + batch * time * width;
    const float *k = x + (heads + h / group) * dim, *v = k + row.kvHeads * dim;
    return Head{
        x + h * dim, k,   v,        y + batch * time * y_width + h * dim, lse + index * time, width, width, y_width,
        0,           dim, row.scale};
  };
  row.precision == 1 ? attend_all<Bf16>(ctx, row.batch * heads, time, dim, head)
                     : attend_all<Fp32>(ctx, row.batch * heads, time, dim, head);
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
    attend_all<Fp32>(ctx, heads, rows, dim, head);
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
