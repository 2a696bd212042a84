// The nodes of spmm_int8 and spmm_int8_rows; kernels/native/int8.h and spmm.h compute.

#include "../../kernels/native/int8.h"

#include "../../kernels/native/spmm.h"

#include "kernels.h"
#include "rows.h"

namespace graphstill {

SpmmInt8::SpmmInt8(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

void SpmmInt8::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto x = context.input<int8_t>(2);
  const auto scale = context.input<float>(3);
  require(x.shape.size() == 2, "x must have two dimensions");
  require(scale.size() == x.shape[1], "scale needs one value per feature");
  float* out = context.output<float>(0, {rows.count, x.shape[1]});
  const int8::Operands operands{rows.rowptr, rows.col,   x.data,     scale.data,
                                out,         rows.edges, x.shape[1], mean_};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { int8::run_rows(operands, begin, end); });
}

SpmmInt8Rows::SpmmInt8Rows(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

void SpmmInt8Rows::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto x = context.input<int8_t>(2);
  const auto src_scale = context.input<float>(3);
  const auto weight = context.input<float>(4);
  const auto dst_scale = context.input<float>(5);
  const auto self_weight = context.input<float>(6);
  const auto bias = context.input<float>(7);
  require(x.shape.size() == 2, "x must have two dimensions");
  const int64_t features = x.shape[1];
  require(src_scale.size() == x.shape[0], "src_scale needs one value per row of x");
  require(!weight || weight.size() == rows.edges, "weight needs one value per edge");
  require(!dst_scale || dst_scale.size() == rows.count, "dst_scale needs one value per node");
  require(!self_weight || (self_weight.size() == rows.count && rows.count <= x.shape[0]),
          "self_weight needs one value per node, and x a row for each");
  require(!bias || bias.size() == features, "bias needs one value per feature");
  float* out = context.output<float>(0, {rows.count, features});
  spmm::OperandsOf<int8_t> operands{rows.rowptr,    rows.col,       x.data,           weight.data,
                                    src_scale.data, dst_scale.data, self_weight.data, bias.data,
                                    out,            features,       mean_,            x.shape[0]};
  operands.asked = spmm::asked_ahead(rows.edges, x.shape[0], features / 4);
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { spmm::run_rows(operands, begin, end); });
}

}  // namespace graphstill
