// The C functions of api.h over Executor. Nothing may throw across this border: what can throw is caught here.
#define SWEETSPOT_CUDA_BUILDING
#include <cstdio>
#include <exception>
#include <memory>

#include "cuda/api.h"
#include "cuda/copies.h"
#include "cuda/executor.h"

using sweetspot::cuda::Executor;
using sweetspot::cuda::Launch;
using sweetspot::cuda::Matmul;

namespace {

Executor* of(SweetspotCuda* device) {
  return reinterpret_cast<Executor*>(device);
}

void put(SweetspotCudaError* error, const char* message) {
  std::snprintf(error->message, sizeof error->message, "%s", message);
}

// Runs body; an exception becomes an error and `failed` the result.
template <class Result, class Body>
Result guarded(SweetspotCudaError* error, Result failed, Body body) {
  try {
    return body();
  } catch (const std::exception& thrown) {
    put(error, thrown.what());
  } catch (...) {
    put(error, "an unknown exception");
  }
  return failed;
}

const char* probe(SweetspotCudaInfo* info) {
  static thread_local char reason[200];
  *info = {};
  int driver = 0, runtime = 0, devices = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  info->driver = static_cast<uint32_t>(driver);
  info->runtime = static_cast<uint32_t>(runtime);
  if (driver == 0) return "there is no NVIDIA driver";
  cudaError_t status = cudaGetDeviceCount(&devices);
  cudaDeviceProp properties;
  if (status == cudaSuccess && devices == 0) status = cudaErrorNoDevice;
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, 0);
  if (status != cudaSuccess) {
    cudaGetLastError();
    std::snprintf(reason, sizeof reason, "%s (driver %d, needs %d)", cudaGetErrorString(status), driver, runtime);
    return reason;
  }
  if (properties.major < 8) {
    std::snprintf(reason, sizeof reason, "%s has compute capability %d.%d; the kernels need 8.0 or later",
                  properties.name, properties.major, properties.minor);
    return reason;
  }
  std::snprintf(info->name, sizeof info->name, "%s", properties.name);
  info->major = static_cast<uint32_t>(properties.major);
  info->minor = static_cast<uint32_t>(properties.minor);
  info->multiprocessors = static_cast<uint32_t>(properties.multiProcessorCount);
  info->memory = properties.totalGlobalMem;
  return nullptr;
}

SweetspotCuda* open(uint32_t matmul, SweetspotCudaError* error) {
  *error = {};
  return guarded(error, static_cast<SweetspotCuda*>(nullptr), [&]() -> SweetspotCuda* {
    auto executor = std::make_unique<Executor>();
    if (executor->open(static_cast<Matmul>(matmul))) return reinterpret_cast<SweetspotCuda*>(executor.release());
    put(error, executor->failure().c_str());
    return nullptr;
  });
}

void close(SweetspotCuda* device) {
  delete of(device);
}
void* allocate(SweetspotCuda* device, size_t bytes) {
  return of(device)->allocate(bytes);
}
void deallocate(SweetspotCuda* device, void* memory) {
  of(device)->deallocate(memory);
}
void write(SweetspotCuda* device, void* target, const void* source, size_t bytes) {
  of(device)->write(target, source, bytes);
}
void read(SweetspotCuda* device, void* target, const void* source, size_t bytes) {
  of(device)->read(target, source, bytes);
}

int run(SweetspotCuda* device, const SweetspotCudaProgram* program, uint8_t* const* bases, SweetspotCudaError* error) {
  return guarded(error, 1, [&] { return of(device)->run(*program, bases, error) ? 0 : 1; });
}

void forget(SweetspotCuda* device, uint32_t program) {
  of(device)->forget(program);
}

int synchronize(SweetspotCuda* device, SweetspotCudaError* error) {
  return guarded(error, 1, [&] { return of(device)->synchronize(error) ? 1 : 0; });
}

size_t dry_run(const SweetspotCudaProgram* program, uint8_t* const* bases) {
  Launch l;
  l.bases = bases;
  l.dry = true;
  l.scratch_base = reinterpret_cast<uint8_t*>(256);
  return sweetspot::cuda::dry_run(l, *program);
}

size_t count_bytes(const SweetspotCudaProgram* program, uint32_t matmul, uint64_t* rows, uint64_t* rounding) {
  return sweetspot::cuda::count_bytes(*program, static_cast<Matmul>(matmul), rows, rounding);
}

constexpr SweetspotCudaApi api = {SWEETSPOT_CUDA_VERSION,
                                  sizeof(SweetspotCudaApi),
                                  probe,
                                  open,
                                  close,
                                  allocate,
                                  deallocate,
                                  write,
                                  read,
                                  run,
                                  forget,
                                  synchronize,
                                  dry_run,
                                  count_bytes};

}  // namespace

const SweetspotCudaApi* sweetspot_cuda_api(void) {
  return &api;
}
