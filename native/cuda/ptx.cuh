// The instructions of NVIDIA GPUs that CUDA C++ has no words for, one function each. test/emulator has the same
// functions for the CPU, so nothing else in native/cuda may contain assembly. Semantics: PTX ISA 8.x.
#pragma once
#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

// Barriers in memory, bulk copies and wgmma: on sm_90a only. Elsewhere kernels that use them are compiled to nothing of
// use and never launched.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SWEETSPOT_SM90A(...) asm volatile(__VA_ARGS__)
#else
#define SWEETSPOT_SM90A(...)
#endif

namespace sweetspot::cuda {

using bf16 = __nv_bfloat16;

// Whether the code that runs is that of sm_90a.
__device__ inline bool compiled_for_sm90a() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  return true;
#else
  return false;
#endif
}

__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Asynchronous copies of a thread (sm_80): `bytes` of 16 (or 4) are read, the rest becomes 0. The wide ones bring the
// whole line of 128 bytes into the L2 cache.
__device__ inline void copy_async_16(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(bytes)
               : "memory");
}
__device__ inline void copy_async_4(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
}
__device__ inline void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// All but the newest `left` groups are there, for this thread.
template <int left>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

// Four 8 x 8 matrices of 16-bit numbers. Lane i gives the address of row i % 8 of matrix i / 8 (16 bytes, aligned);
// lane i gets numbers 2 (i % 4) and the next of row i / 4, of column i / 4 when transposed.
__device__ inline void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// To 10 bits of fraction, to nearest, ties away; the products below would truncate.
__device__ inline uint32_t round_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

// 2^x with about 22 bits; results below the normal numbers become 0.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// c (16, 8) += a (16, K) b (K, 8) by a warp, K = 8 of tf32 or 16 of bf16. Lane (g = lane / 4, t = lane % 4) has of c
// rows g and g + 8, columns 2 t and the next; of a rows g (a[0], a[2]) and g + 8 (a[1], a[3]); of b column g. For tf32
// a[0] and b[0] are k = t, a[2] and b[1] k = t + 4; for bf16 they are pairs, k = 2 t and k = 2 t + 8.
__device__ inline void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Waits for `threads` threads of the block (a multiple of 32) at barrier `id`, 1 to 15; 0 is __syncthreads'.
__device__ inline void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Barriers in shared memory (sm_90): a phase ends when `arrivals` have come and all bytes announced have been copied.
// wait(parity) returns once the phase of that parity has ended; the first phase has parity 0.
struct alignas(8) MemoryBarrier {
  uint64_t state;

  __device__ void init(uint32_t arrivals) {
    SWEETSPOT_SM90A("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(arrivals) : "memory");
  }
  __device__ void arrive() {
    SWEETSPOT_SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(this)) : "memory");
  }
  // Arrives and announces bytes of copies to come.
  __device__ void arrive_expecting(uint32_t bytes) {
    SWEETSPOT_SM90A("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)), "r"(bytes)
                    : "memory");
  }
  __device__ void wait(uint32_t parity) {
    SWEETSPOT_SM90A(
        "{\n.reg .pred p;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
        "@p bra done;\n"
        "bra again;\n"
        "done:\n}\n" ::"r"(shared_address(this)),
        "r"(parity)
        : "memory");
  }
};
// Makes barriers just initialized known to the copy engine. By the thread that initialized them, before __syncthreads.
__device__ inline void fence_barrier_init() {
  SWEETSPOT_SM90A("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Orders ordinary accesses to shared memory before those of the copy engine and of wgmma. By every thread that made
// them, before the barrier.
__device__ inline void fence_async() {
  SWEETSPOT_SM90A("fence.proxy.async.shared::cta;" ::: "memory");
}

// Bulk copies of a box of some matrices (sm_90), by one thread: box at column x, row y of matrix z; parts outside
// become 0, and count among the bytes that come. `shared` is 128-byte aligned, 1024 where the map swizzles.
__device__ inline void copy_box(void* shared, const CUtensorMap* map, int x, int y, int z, MemoryBarrier* done) {
  SWEETSPOT_SM90A(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(done)), "r"(x), "r"(y), "r"(z)
      : "memory");
}
// The other way, in groups as cp.async has them: a box of shared memory to a matrix, by one thread; parts outside are
// not written. store_box_wait(): all but the newest `left` groups of this thread have read their shared memory.
__device__ inline void store_box(const CUtensorMap* map, int x, int y, int z, const void* shared) {
  SWEETSPOT_SM90A("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                  "r"(shared_address(shared)), "r"(x), "r"(y), "r"(z)
                  : "memory");
}
__device__ inline void store_box_commit() {
  SWEETSPOT_SM90A("cp.async.bulk.commit_group;" ::: "memory");
}
template <int left>
__device__ inline void store_box_wait() {
  SWEETSPOT_SM90A("cp.async.bulk.wait_group.read %0;" ::"n"(left) : "memory");
}
__device__ inline void prefetch_map(const CUtensorMap* map) {
  SWEETSPOT_SM90A("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Nanoseconds of the machine's clock.
__device__ inline uint64_t global_timer() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

// Registers of each thread of the calling warpgroup, from now on.
template <int count>
__device__ inline void give_registers() {
  SWEETSPOT_SM90A("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ inline void take_registers() {
  SWEETSPOT_SM90A("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

// Asynchronous products of a warpgroup: wgmma_begin(); wgmma(...) ...; wgmma_commit(); wgmma_wait<left>(). The sums
// must not be touched before the wait.
__device__ inline void wgmma_begin() {
  SWEETSPOT_SM90A("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
  SWEETSPOT_SM90A("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int left>
__device__ inline void wgmma_wait() {
  SWEETSPOT_SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}

// Follows the wait: what is computed from the sums stays behind it.
template <int count>
__device__ inline void wgmma_finish(float (&d)[count]) {
#pragma unroll
  for (int i = 0; i < count; i++) asm volatile("" : "+f"(d[i])::"memory");
}

// Describes to wgmma a factor in shared memory, in lines of 128 bytes swizzled by 128; `start` is 1024-byte aligned but
// for the advance along k. Lines of 64 k: eight rows are 1024 bytes, 16 k are 32. Lines of 64 rows (Trans): eight k are
// 1024 bytes, 16 k are 2048, and the next 64 rows lie `next` bytes further.
__device__ inline uint64_t matrix_descriptor(uint32_t start, uint32_t next) {
  constexpr uint64_t kSwizzle128 = 1, kStride = 1024;
  return kSwizzle128 << 62 | (kStride >> 4) << 32 | static_cast<uint64_t>(next >> 4) << 16 | (start >> 4 & 0x3fff);
}

template <int N, int TransA, int TransB>
struct Wgmma;
#define SWEETSPOT_EIGHT(i)                                                                                    \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
// clang-format off
template <int TransA, int TransB>
struct Wgmma<128, TransA, TransB> {
  __device__ static void run(float (&d)[64], uint64_t a, uint64_t b, int add) {
    SWEETSPOT_SM90A(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, %64, %65, p, 1, 1, %67, %68;\n}\n"
        : SWEETSPOT_EIGHT(0), SWEETSPOT_EIGHT(8), SWEETSPOT_EIGHT(16), SWEETSPOT_EIGHT(24), SWEETSPOT_EIGHT(32), SWEETSPOT_EIGHT(40), SWEETSPOT_EIGHT(48), SWEETSPOT_EIGHT(56)
        : "l"(a), "l"(b), "r"(add), "n"(TransA), "n"(TransB));
  }
};
template <int TransA, int TransB>
struct Wgmma<256, TransA, TransB> {
  __device__ static void run(float (&d)[128], uint64_t a, uint64_t b, int add) {
    SWEETSPOT_SM90A(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
        "}, %128, %129, p, 1, 1, %131, %132;\n}\n"
        : SWEETSPOT_EIGHT(0), SWEETSPOT_EIGHT(8), SWEETSPOT_EIGHT(16), SWEETSPOT_EIGHT(24), SWEETSPOT_EIGHT(32), SWEETSPOT_EIGHT(40), SWEETSPOT_EIGHT(48), SWEETSPOT_EIGHT(56), SWEETSPOT_EIGHT(64), SWEETSPOT_EIGHT(72), SWEETSPOT_EIGHT(80), SWEETSPOT_EIGHT(88), SWEETSPOT_EIGHT(96), SWEETSPOT_EIGHT(104), SWEETSPOT_EIGHT(112), SWEETSPOT_EIGHT(120)
        : "l"(a), "l"(b), "r"(add), "n"(TransA), "n"(TransB));
  }
};
// clang-format on
#undef SWEETSPOT_EIGHT
#undef SWEETSPOT_SM90A

// d (64, N) = a (64, 16) b (16, N) (+ d when add is 1), both factors bf16 in shared memory as matrix_descriptor() says.
// Trans: the factor lies with its rows (of a) or columns (of b) next to each other instead of its k. Lane l of warp w
// has rows 16 w + l / 4 and 8 more, and of each eight columns 2 (l % 4) and the next: d[4 j + 2 r + c] is row + 8 r,
// column 8 j + 2 (l % 4) + c.
template <int N, int TransA, int TransB>
__device__ inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, int add) {
  Wgmma<N, TransA, TransB>::run(d, a, b, add);
}

}  // namespace sweetspot::cuda
