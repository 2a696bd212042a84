// edge_softmax: exp(s_e) / Σ exp(s) over each row's edges, per head. A row's scores lie side by
// side, [degree, H]. Where a row has a score of its own, that one counts as one edge more.
//
// Torch and ONNX Runtime run this same code.

#pragma once

#include <vector>

#include "channels.h"

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

inline void run_rows(const Operands& o, int64_t begin, int64_t end) {
  const int64_t heads = o.heads;
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
