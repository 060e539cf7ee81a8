#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/copies.h"
#include "cuda/executor.h"

namespace sweetspot::cuda {

namespace {

// In the words of the CPU kernels, without what only a search for the culprit could tell.
void describe_fault(const DeviceError& fault, uint32_t opcode, char* text, size_t size) {
  const int32_t value = fault.value;
  const uint32_t extra = fault.extra;
  switch (static_cast<ErrorCode>(fault.where >> 56)) {
    case kIdOutside: {
      const char* what = opcode == static_cast<uint32_t>(Op::csr_gemm)   ? "column"
                         : opcode == static_cast<uint32_t>(Op::bincount) ? "id"
                         : opcode == static_cast<uint32_t>(Op::route_sort) ||
                                 opcode == static_cast<uint32_t>(Op::topk_softmax_backward)
                             ? "expert"
                         : opcode == static_cast<uint32_t>(Op::combine_rows) ||
                                 opcode == static_cast<uint32_t>(Op::combine_rows_backward)
                             ? "position"
                             : "token id";
      std::snprintf(text, size, "%s %d is outside the table of %u rows", what, value, extra);
      break;
    }
    case kTargetOutside:
      std::snprintf(text, size, "target %d is outside the vocabulary of %u", value, extra);
      break;
    case kOffsets:
      std::snprintf(text, size, "group offsets do not ascend from 0 to %u, seen at group %d", extra, value);
      break;
    case kCachePosition:
      std::snprintf(text, size, "new tokens at position %d do not fit in a cache of %u", value, extra);
      break;
    case kNormNotFinite:
      std::snprintf(text, size, "the gradient norm is not finite");
      break;
    case kNoCentroid:
      std::snprintf(text, size, "no centroids to assign %u rows to", extra);
      break;
    case kSparse:
      std::snprintf(text, size, "row pointers descend or leave 0 to %u, seen at row %d", extra, value);
      break;
    case kCastDtype:
      std::snprintf(text, size, "no cast from dtype %d to %u: dtypes are 0 to 3", value, extra);
      break;
    case kTooManyChoices:
      std::snprintf(text, size, "%d choices of %u experts", value, extra);
      break;
    case kCount:
      std::snprintf(text, size, "a count of %d is outside the %u groups", value, extra);
      break;
    case kSliceDtype:
      std::snprintf(text, size, "slices of dtype %d: dtypes are 0 and 1", value);
      break;
    case kRowsLeftOut:
      std::snprintf(text, size, "a count of %d groups leaves out rows", value);
      break;
    case kNoLse:
      std::snprintf(text, size, "lse is missing, which normalize 0 and dlse need");
      break;
    default:
      std::snprintf(text, size, "a kernel failed with code %u", static_cast<uint32_t>(fault.where >> 56));
  }
}

__global__ void sm90a_kernel(DeviceError* answer) {
  answer->value = compiled_for_sm90a();
}

}  // namespace

// Keeps the first failure; later ones follow from it.
bool Executor::check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return true;
  cudaGetLastError();  // must not be found again by the next launch
  if (failure_.empty()) failure_ = std::string("CUDA could not ") + what + ": " + cudaGetErrorString(status);
  return false;
}

// Asks the code that would run: a library built for sm_90 alone has nothing where sm_90a has wgmma, and one without
// code for the device is found out here. Uses error_ before it is cleared. SWEETSPOT_CUDA_WGMMA=0 leaves it unused,
// should it be found wanting.
bool Executor::find_sm90a() {
  const char* setting = std::getenv("SWEETSPOT_CUDA_WGMMA");
  const bool wanted = setting == nullptr || std::strcmp(setting, "0") != 0;
  int major = 0;
  if (!check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "ask the device")) return false;
  start(stream_, sm90a_kernel, 1, 1, 0, error_);
  if (!check(cudaGetLastError(), "run a kernel") ||
      !check(cudaMemcpyAsync(fetched_, error_, sizeof *error_, cudaMemcpyDeviceToHost, stream_), "run a kernel") ||
      !check(cudaStreamSynchronize(stream_), "run a kernel"))
    return false;
  sm90a_ = wanted && major == 9 && fetched_->value != 0;
  return true;
}

bool Executor::open(Matmul matmul) {
  matmul_ = matmul;
  if (!check(cudaSetDevice(0), "use device 0")) return false;
  if (!check(cudaDeviceGetAttribute(&sms_, cudaDevAttrMultiProcessorCount, 0), "ask the device")) return false;
  if (!check(cudaDeviceGetAttribute(&most_shared_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), "ask the device"))
    return false;
  if (!check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "create a stream")) return false;
  if (!check(cudaStreamCreateWithFlags(&zeroing_, cudaStreamNonBlocking), "create a stream")) return false;
  if (!check(cudaMalloc(&error_, sizeof *error_), "allocate")) return false;
  if (!check(cudaMallocHost(&fetched_, sizeof *fetched_), "pin memory")) return false;
  if (!find_sm90a()) return false;
  if (!check(cudaMemsetAsync(error_, 0, sizeof *error_, stream_), "clear memory")) return false;
  if (!check(cudaMallocHost(&staging_.memory, Staging::kBlock * Staging::kBlocks), "pin memory")) return false;
  for (cudaEvent_t& event : staging_.done)
    if (!check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "create an event")) return false;
  // Not the whole device, which must not be waited for while another backend captures a graph.
  if (!check(cudaStreamSynchronize(stream_), "start")) return false;
  *fetched_ = {};
  return true;
}

Executor::~Executor() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  for (auto& [id, graph] : graphs_)
    if (graph.exec != nullptr) cudaGraphExecDestroy(graph.exec);
  for (cudaEvent_t event : staging_.done)
    if (event != nullptr) cudaEventDestroy(event);
  cudaFreeHost(staging_.memory);
  cudaFreeHost(fetched_);
  cudaFree(arena_.memory);
  cudaFree(error_);
  if (zeroing_ != nullptr) cudaStreamDestroy(zeroing_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void* Executor::allocate(size_t bytes) {
  void* memory = nullptr;
  cudaSetDevice(0);
  const size_t size = std::max<size_t>(bytes, 64);
  if (cudaMalloc(&memory, size) != cudaSuccess) {
    cudaGetLastError();  // the failure is reported here and must not be found by the next launch
    return nullptr;
  }
  if (cudaMemsetAsync(memory, 0, size, zeroing_) != cudaSuccess || cudaStreamSynchronize(zeroing_) != cudaSuccess) {
    cudaFree(memory);
    return nullptr;
  }
  return memory;
}

void Executor::deallocate(void* memory) {
  cudaSetDevice(0);
  check(cudaStreamSynchronize(stream_), "finish");
  check(cudaFree(memory), "free memory");
}

void Executor::write(void* target, const void* source, size_t bytes) {
  for (size_t at = 0; at < bytes; at += Staging::kBlock) {
    const size_t part = std::min(Staging::kBlock, bytes - at);
    const size_t block = staging_.next++ % Staging::kBlocks;
    uint8_t* staged = staging_.memory + block * Staging::kBlock;
    if (!check(cudaEventSynchronize(staging_.done[block]), "copy to the device")) return;
    std::memcpy(staged, static_cast<const uint8_t*>(source) + at, part);
    check(cudaMemcpyAsync(static_cast<uint8_t*>(target) + at, staged, part, cudaMemcpyHostToDevice, stream_),
          "copy to the device");
    check(cudaEventRecord(staging_.done[block], stream_), "copy to the device");
  }
  fresh_ = false;
}

void Executor::read(void* target, const void* source, size_t bytes) {
  const size_t ring = Staging::kBlock * Staging::kBlocks;
  size_t at = 0;
  do {
    const size_t part = std::min(ring, bytes - at);
    if (part > 0)
      check(cudaMemcpyAsync(staging_.memory, static_cast<const uint8_t*>(source) + at, part, cudaMemcpyDeviceToHost,
                            stream_),
            "copy from the device");
    fetch_error();
    if (part > 0) std::memcpy(static_cast<uint8_t*>(target) + at, staging_.memory, part);
    at += part;
  } while (at < bytes);
}

// Copies the fault, if any, and waits for everything queued. Staged writes are over then, so `read` may use the ring.
void Executor::fetch_error() {
  if (!fresh_)
    check(cudaMemcpyAsync(fetched_, error_, sizeof *error_, cudaMemcpyDeviceToHost, stream_), "copy from the device");
  check(cudaStreamSynchronize(stream_), "run the kernels");
  fresh_ = true;
}

bool Executor::reserve(size_t bytes) {
  if (bytes <= arena_.bytes) return true;
  if (!check(cudaStreamSynchronize(stream_), "finish")) return false;
  cudaFree(arena_.memory);
  arena_.memory = nullptr;
  arena_.bytes = 0;
  arena_.moved++;
  const size_t size = (bytes + (size_t{1} << 20)) >> 20 << 20;
  if (!check(cudaMalloc(&arena_.memory, size), "allocate scratch memory")) return false;
  arena_.bytes = size;
  return true;
}

bool Executor::capture(const SweetspotCudaProgram& program, uint8_t* const* bases, Graph& graph,
                       SweetspotCudaError* error) {
  Launch l;
  l.stream = stream_;
  l.bases = bases;
  l.error = error_;
  l.program = program.id;
  l.sms = sms_;
  l.sm90a = sm90a_;
  l.most_shared = static_cast<size_t>(most_shared_);
  l.matmul = matmul_;
  l.dry = true;
  l.load = true;
  l.scratch_base = l.copies_base = reinterpret_cast<uint8_t*>(256);
  const CopyPlan copies = plan_copies(program, matmul_);
  l.copies = &copies;
  const size_t scratch = dry_run(l, program);
  if (!check(cudaGetLastError(), "load a kernel") || !reserve(copies.bytes + scratch)) return false;
  l.dry = false;
  l.copies_base = arena_.memory;
  l.scratch_base = arena_.memory + copies.bytes;

  // Relaxed: other threads may allocate meanwhile, and libraries load kernels that they have not used yet.
  if (!check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "capture a graph")) return false;
  graph.opcodes.clear();
  bool enqueued = true;
  for (size_t row = 0; enqueued && row < program.rows; row++) {
    const uint32_t* words = program.words + program.starts[row];
    graph.opcodes.push_back(words[0] & 0xffff);
    l.row = static_cast<uint32_t>(row);
    l.scratch_used = 0;
    for (uint32_t id : copies.rows[row].before) make_copy(l, id);
    find_enqueue(words[0] & 0xffff)(l, words);
    for (uint32_t id : copies.rows[row].after) make_copy(l, id);
    enqueued = check(cudaGetLastError(), "launch a kernel");
    // Nothing has run yet.
    if (l.scratch_used > scratch) enqueued = check(cudaErrorMemoryAllocation, "find scratch memory");
    if (!enqueued) {
      error->located = 1;
      error->program = program.id;
      error->row = l.row;
    }
  }
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &captured);
  const bool ok = enqueued && check(ended, "capture a graph") &&
                  check(cudaGraphInstantiate(&graph.exec, captured, 0), "instantiate a graph");
  if (captured != nullptr) cudaGraphDestroy(captured);
  if (!ok) cudaGetLastError();
  graph.moved = arena_.moved;
  return ok;
}

bool Executor::run(const SweetspotCudaProgram& program, uint8_t* const* bases, SweetspotCudaError* error) {
  *error = {};
  Graph& graph = graphs_[program.id];
  if (graph.exec != nullptr && graph.moved != arena_.moved) {
    cudaStreamSynchronize(stream_);
    cudaGraphExecDestroy(graph.exec);
    graph.exec = nullptr;
  }
  fresh_ = false;
  if ((graph.exec != nullptr || capture(program, bases, graph, error)) &&
      check(cudaGraphLaunch(graph.exec, stream_), "launch a graph"))
    return true;
  std::snprintf(error->message, sizeof error->message, "%s", failure_.c_str());
  failure_.clear();
  return false;
}

void Executor::forget(uint32_t program) {
  const auto found = graphs_.find(program);
  if (found == graphs_.end()) return;
  if (found->second.exec != nullptr) {
    check(cudaStreamSynchronize(stream_), "finish");
    cudaGraphExecDestroy(found->second.exec);
  }
  graphs_.erase(found);
}

bool Executor::synchronize(SweetspotCudaError* error) {
  if (!fresh_) fetch_error();
  *error = {};
  if (!failure_.empty()) {
    std::snprintf(error->message, sizeof error->message, "%s", failure_.c_str());
    failure_.clear();
    return true;
  }
  if (fetched_->where == 0) return false;
  error->located = 1;
  error->row = static_cast<uint32_t>(fetched_->where);
  error->program = static_cast<uint32_t>(fetched_->where >> 32) & 0xffffffu;
  uint32_t opcode = 0;  // unknown where the program has been forgotten meanwhile
  for (const auto& [id, graph] : graphs_) {
    if ((id & 0xffffffu) != (error->program & 0xffffffu)) continue;
    error->program = id;
    opcode = graph.opcodes.at(error->row);
  }
  describe_fault(*fetched_, opcode, error->message, sizeof error->message);
  *fetched_ = {};
  // Runs queued meanwhile have done nothing; whoever queues the next ones knows of the failure.
  check(cudaMemsetAsync(error_, 0, sizeof *error_, stream_), "clear memory");
  return true;
}

}  // namespace sweetspot::cuda
