// spmm_int8: sums or averages of quantised features, whose integers are added without rounding.
//
//   out[i, f] = scale[f] · R_i Σ_e x[col[e], f],    R_i = 1 for a sum, 1 / max(degree of i, 1) for a mean

#pragma once

#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace graphstill::int8 {

struct Operands {
  const int64_t* rowptr;
  const int32_t* col;
  const int8_t* x;     // [M, F]
  const float* scale;  // [F]
  float* out;          // [N, F]
  int64_t edges;
  int64_t features;
  bool mean;
};

constexpr int64_t kTile = 64;
constexpr int64_t kAhead = 32;
constexpr int64_t kSafe = 1 << 23;  // so many numbers of 8 bits fit into 32

// Adds features [first, first + width) of the edges [edge, end) up to a total.
template <int Width>
GRAPHSTILL_INLINE void add_edges(const Operands& o, int64_t edge, int64_t end, int64_t first,
                                 int64_t width, int32_t* total) {
  const int64_t count = Width ? Width : width;
  for (; edge < end; ++edge) {
    if (edge + kAhead < o.edges) __builtin_prefetch(o.x + o.col[edge + kAhead] * o.features + first);
    const int8_t* source = o.x + o.col[edge] * o.features + first;
    for (int64_t f = 0; f < count; ++f) total[f] += source[f];
  }
}

inline void run_rows(const Operands& operands, int64_t begin, int64_t end) {
  const Operands o = operands;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t start = o.rowptr[row], stop = o.rowptr[row + 1];
    const double share = o.mean && stop - start > 1 ? 1.0 / (double)(stop - start) : 1.0;
    for (int64_t first = 0; first < o.features; first += kTile) {
      const int64_t width = std::min(kTile, o.features - first);
      int64_t wide[kTile] = {};
      for (int64_t edge = start; edge < stop; edge += kSafe) {
        int32_t total[kTile] = {};
        const int64_t until = std::min(stop, edge + kSafe);
        if (width == kTile) add_edges<kTile>(o, edge, until, first, width, total);
        else add_edges<0>(o, edge, until, first, width, total);
        for (int64_t f = 0; f < width; ++f) wide[f] += total[f];
      }
      for (int64_t f = 0; f < width; ++f)
        o.out[row * o.features + first + f] = (float)((double)wide[f] * share) * o.scale[first + f];
    }
  }
}

}  // namespace graphstill::int8
