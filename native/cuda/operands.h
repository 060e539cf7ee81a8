// The operands of rows as bytes of buffers, and in which form ops take them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/ops.gen.h"
#include "cuda/api.h"

namespace sweetspot::cuda {

enum class Matmul : uint8_t;

struct Range {
  uint32_t buffer;
  size_t begin, end;
};

// body(index, role, range) for every operand of a row that is there and not empty.
template <class F>
void each_operand(const uint32_t* words, F body) {
  for (const OpSpec& spec : op_specs) {
    if (spec.code != (words[0] & 0xffff)) continue;
    for (uint32_t i = 0; i < spec.operands; i++) {
      if (words[1 + 2 * i] == 0xffffffffu) continue;
      const int64_t elements = spec.extent(words, i);
      if (elements <= 0) continue;
      const size_t begin = static_cast<size_t>(words[2 + 2 * i]) << 6;
      const size_t bytes = static_cast<size_t>(elements) * (spec.operand[i].dtype == Dtype::raw ? 1 : 4);
      body(i, spec.operand[i].role, Range{words[1 + 2 * i], begin, begin + bytes});
    }
  }
}

// Operands that a row multiplies in bf16, a bit each.
uint32_t factors(Op op, const uint32_t* words, Matmul matmul);

// Operands that an op's kernel also takes in bf16 (Launch::in), a bit each; `multiplied`: its factors.
uint32_t either(Op op, uint32_t multiplied);

}  // namespace sweetspot::cuda
