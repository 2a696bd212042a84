// Node of gcn_norm.

#include "../../kernels/native/gcn_norm.h"

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
  const gcn_norm::Operands operands{rows.rowptr,
                                    rows.col,
                                    weight ? weight.data : nullptr,
                                    given ? in_degree.data : nullptr,
                                    weight ? fill_value_ : 1.0f,
                                    self_loops_,
                                    context.output<float>(0, {rows.count}),
                                    context.output<float>(1, {rows.count})};
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    gcn_norm::run_rows(operands, begin, end);
  });
}

}  // namespace graphstill
