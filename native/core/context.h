// What a kernel sees while its row runs: memory behind operands, the compute threads, scratch memory and a way to fail.
// Plain pointers and function pointers only: kernels are compiled once per ISA, and a standard-library template
// instantiated there with wide instructions could be merged by the linker into code that runs on every machine.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/ops.gen.h"

namespace sweetspot {

class Pool;
class Scratch;
class Latch;

struct Context {
  // Base addresses of buffers by id; compile() has checked that every operand lies inside its buffer.
  uint8_t* const* bases;
  Pool* pool;
  Scratch* arena;
  Latch* latch;
  uint32_t threads;

  float* f32(Ref ref) const { return reinterpret_cast<float*>(address(ref)); }
  int32_t* i32(Ref ref) const { return reinterpret_cast<int32_t*>(address(ref)); }
  uint8_t* raw(Ref ref) const { return address(ref); }

  // Runs fn(argument, task, thread) for every task below `tasks` and returns when all are done. The caller fixes the
  // tasks by the shape alone, so that results do not depend on how many threads there are. `thread` < threads.
  void parallel(uint32_t tasks, void (*fn)(void*, uint32_t task, uint32_t thread), void* argument);

  // Memory valid until the row ends, 64-byte aligned, contents undefined. One block a row: ask once, split it yourself.
  // Returns nullptr and fails the row when there is no memory.
  void* scratch(size_t bytes);

  // Nanoseconds of a clock that never goes back.
  static uint64_t now();

  // Latches an error of this row; later rows are skipped and the next fence reports it. Safe from any thread.
  void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));

 private:
  uint8_t* address(Ref ref) const { return bases[ref.buffer] + (static_cast<size_t>(ref.offset) << 6); }
};

using Kernel = void (*)(Context&, const uint32_t* row);

}  // namespace sweetspot
