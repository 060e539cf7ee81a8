#include <algorithm>

#include "cuda/copies.h"
#include "cuda/kernels/rows.cuh"
#include "cuda/operands.h"

namespace sweetspot::cuda {

uint32_t factors(Op op, const uint32_t* words, Matmul matmul) {
  const auto both = [&](uint32_t precision) { return precision == 1 || matmul == Matmul::bf16 ? 3u : 0u; };
  switch (op) {
    case Op::gemm:
      return both(GemmRow::decode(words).precision);
    case Op::grouped_gemm:
      return both(GroupedGemmRow::decode(words).precision);
    case Op::grouped_gemm_dw:
      return both(GroupedGemmDwRow::decode(words).precision);
    case Op::attention:
      return AttentionRow::decode(words).precision == 1 ? 1 : 0;
    case Op::attention_backward:
      return AttentionBackwardRow::decode(words).precision == 1 ? 3 : 0;
    default:
      return 0;
  }
}

uint32_t either(Op op, uint32_t multiplied) {
  switch (op) {
    case Op::attention_backward:  // dy and y, whose products are summed
      return multiplied != 0 ? 5 : 0;
    case Op::bank_adamw:         // dw
    case Op::bank_mix_backward:  // dw
    case Op::bank_sum_squares:   // dw
    case Op::cross_entropy:      // logits
    case Op::qk_norm:            // x
    case Op::rms_norm_backward:  // dy
    case Op::rope:               // x
    case Op::swiglu:             // x
      return 1;
    case Op::qk_norm_backward:  // dy, x
    case Op::swiglu_backward:   // dy, x
      return 3;
    default:
      return 0;
  }
}

namespace {

// The output that an op's kernel can also, or only, write in bf16 (Launch::out); -1: none.
int direct_output(Op op) {
  switch (op) {
    case Op::gemm:
    case Op::grouped_gemm:
      return 4;  // c
    case Op::grouped_gemm_dw:
      return 4;  // dw
    case Op::swiglu:
      return 1;  // y
    case Op::add:
    case Op::broadcast:
    case Op::embedding:
    case Op::rms_norm:
    case Op::rope:
      return 2;  // y
    case Op::mul:
    case Op::qk_norm:
      return 3;  // y
    case Op::combine_rows:
      return 4;  // y
    case Op::soft_cap_backward:
    case Op::swiglu_backward:
      return 2;  // dx
    case Op::combine_rows_backward:
      return 4;  // dx
    case Op::rms_norm_backward:
      return 6;  // dx
    case Op::qk_norm_backward:
      return 7;  // dx
    case Op::cross_entropy:
      return 4;  // dlogits
    case Op::distill_cross_entropy:
      return 6;  // dlogits
    case Op::bank_mix:
      return 4;  // w
    case Op::muon_momentum:
      return 3;  // x
    case Op::attention:
      return 1;  // y
    case Op::attention_backward:
      return 4;  // dqkv
    default:
      return -1;
  }
}

// Whether a row writes every number of its outputs' extents: a product may leave gaps between the rows of c. Groups
// that do not take part count as written: what lies there is undefined.
bool dense(Op op, const uint32_t* words) {
  if (op != Op::gemm) return true;
  const GemmRow row = GemmRow::decode(words);
  return (row.m <= 1 || row.ldc == row.n) && (row.batch <= 1 || row.strideC == uint64_t{row.m} * row.n);
}

// Whether what a row makes may be rounded to bf16: sums of products of bf16 numbers.
bool makes_results(Op op, uint32_t multiplied) {
  switch (op) {
    case Op::gemm:
    case Op::grouped_gemm:
    case Op::grouped_gemm_dw:
    case Op::attention:
    case Op::attention_backward:
      return multiplied != 0;
    default:
      return false;
  }
}

// Eight numbers at a time; places of copies are aligned.
__global__ void __launch_bounds__(kThreads) round_kernel(Fault fault, const float* x, bf16* y, size_t n) {
  if (fault.failed()) return;
  for (size_t i = flat_index() * 8; i < n; i += flat_stride() * 8) {
    if (i + 8 <= n) {
      const float4 a = *reinterpret_cast<const float4*>(x + i), b = *reinterpret_cast<const float4*>(x + i + 4);
      const __nv_bfloat162 pairs[4] = {__floats2bfloat162_rn(a.x, a.y), __floats2bfloat162_rn(a.z, a.w),
                                       __floats2bfloat162_rn(b.x, b.y), __floats2bfloat162_rn(b.z, b.w)};
      *reinterpret_cast<uint4*>(y + i) = *reinterpret_cast<const uint4*>(pairs);
    } else {
      for (size_t j = i; j < n; j++) y[j] = __float2bfloat16_rn(x[j]);
    }
  }
}

// `c` is a Copy or a Range.
template <class T>
bool overlaps(const Range& r, const T& c) {
  return r.buffer == c.buffer && r.begin < c.end && c.begin < r.end;
}
bool inside(const Range& r, const Copy& c) {
  return r.buffer == c.buffer && c.begin <= r.begin && r.end <= c.end;
}
bool covers(const Range& r, const Copy& c) {
  return r.buffer == c.buffer && r.begin <= c.begin && c.end <= r.end;
}

// What is left of numbers that were written over in part. Their float32 form is needed only if somebody reads it, and
// most often nobody does: a planner of memory gives the places of dead numbers to others.
struct Remains {
  uint32_t copy;
  Range range;
};

class Planner {
 public:
  Planner(const SweetspotCudaProgram& program, Matmul matmul) : program_(program), matmul_(matmul) {}

  CopyPlan plan() {
    plan_.rows.resize(program_.rows);
    for (uint32_t row = 0; row < program_.rows; row++) walk(row);
    // What a run leaves behind is read by others, or is what the next one begins with.
    for (size_t k = 0; k < program_.kept_count; k++)
      carried_.push_back({program_.arena, program_.kept[2 * k], program_.kept[2 * k + 1]});
    for (const Range& range : carried_) {
      keep(range);
      keep_remains(range);
    }
    for (uint32_t i = 0; i < plan_.copies.size(); i++) decide(i);
    place();
    return std::move(plan_);
  }

 private:
  const uint32_t* words(uint32_t row) const { return program_.words + program_.starts[row]; }

  void walk(uint32_t row) {
    const uint32_t* w = words(row);
    const Op op = static_cast<Op>(w[0] & 0xffff);
    const uint32_t multiplied = factors(op, w, matmul_), taken = either(op, multiplied);
    each_operand(w, [&](uint32_t i, Role role, const Range& range) {
      if (role == Role::out) return;
      const bool factor = (multiplied >> i & 1) != 0, either_form = (taken >> i & 1) != 0;
      Copy* made = holder(range);
      if (made == nullptr) {
        carried_.push_back(range);
        keep_remains(range);
      }
      if (factor) multiply(row, range, w[2 + 2 * i]);
      if (either_form && made != nullptr)
        made->reads.push_back({row, w[2 + 2 * i]});
      else if (either_form || !factor)
        keep(range);
    });
    const bool whole = dense(op, w);
    each_operand(w, [&](uint32_t, Role role, const Range& range) {
      if (role == Role::in) return;
      for (uint32_t id : live_) {
        Copy& copy = plan_.copies[id];
        if (!overlaps(range, copy)) continue;
        if (!whole)
          copy.kept = true;
        else if (!copy.kept && !covers(range, copy))
          remains_.push_back({id, {copy.buffer, copy.begin, copy.end}});
        if (copy.last == row || (!copy.reads.empty() && copy.reads.back().row == row)) copy.reused = true;
      }
      if (!whole)
        keep_remains(range);
      else
        write_over(range);
      const auto over = [&](uint32_t id) { return overlaps(range, plan_.copies[id]); };
      live_.erase(std::remove_if(live_.begin(), live_.end(), over), live_.end());
      plan_.copies[add(row, range, true)].result = makes_results(op, multiplied);
    });
  }

  // What a range of bytes is now, if it is part of what one row made.
  Copy* holder(const Range& range) {
    for (uint32_t id : live_)
      if (Copy& copy = plan_.copies[id]; copy.written && inside(range, copy)) return &copy;
    return nullptr;
  }

  uint32_t add(uint32_t row, const Range& range, bool written) {
    Copy copy{range.buffer, range.begin, range.end, row, row};
    copy.written = written;
    copy.kept = !written || range.buffer != program_.arena;
    plan_.copies.push_back(copy);
    live_.push_back(static_cast<uint32_t>(plan_.copies.size() - 1));
    return live_.back();
  }

  void keep(const Range& range) {
    for (uint32_t id : live_)
      if (overlaps(range, plan_.copies[id])) plan_.copies[id].kept = true;
  }

  void keep_remains(const Range& range) {
    for (const Remains& left : remains_)
      if (overlaps(range, left.range)) plan_.copies[left.copy].kept = true;
  }

  void write_over(const Range& range) {
    std::vector<Remains> all;
    for (const Remains& left : remains_) {
      const auto [buffer, begin, end] = left.range;
      if (!overlaps(range, left.range)) {
        all.push_back(left);
        continue;
      }
      if (begin < range.begin) all.push_back({left.copy, {buffer, begin, range.begin}});
      if (range.end < end) all.push_back({left.copy, {buffer, range.end, end}});
    }
    remains_ = std::move(all);
  }

  void multiply(uint32_t row, const Range& range, uint32_t offset) {
    auto found = std::find_if(live_.begin(), live_.end(), [&](uint32_t id) { return inside(range, plan_.copies[id]); });
    uint32_t id;
    if (found != live_.end()) {
      id = *found;
    } else {
      keep(range);
      id = add(row, range, false);
    }
    plan_.copies[id].used = true;
    plan_.copies[id].last = row;
    plan_.rows[row].inputs.push_back({range.buffer, offset, id});
  }

  void decide(uint32_t id) {
    Copy& copy = plan_.copies[id];
    if (!copy.reads.empty()) {
      if (copy.result && !copy.kept) {
        copy.used = true;
        for (const Read& read : copy.reads) {
          plan_.rows[read.row].inputs.push_back({copy.buffer, read.offset, id});
          copy.last = std::max(copy.last, read.row);
        }
      } else {
        copy.kept = true;
      }
    }
    if (!copy.used) return;
    RowCopies& row = plan_.rows[copy.first];
    if (!copy.written) return row.before.push_back(id);
    const Op op = static_cast<Op>(words(copy.first)[0] & 0xffff);
    // A copy of what lies in gaps is of older numbers, which only the kernel of ours reads.
    const int output = dense(op, words(copy.first)) ? direct_output(op) : -1;
    bool shared = false;
    each_operand(words(copy.first), [&](uint32_t i, Role role, const Range& range) {
      if (static_cast<int>(i) == output && covers(range, copy)) copy.direct = true;
      // Numbers of half the size, written where others are still read.
      if (role != Role::out && overlaps(range, copy)) shared = true;
    });
    if (!copy.direct) {
      copy.kept = true;
      return row.after.push_back(id);
    }
    copy.in_place = !copy.kept && !copy.reused && !shared;
    row.outputs.push_back({copy.buffer, static_cast<uint32_t>(copy.begin >> 6), id});
  }

  // The lowest free place during a copy's life, the largest first.
  void place() {
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < plan_.copies.size(); i++)
      if (plan_.copies[i].used && !plan_.copies[i].in_place) order.push_back(i);
    const auto size = [&](const Copy& copy) { return ((copy.end - copy.begin) / 2 + 255) / 256 * 256; };
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return size(plan_.copies[a]) > size(plan_.copies[b]); });
    std::vector<uint32_t> placed;  // by place
    for (uint32_t id : order) {
      Copy& copy = plan_.copies[id];
      size_t at = 0;
      for (uint32_t other : placed) {
        const Copy& there = plan_.copies[other];
        if (there.last < copy.first || copy.last < there.first) continue;
        if (at + size(copy) <= there.place) break;
        at = std::max(at, there.place + size(there));
      }
      copy.place = at;
      plan_.bytes = std::max(plan_.bytes, at + size(copy));
      placed.insert(
          std::upper_bound(placed.begin(), placed.end(), id,
                           [&](uint32_t a, uint32_t b) { return plan_.copies[a].place < plan_.copies[b].place; }),
          id);
    }
  }

  const SweetspotCudaProgram& program_;
  const Matmul matmul_;
  CopyPlan plan_;
  std::vector<uint32_t> live_;
  std::vector<Remains> remains_;
  std::vector<Range> carried_;  // read after a run, or though no row before wrote all of it at once
};

}  // namespace

uint8_t* CopyPlan::address(uint32_t id, uint8_t* const* bases, uint8_t* base) const {
  const Copy& copy = copies[id];
  return copy.in_place ? bases[copy.buffer] + copy.begin : base + copy.place;
}

const bf16* Launch::copy_of(Ref ref, bool only) const {
  // Operands that begin at the same place may differ in length; the copy that reaches farthest is good for both.
  const Use* found = nullptr;
  const auto end = [&](const Use& use) { return copies->copies[use.copy].end; };
  for (const Use& use : copies->rows[row].inputs)
    if (use.buffer == ref.buffer && use.offset == ref.offset && (found == nullptr || end(use) > end(*found)))
      found = &use;
  if (found == nullptr || (only && copies->copies[found->copy].kept)) return nullptr;
  const size_t within = (static_cast<size_t>(ref.offset) << 6) - copies->copies[found->copy].begin;
  return reinterpret_cast<const bf16*>(copies->address(found->copy, bases, copies_base) + within / 2);
}

const bf16* Launch::factor(Ref ref) const {
  return dry ? reinterpret_cast<const bf16*>(256) : copy_of(ref, false);
}

In Launch::in(Ref ref) const {
  const bf16* half = copies == nullptr ? nullptr : copy_of(ref, true);
  return half != nullptr ? In{nullptr, half} : In{f32(ref), nullptr};
}

Out Launch::out(Ref ref) const {
  if (dry || copies == nullptr) return {f32(ref), nullptr};
  for (const Use& use : copies->rows[row].outputs)
    if (use.buffer == ref.buffer && use.offset == ref.offset)
      return {copies->copies[use.copy].kept ? f32(ref) : nullptr,
              reinterpret_cast<bf16*>(copies->address(use.copy, bases, copies_base))};
  return {f32(ref), nullptr};
}

void make_copy(Launch& l, uint32_t id) {
  const Copy& copy = l.copies->copies[id];
  const auto* from = reinterpret_cast<const float*>(l.bases[copy.buffer] + copy.begin);
  const size_t n = (copy.end - copy.begin) / sizeof(float);
  launch(l, round_kernel, flat_grid(l, ceil_div(n, 8)), kThreads, 0, l.fault(), from,
         reinterpret_cast<bf16*>(l.copies->address(id, l.bases, l.copies_base)), n);
}

CopyPlan plan_copies(const SweetspotCudaProgram& program, Matmul matmul) {
  return Planner(program, matmul).plan();
}

}  // namespace sweetspot::cuda
