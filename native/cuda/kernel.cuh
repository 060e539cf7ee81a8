// Included first by every CUDA kernel file. A row is enqueued by `void name(Launch& l, const NameRow& row)`, declared
// below from the op table; table.cu maps opcodes to them.
//
// A row is enqueued twice: once dry, to learn how much scratch memory it asks for, once while a graph is captured. So
// an op may depend on its row only (never on device data), asks for the same scratch both times, and launches through
// launch(), which does nothing when dry. Everything runs on l.stream in order.
//
// Numbers depend on shapes alone: fixed trees and fixed splits, no floating-point atomics. Memory safety is the
// kernel's: a bad id, target or offset raises a fault, reads nothing outside and writes something harmless.
//
// Rows behind a failed one must change nothing, though all of them are already enqueued: every kernel takes l.fault()
// and begins with `if (fault.failed()) return;`, or `if (fault.stopped()) return;` when it may raise a fault itself.
//
// To add a kernel: an op in bindings/ops.json, its function in native/cuda/kernels/<file>.cu. If it takes or makes
// numbers in bf16, the tables at the head of copies.cu.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/ops.gen.h"
#include "cuda/launch.cuh"
#include "cuda/ptx.cuh"

namespace sweetspot::cuda {

// What a kernel can find wrong with the data; executor.cu holds the sentences. value and extra fill them.
enum ErrorCode : int32_t {
  kNone = 0,
  kIdOutside,       // value = id, extra = rows of the table
  kTargetOutside,   // value = target, extra = vocabulary
  kOffsets,         // value = group where offsets do not ascend from 0 to rows, extra = rows
  kCachePosition,   // value = position, extra = capacity
  kNormNotFinite,   // clip_scale
  kNoCentroid,      // extra = rows of x
  kSparse,          // value = row whose pointers descend or leave 0..nnz, extra = nnz
  kCastDtype,       // value = from, extra = to
  kTooManyChoices,  // value = k, extra = experts
  kCount,           // value = groups asked for, extra = groups there is room for
  kSliceDtype,      // value = dtype of the slices of a bank
  kRowsLeftOut,     // grouped_gemm_dw: value = groups asked for, which do not have all the rows
  kNoLse,           // topk_softmax_backward without the lse that it needs
};

// Device memory, zero when all is well. The first fault since the last fence is kept.
struct DeviceError {
  unsigned long long where;  // code << 56 | (program & 0xffffff) << 32 | row
  int32_t value;
  uint32_t extra;
};

// Passed to kernels by value.
struct Fault {
  DeviceError* error;
  unsigned long long where;  // without the code

#ifdef __CUDACC__
  __device__ void raise(ErrorCode code, int32_t value = 0, uint32_t extra = 0) const {
    if (atomicCAS(&error->where, 0ull, static_cast<unsigned long long>(code) << 56 | where) != 0) return;
    error->value = value;
    error->extra = extra;
  }
  // An earlier row has failed. Plain loads: nothing but this row can change the word while the kernel runs, and a fault
  // of this row does not count, so all threads agree.
  __device__ bool stopped() const {
    const unsigned long long found = error->where;
    return found != 0 && (found & 0x00ffffffffffffffull) != where;
  }
  // This or an earlier row has failed; for kernels that raise nothing.
  __device__ bool failed() const {
    return error->where != 0;
  }
#endif
};

// How gemm and grouped_gemm multiply; sums are float32 in all of them.
enum class Matmul : uint8_t { fp32, tf32, bf16 };

struct CopyPlan;  // copies.h

// An input in float32 or, where its f32 is nullptr, in bf16.
struct In {
  const float* f32;
  const bf16* half;

  __host__ __device__ In(const float* f32, const bf16* half = nullptr) : f32(f32), half(half) {}
  // From element i on.
  __host__ __device__ In from(size_t i) const { return f32 != nullptr ? In(f32 + i) : In(nullptr, half + i); }
#ifdef __CUDACC__
  __device__ float get(size_t i) const {
    return f32 != nullptr ? f32[i] : __bfloat162float(half[i]);
  }
  // Elements i to i + 3, where i is a multiple of 4 and the rows are aligned.
  __device__ float4 get4(size_t i) const {
    if (f32 != nullptr) return *reinterpret_cast<const float4*>(f32 + i);
    const uint2 pairs = *reinterpret_cast<const uint2*>(half + i);
    return make_float4(__uint_as_float(pairs.x << 16), __uint_as_float(pairs.x & 0xffff0000u),
                       __uint_as_float(pairs.y << 16), __uint_as_float(pairs.y & 0xffff0000u));
  }
#endif
};

// Where a kernel puts an output: float32, bf16 for products to read, or both; at least one of them is there.
struct Out {
  float* f32;
  bf16* half;

  // From element i on.
  __host__ __device__ Out from(size_t i) const {
    return {f32 == nullptr ? nullptr : f32 + i, half == nullptr ? nullptr : half + i};
  }
#ifdef __CUDACC__
  __device__ void put(size_t i, float x) const {
    if (f32 != nullptr) f32[i] = x;
    if (half != nullptr) half[i] = __float2bfloat16_rn(x);
  }
  // Elements i to i + 3, where i is a multiple of 4 and the rows are aligned.
  __device__ void put4(size_t i, float4 x) const {
    if (f32 != nullptr) *reinterpret_cast<float4*>(f32 + i) = x;
    if (half != nullptr) {
      const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(x.x, x.y), __floats2bfloat162_rn(x.z, x.w)};
      *reinterpret_cast<uint2*>(half + i) = *reinterpret_cast<const uint2*>(pairs);
    }
  }
#endif
};

// One row being enqueued.
struct Launch {
  cudaStream_t stream = nullptr;
  uint8_t* const* bases = nullptr;
  DeviceError* error = nullptr;
  uint32_t program = 0;
  uint32_t row = 0;
  int sms = 1;         // multiprocessors: for grids of loops over tiles; never for what a sum adds up in which order
  bool sm90a = false;  // the device has wgmma and the copy engine, and this library the code for it
  size_t most_shared = 227 << 10;  // memory that a block can have: 163 KiB on an A100, 99 KiB on smaller devices
  Matmul matmul = Matmul::fp32;
  bool dry = false;
  bool load = false;  // while dry: bring the kernels to the device
  const CopyPlan* copies = nullptr;
  uint8_t* copies_base = nullptr;

  float* f32(Ref ref) const { return reinterpret_cast<float*>(address(ref)); }
  int32_t* i32(Ref ref) const { return reinterpret_cast<int32_t*>(address(ref)); }
  uint8_t* raw(Ref ref) const { return address(ref); }
  // nullptr for an absent operand; the others must be there.
  float* optional(Ref ref) const { return ref.present() ? f32(ref) : nullptr; }
  // The copy of a factor that the row multiplies in bf16 (copies.h); element i of the operand is number i of it.
  const bf16* factor(Ref ref) const;
  // An operand that copies.cu lists as one that may be in bf16. Its form is known in the dry pass, which loads kernels.
  In in(Ref ref) const;
  // Where an output goes. Only the output that copies.cu names for the op may lack float32.
  Out out(Ref ref) const;
  Fault fault() const { return {error, static_cast<unsigned long long>(program & 0xffffffu) << 32 | row}; }

  // Device memory until the row ends, 256-byte aligned, contents undefined; may be called several times a row. When dry
  // the address must not be used.
  void* scratch(size_t bytes) {
    uint8_t* block = scratch_base + scratch_used;
    scratch_used += (bytes + 255) / 256 * 256;
    return block;
  }

  uint8_t* scratch_base = nullptr;
  size_t scratch_used = 0;

 private:
  // nullptr where there is no copy, and with `only` where there is float32 too.
  const bf16* copy_of(Ref ref, bool only) const;
  uint8_t* address(Ref ref) const { return bases[ref.buffer] + (static_cast<size_t>(ref.offset) << 6); }
};

#define SWEETSPOT_DECLARE(name, Row) void name(Launch& l, const Row& row);
SWEETSPOT_OPS(SWEETSPOT_DECLARE)
#undef SWEETSPOT_DECLARE

__host__ __device__ inline uint32_t ceil_div(uint64_t a, uint64_t b) {
  return static_cast<uint32_t>((a + b - 1) / b);
}

#ifdef __CUDACC__
// launch(l, kernel<4>, grid, block, bytes of dynamic shared memory, arguments...). An empty grid launches nothing.
template <class... P, class... A>
inline void launch(Launch& l, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (l.dry) {
    if (l.load) load(kernel, shared);
    return;
  }
  start(l.stream, kernel, grid, block, shared, arguments...);
}

// Butterflies: every lane gets the same bits.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}

// Sum over a one-dimensional block of Threads (a multiple of 32, at most 1024); every thread gets it. May be called
// again at once: it begins and ends with a barrier.
template <int Threads>
__device__ inline float block_sum(float x) {
  __shared__ float part[Threads / 32];
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
  __syncthreads();
  const float sum = warp_sum(threadIdx.x % 32 < Threads / 32 ? part[threadIdx.x % 32] : 0.0f);
  __syncthreads();
  return sum;
}
template <int Threads>
__device__ inline float block_max(float x) {
  __shared__ float part[Threads / 32];
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
  __syncthreads();
  const float most = warp_max(threadIdx.x % 32 < Threads / 32 ? part[threadIdx.x % 32] : -INFINITY);
  __syncthreads();
  return most;
}
#endif

}  // namespace sweetspot::cuda
