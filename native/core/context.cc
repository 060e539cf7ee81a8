#include "core/context.h"

#include <chrono>

#include "core/executor.h"
#include "core/pool.h"

namespace sweetspot {

void Context::parallel(uint32_t tasks, void (*fn)(void*, uint32_t, uint32_t), void* argument) {
  pool->run(tasks, fn, argument);
}

void* Context::scratch(size_t bytes) {
  void* memory = arena->take(bytes);
  if (memory == nullptr) fail("no memory for %zu bytes of scratch", bytes);
  return memory;
}

uint64_t Context::now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}

void Context::fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  latch->set(format, arguments);
  va_end(arguments);
}

}  // namespace sweetspot
