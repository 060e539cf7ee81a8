// Routing of mixture layers: the k largest of a row's softmax, the choices sorted by expert, and the weighted sum of
// what comes back. A team of threads owns a row; the sort is stable, so choices of one expert stay in their order.
#include <cub/device/device_radix_sort.cuh>

#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

__global__ void raise_kernel(Fault fault, ErrorCode code, int32_t value, uint32_t extra) {
  if (!fault.stopped()) fault.raise(code, value, extra);
}

// A logit as the choice sees it: NaN counts as minus infinity.
__device__ inline float score_of(const float* x, const float* bias, uint32_t e) {
  const float v = bias == nullptr ? x[e] : __fadd_rn(x[e], bias[e]);
  return isnan(v) ? -INFINITY : v;
}

// k rounds; each takes the best expert behind the one before it, in the order of score, then of number.
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
      const float v = score_of(row, bias, e);
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
  for (uint32_t e = lane; e < experts; e += 32) {
    const float d = whole ? factor * expf(x[at + e] - lse[r]) : 0.0f;
    dx[at + e] = add == nullptr ? d : d + add[at + e];
  }
  __syncwarp();
  for (uint32_t c = lane; c < k; c += 32) {
    const int32_t id = ids[r * k + c];
    if (static_cast<uint32_t>(id) >= experts) {
      fault.raise(kIdOutside, id, experts);
      continue;
    }
    dx[at + id] += p[r * k + c] * (dp[r * k + c] - (normalize ? mean : 0.0f));
  }
}

__global__ void __launch_bounds__(kThreads)
    route_key_kernel(Fault fault, const int32_t* ids, size_t n, uint32_t groups, uint32_t* keys, uint32_t* order) {
  if (fault.stopped()) return;
  for (size_t i = flat_index(); i < n; i += flat_stride()) {
    const bool outside = static_cast<uint32_t>(ids[i]) >= groups;
    if (outside) fault.raise(kIdOutside, ids[i], groups);
    keys[i] = outside ? groups : static_cast<uint32_t>(ids[i]);
    order[i] = static_cast<uint32_t>(i);
  }
}

__global__ void __launch_bounds__(kThreads)
    route_place_kernel(Fault fault, const uint32_t* keys, const uint32_t* order, size_t n, uint32_t k, uint32_t groups,
                       int32_t* offsets, int32_t* source, int32_t* position) {
  if (fault.failed()) return;
  for (size_t i = flat_index(); i < n; i += flat_stride()) {
    source[i] = static_cast<int32_t>(order[i] / k);
    position[order[i]] = static_cast<int32_t>(i);
  }
  for (size_t g = flat_index(); g <= groups; g += flat_stride()) {
    size_t low = 0, high = n;  // the first place whose key is not below g
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (keys[middle] < g)
        low = middle + 1;
      else
        high = middle;
    }
    offsets[g] = static_cast<int32_t>(low);
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

// A row's probabilities and the square of its lse to scratch, for the sums over rows, and its gradient.
__global__ void __launch_bounds__(kThreads)
    router_row_kernel(Fault fault, const float* x, const float* lse, const int32_t* offsets, float* p, float* squares,
                      float* dx, uint32_t rows, uint32_t experts, float balance, float z) {
  if (fault.failed()) return;
  const size_t r = Team<32>::row();
  if (r >= rows) return;
  const auto total = static_cast<float>(offsets[experts] - offsets[0]);
  const auto load = [&](uint32_t e) {
    return total == 0.0f ? 0.0f : static_cast<float>(offsets[e + 1] - offsets[e]) / total;
  };
  const size_t at = r * experts;
  float mean = 0;
  for (uint32_t e = Team<32>::lane(); e < experts; e += 32) {
    p[at + e] = expf(x[at + e] - lse[r]);
    mean = fmaf(load(e), p[at + e], mean);
  }
  mean = warp_sum(mean);
  if (Team<32>::lane() == 0) squares[r] = lse[r] * lse[r];
  if (dx == nullptr) return;
  const float rest = z * lse[r] - balance * mean;
  for (uint32_t e = Team<32>::lane(); e < experts; e += 32) dx[at + e] = p[at + e] * fmaf(balance, load(e), rest);
}

// From the means over rows: probabilities, and at y[experts + 1] already the squares.
__global__ void __launch_bounds__(kThreads)
    router_finish_kernel(Fault fault, const int32_t* offsets, const float* probability, float* y, uint32_t experts) {
  if (fault.failed()) return;
  const auto total = static_cast<float>(offsets[experts] - offsets[0]);
  float even = 0;
  for (uint32_t e = threadIdx.x; e < experts; e += kThreads) {
    const float load = total == 0.0f ? 0.0f : static_cast<float>(offsets[e + 1] - offsets[e]) / total;
    y[e] = load;
    even = fmaf(load, probability[e], even);
  }
  even = block_sum<kThreads>(even);
  if (threadIdx.x == 0) y[experts] = static_cast<float>(experts) * even;
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
  launch(l, topk_softmax_kernel, Team<32>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.optional(row.bias),
         l.f32(row.p), l.i32(row.ids), l.optional(row.lse), row.rows, row.experts, row.k, row.normalize != 0);
}

void topk_softmax_backward(Launch& l, const TopkSoftmaxBackwardRow& row) {
  if ((row.dlse.present() || row.normalize == 0) && !row.lse.present()) {
    return launch(l, raise_kernel, 1, 1, 0, l.fault(), kNoLse, 0, 0u);
  }
  launch(l, topk_softmax_backward_kernel, Team<32>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.dp),
         l.optional(row.dlse), l.f32(row.x), l.f32(row.p), l.i32(row.ids), l.optional(row.lse), l.optional(row.add),
         l.f32(row.dx), row.rows, row.experts, row.k, row.normalize != 0);
}

void route_sort(Launch& l, const RouteSortRow& row) {
  const size_t n = static_cast<size_t>(row.rows) * row.k, bytes = n * sizeof(uint32_t);
  auto* keys = static_cast<uint32_t*>(l.scratch(bytes));
  auto* order = static_cast<uint32_t*>(l.scratch(bytes));
  auto* sorted_keys = static_cast<uint32_t*>(l.scratch(bytes));
  auto* sorted_order = static_cast<uint32_t*>(l.scratch(bytes));
  int bits = 1;
  while (bits < 32 && row.groups >> bits != 0) bits++;
  size_t temporary = 0;
  cub::DeviceRadixSort::SortPairs(nullptr, temporary, keys, sorted_keys, order, sorted_order, n, 0, bits, l.stream);
  void* space = l.scratch(temporary);
  launch(l, route_key_kernel, flat_grid(l, n), kThreads, 0, l.fault(), l.i32(row.ids), n, row.groups, keys, order);
  if (!l.dry && n > 0)
    cub::DeviceRadixSort::SortPairs(space, temporary, keys, sorted_keys, order, sorted_order, n, 0, bits, l.stream);
  launch(l, route_place_kernel, flat_grid(l, n > row.groups ? n : size_t{row.groups} + 1), kThreads, 0, l.fault(),
         sorted_keys, sorted_order, n, row.k, row.groups, l.i32(row.offsets), l.i32(row.source), l.i32(row.position));
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
  const size_t rows = row.rows, experts = row.experts;
  auto* p = static_cast<float*>(l.scratch(rows * experts * sizeof(float)));
  auto* squares = static_cast<float*>(l.scratch(rows * sizeof(float)));
  auto* probability = static_cast<float*>(l.scratch(experts * sizeof(float)));
  const float each = rows == 0 ? 0.0f : 1.0f / static_cast<float>(rows);
  float *y = l.f32(row.y), *dx = l.optional(row.dx);
  launch(l, router_row_kernel, Team<32>::grid(rows), kThreads, 0, l.fault(), l.f32(row.x), l.f32(row.lse),
         l.i32(row.offsets), p, squares, dx, row.rows, row.experts, row.balance * each * static_cast<float>(experts),
         row.z * 2 * each);
  sum_axis(l, p, 1, rows, experts, each, nullptr, probability);
  sum_axis(l, squares, 1, rows, 1, each, nullptr, y + experts + 1);
  launch(l, router_finish_kernel, 1, kThreads, 0, l.fault(), l.i32(row.offsets), probability, y, row.experts);
}

void router_bias(Launch& l, const RouterBiasRow& row) {
  launch(l, router_bias_kernel, flat_grid(l, row.experts), kThreads, 0, l.fault(), l.i32(row.offsets), l.f32(row.bias),
         row.experts, row.rate);
}

}  // namespace sweetspot::cuda
