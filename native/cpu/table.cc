// The kernel table of one ISA; compiled once per ISA like the kernels it lists. A kernel that is missing does not link.
#include "cpu/table.h"

#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {
#define SWEETSPOT_ENTRY(name, Row)  \
  {static_cast<uint32_t>(Op::name), \
   [](Context& ctx, const uint32_t* row) { SWEETSPOT_ISA::name(ctx, Row::decode(row)); }},
const KernelEntry entries[] = {SWEETSPOT_OPS(SWEETSPOT_ENTRY)};
#undef SWEETSPOT_ENTRY
}  // namespace

KernelTable kernels() {
  return {entries, sizeof(entries) / sizeof(entries[0])};
}

}  // namespace sweetspot::SWEETSPOT_ISA
