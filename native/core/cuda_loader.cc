#include "core/cuda_loader.h"

#include <dlfcn.h>

#include <cstdarg>
#include <stdexcept>

namespace sweetspot {

namespace {

struct Library {
  CudaStatus status;
  const SweetspotCudaApi* api = nullptr;
};

// Beside the binary that holds this code.
std::string library_path() {
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&cuda_status), &here) == 0 || here.dli_fname == nullptr) return {};
  const std::string addon = here.dli_fname;
  const size_t slash = addon.rfind('/');
  return (slash == std::string::npos ? std::string() : addon.substr(0, slash + 1)) + "sweetspot_cuda.so";
}

Library open_library() {
  Library library;
  CudaStatus& status = library.status;
  status.library = library_path();
  const std::string& path = status.library;
  // Never closed: its threads and the driver's may outlive every device.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    status.reason = std::string("the CUDA library could not be opened: ") + dlerror();
    return library;
  }
  using Entry = const SweetspotCudaApi* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, "sweetspot_cuda_api"));
  if (entry == nullptr) {
    status.reason = path + " is not a CUDA library of sweetspot";
    return library;
  }
  const SweetspotCudaApi* api = entry();
  if (api->version != SWEETSPOT_CUDA_VERSION || api->size != sizeof(SweetspotCudaApi)) {
    status.reason = path + " has interface version " + std::to_string(api->version) + ", the addon has " +
                    std::to_string(SWEETSPOT_CUDA_VERSION) + "; build both again";
    return library;
  }
  if (const char* reason = api->probe(&status.info)) {
    status.reason = reason;
    return library;
  }
  library.api = api;
  return library;
}

const Library& library() {
  static const Library opened = open_library();
  return opened;
}

void latch_message(Latch& latch, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  latch.set(format, arguments);
  va_end(arguments);
}

class CudaExecutor final : public Executor {
 public:
  CudaExecutor(const SweetspotCudaApi& api, SweetspotCuda* device) : api_(api), device_(device) {}
  ~CudaExecutor() override { api_.close(device_); }

  const char* name() const override { return "cuda"; }
  void* allocate(size_t bytes) override { return api_.allocate(device_, bytes); }
  void deallocate(void* memory, size_t) override { api_.deallocate(device_, memory); }
  void write(void* target, const void* source, size_t bytes) override { api_.write(device_, target, source, bytes); }
  void read(void* target, const void* source, size_t bytes) override { api_.read(device_, target, source, bytes); }

  void run(const Program& program, uint8_t* const* bases, Latch& latch, const std::atomic<bool>&) override {
    const SweetspotCudaProgram rows{program.id,    program.words.data(), program.starts.data(),  program.starts.size(),
                                    program.arena, program.kept.data(),  program.kept.size() / 2};
    SweetspotCudaError error;
    if (api_.run(device_, &rows, bases, &error) != 0) report(latch, error);
  }

  void forget(uint32_t program) override { api_.forget(device_, program); }

  void synchronize(Latch& latch) override {
    SweetspotCudaError error;
    if (api_.synchronize(device_, &error) != 0) report(latch, error);
  }

 private:
  void report(Latch& latch, const SweetspotCudaError& error) {
    if (latch.failed()) return;
    latch_message(latch, "%s", error.message);
    if (error.located) latch.locate(std::to_string(error.program) + "\t" + std::to_string(error.row));
  }

  const SweetspotCudaApi& api_;
  SweetspotCuda* device_;
};

}  // namespace

const CudaStatus& cuda_status() {
  return library().status;
}

std::unique_ptr<Executor> make_cuda_executor(uint32_t matmul) {
  const SweetspotCudaApi* api = library().api;
  if (api == nullptr) throw std::runtime_error(library().status.reason);
  SweetspotCudaError error;
  SweetspotCuda* device = api->open(matmul, &error);
  if (device == nullptr) throw std::runtime_error(error.message);
  return std::make_unique<CudaExecutor>(*api, device);
}

}  // namespace sweetspot
