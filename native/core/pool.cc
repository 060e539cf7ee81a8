#include "core/pool.h"

namespace sweetspot {

namespace {
// A waiting worker polls this often before it sleeps: rows follow each other within microseconds, and a sleep costs
// more than most rows. About 20-50 us, short enough to leave the core to the event loop between steps.
constexpr int spins = 4000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
}  // namespace

Pool::Pool(uint32_t threads) {
  for (uint32_t i = 1; i < threads; i++) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::claim(uint32_t thread) {
  for (uint32_t task = next_.fetch_add(1, std::memory_order_relaxed); task < tasks_;
       task = next_.fetch_add(1, std::memory_order_relaxed)) {
    fn_(argument_, task, thread);
  }
}

void Pool::run(uint32_t tasks, void (*fn)(void*, uint32_t, uint32_t), void* argument) {
  if (tasks == 0) return;
  if (workers_.empty() || tasks == 1) {
    for (uint32_t task = 0; task < tasks; task++) fn(argument, task, 0);
    return;
  }
  fn_ = fn;
  argument_ = argument;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);
  if (sleeping_.load() > 0) {
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  claim(0);
  // Every worker must have left claim() before fn_ and argument_ may change.
  for (int i = 0; busy_.load(std::memory_order_acquire) != 0; i++) {
    if (i < spins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::work(uint32_t thread) {
  uint32_t seen = 0;
  for (;;) {
    for (int i = 0; i < spins && generation_.load(std::memory_order_acquire) == seen; i++) relax();
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) return;
    claim(thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace sweetspot
