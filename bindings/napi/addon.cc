// The whole native border: its version, the list of ISAs, what there is of CUDA, and the Device class.
#include <napi.h>

#include "core/cuda_loader.h"
#include "core/executor.h"
#include "napi/device.h"
#include "napi/version.gen.h"

namespace {

Napi::Value cpu_isas(const Napi::CallbackInfo& info) {
  const auto names = sweetspot::cpu_isas();
  auto list = Napi::Array::New(info.Env(), names.size());
  for (uint32_t i = 0; i < names.size(); i++) list[i] = Napi::String::New(info.Env(), names[i]);
  return list;
}

// { library, reason } when CUDA cannot be used, else { library, name, arch, multiprocessors, memory, driver }.
Napi::Value cuda_info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const sweetspot::CudaStatus& status = sweetspot::cuda_status();
  auto result = Napi::Object::New(env);
  result.Set("library", status.library);
  if (!status.reason.empty()) {
    result.Set("reason", status.reason);
    return result;
  }
  const SweetspotCudaInfo& device = status.info;
  result.Set("name", device.name);
  result.Set("arch", "sm_" + std::to_string(device.major * 10 + device.minor));
  result.Set("multiprocessors", device.multiprocessors);
  result.Set("memory", static_cast<double>(device.memory));
  result.Set("driver", std::to_string(device.driver / 1000) + "." + std::to_string(device.driver % 1000 / 10));
  return result;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("version", kAddonVersion);
  exports.Set("cpuIsas", Napi::Function::New(env, cpu_isas, "cpuIsas"));
  exports.Set("cudaInfo", Napi::Function::New(env, cuda_info, "cudaInfo"));
  exports.Set("Device", Device::define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(sweetspot, init)
