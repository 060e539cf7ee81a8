// Opcode to kernel, from the op table, and what an op's faults say.
#include "cuda/executor.h"

namespace sweetspot::cuda {

namespace {

#define SWEETSPOT_ENQUEUE(name, Row) \
  void enqueue_##name(Launch& l, const uint32_t* words) { name(l, Row::decode(words)); }
SWEETSPOT_OPS(SWEETSPOT_ENQUEUE)
#undef SWEETSPOT_ENQUEUE

struct Entry {
  Op op;
  Enqueue enqueue;
};

#define SWEETSPOT_ENTRY(name, Row) {Op::name, enqueue_##name},
constexpr Entry entries[] = {SWEETSPOT_OPS(SWEETSPOT_ENTRY)};
#undef SWEETSPOT_ENTRY

}  // namespace

Enqueue find_enqueue(uint32_t opcode) {
  for (const Entry& entry : entries)
    if (static_cast<uint32_t>(entry.op) == opcode) return entry.enqueue;
  return nullptr;
}

size_t dry_run(Launch l, const SweetspotCudaProgram& program) {
  size_t most = 0;
  for (size_t row = 0; row < program.rows; row++) {
    const uint32_t* words = program.words + program.starts[row];
    l.row = static_cast<uint32_t>(row);
    l.scratch_used = 0;
    find_enqueue(words[0] & 0xffff)(l, words);
    if (l.scratch_used > most) most = l.scratch_used;
  }
  return most;
}

}  // namespace sweetspot::cuda
