// Destination rows of a CSR graph, cut into blocks of about equal work for the thread pool.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ort.h"

namespace graphstill {

struct Rows {
  const int64_t* rowptr;  // [N + 1]
  const int32_t* col;     // [E]
  int64_t count;          // N
  int64_t edges;          // E

  Rows(const Tensor<const int64_t>& rowptr, const Tensor<const int32_t>& col)
      : rowptr(rowptr.data), col(col.data), count(rowptr.size() - 1), edges(col.size()) {
    require(rowptr.size() >= 1, "rowptr needs num_nodes + 1 entries, it has none");
    require(rowptr.data[0] == 0 && rowptr.data[count] == edges,
            "rowptr must run from 0 to the number of edges, " + std::to_string(edges) +
                "; it runs from " + std::to_string(rowptr.data[0]) + " to " +
                std::to_string(rowptr.data[count]));
  }

  // Calls body(begin, end) for ranges of rows that hold about the same number of edges and rows.
  template <class Body>
  void parallel_for(const Context& context, const Body& body) const {
    const int64_t work = edges + count;
    const int64_t blocks = std::clamp<int64_t>(work / kBlockWork, 1, kMaxBlocks);
    context.parallel_for(blocks, [&](size_t block) {
      body(first_row(work * (int64_t)block / blocks),
           block + 1 == (size_t)blocks ? count : first_row(work * (int64_t)(block + 1) / blocks));
    });
  }

 private:
  static constexpr int64_t kBlockWork = 4096;
  static constexpr int64_t kMaxBlocks = 512;

  // The first row before which at least `work` edges and rows lie.
  int64_t first_row(int64_t work) const {
    int64_t low = 0, high = count;
    while (low < high) {
      int64_t middle = (low + high) / 2;
      if (rowptr[middle] + middle < work) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};

}  // namespace graphstill
