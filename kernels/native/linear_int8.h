// Rows of int8, and products of them with a weight of int8.
//
//   quantize_rows   scale[i] = max_f |x[i, f]| / 127,  q[i, f] = round(x[i, f] / scale[i])
//   linear_int8     out[i, o] = scale[i] · weight_scale[o] · Σ_k q[i, k] · weight[o, k]  +  bias[o]  +  residual[i, o]
//
// A row is rounded by its own largest value: what other nodes hold changes nothing in it, so a
// neighbourhood answers as the whole graph does, and a hub with large sums costs nobody else's
// accuracy. Sums of integers are exact, so every order of adding gives the same bits.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "dot_int8.h"

namespace graphstill::linear_int8 {
namespace {

constexpr float kLargest = 127.0f;

// Rounds features of one row; a NaN or an infinity in it makes its scale NaN, and so all that follows.
inline float quantize_row(const float* x, int64_t features, bool relu, int8_t* q) {
  Floats largest = {}, broken = {};
  int64_t f = 0;
  for (; f + kLanes <= features; f += kLanes) {
    const Floats value = load(x + f), size = select(value < 0.0f, -value, value);
    const Floats kept = relu ? select(value < 0.0f, Floats{}, value) : size;
    largest = select(kept > largest, kept, largest);
    broken += value * 0.0f;
  }
  float most = 0.0f, wrong = sum(broken);
  float lanes[kLanes];
  store(lanes, largest);
  for (int lane = 0; lane < kLanes; ++lane) most = std::max(most, lanes[lane]);
  for (; f < features; ++f) {
    most = std::max(most, relu ? x[f] : std::fabs(x[f]));
    wrong += x[f] * 0.0f;
  }
  if (!(wrong == 0.0f)) {
    std::memset(q, 0, features);
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float step = most / kLargest, scale = step > 0.0f ? step : 1.0f;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an even integer in the low bits
  for (f = 0; f + kLanes <= features; f += kLanes) {
    Floats value = load(x + f);
    if (relu) value = select(value < 0.0f, Floats{}, value);
    const Floats shifted = value / scale + magic;
    store_narrow(q + f, bits_as<Ints>(shifted) - 0x4B400000);
  }
  for (; f < features; ++f) {
    const float value = relu && x[f] < 0.0f ? 0.0f : x[f];
    q[f] = (int8_t)std::nearbyint(value / scale);
  }
  return scale;
}

// Lists the groups of a row that are not all zero; returns how many. `places` has room for all.
inline int64_t nonzero(const int32_t* groups, int64_t count, int32_t* places) {
  int64_t found = 0;
#if defined(__AVX512F__)
  __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int64_t g = 0; g < count; g += 16) {
    const __m512i value = _mm512_loadu_si512(groups + g);
    const __mmask16 there = _mm512_test_epi32_mask(value, value);
    _mm512_storeu_si512(places + found, _mm512_maskz_compress_epi32(there, index));
    found += __builtin_popcount(there);
    index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
  }
#else
  for (int64_t g = 0; g < count; ++g) {
    places[found] = (int32_t)g;
    found += groups[g] != 0;
  }
#endif
  return found;
}

struct Operands {
  const int8_t* x;            // [N, K]
  const float* scale;         // [N]
  const float* weight_scale;  // [O]
  const float* bias;          // [O]
  const float* residual;      // [N, O]
  float* out;                 // [N, O]
  int64_t rows, inner, outputs;
};

// The weight as the product reads it: panels of `kWidth` outputs, in each of which come, group after
// group of K, the numbers of every output. Zeros fill up both.
template <class Isa>
class Product {
 public:
  Product(const int8_t* weight, int64_t outputs, int64_t inner)
      : groups_((inner + Isa::kGroup - 1) / Isa::kGroup),
        panels_((outputs + kWidth - 1) / kWidth),
        packed_(panels_ * groups_ * kStep, (Number)Isa::kOffset) {
    for (int64_t o = 0; o < outputs; ++o) {
      Number* place = packed_.data() + o / kWidth * groups_ * kStep + o % kWidth * Isa::kGroup;
      for (int64_t k = 0; k < inner; ++k)
        place[k / Isa::kGroup * kStep + k % Isa::kGroup] = (Number)(weight[k] + Isa::kOffset);
      weight += inner;
    }
  }

  static int64_t tasks(int64_t rows) { return (rows + kBatch - 1) / kBatch; }

  void run(const Operands& o, int64_t task) const {
    const int64_t begin = task * kBatch, end = std::min(o.rows, begin + kBatch);
    // rows as groups, filled up with zeros to whole vectors
    const int64_t stride = (groups_ + kAligned - 1) / kAligned * kAligned;
    thread_local std::vector<int32_t> widened, places;
    widened.resize(kBatch * stride);
    places.resize(kBatch * stride + kAligned);
    int64_t count[kBatch + 1] = {};
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row - begin;
      widen(o.x + row * o.inner, o.inner, stride, widened.data() + at * stride);
      count[at + 1] = count[at] + nonzero(widened.data() + at * stride, stride,
                                          places.data() + count[at]);
    }
    const bool sparse = count[end - begin] * 4 < (end - begin) * groups_;
    int32_t moved[kBatch];
    for (int64_t at = 0; at < end - begin; ++at) {
      const int32_t* row = widened.data() + at * stride;
      moved[at] = Isa::moved(row, stride);
      if (sparse)
        sparse_row(o, begin + at, row, moved[at], places.data() + count[at],
                   count[at + 1] - count[at]);
    }
    for (int64_t panel = 0; panel < panels_ && !sparse; ++panel) {
      int64_t at = 0;
      for (; begin + at + kRows <= end; at += kRows)
        dense_panel<kRows>(o, begin + at, widened.data() + at * stride, stride, moved + at, panel);
      for (; begin + at < end; ++at)
        dense_panel<1>(o, begin + at, widened.data() + at * stride, stride, moved + at, panel);
    }
  }

 private:
  using Number = typename Isa::Number;
  using Vector = typename Isa::Vector;
  static constexpr int kWidth = Isa::kVectors * Isa::kLanes;
  static constexpr int64_t kStep = kWidth * Isa::kGroup;
  static constexpr int kRows = 6;        // whose sums fit into registers together
  static constexpr int64_t kBatch = 48;  // rows of a task
  static constexpr int64_t kAligned = 16;

  // The loops over vectors are unrolled so early that all sums stay in registers.

  static void widen(const int8_t* x, int64_t inner, int64_t stride, int32_t* groups) {
    Number* numbers = (Number*)groups;
    for (int64_t k = 0; k < inner; ++k) numbers[k] = (Number)x[k];
    std::memset(numbers + inner, 0, (stride * Isa::kGroup - inner) * sizeof(Number));
  }

  template <int Rows>
  void dense_panel(const Operands& o, int64_t row, const int32_t* groups, int64_t stride,
                   const int32_t* moved, int64_t panel) const {
    const int64_t left = (o.outputs - panel * kWidth + Isa::kLanes - 1) / Isa::kLanes;
    if (left >= Isa::kVectors) dense_rows<Rows, Isa::kVectors>(o, row, groups, stride, moved, panel);
    else if (left == 1) dense_rows<Rows, 1>(o, row, groups, stride, moved, panel);
    else if (left == 2) dense_rows<Rows, 2>(o, row, groups, stride, moved, panel);
    else dense_rows<Rows, 3>(o, row, groups, stride, moved, panel);
  }

  template <int Rows, int Vectors>
  void dense_rows(const Operands& o, int64_t row, const int32_t* groups, int64_t stride,
                  const int32_t* moved, int64_t panel) const {
    Vector total[Rows][Vectors];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) total[r][v] = Vector{};
    const Number* weight = packed_.data() + panel * groups_ * kStep;
    for (int64_t g = 0; g < groups_; ++g, weight += kStep) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const Vector w = Isa::load(weight + v * Isa::kLanes * Isa::kGroup);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
          total[r][v] = Isa::dot(total[r][v], w, groups + r * stride + g);
      }
    }
    alignas(64) int32_t sums[Rows][Vectors * Isa::kLanes];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        *(Vector*)(sums[r] + v * Isa::kLanes) = total[r][v];
    for (int r = 0; r < Rows; ++r)
      finish(o, row + r, panel, sums[r], Vectors * Isa::kLanes, moved[r]);
  }

  // Skips what is zero, as most of a bag of words is.
  void sparse_row(const Operands& o, int64_t row, const int32_t* groups, int32_t moved,
                  const int32_t* places, int64_t count) const {
    for (int64_t panel = 0; panel < panels_; ++panel) {
      Vector total[Isa::kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < Isa::kVectors; ++v) total[v] = Vector{};
      const Number* weight = packed_.data() + panel * groups_ * kStep;
      for (int64_t i = 0; i < count; ++i) {
        const int32_t g = places[i];
#pragma GCC unroll 4
        for (int v = 0; v < Isa::kVectors; ++v)
          total[v] = Isa::dot(
              total[v], Isa::load(weight + g * kStep + v * Isa::kLanes * Isa::kGroup), groups + g);
      }
      alignas(64) int32_t sums[kWidth];
#pragma GCC unroll 4
      for (int v = 0; v < Isa::kVectors; ++v)
        *(Vector*)(sums + v * Isa::kLanes) = total[v];
      finish(o, row, panel, sums, kWidth, moved);
    }
  }

  static GRAPHSTILL_INLINE void finish(const Operands& o, int64_t row, int64_t panel,
                                       const int32_t* sums, int64_t computed, int32_t moved) {
    const int64_t first = panel * kWidth, width = std::min(computed, o.outputs - first);
    const float scale = o.scale[row];
    float* out = o.out + row * o.outputs + first;
    for (int64_t f = 0; f < width; ++f)
      out[f] = (float)(sums[f] - moved) * (scale * o.weight_scale[first + f]);
    if (o.bias)
      for (int64_t f = 0; f < width; ++f) out[f] += o.bias[first + f];
    if (o.residual)
      for (int64_t f = 0; f < width; ++f) out[f] += o.residual[row * o.outputs + first + f];
  }

  int64_t groups_, panels_;
  std::vector<Number> packed_;
};

}  // namespace
}  // namespace graphstill::linear_int8
