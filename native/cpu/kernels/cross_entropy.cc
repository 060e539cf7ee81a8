// Cross entropy with its gradient in one visit of a row: maximum, then exp and sum, then the gradient. With a gradient
// the exponentials are kept in dlogits itself (which may be logits), so exp is computed once and nothing of the size of
// the logits is stored elsewhere. A row of logits is 8-64 KiB, so the second and third sweep run from cache.
// Work is split by blocks of rows.
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

constexpr size_t cross_entropy_elements = 8192;

// Loss of one row; its gradient goes to dx unless that is nullptr.
float visit_row(const float* x, size_t vocab, size_t target, float scale, float* dx) {
  const float maximum = row_max(x, vocab), chosen = x[target];
  const float total = dx == nullptr ? row_exp<false>(x, nullptr, vocab, maximum) : row_exp<true>(x, dx, vocab, maximum);
  if (dx != nullptr) {
    const float probability = dx[target] / total;
    row_scale(dx, vocab, scale / total);
    dx[target] = (probability - 1.0f) * scale;
  }
  return std::log(total) + (maximum - chosen);
}

}  // namespace

void cross_entropy(Context& ctx, const CrossEntropyRow& row) {
  const size_t vocab = row.vocab;
  const float* logits = ctx.f32(row.logits);
  const int32_t* targets = ctx.i32(row.targets);
  const float scale = row.scale.present() ? ctx.f32(row.scale)[0] : 1.0f;
  float *loss = ctx.f32(row.loss), *dlogits = row.dlogits.present() ? ctx.f32(row.dlogits) : nullptr;
  each_row(ctx, row.rows, vocab, cross_entropy_elements, [=, &ctx](size_t r) {
    const int32_t target = targets[r];
    float* dx = dlogits == nullptr ? nullptr : dlogits + r * vocab;
    if (target < 0) {
      loss[r] = 0.0f;
      if (dx != nullptr) std::memset(dx, 0, vocab * sizeof(float));
    } else if (static_cast<size_t>(target) < vocab) {
      loss[r] = visit_row(logits + r * vocab, vocab, static_cast<size_t>(target), scale, dx);
    } else {
      ctx.fail("target %d in row %zu is outside the vocabulary of %zu", target, r, vocab);
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
