// Rotary position embedding on the query and key heads of fused attention rows, in the half-split convention: element j
// of a head turns with element j + headDim / 2. The gradient is the same kernel with inverse = 1.
//
// Sines are computed first: once for every position where positions are few beside the rows, as in a batch of windows,
// else for every row; headDim / 2 of them serve all heads of a row. Angles are kept in turns, in double, because
// position * frequency in float would lose the angle of late positions; after the whole and quarter turns are taken
// off, a float polynomial on [-pi/4, pi/4] is exact enough (error about 1e-7). Work is split by blocks of rows.
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

// Adding and subtracting this rounds a double below 2^51 to an integer, on machines without a rounding instruction too.
constexpr double rounder = 6755399441055744.0;

// Positions whose angles are computed together: a head of 16 has only 8 of them, too few for the vectors of one loop.
constexpr size_t angle_rows = 16;

// cosine[i], sine[i] of all[i] whole turns.
void angles(const double* all, size_t n, float sign, float* cosine, float* sine) {
  for (size_t j = 0; j < n; j++) {
    const double turn = all[j] - ((all[j] + rounder) - rounder);
    const double quarter = (4.0 * turn + rounder) - rounder;
    const float r = static_cast<float>((turn - 0.25 * quarter) * 6.283185307179586);
    const float q = static_cast<float>(quarter);  // -2, -1, 0, 1 or 2
    const float s = r * r;
    const float sin_r = r + r * s * (-1.6666654611e-1f + s * (8.3321608736e-3f + s * -1.9515295891e-4f));
    const float cos_r =
        1.0f - 0.5f * s + s * s * (4.166664568298827e-2f + s * (-1.388731625493765e-3f + s * 2.443315711809948e-5f));
    // cos(r + q pi/2) is cos, -sin, -cos, sin of r for q = 0, 1, 2, -1; sin(r + q pi/2) is sin, cos, -sin, -cos.
    const bool odd = q * q == 1.0f;
    const float even_sign = q * q == 4.0f ? -1.0f : 1.0f;
    cosine[j] = odd ? -q * sin_r : even_sign * cos_r;
    sine[j] = (odd ? q * cos_r : even_sign * sin_r) * sign;
  }
}

void rotate(const float* x, float* y, const float* cosine, const float* sine, size_t half) {
  each_vec(half, [&](size_t j, auto lanes) {
    const Vec a = lanes.load(x + j), b = lanes.load(x + half + j), c = lanes.load(cosine + j), s = lanes.load(sine + j);
    lanes.store(a * c - b * s, y + j);
    lanes.store(a * s + b * c, y + half + j);
  });
}

// A head that is one vector, in whole: masked halves would overlap in place, and every load wait for the store before.
// cosine and sine hold the angles of each half, the sines of the first with their sign changed.
void rotate_whole(const float* x, float* y, const float* cosine, const float* sine, size_t heads) {
  const Vec c = Vec::load(cosine), s = Vec::load(sine);
  for (size_t h = 0; h < heads; h++) {
    const Vec a = Vec::load(x + h * Vec::N);
    (a * c + swap_halves(a) * s).store(y + h * Vec::N);
  }
}

// Copies the `half` angles of each of `rows` rows for both halves of a head.
void double_angles(const float* cosine, const float* sine, size_t rows, size_t half, float* both_cosine,
                   float* both_sine) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t j = 0; j < half; j++) {
      const float c = cosine[r * half + j], s = sine[r * half + j];
      both_cosine[2 * r * half + j] = both_cosine[(2 * r + 1) * half + j] = c;
      both_sine[2 * r * half + j] = -s;
      both_sine[(2 * r + 1) * half + j] = s;
    }
  }
}

}  // namespace

void rope(Context& ctx, const RopeRow& row) {
  const size_t rows = row.rows, dim = row.headDim, half = dim / 2, rotated = row.heads + size_t{row.kvHeads};
  const size_t width = (rotated + row.kvHeads) * dim, block = max_size(1, kTaskElements / max_size(width, 1));
  const bool whole = dim == Vec::N;
  const float *x = ctx.f32(row.x), sign = row.inverse ? -1.0f : 1.0f;
  const int32_t* positions = ctx.i32(row.positions);
  float* y = ctx.f32(row.y);
  if (rows == 0) return;
  int32_t lowest = positions[0], highest = positions[0];
  for (size_t r = 1; r < rows; r++) {
    lowest = positions[r] < lowest ? positions[r] : lowest;
    highest = positions[r] > highest ? positions[r] : highest;
  }
  const bool shared = lowest >= 0 && static_cast<size_t>(highest) < rows / 2;
  const size_t entries = shared ? static_cast<size_t>(highest) + 1 : rows, count = round_up(entries * half, 16);
  const size_t part = round_up(2 * angle_rows * half, 16) + 64;
  auto* scratch = static_cast<float*>(
      ctx.scratch(((whole ? 6 : 2) * count + ctx.threads * part + round_up(2 * half, 16)) * sizeof(float)));
  if (scratch == nullptr) return;
  float *cosine = scratch, *sine = cosine + count, *both_cosine = sine + count, *both_sine = both_cosine + 2 * count;
  float* parts = whole ? both_sine + 2 * count : both_cosine;
  auto* turns = reinterpret_cast<double*>(parts + ctx.threads * part);
  for (size_t j = 0; j < half; j++)
    turns[j] = std::pow(static_cast<double>(row.theta), -2.0 * static_cast<double>(j) / static_cast<double>(dim)) /
               6.283185307179586;
  parallel(ctx, ceil_div(entries, angle_rows), [&](uint32_t task, uint32_t thread) {
    auto* all = reinterpret_cast<double*>(parts + thread * part);
    const size_t begin = task * angle_rows, some = min_size(angle_rows, entries - begin), at = begin * half;
    for (size_t e = 0; e < some; e++) {
      const double position = shared ? static_cast<double>(begin + e) : static_cast<double>(positions[begin + e]);
      for (size_t j = 0; j < half; j++) all[e * half + j] = position * turns[j];
    }
    angles(all, some * half, sign, cosine + at, sine + at);
    if (whole) double_angles(cosine + at, sine + at, some, half, both_cosine + 2 * at, both_sine + 2 * at);
  });
  parallel(ctx, ceil_div(rows, block), [&](uint32_t task, uint32_t) {
    for (size_t r = task * block; r < min_size(rows, (task + 1) * block); r++) {
      const float* from = x + r * width;
      float* to = y + r * width;
      const size_t entry = (shared ? static_cast<size_t>(positions[r]) : r) * half;
      for (size_t i = 0; i < width; i += 16) __builtin_prefetch(from + 4 * width + i);
      if (whole) rotate_whole(from, to, both_cosine + 2 * entry, both_sine + 2 * entry, rotated);
      for (size_t h = whole ? rotated : 0; h < rotated; h++) {
        rotate(from + h * dim, to + h * dim, cosine + entry, sine + entry, half);
        if (dim % 2 == 1) to[h * dim + dim - 1] = from[h * dim + dim - 1];
      }
      row_copy(from + rotated * dim, to + rotated * dim, row.kvHeads * dim);
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
