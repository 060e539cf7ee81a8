// The time at which a row runs. A profile is a Program with a clock row between any two of its rows (bench/profile.ts).
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

void clock(Context& ctx, const ClockRow& row) {
  const uint64_t now = Context::now();
  std::memcpy(ctx.raw(row.y), &now, sizeof(now));
}

}  // namespace sweetspot::SWEETSPOT_ISA
