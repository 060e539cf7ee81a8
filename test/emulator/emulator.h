// Runs CUDA kernels on the CPU, so that native/cuda can be tested on a machine without a GPU. The headers in include/
// stand in for CUDA's own and for native/cuda/{ptx,launch}.cuh; everything else of native/cuda is compiled as it is, by
// a C++ compiler.
//
// Every thread of a block is a fiber that runs until it must wait for others: at a barrier, at an instruction of a
// whole warp, for an asynchronous copy. In which order fibers run, and whether asynchronous work happens as early or as
// late as it may, follows from a seed (SWEETSPOT_EMULATOR_SEED): a kernel that lacks a barrier or a wait gives other
// numbers under another seed. Blocks run one after the other. What cannot be told here: speed, memory order between
// proxies, and what the hardware does where its manual is silent.
//
// A mistake that a GPU would answer with a wrong number or a hang (lanes that never meet, a block too large, misaligned
// copies) ends the process with a message.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// Runs body once for each thread of each block; `shared` bytes of dynamic shared memory.
void run_grid(const std::function<void()>& body, Index grid, Index block, size_t shared);

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Of the block that runs, 1024-byte aligned; contents undefined (NaN) when a block begins.
uint8_t* shared_memory();
size_t shared_bytes();
// Number of the calling thread in its block.
unsigned thread();

// Waits for `count` threads (0: all that have not ended) at barrier `id` of 16. Returns whether `vote` was true for
// any.
bool barrier(unsigned id, unsigned count, bool vote = false);

// Threads first .. first + 32 (or 128) that are in the mask meet. `mine` is what each brings; the last one to come
// calls together(slots) once, where slots[i] is what thread first + i brought, or nullptr.
using Together = std::function<void(void* const* slots)>;
void meet(const char* what, unsigned width, uint32_t mask, void* mine, const Together& together);

// Runs others until done() is true.
void wait_until(const char* what, const std::function<bool()>& done);

// Work that asynchronous instructions have begun. It happens at once or in finish(), as the seed has it; in order where
// one builds on the one before.
class Async {
 public:
  void begin(std::function<void()> work, bool in_order = false);
  // Closes a group of what was begun; finish(left) does all but the newest `left` groups.
  void commit();
  void finish(unsigned left);
  bool idle() const { return open_.empty() && groups_.empty(); }

 private:
  bool all_done() const;
  std::vector<std::function<void()>> open_;
  std::deque<std::vector<std::function<void()>>> groups_;
};
// Of the calling thread, for cp.async and for bulk copies to memory; of its warpgroup, for wgmma (used by one thread of
// the group).
Async& copies_of_thread();
Async& stores_of_thread();
Async& products_of_warpgroup();
// For copies that announce their end at a barrier in memory: happens now, or while others wait.
void sometime(std::function<void()> work);

// Pseudo-random choice from the seed.
bool coin();

}  // namespace emulator
