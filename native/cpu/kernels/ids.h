// The checks that kernels taking ids and counts from data make before they use one as an address.
#pragma once
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

// True when all ids are below `rows` and, unless `skip_negative`, not negative. Otherwise fails the row, naming the
// first bad id. `what` is how the message calls an id.
inline bool ids_inside(Context& ctx, const char* what, const int32_t* ids, size_t n, uint32_t rows,
                       bool skip_negative) {
  // Extremes first, in a loop the compiler can vectorize; the search for the culprit is only for the message.
  int32_t low = 0, high = -1;
  for (size_t i = 0; i < n; i++) {
    low = ids[i] < low ? ids[i] : low;
    high = ids[i] > high ? ids[i] : high;
  }
  if (static_cast<int64_t>(high) < static_cast<int64_t>(rows) && (skip_negative || low >= 0)) return true;
  for (size_t i = 0; i < n; i++) {
    if (ids[i] < 0 ? skip_negative : static_cast<uint32_t>(ids[i]) < rows) continue;
    ctx.fail("%s %d is outside the table of %u rows (position %zu)", what, ids[i], rows, i);
    break;
  }
  return false;
}

// How many of `groups` take part in a row: the first count[0], all of them without a count. Otherwise fails the row.
inline bool count_inside(Context& ctx, Ref count, uint32_t groups, uint32_t& present) {
  const int32_t given = count.present() ? *ctx.i32(count) : static_cast<int32_t>(groups);
  present = static_cast<uint32_t>(given);
  if (given >= 0 && present <= groups) return true;
  ctx.fail("a count of %d is outside the %u groups", given, groups);
  return false;
}

}  // namespace sweetspot::SWEETSPOT_ISA
