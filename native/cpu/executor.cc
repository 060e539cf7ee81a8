// The CPU backend: rows one after the other, each split over the pool by its kernel.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/context.h"
#include "core/executor.h"
#include "core/pool.h"
#include "cpu/table.h"

namespace sweetspot {

namespace {

constexpr size_t opcodes = 256;

struct Isa {
  const char* name;
  bool available;
  KernelTable (*kernels)();
};

// Best first. Detection asks the processor and the operating system (saved vector state), not the compiler flags.
std::vector<Isa> isas() {
  std::vector<Isa> list;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#if defined(SWEETSPOT_WITH_AVX512_BF16)
  list.push_back({"avx512_bf16", avx512 && __builtin_cpu_supports("avx512bf16"), avx512_bf16::kernels});
#endif
#if defined(SWEETSPOT_WITH_AVX512)
  list.push_back({"avx512", avx512, avx512::kernels});
#endif
#if defined(SWEETSPOT_WITH_AVX2)
  list.push_back({"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), avx2::kernels});
#endif
#endif
#if defined(SWEETSPOT_WITH_NEON)
  list.push_back({"neon", true, neon::kernels});
#endif
  list.push_back({"scalar", true, scalar::kernels});
  return list;
}

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(uint32_t threads, const Isa& isa) : pool_(threads) {
    const KernelTable table = isa.kernels();
    for (size_t i = 0; i < table.count; i++) kernels_[table.entries[i].opcode] = table.entries[i].kernel;
  }

  const char* name() const override { return "cpu"; }

  void* allocate(size_t bytes) override {
    // Large blocks on huge pages: streaming kernels spend up to a third of their time on address translation otherwise.
    const size_t huge = size_t{2} << 20;
    const size_t alignment = bytes >= 2 * huge ? huge : 64;
    void* memory = std::aligned_alloc(alignment, (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment);
    if (memory == nullptr) return nullptr;
#if defined(__linux__)
    if (alignment == huge) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
  }
  void clear(void* memory, size_t bytes) override {
    std::memset(memory, 0, bytes);
  }
  void deallocate(void* memory, size_t) override {
    std::free(memory);
  }
  void write(void* target, const void* source, size_t bytes) override {
    std::memcpy(target, source, bytes);
  }
  void read(void* target, const void* source, size_t bytes) override {
    std::memcpy(target, source, bytes);
  }

  void run(const Program& program, uint8_t* const* bases, Latch& latch, const std::atomic<bool>& stop) override {
    Context context{bases, &pool_, &scratch_, &latch, pool_.threads()};
    for (size_t row = 0; row < program.starts.size(); row++) {
      if (stop.load(std::memory_order_relaxed)) return;
      const uint32_t* words = program.words.data() + program.starts[row];
      kernels_[words[0] & 0xffff](context, words);
      if (latch.failed()) {
        latch.locate(std::to_string(program.id) + "\t" + std::to_string(row));
        return;
      }
    }
  }

 private:
  Pool pool_;
  Scratch scratch_;
  Kernel kernels_[opcodes] = {};
};

}  // namespace

std::vector<std::string> cpu_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas())
    if (isa.available) names.emplace_back(isa.name);
  return names;
}

std::unique_ptr<Executor> make_cpu_executor(const CpuOptions& options) {
  for (const Isa& isa : isas())
    if (isa.available && (options.isa.empty() || options.isa == isa.name))
      return std::make_unique<CpuExecutor>(std::max(1u, options.threads), isa);
  return nullptr;
}

}  // namespace sweetspot
