// Entries of edge_softmax; its gradient is p_e (g_e - Σ p g).

#include "softmax.h"

#include "entry.h"
#include "memory.h"
#include "threads.h"

namespace graphstill {
namespace {

// One row, [degree, H] with H a divisor of the lanes.
GRAPHSTILL_INLINE void gradient_row(int64_t heads, const float* grad,
                                    const float* attention, float* out, int64_t size) {
  const int64_t whole = size - size % kLanes;
  softmax::Tail g(grad + whole, size - whole, 0.0f), p(attention + whole, size - whole, 0.0f);
  Floats total = p.all() * g.all();
  for (int64_t at = 0; at < whole; at += kLanes) total += load(attention + at) * load(grad + at);
  total = folded::total(total, heads);
  for (int64_t at = 0; at < whole; at += kLanes)
    store(out + at, load(attention + at) * (load(grad + at) - total));
  g.put(p.all() * (g.all() - total));
  g.copy_to(out + whole);
}

void gradient_rows(const int64_t* rowptr, const float* grad, const float* attention, float* out,
                   int64_t heads, int64_t begin, int64_t end) {
  if (folded::suits(heads)) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = rowptr[row] * heads, size = rowptr[row + 1] * heads - first;
      gradient_row(heads, grad + first, attention + first, out + first, size);
    }
    return;
  }
  std::vector<float> sum(heads);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = rowptr[row] * heads, last = rowptr[row + 1] * heads;
    for (int64_t h = 0; h < heads; ++h) sum[h] = 0;
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) sum[h] += attention[at + h] * grad[at + h];
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) out[at + h] = attention[at + h] * (grad[at + h] - sum[h]);
  }
}

}  // namespace
}  // namespace graphstill

using namespace graphstill;

GRAPHSTILL_ENTRY graphstill_edge_softmax(int64_t threads, int64_t rows, const int64_t* rowptr,
                                         const float* score, float* out, int64_t heads) {
  return guarded([&] {
    expect_large(out, rowptr[rows], heads);
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      softmax::run_rows({rowptr, score, out, heads, nullptr, nullptr}, begin, end);
    });
  });
}

GRAPHSTILL_ENTRY graphstill_edge_softmax_backward(int64_t threads, int64_t rows,
                                                  const int64_t* rowptr, const float* grad,
                                                  const float* attention, float* out,
                                                  int64_t heads) {
  return guarded([&] {
    expect_large(out, rowptr[rows], heads);
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      gradient_rows(rowptr, grad, attention, out, heads, begin, end);
    });
  });
}
