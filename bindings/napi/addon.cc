// The whole native border: the list of ISAs and the Device class.
#include <napi.h>

#include "core/executor.h"
#include "napi/device.h"

namespace {

Napi::Value cpu_isas(const Napi::CallbackInfo& info) {
  const auto names = sweetspot::cpu_isas();
  auto list = Napi::Array::New(info.Env(), names.size());
  for (uint32_t i = 0; i < names.size(); i++) list[i] = Napi::String::New(info.Env(), names[i]);
  return list;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("cpuIsas", Napi::Function::New(env, cpu_isas, "cpuIsas"));
  exports.Set("Device", Device::define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(sweetspot, init)
