// Which numbers of a Program are kept in bf16. All of it follows from the rows, before anything runs.
//
// Factors: rows multiply float32 numbers rounded to bf16 (`precision`). Rounding is done once, where a number is made
// or before it is first multiplied, and products read the copies. Where nothing else reads the float32 numbers they are
// not even written. This changes no result: a product sees the same bits as if it rounded its factors itself.
//
// Results: what such a product makes for elementwise rows alone (the input of SwiGLU, of a rotation, the gradient that
// a norm takes; not what is added to the residual stream), or as the gradient of generated weights for the ops of a
// bank, is kept in bf16 only, as mixed precision elsewhere has it, where it lies in the Program's arena. This rounds
// once more than the CPU does, and halves most of what a step moves.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/api.h"

namespace sweetspot::cuda {

enum class Matmul : uint8_t;

// A row's operand, by its offset in units of 64 bytes.
struct Read {
  uint32_t row, offset;
};

// Float32 numbers in a buffer, from when a row writes them (or something before the Program did) until they are written
// again, and the copy of them.
struct Copy {
  uint32_t buffer;
  size_t begin, end;             // bytes of the float32 numbers
  uint32_t first, last;          // rows: the copy is made before or by `first`, `last` multiplies it
  bool used = false;             // a product reads it; otherwise there is no copy
  bool written = false;          // row `first` writes these numbers, else a kernel of ours reads them before it
  bool kept = false;             // the float32 numbers are read too
  bool result = false;           // made by a product in bf16: what reads it may take the copy for it
  bool reused = false;           // a row that reads it puts an output in its place
  std::vector<Read> reads = {};  // by rows that take float32 or bf16
  bool direct = false;           // row `first` itself writes the copy
  bool in_place = false;         // the copy lies where the float32 numbers would
  size_t place = 0;              // else where it lies among the copies, in bytes
};

// An operand of a row that is read from a copy or written to one.
struct Use {
  uint32_t buffer;
  uint32_t offset;  // as in Ref
  uint32_t copy;    // index
};

struct RowCopies {
  std::vector<Use> inputs;
  std::vector<Use> outputs;             // with direct copies only
  std::vector<uint32_t> before, after;  // copies made by a kernel of ours before and after the row
};

struct CopyPlan {
  std::vector<Copy> copies;
  std::vector<RowCopies> rows;
  size_t bytes = 0;  // of all copies that do not lie in place

  // Device address of a copy, where `base` is that of the `bytes`.
  uint8_t* address(uint32_t id, uint8_t* const* bases, uint8_t* base) const;
};

CopyPlan plan_copies(const SweetspotCudaProgram& program, Matmul matmul);

// bytes.cu: see api.h.
size_t count_bytes(const SweetspotCudaProgram& program, Matmul matmul, uint64_t* rows, uint64_t* rounding);

struct Launch;
// Enqueues the kernel that rounds float32 numbers into copy `id`.
void make_copy(Launch& l, uint32_t id);

}  // namespace sweetspot::cuda
