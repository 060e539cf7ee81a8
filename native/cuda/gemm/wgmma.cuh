// The products of bf16 factors on sm_90a. A block stays on its multiprocessor and computes one tile of the result after
// the other. One of its warpgroups, down to a single thread, has the copy engine fill a ring of stages in shared
// memory; the other two multiply, 64 rows of the tile each, their sums in registers. Both sides run through the same
// list of tiles, so the first stages of the next tile are filled while this one is stored.
//
// Each stage has two barriers: `full` ends a phase when all its bytes have come, `empty` when all warps that multiply
// are done with them.
#pragma once
#include "cuda/gemm/product.cuh"
#include "cuda/gemm/wgmma_store.cuh"
#include "cuda/ptx.cuh"

namespace sweetspot::cuda {

constexpr int kWgmmaDepth = 64;  // k a stage: lines of 128 bytes
constexpr int kConsumers = 2;    // warpgroups
constexpr int kWgmmaThreads = 128 * (kConsumers + 1);
// Each of 384 threads begins with 168. One that multiplies holds 128 sums and needs more; three groups share as many.
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;

template <int Columns>
struct WgmmaShape {
  static constexpr int kM = 64 * kConsumers, kN = Columns;
  static constexpr int kBytesA = kM * kWgmmaDepth * 2, kBytesB = kN * kWgmmaDepth * 2;
  static constexpr int kStage = kBytesA + kBytesB;
  static constexpr int kStages = 192 * 1024 / kStage;
  static constexpr int kTurns = kStages * kStage, kBarriers = kTurns + 4 * kConsumers * kTurnBytes;
  static constexpr int kShared = kBarriers + 2 * kStages * static_cast<int>(sizeof(MemoryBarrier));
  // Tiles above each other that are computed before those to the right: those at work at a time then cover about as
  // many rows of A as columns of B, which keeps both in the cache.
  static constexpr uint32_t kBand = Columns == 256 ? 16 : 12;
};

// One tile of the result, or of one part of it when K is split.
struct WgmmaTile {
  uint32_t row, end, col;   // rows up to `end` are this tile's
  uint32_t entry, b_entry;  // of C and A, and of B
  uint32_t part;            // of K
  uint32_t k, depth;        // from where on, and how many
  // A group without rows takes one step in which all is cleared.
  __device__ uint32_t steps() const { return max(1u, ceil_div(depth, kWgmmaDepth)); }
};

__host__ __device__ inline uint32_t wgmma_rows_of_tiles(const Product& p, uint32_t rows) {
  return p.group_tiles != nullptr ? p.group_tile_count : ceil_div(p.m, rows);
}

// Tile `index` of all; false when it has nothing to compute.
template <class Shape>
__device__ inline bool find_tile(const Product& p, const Split& split, uint32_t index, WgmmaTile& t) {
  const uint32_t high = wgmma_rows_of_tiles(p, Shape::kM), wide = ceil_div(p.n, Shape::kN);
  const uint32_t layer = index / (high * wide), within = index % (high * wide);
  const uint32_t above = within / (Shape::kBand * wide) * Shape::kBand, in_band = within % (Shape::kBand * wide);
  const uint32_t band = min(high - above, Shape::kBand);
  const uint32_t i = above + in_band % band;
  t.entry = t.b_entry = layer / split.splits;
  t.part = layer % split.splits;
  t.row = i * Shape::kM;
  t.end = p.m;
  t.col = in_band / band * Shape::kN;
  t.k = t.part * split.depth;
  t.depth = split.splits > 1 ? min(p.k - t.k, split.depth) : p.k;
  if (p.group_tiles != nullptr) {
    const GroupTile tile = p.group_tiles[i];
    t.row = tile.first;
    t.end = tile.first + tile.rows;
    t.b_entry = tile.group;
    return tile.rows > 0;
  }
  if (p.offsets != nullptr) {
    if (p.count != nullptr && t.entry >= static_cast<uint32_t>(*p.count)) return false;
    const uint32_t first = static_cast<uint32_t>(p.offsets[t.entry]), rows = p.offsets[t.entry + 1] - first;
    const uint32_t depth = ceil_div(rows, split.splits * kWgmmaDepth) * kWgmmaDepth;
    const uint32_t begin = min(rows, t.part * depth);
    t.k = first + begin;
    t.depth = min(rows - begin, depth);
  }
  return true;
}

// The block's next tile with something to compute, from `index` on.
template <class Shape>
__device__ inline bool next_tile(const Product& p, const Split& split, uint32_t tiles, uint32_t& index, WgmmaTile& t) {
  for (; index < tiles; index += gridDim.x)
    if (find_tile<Shape>(p, split, index, t)) {
      index += gridDim.x;
      return true;
    }
  return false;
}

// Rows (or columns of B) `row` on and k `k` on of a factor: one box where k lies next to k, else one for 64 rows each.
template <bool KMajor, int Rows>
__device__ inline void fetch_factor(uint8_t* stage, const CUtensorMap* map, uint32_t row, uint32_t k, uint32_t entry,
                                    MemoryBarrier* full) {
  if constexpr (KMajor) {
    copy_box(stage, map, static_cast<int>(k), static_cast<int>(row), static_cast<int>(entry), full);
  } else {
#pragma unroll
    for (int i = 0; i < Rows / 64; i++)
      copy_box(stage + i * 64 * kWgmmaDepth * 2, map, static_cast<int>(row) + 64 * i, static_cast<int>(k),
               static_cast<int>(entry), full);
  }
}

__device__ inline WgmmaTarget find_target(const Product& p, const Split& split, const WgmmaTile& t) {
  if (split.splits == 1) return {p.c, t.entry * p.stride_c, p.ldc, t.entry, p.bias, p.add, p.alpha};
  const uint32_t layer = t.entry * split.splits + t.part;
  return {{split.sums, nullptr},
          static_cast<size_t>(layer) * p.m * split.pitch,
          split.pitch,
          layer,
          nullptr,
          nullptr,
          1.0f};
}

// Lines of a stage from `depth` on, which belong to the next group, become zeros: those of A that this warpgroup reads
// and all of B, which the other warpgroup also does, with the same zeros.
template <int Boxes>
__device__ inline void clear_lines(uint8_t* boxes, uint32_t depth) {
  const uint32_t pieces = (kWgmmaDepth - depth) * 8;  // of 16 bytes
#pragma unroll
  for (int i = 0; i < Boxes; i++)
    for (uint32_t piece = threadIdx.x % 128; piece < pieces; piece += 128)
      *reinterpret_cast<uint4*>(boxes + i * kWgmmaDepth * 128 + depth * 128 + piece * 16) = {0, 0, 0, 0};
}

// The ring of stages, as one side goes around it.
template <class Shape>
struct WgmmaStages {
  uint8_t* memory;
  MemoryBarrier* full;
  MemoryBarrier* empty;
  uint32_t stage = 0, parity = 0;  // the next one, and the phase that it is in

  __device__ explicit WgmmaStages(uint8_t* shared)
      : memory(shared),
        full(reinterpret_cast<MemoryBarrier*>(shared + Shape::kBarriers)),
        empty(full + Shape::kStages) {}
  __device__ void init() {
    for (int i = 0; i < Shape::kStages; i++) {
      full[i].init(1);
      empty[i].init(4 * kConsumers);
    }
    fence_barrier_init();
  }
  __device__ uint8_t* a() const { return memory + stage * Shape::kStage; }
  __device__ uint8_t* b() const { return a() + Shape::kBytesA; }
  __device__ void next() {
    if (++stage < Shape::kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// One thread.
template <class Shape, bool KMajorA, bool KMajorB>
__device__ inline void fetch_tiles(WgmmaStages<Shape> ring, const CUtensorMap* map_a, const CUtensorMap* map_b,
                                   const Product& p, const Split& split, uint32_t tiles) {
  WgmmaTile t;
  uint32_t index = blockIdx.x;
  while (next_tile<Shape>(p, split, tiles, index, t)) {
    const uint32_t a_entry = p.stride_a == 0 ? 0 : t.entry, b_entry = p.stride_b == 0 ? 0 : t.b_entry;
    const uint32_t steps = t.steps();
    for (uint32_t step = 0; step < steps; step++, ring.next()) {
      MemoryBarrier* full = &ring.full[ring.stage];
      ring.empty[ring.stage].wait(ring.parity ^ 1);
      full->arrive_expecting(Shape::kStage);
      const uint32_t k = t.k + step * kWgmmaDepth;
      fetch_factor<KMajorA, Shape::kM>(ring.a(), map_a, t.row, k, a_entry, full);
      fetch_factor<KMajorB, Shape::kN>(ring.b(), map_b, t.col, k, b_entry, full);
    }
  }
}

// A warpgroup, number `group` of kConsumers.
template <class Shape, bool KMajorA, bool KMajorB>
__device__ inline void multiply_tiles(WgmmaStages<Shape> ring, uint32_t group, const WgmmaOutput& output,
                                      const Product& p, const Split& split, uint32_t tiles) {
  constexpr uint32_t kBox = 64 * kWgmmaDepth * 2, kNextA = KMajorA ? 16 : kBox, kNextB = KMajorB ? 16 : kBox;
  constexpr uint32_t kAdvanceA = (KMajorA ? 32 : 2048) >> 4, kAdvanceB = (KMajorB ? 32 : 2048) >> 4;
  const uint32_t warp = threadIdx.x / 32 % 4;
  const bool speaks = threadIdx.x % 32 == 0;
  uint8_t* turn = ring.memory + Shape::kTurns + (4 * group + warp) * kTurnBytes;
  float sum[Shape::kN / 2];
  WgmmaTile next;
  uint32_t index = blockIdx.x;
  for (bool more = next_tile<Shape>(p, split, tiles, index, next); more;) {
    const WgmmaTile t = next;
    const uint32_t steps = t.steps();
    MemoryBarrier* before = nullptr;  // of the stage of the step before
#pragma unroll 1
    for (uint32_t step = 0; step < steps; step++, ring.next()) {
      ring.full[ring.stage].wait(ring.parity);
      uint8_t* a = ring.a() + group * kBox;
      if constexpr (!KMajorA && !KMajorB) {
        const uint32_t left = t.depth - step * kWgmmaDepth;
        if (p.offsets != nullptr && left < kWgmmaDepth) {
          clear_lines<1>(a, left);
          clear_lines<Shape::kN / 64>(ring.b(), left);
          fence_async();
          named_barrier(1 + group, 128);
        }
      }
      const uint64_t left = matrix_descriptor(shared_address(a), kNextA);
      const uint64_t right = matrix_descriptor(shared_address(ring.b()), kNextB);
      wgmma_begin();
#pragma unroll
      for (int k = 0; k < kWgmmaDepth / 16; k++)
        wgmma<Shape::kN, !KMajorA, !KMajorB>(sum, left + k * kAdvanceA, right + k * kAdvanceB, step + k > 0);
      wgmma_commit();
      // This step stays at work while the stage of the one before is given back.
      wgmma_wait<1>();
      if (step > 0 && speaks) before->arrive();
      before = &ring.empty[ring.stage];
    }
    // Takes some divisions, while the last step is at work.
    more = next_tile<Shape>(p, split, tiles, index, next);
    wgmma_wait<0>();
    wgmma_finish(sum);
    if (speaks) before->arrive();
    store_sums<Shape::kN>(turn, sum, output, find_target(p, split, t), t.row + 64 * group + 16 * warp, t.end, p.m,
                          t.col, p.n);
  }
  if (speaks) store_box_wait<0>();
}

template <class Shape, bool KMajorA, bool KMajorB>
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    wgmma_kernel(Fault fault, const __grid_constant__ CUtensorMap map_a, const __grid_constant__ CUtensorMap map_b,
                 const __grid_constant__ WgmmaOutput output, const __grid_constant__ Product p,
                 const __grid_constant__ Split split, uint32_t tiles) {
  // Code for other devices is never launched and need not be long.
  if (!compiled_for_sm90a() || fault.failed()) return;
  WgmmaStages<Shape> ring(dynamic_shared());
  if (threadIdx.x == 0) {
    prefetch_map(&map_a);
    prefetch_map(&map_b);
    ring.init();
  }
  __syncthreads();
  // From one lane, so that the compiler sees that a warp agrees.
  const uint32_t group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == 0) {
    give_registers<kProducerRegisters>();
    if (threadIdx.x == 0) fetch_tiles<Shape, KMajorA, KMajorB>(ring, &map_a, &map_b, p, split, tiles);
  } else {
    take_registers<kConsumerRegisters>();
    multiply_tiles<Shape, KMajorA, KMajorB>(ring, group - 1, output, p, split, tiles);
  }
}

// wgmma.cu. Multiplies p when the device is of the kind, its factors lie as the copy engine wants them and they are
// large enough for it to pay; else returns false and does nothing. The answer follows from shapes and layouts.
bool multiply_wgmma(Launch& l, const Product& p);

}  // namespace sweetspot::cuda
