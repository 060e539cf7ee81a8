// The kernel tables of the ISAs that can be compiled in.
#pragma once
#include <cstddef>

#include "core/context.h"

namespace sweetspot {

struct KernelEntry {
  uint32_t opcode;
  Kernel kernel;
};
struct KernelTable {
  const KernelEntry* entries;
  size_t count;
};

namespace scalar {
KernelTable kernels();
}
namespace avx2 {
KernelTable kernels();
}
namespace avx512 {
KernelTable kernels();
}
namespace avx512_bf16 {
KernelTable kernels();
}
namespace neon {
KernelTable kernels();
}

}  // namespace sweetspot
