// What runs rows on one kind of device. The stream owns one and calls it from its own thread only, except allocate and
// prepare, which the caller's thread uses. CPU is native/cpu/executor.cc; a new device is one more subclass.
#pragma once
#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/ops.gen.h"

namespace sweetspot {

// The first error since the last fence. Kernels set it from any thread; the stream adds which row it was.
class Latch {
 public:
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  void set(const char* format, va_list arguments);
  // Puts "program id, row number" before the message; the caller knows names and shapes.
  void locate(const std::string& where);
  std::string peek();
  void clear();

 private:
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string message_;
};

// One growing block that a row may use while it runs.
class Scratch {
 public:
  ~Scratch();
  void* take(size_t bytes);

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
};

// A checked list of rows. `starts[i]` is the first word of row i; `buffers` names the buffers it touches, each with the
// serial number it had when the rows were checked, so that a buffer freed since is noticed before a run.
struct Program {
  uint32_t id = 0;
  std::vector<uint32_t> words;
  std::vector<uint32_t> starts;
  std::vector<std::pair<uint32_t, uint64_t>> buffers;
  // A buffer that nothing but this program reads, apart from the ranges of bytes (from, to) in `kept`: a device may
  // keep numbers there in a form of its own, or not at all.
  uint32_t arena = 0xffffffffu;
  std::vector<uint64_t> kept;
};

const OpSpec* find_op(uint32_t code);

class Executor {
 public:
  virtual ~Executor() = default;
  virtual const char* name() const = 0;
  // 64-byte aligned memory, or nullptr. It is zeroed, or `clear` does it.
  virtual void* allocate(size_t bytes) = 0;
  // Zeroes new memory before anything else uses it: on the stream thread, because touching hundreds of megabytes for
  // the first time takes longer than an event loop may be held up.
  virtual void clear(void* /*memory*/, size_t /*bytes*/) {}
  virtual void deallocate(void* memory, size_t bytes) = 0;
  virtual void write(void* target, const void* source, size_t bytes) = 0;
  virtual void read(void* target, const void* source, size_t bytes) = 0;
  // Runs or queues every row; stops early when `stop` is set or the latch closes.
  virtual void run(const Program& program, uint8_t* const* bases, Latch& latch, const std::atomic<bool>& stop) = 0;
  // The program will not run again: what was kept for it can go.
  virtual void forget(uint32_t) {}
  // Waits for work that goes on after write and run have returned, and latches its first failure.
  virtual void synchronize(Latch&) {}
};

struct CpuOptions {
  uint32_t threads;
  std::string isa;  // "" = the best this machine has
};

// Names of the ISAs compiled in that this machine can run, best first.
std::vector<std::string> cpu_isas();
// nullptr when options.isa is not one of cpu_isas().
std::unique_ptr<Executor> make_cpu_executor(const CpuOptions& options);

}  // namespace sweetspot
