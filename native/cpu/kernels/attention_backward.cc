// Causal attention, backward. One task owns a key head of one sequence and all query heads that read it, so dk and dv
// gather in a fixed order without partial copies. Probabilities are made again from lse, never stored whole:
//   p = exp(scale q k^T - lse)   dv = p^T dy   ds = p (dy v^T - rowsum(dy y))   dq = scale ds k   dk = scale ds^T q
// Keys go in tiles of 256 or 288, queries in blocks of 64 or 48, so that a tile, its gradients and a block's p and ds
// stay in L2. Scores and dy v^T never reach memory: p and ds are made from them in registers, as words for the products
// that follow. As in the forward pass the blocks on the diagonal are triangles: a masked pair is never multiplied.
#include "cpu/kernels/attention_tile.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

// A multiple of tile_rows, of query_block and, padded rows of words apart, not of many cache lines' strides.
constexpr size_t key_tile = Vec::N >= 16 ? 256 : 288, words_ld = key_tile + 16;
constexpr size_t query_block = Vec::N >= 16 ? 64 : 48;
// Rows of queries whose scores and score gradients are in registers together, over two vectors of keys.
constexpr size_t score_rows = Vec::N >= 16 ? 4 : 2;

// One thread's scratch: the packed key tile and its gradients, then the packed query block and its products. Sizes are
// those of one number a word.
struct Workspace {
  float *keys, *keys_t, *values_t, *dk, *dv;
  float *queries, *queries_across, *dy, *dy_across, *p, *ds, *ds_along, *dq;

  static size_t floats(size_t dim) {
    const size_t padded = round_up(dim, Vec::N);
    return key_tile * (2 * round_up(dim, 16) + 3 * padded) + query_block * (5 * padded + 3 * words_ld);
  }
  Workspace(float* base, size_t dim) {
    const size_t padded = round_up(dim, Vec::N);
    const auto take = [&](size_t rows, size_t cols) {
      float* begin = base;
      base += rows * cols;
      return begin;
    };
    keys_t = take(key_tile, round_up(dim, 16));
    values_t = take(key_tile, round_up(dim, 16));
    keys = take(key_tile, padded);
    dk = take(key_tile, padded);
    dv = take(key_tile, padded);
    queries = take(query_block, padded);
    queries_across = take(query_block, padded);
    dy = take(query_block, padded);
    dy_across = take(query_block, padded);
    dq = take(query_block, padded);
    p = take(query_block, words_ld);
    ds = take(query_block, words_ld);
    ds_along = take(query_block, words_ld);
  }
};

// What is known of each query of a block: lse in powers of two, and rowsum(dy y). 0 for the rows that pad it.
struct Known {
  float shift[query_block], delta[query_block];
};

// p and ds of score_rows queries, from `r` on, and two vectors of keys, from `key` on. Query r sees the keys up to
// lead + r; the others get 0. Words across queries go to p and ds, of ds also words along the keys.
template <class P>
void differentiate(const Workspace& w, const Known& known, size_t r, size_t key, size_t lead, size_t rows, size_t depth,
                   float c) {
  constexpr size_t R = score_rows;
  const size_t ld = round_up(depth, Vec::N);
  Vec s[R][2], d[R][2];
#pragma GCC unroll 4
  for (size_t i = 0; i < R; i++)
#pragma GCC unroll 2
    for (size_t j = 0; j < 2; j++) s[i][j] = d[i][j] = Vec::zero();
  const float *q = w.queries + r * ld, *dy = w.dy + r * ld, *k = w.keys_t + key, *v = w.values_t + key;
  for (size_t word = 0; word < depth; word++, k += key_tile, v += key_tile) {
    const Vec k0 = Vec::load(k), k1 = Vec::load(k + Vec::N), v0 = Vec::load(v), v1 = Vec::load(v + Vec::N);
#pragma GCC unroll 4
    for (size_t i = 0; i < R; i++) {
      const Vec x = Vec::set(q[i * ld + word]), y = Vec::set(dy[i * ld + word]);
      s[i][0] = P::multiply(x, k0, s[i][0]);
      s[i][1] = P::multiply(x, k1, s[i][1]);
      d[i][0] = P::multiply(y, v0, d[i][0]);
      d[i][1] = P::multiply(y, v1, d[i][1]);
    }
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < R; i++) {
    const Vec shift = Vec::set(known.shift[r + i]), delta = Vec::set(known.delta[r + i]);
#pragma GCC unroll 2
    for (size_t j = 0; j < 2; j++) {
      s[i][j] = exp2(fma(s[i][j], Vec::set(c), shift));
      d[i][j] = s[i][j] * (d[i][j] - delta);
    }
  }
  if (key + 2 * Vec::N > lead + r + 1 || r + R > rows) {
#pragma GCC unroll 4
    for (size_t i = 0; i < R; i++) {
      const size_t limit = r + i < rows ? lead + r + i + 1 : 0;
#pragma GCC unroll 2
      for (size_t j = 0; j < 2; j++) {
        const size_t at = key + j * Vec::N, lanes = limit <= at ? 0 : min_size(Vec::N, limit - at);
        s[i][j] = first(s[i][j], Vec::zero(), lanes);
        d[i][j] = first(d[i][j], Vec::zero(), lanes);
      }
    }
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < R; i += P::kSteps) {
    const size_t row = (r + i) / P::kSteps * words_ld + key;
#pragma GCC unroll 2
    for (size_t j = 0; j < 2; j++) {
      words_across(P{}, s[i][j], s[i + P::kSteps - 1][j]).store(w.p + row + j * Vec::N);
      words_across(P{}, d[i][j], d[i + P::kSteps - 1][j]).store(w.ds + row + j * Vec::N);
    }
  }
  if constexpr (P::kSteps > 1) {
#pragma GCC unroll 4
    for (size_t i = 0; i < R; i++) words_along(P{}, d[i]).store(w.ds_along + (r + i) * words_ld + key / P::kSteps);
  }
}

// target (keys, dim) += p^T source, for words of p and source across the `rows` queries of a block. Key j is seen by
// the queries from j - lead on.
template <class P>
void gather_keys(const float* p, const float* source, size_t padded, size_t rows, size_t lead, size_t keys,
                 float* target) {
  for (size_t key = 0; key < keys; key += tile_rows) {
    const bool diagonal = key >= lead;
    // From here on every query sees every key of the group.
    const size_t full = (diagonal ? key - lead + tile_rows : 0) / P::kSteps, words = rows / P::kSteps;
    float* to = target + key * padded;
    if (full < words)
      multiply<P, tile_rows>({p + full * words_ld + key, 1, words_ld}, source + full * padded, padded, words - full, to,
                             padded, padded, true);
    if (!diagonal) continue;
    const size_t first = (key - lead) / P::kSteps;
    triangle<P, true>({p + first * words_ld + key, 1, words_ld}, source + first * padded, padded, to, padded, padded);
  }
}

// One query block against the packed key tile, of which it sees `lead` keys and then one more a query, if the tile has
// as many: adds to the tile's dk and dv, leaves dq without scale in the workspace.
template <class P>
void block_gradients(const Workspace& w, const Known& known, size_t dim, size_t rows, size_t lead, size_t tile_keys,
                     float c) {
  const size_t padded = round_up(dim, Vec::N), depth = ceil_div(dim, P::kSteps);
  const size_t all_rows = round_up(rows, tile_rows), all_keys = round_up(tile_keys, tile_rows);
  const size_t keys = min_size(all_keys, lead + all_rows);
  for (size_t key = 0; key < keys; key += 2 * Vec::N) {
    // Queries before these keys see none of them.
    const size_t from = key <= lead ? 0 : (key - lead) / score_rows * score_rows;
    for (size_t r = from; r < all_rows; r += score_rows) differentiate<P>(w, known, r, key, lead, rows, depth, c);
  }
  gather_keys<P>(w.p, w.dy_across, padded, all_rows, lead, keys, w.dv);
  gather_keys<P>(w.ds, w.queries_across, padded, all_rows, lead, keys, w.dk);
  const float* ds = P::kSteps > 1 ? w.ds_along : w.ds;
  for (size_t r = 0; r < all_rows; r += tile_rows) {
    const bool diagonal = lead + r < tile_keys;
    const size_t before = (diagonal ? lead + r : all_keys) / P::kSteps;
    float* dq = w.dq + r * padded;
    multiply<P, tile_rows>({ds + r * words_ld, words_ld, 1}, w.keys, padded, before, dq, padded, padded, false);
    if (diagonal)
      triangle<P, false>({ds + r * words_ld + before, words_ld, 1}, w.keys + before * padded, padded, dq, padded,
                         padded);
  }
}

// target (rows, dim) = factor * source, or += with accumulate.
void unpack_rows(const float* source, size_t lds, size_t rows, size_t dim, float factor, float* target, size_t ldt,
                 bool accumulate) {
  for (size_t r = 0; r < rows; r++)
    each_vec(dim, [&](size_t i, auto lanes) {
      float* y = target + r * ldt + i;
      const Vec x = lanes.load(source + r * lds + i) * Vec::set(factor);
      lanes.store(accumulate ? lanes.load(y) + x : x, y);
    });
}

template <class P>
void differentiate_all(Context& ctx, const AttentionBackwardRow& row) {
  const size_t time = row.time, dim = row.headDim, heads = row.heads, kv_heads = row.kvHeads;
  if (row.batch == 0 || time == 0 || heads == 0 || kv_heads == 0 || dim == 0) return;
  const size_t group = heads / kv_heads, width = (heads + 2 * kv_heads) * dim, y_width = heads * dim;
  const size_t padded = round_up(dim, Vec::N), words_along_dim = round_up(ceil_div(dim, P::kSteps), Vec::N);
  const size_t floats = Workspace::floats(dim);
  const float *dy_all = ctx.f32(row.dy), *qkv_all = ctx.f32(row.qkv), *y_all = ctx.f32(row.y);
  const float* lse_all = ctx.f32(row.lse);
  float* dqkv_all = ctx.f32(row.dqkv);
  auto* scratch = static_cast<float*>(ctx.scratch(ctx.threads * floats * sizeof(float)));
  if (scratch == nullptr) return;

  parallel(ctx, static_cast<uint32_t>(row.batch * kv_heads), [&](uint32_t task, uint32_t thread) {
    const Workspace w(scratch + thread * floats, dim);
    const size_t batch = task / kv_heads, g = task % kv_heads;
    const size_t k_column = (heads + g) * dim, v_column = k_column + kv_heads * dim;
    const float* qkv = qkv_all + batch * time * width;
    float* dqkv = dqkv_all + batch * time * width;
    for (size_t start = 0; start < time; start += key_tile) {
      const size_t tile_keys = min_size(key_tile, time - start), all_keys = round_up(tile_keys, 2 * Vec::N);
      const float *k = qkv + start * width + k_column, *v = qkv + start * width + v_column;
      pack_across<P>(k, width, tile_keys, dim, w.keys, padded, all_keys);
      pack_transposed<P>(k, width, tile_keys, dim, w.keys_t, key_tile, all_keys);
      pack_transposed<P>(v, width, tile_keys, dim, w.values_t, key_tile, all_keys);
      for (size_t i = 0; i < 2 * key_tile * padded; i += Vec::N) Vec::zero().store(w.dk + i);
      for (size_t h = g * group; h < (g + 1) * group; h++) {
        const float* lse = lse_all + (batch * heads + h) * time;
        for (size_t block = start; block < time; block += query_block) {
          const size_t rows = min_size(query_block, time - block), all_rows = round_up(rows, tile_rows);
          const float *q = qkv + block * width + h * dim, *dy = dy_all + (batch * time + block) * y_width + h * dim;
          const float* y = y_all + (dy - dy_all);
          pack_along<P>(q, width, rows, dim, w.queries, words_along_dim, all_rows);
          pack_along<P>(dy, y_width, rows, dim, w.dy, words_along_dim, all_rows);
          pack_across<P>(q, width, rows, dim, w.queries_across, padded, all_rows);
          pack_across<P>(dy, y_width, rows, dim, w.dy_across, padded, all_rows);
          Known known{};
          for (size_t r = 0; r < rows; r++) {
            ask_row(y + (r + rows_ahead) * y_width, dim);
            known.shift[r] = lse[block + r] * -1.44269504f;
            known.delta[r] = row_dot(dy + r * y_width, y + r * y_width, dim);
          }
          block_gradients<P>(w, known, dim, rows, block - start, tile_keys, row.scale * 1.44269504f);
          unpack_rows(w.dq, padded, rows, dim, row.scale, dqkv + block * width + h * dim, width, start != 0);
        }
      }
      unpack_rows(w.dk, padded, tile_keys, dim, row.scale, dqkv + start * width + k_column, width, false);
      unpack_rows(w.dv, padded, tile_keys, dim, 1.0f, dqkv + start * width + v_column, width, false);
    }
  });
}

}  // namespace

void attention_backward(Context& ctx, const AttentionBackwardRow& row) {
  row.precision == 1 ? differentiate_all<Bf16>(ctx, row) : differentiate_all<Fp32>(ctx, row);
}

}  // namespace sweetspot::SWEETSPOT_ISA
