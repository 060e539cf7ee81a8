// Factors of products in bf16. The rows of a Program multiply float32 numbers rounded to bf16 (`precision`); rounding
// is done once, where a number is made or before it is first multiplied, and products read the copies. Where nothing
// else reads the float32 numbers they are not even written. All of this follows from the rows, before anything runs,
// and changes no result: a product sees the same bits as if it rounded its factors itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/api.h"

namespace sweetspot::cuda {

enum class Matmul : uint8_t;

// Float32 numbers in a buffer, from when a row writes them (or something before the Program did) until they are written
// again, and the copy of them.
struct Copy {
  uint32_t buffer;
  size_t begin, end;      // bytes of the float32 numbers
  uint32_t first, last;   // rows: the copy is made before or by `first`, `last` multiplies it
  bool used = false;      // a product reads it; otherwise there is no copy
  bool written = false;   // row `first` writes these numbers, else a kernel of ours reads them before it
  bool kept = false;      // the float32 numbers are read too
  bool direct = false;    // row `first` itself writes the copy
  bool in_place = false;  // the copy lies where the float32 numbers would
  size_t place = 0;       // else where it lies among the copies, in bytes
};

// What a row's operand is: a factor, read from a copy, or an output, which may have to be written to one.
struct Use {
  uint32_t buffer;
  uint32_t offset;  // as in Ref
  uint32_t copy;    // index
};

struct RowCopies {
  std::vector<Use> factors;
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

struct Launch;
// Enqueues the kernel that rounds float32 numbers into copy `id`.
void make_copy(Launch& l, uint32_t id);

}  // namespace sweetspot::cuda
