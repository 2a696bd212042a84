// Products of a few rows with weights that were packed before, and what a layer does with the result.
//
//   out[r, o] = scale[r] · act(Σ_t Σ_k a_t[r, k] · weight_t[k, o]  +  bias[o])
//
// The rows are in cache, having just been made; the sums of a tile are held in registers over all of
// K and all terms, and written once. A row's sums are added in the same order wherever it lies.

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "activation.h"
#include "channels.h"

namespace graphstill::product {
namespace {

#if defined(__AVX512F__)
constexpr int kVector = 16, kTile = 12;  // floats of a register; rows whose sums fit into registers
#elif defined(__AVX__)
constexpr int kVector = 8, kTile = 6;
#else
constexpr int kVector = 4, kTile = 6;
#endif
constexpr int kPanel = 2 * kVector;  // outputs of a tile
constexpr int64_t kNear = 1 << 14;   // floats of the rows that share a panel while it is near

typedef float Vector __attribute__((vector_size(4 * kVector)));

// alpha · weight + identity · I as panels of kPanel outputs, filled up with zeros; the weight is
// [K, O], or [O, K].
class Packed {
 public:
  Packed(const float* weight, int64_t inner, int64_t outputs, bool transposed, float alpha = 1.0f,
         float identity = 0.0f)
      : inner_(inner), panels_((outputs + kPanel - 1) / kPanel),
        values_(panels_ * inner * kPanel) {
    for (int64_t k = 0; k < inner; ++k)
      for (int64_t o = 0; o < outputs; ++o)
        values_[(o / kPanel * inner + k) * kPanel + o % kPanel] =
            alpha * (transposed ? weight[o * inner + k] : weight[k * outputs + o]) +
            (k == o ? identity : 0.0f);
  }

  int64_t inner() const { return inner_; }
  int64_t panels() const { return panels_; }
  const float* panel(int64_t index) const { return values_.data() + index * inner_ * kPanel; }

 private:
  int64_t inner_, panels_;
  std::vector<float> values_;
};

struct Term {
  const float* rows = nullptr;  // [R, K]
  const Packed* weight = nullptr;
};

struct Operands {
  Term terms[2];      // the second has no weight where there is one alone
  const float* bias;  // [O], filled up with zeros to whole panels
  float* out;         // [R, O]
  int64_t outputs;
  Activation activation;
  const float* scale = nullptr;  // [R], or none
};

template <int Rows, int Vectors>
GRAPHSTILL_INLINE void add_term(const Term& term, int64_t row, int64_t panel,
                                Vector (&total)[Rows][Vectors]) {
  const int64_t inner = term.weight->inner();
  const float* weight = term.weight->panel(panel);
  const float* a = term.rows + row * inner;
  for (int64_t k = 0; k < inner; ++k, weight += kPanel) {
    Vector w[Vectors];
    for (int v = 0; v < Vectors; ++v) w[v] = load_as<Vector>(weight + v * kVector);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) total[r][v] += a[r * inner + k] * w[v];
  }
}

// Writes Vectors vectors of each row to `out`, whose rows are `stride` apart. Calls no other
// function: sums that live across a call would not stay in registers.
template <int Rows, int Vectors>
__attribute__((noinline)) void sum_tile(const Operands& o, int64_t row, int64_t panel, float* out,
                                        int64_t stride) {
  Vector total[Rows][Vectors];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) total[r][v] = Vector{};
  add_term<Rows, Vectors>(o.terms[0], row, panel, total);
  if (o.terms[1].weight) add_term<Rows, Vectors>(o.terms[1], row, panel, total);
  const float* bias = o.bias + panel * kPanel;
  const float least = o.activation == kRelu ? 0.0f : -std::numeric_limits<float>::infinity();
  const float* scale = o.activation == kElu ? nullptr : o.scale;  // after an ELU, which comes later
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    const float factor = scale ? scale[row + r] : 1.0f;
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      const Vector value = total[r][v] + load_as<Vector>(bias + v * kVector);
      store(out + r * stride + v * kVector, factor * (value < least ? Vector{} + least : value));
    }
  }
}

template <int Rows>
void tile(const Operands& o, int64_t row, int64_t panel) {
  const int64_t first = panel * kPanel, width = std::min<int64_t>(kPanel, o.outputs - first);
  float* out = o.out + row * o.outputs + first;
  if (width == kPanel) {
    sum_tile<Rows, 2>(o, row, panel, out, o.outputs);
  } else if (width == kVector) {
    sum_tile<Rows, 1>(o, row, panel, out, o.outputs);
  } else {
    float sums[Rows * kPanel];
    if (width > kVector) sum_tile<Rows, 2>(o, row, panel, sums, kPanel);
    else sum_tile<Rows, 1>(o, row, panel, sums, kPanel);
    for (int r = 0; r < Rows; ++r) {
      const float* from = sums + r * kPanel;
      for_vectors<0>(width, [&](int64_t f, auto lanes) GRAPHSTILL_LAMBDA {
        store(out + r * o.outputs + f, load_as<decltype(lanes)>(from + f));
      });
    }
  }
  if (o.activation != kElu) return;
  for (int r = 0; r < Rows; ++r) {
    activate(out + r * o.outputs, width, kElu);
    if (o.scale) scale(out + r * o.outputs, o.scale[row + r], width);
  }
}

// How many rows of so many features to multiply together: whole tiles, near when they are.
inline int64_t batch(int64_t features) {
  return std::clamp<int64_t>(kNear / std::max<int64_t>(features, 1), 48, 480) / kTile * kTile;
}

inline void run(const Operands& o, int64_t rows) {
  for (int64_t panel = 0; panel < o.terms[0].weight->panels(); ++panel) {
    int64_t row = 0;
    for (; row + kTile <= rows; row += kTile) tile<kTile>(o, row, panel);
    for (; row + 3 <= rows; row += 3) tile<3>(o, row, panel);
    for (; row < rows; ++row) tile<1>(o, row, panel);
  }
}

}  // namespace
}  // namespace graphstill::product
