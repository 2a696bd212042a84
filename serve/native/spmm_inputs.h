// What spmm, and the nodes that begin with it, are given; checked.

#pragma once

#include "../../kernels/native/spmm.h"
#include "rows.h"

namespace graphstill {

// The sums of some rows; spmm.cpp holds the one copy of the loops.
void sum_rows(const spmm::Operands& operands, int64_t begin, int64_t end);

template <class Element>
struct SpmmInputsOf {
  Rows rows;
  Tensor<const Element> x;
  Tensor<const float> weight, src_scale, dst_scale, self_weight, bias;

  explicit SpmmInputsOf(const Context& context, size_t weight_at = 3, size_t src_scale_at = 4)
      : rows(context.input<int64_t>(0), context.input<int32_t>(1)),
        x(context.input<Element>(2)), weight(context.input<float>(weight_at)),
        src_scale(context.input<float>(src_scale_at)), dst_scale(context.input<float>(5)),
        self_weight(context.input<float>(6)), bias(context.input<float>(7)) {
    require(x.shape.size() == 2, "x must have two dimensions");
    require(!weight || weight.size() == rows.edges, "weight needs one value per edge");
    require(!src_scale || src_scale.size() == x.shape[0], "src_scale needs one value per row of x");
    require(!dst_scale || dst_scale.size() == rows.count, "dst_scale needs one value per node");
    require(!self_weight || (self_weight.size() == rows.count && rows.count <= x.shape[0]),
            "self_weight needs one value per node, and x a row for each");
    require(!bias || bias.size() == x.shape[1], "bias needs one value per feature");
  }

  // All but where to write.
  spmm::OperandsOf<Element> operands(bool mean) const {
    return {rows.rowptr,      rows.col,  x.data, weight.data, src_scale.data, dst_scale.data,
            self_weight.data, bias.data, nullptr, x.shape[1],  mean, x.shape[0],
            rows.edges};
  }
};

using SpmmInputs = SpmmInputsOf<float>;

}  // namespace graphstill
