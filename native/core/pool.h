// Compute threads. One caller at a time (the stream thread) hands out tasks; the caller works too.
// Tasks are claimed from a shared counter, so which thread runs a task varies, but what a task computes never does.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace sweetspot {

class Pool {
 public:
  // `threads` counts the caller: 1 makes no threads of its own.
  explicit Pool(uint32_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  uint32_t threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }
  void run(uint32_t tasks, void (*fn)(void*, uint32_t, uint32_t), void* argument);

 private:
  void work(uint32_t thread);
  void claim(uint32_t thread);

  std::vector<std::thread> workers_;
  void (*fn_)(void*, uint32_t, uint32_t) = nullptr;
  void* argument_ = nullptr;
  uint32_t tasks_ = 0;
  std::atomic<uint32_t> next_{0};
  std::atomic<uint32_t> busy_{0};
  std::atomic<uint32_t> generation_{0};
  std::atomic<uint32_t> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace sweetspot
