// gcn_norm: the symmetric normalisation of GCN as one factor per node instead of one per edge.
//
//   scale[i]       = d_i^(-1/2), 0 where d_i is 0
//   self_weight[i] = what the row's own features must be weighted by besides its edges, so that
//                    existing self loops count as PyG's add_remaining_self_loops leaves them

#pragma once

#include <cmath>
#include <cstdint>

namespace graphstill::gcn_norm {

struct Operands {
  const int64_t* rowptr;   // [N + 1]
  const int32_t* col;      // [E]
  const float* weight;     // [E] or null
  const float* in_degree;  // [N] or null
  float fill_value;        // 1 without weights
  bool self_loops;
  float* scale;        // [N]
  float* self_weight;  // [N]
};

inline void run_rows(const Operands operands, int64_t begin, int64_t end) {
  const float* weight = operands.weight;
  for (int64_t row = begin; row < end; ++row) {
    float edges = 0, loops = 0, loop = operands.fill_value;
    for (int64_t edge = operands.rowptr[row]; edge < operands.rowptr[row + 1]; ++edge) {
      const float value = weight ? weight[edge] : 1.0f;
      edges += value;
      if (operands.col[edge] != row) continue;
      loops += value;
      loop = value;  // of several loops of one node the last counts, as in PyG
    }
    const float own = operands.self_loops ? loop - loops : 0.0f;
    const float degree = operands.in_degree ? operands.in_degree[row] : edges + own;
    operands.scale[row] = degree == 0.0f ? 0.0f : 1.0f / std::sqrt(degree);
    operands.self_weight[row] = own;
  }
}

}  // namespace graphstill::gcn_norm
