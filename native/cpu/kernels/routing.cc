// Routing of mixture layers: which experts a row goes to, the rows sorted by expert, and the weighted sum of what comes
// back. All of it stays on the device: the layer's matrices have rows * k rows whatever the choices are.
//
// topk_softmax takes Vec::N rows at a time, one in each lane, so that experts pass by one after the other and nothing
// is ever compared across lanes.
#include <cstring>

#include "cpu/kernels/ids.h"
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

// Puts expert `id` with value v into the k best of every lane, largest first. A strict comparison keeps the first of
// equals, and NaN and minus infinity out.
inline void insert(Vec* value, Vec* best, size_t k, Vec v, Vec id) {
  Vec moved = v, moved_id = id;
#pragma GCC unroll 4
  for (size_t l = 0; l < k; l++) {
    const Vec old = value[l], old_id = best[l];
    // Where v is larger, it or what it displaced moves in here, and what was here moves on.
    value[l] = select_less(old, v, moved, old);
    best[l] = select_less(old, v, moved_id, old_id);
    moved = select_less(old, v, old, moved);
    moved_id = select_less(old, v, old_id, moved_id);
  }
}

struct Choice {
  const float* x;     // the first row
  const float* bias;  // or nullptr
  size_t rows, experts, k;
  Vec* space;     // 2 k of them
  float* values;  // (k, N): chosen x + bias, minus infinity where nothing was larger than it
  float* ids;     // (k, N): their experts, -1 where nothing was
  float* bad;     // (N): not finite when the row of the lane has a NaN
};

// The k best of up to N rows. K = k, or 0 for any k.
template <size_t K>
void choose(const Choice& c) {
  const size_t k = K > 0 ? K : c.k;
  Vec registers[2 * K + 1];
  Vec* value = K > 0 ? registers : c.space;
  Vec* best = value + k;
#pragma GCC unroll 4
  for (size_t l = 0; l < k; l++) value[l] = Vec::set(-INFINITY), best[l] = Vec::set(-1.0f);
  const Vec infinity = Vec::set(INFINITY), one = Vec::set(1.0f);
  Vec id = Vec::zero(), bad = Vec::zero();
  for (size_t e = 0; e < c.experts; e += Vec::N) {
    const size_t width = min_size(Vec::N, c.experts - e);
    Vec block[Vec::N];
    if (c.rows == Vec::N && width == Vec::N) {
#pragma GCC unroll 16
      for (size_t r = 0; r < Vec::N; r++) block[r] = Vec::load(c.x + r * c.experts + e);
    } else {
      for (size_t r = 0; r < Vec::N; r++) {
        block[r] = r < c.rows ? Vec::load(c.x + r * c.experts + e, width) : Vec::zero();
      }
    }
    if (c.bias != nullptr) {
      const Vec bias = Vec::load(c.bias + e, width);
      for (size_t r = 0; r < Vec::N; r++) block[r] = block[r] + bias;
    }
    transpose(block);
    const auto take = [&](Vec v) {
      bad = select_less(v, infinity, bad, v);
      insert(value, best, k, v, id);
      id = id + one;
    };
    if (width == Vec::N) {
#pragma GCC unroll 16
      for (size_t j = 0; j < Vec::N; j++) take(block[j]);
    } else {
      for (size_t j = 0; j < width; j++) take(block[j]);
    }
  }
#pragma GCC unroll 4
  for (size_t l = 0; l < k; l++) {
    value[l].store(c.values + l * Vec::N);
    best[l].store(c.ids + l * Vec::N);
  }
  bad.store(c.bad);
}

// Experts whose x + bias is minus infinity or NaN, in their order, for the places that nothing larger took.
void choose_rest(const float* x, const float* bias, size_t experts, int32_t* ids, size_t k) {
  size_t l = 0;
  while (l < k && ids[l] >= 0) l++;
  for (size_t e = 0; e < experts && l < k; e++) {
    const float v = bias == nullptr ? x[e] : x[e] + bias[e];
    if (!(v > -INFINITY)) ids[l++] = static_cast<int32_t>(e);
  }
}

}  // namespace

void topk_softmax(Context& ctx, const TopkSoftmaxRow& row) {
  const size_t rows = row.rows, experts = row.experts, k = row.k;
  if (k > experts) return ctx.fail("%u choices of %u experts", row.k, row.experts);
  const float* x = ctx.f32(row.x);
  const float* bias = row.bias.present() ? ctx.f32(row.bias) : nullptr;
  float* p = ctx.f32(row.p);
  int32_t* ids = ctx.i32(row.ids);
  float* lse = row.lse.present() ? ctx.f32(row.lse) : nullptr;
  const bool whole = lse != nullptr || row.normalize == 0;  // the softmax over all experts is needed
  // space, values, ids, bad, shift, total
  const size_t thread_floats = round_up((4 * k + 3) * Vec::N, 16);
  auto* memory = static_cast<float*>(ctx.scratch(ctx.threads * thread_floats * sizeof(float)));
  if (memory == nullptr) return;
  const size_t per_task = round_up(max_size(1, kTaskElements / max_size(experts, 1)), 16);
  parallel(ctx, ceil_div(rows, per_task), [&](uint32_t task, uint32_t thread) {
    auto* space = reinterpret_cast<Vec*>(memory + thread * thread_floats);
    float* values = memory + thread * thread_floats + 2 * k * Vec::N;
    float *best = values + k * Vec::N, *bad = best + k * Vec::N, *shift = bad + Vec::N, *total = shift + Vec::N;
    const size_t end = min_size(rows, (task + size_t{1}) * per_task);
    for (size_t r = task * per_task; r < end; r += Vec::N) {
      const Choice c{x + r * experts, bias, min_size(Vec::N, end - r), experts, k, space, values, best, bad};
      k == 1 ? choose<1>(c) : k == 2 ? choose<2>(c) : k == 4 ? choose<4>(c) : choose<0>(c);
      for (size_t i = 0; i < c.rows; i++) {
        int32_t* to = ids + (r + i) * k;
        for (size_t l = 0; l < k; l++) to[l] = static_cast<int32_t>(best[l * Vec::N + i]);
        if (k > 0 && to[k - 1] < 0) choose_rest(c.x + i * experts, bias, experts, to, k);
        // The choice was biased, the probabilities are not.
        for (size_t l = 0; bias != nullptr && l < k; l++) values[l * Vec::N + i] = c.x[i * experts + to[l]];
      }
      if (whole) {
        for (size_t i = c.rows; i < Vec::N; i++) shift[i] = 0.0f, total[i] = 1.0f;
        for (size_t i = 0; i < c.rows; i++) {
          const float* from = c.x + i * experts;
          shift[i] = bias == nullptr && k > 0 ? values[i] : row_max(from, experts);
          total[i] = row_exp<false>(from, nullptr, experts, shift[i]);
        }
        for (size_t i = 0; lse != nullptr && i < c.rows; i++) lse[r + i] = shift[i] + std::log(total[i]);
      }
      if (k == 0) continue;
      Vec from = Vec::load(values), sum = Vec::zero();
      for (size_t l = 1; l < k; l++) from = max(from, Vec::load(values + l * Vec::N));
      if (row.normalize == 0) from = Vec::load(shift);
      for (size_t l = 0; l < k; l++) {
        const Vec e = exp(Vec::load(values + l * Vec::N) - from);
        sum = sum + e;
        e.store(values + l * Vec::N);
      }
      if (row.normalize == 0) sum = Vec::load(total);
      // A NaN that was not chosen counts too.
      sum = select_less(Vec::load(bad), Vec::set(INFINITY), sum, Vec::set(NAN));
      for (size_t l = 0; l < k; l++) (Vec::load(values + l * Vec::N) / sum).store(values + l * Vec::N);
      for (size_t i = 0; i < c.rows; i++) {
        for (size_t l = 0; l < k; l++) p[(r + i) * k + l] = values[l * Vec::N + i];
      }
    }
  });
}

void topk_softmax_backward(Context& ctx, const TopkSoftmaxBackwardRow& row) {
  const size_t rows = row.rows, experts = row.experts, k = row.k;
  const int32_t* ids = ctx.i32(row.ids);
  const float *dp = ctx.f32(row.dp), *x = ctx.f32(row.x), *p = ctx.f32(row.p);
  const float* dlse = row.dlse.present() ? ctx.f32(row.dlse) : nullptr;
  const float* lse = row.lse.present() ? ctx.f32(row.lse) : nullptr;
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  float* dx = ctx.f32(row.dx);
  const bool whole = dlse != nullptr || row.normalize == 0;
  if (whole && lse == nullptr) return ctx.fail("lse is missing, which normalize 0 and dlse need");
  if (!ids_inside(ctx, "expert", ids, rows * k, row.experts, false)) return;
  each_row(ctx, rows, experts, kTaskElements, [=](size_t r) {
    const size_t at = r * experts;
    float mean = 0.0f;
    for (size_t l = 0; l < k; l++) mean += dp[r * k + l] * p[r * k + l];
    if (whole) {
      const Vec factor = Vec::set((dlse == nullptr ? 0.0f : dlse[r]) - (row.normalize == 0 ? mean : 0.0f));
      const Vec shift = Vec::set(lse[r]);
      each_vec(experts, [&](size_t i, auto lanes) {
        const Vec d = factor * exp(lanes.load(x + at + i) - shift);
        lanes.store(add == nullptr ? d : d + lanes.load(add + at + i), dx + at + i);
      });
    } else if (add == nullptr) {
      each_vec(experts, [&](size_t i, auto lanes) { lanes.store(Vec::zero(), dx + at + i); });
    } else {
      row_copy(add + at, dx + at, experts);
    }
    for (size_t l = 0; l < k; l++) {
      const size_t choice = r * k + l;
      dx[at + static_cast<size_t>(ids[choice])] += p[choice] * (dp[choice] - (row.normalize == 0 ? 0.0f : mean));
    }
  });
}

// A counting sort whose blocks of rows count and then place for themselves: within a group, blocks follow each other
// in their order, so the result is the same as from one block.
void route_sort(Context& ctx, const RouteSortRow& row) {
  const size_t rows = row.rows, k = row.k, groups = row.groups;
  const int32_t* ids = ctx.i32(row.ids);
  int32_t *offsets = ctx.i32(row.offsets), *source = ctx.i32(row.source), *position = ctx.i32(row.position);
  if (!ids_inside(ctx, "expert", ids, rows * k, row.groups, false)) return;
  // Choices a block: enough to outweigh its counts.
  const size_t block = ceil_div(max_size(4096, 4 * groups), max_size(k, 1));
  const size_t blocks = ceil_div(rows, block);
  auto* counts = static_cast<int32_t*>(ctx.scratch(max_size(blocks * groups, 1) * sizeof(int32_t)));
  if (counts == nullptr) return;
  parallel(ctx, static_cast<uint32_t>(blocks), [&](uint32_t task, uint32_t) {
    int32_t* own = counts + task * groups;
    std::memset(own, 0, groups * sizeof(int32_t));
    const size_t end = min_size((task + size_t{1}) * block, rows) * k;
    for (size_t i = task * block * k; i < end; i++) own[ids[i]]++;
  });
  int32_t total = 0;
  for (size_t g = 0; g < groups; g++) {
    offsets[g] = total;
    for (size_t b = 0; b < blocks; b++) {
      const int32_t count = counts[b * groups + g];
      counts[b * groups + g] = total;
      total += count;
    }
  }
  offsets[groups] = total;
  parallel(ctx, static_cast<uint32_t>(blocks), [&](uint32_t task, uint32_t) {
    int32_t* next = counts + task * groups;
    const size_t end = min_size((task + size_t{1}) * block, rows);
    for (size_t r = task * block; r < end; r++) {
      for (size_t c = r * k; c < (r + 1) * k; c++) {
        const int32_t place = next[ids[c]]++;
        source[place] = static_cast<int32_t>(r);
        position[c] = place;
      }
    }
  });
}

void combine_rows(Context& ctx, const CombineRowsRow& row) {
  const size_t rows = row.rows, k = row.k, cols = row.cols;
  const float* x = ctx.f32(row.x);
  const float* p = row.p.present() ? ctx.f32(row.p) : nullptr;
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  const int32_t* position = ctx.i32(row.position);
  float* y = ctx.f32(row.y);
  if (!ids_inside(ctx, "position", position, rows * k, row.rows * row.k, false)) return;
  each_row(ctx, rows, cols * (k + 1), 2 * kTaskElements, [=](size_t r) {
    const int32_t* from = position + r * k;
    each_vec(cols, [&](size_t i, auto lanes) {
      Vec total = add == nullptr ? Vec::zero() : lanes.load(add + r * cols + i);
      for (size_t c = 0; c < k; c++) {
        const Vec v = lanes.load(x + static_cast<size_t>(from[c]) * cols + i);
        total = p == nullptr ? total + v : fma(Vec::set(p[r * k + c]), v, total);
      }
      lanes.store(total, y + r * cols + i);
    });
  });
}

void combine_rows_backward(Context& ctx, const CombineRowsBackwardRow& row) {
  const size_t rows = row.rows, k = row.k, cols = row.cols;
  const float *dy = ctx.f32(row.dy), *x = ctx.f32(row.x), *p = ctx.f32(row.p);
  const int32_t* position = ctx.i32(row.position);
  float *dx = ctx.f32(row.dx), *dp = ctx.f32(row.dp);
  if (!ids_inside(ctx, "position", position, rows * k, row.rows * row.k, false)) return;
  each_row(ctx, rows, cols * (2 * k + 1), 2 * kTaskElements, [=](size_t r) {
    const float* d = dy + r * cols;
    for (size_t c = r * k; c < (r + 1) * k; c++) {
      const size_t at = static_cast<size_t>(position[c]) * cols;
      const Vec weight = Vec::set(p[c]);
      Vec dot = Vec::zero();
      each_vec(cols, [&](size_t i, auto lanes) {
        const Vec v = lanes.load(d + i);
        dot = fma(v, lanes.load(x + at + i), dot);
        lanes.store(weight * v, dx + at + i);
      });
      dp[c] = sum(dot);
    }
  });
}

// One pass: a row leaves its probabilities in dx, adds them to the sum of its block, and comes back for its gradient
//   dx[e] = p[e] (balance experts / rows (f[e] - <f, p>) + z 2 / rows lse).
void router_losses(Context& ctx, const RouterLossesRow& row) {
  const size_t rows = row.rows, experts = row.experts;
  const float *x = ctx.f32(row.x), *lse = ctx.f32(row.lse);
  const int32_t* offsets = ctx.i32(row.offsets);
  float *y = ctx.f32(row.y), *gradient = row.dx.present() ? ctx.f32(row.dx) : nullptr;
  const size_t per_task = max_size(1, kTaskElements / max_size(experts, 1)), blocks = ceil_div(rows, per_task);
  // A block's sums: probabilities, then squares of lse. Behind them room for a row of each block.
  const size_t stride = round_up(experts + 1, 16);
  auto* partial = static_cast<float*>(ctx.scratch(max_size(2 * blocks * stride, 1) * sizeof(float)));
  if (partial == nullptr) return;
  const auto total = static_cast<float>(offsets[experts] - offsets[0]);
  for (size_t e = 0; e < experts; e++) {
    y[e] = total == 0.0f ? 0.0f : static_cast<float>(offsets[e + 1] - offsets[e]) / total;
  }
  const float balance = row.balance * static_cast<float>(experts) / static_cast<float>(rows);
  const float z = row.z * 2.0f / static_cast<float>(rows);
  parallel(ctx, static_cast<uint32_t>(blocks), [&](uint32_t task, uint32_t) {
    float *sums = partial + task * stride, *space = partial + (blocks + task) * stride;
    each_vec(experts, [&](size_t i, auto lanes) { lanes.store(Vec::zero(), sums + i); });
    float squares = 0.0f;
    for (size_t r = task * per_task; r < min_size(rows, (task + size_t{1}) * per_task); r++) {
      const float* from = x + r * experts;
      float* p = gradient == nullptr ? space : gradient + r * experts;
      const Vec shift = Vec::set(lse[r]);
      Vec mean = Vec::zero();
      each_vec(experts, [&](size_t i, auto lanes) {
        const Vec value = exp(lanes.load(from + i) - shift);
        lanes.store(value, p + i);
        lanes.store(lanes.load(sums + i) + value, sums + i);
        mean = fma(lanes.load(y + i), lanes.load(p + i), mean);
      });
      squares += lse[r] * lse[r];
      if (gradient == nullptr) continue;
      const Vec factor = Vec::set(balance), rest = Vec::set(z * lse[r] - balance * sum(mean));
      each_vec(experts, [&](size_t i, auto lanes) {
        lanes.store(lanes.load(p + i) * fma(factor, lanes.load(y + i), rest), p + i);
      });
    }
    sums[experts] = squares;
  });
  const double each = rows == 0 ? 0.0 : 1.0 / static_cast<double>(rows);
  double even = 0, squares = 0;
  for (size_t e = 0; e < experts; e++) {
    double probability = 0;
    for (size_t b = 0; b < blocks; b++) probability += partial[b * stride + e];
    even += static_cast<double>(y[e]) * probability * each;
  }
  for (size_t b = 0; b < blocks; b++) squares += partial[b * stride + experts];
  y[experts] = static_cast<float>(static_cast<double>(experts) * even);
  y[experts + 1] = static_cast<float>(squares * each);
}

void router_bias(Context& ctx, const RouterBiasRow& row) {
  const int64_t experts = row.experts;
  const int32_t* offsets = ctx.i32(row.offsets);
  float* bias = ctx.f32(row.bias);
  const int64_t total = int64_t{offsets[experts]} - offsets[0];
  for (int64_t e = 0; e < experts; e++) {
    const int64_t missing = total - experts * (int64_t{offsets[e + 1]} - offsets[e]);
    if (missing != 0) bias[e] += missing > 0 ? row.rate : -row.rate;
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
