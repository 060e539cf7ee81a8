#include "core/stream.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace sweetspot {

Stream::Stream(std::unique_ptr<Executor> executor)
    : executor_(std::move(executor)), bases_(new uint8_t*[max_buffers]()), thread_([this] { work(); }) {}

Stream::~Stream() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  for (uint32_t id = 0; id < buffers_.size(); id++)
    if (bases_[id] != nullptr) executor_->deallocate(bases_[id], buffers_[id].bytes);
}

void Stream::post(std::function<void()> command) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(command));
  }
  wake_.notify_one();
}

void Stream::work() {
  for (;;) {
    std::function<void()> command;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (stop_) return;
      command = std::move(queue_.front());
      queue_.pop_front();
    }
    command();
  }
}

uint32_t Stream::alloc(size_t bytes) {
  uint32_t id;
  {
    // An id returns to the list on the stream thread, once its memory is gone.
    std::lock_guard lock(mutex_);
    if (!free_ids_.empty()) {
      id = free_ids_.back();
      free_ids_.pop_back();
    } else {
      if (buffers_.size() == max_buffers) throw std::runtime_error("no more than 65536 buffers can be in use");
      id = static_cast<uint32_t>(buffers_.size());
      buffers_.emplace_back();
    }
  }
  void* memory = executor_->allocate(bytes);
  if (memory == nullptr) {
    std::lock_guard lock(mutex_);
    free_ids_.push_back(id);
    throw std::runtime_error("out of memory: " + std::to_string(bytes) + " bytes");
  }
  bases_[id] = static_cast<uint8_t*>(memory);
  buffers_[id] = {bytes, next_serial_++};
  allocated_ += bytes;
  post([this, memory, bytes] { executor_->clear(memory, bytes); });
  return id;
}

void Stream::free(uint32_t id) {
  check_range(id, 0, 0, "free");
  const size_t bytes = buffers_[id].bytes;
  buffers_[id].serial = 0;
  allocated_ -= bytes;
  post([this, id, bytes] {
    executor_->deallocate(bases_[id], bytes);
    bases_[id] = nullptr;
    std::lock_guard lock(mutex_);
    free_ids_.push_back(id);
  });
}

void Stream::check_range(uint32_t id, size_t offset, size_t length, const char* what) const {
  if (id >= buffers_.size() || buffers_[id].serial == 0)
    throw std::runtime_error(std::string(what) + ": buffer " + std::to_string(id) + " is not allocated");
  const size_t bytes = buffers_[id].bytes;
  if (offset > bytes || length > bytes - offset)
    throw std::runtime_error(std::string(what) + ": bytes " + std::to_string(offset) + " to " +
                             std::to_string(offset + length) + " of a buffer of " + std::to_string(bytes));
}

void Stream::write(uint32_t id, size_t offset, const void* bytes, size_t length) {
  check_range(id, offset, length, "write");
  std::shared_ptr<uint8_t[]> copy(new uint8_t[length]);
  std::memcpy(copy.get(), bytes, length);
  post([this, id, offset, length, copy] { executor_->write(bases_[id] + offset, copy.get(), length); });
}

void Stream::read(uint32_t id, size_t offset, void* target, size_t length, Done done) {
  check_range(id, offset, length, "read");
  post([this, id, offset, target, length, done = std::move(done)] {
    if (!latch_.failed()) {
      executor_->read(target, bases_[id] + offset, length);
      executor_->synchronize(latch_);
    }
    done(latch_.peek());
  });
}

uint32_t Stream::compile(const uint32_t* words, size_t count, uint32_t arena, std::vector<uint64_t> kept) {
  auto program = std::make_shared<Program>();
  program->arena = arena;
  program->kept = std::move(kept);
  program->words.assign(words, words + count);
  size_t row = 0;
  for (size_t at = 0; at < count; row++) {
    const std::string where = "row " + std::to_string(row);
    const OpSpec* spec = find_op(words[at] & 0xffff);
    if (spec == nullptr) throw std::runtime_error(where + ": unknown opcode " + std::to_string(words[at] & 0xffff));
    const size_t length = words[at] >> 16;
    if (length != 1 + 2 * spec->operands + spec->dims + spec->scalars || length > count - at)
      throw std::runtime_error(where + ": " + spec->name + " has " + std::to_string(length) + " words");
    for (uint32_t i = 0; i < spec->operands; i++) {
      const OperandSpec& operand = spec->operand[i];
      const std::string name = where + ": " + spec->name + " " + operand.name;
      const uint32_t id = words[at + 1 + 2 * i];
      if (id == 0xffffffffu) {
        if (!operand.optional) throw std::runtime_error(name + " is missing");
        continue;
      }
      const int64_t elements = spec->extent(words + at, i);
      const size_t bytes = static_cast<size_t>(std::max<int64_t>(elements, 0)) * (operand.dtype == Dtype::raw ? 1 : 4);
      check_range(id, static_cast<size_t>(words[at + 2 + 2 * i]) << 6, bytes, name.c_str());
      const std::pair<uint32_t, uint64_t> buffer{id, buffers_[id].serial};
      auto& known = program->buffers;
      if (std::find(known.begin(), known.end(), buffer) == known.end()) known.push_back(buffer);
    }
    program->starts.push_back(static_cast<uint32_t>(at));
    at += length;
  }
  program->id = next_program_++;
  programs_[program->id] = program;
  return program->id;
}

void Stream::run(uint32_t id) {
  const auto found = programs_.find(id);
  if (found == programs_.end()) throw std::runtime_error("program " + std::to_string(id) + " is not compiled");
  for (const auto& [buffer, serial] : found->second->buffers)
    if (buffers_[buffer].serial != serial)
      throw std::runtime_error("program " + std::to_string(id) + " uses buffer " + std::to_string(buffer) +
                               ", which was freed");
  post([this, program = found->second] {
    if (!latch_.failed()) executor_->run(*program, bases_.get(), latch_, stop_);
  });
}

void Stream::release(uint32_t id) {
  if (programs_.erase(id) == 0) throw std::runtime_error("program " + std::to_string(id) + " is not compiled");
  post([this, id] { executor_->forget(id); });
}

void Stream::fence(Done done) {
  post([this, done = std::move(done)] {
    executor_->synchronize(latch_);
    const std::string error = latch_.peek();
    latch_.clear();
    done(error);
  });
}

}  // namespace sweetspot
