// Included first by every kernel file. A kernel file is compiled once per ISA, with SWEETSPOT_ISA naming the namespace
// (scalar, avx2, avx512, avx512_bf16, neon) and the compiler flags of that ISA. Rules, so that no wide instruction
// leaks into code shared between ISAs: everything lives in namespace sweetspot::SWEETSPOT_ISA, no standard-library
// templates (std::vector, std::sort, std::function ...), <cmath> only for scalar calls on float/double.
//
// To add a kernel: `void name(Context& ctx, const NameRow& row)` in a file listed in CMakeLists.txt; the op table
// makes the declarations below and the table in table.cc.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/context.h"

#if defined(SWEETSPOT_ISA_AVX512)
#include "cpu/vec/avx512.h"
#elif defined(SWEETSPOT_ISA_AVX2)
#include "cpu/vec/avx2.h"
#elif defined(SWEETSPOT_ISA_NEON)
#include "cpu/vec/neon.h"
#else
#include "cpu/vec/scalar.h"
#endif

namespace sweetspot::SWEETSPOT_ISA {

#define SWEETSPOT_DECLARE(name, Row) void name(Context& ctx, const Row& row);
SWEETSPOT_OPS(SWEETSPOT_DECLARE)
#undef SWEETSPOT_DECLARE

// A number known when compiling, passed as an argument.
template <size_t n>
struct Count {
  static constexpr size_t value = n;
};

// parallel(ctx, tasks, [&](uint32_t task, uint32_t thread) { ... })
template <class F>
inline void parallel(Context& ctx, uint32_t tasks, F&& body) {
  using Body = __typeof__(body);
  (void)sizeof(Body);
  auto* pointer = &body;
  ctx.parallel(
      tasks, [](void* p, uint32_t task, uint32_t thread) { (*static_cast<decltype(pointer)>(p))(task, thread); },
      const_cast<void*>(static_cast<const void*>(pointer)));
}

inline uint32_t ceil_div(uint64_t a, uint64_t b) {
  return static_cast<uint32_t>((a + b - 1) / b);
}
inline size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}
inline size_t max_size(size_t a, size_t b) {
  return a > b ? a : b;
}
inline size_t round_up(size_t a, size_t b) {
  return (a + b - 1) / b * b;
}

}  // namespace sweetspot::SWEETSPOT_ISA
