// edge_l1: out[e] = Σ_c |a[i, c] - b[col[e], c]|, i the row of e, and its gradient for the rows,
// Σ_e g_e · sign(a[i] - b[col[e]]). For the sources, walk the transposed graph with both exchanged.

#include "channels.h"
#include "entry.h"
#include "memory.h"
#include "threads.h"

namespace graphstill {
namespace {

constexpr int64_t kAhead = 8;

struct Operands {
  const int64_t* rowptr;
  const int32_t* col;
  const float* a;
  const float* b;
  int64_t edges;
  int64_t width;
};

template <class Vector>
GRAPHSTILL_INLINE Vector magnitude(Vector v) {
  return select(v < 0.0f, -v, v);
}

// factor · sign(v); the sign of NaN is NaN
template <class Vector>
GRAPHSTILL_INLINE Vector signed_by(float factor, Vector v) {
  const Vector none{}, some = none + factor;
  return select(v > 0.0f, some, select(v < 0.0f, -some, select(v == 0.0f, none, v)));
}

template <int Fixed>
GRAPHSTILL_INLINE void distances(const Operands& operands, float* out, int64_t begin, int64_t end) {
  const Operands o = operands;  // a copy that no store can reach stays in registers
  const int64_t width = Fixed ? Fixed : o.width;
  for (int64_t row = begin; row < end; ++row)
    for (int64_t edge = o.rowptr[row]; edge < o.rowptr[row + 1]; ++edge) {
      if (edge + kAhead < o.edges) prefetch_row(o.b + o.col[edge + kAhead] * width, width);
      const float *a = o.a + row * width, *b = o.b + o.col[edge] * width;
      out[edge] = sum_vectors<Fixed>(width, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        return magnitude(load_as<Vector>(a + c) - load_as<Vector>(b + c));
      });
    }
}

template <int Fixed>
GRAPHSTILL_INLINE void gradients(const Operands& operands, const float* grad, float* out,
                                 int64_t begin, int64_t end) {
  const Operands o = operands;
  const int64_t width = Fixed ? Fixed : o.width;
  for (int64_t row = begin; row < end; ++row) {
    const float* a = o.a + row * width;
    float* sum = out + row * width;
    for (int64_t c = 0; c < width; ++c) sum[c] = 0;
    for (int64_t edge = o.rowptr[row]; edge < o.rowptr[row + 1]; ++edge) {
      if (edge + kAhead < o.edges) prefetch_row(o.b + o.col[edge + kAhead] * width, width);
      const float* b = o.b + o.col[edge] * width;
      const float factor = grad[edge];
      for_vectors<Fixed>(width, [&](int64_t c, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        const Vector apart = load_as<Vector>(a + c) - load_as<Vector>(b + c);
        store(sum + c, load_as<Vector>(sum + c) + signed_by(factor, apart));
      });
    }
  }
}

}  // namespace
}  // namespace graphstill

using namespace graphstill;

GRAPHSTILL_ENTRY graphstill_edge_l1(int64_t threads, int64_t rows, const int64_t* rowptr,
                                    const int32_t* col, const float* a, const float* b, float* out,
                                    int64_t width) {
  return guarded([&] {
    expect_large(out, rowptr[rows], 1);
    const Operands operands{rowptr, col, a, b, rowptr[rows], width};
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      with_channels(width, [&](auto fixed) {
        distances<decltype(fixed)::value>(operands, out, begin, end);
      });
    });
  });
}

GRAPHSTILL_ENTRY graphstill_edge_l1_backward(int64_t threads, int64_t rows, const int64_t* rowptr,
                                             const int32_t* col, const float* grad, const float* a,
                                             const float* b, float* out, int64_t width) {
  return guarded([&] {
    expect_large(out, rows, width);
    const Operands operands{rowptr, col, a, b, rowptr[rows], width};
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      with_channels(width, [&](auto fixed) {
        gradients<decltype(fixed)::value>(operands, grad, out, begin, end);
      });
    });
  });
}
