// How many bytes rows move by the plan of copies: what rooflines and profiles count.
#include "cuda/copies.h"
#include "cuda/kernel.cuh"
#include "cuda/operands.h"

namespace sweetspot::cuda {

namespace {

// The copy that an operand is read from or written to, or nullptr.
const Copy* find(const CopyPlan& plan, const std::vector<Use>& uses, const Range& range) {
  for (const Use& use : uses)
    if (use.buffer == range.buffer && static_cast<size_t>(use.offset) << 6 == range.begin)
      return &plan.copies[use.copy];
  return nullptr;
}

}  // namespace

size_t count_bytes(const SweetspotCudaProgram& program, Matmul matmul, uint64_t* rows, uint64_t* rounding) {
  const CopyPlan plan = plan_copies(program, matmul);
  for (size_t row = 0; row < program.rows; row++) {
    const uint32_t* words = program.words + program.starts[row];
    const Op op = static_cast<Op>(words[0] & 0xffff);
    const uint32_t multiplied = factors(op, words, matmul), taken = either(op, multiplied);
    const RowCopies& copies = plan.rows[row];
    rows[row] = rounding[row] = 0;
    each_operand(words, [&](uint32_t i, Role role, const Range& range) {
      const uint64_t bytes = range.end - range.begin;
      const bool factor = (multiplied >> i & 1) != 0, either_form = (taken >> i & 1) != 0;
      bool single = !factor || either_form, half = factor;
      if (role == Role::out) {
        const Copy* copy = find(plan, copies.outputs, range);
        single = copy == nullptr || copy->kept;
        half = copy != nullptr;
      } else if (either_form) {
        const Copy* copy = find(plan, copies.inputs, range);
        if (copy != nullptr && !copy->kept) single = false, half = true;
      }
      rows[row] += (role == Role::inout ? 2 : 1) * ((single ? bytes : 0) + (half ? bytes / 2 : 0));
    });
    for (const auto* made : {&copies.before, &copies.after})
      for (uint32_t id : *made) rounding[row] += (plan.copies[id].end - plan.copies[id].begin) / 2 * 3;
  }
  return plan.bytes;
}

}  // namespace sweetspot::cuda
