// Entry of csr.

#include "csr.h"

#include "entry.h"
#include "threads.h"

using namespace graphstill;

// bad becomes the first edge with an id out of range, or -1.
GRAPHSTILL_ENTRY graphstill_csr(int64_t threads, const int64_t* src, const int64_t* dst,
                                int64_t count, int64_t num_src, int64_t num_dst, int64_t* rowptr,
                                int32_t* col, int64_t* perm, int64_t* bad) {
  return guarded([&] {
    const auto parallel = [&](int64_t tasks, const auto& body) { run_tasks(threads, tasks, body); };
    const int64_t edge =
        csr::sort(parallel, csr::Edges{src, dst, count, num_src, num_dst}, rowptr, col, perm);
    *bad = edge == csr::kNoEdge ? -1 : edge;
  });
}
