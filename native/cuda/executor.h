// The device behind the C functions of api.h: memory, the one stream, staging, captured graphs, and faults of kernels.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/api.h"
#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

// table.cu: enqueues one row. Every opcode that passes Stream::compile has an entry.
using Enqueue = void (*)(Launch&, const uint32_t* words);
Enqueue find_enqueue(uint32_t opcode);

// Scratch bytes of the hungriest row. `l` is dry.
size_t dry_run(Launch l, const SweetspotCudaProgram& program);

// Scratch memory that every row of every program may use while it runs. Growing moves it, which `moved` counts, and
// graphs captured before are captured again.
struct Arena {
  uint8_t* memory = nullptr;
  size_t bytes = 0;
  uint32_t moved = 0;
};

// Pinned blocks that writes pass through, so that the caller goes on while the copy engine works.
struct Staging {
  static constexpr size_t kBlock = 1 << 20;
  static constexpr size_t kBlocks = 16;
  uint8_t* memory = nullptr;
  cudaEvent_t done[kBlocks] = {};
  size_t next = 0;
};

class Executor {
 public:
  ~Executor();
  // False with failure() set when the device cannot be used.
  bool open(Matmul matmul);
  const std::string& failure() const { return failure_; }

  void* allocate(size_t bytes);
  void deallocate(void* memory);
  void write(void* target, const void* source, size_t bytes);
  void read(void* target, const void* source, size_t bytes);
  bool run(const SweetspotCudaProgram& program, uint8_t* const* bases, SweetspotCudaError* error);
  void forget(uint32_t program);
  bool synchronize(SweetspotCudaError* error);

 private:
  struct Graph {
    cudaGraphExec_t exec = nullptr;
    uint32_t moved = 0;
    std::vector<uint32_t> opcodes;  // for messages
  };

  bool check(cudaError_t status, const char* what);
  bool find_sm90a();
  bool reserve(size_t bytes);
  bool capture(const SweetspotCudaProgram& program, uint8_t* const* bases, Graph& graph, SweetspotCudaError* error);
  void fetch_error();

  Matmul matmul_ = Matmul::fp32;
  int sms_ = 1;
  bool sm90a_ = false;
  int most_shared_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaStream_t zeroing_ = nullptr;  // of the threads that allocate
  DeviceError* error_ = nullptr;    // device memory
  DeviceError* fetched_ = nullptr;  // pinned copy of it
  bool fresh_ = true;               // the copy is of after everything queued
  Arena arena_;
  Staging staging_;
  std::unordered_map<uint32_t, Graph> graphs_;
  std::string failure_;
};

}  // namespace sweetspot::cuda
