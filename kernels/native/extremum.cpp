// Entries of extremum.
//
// Backward, edges that share an extremum share its gradient evenly. Which they are is found out by
// comparing again: first each row counts its own, then each source adds up what it gets.

#include "extremum.h"

#include "entry.h"
#include "memory.h"
#include "threads.h"

namespace graphstill::extremum {
namespace {

struct Gradients {
  const int64_t* rowptr;
  const int32_t* col;
  const int64_t* rowptr_t;
  const int32_t* row_t;
  const int64_t* perm_t;
  const float* x;
  const float* weight;
  const float* out;
  const float* grad;
  float* share;    // [N, F]: grad divided by how many edges share the extremum
  float* dx;       // [M, F]
  float* dweight;  // [E], where there is a weight
  int64_t edges;
  int64_t features;
};

template <class Vector>
GRAPHSTILL_INLINE Vector one_where_equal(Vector a, Vector b) {
  return select(a == b, Vector{} + 1.0f, Vector{});
}

void share_rows(const Gradients& operands, int64_t begin, int64_t end) {
  const Gradients o = operands;
  for (int64_t row = begin; row < end; ++row) {
    const float* out = o.out + row * o.features;
    const float* grad = o.grad + row * o.features;
    float* share = o.share + row * o.features;
    for (int64_t f = 0; f < o.features; ++f) share[f] = 0;
    for (int64_t edge = o.rowptr[row]; edge < o.rowptr[row + 1]; ++edge) {
      prefetch_source(o.col, o.x, edge, o.edges, o.features);
      const float* source = o.x + o.col[edge] * o.features;
      const float factor = weight_of(o.weight, edge);
      for_vectors<0>(o.features, [&](int64_t f, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        const Vector mine = one_where_equal(factor * load_as<Vector>(source + f),
                                            load_as<Vector>(out + f));
        store(share + f, load_as<Vector>(share + f) + mine);
      });
    }
    for (int64_t f = 0; f < o.features; ++f)
      share[f] = grad[f] / (share[f] > 1 ? share[f] : 1.0f);
  }
}

void source_rows(const Gradients& operands, int64_t begin, int64_t end) {
  const Gradients o = operands;
  for (int64_t source = begin; source < end; ++source) {
    const float* x = o.x + source * o.features;
    float* dx = o.dx + source * o.features;
    for (int64_t f = 0; f < o.features; ++f) dx[f] = 0;
    for (int64_t at = o.rowptr_t[source]; at < o.rowptr_t[source + 1]; ++at) {
      prefetch_source(o.row_t, o.out, at, o.edges, o.features);
      prefetch_source(o.row_t, o.share, at, o.edges, o.features);
      const int64_t row = o.row_t[at], edge = o.weight ? o.perm_t[at] : 0;
      const float* out = o.out + row * o.features;
      const float* share = o.share + row * o.features;
      const float factor = weight_of(o.weight, edge);
      for_vectors<0>(o.features, [&](int64_t f, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        const Vector mine =
            one_where_equal(factor * load_as<Vector>(x + f), load_as<Vector>(out + f));
        const Vector got = mine * load_as<Vector>(share + f);
        store(dx + f, load_as<Vector>(dx + f) + factor * got);
      });
      if (!o.weight) continue;
      o.dweight[edge] = sum_vectors<0>(o.features, [&](int64_t f, auto lanes) GRAPHSTILL_LAMBDA {
        using Vector = decltype(lanes);
        const Vector mine = load_as<Vector>(x + f);
        return one_where_equal(factor * mine, load_as<Vector>(out + f)) * mine *
               load_as<Vector>(share + f);
      });
    }
  }
}

}  // namespace
}  // namespace graphstill::extremum

using namespace graphstill;
using namespace graphstill::extremum;

GRAPHSTILL_ENTRY graphstill_extremum(int64_t threads, int64_t rows, const int64_t* rowptr,
                                     const int32_t* col, const float* x, const float* weight,
                                     float* out, int64_t features, int64_t largest) {
  return guarded([&] {
    expect_large(out, rows, features);
    const Operands operands{rowptr, col, x, weight, out, rowptr[rows], features, largest != 0};
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      run_rows(operands, begin, end);
    });
  });
}

GRAPHSTILL_ENTRY graphstill_extremum_backward(
    int64_t threads, int64_t rows, const int64_t* rowptr, const int32_t* col, int64_t sources,
    const int64_t* rowptr_t, const int32_t* row_t, const int64_t* perm_t, const float* x,
    const float* weight, const float* out, const float* grad, float* share, float* dx,
    float* dweight, int64_t features) {
  return guarded([&] {
    expect_large(share, rows, features);
    expect_large(dx, sources, features);
    const Gradients operands{rowptr, col,   rowptr_t, row_t,   perm_t,       x,       weight, out,
                             grad,   share, dx,       dweight, rowptr[rows], features};
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      share_rows(operands, begin, end);
    });
    parallel_for(threads, Blocks(rowptr_t, sources), [&](int64_t begin, int64_t end, int64_t) {
      source_rows(operands, begin, end);
    });
  });
}
