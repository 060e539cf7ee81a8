#include "core/executor.h"

#include <cstdio>
#include <cstdlib>

namespace sweetspot {

void Latch::set(const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::lock_guard lock(mutex_);
  if (failed_.load(std::memory_order_relaxed)) return;
  message_ = text;
  failed_.store(true, std::memory_order_release);
}

void Latch::locate(const std::string& where) {
  std::lock_guard lock(mutex_);
  message_ = where + "\t" + message_;
}

std::string Latch::peek() {
  std::lock_guard lock(mutex_);
  return message_;
}

void Latch::clear() {
  std::lock_guard lock(mutex_);
  message_.clear();
  failed_.store(false, std::memory_order_release);
}

Scratch::~Scratch() {
  std::free(memory_);
}

void* Scratch::take(size_t bytes) {
  if (bytes > size_) {
    std::free(memory_);
    const size_t size = (bytes + (size_t{1} << 16)) >> 6 << 6;
    memory_ = std::aligned_alloc(64, size);
    size_ = memory_ == nullptr ? 0 : size;
  }
  return memory_;
}

const OpSpec* find_op(uint32_t code) {
  for (const OpSpec& spec : op_specs)
    if (spec.code == code) return &spec;
  return nullptr;
}

}  // namespace sweetspot
