// The sizes of the microkernel, the only ones that differ between ISAs. A new ISA sets kUnitRows and kUnitVecs so that
// rows * vecs sums, `vecs` vectors of B and one of A fit in its registers.
#pragma once
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

#if defined(SWEETSPOT_ISA_AVX512)
constexpr size_t kUnitRows = 12, kUnitVecs = 2;
#elif defined(SWEETSPOT_ISA_AVX2)
constexpr size_t kUnitRows = 6, kUnitVecs = 2;
#elif defined(SWEETSPOT_ISA_NEON)
constexpr size_t kUnitRows = 8, kUnitVecs = 2;
#else
constexpr size_t kUnitRows = 4, kUnitVecs = 2;
#endif
constexpr size_t kUnitCols = kUnitVecs * Vec::N;
// Rows of A copied together where they are contiguous: whole vectors and whole units.
constexpr size_t kPanelRows = 4 * kUnitRows;
static_assert(kPanelRows % Vec::N == 0);

}  // namespace sweetspot::SWEETSPOT_ISA
