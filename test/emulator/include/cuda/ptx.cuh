// native/cuda/ptx.cuh for the CPU: the same functions, by what the manual of the instruction set says of them.
#pragma once
#include <cuda.h>
#include <cuda_bf16.h>

#include <ctime>

namespace sweetspot::cuda {

using bf16 = __nv_bfloat16;

// Whatever the device: it must say that it is one.
inline bool compiled_for_sm90a() {
  return true;
}

// Addresses are offsets behind kSharedBase, so that 0 and what lies below are no valid ones.
constexpr uint32_t kSharedBase = 1024;
inline uint32_t shared_address(const void* shared) {
  const auto offset = static_cast<const uint8_t*>(shared) - emulator::shared_memory();
  if (offset < 0 || static_cast<size_t>(offset) > emulator::shared_bytes())
    emulator::fail("an address outside the dynamic shared memory");
  return kSharedBase + static_cast<uint32_t>(offset);
}
inline uint8_t* shared_pointer(uint32_t address, size_t bytes) {
  if (address < kSharedBase || address - kSharedBase + bytes > emulator::shared_bytes())
    emulator::fail("shared address %u is outside the block's %zu bytes", address, emulator::shared_bytes());
  return emulator::shared_memory() + (address - kSharedBase);
}

inline void check_aligned(const char* what, const void* pointer, size_t alignment) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) emulator::fail("%s: %p is not aligned", what, pointer);
}

inline void copy_async(void* shared, const void* global, int bytes, int size) {
  check_aligned("cp.async", shared, size);
  if (bytes > 0) check_aligned("cp.async", global, size);
  if (bytes < 0 || bytes > size) emulator::fail("cp.async of %d bytes", bytes);
  emulator::copies_of_thread().begin([=] {
    std::memcpy(shared, global, bytes);
    std::memset(static_cast<uint8_t*>(shared) + bytes, 0, size - bytes);
  });
}
inline void copy_async_16(void* shared, const void* global, int bytes) {
  copy_async(shared, global, bytes, 16);
}
inline void copy_async_4(void* shared, const void* global, int bytes) {
  copy_async(shared, global, bytes, 4);
}
inline void copy_async_commit() {
  emulator::copies_of_thread().commit();
}
template <int left>
inline void copy_async_wait() {
  emulator::copies_of_thread().finish(left);
}

struct EmulatedMatrices {
  const void* row;
  uint32_t* r;
};
inline void load_matrices(uint32_t (&r)[4], const void* row, bool transposed) {
  check_aligned("ldmatrix", row, 16);
  EmulatedMatrices mine{row, r};
  emulator::meet("ldmatrix", 32, 0xffffffffu, &mine, [&](void* const* slots) {
    const auto element = [&](int matrix, int i, int j) {
      return static_cast<const uint16_t*>(static_cast<EmulatedMatrices*>(slots[8 * matrix + i])->row)[j];
    };
    for (int lane = 0; lane < 32; lane++)
      for (int matrix = 0; matrix < 4; matrix++) {
        const int i = lane / 4, j = lane % 4 * 2;
        const uint32_t low = transposed ? element(matrix, j, i) : element(matrix, i, j);
        const uint32_t high = transposed ? element(matrix, j + 1, i) : element(matrix, i, j + 1);
        static_cast<EmulatedMatrices*>(slots[lane])->r[matrix] = low | high << 16;
      }
  });
}
inline void load_matrices(uint32_t (&r)[4], const void* row) {
  load_matrices(r, row, false);
}
inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  load_matrices(r, row, true);
}

inline uint32_t round_tf32(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0xffffe000u | ((bits & 0x1fffu) != 0 ? 0x00400000u : 0);
  return (bits + 0x1000u) & 0xffffe000u;
}

inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

// A warp's product of K values a lane brings; pairs of 16 bits when Pairs.
struct EmulatedMma {
  float* c;
  const uint32_t *a, *b;
};
template <bool Pairs>
inline void emulate_mma(const char* what, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  EmulatedMma mine{c, a, b};
  emulator::meet(what, 32, 0xffffffffu, &mine, [](void* const* slots) {
    constexpr int K = Pairs ? 16 : 8;
    float left[16][K], right[8][K];
    const auto put = [](float* row, int half, int t, uint32_t value) {
      if constexpr (Pairs) {
        row[8 * half + 2 * t] = std::bit_cast<float>(value << 16);
        row[8 * half + 2 * t + 1] = std::bit_cast<float>(value & 0xffff0000u);
      } else {
        row[4 * half + t] = std::bit_cast<float>(value & 0xffffe000u);
      }
    };
    for (int lane = 0; lane < 32; lane++) {
      const auto& from = *static_cast<EmulatedMma*>(slots[lane]);
      const int g = lane / 4, t = lane % 4;
      for (int half = 0; half < 2; half++) {
        put(left[g], half, t, from.a[2 * half]);
        put(left[g + 8], half, t, from.a[2 * half + 1]);
        put(right[g], half, t, from.b[half]);
      }
    }
    for (int lane = 0; lane < 32; lane++)
      for (int e = 0; e < 4; e++) {
        const int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        float sum = 0;
        for (int k = 0; k < K; k++) sum += left[row][k] * right[column][k];
        static_cast<EmulatedMma*>(slots[lane])->c[e] += sum;
      }
  });
}
inline void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulate_mma<false>("mma.tf32", c, a, b);
}
inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulate_mma<true>("mma.bf16", c, a, b);
}

inline void named_barrier(int id, int threads) {
  if (id < 1 || id > 15 || threads % 32 != 0) emulator::fail("barrier %d for %d threads", id, threads);
  emulator::barrier(id, threads);
}

// state: phase | arrivals of a phase | arrivals missing | bytes missing (signed), 1 + 15 + 16 + 32 bits.
struct alignas(8) MemoryBarrier {
  uint64_t state;

  void init(uint32_t arrivals) { put(0, arrivals, arrivals, 0); }
  void arrive() { change(-1, 0); }
  void arrive_expecting(uint32_t bytes) { change(-1, static_cast<int>(bytes)); }
  void copied(uint32_t bytes) { change(0, -static_cast<int>(bytes)); }
  void wait(uint32_t parity) {
    emulator::wait_until("mbarrier", [&] { return (state >> 63) != parity; });
  }

 private:
  void put(uint64_t phase, uint64_t all, uint64_t missing, int bytes) {
    state = phase << 63 | all << 48 | missing << 32 | static_cast<uint32_t>(bytes);
  }
  void change(int arrivals, int more) {
    const uint64_t phase = state >> 63, all = state >> 48 & 0x7fff;
    const int missing = static_cast<int>(state >> 32 & 0xffff) + arrivals;
    const int bytes = static_cast<int>(static_cast<uint32_t>(state)) + more;
    if (missing < 0) emulator::fail("mbarrier: more arrivals than it was made for");
    if (missing == 0 && bytes == 0)
      put(phase ^ 1, all, all, 0);
    else
      put(phase, all, missing, bytes);
  }
};
inline void fence_barrier_init() {}
inline void fence_async() {}

// 16-byte pieces of 128-byte lines change places, as the line's number has it.
inline uint32_t swizzle_128(uint32_t address) {
  return address ^ (address >> 7 & 7) << 4;
}

// Every element of a box at `at`: body(its place in shared memory, its place in the matrix or nullptr outside).
template <class Body>
inline void each_of_box(const CUtensorMap& map, uint32_t shared, const int (&at)[3], Body body) {
  const uint32_t line = map.box[0] * map.element;
  for (uint32_t z = 0; z < map.box[2]; z++)
    for (uint32_t y = 0; y < map.box[1]; y++)
      for (uint32_t x = 0; x < map.box[0]; x++) {
        const int64_t gx = int64_t{at[0]} + x, gy = int64_t{at[1]} + y, gz = int64_t{at[2]} + z;
        const uint32_t address = shared + (z * map.box[1] + y) * line + x * map.element;
        const auto inside = [&](int64_t i, int dimension) {
          return i >= 0 && static_cast<uint64_t>(i) < map.size[dimension];
        };
        uint8_t* global = inside(gx, 0) && inside(gy, 1) && inside(gz, 2)
                              ? map.base + gx * map.element + gy * map.stride[1] + gz * map.stride[2]
                              : nullptr;
        const bool swizzled = map.swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
        body(shared_pointer(swizzled ? swizzle_128(address) : address, map.element), global);
      }
}

// Parameters of a kernel outlive its threads, but not here: maps are copied.
inline void copy_box(void* shared, const CUtensorMap* from, int x, int y, int z, MemoryBarrier* done) {
  check_aligned("cp.async.bulk.tensor", shared, 128);
  const CUtensorMap map = *from;
  const uint32_t target = shared_address(shared), bytes = map.box[0] * map.box[1] * map.box[2] * map.element;
  shared_pointer(target, bytes);
  emulator::sometime([=] {
    each_of_box(map, target, {x, y, z}, [&](uint8_t* here, const uint8_t* there) {
      if (there != nullptr)
        std::memcpy(here, there, map.element);
      else
        std::memset(here, 0, map.element);
    });
    done->copied(bytes);
  });
}
inline void store_box(const CUtensorMap* from, int x, int y, int z, const void* shared) {
  check_aligned("cp.async.bulk.tensor", shared, 128);
  const CUtensorMap map = *from;
  const uint32_t source = shared_address(shared);
  emulator::stores_of_thread().begin([=] {
    each_of_box(map, source, {x, y, z}, [&](const uint8_t* here, uint8_t* there) {
      if (there != nullptr) std::memcpy(there, here, map.element);
    });
  });
}
inline void store_box_commit() {
  emulator::stores_of_thread().commit();
}
template <int left>
inline void store_box_wait() {
  emulator::stores_of_thread().finish(left);
}
inline void prefetch_map(const CUtensorMap*) {}

inline uint64_t global_timer() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

template <int count>
inline void give_registers() {}
template <int count>
inline void take_registers() {}

inline void wgmma_begin() {}
inline void wgmma_commit() {
  int nothing = 0;
  emulator::meet("wgmma.commit_group", 128, 0, &nothing,
                 [](void* const*) { emulator::products_of_warpgroup().commit(); });
}
template <int left>
inline void wgmma_wait() {
  int nothing = 0;
  emulator::meet("wgmma.wait_group", 128, 0, &nothing,
                 [](void* const*) { emulator::products_of_warpgroup().finish(left); });
}

template <int count>
inline void wgmma_finish(float (&)[count]) {}

inline uint64_t matrix_descriptor(uint32_t start, uint32_t next) {
  return uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | static_cast<uint64_t>(next >> 4) << 16 | (start >> 4 & 0x3fff);
}

// Number (row, k) of a factor in 128-byte swizzled lines. Line is 8 rows of 64 k, or, transposed, 8 k of 64 rows.
template <int Trans>
inline float wgmma_factor(uint64_t descriptor, uint32_t row, uint32_t k) {
  if (descriptor >> 62 != 1) emulator::fail("wgmma: only 128-byte swizzle is emulated");
  const uint32_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4;
  const uint32_t stride = (descriptor >> 32 & 0x3fff) << 4;
  const uint32_t offset = Trans ? row % 64 * 2 + row / 64 * leading + k % 8 * 128 + k / 8 * stride
                                : row % 8 * 128 + row / 8 * stride + k * 2;
  uint16_t bits;
  std::memcpy(&bits, shared_pointer(swizzle_128(start + offset), 2), 2);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

struct EmulatedWgmma {
  float* d;
  uint64_t a, b;
  int add;
};
template <int N, int TransA, int TransB>
inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, int add) {
  static_assert(N % 8 == 0 && N <= 256);
  EmulatedWgmma mine{d, a, b, add};
  emulator::meet("wgmma", 128, 0, &mine, [](void* const* slots) {
    EmulatedWgmma all[128];
    for (int i = 0; i < 128; i++) {
      all[i] = *static_cast<EmulatedWgmma*>(slots[i]);
      if (all[i].a != all[0].a || all[i].b != all[0].b || all[i].add != all[0].add)
        emulator::fail("wgmma: threads of a warpgroup bring different factors");
    }
    emulator::products_of_warpgroup().begin(
        [=] {
          static float left[64][16], right[N][16];
          for (uint32_t k = 0; k < 16; k++) {
            for (uint32_t i = 0; i < 64; i++) left[i][k] = wgmma_factor<TransA>(all[0].a, i, k);
            for (uint32_t j = 0; j < N; j++) right[j][k] = wgmma_factor<TransB>(all[0].b, j, k);
          }
          for (int t = 0; t < 128; t++)
            for (int e = 0; e < N / 2; e++) {
              const int row = t / 32 * 16 + t % 32 / 4 + e / 2 % 2 * 8, column = e / 4 * 8 + t % 4 * 2 + e % 2;
              float sum = 0;
              for (int k = 0; k < 16; k++) sum += left[row][k] * right[column][k];
              all[t].d[e] = (all[t].add != 0 ? all[t].d[e] : 0.0f) + sum;
            }
        },
        true);
  });
}

}  // namespace sweetspot::cuda
