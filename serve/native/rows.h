// Destination rows of a CSR graph, checked, and shared by the threads of ONNX Runtime's pool.

#pragma once

#include <cstdint>
#include <vector>

#include "../../kernels/native/blocks.h"
#include "ort.h"

namespace graphstill {

struct Rows {
  const int64_t* rowptr;  // [N + 1]
  const int32_t* col;     // [E]
  int64_t count;          // N
  int64_t edges;          // E

  Rows(const Tensor<const int64_t>& rowptr, const Tensor<const int32_t>& col)
      : Rows(rowptr, col.size()) {
    this->col = col.data;
  }

  // Rows of which only the number of edges is known.
  Rows(const Tensor<const int64_t>& rowptr, int64_t edges)
      : rowptr(rowptr.data), col(nullptr), count(rowptr.size() - 1), edges(edges) {
    require(rowptr.size() >= 1, "rowptr needs num_nodes + 1 entries, it has none");
    require(rowptr.data[0] == 0 && rowptr.data[count] == edges,
            "rowptr must run from 0 to the number of edges, " + std::to_string(edges) +
                "; it runs from " + std::to_string(rowptr.data[0]) + " to " +
                std::to_string(rowptr.data[count]));
  }

  // Calls body(begin, end) for ranges of rows that hold about the same number of edges and rows.
  template <class Body>
  void parallel_for(const Context& context, const Body& body) const {
    const Blocks blocks(rowptr, count);
    context.parallel_for(blocks.count(), [&](size_t block) { blocks.run((int64_t)block, body); });
  }
};

}  // namespace graphstill
