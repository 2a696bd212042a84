// edge_softmax: exp(s_e) / Σ exp(s) over each row's edges, per head. A row's scores lie side by
// side, [degree, H]. Where a row has a score of its own, that one counts as one edge more.
//
// Torch and ONNX Runtime run this same code.

#pragma once

#include <vector>

#include "channels.h"
#include "folded.h"

namespace graphstill::softmax {

struct Operands {
  const int64_t* rowptr;
  const float* score;      // [E, H]
  float* out;              // [E, H]
  int64_t heads;
  const float* own;        // [N, H], or null
  float* own_out;          // [N, H], where there is own
};

GRAPHSTILL_INLINE void exponentiate(float* values, int64_t count) {
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) store(values + at, exp_nonpositive(load(values + at)));
  float rest[kLanes] = {};
  for (int64_t k = 0; at + k < count; ++k) rest[k] = values[at + k];
  store(rest, exp_nonpositive(load(rest)));
  for (int64_t k = 0; at + k < count; ++k) values[at + k] = rest[k];
}

// A vector of which only the first lanes are there; the others are `none`.
struct Tail {
  float lanes[kLanes];
  int64_t count;

  GRAPHSTILL_INLINE Tail(const float* from, int64_t count, float none) : count(count) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] = k < count ? from[k] : none;
  }
  GRAPHSTILL_INLINE Floats all() const { return load(lanes); }
  // Keeps what replaces the lanes that are there.
  GRAPHSTILL_INLINE void put(Floats value) {
    float given[kLanes];
    store(given, value);
    for (int64_t k = 0; k < count; ++k) lanes[k] = given[k];
  }
  GRAPHSTILL_INLINE void copy_to(float* to) const { std::memcpy(to, lanes, count * sizeof(float)); }
};

// One row of scores, [degree, H] with H a divisor of the lanes.
GRAPHSTILL_INLINE void run_row(int64_t heads, const float* score, float* out,
                               int64_t size, const float* own, float* own_out) {
  const int64_t whole = size - size % kLanes;
  const Tail scores(score + whole, size - whole, -__builtin_inff());
  Tail parts(score + whole, size - whole, 0.0f);
  float mine[kLanes];
  for (int64_t k = 0; k < kLanes; ++k) mine[k] = own ? own[k % heads] : -__builtin_inff();
  Floats top = larger(load(mine), scores.all());
  for (int64_t at = 0; at < whole; at += kLanes) top = larger(load(score + at), top);
  top = folded::largest(top, heads);
  Floats total{};
  for (int64_t at = 0; at < whole; at += kLanes) {
    const Floats part = exp_nonpositive(load(score + at) - top);
    store(out + at, part);
    total += part;
  }
  parts.put(exp_nonpositive(scores.all() - top));
  total = folded::total(total + parts.all(), heads);
  const Floats self = own ? exp_nonpositive(load(mine) - top) : Floats{};
  const Floats share = 1.0f / (total + self);
  for (int64_t at = 0; at < whole; at += kLanes) store(out + at, load(out + at) * share);
  parts.put(parts.all() * share);
  parts.copy_to(out + whole);
  if (!own) return;
  store(mine, self * share);
  std::memcpy(own_out, mine, heads * sizeof(float));
}

inline void run_rows(const Operands& o, int64_t begin, int64_t end) {
  const int64_t heads = o.heads;
  if (folded::suits(heads)) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = o.rowptr[row] * heads, size = o.rowptr[row + 1] * heads - first;
      run_row(heads, o.score + first, o.out + first, size,
              o.own ? o.own + row * heads : nullptr, o.own ? o.own_out + row * heads : nullptr);
    }
    return;
  }
  std::vector<float> sum(heads), top(heads);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = o.rowptr[row] * heads, last = o.rowptr[row + 1] * heads;
    float* own = o.own ? o.own_out + row * heads : nullptr;
    for (int64_t h = 0; h < heads; ++h) {
      sum[h] = 0;
      top[h] = own ? o.own[row * heads + h] : -__builtin_inff();
    }
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h)
        top[h] = o.score[at + h] > top[h] ? o.score[at + h] : top[h];
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) o.out[at + h] = o.score[at + h] - top[h];
    exponentiate(o.out + first, last - first);
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) sum[h] += o.out[at + h];
    if (own) {
      for (int64_t h = 0; h < heads; ++h) own[h] = o.own[row * heads + h] - top[h];
      exponentiate(own, heads);
      for (int64_t h = 0; h < heads; ++h) sum[h] += own[h];
    }
    for (int64_t h = 0; h < heads; ++h) sum[h] = 1.0f / sum[h];
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) o.out[at + h] *= sum[h];
    for (int64_t h = 0; own && h < heads; ++h) own[h] *= sum[h];
  }
}

}  // namespace graphstill::softmax
