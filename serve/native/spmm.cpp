// The nodes of spmm and spmm_heads; kernels/native/spmm.h computes.

#include "../../kernels/native/spmm.h"
#include "kernels.h"
#include "rows.h"
#include "spmm_inputs.h"

namespace graphstill {

void sum_rows(const spmm::Operands& operands, int64_t begin, int64_t end) {
  spmm::run_rows(operands, begin, end);
}

Spmm::Spmm(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

void Spmm::compute(const Context& context) const {
  const SpmmInputs inputs(context);
  spmm::Operands operands = inputs.operands(mean_);
  operands.out = context.output<float>(0, {inputs.rows.count, operands.features});
  inputs.rows.parallel_for(context,
                           [&](int64_t begin, int64_t end) { sum_rows(operands, begin, end); });
}

SpmmHeads::SpmmHeads(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

void SpmmHeads::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto x = context.input<float>(2);
  const auto weight = context.input<float>(3);
  require(x.shape.size() == 2, "x must have two dimensions");
  require(weight.shape.size() == 2 && weight.shape[0] == rows.edges,
          "weight must be [num_edges, heads]");
  const int64_t features = x.shape[1], heads = weight.shape[1];
  require(heads > 0 && features % heads == 0, "x must be as wide as heads times channels");
  float* out = context.output<float>(0, {rows.count, features});
  const spmm::Operands operands{rows.rowptr, rows.col, x.data,  weight.data, nullptr,
                                nullptr,     nullptr,  nullptr, out,         features,
                                mean_,       x.shape[0], rows.edges, heads};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { sum_rows(operands, begin, end); });
}

}  // namespace graphstill
