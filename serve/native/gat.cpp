// The node of gat; kernels/native/attention.h computes.

#include "../../kernels/native/attention.h"
#include "../../kernels/native/scores.h"
#include "kernels.h"
#include "rows.h"

namespace graphstill {

Gat::Gat(const Attributes& attributes)
    : negative_slope_(attributes.real("negative_slope")),
      self_loops_(attributes.integer("add_self_loops") != 0) {}

void Gat::compute(const Context& context) const {
  const auto rowptr = context.input<int64_t>(0);
  const auto col = context.input<int32_t>(1);
  const auto x = context.input<float>(2);
  const auto alpha_src = context.input<float>(3);
  const auto alpha_dst = context.input<float>(4);
  const auto bias = context.input<float>(5);
  require(x.shape.size() == 2 && alpha_src.shape.size() == 2 && alpha_dst.shape.size() == 2,
          "x, alpha_src and alpha_dst must have two dimensions");
  const Rows rows(rowptr, col);
  const int64_t width = x.shape[1], heads = alpha_src.shape[1];
  require(heads > 0 && width % heads == 0, "x must be as wide as heads times channels");
  require(alpha_src.shape[0] == x.shape[0], "alpha_src needs a row for each row of x");
  require(alpha_dst.shape[0] == rows.count && alpha_dst.shape[1] == heads,
          "alpha_dst needs a row for each node, and as many heads as alpha_src");
  require(!bias || bias.size() == width, "bias needs one value per column of x");
  require(!self_loops_ || rows.count <= x.shape[0], "self loops need a row of x for each node");
  float* out = context.output<float>(0, {rows.count, width});
  const attention::Operands o{rows.rowptr, rows.col, rows.edges,     x.data,
                              heads,       width / heads, self_loops_};
  const attention::Additive by{
      alpha_src.data, alpha_dst.data, negative_slope_, nullptr, nullptr, heads};
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    with_channels(o.channels, [&](auto fixed) {
      attention::forward<decltype(fixed)::value>(o, by, bias.data, out, nullptr, begin, end);
    });
  });
}

}  // namespace graphstill
