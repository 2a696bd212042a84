// extremum: the largest or smallest feature among each node's in-neighbours.
//
//   out[i] = max_e weight[e] · x[col[e]],    0 for a row without edges
//
// Torch and ONNX Runtime run this same code.

#pragma once

#include "channels.h"

namespace graphstill::extremum {

struct Operands {
  const int64_t* rowptr;
  const int32_t* col;
  const float* x;
  const float* weight;
  float* out;
  int64_t edges;
  int64_t features;
  bool largest;
};

constexpr int64_t kAhead = 16;

GRAPHSTILL_INLINE float weight_of(const float* weight, int64_t edge) {
  return weight ? weight[edge] : 1.0f;
}

GRAPHSTILL_INLINE void prefetch_source(const int32_t* col, const float* x, int64_t edge, int64_t edges,
                                int64_t features) {
  if (edge + kAhead < edges) prefetch_row(x + col[edge + kAhead] * features, features);
}

// a and b as they are, or negated: a minimum is a maximum of what is negated. NaN wins.
template <class Vector>
GRAPHSTILL_INLINE Vector larger(Vector best, Vector value) {
  return select(value == value, select(value > best, value, best), value);
}

template <int Fixed>
GRAPHSTILL_INLINE void rows_of(const Operands& operands, int64_t begin, int64_t end) {
  const Operands o = operands;  // a copy that no store can reach stays in registers
  const int64_t features = Fixed ? Fixed : o.features;
  const float sign = o.largest ? 1.0f : -1.0f;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = o.rowptr[row], last = o.rowptr[row + 1];
    float* out = o.out + row * features;
    for (int64_t f = 0; f < features; ++f) out[f] = first == last ? 0 : -__builtin_inff();
    for (int64_t edge = first; edge < last; ++edge) {
      prefetch_source(o.col, o.x, edge, o.edges, features);
      const float* source = o.x + o.col[edge] * features;
      const float factor = sign * weight_of(o.weight, edge);
      for_vectors<Fixed>(features, [&](int64_t f, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        store(out + f, larger(load_as<Vector>(out + f), factor * load_as<Vector>(source + f)));
      });
    }
    if (!o.largest && first < last) scale(out, -1.0f, features);
  }
}

inline void run_rows(const Operands& o, int64_t begin, int64_t end) {
  with_channels(o.features,
                [&](auto fixed) { rows_of<decltype(fixed)::value>(o, begin, end); });
}

}  // namespace graphstill::extremum
