// Entry of gcn_norm.

#include "gcn_norm.h"

#include "entry.h"
#include "threads.h"

using namespace graphstill;

GRAPHSTILL_ENTRY graphstill_gcn_norm(int64_t threads, int64_t rows, const int64_t* rowptr,
                                     const int32_t* col, const float* weight,
                                     const float* in_degree, float fill_value, int64_t self_loops,
                                     float* scale, float* self_weight) {
  return guarded([&] {
    const gcn_norm::Operands operands{rowptr,     col,   weight,     in_degree, fill_value,
                                      self_loops != 0, scale, self_weight};
    parallel_for(threads, Blocks(rowptr, rows), [&](int64_t begin, int64_t end, int64_t) {
      gcn_norm::run_rows(operands, begin, end);
    });
  });
}
