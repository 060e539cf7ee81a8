// The queue between a caller's thread and a device: one FIFO thread, buffers by number, Programs checked once.
// Every method but the thread's own is called from one thread, the owner's. Errors of the caller are thrown at once as
// std::runtime_error; errors of rows arrive late, through read and fence.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "core/executor.h"

namespace sweetspot {

class Stream {
 public:
  // Called on the stream thread when the work before it is done; empty text means no error.
  using Done = std::function<void(const std::string& error)>;

  explicit Stream(std::unique_ptr<Executor> executor);
  // Stops at the next row; completions that have not been called are dropped.
  ~Stream();

  uint32_t alloc(size_t bytes);
  void free(uint32_t id);
  // Copies the bytes before it returns.
  void write(uint32_t id, size_t offset, const void* bytes, size_t length);
  // `target` must stay valid until `done`.
  void read(uint32_t id, size_t offset, void* target, size_t length, Done done);
  // arena and kept as in Program.
  uint32_t compile(const uint32_t* words, size_t count, uint32_t arena = 0xffffffffu, std::vector<uint64_t> kept = {});
  void run(uint32_t program);
  void release(uint32_t program);
  void fence(Done done);
  size_t allocated() const { return allocated_; }
  // Throws unless the range lies inside a buffer in use; `what` begins the message.
  void check_range(uint32_t id, size_t offset, size_t length, const char* what) const;

 private:
  struct Buffer {
    size_t bytes = 0;
    uint64_t serial = 0;  // 0: not in use
  };

  void post(std::function<void()> command);
  void work();

  static constexpr uint32_t max_buffers = 1 << 16;

  std::unique_ptr<Executor> executor_;
  std::unique_ptr<uint8_t*[]> bases_;
  std::vector<Buffer> buffers_;
  std::vector<uint32_t> free_ids_;
  uint64_t next_serial_ = 1;
  size_t allocated_ = 0;
  std::unordered_map<uint32_t, std::shared_ptr<const Program>> programs_;
  uint32_t next_program_ = 1;
  Latch latch_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace sweetspot
