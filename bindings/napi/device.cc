#include "napi/device.h"

#include <string>
#include <unordered_map>

#include "core/cuda_loader.h"

using sweetspot::Stream;

// One promise that the stream thread will settle.
struct Device::Completion {
  napi_deferred deferred;
  Napi::Reference<Napi::Uint8Array> target;  // keeps a read's memory alive
};

// Completions by number, touched on the JavaScript thread only. It outlives the Device object, because deliveries may
// still be queued when the device closes or the environment is torn down; they then find nothing here.
struct Device::Shared {
  std::unordered_map<uint64_t, Completion> waiting;
  uint64_t next = 1;
  napi_threadsafe_function notify = nullptr;
};

// What the stream thread hands over.
struct Device::Delivery {
  std::shared_ptr<Shared> shared;
  uint64_t number;
  std::string error;
};

namespace {

// `variant` is the ISA of a CPU, and how a GPU multiplies matrices: fp32, tf32 or bf16.
std::unique_ptr<sweetspot::Executor> make_executor(const std::string& kind, uint32_t threads,
                                                   const std::string& variant) {
  std::unique_ptr<sweetspot::Executor> executor;
  if (kind == "cpu") executor = sweetspot::make_cpu_executor({threads, variant});
  if (kind == "cuda" && variant == "fp32") executor = sweetspot::make_cuda_executor(0);
  if (kind == "cuda" && variant == "tf32") executor = sweetspot::make_cuda_executor(1);
  if (kind == "cuda" && variant == "bf16") executor = sweetspot::make_cuda_executor(2);
  if (executor == nullptr) throw std::runtime_error("no device " + kind + " " + variant);
  return executor;
}

template <class F>
auto guarded(Napi::Env env, F body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

uint32_t id_of(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsNumber()) throw Napi::TypeError::New(info.Env(), "expected a number");
  return info[index].As<Napi::Number>().Uint32Value();
}

void reject(napi_env env, napi_deferred deferred, const std::string& why) {
  napi_value message = nullptr;
  napi_value error = nullptr;
  napi_create_string_utf8(env, why.c_str(), why.size(), &message);
  napi_create_error(env, nullptr, message, &error);
  napi_reject_deferred(env, deferred, error);
}

size_t size_of(const Napi::CallbackInfo& info, size_t index) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1.0;
  if (!(value >= 0.0 && value <= 9007199254740991.0))
    throw Napi::RangeError::New(info.Env(), "expected a size in bytes");
  return static_cast<size_t>(value);
}

}  // namespace

Napi::Function Device::define(Napi::Env env) {
  return DefineClass(env, "Device",
                     {InstanceMethod<&Device::alloc>("alloc"), InstanceMethod<&Device::free>("free"),
                      InstanceMethod<&Device::write>("write"), InstanceMethod<&Device::read>("read"),
                      InstanceMethod<&Device::compile>("compile"), InstanceMethod<&Device::run>("run"),
                      InstanceMethod<&Device::release>("release"), InstanceMethod<&Device::fence>("fence"),
                      InstanceMethod<&Device::allocated>("allocated"), InstanceMethod<&Device::close>("close")});
}

Device::Device(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Device>(info), shared_(std::make_shared<Shared>()) {
  Napi::Env env = info.Env();
  const std::string kind = info[0].As<Napi::String>();
  const uint32_t threads = id_of(info, 1);
  const std::string variant = info[2].As<Napi::String>();
  guarded(env, [&] { stream_ = std::make_unique<Stream>(make_executor(kind, threads, variant)); });
  const Napi::String name = Napi::String::New(env, "sweetspot stream");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, complete,
                                      &shared_->notify) != napi_ok)
    throw Napi::Error::New(env, "could not create a thread-safe function");
  napi_unref_threadsafe_function(env, shared_->notify);
  napi_add_env_cleanup_hook(env, cleanup, this);
}

Device::~Device() {
  shut_down();
}

void Device::Finalize(Napi::Env env) {
  napi_remove_env_cleanup_hook(env, cleanup, this);
  shut_down();
}

// The environment goes away (process exit, worker.terminate()): stop the thread before anything it uses does.
void Device::cleanup(void* self) {
  static_cast<Device*>(self)->shut_down();
}

void Device::shut_down() {
  stream_.reset();  // joins the stream thread: nothing delivers any more
  shared_->waiting.clear();
  if (shared_->notify != nullptr) napi_release_threadsafe_function(shared_->notify, napi_tsfn_release);
  shared_->notify = nullptr;
}

Stream& Device::stream(Napi::Env env) {
  if (stream_ == nullptr) throw Napi::Error::New(env, "the backend is closed");
  return *stream_;
}

Device::Pending Device::pending(Napi::Env env, Napi::Reference<Napi::Uint8Array> target) {
  const uint64_t number = shared_->next++;
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok)
    throw Napi::Error::New(env, "could not create a promise");
  // Referenced only while a promise is pending: an idle device must not keep Node alive, a busy one must.
  if (shared_->waiting.empty()) napi_ref_threadsafe_function(env, shared_->notify);
  shared_->waiting.emplace(number, Completion{deferred, std::move(target)});
  return {number, Napi::Value(env, promise)};
}

Stream::Done Device::deliver(uint64_t number) {
  // Runs on the stream thread, which is joined before notify is released.
  return [shared = shared_, notify = shared_->notify, number](const std::string& error) {
    auto* delivery = new Delivery{shared, number, error};
    if (napi_call_threadsafe_function(notify, delivery, napi_tsfn_nonblocking) != napi_ok) delete delivery;
  };
}

// Settles promises through the C interface, whose failures can be passed over: a worker thread that is being terminated
// refuses every call, nobody is left to hear of it, and an exception thrown here would end the process.
void Device::complete(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<Delivery> delivery(static_cast<Delivery*>(data));
  if (env == nullptr) return;  // the environment is being torn down
  auto& waiting = delivery->shared->waiting;
  const auto found = waiting.find(delivery->number);
  if (found == waiting.end()) return;  // close() has settled it
  const Completion completion = std::move(found->second);
  waiting.erase(found);
  if (waiting.empty()) napi_unref_threadsafe_function(env, delivery->shared->notify);
  if (!delivery->error.empty()) {
    reject(env, completion.deferred, delivery->error);
    return;
  }
  napi_value value = nullptr;
  if (completion.target.IsEmpty()) {
    napi_get_undefined(env, &value);
  } else {
    napi_get_reference_value(env, completion.target, &value);
  }
  napi_resolve_deferred(env, completion.deferred, value);
}

Napi::Value Device::alloc(const Napi::CallbackInfo& info) {
  const size_t bytes = size_of(info, 0);
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), stream(info.Env()).alloc(bytes)); });
}

void Device::free(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { stream(info.Env()).free(id_of(info, 0)); });
}

void Device::write(const Napi::CallbackInfo& info) {
  if (!info[2].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "write expects a Uint8Array");
  const auto bytes = info[2].As<Napi::Uint8Array>();
  guarded(info.Env(),
          [&] { stream(info.Env()).write(id_of(info, 0), size_of(info, 1), bytes.Data(), bytes.ByteLength()); });
}

Napi::Value Device::read(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const uint32_t id = id_of(info, 0);
  const size_t offset = size_of(info, 1);
  const size_t length = size_of(info, 2);
  return guarded(env, [&]() -> Napi::Value {
    Stream& queue = stream(env);
    queue.check_range(id, offset, length, "read");
    auto target = Napi::Uint8Array::New(env, length);
    const Pending made = pending(env, Napi::Persistent(target));
    queue.read(id, offset, target.Data(), length, deliver(made.number));
    return made.promise;
  });
}

Napi::Value Device::compile(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "compile expects a Uint32Array");
  const auto words = info[0].As<Napi::Uint32Array>();
  const uint32_t arena = info[1].IsNumber() ? info[1].As<Napi::Number>().Uint32Value() : 0xffffffffu;
  std::vector<uint64_t> kept;
  if (info[2].IsArray()) {
    const auto places = info[2].As<Napi::Array>();
    for (uint32_t i = 0; i < places.Length(); i++)
      kept.push_back(static_cast<uint64_t>(places.Get(i).ToNumber().Int64Value()));
  }
  return guarded(info.Env(), [&] {
    auto& queue = stream(info.Env());
    return Napi::Number::New(info.Env(), queue.compile(words.Data(), words.ElementLength(), arena, std::move(kept)));
  });
}

void Device::run(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { stream(info.Env()).run(id_of(info, 0)); });
}

void Device::release(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { stream(info.Env()).release(id_of(info, 0)); });
}

Napi::Value Device::fence(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Stream& queue = stream(env);
    const Pending made = pending(env, {});
    queue.fence(deliver(made.number));
    return made.promise;
  });
}

Napi::Value Device::allocated(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(stream(info.Env()).allocated()));
}

void Device::close(const Napi::CallbackInfo& info) {
  if (stream_ == nullptr) return;
  Napi::Env env = info.Env();
  stream_.reset();
  for (auto& [number, completion] : shared_->waiting) reject(env, completion.deferred, "the backend was closed");
  if (!shared_->waiting.empty()) napi_unref_threadsafe_function(env, shared_->notify);
  shut_down();
}
