// Causal attention, backward. One task owns a key head of one sequence and all query heads that read it, so dk and dv
// gather in a fixed order without partial copies. Probabilities are made again from lse, never stored:
//   p = exp(scale q k^T - lse)   dv = p^T dy   ds = p (dy v^T - rowsum(dy y))   dq = scale ds k   dk = scale ds^T q
// Keys go in tiles of 256 or 288, queries in blocks of 64 or 48, so that a tile, its gradients and a block's p and ds
// stay in L2. scale is folded into the packed queries, which serve both scores and dk. As in the forward pass the
// blocks on the diagonal are cut into full rectangles and triangles of tile_rows: a masked pair is never multiplied.
#include "cpu/kernels/attention_tile.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

constexpr size_t key_tile = Vec::N >= 16 ? 256 : 288;  // a multiple of tile_rows, of Vec::N and of query_block
constexpr size_t query_block = Vec::N >= 16 ? 64 : 48;

// One thread's scratch: the packed key tile and its gradients, then the packed query block and its products.
struct Workspace {
  float *keys, *keys_t, *values_t, *dk, *dv;
  float *queries, *dy, *p, *ds, *dq;

  static size_t floats(size_t dim) {
    const size_t padded = round_up(dim, Vec::N);
    return round_up(key_tile * (2 * dim + 3 * padded) + query_block * (3 * padded + 2 * key_tile), 16);
  }
  Workspace(float* base, size_t dim) {
    const size_t padded = round_up(dim, Vec::N);
    keys = base;
    dk = keys + key_tile * padded;
    dv = dk + key_tile * padded;
    keys_t = dv + key_tile * padded;
    values_t = keys_t + key_tile * dim;
    queries = values_t + key_tile * dim;
    dy = queries + query_block * padded;
    dq = dy + query_block * padded;
    p = dq + query_block * padded;
    ds = p + query_block * key_tile;
  }
};

// Scores become p, dy v^T becomes ds, over the first `limit` keys, rounded up to whole vectors.
void differentiate_row(float* p, float* ds, size_t limit, float lse, float delta) {
  const Vec shift = Vec::set(lse), mean = Vec::set(delta);
  for (size_t i = 0; i < limit; i += Vec::N) {
    const Vec x = exp(Vec::load(p + i) - shift);
    x.store(p + i);
    (x * (Vec::load(ds + i) - mean)).store(ds + i);
  }
}

// target (keys, dim) += p^T source. Key j is seen by the rows from j - lead on, where `lead` = block - tile start.
void gather_keys(const float* p, const float* source, size_t padded, size_t rows, size_t lead, size_t keys,
                 float* target) {
  for (size_t key = 0; key < keys; key += tile_rows) {
    const auto first_row = [&](size_t j) { return j <= lead ? 0 : min_size(rows, j - lead); };
    const bool diagonal = key >= lead && key - lead + tile_rows <= rows && key + tile_rows <= keys;
    // From here on every row sees every key of the group.
    const size_t full = diagonal ? key - lead + tile_rows : first_row(key + tile_rows - 1);
    if (full < rows)
      multiply<tile_rows>({p + full * key_tile + key, 1, key_tile}, source + full * padded, padded, rows - full,
                          target + key * padded, padded, padded, true);
    if (diagonal) {
      const size_t base = key - lead;
      triangle<true>({p + base * key_tile + key, 1, key_tile}, source + base * padded, padded, target + key * padded,
                     padded, padded);
      continue;
    }
    for (size_t j = key; j < min_size(keys, key + tile_rows); j++) {
      const size_t from = first_row(j);
      if (from < full)
        multiply<1>({p + from * key_tile + j, 0, key_tile}, source + from * padded, padded, full - from,
                    target + j * padded, padded, padded, true);
    }
  }
}

// One query block against the packed key tile: adds to the tile's dk and dv, leaves dq without scale in the workspace.
void block_gradients(const Workspace& w, size_t dim, size_t rows, size_t lead, size_t tile_keys, const float* lse,
                     const float* delta) {
  const size_t padded = round_up(dim, Vec::N);
  const auto visible = [&](size_t r) { return min_size(tile_keys, lead + r + 1); };
  for (size_t r = 0; r < rows; r += tile_rows) {
    const size_t most = visible(r + tile_rows - 1);
    float *p = w.p + r * key_tile, *ds = w.ds + r * key_tile;
    multiply<tile_rows>({w.queries + r * padded, padded, 1}, w.keys_t, key_tile, dim, p, key_tile, most, false);
    multiply<tile_rows>({w.dy + r * padded, padded, 1}, w.values_t, key_tile, dim, ds, key_tile, most, false);
  }
  for (size_t r = 0; r < rows; r++)
    differentiate_row(w.p + r * key_tile, w.ds + r * key_tile, visible(r), lse[r], delta[r]);
  gather_keys(w.p, w.dy, padded, rows, lead, visible(rows - 1), w.dv);
  gather_keys(w.ds, w.queries, padded, rows, lead, visible(rows - 1), w.dk);
  for (size_t r = 0; r < rows; r += tile_rows) {
    const size_t common = visible(r);
    float* dq = w.dq + r * padded;
    multiply<tile_rows>({w.ds + r * key_tile, key_tile, 1}, w.keys, padded, common, dq, padded, padded, false);
    const size_t here = min_size(tile_rows, rows - r), most = visible(r + here - 1);
    if (most == common + here - 1 && common + tile_rows <= key_tile) {
      // Rows past the end, if any, gather numbers that nobody reads.
      triangle<false>({w.ds + r * key_tile + common, key_tile, 1}, w.keys + common * padded, padded, dq, padded,
                      padded);
      continue;
    }
    for (size_t i = 1; i < here; i++)
      multiply<1>({w.ds + (r + i) * key_tile + common, 0, 1}, w.keys + common * padded, padded, visible(r + i) - common,
                  dq + i * padded, padded, padded, true);
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

}  // namespace

void attention_backward(Context& ctx, const AttentionBackwardRow& row) {
  const size_t time = row.time, dim = row.headDim, heads = row.heads, kv_heads = row.kvHeads;
  if (row.batch == 0 || time == 0 || heads == 0 || kv_heads == 0 || dim == 0) return;
  const size_t group = heads / kv_heads, width = (heads + 2 * kv_heads) * dim, y_width = heads * dim;
  const size_t padded = round_up(dim, Vec::N), floats = Workspace::floats(dim);
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
      const size_t tile_keys = min_size(key_tile, time - start);
      pack_rows(qkv + start * width + k_column, width, tile_keys, dim, 1.0f, w.keys, padded);
      pack_transposed(qkv + start * width + k_column, width, tile_keys, dim, w.keys_t, key_tile);
      pack_transposed(qkv + start * width + v_column, width, tile_keys, dim, w.values_t, key_tile);
      for (size_t i = 0; i < 2 * key_tile * padded; i += Vec::N) Vec::zero().store(w.dk + i);
      for (size_t h = g * group; h < (g + 1) * group; h++) {
        const float* lse = lse_all + (batch * heads + h) * time;
        for (size_t block = start; block < time; block += query_block) {
          const size_t rows = min_size(query_block, time - block), row_dy = (batch * time + block) * y_width + h * dim;
          pack_rows(qkv + block * width + h * dim, width, rows, dim, row.scale, w.queries, padded);
          pack_rows(dy_all + row_dy, y_width, rows, dim, 1.0f, w.dy, padded);
          float delta[query_block];
          for (size_t r = 0; r < rows; r++)
            delta[r] = row_dot(dy_all + row_dy + r * y_width, y_all + row_dy + r * y_width, dim);
          block_gradients(w, dim, rows, block - start, tile_keys, lse + block, delta);
          unpack_rows(w.dq, padded, rows, dim, row.scale, dqkv + block * width + h * dim, width, start != 0);
        }
      }
      unpack_rows(w.dk, padded, tile_keys, dim, 1.0f, dqkv + start * width + k_column, width, false);
      unpack_rows(w.dv, padded, tile_keys, dim, 1.0f, dqkv + start * width + v_column, width, false);
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
