// The nodes that compute something for each edge: edge_rows, edge_softmax and sddmm.

#include "../../kernels/native/sddmm.h"
#include "../../kernels/native/softmax.h"
#include "kernels.h"
#include "rows.h"

namespace graphstill {

void EdgeRows::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  int64_t* out = context.output<int64_t>(0, {rows.edges});
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t edge = rows.rowptr[row]; edge < rows.rowptr[row + 1]; ++edge) out[edge] = row;
  });
}

void EdgeSoftmax::compute(const Context& context) const {
  const auto rowptr = context.input<int64_t>(0);
  const auto score = context.input<float>(1);
  const auto own = context.input<float>(2);
  require(score.shape.size() == 2, "score must be [num_edges, heads]");
  const int64_t edges = score.shape[0], heads = score.shape[1];
  const Rows rows(rowptr, edges);
  require(!own || own.size() == rows.count * heads, "own needs a score per node and head");
  float* out = context.output<float>(0, {edges, heads});
  float* own_out = own ? context.output<float>(1, {rows.count, heads}) : nullptr;
  // an empty output may have no address
  require(!own || own_out || own.size() == 0, "own scores need an output of their own");
  const softmax::Operands operands{rows.rowptr, score.data, out, heads, own.data, own_out};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { softmax::run_rows(operands, begin, end); });
}

Sddmm::Sddmm(const Attributes& attributes) : heads_(attributes.integer("heads")) {}

void Sddmm::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto a = context.input<float>(2);
  const auto b = context.input<float>(3);
  require(a.shape.size() == 2 && b.shape.size() == 2 && a.shape[1] == b.shape[1],
          "a and b must have two dimensions and one width");
  require(a.shape[0] == rows.count, "a needs a row for each node");
  require(heads_ > 0 && a.shape[1] % heads_ == 0, "a must be as wide as heads times channels");
  float* out = context.output<float>(0, {rows.edges, heads_});
  const sddmm::Operands operands{rows.rowptr, rows.col,   a.data, b.data,
                                 out,         rows.edges, heads_, a.shape[1] / heads_};
  rows.parallel_for(context,
                    [&](int64_t begin, int64_t end) { sddmm::run_rows(operands, begin, end); });
}

}  // namespace graphstill
