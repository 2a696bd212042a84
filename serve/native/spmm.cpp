// The nodes of spmm and spmm_heads; kernels/native/spmm.h computes.

#include "../../kernels/native/spmm.h"
#include "kernels.h"
#include "rows.h"

namespace graphstill {

Spmm::Spmm(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

void Spmm::compute(const Context& context) const {
  const auto rowptr = context.input<int64_t>(0);
  const auto col = context.input<int32_t>(1);
  const auto x = context.input<float>(2);
  const auto weight = context.input<float>(3);
  const auto src_scale = context.input<float>(4);
  const auto dst_scale = context.input<float>(5);
  const auto self_weight = context.input<float>(6);
  const auto bias = context.input<float>(7);
  require(x.shape.size() == 2, "x must have two dimensions");
  const Rows rows(rowptr, col);
  const int64_t features = x.shape[1];
  require(!weight || weight.size() == rows.edges, "weight needs one value per edge");
  require(!src_scale || src_scale.size() == x.shape[0], "src_scale needs one value per row of x");
  require(!dst_scale || dst_scale.size() == rows.count, "dst_scale needs one value per node");
  require(!self_weight || (self_weight.size() == rows.count && rows.count <= x.shape[0]),
          "self_weight needs one value per node, and x a row for each");
  require(!bias || bias.size() == features, "bias needs one value per feature");
  float* out = context.output<float>(0, {rows.count, features});
  const spmm::Operands operands{rows.rowptr,      rows.col,  x.data, weight.data, src_scale.data,
                                dst_scale.data,   self_weight.data,  bias.data,   out,
                                features,         mean_,
                                spmm::asked_ahead(rows.edges, x.shape[0], features)};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { spmm::run_rows(operands, begin, end); });
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
                                mean_,       spmm::asked_ahead(rows.edges, x.shape[0], features),
                                heads};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { spmm::run_rows(operands, begin, end); });
}

}  // namespace graphstill
