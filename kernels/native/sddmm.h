// sddmm: products of the two ends of each edge.
//
//   out[e, h] = a[i, h] · b[col[e], h],    i the row of e
//
// Torch and ONNX Runtime run this same code.

#pragma once

#include "channels.h"

namespace graphstill::sddmm {

struct Operands {
  const int64_t* rowptr;
  const int32_t* col;
  const float* a;
  const float* b;
  float* out;
  int64_t edges;
  int64_t heads;
  int64_t channels;
};

constexpr int64_t kAhead = 16;

template <int Fixed>
GRAPHSTILL_INLINE void rows_of(const Operands& operands, int64_t begin, int64_t end) {
  const Operands o = operands;  // a copy that no store can reach stays in registers
  const int64_t channels = Fixed ? Fixed : o.channels, width = o.heads * channels;
  for (int64_t row = begin; row < end; ++row)
    for (int64_t edge = o.rowptr[row]; edge < o.rowptr[row + 1]; ++edge) {
      if (edge + kAhead < o.edges) prefetch_row(o.b + o.col[edge + kAhead] * width, width);
      for (int64_t h = 0; h < o.heads; ++h)
        o.out[edge * o.heads + h] = dot<Fixed>(o.a + row * width + h * channels,
                                               o.b + o.col[edge] * width + h * channels, channels);
    }
}

inline void run_rows(const Operands& o, int64_t begin, int64_t end) {
  with_channels(o.channels,
                [&](auto fixed) { rows_of<decltype(fixed)::value>(o, begin, end); });
}

}  // namespace graphstill::sddmm
