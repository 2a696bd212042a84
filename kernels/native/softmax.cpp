// edge_softmax: exp(s_e) / Σ exp(s) over each row's edges, per head, and its gradient
// p_e (g_e - Σ p g). A row's scores lie side by side, [degree, H].

#include <vector>

#include "channels.h"
#include "entry.h"
#include "memory.h"
#include "threads.h"

namespace graphstill {
namespace {

void softmax_rows(const int64_t* rowptr, const float* scores, float* outs, int64_t heads,
                  int64_t begin, int64_t end) {
  std::vector<float> sum(heads), top(heads);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = rowptr[row] * heads, last = rowptr[row + 1] * heads;
    for (int64_t h = 0; h < heads; ++h) {
      sum[h] = 0;
      top[h] = -__builtin_inff();
    }
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h)
        top[h] = scores[at + h] > top[h] ? scores[at + h] : top[h];
    for (int64_t at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) outs[at + h] = scores[at + h] - top[h];
    int64_t at = first;
    for (; at + kLanes <= last; at += kLanes) store(outs + at, exp_nonpositive(load(outs + at)));
    float rest[kLanes] = {};
    for (int64_t k = 0; at + k < last; ++k) rest[k] = outs[at + k];
    store(rest, exp_nonpositive(load(rest)));
    for (int64_t k = 0; at + k < last; ++k) outs[at + k] = rest[k];
    for (at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) sum[h] += outs[at + h];
    for (int64_t h = 0; h < heads; ++h) sum[h] = 1.0f / sum[h];
    for (at = first; at < last; at += heads)
      for (int64_t h = 0; h < heads; ++h) outs[at + h] *= sum[h];
  }
}

void gradient_rows(const int64_t* rowptr, const float* grad, const float* attention, float* out,
                   int64_t heads, int64_t begin, int64_t end) {
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
      softmax_rows(rowptr, score, out, heads, begin, end);
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
