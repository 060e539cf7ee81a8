// Opens the CUDA library (native/cuda) that may lie beside the addon. Absent library, absent driver and absent device
// are answers with a reason, never failures: the addon itself links nothing of CUDA.
#pragma once
#include <memory>
#include <string>

#include "core/executor.h"
#include "cuda/api.h"

namespace sweetspot {

struct CudaStatus {
  std::string library;  // where it is looked for
  std::string reason;   // empty: it can be used
  SweetspotCudaInfo info{};
};

// Looked up once.
const CudaStatus& cuda_status();
// matmul: 0 fp32, 1 tf32, 2 bf16. Throws std::runtime_error with the reason when there is none.
std::unique_ptr<Executor> make_cuda_executor(uint32_t matmul);

}  // namespace sweetspot
