// Entries of spmm and sddmm.

#include "spmm.h"

#include "entry.h"
#include "level.h"
#include "memory.h"
#include "sddmm.h"
#include "threads.h"

using namespace graphstill;

GRAPHSTILL_ENTRY graphstill_spmm(int64_t threads, int64_t rows, const int64_t* rowptr,
                                 const int32_t* col, int64_t sources, const float* x, const float* weight,
                                 const float* src_scale, const float* dst_scale,
                                 const float* self_weight, const float* bias,
                                 const float* residual, float* out, int64_t features,
                                 int64_t heads, int64_t mean, int64_t activation) {
  return guarded([&] {
    const spmm::Operands operands{rowptr,      col,  x,        weight,
                                  src_scale,   dst_scale,      self_weight,
                                  bias,        out,  features, mean != 0,
                                  sources,     rowptr[rows],   heads,
                                  residual,    (Activation)activation};
    expect_large(out, rows, features);
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      spmm::run_rows(operands, begin, end);
    });
  });
}

GRAPHSTILL_ENTRY graphstill_sddmm(int64_t threads, int64_t rows, const int64_t* rowptr,
                                  const int32_t* col, const float* a, const float* b, float* out,
                                  int64_t heads, int64_t channels) {
  return guarded([&] {
    expect_large(out, rowptr[rows], heads);
    const sddmm::Operands operands{rowptr, col, a, b, out, rowptr[rows], heads, channels};
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      sddmm::run_rows(operands, begin, end);
    });
  });
}
