// The node of extremum; kernels/native/extremum.h computes.

#include "../../kernels/native/extremum.h"

#include "kernels.h"
#include "rows.h"

namespace graphstill {

Extremum::Extremum(const Attributes& attributes) {
  const std::string reduce = attributes.text("reduce");
  require(reduce == "max" || reduce == "min", "reduce must be max or min, got " + reduce);
  largest_ = reduce == "max";
}

void Extremum::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto x = context.input<float>(2);
  const auto weight = context.input<float>(3);
  require(x.shape.size() == 2, "x must have two dimensions");
  require(!weight || weight.size() == rows.edges, "weight needs one value per edge");
  float* out = context.output<float>(0, {rows.count, x.shape[1]});
  const extremum::Operands operands{rows.rowptr, rows.col,   x.data,     weight.data,
                                    out,         rows.edges, x.shape[1], largest_};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { extremum::run_rows(operands, begin, end); });
}

}  // namespace graphstill
