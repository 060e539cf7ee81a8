// Routing of mixture layers: the k largest of a row's softmax, the weighted sum of what comes back from the experts,
// and the losses that keep them busy. A team of threads owns a row. The sort between the two is in route_sort.cu.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

__global__ void raise_kernel(Fault fault, ErrorCode code, int32_t value, uint32_t extra) {
  if (!fault.stopped()) fault.raise(code, value, extra);
}

// A logit as the choice sees it: NaN counts as minus infinity.
__device__ inline float score_of(float x, const float* bias) {
  const float v = bias == nullptr ? x : __fadd_rn(x, *bias);
  return isnan(v) ? -INFINITY : v;
}

// A score as a number whose order is that of scores; zeros are one score. 0 is below all of them.
__device__ inline uint32_t rank_of(float score) {
  const uint32_t word = score == 0.0f ? 0u : __float_as_uint(score);
  return (word & 0x80000000u) != 0 ? ~word : word | 0x80000000u;
}

// Up to 32 E experts, of which a lane keeps every 32nd in registers, and up to 32 choices, one a lane.
template <int E>
__global__ void __launch_bounds__(kThreads)
    topk_registers_kernel(Fault fault, const float* x, const float* bias, float* p, int32_t* ids, float* lse,
                          uint32_t rows, uint32_t experts, uint32_t k, bool normalize) {
  if (fault.failed()) return;
  const size_t r = Team<32>::row();
  if (r >= rows) return;
  const uint32_t lane = Team<32>::lane();
  const float* row = x + r * experts;
  float logit[E];
  uint32_t rank[E];
#pragma unroll
  for (uint32_t i = 0; i < E; i++) {
    const uint32_t e = lane + 32 * i;
    logit[i] = e < experts ? row[e] : -INFINITY;
  }
  float most = -INFINITY;
#pragma unroll
  for (uint32_t i = 0; i < E; i++) {
    const uint32_t e = lane + 32 * i;
    rank[i] = e < experts ? rank_of(score_of(logit[i], bias == nullptr ? nullptr : bias + e)) : 0u;
    most = fmaxf(most, logit[i]);
  }
  most = warp_max(most);
  float sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < E; i++)
    if (lane + 32 * i < experts) sum += expf(logit[i] - most);
  sum = warp_sum(sum);
  // Choice number `lane`.
  float own = -INFINITY;
  uint32_t own_id = 0;
  for (uint32_t c = 0; c < k; c++) {
    uint32_t best = rank[0], first = 0xffffffffu;
#pragma unroll
    for (uint32_t i = 1; i < E; i++) best = max(best, rank[i]);
    best = __reduce_max_sync(0xffffffffu, best);
#pragma unroll
    for (uint32_t i = 0; i < E; i++)
      if (rank[i] == best) first = min(first, lane + 32 * i);
    const uint32_t winner = __reduce_min_sync(0xffffffffu, first);
    float value = 0;
#pragma unroll
    for (uint32_t i = 0; i < E; i++)
      if (winner == lane + 32 * i) value = logit[i], rank[i] = 0;
    value = __shfl_sync(0xffffffffu, value, static_cast<int>(winner % 32));
    if (lane == c) own = value, own_id = winner;
  }
  if (lse != nullptr && lane == 0) lse[r] = most + logf(sum);
  const bool chosen = lane < k;
  float shift = most, total = sum;
  if (normalize) {
    shift = warp_max(own);
    total = warp_sum(chosen ? expf(own - shift) : 0.0f);
    if (isnan(sum)) total = NAN;
  }
  if (!chosen) return;
  ids[r * k + lane] = static_cast<int32_t>(own_id);
  p[r * k + lane] = expf(own - shift) / total;
}

// Any number of both: k rounds; each takes the best expert behind the one before it, in the order of score, then of
// number.
__global__ void __launch_bounds__(kThreads)
    topk_softmax_kernel(Fault fault, const float* x, const float* bias, float* p, int32_t* ids, float* lse,
                        uint32_t rows, uint32_t experts, uint32_t k, bool normalize) {
  if (fault.failed()) return;
  const size_t r = Team<32>::row();
  if (r >= rows) return;
  const uint32_t lane = Team<32>::lane();
  const float* row = x + r * experts;
  float most = -INFINITY;
  for (uint32_t e = lane; e < experts; e += 32) most = fmaxf(most, row[e]);
  most = warp_max(most);
  float sum = 0;
  for (uint32_t e = lane; e < experts; e += 32) sum += expf(row[e] - most);
  sum = warp_sum(sum);
  if (lse != nullptr && lane == 0) lse[r] = most + logf(sum);
  float last = INFINITY, chosen_most = -INFINITY;
  int64_t last_id = -1;
  for (uint32_t c = 0; c < k; c++) {
    float best = -INFINITY;
    uint32_t winner = 0xffffffffu;
    for (uint32_t e = lane; e < experts; e += 32) {
      const float v = score_of(row[e], bias == nullptr ? nullptr : bias + e);
      const bool behind = v < last || (v == last && e > last_id);
      if (behind && (winner == 0xffffffffu || v > best)) best = v, winner = e;
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, best, step);
      const uint32_t id = __shfl_xor_sync(0xffffffffu, winner, step);
      if (id != 0xffffffffu && (winner == 0xffffffffu || other > best || (other == best && id < winner)))
        best = other, winner = id;
    }
    last = best, last_id = winner;
    chosen_most = fmaxf(chosen_most, row[winner]);
    if (lane == 0) ids[r * k + c] = static_cast<int32_t>(winner);
  }
  // Every lane reads what lane 0 wrote.
  __syncwarp();
  const float shift = normalize ? chosen_most : most;
  float total = sum;
  if (normalize) {
    total = 0;
    for (uint32_t c = lane; c < k; c += 32) total += expf(row[ids[r * k + c]] - shift);
    total = warp_sum(total);
    if (isnan(sum)) total = NAN;
  }
  for (uint32_t c = lane; c < k; c += 32) p[r * k + c] = expf(row[ids[r * k + c]] - shift) / total;
}

__global__ void __launch_bounds__(kThreads)
    topk_softmax_backward_kernel(Fault fault, const float* dp, const float* dlse, const float* x, const float* p,
                                 const int32_t* ids, const float* lse, const float* add, float* dx, uint32_t rows,
                                 uint32_t experts, uint32_t k, bool normalize) {
  if (fault.stopped()) return;
  const size_t r = Team<32>::row();
  if (r >= rows) return;
  const uint32_t lane = Team<32>::lane();
  const size_t at = r * experts;
  float mean = 0;
  for (uint32_t c = lane; c < k; c += 32) mean = fmaf(dp[r * k + c], p[r * k + c], mean);
  mean = warp_sum(mean);
  const bool whole = dlse != nullptr || !normalize;
  const float factor = whole ? (dlse == nullptr ? 0.0f : dlse[r]) - (normalize ? 0.0f : mean) : 0.0f;
  // What choice c adds, and to which expert. Lanes have a choice each, all of them in turn when there are more than 32.
  const auto choice = [&](uint32_t c, int32_t& id, float& d) {
    id = -1, d = 0;
    if (c >= k) return;
    const int32_t found = ids[r * k + c];
    if (static_cast<uint32_t>(found) >= experts) return fault.raise(kIdOutside, found, experts);
    id = found;
    d = p[r * k + c] * (dp[r * k + c] - (normalize ? mean : 0.0f));
  };
  int32_t id;
  float own;
  choice(lane, id, own);
  for (uint32_t first = 0; first < experts; first += 32) {
    const uint32_t e = first + lane;
    float d = 0;
    if (e < experts) {
      d = whole ? factor * expf(x[at + e] - lse[r]) : 0.0f;
      if (add != nullptr) d += add[at + e];
    }
    for (uint32_t c = 0; c < k; c++) {
      if (k > 32 && c % 32 == 0) choice(c + lane, id, own);
      const int32_t to = __shfl_sync(0xffffffffu, id, static_cast<int>(c % 32));
      const float more = __shfl_sync(0xffffffffu, own, static_cast<int>(c % 32));
      if (to == static_cast<int32_t>(e)) d += more;
    }
    if (e < experts) dx[at + e] = d;
  }
}

template <class C>
__global__ void __launch_bounds__(kThreads)
    combine_kernel(Fault fault, const float* x, const float* p, const int32_t* position, const float* add, Out y,
                   size_t rows, uint32_t k, size_t cols) {
  if (fault.stopped()) return;
  constexpr int many = 4;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  for (uint32_t c = 0; c < k; c++) {
    const int32_t from = position[r * k + c];
    if (from < 0 || static_cast<size_t>(from) >= rows * k)
      return fault.raise(kIdOutside, from, static_cast<uint32_t>(rows * k));
  }
  y = y.from(r * cols);
  for (size_t first = C::Members::lane() * C::W; first < cols; first += many * C::step) {
    Pack<C::W> total[many] = {};
    if (add != nullptr)
      each_of<many>(first, C::step, cols, [&](int n, size_t i) { total[n] = load<C::W>(add + r * cols, i); });
    for (uint32_t c = 0; c < k; c++) {
      const float* from = x + position[r * k + c] * cols;
      const float share = p == nullptr ? 1.0f : p[r * k + c];
      each_of<many>(first, C::step, cols, [&](int n, size_t i) {
        total[n] = each([=](float sum, float v) { return fmaf(share, v, sum); }, total[n], load<C::W>(from, i));
      });
    }
    each_of<many>(first, C::step, cols, [&](int n, size_t i) { store(y, i, total[n]); });
  }
}

template <class C>
__global__ void __launch_bounds__(C::Members::threads)
    combine_backward_kernel(Fault fault, const float* dy, const float* x, const float* p, const int32_t* position,
                            Out dx, float* dp, size_t rows, uint32_t k, size_t cols) {
  if (fault.stopped()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const Row<C> d(dy + r * cols, cols);
  for (size_t c = r * k; c < (r + 1) * k; c++) {
    const int32_t place = position[c];
    if (place < 0 || static_cast<size_t>(place) >= rows * k)
      return fault.raise(kIdOutside, place, static_cast<uint32_t>(rows * k));
    const float share = p[c];
    const Row<C> v(x + place * cols, cols);
    const Out to = dx.from(place * cols);
    float dot = 0;
    each_pack<C>(cols, [&](int n, size_t i) {
      const Pack<C::W> a = d.get(n, i), b = v.get(n, i);
#pragma unroll
      for (int j = 0; j < C::W; j++) dot = fmaf(a.at[j], b.at[j], dot);
      store(to, i, each([=](float u) { return share * u; }, a));
    });
    dot = C::Members::sum(dot);
    if (C::Members::lane() == 0) dp[c] = dot;
  }
}

// Sums over the rows of a block, of probabilities and, behind them, of lse^2; and the gradient of each row. Every warp
// has sums of its own until the end: in shared memory, or in `sums` where they do not fit.
__global__ void __launch_bounds__(kThreads)
    router_row_kernel(Fault fault, const float* x, const float* lse, const int32_t* offsets, float* partial,
                      float* sums, float* dx, uint32_t rows, uint32_t rows_each, uint32_t experts, float balance,
                      float z) {
  if (fault.failed()) return;
  constexpr uint32_t warps = kThreads / 32;
  // Sums of each warp, then loads.
  float* own = sums == nullptr ? reinterpret_cast<float*>(dynamic_shared())
                               : sums + static_cast<size_t>(blockIdx.x) * (warps + 1) * experts;
  float* load = own + static_cast<size_t>(warps) * experts;
  const auto total = static_cast<float>(offsets[experts] - offsets[0]);
  for (size_t i = threadIdx.x; i < static_cast<size_t>(warps) * experts; i += kThreads) own[i] = 0;
  for (uint32_t e = threadIdx.x; e < experts; e += kThreads)
    load[e] = total == 0.0f ? 0.0f : static_cast<float>(offsets[e + 1] - offsets[e]) / total;
  __syncthreads();
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* mine = own + static_cast<size_t>(warp) * experts;
  const uint32_t begin = blockIdx.x * rows_each, end = min(begin + rows_each, rows);
  float squares = 0;
  for (uint32_t r = begin + warp; r < end; r += warps) {
    const size_t at = static_cast<size_t>(r) * experts;
    const float log_sum = lse[r];
    float mean = 0;
    for (uint32_t e = lane; e < experts; e += 32) {
      const float p = expf(x[at + e] - log_sum);
      mine[e] += p;
      mean = fmaf(load[e], p, mean);
    }
    squares = fmaf(log_sum, log_sum, squares);
    if (dx == nullptr) continue;
    const float rest = z * log_sum - balance * warp_sum(mean);
    for (uint32_t e = lane; e < experts; e += 32) dx[at + e] = expf(x[at + e] - log_sum) * fmaf(balance, load[e], rest);
  }
  float all = block_sum<kThreads>(lane == 0 ? squares : 0.0f);
  float* to = partial + static_cast<size_t>(blockIdx.x) * (experts + 1);
  if (threadIdx.x == 0) to[experts] = all;
  for (uint32_t e = threadIdx.x; e < experts; e += kThreads) {
    float sum = 0;
    for (uint32_t w = 0; w < warps; w++) sum += own[static_cast<size_t>(w) * experts + e];
    to[e] = sum;
  }
}

// From the means over rows.
__global__ void __launch_bounds__(kThreads)
    router_finish_kernel(Fault fault, const int32_t* offsets, const float* means, float* y, uint32_t experts) {
  if (fault.failed()) return;
  const auto total = static_cast<float>(offsets[experts] - offsets[0]);
  float even = 0;
  for (uint32_t e = threadIdx.x; e < experts; e += kThreads) {
    const float load = total == 0.0f ? 0.0f : static_cast<float>(offsets[e + 1] - offsets[e]) / total;
    y[e] = load;
    even = fmaf(load, means[e], even);
  }
  even = block_sum<kThreads>(even);
  if (threadIdx.x != 0) return;
  y[experts] = static_cast<float>(experts) * even;
  y[experts + 1] = means[experts];
}

__global__ void __launch_bounds__(kThreads)
    router_bias_kernel(Fault fault, const int32_t* offsets, float* bias, uint32_t experts, float rate) {
  if (fault.failed()) return;
  const int64_t total = int64_t{offsets[experts]} - offsets[0];
  for (size_t e = flat_index(); e < experts; e += flat_stride()) {
    const int64_t missing = total - int64_t{experts} * (int64_t{offsets[e + 1]} - offsets[e]);
    if (missing != 0) bias[e] += missing > 0 ? rate : -rate;
  }
}

}  // namespace

void topk_softmax(Launch& l, const TopkSoftmaxRow& row) {
  if (row.k > row.experts) {
    return launch(l, raise_kernel, 1, 1, 0, l.fault(), kTooManyChoices, static_cast<int32_t>(row.k), row.experts);
  }
  const auto run = [&](auto kernel) {
    launch(l, kernel, Team<32>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.optional(row.bias),
           l.f32(row.p), l.i32(row.ids), l.optional(row.lse), row.rows, row.experts, row.k, row.normalize != 0);
  };
  if (row.experts > 256 || row.k > 32)
    run(topk_softmax_kernel);
  else if (row.experts > 128)
    run(topk_registers_kernel<8>);
  else if (row.experts > 64)
    run(topk_registers_kernel<4>);
  else
    run(topk_registers_kernel<2>);
}

void topk_softmax_backward(Launch& l, const TopkSoftmaxBackwardRow& row) {
  if ((row.dlse.present() || row.normalize == 0) && !row.lse.present()) {
    return launch(l, raise_kernel, 1, 1, 0, l.fault(), kNoLse, 0, 0u);
  }
  launch(l, topk_softmax_backward_kernel, Team<32>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.dp),
         l.optional(row.dlse), l.f32(row.x), l.f32(row.p), l.i32(row.ids), l.optional(row.lse), l.optional(row.add),
         l.f32(row.dx), row.rows, row.experts, row.k, row.normalize != 0);
}

void combine_rows(Launch& l, const CombineRowsRow& row) {
  by_width(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, combine_kernel<C>, C::Members::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.optional(row.p),
           l.i32(row.position), l.optional(row.add), l.out(row.y), row.rows, row.k, row.cols);
  });
}

void combine_rows_backward(Launch& l, const CombineRowsBackwardRow& row) {
  by_row<kThreads>(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, combine_backward_kernel<C>, C::Members::grid(row.rows), C::Members::threads, 0, l.fault(), l.f32(row.dy),
           l.f32(row.x), l.f32(row.p), l.i32(row.position), l.out(row.dx), l.f32(row.dp), row.rows, row.k, row.cols);
  });
}

void router_losses(Launch& l, const RouterLossesRow& row) {
  const uint32_t rows = row.rows, experts = row.experts;
  // Up to kDown of reduce.cu, so that their sums are added in one go.
  constexpr uint32_t most_blocks = 512;
  const uint32_t rows_each = rows <= 32 * most_blocks ? 32 : ceil_div(rows, most_blocks);
  const uint32_t blocks = ceil_div(rows, rows_each);
  const size_t bytes = (kThreads / 32 + 1) * size_t{experts} * sizeof(float);
  const bool fits = bytes <= 40 * 1024;
  auto* partial = static_cast<float*>(l.scratch(size_t{blocks} * (experts + 1) * sizeof(float)));
  auto* means = static_cast<float*>(l.scratch((size_t{experts} + 1) * sizeof(float)));
  float* sums = fits ? nullptr : static_cast<float*>(l.scratch(blocks * bytes));
  const float each = rows == 0 ? 0.0f : 1.0f / static_cast<float>(rows);
  launch(l, router_row_kernel, blocks, kThreads, fits ? bytes : 0, l.fault(), l.f32(row.x), l.f32(row.lse),
         l.i32(row.offsets), partial, sums, l.optional(row.dx), rows, rows_each, experts,
         row.balance * each * static_cast<float>(experts), row.z * 2 * each);
  sum_axis(l, partial, 1, blocks, size_t{experts} + 1, each, nullptr, means);
  launch(l, router_finish_kernel, 1, kThreads, 0, l.fault(), l.i32(row.offsets), means, l.f32(row.y), experts);
}

void router_bias(Launch& l, const RouterBiasRow& row) {
  launch(l, router_bias_kernel, flat_grid(l, row.experts), kThreads, 0, l.fault(), l.i32(row.offsets), l.f32(row.bias),
         row.experts, row.rate);
}

}  // namespace sweetspot::cuda
