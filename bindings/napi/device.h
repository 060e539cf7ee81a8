// A Stream as a JavaScript object. Words in, bytes in and out, a fence as a Promise; no mathematics.
#pragma once
#include <napi.h>

#include <memory>

#include "core/stream.h"

class Device : public Napi::ObjectWrap<Device> {
 public:
  static Napi::Function define(Napi::Env env);
  // new Device(kind: 'cpu', threads: number, isa: string)
  explicit Device(const Napi::CallbackInfo& info);
  ~Device() override;
  void Finalize(Napi::Env env) override;

 private:
  struct Completion;
  struct Shared;
  struct Delivery;
  // A promise that a delivery of this number settles.
  struct Pending {
    uint64_t number;
    Napi::Value promise;
  };

  Napi::Value alloc(const Napi::CallbackInfo& info);
  void free(const Napi::CallbackInfo& info);
  void write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value compile(const Napi::CallbackInfo& info);
  void run(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
  Napi::Value fence(const Napi::CallbackInfo& info);
  Napi::Value allocated(const Napi::CallbackInfo& info);
  // Waits for nothing: rows in flight stop at the next row, pending promises are rejected.
  void close(const Napi::CallbackInfo& info);

  sweetspot::Stream& stream(Napi::Env env);
  void shut_down();
  Pending pending(Napi::Env env, Napi::Reference<Napi::Uint8Array> target);
  sweetspot::Stream::Done deliver(uint64_t number);
  static void complete(napi_env env, napi_value callback, void* context, void* data);
  static void cleanup(void* self);

  std::unique_ptr<sweetspot::Stream> stream_;
  std::shared_ptr<Shared> shared_;
};
