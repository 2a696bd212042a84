// gcn_norm: the symmetric normalisation of GCN as one factor per node instead of one per edge.
//
//   scale[i]       = d_i^(-1/2), 0 where d_i is 0
//   self_weight[i] = what the row's own features must be weighted by besides its edges, so that
//                    existing self loops count as PyG's add_remaining_self_loops leaves them

#include <cmath>

#include "kernels.h"
#include "rows.h"

namespace graphstill {

GcnNorm::GcnNorm(const Attributes& attributes)
    : fill_value_(attributes.real("fill_value")),
      self_loops_(attributes.integer("add_self_loops") != 0) {}

void GcnNorm::compute(const Context& context) const {
  const auto rowptr = context.input<int64_t>(0);
  const auto col = context.input<int32_t>(1);
  const auto weight = context.input<float>(2);
  const auto in_degree = context.input<float>(3);
  const Rows rows(rowptr, col);
  require(!weight || weight.size() == rows.edges, "weight needs one value per edge");
  const bool given = in_degree && in_degree.size() > 0;
  require(!given || in_degree.size() == rows.count,
          "in_degree needs one value per node, or none at all");
  float* scale = context.output<float>(0, {rows.count});
  float* self_weight = context.output<float>(1, {rows.count});
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float edges = 0, loops = 0, loop = weight ? fill_value_ : 1.0f;
      for (int64_t edge = rows.rowptr[row]; edge < rows.rowptr[row + 1]; ++edge) {
        const float value = weight ? weight.data[edge] : 1.0f;
        edges += value;
        if (rows.col[edge] != row) continue;
        loops += value;
        loop = value;  // of several loops of one node the last counts, as in PyG
      }
      const float own = self_loops_ ? loop - loops : 0.0f;
      const float degree = given ? in_degree.data[row] : edges + own;
      scale[row] = degree == 0.0f ? 0.0f : 1.0f / std::sqrt(degree);
      self_weight[row] = own;
    }
  });
}

}  // namespace graphstill
