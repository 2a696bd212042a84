// The nodes of spmm_int8 and spmm_int8_rows; kernels/native/int8.h and spmm.h compute.

#include "../../kernels/native/int8.h"

#include "kernels.h"
#include "spmm_inputs.h"

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
  const SpmmInputsOf<int8_t> inputs(context, 4, 3);
  require(bool(inputs.src_scale), "src_scale needs one value per row of x");
  auto operands = inputs.operands(mean_);
  operands.out = context.output<float>(0, {inputs.rows.count, operands.features});
  inputs.rows.parallel_for(
      context, [&](int64_t begin, int64_t end) { spmm::run_rows(operands, begin, end); });
}

}  // namespace graphstill
