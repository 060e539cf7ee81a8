// Blocks, fibers and how they wait for each other.
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>

#include "cuda_runtime.h"
#include "emulator.h"

#ifndef __x86_64__
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {
namespace {

constexpr size_t kStack = 256 << 10;
constexpr unsigned kMostThreads = 1024;
constexpr size_t kSharedRoom = 256 << 10;
// Rounds in which threads only ask whether they may go on, before that counts as a hang.
constexpr unsigned kPatience = 10000;

#ifdef __x86_64__
// Saves what a called function must keep, changes stacks, restores. ucontext does the same with two system calls.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.type emulator_switch, @function
emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size emulator_switch, . - emulator_switch
)");
#endif

struct Context {
#ifdef __x86_64__
  void* stack_pointer = nullptr;
  void prepare(uint8_t* stack, void (*entry)()) {
    // Aligned as at a function's first instruction: a return address, which nobody uses, lies on top.
    auto** top = reinterpret_cast<void**>(stack + kStack) - 1;
    *top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    stack_pointer = top - 6;
    std::memset(stack_pointer, 0, 6 * sizeof(void*));
  }
  static void change(Context& from, Context& to) {
    emulator_switch(&from.stack_pointer, to.stack_pointer);
  }
#else
  ucontext_t context;
  void prepare(uint8_t* stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  static void change(Context& from, Context& to) {
    swapcontext(&from.context, &to.context);
  }
#endif
};

struct Fiber {
  enum State { ready, waiting, asking, ended } state = ended;
  Context context;
  Async copies, stores;
  const char* waits_for = "";
};

struct Barrier {
  unsigned arrived = 0, expected = 0;
  bool vote = false, result = false;
  std::vector<unsigned> waiting;
};

struct Meeting {
  const char* what = nullptr;
  unsigned arrived = 0;
  void* slots[128] = {};
};

struct Block {
  const std::function<void()>* body = nullptr;
  unsigned threads = 0, left = 0, running = 0;
  size_t shared_bytes = 0;
  Fiber fibers[kMostThreads];
  Barrier barriers[16];
  Meeting warps[kMostThreads / 32], warpgroups[kMostThreads / 128];
  Async products[kMostThreads / 128];
  std::vector<std::function<void()>> pending;  // of sometime()
  std::vector<unsigned> order;
  uint64_t progress = 0;
  uint8_t* stacks = nullptr;
  uint8_t* shared = nullptr;
  Context scheduler;
  std::mt19937_64 random;
};

std::mutex one_at_a_time;
Block& block() {
  static Block only;
  return only;
}

void fiber_main() {
  Block& b = block();
  (*b.body)();
  Fiber& self = b.fibers[b.running];
  if (!self.copies.idle()) self.copies.finish(0);
  if (!self.stores.idle()) fail("a thread ended while boxes of its shared memory were stored");
  self.state = Fiber::ended;
  b.left--;
  b.progress++;
  // Those that wait for everybody no longer wait for this one.
  Barrier& all = b.barriers[0];
  if (all.arrived > 0 && all.expected == 0 && all.arrived == b.left) {
    all.result = all.vote;
    for (unsigned t : all.waiting) b.fibers[t].state = Fiber::ready;
    all = {0, 0, false, all.result, {}};
  }
  Context::change(self.context, b.scheduler);
}

void leave(Fiber::State state, const char* what) {
  Block& b = block();
  Fiber& self = b.fibers[b.running];
  self.state = state;
  self.waits_for = what;
  Context::change(self.context, b.scheduler);
}

void resume(unsigned thread) {
  Block& b = block();
  b.running = thread;
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
  Context::change(b.scheduler, b.fibers[thread].context);
}

[[noreturn]] void stuck() {
  Block& b = block();
  for (unsigned t = 0; t < b.threads; t++)
    if (b.fibers[t].state != Fiber::ended)
      fail("block (%u, %u, %u) hangs: thread %u waits for %s", blockIdx.x, blockIdx.y, blockIdx.z, t,
           b.fibers[t].waits_for);
  fail("a block hangs");
}

void run_block() {
  Block& b = block();
  b.left = b.threads;
  for (unsigned t = 0; t < b.threads; t++) {
    b.fibers[t].context.prepare(b.stacks + t * kStack, fiber_main);
    b.fibers[t].state = Fiber::ready;
  }
  std::memset(b.shared, 0xff, b.shared_bytes);  // NaN
  unsigned patience = kPatience;
  while (b.left > 0) {
    if (coin()) std::shuffle(b.order.begin(), b.order.end(), b.random);
    const uint64_t before = b.progress;
    bool ran = false;
    for (unsigned t : b.order) {
      Fiber& fiber = b.fibers[t];
      if (fiber.state != Fiber::ready && fiber.state != Fiber::asking) continue;
      ran = true;
      resume(t);
    }
    if (!ran) stuck();
    if (!b.pending.empty()) {
      const size_t one = b.random() % b.pending.size();
      const auto work = std::move(b.pending[one]);
      b.pending.erase(b.pending.begin() + static_cast<ptrdiff_t>(one));
      work();
    } else if (b.progress != before) {
      patience = kPatience;
    } else if (--patience == 0) {
      stuck();
    }
  }
  for (const auto& work : b.pending) work();
  b.pending.clear();
  for (Barrier& barrier : b.barriers) {
    if (barrier.arrived > 0) fail("a block ended while threads waited at a barrier");
    barrier = {};
  }
  for (const Async& products : b.products)
    if (!products.idle()) fail("a block ended before its asynchronous products");
}

}  // namespace

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "CUDA emulator: ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
  std::abort();
}

bool coin() {
  return (block().random() >> 17 & 1) != 0;
}

uint8_t* shared_memory() {
  return block().shared;
}
size_t shared_bytes() {
  return block().shared_bytes;
}
unsigned thread() {
  return block().running;
}
Async& copies_of_thread() {
  return block().fibers[block().running].copies;
}
Async& stores_of_thread() {
  return block().fibers[block().running].stores;
}
Async& products_of_warpgroup() {
  return block().products[block().running / 128];
}

void run_grid(const std::function<void()>& body, Index grid, Index size, size_t shared) {
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  Block& b = block();
  if (b.stacks == nullptr) {
    const auto map = [](size_t bytes) {
      return static_cast<uint8_t*>(
          mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    };
    b.stacks = map(kStack * kMostThreads);
    b.shared = map(kSharedRoom);
    const char* seed = std::getenv("SWEETSPOT_EMULATOR_SEED");
    b.random.seed(seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10));
  }
  const uint64_t threads = uint64_t{size.x} * size.y * size.z;
  if (threads == 0 || threads > kMostThreads || size.z > 64) fail("a block of %u x %u x %u", size.x, size.y, size.z);
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) fail("a grid of %u x %u x %u", grid.x, grid.y, grid.z);
  // Static variables may take a KiB of it, as dynamic memory begins at a multiple.
  if (shared > 0 && shared + 1024 > most_shared()) fail("%zu bytes of shared memory", shared);
  b.body = &body;
  b.threads = static_cast<unsigned>(threads);
  b.shared_bytes = shared;
  b.order.resize(threads);
  for (unsigned t = 0; t < threads; t++) b.order[t] = t;
  blockDim = {size.x, size.y, size.z};
  gridDim = {grid.x, grid.y, grid.z};
  for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block();
}

bool barrier(unsigned id, unsigned count, bool vote) {
  Block& b = block();
  Barrier& at = b.barriers[id];
  if (at.arrived > 0 && at.expected != count)
    fail("barrier %u is used for %u and for %u threads", id, at.expected, count);
  at.expected = count;
  at.vote |= vote;
  at.arrived++;
  if (at.arrived == (count == 0 ? b.left : count)) {
    at.result = at.vote;
    for (unsigned t : at.waiting) b.fibers[t].state = Fiber::ready;
    at = {0, 0, false, at.result, {}};
    b.progress++;
    return at.result;
  }
  at.waiting.push_back(b.running);
  leave(Fiber::waiting, "a barrier");
  return at.result;
}

void meet(const char* what, unsigned width, uint32_t mask, void* mine, const Together& together) {
  Block& b = block();
  const unsigned self = b.running, first = self / width * width;
  Meeting& meeting = width == 32 ? b.warps[first / 32] : b.warpgroups[first / 128];
  unsigned expected = 0;
  for (unsigned i = 0; i < width; i++) {
    if (width == 32 && (mask >> i & 1) == 0) continue;
    if (first + i >= b.threads || b.fibers[first + i].state == Fiber::ended)
      fail("%s: thread %u takes part but has ended", what, first + i);
    expected++;
  }
  if (width == 32 && (mask >> (self - first) & 1) == 0) fail("%s: thread %u is not in its own mask", what, self);
  if (meeting.arrived > 0 && meeting.what != what) fail("threads of a warp diverge: %s and %s", meeting.what, what);
  meeting.what = what;
  meeting.slots[self - first] = mine;
  if (++meeting.arrived < expected) return leave(Fiber::waiting, what);
  void* slots[128];
  std::copy(meeting.slots, meeting.slots + width, slots);
  meeting = {};
  together(slots);
  for (unsigned i = 0; i < width; i++)
    if (slots[i] != nullptr) b.fibers[first + i].state = Fiber::ready;
  b.progress++;
}

void wait_until(const char* what, const std::function<bool()>& done) {
  while (!done()) leave(Fiber::asking, what);
  block().progress++;
}

void sometime(std::function<void()> work) {
  if (coin()) return work();
  block().pending.push_back(std::move(work));
}

bool Async::all_done() const {
  return open_.empty() && std::all_of(groups_.begin(), groups_.end(), [](const auto& group) { return group.empty(); });
}

void Async::begin(std::function<void()> work, bool in_order) {
  if ((!in_order || all_done()) && coin()) return work();
  open_.push_back(std::move(work));
}
void Async::commit() {
  groups_.push_back(std::move(open_));
  open_.clear();
}
void Async::finish(unsigned left) {
  while (groups_.size() > left) {
    for (const auto& work : groups_.front()) work();
    groups_.pop_front();
  }
}

}  // namespace emulator
